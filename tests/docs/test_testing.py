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


def test_the_matrix_of_cases_and_stacks() -> None:
    """Each stack's file has exactly the tests that the matrix says."""
    text = (REPO / "docs/testing.md").read_text(encoding="utf-8")
    head, _, *rows = re.search(r"^\| test \|.*?\n\n", text, re.M | re.S)[0].splitlines()[:-1]  # type: ignore[index]
    files = re.findall(r"`(\w+)`", head)
    said = {
        (name, file): cell
        for name, *cells in map(cells_of, rows)
        for file, cell in zip(files, cells)
    }
    assert len(said) >= 54 and {name for name, _ in said} >= {
        "test_bridge_out_of_the_uplink",
        "test_lease_is_back",
    }
    for (name, file), cell in said.items():
        there = re.search(
            rf"^def {name}\(", (REPO / f"tests/interface/test_{file}.py").read_text(), re.M
        )
        assert cell == ("yes" if there else "-"), (name, file)


def cells_of(row: str) -> list[str]:
    return [cell.strip(" `") for cell in row.strip("|").split("|")]
