# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf start``, ``netcf commit``, ``netcf rollback``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ..errors import ProgramError
from ..records import InterfaceAction, InterfaceChange
from .common import Call, command, fail, figures, say_notice, token, token_option
from .words import paths, plural, printable, span

if TYPE_CHECKING:
    from ..records import ChangeResult

__all__ = ["commit_command", "restored", "rollback_command", "say_interfaces", "start_command"]

WHY = {
    InterfaceChange.UNTOUCHED: "not touched",
    InterfaceChange.ADDED: "had been added",
    InterfaceChange.REMOVED: "had been removed",
    InterfaceChange.CHANGED: "had been changed",
    InterfaceChange.WITH_OTHERS: "went with others",
    InterfaceChange.BY_HAND: "was not as at the start",
}
DONE = {
    InterfaceAction.DOWN: "down",
    InterfaceAction.UP: "up",
    InterfaceAction.DELETED: "device deleted",
    InterfaceAction.RELOADED: "reloaded",
}

LIMIT = click.IntRange(1, 24 * 3600)

SUDO = (
    "Note: sudo may have given this command a terminal of its own (use_pty), which ends\n"
    "with it, and the change too.  Better start it from a root shell, as sudo -i gives."
)


def behind_sudo() -> bool:
    """Whether sudo ran this very command with the terminal as its leash, not a shell around it."""
    ran = os.environ.get("SUDO_COMMAND", "").split(" ")[0]
    return os.isatty(0) and os.path.basename(ran) == os.path.basename(sys.argv[0])


@command("start", short_help="Save the configuration before a change.")
@click.option("-n", "--note", help="Why, in at most 255 bytes; shown by status.")
@click.option("--on-write", is_flag=True, help="Save each file when it is announced, not all now.")
@click.option(
    "-t", "--timeout", type=click.IntRange(1, 30 * 24 * 3600), metavar="SECONDS",
    help="Roll back by itself unless committed in time.  Again, with the token: from now.",
)  # fmt: skip
@click.option("--leash", is_flag=True, help="Roll back when standard input hangs up ...")
@click.option(
    "--grace", type=click.IntRange(0, 30 * 24 * 3600), metavar="SECONDS",
    help="... and so many seconds have passed.  Default: 0.",
)  # fmt: skip
@click.option(
    "--trial-boots", type=click.IntRange(0, 100), default=0, metavar="N",
    help="Let it outlive N boots before a boot rolls back.",
)  # fmt: skip
@token_option
def start_command(
    call: Call, note: str | None, on_write: bool, timeout: int | None, leash: bool,
    grace: int | None, trial_boots: int, token_file: str | None,
) -> None:  # fmt: skip
    """Save every file in scope.

    Afterwards edit what you like; then commit keeps it and rollback takes it
    back.  If neither is said, the next boot rolls back.  With a token only who
    knows it can commit.  With a leash the change ends with the session: when
    the connection is lost, or whatever standard input leads to is gone.
    """
    if grace is not None and not leash:
        raise click.UsageError("--grace needs --leash: it counts from the end of the session")
    if leash and token_file == "-":
        raise click.UsageError("standard input can't be both the leash and the token")
    call.ncf.change_start(
        on_write=on_write, note=note, token=token(token_file), deadline=timeout,
        leash=0 if leash else None, grace=grace or 0, trial_boots=trial_boots,
    )  # fmt: skip
    result = call.ncf.result()

    def say() -> None:
        say_notice(result)
        if on_write:
            click.echo(f"Change {result.id} is open; nothing is saved until it is announced.")
        else:
            click.echo(f"Change {result.id} is open: {paths(result.saved)} saved.")
        if result.refused:
            click.echo(
                f"Note: {plural(result.refused, 'device')}, sockets or FIFOs in scope not saved.",
                err=True,
            )
        if timeout is not None:
            click.echo(f"It rolls back by itself in {span(timeout)} unless committed.")
        if leash:
            click.echo(f"It rolls back {span(grace or 0)} after this session has gone.")
            if behind_sudo():
                click.echo(SUDO, err=True)
        click.echo("Keep what you edit now with netcf commit, take it back with netcf rollback.")

    told = {"saved": result.saved, "refused": result.refused, "notice": result.notice}
    call.answer({"id": result.id, **told}, say)


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
@click.option(
    "--all-interfaces", is_flag=True, help="Take all down and up, not only those that differ."
)
@click.option(
    "--limit", type=LIMIT, default=90, show_default=True, metavar="SECONDS",
    help="For all interfaces together.",
)  # fmt: skip
@click.option(
    "--command-limit", type=LIMIT, default=30, show_default=True, metavar="SECONDS",
    help="For each command that takes one down or up.",
)  # fmt: skip
def rollback_command(
    call: Call, files_only: bool, all_interfaces: bool, limit: int, command_limit: int
) -> None:
    """Put back exactly what start saved.

    Files that were added go, removed ones return, unchanged ones are not
    touched; live interfaces follow.  What is replaced is kept: see netcf history.
    """
    if files_only and all_interfaces:
        raise click.UsageError("--files-only and --all-interfaces exclude each other")
    try:
        call.ncf.change_rollback(
            files_only=files_only, all_interfaces=all_interfaces,
            command_limit=command_limit, total_limit=limit,
        )  # fmt: skip
    except ProgramError as error:
        if call.as_json:
            fail(error, True, id=call.ncf.result().id, **figures(call.ncf))
        say_interfaces(call)
        raise
    result = call.ncf.result()

    def say() -> None:
        say_notice(result)
        click.echo(f"Change {result.id} is rolled back.")
        click.echo(f"{restored(result)}.".capitalize())
        say_interfaces(call)
        if result.discarded:
            click.echo("What was replaced is kept; netcf history lists it.")

    call.answer({"id": result.id, **figures(call.ncf)}, say)


def say_interfaces(call: Call) -> None:
    """Say which live interfaces a rollback touched, what they lack, and what commands said."""
    for one in call.ncf.interfaces():
        lacks = f"; now lacks: {printable(one.lacks)}" if one.lacks else ""
        did = "".join(f", {word}" for action, word in DONE.items() if action in one.done)
        click.echo(f"  {printable(one.name)} ({one.stack}): {WHY[one.change]}{did}{lacks}")
    for line in call.ncf.result().commands.splitlines():
        click.echo(f"  {printable(line)}", err=True)


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
