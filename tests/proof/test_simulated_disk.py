"""The real core on a disk in memory whose power is cut: old or new, never anything between."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof import mutants, simulator

OPEN_FINDINGS = {
    "bare": "a killed rollback's removal of a directory at the root is synced by nobody",
    "flags": "where a cut splits a rename in two, which no filesystem known here does, the old name "
    "stays beside the new one of a file that is immutable again, and can't be removed",
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulator with the core as shipped."""
    return simulator.build(None, tmp_path_factory.mktemp("disk") / "base")


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=OPEN_FINDINGS[name]))
        if name in OPEN_FINDINGS
        else name
        for name in simulator.SCENARIOS
    ],
)
def test_a_power_cut_leaves_old_or_new(disk: Path, scenario: str) -> None:
    """Whatever was lost of what was not synced, boot makes of it the old files or what was committed."""
    done = simulator.run(disk, "--scenario", scenario, "--depth", "1", "--personality", "posix")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.slow
def test_a_commit_that_syncs_nothing_is_caught(tmp_path: Path) -> None:
    """The instrument can fail."""
    program = simulator.build(mutants.by_name("commit-syncs-nothing"), tmp_path / "mutant")
    done = simulator.run(program, "--scenario", "one", "--depth", "1", "--personality", "posix")
    assert done.returncode == 1
    assert "after boot the tree is another" in done.stdout
