"""Real filesystems in image files, mounted through loop devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

MEBI = 1 << 20

# Smallest image each mkfs accepts, with room to spare, and its quiet options.
FILESYSTEMS = {
    "ext4": (64 * MEBI, ["-q", "-F"]),
    "xfs": (320 * MEBI, ["-q", "-f"]),
    "btrfs": (160 * MEBI, ["-q", "-f"]),
}


class Image:
    """One mounted filesystem."""

    def __init__(self, kind: str, device: str, mountpoint: Path) -> None:
        self.kind = kind
        self.device = device
        self.path = mountpoint

    def flushes(self) -> int:
        """Flush requests the block device has completed so far.

        Field 16 of Documentation/block/stat.rst, counted from 1.
        """
        fields = Path("/sys/block", os.path.basename(self.device), "stat").read_text().split()
        if len(fields) < 16:
            pytest.skip("this kernel does not count flush requests (needs Linux 5.5)")
        return int(fields[15])

    def remount(self, options: str) -> None:
        _run("mount", "-o", f"remount,{options}", self.path)

    def sync(self) -> None:
        """Write everything back, so that what is counted next is the test's own."""
        _run("sync", "-f", self.path)


def _run(*command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout.strip()


def need(*programs: str) -> None:
    """Skip the test unless all these programs are installed."""
    for program in programs:
        if not find(program):
            pytest.skip(f"{program} is not installed")


def find(program: str) -> str:
    """Where a program is, also outside an ordinary user's PATH; "" if nowhere."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) or ""


@contextmanager
def mounted(
    kind: str,
    directory: Path,
    size: int = 0,
    mkfs_options: Sequence[str] = (),
    mount_options: str = "",
) -> Iterator[Image]:
    """Make a filesystem in a new image below `directory` and mount it."""
    need(f"mkfs.{kind}", "losetup", "mount")
    smallest, quiet = FILESYSTEMS[kind]
    image = directory / f"{kind}.img"
    with open(image, "wb") as file:
        file.truncate(size or smallest)
    _run(find(f"mkfs.{kind}"), *quiet, *mkfs_options, image)
    mountpoint = directory / f"{kind}.mnt"
    mountpoint.mkdir()
    device = _attach(image)
    try:
        options: list[str] = ["-o", mount_options] if mount_options else []
        _mount(kind, device, mountpoint, options)
        try:
            yield Image(kind, device, mountpoint)
        finally:
            _run("umount", mountpoint)
    finally:
        _detach(device, image)
        image.unlink()


@contextmanager
def mounted_again(kind: str, image: Path, mountpoint: Path) -> Iterator[Path]:
    """Mount the filesystem that a copy of an image holds."""
    mountpoint.mkdir(exist_ok=True)
    device = _attach(image)
    try:
        _mount(kind, device, mountpoint, ())
        yield mountpoint
        _run("umount", mountpoint)
    finally:
        _detach(device, image)


def _attach(image: Path) -> str:
    done = subprocess.run(
        [find("losetup"), "-f", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    return done.stdout.strip()


def _detach(device: str, image: Path) -> None:
    """Give the loop device back; the kernel lets go of the image when nobody looks at it any more."""
    _run(find("losetup"), "-d", device)
    backing = Path("/sys/block", os.path.basename(device), "loop/backing_file")
    for _ in range(1000):
        try:
            if not backing.read_text().startswith(str(image)):
                return
        except OSError:  # no longer attached
            return
        time.sleep(0.01)
    raise AssertionError(f"{device} keeps {image}")


def _mount(kind: str, device: str, mountpoint: Path, options: Sequence[str]) -> None:
    done = subprocess.run(
        ["mount", "-t", kind, *options, device, str(mountpoint)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this kernel can't mount {kind}: {done.stderr.strip()}")
