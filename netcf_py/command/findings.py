# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was looked at, how it is, and what to do about it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click

from .common import FAILED, Call
from .words import printable

__all__ = ["BAD", "GOOD", "NOTE", "Finding", "answer"]

GOOD, NOTE, BAD = "good", "note", "bad"
COLOURS = {GOOD: "green", NOTE: "yellow", BAD: "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: str
    text: str
    remedy: str = ""


def answer(call: Call, findings: Sequence[Finding], good: str, bad: str) -> None:
    """Print findings and a last line; exit with a failure if one of them is bad."""
    healthy = all(finding.level != BAD for finding in findings)

    def say() -> None:
        for finding in findings:
            level = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level], bold=True)
            _print(f"{level}  ", f"{finding.subject}: {finding.text}")
            if finding.remedy:
                _print("      ", f"-> {finding.remedy}")
        click.echo(good if healthy else bad)

    call.answer({"healthy": healthy, "findings": [asdict(f) for f in findings]}, say)
    if not healthy:
        sys.exit(FAILED)


def _print(before: str, text: str) -> None:
    lines = textwrap.wrap(printable(text), 74, break_on_hyphens=False, break_long_words=False)
    click.echo(f"{before}{lines[0]}")
    for line in lines[1:]:
        click.echo(f"      {line}")
