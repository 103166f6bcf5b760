"""The power goes between any two blocks, on real filesystems.

How it works, and what it can't show, stands in docs/testing.md.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lib import images as lib_images
from proof import mutants
from proof.blocks import builds, campaign, images, machine
from proof.blocks.campaign import Plan, Report
from proof.blocks.images import CONFIGURATIONS, Configuration

pytestmark = [pytest.mark.system, pytest.mark.slow]

SEED = 1
PATIENCE = 60.0
JOBS = min(2, os.cpu_count() or 1)
BY_NAME = {configuration.name: configuration for configuration in CONFIGURATIONS}
SINGLE = [configuration for configuration in CONFIGURATIONS if len(configuration.parts) == 1]

# Each deliberately broken build, and configurations of which one at least must notice.
BROKEN = {
    "archive-not-synced": ["xfs"],
    "archive-named-before-synced": ["ext4-ordered", "xfs"],
    "archive-name-not-synced": ["btrfs", "xfs"],
    "commit-syncs-no-files": ["ext4-ordered", "xfs"],
    "commit-syncs-nothing": ["btrfs", "xfs"],
    "commit-drops-the-snapshot-first": ["ext4-ordered", "xfs"],
    "dropped-name-not-synced": ["ext4-ordered", "xfs"],
    "restored-file-not-synced": ["ext4-ordered"],
    "rollback-drops-the-snapshot-first": ["ext4-ordered", "xfs"],
}


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Everything that is needed is installed."""
    lib_images.need("qemu-storage-daemon", "setpriv", "fallocate", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
    for node in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(node):
            pytest.skip(f"there is no {node}")


@pytest.fixture(scope="module")
def builds_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are built that are compared."""
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def reports(builds_dir: Path) -> dict[str, Report]:
    """Every prefix, every single loss and one round of random ones, everywhere."""
    programs = builds.build(builds_dir)
    plans = [Plan(each, programs, SEED, states=0) for each in CONFIGURATIONS]
    return {report.configuration: report for report in campaign.run(plans, JOBS)}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_a_power_cut_leaves_old_or_new(
    configuration: Configuration, reports: dict[str, Report]
) -> None:
    """Mounted again, every state boots into what was promised, and stays so."""
    report = reports[configuration.name]
    assert report.violations == []
    # All three kinds of end were seen: a test in which nothing happens would find nothing.
    assert set(report.outcomes) == {"old", "new", "outcome"}


def test_enough_states_were_tried(reports: dict[str, Report]) -> None:
    """At least 2,000 distinct contents of a disk."""
    assert sum(report.states for report in reports.values()) >= 2000


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_build_is_caught(name: str, builds_dir: Path) -> None:
    """A missing fsync, a name before its content, a snapshot that goes first: the cuts find it."""
    programs = builds.build(builds_dir, mutants.by_name(name))
    plans = [Plan(BY_NAME[each], programs, SEED, states=0, stop=True) for each in BROKEN[name]]
    assert any(report.violations for report in campaign.run(plans, JOBS))


@pytest.mark.parametrize("configuration", SINGLE, ids=str)
def test_fsync_is_a_flush_in_the_log(configuration: Configuration, tmp_path: Path) -> None:
    """What was written is not in the log before the fsync; after it, it is, and a flush behind it."""
    (before, after) = isolated(_log_of_one_fsync, configuration, tmp_path)
    assert not any(CONTENT in request.data for request in before)
    written = [n for n, request in enumerate(after) if CONTENT in request.data]
    flushes = [n for n, request in enumerate(after) if request.flush]
    assert written and flushes
    assert written[0] < flushes[-1]


CONTENT = b"a line that stands nowhere else on this disk\n" * 100


def _log_of_one_fsync(configuration: Configuration, directory: Path):  # type: ignore[no-untyped-def]
    disk = directory / "disk"
    images.make(configuration, disk)
    with machine.recording(disk) as (export, requests):
        with images.attached(configuration, disk, export) as mount, mount():
            path = images.mountpoint(disk) / "file"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            machine.syncfs(path.parent)
            start = len(requests())
            os.write(fd, CONTENT)
            before = requests()[start:]
            os.fsync(fd)
            after = requests()[start:]
            os.close(fd)
    return before, after


def isolated(function, *arguments):  # type: ignore[no-untyped-def]
    """Call in a child that mounts for itself alone."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, fork, machine.enter_namespace) as pool:
        return pool.submit(function, *arguments).result()


def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    """No mount, no loop device and no daemon outlives the process that made them."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            machine.enter_namespace()
            disk = tmp_path / "disk"
            images.make(BY_NAME["ext4-ordered"], disk)
            with machine.recording(disk) as (export, _):
                with images.attached(BY_NAME["ext4-ordered"], disk, export) as mount, mount():
                    os.write(writer, b"%d" % os.minor(images.mountpoint(disk).stat().st_dev))
                    signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    loop = Path(f"/sys/block/loop{os.read(reader, 7).decode()}")
    os.close(reader)
    # Another program may get the same loop device next: this number tells one use from the next.
    used = (loop / "diskseq").read_text()
    daemons = daemons_of(tmp_path)
    assert (loop / "loop").exists() and len(daemons) == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    end = time.monotonic() + PATIENCE
    # The kernel takes a moment to detach them.
    while any(map(os.path.exists, daemons)) or in_use(loop, used):
        assert time.monotonic() < end, (daemons, loop)
        time.sleep(0.01)


def daemons_of(directory: Path) -> list[Path]:
    """The processes that work on files below this directory."""
    needle = b"filename=" + os.fsencode(directory)
    return [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if needle in content(path)]


def in_use(loop: Path, used: str) -> bool:
    """Whether this is still the same use of the loop device."""
    return (loop / "loop").exists() and (loop / "diskseq").read_text() == used


def content(path: Path) -> bytes:
    """What is in a file of /proc, while its process is there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
