# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every command has: ``--root``, ``--json``, an exit status, one way to fail."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar

import click

from ..errors import InvalidOperation, NetcfError, ProgramError
from ..netcf import Netcf
from ..records import InterfaceAction
from .words import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..records import ChangeResult

__all__ = [
    "DONE", "FAILED", "INVALID_STATE", "USAGE", "Call", "command", "fail", "figures",
    "root_option", "say_notice", "token",
]  # fmt: skip

DONE, FAILED, USAGE, INVALID_STATE = 0, 1, 2, 199

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _directories(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """What may be completed for --root: the shell knows."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="dir")]


root_option = click.option(
    "--root", type=click.Path(), metavar="DIR", shell_complete=_directories,
    help="Work on the host below DIR instead of /.",
)  # fmt: skip


class Call:
    """One run of a command: the host, and how it answers."""

    def __init__(self, ncf: Netcf, as_json: bool) -> None:
        self.ncf = ncf
        self.as_json = as_json

    def path(self, path: str) -> str:
        """Return a path beneath the root as a person would name it."""
        return printable(os.path.join(self.ncf.root, path))

    def answer(self, values: dict[str, Any], say: Callable[[], None]) -> None:
        """Print `values` where JSON was asked for; else let `say` print for people."""
        if self.as_json:
            print_json(values)
        else:
            say()


def print_json(values: dict[str, Any]) -> None:
    """Print one object on one line.  Bytes that are no text stay as lone surrogates, escaped."""
    import json

    click.echo(json.dumps(values))


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function whose first argument is a `Call`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(root: str | None, as_json: bool, **arguments: Any) -> Any:
            where = root or click.get_current_context().obj or "/"
            try:
                with Netcf(where) as ncf, _guarded(ncf, closes=name in ("commit", "rollback")):
                    return function(Call(ncf, as_json), **arguments)
            except NetcfError as error:
                fail(error, as_json)

        json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
        made: Callable[[Callable[..., Any]], click.Command] = click.command(name, **settings)
        return made(root_option(json_option(run)))

    return decorate


@contextlib.contextmanager
def _guarded(ncf: Netcf, closes: bool) -> Iterator[None]:
    """Put a missing guard back; by what closes the change, only if it stays open.

    A guard that finds its deadline passed rolls back at once.
    """
    if not closes:
        _put_guard_back(ncf)
    try:
        yield
    except NetcfError:
        if closes:
            _put_guard_back(ncf)
        raise


def _put_guard_back(ncf: Netcf) -> None:
    try:
        status = ncf.status()
        if status.guarded or (status.deadline is None and status.grace is None):
            return
        ncf.change_guard()
        click.echo("Note: the guard of the open change was gone; another watches it.", err=True)
    except ProgramError as error:
        click.echo(f"Note: {printable(error.details or error.message)}", err=True)
    except NetcfError:
        pass  # what can't be read is for the command itself to say


def fail(error: NetcfError, as_json: bool, **known: Any) -> NoReturn:
    """Say what failed and exit; JSON has what is `known`, too."""
    name = click.get_current_context().command_path
    if as_json:
        said = {"code": error.code, "message": error.message, "details": error.details}
        print_json({"error": said, **known})
    else:
        click.echo(f"{name}: {printable(error.details or error.message)}", err=True)
    sys.exit(INVALID_STATE if isinstance(error, InvalidOperation) else FAILED)


def token(file: str | None) -> str | None:
    """Return the token: from `file`, ``-`` for standard input, else from the environment.

    A secret is not for the command line, where every user of the host reads it.
    """
    if file is None:
        return os.environ.get("NETWORKING_CONFIG_TOKEN") or None
    try:
        with click.open_file(file, encoding="utf-8", errors="surrogateescape") as opened:
            return opened.readline().rstrip("\n") or None
    except OSError as error:
        raise click.UsageError(f"--token-file: {error}") from error


def token_option(function: _Function) -> _Function:
    """Add ``--token-file``."""
    return click.option(
        "--token-file", type=click.Path(), metavar="FILE",
        help="The change's token is in FILE (-: standard input);"
        " else in $NETWORKING_CONFIG_TOKEN.",
    )(function)  # fmt: skip


def figures(ncf: Netcf) -> dict[str, Any]:
    """Return what the last rollback or restore put back, for JSON."""
    result = ncf.result()
    return {
        "changed": result.changed,
        "added": result.added,
        "removed": result.removed,
        "metadata": result.metadata,
        "failed": result.failed,
        "discarded": result.discarded,
        "notice": result.notice,
        "interfaces": [
            {
                "name": one.name,
                "stack": one.stack,
                "change": one.change.name.lower(),
                "done": [action.value for action in InterfaceAction if action in one.done],
                "lacks": one.lacks,
            }
            for one in ncf.interfaces()
        ],
        "commands": result.commands,
    }


def say_notice(result: ChangeResult) -> None:
    """Say what a person should know although the call succeeded."""
    if result.notice:
        click.echo(f"Note: {printable(result.notice)}", err=True)
