"""Threads and signals: one handle for all of them, the GIL released while C works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netcf_py import AlreadyOpen, ArgumentError, Netcf, NetcfError, NotOpen, UseAfterClose

from .waiting import PATIENCE, HeldLock, wait_for_waiters

# A process of its own holds the lock: it lets go after a while whatever
# happens, so that a binding that keeps the GIL fails instead of hanging.
HOLDER = """
import fcntl, os, select, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
select.select([sys.stdin], [], [], 10)
"""


def test_other_threads_run_while_c_works(ncf: Netcf, host: Path) -> None:
    """While start waits in C, this thread goes on and can even ask for the status."""
    state = host / "var/lib/netcf"
    state.mkdir(mode=0o700)
    ended = threading.Event()

    def start() -> None:
        ncf.change_start()
        ended.set()

    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        worker = threading.Thread(target=start)
        worker.start()
        wait_for_waiters(state)
        with Netcf(host) as other:
            assert not other.status().open
        assert not ended.is_set()
        assert holder.poll() is None
        holder.stdin.close()
        worker.join(PATIENCE)
        assert ended.is_set()
    assert ncf.status().open


def test_one_of_many_threads_starts(ncf: Netcf) -> None:
    """Of threads that start on one Netcf at once exactly one succeeds."""
    barrier = threading.Barrier(8)

    def start() -> bool:
        barrier.wait(PATIENCE)
        try:
            ncf.change_start()
        except AlreadyOpen:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        started = [future.result() for future in [pool.submit(start) for _ in range(8)]]
    assert sorted(started) == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("not_open", "bad_flags"),
    [
        (lambda ncf: ncf.change_commit(), lambda ncf: ncf.change_start(2)),
        (lambda ncf: ncf.change_rollback(), lambda ncf: ncf.change_rollback(4)),
        (lambda ncf: ncf.diff(), lambda ncf: ncf.change_commit(2)),
    ],
    ids=["commit and start", "rollback and rollback", "diff and commit"],
)
def test_each_thread_gets_its_own_error(
    ncf: Netcf, not_open: Callable[[Netcf], object], bad_flags: Callable[[Netcf], object]
) -> None:
    """Errors of threads that share a Netcf are never mixed up."""
    barrier = threading.Barrier(2)

    def provoke(call: Callable[[Netcf], object], error: type[NetcfError], details: str) -> None:
        barrier.wait(PATIENCE)
        for _ in range(500):
            with pytest.raises(error, match=details):
                call(ncf)

    with ThreadPoolExecutor(2) as pool:
        for future in [
            pool.submit(provoke, not_open, NotOpen, "no transaction running"),
            pool.submit(provoke, bad_flags, ArgumentError, "unsupported flags"),
        ]:
            future.result()


def test_close_waits_for_the_call_in_another_thread(ncf: Netcf, host: Path) -> None:
    """A handle is not freed under a call: close returns after it."""
    lock = HeldLock(host)
    with ThreadPoolExecutor(2) as pool:
        started = pool.submit(ncf.change_start)
        lock.wait_for_waiters()
        closed = pool.submit(ncf.close)
        assert not closed.done()
        assert not ncf.closed
        lock.release()
        started.result(PATIENCE)
        closed.result(PATIENCE)
    assert ncf.closed
    with Netcf(host) as other:
        assert other.status().open


def test_closing_among_calls_is_use_after_close(host: Path) -> None:
    """Threads that use a Netcf while it is closed get an answer or UseAfterClose."""
    for _ in range(20):
        ncf = Netcf(host)
        barrier = threading.Barrier(3)

        def use(ncf: Netcf = ncf, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(PATIENCE)
            with pytest.raises(UseAfterClose):
                while True:
                    assert not ncf.status().open

        with ThreadPoolExecutor(2) as pool:
            users = [pool.submit(use) for _ in range(2)]
            barrier.wait(PATIENCE)
            ncf.close()
            for user in users:
                user.result(PATIENCE)


def test_a_signal_handler_may_use_the_handle(ncf: Netcf, host: Path) -> None:
    """A handler that runs as soon as C returns rolls back on the same Netcf."""
    lock = HeldLock(host)
    seen: list[bool] = []

    def handler(number: int, frame: object) -> None:
        seen.append(ncf.status().open)
        ncf.change_rollback()

    def send() -> None:
        lock.wait_for_waiters()
        os.kill(os.getpid(), signal.SIGUSR1)
        lock.release()

    previous = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        ncf.change_start()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [True]
    assert not ncf.status().open
