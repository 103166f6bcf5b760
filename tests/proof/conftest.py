"""What the proofs share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def simulator_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulators are built: what they have in common is compiled once."""
    return tmp_path_factory.mktemp("simulator")
