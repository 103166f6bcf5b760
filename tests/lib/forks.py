"""Run a function in a forked child: to be killed, to block, to be another user."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import traceback
from typing import Any, Callable, NamedTuple

TIMEOUT = 60.0


class Ended(NamedTuple):
    """How a child ended: killed by a signal, or with what its function returned."""

    signal: int
    value: Any


class ChildFailed(AssertionError):
    """The function raised in the child; the text is its traceback."""


class ChildBlocked(AssertionError):
    """The child did not end in time."""


def run(function: Callable[[], Any], timeout: float = TIMEOUT) -> Ended:
    """Fork, call, wait.  Never longer than `timeout`: a blocked child is killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _report(writer, function)
    os.close(writer)
    try:
        ended, value = _collect(reader, timeout)
        if not ended:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if not ended:
        raise ChildBlocked(f"still running after {timeout} s")
    if os.WIFSIGNALED(status):
        return Ended(os.WTERMSIG(status), None)
    succeeded, result = pickle.loads(value)
    if not succeeded:
        raise ChildFailed(result)
    return Ended(0, result)


def _report(writer: int, function: Callable[[], Any]) -> None:
    """In the child: call, send the outcome, leave without any clean-up of pytest's."""
    try:
        outcome = (True, function())
    except BaseException:  # the parent raises it again as ChildFailed
        outcome = (False, traceback.format_exc())
    sys.stdout.flush()
    with os.fdopen(writer, "wb") as pipe:
        pickle.dump(outcome, pipe)
    os._exit(0)


def _collect(reader: int, timeout: float) -> tuple:
    """Read until the child's end is closed: (did it end in time, what it sent)."""
    sent = b""
    while True:
        ready, _, _ = select.select([reader], [], [], timeout)
        if not ready:
            return False, b""
        piece = os.read(reader, 65536)
        if not piece:
            return True, sent
        sent += piece


def all_at_once(count: int, function: Callable[[int], int]) -> list:
    """Fork `count` children, let them go at the same moment, return their exit codes."""
    gate_reader, gate_writer = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            os.close(gate_writer)
            os.read(gate_reader, 1)  # returns when the last writer is closed
            code = 255
            try:
                code = function(number)
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate_reader)
    os.close(gate_writer)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
