"""The defects measured on netcf's shell script (DESIGN section 9), each by name.

Every test here fails on a design that copies files one by one into a
directory and takes that directory for a snapshot.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from lib import forks, ncf, operations, seam, snapshot, tree
from lib.helper import DONE, FAILED, Helper
from lib.ncf import Core, NcfError

SCRIPTS = "etc/sysconfig/network-scripts"


def kill_each(core: Core, directory: Path, operation: operations.Operation):  # type: ignore[no-untyped-def]
    """A world for every state on disk in which a kill can leave the operation."""
    for k in operations.kill_points(operations.events(core, directory, operation)):
        world = operation.prepare(core, directory / f"host-{k}")

        def child(root: Path = world.root, k: int = k) -> None:
            with seam.watching(core, seam.dying_at(k)):
                operation.act(core, root)

        assert forks.run(child).signal == signal.SIGKILL
        yield world
        shutil.rmtree(world.root)


def test_crash_during_begin_deletes_no_file_at_boot(core: Core, helper: Helper, fast_dir: Path) -> None:
    """Files that begin had not come to when it crashed are there after the next boot."""
    for world in kill_each(core, fast_dir, operations.START):
        assert helper.boot(world.root) == DONE
        assert tree.differences(world.old, tree.capture(world.root)) == []


@pytest.mark.parametrize("kept", [0, 4096, 0.25, 0.5, 0.9, 0.95])
def test_torn_snapshot_overwrites_no_good_file(
    core: Core, helper: Helper, root: Path, kept: float
) -> None:
    """A snapshot a power cut tore, or left as zeros, restores nothing and empties nothing."""
    before = tree.realistic(root)
    core.start(root)
    path = root / operations.SNAPSHOT
    size = path.stat().st_size
    whole = path.read_bytes()
    left = int(kept if kept >= 1 or kept == 0 else size * kept)
    for torn in (whole[:left], whole[:left] + bytes(size - left)):
        path.write_bytes(torn)
        assert helper.boot(root) == FAILED
        assert tree.differences(before, tree.capture(root)) == []
        assert path.read_bytes() == torn, "the evidence was not kept"


def test_begin_on_a_full_disk_leaves_nothing_to_act_on(core: Core, helper: Helper, fast_dir: Path) -> None:
    """Begin that fails for lack of space leaves no half snapshot for the next boot."""
    for call in ("write", "openat-create", "fallocate", "fsync", "renameat"):
        root = fast_dir / call
        before = tree.realistic(root)

        def full(event: seam.Event, _number: int, call: str = call) -> int:
            return errno.ENOSPC if event.call == call else 0

        with seam.watching(core, full), pytest.raises(NcfError) as caught:
            core.start(root)
        assert os.strerror(errno.ENOSPC) in caught.value.details
        assert not operations.is_open(root)
        assert operations.leftovers(root) == []
        assert helper.boot(root) == DONE
        assert tree.differences(before, tree.capture(root)) == []


def test_crash_during_commit_deletes_no_committed_file_at_boot(
    core: Core, helper: Helper, fast_dir: Path
) -> None:
    """After a crash in commit, boot leaves all of the new configuration or all of the old."""
    for world in kill_each(core, fast_dir, operations.COMMIT):
        assert tree.differences(world.new, tree.capture(world.root)) == []
        wanted = world.old if operations.is_open(world.root) else world.new
        assert helper.boot(world.root) == DONE
        assert tree.differences(wanted, tree.capture(world.root)) == []


def test_crash_during_rollback_lets_the_second_run_finish(
    core: Core, helper: Helper, fast_dir: Path
) -> None:
    """The second run of a rollback deletes nothing that the first restored."""
    for world in kill_each(core, fast_dir, operations.ROLLBACK):
        assert helper.boot(world.root) == DONE
        assert tree.differences(world.old, tree.capture(world.root)) == []


@pytest.mark.root
def test_commit_whose_removal_fails_says_so(core: Core, helper: Helper, root: Path) -> None:
    """Commit that can't remove the snapshot exits 1, and the change is still open."""
    tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    path = root / operations.SNAPSHOT
    try:
        tree.set_flags(path, tree.IMMUTABLE)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip(f"this filesystem has no inode flags: {error.strerror}")
    done = helper.run("change-commit", root=root)
    assert done.returncode == FAILED
    assert "network-snapshot.tar" in done.stderr
    assert helper.run("status", "--open", root=root).returncode == 0
    assert tree.differences(edited, tree.capture(root)) == []
    tree.set_flags(path, 0)
    assert helper.run("change-commit", root=root).returncode == DONE


def test_start_at_boot_does_not_always_exit_0(core: Core, helper: Helper, root: Path) -> None:
    """A boot that could not roll back says so in its exit status and on standard error."""
    tree.realistic(root)
    core.start(root)
    os.truncate(root / operations.SNAPSHOT, 1000)
    done = helper.run("start", root=root)
    assert done.returncode == FAILED
    assert "network-snapshot.tar" in done.stderr


def test_of_200_pairs_of_begins_no_pair_succeeds_twice(core: Core, fast_dir: Path) -> None:
    """Of two simultaneous begins exactly one succeeds, 200 times."""
    tree.compact(fast_dir)

    def begin(_: int) -> int:
        try:
            core.start(fast_dir)
        except NcfError as error:
            return error.code
        return 0

    for _ in range(200):
        assert sorted(forks.all_at_once(2, begin)) == [0, ncf.EINVALIDOP]
        core.commit(fast_dir)


@pytest.mark.parametrize("command", ["stop", "restart", "reload", "force-reload", "condrestart", "try-restart"])
def test_init_script_commands_do_not_roll_back(
    core: Core, helper: Helper, root: Path, command: str
) -> None:
    """restart and its kin on a running host leave an open change open."""
    tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    assert helper.run(command, root=root).returncode == DONE
    assert core.status(root).open == 1
    assert tree.differences(edited, tree.capture(root)) == []


@pytest.mark.parametrize("path", [f"{SCRIPTS}/route6-eth0", f"{SCRIPTS}/rule6-eth0", f"{SCRIPTS}/keys-wlan0", "etc/modprobe.d/netcf.conf"])
def test_files_the_script_forgot_are_covered(core: Core, root: Path, path: str) -> None:
    """route6-, rule6-, keys- and modprobe.d/netcf.conf are restored, removed and put back."""
    old = Path(os.fsdecode(tree.write(root, path, b"old")))
    core.start(root)
    old.write_bytes(b"new")
    core.rollback(root)
    assert old.read_bytes() == b"old"
    core.start(root)
    old.unlink()
    core.rollback(root)
    assert old.read_bytes() == b"old"


def test_change_of_mode_alone_is_restored(core: Core, root: Path) -> None:
    """chmod without an edit is undone."""
    tree.realistic(root)
    path = root / SCRIPTS / "keys-wlan0"
    core.start(root)
    path.chmod(0o644)
    core.rollback(root)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_symbolic_links_are_not_flattened(core: Core, root: Path) -> None:
    """A link is saved and restored as a link, not as a copy of its target."""
    tree.realistic(root)
    link = root / SCRIPTS / "ifcfg-link"
    link.symlink_to("ifcfg-eth0")
    core.start(root)
    link.unlink()
    core.rollback(root)
    assert link.is_symlink() and os.readlink(link) == "ifcfg-eth0"


def test_two_rollbacks_in_one_second_keep_two_configurations(core: Core, root: Path) -> None:
    """Discarded configurations are numbered, so that one never merges into another."""
    tree.realistic(root)
    path = root / SCRIPTS / "ifcfg-eth0"
    for content in (b"first", b"second"):
        core.start(root)
        path.write_bytes(content)
        core.rollback(root)
    kept = [snapshot.contents(tree.join(root, row.path)) for row in core.discarded(root)]
    assert [list(row.values()) for row in kept] == [[b"second"], [b"first"]]


def test_begin_makes_its_work_durable(core: Core, root: Path) -> None:
    """Begin syncs the snapshot before it has its name, and the name after."""
    tree.realistic(root)
    with seam.watching(core) as events:
        core.start(root)
    syncs = seam.positions(events, "fsync")
    publish = seam.position(events, "renameat", b"network-snapshot.tar")
    assert len([i for i in syncs if i < publish]) >= 1
    assert len([i for i in syncs if i > publish]) == 1


def test_lost_standard_streams_do_no_harm(helper: Helper, core: Core, root: Path) -> None:
    """Run without standard streams, as from a broken init, it writes into none of its files."""
    before = tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    child = os.posix_spawn(
        helper.path,
        ["networking-config", "--root", str(root), "start"],
        {},
        file_actions=[(os.POSIX_SPAWN_CLOSE, fd) for fd in (0, 1, 2)],
    )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DONE
    assert tree.differences(before, tree.capture(root)) == []
