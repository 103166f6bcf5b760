"""The order in which things reach the disk: deleting or moving any one fsync turns a test red."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from lib import ncf, operations, seam, snapshot, tree
from lib.ncf import Core
from lib.seam import Event, position, positions

STATE = b"var/lib/netcf"
SNAPSHOT = b"network-snapshot.tar"
TEMP = b".netcf-tmp"
SCRIPTS = b"etc/sysconfig/network-scripts"

# What lock_out does to the compact tree.
CHANGED = {SCRIPTS + b"/ifcfg-br0", SCRIPTS + b"/ifcfg-eth0", b"etc/systemd/network/linked"}
METADATA = {b"etc/netplan/01-base.yaml", SCRIPTS + b"/rule-br0"}
REMOVED = {SCRIPTS + b"/route-br0", b"etc/systemd/network/10-eth2.network.d/mtu.conf"}
ADDED = {SCRIPTS + b"/ifcfg-eth9", b"etc/systemd/network/20-new.d/a/b.conf"}
ADDED_DIRECTORIES = {b"etc/systemd/network/20-new.d", b"etc/systemd/network/20-new.d/a"}
REMOVED_DIRECTORY = b"etc/systemd/network/10-eth2.network.d"
DIRECTORIES = {SCRIPTS, b"etc/network/interfaces.d", b"etc/systemd/network"}


def synced(events: list[Event], start: int = 0, end: int = 1 << 30) -> list[bytes]:
    return [event.name for event in events[start:end] if event.call == "fsync"]


@pytest.mark.parametrize("flags", [0, ncf.START_ON_WRITE], ids=["whole", "on-write"])
@pytest.mark.parametrize("files", [1, 1000])
def test_start_syncs_one_file_and_one_directory(
    core: Core, fast_dir: Path, files: int, flags: int
) -> None:
    """Start is two fsyncs, whether there is 1 file or 1,000: the archive, then its directory."""
    tree.empty(fast_dir)
    (fast_dir / "var/lib/netcf").mkdir(mode=0o700)
    for number in range(files):
        tree.write(fast_dir, f"etc/systemd/network/{number}.network", b"[Match]\n")
    with seam.watching(core) as events:
        core.start(fast_dir, flags)
    assert synced(events) == [TEMP, STATE]


def test_first_start_syncs_the_new_directories(core: Core, tmp_path: Path) -> None:
    """A state directory that was just made is made durable with its name, once."""
    root = tmp_path / "bare"
    root.mkdir()
    with seam.watching(core) as events:
        core.start(root)
    assert synced(events) == [b"var", b"var/lib", STATE, TEMP, STATE]
    for name in (b"var", b"lib", b"netcf"):
        assert len(positions(events, "mkdirat", name)) == 1
    core.commit(root)
    with seam.watching(core) as events:
        core.start(root)
    assert synced(events) == [TEMP, STATE]


def test_start_publishes_what_is_durable(core: Core, root: Path) -> None:
    """Write, fsync of the file, rename, fsync of the directory: in this order, and nothing after."""
    tree.realistic(root)
    with seam.watching(core) as events:
        core.start(root)
    create = position(events, "openat-create", TEMP)
    last_write = positions(events, "write", TEMP)[-1]
    sync = position(events, "fsync", TEMP)
    publish = position(events, "renameat", SNAPSHOT)
    final = position(events, "fsync", STATE, after=publish)
    assert create < last_write < sync < publish < final
    assert events[sync + 1 : publish] == []
    assert final == len(events) - 1
    assert position(events, "fallocate", b".netcf-reserve-1") < publish


def test_commit_syncs_the_new_files_before_it_drops_the_snapshot(core: Core, fast_dir: Path) -> None:
    """Every changed file and every directory whose names changed, then the snapshot, then its directory."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    tree.lock_out(fast_dir)
    with seam.watching(core) as events:
        core.commit(fast_dir)
    drop = position(events, "unlinkat", SNAPSHOT)
    wanted = CHANGED | METADATA | ADDED | ADDED_DIRECTORIES | DIRECTORIES
    assert sorted(synced(events, 0, drop)) == sorted(wanted)
    assert synced(events, drop) == [STATE]
    assert positions(events, "unlinkat")[-1] == drop
    assert events[-1] == Event("fsync", STATE)


def test_commit_syncs_files_before_the_directories_that_name_them(core: Core, fast_dir: Path) -> None:
    """A directory is synced after every file in it."""
    tree.compact(fast_dir)
    core.start(fast_dir)
    tree.lock_out(fast_dir)
    with seam.watching(core) as events:
        core.commit(fast_dir)
    order = synced(events)
    for path in ADDED | CHANGED | METADATA | ADDED_DIRECTORIES:
        assert order.index(path) < order.index(os.path.dirname(path))


def test_commit_of_nothing_syncs_no_file(core: Core, fast_dir: Path) -> None:
    """Where nothing changed, commit is one removal and one fsync."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    with seam.watching(core) as events:
        core.commit(fast_dir)
    assert synced(events) == [STATE]


def test_commit_syncs_a_directory_from_which_a_file_was_removed(core: Core, fast_dir: Path) -> None:
    """A removal must be durable too, or a power cut brings the file back."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    (fast_dir / "etc/network/interfaces").unlink()
    with seam.watching(core) as events:
        core.commit(fast_dir)
    assert synced(events) == [b"etc/network", STATE]


def test_commit_syncs_a_new_stack_directory(core: Core, root: Path) -> None:
    """A directory of the scope that was made since is synced with the one that names it."""
    operations.wait_until_older(root)
    core.start(root)
    tree.write(root, "etc/netplan/a.yaml", b"x")
    with seam.watching(core) as events:
        core.commit(root)
    assert sorted(synced(events)) == [b"etc", b"etc/netplan", b"etc/netplan/a.yaml", STATE]


def test_commit_syncs_a_file_whose_date_was_set_back(core: Core, fast_dir: Path) -> None:
    """Editors can set mtime and size; commit is not fooled."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    path = fast_dir / os.fsdecode(SCRIPTS) / "ifcfg-br0"
    when = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(when, when))
    with seam.watching(core) as events:
        core.commit(fast_dir)
    assert synced(events) == [SCRIPTS + b"/ifcfg-br0", STATE]


def rolled_back(core: Core, directory: Path) -> list[Event]:
    root = directory / "host"
    old = tree.compact(root)
    operations.wait_until_older(root)
    core.start(root)
    tree.lock_out(root)
    with seam.watching(core) as events:
        core.rollback(root)
    assert tree.differences(old, tree.capture(root)) == []
    return events


def test_rollback_reads_the_whole_snapshot_before_it_writes(core: Core, fast_dir: Path) -> None:
    """No live file is modified before every byte of the snapshot was verified."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")
    assert (world.root / operations.SNAPSHOT).stat().st_size < 256 * 1024  # one read takes it all
    with seam.watching(core) as events:
        core.rollback(world.root)
    reads = [i for i in positions(events, "pread") if events[i].name.endswith(SNAPSHOT)]
    # Its end, its manifest, and all that is before the manifest.
    assert reads[2] < operations.live_writes(events)[0]


def test_rollback_keeps_what_it_replaces_before_it_replaces_it(core: Core, fast_dir: Path) -> None:
    """The discarded configuration is durable, with its name, before the first live file is modified."""
    events = rolled_back(core, fast_dir)
    sync = position(events, "fsync", TEMP)
    publish = position(events, "renameat", b"network-rollback-00000001.tar")
    durable = position(events, "fsync", STATE, after=publish)
    assert sync < publish < durable < operations.live_writes(events)[0]


def test_rollback_syncs_each_file_before_its_rename(core: Core, fast_dir: Path) -> None:
    """No name leads to content that a power cut can take away."""
    events = rolled_back(core, fast_dir)
    for path in (CHANGED | REMOVED) - {b"etc/systemd/network/linked"}:
        sync = position(events, "fsync", path)
        assert sync < position(events, "renameat", os.path.basename(path))


def test_rollback_syncs_every_file_it_puts_back(core: Core, fast_dir: Path) -> None:
    """Restored files, files of which the metadata was put right, and every directory touched; no more."""
    events = rolled_back(core, fast_dir)
    first, drop = operations.live_writes(events)[0], position(events, "unlinkat", SNAPSHOT)
    order = synced(events, first, drop)
    files = CHANGED | REMOVED | METADATA
    directories = DIRECTORIES | {REMOVED_DIRECTORY}
    names: set[bytes] = set(order)
    # Of a group of hard links one name is written and synced, the others are links to it.
    assert names <= files | directories | {b"etc/network/interfaces.d/eth0.5"}
    assert files - names <= {b"etc/systemd/network/linked", SCRIPTS + b"/ifcfg-eth0"}
    assert len(files - names) == 1
    assert directories <= names
    assert all(order.count(path) == 1 for path in names)


def test_rollback_syncs_directories_after_their_last_change(core: Core, fast_dir: Path) -> None:
    """Renames and removals are durable before the snapshot goes."""
    events = rolled_back(core, fast_dir)
    drop = position(events, "unlinkat", SNAPSHOT)
    last_of = {
        SCRIPTS: [("renameat", b"ifcfg-eth0"), ("renameat", b"route-br0"), ("unlinkat", b"ifcfg-eth9")],
        b"etc/network/interfaces.d": [("renameat", b"eth0.5")],
        b"etc/systemd/network": [("unlinkat", b"20-new.d"), ("mkdirat", b"10-eth2.network.d")],
        REMOVED_DIRECTORY: [("renameat", b"mtu.conf")],
    }
    for directory, changes in last_of.items():
        sync = [i for i in positions(events, "fsync", directory) if i < drop]
        assert len(sync) == 1
        for change in changes:
            assert positions(events, *change)[-1] < sync[0]


def test_rollback_drops_the_snapshot_last(core: Core, fast_dir: Path) -> None:
    """After the snapshot's removal only its directory is synced, and nothing follows."""
    events = rolled_back(core, fast_dir)
    drop = position(events, "unlinkat", SNAPSHOT)
    assert operations.live_writes(events)[-1] < drop
    assert synced(events, drop) == [STATE]


def test_rollback_reads_back_what_it_restored(core: Core, fast_dir: Path) -> None:
    """Each restored file is opened again after its directory was synced, before the snapshot goes."""
    events = rolled_back(core, fast_dir)
    drop = position(events, "unlinkat", SNAPSHOT)
    sync = next(i for i in positions(events, "fsync", SCRIPTS) if i < drop)
    for name in (b"ifcfg-br0", b"route-br0"):
        assert [i for i in positions(events, "openat", name) if sync < i < drop]


def test_rollback_that_does_not_read_back_fails(core: Core, fast_dir: Path) -> None:
    """Something else in a restored file after all is an error, and the change stays open."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")
    path = world.root / os.fsdecode(SCRIPTS) / "ifcfg-br0"
    renamed = []

    def meddle(event: Event, _number: int) -> None:
        if event == ("renameat", b"ifcfg-br0"):
            renamed.append(1)
        if event == ("fsync", SCRIPTS) and renamed:
            path.write_bytes(b"somebody else was quicker")

    with seam.watching(core, meddle), pytest.raises(ncf.NcfError) as caught:
        core.rollback(world.root)
    assert caught.value.code == ncf.EFILE
    assert "does not read back" in caught.value.details
    assert core.status(world.root).open == 1
    core.rollback(world.root)
    assert tree.differences(world.old, tree.capture(world.root)) == []


def test_rollback_of_nothing_is_one_fsync(core: Core, fast_dir: Path) -> None:
    """Where nothing differs, rollback removes the snapshot and syncs its directory: one flush."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    with seam.watching(core) as events:
        core.rollback(fast_dir)
    assert synced(events) == [STATE]


def test_rollback_syncs_what_an_interrupted_rollback_restored(core: Core, fast_dir: Path) -> None:
    """Files that are as they were, but were touched since the start, are made durable before the snapshot goes."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    path = fast_dir / "etc/network/interfaces"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(b"edited")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert core.diff(fast_dir) == []
    with seam.watching(core) as events:
        core.rollback(fast_dir)
    assert synced(events) == [b"etc/network/interfaces", STATE]


def test_boot_with_nothing_open_writes_nothing(core: Core, fast_dir: Path) -> None:
    """Rollback with none open neither syncs nor creates anything."""
    tree.compact(fast_dir)
    with seam.watching(core) as events, pytest.raises(ncf.NcfError):
        core.rollback(fast_dir)
    assert synced(events) == []
    assert positions(events, "openat-create") == positions(events, "mkdirat") == []


def test_announce_syncs_one_file_and_one_directory(core: Core, fast_dir: Path) -> None:
    """An announcement costs what a start costs, and replaces the snapshot by a whole new one."""
    world = operations.ANNOUNCE.prepare(core, fast_dir / "host")
    with seam.watching(core) as events:
        core.announce(world.root, operations.SECOND)
    assert synced(events) == [TEMP, STATE]
    assert position(events, "fsync", TEMP) < position(events, "renameat", SNAPSHOT)
    assert events[-1] == Event("fsync", STATE)


def test_a_stale_temporary_file_goes_durably(core: Core, fast_dir: Path) -> None:
    """A leftover in a configuration directory is removed and the directory synced before the snapshot goes."""
    tree.compact(fast_dir)
    core.start(fast_dir)
    left = fast_dir / "etc/systemd/network/.netcf-tmp-0"
    left.write_bytes(b"half")
    with seam.watching(core) as events:
        core.rollback(fast_dir)
    assert not left.exists()
    gone = position(events, "unlinkat", b".netcf-tmp-0")
    drop = position(events, "unlinkat", SNAPSHOT)
    assert events[gone + 1].call == "fsync"
    assert gone + 1 < drop


def test_nothing_is_synced_wholesale(core: Core, products) -> None:  # type: ignore[no-untyped-def]
    """sync and syncfs are never called: they wait for everybody's data."""
    import subprocess

    from lib import images

    images.need("nm")
    for binary in (products.library, products.test_library):
        used = subprocess.run(["nm", "-D", "-u", binary], capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1].split("@")[0] for line in used.splitlines()}
        assert names.isdisjoint({"sync", "syncfs"})
        assert "fsync" in names


def test_a_refused_start_leaves_the_open_change_durable(core: Core, root: Path) -> None:
    """The start of the open change may have been killed before its last fsync: who is told of it can rely on it."""
    tree.realistic(root)
    core.start(root)
    with seam.watching(core) as events, pytest.raises(ncf.NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EINVALIDOP
    assert synced(events) == [STATE]


def test_a_refused_commit_leaves_the_closed_change_durable(core: Core, root: Path) -> None:
    """A commit that was killed may have removed the snapshot a moment ago: the answer "none open" lasts."""
    tree.realistic(root)
    core.start(root)
    core.commit(root)
    with seam.watching(core) as events, pytest.raises(ncf.NcfError) as caught:
        core.commit(root)
    assert caught.value.code == ncf.EINVALIDOP
    assert synced(events) == [STATE]


def test_a_start_that_could_not_publish_takes_the_name_back_durably(core: Core, root: Path) -> None:
    """Where the directory's fsync fails, the snapshot goes again, and its going is synced."""
    tree.realistic(root)
    failed: list[int] = []

    def act(event: Event, number: int) -> int:
        published = (root / operations.SNAPSHOT).exists()
        if event == ("fsync", STATE) and published and not failed:
            failed.append(number)
            return errno.EIO
        return 0

    with seam.watching(core, act) as events, pytest.raises(ncf.NcfError):
        core.start(root)
    (number,) = failed
    back = position(events, "unlinkat", SNAPSHOT, after=number - 1)
    assert position(events, "fsync", STATE, after=back) > back
    assert operations.leftovers(root) == []


def test_commit_syncs_the_root_for_a_new_top_directory(core: Core, tmp_path: Path) -> None:
    """Where even /etc is new, the directory that names it is synced too."""
    root = tmp_path / "bare"
    root.mkdir()
    core.start(root)
    tree.write(root, "etc/netplan/a.yaml", b"x")
    with seam.watching(core) as events:
        core.commit(root)
    order = synced(events)
    assert order[-1] == STATE
    assert sorted(order[:-1]) == [b".", b"etc", b"etc/netplan", b"etc/netplan/a.yaml"]


def test_commit_syncs_the_root_from_which_a_directory_went(core: Core, fast_dir: Path) -> None:
    """A name that is gone from the root leaves no entry behind; the root's own time tells."""
    tree.compact(fast_dir)
    (fast_dir / "extra").mkdir()
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    (fast_dir / "extra").rmdir()
    with seam.watching(core) as events:
        core.commit(fast_dir)
    assert synced(events) == [b".", STATE]


def test_rollback_syncs_the_root_that_a_killed_one_changed(core: Core, tmp_path: Path) -> None:
    """Found on the simulated disk: /etc itself was new, and the rollback that removed it was killed before its sync."""
    root = tmp_path / "bare"
    root.mkdir()
    operations.wait_until_older(root)
    core.start(root)
    (root / "etc").mkdir()
    (root / "etc").rmdir()
    with seam.watching(core) as events:
        core.rollback(root)
    assert synced(events) == [b".", STATE]


def test_the_root_is_synced_when_the_clock_was_set_back(core: Core, fast_dir: Path) -> None:
    """Then its time says nothing.  Here it is the snapshot that comes from the future."""
    tree.compact(fast_dir)
    operations.wait_until_older(fast_dir)
    core.start(fast_dir)
    later = b"started %d.000000001" % (time.time() + 3600)
    snapshot.rewrite(
        fast_dir / operations.SNAPSHOT,
        lambda lines: [later if line.startswith(b"started ") else line for line in lines],
    )
    with seam.watching(core) as events:
        core.rollback(fast_dir)
    assert b"." in synced(events)


@pytest.mark.root
def test_rollback_syncs_inode_flags(core: Core, root: Path) -> None:
    """Flags are set last, because they lock what they are on, and synced after that."""
    tree.compact(root)
    file, directory = SCRIPTS + b"/ifcfg-br0", REMOVED_DIRECTORY
    for path in (file, directory):
        try:
            tree.set_flags(tree.join(root, path), tree.IMMUTABLE)
        except OSError as error:
            pytest.skip(f"this filesystem has no inode flags: {error.strerror}")
    core.start(root)
    tree.clear_flags(root)
    tree.rewrite(root, file, b"changed")
    tree.write(root, directory + b"/mtu.conf", b"changed")
    with seam.watching(core) as events:
        core.rollback(root)
    drop = position(events, "unlinkat", SNAPSHOT)
    for path in (file, directory):
        flagged = [i for i in positions(events, "ioctl") if events[i].name in (path, os.path.basename(path))][-1]
        assert flagged < position(events, "fsync", path, after=flagged) < drop
