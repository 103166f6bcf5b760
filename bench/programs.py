# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compile the C programs of this directory."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["HERE", "PROJECT", "compile_c", "helper_compiler"]

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent

# Read by make from its standard input: the helper's compiler and flags, as the Makefile has them.
ASK = """include Makefile
bench-compiler:
\t@echo $(HELPER_CC) $(HELPER_STATIC) $(HELPER_CFLAGS)
"""


def helper_compiler() -> Sequence[str]:
    """The command the helper is compiled and linked with, so that the floor is built the same."""
    command = ["make", "--silent", "--no-print-directory", "-f", "-", "bench-compiler"]
    answer = subprocess.run(command, cwd=PROJECT, input=ASK, stdout=subprocess.PIPE, text=True)
    if answer.returncode == 0 and answer.stdout.strip():
        return shlex.split(answer.stdout)
    return (os.environ.get("CC", "cc"), "-O2")


def compile_c(compiler: Sequence[str], name: str, into: Path, *more: str) -> Path:
    """Compile HERE/name.c to into/name and return the path."""
    program = into / name
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow")
    command = [*compiler, *warnings, "-o", str(program), str(HERE / f"{name}.c"), *more]
    subprocess.run(command, check=True)
    return program
