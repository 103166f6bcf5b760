"""A small ctypes binding of ncf.h, for tests only.

It stands beside the Python package on purpose: these tests must be able to
fail for the core's reasons alone, and they load the library with the seam.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_longlong,
    c_size_t,
    c_uint,
    c_ulonglong,
    c_void_p,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from lib import build

NOERROR, EINTERNAL, EOTHER, ENOMEM, ENOENT = 0, 1, 2, 3, 6
EEXEC, EINUSE, EFILE, EINVALIDOP = 7, 8, 10, 13

START_ON_WRITE = 0x1
ROLLBACK_FILES_ONLY = 0x1

ADDED, REMOVED, CHANGED, METADATA = 1, 2, 3, 4
META_MODE, META_OWNER, META_MTIME = 0x1, 0x2, 0x4
META_XATTR, META_FLAGS, META_LINKS = 0x8, 0x10, 0x20

PathLike = Union[str, bytes, Path]

SeamHook = ctypes.CFUNCTYPE(c_int, c_char_p, c_char_p)


class OptionsStruct(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("note", c_char_p),
        ("token", c_char_p),
        ("deadline", c_uint),
        ("leash", ctypes.POINTER(c_int)),
        ("grace", c_uint),
        ("trial_boots", c_uint),
        ("helper", c_char_p),
        ("command_limit", c_uint),
        ("total_limit", c_uint),
    ]


class StatusStruct(ctypes.Structure):
    _fields_ = [
        ("open", c_int),
        ("id", c_char * 17),
        ("flags", c_uint),
        ("started", c_longlong),
        ("uid", c_uint),
        ("pid", c_int),
        ("program", c_char * 32),
        ("note", c_char * 256),
        ("has_token", c_int),
        ("deadline", c_uint),
        ("deadline_left", c_longlong),
        ("has_leash", c_int),
        ("grace", c_uint),
        ("trial_boots", c_uint),
        ("guarded", c_int),
        ("boot", c_char * 37),
        ("same_boot", c_int),
        ("files", c_ulonglong),
        ("bytes", c_ulonglong),
        ("refused", c_ulonglong),
        ("not_back", c_char * 1024),
    ]


class PatternStruct(ctypes.Structure):
    _fields_ = [("exclude", c_int), ("pattern", c_char_p)]


class ScopeFileStruct(ctypes.Structure):
    _fields_ = [("type", c_char), ("path", c_char_p), ("pattern", c_char_p)]


class DifferenceStruct(ctypes.Structure):
    _fields_ = [
        ("kind", c_int),
        ("metadata", c_uint),
        ("was", c_char),
        ("now", c_char),
        ("path", c_char_p),
    ]


class DiscardedStruct(ctypes.Structure):
    _fields_ = [
        ("id", c_ulonglong),
        ("when", c_longlong),
        ("bytes", c_ulonglong),
        ("files", c_ulonglong),
        ("note", c_char_p),
        ("path", c_char_p),
    ]


class ResultStruct(ctypes.Structure):
    _fields_ = [
        ("changed", c_ulonglong),
        ("added", c_ulonglong),
        ("removed", c_ulonglong),
        ("metadata", c_ulonglong),
        ("failed", c_ulonglong),
        ("saved", c_ulonglong),
        ("refused", c_ulonglong),
        ("on_trial", c_int),
        ("id", c_char * 17),
        ("discarded", c_char_p),
        ("notice", c_char_p),
        ("commands", c_char_p),
    ]


class InterfaceStruct(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("stack", c_char_p), ("change", c_int), ("done", c_uint), ("lacks", c_char_p)]


def check_header(header: Path) -> None:
    """Fail, with words, where a structure of ncf.h is not what this file says it is."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    for name, struct in {
        "ncf_change_options": OptionsStruct,
        "ncf_change_status": StatusStruct,
        "ncf_pattern": PatternStruct,
        "ncf_scope_file": ScopeFileStruct,
        "ncf_difference": DifferenceStruct,
        "ncf_discarded": DiscardedStruct,
        "ncf_change_result": ResultStruct,
        "ncf_interface": InterfaceStruct,
    }.items():
        found = re.search(rf"struct {name} \{{(.*?)\}};", text, flags=re.S)
        assert found, f"ncf.h has no struct {name}"
        fields: list[str] = []
        for declaration in found.group(1).split(";")[:-1]:
            names = declaration.split(",")
            fields += [re.findall(r"\w+", re.sub(r"\[.*?\]", "", row))[-1] for row in names]
        assert fields == [field for field, _ in struct._fields_], f"struct {name} changed"


@dataclass(frozen=True)
class Status:
    open: int
    id: bytes
    flags: int
    started: int
    uid: int
    pid: int
    program: bytes
    note: bytes
    has_token: int
    deadline: int
    deadline_left: int
    has_leash: int
    grace: int
    trial_boots: int
    guarded: int
    boot: bytes
    same_boot: int
    files: int
    bytes: int
    refused: int
    not_back: bytes = b""


@dataclass(frozen=True)
class Pattern:
    exclude: bool
    pattern: bytes


@dataclass(frozen=True)
class Difference:
    path: bytes
    kind: int
    was: str
    now: str
    metadata: int = 0


@dataclass(frozen=True)
class Discarded:
    id: int
    when: int
    bytes: int
    files: int
    note: bytes
    path: bytes


@dataclass(frozen=True)
class Result:
    changed: int
    added: int
    removed: int
    metadata: int
    failed: int
    saved: int
    refused: int
    on_trial: int
    id: bytes
    discarded: bytes
    notice: bytes
    commands: bytes = b""


@dataclass(frozen=True)
class Interface:
    name: bytes
    stack: bytes
    change: int
    done: int
    lacks: bytes


class NcfError(Exception):
    """A call returned -1; the attributes are what ncf_error() said."""

    def __init__(self, code: int, message: str, details: str | None) -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details = details or ""

    def __str__(self) -> str:
        return f"{self.code} {self.message}: {self.details}"


def path_bytes(path: PathLike) -> bytes:
    if isinstance(path, bytes):
        return path
    return str(path).encode("utf-8", "surrogateescape")


class Core:
    """One loaded library; `seam` is there when it was built with NCF_SEAM."""

    def __init__(self, library: Path) -> None:
        self.path = library
        self.lib = lib = ctypes.CDLL(str(library))
        handle = c_void_p
        for name, result, arguments in [
            ("ncf_init", c_int, [POINTER(handle), c_char_p]),
            ("ncf_close", c_int, [handle]),
            ("ncf_error", c_int, [handle, POINTER(c_char_p), POINTER(c_char_p)]),
            ("ncf_change_start", c_int, [handle, c_uint]),
            ("ncf_change_begin", c_int, [handle, c_uint]),
            ("ncf_change_commit", c_int, [handle, c_uint]),
            ("ncf_change_rollback", c_int, [handle, c_uint]),
            ("ncf_change_extend", c_int, [handle, c_uint]),
            ("ncf_change_guard", c_int, [handle]),
            ("ncf_change_boot", c_int, [handle, c_uint]),
            ("ncf_change_set_options", c_int, [handle, POINTER(OptionsStruct)]),
            ("ncf_change_status", c_int, [handle, POINTER(StatusStruct)]),
            ("ncf_change_scope", c_int, [handle, POINTER(POINTER(PatternStruct)), POINTER(c_size_t)]),
            ("ncf_scope_list", c_int, [handle, POINTER(POINTER(ScopeFileStruct)), POINTER(c_size_t)]),
            ("ncf_change_diff", c_int, [handle, POINTER(POINTER(DifferenceStruct)), POINTER(c_size_t)]),
            ("ncf_change_announce", c_int, [handle, c_char_p]),
            ("ncf_change_result", c_int, [handle, POINTER(ResultStruct)]),
            ("ncf_change_interfaces", c_int, [handle, POINTER(POINTER(InterfaceStruct)), POINTER(c_size_t)]),
            ("ncf_discarded_list", c_int, [handle, POINTER(POINTER(DiscardedStruct)), POINTER(c_size_t)]),
            ("ncf_discarded_restore", c_int, [handle, c_ulonglong, c_uint]),
            ("ncf_snapshot_path", c_char_p, [handle]),
            ("ncf_free", None, [c_void_p]),
            ("ncf_version", c_char_p, []),
        ]:
            function = getattr(lib, name)
            function.restype = result
            function.argtypes = arguments

    def set_seam(self, hook: object | None) -> None:
        """Install a SeamHook, or remove it with None."""
        self.lib.sys_seam_set.restype = None
        self.lib.sys_seam_set(hook if hook is not None else c_void_p(None))

    def open(self, root: PathLike | None) -> Ncf:
        """A handle for the host below `root`; raises NcfError if it can't be used."""
        return Ncf(self, root)

    def version(self) -> str:
        return self.lib.ncf_version().decode()

    # One-shot calls, for the many tests that need a handle for one thing only.

    def start(self, root: PathLike, flags: int = 0) -> Result:
        with self.open(root) as ncf:
            return ncf.start(flags)

    def commit(self, root: PathLike, flags: int = 0) -> Result:
        with self.open(root) as ncf:
            return ncf.commit(flags)

    def rollback(self, root: PathLike, flags: int = 0) -> Result:
        with self.open(root) as ncf:
            return ncf.rollback(flags)

    def announce(self, root: PathLike, path: PathLike) -> None:
        with self.open(root) as ncf:
            ncf.announce(path)

    def status(self, root: PathLike) -> Status:
        with self.open(root) as ncf:
            return ncf.status()

    def diff(self, root: PathLike) -> list[Difference]:
        with self.open(root) as ncf:
            return ncf.diff()

    def discarded(self, root: PathLike) -> list[Discarded]:
        with self.open(root) as ncf:
            return ncf.discarded()


class Ncf:
    """struct netcf, as a context manager."""

    def __init__(self, core: Core, root: PathLike | None) -> None:
        self.core = core
        self.handle = c_void_p()
        result = core.lib.ncf_init(byref(self.handle), None if root is None else path_bytes(root))
        if result == -2:
            raise MemoryError(errno.ENOMEM, "ncf_init")
        if result != 0:
            error = self._error()
            self.close()
            raise error

    def __enter__(self) -> Ncf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.handle:
            assert self.core.lib.ncf_close(self.handle) == 0
            self.handle = c_void_p()

    def error(self) -> tuple[int, str | None, str | None]:
        """What ncf_error() says: code, message, details."""
        message, details = c_char_p(), c_char_p()
        code = self.core.lib.ncf_error(self.handle, byref(message), byref(details))

        def text(field: c_char_p) -> str | None:
            return None if field.value is None else field.value.decode("utf-8", "surrogateescape")

        return code, text(message), text(details)

    def _error(self) -> NcfError:
        code, message, details = self.error()
        assert code != NOERROR, "a failed call must leave a code"
        assert message, "a failed call must leave a message"
        return NcfError(code, message, details)

    def _check(self, result: int) -> None:
        if result != 0:
            assert result == -1
            raise self._error()

    def start(self, flags: int = 0) -> Result:
        self._check(self.core.lib.ncf_change_start(self.handle, flags))
        return self.result()

    def begin(self, flags: int = 0) -> Result:
        self._check(self.core.lib.ncf_change_begin(self.handle, flags))
        return self.result()

    def commit(self, flags: int = 0) -> Result:
        self._check(self.core.lib.ncf_change_commit(self.handle, flags))
        return self.result()

    def rollback(self, flags: int = 0) -> Result:
        self._check(self.core.lib.ncf_change_rollback(self.handle, flags))
        return self.result()

    def set_options(
        self,
        note: bytes | None = None,
        token: bytes | None = None,
        deadline: int = 0,
        leash: int | None = None,
        grace: int = 0,
        trial_boots: int = 0,
        helper: bytes | None = None,
        command_limit: int = 0,
        total_limit: int = 0,
    ) -> None:
        """The options of the next start; the guard is the helper of this build."""
        line = None if leash is None else ctypes.pointer(c_int(leash))
        guard = helper or os.fsencode(build.directory() / "networking-config")
        options = OptionsStruct(
            ctypes.sizeof(OptionsStruct), note, token, deadline, line, grace, trial_boots, guard,
            command_limit, total_limit,
        )
        self._check(self.core.lib.ncf_change_set_options(self.handle, byref(options)))

    def extend(self, seconds: int) -> None:
        self._check(self.core.lib.ncf_change_extend(self.handle, seconds))

    def guard(self) -> None:
        self._check(self.core.lib.ncf_change_guard(self.handle))

    def boot(self) -> Result:
        self._check(self.core.lib.ncf_change_boot(self.handle, 0))
        return self.result()

    def clear_options(self) -> None:
        self._check(self.core.lib.ncf_change_set_options(self.handle, None))

    def status(self) -> Status:
        raw = StatusStruct()
        self._check(self.core.lib.ncf_change_status(self.handle, byref(raw)))
        return Status(*(getattr(raw, name) for name, _ in StatusStruct._fields_))

    def result(self) -> Result:
        raw = ResultStruct()
        self._check(self.core.lib.ncf_change_result(self.handle, byref(raw)))
        return Result(*(getattr(raw, name) for name, _ in ResultStruct._fields_))

    def scope(self) -> list[Pattern]:
        rows = POINTER(PatternStruct)()
        count = c_size_t()
        self._check(self.core.lib.ncf_change_scope(self.handle, byref(rows), byref(count)))
        found = [Pattern(bool(rows[i].exclude), rows[i].pattern) for i in range(count.value)]
        self.core.lib.ncf_free(rows)
        return found

    def scope_list(self) -> list[tuple[bytes, bytes, bytes]]:
        """Type, path and pattern of what is in scope now."""
        rows = POINTER(ScopeFileStruct)()
        count = c_size_t()
        self._check(self.core.lib.ncf_scope_list(self.handle, byref(rows), byref(count)))
        found = [(rows[i].type, rows[i].path, rows[i].pattern) for i in range(count.value)]
        self.core.lib.ncf_free(rows)
        return found

    def diff(self) -> list[Difference]:
        rows = POINTER(DifferenceStruct)()
        count = c_size_t()
        self._check(self.core.lib.ncf_change_diff(self.handle, byref(rows), byref(count)))
        found = [
            Difference(
                rows[i].path,
                rows[i].kind,
                rows[i].was.decode(),
                rows[i].now.decode(),
                rows[i].metadata,
            )
            for i in range(count.value)
        ]
        self.core.lib.ncf_free(rows)
        return found

    def announce(self, path: PathLike) -> None:
        self._check(self.core.lib.ncf_change_announce(self.handle, path_bytes(path)))

    def interfaces(self) -> list[Interface]:
        rows = POINTER(InterfaceStruct)()
        count = c_size_t()
        self._check(self.core.lib.ncf_change_interfaces(self.handle, byref(rows), byref(count)))
        found = [
            Interface(*(getattr(rows[i], name) for name, _ in InterfaceStruct._fields_))
            for i in range(count.value)
        ]
        self.core.lib.ncf_free(rows)
        return found

    def discarded(self) -> list[Discarded]:
        rows = POINTER(DiscardedStruct)()
        count = c_size_t()
        self._check(self.core.lib.ncf_discarded_list(self.handle, byref(rows), byref(count)))
        found = [
            Discarded(*(getattr(rows[i], name) for name, _ in DiscardedStruct._fields_))
            for i in range(count.value)
        ]
        self.core.lib.ncf_free(rows)
        return found

    def restore(self, number: int, flags: int = 0) -> Result:
        self._check(self.core.lib.ncf_discarded_restore(self.handle, number, flags))
        return self.result()

    def snapshot_path(self) -> bytes:
        path = self.core.lib.ncf_snapshot_path(self.handle)
        assert path is not None
        return path
