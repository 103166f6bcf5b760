"""Mounted images for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import images


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def filesystem(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[images.Image]:
    """A fresh filesystem of each kind this machine can make and mount."""
    with images.mounted(request.param, tmp_path) as image:
        yield image


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[images.Image]:
    """A fresh ext4."""
    with images.mounted("ext4", tmp_path) as image:
        yield image
