"""driver.c: one operation of the shipped library, under a fault below its system calls."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from lib import operations, tree
from lib.ncf import Core
from lib.operations import Operation, World, is_open, leftovers


class Ran(NamedTuple):
    """What the call returned, what ncf_error() says, and how many faults were possible or dealt."""

    result: int
    code: int
    count: int


class Driver:
    """The program; `wrapper` is put in front of it."""

    def __init__(self, program: Path, wrapper: tuple[str, ...] = ()) -> None:
        self.command = (*wrapper, str(program))

    def run(self, root: Path, operation: str, fault: str = "none", k: int = 0) -> Ran:
        done = subprocess.run(
            [*self.command, root, operation, fault, str(k)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{operation}, {fault} {k}: exit {done.returncode}\n{done.stderr}"
        return Ran(*map(int, done.stdout.split()))


def check(core: Core, operation: Operation, world: World, succeeded: bool, kept: bool = True) -> None:
    """What the host must be like after the operation, and after it was finished."""
    assert operation is operations.RESTORE or operations.torn_files(world) == []
    if operation is not operations.METADATA:  # it begins with one
        assert tree.temporary_files(world.root) == []
    if operation in (operations.START, operations.START_ON_WRITE):
        assert is_open(world.root) == succeeded
        assert succeeded or leftovers(world.root) == []
        assert tree.differences(world.old, tree.capture(world.root)) == []
        return
    if operation is operations.COMMIT:
        assert is_open(world.root) != succeeded
        assert tree.differences(world.new, tree.capture(world.root)) == []
        return
    if is_open(world.root):
        core.rollback(world.root)
    assert operations.differences(operation, world.old, tree.capture(world.root)) == []
    if kept and operation in (operations.ROLLBACK, operations.METADATA):
        assert operations.lost_contents(world) == []
