"""`make sanitized` can fail: two bugs in a copy of the core, found by a helper built as it builds it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lib.build import REPO, need_sanitizers
from proof import sanitized

PLANTED = {
    "ncf.c": ("calloc(1, sizeof(*n) + len + sizeof(", "calloc(1, sizeof(*n) + sizeof("),
    "networking-config.c": ("*ret = (unsigned)value;", "*ret = (unsigned)((int)value << 24);"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build directory of a core with these bugs."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    need_sanitizers("-static-libasan -static-libubsan -fsanitize=address,undefined")
    source = tmp_path_factory.mktemp("planted")
    shutil.copytree(REPO / "csrc", source / "csrc")
    for name in ("Makefile", "VERSION"):
        shutil.copy(REPO / name, source)
    for name, (right, wrong) in PLANTED.items():
        text = (source / "csrc" / name).read_text()
        assert text.count(right) == 1
        (source / "csrc" / name).write_text(text.replace(right, wrong))
    sanitized.build(source / "build", source, "helper")
    return source / "build"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["status"], "heap-buffer-overflow"),
        (["change-begin", "--timeout", "900"], "left shift"),
        (["--version"], ""),
    ],
    ids=["overflow", "undefined", "neither"],
)
def test_a_planted_bug_is_reported(built: Path, root: Path, arguments: list[str], found: str) -> None:
    """The program ends there, with an environment of its own, too, and a report is left that fails the run."""
    done = subprocess.run(
        [built / "networking-config", "--root", root, *arguments], capture_output=True, text=True, check=False, env={}
    )
    reports = [path.read_text() for path in (built / "reports").iterdir()]
    for path in (built / "reports").iterdir():
        path.unlink()
    assert len(reports) == (1 if found else 0), (reports, done)
    assert bool(done.returncode) == bool(found), done
    assert all(found in report for report in reports)
