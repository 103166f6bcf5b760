"""Every system call of every operation fails: the tree is whole, nothing leaks, nothing lies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import remove
from lib import ncf, operations, seam, tree
from lib.ncf import Core, NcfError
from lib.operations import Operation, World, is_open, leftovers

# The core frees space when it hears ENOSPC: every call fails with it.  The others take turns,
# unless NCF_FULL=1 asks for all of them.
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EPERM", "EACCES", "EINTR", "EMFILE", "ENOMEM", "EXDEV", "EBUSY", "ELOOP")
WRITING = ("fsync", "renameat", "write", "pwrite", "linkat", "symlinkat", "mkdirat", "openat-create")
FULL = os.environ.get("NCF_FULL") == "1"


class Fault(NamedTuple):
    """The k-th call fails with this error; a lasting one lets every later call fail, too."""

    k: int
    error: int
    lasting: bool

    def act(self, _event: seam.Event, number: int) -> int:
        return self.error if number == self.k or (self.lasting and number > self.k) else 0

    def __str__(self) -> str:
        lasting = " and all later ones" if self.lasting else ""
        return f"call {self.k}{lasting}, {errno.errorcode[self.error]}"


def faults(calls: int, lasting: bool) -> Iterator[Fault]:
    for k in range(1, calls + 1):
        names = [ERRORS[k % 12]] if lasting else [ERRORS[0], ERRORS[1 + k % 11]]
        for name in ERRORS if FULL else names:
            yield Fault(k, getattr(errno, name), lasting)


def is_reserve(event: seam.Event) -> bool:
    """A call about the space kept in reserve: what is left of it, the next call removes."""
    return event.name.startswith(b".netcf-reserve-")


def boot(core: Core, root: Path) -> None:
    """What boot does: rolls back, or finds nothing open."""
    try:
        core.rollback(root)
    except NcfError as caught:
        if caught.code != ncf.EINVALIDOP:
            raise


class Outcome(NamedTuple):
    """The error an operation ended with, or None and the result's notice."""

    failure: NcfError | None
    notice: bytes
    fault: Fault
    call: seam.Event | None  # that failed; a slow machine makes fewer, for its files are older at the start


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def attempt(core: Core, world: World, operation: Operation, fault: Fault) -> Outcome:
    before = descriptors()
    failure, result = None, None
    with seam.watching(core, fault.act) as events:
        try:
            result = operation.act(core, world.root)
        except NcfError as caught:
            failure = caught
    assert descriptors() == before, "a descriptor leaked"
    notice = result.notice if isinstance(result, ncf.Result) else b""
    return Outcome(failure, notice, fault, events[fault.k - 1] if len(events) >= fault.k else None)


def check_error(failure: NcfError, error: int) -> None:
    """The error says which step failed on which path and why."""
    assert failure.code in ({ncf.ENOMEM} if error == errno.ENOMEM else {ncf.EFILE, ncf.ENOENT}), str(failure)
    # A link on the way means that what was restored is not there: this is found by reading back.
    assert os.strerror(error) in failure.details or (
        error == errno.ELOOP and "does not read back" in failure.details
    ), str(failure)
    step, _, rest = failure.details.partition(": ")
    assert step and rest.partition(": ")[0].strip(), str(failure)


def check_start(core: Core, world: World, outcome: Outcome) -> None:
    assert tree.differences(world.old, tree.capture(world.root)) == []
    if outcome.failure is None:
        assert is_open(world.root)
        assert core.diff(world.root) == []
        core.commit(world.root)
    elif outcome.fault.lasting:
        # What can't be taken away again is said to be there perhaps, and boot ends it.
        assert not is_open(world.root) or "snapshot may be there" in outcome.failure.details, str(outcome.failure)
        boot(core, world.root)
    else:
        assert not is_open(world.root), f"a failed start left a snapshot: {outcome.failure}"
    assert leftovers(world.root) == [], str(outcome.failure)
    core.start(world.root)
    assert core.diff(world.root) == []


def check_commit(core: Core, world: World, outcome: Outcome) -> None:
    assert tree.differences(world.new, tree.capture(world.root)) == []
    if outcome.failure is None:
        assert not is_open(world.root)
    elif is_open(world.root):
        core.commit(world.root)
    else:
        assert "removed the snapshot" in outcome.failure.details
    assert tree.differences(world.new, tree.capture(world.root)) == []
    assert leftovers(world.root) == []


def check_rollback(core: Core, world: World, outcome: Outcome) -> None:
    assert operations.torn_files(world) == []
    if outcome.failure is None:
        assert not is_open(world.root)
    elif is_open(world.root):
        core.rollback(world.root)
    else:
        assert "removed the snapshot" in outcome.failure.details
    assert tree.differences(world.old, tree.capture(world.root)) == []
    # What can't be read can't be kept, but then the result says so.
    assert operations.lost_contents(world) == [] or outcome.notice
    assert leftovers(world.root) == []


def check_announce(core: Core, world: World, outcome: Outcome) -> None:
    assert is_open(world.root)
    assert tree.differences(world.new, tree.capture(world.root)) == []
    assert outcome.fault.lasting or tree.temporary_files(world.root) == []
    if outcome.failure is None:
        (world.root / operations.SECOND).write_bytes(b"edited")
    core.rollback(world.root)
    left = operations.differences(operations.ANNOUNCE, world.old, tree.capture(world.root))
    assert left == []
    assert leftovers(world.root) == []


def check_restore(core: Core, world: World, outcome: Outcome) -> None:
    assert is_open(world.root)
    core.rollback(world.root)
    assert tree.differences(world.old, tree.capture(world.root)) == []
    assert leftovers(world.root) == []


CHECKS = {
    "start": check_start,
    "start-on-write": check_start,
    "commit": check_commit,
    "rollback": check_rollback,
    "rollback-metadata": check_rollback,
    "announce": check_announce,
    "restore": check_restore,
}


def broken_by(core: Core, directory: Path, operation: Operation, fault: Fault) -> str:
    """What does not hold after the fault; "" if all does."""
    world = operation.prepare(core, directory / "host")
    call = None
    try:
        outcome = attempt(core, world, operation, fault)
        call = outcome.call
        if outcome.failure is not None:
            check_error(outcome.failure, fault.error)
        elif call and call.call in WRITING and not fault.lasting:
            assert fault.error in (errno.ENOSPC, errno.EDQUOT), "not noticed"
        elif call and is_reserve(call) and not is_open(world.root):
            boot(core, world.root)
        CHECKS[operation.name](core, world, outcome)
    except (AssertionError, NcfError) as problem:
        return f"{fault}, {call}: {str(problem).splitlines()[0]}"
    finally:
        remove(world.root)
    return ""


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)
def test_every_call_fails(core: Core, fast_dir: Path, operation: Operation, lasting: bool) -> None:
    """Whichever call fails: old or complete, the snapshot not lost, nothing left, an exact error."""
    calls = operations.events(core, fast_dir, operation)
    problems = [
        broken_by(core, fast_dir, operation, fault)
        for fault in faults(len(calls), lasting)
    ]
    assert "".join(problems) == "", "\n".join(filter(None, problems))


def list_scope(core: Core, root: Path) -> None:
    with core.open(root) as handle:
        handle.scope()


def closed(core: Core, root: Path) -> World:
    """A host on which a change was rolled back: nothing is open."""
    world = operations.ROLLBACK.prepare(core, root)
    core.rollback(root)
    return World(root, world.old, world.old)


READERS = [
    Operation("status", operations.ROLLBACK.prepare, lambda core, root: core.status(root)),
    Operation("diff", operations.ROLLBACK.prepare, lambda core, root: core.diff(root)),
    Operation("scope", closed, list_scope),
    Operation("discarded", closed, lambda core, root: core.discarded(root)),
    Operation("boot", closed, boot),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_every_call_of_a_reader_fails(core: Core, fast_dir: Path, reader: Operation) -> None:
    """What only reads says exactly why it can't, and touches nothing."""
    calls = operations.events(core, fast_dir, reader)
    world = reader.prepare(core, fast_dir / "host")
    before = tree.capture(world.root, state=True, identity=True)
    for lasting in (False, True):
        for fault in faults(len(calls), lasting):
            outcome = attempt(core, world, reader, fault)
            if outcome.failure is not None:
                check_error(outcome.failure, fault.error)
    assert tree.differences(before, tree.capture(world.root, state=True, identity=True)) == []


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
