"""Exact restore on real ext4, xfs and btrfs, also after the filesystem was unmounted."""

from __future__ import annotations

import os
import shutil

import pytest

from lib import images, tree
from lib.helper import Helper
from lib.ncf import Core

pytestmark = pytest.mark.system


def decorated(image: images.Image) -> tree.Tree:
    """The thorny tree with owners, attributes and inode flags."""
    root = image.path
    tree.thorny(root)
    scripts = root / "etc/sysconfig/network-scripts"
    os.chown(scripts / "ifcfg-br0", 1234, 4321)
    os.setxattr(scripts / "ifcfg-br0", "user.comment", b"by hand")
    os.setxattr(scripts / "ifcfg-eth0", "trusted.note", b"for root")
    os.setxattr(scripts / "ifcfg-lo", "security.selinux", b"system_u:object_r:net_conf_t:s0\0")
    tree.age(root)
    for name, flag in (("rule-br0", tree.IMMUTABLE), ("route-br0", tree.APPEND_ONLY), ("rule6-br0", tree.NODUMP)):
        tree.set_flags(scripts / name, flag)
    return tree.capture(root)


def test_everything_is_restored(core: Core, filesystem: images.Image) -> None:
    """Everything deleted, everything back: owners, attributes, flags, dates to the nanosecond."""
    root = filesystem.path
    try:
        before = decorated(filesystem)
        core.start(root)
        tree.clear_flags(root)
        shutil.rmtree(root / "etc/systemd/network")
        for name in os.listdir(root / "etc/sysconfig/network-scripts"):
            if name != "ifup-eth":
                os.unlink(root / "etc/sysconfig/network-scripts" / name)
        os.unlink(root / "etc/network/interfaces")
        core.rollback(root)
        assert tree.differences(before, tree.capture(root)) == []
    finally:
        tree.clear_flags(root)


def test_every_kind_of_edit_is_undone(core: Core, filesystem: images.Image) -> None:
    """The lock-out, on this filesystem."""
    root = filesystem.path
    before = tree.thorny(root)
    core.start(root)
    assert core.diff(root) == []
    tree.lock_out(root)
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_unchanged_files_keep_inode_and_ctime(core: Core, filesystem: images.Image) -> None:
    """Nothing but the edited file is touched."""
    root = filesystem.path
    tree.realistic(root)
    before = tree.capture(root, identity=True)
    core.start(root)
    edited = b"etc/sysconfig/network-scripts/ifcfg-eth0"
    tree.rewrite(root, edited, b"changed")
    core.rollback(root)
    after = tree.capture(root, identity=True)
    touched = {path for path in before if before[path] != after.get(path)}
    assert touched == {edited, os.path.dirname(edited)}


def test_a_change_survives_a_remount(helper: Helper, filesystem: images.Image) -> None:
    """Started before, rolled back after everything was dropped from memory."""
    root = filesystem.path
    before = tree.thorny(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    filesystem.remount("ro")
    filesystem.remount("rw")
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2\n")
    assert helper.boot(root) == 0
    assert tree.differences(before, tree.capture(root)) == []


def test_sparse_files_stay_sparse(core: Core, filesystem: images.Image) -> None:
    """A hole stays a hole through save and restore."""
    root = filesystem.path
    tree.empty(root)
    path = root / "etc/systemd/network/sparse"
    path.parent.mkdir(parents=True)
    with open(path, "wb") as file:
        file.write(b"begin")
        file.truncate(8 << 20)
        file.seek(6 << 20)
        file.write(b"end")
    os.utime(path, ns=(1, 1))
    before = tree.capture(root)
    core.start(root)
    path.unlink()
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []
    assert path.stat().st_blocks * 512 <= 256 * 1024
