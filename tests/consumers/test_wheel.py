"""The sdist is complete, and the wheel built from it carries everything."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .tools import REPO, VERSION

# What an installer puts below its prefix.
SHARED = f"netcf_py-{VERSION}.data/data/share"
PLACES = {
    "bash": "bash-completion/completions",
    "fish": "fish/vendor_completions.d",
    "zsh": "zsh/site-functions",
}

PUBLIC_FILES = {
    "netcf_py/__init__.py",
    "netcf_py/_core.py",
    "netcf_py/_netcf.abi3.so",
    "netcf_py/_netcf.pyi",
    "netcf_py/bin/networking-config",
    *(f"netcf_py/command/{path.name}" for path in REPO.glob("netcf_py/command/*.py")),
    "netcf_py/errors.py",
    "netcf_py/functions.py",
    "netcf_py/include/ncf.h",
    "netcf_py/lib/libncf.so.0",
    "netcf_py/libvirt.py",
    "netcf_py/netcf.py",
    "netcf_py/places.py",
    "netcf_py/py.typed",
    "netcf_py/records.py",
    *(f"{SHARED}/man/man8/{page.name}" for page in (REPO / "docs/man").iterdir()),
    *(
        f"{SHARED}/{PLACES[file.parent.name]}/{file.name}"
        for file in (REPO / "completion").rglob("*")
        if file.is_file()
    ),
    *(
        f"netcf_py/{path.relative_to(REPO)}"
        for path in (REPO / "initscript").rglob("*")
        if path.is_file()
    ),
}


def python(directory: Path, *arguments: str | Path) -> str:
    """Run this Python in `directory`; it must succeed."""
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{arguments}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of a copy of the tree, as a fresh clone would be."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed: pip install '.[test]'")
    scratch = tmp_path_factory.mktemp("sdist")
    clone = scratch / "clone"
    made = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(REPO, clone, ignore=made)
    build = "import sys, setuptools.build_meta as backend; print(backend.build_sdist(sys.argv[1]))"
    return scratch / python(clone, "-c", build, scratch).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel built from the unpacked sdist, without the tree it came from."""
    subprocess.run(["tar", "-xf", sdist, "-C", sdist.parent], check=True)
    source = sdist.parent / f"netcf_py-{VERSION}"
    target = sdist.parent / "wheel"
    python(
        source, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", target, ".",
    )  # fmt: skip
    [wheel] = target.iterdir()
    return wheel


def test_the_sdist_is_named_after_the_version(sdist: Path) -> None:
    """VERSION is the one place of the version."""
    assert sdist.name == f"netcf_py-{VERSION}.tar.gz"


def test_the_wheel_serves_every_python_since_3_9(wheel: Path) -> None:
    """One wheel of the stable ABI."""
    name = wheel.name.split("-")
    assert name[:4] == ["netcf_py", VERSION, "cp39", "abi3"]


def test_the_wheel_carries_everything(wheel: Path) -> None:
    """Package, extension, types, helper, library and header are in it, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == PUBLIC_FILES


def test_the_helper_in_the_wheel_is_executable(wheel: Path) -> None:
    """An installer keeps the execute bit that the wheel has."""
    with zipfile.ZipFile(wheel) as archive:
        mode = archive.getinfo("netcf_py/bin/networking-config").external_attr >> 16
    assert mode & stat.S_IXUSR


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Licence, minimal Python and run-time needs are declared."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"netcf_py-{VERSION}.dist-info/METADATA").decode().splitlines()
    for line in [
        "License-Expression: LGPL-2.1-or-later",
        "Requires-Python: >=3.9",
        "Requires-Dist: cffi>=1.15",
    ]:
        assert line in metadata


def test_the_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    """Installed alone, the package opens a host and finds what it carries."""
    target = tmp_path / "target"
    python(tmp_path, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import netcf_py as n;"
        "print(n.__file__); print(n.Netcf(sys.argv[2]).status().open);"
        "print(n.helper_path(), n.library_path(), n.include_path())"
    )
    host = tmp_path / "host"
    host.mkdir()
    package = target / "netcf_py"
    assert python(tmp_path, "-c", code, target, host).split() == [
        str(package / "__init__.py"),
        "False",
        str(package / "bin/networking-config"),
        str(package / "lib/libncf.so.0"),
        str(package / "include"),
    ]
