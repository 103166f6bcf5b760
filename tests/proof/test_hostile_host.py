"""Somebody else on the host works against us while an operation runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lib import ncf, seam, tree
from lib.helper import FAILED, Helper
from lib.ncf import Core, NcfError

SNAPSHOT = "var/lib/netcf/network-snapshot.tar"


def test_link_in_the_place_of_a_directory_just_made(core: Core, fast_dir: Path) -> None:
    """A directory that is swapped for a link as soon as it was made has nobody else's mode changed."""
    root, outside = fast_dir / "host", fast_dir / "outside"
    tree.realistic(root)
    outside.mkdir(mode=0o755)
    core.start(root)
    made = root / "etc/systemd/network/10-eth2.network.d"
    (made / "mtu.conf").unlink()
    made.rmdir()

    def swap(event: seam.Event, _number: int) -> None:
        if event.call == "fchmodat" and event.name == os.fsencode(made.name):
            made.rmdir()
            made.symlink_to(outside)

    with seam.watching(core, swap), pytest.raises(NcfError) as caught:
        core.rollback(root)
    assert made.is_symlink()
    assert "10-eth2.network.d" in caught.value.details
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert os.listdir(outside) == []


@pytest.mark.parametrize("call", ["rollback", "commit", "diff", "status"])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_snapshot_that_others_can_write(core: Core, root: Path, call: str, mode: int) -> None:
    """A snapshot that others can write to is refused, with its path, and nothing is touched."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    (root / SNAPSHOT).chmod(mode)
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        getattr(core, call)(root)
    assert caught.value.code == ncf.EFILE
    assert SNAPSHOT in caught.value.details
    assert "can be written by others" in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.root
def test_snapshot_of_somebody_else(core: Core, helper: Helper, root: Path) -> None:
    """A snapshot that belongs to neither root nor the caller is refused, at boot too."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    os.chown(root / SNAPSHOT, 1234, 1234)
    before = tree.capture(root, state=True, identity=True)
    assert helper.boot(root) == FAILED
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.parametrize("metadata_only", [False, True])
def test_hard_link_to_a_file_outside_is_not_written_through(
    core: Core, root: Path, metadata_only: bool
) -> None:
    """A name in scope that became a hard link to a file outside is replaced; the file is untouched."""
    tree.realistic(root)
    path = root / "etc/netplan/01-base.yaml"
    content = path.read_bytes()
    core.start(root)
    outside = root / "etc/shadow"
    outside.write_bytes(content if metadata_only else b"root:*:1:\n")
    outside.chmod(0o640)
    before = outside.stat()
    path.unlink()
    os.link(outside, path)
    core.rollback(root)
    now = outside.stat()
    assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert now.st_nlink == 1
    assert path.read_bytes() == content


def test_control_characters_beyond_ascii_can_not_drive_a_terminal(helper: Helper, root: Path) -> None:
    """U+009B, which starts a command on a terminal as ESC [ does, is shown as its bytes."""
    tree.realistic(root)
    helper.run("snapshot_config", root=root, check=True)
    tree.write(root, b"etc/network/interfaces.d/\xc2\x9b31m\xc3\xa9")
    shown = os.fsencode(helper.run("diff", root=root, check=True).stdout)
    assert b"\xc2\x9b" not in shown
    assert rb"etc/network/interfaces.d/\xc2" in shown
    assert "\u00e9".encode() in shown
