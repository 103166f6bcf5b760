"""A realistic host and a Netcf on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import tree
from netcf_py import Netcf


@pytest.fixture
def host(root: Path) -> Path:
    """A host with something in scope for every stack."""
    tree.realistic(root)
    return root


@pytest.fixture
def ncf(host: Path) -> Iterator[Netcf]:
    """An open Netcf on `host`."""
    with Netcf(host) as ncf:
        yield ncf
