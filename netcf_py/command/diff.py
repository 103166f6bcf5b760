# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf diff``: what differs from the saved configuration, line by line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import click

from .. import NCF_EFILE, NCF_EINUSE
from ..errors import FileError, InUse
from .archive import Archive, Unreadable
from .common import Call, command
from .sides import Side, changed_metadata, live_side, metadata_lines, saved_side, unified
from .words import printable

__all__ = ["Shown", "diff_command", "open_archive", "open_root", "print_differences", "shown"]

COLOURS = {"+": "green", "-": "red", "@": "cyan", "\\": "bright_black", "(": "bright_black"}


@dataclass(frozen=True)
class Shown:
    """One path that differs, ready to be printed."""

    path: str
    kind: str
    was: str
    now: str
    metadata: list[str]
    lines: list[str]


@command("diff", short_help="Show what differs from the saved configuration.")
@click.option("--show-secrets", is_flag=True, help="Show keys and passwords, too.")
@click.option("--names", is_flag=True, help="Only which paths differ, and how.")
def diff_command(call: Call, show_secrets: bool, names: bool) -> None:
    """Show what a rollback would undo.

    The output can be applied with patch, secrets and metadata aside: keys and
    passwords are hidden unless asked for.
    """
    with ExitStack() as stack:
        archive = _snapshot(call, stack)
        root = open_root(call, stack)
        found = []
        for difference in call.ncf.diff():
            path = os.fsencode(difference.path)
            old = saved_side(archive, archive.entries.get(path)) if archive else Side("-")
            new = live_side(root, path)
            what = frozenset(m.value for m in difference.metadata) or changed_metadata(old, new)
            kind = difference.kind.value
            lines = [] if names else unified(path, old, new, show_secrets)
            types = difference.was.value, difference.now.value
            found.append(shown(path, kind, types, metadata_lines(old, new, what), lines))
        change = call.ncf.status().id
        if archive is None or archive.id != change:
            raise InUse(NCF_EINUSE, "busy", "another change was opened meanwhile; try again")

    def say() -> None:
        print_differences(found)
        if not found:
            click.echo("Nothing differs.")

    call.answer({"id": change, "differences": [vars(one) for one in found]}, say)


def shown(
    path: bytes, kind: str, types: tuple[str, str], metadata: list[str], lines: list[str]
) -> Shown:
    """Return a difference; `types` as in `FileType`, before and after."""
    return Shown(os.fsdecode(path), kind, types[0], types[1], metadata, lines)


def _snapshot(call: Call, stack: ExitStack) -> Archive | None:
    """The open change's snapshot; None if none is open, which the library says better."""
    try:
        return open_archive(call.ncf.snapshot_path, stack)
    except FileNotFoundError:
        return None


def open_archive(path: str, stack: ExitStack) -> Archive:
    """Open an archive until `stack` is closed.

    Raises:
        FileNotFoundError: There is none.
        FileError: It can't be read.
    """
    try:
        return stack.enter_context(Archive(path))
    except FileNotFoundError:
        raise
    except (OSError, Unreadable) as error:
        raise FileError(NCF_EFILE, "a file can't be read", str(error)) from error


def open_root(call: Call, stack: ExitStack) -> int:
    """Open the root directory until `stack` is closed."""
    root = os.open(call.ncf.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, root)
    return root


def print_differences(differences: Iterable[Shown]) -> None:
    """Print differences, coloured where the output is a terminal."""
    for one in differences:
        click.echo(click.style(f"{one.kind:<8}  {printable(one.path)}", bold=True))
        for line in one.metadata:
            click.echo(click.style(f"  {line}", fg="yellow"))
        for line in one.lines:
            heading = line.startswith(("--- ", "+++ "))
            colour = None if heading else COLOURS.get(line[:1])
            click.echo(click.style(line, fg=colour, bold=heading or None))
