"""The module-level functions under the names of C."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from lib import tree
from netcf_py import (
    NCF_ROLLBACK_FILES_ONLY,
    NCF_START_ON_WRITE,
    ArgumentError,
    Netcf,
    ncf_change_begin,
    ncf_change_commit,
    ncf_change_rollback,
    ncf_change_start,
)


@pytest.mark.parametrize("start", [ncf_change_start, ncf_change_begin])
def test_start_and_rollback(ncf: Netcf, host: Path, start: Callable[[Netcf], None]) -> None:
    """Start and begin save, rollback brings back."""
    before = tree.capture(host)
    start(ncf)
    tree.lock_out(host)
    ncf_change_rollback(ncf)
    assert tree.differences(before, tree.capture(host)) == []


def test_start_and_commit(ncf: Netcf, host: Path) -> None:
    """Commit keeps the new configuration."""
    ncf_change_start(ncf)
    after = tree.lock_out(host)
    ncf_change_commit(ncf)
    assert not ncf.status().open
    assert tree.differences(after, tree.capture(host)) == []


def test_flags_are_those_of_c(ncf: Netcf) -> None:
    """Each function passes its flags on."""
    ncf_change_start(ncf, NCF_START_ON_WRITE)
    assert ncf.status().on_write
    ncf_change_rollback(ncf, NCF_ROLLBACK_FILES_ONLY)
    assert not ncf.status().open


@pytest.mark.parametrize(
    "function", [ncf_change_start, ncf_change_begin, ncf_change_commit, ncf_change_rollback]
)
def test_unknown_flags_are_an_argument_error(
    ncf: Netcf, function: Callable[[Netcf, int], None]
) -> None:
    """Unknown flags are refused by every one of them."""
    with pytest.raises(ArgumentError, match="unsupported flags"):
        function(ncf, 0x10)
