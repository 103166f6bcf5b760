"""The small pure parts under the power cuts: reading a log, choosing what is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from proof.blocks import cuts, writelog
from proof.blocks.cuts import Cut, Epoch, Piece
from proof.blocks.images import Disk
from proof.blocks.writelog import SECTOR, Malformed, Request


def sectors(count: int, byte: int) -> bytes:
    return bytes([byte]) * (count * SECTOR)


FLUSH = Request(0, b"", flush=True)
LOG = [
    Request(8, sectors(2, 1)),
    Request(0, sectors(1, 2)),
    FLUSH,
    Request(8, sectors(8, 3)),
    Request(100, sectors(1, 4), fua=True),
    Request(9, sectors(1, 5)),
    Request(50, sectors(1, 6), flush=True),
]


def test_a_log_is_read_as_it_was_written() -> None:
    """Every request comes back with its place, data and flags."""
    assert writelog.parse(writelog.encode(LOG)) == LOG


def test_a_log_can_be_read_while_it_grows() -> None:
    """What is not there as a whole is left out; without a flush there is no superblock yet."""
    log = writelog.encode(LOG)
    assert writelog.parse(log[: -SECTOR // 2]) == LOG[:-1]
    assert writelog.parse(b"") == []
    assert writelog.parse(bytes(SECTOR) + log[SECTOR:]) == LOG


def test_a_header_is_as_the_kernel_documents_it() -> None:
    """Byte by byte, from the description of dm-log-writes: not from our own encoder."""
    superblock = bytes.fromhex("72687377 66736a00 0100000000000000 0100000000000000 00020000")
    header = bytes.fromhex("2a00000000000000 0100000000000000 0200000000000000 0000000000000000")
    log = superblock.ljust(SECTOR, b"\0") + header.ljust(SECTOR, b"\0") + sectors(1, 7)
    assert writelog.parse(log) == [Request(42, sectors(1, 7), fua=True)]


@pytest.mark.parametrize("log", [b"x" * SECTOR, writelog.encode([])[:24] + b"\x00\x10" + bytes(486)])
def test_something_else_is_refused(log: bytes) -> None:
    """Another magic, or other sectors."""
    with pytest.raises(Malformed):
        writelog.parse(log)


def test_a_discard_is_refused() -> None:
    """It would have to be replayed, and no configuration makes one."""
    log = bytearray(writelog.encode([FLUSH]))
    log[SECTOR + 16] = 4
    with pytest.raises(Malformed, match="nodiscard"):
        writelog.parse(bytes(log))


def test_epochs_end_where_a_flush_begins() -> None:
    """The flush that carries data belongs to the epoch it opens, and its data may be lost."""
    first, second, third = cuts.epochs(LOG)
    assert (first.start, second.start, third.start) == (0, 2, 6)
    assert third.requests == (LOG[6],)
    assert Cut(7, ()) in list(cuts.drops(third))


def test_every_prefix_and_every_single_loss() -> None:
    """As many prefixes as requests and one, as many losses as requests; what is FUA is never lost."""
    epoch = cuts.epochs(LOG)[1]
    pieces = [Piece(request.sector, request.data) for request in epoch.requests if request.data]
    assert [len(cut.pieces) for cut in cuts.prefixes(epoch)] == [0, 0, 1, 2, 3]
    assert [cut.time for cut in cuts.prefixes(epoch)] == [2, 3, 4, 5, 6]
    assert {cut.pieces for cut in cuts.drops(epoch)} == {
        tuple(pieces),
        (pieces[1], pieces[2]),
        (pieces[0], pieces[1]),
    }


def test_samples_are_legal_and_reach_everything() -> None:
    """Every subset that a disk may hold is drawn, tears included, and none that it may not."""
    epoch = Epoch(0, (Request(0, sectors(2, 1)), Request(7, sectors(1, 2), fua=True)))
    chance = random.Random(1)
    drawn = {cut for _ in range(2000) for cut in cuts.samples(epoch, chance, SECTOR)}
    written = {(cut.time, frozenset(sectors_of(cut.pieces))) for cut in drawn}
    halves = [frozenset(), frozenset({0}), frozenset({1}), frozenset({0, 1})]
    assert written == {(1, half) for half in halves} | {(2, half | {7}) for half in halves}


def sectors_of(pieces: tuple[Piece, ...]) -> list[int]:
    return [
        piece.sector + number for piece in pieces for number in range(len(piece.data) // SECTOR)
    ]


def test_a_disk_is_told_by_its_content(tmp_path: Path) -> None:
    """Two ways to the same bytes give the same number and file; other bytes give another."""
    image = tmp_path / "image"
    image.write_bytes(sectors(4, 9) + bytes(12 * SECTOR))
    whole = tuple(Piece(request.sector, request.data) for request in LOG[:4] if request.data)
    early, late = Disk(image, tmp_path / "early"), Disk(image, tmp_path / "late")
    foreseen = early.number(whole)
    for piece in whole:
        late.write([piece])
    early.write(whole[-1:])
    assert early.number() != late.number() == foreseen
    early.write(whole[1:2])
    assert early.number() == foreseen
    early.copy(tmp_path / "copied", ())
    assert (tmp_path / "copied").read_bytes() == (tmp_path / "late").read_bytes()
    late.write([Piece(1, sectors(1, 0))])
    assert late.number() != foreseen
    early.close()
    late.close()
