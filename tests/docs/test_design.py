"""docs/design.md says what the code says, where that can be compared."""

from __future__ import annotations

import re
from pathlib import Path

import netcf_py
from lib.build import REPO

TEXT = (REPO / "docs/design.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below one heading."""
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
    return found


def test_the_layers_are_those_of_the_sources() -> None:
    """Same files, same order as in csrc/sources.mk."""
    makefile = (REPO / "csrc/sources.mk").read_text(encoding="utf-8")
    table = re.findall(r"^\| `([\w/-]+)` \|", section("Layers"), flags=re.MULTILINE)
    assert table == re.findall(r"([\w/-]+)\.c\b", makefile)


def test_the_scope_is_the_default_scope(root: Path) -> None:
    """Every default pattern stands in the table, and every name in the table is one."""
    rows = [row for row in section("Scope").splitlines() if row.startswith("| ")][1:]
    named = set(re.findall(r"`([^`]+)`", "".join(rows)))
    patterns = [pattern.pattern for pattern in netcf_py.Netcf(root).scope()]
    known = {part for path in patterns for part in (path, *path.rsplit("/", 1))}
    assert named - known == set()
    assert [path for path in patterns if {path, path.rsplit("/", 1)[1]} & named == set()] == []
