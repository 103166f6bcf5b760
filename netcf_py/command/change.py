# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf start``, ``netcf commit``, ``netcf rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import Call, command, figures, say_notice, token, token_option
from .words import paths, plural

if TYPE_CHECKING:
    from ..records import ChangeResult

__all__ = ["commit_command", "restored", "rollback_command", "start_command"]


@command("start", short_help="Save the configuration before a change.")
@click.option("-n", "--note", help="Why, in at most 255 bytes; shown by status.")
@click.option("--on-write", is_flag=True, help="Save each file when it is announced, not all now.")
@click.option(
    "-t", "--timeout", type=click.IntRange(1, 30 * 24 * 3600), metavar="SECONDS",
    help="Roll back by itself unless committed in time.  Again, with the token: from now.",
)  # fmt: skip
@click.option(
    "--trial-boots", type=click.IntRange(0, 100), default=0, metavar="N",
    help="Let it outlive N boots before a boot rolls back.",
)  # fmt: skip
@token_option
def start_command(
    call: Call, note: str | None, on_write: bool, timeout: int | None, trial_boots: int,
    token_file: str | None,
) -> None:  # fmt: skip
    """Save every file in scope.

    Afterwards edit what you like; then commit keeps it and rollback takes it
    back.  If neither is said, the next boot rolls back.  With a token only who
    knows it can commit.
    """
    call.ncf.change_start(
        on_write=on_write, note=note, token=token(token_file), deadline=timeout,
        trial_boots=trial_boots,
    )  # fmt: skip
    result = call.ncf.result()

    def say() -> None:
        if on_write:
            click.echo(f"Change {result.id} is open; nothing is saved until it is announced.")
        else:
            click.echo(f"Change {result.id} is open: {paths(result.saved)} saved.")
        if result.refused:
            click.echo(
                f"Note: {plural(result.refused, 'device')}, sockets or FIFOs in scope not saved.",
                err=True,
            )
        click.echo("Keep what you edit now with netcf commit, take it back with netcf rollback.")

    call.answer({"id": result.id, "saved": result.saved, "refused": result.refused}, say)


@command("commit", short_help="Keep the configuration as it is now.")
@token_option
def commit_command(call: Call, token_file: str | None) -> None:
    """Keep the configuration as it is now and drop the saved one.

    Every file that changed is made durable first.
    """
    call.ncf.change_commit(token=token(token_file))
    result = call.ncf.result()

    def say() -> None:
        say_notice(result)
        click.echo(f"Change {result.id} is committed.")

    call.answer({"id": result.id, "notice": result.notice}, say)


@command("rollback", short_help="Put the saved configuration back.")
@click.option("--files-only", is_flag=True, help="Touch no live interface.")
def rollback_command(call: Call, files_only: bool) -> None:
    """Put back exactly what start saved.

    Files that were added go, removed ones return, unchanged ones are not
    touched.  What is replaced is kept: see netcf history.
    """
    call.ncf.change_rollback(files_only=files_only)
    result = call.ncf.result()

    def say() -> None:
        say_notice(result)
        click.echo(f"Change {result.id} is rolled back.")
        click.echo(f"{restored(result)}.".capitalize())
        if result.discarded:
            click.echo("What was replaced is kept; netcf history lists it.")

    call.answer({"id": result.id, **figures(result)}, say)


def restored(result: ChangeResult) -> str:
    """Return in words what a rollback or a restore did."""
    parts = {
        "changed": result.changed,
        "removed": result.removed,
        "added": result.added,
        "metadata": result.metadata,
    }
    count = sum(parts.values())
    if not count:
        return "nothing differed"
    detail = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    return f"{paths(count)} put back ({detail})"
