"""What rollback brings back, item by item: everything, exactly."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import socket
import stat
import struct
import tarfile
from pathlib import Path
from typing import Callable

import pytest

from lib import tree
from lib.ncf import Core

SCRIPTS = "etc/sysconfig/network-scripts"
IFCFG = SCRIPTS + "/ifcfg-eth0"


def rolled_back(core: Core, root: Path, edit: Callable[[], None]) -> None:
    """Start, edit, roll back: the tree must be what it was, and say so itself."""
    before = tree.capture(root)
    core.start(root)
    edit()
    edited = tree.capture(root)
    assert edited != before, "the edit of this test changed nothing"
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []
    assert tree.temporary_files(root) == []


@pytest.fixture
def host(root: Path) -> Path:
    tree.realistic(root)
    return root


def test_a_leftover_does_not_change_the_time_of_its_directory(core: Core, host: Path) -> None:
    """After a power cut btrfs has the temporary file of a rollback, but not yet the time of its directory."""
    directory = host / "etc/network/interfaces.d"

    def cut() -> None:
        saved = directory.stat()
        (directory / ".netcf-tmp-0").write_bytes(b"half")
        os.utime(directory, ns=(saved.st_atime_ns, saved.st_mtime_ns))

    rolled_back(core, host, cut)


def test_everything_at_once(core: Core, root: Path) -> None:
    """A thorny tree whose every path was deleted comes back whole."""
    tree.thorny(root)

    def wipe() -> None:
        for directory in tree.SCOPE_DIRECTORIES:
            full = tree.join(root, directory)
            if not os.path.isdir(full):
                continue
            for name in os.listdir(full):
                path = os.path.join(full, name)
                if tree.REALISTIC.get(os.path.join(directory, name), (0, b""))[1].startswith(b"#!"):
                    continue  # outside the scope
                if name == b"README":
                    continue
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
        os.unlink(root / "etc/network/interfaces")
        os.unlink(root / "etc/sysconfig/network")
        os.unlink(root / "etc/modprobe.d/netcf.conf")

    rolled_back(core, root, wipe)


def test_content_edited_in_place(core: Core, host: Path) -> None:
    """A file written over in place gets its old bytes back."""
    rolled_back(core, host, lambda: (host / IFCFG).write_bytes(b"IPADDR=wrong\n"))


def test_content_replaced_by_rename(core: Core, host: Path) -> None:
    """A file replaced by a new inode gets its old bytes back."""
    rolled_back(core, host, lambda: tree.rewrite(host, IFCFG.encode(), b"IPADDR=wrong\n"))


def test_same_size_same_mtime_other_content(core: Core, host: Path) -> None:
    """Content counts, not size and date: an edit that hides behind both is undone."""

    def edit() -> None:
        path = host / IFCFG
        status = path.stat()
        path.write_bytes(path.read_bytes().swapcase())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    rolled_back(core, host, edit)


def test_truncated_to_nothing(core: Core, host: Path) -> None:
    """A file that became empty gets its content back."""
    rolled_back(core, host, lambda: os.truncate(host / IFCFG, 0))


def test_empty_file(core: Core, host: Path) -> None:
    """An empty file comes back empty."""
    path = host / SCRIPTS / "ifcfg-empty"
    path.write_bytes(b"")
    rolled_back(core, host, lambda: path.write_bytes(b"no longer"))
    rolled_back(core, host, path.unlink)


def test_file_of_several_mebibytes(core: Core, host: Path) -> None:
    """A large file comes back byte for byte."""
    path = host / SCRIPTS / "ifcfg-large"
    path.write_bytes(os.urandom(5 << 20) + b"odd")

    def edit() -> None:
        with open(path, "r+b") as file:
            file.seek(4 << 20)
            file.write(b"X")

    rolled_back(core, host, edit)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1024, 4095, 4096, 65536, 131071])
def test_sizes_around_block_boundaries(core: Core, host: Path, size: int) -> None:
    """A file of any size comes back with exactly that size."""
    path = host / SCRIPTS / "ifcfg-sized"
    path.write_bytes(bytes(index % 251 for index in range(size)))
    rolled_back(core, host, path.unlink)


def test_bytes_that_are_no_text(core: Core, host: Path) -> None:
    """Content is bytes: NUL, 0xff and lines without an end survive."""
    path = host / SCRIPTS / "keys-binary"
    path.write_bytes(bytes(range(256)) * 3)
    rolled_back(core, host, lambda: path.write_bytes(b""))


def test_removed_file_is_back(core: Core, host: Path) -> None:
    """A removed file returns with its content and metadata."""
    rolled_back(core, host, (host / IFCFG).unlink)


def test_added_file_is_gone(core: Core, host: Path) -> None:
    """A file added in the scope is gone."""
    rolled_back(core, host, lambda: (host / SCRIPTS / "ifcfg-new").write_bytes(b"NEW=1\n"))


def test_renamed_file_is_back(core: Core, host: Path) -> None:
    """A renamed file is back under its old name and gone under the new one."""
    rolled_back(core, host, lambda: (host / IFCFG).rename(host / SCRIPTS / "ifcfg-moved"))


def test_two_files_that_swapped_names(core: Core, host: Path) -> None:
    """Two files that were exchanged are exchanged back."""

    def swap() -> None:
        one, other, spare = (host / SCRIPTS / f"ifcfg-{n}" for n in ("eth0", "br0", "spare"))
        one.rename(spare)
        other.rename(one)
        spare.rename(other)

    rolled_back(core, host, swap)


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o4711, 0o2755, 0o1644, 0o400, 0o777])
def test_mode(core: Core, host: Path, mode: int) -> None:
    """A mode-only change is undone, with setuid, setgid and sticky bits."""
    rolled_back(core, host, lambda: os.chmod(host / IFCFG, mode))
    os.chmod(host / IFCFG, mode)
    rolled_back(core, host, lambda: os.chmod(host / IFCFG, 0o640))
    rolled_back(core, host, (host / IFCFG).unlink)


@pytest.mark.root
def test_mode_nobody_may_use(core: Core, host: Path) -> None:
    """Mode 0000 is saved and restored like any other."""
    os.chmod(host / IFCFG, 0)
    rolled_back(core, host, lambda: os.chmod(host / IFCFG, 0o644))


@pytest.mark.root
def test_owner_and_group(core: Core, host: Path) -> None:
    """Owner and group are put back, also where nothing else differs."""
    os.chown(host / IFCFG, 1234, 4321)
    rolled_back(core, host, lambda: os.chown(host / IFCFG, 0, 0))
    rolled_back(core, host, lambda: os.chown(host / IFCFG, 1234, 0))
    rolled_back(core, host, (host / IFCFG).unlink)


@pytest.mark.root
def test_setuid_survives_the_owner(core: Core, host: Path) -> None:
    """The kernel clears setuid on chown; a setuid file of another owner still comes back."""
    os.chown(host / IFCFG, 1234, 4321)
    os.chmod(host / IFCFG, 0o6755)
    rolled_back(core, host, lambda: os.chown(host / IFCFG, 0, 0))
    rolled_back(core, host, lambda: (host / IFCFG).write_bytes(b"other"))


@pytest.mark.root
@pytest.mark.parametrize("number", [65534, 2_000_000, 2**31, 2**32 - 2])
def test_large_user_numbers(core: Core, host: Path, number: int) -> None:
    """User numbers beyond tar's octal field are kept."""
    os.chown(host / IFCFG, number, number)
    rolled_back(core, host, (host / IFCFG).unlink)


@pytest.mark.parametrize(
    "mtime_ns",
    [0, 1, 999_999_999, 1_700_000_000_000_000_001, 4_102_444_800_000_000_007, -1, -1_500_000_000],
    ids=["epoch", "1ns", "just-below-1s", "odd", "year-2100", "before-epoch", "before-epoch-by-seconds"],
)
def test_modification_time_to_the_nanosecond(core: Core, host: Path, mtime_ns: int) -> None:
    """mtime comes back to the nanosecond, also before 1970 and after 2038."""
    path = host / IFCFG
    os.utime(path, ns=(mtime_ns, mtime_ns))
    if path.stat().st_mtime_ns != mtime_ns:
        pytest.skip("this filesystem can't store that date")
    rolled_back(core, host, lambda: os.utime(path))
    rolled_back(core, host, path.unlink)


@pytest.mark.parametrize("seconds", [-(2**63), 2**63 - 1])
def test_modification_time_at_the_ends_of_time(core: Core, fast_dir: Path, seconds: int) -> None:
    """The first and the last second that a filesystem can store are restored as well."""
    tree.realistic(fast_dir)
    path = fast_dir / IFCFG
    os.utime(path, ns=(0, seconds * 10**9))
    was = path.stat().st_mtime_ns  # what this filesystem made of it
    core.start(fast_dir)
    path.write_bytes(b"edited")
    core.rollback(fast_dir)
    assert path.stat().st_mtime_ns == was


def test_modification_time_of_a_directory(core: Core, host: Path) -> None:
    """A directory whose entries changed has its old mtime again."""
    directory = host / SCRIPTS
    was = directory.stat().st_mtime_ns
    core.start(host)
    (directory / "ifcfg-new").write_bytes(b"")
    (directory / "ifcfg-eth0").unlink()
    core.rollback(host)
    assert directory.stat().st_mtime_ns == was


def test_modification_time_of_a_symbolic_link(core: Core, host: Path) -> None:
    """A link's own mtime comes back, not its target's."""
    link = host / SCRIPTS / "ifcfg-link"
    link.symlink_to("ifcfg-eth0")
    os.utime(link, ns=(7, 7), follow_symlinks=False)
    rolled_back(core, host, link.unlink)


def xattr_or_skip(path: Path, name: str, value: bytes, follow_symlinks: bool = True) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=follow_symlinks)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
        pytest.skip(f"this filesystem or user can't set {name}: {error.strerror}")


def acl(*entries: tuple) -> bytes:
    """The kernel's form of a POSIX ACL: (tag, permissions, id) rows."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xFFFFFFFF
ACL = acl((0x01, 6, NO_ID), (0x02, 4, 1234), (0x04, 4, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID))
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep

XATTRS = [
    pytest.param("user.comment", b"by hand", id="user"),
    pytest.param("user.empty", b"", id="user-empty"),
    pytest.param("user.binary", bytes(range(256)), id="user-binary"),
    pytest.param("user.name = with\nodd bytes", b"=\n", id="user-odd-name"),
    pytest.param("user." + "n" * 250, b"long", id="user-long-name"),
    pytest.param("user.large", b"v" * 3000, id="user-large"),
    pytest.param("system.posix_acl_access", ACL, id="acl"),
    pytest.param("trusted.note", b"for root", id="trusted", marks=pytest.mark.root),
    pytest.param("security.ima", b"\x01sig", id="security", marks=pytest.mark.root),
    pytest.param("security.capability", CAPABILITY, id="capability", marks=pytest.mark.root),
    pytest.param(
        "security.selinux", b"system_u:object_r:net_conf_t:s0\0", id="selinux", marks=pytest.mark.root
    ),
]


@pytest.mark.parametrize("name, value", XATTRS)
def test_extended_attributes_of_a_file(core: Core, host: Path, name: str, value: bytes) -> None:
    """An attribute that was changed, removed, or went with its file is back."""
    path = host / IFCFG
    xattr_or_skip(path, name, value)
    os.utime(path, ns=(5, 5))
    rolled_back(core, host, lambda: os.removexattr(path, name))
    rolled_back(core, host, lambda: tree.rewrite(host, IFCFG.encode(), path.read_bytes()))
    rolled_back(core, host, path.unlink)
    if name.startswith("user."):
        rolled_back(core, host, lambda: os.setxattr(path, name, b"other"))


@pytest.mark.parametrize("name, value", XATTRS)
def test_extended_attributes_that_were_added(core: Core, host: Path, name: str, value: bytes) -> None:
    """An attribute that was not there at start is gone again."""
    path = host / IFCFG
    rolled_back(core, host, lambda: xattr_or_skip(path, name, value))


def test_many_extended_attributes(core: Core, host: Path) -> None:
    """All of them come back, not only the first."""
    path = host / IFCFG
    for number in range(40):
        xattr_or_skip(path, f"user.n{number}", b"%d" % number)
    rolled_back(core, host, path.unlink)


def test_extended_attributes_across_the_pieces_of_a_snapshot(core: Core, host: Path) -> None:
    """A snapshot is written in pieces of 64 KiB: a header that lies in two of them is whole."""
    many = host / "etc/network/interfaces.d"
    for number in range(100):
        (many / f"eth{number}").write_bytes(b"")
        xattr_or_skip(many / f"eth{number}", "user.number", b"%d" % number)
    core.start(host)
    with tarfile.open(host / "var/lib/netcf/network-snapshot.tar") as snapshot:
        members = {Path(m.name).name: m for m in snapshot if "interfaces.d/eth" in m.name}
    core.rollback(host)
    assert any(m.offset // 65536 < (m.offset_data - 1) // 65536 for m in members.values())
    for number in range(100):
        assert members[f"eth{number}"].pax_headers["SCHILY.xattr.user.number"] == str(number)

    def edit() -> None:
        for number in range(100):
            os.removexattr(many / f"eth{number}", "user.number")

    rolled_back(core, host, edit)


def test_extended_attributes_of_a_directory(core: Core, host: Path) -> None:
    """Attributes of a directory in scope are restored, default ACL included."""
    directory = host / "etc/systemd/network/10-eth2.network.d"
    xattr_or_skip(directory, "user.kept", b"yes")
    xattr_or_skip(directory, "system.posix_acl_default", ACL)
    os.utime(directory, ns=(9, 9))
    rolled_back(core, host, lambda: os.removexattr(directory, "user.kept"))
    rolled_back(core, host, lambda: os.removexattr(directory, "system.posix_acl_default"))
    rolled_back(core, host, lambda: shutil.rmtree(directory))


def test_default_acl_does_not_leak_into_restored_files(core: Core, host: Path) -> None:
    """A file in a directory with a default ACL comes back without inheriting it."""
    directory = host / "etc/systemd/network/10-eth2.network.d"
    xattr_or_skip(directory, "system.posix_acl_default", ACL)
    os.utime(directory, ns=(9, 9))
    assert not os.listxattr(directory / "mtu.conf")
    rolled_back(core, host, (directory / "mtu.conf").unlink)


@pytest.mark.root
def test_extended_attributes_of_a_symbolic_link(core: Core, host: Path) -> None:
    """A link's own attributes (SELinux labels) are restored."""
    link = host / SCRIPTS / "ifcfg-link"
    link.symlink_to("ifcfg-eth0")
    xattr_or_skip(link, "trusted.label", b"link", follow_symlinks=False)
    rolled_back(core, host, link.unlink)
    rolled_back(core, host, lambda: os.removexattr(link, "trusted.label", follow_symlinks=False))


def test_symbolic_link_stays_a_link(core: Core, host: Path) -> None:
    """A link that was replaced by a copy of its target is a link again."""
    link = host / SCRIPTS / "ifcfg-link"
    link.symlink_to("ifcfg-eth0")

    def flatten() -> None:
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)

    rolled_back(core, host, flatten)


@pytest.mark.parametrize("target", ["ifcfg-eth0", "/does/not/exist", "../../../../outside", ".", "x" * 4000])
def test_symbolic_link_with_its_target(core: Core, host: Path, target: str) -> None:
    """A link comes back with its target as text: dangling, absolute, upwards, long."""
    link = host / SCRIPTS / "ifcfg-link"
    link.symlink_to(target)

    def repoint() -> None:
        link.unlink()
        link.symlink_to("elsewhere")

    rolled_back(core, host, repoint)
    rolled_back(core, host, link.unlink)


def test_target_of_a_symbolic_link_is_not_followed(core: Core, host: Path) -> None:
    """What a link in scope points to outside the scope is neither saved nor restored."""
    outside = host / "etc/outside.conf"
    outside.write_bytes(b"one")
    (host / SCRIPTS / "ifcfg-link").symlink_to("../../outside.conf")
    core.start(host)
    outside.write_bytes(b"two")
    core.rollback(host)
    assert outside.read_bytes() == b"two"


def test_hard_links_within_the_scope(core: Core, host: Path) -> None:
    """Names that were one file are one file again, whatever was done to them."""
    one = host / SCRIPTS / "ifcfg-eth0"
    other = host / "etc/systemd/network/linked"
    third = host / "etc/network/interfaces.d/third"
    os.link(one, other)
    os.link(one, third)

    def break_up() -> None:
        content = other.read_bytes()
        other.unlink()
        other.write_bytes(content)

    rolled_back(core, host, break_up)
    rolled_back(core, host, third.unlink)
    rolled_back(core, host, lambda: (one.unlink(), other.unlink(), third.unlink()))
    rolled_back(core, host, lambda: one.write_bytes(b"all three at once"))


def test_hard_links_that_were_made(core: Core, host: Path) -> None:
    """Two files that were separate, linked together since, are separate again."""
    one, other = host / SCRIPTS / "ifcfg-eth0", host / SCRIPTS / "ifcfg-eth1"

    def link() -> None:
        other.unlink()
        os.link(one, other)

    rolled_back(core, host, link)


def test_identical_files_linked_together(core: Core, host: Path) -> None:
    """Also where content and metadata are the same, linking them is a difference."""
    one, other = host / SCRIPTS / "ifcfg-a", host / SCRIPTS / "ifcfg-b"
    for path in (one, other):
        path.write_bytes(b"same")
        os.utime(path, ns=(3, 3))

    def link() -> None:
        other.unlink()
        os.link(one, other)

    rolled_back(core, host, link)


def test_hard_link_to_a_file_outside_the_scope(core: Core, host: Path) -> None:
    """A link from outside keeps what was written through it; the scope gets its own back."""
    outside = host / "etc/outside"
    os.link(host / IFCFG, outside)
    old = (host / IFCFG).read_bytes()
    core.start(host)
    (host / IFCFG).write_bytes(b"both names")
    core.rollback(host)
    assert (host / IFCFG).read_bytes() == old
    assert outside.read_bytes() == b"both names"


def test_directory_mode(core: Core, host: Path) -> None:
    """A directory's mode is put back."""
    rolled_back(core, host, lambda: os.chmod(host / "etc/systemd/network/10-eth2.network.d", 0o700))


def test_mode_of_a_directory_listed_by_a_wildcard(core: Core, host: Path) -> None:
    """The directory a wildcard lists is itself in scope."""
    rolled_back(core, host, lambda: os.chmod(host / "etc/NetworkManager/system-connections", 0o755))


@pytest.mark.root
def test_directory_owner(core: Core, host: Path) -> None:
    """A directory's owner is put back."""
    rolled_back(core, host, lambda: os.chown(host / "etc/systemd/network/10-eth2.network.d", 5, 6))


def test_empty_directory(core: Core, host: Path) -> None:
    """An empty directory is back with its mode."""
    directory = host / "etc/systemd/network/empty.d"
    directory.mkdir(mode=0o750)
    rolled_back(core, host, directory.rmdir)


def test_added_directories_are_gone(core: Core, host: Path) -> None:
    """A directory tree added below ** is removed with all that is in it."""

    def add() -> None:
        deep = host / "etc/systemd/network/new.d/one/two"
        deep.mkdir(parents=True)
        (deep / "file").write_bytes(b"x")
        (deep / ".hidden").write_bytes(b"x")
        (deep.parent / "link").symlink_to("two")

    rolled_back(core, host, add)


def test_removed_directory_tree_is_back(core: Core, host: Path) -> None:
    """A whole directory of the scope that was deleted returns, hidden files too."""
    directory = host / "etc/systemd/network"
    (directory / ".hidden").write_bytes(b"dot")
    rolled_back(core, host, lambda: shutil.rmtree(directory))


def test_removed_stack_directory_is_back(core: Core, host: Path) -> None:
    """A directory listed by a wildcard that was deleted returns with its owner and mode."""
    (host / "etc/netplan/README").unlink()
    rolled_back(core, host, lambda: shutil.rmtree(host / "etc/netplan"))
    rolled_back(core, host, lambda: shutil.rmtree(host / "etc/NetworkManager/system-connections"))


def test_renamed_directory_is_back(core: Core, host: Path) -> None:
    """A renamed directory is back under its old name only."""
    directory = host / "etc/systemd/network"
    rolled_back(
        core, host, lambda: (directory / "10-eth2.network.d").rename(directory / "99-other.network.d")
    )


def test_file_that_became_a_directory(core: Core, host: Path) -> None:
    """A file below ** that was replaced by a directory tree is a file again."""
    path = host / "etc/systemd/network/10-eth2.network"

    def edit() -> None:
        path.unlink()
        (path / "sub").mkdir(parents=True)
        (path / "sub/file").write_bytes(b"x")

    rolled_back(core, host, edit)


def test_directory_that_became_a_file(core: Core, host: Path) -> None:
    """A directory that was replaced by a file is a directory again."""
    path = host / "etc/systemd/network/10-eth2.network.d"

    def edit() -> None:
        shutil.rmtree(path)
        path.write_bytes(b"now a file")

    rolled_back(core, host, edit)


def test_directory_that_became_a_symbolic_link(core: Core, host: Path) -> None:
    """A directory replaced by a link is a directory again; the link's target is untouched."""
    path = host / "etc/systemd/network/10-eth2.network.d"
    elsewhere = host / "srv"
    elsewhere.mkdir()
    (elsewhere / "mtu.conf").write_bytes(b"do not touch")

    def edit() -> None:
        shutil.rmtree(path)
        path.symlink_to("/srv")

    rolled_back(core, host, edit)
    assert (elsewhere / "mtu.conf").read_bytes() == b"do not touch"


def test_file_that_became_a_symbolic_link(core: Core, host: Path) -> None:
    """A file replaced by a link is a file again, and the link's target is untouched."""
    outside = host / "etc/outside"
    outside.write_bytes(b"do not touch")

    def edit() -> None:
        (host / IFCFG).unlink()
        (host / IFCFG).symlink_to("../../outside")

    rolled_back(core, host, edit)
    assert outside.read_bytes() == b"do not touch"


def test_file_that_became_a_fifo(core: Core, host: Path) -> None:
    """A file replaced by a FIFO is a file again, and nobody waits for the FIFO."""

    def edit() -> None:
        (host / IFCFG).unlink()
        os.mkfifo(host / IFCFG)

    rolled_back(core, host, edit)


def test_file_that_became_a_socket(core: Core, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file replaced by a socket is a file again."""

    def edit() -> None:
        (host / IFCFG).unlink()
        monkeypatch.chdir(host / SCRIPTS)  # socket names are limited to 108 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("ifcfg-eth0")

    rolled_back(core, host, edit)


def test_names_of_every_kind(core: Core, root: Path) -> None:
    """Spaces, newlines, bytes that are not UTF-8, very long and very deep names come back."""
    tree.thorny(root)

    def edit() -> None:
        for path in (tree.NOT_UTF8, tree.NEWLINE, tree.SPACES, tree.LONG):
            os.unlink(tree.join(root, path))
        shutil.rmtree(tree.join(root, os.path.dirname(tree.DEEP)))

    rolled_back(core, root, edit)


@pytest.mark.parametrize(
    "name",
    [b"-rf", b"~", b"%s%n", b"a'b\"c", b"a\\b", b"a\tb\rc", b"\x01\x7f", b"*", b"[x]", b"#x", b" lead", b"trail ", b"\xff" * 255],
)
def test_name(core: Core, host: Path, name: bytes) -> None:
    """Any name a file can have is saved, shown and restored as it is."""
    path = tree.write(host, b"etc/network/interfaces.d/" + name, b"odd")
    rolled_back(core, host, lambda: os.unlink(path))
    core.start(host)
    os.unlink(path)
    assert [row.path for row in core.diff(host)] == [b"etc/network/interfaces.d/" + name]


def test_sparse_file_stays_sparse(core: Core, host: Path) -> None:
    """A sparse file comes back with its bytes and without allocating its holes."""
    path = host / SCRIPTS / "ifcfg-sparse"
    with open(path, "wb") as file:
        file.write(b"begin")
        file.truncate(8 << 20)
    os.utime(path, ns=(11, 11))
    allocated = path.stat().st_blocks
    if allocated > 64:
        pytest.skip("this filesystem keeps no holes")
    rolled_back(core, host, path.unlink)
    assert path.stat().st_size == 8 << 20
    assert path.stat().st_blocks <= allocated + 16


def flags_or_skip(path: Path, flags: int) -> None:
    try:
        tree.set_flags(path, flags)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip(f"this filesystem has no inode flags: {error.strerror}")


@pytest.mark.root
@pytest.mark.parametrize("flag", [tree.IMMUTABLE, tree.APPEND_ONLY, tree.NODUMP], ids=["i", "a", "d"])
def test_inode_flags_of_a_changed_file(core: Core, host: Path, flag: int) -> None:
    """A file with +i, +a or +d that was changed and lost its flag has both back."""
    path = host / IFCFG
    flags_or_skip(path, flag)

    def edit() -> None:
        tree.set_flags(path, 0)
        path.write_bytes(b"changed")

    rolled_back(core, host, edit)
    rolled_back(core, host, lambda: tree.set_flags(path, 0))


@pytest.mark.root
@pytest.mark.parametrize("flag", [tree.IMMUTABLE, tree.APPEND_ONLY], ids=["i", "a"])
def test_inode_flags_that_were_added(core: Core, host: Path, flag: int) -> None:
    """A file that was changed and then made +i or +a is restored without the flag."""
    path = host / IFCFG
    flags_or_skip(path, flag)
    tree.set_flags(path, 0)

    def edit() -> None:
        path.write_bytes(b"changed and nailed down")
        tree.set_flags(path, flag)

    rolled_back(core, host, edit)
    rolled_back(core, host, lambda: tree.set_flags(path, flag))


@pytest.mark.root
@pytest.mark.parametrize("flag", [tree.IMMUTABLE, tree.APPEND_ONLY], ids=["i", "a"])
def test_added_file_that_is_immutable(core: Core, host: Path, flag: int) -> None:
    """A file that was added with +i or +a is removed all the same."""
    flags_or_skip(host / IFCFG, 0)

    def edit() -> None:
        path = host / SCRIPTS / "ifcfg-nailed"
        path.write_bytes(b"x")
        tree.set_flags(path, flag)

    rolled_back(core, host, edit)


@pytest.mark.root
@pytest.mark.parametrize("flag", [tree.IMMUTABLE, tree.APPEND_ONLY], ids=["i", "a"])
def test_directory_that_is_immutable(core: Core, host: Path, flag: int) -> None:
    """A directory in scope that was +i or +a is so again after its files were restored."""
    directory = host / "etc/systemd/network/10-eth2.network.d"
    flags_or_skip(directory, flag)

    def edit() -> None:
        tree.set_flags(directory, 0)
        (directory / "mtu.conf").write_bytes(b"changed")
        (directory / "added.conf").write_bytes(b"x")
        tree.set_flags(directory, flag)

    rolled_back(core, host, edit)

    def remove() -> None:
        tree.set_flags(directory, 0)
        shutil.rmtree(directory)

    rolled_back(core, host, remove)


@pytest.mark.root
def test_directory_that_was_made_immutable(core: Core, host: Path) -> None:
    """Files in a directory that was made +i since are restored, and the flag is gone."""
    directory = host / SCRIPTS
    flags_or_skip(directory, 0)

    def edit() -> None:
        (directory / "ifcfg-eth0").unlink()
        (directory / "ifcfg-new").write_bytes(b"")
        tree.set_flags(directory, tree.IMMUTABLE)

    rolled_back(core, host, edit)


@pytest.mark.parametrize("edited", ["file", "directory"])
def test_what_a_directory_with_nodump_hands_down(core: Core, host: Path, edited: str) -> None:
    """What is made anew in a directory with +d has its own flags, not the directory's."""
    directory = host / "etc/systemd/network"
    flags_or_skip(directory, tree.NODUMP)
    if edited == "file":
        rolled_back(core, host, lambda: tree.rewrite(host, b"etc/systemd/network/10-eth2.network", b"x"))
    else:
        rolled_back(core, host, lambda: shutil.rmtree(directory / "10-eth2.network.d"))


@pytest.mark.root
def test_an_immutable_directory_where_a_file_was(core: Core, host: Path) -> None:
    """It is unlocked, removed, and the file is back."""
    path = host / "etc/systemd/network/10-eth2.network"
    flags_or_skip(path, 0)

    def edit() -> None:
        path.unlink()
        path.mkdir()
        tree.set_flags(path, tree.IMMUTABLE)

    rolled_back(core, host, edit)


@pytest.mark.root
def test_hard_links_that_are_immutable(core: Core, host: Path) -> None:
    """A group of hard links with +i comes back as a group with +i."""
    one, other = host / SCRIPTS / "ifcfg-eth0", host / "etc/systemd/network/linked"
    os.link(one, other)
    flags_or_skip(one, tree.IMMUTABLE)

    def edit() -> None:
        tree.set_flags(one, 0)
        other.unlink()

    rolled_back(core, host, edit)


@pytest.mark.root
def test_content_under_an_append_only_flag(core: Core, host: Path) -> None:
    """What was appended to a +a file is taken away again."""
    path = host / IFCFG
    flags_or_skip(path, tree.APPEND_ONLY)

    def edit() -> None:
        with open(path, "ab") as file:
            file.write(b"# appended\n")

    rolled_back(core, host, edit)


def test_files_made_under_any_umask(core: Core, host: Path) -> None:
    """The caller's umask changes nothing about what is restored."""
    before = tree.capture(host)
    for mask in (0o000, 0o777):
        core.start(host)
        tree.lock_out(host)
        old = os.umask(mask)
        try:
            core.rollback(host)
        finally:
            os.umask(old)
        assert tree.differences(before, tree.capture(host)) == []


def test_type_of_everything_stays(core: Core, root: Path) -> None:
    """No symlink is flattened and no directory lost in a rollback of the thorny tree."""
    before = tree.thorny(root)
    core.start(root)
    tree.lock_out(root)
    core.rollback(root)
    kinds = {path: stat.S_IFMT(os.lstat(tree.join(root, path)).st_mode) for path in before}
    assert {path: entry.kind for path, entry in before.items()} == {
        path: tree.kind_of(kind) for path, kind in kinds.items()
    }


def test_write_through_a_mapping_that_was_dirty_at_start(core: Core, root: Path) -> None:
    """Content a program writes through memory, for which the kernel sets no new time, is undone."""
    path = root / "etc/network/interfaces"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a" * 100)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 100) as memory:
        memory[:3] = b"bbb"
        before = tree.capture(root)
        core.start(root)
        memory[:3] = b"ccc"
        core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


@pytest.mark.root
@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("flag", [tree.IMMUTABLE, tree.APPEND_ONLY], ids=["i", "a"])
def test_a_leftover_that_is_locked_in(core: Core, host: Path, flag: int, end: str) -> None:
    """Found on the simulated disk: the temporary name is there, but its directory and its file are locked again.

    The file's other name is the good one: both flags stay.
    """
    directory = host / "etc/systemd/network/10-eth2.network.d"
    file = directory / "mtu.conf"
    flags_or_skip(file, flag)
    tree.set_flags(directory, flag)
    before = tree.capture(host)
    core.start(host)
    for path in (directory, file):
        tree.set_flags(path, 0)
    times = directory.stat()
    os.link(file, directory / ".netcf-tmp-0")
    (directory / ".netcf-tmp-1").symlink_to("mtu.conf")
    os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))
    for path in (directory, file):
        tree.set_flags(path, flag)
    core.rollback(host) if end == "rollback" else core.commit(host)
    assert tree.temporary_files(host) == []
    now = tree.capture(host)
    if end == "commit":  # the directory's time is that of the removal
        before, now = tree.without_directory_times(before), tree.without_directory_times(now)
    assert tree.differences(before, now) == []
