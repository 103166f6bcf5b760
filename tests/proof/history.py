"""Is there an order of operations that explains what every caller was told?

The model is the host's change: none (None), or the id of the one that is open.
An operation takes effect at one moment between its call and its return; one
that was killed at one before its death, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Optional

INVALID = "invalid"  # refused: not valid in the present state
KILLED = "killed"
SOME = "?"  # a change that was started by somebody who died before he could tell its id

State = Optional[str]


class Operation(NamedTuple):
    """One call: when it began and ended, and what the caller was told.

    `told` is the change's id, None for "none is open" (status) or an id that
    was not told, INVALID or KILLED.
    """

    name: str  # start, commit, rollback, boot, status, diff
    began: int
    ended: int
    told: str | None


def _same(state: State, told: str | None, known: frozenset[str]) -> bool:
    if state == SOME:
        return told is None or told not in known
    return state is not None and told in (state, None)


def after(operation: Operation, state: State, known: frozenset[str]) -> list[State]:
    """The states that the operation can leave; none: it can't have been told that."""
    name, told = operation.name, operation.told
    if told == KILLED:
        effect: list[State] = [SOME if state is None else state] if name == "start" else [None]
        return [state] if name == "status" else [state, *effect]
    if told == INVALID:  # a start: one is open; the others: none is
        return [state] if (state is not None) == (name == "start") else []
    if name == "status":
        if told is None:
            return [None] if state is None else []
        return [told] if _same(state, told, known) else []
    if name == "diff":  # done, of one that is open
        return [state] if state is not None else []
    if name == "start":
        return [told] if state is None else []
    if name == "boot":
        return [None]
    return [None] if _same(state, told, known) else []


def explained(operations: Iterable[Operation], before: State) -> set[State]:
    """The states in which some order that explains it all can end; empty: there is none."""
    todo = sorted(operations, key=lambda operation: operation.began)
    known = frozenset(
        operation.told for operation in todo if operation.name == "start" and operation.told not in (INVALID, KILLED, None)
    )  # fmt: skip
    ends: set[State] = set()
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, before)]
    everything = (1 << len(todo)) - 1
    while stack:
        done, state = stack.pop()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if done == everything:
            ends.add(state)
            continue
        left = [number for number in range(len(todo)) if not done >> number & 1]
        first_end = min(todo[number].ended for number in left)
        for number in left:
            if todo[number].began > first_end:
                break  # something ended before it, and the others, began
            stack += [(done | 1 << number, state) for state in after(todo[number], state, known)]
    return ends
