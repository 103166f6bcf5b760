# SPDX-License-Identifier: LGPL-2.1-or-later
"""The deadline and the signals of ``netcf try``, turned into one exception.

MUST raise at most once, and never between `disarm` and the end: what then runs
keeps the configuration or takes it back, and nothing may come between.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

__all__ = ["Stop", "Watch"]

TICK = 1.0

# What a person or a connection that goes away sends.
REASONS = {
    signal.SIGINT: "interrupted",
    signal.SIGQUIT: "interrupted",
    signal.SIGTERM: "told to end",
    signal.SIGHUP: "the connection is gone",
}
# A process that is stopped sees to no deadline.
DEAF = (signal.SIGTSTP, signal.SIGTTIN)


class Stop(BaseException):
    """The configuration has to be taken back; the text says why."""


class Watch:
    """Counts a deadline down, also while the machine sleeps."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._end = self._now() + seconds
        self._armed = False

    @staticmethod
    def _now() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def left(self) -> float:
        """Return the seconds left."""
        return self._end - self._now()

    def block(self) -> None:
        """Hold signals back until `arm`."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, REASONS)

    def unblock(self) -> None:
        """Let signals through without having armed: they do what they always did."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def arm(self) -> None:
        """From here on the deadline or a signal raises `Stop`, also one held back."""
        self._armed = True
        for number in REASONS:
            # Who said nohup means it; a shell that ignores the others for what it starts in
            # the background doesn't mean that Ctrl-C should keep.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        for number in DEAF:
            signal.signal(number, lambda *_: None)
        # Each second, because the timer itself does not count sleep.
        signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        self.unblock()

    def disarm(self) -> None:
        """Ignore signals from here on."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def check(self) -> None:
        """Raise `Stop` if the deadline has passed."""
        if self.left() <= 0:
            self._stop(f"not confirmed within {self._seconds} s")

    def _tick(self, number: int, frame: FrameType | None) -> None:
        self.check()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._stop(f"{REASONS[signal.Signals(number)]} ({signal.Signals(number).name})")

    def _stop(self, reason: str) -> None:
        if self._armed:
            self.disarm()
            raise Stop(reason)
