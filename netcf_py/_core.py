# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C library; the only module that sees ``ffi`` and ``lib``.

Everything C stays in here: strings go in as bytes, records come out, and a
failed call leaves through `Handle._failure` as an exception.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, TypeVar

from ._netcf import ffi, lib
from .errors import (
    AlreadyOpen,
    ArgumentError,
    FileError,
    InternalError,
    InUse,
    InvalidOperation,
    NetcfError,
    NotFound,
    NotOpen,
    OutOfMemory,
    ProgramError,
    UseAfterClose,
    WrongToken,
)
from .places import helper_path
from .records import (
    ChangeResult,
    ChangeStatus,
    Difference,
    DifferenceKind,
    Discarded,
    FileType,
    Interface,
    InterfaceAction,
    InterfaceChange,
    Metadata,
    Pattern,
    ScopeFile,
    StartOptions,
)

NCF_NOERROR: int = lib.NCF_NOERROR
NCF_EINTERNAL: int = lib.NCF_EINTERNAL
NCF_EOTHER: int = lib.NCF_EOTHER
NCF_ENOMEM: int = lib.NCF_ENOMEM
NCF_ENOENT: int = lib.NCF_ENOENT
NCF_EEXEC: int = lib.NCF_EEXEC
NCF_EINUSE: int = lib.NCF_EINUSE
NCF_EFILE: int = lib.NCF_EFILE
NCF_EINVALIDOP: int = lib.NCF_EINVALIDOP

NCF_START_ON_WRITE: int = lib.NCF_START_ON_WRITE
NCF_ROLLBACK_ALL_INTERFACES: int = lib.NCF_ROLLBACK_ALL_INTERFACES
NCF_ROLLBACK_FILES_ONLY: int = lib.NCF_ROLLBACK_FILES_ONLY

_ERRORS: dict[int, type[NetcfError]] = {
    NCF_EINTERNAL: InternalError,
    NCF_EOTHER: ArgumentError,
    NCF_ENOMEM: OutOfMemory,
    NCF_ENOENT: NotFound,
    NCF_EEXEC: ProgramError,
    NCF_EINUSE: InUse,
    NCF_EFILE: FileError,
}

_KINDS: dict[int, DifferenceKind] = {
    lib.NCF_DIFF_ADDED: DifferenceKind.ADDED,
    lib.NCF_DIFF_REMOVED: DifferenceKind.REMOVED,
    lib.NCF_DIFF_CHANGED: DifferenceKind.CHANGED,
    lib.NCF_DIFF_METADATA: DifferenceKind.METADATA,
}

_METADATA: dict[int, Metadata] = {
    lib.NCF_META_MODE: Metadata.MODE,
    lib.NCF_META_OWNER: Metadata.OWNER,
    lib.NCF_META_MTIME: Metadata.MTIME,
    lib.NCF_META_XATTR: Metadata.XATTR,
    lib.NCF_META_FLAGS: Metadata.FLAGS,
    lib.NCF_META_LINKS: Metadata.LINKS,
}

_ACTIONS: dict[int, InterfaceAction] = {
    lib.NCF_DONE_DOWN: InterfaceAction.DOWN,
    lib.NCF_DONE_UP: InterfaceAction.UP,
    lib.NCF_DONE_DELETED: InterfaceAction.DELETED,
    lib.NCF_DONE_RELOADED: InterfaceAction.RELOADED,
}

_Record = TypeVar("_Record")


def version() -> str:
    """Return the version of the C library."""
    return _text(lib.ncf_version())


class Handle:
    """A ``struct ncf`` for any number of threads; one call runs at a time.

    The lock is reentrant because a signal handler may use the handle while its
    thread is between C and the release of the lock.
    """

    def __init__(self, root: bytes) -> None:
        self._lock = threading.RLock()
        self._has_options = False
        self._token: str | None = None
        ret = ffi.new("struct netcf **")
        result = lib.ncf_init(ret, _c_string(root, "root"))
        if result == -2:
            raise OutOfMemory(NCF_ENOMEM, "out of memory")
        # The collector closes what nobody closed.
        self._ncf = ffi.gc(ret[0], lib.ncf_close)
        if result != 0:
            error = self._failure(NotOpen)
            self.close()
            raise error

    @property
    def closed(self) -> bool:
        return self._ncf is None

    def close(self) -> None:
        with self._lock:
            if self._ncf is not None:
                ffi.release(self._ncf)
                self._ncf = None

    def start(self, flags: int, options: StartOptions) -> None:
        with self._lock:
            self._set_options(options)
            self._call(lib.ncf_change_start, _unsigned(flags, "flags"), invalid=AlreadyOpen)
            self._token = options.token

    def commit(self, flags: int, token: str | None) -> None:
        with self._lock:
            self._show(token)
            self._call(lib.ncf_change_commit, _unsigned(flags, "flags"))

    def extend(self, seconds: int, token: str | None) -> None:
        with self._lock:
            self._has_options = True  # the helper, which may have to be a guard
            self._show(token)
            self._call(lib.ncf_change_extend, _unsigned(seconds, "seconds"))

    def guard(self) -> None:
        with self._lock:
            self._has_options = True
            self._show(None)
            self._call(lib.ncf_change_guard)

    def rollback(self, flags: int, command_limit: int, total_limit: int) -> None:
        with self._lock:
            self._show(None, command_limit, total_limit)
            self._call(lib.ncf_change_rollback, _unsigned(flags, "flags"))

    def announce(self, path: bytes) -> None:
        self._call(lib.ncf_change_announce, _c_string(path, "path"))

    def restore(self, number: int, flags: int) -> None:
        self._call(
            lib.ncf_discarded_restore, _unsigned(number, "id", 64), _unsigned(flags, "flags")
        )

    def status(self) -> ChangeStatus:
        return self._fetch(lib.ncf_change_status, "struct ncf_change_status *", _status)

    def result(self) -> ChangeResult:
        return self._fetch(lib.ncf_change_result, "struct ncf_change_result *", _result)

    def interfaces(self) -> list[Interface]:
        return self._list(lib.ncf_change_interfaces, "struct ncf_interface **", _interface)

    def scope(self) -> list[Pattern]:
        return self._list(lib.ncf_change_scope, "struct ncf_pattern **", _pattern)

    def scope_list(self) -> list[ScopeFile]:
        return self._list(lib.ncf_scope_list, "struct ncf_scope_file **", _scope_file)

    def diff(self) -> list[Difference]:
        return self._list(lib.ncf_change_diff, "struct ncf_difference **", _difference)

    def discarded(self) -> list[Discarded]:
        return self._list(lib.ncf_discarded_list, "struct ncf_discarded **", _discarded)

    def snapshot_path(self) -> str:
        with self._lock:
            return _path(lib.ncf_snapshot_path(self._open()))

    def _open(self) -> Any:
        if self._ncf is None:
            raise UseAfterClose(NCF_EOTHER, "this Netcf has been closed")
        return self._ncf

    def _call(
        self, function: Any, *arguments: Any, invalid: type[InvalidOperation] = NotOpen
    ) -> None:
        """Call `function`; `invalid` is what NCF_EINVALIDOP means for it."""
        with self._lock:
            if function(self._open(), *arguments) != 0:
                raise self._failure(invalid)

    def _failure(self, invalid: type[InvalidOperation]) -> NetcfError:
        """The last call's error as an exception."""
        errmsg = ffi.new("const char **")
        ret_details = ffi.new("const char **")
        code = lib.ncf_error(self._ncf, errmsg, ret_details)
        details = _text(ret_details[0]) or None
        if code != NCF_EINVALIDOP:
            kind = _ERRORS.get(code, NetcfError)
        elif details is not None and details.startswith("wrong token"):
            kind = WrongToken
        else:
            kind = invalid
        return kind(code, _text(errmsg[0]), details)

    def _show(self, token: str | None, command_limit: int = 0, total_limit: int = 0) -> None:
        """Show this token, or the one of the last start, and the limits to the next call."""
        options = StartOptions(token=self._token if token is None else token)
        self._set_options(options, command_limit, total_limit)

    def _set_options(
        self, wanted: StartOptions, command_limit: int = 0, total_limit: int = 0
    ) -> None:
        has_options = wanted != StartOptions() or command_limit + total_limit > 0
        if not has_options and not self._has_options:
            return
        strings = _option(wanted.note, "note"), _option(wanted.token, "token"), _helper()
        leash = ffi.NULL if wanted.leash is None else ffi.new("int *", wanted.leash)
        options = ffi.new("struct ncf_change_options *")
        options.size = ffi.sizeof("struct ncf_change_options")
        options.note, options.token, options.helper = strings
        options.deadline = _unsigned(wanted.deadline or 0, "deadline")
        options.leash = leash
        options.grace = _unsigned(wanted.grace, "grace")
        options.trial_boots = _unsigned(wanted.trial_boots, "trial_boots")
        options.command_limit = _unsigned(command_limit, "command_limit")
        options.total_limit = _unsigned(total_limit, "total_limit")
        self._call(lib.ncf_change_set_options, options)
        self._has_options = has_options

    def _fetch(self, function: Any, pointer: str, convert: Callable[[Any], _Record]) -> _Record:
        ret = ffi.new(pointer)
        # The lock covers the conversion: strings belong to the handle.
        with self._lock:
            self._call(function, ret)
            return convert(ret[0])

    def _list(
        self, function: Any, pointer: str, convert: Callable[[Any], _Record]
    ) -> list[_Record]:
        ret = ffi.new(pointer)
        ret_count = ffi.new("size_t *")
        self._call(function, ret, ret_count)
        try:
            return [convert(ret[0][i]) for i in range(ret_count[0])]
        finally:
            lib.ncf_free(ret[0])


def _status(c: Any) -> ChangeStatus:
    return ChangeStatus(
        open=bool(c.open),
        id=_text(c.id),
        on_write=bool(c.flags & NCF_START_ON_WRITE),
        started=c.started,
        uid=c.uid,
        pid=c.pid,
        program=_text(c.program),
        note=_text(c.note),
        has_token=bool(c.has_token),
        deadline=c.deadline or None,
        deadline_left=c.deadline_left if c.deadline else None,
        grace=c.grace if c.has_leash else None,
        trial_boots=c.trial_boots,
        guarded=bool(c.guarded),
        boot=_text(c.boot),
        same_boot=bool(c.same_boot),
        files=c.files,
        bytes=c.bytes,
        refused=c.refused,
        not_back=_text(c.not_back),
    )


def _result(c: Any) -> ChangeResult:
    return ChangeResult(
        changed=c.changed,
        added=c.added,
        removed=c.removed,
        metadata=c.metadata,
        failed=c.failed,
        saved=c.saved,
        refused=c.refused,
        id=_text(c.id),
        discarded=_path(c.discarded) or None,
        notice=_text(c.notice),
        commands=_text(c.commands),
    )


def _interface(c: Any) -> Interface:
    return Interface(
        name=_text(c.name),
        stack=_text(c.stack),
        change=InterfaceChange(c.change),
        done=frozenset(what for bit, what in _ACTIONS.items() if c.done & bit),
        lacks=_text(c.lacks),
    )


def _pattern(c: Any) -> Pattern:
    return Pattern(_path(c.pattern), bool(c.exclude))


def _scope_file(c: Any) -> ScopeFile:
    return ScopeFile(_path(c.path), FileType(c.type.decode("ascii")), _path(c.pattern) or None)


def _difference(c: Any) -> Difference:
    return Difference(
        path=_path(c.path),
        kind=_KINDS[c.kind],
        metadata=frozenset(what for bit, what in _METADATA.items() if c.metadata & bit),
        was=FileType(c.was.decode("ascii")),
        now=FileType(c.now.decode("ascii")),
    )


def _discarded(c: Any) -> Discarded:
    return Discarded(
        id=c.id,
        when=c.when,
        bytes=c.bytes,
        files=c.files,
        note=_text(c.note),
        path=_path(c.path),
    )


def _text(c: Any) -> str:
    """What people read: printable whatever is in it."""
    return "" if c == ffi.NULL else str(ffi.string(c), "utf-8", "backslashreplace")


def _path(c: Any) -> str:
    return "" if c == ffi.NULL else os.fsdecode(ffi.string(c))


def _c_string(value: bytes, what: str) -> Any:
    if b"\0" in value:
        raise ArgumentError(NCF_EOTHER, "bad argument", f"{what}: a NUL byte in {value!r}")
    return ffi.new("char[]", value)


def _helper() -> Any:
    """The helper that came with this package is the guard; else the installed one."""
    try:
        return _c_string(os.fsencode(helper_path()), "helper")
    except FileNotFoundError:
        return ffi.NULL


def _option(value: str | None, what: str) -> Any:
    return ffi.NULL if value is None else _c_string(os.fsencode(value), what)


def _unsigned(value: int, what: str, bits: int = 32) -> int:
    if not 0 <= value < 1 << bits:
        raise ArgumentError(NCF_EOTHER, "bad argument", f"{what}: {value} is out of range")
    return value
