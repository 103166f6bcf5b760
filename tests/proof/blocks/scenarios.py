"""What happens on a host before its power goes, and what must be there afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, NamedTuple

from lib import tree
from lib.helper import Helper
from proof.blocks import images, machine
from proof.blocks.images import Configuration
from proof.blocks.writelog import Request

__all__ = ["SCENARIOS", "Expectation", "Recording", "record", "record_recovery"]


class Expectation(NamedTuple):
    """What a cut must leave."""

    trees: tuple[str, ...]  # what the host may come up with
    open: tuple[bool, ...] = (True, False)  # whether a change may be open before


@dataclass
class Recording:
    """A disk before, all that was then requested of it, and what must follow from it when."""

    name: str
    image: Path
    trees: dict[str, tree.Tree]
    expectations: list[tuple[int, Expectation]]
    requests: list[Request] = field(default_factory=list)

    def opened(self) -> int:
        """So many requests after which a change is known to be open."""
        return min((at for at, e in self.expectations if e.open == (True,)), default=0)

    def expected(self, time: int) -> Expectation:
        """What must be there if the power goes after so many requests."""
        return [expectation for since, expectation in self.expectations if since <= time][-1]


class Host:
    """A running host whose disk is recorded."""

    def __init__(self, root: Path, helper: Helper, recording: Recording, count: Callable[[], int]):
        self.root = root
        self.recording = recording
        self._helper = helper
        self._count = count

    def run(self, command: str, meanwhile: Expectation, then: Expectation) -> None:
        """Run a command of the helper; what holds while it runs, and from when it said done."""
        expectations = self.recording.expectations
        # Whatever is requested after this moment may be of this command.
        expectations.append((self._count() + 1, meanwhile))
        self._helper.run(command, root=self.root, check=True)
        expectations.append((self._count(), then))

    def edit(self) -> None:
        """Every kind of edit, with editors that sync nothing."""
        tree.lock_out(self.root)
        self.recording.trees["new"] = tree.capture(self.root)

    def sync_one(self) -> None:
        """One editor does sync its file: on some filesystems that takes other edits along."""
        fd = os.open(self.root / "etc/sysconfig/network-scripts/ifcfg-eth9", os.O_WRONLY)
        os.fsync(fd)
        os.close(fd)

    def write_back(self) -> None:
        """Everything so far reaches the disk, as it does after half a minute."""
        machine.syncfs(self.root)
        machine.syncfs(self.root / "var")


OLD = Expectation(("old",))
OLD_CLOSED = Expectation(("old",), (False,))
OLD_OPEN = Expectation(("old",), (True,))
EITHER = Expectation(("old", "new"))
NEW_CLOSED = Expectation(("new",), (False,))


def start(host: Host) -> None:
    """The first start of all, then edits that nobody finishes."""
    host.run("start", OLD_CLOSED, OLD_CLOSED)
    host.run("snapshot_config", OLD, OLD_OPEN)
    host.edit()
    host.write_back()


def commit(host: Host) -> None:
    """A change that is committed, and one more start after it."""
    host.run("snapshot_config", OLD, OLD_OPEN)
    host.edit()
    host.run("commit_config", EITHER, NEW_CLOSED)
    host.run("snapshot_config", Expectation(("new",)), Expectation(("new",), (True,)))


def commit_in_pieces(host: Host) -> None:
    """A change that is committed when one of its files was synced."""
    host.run("snapshot_config", OLD, OLD_OPEN)
    host.edit()
    host.sync_one()
    host.run("commit_config", EITHER, NEW_CLOSED)


def rollback(host: Host) -> None:
    """A change that is rolled back on the running host, nothing of it written back."""
    host.run("snapshot_config", OLD, OLD_OPEN)
    host.edit()
    host.run("rollback_config", OLD, OLD_CLOSED)


def late_rollback(host: Host) -> None:
    """A change that is rolled back when all of it has reached the disk."""
    host.run("snapshot_config", OLD, OLD_OPEN)
    host.edit()
    host.write_back()
    host.run("rollback_config", OLD, OLD_CLOSED)


def boot(host: Host) -> None:
    """A boot that rolls back; the change was made before the host went down."""
    host.run("start", OLD, OLD_CLOSED)


SCENARIOS = (start, commit, commit_in_pieces, rollback, late_rollback, boot)


@contextmanager
def _recorded(configuration: Configuration, recording: Recording, helper: Helper, work: Path) -> Iterator[Host]:
    disk = work / "recorded"
    images.duplicate(recording.image, disk)
    with machine.recording(disk) as (export, requests):
        with images.attached(configuration, export) as mount, mount():
            yield Host(images.mountpoint(export), helper, recording, lambda: len(requests()))
        recording.requests = requests()


def record(configuration: Configuration, helper: Helper, work: Path) -> list[Recording]:
    """All scenarios on this configuration."""
    image = work / "image"
    images.make(configuration, image)
    with images.attached(configuration, image) as mount, mount():
        old = tree.compact(images.mountpoint(image))
    images.dig_holes(image)
    recordings = []
    for scenario in SCENARIOS:
        if scenario is boot:
            with images.attached(configuration, image) as mount, mount():
                root = images.mountpoint(image)
                helper.run("snapshot_config", root=root, check=True)
                tree.lock_out(root)
        recording = Recording(scenario.__name__, work / scenario.__name__, {"old": old}, [])
        images.duplicate(image, recording.image)
        recording.expectations.append((0, OLD))
        with _recorded(configuration, recording, helper, work) as host:
            scenario(host)
        recordings.append(recording)
    return recordings


def record_recovery(
    configuration: Configuration, helper: Helper, name: str, image: Path, outcome: tree.Tree
) -> Recording:
    """The boot that follows a cut: a second cut meanwhile must change nothing about its outcome."""
    found = Expectation(("outcome",))
    recording = Recording(name, image, {"outcome": outcome}, [(0, found)])
    with _recorded(configuration, recording, helper, image.parent) as host:
        host.run("start", found, Expectation(("outcome",), (False,)))
    return recording
