# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf status``: whether a change is open, and whose."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import NetcfError
from .common import Call, command
from .words import ago, paths, plural, printable, size, span, when

if TYPE_CHECKING:
    from ..records import ChangeStatus

__all__ = ["left", "status_command"]

PERIOD = 1.0


@command("status", short_help="Say whether a change is open, and whose.")
@click.option("-w", "--watch", is_flag=True, help="Keep showing it, until Ctrl-C.")
def status_command(call: Call, watch: bool) -> None:
    """Say whether a change is open, since when, by whom, and what it has saved.

    With --watch the screen is kept up to date; where the output is no terminal,
    or is JSON, the state is printed again each time it changes.
    """
    if not watch:
        status = call.ncf.status()
        call.answer(_values(status), lambda: click.echo("\n".join(_lines(call, status))))
        return
    try:
        if call.as_json or not sys.stdout.isatty():
            _follow(call)
        else:
            _screen(call)
    except KeyboardInterrupt:
        pass


def _values(status: ChangeStatus) -> dict[str, Any]:
    change = dataclasses.asdict(status)
    del change["open"], change["not_back"]
    return {
        "open": status.open,
        "change": change if status.open else None,
        "not_back": status.not_back,
    }


def left(status: ChangeStatus) -> str:
    """Return what is left of the deadline, in words."""
    seconds = status.deadline_left or 0
    return f"{span(seconds)} left" if seconds > 0 else "passed"


def _lines(call: Call, status: ChangeStatus) -> list[str]:
    """The state, in lines of at most 80 columns where notes and names are short."""
    lacking = []
    if status.not_back:
        lacking = [f"Not back since the last rollback: {printable(status.not_back)}"]
    if not status.open:
        return ["No change is open.", *lacking]
    boot = "in this boot" if status.same_boot else "before the last boot"
    lines = [
        click.style(f"A change is open: {status.id}", bold=True),
        f"  started   {when(status.started)}{ago(status.started)}, {boot}",
        f"  by        uid {status.uid} with {printable(status.program)} (process {status.pid})",
    ]
    if status.note:
        lines.append(f"  note      {printable(status.note)}")
    if status.has_token:
        lines.append("  token     a commit needs it")
    if status.deadline is not None:
        lines.append(f"  deadline  {span(status.deadline)} after the start, {left(status)}")
    if status.grace is not None:
        lines.append(f"  leash     rolls back {span(status.grace)} after its session has gone")
    if not status.guarded and (status.deadline is not None or status.grace is not None):
        lines.append("            no guard watches it: the next boot is behind it")
    if status.trial_boots:
        lines.append(f"  boots     outlives {status.trial_boots} more; the one after rolls back")
    how = " as announced" if status.on_write else ""
    lines.append(f"  saved     {paths(status.files)}, {size(status.bytes)}{how}")
    if status.refused:
        lines.append(f"            not saved: {plural(status.refused, 'device')}, sockets, FIFOs")
    return [*lines, f"  differs   {_differs(call)}", *lacking]


def _differs(call: Call) -> str:
    try:
        count = len(call.ncf.diff())
    except NetcfError as error:
        return printable(f"not known: {error.details or error.message}")
    return f"{paths(count)}; see netcf diff" if count else "nothing"


def _follow(call: Call) -> None:
    """Print the state when it is another, the seconds that pass aside."""
    shown = None
    while True:
        status = call.ncf.status()
        state = dataclasses.replace(status, deadline_left=None)
        if state != shown:
            shown = state
            now = status
            call.answer(_values(now), lambda now=now: click.echo("\n".join(_lines(call, now))))  # type: ignore[misc]
            sys.stdout.flush()
        time.sleep(PERIOD)


def _screen(call: Call) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            lines = [*_lines(call, call.ncf.status()), "", f"{when(int(time.time()))}  Ctrl-C ends"]
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)
            time.sleep(PERIOD)
