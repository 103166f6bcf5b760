"""pytest plugin for a build with gcov in it (`-p lib.instrumented`).

What a child counted is written when it exits.  os._exit() and SIGKILL would skip
that, and a helper in a root of its own would write it there.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import pytest

from lib import hosts

BUILD = Path(os.environ["NCF_BUILD_DIR"])

os._exit = ctypes.CDLL(None).exit  # type: ignore[assignment]

_kill = os.kill


def kill(pid: int, number: int) -> None:
    """os.kill(), before which a process that kills itself writes down what it counted."""
    if pid == os.getpid() and number == signal.SIGKILL:
        ctypes.CDLL(str(BUILD / "test/libncf-test.so")).coverage_dump()
    _kill(pid, number)


os.kill = kill

hosts.CHROOT = hosts.CHROOT.replace(
    "mount -t proc", f'mkdir -p "$0{BUILD}"\nmount --bind {BUILD} "$0{BUILD}"\nmount -t proc', 1
)

# They look at the process itself, which writes files of its own here.
OBSERVERS = ("test_boot.py", "test_netcf_name.py", "test_real_calls.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in OBSERVERS:
            item.add_marker(pytest.mark.xfail(reason="sees gcov's files", strict=False))
