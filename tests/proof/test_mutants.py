"""Each essential step, left out or done at the wrong time, is noticed."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.build import REPO
from proof import simulator
from proof.mutants import MUTANTS, Mutant, mutate


def _words(name: str) -> str:
    return re.sub(r"\s+", " ", (REPO / "docs" / name).read_text(encoding="utf-8"))


def test_each_mutant_applies(tmp_path: Path) -> None:
    """The text that a mutant replaces stands in the core exactly once."""
    for mutant in MUTANTS:
        assert mutate(mutant, tmp_path / mutant.name)


def test_each_mutant_breaks_a_claim_of_the_documentation() -> None:
    """The claim is quoted word by word."""
    words = _words("design.md") + _words("format.md")
    assert [mutant.name for mutant in MUTANTS if mutant.claim not in words] == []


def test_the_documentation_lists_the_mutants() -> None:
    """All of them, with where they are caught, and no other."""
    text = (REPO / "docs/testing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+), `([a-z-]+)` \|", text, re.MULTILINE)
    assert [(name, f"{personality} {scenario}") for name, personality, scenario in rows] == [
        (mutant.name, mutant.caught) for mutant in MUTANTS
    ]


@pytest.fixture(scope="module")
def caught(simulator_directory: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """By name: the simulated disk with each mutant, where it is caught."""
    simulator.build(None, simulator_directory / "base")

    def run(mutant: Mutant) -> subprocess.CompletedProcess[str]:
        personality, scenario = mutant.caught.split()
        program = simulator.build(mutant, simulator_directory / mutant.name)
        return simulator.run(program, *simulator.Job(scenario, personality, depth=1).options)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([mutant.name for mutant in MUTANTS], pool.map(run, MUTANTS)))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_mutant_is_caught(caught: dict[str, subprocess.CompletedProcess[str]], mutant: Mutant) -> None:
    """The simulated disk says what is wrong, where the core as it is passes: test_simulated_disk.py."""
    done = caught[mutant.name]
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    assert "VIOLATION" in done.stdout
