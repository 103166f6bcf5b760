#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time `netcf status`, with a change open, beside the start of the interpreter that runs it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Broken
from report import Table, verdict

__all__ = ["RUNS", "Times", "table", "times"]

RUNS = 41
FACTOR, CONSTANT_MS = 1.3, 60.0
FILES = 20

# Milliseconds of each run, by the clock and of a processor: an empty script, and the command.
Times = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def times(scratch: Path, runs: int = RUNS) -> Times | None:
    """Both by turns, as whole processes; None where the command is not installed."""
    command = Path(sys.executable).with_name("netcf")
    if not command.exists():
        return None
    empty = scratch / "empty.py"
    empty.touch()
    root = scratch / "host"
    for number in range(FILES):
        file = root / f"etc/network/interfaces.d/eth{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"iface eth{number} inet dhcp\n")
    subprocess.run([command, "--root", root, "start"], check=True, stdout=subprocess.DEVNULL)
    taken: Times = ([], [])
    for _ in range(runs):
        for samples, words in zip(
            taken, ([sys.executable, empty], [command, "--root", root, "status"])
        ):
            samples.append(_run(words))
    return taken


def _run(words: list[str | Path]) -> tuple[float, float]:
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    passed = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Broken(f"{words}: exit status {process.returncode}")
    return passed * 1000, (used.ru_utime + used.ru_stime) * 1000


def table(taken: Times) -> Table:
    """The medians, and what is allowed."""
    empty, status = (statistics.median(wall for wall, _ in samples) for samples in taken)
    busy = [f"{statistics.median(cpu for _, cpu in samples):.1f}" for samples in taken]
    allowed = FACTOR * empty + CONSTANT_MS
    made = Table(
        f"Command: ms of netcf status, median; allowed: {FACTOR} x an empty script"
        f" + {CONSTANT_MS:.0f} ms",
        ["runs", "empty script", "of it CPU", "netcf status", "of it CPU", "allowed", "target"],
    )
    made.add(
        len(taken[0]), f"{empty:.1f}", busy[0], f"{status:.1f}", busy[1], f"{allowed:.1f}",
        verdict(status <= allowed),
    )  # fmt: skip
    return made


def main() -> int:
    """Print the table; 1 where there is no command."""
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as scratch:
        taken = times(Path(scratch))
    if taken is None:
        print(f"no netcf beside {sys.executable}", file=sys.stderr)
        return 1
    print(table(taken).render(False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
