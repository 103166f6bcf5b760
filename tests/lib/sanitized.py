"""pytest plugin for a build with sanitizers in it (`-p lib.sanitized`), see proof/sanitized.py.

AddressSanitizer is in the processes that run tests now; what they start has its own, or none.
"""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # xdist's first process runs no test, and its workers need what is in the environment.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        del os.environ["LD_PRELOAD"], os.environ["ASAN_OPTIONS"], os.environ["UBSAN_OPTIONS"]
