# SPDX-License-Identifier: LGPL-2.1-or-later
"""``python -m netcf_py.command`` is ``netcf``."""

from . import main

__all__: list[str] = []

main()
