# SPDX-License-Identifier: LGPL-2.1-or-later
"""The extended attributes of an open file, also where ``os`` can't tell.

A Python that was built with musl, as on Alpine, may lack ``os.listxattr()`` and its like.
"""

from __future__ import annotations

import os

__all__ = ["attributes"]

# As much as the kernel lets a value or a list of names have.
MOST = 65536


def attributes(fd: int) -> dict[bytes, bytes]:
    """Return the attributes' values by their names.

    Args:
        fd: The open file.

    Raises:
        OSError: They can't be read; its filesystem may have none.
    """
    if hasattr(os, "listxattr"):
        return {os.fsencode(name): os.getxattr(fd, name) for name in os.listxattr(fd)}
    names = _ask("flistxattr", fd).split(b"\0")[:-1]
    return {name: _ask("fgetxattr", fd, name) for name in names}


def _ask(function: str, *arguments: int | bytes) -> bytes:
    import ctypes  # costs time that only such a Python needs to spend

    call = getattr(ctypes.CDLL(None, use_errno=True), function)
    call.restype = ctypes.c_ssize_t
    answer = ctypes.create_string_buffer(MOST)
    size = call(*arguments, answer, ctypes.c_size_t(MOST))
    if size < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer.raw[:size]
