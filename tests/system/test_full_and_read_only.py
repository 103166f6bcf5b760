"""Full disks, no inodes, quotas, read-only filesystems: at start nothing is left, rollback succeeds."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import images, ncf, operations, tree
from lib.helper import DONE, FAILED, Helper
from lib.ncf import Core, NcfError

pytestmark = pytest.mark.system


def fill(root: Path, leave: int = 0) -> None:
    """Use up all space, to the last block; then give back about `leave` bytes."""
    filler = root / "filler"
    filler.mkdir(exist_ok=True)
    for size in (1 << 20, 65536, 4096, 512, 1):
        number = 0
        while True:
            path = filler / f"{size}-{number}"
            try:
                with open(path, "xb", buffering=0) as file:
                    written = file.write(b"x" * size)
                    os.fsync(file.fileno())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                break
            number += 1
            if written < size:
                break
    if leave:
        for path in sorted(filler.iterdir()):
            if path.stat().st_size >= 65536:
                os.truncate(path, max(0, path.stat().st_size - leave))
                break


def use_up_inodes(root: Path) -> None:
    """Create empty files until there is no inode left."""
    filler = root / "inodes"
    filler.mkdir()
    number = 0
    while True:
        try:
            os.close(os.open(filler / str(number), os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
        number += 1


def edit_in_place(root: Path) -> None:
    """An edit that needs no space: files emptied and removed."""
    scripts = root / "etc/sysconfig/network-scripts"
    for name in ("ifcfg-eth0", "ifcfg-br0"):
        os.truncate(scripts / name, 0)
    (scripts / "route-br0").unlink()
    (root / "etc/netplan/01-base.yaml").chmod(0o644)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[images.Image]:
    """An ext4 of 24 MiB without blocks reserved for root."""
    with images.mounted("ext4", tmp_path, size=24 * images.MEBI, mkfs_options=["-m", "0"]) as image:
        yield image


def test_full_disk_at_start(core: Core, helper: Helper, tiny: images.Image) -> None:
    """Start fails with ENOSPC, names the step, and leaves nothing for the next boot to act on."""
    root = tiny.path
    before = tree.realistic(root)
    fill(root)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.ENOSPC) in caught.value.details
    assert caught.value.details.endswith("make room there and start again")
    assert operations.leftovers(root) == []
    assert helper.boot(root) == DONE
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


@pytest.mark.parametrize("leave", [4096, 65536, 262144, 1 << 20])
def test_nearly_full_disk_at_start(core: Core, tiny: images.Image, leave: int) -> None:
    """Start either reserves all that a rollback needs, or fails and leaves nothing."""
    root = tiny.path
    before = tree.realistic(root)
    fill(root, leave)
    try:
        core.start(root)
    except NcfError as error:
        assert os.strerror(errno.ENOSPC) in error.details
        assert operations.leftovers(root) == []
        return
    edit_in_place(root)
    fill(root)
    core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_full_disk_at_rollback(core: Core, tmp_path: Path, kind: str) -> None:
    """A disk that filled up during the change does not stop the rollback: its space was reserved."""
    with images.mounted(kind, tmp_path) as image:
        root = image.path
        before = tree.realistic(root)
        core.start(root)
        edit_in_place(root)
        fill(root)
        core.rollback(root)
        after = tree.capture(root)
        assert tree.differences(before, {path: after[path] for path in before}) == []
        assert core.status(root).open == 0


def test_full_disk_at_boot(helper: Helper, tiny: images.Image) -> None:
    """The same with the real helper, at boot."""
    root = tiny.path
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    edit_in_place(root)
    fill(root)
    done = helper.run("start", root=root)
    assert (done.returncode, done.stderr) == (DONE, "")
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


def test_full_disk_at_rollback_of_large_files(core: Core, tiny: images.Image) -> None:
    """Also where several mebibytes must be written anew."""
    root = tiny.path
    tree.realistic(root)
    large = root / "etc/systemd/network/large"
    large.write_bytes(os.urandom(5 << 20))
    os.utime(large, ns=(7, 7))
    before = tree.capture(root)
    core.start(root)
    large.unlink()
    fill(root)
    core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


def test_full_disk_and_new_files_larger_than_the_reserve(core: Core, tiny: images.Image) -> None:
    """Where what is replaced can't be kept for lack of room, the host still comes back, and the result says so."""
    root = tiny.path
    before = tree.realistic(root)
    core.start(root)
    (root / "etc/systemd/network/huge").write_bytes(os.urandom(6 << 20))
    edit_in_place(root)
    fill(root)
    result = core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []
    assert b"etc/systemd/network/huge" not in after
    assert result.discarded or b"full" in result.notice


def test_full_disk_at_commit(core: Core, tiny: images.Image) -> None:
    """Commit needs no space."""
    root = tiny.path
    tree.realistic(root)
    core.start(root)
    edit_in_place(root)
    fill(root)
    core.commit(root)
    assert core.status(root).open == 0


def test_full_disk_at_announce(core: Core, tiny: images.Image) -> None:
    """An announcement that can't be saved fails, and the earlier ones are kept."""
    root = tiny.path
    tree.realistic(root)
    first, second = "etc/network/interfaces", "etc/systemd/network/large"
    (root / second).write_bytes(os.urandom(3 << 20))
    before = tree.capture(root)
    core.start(root, ncf.START_ON_WRITE)
    core.announce(root, first)
    os.truncate(root / first, 0)
    fill(root)
    with pytest.raises(NcfError) as caught:
        core.announce(root, second)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.ENOSPC) in caught.value.details
    core.rollback(root)
    after = tree.capture(root)
    assert after[first.encode()] == before[first.encode()]


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[images.Image]:
    """An ext4 with a few hundred inodes."""
    with images.mounted("ext4", tmp_path, mkfs_options=["-N", "256"]) as image:
        yield image


def test_no_inodes_at_start(core: Core, few_inodes: images.Image) -> None:
    """Start fails with ENOSPC and leaves nothing."""
    root = few_inodes.path
    before = tree.realistic(root)
    use_up_inodes(root)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.ENOSPC) in caught.value.details
    assert operations.leftovers(root) == []
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


def test_no_inodes_at_rollback(core: Core, few_inodes: images.Image) -> None:
    """Rollback succeeds on inodes that start put by."""
    root = few_inodes.path
    before = tree.realistic(root)
    core.start(root)
    edit_in_place(root)
    use_up_inodes(root)
    core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []
    assert operations.leftovers(root) == []


def test_no_inodes_at_rollback_of_many_removed_files(core: Core, few_inodes: images.Image) -> None:
    """More removed files than spare inodes: what was restored stays, and freeing inodes lets it finish."""
    root = few_inodes.path
    before = tree.realistic(root)
    core.start(root)
    for path in sorted(tree.REALISTIC):
        if b"network-scripts/ifcfg" in path or b"network-scripts/r" in path:
            os.unlink(tree.join(root, path))
    use_up_inodes(root)
    try:
        core.rollback(root)
    except NcfError as error:
        assert os.strerror(errno.ENOSPC) in error.details
        assert core.status(root).open == 1
        for path in (root / "inodes").iterdir():
            path.unlink()
        core.rollback(root)
    after = tree.capture(root)
    assert tree.differences(before, {path: after[path] for path in before}) == []


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Path]:
    """A btrfs subvolume with a quota of 8 MiB, which binds root too."""
    images.need("btrfs")
    with images.mounted("btrfs", tmp_path) as image:
        volume = image.path / "host"
        for command in (
            ["subvolume", "create", volume],
            ["quota", "enable", image.path],
            ["qgroup", "limit", "8M", volume],
        ):
            subprocess.run(["btrfs", *command], check=True, stdout=subprocess.DEVNULL)
        yield volume


def test_quota_at_start(core: Core, limited: Path) -> None:
    """EDQUOT at start is told as what it is, and nothing is left behind."""
    before = tree.realistic(limited)
    fill(limited)
    with pytest.raises(NcfError) as caught:
        core.start(limited)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.EDQUOT) in caught.value.details
    assert operations.leftovers(limited) == []
    after = tree.capture(limited)
    assert tree.differences(before, {path: after[path] for path in before}) == []


def test_quota_at_rollback(core: Core, limited: Path) -> None:
    """A quota used up during the change does not stop the rollback: its space was reserved."""
    before = tree.realistic(limited)
    core.start(limited)
    edit_in_place(limited)
    fill(limited)
    core.rollback(limited)
    after = tree.capture(limited)
    assert tree.differences(before, {path: after[path] for path in before}) == []


# --- read-only -------------------------------------------------------------------


def test_read_only_at_start(core: Core, helper: Helper, ext4: images.Image) -> None:
    """Start on a read-only filesystem fails with EROFS and exit status 1."""
    root = ext4.path
    tree.realistic(root)
    before = tree.capture(root, state=True, identity=True)
    ext4.remount("ro")
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.EROFS) in caught.value.details
    assert "var/lib/netcf" in caught.value.details
    assert helper.run("change-begin", root=root).returncode == FAILED
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


def test_read_only_at_rollback(core: Core, helper: Helper, ext4: images.Image) -> None:
    """Rollback fails loudly, names a path, keeps the snapshot; writable again, it succeeds."""
    root = ext4.path
    before = tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    ext4.remount("ro")
    with pytest.raises(NcfError) as caught:
        core.rollback(root)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.EROFS) in caught.value.details
    done = helper.run("start", root=root)
    assert done.returncode == FAILED
    assert os.strerror(errno.EROFS) in done.stderr
    assert tree.differences(edited, tree.capture(root)) == []
    assert core.status(root).open == 1
    ext4.remount("rw")
    assert helper.boot(root) == DONE
    assert tree.differences(before, tree.capture(root)) == []


def test_read_only_with_nothing_differing(core: Core, helper: Helper, ext4: images.Image) -> None:
    """Nothing differing is a success, also where nothing can be written; the change closes later."""
    root = ext4.path
    before = tree.realistic(root)
    core.start(root)
    ext4.remount("ro")
    done = helper.run("start", root=root)
    assert done.returncode == DONE
    assert "read-only" in done.stderr
    ext4.remount("rw")
    assert core.status(root).open == 1
    assert helper.boot(root) == DONE
    assert core.status(root).open == 0
    assert tree.differences(before, tree.capture(root)) == []


def test_read_only_with_nothing_open(helper: Helper, ext4: images.Image) -> None:
    """Boot on a root that is still read-only, with nothing open, succeeds silently."""
    root = ext4.path
    tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    helper.run("change-commit", root=root, check=True)
    ext4.remount("ro")
    done = helper.run("start", root=root)
    assert (done.returncode, done.stdout, done.stderr) == (DONE, "", "")
    assert helper.run("status", "--open", root=root).returncode == 3


def test_read_only_at_commit(core: Core, ext4: images.Image) -> None:
    """Commit that can't remove the snapshot fails and leaves the change open."""
    root = ext4.path
    tree.realistic(root)
    core.start(root)
    ext4.remount("ro")
    with pytest.raises(NcfError) as caught:
        core.commit(root)
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.EROFS) in caught.value.details
    ext4.remount("rw")
    assert core.status(root).open == 1


def test_readers_on_a_read_only_filesystem(core: Core, ext4: images.Image) -> None:
    """Status and diff need nothing to be writable."""
    root = ext4.path
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    ext4.remount("ro")
    assert core.status(root).open == 1
    assert len(core.diff(root)) > 5


def test_state_on_another_filesystem_than_the_configuration(core: Core, tmp_path: Path) -> None:
    """/var on a filesystem of its own: start, rollback and discarded configurations work across."""
    with images.mounted("ext4", tmp_path) as image:
        root = tmp_path / "host"
        before = tree.realistic(root)
        subprocess.run(["mount", "--bind", image.path, root / "var/lib"], check=True)
        try:
            core.start(root)
            tree.lock_out(root)
            core.rollback(root)
            assert len(core.discarded(root)) == 1
        finally:
            subprocess.run(["umount", root / "var/lib"], check=True)
        after = tree.capture(root)
        assert tree.differences(before, after) == []
