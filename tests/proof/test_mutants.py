"""Each essential step, left out or done at the wrong time, is noticed."""

from __future__ import annotations

import re

from lib.build import REPO
from proof.mutants import MUTANTS, mutate


def test_each_mutant_applies(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The text that a mutant replaces stands in the core exactly once."""
    for mutant in MUTANTS:
        assert mutate(mutant, tmp_path / mutant.name)


def test_each_mutant_breaks_a_claim_of_the_documentation() -> None:
    """The claim is quoted word by word."""
    text = "".join((REPO / "docs" / name).read_text(encoding="utf-8") for name in ("design.md", "format.md"))
    words = re.sub(r"\s+", " ", text)
    assert [mutant.name for mutant in MUTANTS if mutant.claim not in words] == []
