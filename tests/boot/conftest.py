"""Guests that several test files boot."""

from __future__ import annotations

import pytest

from lib.machine import Machine

from . import guests


@pytest.fixture(scope="session")
def sysvinit(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Debian with sysvinit, runit and s6; all of it on one disk."""
    return guests.with_sysvinit(tmp_path_factory.mktemp("sysvinit"))
