"""Mode B: each file is saved when it is announced for the first time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lib import ncf, seam, tree
from lib.ncf import Core, Difference, NcfError

SCRIPTS = "etc/sysconfig/network-scripts"
IFCFG = f"{SCRIPTS}/ifcfg-eth0"


def same_files(before: tree.Tree, host: Path) -> bool:
    """Whether all is as it was but for times of directories: those are nobody's announced files."""
    wanted, now = (tree.without_directory_times(it) for it in (before, tree.capture(host)))
    assert tree.differences(wanted, now) == []
    return True


@pytest.fixture
def host(core: Core, root: Path) -> Path:
    """A realistic host with a change open that has saved nothing yet."""
    tree.realistic(root)
    core.start(root, ncf.START_ON_WRITE)
    return root


def test_start_saves_nothing(core: Core, host: Path) -> None:
    """Start reads no file of the scope and saves none."""
    status = core.status(host)
    assert (status.open, status.files, status.bytes) == (1, 0, 0)
    assert core.diff(host) == []


def test_start_opens_no_file(core: Core, root: Path) -> None:
    """Start in mode B opens nothing in the scope."""
    tree.realistic(root)
    with seam.watching(core) as events:
        core.start(root, ncf.START_ON_WRITE)
    assert not [event for event in events if b"ifcfg" in event.name or b"netplan" in event.name]


def test_announced_file_is_restored(core: Core, host: Path) -> None:
    """What was announced before it was edited is put back exactly."""
    before = tree.capture(host)
    core.announce(host, IFCFG)
    (host / IFCFG).write_bytes(b"edited")
    (host / IFCFG).chmod(0o600)
    assert [row.path for row in core.diff(host)] == [IFCFG.encode()]
    core.rollback(host)
    assert same_files(before, host)


def test_file_that_was_not_announced_is_left_alone(core: Core, host: Path) -> None:
    """Rollback undoes exactly the announced files."""
    core.announce(host, IFCFG)
    (host / IFCFG).write_bytes(b"edited")
    (host / SCRIPTS / "ifcfg-eth1").write_bytes(b"not announced")
    (host / SCRIPTS / "ifcfg-new").write_bytes(b"not announced")
    core.rollback(host)
    assert (host / IFCFG).read_bytes() == tree.IFCFG_SLAVE % b"eth0"
    assert (host / SCRIPTS / "ifcfg-eth1").read_bytes() == b"not announced"
    assert (host / SCRIPTS / "ifcfg-new").read_bytes() == b"not announced"


def test_announced_path_where_nothing_was(core: Core, host: Path) -> None:
    """That nothing was there is saved too: a file made there is deleted."""
    before = tree.capture(host)
    core.announce(host, f"{SCRIPTS}/ifcfg-new")
    (host / SCRIPTS / "ifcfg-new").write_bytes(b"added")
    assert core.diff(host) == [Difference(f"{SCRIPTS}/ifcfg-new".encode(), ncf.ADDED, "-", "f")]
    core.rollback(host)
    assert same_files(before, host)


def test_announced_path_in_a_directory_that_does_not_exist(core: Core, host: Path) -> None:
    """The directories on the way may be missing; the file made there goes again."""
    core.announce(host, "etc/new/sub/file.conf")
    (host / "etc/new/sub").mkdir(parents=True)
    (host / "etc/new/sub/file.conf").write_bytes(b"added")
    core.rollback(host)
    assert not (host / "etc/new/sub/file.conf").exists()


def test_announced_directory_that_did_not_exist_is_gone_if_empty(core: Core, host: Path) -> None:
    """A directory that was announced as missing goes with the announced files in it."""
    for path in ("etc/new", "etc/new/file"):
        core.announce(host, path)
    (host / "etc/new").mkdir()
    (host / "etc/new/file").write_bytes(b"x")
    core.rollback(host)
    assert not (host / "etc/new").exists()


def test_announced_path_outside_every_pattern(core: Core, host: Path) -> None:
    """Mode B has no scope: any path below the root may be announced."""
    core.announce(host, "etc/hostname")
    (host / "etc/hostname").write_bytes(b"edited")
    core.rollback(host)
    assert (host / "etc/hostname").read_bytes() == b"gateway\n"


def test_first_announcement_counts(core: Core, host: Path) -> None:
    """Announcing again after an edit does not save the edit."""
    core.announce(host, IFCFG)
    (host / IFCFG).write_bytes(b"edited")
    core.announce(host, IFCFG)
    core.announce(host, "/" + IFCFG)
    assert core.status(host).files == 1
    core.rollback(host)
    assert (host / IFCFG).read_bytes() == tree.IFCFG_SLAVE % b"eth0"


def test_announcing_again_writes_nothing(core: Core, host: Path) -> None:
    """The second announcement of a path makes no fsync and leaves the snapshot as it is."""
    core.announce(host, IFCFG)
    snapshot = tree.capture(host, state=True, identity=True)
    with seam.watching(core) as events:
        core.announce(host, IFCFG)
    assert seam.positions(events, "fsync") == []
    assert tree.differences(snapshot, tree.capture(host, state=True, identity=True)) == []


def test_many_announcements(core: Core, host: Path) -> None:
    """Every file of a host may be announced, in any order."""
    before = tree.capture(host)
    for path in sorted(tree.REALISTIC, reverse=True):
        core.announce(host, path)
    assert core.status(host).files == len(tree.REALISTIC)
    for path in tree.REALISTIC:
        os.unlink(tree.join(host, path))
    core.rollback(host)
    after = tree.capture(host)
    assert tree.differences(
        {path: entry for path, entry in before.items() if entry.kind != "d"},
        {path: entry for path, entry in after.items() if entry.kind != "d"},
    ) == []


def test_announced_link_and_thorny_names(core: Core, root: Path) -> None:
    """Links, hard links, odd names and sparse files are saved as in mode A."""
    before = tree.thorny(root)
    core.start(root, ncf.START_ON_WRITE)
    paths = [path for path, entry in before.items() if entry.kind in "fl"]
    for path in paths:
        core.announce(root, path)
    for path in paths:
        os.unlink(tree.join(root, path))
    core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(
        {path: before[path] for path in paths}, {path: after[path] for path in paths}
    ) == []


def test_announced_directory_tree_that_was_removed(core: Core, host: Path) -> None:
    """Files whose directory was removed too come back with the directory."""
    core.announce(host, "etc/systemd/network/10-eth2.network.d/mtu.conf")
    before = tree.capture(host)
    shutil.rmtree(host / "etc/systemd/network/10-eth2.network.d")
    core.rollback(host)
    assert set(tree.capture(host)) == set(before)
    assert (host / "etc/systemd/network/10-eth2.network.d/mtu.conf").read_bytes() == b"[Link]\nMTUBytes=1400\n"


def test_announcement_is_durable_on_return(core: Core, host: Path) -> None:
    """The grown snapshot and the state directory are synced before the call returns."""
    with seam.watching(core) as events:
        core.announce(host, IFCFG)
    synced = [event.name for event in events if event.call == "fsync"]
    assert len(synced) == 2
    rename = seam.positions(events, "renameat")
    assert len(rename) == 1
    first, last = seam.positions(events, "fsync")
    assert first < rename[0] < last


def test_commit_makes_announced_files_durable(core: Core, host: Path) -> None:
    """Commit syncs what was announced and changed, then drops the snapshot."""
    core.announce(host, IFCFG)
    (host / IFCFG).write_bytes(b"edited")
    with seam.watching(core) as events:
        core.commit(host)
    drop = seam.position(events, "unlinkat", b"network-snapshot.tar")
    synced = [event.name for event in events[:drop] if event.call == "fsync"]
    assert [os.path.basename(name) for name in synced].count(b"ifcfg-eth0") == 1
    assert (host / IFCFG).read_bytes() == b"edited"


def test_announcing_without_a_change(core: Core, root: Path) -> None:
    """Without an open change it is NCF_EINVALIDOP, and nothing is made on disk."""
    tree.realistic(root)
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        core.announce(root, IFCFG)
    assert caught.value.code == ncf.EINVALIDOP
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


def test_announcing_in_a_whole_scope_change(core: Core, root: Path) -> None:
    """Mode A covers its scope already: announcing does nothing; outside it is refused."""
    tree.realistic(root)
    core.start(root)
    before = tree.capture(root, state=True, identity=True)
    core.announce(root, IFCFG)
    core.announce(root, "/etc/netplan/new.yaml")
    with pytest.raises(NcfError) as caught:
        core.announce(root, "etc/hostname")
    assert caught.value.code == ncf.EOTHER
    assert "does not cover" in caught.value.details
    assert "etc/hostname" in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


def test_announcing_through_a_symbolic_link(core: Core, host: Path) -> None:
    """A path that leads through a link is refused, with the link's path."""
    (host / "etc/alias").symlink_to("sysconfig")
    with pytest.raises(NcfError) as caught:
        core.announce(host, "etc/alias/network")
    assert caught.value.code == ncf.EFILE
    assert "etc/alias" in caught.value.details


def test_announcing_a_path_below_a_file(core: Core, host: Path) -> None:
    """Nothing can be announced below a file."""
    with pytest.raises(NcfError) as caught:
        core.announce(host, "etc/hostname/sub")
    assert caught.value.code == ncf.EFILE
    assert "etc/hostname" in caught.value.details


def test_announced_special_file(core: Core, host: Path) -> None:
    """A FIFO can be announced without being opened; it stays."""
    os.mkfifo(host / "etc/fifo")
    core.announce(host, "etc/fifo")
    assert core.status(host).refused == 1
    core.rollback(host)
    assert (host / "etc/fifo").is_fifo()


def test_the_change_keeps_its_identity(core: Core, root: Path) -> None:
    """Announcements change neither id, note, token, deadline nor time of the start."""
    tree.realistic(root)
    with core.open(root) as handle:
        handle.set_options(note=b"why", token=b"t", deadline=600)
        handle.start(ncf.START_ON_WRITE)
    first = core.status(root)
    core.announce(root, IFCFG)
    second = core.status(root)
    for field in ("id", "flags", "started", "uid", "pid", "program", "note", "has_token", "deadline", "boot"):
        assert getattr(first, field) == getattr(second, field)
    assert second.files == 1
    assert second.bytes == len(tree.IFCFG_SLAVE % b"eth0")
    core.rollback(root)  # and the guard goes


def test_a_process_that_dies_after_announcing(core: Core, helper, host: Path) -> None:  # type: ignore[no-untyped-def]
    """Boot undoes what was announced, whatever became of the announcer."""
    before = tree.capture(host)
    core.announce(host, IFCFG)
    (host / IFCFG).unlink()
    assert helper.boot(host) == 0
    assert same_files(before, host)
