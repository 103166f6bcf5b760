"""What happens on a host before its power goes, and what must be there afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, NamedTuple

from lib import seam, tree
from lib.helper import Helper
from lib.ncf import Core
from proof.blocks import images, machine
from proof.blocks.images import Configuration
from proof.blocks.writelog import Request

__all__ = ["SCENARIOS", "Expectation", "Programs", "Recording", "record", "record_recovery"]


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


# The files of a program that has nothing to do with the network, one on each filesystem.
NEIGHBOURS = (b"neighbour", b"var/neighbour")
MOMENTS = ("fsync", "renameat", "unlinkat")


class Programs(NamedTuple):
    """What is tested: the helper, and the same core with the seam."""

    helper: Helper
    library: Path


class Host:
    """A running host whose disk is recorded."""

    def __init__(
        self, root: Path, programs: Programs, recording: Recording, count: Callable[[], int]
    ) -> None:
        self.root = root
        self.recording = recording
        self._programs = programs
        self._count = count
        self._busy = False

    def run(self, command: str, meanwhile: Expectation, then: Expectation) -> None:
        """Run a command; what holds while it runs, and from when it said that it is done."""
        expectations = self.recording.expectations
        # Whatever is requested after this moment may be of this command.
        expectations.append((self._count() + 1, meanwhile))
        if self._busy:
            self._run_beside_neighbour(command)
        else:
            self._programs.helper.run(command, root=self.root, check=True)
        expectations.append((self._count(), then))

    def _run_beside_neighbour(self, command: str) -> None:
        core = Core(self._programs.library)
        calls = {"snapshot_config": core.start, "commit_config": core.commit, "rollback_config": core.rollback}
        with seam.watching(core, self._neighbour):
            calls[command](self.root)

    def _neighbour(self, event: seam.Event, number: int) -> None:
        """Another program makes a file of its own durable, and with it what the journal holds."""
        if event.call not in MOMENTS:
            return
        for path in NEIGHBOURS:
            fd = os.open(tree.join(self.root, path), os.O_RDONLY)
            os.utime(fd, ns=(number, tree.OLD))
            os.fsync(fd)
            os.close(fd)

    @contextmanager
    def neighbour(self) -> Iterator[None]:
        """Within this block another program syncs its files before every step that matters."""
        self._busy = True
        yield
        self._busy = False

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


def busy_commit(host: Host) -> None:
    """A commit beside a program that syncs all the time."""
    with host.neighbour():
        commit(host)


def busy_rollback(host: Host) -> None:
    """A rollback beside a program that syncs all the time."""
    with host.neighbour():
        late_rollback(host)


SCENARIOS = (start, commit, commit_in_pieces, rollback, late_rollback, busy_commit, busy_rollback, boot)


@contextmanager
def _recorded(configuration: Configuration, recording: Recording, programs: Programs, work: Path) -> Iterator[Host]:
    disk = work / "recorded"
    images.duplicate(recording.image, disk)
    with machine.recording(disk) as (export, requests):
        with images.attached(configuration, disk, export) as mount, mount():
            yield Host(images.mountpoint(disk), programs, recording, lambda: len(requests()))
        recording.requests = requests()


def record(configuration: Configuration, programs: Programs, work: Path) -> list[Recording]:
    """All scenarios on this configuration."""
    image = work / "image"
    images.make(configuration, image)
    with images.attached(configuration, image) as mount, mount():
        root = images.mountpoint(image)
        tree.compact(root)
        for path in NEIGHBOURS:
            tree.write(os.fsencode(root), path, b"")
            os.utime(tree.join(root, path), ns=(tree.OLD, tree.OLD))
        old = tree.capture(root)
    images.dig_holes(image)
    recordings = []
    for scenario in SCENARIOS:
        if scenario is boot:
            with images.attached(configuration, image) as mount, mount():
                root = images.mountpoint(image)
                programs.helper.run("snapshot_config", root=root, check=True)
                tree.lock_out(root)
        recording = Recording(scenario.__name__, work / scenario.__name__, {"old": old}, [])
        images.duplicate(image, recording.image)
        recording.expectations.append((0, OLD))
        with _recorded(configuration, recording, programs, work) as host:
            scenario(host)
        recordings.append(recording)
    return recordings


def record_recovery(
    configuration: Configuration, programs: Programs, name: str, image: Path, outcome: tree.Tree
) -> Recording:
    """The boot that follows a cut: a second cut meanwhile must change nothing about its outcome."""
    found = Expectation(("outcome",))
    recording = Recording(name, image, {"outcome": outcome}, [(0, found)])
    with _recorded(configuration, recording, programs, image.parent) as host:
        host.run("start", found, Expectation(("outcome",), (False,)))
    return recording
