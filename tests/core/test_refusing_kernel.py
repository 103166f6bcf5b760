"""A kernel that refuses what no file's error can show: clocks, watches, limits, random numbers, /proc."""

from __future__ import annotations

import ctypes
import errno
import os
import pty
import resource
import socket
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import forks, operations, seccomp, tree
from lib.ncf import Core
from lib.operations import Operation

NEVER = 2**64 - 1
NOBODY = 65534
MAY_RAISE = 24  # CAP_SYS_RESOURCE
NEW_NAMESPACE, PRIVATE = 0x20000, 0x44000


def in_child(function: Callable[[], Any]) -> Any:
    """What the function returns in a process of its own, which has leaked no descriptor."""

    def child() -> Any:
        before = os.listdir("/proc/self/fd")
        value = function()
        assert os.listdir("/proc/self/fd") == before
        return value

    return forks.run(child).value


def refused(call: str, error: int, function: Callable[[], Any]) -> Any:
    def child() -> Any:
        seccomp.without([call], error)()
        return function(), ctypes.get_errno()

    return in_child(child)


def mounted(kind: str, path: str) -> None:
    """Put an empty filesystem there, in a namespace of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(NEW_NAMESPACE) == 0
    assert libc.mount(b"none", b"/", None, PRIVATE, None) == 0
    assert libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None) == 0


@pytest.fixture(scope="module")
def sys(core: Core) -> ctypes.CDLL:
    """The core's functions, with errno kept."""
    return ctypes.CDLL(core.lib._name, use_errno=True)


@pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)
def test_without_statx(core: Core, fast_dir: Path, operation: Operation) -> None:
    """Before Linux 4.11 every operation does the same."""
    world = operation.prepare(core, fast_dir / "host")

    def child() -> list[str]:
        seccomp.without(["statx"])()
        operation.act(core, world.root)
        if operations.is_open(world.root):
            core.rollback(world.root)
        return operations.differences(operation, world.new if operation is operations.COMMIT else world.old, tree.capture(world.root))

    assert in_child(child) == []


def test_without_getrandom_ids_differ(sys: ctypes.CDLL) -> None:
    """Early in a boot, or before Linux 3.17, numbers come from the clock and the process."""

    def numbers() -> set[bytes]:
        found = set()
        for _ in range(10):
            room = ctypes.create_string_buffer(16)
            sys.sys_random(room, ctypes.c_size_t(16))
            found.add(room.raw)
        return found

    found, _ = refused("getrandom", errno.EAGAIN, numbers)
    assert len(found) == 10


@pytest.mark.parametrize("call", ["inotify_init1", "inotify_add_watch"])
def test_no_watch(sys: ctypes.CDLL, tmp_path: Path, call: str) -> None:
    """Where the kernel has no watch left, that is an error and no descriptor."""
    directory = os.open(tmp_path, os.O_RDONLY)
    assert refused(call, errno.ENOSPC, lambda: sys.sys_watch(directory)) == (-1, errno.ENOSPC)
    os.close(directory)


@pytest.mark.parametrize("call", ["timerfd_create", "timerfd_settime", "poll"])
def test_no_clock(sys: ctypes.CDLL, call: str) -> None:
    """A guard that can't wait says so; it neither rolls back at once nor waits for ever."""
    soon = ctypes.c_uint64(sys_boottime(sys) + 10**9)
    assert refused(call, errno.EINTR, lambda: sys.sys_sleep_until(-1, -1, soon)) == (-1, errno.EINTR)


def sys_boottime(sys: ctypes.CDLL) -> int:
    sys.sys_boottime.restype = ctypes.c_uint64
    return int(sys.sys_boottime())


def test_what_wakes_a_guard(sys: ctypes.CDLL, tmp_path: Path) -> None:
    """A name that goes, a line that hangs up, the time: each is told from the others."""
    directory = os.open(tmp_path, os.O_RDONLY)
    watch = sys.sys_watch(directory)
    reader, writer = os.pipe()
    by = [sys.sys_sleep_until(watch, reader, ctypes.c_uint64(0))]
    (tmp_path / "name").touch()
    (tmp_path / "name").unlink()
    by.append(sys.sys_sleep_until(watch, reader, ctypes.c_uint64(NEVER)))
    os.close(writer)
    by.append(sys.sys_sleep_until(watch, reader, ctypes.c_uint64(NEVER)))
    assert len(set(by)) == 3 and min(by) >= 0
    for fd in (directory, watch, reader):
        os.close(fd)


def test_what_is_a_line(sys: ctypes.CDLL, tmp_path: Path) -> None:
    """A terminal, a pipe and a socket can hang up; a file and a closed descriptor can't."""
    master, terminal = pty.openpty()
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    is_line = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int)(("sys_is_line", sys))
    assert [is_line(fd) for fd in (terminal, reader, ours.fileno(), file, 9999)] == [True, True, True, False, False]
    for fd in (master, terminal, reader, writer, file):
        os.close(fd)
    ours.close()
    theirs.close()


def test_no_pipe(sys: ctypes.CDLL) -> None:
    """Without one no guard is started."""
    ends = ctypes.c_int(-1), ctypes.c_int(-1)
    assert refused("pipe2", errno.EMFILE, lambda: sys.sys_pipe(*map(ctypes.byref, ends))) == (-1, errno.EMFILE)


def test_endless_interruption_of_a_wait(sys: ctypes.CDLL) -> None:
    """Nothing is readable where poll() answers nothing but EINTR, and nobody waits for ever."""
    is_readable = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int, ctypes.c_int)(("sys_wait_readable", sys))
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert is_readable(reader, 0)
    assert refused("poll", errno.EINTR, lambda: is_readable(reader, 10**6))[0] is False
    os.close(reader)
    os.close(writer)


@pytest.mark.root
@pytest.mark.parametrize("user", [0, NOBODY])
def test_limits_of_the_caller(sys: ctypes.CDLL, user: int) -> None:
    """A guard takes the caller's limits off; who may not raises them as far as he may."""

    def child() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_CPU, (10**9, hard))
        if user:
            os.setuid(user)
        sys.sys_protect()
        return resource.getrlimit(resource.RLIMIT_CPU)

    hard = 2 * 10**9
    effective = Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0]
    free = user == 0 and int(effective, 16) >> MAY_RAISE & 1
    assert forks.run(child).value == ((resource.RLIM_INFINITY,) * 2 if free else (hard, hard))


def test_limits_that_can_not_be_asked_for(sys: ctypes.CDLL) -> None:
    """Where the kernel answers neither way, the guard goes on with what it has."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    refused("prlimit64", errno.EPERM, sys.sys_protect)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


@pytest.mark.root
def test_without_proc(sys: ctypes.CDLL) -> None:
    """The boot has no id then, the program the name it was called by, and nothing fails."""

    def child() -> tuple[bytes, bytes]:
        mounted("tmpfs", "/proc")
        boot, name = ctypes.create_string_buffer(37), ctypes.create_string_buffer(32)
        sys.sys_boot_id(boot)
        sys.sys_program(name, ctypes.c_size_t(32))
        sys.sys_protect()
        return boot.value, name.value

    boot, name = forks.run(child).value
    assert boot == b""
    assert name == ctypes.c_char_p.in_dll(ctypes.CDLL(None), "program_invocation_short_name").value


@pytest.mark.root
def test_what_does_not_outlive_a_boot(sys: ctypes.CDLL, tmp_path: Path) -> None:
    """tmpfs, ramfs and an overlay do not, nor does what can't be asked; the disk does."""
    is_volatile = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_char_p)(("sys_is_volatile", sys))

    def on(kind: str) -> bool:
        def child() -> bool:
            mounted(kind, str(tmp_path))
            return bool(is_volatile(os.fsencode(tmp_path)))

        return bool(forks.run(child).value)

    assert on("tmpfs") and on("ramfs")
    assert is_volatile(b"/nonexistent")


def test_a_long_name_is_cut_by_the_kernel(sys: ctypes.CDLL) -> None:
    """The name that the program was called by completes it, but only where it is the same."""

    def child() -> list[bytes]:
        names = []
        for comm in (b"fifteen-letters", b"other"):
            Path("/proc/self/comm").write_bytes(comm)
            room = ctypes.create_string_buffer(32)
            sys.sys_program(room, ctypes.c_size_t(32))
            names.append(room.value)
        return names

    assert in_child(child) == [b"fifteen-letters", b"other"]
