"""Take a snapshot apart and put it together again, checksums included.

Written from docs/format.md, not from archive.c, so that tests can craft what
the core would never write: hostile, but with every checksum correct.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from lib.xxh64 import xxh64

BLOCK = 512
END_LINE = 34  # "end " 12 digits " " 16 digits newline
END_ZEROS = 2 * BLOCK

Lines = list[bytes]


@dataclass(frozen=True)
class Snapshot:
    """The three parts that matter: what tar sees first, the version, the manifest's lines."""

    members: bytes  # everything before the tar header of the manifest
    header: bytes  # that header
    version: bytes  # b"netcf 1"
    lines: tuple  # between the content line and the filling


def read(path: Path | bytes) -> Snapshot:
    """Take the archive at `path` apart; it must be a sound one."""
    data = open(path, "rb").read()
    assert data[-END_ZEROS:] == bytes(END_ZEROS)
    end = data[-END_ZEROS - END_LINE : -END_ZEROS]
    assert end[:4] == b"end " and end[-1:] == b"\n"
    size = int(end[4:16])
    start = len(data) - END_ZEROS - size
    manifest = data[start:-END_ZEROS]
    assert int(end[17:33], 16) == xxh64(manifest[:-17])
    lines = manifest[:-END_LINE].split(b"\n")
    assert lines[-1] == b"" and lines[-2].strip(b"#.") == b""
    assert lines[1] == b"content %016x" % xxh64(data[:start])
    return Snapshot(data[: start - BLOCK], data[start - BLOCK : start], lines[0], tuple(lines[2:-2]))


def encode(snapshot: Snapshot) -> bytes:
    """The bytes of an archive with correct sizes and checksums."""
    body = b"\n".join(snapshot.lines) + b"\n" if snapshot.lines else b""
    head = len(snapshot.version) + 1 + len(b"content ") + 17
    pad = BLOCK - (head + len(body) + 2 + END_LINE) % BLOCK
    filling = b"#" + b"." * pad + b"\n"
    size = head + len(body) + len(filling) + END_LINE
    assert size % BLOCK == 0
    before = snapshot.members + _sized(snapshot.header, size)
    manifest = b"%s\ncontent %016x\n%s%send %012d " % (
        snapshot.version,
        xxh64(before),
        body,
        filling,
        size,
    )
    return before + manifest + b"%016x\n" % xxh64(manifest) + bytes(END_ZEROS)


def _sized(header: bytes, size: int) -> bytes:
    """A tar header for another size."""
    fresh = header[:124] + b"%011o\0" % size + header[136:148] + b" " * 8 + header[156:]
    return fresh[:148] + b"%06o" % sum(fresh) + header[154:]


def rewrite(path: Path | bytes, edit: Callable[[Lines], Lines]) -> None:
    """Change the manifest's lines in place and make every checksum right again."""
    snapshot = read(path)
    fresh = encode(replace(snapshot, lines=tuple(edit(list(snapshot.lines)))))
    with open(path, "wb") as file:
        file.write(fresh)


def set_version(path: Path | bytes, version: bytes) -> None:
    """Another first line, for instance of a format from the future."""
    fresh = encode(replace(read(path), version=version))
    with open(path, "wb") as file:
        file.write(fresh)


def is_entry(line: bytes) -> bool:
    """Whether a line is a path's: TYPE MODE UID ... PATH."""
    return line[:2] in (b"f ", b"d ", b"l ", b"s ", b"p ", b"- ")


# Where the fields of an entry's line are.
TYPE, MODE, UID, GID, MTIME, CTIME, DEV, INO, NLINK, FLAGS, SIZE, OFFSET, PATH = range(13)


def change_field(path: bytes, field: int, value: bytes) -> Callable[[Lines], Lines]:
    """An edit for `rewrite`: put `value` into one field of the entry of `path`."""

    def edit(lines: Lines) -> Lines:
        found = 0
        for number, line in enumerate(lines):
            if is_entry(line) and line.split(b" ")[PATH] == path:
                fields = line.split(b" ")
                fields[field] = value
                lines[number] = b" ".join(fields)
                found += 1
        assert found == 1, (path, lines)
        return lines

    return edit


def contents(path: Path | bytes) -> dict[bytes, bytes]:
    """What plain tar finds in it: content by path, of files, the manifest left out."""
    found: dict[bytes, bytes] = {}
    with open(path, "rb") as file:
        archive = tarfile.open(fileobj=io.BytesIO(file.read()), mode="r:")
    with archive:
        for member in archive:
            name = member.name.encode("utf-8", "surrogateescape")
            if (member.isfile() or member.islnk()) and name != b"var/lib/netcf/manifest":
                stream = archive.extractfile(member)
                assert stream is not None
                found[name] = stream.read()
    return found


def names(path: Path | bytes) -> list[bytes]:
    """Every member's name, in order."""
    with tarfile.open(path, mode="r:") as archive:
        return [member.name.encode("utf-8", "surrogateescape") for member in archive]
