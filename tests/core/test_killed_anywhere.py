"""SIGKILL before every system call of every operation, then boot."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from lib import forks, operations, seam, tree
from lib.helper import Helper
from lib.ncf import Core
from lib.operations import Operation, World, is_open, leftovers


def killed(core: Core, directory: Path, operation: Operation, k: int) -> World:
    """A world whose operation was killed just before its k-th call."""
    world = operation.prepare(core, directory / f"host-{k}")

    def child() -> int:
        with seam.watching(core, seam.dying_at(k)) as events:
            operation.act(core, world.root)
        return len(events)

    ended = forks.run(child)
    # On a slow machine files are old enough at the start not to be synced again: fewer calls.
    assert ended.signal == signal.SIGKILL or ended.value < k
    return world


def booted(helper: Helper, world: World) -> None:
    """Boot once and once more: the second time changes nothing, and nothing is left over."""
    assert helper.boot(world.root) == 0
    once = tree.capture(world.root, state=True, identity=True)
    assert helper.boot(world.root) == 0
    twice = tree.capture(world.root, state=True, identity=True)
    assert tree.differences(once, twice) == []
    assert not is_open(world.root)
    assert leftovers(world.root) == []


def check_now(core: Core, operation: Operation, world: World) -> None:
    """What must hold between the crash and the boot."""
    if operation in (operations.START, operations.START_ON_WRITE):
        # Nothing half-saved looks like a snapshot: it is whole, or it is not there.
        assert core.status(world.root).open == is_open(world.root)
        if is_open(world.root):
            assert core.diff(world.root) == []
    elif operation is operations.COMMIT:
        assert tree.differences(world.new, tree.capture(world.root)) == []
    elif operation in (operations.ANNOUNCE, operations.RESTORE):
        assert is_open(world.root)
        core.diff(world.root)
    if operation is operations.ANNOUNCE:
        assert tree.differences(world.new, tree.capture(world.root)) == []
    assert operations.torn_files(world) == [] or operation is operations.RESTORE


@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_boot_after_a_kill_at_every_change(
    core: Core, helper: Helper, fast_dir: Path, operation: Operation
) -> None:
    """Whenever it was killed, boot leaves the old tree; or the new one, where commit was done."""
    calls = operations.events(core, fast_dir, operation)
    assert len(calls) > 10
    boot_after_kills(core, helper, fast_dir, operation, calls, operations.kill_points(calls))


@pytest.mark.slow
@pytest.mark.parametrize("operation", [operations.COMMIT, operations.ROLLBACK], ids=str)
def test_boot_after_a_kill_between_reads(
    core: Core, helper: Helper, fast_dir: Path, operation: Operation
) -> None:
    """The same before every single call, those included between which nothing changes on disk."""
    calls = operations.events(core, fast_dir, operation)
    every = list(range(1, len(calls) + 1))
    boot_after_kills(core, helper, fast_dir, operation, calls, every)


def boot_after_kills(
    core: Core,
    helper: Helper,
    fast_dir: Path,
    operation: Operation,
    calls: list[seam.Event],
    points: list[int],
) -> None:
    for k in points:
        world = killed(core, fast_dir, operation, k)
        where = f"killed before call {k}, {calls[k - 1]}"
        check_now(core, operation, world)
        committed = operation is operations.COMMIT and not is_open(world.root)
        booted(helper, world)
        wanted = world.new if committed else world.old
        assert operations.differences(operation, wanted, tree.capture(world.root)) == [], where
        if operation is operations.ROLLBACK:
            assert operations.lost_contents(world) == [], where
        shutil.rmtree(world.root)


@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_calling_again_after_a_kill_at_every_change(
    core: Core, fast_dir: Path, operation: Operation
) -> None:
    """Without a reboot, the next process can repeat the call, or finish the change, too."""
    calls = operations.events(core, fast_dir, operation)
    for k in operations.kill_points(calls):
        world = killed(core, fast_dir, operation, k)
        root, where = world.root, f"killed before call {k}, {calls[k - 1]}"
        if operation in (operations.START, operations.START_ON_WRITE):
            if not is_open(root):
                operation.act(core, root)
            core.rollback(root)
            wanted = world.old
        elif operation is operations.ANNOUNCE:
            core.announce(root, operations.SECOND)
            (root / operations.SECOND).write_bytes(b"edited after the announcement")
            core.rollback(root)
            wanted = world.old
        elif operation is operations.RESTORE:
            operation.act(core, root)
            core.rollback(root)
            wanted = world.old
        else:
            wanted = world.new if operation is operations.COMMIT else world.old
            if is_open(root):
                operation.act(core, root)
        assert operations.differences(operation, wanted, tree.capture(root)) == [], where
        assert leftovers(root) == [], where
        shutil.rmtree(root)


@pytest.mark.slow
def test_boot_killed_after_a_kill(core: Core, helper: Helper, fast_dir: Path) -> None:
    """A rollback that was killed, then killed again in its second run, is finished by the third."""
    points = operations.kill_points(operations.events(core, fast_dir, operations.ROLLBACK))
    for first in points[::5]:
        for second in points[::3]:
            world = killed(core, fast_dir, operations.ROLLBACK, first)

            def again(root: Path = world.root, k: int = second) -> None:
                with seam.watching(core, seam.dying_at(k)):
                    core.rollback(root)

            if is_open(world.root):
                forks.run(again)
            booted(helper, world)
            where = f"killed before call {first}, then before call {second}"
            assert tree.differences(world.old, tree.capture(world.root)) == [], where
            assert operations.lost_contents(world) == [], where
            shutil.rmtree(world.root)
