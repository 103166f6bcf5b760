# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows under headings: fitted to a terminal, whole where another program reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

__all__ = ["print_table"]


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
    """Print a table.

    Args:
        headings: One for each column; those named in `right` go to the right.
        rows: Text that is already printable.
        right: Headings, separated by spaces.
    """
    if sys.stdout.isatty():
        _fitted(headings, rows, right.split())
        return
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, *rows]:
        cells = [
            cell.rjust(width) if heading in right.split() else cell.ljust(width)
            for heading, cell, width in zip(headings, row, widths)
        ]
        click.echo("  ".join(cells).rstrip())


def _fitted(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in right else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
