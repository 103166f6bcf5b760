# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start, commit or roll back a change of a Linux host's network configuration.

>>> with Netcf() as ncf:
...     with ncf.change(note="new uplink"):
...         edit_files()

The block starts a change; its end commits it and an exception rolls it back.
Without a block the calls are :meth:`Netcf.change_start`,
:meth:`Netcf.change_commit` and :meth:`Netcf.change_rollback`, which also exist
as functions under their names in C.
"""

from ._core import (
    NCF_EEXEC,
    NCF_EFILE,
    NCF_EINTERNAL,
    NCF_EINUSE,
    NCF_EINVALIDOP,
    NCF_ENOENT,
    NCF_ENOMEM,
    NCF_EOTHER,
    NCF_NOERROR,
    NCF_ROLLBACK_ALL_INTERFACES,
    NCF_ROLLBACK_FILES_ONLY,
    NCF_START_ON_WRITE,
    version,
)
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
from .functions import ncf_change_begin, ncf_change_commit, ncf_change_rollback, ncf_change_start
from .netcf import Change, Netcf
from .places import helper_path, include_path, library_path
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
)

__version__: str = version()

__all__ = [
    "NCF_EEXEC",
    "NCF_EFILE",
    "NCF_EINTERNAL",
    "NCF_EINUSE",
    "NCF_EINVALIDOP",
    "NCF_ENOENT",
    "NCF_ENOMEM",
    "NCF_EOTHER",
    "NCF_NOERROR",
    "NCF_ROLLBACK_ALL_INTERFACES",
    "NCF_ROLLBACK_FILES_ONLY",
    "NCF_START_ON_WRITE",
    "AlreadyOpen",
    "ArgumentError",
    "Change",
    "ChangeResult",
    "ChangeStatus",
    "Difference",
    "DifferenceKind",
    "Discarded",
    "FileError",
    "FileType",
    "InUse",
    "Interface",
    "InterfaceAction",
    "InterfaceChange",
    "InternalError",
    "InvalidOperation",
    "Metadata",
    "Netcf",
    "NetcfError",
    "NotFound",
    "NotOpen",
    "OutOfMemory",
    "Pattern",
    "ProgramError",
    "ScopeFile",
    "UseAfterClose",
    "WrongToken",
    "__version__",
    "helper_path",
    "include_path",
    "library_path",
    "ncf_change_begin",
    "ncf_change_commit",
    "ncf_change_rollback",
    "ncf_change_start",
]
