# SPDX-License-Identifier: LGPL-2.1-or-later
"""The exceptions: one class for each kind of failure that ncf.h names."""

from __future__ import annotations

import errno

__all__ = [
    "AlreadyOpen",
    "ArgumentError",
    "FileError",
    "InUse",
    "InternalError",
    "InvalidOperation",
    "NetcfError",
    "NotFound",
    "NotOpen",
    "OutOfMemory",
    "ProgramError",
    "UseAfterClose",
    "WrongToken",
]


class NetcfError(Exception):
    """A call failed.

    Attributes:
        code: The error code, one of the ``NCF_E...`` numbers.
        message: A sentence for the code.
        details: Which step failed on which path and why, and what state the
            host is in; None if there is nothing to add.
    """

    def __init__(self, code: int, message: str, details: str | None = None) -> None:
        # Not super(): OSError would take the code for an errno.
        Exception.__init__(self, code, message, details)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}: {self.details}" if self.details else self.message


class InvalidOperation(NetcfError):
    """Not valid in the present state (``NCF_EINVALIDOP``)."""


class AlreadyOpen(InvalidOperation):
    """Start, while a change is open."""


class NotOpen(InvalidOperation):
    """Something that needs an open change, while none is open."""


class WrongToken(InvalidOperation):
    """The change was started with a token, and this is another or none."""


class FileError(NetcfError, OSError):
    """Reading, writing or trusting a file failed (``NCF_EFILE``).

    ``errno`` is None: ``details`` says for each path what the system said.
    """


class NotFound(NetcfError, FileNotFoundError):
    """There is no such root or discarded configuration (``NCF_ENOENT``)."""

    def __init__(self, code: int, message: str, details: str | None = None) -> None:
        super().__init__(code, message, details)
        self.errno = errno.ENOENT


class ArgumentError(NetcfError, ValueError):
    """A bad argument or unsupported flags (``NCF_EOTHER``)."""


class UseAfterClose(ArgumentError):
    """A call on a :class:`~netcf_py.Netcf` that has been closed."""


class OutOfMemory(NetcfError, MemoryError):
    """Out of memory (``NCF_ENOMEM``)."""


class InternalError(NetcfError):
    """A defect of the library (``NCF_EINTERNAL``)."""


class ProgramError(NetcfError):
    """An external program failed (``NCF_EEXEC``)."""


class InUse(NetcfError):
    """Something else holds what is needed (``NCF_EINUSE``)."""
