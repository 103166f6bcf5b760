"""Every system call of every operation fails: the tree is whole, nothing leaks, nothing lies."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import remove
from core.test_handle import Error
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
    words = "a symbolic link is in the way" if error == errno.ELOOP else os.strerror(error)
    assert words in failure.details or (
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
    tree.write(root, "etc/netcf/scope.d/10-more.conf", b"etc/more/*\n")
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


def once(call: str, name: bytes, error: int, nth: int = 1) -> seam.Act:
    """The nth call of this name on this path fails; 0: every one."""
    seen = []

    def act(event: seam.Event, _number: int) -> int:
        seen.append(event == (call, name))
        return error if seen[-1] and nth in (0, sum(seen)) else 0

    return act


def refused(core: Core, call: Callable[[], object], act: seam.Act, *words: str) -> NcfError:
    """It fails with these words."""
    with seam.watching(core, act), pytest.raises(NcfError) as caught:
        call()
    for word in words:
        assert word in caught.value.details, caught.value
    return caught.value


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_filesystem_that_can_not_reserve(core: Core, root: Path, error: int) -> None:
    """It goes without a reserve, and the change starts."""
    tree.realistic(root)
    with seam.watching(core, once("fallocate", b".netcf-reserve-1", error)):
        core.start(root)
    assert is_open(root) and (root / operations.STATE / ".netcf-reserve-1").stat().st_size == 0


@pytest.mark.parametrize("error", [errno.ENODATA, errno.EIO])
def test_an_attribute_that_is_gone_when_it_is_read(core: Core, root: Path, error: int) -> None:
    """Removed since it was listed, it is none; one that can't be read fails the start."""
    tree.realistic(root)
    os.setxattr(root / operations.FIRST, "user.test", b"x")
    act = once("getxattr", b"user.test", error)
    if error == errno.EIO:
        refused(core, lambda: core.start(root), act, "extended attributes", operations.FIRST)
        assert not is_open(root) and leftovers(root) == []
    else:
        with seam.watching(core, act):
            core.start(root)
        os.removexattr(root / operations.FIRST, "user.test")
        assert core.diff(root) == []


def test_a_filesystem_without_attributes(core: Core, root: Path) -> None:
    """Its files have none; everything else is saved and put back."""
    before = tree.realistic(root)
    with seam.watching(core, once("listxattr", b"", errno.EOPNOTSUPP, 0)):
        core.start(root)
        tree.lock_out(root)
        core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_the_attributes_of_a_link_without_proc(core: Core, root: Path) -> None:
    """Where they can't be reached there is none that matters; of a file that is an error."""
    tree.realistic(root)
    (root / "etc/netplan/link.yaml").symlink_to("01-base.yaml")

    def act(event: seam.Event, _number: int) -> int:
        kinds.append(event)
        return errno.ENOENT if event.call == "listxattr" and kinds[-2].call == "readlinkat" else 0

    kinds: list[seam.Event] = [seam.Event("", b"")]
    with seam.watching(core, act) as events:
        core.start(root)
    assert seam.positions(events, "readlinkat")
    refused(core, lambda: core.diff(root), once("listxattr", b"", errno.ENOENT), "extended attributes")


def test_whether_one_is_open_is_not_known(core: Core, root: Path) -> None:
    """A snapshot that can't be opened is neither an open change nor none."""
    tree.realistic(root)
    core.start(root)
    act = once("openat", b"network-snapshot.tar", errno.EACCES)
    failure = refused(core, lambda: core.start(root), act, "network-snapshot.tar")
    assert failure.code == ncf.EFILE and is_open(root)


def test_a_start_that_can_not_be_taken_back_durably(core: Core, root: Path) -> None:
    """Its snapshot is gone now, but may be there after a power cut: it says so."""
    tree.realistic(root)
    core.start(root)
    core.commit(root)
    refused(core, lambda: core.start(root), once("fsync", b"var/lib/netcf", errno.EIO, 0), "snapshot may be there all the same")
    assert not is_open(root)


def test_a_commit_of_none_that_can_not_be_made_durable(core: Core, root: Path) -> None:
    """A commit that was killed may have removed the snapshot a moment ago: that is not durable, and not "no transaction"."""
    tree.realistic(root)
    core.start(root)
    core.commit(root)
    failure = refused(core, lambda: core.commit(root), once("fsync", b"var/lib/netcf", errno.EIO), "durable", "var/lib/netcf")
    assert failure.code == ncf.EFILE


def test_a_snapshot_that_can_not_be_removed_from_a_disk_gone_read_only(core: Core, root: Path) -> None:
    """Files were restored before: that is no success."""
    before = tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    act = once("unlinkat", b"network-snapshot.tar", errno.EROFS)
    refused(core, lambda: core.rollback(root), act, "every file is as it was saved; the change is not closed yet")
    assert is_open(root) and tree.differences(before, tree.capture(root)) == []


@pytest.mark.parametrize("call", ["getdents", "unlinkat"])
def test_a_commit_of_a_damaged_snapshot_fails(core: Core, root: Path, call: str) -> None:
    """Where the scope can't be listed, or a leftover not removed, the snapshot is not dropped."""
    tree.realistic(root)
    core.start(root)
    os.truncate(root / operations.SNAPSHOT, 700)
    kept = tree.without_directory_times(tree.capture(root))
    (root / "etc/netplan/.netcf-tmp-0").write_bytes(b"left")
    name = b"etc/netplan" if call == "getdents" else b".netcf-tmp-0"
    refused(core, lambda: core.commit(root), once(call, name, errno.EIO), "etc/netplan")
    assert is_open(root)
    core.commit(root)
    assert not is_open(root) and tree.temporary_files(root) == []
    assert tree.differences(kept, tree.without_directory_times(tree.capture(root))) == []


def test_a_hole_that_can_not_be_made(core: Core, root: Path) -> None:
    """A file that ends in zeros and can't be given its size is not put in place."""
    tree.realistic(root)
    tree.write(root, operations.FIRST, b"x" + bytes(8191))
    before = tree.capture(root)
    core.start(root)
    (root / operations.FIRST).write_bytes(b"edited")
    refused(core, lambda: core.rollback(root), once("ftruncate", operations.FIRST.encode(), errno.EIO), "can't write", operations.FIRST)
    assert (root / operations.FIRST).read_bytes() == b"edited" and is_open(root)
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


@pytest.mark.root
@pytest.mark.parametrize("content", [b"edited", None], ids=["content", "metadata"])
def test_a_file_that_can_not_be_unlocked(core: Core, root: Path, content: bytes | None) -> None:
    """Its flags can't be taken off, so it stays as it is, with nothing beside it, and the change stays open."""
    path = root / operations.FIRST
    before = tree.realistic(root)
    core.start(root)
    if content:
        path.write_bytes(content)
    else:
        path.chmod(0o640)
    tree.set_flags(path, tree.IMMUTABLE)
    edited = tree.capture(root)[operations.FIRST.encode()]
    refused(core, lambda: core.rollback(root), once("ioctl", operations.FIRST.encode(), errno.EIO), "inode flags", operations.FIRST)
    assert tree.capture(root)[operations.FIRST.encode()] == edited
    assert tree.temporary_files(root) == [] and is_open(root)
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


@pytest.mark.root
@pytest.mark.parametrize("nth", [1, 2], ids=["unlocked", "locked again"])
@pytest.mark.parametrize("name", [b".", b".netcf-tmp-0"], ids=["directory", "file"])
def test_a_leftover_that_can_not_be_unlocked(core: Core, root: Path, name: bytes, nth: int) -> None:
    """It is an error that names it, and the commit after it ends the change; a flag that was not set again is the price."""
    tree.realistic(root)
    core.start(root)
    directory = root / "etc/netplan"
    os.link(directory / "01-base.yaml", directory / ".netcf-tmp-0")
    for path in (directory / "01-base.yaml", directory):
        tree.set_flags(path, tree.IMMUTABLE)
    refused(core, lambda: core.commit(root), once("ioctl", name, errno.EIO, nth), "can't remove", "etc/netplan/.netcf-tmp-0")
    assert is_open(root)
    core.commit(root)
    assert not is_open(root) and tree.temporary_files(root) == []


def test_an_added_file_that_comes_back(core: Core, root: Path) -> None:
    """Nothing is believed that was not read back: who writes it again meanwhile keeps the change open."""
    tree.realistic(root)
    core.start(root)
    added = root / "etc/netplan/90-added.yaml"
    added.write_bytes(b"added")

    def act(event: seam.Event, _number: int) -> None:
        if event == ("fsync", b"etc/netplan"):
            added.write_bytes(b"again")

    refused(core, lambda: core.rollback(root), act, "does not read back as saved", "etc/netplan/90-added.yaml")
    assert is_open(root)
    core.rollback(root)
    assert not added.exists()


@pytest.mark.parametrize("taken", ["file", "link", "directory", "all", "file that stays"])
def test_somebody_takes_the_temporary_names(core: Core, root: Path, taken: str) -> None:
    """A file or a link under such a name is nobody's and goes; a directory stays, and another name is found, if there is one."""
    before = tree.realistic(root)
    core.start(root)
    (root / operations.FIRST).write_bytes(b"edited")
    place = (root / operations.FIRST).parent
    done = []

    def act(event: seam.Event, _number: int) -> int:
        if event == ("openat-create", b".netcf-tmp-0") and not done:
            done.append(event)
            if taken in ("file", "file that stays"):
                (place / ".netcf-tmp-0").write_bytes(b"not ours")
            elif taken == "link":
                (place / ".netcf-tmp-0").symlink_to("/etc/passwd")
            for number in range({"directory": 1, "all": 100}.get(taken, 0)):
                (place / f".netcf-tmp-{number}").mkdir()
        return errno.EIO if taken == "file that stays" and event == ("unlinkat", b".netcf-tmp-0") else 0

    if taken in ("all", "file that stays"):
        refused(core, lambda: core.rollback(root), act, "can't create", operations.FIRST)
        assert (root / operations.FIRST).read_bytes() == b"edited" and is_open(root)
        return
    with seam.watching(core, act):
        core.rollback(root)
    left = [place / ".netcf-tmp-0"] if taken == "directory" else []
    assert list(place.glob(".netcf-tmp-*")) == left
    for path in left:
        path.rmdir()
    assert tree.differences(tree.without_directory_times(before), tree.without_directory_times(tree.capture(root))) == []


@pytest.mark.parametrize("name", [".netcf-tmp", "network-snapshot.tar"])
def test_nowhere_to_move_a_directory_away_to(core: Core, root: Path, name: str) -> None:
    """A directory under a name of ours, where all names for such ones are taken: an error that names it, and no snapshot."""
    tree.realistic(root)
    state = root / operations.STATE
    core.start(root)
    core.commit(root)
    for number in range(1, 100):
        (state / f"in-the-way-{number}/kept").mkdir(parents=True)

    def act(event: seam.Event, _number: int) -> None:
        if event.call == "renameat" or name == ".netcf-tmp":
            (state / name).mkdir(exist_ok=True)

    refused(core, lambda: core.start(root), act, "can't ", "var/lib/netcf/.netcf-tmp")
    assert (state / name).is_dir() and len(list(state.glob("in-the-way-*"))) == 99


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EIO])
def test_a_discarded_one_that_is_gone_when_it_is_looked_at(core: Core, root: Path, error: int) -> None:
    """Pruned since it was listed, it is none; one that can't be looked at is an error."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    core.rollback(root)
    act = once("statx", b"network-rollback-00000001.tar", error)
    if error == errno.EIO:
        refused(core, lambda: core.discarded(root), act, "network-rollback-00000001.tar")
    else:
        with seam.watching(core, act):
            assert core.discarded(root) == []
    assert len(core.discarded(root)) == 1


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EPERM])
def test_a_discarded_one_that_can_not_be_pruned(core: Core, root: Path, error: int) -> None:
    """The rollback succeeds, and says so; where it is gone already there is nothing to say."""
    before = tree.realistic(root)
    core.start(root)
    for number in range(1, 21):
        (root / operations.STATE / f"network-rollback-{number:08}.tar").touch()
    tree.lock_out(root)
    with seam.watching(core, once("unlinkat", b"network-rollback-00000001.tar", error)):
        result = core.rollback(root)
    assert (b"could not be removed" in result.notice) == (error == errno.EPERM)
    assert tree.differences(before, tree.capture(root)) == []


def test_the_state_directory_goes_while_its_lock_is_waited_for(core: Core, root: Path) -> None:
    """A failed first start removed it: another is made, and the change is in that one."""
    tree.realistic(root)
    gone = []

    def act(event: seam.Event, _number: int) -> None:
        if event.call == "flock" and not gone:
            gone.append(event)
            (root / operations.STATE).rmdir()

    with seam.watching(core, act):
        core.start(root)
    assert gone and is_open(root)
    assert core.diff(root) == []


NOT_BACK = [("openat-create", b".netcf-tmp"), ("write", b".netcf-tmp"), ("fsync", b".netcf-tmp"), ("renameat", b"not-back"), ("unlinkat", b".netcf-tmp")]


class Store(ctypes.Structure):
    """csrc/store.h: struct store."""

    _fields_ = [("fd", ctypes.c_int), ("made", ctypes.c_int)]


@pytest.mark.parametrize("call", NOT_BACK, ids=[call for call, _ in NOT_BACK])
def test_what_is_not_back_can_not_be_kept(core: Core, root: Path, call: tuple[str, bytes]) -> None:
    """It is an error, and what status tells is what it told before."""
    tree.realistic(root)
    core.start(root)
    state, top = (os.open(root / path, os.O_RDONLY) for path in (operations.STATE, "."))
    store, error, room = Store(state), Error(), ctypes.create_string_buffer(64)
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()

    def told() -> bytes:
        core.lib.change_not_back(top, room, ctypes.c_size_t(64))
        return room.value

    assert told() == b""
    assert core.lib.store_keep_not_back(ctypes.byref(store), boot + b"\neth0", ctypes.byref(error)) == 0
    assert told() == b"eth0"
    with seam.watching(core, once(*call, errno.EIO)):
        assert core.lib.store_keep_not_back(ctypes.byref(store), boot + b"\neth1", ctypes.byref(error)) == -1
    assert error.code == ncf.EFILE and error.path.startswith(b"var/lib/netcf/")
    assert told() == b"eth0"
    for text in (boot, b"another-boot\neth0"):
        (root / operations.STATE / "not-back").write_bytes(text)
        assert told() == b""
    core.lib.change_not_back(state, room, ctypes.c_size_t(64))  # a root without a state directory
    assert room.value == b""
    for fd in (state, top):
        os.close(fd)


def test_an_announced_file_that_keeps_changing(core: Core, root: Path) -> None:
    """It is not saved, and must not be modified: the announcement says both."""
    tree.realistic(root)
    core.start(root, ncf.START_ON_WRITE)
    path = root / operations.FIRST

    def act(event: seam.Event, _number: int) -> None:
        if event.call in ("read", "pread") and os.path.basename(event.name) == os.fsencode(path.name):
            path.write_bytes(path.read_bytes() + b"more")

    refused(core, lambda: core.announce(root, operations.FIRST), act, "keeps changing", "do not modify it", operations.FIRST)
    with core.open(root) as handle:
        assert handle.status().files == 0
