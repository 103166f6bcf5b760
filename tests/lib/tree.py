"""A camera for directory trees, and realistic trees to point it at.

`capture` turns a tree into a dictionary that two trees can be compared by;
`realistic` builds the configuration a real host might have, one that keeps
five stacks at once; `thorny` adds what is hard to put back.
"""

from __future__ import annotations

import array
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
IMMUTABLE, APPEND_ONLY, NODUMP = 0x10, 0x20, 0x40
RESTORED_FLAGS = IMMUTABLE | APPEND_ONLY | NODUMP

STATE = b"var/lib/netcf"
SNAPSHOT = STATE + b"/network-snapshot.tar"

# Directories of the default scope: listed by a wildcard, so themselves in it.
SCOPE_DIRECTORIES = (
    b"etc/sysconfig/network-scripts",
    b"etc/sysconfig/network",
    b"etc/network/interfaces.d",
    b"etc/netplan",
    b"etc/systemd/network",
    b"etc/NetworkManager/system-connections",
)

DAY = 86_400 * 10**9
OLD = 1_300_000_000 * 10**9  # 2011: nothing a test does by itself gets this date


@dataclass(frozen=True)
class Entry:
    """Everything about one path that a rollback must bring back."""

    kind: str  # one of f d l p c b s
    mode: int
    uid: int
    gid: int
    mtime_ns: int | None  # None for directories outside the scope
    content: bytes | None = None  # of files: itself if short, else its hash
    target: bytes | None = None
    rdev: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    flags: int | None = None
    links: tuple[bytes, ...] = ()  # all names of this inode, if more than one
    inode: int | None = None  # with identity=True only
    ctime_ns: int | None = None


Tree = dict[bytes, Entry]


def capture(
    root: Path | str | bytes,
    *,
    state: bool = False,
    identity: bool = False,
) -> Tree:
    """All paths below `root`, as they are now.

    The state directory is left out unless `state`; with `identity`, inode and
    ctime are part of it, so that equal means untouched.  Modification times of
    directories count where the directory is in the default scope.
    """
    top = os.fsencode(root)
    names: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, os.stat_result] = {}
    for path in _walk(top, b"", state):
        status = os.lstat(os.path.join(top, path))
        found[path] = status
        if not stat.S_ISDIR(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
    tree: Tree = {}
    for path, status in found.items():
        same = names.get((status.st_dev, status.st_ino), ())
        tree[path] = _entry(os.path.join(top, path), path, status, identity, same)
    return tree


def _walk(top: bytes, below: bytes, state: bool) -> Iterable[bytes]:
    with os.scandir(os.path.join(top, below)) as rows:
        for row in rows:
            path = os.path.join(below, row.name)
            if path == STATE and not state:
                continue
            yield path
            if row.is_dir(follow_symlinks=False):
                yield from _walk(top, path, state)


def _entry(
    path: bytes, relative: bytes, status: os.stat_result, identity: bool, same: Iterable[bytes]
) -> Entry:
    kind = kind_of(status.st_mode)
    links = tuple(sorted(same))
    dated = kind != "d" or in_scope(relative)
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns if dated else None,
        content=_content(path) if kind == "f" else None,
        target=os.readlink(path) if kind == "l" else None,
        rdev=status.st_rdev if kind in "cb" else 0,
        xattrs=_xattrs(path),
        flags=get_flags(path) if kind in "fd" else None,
        links=links if len(links) > 1 else (),
        inode=status.st_ino if identity else None,
        ctime_ns=status.st_ctime_ns if identity and dated else None,
    )


def kind_of(mode: int) -> str:
    for test, letter in (
        (stat.S_ISREG, "f"),
        (stat.S_ISDIR, "d"),
        (stat.S_ISLNK, "l"),
        (stat.S_ISFIFO, "p"),
        (stat.S_ISCHR, "c"),
        (stat.S_ISBLK, "b"),
    ):
        if test(mode):
            return letter
    return "s"


def in_scope(path: bytes) -> bool:
    """Whether the default scope lists this directory, or a part of it."""
    return any(path == top or path.startswith(top + b"/") for top in SCOPE_DIRECTORIES)


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        content = file.read()
    return content if len(content) <= 256 else hashlib.sha256(content).digest()


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EACCES, errno.EPERM):
            raise
        return ()
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))


def get_flags(path: bytes | str | Path) -> int | None:
    """The inode flags that are restored; None where the filesystem has none."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        word = array.array("i", [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, word)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return None
    finally:
        os.close(fd)
    return word[0] & RESTORED_FLAGS


def set_flags(path: bytes | str | Path, flags: int) -> None:
    """Set exactly these of the restored flags; OSError where that is impossible."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        word = array.array("i", [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, word)
        word[0] = (word[0] & ~RESTORED_FLAGS) | flags
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, word)
    finally:
        os.close(fd)


def without_directory_times(captured: Mapping[bytes, Entry]) -> Tree:
    """For what restores names in a directory, but not the directory itself."""
    return {
        path: replace(entry, mtime_ns=None) if entry.kind == "d" else entry
        for path, entry in captured.items()
    }


def clear_flags(root: Path | str | bytes) -> None:
    """Make everything below `root` deletable again."""
    top = os.fsencode(root)
    for path in (top, *(os.path.join(top, path) for path in _walk(top, b"", True))):
        if kind_of(os.lstat(path).st_mode) in "fd" and get_flags(path):
            set_flags(path, 0)


def differences(expected: Mapping[bytes, Entry], actual: Mapping[bytes, Entry]) -> list[str]:
    """What is not as expected, one readable line per path; [] if the trees are equal."""
    lines = []
    for path in sorted(expected.keys() | actual.keys()):
        was, now = expected.get(path), actual.get(path)
        if was == now:
            continue
        if was is None:
            lines.append(f"{path!r}: must not exist")
        elif now is None:
            lines.append(f"{path!r}: is missing")
        else:
            fields = [
                f"{field} {getattr(was, field)!r} -> {getattr(now, field)!r}"
                for field in Entry.__dataclass_fields__
                if getattr(was, field) != getattr(now, field)
            ]
            lines.append(f"{path!r}: " + ", ".join(fields))
    return lines


def temporary_files(root: Path | str | bytes) -> list[bytes]:
    """Every path below `root` with a name of the core's temporary files."""
    top = os.fsencode(root)
    found = []
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            if name.startswith(b".netcf-tmp"):
                found.append(os.path.relpath(os.path.join(directory, name), top))
    return sorted(found)


# --- building trees -------------------------------------------------------------

IFCFG_BOND = b"""\
DEVICE=bond0
ONBOOT=yes
BOOTPROTO=none
BRIDGE=br0
BONDING_OPTS="mode=active-backup miimon=100"
"""
IFCFG_SLAVE = b"DEVICE=%s\nONBOOT=yes\nBOOTPROTO=none\nMASTER=bond0\nSLAVE=yes\n"
IFCFG_BRIDGE = b"""\
DEVICE=br0
TYPE=Bridge
ONBOOT=yes
BOOTPROTO=static
IPADDR=192.0.2.10
PREFIX=24
GATEWAY=192.0.2.1
"""
IFCFG_VLAN = b"DEVICE=bond0.42\nVLAN=yes\nONBOOT=yes\nIPADDR=198.51.100.10\nPREFIX=24\n"
INTERFACES = b"""\
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 192.0.2.20/24
    gateway 192.0.2.1
"""
KEYFILE = b"""\
[connection]
id=office
type=wifi

[wifi-security]
key-mgmt=wpa-psk
psk=correct horse battery staple
"""
NETPLAN = b"""\
network:
  version: 2
  ethernets:
    eth1: {addresses: [203.0.113.5/24]}
"""
NETWORK = b"[Match]\nName=eth2\n\n[Network]\nDHCP=yes\n"

REALISTIC: Mapping[bytes, tuple[int, bytes]] = {
    b"etc/sysconfig/network": (0o644, b"NETWORKING=yes\n"),
    b"etc/sysconfig/network-scripts/ifcfg-lo": (0o644, b"DEVICE=lo\nIPADDR=127.0.0.1\n"),
    b"etc/sysconfig/network-scripts/ifcfg-bond0": (0o644, IFCFG_BOND),
    b"etc/sysconfig/network-scripts/ifcfg-eth0": (0o644, IFCFG_SLAVE % b"eth0"),
    b"etc/sysconfig/network-scripts/ifcfg-eth1": (0o644, IFCFG_SLAVE % b"eth1"),
    b"etc/sysconfig/network-scripts/ifcfg-br0": (0o644, IFCFG_BRIDGE),
    b"etc/sysconfig/network-scripts/ifcfg-bond0.42": (0o644, IFCFG_VLAN),
    b"etc/sysconfig/network-scripts/route-br0": (0o644, b"10.0.0.0/8 via 192.0.2.1\n"),
    b"etc/sysconfig/network-scripts/route6-br0": (0o644, b"2001:db8::/32 via fe80::1\n"),
    b"etc/sysconfig/network-scripts/rule-br0": (0o644, b"from 192.0.2.10 lookup 7\n"),
    b"etc/sysconfig/network-scripts/rule6-br0": (0o644, b"from 2001:db8::10 lookup 7\n"),
    b"etc/sysconfig/network-scripts/keys-wlan0": (0o600, b"KEY=s:hunter2\n"),
    b"etc/network/interfaces": (0o644, INTERFACES),
    b"etc/network/interfaces.d/eth0.5": (0o644, b"auto eth0.5\niface eth0.5 inet dhcp\n"),
    b"etc/NetworkManager/system-connections/office.nmconnection": (0o600, KEYFILE),
    b"etc/netplan/01-base.yaml": (0o600, NETPLAN),
    b"etc/systemd/network/10-eth2.network": (0o644, NETWORK),
    b"etc/systemd/network/10-eth2.network.d/mtu.conf": (0o644, b"[Link]\nMTUBytes=1400\n"),
    b"etc/modprobe.d/netcf.conf": (0o644, b"alias bond0 bonding\n"),
    # Outside the scope: must never be touched.
    b"etc/hostname": (0o644, b"gateway\n"),
    b"etc/sysconfig/network-scripts/ifup-eth": (0o755, b"#!/bin/bash\n"),
    b"etc/network/if-up.d/openssh": (0o755, b"#!/bin/sh\n"),
    b"etc/NetworkManager/NetworkManager.conf": (0o644, b"[main]\nplugins=keyfile\n"),
    b"etc/modprobe.d/blacklist.conf": (0o644, b"blacklist pcspkr\n"),
    b"etc/netplan/README": (0o644, b"not read by netplan\n"),
}


def write(
    root: Path | bytes,
    path: str | bytes,
    content: bytes = b"",
    mode: int = 0o644,
    mtime_ns: int | None = None,
) -> bytes:
    """Create or overwrite one file and the directories above it; its full path."""
    full = join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(content)
    os.chmod(full, mode)
    if mtime_ns is not None:
        os.utime(full, ns=(mtime_ns, mtime_ns))
    return full


def join(root: Path | str | bytes, path: str | bytes | Path) -> bytes:
    return os.path.join(os.fsencode(root), os.fsencode(path))


def age(root: Path | str | bytes) -> None:
    """Give every path a modification time of its own, long ago, to the nanosecond."""
    top = os.fsencode(root)
    paths = sorted(_walk(top, b"", False), reverse=True)  # children before parents
    for number, path in enumerate(paths):
        when = OLD + number * DAY + 123_456_789 + number
        os.utime(os.path.join(top, path), ns=(when, when), follow_symlinks=False)


def empty(root: Path | str | bytes) -> None:
    """Only the directories a host always has."""
    for directory in (b"etc", b"var/lib"):
        os.makedirs(join(root, directory), exist_ok=True)


def realistic(root: Path | str | bytes) -> Tree:
    """Build the realistic tree below `root`; what it looks like."""
    empty(root)
    for path, (mode, content) in REALISTIC.items():
        write(os.fsencode(root), path, content, mode)
    os.chmod(join(root, b"etc/NetworkManager/system-connections"), 0o700)
    age(root)
    return capture(root)


NOT_UTF8 = b"etc/network/interfaces.d/caf\xe9 \xff"
NEWLINE = b"etc/network/interfaces.d/two\nlines"
SPACES = b"etc/NetworkManager/system-connections/Wired connection 1.nmconnection"
LONG = b"etc/network/interfaces.d/" + b"long-name-" * 20
DEEP = b"etc/systemd/network/" + b"/".join([b"a-rather-long-directory-name-%d" % i for i in range(8)])


def thorny(root: Path | str | bytes) -> Tree:
    """The realistic tree and all that is hard to put back."""
    realistic(root)
    top = os.fsencode(root)
    scripts = b"etc/sysconfig/network-scripts/"
    write(top, NOT_UTF8, b"# latin-1\n")
    write(top, NEWLINE, b"# a name in two lines\n")
    write(top, SPACES, b"[connection]\nid=Wired connection 1\n", 0o600)
    write(top, LONG, b"# a name over the 100 bytes of a plain tar header\n")
    write(top, DEEP + b"/deep.network", b"# a path over the 255 bytes of ustar\n")
    write(top, b"etc/network/interfaces.d/empty", b"")
    write(top, scripts + b"ifcfg-setuid", b"x", 0o4755)
    write(top, scripts + b"ifcfg-readonly", b"x", 0o400)
    os.mkdir(join(top, b"etc/systemd/network/empty.d"), 0o750)
    os.mkdir(join(top, b"etc/network/interfaces.d/.hidden"), 0o700)
    os.symlink(b"ifcfg-eth0", join(top, scripts + b"ifcfg-alias"))
    os.symlink(b"/nowhere/at/all", join(top, b"etc/systemd/network/99-dangling.link"))
    os.symlink(b"x" * 300, join(top, b"etc/systemd/network/99-long.link"))
    os.link(join(top, scripts + b"ifcfg-eth1"), join(top, b"etc/network/interfaces.d/linked"))
    os.link(join(top, scripts + b"ifcfg-eth1"), join(top, b"etc/systemd/network/linked"))
    sparse = write(top, b"etc/systemd/network/sparse", b"begin")
    with open(sparse, "r+b") as file:
        file.seek(1 << 20)
        file.write(b"end")
        file.truncate(3 << 20)
    age(root)
    return capture(root)


def lock_out(root: Path | str | bytes) -> Tree:
    """Edit the realistic tree the way that locks its owner out, every kind of edit once."""
    top = os.fsencode(root)
    scripts = b"etc/sysconfig/network-scripts/"
    write(top, scripts + b"ifcfg-eth0", b"DEVICE=eth0\nBOOTPROTO=none\n# oops\n")  # in place
    rewrite(top, scripts + b"ifcfg-br0", b"DEVICE=br0\nIPADDR=192.0.2.99\n")  # by rename
    os.unlink(join(top, scripts + b"route-br0"))  # removed
    write(top, scripts + b"ifcfg-eth9", b"DEVICE=eth9\n")  # added
    os.chmod(join(top, b"etc/netplan/01-base.yaml"), 0o644)  # metadata only
    os.utime(join(top, scripts + b"rule-br0"), ns=(OLD + 5, OLD + 5))
    write(top, b"etc/systemd/network/20-new.d/a/b.conf", b"[Network]\n")  # directories added
    os.unlink(join(top, b"etc/systemd/network/10-eth2.network.d/mtu.conf"))  # one removed
    os.rmdir(join(top, b"etc/systemd/network/10-eth2.network.d"))
    interfaces = join(top, b"etc/network/interfaces.d/eth0.5")  # another type
    os.unlink(interfaces)
    os.symlink(b"/dev/null", interfaces)
    return capture(root)


def rewrite(root: Path | bytes, path: bytes, content: bytes) -> None:
    """Replace a file the way careful editors do: a new inode, renamed over it."""
    full = join(root, path)
    mode = stat.S_IMODE(os.lstat(full).st_mode)
    fresh = full + b".editor-new"
    with open(fresh, "wb") as file:
        file.write(content)
    os.chmod(fresh, mode)
    os.rename(fresh, full)


COMPACT = (
    b"etc/sysconfig/network-scripts/ifcfg-eth0",
    b"etc/sysconfig/network-scripts/ifcfg-br0",
    b"etc/sysconfig/network-scripts/route-br0",
    b"etc/sysconfig/network-scripts/rule-br0",
    b"etc/sysconfig/network-scripts/ifup-eth",
    b"etc/network/interfaces",
    b"etc/network/interfaces.d/eth0.5",
    b"etc/netplan/01-base.yaml",
    b"etc/systemd/network/10-eth2.network.d/mtu.conf",
    b"etc/hostname",
)


def compact(root: Path | str | bytes) -> Tree:
    """The part of the realistic tree that `lock_out` edits, a pair of hard links and a link.

    For loops that run an operation once for each of its system calls.
    """
    top = os.fsencode(root)
    empty(top)
    for path in COMPACT:
        mode, content = REALISTIC[path]
        write(top, path, content, mode)
    os.link(join(top, COMPACT[0]), join(top, b"etc/systemd/network/linked"))
    os.symlink(b"01-base.yaml", join(top, b"etc/netplan/50-link.yaml"))
    age(top)
    return capture(top)
