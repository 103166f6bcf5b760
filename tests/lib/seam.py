"""The seam of sys.c: record every system call of the core, fail one, die at one.

The hook gets the call's name and the path, or last path component, that it
concerns.  It runs before the call; a nonzero answer makes the call fail with
that errno without being made.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable, NamedTuple, Optional

from lib.ncf import Core, SeamHook


class Event(NamedTuple):
    """One call the core was about to make."""

    call: str
    name: bytes

    def __str__(self) -> str:
        return f"{self.call}({self.name.decode('utf-8', 'backslashreplace')})"


Act = Callable[[Event, int], Optional[int]]


@contextmanager
def watching(core: Core, act: Act | None = None) -> Iterator[list[Event]]:
    """Record the events of a block.

    `act(event, number)` is called with each, numbered from 1; what it returns
    is the errno the call shall fail with (None or 0: let it pass).  What it
    raises is raised again where the block ends.  Calls the core makes from
    inside `act` itself are let through unseen.
    """
    events: list[Event] = []
    raised: list[BaseException] = []
    inside = [False]

    def hook(call: bytes, name: bytes | None) -> int:
        if inside[0]:
            return 0
        event = Event(call.decode(), name or b"")
        events.append(event)
        if act is None:
            return 0
        inside[0] = True
        try:
            return act(event, len(events)) or 0
        except BaseException as error:  # must not be lost in the C frames
            raised.append(error)
            return 0
        finally:
            inside[0] = False

    c_hook = SeamHook(hook)
    core.set_seam(c_hook)
    try:
        yield events
    finally:
        core.set_seam(None)
    if raised:
        raise raised[0]


def failing_at(k: int, error: int) -> Act:
    """Fail the k-th call with `error`."""
    return lambda _event, number: error if number == k else 0


def dying_at(k: int) -> Act:
    """SIGKILL the process just before its k-th call: only for a forked child."""

    def act(_event: Event, number: int) -> int:
        if number == k:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    return act


def position(events: list[Event], call: str, name: bytes, after: int = -1) -> int:
    """Where the first such event after index `after` is; fails if there is none."""
    for index in range(after + 1, len(events)):
        if events[index].call == call and events[index].name == name:
            return index
    raise AssertionError(
        f"no {call}({name!r}) after {after} in:\n" + "\n".join(map(str, events))
    )


def positions(events: list[Event], call: str, name: bytes | None = None) -> list[int]:
    """Where all such events are."""
    return [
        index
        for index, event in enumerate(events)
        if event.call == call and (name is None or event.name == name)
    ]
