"""Flushes as the block device counts them: the same few for 1 and for 10,000 files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import pytest

from lib import images, tree
from lib.helper import Helper

pytestmark = pytest.mark.system

START_AT_MOST = 4

# For 20 files.  One fsync and one directory sync for each would be 42, and on
# btrfs, where every fsync is two flushes, 84.
ROLLBACK_AT_MOST = {"ext4": 38, "xfs": 38, "btrfs": 60}


def made(image: images.Image, files: int) -> Path:
    """A root with that many files, everything written back, the state directory there."""
    root = image.path / f"host-{files}"
    tree.empty(root)
    (root / "var/lib/netcf").mkdir(mode=0o700)
    directory = root / "etc/systemd/network"
    directory.mkdir(parents=True)
    for number in range(files):
        with open(f"{directory}/{number}.network", "wb") as file:
            file.write(b"[Match]\nName=eth%d\n" % number)
    return root


def fewest_flushes(image: images.Image, prepare: Callable[[], None], act: Callable[[], object]) -> int:
    """The fewest of three runs: the filesystem's own timers can only add flushes."""
    counts = []
    for _ in range(3):
        prepare()
        # Nothing tells when the filesystem's own work on what was removed before has ended;
        # XFS frees extents in the background, and reusing them sooner forces its log.
        for _ in range(2):
            image.sync()
            time.sleep(0.2)
        before = image.flushes()
        act()
        counts.append(image.flushes() - before)
    return min(counts)


def start_flushes(helper: Helper, image: images.Image, files: int) -> int:
    root = made(image, files)

    def close() -> None:
        if helper.run("status", "--open", root=root).returncode == 0:
            helper.run("change-commit", root=root, check=True)

    return fewest_flushes(image, close, lambda: helper.run("change-begin", root=root, check=True))


def test_start_is_at_most_four_flushes(helper: Helper, filesystem: images.Image) -> None:
    """Start costs at most 4 flushes for 1 file and for 100, on ext4, xfs and btrfs."""
    counts: dict[int, int] = {files: start_flushes(helper, filesystem, files) for files in (1, 100)}
    assert 1 <= counts[1] <= START_AT_MOST
    assert counts[100] == counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_start_of_ten_thousand_files(helper: Helper, tmp_path: Path, kind: str) -> None:
    """10,000 files cost the flushes that 1 file costs."""
    with images.mounted(kind, tmp_path, size=512 * images.MEBI) as image:
        one, many = (start_flushes(helper, image, files) for files in (1, 10_000))
    assert 1 <= one <= START_AT_MOST
    assert many <= START_AT_MOST
    assert many == one


def test_commit_of_nothing_is_few_flushes(helper: Helper, filesystem: images.Image) -> None:
    """Where nothing changed, commit makes one removal durable."""
    root = made(filesystem, 100)
    count = fewest_flushes(
        filesystem,
        lambda: helper.run("change-begin", root=root, check=True) and None,
        lambda: helper.run("change-commit", root=root, check=True),
    )
    assert 1 <= count <= START_AT_MOST


def test_boot_with_nothing_open_flushes_nothing(helper: Helper, filesystem: images.Image) -> None:
    """Boot asks the device for nothing."""
    root = made(filesystem, 100)
    assert fewest_flushes(filesystem, lambda: None, lambda: helper.run("start", root=root, check=True)) == 0


def test_rollback_shares_its_flushes(helper: Helper, filesystem: images.Image) -> None:
    """Rolling back 20 files costs less than syncing each file and its directory would."""
    root = made(filesystem, 20)

    def edit() -> None:
        helper.run("change-begin", root=root, check=True)
        for path in (root / "etc/systemd/network").iterdir():
            path.write_bytes(b"changed")

    count = fewest_flushes(filesystem, edit, lambda: helper.run("change-rollback", root=root, check=True))
    assert 1 <= count <= ROLLBACK_AT_MOST[filesystem.kind]
