"""Read what a block device was told: the dm-log-writes format, as qemu's blklogwrites writes it.

A superblock, then for each request one header and, unless it is a discard, the data,
all in whole sectors, all numbers 64 bits little-endian.  Flushes have a header alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["SECTOR", "Request", "encode", "parse"]

SECTOR = 512
MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, FUA, DISCARD = 1, 2, 4

_superblock = struct.Struct("<QQQI")
_header = struct.Struct("<QQQQ")


class Request(NamedTuple):
    """One request.  With `flush`, all that was done before it was made durable first."""

    sector: int
    data: bytes
    flush: bool = False
    fua: bool = False


class Malformed(ValueError):
    """This is no such log, or it says something that can't be replayed."""


def parse(log: bytes) -> list[Request]:
    """All requests that are in the log as a whole, in their order.

    The log may still grow.  Its superblock is written with the first flush and
    brought up to date now and then, so its count of requests is not looked at.
    """
    if not any(log[:SECTOR]):
        log = encode([]) + log[SECTOR:]
    magic, version, _, sector_size = _superblock.unpack_from(log)
    if (magic, version, sector_size) != (MAGIC, VERSION, SECTOR):
        raise Malformed(f"magic {magic:#x}, version {version}, sectors of {sector_size} bytes")
    requests = []
    at = SECTOR
    while at + SECTOR <= len(log):
        sector, sectors, flags, _ = _header.unpack_from(log, at)
        if flags & ~(FLUSH | FUA):
            raise Malformed(f"a request with flags {flags:#x} at {at}: mount with nodiscard")
        end = at + SECTOR + sectors * SECTOR
        if end > len(log):
            break
        data = log[at + SECTOR : end]
        requests.append(Request(sector, data, bool(flags & FLUSH), bool(flags & FUA)))
        at = end
    return requests


def encode(requests: list[Request]) -> bytes:
    """The log that `parse` reads as these requests."""
    pieces = [_superblock.pack(MAGIC, VERSION, len(requests), SECTOR).ljust(SECTOR, b"\0")]
    for request in requests:
        flags = FLUSH * request.flush | FUA * request.fua
        header = _header.pack(request.sector, len(request.data) // SECTOR, flags, 0)
        pieces += [header.ljust(SECTOR, b"\0"), request.data]
    return b"".join(pieces)
