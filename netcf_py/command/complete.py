# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a shell may offer next, in one form for all shells.

The scripts in completion/ set ``_NETCF_COMPLETE=lines_complete`` and give in
``NETCF_WORDS`` the words before that at the cursor, one a line, and that one, as far
as it is typed, in ``NETCF_WORD``.  Each line of the answer is a type,
a value and a help text with tabs between them; for the types ``dir``, ``file`` and
``command`` the shell itself knows what there is.
"""

from __future__ import annotations

import os

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class

__all__ = ["Lines"]


class Lines(ShellComplete):
    """The answer in lines."""

    name = "lines"
    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before, and the one that is being typed."""
        words = os.environ.get("NETCF_WORDS", "")
        return words.split("\n") if words else [], os.environ.get("NETCF_WORD", "")

    def format_completion(self, item: CompletionItem) -> str:
        """Return one line of the answer."""
        return f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())}"


add_completion_class(Lines)
