# SPDX-License-Identifier: LGPL-2.1-or-later
"""A command in the foreground, as a shell runs one: with the terminal, killed as a whole.

What it started must not go on editing while its work is taken back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

__all__ = ["run"]

GRACE = 3.0


def run(words: Sequence[str]) -> int:
    """Run a command and wait for it.

    Returns:
        Its exit status; for one that a signal ended, the negated signal.

    Raises:
        OSError: It can't be executed.
        BaseException: What a signal handler raised; the command is gone then.
    """
    terminal = _terminal()
    # What Popen is interrupted in has no owner; and who gives the terminal away needs
    # SIGTTOU held back to take it again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def in_child() -> None:
        os.setpgid(0, 0)
        if terminal is not None:
            os.tcsetpgrp(terminal, os.getpid())
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        child = subprocess.Popen(words, preexec_fn=in_child)
    except OSError:
        _take_back(terminal)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        return _wait(child)
    finally:
        if child.returncode is None:
            _kill(child)
        _take_back(terminal)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait; a command that is stopped goes on, because the deadline does, too."""
    while True:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        os.killpg(child.pid, signal.SIGCONT)
        time.sleep(0.1)


def _kill(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _terminal() -> int | None:
    """Standard input, where it is the terminal in whose foreground this runs."""
    fd = 0
    with contextlib.suppress(OSError):
        if sys.stdin is not None and os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
            return fd
    return None


def _take_back(terminal: int | None) -> None:
    if terminal is None:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.tcsetpgrp(terminal, os.getpgrp())
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
