"""strace attached to a program from its exec on: it counts no call of what brought it into a namespace."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lib.hosts import Namespace, wait_for
from lib.images import need

LIMIT = 60.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")


class Done(NamedTuple):
    """How it ended, as subprocess has it; None: not within LIMIT."""

    status: int | None
    output: str


def _status(pid: int, key: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text().partition(f"\n{key}:")[2].split()[0]
    except (FileNotFoundError, IndexError):
        return ""


def _enter(host: Namespace) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    opened = [os.open(f"/proc/{host.pid}/{name}", os.O_RDONLY) for name in ("ns/net", "ns/pid", "ns/mnt", "root")]
    for fd in opened[:3]:
        assert libc.setns(fd, 0) == 0, os.strerror(ctypes.get_errno())
    os.fchdir(opened[3])
    os.chroot(".")


def _program(host: Namespace, argv: Sequence[str], output: int) -> int:
    """A process on the host that is stopped before its exec; its parent ends as it does.  That one's pid."""
    parent = os.fork()
    if parent:
        return parent
    try:
        _enter(host)
        child = os.fork()  # the namespace of processes is for children
        if child == 0:
            null = os.open("/dev/null", os.O_RDWR | os.O_CREAT)
            for fd, own in enumerate((null, output, output)):
                os.dup2(own, fd)
            os.closerange(3, 256)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execve(f"/usr/sbin/{argv[0]}", list(argv), ENVIRONMENT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(status if status >= 0 else 128 - status)
    finally:
        os._exit(125)


def run(host: Namespace, argv: Sequence[str], options: Sequence[str], directory: Path, then: Callable[[], object] = bool) -> Done:
    """Run argv on the host under strace with these options, and `then()` while what it left is traced."""
    need("strace")
    with open(directory / "output", "w+") as file:
        parent = _program(host, argv, file.fileno())
        children = Path(f"/proc/{parent}/task/{parent}/children")
        wait_for(lambda: children.read_text().split() != [], "a child")
        pid = int(children.read_text().split()[0])
        wait_for(lambda: _status(pid, "State") == "T", "a process that waits")
        strace = subprocess.Popen(
            ["strace", "-f", "-qq", *options, "-p", str(pid)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            wait_for(lambda: strace.poll() is not None or _status(pid, "TracerPid") not in ("", "0"), "strace")
            os.kill(pid, signal.SIGCONT)
            end = time.monotonic() + LIMIT
            ended = 0
            while ended == 0 and time.monotonic() < end:
                ended, status = os.waitpid(parent, os.WNOHANG)
                time.sleep(0.002)
            if ended == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(parent, 0)
            then()
        finally:
            strace.terminate()
            _, said = strace.communicate()
        file.seek(0)
        code = os.waitstatus_to_exitcode(status) if ended else None
        return Done(code, file.read() + ("" if ended else said.decode(errors="replace")))


def calls(log: Path) -> tuple[list[tuple[str, str]], list[list[tuple[str, str]]]]:
    """The calls of the program after its exec, and those of each process it made up to an exec there."""
    by_pid: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            by_pid[match[1]].append((match[2], match[3]))
    first, *others = by_pid.values()
    at = next(i for i, (name, _) in enumerate(first) if name == "execve")
    cut = [next((i + 1 for i, (name, _) in enumerate(rows) if name == "execve"), len(rows)) for rows in others]
    # What is unfinished is resumed in another line: it counts once.
    return first[at + 1 :], [rows[:end] for rows, end in zip(others, cut)]
