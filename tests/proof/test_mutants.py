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
from proof.mutants import CSRC, MUTANTS, Mutant, mutate


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


# It tells which interfaces are not back, and decides nothing.
WITHOUT_A_MUTANT = {"store_keep_not_back"}


def _fsyncs(text: str) -> list[tuple[int, str]]:
    """Where they are called, and in which function."""
    functions = [(each.start(), each[1]) for each in re.finditer(r"^\w.*?(\w+)\(", text, re.MULTILINE)]
    return [
        (call.start(), [name for start, name in functions if start < call.start()][-1])
        for call in re.finditer(r"sys_fsync\(", text)
    ]


def test_each_fsync_of_the_core_has_a_mutant() -> None:
    """Each stands in the text that a mutant replaces."""
    left_alone = set()
    for source in CSRC.rglob("*.c"):
        text = source.read_text(encoding="utf-8")
        edits = [edit for mutant in MUTANTS for edit in mutant.edits if edit.file == source.name]
        broken = [(text.index(edit.old), text.index(edit.old) + len(edit.old)) for edit in edits]
        for at, function in _fsyncs(text):
            if not any(start <= at < end for start, end in broken):
                left_alone.add(function)
    assert left_alone - {"sys_fsync"} == WITHOUT_A_MUTANT


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
