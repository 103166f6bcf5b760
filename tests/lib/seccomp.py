"""System calls taken away from a child and all that it starts, as an old kernel, a short one or a container's filter does it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Sequence

import pytest

NUMBERS = {
    "x86_64": {
        "chdir": 80, "clone": 56, "close_range": 436, "dup3": 292, "fallocate": 285, "fork": 57, "ftruncate": 77, "getrandom": 318, "inotify_add_watch": 254,
        "inotify_init1": 294, "memfd_create": 319, "openat2": 437, "pipe2": 293, "poll": 7, "prlimit64": 302,
        "statx": 332, "timerfd_create": 283, "timerfd_settime": 286, "utimensat": 280, "wait4": 61,
    },
    "aarch64": {"fallocate": 47, "getrandom": 278, "statx": 291, "openat2": 437},
}  # fmt: skip

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD_NUMBER, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ERROR, ALLOW = 0x00050000, 0x7FFF0000


def without(calls: Sequence[str], error: int = errno.ENOSYS) -> Callable[[], None]:
    """What a child runs before exec, so that these calls answer `error` to it and to all that it starts."""
    numbers = NUMBERS.get(platform.machine(), {})
    if not set(calls) <= set(numbers):
        pytest.skip(f"the numbers of system calls are not known here: {platform.machine()}")
    code = [(LOAD_NUMBER, 0, 0, 0)]
    for call in calls:
        code += [(IF_EQUAL, 0, 1, numbers[call]), (RETURN, 0, 0, ERROR | error)]
    code += [(RETURN, 0, 0, ALLOW)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("HP", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)

    def install() -> None:
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, program, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        assert filters  # kept alive until here

    return install
