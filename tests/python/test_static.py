"""What can be said about the package without running it."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import netcf_py

REPO = Path(__file__).resolve().parents[2]
MODULES = sorted((REPO / "netcf_py").glob("*.py"))
PUBLIC = [module for module in MODULES if not module.name.startswith("_")]


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this Python on the source, or skip."""
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed: pip install '.[test]'")
    return subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=REPO, capture_output=True, text=True
    )


def test_mypy_strict_is_clean(tmp_path: Path) -> None:
    """The package has types, and they hold."""
    ran = run("mypy", "--strict", f"--cache-dir={tmp_path}", "netcf_py")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_ruff_is_clean() -> None:
    """No rule of pyproject.toml is broken."""
    ran = run(
        "ruff", "check", "--no-cache", "netcf_py", "tests/python", "tests/consumers", "setup.py",
        "build_ffi.py",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.name)
def test_every_public_module_says_what_it_exports(module: Path) -> None:
    """__all__ stands there as a list of strings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert len(lists) == 1
    assert all(isinstance(name, str) for name in lists[0])


def test_everything_exported_is_there() -> None:
    """Each name of __all__ exists and none stands there twice."""
    assert len(set(netcf_py.__all__)) == len(netcf_py.__all__)
    assert [name for name in netcf_py.__all__ if not hasattr(netcf_py, name)] == []


def test_everything_public_is_documented() -> None:
    """Each exported class, method and function has a docstring."""
    bare = []
    for name in netcf_py.__all__:
        thing = getattr(netcf_py, name)
        if not callable(thing):
            continue
        members = vars(thing).items() if isinstance(thing, type) else ()
        for label, member in [(name, thing), *((f"{name}.{key}", value) for key, value in members)]:
            public = not label.split(".")[-1].startswith("_")
            if public and callable(member) and not member.__doc__:
                bare.append(label)
    assert bare == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_only_one_module_sees_ffi_and_lib(module: Path) -> None:
    """Nothing but _core imports the compiled module."""
    text = module.read_text(encoding="utf-8")
    assert ("_netcf import" in text) == (module.name == "_core.py")


def test_the_package_is_marked_as_typed() -> None:
    """py.typed is installed."""
    assert Path(netcf_py.__file__).with_name("py.typed").is_file()
