"""The lock of the state directory, held by a test, so that C has to wait."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

PATIENCE = 60.0


def wait_for_waiters(state: Path, count: int = 1) -> None:
    """Return when `count` callers are blocked on the lock of the directory `state`."""
    # Lines like "1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:2155106 0 EOF".
    inode = f":{state.stat().st_ino} "
    end = time.monotonic() + PATIENCE
    while True:
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        if sum("->" in line and inode in line for line in locks) >= count:
            return
        if time.monotonic() > end:
            raise AssertionError(f"nobody waited for the lock of {state} within {PATIENCE} s")
        time.sleep(0.001)


class HeldLock:
    """The lock that orders changes; a call that needs it blocks until `release`."""

    def __init__(self, host: Path) -> None:
        self._state = host / "var/lib/netcf"
        self._state.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def wait_for_waiters(self, count: int = 1) -> None:
        """Return when `count` callers are blocked on it; a failure lets them go on."""
        try:
            wait_for_waiters(self._state, count)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let them go on."""
        os.close(self._fd)
