"""The leash: the change rolls back when the session that started it is gone."""

from __future__ import annotations

import ctypes
import os
import pty
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib import hosts, ncf, tree
from lib.helper import FAILED, Helper
from lib.images import need
from lib.ncf import Core, NcfError

from .conftest import guards, is_open, lock_out, until


def start_on(helper: Helper, host: Path, line: int, *options: str) -> None:
    helper.run("snapshot_config", "--leash", *options, root=host, check=True, stdin=line)


def line(kind: str) -> tuple[int, int]:
    """Both ends of something that hangs up: (ours, the session's)."""
    if kind == "terminal":
        return pty.openpty()
    if kind == "pipe":
        reader, writer = os.pipe()
        return writer, reader
    ours, theirs = socket.socketpair() if kind == "socket" else tcp()
    return ours.detach(), theirs.detach()


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    return ours, theirs


@pytest.mark.parametrize("kind", ["terminal", "pipe", "socket", "tcp"])
def test_a_session_that_ends_takes_the_change_along(helper: Helper, host: Path, kind: str) -> None:
    """End of file or hang-up of what the change is tied to rolls it back."""
    before = tree.capture(host)
    ours, theirs = line(kind)
    start_on(helper, host, theirs)
    os.close(theirs)
    lock_out(host)
    assert is_open(helper, host)
    assert len(guards(host)) == 1
    os.close(ours)
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []
    until(lambda: guards(host) == [], "the guard's end")


@pytest.mark.parametrize("kind", ["terminal", "pipe", "socket", "tcp"])
def test_what_the_session_says_is_not_taken_away(helper: Helper, host: Path, kind: str) -> None:
    """The guard never reads from the leash: input still belongs to the session."""
    ours, theirs = line(kind)
    start_on(helper, host, theirs)
    os.write(ours, b"typed\n")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 0.3, "a moment")
    assert is_open(helper, host)
    assert os.read(theirs, 100) == b"typed\n"
    helper.run("commit_config", root=host, check=True)
    os.close(ours)
    os.close(theirs)


def test_within_the_grace_time_it_can_still_be_committed(helper: Helper, host: Path) -> None:
    """Another session keeps the change after the first one is gone."""
    ours, theirs = line("pipe")
    start_on(helper, host, theirs, "--grace", "600")
    os.close(theirs)
    lock_out(host)
    after = tree.capture(host)
    os.close(ours)
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 0.5, "a moment")
    assert is_open(helper, host)
    helper.run("commit_config", root=host, check=True)
    until(lambda: guards(host) == [], "the guard's end", seconds=10)
    assert tree.differences(after, tree.capture(host)) == []


def test_the_grace_time_ends(helper: Helper, host: Path) -> None:
    """When nobody came, the change rolls back."""
    before = tree.capture(host)
    ours, theirs = line("pipe")
    start_on(helper, host, theirs, "--grace", "1")
    os.close(theirs)
    lock_out(host)
    gone = time.clock_gettime(time.CLOCK_BOOTTIME)
    os.close(ours)
    until(lambda: not is_open(helper, host), "the rollback")
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - gone >= 1
    assert tree.differences(before, tree.capture(host)) == []


def test_leash_and_deadline_whichever_is_first(helper: Helper, host: Path) -> None:
    """A session that stays does not keep the deadline off."""
    ours, theirs = line("pipe")
    start_on(helper, host, theirs, "--timeout", "1")
    until(lambda: not is_open(helper, host), "the rollback")
    os.close(ours)
    os.close(theirs)


def test_status_shows_the_leash(helper: Helper, core: Core, host: Path) -> None:
    """With its grace time."""
    ours, theirs = line("pipe")
    start_on(helper, host, theirs, "--grace", "30")
    status = core.status(host)
    assert (status.has_leash, status.grace, status.deadline, status.guarded) == (1, 30, 0, 1)
    assert "rolls back 30 s after the session" in helper.run("status", root=host).stdout
    os.close(ours)
    os.close(theirs)


def test_a_leash_whose_guard_was_killed_has_ended(helper: Helper, host: Path) -> None:
    """The line is lost with the guard: the one that is put back gives the grace time, no more."""
    before = tree.capture(host)
    ours, theirs = line("pipe")
    start_on(helper, host, theirs, "--grace", "1")
    lock_out(host)
    for pid in guards(host):
        os.kill(pid, 9)
    helper.run("status", root=host, check=True)
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []
    os.close(ours)
    os.close(theirs)


def test_what_can_not_hang_up_is_no_leash(helper: Helper, core: Core, host: Path) -> None:
    """A file, a device or nothing: refused at start, nothing is left behind."""
    before = tree.capture(host, state=True)
    for name in ("/dev/null", str(host / "etc/network/interfaces")):
        with open(name) as file:
            done = helper.run("snapshot_config", "--leash", root=host, stdin=file)
        assert done.returncode == FAILED
        assert "a leash needs a terminal, pipe or socket" in done.stderr
    with core.open(host) as handle:
        handle.set_options(leash=999)
        with pytest.raises(NcfError) as caught:
            handle.start()
    assert caught.value.code == ncf.EOTHER
    assert tree.differences(before, tree.capture(host, state=True)) == []


def test_a_peer_that_is_silently_gone_is_noticed(helper: Helper, host: Path, tmp_path: Path) -> None:
    """On a TCP connection the kernel asks whether the other end is there, and gives up in 25 s."""
    need("strace")
    ours, theirs = tcp()
    log = tmp_path / "calls"
    traced = subprocess.Popen(
        ["strace", "-f", "-o", log, "-e", "trace=setsockopt", helper.path, "--root", host]
        + ["snapshot_config", "--leash"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: guards(host) and is_open(helper, host), "the guard")
    helper.run("commit_config", root=host, check=True)
    assert traced.wait(60) == 0
    set_to = dict(re.findall(r"setsockopt\(\d+, \w+, (\w+), \[(\d+)\]", log.read_text()))
    assert set_to == {
        "SO_KEEPALIVE": "1",
        "TCP_KEEPIDLE": "10",
        "TCP_KEEPINTVL": "5",
        "TCP_KEEPCNT": "3",
        "TCP_USER_TIMEOUT": "25000",
    }
    ours.close()
    theirs.close()


@pytest.mark.root
@pytest.mark.slow
def test_a_cable_pulled_out_ends_the_leash(helper: Helper, host: Path) -> None:
    """Half-open TCP: no word comes from the peer any more, and in half a minute it is undone."""
    before = tree.capture(host)
    with hosts.peer() as near, hosts.peer() as far:
        hosts.cable(near, far, "eth0", "192.0.2.1/24")
        near.run("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
        near.run("ip", "link", "set", "eth0", "up")
        with in_network(near), socket.create_server(("192.0.2.2", 0)) as server:
            address = server.getsockname()
            with in_network(far):
                ours = socket.create_connection(address, 30)
            theirs, _ = server.accept()
        start_on(helper, host, theirs.fileno())
        lock_out(host)
        theirs.close()
        far.run("ip", "link", "set", "eth0", "down")
        gone = time.monotonic()
        until(lambda: not is_open(helper, host), "the rollback")
        assert 10 < time.monotonic() - gone < 40
        ours.close()
    assert tree.differences(before, tree.capture(host)) == []


@contextmanager
def in_network(namespace: hosts.Namespace) -> Iterator[None]:
    """Sockets that are made here belong to that network namespace."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/self/ns/net") as back, open(f"/proc/{namespace.pid}/ns/net") as there:
        assert setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert setns(back.fileno(), 0) == 0
