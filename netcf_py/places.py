# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the package keeps what it carries for others than Python."""

from __future__ import annotations

from pathlib import Path

__all__ = ["helper_path", "include_path", "library_path"]


def helper_path() -> Path:
    """Return the path of the helper, the executable ``networking-config``.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("bin/networking-config")


def library_path() -> Path:
    """Return the path of ``libncf.so.0``, for ctypes and for linking.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("lib/libncf.so.0")


def include_path() -> Path:
    """Return the directory that holds ``ncf.h``.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("include/ncf.h").parent


def _carried(name: str) -> Path:
    path = Path(__file__).resolve().parent / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not part of this installation of netcf_py")
    return path
