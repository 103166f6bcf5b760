"""The helper's man page knows the commands that the helper knows."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from lib.build import REPO
from lib.helper import Helper

PAGE = REPO / "docs/man/networking-config.8"


def commands(helper: Helper) -> set[str]:
    """Every command and alias that --help names."""
    text = helper.run("--help", check=True).stdout
    found = set(re.findall(r"^  ([a-z][\w-]+)", text, flags=re.MULTILINE))
    found |= set(re.findall(r"also: ([\w-]+)", text))
    [init] = re.findall(r"^  (stop,.*)$", text, flags=re.MULTILINE)
    return found | set(init.split(", "))


def options(helper: Helper) -> set[str]:
    """Every option that --help names."""
    return set(re.findall(r"--[a-z-]+", helper.run("--help", check=True).stdout))


def test_help_is_understood_here(helper: Helper) -> None:
    """What the other tests of this file compare with is not empty."""
    assert {"snapshot_config", "change-commit", "put-back", "try-restart"} <= commands(helper)
    assert {"--root", "--note", "--open"} <= options(helper)


def test_the_man_page_names_every_command(helper: Helper) -> None:
    """Each command and each option of --help stands in the page."""
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+", text))
    assert commands(helper) - named == set()
    assert {option[1:] for option in options(helper)} - named == set()


def test_the_man_page_is_clean() -> None:
    """Mandoc finds nothing to complain about."""
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    ran = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, "")
