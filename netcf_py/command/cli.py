# SPDX-License-Identifier: LGPL-2.1-or-later
"""The list of commands, and where each one is."""

from __future__ import annotations

import importlib
import os

import click

from .common import root_option

__all__ = ["netcf"]

COMMANDS = {
    "start": "change",
    "commit": "change",
    "rollback": "change",
    "status": "status",
    "diff": "diff",
    "scope": "scope",
    "try": "trial",
    "history": "history",
    "show": "history",
    "restore": "history",
    "doctor": "doctor",
    "boot": "boot",
}


class Lazy(click.Group):
    """Imports the module of the command that is run, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from .. import __version__

        click.echo(f"netcf {__version__}")
        ctx.exit()


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit status: 0 done, 1 failed, 2 usage, 199 not valid in the present state.",
)
@root_option
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version.",
)  # fmt: skip
@click.pass_context
def netcf(ctx: click.Context, root: str | None) -> None:
    """Save, keep or take back a change of this host's network configuration.

    start saves it, commit keeps what was edited since, rollback takes it back;
    what was neither kept nor taken back is taken back at the next boot.  try does
    all of it around one command, and takes back by itself what nobody confirmed.
    """
    ctx.obj = root or "/"
    if os.environ.get("NO_COLOR"):
        ctx.color = False
