# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keys and passwords in configuration files, hidden where a person looks at a difference.

Made to hide too much rather than too little: a name that sounds like a secret
hides all that follows it in its line, and what may belong to it in the next ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

__all__ = ["HIDDEN", "masked", "masked_line"]

HIDDEN = "(hidden)"

# Keyfiles, ifcfg, interfaces, netplan, networkd, wpa_supplicant.
_SECRET = re.compile(
    r"psk|(?<!by)pass(?!thr|ive)|secret|private|pre[._-]?shared|key|cookie|(?:^|[._-])cak\b"
    r"|(?:^|[._-])(?:shared|pin(?:code)?|puk)$",
    re.IGNORECASE,
)
_PUBLIC = re.compile(
    r"(?:public[._-]?key|key[._-]?(?:mgmt|management|id|idx|type)|^keys)$", re.IGNORECASE
)
_WORD = re.compile(r"[\w.-]+")
# What stands between a name and its value: = or :, in interfaces only space.
_SET = re.compile(r"(?:\[[^]]{0,64}\])?[\"']?\s*\+?[:=]\s*")
_SAID = re.compile(r"[\"']?(?:\s+(?=\S)|\\$)")

_COMMAND = re.compile(r"\s*(?:(?:pre|post)-)?(?:up|down)\s+", re.IGNORECASE)
_COMMENT = re.compile(r"\s*[#;]")
_DASHES = re.compile(r"\s*(?:-\s+)*")
_TAGS = re.compile(r"(?:[&!]\S*\s+)*")
_EMPTY = re.compile(r"(?:\"\"|'')?\s*$")
_SECTION = re.compile(r"\s*\[[^]]*\]\s*$")
_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_END = re.compile(r"-----END ")
# Keys that stand alone: WireGuard's, a PSK in hexadecimal, a password in an address.
_BARE = re.compile(
    r"^\s*[\"']?[A-Za-z0-9+/]{43}=[\"']?\s*$|(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])"
    r"|(?<=://)[^\s/@]{0,256}:[^\s@]{1,256}(?=@)"
)
# Names of files that are nothing but a key.
_KEY_FILE = re.compile(rb"^keys-|\.(?:key|pem|psk|p12|pfx|secret)\W*(?:\w{1,4})?$", re.IGNORECASE)


class _Mask:
    """Hides secrets in the lines of one file, from its first to its last."""

    def __init__(self) -> None:
        self._indent: int | None = None
        """Of the last secret's name: what is further in belongs to it."""
        self._continued = False
        self._quote = ""
        self._brackets = 0
        self._section = False
        self._key = False

    def line(self, text: str) -> str:
        """Return the next line with what is secret in it hidden."""
        body = text.rstrip("\r\n")
        ending = text[len(body) :]
        if self._belongs(body):
            indent = len(body) - len(body.lstrip())
            return body[:indent] + HIDDEN * bool(body.strip()) + ending
        if _BEGIN.search(body):
            self._key = True
            return HIDDEN + ending
        if _SECTION.match(body):
            self._section = "secret" in body.lower()
            self._indent = None
            return text
        comment = _COMMENT.match(body) is not None
        if body.strip() and not comment:
            self._indent = None
        end = _secret(body)
        if end is None:
            return _BARE.sub(HIDDEN, body) + ending
        if not comment:
            self._expect(body, end)
        return text if _EMPTY.match(body, end) else body[:end] + HIDDEN + ending

    def _expect(self, body: str, end: int) -> None:
        """Note what of the next lines may belong to the value that begins at `end`."""
        dashes = _DASHES.match(body)
        self._indent = dashes.end() if dashes else 0
        self._continued = body.rstrip().endswith("\\")
        tags = _TAGS.match(body, end)
        value = body[tags.end() if tags else end :]
        if value[:1] in ("'", '"') and _open(value, value[0]):
            self._quote = value[0]
        if ":" in body[:end]:
            self._brackets = max(_depth(body), 0)

    def _belongs(self, body: str) -> bool:
        """Whether a line goes on with an earlier one's secret; what goes on after it."""
        if self._key:
            self._key = not _END.search(body)
            return True
        if self._section and not _SECTION.match(body):
            return True
        if self._quote:
            if _open(body, self._quote):
                self._quote = ""
            return True
        if self._brackets:
            self._brackets = max(self._brackets + _depth(body), 0)
            return True
        if self._continued:
            # A comment between them does not end it.
            self._continued = bool(_COMMENT.match(body)) or body.rstrip().endswith("\\")
            return True
        if self._indent is None or not body.strip():
            return False
        indent = len(body) - len(body.lstrip())
        return indent > self._indent or (
            indent == self._indent and body[indent : indent + 2].rstrip() in ("-", ":")
        )


def _secret(body: str) -> int | None:
    """Where in a line a secret begins; None if there is none."""
    command = _COMMAND.match(body)
    bare = len(body.rstrip("\"' ")) if body.lstrip(" -").startswith("? ") else -1
    for word in _WORD.finditer(body):
        name = word[0]
        if not _SECRET.search(name):
            continue
        if command is not None:  # what is secret may stand before its name
            return command.end()
        after = _SET.match(body, word.end())
        public = _PUBLIC.search(name)
        if after is not None and public is not None and name.lower() == "keys":
            # netplan: a key by itself, or a mapping in which each has a name
            public = public if body[after.end() : after.end() + 1] in ("", "{") else None
        if public is not None:
            continue
        after = after or _SAID.match(body, word.end())
        if after is not None:
            return after.end()
        if word.end() == bare:
            return len(body)
    return None


def _open(text: str, quote: str) -> bool:
    """Whether `text` has an odd number of this quote."""
    return re.sub(r"\\.", "", text).count(quote) % 2 == 1


def _depth(text: str) -> int:
    return sum(text.count(c) for c in "{[") - sum(text.count(c) for c in "}]")


def masked(path: bytes, texts: Iterable[str]) -> list[str]:
    """Return all lines of a file with its secrets hidden.

    Args:
        path: The file's; some are nothing but a key.
        texts: Its lines, with their ends.
    """
    if _KEY_FILE.search(os.path.basename(path)):
        return [HIDDEN + "\n" * text.endswith("\n") for text in texts]
    mask = _Mask()
    return [mask.line(text) for text in texts]


def masked_line(text: str) -> str:
    """Return a line of a person, such as a command, with its secrets hidden."""
    return masked(b"", [text])[0]
