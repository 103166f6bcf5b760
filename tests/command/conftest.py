"""The installed command on a realistic host, with or without a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib import tree

COMMAND = Path(sys.executable).with_name("netcf")
PATIENCE = 60.0
INTERFACES = "etc/network/interfaces"


class Netcf:
    """Runs netcf on one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command = COMMAND
        self.environment = {**os.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
        self.environment.pop("NETWORKING_CONFIG_TOKEN", None)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "--root", self.root, *arguments], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="surrogateescape", timeout=PATIENCE,
            env={**self.environment, **options},
        )  # fmt: skip

    def out(self, *arguments: str) -> str:
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def json(self, *arguments: str, status: int = 0) -> Any:
        ran = self.run(*arguments[:1], "--json", *arguments[1:])
        assert ran.returncode == status, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def open(self) -> bool:
        return bool(self.json("status")["open"])


class Terminal:
    """netcf in the foreground of a pseudo-terminal of its own."""

    def __init__(self, netcf: Netcf, *arguments: str) -> None:
        self.screen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(COMMAND, ["netcf", "--root", str(netcf.root), *arguments], netcf.environment)

    def wait_for(self, text: str) -> None:
        """Read until `text` is on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < end, self.screen
            if select.select([self.fd], [], [], 1.0)[0]:
                self.screen += os.read(self.fd, 4096).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def status(self) -> int:
        """Read to the end; the exit status."""
        with contextlib.suppress(OSError):
            while self.fd >= 0 and (got := os.read(self.fd, 4096)):
                self.screen += got.decode("utf-8", "replace")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return status

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def netcf(root: Path) -> Netcf:
    tree.realistic(root)
    return Netcf(root)


@pytest.fixture
def terminal(netcf: Netcf) -> Iterator[Any]:
    """Start netcf on a terminal: terminal("try", ...)."""
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(netcf, *arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
