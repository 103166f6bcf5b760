"""diff: each kind of difference as a typed object."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from lib import tree
from netcf_py import Difference, DifferenceKind, FileType, Metadata, Netcf

SCRIPTS = "etc/sysconfig/network-scripts"


def only(ncf: Netcf, path: str) -> Difference:
    """The one difference at `path`."""
    [found] = [row for row in ncf.diff() if row.path == path]
    return found


def test_nothing_changed_is_no_difference(ncf: Netcf) -> None:
    """Right after start nothing differs."""
    ncf.change_start()
    assert ncf.diff() == []


def test_an_added_file(ncf: Netcf, host: Path) -> None:
    """A new file was nothing and is a file."""
    ncf.change_start()
    (host / SCRIPTS / "ifcfg-new").write_bytes(b"x")
    found = only(ncf, f"{SCRIPTS}/ifcfg-new")
    assert found.kind is DifferenceKind.ADDED
    assert (found.was, found.now) == (FileType.NOTHING, FileType.FILE)


def test_a_removed_file(ncf: Netcf, host: Path) -> None:
    """A deleted file was a file and is nothing."""
    ncf.change_start()
    (host / SCRIPTS / "ifcfg-br0").unlink()
    found = only(ncf, f"{SCRIPTS}/ifcfg-br0")
    assert found.kind is DifferenceKind.REMOVED
    assert (found.was, found.now) == (FileType.FILE, FileType.NOTHING)


def test_a_changed_file(ncf: Netcf, host: Path) -> None:
    """Other content is a change."""
    ncf.change_start()
    (host / SCRIPTS / "ifcfg-br0").write_bytes(b"x")
    found = only(ncf, f"{SCRIPTS}/ifcfg-br0")
    assert found.kind is DifferenceKind.CHANGED
    assert (found.was, found.now) == (FileType.FILE, FileType.FILE)


def test_a_file_that_became_a_link(ncf: Netcf, host: Path) -> None:
    """Another type is a change, and both types are told."""
    path = host / SCRIPTS / "ifcfg-br0"
    ncf.change_start()
    path.unlink()
    path.symlink_to("/dev/null")
    found = only(ncf, f"{SCRIPTS}/ifcfg-br0")
    assert found.kind is DifferenceKind.CHANGED
    assert (found.was, found.now) == (FileType.FILE, FileType.LINK)


def test_a_file_that_became_a_directory(ncf: Netcf, host: Path) -> None:
    """A directory in the place of a file is a change of type."""
    path = host / "etc/systemd/network/10-eth2.network"
    ncf.change_start()
    path.unlink()
    path.mkdir()
    found = only(ncf, "etc/systemd/network/10-eth2.network")
    assert found.kind is DifferenceKind.CHANGED
    assert (found.was, found.now) == (FileType.FILE, FileType.DIRECTORY)


def test_only_the_mode_differs(ncf: Netcf, host: Path) -> None:
    """A change of mode alone is metadata, and says which."""
    ncf.change_start()
    (host / SCRIPTS / "ifcfg-br0").chmod(0o600)
    found = only(ncf, f"{SCRIPTS}/ifcfg-br0")
    assert found.kind is DifferenceKind.METADATA
    assert found.metadata == {Metadata.MODE}


def test_only_the_time_differs(ncf: Netcf, host: Path) -> None:
    """A nanosecond of the modification time is a difference of metadata."""
    path = host / SCRIPTS / "ifcfg-br0"
    ncf.change_start()
    when = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(when, when))
    assert only(ncf, f"{SCRIPTS}/ifcfg-br0").metadata == {Metadata.MTIME}


def test_mode_and_time_differ(ncf: Netcf, host: Path) -> None:
    """Several differences of metadata are told together."""
    path = host / SCRIPTS / "ifcfg-br0"
    ncf.change_start()
    path.chmod(0o600)
    os.utime(path, ns=(1, 1))
    assert only(ncf, f"{SCRIPTS}/ifcfg-br0").metadata == {Metadata.MODE, Metadata.MTIME}


@pytest.mark.root
def test_only_the_owner_differs(ncf: Netcf, host: Path) -> None:
    """Another owner is a difference of metadata."""
    ncf.change_start()
    os.chown(host / SCRIPTS / "ifcfg-br0", 1, 1)
    assert only(ncf, f"{SCRIPTS}/ifcfg-br0").metadata == {Metadata.OWNER}


def test_only_extended_attributes_differ(ncf: Netcf, host: Path) -> None:
    """A new extended attribute is a difference of metadata."""
    path = host / SCRIPTS / "ifcfg-br0"
    ncf.change_start()
    try:
        os.setxattr(path, "user.note", b"x")
    except OSError as error:
        pytest.skip(f"no extended attributes on {path}: {error}")
    assert only(ncf, f"{SCRIPTS}/ifcfg-br0").metadata == {Metadata.XATTR}


@pytest.mark.root
def test_only_inode_flags_differ(ncf: Netcf, host: Path) -> None:
    """An inode flag that was set is a difference of metadata."""
    path = host / SCRIPTS / "ifcfg-br0"
    if tree.get_flags(path) is None:
        pytest.skip(f"no inode flags on the filesystem of {path}")
    ncf.change_start()
    tree.set_flags(path, tree.NODUMP)
    assert only(ncf, f"{SCRIPTS}/ifcfg-br0").metadata == {Metadata.FLAGS}


def test_only_hard_links_differ(ncf: Netcf, host: Path) -> None:
    """Names that are no longer one file, with equal content, differ in links."""
    first, second = host / SCRIPTS / "ifcfg-eth0", host / SCRIPTS / "ifcfg-eth0.5"
    os.link(first, second)
    status = first.stat()
    ncf.change_start()
    content = second.read_bytes()
    second.unlink()
    second.write_bytes(content)
    second.chmod(status.st_mode & 0o7777)
    os.utime(second, ns=(status.st_mtime_ns, status.st_mtime_ns))
    found = [row for row in ncf.diff() if "ifcfg-eth0" in row.path]
    assert found
    assert {row.kind for row in found} == {DifferenceKind.METADATA}
    assert {what for row in found for what in row.metadata} == {Metadata.LINKS}


def test_differences_are_sorted_by_path(ncf: Netcf, host: Path) -> None:
    """The order is that of the paths as bytes."""
    ncf.change_start()
    tree.lock_out(host)
    paths = [os.fsencode(row.path) for row in ncf.diff()]
    assert len(paths) > 8
    assert paths == sorted(paths)


def test_a_name_that_is_not_utf_8_survives(ncf: Netcf, host: Path) -> None:
    """The bytes of a name come back from the path that diff gives."""
    name = b"etc/network/interfaces.d/caf\xe9 \xff\n"
    ncf.change_start()
    tree.write(os.fsencode(host), name, b"x")
    paths = [os.fsencode(row.path) for row in ncf.diff()]
    assert name in paths


def test_a_name_that_is_not_utf_8_can_be_announced(ncf: Netcf, host: Path) -> None:
    """The path that diff gives, as str, is good for announce."""
    name = b"etc/network/interfaces.d/caf\xe9"
    full = tree.write(os.fsencode(host), name, b"old\n")
    ncf.change_start(on_write=True)
    ncf.announce(os.fsdecode(name))
    with open(full, "wb") as file:
        file.write(b"new\n")
    assert [os.fsencode(row.path) for row in ncf.diff()] == [name]
    ncf.change_rollback()
    with open(full, "rb") as file:
        assert file.read() == b"old\n"


def test_records_are_frozen_and_hashable(ncf: Netcf, host: Path) -> None:
    """A record can't be changed and can be put in a set."""
    ncf.change_start()
    (host / SCRIPTS / "ifcfg-br0").chmod(0o600)
    first, second = ncf.diff(), ncf.diff()
    assert first == second
    assert len({*first, *second}) == len(first)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first[0].path = "other"  # type: ignore[misc]
