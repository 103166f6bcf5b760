# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keys and passwords in configuration files, hidden where a person looks at a difference.

Made to hide too much rather than too little: a name that sounds like a secret
hides all that follows it in its line, and what belongs to it in the next ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["HIDDEN", "Mask"]

HIDDEN = "(hidden)"

# Keyfiles, ifcfg and keys- files, interfaces, netplan, networkd.
_NAME = (
    r"[\w.-]*(?:psk|pass(?:wor[dt]|phrase|wd)|secret|private[._-]?key|preshared[._-]?key"
    r"|wep[._-]?key|wireless[._-]?key)[\w.-]*"
    r"|(?:wpa[._-])?(?:key|pin|private|shared)(?:[._-]?(?:\d+|passphrase\d*))?"
)
# "name = value" or "name: value" anywhere, for {...} in YAML; "name value" in interfaces.
_SET = re.compile(rf"""(?<![\w.-])["']?(?:{_NAME})["']?\s*[:=]\s*""", re.IGNORECASE)
_SAID = re.compile(rf"\s*(?:{_NAME})\s+", re.IGNORECASE)
_HARMLESS = re.compile(r"\s*(?:0|none|\"\"|'')?\s*$", re.IGNORECASE)


class Mask:
    """Hides secrets in the lines of one file, from its first to its last."""

    def __init__(self) -> None:
        self._indent: int | None = None
        self._continued = False

    def line(self, text: str) -> str:
        """Return the next line with what is secret in it hidden."""
        body = text.rstrip("\r\n")
        ending = text[len(body) :]
        indent = len(body) - len(body.lstrip())
        if self._continued or (self._indent is not None and indent > self._indent and body.strip()):
            self._continued = body.endswith("\\")
            return body[:indent] + HIDDEN + ending
        if body.strip():
            self._indent = None
        found = _SET.search(body) or _SAID.match(body)
        if found is None or (body.lstrip().startswith(("#", ";")) and not _SET.search(body)):
            return text
        self._indent = indent
        self._continued = body.endswith("\\")
        if _HARMLESS.match(body[found.end() :]):
            return text
        return body[: found.end()] + HIDDEN + ending

    @classmethod
    def lines(cls, texts: Iterable[str]) -> list[str]:
        """Return all lines of a file with its secrets hidden."""
        mask = cls()
        return [mask.line(text) for text in texts]
