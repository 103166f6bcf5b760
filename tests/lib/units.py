"""What the parsers of the stacks make of configuration files: pure functions, called by themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SIZE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Unit:
    """All that files say about one interface."""

    handle: str
    text: list[str]
    needs: list[str]
    makes_device: bool


@dataclass(frozen=True)
class Units:
    unread: str  # where a file was not understood
    by_name: dict[str, Unit]


class Parser:
    """The parser of one stack, by the stack's name."""

    def __init__(self, test_library: Path, stack: str) -> None:
        self._describe = ctypes.CDLL(str(test_library)).units_describe
        self._describe.restype = ctypes.c_size_t
        self._stack = stack
        self._room = ctypes.create_string_buffer(SIZE)

    def __call__(self, files: Mapping[str, str | bytes]) -> Units:
        """Read files, given by their paths beneath the root."""
        paths = sorted(files)
        bytes_ = [b if isinstance(b := files[p], bytes) else b.encode() for p in paths]
        n = len(paths)
        length = self._describe(
            self._stack.encode(),
            (ctypes.c_char_p * n)(*[p.encode() for p in paths]),
            (ctypes.c_char_p * n)(*bytes_),
            (ctypes.c_size_t * n)(*map(len, bytes_)),
            ctypes.c_size_t(n),
            self._room,
            ctypes.c_size_t(SIZE),
        )
        assert length, "no such stack, or no memory"
        unread, *fields = ctypes.string_at(self._room, length - 1).decode(errors="replace").split("\0")
        # A NUL in a file is blank to the parsers, so that none is in a field.
        assert len(fields) % 5 == 0
        rows = [fields[i : i + 5] for i in range(0, len(fields), 5)]
        return Units(
            unread,
            {
                name: Unit(handle, text.splitlines(), needs.split(), device == "device")
                for name, handle, text, needs, device in rows
            },
        )
