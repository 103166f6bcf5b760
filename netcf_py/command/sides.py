# SPDX-License-Identifier: LGPL-2.1-or-later
"""One path on two sides, saved and live, and the difference in lines that people read."""

from __future__ import annotations

import difflib
import errno
import fcntl
import os
import stat
import struct
from dataclasses import dataclass, field

from .archive import Archive, Entry
from .secrets import masked
from .words import printable, size, when
from .xattrs import attributes

__all__ = ["NOTHING", "Side", "live_side", "metadata_lines", "saved_side", "unified"]

LIMIT = 256 * 1024
FLAGS = {0x10: "i", 0x20: "a", 0x40: "d"}
_GETFLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601


@dataclass(frozen=True)
class Side:
    """What is, or was, at a path."""

    type: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    flags: int = 0
    size: int = 0
    content: bytes = b""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


NOTHING = Side("-")


def saved_side(archive: Archive, entry: Entry | None) -> Side:
    """Return what an archive has of a path; a link's target counts as its content."""
    if entry is None or entry.type == "-":
        return NOTHING
    content = entry.target if entry.type == "l" else archive.content(entry, LIMIT + 1)
    return Side(
        entry.type, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.flags,
        entry.size, content, entry.xattrs,
    )  # fmt: skip


def live_side(root: int, path: bytes) -> Side:
    """Return what is at a path now.

    Args:
        root: The open root directory; no link on the way leads out of it.
        path: Relative to the root.

    Raises:
        OSError: It can't be read.
    """
    *above, name = path.split(b"/")
    parent = os.dup(root)
    try:
        for part in above:
            child = os.open(
                part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
            )
            os.close(parent)
            parent = child
        return _at(parent, name)
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link on the way: nothing of the root's is behind it
            return NOTHING
        raise
    finally:
        os.close(parent)


def _at(parent: int, name: bytes) -> Side:
    st = os.stat(name, dir_fd=parent, follow_symlinks=False)
    about = (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns)
    if stat.S_ISLNK(st.st_mode):
        return Side("l", *about, content=os.readlink(name, dir_fd=parent))
    if not stat.S_ISREG(st.st_mode) and not stat.S_ISDIR(st.st_mode):
        return Side("s", *about)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        flags, xattrs = _flags(fd), _xattrs(fd)
        if stat.S_ISDIR(st.st_mode):
            return Side("d", *about, flags, 0, b"", xattrs)
        return Side("f", *about, flags, st.st_size, os.read(fd, LIMIT + 1), xattrs)
    finally:
        os.close(fd)


def _flags(fd: int) -> int:
    try:
        [flags] = struct.unpack("l", fcntl.ioctl(fd, _GETFLAGS, struct.pack("l", 0)))
    except OSError:
        return 0
    return int(flags) & sum(FLAGS)


def _xattrs(fd: int) -> dict[bytes, bytes]:
    try:
        return attributes(fd)
    except OSError:
        return {}


def metadata_lines(old: Side, new: Side, names: frozenset[str]) -> list[str]:
    """Say how metadata differs.

    Args:
        old: One side.
        new: The other.
        names: What differs, as the library names it, so that nothing is left out
            that can't be shown here.
    """
    lines = []
    pairs = {
        "mode": (f"{old.mode:04o}", f"{new.mode:04o}"),
        "owner": (f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"),
        "mtime": (_moment(old.mtime_ns), _moment(new.mtime_ns)),
        "flags": (_letters(old.flags), _letters(new.flags)),
    }
    for name, (was, now) in pairs.items():
        if name in names:
            lines.append(f"{name} {was} -> {now}" if was != now else name)
    if "xattr" in names:
        lines += _xattr_lines(old.xattrs, new.xattrs)
    if "links" in names:
        lines.append("hard links: another set of names leads to this file")
    return lines


def changed_metadata(old: Side, new: Side) -> frozenset[str]:
    """Return what differs besides the content; the time, which follows it, aside."""
    if "-" in (old.type, new.type) or "s" in (old.type, new.type):
        return frozenset()
    found = set()
    if old.mode != new.mode:
        found.add("mode")
    if (old.uid, old.gid) != (new.uid, new.gid):
        found.add("owner")
    if old.type == new.type != "l" and old.flags != new.flags:
        found.add("flags")
    if old.type == new.type != "l" and old.xattrs != new.xattrs:
        found.add("xattr")
    return frozenset(found)


def _xattr_lines(old: dict[bytes, bytes], new: dict[bytes, bytes]) -> list[str]:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [
        f"attribute {_text(name)} {_value(old.get(name))} -> {_value(new.get(name))}"
        for name in names
    ] or ["extended attributes"]


def _value(value: bytes | None) -> str:
    return "none" if value is None else _text(value[:64].rstrip(b"\0"))


def _text(value: bytes) -> str:
    return printable(os.fsdecode(value))


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{when(seconds)}.{rest:09d}"


def _letters(flags: int) -> str:
    return (
        "+" + "".join(letter for bit, letter in FLAGS.items() if flags & bit) if flags else "none"
    )


def unified(path: bytes, old: Side, new: Side, show_secrets: bool) -> list[str]:
    """Return the difference of two contents as patch(1) reads it, or say why there is none."""
    if old.content == new.content and old.type == new.type:
        return []
    if "s" in (old.type, new.type):
        return ["(a device, socket or FIFO has no content to compare)"]
    if {old.type, new.type} <= {"d", "-"}:
        return []
    if max(old.size, new.size, len(old.content), len(new.content)) > LIMIT:
        return [f"(too large to show: {size(old.size)} and {size(new.size)})"]
    if b"\0" in old.content or b"\0" in new.content:
        return [f"(not text: {size(len(old.content))} and {size(len(new.content))})"]
    name = _text(path)
    before, after = _lines(old), _lines(new)
    differing = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if not show_secrets:
        before, after = masked(path, before), masked(path, after)
    lines = [
        f"--- a/{name}" if old.type != "-" else "--- /dev/null",
        f"+++ b/{name}" if new.type != "-" else "+++ /dev/null",
    ]
    for group in differing.get_grouped_opcodes(3):
        lines += _hunk(group, before, after)
    # An empty file that came or went has no lines to show.
    return lines if len(lines) > 2 else []


def _hunk(
    group: list[tuple[str, int, int, int, int]], before: list[str], after: list[str]
) -> list[str]:
    lines = [f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@"]
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            lines += [_line(" ", text) for text in before[i1:i2]]
        else:
            lines += [_line("-", text) for text in before[i1:i2]]
            lines += [_line("+", text) for text in after[j1:j2]]
    return [part for line in lines for part in line.split("\n")]


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + (length > 0)}" if length == 1 else f"{start + (length > 0)},{length}"


def _lines(side: Side) -> list[str]:
    if side.type == "l":
        return [f"symbolic link to {os.fsdecode(side.content)}\n"]
    text = side.content.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + [lines[-1]] * (lines[-1] != "")


def _line(sign: str, text: str) -> str:
    body = "\t".join(printable(part) for part in text.rstrip("\n").split("\t"))
    return f"{sign}{body}" + ("" if text.endswith("\n") else "\n\\ No newline at end of file")
