"""Mount namespaces, loop devices, mounts, and the disk that writes a log.

Nothing of this outlives the process that made it, however that ends: everything
is mounted in a namespace of its own, a loop device detaches with its last
user, and the daemon is killed with its parent.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from proof.blocks import writelog
from proof.blocks.writelog import Request

__all__ = ["Loop", "enter_namespace", "mounted", "recording", "syncfs"]

LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LO_FLAGS_AUTOCLEAR = 0x4C0A, 0x4C82, 4
BLKFLSBUF = 0x1261
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

# How long the daemon may take to export its image, on however slow a machine.
PATIENCE = 60.0

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")


def enter_namespace() -> None:
    """From now on this process mounts for itself alone, and dies with its parent."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _call("unshare", CLONE_NEWNS)
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    # A copy of what others have mounted from loop devices would keep those busy as long as we run.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        held = [line.split(" - ") for line in mounts]
    for mount, filesystem in reversed(held):
        if filesystem.split()[1].startswith("/dev/loop"):
            directory = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount.split()[4])
            _call("umount2", os.fsencode(directory), MNT_DETACH)


def syncfs(path: Path) -> None:
    """Write back everything on the filesystem that holds `path`."""
    fd = os.open(path, os.O_RDONLY)
    try:
        _call("syncfs", fd)
    finally:
        os.close(fd)


class Loop:
    """A loop device over a part of a file."""

    def __init__(self, file: Path, offset: int, size: int) -> None:
        info = struct.pack("<5Q4I", 0, 0, 0, offset, size, 0, 0, 0, LO_FLAGS_AUTOCLEAR)
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        config = struct.pack("<II", backing, writelog.SECTOR) + info.ljust(232 + 64, b"\0")
        try:
            while not self._configure(fcntl.ioctl(control, LOOP_CTL_GET_FREE), config):
                pass
        finally:
            os.close(backing)
            os.close(control)

    def _configure(self, number: int, config: bytes) -> bool:
        self.path = f"/dev/loop{number}"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(self._fd, LOOP_CONFIGURE, config)
        except OSError as error:
            os.close(self._fd)
            if error.errno == errno.EBUSY:  # somebody else was faster
                return False
            raise
        return True

    def forget(self) -> None:
        """Drop what the kernel remembers of the device: the file below it has changed."""
        fcntl.ioctl(self._fd, BLKFLSBUF, 0)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


@contextmanager
def mounted(kind: str, device: str, directory: Path, options: str) -> Iterator[None]:
    """A mounted filesystem; OSError if the kernel refuses it."""
    _call("mount", device.encode(), os.fsencode(directory), kind.encode(), 0, options.encode())
    try:
        yield
    finally:
        _call("umount2", os.fsencode(directory), 0)


@contextmanager
def recording(disk: Path) -> Iterator[tuple[Path, Callable[[], list[Request]]]]:
    """A file that stands for the image at `disk`, and a function: what was requested so far.

    The daemon has a namespace of its own.  Were it the last in ours, its exit
    would unmount what lies on its own export, and wait for itself.
    """
    export, log = disk.with_suffix(".export"), disk.with_suffix(".log")
    export.write_bytes(b"")
    log.write_bytes(b"")
    daemon = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "qemu-storage-daemon"]
        + ["--blockdev", f"driver=file,node-name=f0,filename={disk}"]
        + ["--blockdev", "driver=raw,node-name=r0,file=f0"]
        + ["--blockdev", f"driver=file,node-name=l0,filename={log}"]
        + ["--blockdev", "driver=blklogwrites,node-name=w0,file=r0,log=l0"]
        + ["--export", f"type=fuse,id=e0,node-name=w0,mountpoint={export},writable=on,growable=off"],
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        seen = Path(f"/proc/{daemon.pid}/root{export}")
        while not seen.exists() or seen.stat().st_size == 0:  # nothing tells when it is ready
            assert daemon.poll() is None, "qemu-storage-daemon ended at once"
            assert time.monotonic() < deadline, "qemu-storage-daemon exports nothing"
            time.sleep(0.005)
        yield seen, lambda: writelog.parse(log.read_bytes())
    finally:
        daemon.terminate()
        daemon.wait()
