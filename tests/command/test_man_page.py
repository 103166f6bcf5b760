"""Each command of netcf has a page of its own, with every option that the command has."""

from __future__ import annotations

import re
import subprocess

import pytest

from consumers.tools import make, need, run
from lib.build import REPO, Products

from .conftest import Netcf
from .test_commands import COMMANDS

PAGES = REPO / "docs/man"
GENERAL = {"--root", "--json", "--help", "-h"}


def options(text: str) -> set[str]:
    """The options that a --help lists."""
    listed = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    return set(re.findall(r"--?[\w-]+", " ".join(listed)))


def named(page: str) -> set[str]:
    """The options that a page names."""
    found = set()
    for line in re.findall(r"\bFl (.*)", page):
        words = re.split(r" (?:Ar|Op|Xo|Xc|Pq|Cm)\b|\s", line.replace(" | -", " -").replace(" , -", " -"))
        found |= {f"-{word}" for word in words if re.fullmatch(r"-?[a-z][\w-]*", word)}
    return found


def help_of(netcf: Netcf, command: str) -> str:
    more = ("install", "uninstall", "status") if command == "boot" else ()
    return netcf.out(command, "--help") + "".join(netcf.out(command, m, "--help") for m in more)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_has_the_options_of_its_command(netcf: Netcf, command: str) -> None:
    """Each option of --help stands in it, and no other; those that all have may."""
    page = (PAGES / f"netcf-{command}.8").read_text(encoding="utf-8")
    expected = options(help_of(netcf, command))
    assert {"--root", "--help"} <= expected
    assert named(page) - GENERAL == expected - GENERAL


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_lists_every_exit_status(command: str) -> None:
    """0, 1 and 2 at least, in a table."""
    page = (PAGES / f"netcf-{command}.8").read_text(encoding="utf-8")
    table = page.partition(".Sh EXIT STATUS\n")[2].partition("\n.Sh ")[0]
    assert re.findall(r"^\.It (\d+)$", table, re.MULTILINE)[:3] == ["0", "1", "2"]


def test_the_page_of_netcf_names_every_command(netcf: Netcf) -> None:
    """It leads to each page, in the words of --help, and to none that isn't there."""
    page = (PAGES / "netcf.8").read_text(encoding="utf-8")
    listed = re.findall(r"^\.It Xr netcf-(\w+) 8\n(.*)$", page, re.MULTILINE)
    [commands] = re.findall(r"^Commands:\n((?:  .*\n)+)", netcf.out("--help"), re.MULTILINE)
    assert listed == re.findall(r"^  (\S+) +(.*)$", commands, re.MULTILINE)
    assert {path.name for path in PAGES.iterdir()} == {
        "netcf.8", "networking-config.8", *(f"netcf-{command}.8" for command in COMMANDS)
    }  # fmt: skip
    assert GENERAL <= named(page)


def test_the_pages_are_clean() -> None:
    """Mandoc finds nothing to complain about."""
    need("mandoc")
    ran = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *sorted(PAGES.glob("netcf*.8"))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "")


def test_man_finds_them_as_installed(products: Products, tmp_path: object) -> None:
    """After make install, man netcf-try shows that page."""
    need("man")
    make(products.directory, f"PREFIX={tmp_path}", "install")
    text = run("man", "-M", f"{tmp_path}/share/man", "netcf-try", MANWIDTH="80", LC_ALL="C.UTF-8")
    assert "NETCF-TRY(8)" in text and "--check-gateway" in text
    assert max(map(len, text.splitlines())) <= 80
