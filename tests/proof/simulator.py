"""Build and run the simulated disk (tests/proof/disk/) with the core as it is or with a mutant.

As a program: `python -m proof.simulator`, from tests/; see docs/testing.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lib.build import REPO
from proof import mutants

DISK = REPO / "tests/proof/disk"
PERSONALITIES = ["posix", "ext4", "xfs", "btrfs"]
# The most work first, so that none is left alone at the end.
SCENARIOS = [
    "types", "flags", "names", "content", "links", "large", "empty", "announced", "symlinks",
    "metadata", "one", "truncated", "in-place", "bare", "coarse-clock", "nothing",
]  # fmt: skip
# Where nothing is promised, these take seconds for a cut in every recovery; the others, minutes.
SMALL = frozenset(SCENARIOS[8:])


@dataclass(frozen=True)
class Job:
    """One scenario on one personality."""

    scenario: str
    personality: str
    depth: int  # 1: cuts in an operation; 2: in the recovery from each of these, too
    third_of: int = 0  # of so many states after two cuts one is cut again; 0: none
    limit: int = 256  # at one point, up to so many subsets are all tried
    samples: int = 64  # and of more so many by chance

    def __str__(self) -> str:
        return f"{self.personality}, {self.scenario}"

    @property
    def options(self) -> list[str]:
        """For the program."""
        named = {
            "scenario": self.scenario,
            "personality": self.personality,
            "depth": self.depth,
            "third": self.third_of,
            "limit": self.limit,
            "samples": self.samples,
        }
        return [word for name, value in named.items() for word in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    job: Job
    states: int  # distinct ones
    by_cuts: list[int]  # of them after one power cut, two, three
    points: int  # where the power was cut
    bounded: int  # of them those where not every subset was tried
    violation: str  # "": none

    def __str__(self) -> str:
        if self.violation:
            return f"{self.job}: {self.violation}"
        cuts = " + ".join(f"{n:,}" for n in self.by_cuts)
        return (
            f"{self.job}: {self.states:,} states ({cuts}), "
            f"{self.points - self.bounded:,} of {self.points:,} points completely"
        )


def in_ci() -> list[Job]:
    """What every run of the tests explores."""
    return [
        Job(
            scenario,
            personality,
            depth=2 if personality != "posix" or scenario in SMALL else 1,
            third_of=200 if (scenario, personality) == ("one", "posix") else 0,
        )
        for personality in PERSONALITIES
        for scenario in SCENARIOS
    ]


def build(mutant: mutants.Mutant | None, directory: Path) -> Path:
    """The simulator in `directory`; objects are shared below the same parent."""
    core = [mutants.CSRC / name for name in mutants.core_sources() if name != "sys.c"]
    objects = mutants.compile_objects([*core, *DISK.glob("*.c")], directory.parent / "objects")
    directory.mkdir(parents=True, exist_ok=True)
    if mutant:
        objects |= mutants.compile_objects(mutants.mutate(mutant, directory), directory, "-O1")
    return mutants.link(list(objects.values()), directory / "disk")


def run(program: Path, *options: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
    """Explore; 0: no violation, 1: one was found and printed."""
    return subprocess.run(
        [str(program), *options], capture_output=True, text=True, errors="replace", timeout=timeout
    )


def _explore(program: Path, job: Job, seed: int) -> Outcome:
    done = run(program, *job.options, "--seed", str(seed), timeout=24 * 3600)
    found = re.search(
        r"^states (\d+) .* points (\d+) coarse \d+ bounded (\d+) cuts ([\d ]+)$", done.stdout, re.MULTILINE
    )
    if done.returncode or not found:
        return Outcome(job, 0, [], 0, 0, f"exit {done.returncode}\n{done.stdout[-6000:]}{done.stderr}")
    by_cuts = [int(n) for n in found[4].split() if int(n)]
    return Outcome(job, int(found[1]), by_cuts, int(found[2]), int(found[3]), "")


def explore(program: Path, jobs: Iterable[Job], at_once: int, seed: int) -> Iterator[Outcome]:
    """Run the jobs, so many at once; each outcome as it comes."""
    with ThreadPoolExecutor(at_once) as pool:
        for started in [pool.submit(_explore, program, job, seed) for job in jobs]:
            yield started.result()


def main() -> int:
    """Exit status 0: no violation."""
    parser = argparse.ArgumentParser(prog="python -m proof.simulator", description=__doc__)
    parser.add_argument("--limit", type=int, default=16384, help="subsets that are all tried at one point")
    parser.add_argument("--samples", type=int, default=4096, help="and of more so many by chance")
    parser.add_argument("--depth", type=int, default=2, help="power cuts one after the other, exhaustively")
    parser.add_argument("--third", type=int, default=1000, help="one of so many is cut once more; 0: none")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--personality", nargs="+", choices=PERSONALITIES, default=PERSONALITIES)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    wanted = parser.parse_args()
    jobs = [
        Job(scenario, personality, wanted.depth, wanted.third, wanted.limit, wanted.samples)
        for scenario in wanted.scenario
        for personality in wanted.personality
    ]
    print(f"seed {wanted.seed}", flush=True)
    states, failed = 0, False
    with tempfile.TemporaryDirectory(prefix="ncf-disk-") as directory:
        program = build(None, Path(directory) / "base")
        for outcome in explore(program, jobs, wanted.jobs, wanted.seed):
            states += outcome.states
            failed = failed or bool(outcome.violation)
            seconds = os.times().children_user
            print(f"{outcome}; {states:,} so far, {seconds:.0f} s of processor time", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
