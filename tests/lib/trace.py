"""strace, for what only the kernel can attest about the real helper."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


class Call(NamedTuple):
    """One system call: its name and the rest of its line."""

    name: str
    rest: str


def helper(
    program: Path, arguments: Sequence[str | Path], directory: Path
) -> tuple[int, list[Call]]:
    """Run `program` under strace: its exit status and every call after its exec."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = directory / "strace.log"
    done = subprocess.run(
        [strace, "-f", "-y", "-s", "300", "-o", str(log), str(program), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")},
        check=False,
    )
    if not log.exists() or b"PTRACE" in done.stderr or b"ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.decode(errors='replace').strip()}")
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            calls.append(Call(match.group(1), match.group(2)))
    assert calls and calls[0].name == "execve", calls[:3]
    return done.returncode, calls[1:]


def is_static(program: Path) -> bool:
    """Whether an ELF executable asks for no dynamic loader."""
    with open(program, "rb") as file:
        header = file.read(4096)
    return b"/ld-" not in header and b"ld-linux" not in header
