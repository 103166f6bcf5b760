# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf try``: a change that takes itself back unless somebody keeps it.

This process holds the countdown, and the guard of the change's deadline is behind
it should it be killed.  MUST put the configuration back whatever happens between
start and the answer, before it says a word about it: the terminal may be gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import sys
import termios
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidOperation, NetcfError, ProgramError
from . import checks, job
from .archive import Archive
from .change import restored, say_interfaces
from .common import DONE, FAILED, Call, command, figures, say_notice, token, token_option
from .secrets import masked_line
from .watch import Stop, Watch
from .words import plural, printable, span

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["try_command"]

CHECKING = 45
# The guard comes later: by then a command that hangs is killed and edits no more.
GUARD_LATER = 5
KEEP = ("", "y", "yes", "keep")


class _Checks(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.5
    """An option that is refused before anything starts where it makes no sense."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> checks.Check:
        try:
            check: checks.Check = self._kind(value)
        except checks.BadCheck as error:
            self.fail(str(error), param, ctx)
        return check


def _command_or_file(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """What may be completed for COMMAND: the shell knows."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="file" if ctx.params.get("words") else "command")]


@command(
    "try", short_help="Run a command; take its work back unless it is confirmed.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)  # fmt: skip
@click.option(
    "-t", "--timeout", type=click.IntRange(1, 30 * 24 * 3600 - GUARD_LATER), default=120,
    show_default=True, metavar="SECONDS", help="Roll back when so much has passed since the start.",
)  # fmt: skip
@click.option("-n", "--note", help="Why.  Default: the command, its secrets hidden.")
@click.option("--check-gateway", is_flag=True, help="A default gateway must answer a ping.")
@click.option(
    "--check-ping", "pings", type=_Checks("HOST", checks.Ping), multiple=True, metavar="HOST",
    help="HOST must answer a ping.",
)  # fmt: skip
@click.option(
    "--check-tcp", "tcps", type=_Checks("HOST:PORT", checks.Tcp), multiple=True,
    metavar="HOST:PORT", help="The port must accept a connection.",
)  # fmt: skip
@click.option(
    "--check-command", "commands", type=_Checks("COMMAND", checks.Command), multiple=True,
    metavar="COMMAND", help="COMMAND, one word to the shell, must succeed.",
)  # fmt: skip
@click.option(
    "--check-time", type=click.IntRange(1), metavar="SECONDS",
    help="Retry checks for so long.  Default: 45, at most half of the timeout.",
)  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="If every check passes, keep without asking.")
@token_option
@click.argument(
    "words", nargs=-1, required=True, metavar="COMMAND...", shell_complete=_command_or_file
)
def try_command(
    call: Call, timeout: int, note: str | None, check_gateway: bool,
    pings: tuple[checks.Check, ...], tcps: tuple[checks.Check, ...],
    commands: tuple[checks.Check, ...], check_time: int | None, yes: bool,
    token_file: str | None, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Save the configuration, run COMMAND, check, ask, and keep or take back.

    Enter keeps the new configuration.  Ctrl-C, the end of the input, a lost
    connection, a command or a check that fails, or the timeout takes it back.
    Another session may decide meanwhile, with netcf commit or netcf rollback.
    """
    wanted = [*([checks.Gateway()] if check_gateway else []), *pings, *tcps, *commands]
    if yes and not wanted:
        raise click.UsageError("--yes needs a check: nobody else would look")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked without a terminal: give checks and --yes")
    if check_time is None:
        check_time = min(CHECKING, max(timeout // 2, 1))
    if check_time >= timeout and wanted:
        raise click.UsageError("--check-time must be shorter than --timeout")
    sys.exit(
        _Trial(call, Watch(timeout), wanted, check_time, yes).run(
            words, note or masked_line(shlex.join(words))[:200], timeout, token(token_file)
        )
    )


class _Trial:
    """One run, from start to the end of the change."""

    def __init__(
        self, call: Call, watch: Watch, wanted: list[checks.Check], check_time: int, yes: bool
    ) -> None:
        self._call = call
        self._ncf = call.ncf
        self._watch = watch
        self._wanted = wanted
        self._check_time = check_time
        self._yes = yes
        self._status: int | None = None
        self._outcomes: list[checks.Outcome] = []

    def run(self, words: tuple[str, ...], note: str, timeout: int, secret: str | None) -> int:
        """Do all of it; the exit status."""
        self._watch.block()
        try:
            self._ncf.change_start(note=note, token=secret, deadline=timeout + GUARD_LATER)
        except BaseException:
            self._watch.unblock()
            raise
        # From here on every way out goes through _end().
        self._id = self._ncf.result().id
        try:
            self._watch.arm()
            self._judge(words)
            self._watch.disarm()
            reason = ""
        except Stop as stop:
            reason = str(stop)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            self._watch.disarm()
        return self._end(reason)

    # --- judging: leaves by Stop unless the configuration is to be kept -----------

    def _judge(self, words: tuple[str, ...]) -> None:
        self._say(f"Change {self._id} is open; it is taken back unless confirmed in time.")
        self._run(words)
        end = time.monotonic() + min(self._check_time, self._watch.left())
        for check in self._wanted:
            self._check(check, end)
        if not self._yes:
            self._ask()

    def _run(self, words: tuple[str, ...]) -> None:
        try:
            self._status = job.run(words)
        except OSError as error:
            raise Stop(f"{words[0]} can't be executed: {error.strerror}") from error
        if self._status > 0:
            raise Stop(f"{words[0]} failed with exit status {self._status}")
        if self._status < 0:
            raise Stop(f"{words[0]} was ended by signal {-self._status}")

    def _check(self, check: checks.Check, end: float) -> None:
        self._say(f"Checking {check.name} ...")
        outcome = checks.run(check, end)
        self._outcomes.append(outcome)
        tries = plural(outcome.tries, "attempt")
        if not outcome.passed:
            self._say(f"  failed: {outcome.reason} ({tries} in {outcome.seconds:.0f} s)")
            raise Stop(f"the check failed: {check.name}")
        self._say(f"  passed ({tries}, {outcome.seconds:.1f} s)")

    def _ask(self) -> None:
        """Wait for Enter."""
        with contextlib.suppress(termios.error):
            termios.tcflush(0, termios.TCIFLUSH)  # what was typed before this is no answer
        typed = b""
        while True:
            self._watch.check()
            self._still_open()
            self._say(
                f"\rKeep it? Enter keeps, Ctrl-C takes back, {span(self._watch.left()):>10} left ",
                end="",
            )
            ready, _, _ = select.select([0], [], [], 1.0)
            if not ready:
                continue
            try:
                got = os.read(0, 1024)
            except OSError as error:
                raise Stop("the terminal is gone") from error
            if not got:
                raise Stop("end of input")
            typed += got
            if b"\n" in typed:
                answer = typed.decode("utf-8", "replace").strip().lower()
                if answer not in KEEP:
                    raise Stop(f"the answer was {printable(answer)[:40]!r}")
                return

    def _still_open(self) -> None:
        if self._ncf.status().id != self._id:
            raise Stop("")

    # --- the end: keep or take back first, then speak ---------------------------------

    def _end(self, reason: str) -> int:
        failure: NetcfError | None = None
        outcome = "closed"
        try:
            if self._ncf.status().id == self._id:
                outcome, reason = self._keep() if not reason else ("rolled back", reason)
                if outcome == "rolled back":
                    self._ncf.change_rollback()
        except InvalidOperation:
            outcome = "closed"  # by somebody else, a moment ago
        except ProgramError as error:
            outcome, failure = "rolled back", error  # all but interfaces
        except NetcfError as error:
            outcome, failure = "failed", error
        if outcome == "closed":
            outcome, reason = self._closed_elsewhere()
        try:
            self._report(outcome, reason, failure)
            sys.stdout.flush()
        except OSError:  # the terminal is gone: what is still buffered must not fail at the exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        return DONE if outcome == "kept" else FAILED

    def _keep(self) -> tuple[str, str]:
        try:
            self._ncf.change_commit()
            return "kept", ""
        except InvalidOperation:
            raise
        except NetcfError as error:
            return "rolled back", f"it could not be kept: {error.details or error.message}"

    def _closed_elsewhere(self) -> tuple[str, str]:
        """What somebody else did: a rollback that replaced something leaves a trace."""
        for discarded in self._ncf.discarded():
            path = os.path.join(self._ncf.root, discarded.path)
            with contextlib.suppress(Exception), Archive(path) as archive:
                if archive.id == self._id:
                    return "rolled back", "by another session"
        return "kept", "by another session"

    def _report(self, outcome: str, reason: str, failure: NetcfError | None) -> None:
        if failure is not None:
            reason = f"{reason}; {failure.details or failure.message}"
        self._call.answer(
            {
                "id": self._id,
                "outcome": outcome,
                "reason": reason,
                "status": self._status,
                "checks": [asdict(one) for one in self._outcomes],
                **figures(self._ncf),
            },
            lambda: self._tell(outcome, reason),
        )

    def _tell(self, outcome: str, reason: str) -> None:
        self._say("")
        because = f": {reason}" if reason else ""
        if outcome == "kept":
            click.secho(f"Kept{because}. Change {self._id} is committed.", fg="green")
        elif outcome == "rolled back":
            result = self._ncf.result()
            say_notice(result)
            click.secho(f"Rolled back{because}.", fg="yellow")
            if reason != "by another session":
                click.echo(f"{restored(result)}.".capitalize())
            say_interfaces(self._call)
            if result.discarded:
                click.echo("What was tried is kept; netcf history lists it.")
        else:
            click.secho(f"NOT rolled back{because}", fg="red", bold=True, err=True)
            click.echo("The change stays open: mend that and run netcf rollback.", err=True)
            click.echo(
                "If nothing is done, the guard tries again at the deadline, and the next boot.",
                err=True,
            )

    def _say(self, text: str, end: str = "\n") -> None:
        """To standard error, so that standard output is the command's own."""
        click.echo(text + end, nl=False, err=True)
