"""bash, zsh and fish themselves are asked what they offer, with all as make install puts it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.tools import make, need
from lib.build import Products
from lib.helper import Helper

from .conftest import COMMAND, PATIENCE, Netcf
from .test_commands import COMMANDS, edit

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
BEGIN = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """PS1='$ '; bind 'set show-all-if-ambiguous on'; bind 'set completion-query-items 0'
        bind 'set page-completions off'; bind 'set enable-bracketed-paste off'
        bind -x '"\\C-g": echo "<""<$READLINE_LINE>"">"; READLINE_LINE='
        . /usr/share/bash-completion/bash_completion""",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """PS1='$ '; unsetopt prompt_cr prompt_sp beep always_last_prompt; LISTMAX=1000
        fpath=($PREFIX/share/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D
        show() { zle -I; print -r -- "<""<$BUFFER>"">"; BUFFER=; }; zle -N show; bindkey '^G' show""",
    ),
}


class Interactive:
    """A shell on a terminal of 200 columns, where Tab is typed."""

    def __init__(self, shell: str, environment: dict[str, str]) -> None:
        argv, begin = BEGIN[shell]
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(argv[0], argv, environment)
        subprocess.run(["stty", "rows", "200", "cols", "200"], stdin=self._fd, check=True)
        for line in begin.splitlines():
            self._type(line.strip() + "\n")
        self.offers("")

    def offers(self, line: str) -> set[str]:
        """The words on the screen after Tab: of a list, or the line, completed."""
        # The key Ctrl-G shows the line as Tab left it, between << and >>, and empties it.
        self._type(f"{line}\t\x07" if line else "\x07")
        screen, end = "", time.monotonic() + PATIENCE
        while not (shown := re.search(r"<<(.*)>>", screen)):
            assert time.monotonic() < end, screen
            if select.select([self._fd], [], [], 1.0)[0]:
                screen += os.read(self._fd, 65536).decode("utf-8", "replace")
        listed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", screen[: shown.start()])
        return {*listed.split(), *shown[1].split()}

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)

    def _type(self, text: str) -> None:
        os.write(self._fd, text.encode())


class Fish:
    """fish says by itself what it would offer."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def offers(self, line: str) -> set[str]:
        ran = subprocess.run(
            ["fish", "-c", "complete --do-complete $argv[1]", line],
            env=self._environment, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return {offer.split("\t")[0] for offer in ran.stdout.splitlines()}

    def close(self) -> None:
        """It has ended after each line."""


@pytest.fixture(scope="module")
def prefix(products: Products, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where make install puts everything."""
    prefix = tmp_path_factory.mktemp("prefix")
    make(products.directory, f"PREFIX={prefix}", "install")
    return prefix


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(
    request: pytest.FixtureRequest, prefix: Path, tmp_path: Path
) -> Iterator[Interactive | Fish]:
    """A shell that finds both commands, and nothing of this machine's own set-up."""
    need(request.param)
    if request.param == "bash" and not BASH_COMPLETION.exists():
        pytest.skip("bash-completion is not installed")
    environment = {
        "HOME": str(tmp_path), "PREFIX": str(prefix), "TERM": "xterm", "LC_ALL": "C.UTF-8",
        "PATH": f"{COMMAND.parent}:{prefix}/sbin:/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_DATA_DIRS": f"{prefix}/share:/usr/share", "XDG_CONFIG_HOME": str(tmp_path),
    }  # fmt: skip
    made = Fish(environment) if request.param == "fish" else Interactive(request.param, environment)
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a directory and a file in it."""
    (tmp_path / "files/directory").mkdir(parents=True)
    (tmp_path / "files/fine").touch()
    return tmp_path / "files"


def named(offered: set[str], name: str) -> bool:
    """Whether a path of this name is offered, in whatever way this shell writes it."""
    return any(re.search(rf"(?:^|/){name}/?$", one) for one in offered)


def options(help_text: str) -> set[str]:
    return set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", help_text, re.MULTILINE))


def test_netcf(shell: Interactive | Fish, netcf: Netcf, files: Path) -> None:
    """Commands, their options, numbers of the history, directories, programs, files."""
    assert shell.offers("netcf ") >= set(COMMANDS) - {"boot install"} | {"boot"}
    some = shell.offers("netcf sta")
    assert {"start", "status"} <= some and "commit" not in some
    for command in (["start"], ["try"], ["rollback"], ["boot", "install"]):
        expected = options(netcf.out(*command, "--help"))
        assert "--root" in expected
        assert shell.offers(f"netcf {' '.join(command)} --") >= expected
    assert {"install", "status", "uninstall"} <= shell.offers("netcf boot ")
    inits = shell.offers("netcf boot install sys")
    assert {"systemd", "sysv"} <= inits and "runit" not in inits
    assert "unshare" in shell.offers("netcf try -- unshar")
    for _ in range(2):
        netcf.out("start")
        edit(netcf)
        netcf.out("rollback")
    assert {"1", "2"} <= shell.offers(f"netcf --root {netcf.root} show ")
    assert named(shell.offers(f"netcf --root {files}/d"), "directory")
    assert not named(shell.offers(f"netcf --root {files}/fi"), "fine")
    assert named(shell.offers(f"netcf commit --token-file {files}/fi"), "fine")


def test_networking_config(
    shell: Interactive | Fish, helper: Helper, netcf: Netcf, files: Path
) -> None:
    """All that its --help names, each where it belongs."""
    text = helper.run("--help", check=True).stdout
    offered = shell.offers("networking-config ")
    for name in re.findall(r"^  ([a-z][\w-]+)\b(?!,)", text, re.MULTILINE):
        assert name in offered or name == "stop", (name, offered)
    assert {"change-begin", "try-restart", "force-reload", "stop"} <= offered
    assert {"--root", "--help", "--version"} <= shell.offers("networking-config --")
    begin = options(text.partition("extend SECONDS")[0])
    assert len(begin) == 6
    rollback = options(text.partition("rollback_config [OPTION]")[2].partition("  diff ")[0])
    assert len(rollback) == 4
    for command, expected in {
        "snapshot_config": begin,
        "change-begin": begin,
        "rollback_config": rollback,
        "change-rollback": rollback,
        "status": {"--open"},
    }.items():
        assert shell.offers(f"networking-config {command} --") >= expected
    for _ in range(2):
        netcf.out("start")
        edit(netcf)
        netcf.out("rollback")
    assert {"1", "2"} <= shell.offers(f"networking-config --root {netcf.root} put-back ")
    assert named(shell.offers(f"networking-config --root {files}/d"), "directory")
    assert named(shell.offers(f"networking-config announce {files}/fi"), "fine")
