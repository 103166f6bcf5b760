"""The exception classes: what each is, keeps and says."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import netcf_py
from netcf_py import (
    NCF_EEXEC,
    NCF_EFILE,
    NCF_EINTERNAL,
    NCF_EINUSE,
    NCF_EINVALIDOP,
    NCF_ENOENT,
    NCF_ENOMEM,
    NCF_EOTHER,
    AlreadyOpen,
    ArgumentError,
    FileError,
    InternalError,
    InUse,
    Netcf,
    NetcfError,
    NotFound,
    NotOpen,
    OutOfMemory,
    ProgramError,
    UseAfterClose,
    WrongToken,
    _core,
)
from netcf_py._netcf import ffi

CLASSES = [
    NetcfError,
    AlreadyOpen,
    ArgumentError,
    FileError,
    InUse,
    InternalError,
    NotFound,
    NotOpen,
    OutOfMemory,
    ProgramError,
    UseAfterClose,
    WrongToken,
]


class Library:
    """The C library, except that the last error is the one wanted."""

    def __init__(self, code: int, details: bytes | None) -> None:
        self.code = code
        self.message = ffi.new("char[]", b"words")
        self.details = ffi.NULL if details is None else ffi.new("char[]", details)

    def ncf_error(self, ncf: Any, errmsg: Any, details: Any) -> int:
        errmsg[0], details[0] = self.message, self.details
        return self.code

    def ncf_change_rollback(self, ncf: Any, flags: int) -> int:
        return -1

    ncf_change_start = ncf_change_rollback


def failure(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf, call: str, code: int, details: bytes | None = None
) -> NetcfError:
    """What `call` raises when C fails with `code` and `details`."""
    with monkeypatch.context() as patch, pytest.raises(NetcfError) as caught:
        patch.setattr(_core, "lib", Library(code, details))
        getattr(ncf, call)()
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (NCF_EINTERNAL, InternalError),
        (NCF_EOTHER, ArgumentError),
        (NCF_ENOMEM, OutOfMemory),
        (NCF_ENOENT, NotFound),
        (NCF_EEXEC, ProgramError),
        (NCF_EINUSE, InUse),
        (NCF_EFILE, FileError),
        (NCF_EINVALIDOP, NotOpen),
        (99, NetcfError),
    ],
)
def test_each_code_has_its_class(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf, code: int, kind: type[NetcfError]
) -> None:
    """A failure is of exactly the class of its code; an unknown code is a NetcfError."""
    error = failure(monkeypatch, ncf, "change_rollback", code)
    assert type(error) is kind
    assert error.code == code


def test_invalid_operation_depends_on_the_call(monkeypatch: pytest.MonkeyPatch, ncf: Netcf) -> None:
    """The same code is AlreadyOpen from start and WrongToken where the details say so."""
    assert type(failure(monkeypatch, ncf, "change_start", NCF_EINVALIDOP)) is AlreadyOpen
    error = failure(monkeypatch, ncf, "change_rollback", NCF_EINVALIDOP, b"wrong token: other")
    assert type(error) is WrongToken


def test_an_error_keeps_code_message_and_details(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf
) -> None:
    """All that C said is there, and str() is one readable line of it."""
    error = failure(monkeypatch, ncf, "change_rollback", NCF_EFILE, b"can't read: etc/x")
    assert (error.code, error.message, error.details) == (NCF_EFILE, "words", "can't read: etc/x")
    assert str(error) == "words: can't read: etc/x"


def test_an_error_without_details_says_its_message(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf
) -> None:
    """No details are None and leave no trace in str()."""
    error = failure(monkeypatch, ncf, "change_rollback", NCF_EFILE)
    assert error.details is None
    assert str(error) == "words"


def test_details_that_are_not_utf_8_can_be_printed(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf
) -> None:
    """Bytes of a path that are no text come out readable and encodable."""
    error = failure(monkeypatch, ncf, "change_rollback", NCF_EFILE, b"can't read: caf\xe9")
    assert str(error) == "words: can't read: caf\\xe9"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling(kind: type[NetcfError]) -> None:
    """An error comes whole out of another process."""
    error = pickle.loads(pickle.dumps(kind(10, "message", "details")))
    assert type(error) is kind
    assert (error.code, error.message, error.details) == (10, "message", "details")
    assert str(error) == "message: details"


@pytest.mark.parametrize(
    ("kind", "cousin"),
    [
        (FileError, OSError),
        (NotFound, FileNotFoundError),
        (ArgumentError, ValueError),
        (UseAfterClose, ValueError),
        (OutOfMemory, MemoryError),
    ],
)
def test_errors_are_what_python_calls_them(kind: type[NetcfError], cousin: type[Exception]) -> None:
    """Code that knows only Python's classes catches them too."""
    assert issubclass(kind, cousin)
    assert issubclass(kind, NetcfError)


def test_a_code_is_not_an_errno() -> None:
    """The error number of an OSError is never netcf's."""
    assert FileError(10, "message").errno is None


def test_the_codes_are_netcfs() -> None:
    """The numbers are those that netcf released."""
    codes = {name: getattr(netcf_py, name) for name in netcf_py.__all__ if name.startswith("NCF_E")}
    assert codes == {
        "NCF_EINTERNAL": 1,
        "NCF_EOTHER": 2,
        "NCF_ENOMEM": 3,
        "NCF_ENOENT": 6,
        "NCF_EEXEC": 7,
        "NCF_EINUSE": 8,
        "NCF_EFILE": 10,
        "NCF_EINVALIDOP": 13,
    }
    assert netcf_py.NCF_NOERROR == 0


def test_no_memory_for_a_handle_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """ncf_init's -2 is OutOfMemory, without a handle to ask."""

    class NoMemory:
        def ncf_init(self, ret: Any, root: Any) -> int:
            return -2

    monkeypatch.setattr(_core, "lib", NoMemory())
    with pytest.raises(OutOfMemory) as caught:
        Netcf("/")
    assert caught.value.code == NCF_ENOMEM
