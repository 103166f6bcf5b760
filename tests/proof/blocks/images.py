"""Disk images: the configurations that are tested, and what a disk holds."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, NamedTuple

from lib.images import MEBI, find
from proof.blocks import machine
from proof.blocks.cuts import Piece
from proof.blocks.writelog import SECTOR

__all__ = ["CONFIGURATIONS", "Configuration", "Disk", "attached", "dig_holes", "duplicate", "make", "mountpoint"]


class Part(NamedTuple):
    """One filesystem of a host."""

    kind: str
    size: int
    mkfs: tuple[str, ...]
    mount: str
    directory: str = "."


@dataclass(frozen=True)
class Configuration:
    """How the filesystems of a host are laid out on one disk."""

    name: str
    parts: tuple[Part, ...]
    # The least that a disk writes as a whole.
    atom: int = SECTOR
    # The kernel by itself can't mount it after every cut: docs/testing.md.
    fragile: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


def _ext4(mount: str, features: str = "", directory: str = ".") -> Part:
    # Nothing lazy: the kernel would finish it in the background, at any time.
    lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
    options = ("-q", "-F", "-b", "4096", "-I", "256", "-J", "size=4", "-E", lazy)
    if features:
        options += ("-O", features)
    return Part("ext4", 32 * MEBI, options, mount, directory)


_XFS = Part("xfs", 300 * MEBI, ("-q", "-f", "-K"), "nodiscard")
_BTRFS = Part("btrfs", 120 * MEBI, ("-q", "-f", "-K"), "nodiscard")

CONFIGURATIONS = [
    Configuration("ext4-ordered", (_ext4("data=ordered"),)),
    Configuration("ext4-writeback", (_ext4("data=writeback"),)),
    Configuration("ext4-journal", (_ext4("data=journal"),)),
    Configuration("ext4-fast-commit", (_ext4("data=ordered", "fast_commit"),), fragile=True),
    Configuration("xfs", (_XFS,)),
    Configuration("btrfs", (_BTRFS,), atom=4096),
    Configuration("btrfs-var-on-ext4", (_BTRFS, _ext4("data=ordered", "", "var")), atom=4096),
    Configuration("ext4-var-on-xfs", (_ext4("data=ordered"), _XFS._replace(directory="var"))),
]


def make(configuration: Configuration, image: Path) -> None:
    """A disk with fresh filesystems on it, the directories for mounting already there."""
    with open(image, "wb") as file:
        file.truncate(configuration.size)
    offset = 0
    for part in configuration.parts:
        with machine.Loop(image, offset, part.size) as loop:
            command = [find(f"mkfs.{part.kind}"), *part.mkfs, loop.path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        offset += part.size
    dig_holes(image)


def dig_holes(image: Path) -> None:
    """Give back the memory of all that is zero: images are copied thousands of times."""
    subprocess.run(["fallocate", "--dig-holes", str(image)], check=True)


def mountpoint(disk: Path) -> Path:
    """Where the filesystems on this disk are mounted."""
    return disk.with_suffix(".mnt")


@contextmanager
def attached(
    configuration: Configuration, disk: Path, export: Path | None = None
) -> Iterator[Callable[[], ExitStack]]:
    """Loop devices for the disk, or for its export; call the result to mount all of it."""
    root = mountpoint(disk)
    root.mkdir(exist_ok=True)
    with ExitStack() as devices:
        loops = []
        offset = 0
        for part in configuration.parts:
            loops.append(devices.enter_context(machine.Loop(export or disk, offset, part.size)))
            offset += part.size

        def mount() -> ExitStack:
            mounts = ExitStack()
            try:
                for part, loop in zip(configuration.parts, loops):
                    loop.forget()
                    where = root / part.directory
                    where.mkdir(exist_ok=True)
                    mounts.enter_context(machine.mounted(part.kind, loop.path, where, part.mount))
            except BaseException:
                mounts.close()
                raise
            return mounts

        yield mount


def _extents(fd: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has data: offset and end."""
    end = 0
    size = os.fstat(fd).st_size
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


@lru_cache(maxsize=4096)
def _digests(piece: Piece) -> tuple[int, ...]:
    """One number for each sector, of its place and its content."""
    return tuple(
        int.from_bytes(
            hashlib.blake2b(
                piece.data[at : at + SECTOR],
                digest_size=16,
                salt=(piece.sector + at // SECTOR).to_bytes(16, "little"),
            ).digest(),
            "little",
        )
        for at in range(0, len(piece.data), SECTOR)
    )


class Disk:
    """What a disk holds at one moment, and a number that tells two contents apart."""

    def __init__(self, image: Path, copy: Path) -> None:
        """The same as in the file `image`, to go on with in the new file `copy`."""
        duplicate(image, copy)
        self._fd = os.open(copy, os.O_RDWR | os.O_CLOEXEC)
        whole = hashlib.blake2b(digest_size=16)
        for start, end in _extents(self._fd):
            whole.update(b"%d %d" % (start, end) + os.pread(self._fd, end - start, start))
        self._number = int.from_bytes(whole.digest(), "little")
        self._known: dict[int, int] = {}

    def number(self, pieces: Iterable[Piece] = ()) -> int:
        """The number of this content, were these pieces written to it."""
        fresh: dict[int, int] = {}
        for piece in pieces:
            for sector, digest in enumerate(_digests(piece), piece.sector):
                fresh[sector] = digest
        number = self._number
        for sector, digest in fresh.items():
            number ^= self._digest(sector) ^ digest
        return number

    def _digest(self, sector: int) -> int:
        if sector not in self._known:
            data = os.pread(self._fd, SECTOR, sector * SECTOR)
            (self._known[sector],) = _digests(Piece(sector, data))
        return self._known[sector]

    def write(self, pieces: Iterable[Piece]) -> None:
        """Go on to the content with these pieces in it."""
        pieces = tuple(pieces)
        self._number = self.number(pieces)
        _write(self._fd, pieces)
        for piece in pieces:
            self._known.update(enumerate(_digests(piece), piece.sector))

    def copy(self, target: Path, pieces: Iterable[Piece]) -> None:
        """The content with these pieces in it, as a file."""
        _copy(self._fd, target)
        fd = os.open(target, os.O_WRONLY)
        try:
            _write(fd, pieces)
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._fd)


def duplicate(image: Path, target: Path) -> None:
    """Make `target` the same sparse file; a loop device may stay attached to it."""
    with open(image, "rb") as source:
        _copy(source.fileno(), target)


def _write(fd: int, pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        os.pwrite(fd, piece.data, piece.sector * SECTOR)


def _copy(source: int, target: Path) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, os.fstat(source).st_size)
        for start, end in _extents(source):
            os.pwrite(fd, os.pread(source, end - start, start), start)
    finally:
        os.close(fd)
