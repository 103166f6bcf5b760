# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calls of the 2011 proposal for libvirt, on libvirt-python's connections.

>>> import libvirt
>>> conn = libvirt.open("qemu:///system")
>>> virInterfaceChangeStart(conn)
0

They pass through to libvirt.  Where its interface driver has no transactions,
as the udev driver of today's distributions, a connection to this host is served
by the core directly; one to another host fails and says what to install there.

libvirt-python is needed when they are called, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Union
from urllib.parse import urlsplit

from .errors import InvalidOperation, NetcfError, OutOfMemory
from .netcf import Netcf

__all__ = [
    "virInterfaceChangeBegin",
    "virInterfaceChangeCommit",
    "virInterfaceChangeRollback",
    "virInterfaceChangeStart",
]

# A libvirt.virConnect, or the URI of one that is opened for the call.
Connection = Union[Any, str]


def virInterfaceChangeStart(conn: Connection, flags: int = 0) -> int:
    """Start a change of the network configuration of the connection's host.

    Args:
        conn: A ``libvirt.virConnect``, or a URI.
        flags: Must be 0.

    Returns:
        0, as libvirt does.

    Raises:
        libvirt.libvirtError: ``VIR_ERR_OPERATION_INVALID`` while a change is
            open; ``VIR_ERR_INVALID_ARG`` for other flags than 0;
            ``VIR_ERR_OPERATION_DENIED`` on a connection that only reads;
            ``VIR_ERR_NO_SUPPORT`` where the host is another one and its libvirt
            has no transactions; ``VIR_ERR_INTERNAL_ERROR`` if the change can't
            be started.
    """
    return _call(conn, flags, "changeBegin", Netcf.change_start)


virInterfaceChangeBegin = virInterfaceChangeStart


def virInterfaceChangeCommit(conn: Connection, flags: int = 0) -> int:
    """Keep the configuration as it is now.

    Args:
        conn: A ``libvirt.virConnect``, or a URI.
        flags: Must be 0.

    Returns:
        0, as libvirt does.

    Raises:
        libvirt.libvirtError: ``VIR_ERR_OPERATION_INVALID`` while no change is
            open; others as :func:`virInterfaceChangeStart`.
    """
    return _call(conn, flags, "changeCommit", Netcf.change_commit)


def virInterfaceChangeRollback(conn: Connection, flags: int = 0) -> int:
    """Put the configuration of the start back.

    Args:
        conn: A ``libvirt.virConnect``, or a URI.
        flags: Must be 0.

    Returns:
        0, as libvirt does.

    Raises:
        libvirt.libvirtError: ``VIR_ERR_OPERATION_INVALID`` while no change is
            open; others as :func:`virInterfaceChangeStart`.
    """
    return _call(conn, flags, "changeRollback", Netcf.change_rollback)


def _call(conn: Connection, flags: int, method: str, core: Callable[[Netcf], None]) -> int:
    libvirt = _libvirt()
    if isinstance(conn, str):
        opened = libvirt.open(conn)
        try:
            return _call(opened, flags, method, core)
        finally:
            opened.close()
    try:
        result: int = getattr(conn, method)(flags)
        return result
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        if not _is_local(conn.getURI()):
            raise _error(
                libvirt.VIR_ERR_NO_SUPPORT,
                f"the interface driver behind {conn.getURI()} has no transactions, and that may be "
                "another host: install libnetcf-change.so there, for a libvirtd with the netcf "
                "driver, or run networking-config there",
            ) from error
    return _serve(flags, core)


def _serve(flags: int, core: Callable[[Netcf], None]) -> int:
    """Do it here, with the codes that libvirt's netcf driver makes of failures."""
    libvirt = _libvirt()
    if flags:
        raise _error(libvirt.VIR_ERR_INVALID_ARG, f"unsupported flags (0x{flags:x})")
    try:
        with Netcf() as ncf:
            core(ncf)
    except InvalidOperation as error:
        raise _error(libvirt.VIR_ERR_OPERATION_INVALID, str(error)) from error
    except OutOfMemory as error:
        raise _error(libvirt.VIR_ERR_NO_MEMORY, str(error)) from error
    except NetcfError as error:
        raise _error(libvirt.VIR_ERR_INTERNAL_ERROR, str(error)) from error
    return 0


def _is_local(uri: str) -> bool:
    """Whether that is certain: no host, no tunnel, and nothing that leads elsewhere."""
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    return transport in ("", "unix") and not parts.netloc and not parts.query


def _libvirt() -> Any:
    return import_module("libvirt")


def _error(code: int, text: str) -> Exception:
    """A libvirtError of ours; its constructor knows only the last one of libvirt."""
    libvirt = _libvirt()
    error: Exception = libvirt.libvirtError(text)
    error.args = (text,)
    ours = (code, libvirt.VIR_FROM_INTERFACE, text, libvirt.VIR_ERR_ERROR, None, None, None, -1, -1)
    error.err = ours  # type: ignore[attr-defined]
    return error
