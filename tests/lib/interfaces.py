"""The parsers of interfaces' files and the plan of a rollback, called as the pure functions they are."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass

from lib.build import REPO
from lib.ncf import Core

SAME, ADDED, REMOVED, CHANGED, WITH_OTHERS, BY_HAND = range(6)

Files = dict[str, str]


class FileStruct(ctypes.Structure):
    _fields_ = [("path", c_char_p), ("bytes", c_char_p), ("len", c_size_t)]


class ConfigStruct(ctypes.Structure):
    _fields_ = [("file", POINTER(FileStruct)), ("count", c_size_t), ("room", c_size_t), ("memory", c_void_p)]


class BufferStruct(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("len", c_size_t), ("size", c_size_t), ("failed", c_bool), ("fixed", c_bool)]

    def text(self) -> str:
        return ctypes.string_at(self.data, self.len).decode() if self.len else ""


class UnitStruct(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("handle", c_char_p),
        ("text", BufferStruct),
        ("needs", BufferStruct),
        ("makes_device", c_bool),
        ("device", c_uint64),
        ("at", c_size_t),
    ]


class ModelStruct(ctypes.Structure):
    _fields_ = [
        ("unit", POINTER(UnitStruct)),
        ("count", c_size_t),
        ("room", c_size_t),
        ("memory", c_void_p),
        ("unread", c_char_p),
        ("failed", c_bool),
    ]


class MoveStruct(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("handle", c_char_p),
        ("was", c_void_p),
        ("now", c_void_p),
        ("change", c_int),
        ("was_level", c_uint),
        ("now_level", c_uint),
        ("down_failed", c_bool),
        ("told", c_bool),
    ]


class PlanStruct(ctypes.Structure):
    _fields_ = [("move", POINTER(MoveStruct)), ("count", c_size_t), ("levels", c_uint)]


IsFile = ctypes.CFUNCTYPE(c_bool, c_char_p)
Parse = ctypes.CFUNCTYPE(None, POINTER(ConfigStruct), POINTER(ModelStruct))


class StackStruct(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("is_its_file", IsFile), ("in_use", c_void_p), ("parse", Parse)]


def stack_of(lib: ctypes.CDLL, name: str) -> StackStruct:
    """By the name of its variable, without "stack_"."""
    return StackStruct.in_dll(lib, f"stack_{name}")


def check_headers() -> None:
    """Fail, with words, where a structure of the core is not what this file says it is."""
    sources = [REPO / "csrc/interface/model.h", REPO / "csrc/interface/stack.h", REPO / "csrc/memory.h"]
    text = re.sub(r"/\*.*?\*/", "", "".join(path.read_text() for path in sources), flags=re.S)
    for name, struct in {
        "config_file": FileStruct,
        "config": ConfigStruct,
        "buffer": BufferStruct,
        "unit": UnitStruct,
        "model": ModelStruct,
        "move": MoveStruct,
        "plan": PlanStruct,
        "stack": StackStruct,
    }.items():
        [body] = re.findall(rf"struct {name} \{{(.*?)\}};", text, flags=re.S)
        fields: list[str] = []
        for declaration in body.split(";")[:-1]:
            function = re.search(r"\(\*(\w+)\)\(", declaration)
            rows = [function[1]] if function else re.sub(r"\[.*?\]", "", declaration).split(",")
            fields += [re.findall(r"\w+", row)[-1] for row in rows]
        known = [field for field, _ in struct._fields_]
        assert fields[: len(known)] == known, f"struct {name} changed"
        assert struct is StackStruct or len(fields) == len(known), f"struct {name} has more"


@dataclass(frozen=True)
class Unit:
    text: str
    needs: tuple[str, ...]
    handle: str
    makes_device: bool


@dataclass(frozen=True)
class Move:
    change: int
    was_level: int
    now_level: int


class Model:
    """What some files say, as one stack reads them.  MemoryError where the core says so."""

    def __init__(self, core: Core, stack: str, files: Files) -> None:
        self.lib = core.lib
        self.config = ConfigStruct()
        self.raw = ModelStruct()
        try:
            self._parse(stack, files)
        except MemoryError:
            self.close()
            raise

    def _parse(self, stack: str, files: Files) -> None:
        self.lib.config_add.restype = self.lib.model_finish.restype = c_bool
        for path in sorted(files, key=lambda path: path.split("/")):
            data = files[path].encode()
            if not self.lib.config_add(byref(self.config), path.encode(), data, c_size_t(len(data))):
                raise MemoryError
        stack_of(self.lib, stack).parse(byref(self.config), byref(self.raw))
        if not self.lib.model_finish(byref(self.raw)):
            raise MemoryError

    def close(self) -> None:
        self.lib.model_free(byref(self.raw))
        self.lib.config_free(byref(self.config))

    def units(self) -> dict[str, Unit]:
        rows = [self.raw.unit[i] for i in range(self.raw.count)]
        assert [row.name for row in rows] == sorted({row.name for row in rows})
        return {
            row.name.decode(): Unit(
                row.text.text(), tuple(row.needs.text().split()), row.handle.decode(), row.makes_device
            )
            for row in rows
        }

    def covers(self, name: str) -> bool:
        self.lib.model_covers.restype = c_bool
        return bool(self.lib.model_covers(byref(self.raw), name.encode()))


def plan(was: Model, now: Model, *by_hand: str) -> dict[str, Move]:
    """What a rollback from `now` to `was` does with each interface.  MemoryError where the core says so."""
    lib, raw = was.lib, PlanStruct()
    lib.plan_make.restype = lib.plan_close.restype = c_bool
    try:
        if not lib.plan_make(byref(raw), byref(was.raw), byref(now.raw)):
            raise MemoryError
        for i in range(raw.count):
            if raw.move[i].name.decode() in by_hand:
                raw.move[i].change = BY_HAND
        if not lib.plan_close(byref(raw)):
            raise MemoryError
        moves = [raw.move[i] for i in range(raw.count)]
        found = {row.name.decode(): Move(row.change, row.was_level, row.now_level) for row in moves}
        assert all(max(move.was_level, move.now_level) < raw.levels for move in found.values())
        return found
    finally:
        lib.plan_free(byref(raw))
