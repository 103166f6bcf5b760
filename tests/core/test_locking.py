"""One change at a time, across processes; readers never wait."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib import forks, ncf, seam, tree
from lib.helper import Helper
from lib.ncf import Core, NcfError

SIXTY_FOUR = 64


def code_of(function) -> int:  # type: ignore[no-untyped-def]
    """0, or the error code of a call, for a child's exit status."""
    try:
        function()
    except NcfError as error:
        if error.code == ncf.EINVALIDOP and "there is another transaction running." not in error.details:
            return 200
        return error.code
    return 0


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of the state directory, as another process in a change would."""
    fd = os.open(root / "var/lib/netcf", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
        fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child has the same lock
    finally:
        os.close(fd)


@pytest.mark.parametrize("first_ever", [True, False], ids=["no-state-directory", "state-directory"])
def test_of_64_processes_exactly_one_starts(core: Core, fast_dir: Path, first_ever: bool) -> None:
    """64 simultaneous starts: one succeeds, 63 get EINVALIDOP and its message."""
    for attempt in range(5):
        root = fast_dir / str(attempt)
        tree.realistic(root)
        if not first_ever:
            (root / "var/lib/netcf").mkdir(mode=0o700)
        codes = forks.all_at_once(SIXTY_FOUR, lambda _, root=root: code_of(lambda: core.start(root)))
        assert sorted(codes) == [0] + [ncf.EINVALIDOP] * (SIXTY_FOUR - 1)
        assert core.diff(root) == []
        assert tree.temporary_files(root) == []


def test_of_64_helpers_exactly_one_starts(helper: Helper, core: Core, fast_dir: Path) -> None:
    """The same with the executable: one exit status 0, 63 times 199."""
    tree.realistic(fast_dir)
    running = [
        subprocess.Popen(
            ["networking-config", "--root", str(fast_dir), "change-begin"],
            executable=helper.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(SIXTY_FOUR)
    ]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in running]
    assert sorted(code for _, code in ended) == [0] + [199] * (SIXTY_FOUR - 1)
    assert all(b"there is another transaction running." in text for text, code in ended if code)
    assert core.diff(fast_dir) == []


@pytest.mark.parametrize("call", ["commit", "rollback"])
def test_of_many_processes_exactly_one_finishes(core: Core, fast_dir: Path, call: str) -> None:
    """16 simultaneous commits, or rollbacks: one does it, the others find none open."""
    before = tree.realistic(fast_dir)
    core.start(fast_dir)
    edited = tree.lock_out(fast_dir)

    def finish(_: int) -> int:
        try:
            getattr(core, call)(fast_dir)
        except NcfError as error:
            return error.code
        return 0

    codes = forks.all_at_once(16, finish)
    assert sorted(codes) == [0] + [ncf.EINVALIDOP] * 15
    wanted = edited if call == "commit" else before
    assert tree.differences(wanted, tree.capture(fast_dir)) == []


def test_commit_against_rollback(core: Core, fast_dir: Path) -> None:
    """Where commit and rollback race, one wins whole: the tree is all new or all old."""
    for attempt in range(10):
        root = fast_dir / str(attempt)
        before = tree.realistic(root)
        core.start(root)
        edited = tree.lock_out(root)

        def finish(number: int, root: Path = root) -> int:
            try:
                (core.commit if number % 2 else core.rollback)(root)
            except NcfError as error:
                return error.code
            return 0

        codes = forks.all_at_once(8, finish)
        assert sorted(codes) == [0] + [ncf.EINVALIDOP] * 7
        wanted = edited if codes.index(0) % 2 else before
        assert tree.differences(wanted, tree.capture(root)) == []


def test_announcements_from_many_processes(core: Core, fast_dir: Path) -> None:
    """Files announced at the same time by many processes are all saved."""
    tree.realistic(fast_dir)
    core.start(fast_dir, ncf.START_ON_WRITE)
    paths = sorted(tree.REALISTIC)[:16]
    codes = forks.all_at_once(16, lambda i: code_of(lambda: core.announce(fast_dir, paths[i])))
    assert codes == [0] * 16
    assert core.status(fast_dir).files == 16
    for path in paths:
        os.unlink(tree.join(fast_dir, path))
    core.rollback(fast_dir)
    assert all(os.path.exists(tree.join(fast_dir, path)) for path in paths)


def test_readers_never_wait_for_the_lock(core: Core, root: Path) -> None:
    """Status, scope, diff and the list answer while somebody holds the lock."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)

    def read() -> list[int]:
        with core.open(root) as handle:
            return [handle.status().open, len(handle.scope()) > 0, len(handle.diff()) > 0, len(handle.discarded())]

    with locked(root):
        assert forks.run(read, timeout=20).value == [1, True, True, 0]


def test_readers_of_the_helper_never_wait(helper: Helper, core: Core, root: Path) -> None:
    """status and snapshot-dir answer while somebody holds the lock."""
    tree.realistic(root)
    core.start(root)
    with locked(root):
        assert "an open transaction" in helper.run("status", root=root, timeout=20).stdout
        assert helper.run("snapshot-dir", root=root, timeout=20).returncode == 0


def test_writers_wait_for_the_lock(core: Core, root: Path) -> None:
    """A start waits until the lock is free and then succeeds."""
    tree.realistic(root)
    (root / "var/lib/netcf").mkdir(mode=0o700)
    reader, writer = os.pipe()
    with locked(root):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.close(reader)

                def tell(event: seam.Event, _number: int) -> None:
                    if event.call == "flock":
                        os.write(writer, b"x")

                with seam.watching(core, tell):
                    code = code_of(lambda: core.start(root))
            finally:
                os._exit(code)
        os.close(writer)
        assert os.read(reader, 1) == b"x"  # it is about to ask for the lock
        assert not (root / "var/lib/netcf/network-snapshot.tar").exists()
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reader)
    assert core.status(root).open == 1


def test_a_crash_releases_the_lock(core: Core, root: Path) -> None:
    """A process that was killed while it held the lock is in nobody's way."""
    tree.realistic(root)

    def die_holding(event: seam.Event, _number: int) -> None:
        if event.call == "write":
            os.kill(os.getpid(), signal.SIGKILL)

    def start() -> None:
        with seam.watching(core, die_holding):
            core.start(root)

    assert forks.run(start).signal == signal.SIGKILL
    assert forks.run(lambda: core.start(root).id, timeout=20).value
    assert core.status(root).open == 1


def test_the_lock_is_not_inherited(core: Core, root: Path) -> None:
    """No descriptor of the core survives an exec: every one is close-on-exec."""
    tree.realistic(root)
    inherited: list[str] = []
    before = set(os.listdir("/proc/self/fd"))

    def look(_event: seam.Event, _number: int) -> None:
        for fd in set(os.listdir("/proc/self/fd")) - before:
            try:
                if not fcntl.fcntl(int(fd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                    inherited.append(os.readlink(f"/proc/self/fd/{fd}"))
            except OSError:
                continue  # the descriptor of the listing itself

    with seam.watching(core, look):
        core.start(root)
        tree.lock_out(root)
        core.rollback(root)
    assert inherited == []


def test_every_moment_of_a_rollback_can_be_watched(core: Core, fast_dir: Path) -> None:
    """At every step of a rollback a reader gets an answer: open with a diff, or closed."""
    tree.realistic(fast_dir)
    core.start(fast_dir)
    tree.lock_out(fast_dir)
    seen: list[int] = []

    def look(_event: seam.Event, _number: int) -> None:
        with core.open(fast_dir) as reader:
            is_open = reader.status().open
            seen.append(is_open)
            if is_open:
                reader.diff()

    with seam.watching(core, look):
        core.rollback(fast_dir)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 1


def test_every_moment_of_a_start_can_be_watched(core: Core, fast_dir: Path) -> None:
    """At every step of a start a reader sees none open, or a whole one: never half of one."""
    tree.realistic(fast_dir)
    seen: list[int] = []

    def look(_event: seam.Event, _number: int) -> None:
        with core.open(fast_dir) as reader:
            is_open = reader.status().open
            seen.append(is_open)
            if is_open:
                assert reader.diff() == []

    with seam.watching(core, look):
        core.start(fast_dir)
    assert seen == sorted(seen)
