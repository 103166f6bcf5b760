"""Cut the power everywhere: record, make every disk, recover each, count."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from proof.blocks import cuts, images, machine, scenarios
from proof.blocks.cuts import Cut
from proof.blocks.images import Configuration, Disk
from proof.blocks.recovery import Unmountable, Violation, recover
from proof.blocks.scenarios import Expectation, Programs, Recording

__all__ = ["Plan", "Report", "run"]

# Recoveries that are themselves recorded and cut.
SECOND_CUTS = 3
# Give up looking for new states after so many rounds that found none.
PATIENCE = 20
# A long campaign says after each so many distinct states how it goes.
TOLD_EVERY = 1000


@dataclass
class Report:
    """What came of it."""

    configuration: str
    requests: int = 0
    states: int = 0  # distinct contents of the disk
    unmountable: int = 0  # the filesystem itself can't stand that tear, or is fragile
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        recovered = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        lines = [
            f"{self.configuration}: {self.requests} requests, {self.states} states, "
            f"recovered {recovered or 'none'}, {self.unmountable} that the kernel refuses to mount; "
            f"{len(self.violations)} violations",
            *self.violations[:5],
        ]
        return "\n    ".join(lines)


@dataclass(frozen=True)
class Plan:
    """What to do on one configuration."""

    configuration: Configuration
    programs: Programs
    seed: int
    states: int  # at least so many, if there are
    stop: bool = False  # at the first violation


def visit(recording: Recording, disk: Disk, plan: Plan, round: int) -> Iterator[Cut]:
    """Bring the disk from epoch to epoch; in each, all cuts of this round."""
    chance = random.Random(f"{plan.seed} {recording.name} {round}")
    for epoch in cuts.epochs(recording.requests):
        if round == 0:
            yield from cuts.prefixes(epoch)
            yield from cuts.drops(epoch)
        else:
            yield from cuts.samples(epoch, chance, plan.configuration.atom)
        disk.write(epoch.cut(len(epoch.requests)).pieces)


def distinct(
    plan: Plan, recordings: list[Recording], copy: Path, report: Report
) -> Iterator[tuple[Recording, Disk, Cut, Expectation]]:
    """Every distinct state; the report counts them."""
    seen: set[int] = set()
    examined: set[tuple[int, Expectation]] = set()
    round = fruitless = 0
    while round <= 1 or (len(seen) < plan.states and fruitless < PATIENCE):
        before = len(seen)
        for recording in recordings:
            disk = Disk(recording.image, copy)
            try:
                for cut in visit(recording, disk, plan, round):
                    number = disk.number(cut.pieces)
                    expectation = recording.expected(cut.time)
                    seen.add(number)
                    report.states = len(seen)
                    if (number, expectation) not in examined:
                        examined.add((number, expectation))
                        yield recording, disk, cut, expectation
            finally:
                disk.close()
        round += 1
        fruitless = fruitless + 1 if len(seen) == before else 0


def second_cut(plan: Plan, recordings: list[Recording], number: int, work: Path) -> Recording:
    """Cut the power somewhere while a change is open, and record the recovery."""
    chance = random.Random(f"{plan.seed} second cut {number}")
    first = chance.choice([recording for recording in recordings if recording.opened()])
    image = work / f"second-{number}"
    disk = Disk(first.image, image.with_suffix(".disk"))
    try:
        time = chance.randrange(first.opened(), len(first.requests))
        for epoch in cuts.epochs(first.requests):
            if epoch.start + len(epoch.requests) > time:
                break
            disk.write(epoch.cut(len(epoch.requests)).pieces)
        cut = next(cuts.samples(epoch, chance, plan.configuration.atom))
        disk.copy(image, cut.pieces)
    finally:
        disk.close()
    trial = image.with_suffix(".trial")
    images.duplicate(image, trial)
    root = images.mountpoint(trial)
    with images.attached(plan.configuration, trial) as mount:
        outcome = recover(mount, root, plan.programs.helper, first.trees, first.expected(cut.time))
    name = f"recovery from {first.name} cut at {cut.time}"
    return scenarios.record_recovery(
        plan.configuration, plan.programs, name, image, first.trees[outcome]
    )


def _run(plan: Plan, report: Report, work: Path) -> None:
    recordings = scenarios.record(plan.configuration, plan.programs, work)
    for number in range(SECOND_CUTS):
        try:
            recordings.append(second_cut(plan, recordings, number, work))
        except Violation as violation:
            report.violations.append(f"{plan.configuration}, second cut {number}: {violation}")
    report.requests = sum(len(recording.requests) for recording in recordings)
    target = work / "target"
    with open(target, "wb") as file:
        file.truncate(plan.configuration.size)
    root = images.mountpoint(target)
    told = 0
    with images.attached(plan.configuration, target) as mount:
        for recording, disk, cut, expectation in distinct(plan, recordings, work / "copy", report):
            if plan.states and report.states >= told + TOLD_EVERY:
                told = report.states
                print(f"so far: {report}", file=sys.stderr, flush=True)
            disk.copy(target, cut.pieces)
            try:
                outcome = recover(mount, root, plan.programs.helper, recording.trees, expectation)
                report.outcomes[outcome] += 1
            except Violation as violation:
                spared = cut.torn or plan.configuration.fragile
                if spared and isinstance(violation, Unmountable):
                    report.unmountable += 1
                    continue
                where = f"{plan.configuration}, {recording.name}, cut at {cut.time} of {len(recording.requests)}"
                report.violations.append(f"{where}: {violation}")
                if plan.stop:
                    return


def _report(plan: Plan) -> Report:
    report = Report(plan.configuration.name)
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="ncf-cuts-", dir=shm) as work:
        _run(plan, report, Path(work))
    return report


def run(plans: Iterable[Plan], jobs: int) -> Iterator[Report]:
    """Carry out the plans, several at a time; their reports in the same order."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, fork, machine.enter_namespace) as pool:
        yield from pool.map(_report, plans)
