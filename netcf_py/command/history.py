# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf history``, ``netcf show``, ``netcf restore``: what rollbacks replaced."""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from .. import NCF_ENOENT
from ..errors import NotFound
from ..netcf import Netcf
from .change import restored, say_interfaces
from .common import Call, command, figures, say_notice
from .diff import open_archive, open_root, print_differences, shown
from .sides import Side, changed_metadata, live_side, metadata_lines, saved_side, unified
from .tables import print_table
from .words import printable, size, when

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..records import Discarded

__all__ = ["history_command", "restore_command", "show_command"]


@command("history", short_help="List what rollbacks replaced, newest first.")
def history_command(call: Call) -> None:
    """List the configurations that rollbacks replaced, newest first.

    The newest 20 are kept, and 64 MiB in all.
    """
    found = call.ncf.discarded()

    def say() -> None:
        if not found:
            click.echo("No rollback has replaced anything yet.")
            return
        print_table(
            ("ID", "ROLLED BACK", "PATHS", "SIZE", "NOTE"),
            [
                (str(d.id), when(d.when), str(d.files), size(d.bytes), printable(d.note))
                for d in found
            ],
            right="ID PATHS SIZE",
        )

    call.answer({"discarded": [dataclasses.asdict(d) for d in found]}, say)


def _numbers(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """What may be completed for ID."""
    from click.shell_completion import CompletionItem

    root = ctx.params.get("root") or (ctx.parent.params.get("root") if ctx.parent else None) or "/"
    with Netcf(root) as ncf:
        return [
            CompletionItem(str(d.id), help=printable(d.note) or None)
            for d in ncf.discarded()
            if str(d.id).startswith(begun)
        ]


number = click.argument(
    "number", metavar="ID", type=click.IntRange(min=0, max=(1 << 64) - 1), shell_complete=_numbers
)


@command("show", short_help="Show one of them as a difference from now.")
@number
@click.option("--show-secrets", is_flag=True, help="Show keys and passwords, too.")
def show_command(call: Call, number: int, show_secrets: bool) -> None:
    """Show what restoring a configuration of the history would do now."""
    discarded = _find(call, number)
    found = []
    with ExitStack() as stack:
        try:
            archive = open_archive(os.path.join(call.ncf.root, discarded.path), stack)
        except FileNotFoundError:
            raise _gone(number) from None
        root = open_root(call, stack)
        for path, entry in archive.entries.items():
            old, new = live_side(root, path), saved_side(archive, entry)
            kind = _kind(old, new)
            what = changed_metadata(old, new)
            if kind == "same" and not what:
                continue
            found.append(
                shown(
                    path, "metadata" if kind == "same" else kind, (old.type, new.type),
                    metadata_lines(old, new, what), unified(path, old, new, show_secrets),
                )
            )  # fmt: skip
        change = archive.id

    def say() -> None:
        click.echo(f"{number}: replaced {when(discarded.when)} by the rollback of change {change}")
        if discarded.note:
            click.echo(f"note: {printable(discarded.note)}")
        if found:
            click.echo(f"netcf restore {number} would now do this:")
            print_differences(found)
        else:
            click.echo("All of it is as it is now.")

    differences = [vars(one) for one in found]
    call.answer(
        {**dataclasses.asdict(discarded), "change": change, "differences": differences}, say
    )


def _kind(old: Side, new: Side) -> str:
    if old.type == "-" or new.type == "-":
        return "same" if old.type == new.type else "added" if old.type == "-" else "removed"
    same = (old.type, old.size, old.content) == (new.type, new.size, new.content)
    return "same" if same else "changed"


@command("restore", short_help="Put one of them back, within a change.")
@number
def restore_command(call: Call, number: int) -> None:
    """Put back a configuration of the history.

    This happens within the open change, or opens one: look at it, then keep it
    with netcf commit or take it back with netcf rollback.
    """
    _find(call, number)
    ncf = call.ncf
    started = not ncf.status().open
    if started:
        ncf.change_start(note=f"restore {number}")
    try:
        ncf.restore(number)
    except BaseException:
        if started:
            ncf.change_rollback()
        raise
    result = ncf.result()

    def say() -> None:
        say_notice(result)
        click.echo(f"Configuration {number} is back; change {result.id} is open.")
        click.echo(f"{restored(result)}.".capitalize())
        say_interfaces(call)
        click.echo("Keep it with netcf commit, take it back with netcf rollback.")

    call.answer({"number": number, "id": result.id, "started": started, **figures(ncf)}, say)


def _find(call: Call, number: int) -> Discarded:
    for discarded in call.ncf.discarded():
        if discarded.id == number:
            return discarded
    raise _gone(number)


def _gone(number: int) -> NotFound:
    return NotFound(
        NCF_ENOENT, "not found", f"no configuration {number} is kept; netcf history lists them"
    )
