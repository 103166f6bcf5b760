"""What start, commit and rollback must leave alone, down to inode and ctime."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lib import ncf, operations, seam, tree
from lib.ncf import Core

SCRIPTS = b"etc/sysconfig/network-scripts/"
WRITING = {
    "openat-create", "write", "pwrite", "fsync", "ftruncate", "fallocate", "renameat", "unlinkat",
    "linkat", "symlinkat", "mkdirat", "fchmod", "fchown", "fchownat", "utimensat", "ioctl",
    "setxattr", "removexattr",
}  # fmt: skip


def test_start_touches_no_file(core: Core, root: Path) -> None:
    """Start reads: nothing outside the state directory gets a new inode, date or ctime."""
    tree.thorny(root)
    before = tree.capture(root, identity=True)
    core.start(root)
    assert tree.differences(before, tree.capture(root, identity=True)) == []


def test_commit_touches_no_file(core: Core, root: Path) -> None:
    """Commit syncs and drops the snapshot: no file is written."""
    tree.thorny(root)
    core.start(root)
    tree.lock_out(root)
    before = tree.capture(root, identity=True)
    core.commit(root)
    assert tree.differences(before, tree.capture(root, identity=True)) == []


def test_rollback_leaves_unchanged_files_alone(core: Core, root: Path) -> None:
    """A file that is as it was keeps its inode and its ctime."""
    tree.thorny(root)
    core.start(root)
    untouched = tree.capture(root, identity=True)
    after_edit = tree.lock_out(root)
    before = tree.capture(root)
    changed = {
        path
        for path in untouched.keys() | before.keys()
        if path not in before or path not in untouched or before[path].kind == "d"
    } | {row.path for row in core.diff(root)}
    core.rollback(root)
    after = tree.capture(root, identity=True)
    kept = {path: entry for path, entry in untouched.items() if path not in changed}
    assert len(kept) > 20
    assert len(after_edit) > len(kept)
    assert tree.differences(kept, {path: after[path] for path in kept}) == []


def test_rollback_of_one_file_leaves_its_neighbours_alone(core: Core, root: Path) -> None:
    """Restoring one file rewrites that file only; its directory's other names stay."""
    tree.realistic(root)
    before = tree.capture(root, identity=True)
    core.start(root)
    edited = SCRIPTS + b"ifcfg-eth0"
    tree.rewrite(root, edited, b"changed")
    core.rollback(root)
    after = tree.capture(root, identity=True)
    touched = {path for path in before if before[path] != after.get(path)}
    assert touched == {edited, SCRIPTS.rstrip(b"/")}


def test_metadata_only_difference_keeps_the_inode(core: Core, root: Path) -> None:
    """A file of which only the mode differs is put right without being rewritten."""
    tree.realistic(root)
    path = tree.join(root, SCRIPTS + b"ifcfg-eth0")
    inode = os.stat(path).st_ino
    directory = os.stat(tree.join(root, SCRIPTS)).st_mtime_ns
    core.start(root)
    os.chmod(path, 0o600)
    core.rollback(root)
    assert os.stat(path).st_ino == inode
    assert os.stat(path).st_mode & 0o7777 == 0o644
    assert os.stat(tree.join(root, SCRIPTS)).st_mtime_ns == directory


def test_nothing_differing_writes_to_no_file_in_scope(core: Core, root: Path) -> None:
    """A rollback with no difference makes no writing call outside the state directory."""
    tree.realistic(root)
    core.start(root)
    with seam.watching(core) as events:
        core.rollback(root)
    assert [str(events[index]) for index in operations.live_writes(events)] == []


def test_files_outside_the_scope_are_not_rolled_back(core: Core, root: Path) -> None:
    """Edits outside the scope survive a rollback untouched."""
    tree.realistic(root)
    core.start(root)
    (root / "etc/hostname").write_bytes(b"renamed\n")
    (root / "etc/sysconfig/network-scripts/ifup-eth").unlink()
    (root / "etc/sysconfig/network-scripts/README").write_bytes(b"added\n")
    (root / "etc/modprobe.d/blacklist.conf").chmod(0o600)
    (root / "etc/cron.d").mkdir()
    tree.rewrite(root, SCRIPTS + b"ifcfg-eth0", b"changed")
    outside = {
        b"etc/hostname", SCRIPTS + b"README", b"etc/modprobe.d/blacklist.conf", b"etc/cron.d",
        b"etc/network/if-up.d/openssh", b"etc/NetworkManager/NetworkManager.conf", b"etc/netplan/README",
    }  # fmt: skip
    edited = tree.capture(root, identity=True)
    core.rollback(root)
    after = tree.capture(root, identity=True)
    assert {path: after[path] for path in outside} == {path: edited[path] for path in outside}
    assert SCRIPTS + b"ifup-eth" not in after


def test_files_outside_the_scope_are_not_even_opened(core: Core, root: Path) -> None:
    """Nothing outside the scope is opened by start, diff or rollback."""
    tree.realistic(root)
    with seam.watching(core) as events:
        core.start(root)
        tree.rewrite(root, SCRIPTS + b"ifcfg-eth0", b"changed")
        core.diff(root)
        core.rollback(root)
    opened = {os.path.basename(event.name) for event in events if event.call.startswith("open")}
    for name in (b"hostname", b"ifup-eth", b"openssh", b"NetworkManager.conf", b"blacklist.conf", b"README"):
        assert name not in opened


def test_added_directory_with_files_outside_the_scope(core: Core, root: Path) -> None:
    """What a pattern does not cover is not deleted with the directory it lies in."""
    tree.realistic(root)
    core.start(root)
    keys = root / "etc/sysconfig/network-scripts/private"
    keys.mkdir()
    (keys / "notes").write_bytes(b"mine")
    core.rollback(root)
    assert (keys / "notes").read_bytes() == b"mine"


def test_readers_write_nothing(core: Core, root: Path) -> None:
    """Status, scope, diff and the discarded list make no writing call and take no lock."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    before = tree.capture(root, state=True, identity=True)
    with seam.watching(core) as events:
        with core.open(root) as handle:
            handle.status()
            handle.scope()
            handle.diff()
            handle.discarded()
    assert [event for event in events if event.call in WRITING | {"flock"}] == []
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


def test_readers_write_nothing_where_none_is_open(core: Core, root: Path) -> None:
    """Asking a host that never had a change creates no state directory."""
    tree.realistic(root)
    before = tree.capture(root, state=True, identity=True)
    with core.open(root) as handle:
        assert handle.status().open == 0
        assert handle.discarded() == []
        assert handle.scope() != []
        with pytest.raises(ncf.NcfError) as caught:
            handle.diff()
    assert caught.value.code == ncf.EINVALIDOP
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.parametrize("trusted", [True, False])
def test_commit_reads_names_only_where_one_may_have_changed(core: Core, root: Path, trusted: bool) -> None:
    """An untouched directory has the names it had, if the filesystem keeps time as it should."""
    tree.thorny(root)
    operations.wait_until_older(root)
    core.start(root)
    tree.write(root, SCRIPTS + b"ifcfg-new", b"new")
    act = None if trusted else lambda event, _: errno.EIO if event.call == "fstatfs" else 0
    with seam.watching(core, act) as seen:
        core.commit(root)
    read = {event.name for event in seen if event.call == "getdents"}
    assert SCRIPTS.rstrip(b"/") in read
    assert (b"etc/NetworkManager/system-connections" in read) is not trusted
    assert len(seam.positions(seen, "fsync", SCRIPTS + b"ifcfg-new")) == 1
