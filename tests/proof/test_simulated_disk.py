"""The real core on a disk in memory whose power is cut: old or new, never anything between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proof import simulator

SEED = 1  # docs/testing.md has the command that takes another one each time


@pytest.fixture(scope="module")
def outcomes(simulator_directory: Path) -> dict[tuple[str, str], simulator.Outcome]:
    """By scenario and personality: everything CI explores, on all processors."""
    disk = simulator.build(None, simulator_directory / "base")
    explored = simulator.explore(disk, simulator.in_ci(), os.cpu_count() or 1, SEED)
    return {(outcome.job.scenario, outcome.job.personality): outcome for outcome in explored}


@pytest.mark.slow
@pytest.mark.parametrize("personality", simulator.PERSONALITIES)
@pytest.mark.parametrize("scenario", simulator.SCENARIOS)
def test_a_power_cut_leaves_old_or_new(
    outcomes: dict[tuple[str, str], simulator.Outcome], scenario: str, personality: str
) -> None:
    """Whatever was lost of what was not synced, boot makes of it the old files or what was committed."""
    outcome = outcomes[scenario, personality]
    print(outcome)
    assert not outcome.violation, f"seed {SEED}: {outcome}"
    if personality != "posix":
        assert outcome.bounded == 0  # every point, every subset
    assert len(outcome.by_cuts) >= outcome.job.depth


@pytest.mark.slow
def test_a_million_states(outcomes: dict[tuple[str, str], simulator.Outcome]) -> None:
    """As many as promised, each another disk; some after a third power cut."""
    assert sum(outcome.states for outcome in outcomes.values()) >= 1_000_000
    assert outcomes["one", "posix"].by_cuts[2] >= 100_000
