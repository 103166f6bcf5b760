"""The man page and the completion know the commands that the helper knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.build import REPO
from lib.helper import Helper

PAGE = REPO / "docs/man/networking-config.8"
COMPLETION = REPO / "completion/networking-config.bash"


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


def complete(*words: str) -> list[str]:
    """What bash would offer for the last of these words."""
    script = f"""
        source {COMPLETION}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _networking_config 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ran = subprocess.run(
        ["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


@pytest.fixture(autouse=True)
def bash() -> None:
    """These tests ask bash itself."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")


def test_completion_offers_every_command(helper: Helper) -> None:
    """An empty word is completed to each command and each general option."""
    assert set(complete("networking-config", "")) == commands(helper) | {
        "--root",
        "--help",
        "--version",
    }


def test_completion_narrows(helper: Helper) -> None:
    """A word begun is completed to what begins so."""
    assert complete("networking-config", "snapshot_") == ["snapshot_config"]
    assert complete("networking-config", "--root", "/x", "roll") == ["rollback_config"]


def test_completion_offers_the_options_of_a_command() -> None:
    """Options are offered after the command that takes them."""
    assert complete("networking-config", "change-begin", "-") == [
        "--note", "--on-write", "--timeout", "--leash", "--grace", "--trial-boots"
    ]  # fmt: skip
    assert complete("networking-config", "status", "-") == ["--open"]
    assert complete("networking-config", "commit_config", "") == []


def test_completion_offers_directories_and_files(tmp_path: Path) -> None:
    """--root is followed by a directory, announce by any path."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert complete("networking-config", "--root", f"{tmp_path}/") == [f"{tmp_path}/directory"]
    assert sorted(complete("networking-config", "announce", f"{tmp_path}/")) == [
        f"{tmp_path}/directory",
        f"{tmp_path}/file",
    ]


def test_completion_offers_discarded_configurations(helper: Helper, root: Path) -> None:
    """put-back is followed by a number that is there."""
    file = root / "etc/network/interfaces"
    file.parent.mkdir()
    for _ in range(2):
        helper.run("snapshot_config", root=root, check=True)
        file.write_text("auto lo\n")
        helper.run("rollback_config", root=root, check=True)
    offered = complete(str(helper.path), "--root", str(root), "put-back", "")
    assert offered == ["2", "1"]
