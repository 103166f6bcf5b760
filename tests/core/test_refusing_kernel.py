"""A kernel that refuses what no file's error can show: clocks, watches, limits, random numbers, /proc."""

from __future__ import annotations

import ctypes
import errno
import os
import pty
import resource
import signal
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


def mounted(kind: str, path: str, options: str | None = None) -> None:
    """Put a filesystem there, in a namespace of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(NEW_NAMESPACE) == 0
    assert libc.mount(b"none", b"/", None, PRIVATE, None) == 0
    assert libc.mount(kind.encode(), path.encode(), kind.encode(), 0, options and options.encode()) == 0


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

    def on(kind: str, options: str | None = None) -> bool:
        def child() -> bool:
            mounted(kind, str(tmp_path), options)
            return bool(is_volatile(os.fsencode(tmp_path)))

        return bool(forks.run(child).value)

    assert on("tmpfs") and on("ramfs") and on("overlay", "lowerdir=/etc:/usr")
    assert is_volatile(b"/nonexistent")
    assert not is_volatile(b"/proc")


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


class Stamp(ctypes.Structure):
    """csrc/sys.h: struct stamp."""

    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_uint32)]


@pytest.mark.parametrize("call", ["openat2", "ftruncate"])
def test_endless_interruption_of_a_call(sys: ctypes.CDLL, tmp_path: Path, call: str) -> None:
    """A kernel that answers nothing but EINTR is an error, and not the end of the world."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    calls = {
        "openat2": lambda: sys.sys_openat2(file, b".", os.O_RDONLY),
        "ftruncate": lambda: sys.sys_ftruncate(file, ctypes.c_uint64(9), b"file"),
    }
    assert refused(call, errno.EINTR, calls[call]) == (-1, errno.EINTR)
    assert os.fstat(file).st_size == 0
    os.close(file)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EPERM])
def test_the_time_of_a_link_that_can_not_be_set(sys: ctypes.CDLL, tmp_path: Path, error: int) -> None:
    """Before Linux 5.8 there is another way; where that is closed, too, or the answer was another, it is an error."""
    (tmp_path / "link").symlink_to("nowhere")
    before = os.lstat(tmp_path / "link").st_mtime_ns
    fd = os.open(tmp_path / "link", os.O_PATH | os.O_NOFOLLOW)
    assert refused("utimensat", error, lambda: sys.sys_utimensat(fd, True, Stamp(1, 0))) == (-1, error)
    assert os.lstat(tmp_path / "link").st_mtime_ns == before
    os.close(fd)


def test_what_has_no_flags_and_no_locks(sys: ctypes.CDLL) -> None:
    """Flags of a file of /proc can't be set; a descriptor that is closed has neither a mark nor a filesystem."""

    def error_of(result: int) -> tuple[int, int]:
        return result, ctypes.get_errno()

    with open("/proc/version") as file:
        assert error_of(sys.sys_setflags(file.fileno(), 0, b"version")) == (-1, errno.ENOTTY)
    assert error_of(sys.sys_is_marked(9999, ctypes.c_uint64(0))) == (-1, errno.EBADF)
    assert error_of(sys.sys_stamps(9999)) == (-1, errno.EBADF)


@pytest.mark.root
def test_an_attribute_of_a_link_is_taken_away(sys: ctypes.CDLL, tmp_path: Path) -> None:
    """From the link, and not from where it leads."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        os.setxattr(tmp_path / name, "trusted.test", b"x", follow_symlinks=False)
    fd = os.open(tmp_path / "link", os.O_PATH | os.O_NOFOLLOW)
    assert sys.sys_removexattr(fd, True, b"trusted.test") == 0
    assert os.listxattr(tmp_path / "link", follow_symlinks=False) == []
    assert os.listxattr(tmp_path / "file") == ["trusted.test"]
    os.close(fd)


@pytest.mark.root
def test_a_directory_that_its_owner_may_not_read(sys: ctypes.CDLL, fast_dir: Path) -> None:
    """An ordinary user under a umask that took his right to read gives it back, from Linux 6.6 on."""

    def child() -> tuple[int, int]:
        os.setuid(NOBODY)
        os.mkdir("made", 0, dir_fd=directory)
        return sys.sys_fchmodat(directory, b"made", 0o700), ctypes.get_errno()

    os.chown(fast_dir, NOBODY, NOBODY)
    directory = os.open(fast_dir, os.O_RDONLY)
    result, error = forks.run(child).value
    os.close(directory)
    mode = (fast_dir / "made").stat().st_mode & 0o7777
    assert (result, mode) == (0, 0o700) or (result, error, mode) == (-1, errno.ENOSYS, 0)


@pytest.mark.root
def test_flags_that_can_not_be_read_are_none(sys: ctypes.CDLL, fast_dir: Path) -> None:
    """Before Linux 4.11, where a file may not be opened or its filesystem knows no flags."""

    def child() -> list[tuple[int, int]]:
        os.setuid(NOBODY)
        seccomp.without(["statx"])()
        found = []
        for directory, name in ((fast, b"secret"), (proc, b"version")):
            room = ctypes.create_string_buffer(256)
            found.append((sys.sys_statx(directory, name, room), int.from_bytes(room.raw[:4], "little") & 0o170000))
        return found

    (fast_dir / "secret").touch(mode=0)
    fast_dir.chmod(0o755)
    fast, proc = os.open(fast_dir, os.O_RDONLY), os.open("/proc", os.O_RDONLY)
    assert forks.run(child).value == [(0, 0o100000)] * 2
    os.close(fast)
    os.close(proc)


@pytest.mark.parametrize("pending", [False, True])
def test_the_signal_of_a_size_limit(sys: ctypes.CDLL, tmp_path: Path, pending: bool) -> None:
    """It is taken out of the queue, unless it was pending before: then it is the caller's."""

    def child() -> tuple[int, int, bool]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXFSZ])
        if pending:
            os.kill(os.getpid(), signal.SIGXFSZ)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
        result = sys.sys_write(file, b"x" * 20, ctypes.c_size_t(20), b"file")
        error = ctypes.get_errno()
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        kept = signal.SIGXFSZ in signal.sigpending()
        if kept:
            signal.sigwait([signal.SIGXFSZ])
        return result, error, kept

    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    assert forks.run(child).value == (-1, errno.EFBIG, pending)
    os.close(file)
