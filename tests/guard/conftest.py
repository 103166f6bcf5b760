"""A change that is guarded, and the process that guards it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib import tree
from lib.helper import Helper

INTERFACES = "etc/network/interfaces"


@pytest.fixture
def host(root: Path) -> Iterator[Path]:
    """A realistic host; no guard of a change of it outlives the test."""
    tree.realistic(root)
    yield root
    for pid in guards(root):
        os.kill(pid, signal.SIGKILL)


def guards(host: Path) -> list[int]:
    """The guards of a change on this host: by the root that they have open."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if command[1:2] == [b"guard"] and os.path.samefile(entry / "fd/3", host):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue  # not a process, gone, or not ours
    return found


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.01)


def lock_out(host: Path) -> None:
    """The edit that cuts the host off."""
    (host / INTERFACES).write_text("auto eth0\niface eth0 inet static\n  address 192.0.2.99/24\n")


def is_open(helper: Helper, host: Path) -> bool:
    """As a script would ask."""
    return helper.run("status", "--open", root=host).returncode == 0
