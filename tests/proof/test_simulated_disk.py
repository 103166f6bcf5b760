"""The real core on a disk in memory whose power is cut: old or new, never anything between."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof import mutants, simulator


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulator with the core as shipped."""
    return simulator.build(None, tmp_path_factory.mktemp("disk") / "base")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", simulator.SCENARIOS)
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
