"""The code blocks of a Markdown file."""

from __future__ import annotations

import re
from pathlib import Path

from lib.build import REPO


def blocks(document: str, language: str) -> list[str]:
    """Every fenced block of one language, in order."""
    text = Path(REPO, document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def block(document: str, language: str, containing: str) -> str:
    """The one block of a language that contains these words."""
    [found] = [text for text in blocks(document, language) if containing in text]
    return found
