"""The kernel does less than it was asked for: short reads and writes, interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import build, driver, ncf, operations, tree
from lib.driver import Driver
from lib.ncf import Core
from lib.operations import Operation

OPERATIONS = pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)


@pytest.fixture(scope="module")
def program(products: build.Products) -> Driver:
    return Driver(products.driver)


@OPERATIONS
@pytest.mark.parametrize("fault, k", [("short", 1), ("short", 511), ("interrupt", 1), ("interrupt", 7)])
def test_what_is_short_is_continued(
    core: Core, program: Driver, fast_dir: Path, operation: Operation, fault: str, k: int
) -> None:
    """However little a call transfers and however often it is interrupted, the result is the same."""
    world = operation.prepare(core, fast_dir / "host")
    ran = program.run(world.root, operation.name, fault, k)
    assert ran[:2] == (0, ncf.NOERROR)
    assert ran.count > 0
    driver.check(core, operation, world, succeeded=True)
    if operation is operations.START:
        assert core.diff(world.root) == []


@OPERATIONS
def test_endless_interruption(core: Core, program: Driver, fast_dir: Path, operation: Operation) -> None:
    """A kernel that answers nothing but EINTR can't hang a boot: it is an error."""
    world = operation.prepare(core, fast_dir / "host")
    assert program.run(world.root, operation.name, "interrupt", 10**9)[:2] == (-1, ncf.EFILE)
    driver.check(core, operation, world, succeeded=False)


@OPERATIONS
def test_writes_of_nothing(core: Core, program: Driver, fast_dir: Path, operation: Operation) -> None:
    """A write that says 0 counts as a full disk."""
    world = operation.prepare(core, fast_dir / "host")
    ran = program.run(world.root, operation.name, "nothing")
    if operation is operations.COMMIT:
        assert ran.result == 0  # it writes nothing
    else:
        assert ran[:2] == (-1, ncf.EFILE)
    # Where there is no room, reaching the host goes before keeping what was replaced.
    driver.check(core, operation, world, ran.result == 0, kept=False)
    assert tree.temporary_files(world.root) == []
