"""What a disk with a volatile write cache may hold after a power cut: pure functions.

The requests between two flushes are an epoch.  What was written before the
last flush is there; of what was written since, any part may be, down to single
sectors of one write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from proof.blocks.writelog import SECTOR, Request

__all__ = ["Cut", "Epoch", "Piece", "drops", "epochs", "prefixes", "samples"]


class Piece(NamedTuple):
    """Consecutive sectors that reached the disk."""

    sector: int
    data: bytes


class Cut(NamedTuple):
    """One disk after a cut: what of an epoch reached it, and when the power went."""

    time: int  # so many requests had been made
    pieces: tuple[Piece, ...]  # in the order in which they were written
    torn: bool = False  # only a part of one request is there


@dataclass(frozen=True)
class Epoch:
    """Requests that no flush divides; the first one has number `start`."""

    start: int
    requests: tuple[Request, ...]

    def cut(self, count: int, partly: Mapping[int, Sequence[Piece]] | None = None) -> Cut:
        """The power went after `count` requests; of those in `partly` only so much arrived."""
        pieces: list[Piece] = []
        for number, request in enumerate(self.requests[:count]):
            if partly and number in partly and not request.fua:
                pieces += partly[number]
            elif request.data:
                pieces.append(Piece(request.sector, request.data))
        return Cut(self.start + count, tuple(pieces))


def epochs(requests: Sequence[Request]) -> list[Epoch]:
    """Divide the log at its flushes."""
    starts = [0] + [number for number, request in enumerate(requests) if number and request.flush]
    ends = starts[1:] + [len(requests)]
    return [Epoch(start, tuple(requests[start:end])) for start, end in zip(starts, ends)]


def prefixes(epoch: Epoch) -> Iterator[Cut]:
    """Every write prefix: the power went between two requests, nothing was lost."""
    for count in range(len(epoch.requests) + 1):
        yield epoch.cut(count)


def drops(epoch: Epoch) -> Iterator[Cut]:
    """Every single write lost, the power going just before the flush that would save it."""
    for number in range(len(epoch.requests)):
        yield epoch.cut(len(epoch.requests), {number: ()})


def samples(epoch: Epoch, chance: random.Random, atom: int) -> Iterator[Cut]:
    """One random subset of the epoch, and one in which a write is torn between its atoms."""
    if not epoch.requests:
        return
    count = chance.randint(1, len(epoch.requests))
    share = chance.choice((0.1, 0.5, 0.9))
    partly: dict[int, Sequence[Piece]] = {
        number: () for number in range(count) if chance.random() < share
    }
    yield epoch.cut(count, partly)
    long = [number for number in range(count) if len(epoch.requests[number].data) > atom]
    if long:
        victim = chance.choice(long)
        part = torn(epoch.requests[victim], chance, atom)
        yield epoch.cut(count, {**partly, victim: part})._replace(torn=True)


def torn(request: Request, chance: random.Random, atom: int) -> list[Piece]:
    """Some of the atoms of one write."""
    return [
        Piece(request.sector + at // SECTOR, request.data[at : at + atom])
        for at in range(0, len(request.data), atom)
        if chance.random() < 0.5
    ]
