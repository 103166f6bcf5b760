"""docs/man/netcf.8 has every command and option that the command has."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from lib.build import REPO

from .conftest import Netcf
from .test_commands import COMMANDS

PAGE = REPO / "docs/man/netcf.8"


def section(text: str, command: str) -> str:
    """The part of the page from a command's entry to the next command's."""
    entries = re.split(r"^\.It (?:Xo\n\.)?Cm (?=[a-z])", text, flags=re.MULTILINE)
    [found] = [entry for entry in entries if re.match(command + r"\b", entry)]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_every_option(netcf: Netcf, command: str) -> None:
    """Each option of a command's --help stands with it, or with those that all have."""
    text = PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^  (-.*?)(?:  |$)", netcf.out(command, "--help"), re.MULTILINE)
    options = set(re.findall(r"-?-([\w-]+)", " ".join(listed)))
    assert {"root", "json", "help"} <= options
    general, _, _ = text.partition(".Ss ")
    named = set(re.findall(r"\bFl -?([\w-]+)", general + section(text, command)))
    named |= set(re.findall(r"[,|] -([\w-]+)", general + section(text, command)))
    assert {option.lstrip("-") for option in options} - {name.lstrip("-") for name in named} == set()


def test_the_page_has_no_other_options(netcf: Netcf) -> None:
    """No option in the page is one that no command has."""
    text = PAGE.read_text(encoding="utf-8")
    known = "".join(netcf.out(*command, "--help") for command in [[], *([c] for c in COMMANDS)])
    for option in re.findall(r"\bFl -([a-z][\w-]+)", text):
        assert f"--{option}" in known


def test_the_page_is_clean() -> None:
    """Mandoc finds nothing to complain about."""
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    ran = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, "")
