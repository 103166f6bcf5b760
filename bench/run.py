#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print what start, commit and rollback cost, as multiples of the least they can cost."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import report
import status
from measure import OPERATIONS, Broken, Counts, cycle, timer, tracer
from programs import PROJECT, compile_c, helper_compiler
from tools import Floor, Helper, Tool, others
from tree import FILE_SIZE, OLD, SMALLEST, Tree

SIZES = (10, 100, 1_000, 10_000)
RUNS = 31
CALL_FILES, CALLS = 100, 401

# A round visits every size and lasts at least this long, so that no tool has to wait for its
# tree to come to rest just before it is timed.
ROUND = 1.25

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


class Runs(NamedTuple):
    """How often a size is measured: with helper and floor alone, and with all tools."""

    pair: int
    all: int


def runs_at(size: int, most: int) -> Runs:
    """Fewer where one takes long; the others take seconds at 10,000 files."""
    if size <= 300:
        return Runs(most, min(most, 7))
    if size <= 3_000:
        return Runs(max(1, most * 2 // 3), min(most, 5))
    return Runs(min(most, max(5, most // 3)), min(most, 5))


def file_system(path: Path) -> str:
    """The type of the file system that a path is on."""
    found = (0, "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        where, kind = line.split()[1:3]
        mounted = Path(where.replace("\\040", " "))
        if mounted in (path, *path.parents):
            found = max(found, (len(mounted.parts), kind))
    return found[1]


def spread(scratch: Path) -> None:
    """Have ext4 put each tree into a block group of its own, as it does with those below its root.

    For minutes it does not give a removed file's number to a new one, and to create a file it looks
    at all such numbers of the group: side by side, each tree would pay for what all others removed.
    """
    if file_system(scratch) == "ext4" and shutil.which("chattr"):
        subprocess.run(("chattr", "+T", str(scratch)), check=False)


def say(text: str) -> None:
    """Tell a waiting person what goes on; standard output is for the tables."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """The trees, the tools and how to measure them, in one scratch directory."""

    def __init__(self, scratch: Path, helper: Path) -> None:
        self.scratch = scratch
        spread(scratch)
        self._trees: dict[tuple[str, int], Tree] = {}
        self._time = timer(compile_c(("cc", "-O2"), "spawn", scratch))
        self.pair: list[Tool] = [Floor(compile_c(helper_compiler(), "floor", scratch))]
        if helper.exists():
            self.pair.append(Helper(helper.resolve()))
        else:
            say(f"{helper} is not there: the floor and the others only")

    def _tree(self, tool: Tool, size: int) -> Tree:
        if not tool.own_tree:
            # A new one: cp and tar restore every file anew, in the order in which they will read
            # them, so that the next start would read a tree faster than any host has.
            return Tree(self.scratch / f"{size}-shared", size)
        if (tool.name, size) not in self._trees:
            tree = self._trees[tool.name, size] = Tree(self.scratch / f"{size}-{tool.name}", size)
            cycle(tool, tree, self._time)  # the first start on a host has more to do
        return self._trees[tool.name, size]

    def grow_old(self, sizes: Sequence[int]) -> None:
        """Make the trees of helper and floor and wait until their files are as old as a host's."""
        for size in sizes:
            for tool in self.pair:
                self._tree(tool, size)
        time.sleep(OLD)

    def count(self, sizes: Sequence[int]) -> report.Counted | None:
        """One traced run of helper and floor at each size; None where there is no strace."""
        trace = tracer(self.scratch / "strace.log")
        if trace is None:
            return None
        counts: dict[int, dict[str, dict[str, Counts]]] = {}
        for size in sizes:
            counts[size] = {
                tool.name: cycle(tool, self._tree(tool, size), trace) for tool in self.pair
            }
        return counts

    def rounds(self, tools: Sequence[Tool], runs: Mapping[int, int]) -> report.Timed:
        """Run the tools by turns, each round beginning with another."""
        samples: report.Timed = {
            size: {tool.name: {name: [] for name in OPERATIONS} for tool in tools} for size in runs
        }
        for turn in range(max(runs.values())):
            began = time.monotonic()
            first = turn % len(tools)
            for size in (size for size in runs if turn < runs[size]):
                for tool in (*tools[first:], *tools[:first]):
                    measured = cycle(tool, self._tree(tool, size), self._time)
                    for operation, sample in measured.items():
                        samples[size][tool.name][operation].append(sample)
            time.sleep(max(0.0, began + ROUND - time.monotonic()))
        return samples

    def calls(self, library: Path) -> tuple[list[int], list[int]] | None:
        """Nanoseconds of a start from C and from Python, by turns, both in processes that stay."""
        try:
            from netcf_py import Netcf
        except ImportError as error:
            say(f"no figures for Python: {sys.executable}: {error}")
            return None
        if not library.exists():
            say(f"no figures for Python: no {library}")
            return None
        include = f"-I{PROJECT / 'csrc'}"
        program = compile_c(("cc", "-O2"), "call", self.scratch, str(library), include)
        tree = Tree(self.scratch / "calls", CALL_FILES)
        (tree.root / "var/lib").mkdir(parents=True)
        tree.rest()
        tree.sync()
        command = (str(program), str(tree.root))
        pipe = subprocess.PIPE
        times: tuple[list[int], list[int]] = ([], [])
        with (
            subprocess.Popen(command, stdin=pipe, stdout=pipe) as caller,
            Netcf(str(tree.root)) as netcf,
        ):

            def from_c() -> None:
                assert caller.stdin is not None and caller.stdout is not None
                caller.stdin.write(b"\n")
                caller.stdin.flush()
                times[0].append(int(caller.stdout.readline()))

            def from_python() -> None:
                began = time.perf_counter_ns()
                netcf.change_start(0)
                times[1].append(time.perf_counter_ns() - began)
                netcf.change_rollback(0)

            for turn in range(CALLS):
                for call in (from_c, from_python) if turn % 2 else (from_python, from_c):
                    call()
        return times


def measure(bench: Bench, arguments: argparse.Namespace) -> tuple[list[report.Table], object]:
    """All measurements, as tables and as the figures they were made from."""
    sizes: Sequence[int] = arguments.sizes
    runs = {size: runs_at(size, arguments.runs) for size in sizes}
    tables = []

    if not arguments.fresh:
        say("waiting until the trees are a minute old")
        bench.grow_old(sizes)
    say("counting system calls")
    counts = bench.count(sizes)
    if counts is None:
        say("no counts: strace is missing, or may not trace here")
    else:
        tables.append(report.counted(counts))

    say("timing helper and floor")
    pair = bench.rounds(bench.pair, {size: runs[size].pair for size in sizes})
    tables.append(report.timed(pair))
    if len(bench.pair) > 1:
        tables.append(report.memory(pair, {size: size * FILE_SIZE for size in sizes}))

    say("timing all tools")
    every = bench.rounds([*bench.pair, *others()], {size: runs[size].all for size in sizes})
    tables.append(report.compared(every))

    say("calling from C and from Python")
    calls = bench.calls(arguments.helper.parent / "libncf.a")
    if calls is not None:
        tables.append(report.called(CALL_FILES, *calls))

    say("timing netcf status")
    taken = status.times(bench.scratch, arguments.runs)
    if taken is None:
        say(f"no figures for netcf: it is not beside {sys.executable}")
    else:
        tables.append(status.table(taken))
    samples = {"counts": counts, "pair": pair, "all": every, "calls": calls, "status": taken}
    return tables, samples


def describe(scratch: Path) -> str:
    """What the figures depend on."""
    system = platform.uname()
    return (
        f"{system.system} {system.release} {system.machine}, {os.cpu_count()} CPUs, "
        f"{file_system(scratch)}; helper and floor built with {' '.join(helper_compiler())}; "
        f"Python {platform.python_version()}"
    )


def parse() -> argparse.Namespace:
    """The command line."""

    def sizes(text: str) -> tuple[int, ...]:
        values = tuple(int(part) for part in text.split(","))
        if min(values) < SMALLEST:
            raise argparse.ArgumentTypeError(f"at least {SMALLEST} files are needed")
        return values

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=sizes, default=SIZES, help="numbers of files: 10,100,...")
    parser.add_argument(
        "--runs", type=int, default=RUNS, help=f"runs at small sizes, fewer at others ({RUNS})"
    )
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the scratch roots go")
    parser.add_argument(
        "--fresh", action="store_true", help="trees a second old, which a rollback has to read"
    )
    parser.add_argument("--helper", type=Path, default=PROJECT / "build" / "networking-config")
    parser.add_argument("--json", type=Path, help="write every sample to this file as well")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    arguments = parser.parse_args()
    if file_system(arguments.dir.resolve()) in IN_MEMORY:
        parser.error(f"{arguments.dir} is in memory, where nothing is durable: use --dir")
    return arguments


def main() -> int:
    """Measure and print; 1 only if a tool failed or left a tree wrong."""
    arguments = parse()
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="ncf-bench-", dir=arguments.dir.resolve()) as scratch:
        try:
            tables, figures = measure(Bench(Path(scratch), arguments.helper), arguments)
        except Broken as broken:
            say(f"bench: {broken}")
            return 1
        print(describe(Path(scratch)))
    for table in tables:
        print("\n" + table.render(arguments.markdown))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
