# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calls under their names in C, for who knows netcf."""

from __future__ import annotations

from .netcf import Netcf

__all__ = ["ncf_change_begin", "ncf_change_commit", "ncf_change_rollback", "ncf_change_start"]


def ncf_change_start(ncf: Netcf, flags: int = 0) -> None:
    """Start a change; see :meth:`Netcf.change_start`.

    Args:
        ncf: The host.
        flags: ``NCF_START_...`` bits.

    Raises:
        NetcfError: As :meth:`Netcf.change_start`.
    """
    ncf.change_start(flags)


def ncf_change_begin(ncf: Netcf, flags: int = 0) -> None:
    """Start a change, under the name that netcf released.

    Args:
        ncf: The host.
        flags: ``NCF_START_...`` bits.

    Raises:
        NetcfError: As :meth:`Netcf.change_start`.
    """
    ncf.change_begin(flags)


def ncf_change_commit(ncf: Netcf, flags: int = 0) -> None:
    """Commit the open change; see :meth:`Netcf.change_commit`.

    Args:
        ncf: The host.
        flags: Must be 0.

    Raises:
        NetcfError: As :meth:`Netcf.change_commit`.
    """
    ncf.change_commit(flags)


def ncf_change_rollback(ncf: Netcf, flags: int = 0) -> None:
    """Roll back the open change; see :meth:`Netcf.change_rollback`.

    Args:
        ncf: The host.
        flags: ``NCF_ROLLBACK_...`` bits.

    Raises:
        NetcfError: As :meth:`Netcf.change_rollback`.
    """
    ncf.change_rollback(flags)
