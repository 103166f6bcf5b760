# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf``, the command for people.  Machines call ``networking-config`` or the library.

Each module is one command or a few that belong together; it is imported when
it is run, so that a short answer stays quick.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run ``netcf``; the entry point of the installed script."""
    try:
        if "_NETCF_COMPLETE" in os.environ:  # set by the scripts in completion/
            from . import complete  # noqa: F401

        from .cli import netcf
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("netcf: needs click and rich: pip install 'netcf-py[cli]'", file=sys.stderr)
        sys.exit(1)
    netcf(prog_name="netcf")
