# SPDX-License-Identifier: LGPL-2.1-or-later
"""A saved configuration, read as docs/format.md describes it.

MUST only read.  The library has checked what is read here: it refuses a damaged
archive before a command gets this far.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from types import TracebackType

__all__ = ["Archive", "Entry", "Unreadable"]

BLOCK = 512
END_LINE = 34
END_ZEROS = 2 * BLOCK
_ESCAPE = re.compile(rb"%([0-9a-f]{2})")


class Unreadable(Exception):
    """The file is no archive that this version can read."""


@dataclass(frozen=True)
class Entry:
    """One path with its metadata, as it was saved."""

    type: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    flags: int
    size: int
    offset: int
    path: bytes
    target: bytes
    xattrs: dict[bytes, bytes]


class Archive:
    """An open archive; it stays whole when its name goes."""

    def __init__(self, path: str) -> None:
        """Open and read the manifest.

        Args:
            path: A snapshot or a discarded configuration.

        Raises:
            OSError: It can't be read.
            Unreadable: It is damaged or of another version.
        """
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            lines = self._manifest(path)
            self.id = next((line[3:] for line in lines if line[:3] == b"id "), b"").decode("ascii")
            self.entries = dict(_entries(lines))
        except (ValueError, IndexError) as error:
            self.close()
            raise Unreadable(f"{path}: not an archive that this version can read") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Close; once is enough and twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def content(self, entry: Entry, limit: int) -> bytes:
        """Return a file's content, at most `limit` bytes of it."""
        return os.pread(self._fd, min(entry.size, limit), entry.offset)

    def _manifest(self, path: str) -> list[bytes]:
        end = os.fstat(self._fd).st_size - END_ZEROS
        line = os.pread(self._fd, END_LINE, max(end - END_LINE, 0)).split(b" ")
        if line[0] != b"end":
            raise ValueError
        length = int(line[1])
        lines = os.pread(self._fd, length, end - length).split(b"\n")
        if lines[0] != b"netcf 1":
            raise Unreadable(f"{path}: made by a newer version")
        return lines


def _entries(lines: list[bytes]) -> list[tuple[bytes, Entry]]:
    """The entries by path; directories on the way are none."""
    found: list[tuple[bytes, Entry]] = []
    target, xattrs = b"", dict[bytes, bytes]()
    # What belongs to an entry stands behind it: so from the end.
    for line in reversed(lines):
        words = line.split(b" ")
        if words[0] == b"t":
            target = _word(words[1])
        elif words[0] == b"x":
            xattrs[_word(words[1])] = _word(words[2])
        elif len(words) == 13 and words[0] in (b"f", b"d", b"l", b"p", b"s", b"-"):
            if words[0] != b"p":
                path = _word(words[12])
                found.append((path, _entry(words, path, target, xattrs)))
            target, xattrs = b"", {}
    return found[::-1]


def _entry(words: list[bytes], path: bytes, target: bytes, xattrs: dict[bytes, bytes]) -> Entry:
    seconds, nanoseconds = words[4].split(b".")
    return Entry(
        type=words[0].decode("ascii"),
        mode=int(words[1], 8),
        uid=int(words[2]),
        gid=int(words[3]),
        mtime_ns=int(seconds) * 1_000_000_000 + int(nanoseconds),
        flags=int(words[9], 16),
        size=int(words[10]),
        offset=int(words[11]),
        path=path,
        target=target,
        xattrs=xattrs,
    )


def _word(word: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), word)
