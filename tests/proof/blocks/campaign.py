"""Cut the power everywhere: record, make every disk, recover each, count."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lib.helper import Helper
from proof.blocks import cuts, images, machine, scenarios
from proof.blocks.cuts import Cut
from proof.blocks.images import Configuration, Disk
from proof.blocks.recovery import Violation, recover
from proof.blocks.scenarios import Expectation, Recording

__all__ = ["Report", "run"]

# Recoveries that are themselves recorded and cut.
SECOND_CUTS = 4
# Give up looking for new states after so many rounds that found none.
PATIENCE = 20


@dataclass
class Report:
    """What came of it."""

    configuration: str
    requests: int = 0
    flushes: int = 0
    states: int = 0  # distinct contents of the disk
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What to do on one configuration."""

    configuration: Configuration
    helper: Helper
    work: Path
    seed: int
    states: int  # at least so many, if there are
    shares: int
    stop: bool  # at the first violation


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
    plan: Plan, recordings: list[Recording], copy: Path
) -> Iterator[tuple[int, Recording, Disk, Cut, Expectation]]:
    """Every distinct state, with its number; the same ones in each process."""
    seen: set[int] = set()
    examined: set[tuple[int, Expectation]] = set()
    round = fruitless = 0
    while round == 0 or (len(seen) < plan.states and fruitless < PATIENCE):
        before = len(seen)
        for recording in recordings:
            disk = Disk(recording.image, copy)
            try:
                for cut in visit(recording, disk, plan, round):
                    number = disk.number(cut.pieces)
                    expectation = recording.expected(cut.time)
                    seen.add(number)
                    if (number, expectation) not in examined:
                        examined.add((number, expectation))
                        yield number, recording, disk, cut, expectation
            finally:
                disk.close()
        round += 1
        fruitless = fruitless + 1 if len(seen) == before else 0


def record_all(plan: Plan) -> list[Recording]:
    """All scenarios, and the recoveries from some cuts in them."""
    recordings = scenarios.record(plan.configuration, plan.helper, plan.work)
    chance = random.Random(f"{plan.seed} second cuts")
    first = [recording for recording in recordings if recording.name != "start"]
    for number in range(SECOND_CUTS):
        recordings.append(second_cut(plan, chance, chance.choice(first), number))
    return recordings


def second_cut(plan: Plan, chance: random.Random, first: Recording, number: int) -> Recording:
    """Cut the power somewhere while a change is open, recover, and record that."""
    image = plan.work / f"second-{number}"
    disk = Disk(first.image, image.with_suffix(".disk"))
    try:
        time = chance.randint(first.opened(), len(first.requests) - 1)
        for epoch in cuts.epochs(first.requests):
            if epoch.start + len(epoch.requests) > time:
                break
            disk.write(epoch.cut(len(epoch.requests)).pieces)
        cut = next(cuts.samples(epoch, chance, plan.configuration.atom))
        disk.copy(image, cut.pieces)
        trial = image.with_suffix(".trial")
        disk.copy(trial, cut.pieces)
    finally:
        disk.close()
    root = images.mountpoint(trial)
    with images.attached(plan.configuration, trial) as mount:
        outcome = recover(mount, root, plan.helper, first.trees, first.expected(cut.time))
    name = f"recovery from {first.name} cut at {cut.time}"
    return scenarios.record_recovery(
        plan.configuration, plan.helper, name, image, first.trees[outcome]
    )


def examine(plan: Plan, recordings: list[Recording], share: int) -> Report:
    """Recover from every state that falls to this share."""
    report = Report(plan.configuration.name)
    target = plan.work / f"target-{share}"
    with open(target, "wb") as file:
        file.truncate(plan.configuration.size)
    numbers = set()
    with images.attached(plan.configuration, target) as mount:
        states = distinct(plan, recordings, plan.work / f"copy-{share}")
        for count, (number, recording, disk, cut, expectation) in enumerate(states):
            numbers.add(number)
            if count % plan.shares != share:
                continue
            disk.copy(target, cut.pieces)
            try:
                root = images.mountpoint(target)
                outcome = recover(mount, root, plan.helper, recording.trees, expectation)
                report.outcomes[outcome] += 1
            except (Violation, OSError) as violation:
                where = f"{plan.configuration}, {recording.name}, cut at {cut.time}"
                report.violations.append(f"{where}: {violation}")
                if plan.stop:
                    break
    report.states = len(numbers)
    return report


def run(
    configuration: Configuration,
    helper: Helper,
    seed: int,
    states: int,
    shares: int = os.cpu_count() or 1,
    stop: bool = False,
) -> Report:
    """Cut the power at least `states` times on this configuration."""
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="ncf-cuts-", dir=shm) as work, ProcessPoolExecutor(
        shares, multiprocessing.get_context("fork"), machine.enter_namespace
    ) as pool:
        plan = Plan(configuration, helper, Path(work), seed, states, shares, stop)
        recordings = pool.submit(record_all, plan).result()
        parts = list(pool.map(examine, [plan] * shares, [recordings] * shares, range(shares)))
        report = Report(configuration.name)
        report.states = max(part.states for part in parts)
        report.requests = sum(len(recording.requests) for recording in recordings)
        report.flushes = sum(
            request.flush for recording in recordings for request in recording.requests
        )
        for part in parts:
            report.outcomes += part.outcomes
            report.violations += part.violations
        return report
