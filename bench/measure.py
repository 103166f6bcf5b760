# SPDX-License-Identifier: LGPL-2.1-or-later
"""One tool's start, commit and rollback on a tree: timed or traced, and always verified."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, NamedTuple, TypeVar

from tools import Command, Tool
from tree import Tree

__all__ = ["OPERATIONS", "Broken", "Counts", "Sample", "cycle", "timer", "tracer"]

OPERATIONS = ("start", "commit", "rollback")

FLUSHES = {"fsync", "fdatasync", "syncfs", "sync"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"}

T = TypeVar("T")


class Broken(Exception):
    """A tool failed, or did not do what it is timed for."""


class Sample(NamedTuple):
    """One run of one operation: wall time, and the largest resident size of any process."""

    ns: int
    kib: int


class Counts(NamedTuple):
    """What one operation asked of the kernel."""

    calls: int
    flushes: int
    written: int


def _run(command: Command) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def timer(spawn: Path) -> Callable[[list[Command]], Sample]:
    """Time commands as whole processes, with the program built from spawn.c."""

    def measure(commands: list[Command]) -> Sample:
        chained = [word for command in commands for word in (",", *command)][1:]
        ns, kib = _run((str(spawn), *chained)).split()
        return Sample(int(ns), int(kib))

    return measure


def tracer(log: Path) -> Callable[[list[Command]], Counts] | None:
    """Count system calls of single-threaded commands; None where there is no usable strace."""
    strace = ("strace", "-qq", "-s0", "-o", str(log))
    if shutil.which("strace") is None or subprocess.run([*strace, "true"]).returncode != 0:
        return None

    def measure(commands: list[Command]) -> Counts:
        counts = Counts(0, 0, 0)
        for command in commands:
            _run((*strace, *command))
            for line in log.read_text(errors="replace").splitlines():
                call = re.match(r"(\w+)\(.*\) += (-?\d+)?", line)
                if call is None:
                    continue
                name, result = call[1], int(call[2] or 0)
                counts = Counts(
                    counts.calls + 1,
                    counts.flushes + (name in FLUSHES),
                    counts.written + (max(result, 0) if name in WRITES else 0),
                )
        return counts

    return measure


def _verify(tool: Tool, operation: str, wrong: list[str]) -> None:
    if wrong:
        raise Broken(f"{tool.name}: {operation} left {len(wrong)} files wrong: {wrong[:3]}")


def cycle(tool: Tool, tree: Tree, measure: Callable[[list[Command]], T]) -> dict[str, T]:
    """Start, edit, commit, and start, edit, rollback; measure each operation once.

    The tree is read before, and all but the edits is synced: to make those durable is what a
    commit is for.
    """
    measured = {}
    tool.prepare(tree)
    tree.rest()
    tree.read()
    tree.sync()
    measured["start"] = measure(tool.start(tree))
    if tool.commits:
        tree.edit()
        measured["commit"] = measure(tool.commit(tree))
        _verify(tool, "commit", tree.differences(tree.edited, metadata=True))
        tree.undo()
        tree.sync()
        measure(tool.start(tree))
    tree.edit()
    measured["rollback"] = measure(tool.rollback(tree))
    _verify(tool, "rollback", tree.differences(tree.saved, metadata=tool.metadata))
    if not tool.metadata:
        tree.mend()
    tool.clear(tree)
    return measured
