"""pytest plugin for a build with gcov in it (`-p lib.instrumented`).

What a child counted is written when it exits, and os._exit() would skip that.
"""

from __future__ import annotations

import ctypes
import os

import pytest

os._exit = ctypes.CDLL(None).exit  # type: ignore[assignment]

# They look at the process itself, which writes files of its own here.
OBSERVERS = ("test_boot.py", "test_netcf_name.py", "test_real_calls.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in OBSERVERS:
            item.add_marker(pytest.mark.xfail(reason="sees gcov's files", strict=False))
