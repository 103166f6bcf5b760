# SPDX-License-Identifier: LGPL-2.1-or-later
"""Samples to tables: medians, quartiles, ratios to the floor, targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from measure import OPERATIONS, Counts, Sample

__all__ = [
    "Counted", "Table", "Timed", "called", "compared", "counted", "memory", "timed", "verdict",
]  # fmt: skip

TARGET = 1.5  # times the floor
CALL_TARGET = 1.05  # times the C call
PEAK_FACTOR, PEAK_CONSTANT = 1.5, 4 << 20  # of the bytes in scope, plus

# By size, tool and operation.
Timed = dict[int, dict[str, dict[str, list[Sample]]]]
Counted = dict[int, dict[str, dict[str, Counts]]]


class Table:
    """Rows under a title, as text for a terminal or as Markdown."""

    def __init__(self, title: str, header: Sequence[str]) -> None:
        self._title = title
        self._rows: list[list[str]] = [list(header)]

    def add(self, *cells: object) -> None:
        """Append a row."""
        self._rows.append([str(cell) for cell in cells])

    def render(self, markdown: bool) -> str:
        """The table, its columns aligned."""
        widths = [max(map(len, column)) for column in zip(*self._rows)]
        left, between, right = ("| ", " | ", " |") if markdown else ("", "  ", "")
        lines = [
            (left + between.join(map(str.rjust, row, widths)) + right).rstrip()
            for row in self._rows
        ]
        if markdown:
            lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
            return "\n".join([f"### {self._title}", "", *lines])
        return "\n".join([self._title, *lines])


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.ns for sample in samples)


def _spread(samples: Sequence[Sample]) -> str:
    """'median [first quartile - third quartile]' in milliseconds."""
    times = sorted(sample.ns / 1e6 for sample in samples)
    if len(times) < 2:
        return f"{times[0]:.2f}"
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


def verdict(met: bool) -> str:
    """What stands in the last column."""
    return "met" if met else "MISSED"


def counted(counts: Counted) -> Table:
    """System calls, flushes and bytes."""
    table = Table(
        "Counts: system calls, fsyncs and bytes written, from exec to exit",
        [
            "files",
            "operation",
            "calls floor",
            "helper",
            "ratio",
            "syncs floor",
            "helper",
            "written floor",
            "helper",
        ],
    )
    for size, tools in counts.items():
        for operation in OPERATIONS:
            floor = tools["floor"][operation]
            helper = tools.get("helper", {}).get(operation)
            table.add(
                size,
                operation,
                floor.calls,
                helper.calls if helper else "-",
                f"{helper.calls / floor.calls:.2f}" if helper else "-",
                floor.flushes,
                helper.flushes if helper else "-",
                floor.written,
                helper.written if helper else "-",
            )
    return table


def timed(samples: Timed) -> Table:
    """The helper against the floor."""
    table = Table(
        f"Time: ms, median [quartiles] of whole processes; target: at most {TARGET} x floor",
        ["files", "operation", "runs", "floor", "helper", "ratio", "target"],
    )
    for size, tools in samples.items():
        for operation in OPERATIONS:
            floor = tools["floor"][operation]
            row = [str(size), operation, str(len(floor)), _spread(floor)]
            if "helper" in tools:
                helper = tools["helper"][operation]
                ratio = _median(helper) / _median(floor)
                row += [_spread(helper), f"{ratio:.2f}", verdict(ratio <= TARGET)]
            else:
                row += ["-"] * 3
            table.add(*row)
    return table


def memory(samples: Timed, scope: Mapping[int, int]) -> Table:
    """The helper's largest resident size in any run, against 1.5 x scope + 4 MiB."""
    table = Table(
        "Memory: KiB at most resident in the helper; "
        f"limit: {PEAK_FACTOR} x bytes in scope + {PEAK_CONSTANT >> 20} MiB",
        ["files", "bytes in scope", *OPERATIONS, "limit", "target"],
    )
    for size, tools in samples.items():
        peaks = [max(sample.kib for sample in tools["helper"][name]) for name in OPERATIONS]
        limit = int(PEAK_FACTOR * scope[size] + PEAK_CONSTANT) >> 10
        table.add(size, scope[size], *peaks, limit, verdict(max(peaks) <= limit))
    return table


def compared(samples: Timed) -> Table:
    """All tools as multiples of the floor, in runs of their own."""
    names = [name for name in next(iter(samples.values())) if name != "floor"]
    table = Table(
        "Others: multiples of the floor's median in the same runs; target: helper ahead of all",
        ["files", "operation", "runs", "floor ms", *names, "target"],
    )
    for size, tools in samples.items():
        for operation in ("start", "rollback"):
            floor = _median(tools["floor"][operation])
            ratios = {name: _median(tools[name][operation]) / floor for name in names}
            ahead = "-"
            if "helper" in ratios:
                rivals = [ratio for name, ratio in ratios.items() if name != "helper"]
                ahead = verdict(all(ratios["helper"] < ratio for ratio in rivals))
            table.add(
                size,
                operation,
                len(tools["floor"][operation]),
                f"{floor / 1e6:.2f}",
                *(f"{ratio:.2f}" for ratio in ratios.values()),
                ahead,
            )
    return table


def called(size: int, c: Sequence[int], python: Sequence[int]) -> Table:
    """change_start() from Python against ncf_change_start() from C."""
    table = Table(
        "Python: us of one start, median [quartiles], by turns; "
        f"target: at most {CALL_TARGET} x the C call",
        ["files", "calls", "C", "Python", "ratio", "target"],
    )
    texts: list[str] = []
    for values in (c, python):
        low, middle, high = statistics.quantiles([ns / 1e3 for ns in values], n=4)
        texts.append(f"{middle:.1f} [{low:.1f}-{high:.1f}]")
    ratio = statistics.median(python) / statistics.median(c)
    table.add(size, len(c), *texts, f"{ratio:.3f}", verdict(ratio <= CALL_TARGET))
    return table
