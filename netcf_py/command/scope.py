# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf scope``: which files a change covers, and why."""

from __future__ import annotations

import click

from .common import Call, command
from .tables import print_table
from .words import printable

__all__ = ["scope_command"]

TYPES = {"f": "file", "d": "directory", "l": "link", "s": "special, not saved", "-": "not there"}


@command("scope", short_help="Show which files a change covers, and why.")
@click.option("--patterns", is_flag=True, help="Show the patterns instead of the files.")
def scope_command(call: Call, patterns: bool) -> None:
    """Show which files are covered and which pattern takes each.

    The scope is that of the open change, else that of the next start.  Files in
    /etc/netcf/scope.d whose names end in .conf add patterns, one a line; ! in
    front excludes.
    """
    found = call.ncf.scope()
    files = [] if patterns and not call.as_json else call.ncf.scope_list()

    def say() -> None:
        if patterns:
            for pattern in found:
                click.echo(f"{'! ' if pattern.exclude else '  '}{printable(pattern.pattern)}")
        elif not files:
            click.echo("Nothing on this host is in scope; netcf scope --patterns shows what would.")
        else:
            print_table(
                ("PATH", "WHAT", "TAKEN BY"),
                [
                    (
                        printable(file.path),
                        TYPES[file.type.value],
                        "announced" if file.pattern is None else printable(file.pattern),
                    )
                    for file in files
                ],
            )

    call.answer(
        {
            "patterns": [{"pattern": p.pattern, "exclude": p.exclude} for p in found],
            "files": [{"path": f.path, "type": f.type.value, "pattern": f.pattern} for f in files],
        },
        say,
    )
