"""Programs that a test needs, and what make makes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
VERSION = (REPO / "VERSION").read_text(encoding="ascii").strip()


def need(*programs: str) -> None:
    """Skip, naming the first of `programs` that is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*command: str | Path, **environment: str) -> str:
    """Run a command that must succeed; its standard output."""
    ran = subprocess.run(
        command, env={**os.environ, **environment}, cwd=REPO, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{command}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def make(build: Path, *arguments: str) -> str:
    """Run make on the build directory `build`."""
    return run("make", "-s", f"BUILD={build}", *arguments)


def links(tmp_path: Path, *command: str) -> bool:
    """Whether a compiler command makes a program."""
    source = tmp_path / "links.c"
    source.write_text("int main(void) { return 0; }\n")
    ran = subprocess.run([*command, source, "-o", tmp_path / "links"], capture_output=True)
    return ran.returncode == 0
