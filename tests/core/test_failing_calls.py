"""Every system call of every operation fails once: the tree is whole, nothing leaks, nothing lies."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from lib import ncf, operations, seam, tree
from lib.ncf import Core, NcfError
from lib.operations import Operation, World, is_open, leftovers

ERRORS = [errno.EIO, errno.ENOSPC]
ERROR_IDS = ["EIO", "ENOSPC"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def attempt(
    core: Core, world: World, operation: Operation, k: int, error: int
) -> tuple[NcfError | None, bytes]:
    """Run with the k-th call failing: the error it ended with, or None and the result's notice."""
    before = descriptors()
    failure, result = None, None
    with seam.watching(core, seam.failing_at(k, error)):
        try:
            result = operation.act(core, world.root)
        except NcfError as caught:
            failure = caught
    assert descriptors() == before, "a descriptor leaked"
    return failure, result.notice if isinstance(result, ncf.Result) else b""


def check_error(failure: NcfError, error: int) -> None:
    """The error says which step failed on which path and why."""
    assert failure.code in (ncf.EFILE, ncf.ENOENT), str(failure)
    assert os.strerror(error) in failure.details, str(failure)
    step, _, rest = failure.details.partition(": ")
    assert step and rest.partition(": ")[0].strip(), str(failure)


def check_start(core: Core, world: World, failure: NcfError | None, notice: bytes) -> None:
    assert tree.differences(world.old, tree.capture(world.root)) == []
    if failure is None:
        assert is_open(world.root)
        assert core.diff(world.root) == []
        core.commit(world.root)
    else:
        assert not is_open(world.root), f"a failed start left a snapshot: {failure}"
        assert leftovers(world.root) == [], str(failure)
    core.start(world.root)
    assert core.diff(world.root) == []


def check_commit(core: Core, world: World, failure: NcfError | None, notice: bytes) -> None:
    assert tree.differences(world.new, tree.capture(world.root)) == []
    if failure is None:
        assert not is_open(world.root)
    elif is_open(world.root):
        core.commit(world.root)
    else:
        assert "removed the snapshot" in failure.details
    assert tree.differences(world.new, tree.capture(world.root)) == []
    assert leftovers(world.root) == []


def check_rollback(core: Core, world: World, failure: NcfError | None, notice: bytes) -> None:
    assert operations.torn_files(world) == []
    if failure is None:
        assert not is_open(world.root)
    elif is_open(world.root):
        core.rollback(world.root)
    else:
        assert "removed the snapshot" in failure.details
    assert tree.differences(world.old, tree.capture(world.root)) == []
    # What can't be read can't be kept, but then the result says so.
    assert operations.lost_contents(world) == [] or notice
    assert leftovers(world.root) == []


def check_announce(core: Core, world: World, failure: NcfError | None, notice: bytes) -> None:
    assert is_open(world.root)
    assert tree.differences(world.new, tree.capture(world.root)) == []
    assert tree.temporary_files(world.root) == []
    if failure is None:
        (world.root / operations.SECOND).write_bytes(b"edited")
    core.rollback(world.root)
    left = operations.differences(operations.ANNOUNCE, world.old, tree.capture(world.root))
    assert left == []
    assert leftovers(world.root) == []


def check_restore(core: Core, world: World, failure: NcfError | None, notice: bytes) -> None:
    assert is_open(world.root)
    core.rollback(world.root)
    assert tree.differences(world.old, tree.capture(world.root)) == []
    assert leftovers(world.root) == []


CHECKS = {
    "start": check_start,
    "start-on-write": check_start,
    "commit": check_commit,
    "rollback": check_rollback,
    "announce": check_announce,
    "restore": check_restore,
}


@pytest.mark.parametrize("error", ERRORS, ids=ERROR_IDS)
@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_every_call_fails_once(
    core: Core, fast_dir: Path, operation: Operation, error: int
) -> None:
    """Whichever call fails: old or complete, the snapshot not lost, nothing left, an exact error."""
    calls = operations.events(core, fast_dir, operation)
    broken = []
    for k in range(1, len(calls) + 1):
        world = operation.prepare(core, fast_dir / f"host-{k}")
        failure, notice = attempt(core, world, operation, k, error)
        try:
            if failure is not None:
                check_error(failure, error)
            if failure is None and is_reserve(calls[k - 1]):
                clean_up(core, world)
            CHECKS[operation.name](core, world, failure, notice)
        except (AssertionError, NcfError) as problem:
            broken.append(f"call {k}, {calls[k - 1]}, failed: {str(problem).splitlines()[0]}")
        shutil.rmtree(world.root)
    assert not broken, "\n".join(broken)


def is_reserve(event: seam.Event) -> bool:
    """A call about the space kept in reserve: what is left of it, the next call removes."""
    return event.name.startswith(b".netcf-reserve-")


def clean_up(core: Core, world: World) -> None:
    """What boot does where nothing is open."""
    if is_open(world.root):
        return
    with pytest.raises(NcfError) as caught:
        core.rollback(world.root)
    assert caught.value.code == ncf.EINVALIDOP


def tolerated(core: Core, directory: Path, operation: Operation) -> set[str]:
    """The calls, without numbers, that may fail with EIO while the operation succeeds."""
    calls = operations.events(core, directory, operation)
    found = set()
    for k in range(1, len(calls) + 1):
        world = operation.prepare(core, directory / f"host-{k}")
        if attempt(core, world, operation, k, errno.EIO)[0] is None:
            found.add(str(calls[k - 1]))
        shutil.rmtree(world.root)
    return found


@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_no_fsync_may_fail_unnoticed(core: Core, fast_dir: Path, operation: Operation) -> None:
    """Every fsync, rename, write, link and removal that fails makes the call fail."""
    writing = ("fsync", "renameat", "write", "pwrite", "linkat", "symlinkat", "mkdirat", "openat-create")
    ignored = [row for row in tolerated(core, fast_dir, operation) if row.startswith(writing)]
    assert ignored == []


def test_a_failed_fsync_is_not_retried(core: Core, fast_dir: Path) -> None:
    """After fsync failed on a file of the snapshot, the start makes no second fsync of it."""
    world = operations.START.prepare(core, fast_dir / "host")

    def act(event: seam.Event, _number: int) -> int:
        return errno.EIO if event == ("fsync", b".netcf-tmp") else 0

    with seam.watching(core, act) as events, pytest.raises(NcfError) as caught:
        core.start(world.root)
    assert events.count(seam.Event("fsync", b".netcf-tmp")) == 1
    assert "can't make durable" in caught.value.details


def test_a_disk_that_stays_broken(core: Core, fast_dir: Path) -> None:
    """Where every fsync fails, each operation fails and the snapshot stays."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")

    def act(event: seam.Event, _number: int) -> int:
        return errno.EIO if event.call == "fsync" else 0

    for call in (core.commit, core.rollback):
        with seam.watching(core, act), pytest.raises(NcfError) as caught:
            call(world.root)
        assert caught.value.code == ncf.EFILE
        assert is_open(world.root)
        assert operations.torn_files(world) == []
    core.rollback(world.root)
    assert tree.differences(world.old, tree.capture(world.root)) == []


def test_one_path_that_fails_does_not_stop_the_others(core: Core, fast_dir: Path) -> None:
    """Rollback restores every file it can; the error names the one it can't, the change stays open."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")
    other = b"etc/sysconfig/network-scripts/route-br0"

    def act(event: seam.Event, _number: int) -> int:
        return errno.EIO if event.call == "renameat" and event.name == b"ifcfg-br0" else 0

    with core.open(world.root) as handle:
        with seam.watching(core, act), pytest.raises(NcfError) as caught:
            handle.rollback()
        assert handle.result().failed >= 1
    assert "etc/sysconfig/network-scripts/ifcfg-br0" in caught.value.details
    assert is_open(world.root)
    after = tree.capture(world.root)
    assert after[other] == world.old[other]
    assert after[b"etc/netplan/01-base.yaml"] == world.old[b"etc/netplan/01-base.yaml"]
    core.rollback(world.root)
    assert tree.differences(world.old, tree.capture(world.root)) == []


def test_failure_of_the_removal_at_commit(core: Core, fast_dir: Path) -> None:
    """A snapshot that can't be removed makes commit fail, and the change stays open."""
    world = operations.COMMIT.prepare(core, fast_dir / "host")

    def act(event: seam.Event, _number: int) -> int:
        return errno.EPERM if event == ("unlinkat", b"network-snapshot.tar") else 0

    with seam.watching(core, act), pytest.raises(NcfError) as caught:
        core.commit(world.root)
    assert caught.value.code == ncf.EFILE
    assert "network-snapshot.tar" in caught.value.details
    assert core.status(world.root).open == 1


def test_memory_is_not_lost_on_failure(core: Core, fast_dir: Path) -> None:
    """Hundreds of failing operations on one handle do not make the process grow."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    def act(event: seam.Event, _number: int) -> int:
        return errno.EIO if event == ("fsync", b"var/lib/netcf") else 0

    with core.open(world.root) as handle, seam.watching(core, act) as events:
        for number in range(300):
            with pytest.raises(NcfError):
                handle.start()
            events.clear()
            if number == 100:
                before = resident()
    assert resident() - before < 256  # pages
