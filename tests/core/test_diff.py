"""What differs now from the snapshot: kind, types, metadata bits, order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lib import ncf, tree
from lib.ncf import Core, Difference

SCRIPTS = b"etc/sysconfig/network-scripts/"
IFCFG = SCRIPTS + b"ifcfg-eth0"


@pytest.fixture
def host(core: Core, root: Path) -> Path:
    """The thorny tree, with a change open."""
    tree.thorny(root)
    core.start(root)
    return root


def full(host: Path, path: bytes) -> bytes:
    return tree.join(host, path)


def keep_time(host: Path, path: bytes) -> int:
    return os.lstat(full(host, path)).st_mtime_ns


def set_time(host: Path, path: bytes, when: int) -> None:
    os.utime(full(host, path), ns=(when, when))


def test_nothing_differs_after_start(core: Core, host: Path) -> None:
    """A host that nobody touched has no difference."""
    assert core.diff(host) == []


def test_added_file(core: Core, host: Path) -> None:
    """A new file is added: nothing then, a file now."""
    tree.write(host, SCRIPTS + b"ifcfg-new", b"x")
    assert core.diff(host) == [Difference(SCRIPTS + b"ifcfg-new", ncf.ADDED, "-", "f")]


def test_removed_file(core: Core, host: Path) -> None:
    """A file that is gone is removed: a file then, nothing now."""
    os.unlink(full(host, IFCFG))
    assert core.diff(host) == [Difference(IFCFG, ncf.REMOVED, "f", "-")]


def test_changed_content(core: Core, host: Path) -> None:
    """Other content is changed, whatever else differs: metadata has bits only where it is all."""
    when = keep_time(host, IFCFG)
    tree.write(host, IFCFG, b"other", mtime_ns=when)
    assert core.diff(host) == [Difference(IFCFG, ncf.CHANGED, "f", "f", 0)]
    set_time(host, IFCFG, 1)
    os.chmod(full(host, IFCFG), 0o600)
    assert core.diff(host) == [Difference(IFCFG, ncf.CHANGED, "f", "f", 0)]


def test_same_content_written_again(core: Core, host: Path) -> None:
    """Writing the same bytes changes the date only."""
    tree.write(host, IFCFG, tree.REALISTIC[IFCFG][1])
    assert core.diff(host) == [Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_MTIME)]


def test_same_content_and_date_is_no_difference(core: Core, host: Path) -> None:
    """Equal content with equal metadata is no difference, even on a new inode."""
    when = keep_time(host, IFCFG)
    tree.rewrite(host, IFCFG, tree.REALISTIC[IFCFG][1])
    set_time(host, IFCFG, when)
    assert core.diff(host) == []


def test_mode(core: Core, host: Path) -> None:
    """Another mode is metadata."""
    os.chmod(full(host, IFCFG), 0o600)
    assert core.diff(host) == [Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_MODE)]


@pytest.mark.root
def test_owner(core: Core, host: Path) -> None:
    """Another owner or group is metadata."""
    os.chown(full(host, IFCFG), 5, 0)
    os.chown(full(host, SCRIPTS + b"ifcfg-br0"), 0, 5)
    assert core.diff(host) == [
        Difference(SCRIPTS + b"ifcfg-br0", ncf.METADATA, "f", "f", ncf.META_OWNER),
        Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_OWNER),
    ]


def test_modification_time(core: Core, host: Path) -> None:
    """A nanosecond is a difference."""
    set_time(host, IFCFG, keep_time(host, IFCFG) + 1)
    assert core.diff(host) == [Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_MTIME)]


def test_extended_attribute(core: Core, host: Path) -> None:
    """An attribute more is metadata."""
    os.setxattr(full(host, IFCFG), "user.x", b"1")
    assert core.diff(host) == [Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_XATTR)]


@pytest.mark.root
def test_inode_flags(core: Core, host: Path) -> None:
    """+i, +a and +d are metadata."""
    for flag in (tree.IMMUTABLE, tree.APPEND_ONLY, tree.NODUMP):
        tree.set_flags(full(host, IFCFG), flag)
        found = core.diff(host)
        tree.set_flags(full(host, IFCFG), 0)
        assert found == [Difference(IFCFG, ncf.METADATA, "f", "f", ncf.META_FLAGS)]


def test_hard_links_broken(core: Core, host: Path) -> None:
    """A name that left its group of hard links differs by its links."""
    path = b"etc/network/interfaces.d/linked"
    when = keep_time(host, path)
    tree.rewrite(host, path, Path(os.fsdecode(full(host, path))).read_bytes())
    set_time(host, path, when)
    found = core.diff(host)
    assert found
    assert {row.kind for row in found} == {ncf.METADATA}
    assert {row.metadata for row in found} == {ncf.META_LINKS}
    assert {row.path for row in found} <= {
        path, b"etc/systemd/network/linked", SCRIPTS + b"ifcfg-eth1",
    }  # fmt: skip


def test_link_target(core: Core, host: Path) -> None:
    """A link that points elsewhere is changed."""
    path = SCRIPTS + b"ifcfg-alias"
    when = keep_time(host, path)
    os.unlink(full(host, path))
    os.symlink(b"ifcfg-eth1", full(host, path))
    os.utime(full(host, path), ns=(when, when), follow_symlinks=False)
    assert core.diff(host) == [Difference(path, ncf.CHANGED, "l", "l", 0)]


@pytest.mark.parametrize(
    "kind, make",
    [
        ("l", lambda path: os.symlink("x", path)),
        ("s", os.mkfifo),
        ("d", os.mkdir),
    ],
)
def test_type(core: Core, host: Path, kind: str, make) -> None:  # type: ignore[no-untyped-def]
    """Another type is changed, with the type then and the type now."""
    path = b"etc/systemd/network/10-eth2.network"
    os.unlink(full(host, path))
    make(full(host, path))
    (found,) = core.diff(host)
    assert (found.path, found.kind, found.was, found.now) == (path, ncf.CHANGED, "f", kind)


def test_added_directory(core: Core, host: Path) -> None:
    """A new directory and what is in it are each listed, the directory first."""
    top = b"etc/systemd/network/new.d"
    tree.write(host, top + b"/file", b"")
    assert core.diff(host) == [
        Difference(top, ncf.ADDED, "-", "d"),
        Difference(top + b"/file", ncf.ADDED, "-", "f"),
    ]


def test_removed_directory(core: Core, host: Path) -> None:
    """A directory that is gone and what was in it are each listed."""
    top = b"etc/systemd/network/10-eth2.network.d"
    shutil.rmtree(full(host, top))
    assert core.diff(host) == [
        Difference(top, ncf.REMOVED, "d", "-"),
        Difference(top + b"/mtu.conf", ncf.REMOVED, "f", "-"),
    ]


def test_directory_mode(core: Core, host: Path) -> None:
    """A directory of another mode is metadata."""
    path = b"etc/NetworkManager/system-connections"
    os.chmod(full(host, path), 0o755)
    assert core.diff(host) == [Difference(path, ncf.METADATA, "d", "d", ncf.META_MODE)]


def test_directory_date_alone_is_no_difference(core: Core, host: Path) -> None:
    """A directory whose mtime moved because names came and went is not listed."""
    path = tree.write(host, SCRIPTS + b"ifcfg-brief", b"x")
    os.unlink(path)
    assert core.diff(host) == []


def test_order(core: Core, host: Path) -> None:
    """Differences come sorted by path, a directory before what is in it."""
    for path in (b"etc/systemd/network/b", b"etc/systemd/network/a/z", b"etc/systemd/network/a-b",
                 b"etc/network/interfaces", b"etc/netplan/z.yaml"):  # fmt: skip
        tree.write(host, path, b"order")
    paths = [row.path for row in core.diff(host)]
    assert paths == sorted(paths, key=lambda path: path.split(b"/"))
    assert len(paths) == 6


def test_everything_wiped(core: Core, host: Path) -> None:
    """With the whole configuration gone, every saved path is removed."""
    saved = core.status(host).files
    shutil.rmtree(host / "etc")
    found = core.diff(host)
    assert {row.kind for row in found} == {ncf.REMOVED}
    assert len(found) >= saved
    core.rollback(host)
    assert (host / "etc/network/interfaces").read_bytes() == tree.INTERFACES


def test_specials_are_shown_as_specials(core: Core, root: Path) -> None:
    """A FIFO that was there at start is no difference; one that came is 's'."""
    (root / "etc/systemd/network").mkdir(parents=True)
    os.mkfifo(root / "etc/systemd/network/old")
    core.start(root)
    os.mkfifo(root / "etc/systemd/network/new")
    assert core.diff(root) == [Difference(b"etc/systemd/network/new", ncf.ADDED, "-", "s")]


def test_diff_after_rollback_needs_a_new_change(core: Core, host: Path) -> None:
    """Diff without an open change is NCF_EINVALIDOP."""
    core.rollback(host)
    with pytest.raises(ncf.NcfError) as caught:
        core.diff(host)
    assert caught.value.code == ncf.EINVALIDOP
