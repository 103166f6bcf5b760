"""docs/testing.md is complete."""

from __future__ import annotations

import re

from lib.build import REPO


def test_the_table_names_every_test_file() -> None:
    """Each test file stands in the table, and each one in it exists."""
    text = (REPO / "docs/testing.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", text))
    tests = REPO / "tests"
    assert named == {str(path.relative_to(tests)) for path in tests.rglob("test_*.py")}
