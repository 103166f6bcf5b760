"""All that is tried against the core, one after the other: `make proof`, as root, for hours; see docs/testing.md.

Each part's output is shown as it comes; its figures stand at the end, and any part that fails
fails the run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]
# What .ci/run has of it, among all other tests.
IN_CI = [
    "proof", "core/test_failing_calls.py", "core/test_killed_anywhere.py", "core/test_short_memory.py",
    "core/test_short_transfers.py", "core/test_hostile_snapshot.py", "core/test_protocol_order.py",
    "core/test_refusing_kernel.py", "core/test_secrets.py", "core/test_locking.py", "helper/test_injected_faults.py",
    "guard/test_failing_calls.py", "interface/test_failing_calls.py", "interface/test_short_memory.py",
]  # fmt: skip
PYTEST = f"{sys.executable} -m pytest -q -rP"
CALLS = "core/test_failing_calls.py helper/test_injected_faults.py interface/test_failing_calls.py"
LENGTHS = {"manifest": 16384, "scope": 256, "rollback": 8192, "interfaces": 512, "netplan": 640}
NO_COMPARISONS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize-coverage=trace-cmp"


class Part(NamedTuple):
    """A command, from tests/, and which lines of its output are figures."""

    command: str
    figures: str


PARTS = {
    "ci": Part(f"{PYTEST} {' '.join(IN_CI)}", r"^\d+ (passed|failed)"),
    "calls": Part(f"env NCF_FULL=1 {PYTEST} -n4 {CALLS}", r" faults in |^\d+ (passed|failed)"),
    "concurrency": Part(f"env NCF_FULL=1 {PYTEST} proof/test_concurrency.py", r"^seed|^\d+ (passed|failed)"),
    "sanitized": Part("make -C .. sanitized", r"^\d+ (passed|failed)|reports of"),
    "coverage": Part("make -C .. coverage", r"^\d+ (passed|failed)|^csrc/:"),
    "simulator": Part(
        f"{sys.executable} -m proof.simulator --seed 20261126 --personality posix --scenario announced", " so far"
    ),
    "blocks": Part(f"{sys.executable} -m proof.blocks --seed 20261125", "^as shipped"),
    **{
        f"fuzz-{target}": Part(
            f"make -C .. fuzz TARGETS={target} TIME=0 SANITIZE={shlex.quote(NO_COMPARISONS)}"
            f" FUZZ_ARGS='-runs=10000000 -seed=20261125 -timeout=3000 -entropic=0 -max_len={length}'",
            r"^Done \d+ runs",
        )
        for target, length in LENGTHS.items()
    },
}


def run(part: Part) -> tuple[int, list[str]]:
    """Show what it says; its exit status and its figures."""
    figures = []
    process = subprocess.Popen(
        shlex.split(part.command), cwd=REPO / "tests", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "NCF_NO_SKIP": "1", "MAKEFLAGS": "", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if re.search(part.figures, line):
            figures.append(line.rstrip())
    return process.wait(), figures


def processor_time() -> float:
    """What all parts so far have used."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    """Exit status 0: every part succeeded."""
    parser = argparse.ArgumentParser(prog="make proof PARTS='...'", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"usually all: {' '.join(PARTS)}")
    wanted = parser.parse_args().parts or [*PARTS]
    if unknown := {*wanted} - {*PARTS}:
        parser.error(f"no such part: {' '.join(sorted(unknown))}; there are: {' '.join(PARTS)}")
    summary, failed = [], False
    for name in wanted:
        print(f"=== {name}: {PARTS[name].command}", flush=True)
        began, used = time.monotonic(), processor_time()
        status, figures = run(PARTS[name])
        failed = failed or status != 0 or not figures
        result = f"failed with {status}" if status else "done" if figures else "no figures"
        took = f"{time.monotonic() - began:.0f} s, {processor_time() - used:.0f} s of processor time"
        summary += [f"{name}: {result}, {took}", *(f"    {line}" for line in figures)]
    print("\n".join(["=== figures", *summary]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
