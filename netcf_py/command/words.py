# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is said about numbers, times and text of others."""

from __future__ import annotations

import sys
import time

__all__ = ["ago", "paths", "plural", "printable", "size", "span", "when"]


def printable(text: str) -> str:
    r"""Return `text` safe for a terminal: what doesn't print is written as ``\xNN``."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(c if c.isprintable() and _writable(c) else _escaped(c) for c in text)


def _writable(c: str) -> bool:
    try:
        c.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escaped(c: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in c.encode("utf-8", "surrogateescape"))


def plural(count: int, word: str) -> str:
    """Return ``1 path`` or ``2 paths``."""
    return f"{count} {word}{'s' * (count != 1)}"


def paths(count: int) -> str:
    """Return how many paths, in words."""
    return plural(count, "path")


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    number = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "bytes" else plural(count, "byte")
        number /= 1024
    return f"{number:.1f} GiB"


def span(seconds: float) -> str:
    """Return a length of time in at most two units."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 172800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def when(seconds: int) -> str:
    """Return a local time; `seconds` since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def ago(seconds: int) -> str:
    """Return how long ago, or nothing where the clock says that it is yet to come."""
    passed = time.time() - seconds
    return f", {span(passed)} ago" if passed >= 0 else ""
