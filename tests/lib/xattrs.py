"""os.setxattr() and its like for a Python that lacks them, as some that were built with musl do."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, path: Any, follow_symlinks: bool, *arguments: Any) -> int:
    """Call `name`, l`name` or f`name` of libc; its result."""
    if isinstance(path, int):
        function, file = "f" + name, path
    else:
        function, file = name if follow_symlinks else "l" + name, os.fsencode(path)
    function = getattr(libc, function)
    function.restype = ctypes.c_ssize_t
    result: int = function(file, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), None if isinstance(path, int) else path)
    return result


def _read(name: str, path: Any, follow_symlinks: bool, *arguments: Any) -> bytes:
    """What a call puts into a buffer: at most 64 KiB, as the kernel has it."""
    buffer = ctypes.create_string_buffer(65536)
    size = _call(name, path, follow_symlinks, *arguments, buffer, ctypes.c_size_t(65536))
    return buffer.raw[:size]


def setxattr(path: Any, attribute: Any, value: bytes, flags: int = 0, *, follow_symlinks: bool = True) -> None:
    _call("setxattr", path, follow_symlinks, os.fsencode(attribute), value, ctypes.c_size_t(len(value)), flags)


def getxattr(path: Any, attribute: Any, *, follow_symlinks: bool = True) -> bytes:
    return _read("getxattr", path, follow_symlinks, os.fsencode(attribute))


def listxattr(path: Any = ".", *, follow_symlinks: bool = True) -> list[str]:
    names = _read("listxattr", path, follow_symlinks)
    return [os.fsdecode(name) for name in names.split(b"\0")[:-1]]


def removexattr(path: Any, attribute: Any, *, follow_symlinks: bool = True) -> None:
    _call("removexattr", path, follow_symlinks, os.fsencode(attribute))


def complete() -> None:
    """Give `os` what it lacks."""
    functions: list[Callable[..., Any]] = [setxattr, getxattr, listxattr, removexattr]
    for function in functions:
        if not hasattr(os, function.__name__):
            setattr(os, function.__name__, function)
