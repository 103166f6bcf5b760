# SPDX-License-Identifier: LGPL-2.1-or-later
"""A scratch root with N configuration files, the four edits, and the proof that all came back."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["FILE_SIZE", "OLD", "SMALLEST", "Tree"]

FILE_SIZE = 600

# Three files must lie in the first place: two to change and one to remove.
SMALLEST = 10

# Directory, name and mode of what the default scope covers; bench/floor.c knows these four too.
PLACES = (
    ("etc/network/interfaces.d", "eth{}", 0o644),
    ("etc/sysconfig/network-scripts", "ifcfg-eth{}", 0o644),
    ("etc/netplan", "{:05}-eth.yaml", 0o600),
    ("etc/systemd/network", "{:05}-eth.network", 0o644),
)

# A file whose ctime lies this close to a snapshot may still change unnoticed, so that a careful
# tool looks at it twice.  Known-good files are older than that.
REST = 1.1

# A rollback trusts an untouched inode unread if it had its times a minute before the start; so old
# are the files of a host when somebody comes to change them.
OLD = 61.0


class File(NamedTuple):
    """One file as it has to be."""

    content: bytes
    mode: int
    mtime_ns: int


def _content(name: str, text: str) -> bytes:
    line = f"# {name}: {text}\n".encode()
    return (line * (FILE_SIZE // len(line) + 1))[:FILE_SIZE]


class Tree:
    """A tree: `root` is what a tool takes for the host, `keep` is where it may save."""

    def __init__(self, base: Path, files: int) -> None:
        self.root = base / "root"
        self.keep = base / "keep"
        self.saved: dict[str, File] = {}
        self.edited: dict[str, File] = {}
        self._touched = time.monotonic()
        shutil.rmtree(base, ignore_errors=True)
        self.keep.mkdir(parents=True)
        for directory, _, _ in PLACES:
            (self.root / directory).mkdir(parents=True)
        for i in range(files):
            directory, name, mode = PLACES[i % len(PLACES)]
            path = f"{directory}/{name.format(i)}"
            mtime_ns = 1_700_000_000_123_456_789 + i * 60_000_007_919
            self.saved[path] = File(_content(path, "known good"), mode, mtime_ns)
            self._write(path)

    def _write(self, path: str) -> None:
        file = self.saved[path]
        target = self.root / path
        target.write_bytes(file.content)
        target.chmod(file.mode)
        os.utime(target, ns=(file.mtime_ns, file.mtime_ns))
        self._touched = time.monotonic()

    def read(self) -> None:
        """Read every file, so that no tree is better known to the caches than another."""
        for path in self.saved:
            self._read(path)

    def rest(self) -> None:
        """Wait until no file is so young that a snapshot has to doubt it."""
        time.sleep(max(0.0, self._touched + REST - time.monotonic()))

    def sync(self) -> None:
        """Make durable what was written before, so that nobody pays for another."""
        directory = os.open(self.root, os.O_RDONLY)
        ctypes.CDLL(None).syncfs(directory)
        os.close(directory)

    def edit(self) -> None:
        """Two files change, one in place and one by a rename, one is added, one removed.

        All in one directory, the temporary file too, as editors have it: whoever edits a
        host edits one stack, and no fewer directories can be synced.
        """
        directory = PLACES[0][0]
        paths = sorted(path for path in self.saved if path.startswith(directory))
        in_place, renamed, removed = paths[0], paths[len(paths) // 2], paths[-1]
        added = f"{directory}/added"
        (self.root / in_place).write_bytes(_content(in_place, "changed"))
        temporary = self.root / directory / ".temporary"
        temporary.write_bytes(_content(renamed, "changed, and a little shorter")[:-7])
        temporary.replace(self.root / renamed)
        (self.root / added).write_bytes(_content(added, "new"))
        (self.root / removed).unlink()
        self._touched = time.monotonic()
        self.edited = dict(self.saved)
        for path in (in_place, renamed, added):
            self.edited[path] = self._read(path)
        del self.edited[removed]

    def undo(self) -> None:
        """Take the edit back by hand, after a commit."""
        for path in set(self.edited) - set(self.saved):
            (self.root / path).unlink()
        for path, file in self.saved.items():
            if self.edited.get(path) != file:
                self._write(path)

    def mend(self) -> None:
        """Set the modes and times that a tool did not restore."""
        for path, file in self.saved.items():
            os.chmod(self.root / path, file.mode)
            os.utime(self.root / path, ns=(file.mtime_ns, file.mtime_ns))

    def _read(self, path: str) -> File:
        with open(self.root / path, "rb") as file:
            status = os.fstat(file.fileno())
            return File(file.read(), stat.S_IMODE(status.st_mode), status.st_mtime_ns)

    def differences(self, expected: dict[str, File], *, metadata: bool) -> list[str]:
        """The paths whose content, or also mode and mtime, is not as expected."""
        self._touched = time.monotonic()
        found = {
            f"{directory}/{name}": self._read(f"{directory}/{name}")
            for directory, _, _ in PLACES
            for name in os.listdir(self.root / directory)
        }
        wrong = set(found) ^ set(expected)
        for path in set(found) & set(expected):
            size = len(File._fields) if metadata else 1
            if found[path][:size] != expected[path][:size]:
                wrong.add(path)
        return sorted(wrong)
