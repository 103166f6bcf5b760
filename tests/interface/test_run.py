"""Other programs: started clean, ended in time, and nothing left of one that did not end."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from lib import forks, seccomp
from lib.ncf import Core

EXITED, SIGNALLED, TIMED_OUT, NOT_STARTED = range(4)
LIMIT = 60_000
SHELL = "/bin/sh"


class ResultStruct(ctypes.Structure):
    _fields_ = [("end", ctypes.c_int), ("status", ctypes.c_int), ("output", ctypes.c_char * 1024)]


@dataclass(frozen=True)
class Result:
    end: int
    status: int
    output: str


Run = Callable[..., Result]


@pytest.fixture
def run(core: Core) -> Run:
    """run_command() of the core."""

    def call(*argv: str | Path, limit: int = LIMIT) -> Result:
        words = [os.fsencode(word) for word in argv]
        raw = ResultStruct()
        core.lib.run_command((ctypes.c_char_p * (len(words) + 1))(*words), limit, ctypes.byref(raw))
        return Result(raw.end, raw.status, raw.output.decode())

    return call


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(*pids: int) -> None:
    """Wait until none of these processes is alive."""
    for _ in range(600):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"still alive: {[pid for pid in pids if alive(pid)]}")


def test_exit_status_and_both_outputs_are_kept(run: Run) -> None:
    """What it writes on either output is kept in order, and its status is told."""
    assert run(SHELL, "-c", "echo one; echo two >&2; exit 7") == Result(EXITED, 7, "one\ntwo")


def test_a_signal_is_told(run: Run) -> None:
    """A program that a signal ends is not one that exited."""
    assert run(SHELL, "-c", "kill -SEGV $$") == Result(SIGNALLED, signal.SIGSEGV, "")


def test_what_can_not_be_started_says_why(run: Run, tmp_path: Path) -> None:
    """A missing program, one that is none, and a relative path: each with its errno."""
    text = tmp_path / "text"
    text.write_text("no program\n")
    assert run(tmp_path / "missing") == Result(NOT_STARTED, 2, "")
    assert run(text) == Result(NOT_STARTED, 13, "")
    assert run("sh", "-c", "exit 0") == Result(NOT_STARTED, 22, "")


def test_of_much_output_the_end_is_kept(run: Run) -> None:
    """The reason for a failure stands at the end; what is over 1 MiB is dropped, not waited for."""
    result = run(SHELL, "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")
    assert (result.end, result.status) == (EXITED, 0)
    assert result.output.endswith("line 4998\nline 4999")
    assert len(result.output) > 900
    assert run(sys.executable, "-c", "import os\ntry:\n while 1: os.write(1, b'x' * 65536)\nexcept OSError: pass").end == EXITED


def test_environment_directory_and_descriptors_are_clean(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of the caller's environment, directory, open files or ignored signals is passed on."""
    monkeypatch.setenv("LD_PRELOAD_TEST", "leaks")
    monkeypatch.chdir(tmp_path)
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        result = run(
            SHELL,
            "-c",
            # Busybox's shell exports its SHLVL.
            "env | grep -v ^SHLVL= | sort; pwd; grep -h 'Sig[BI]' /proc/self/status; ls /proc/self/fd | wc -l; "
            "readlink /proc/$$/fd/0",
        )
    assert result.output.replace("\t", " ").splitlines() == [
        "HOME=/",
        "LC_ALL=C",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "TERM=dumb",
        "/",
        "SigBlk: 0000000000000000",
        "SigIgn: 0000000000000000",
        "4",  # the three and the directory that ls reads
        "/dev/null",
    ]


def test_at_the_limit_all_it_started_is_killed(run: Run, tmp_path: Path) -> None:
    """Children in sessions of their own and double forks included."""
    pids = tmp_path / "pids"
    pids.touch()
    script = f"echo $$ >>{pids}; exec sleep 1000"
    result = run(
        SHELL,
        "-c",
        f"setsid {SHELL} -c '{script}' & ({SHELL} -c '{script}' &) ; ({SHELL} -c '{script}' & )& "
        f"echo $$ >>{pids}; echo hangs; trap '' TERM INT HUP; while :; do sleep 1000; done",
        limit=1500,
    )
    assert result == Result(TIMED_OUT, 1500, "hangs")
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) == 4
    wait_gone(*started)


def test_a_daemon_that_it_leaves_in_time_stays(run: Run, tmp_path: Path) -> None:
    """The program is waited for, not what it leaves running, which still has its output open."""
    file = tmp_path / "pid"
    assert run(SHELL, "-c", f"sleep 1000 & echo $! >{file}; echo done").output == "done"
    pid = int(file.read_text())
    try:
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_gone(pid)


def test_the_caller_has_no_child_to_wait_for(run: Run) -> None:
    """No child and no descriptor is left in the calling process."""
    before = sorted(os.listdir("/proc/self/fd"))
    run("/bin/true")
    run("/bin/sleep", "1000", limit=10)
    run("/nonexistent")
    assert sorted(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    mine = subprocess.run(["ps", "-o", "pid=,comm=", "-p", ",".join(children or ["1"])], capture_output=True, text=True)
    assert "sleep" not in mine.stdout and "<defunct>" not in mine.stdout


def test_two_run_at_once(core: Core, tmp_path: Path) -> None:
    """Each can wait for what the other does: started one after the other, they run together."""

    class RunStruct(ctypes.Structure):
        _fields_ = [("answer", ctypes.c_int), ("output", ctypes.c_int), ("failed", ResultStruct), ("end", ctypes.c_int64)]

    def start(script: str) -> RunStruct:
        r = RunStruct()
        argv = (ctypes.c_char_p * 4)(SHELL.encode(), b"-c", script.encode(), None)
        core.lib.run_start(ctypes.byref(r), argv, LIMIT)
        return r

    os.mkfifo(tmp_path / "fifo")
    reader = start(f"read line <{tmp_path}/fifo; echo got $line")
    writer = start(f"echo word >{tmp_path}/fifo")
    raw = ResultStruct()
    core.lib.run_wait(ctypes.byref(reader), ctypes.byref(raw))
    assert (raw.end, raw.status, raw.output) == (EXITED, 0, b"got word")
    core.lib.run_wait(ctypes.byref(writer), ctypes.byref(raw))
    assert (raw.end, raw.status) == (EXITED, 0)


HOLDER = """
import fcntl, subprocess, sys, time
file = open(sys.argv[1], "w")
{"posix": fcntl.lockf, "flock": fcntl.flock}[sys.argv[2]](file, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("kind", ["posix", "flock"])
def test_who_holds_a_lock_ends_with_its_children(core: Core, fast_dir: Path, kind: str) -> None:
    """In memory, as /run is: the lock is free when the call returns; who holds another lives on."""
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, fast_dir / name, kind], stdout=subprocess.PIPE, text=True)
        for name in ("wanted", "other")
    ]
    wanted, other = holders
    children = [int(holder.stdout.readline()) for holder in holders if holder.stdout]
    try:
        core.lib.run_end_holders(os.fsencode(fast_dir / "none"))
        core.lib.run_end_holders(os.fsencode(fast_dir / "wanted"))
        with open(fast_dir / "wanted", "w") as file:
            {"posix": fcntl.lockf, "flock": fcntl.flock}[kind](file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert wanted.wait() == -signal.SIGKILL
        wait_gone(children[0])
        assert other.poll() is None and alive(children[1])
    finally:
        for pid in (wanted.pid, other.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for holder in holders:
            holder.communicate()


@pytest.mark.root
@pytest.mark.parametrize("what", ["no list of locks", "what can't be opened"])
def test_holders_that_can_not_be_found_live(core: Core, fast_dir: Path, what: str) -> None:
    """Without /proc, or where the file is none, nobody is killed and the call returns."""
    path = fast_dir / "wanted"

    def child() -> None:
        if what == "no list of locks":
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(0x20000) == 0
            assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
            assert libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, None) == 0
        core.lib.run_end_holders(os.fsencode(path))

    with subprocess.Popen([sys.executable, "-c", HOLDER, path, "posix"], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        sleeper = int(holder.stdout.readline())
        if what != "no list of locks":
            path.rename(fast_dir / "held")
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        assert forks.run(child).signal == 0
        assert holder.poll() is None and alive(sleeper)
        for pid in (holder.pid, sleeper):
            os.kill(pid, signal.SIGKILL)


def test_a_full_process_table_is_waited_for(run: Run) -> None:
    """When there is room again, the program runs; where there is none in time, it says so."""

    def with_room_after(seconds: float, limit: int) -> tuple[int, int, float]:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)  # the limit does not bind root
        _, most = resource.getrlimit(resource.RLIMIT_NPROC)
        room = threading.Timer(seconds, resource.setrlimit, (resource.RLIMIT_NPROC, (most, most)))
        room.start()
        resource.setrlimit(resource.RLIMIT_NPROC, (0, most))
        began = time.monotonic()
        result = run("/bin/true", limit=limit)
        took = time.monotonic() - began
        room.cancel()
        return result.end, result.status, took

    end, status, took = forks.run(lambda: with_room_after(0.5, LIMIT)).value
    assert (end, status) == (EXITED, 0)
    assert took >= 0.4
    end, status, took = forks.run(lambda: with_room_after(60, 300)).value
    assert (end, status) == (NOT_STARTED, errno.EAGAIN)
    assert 0.3 <= took < 30


# --- a kernel that has less ------------------------------------------------------


def refusing(calls: str, error: int, then: Callable[[], Result]) -> Result:
    def child() -> Result:
        seccomp.without(calls.split(), error)()
        return then()

    result: Result = forks.run(child).value
    return result


@pytest.mark.parametrize("call", ["memfd_create", "ftruncate"])
def test_without_a_file_for_the_output_it_runs(run: Run, call: str) -> None:
    """Where no file in memory can be made, the output is lost and nothing else."""
    assert refusing(call, errno.EPERM, lambda: run(SHELL, "-c", "echo lost; exit 7")) == Result(EXITED, 7, "")


def test_without_a_file_for_the_output_and_without_descriptors(run: Run) -> None:
    """Nor does it need any of the caller's."""

    def child() -> Result:
        os.close(0)
        return run(SHELL, "-c", "echo lost; exit 7")

    assert refusing("memfd_create", errno.EPERM, child) == Result(EXITED, 7, "")


def test_without_close_range_descriptors_are_closed(run: Run, tmp_path: Path) -> None:
    """Before Linux 5.9 they are closed one by one."""

    def listed() -> Result:
        with open(tmp_path / "secret", "w") as secret:
            os.set_inheritable(secret.fileno(), True)
            return run(SHELL, "-c", "ls -l /proc/self/fd | wc -l")

    plain, result = listed(), refusing("close_range", errno.ENOSYS, listed)
    assert result == plain and result.end == EXITED


@pytest.mark.parametrize("calls, error", [("pipe2", errno.EMFILE), ("clone fork", errno.ENOMEM), ("chdir", errno.EACCES)])
def test_what_the_kernel_refuses_is_told(run: Run, calls: str, error: int) -> None:
    """Without a pipe, a process or a directory nothing is started, and the errno says why.

    A process is glibc's clone() and musl's fork()."""
    assert refusing(calls, error, lambda: run("/bin/true")) == Result(NOT_STARTED, error, "")


def test_a_file_of_the_caller_is_never_taken_for_the_answer(run: Run, tmp_path: Path) -> None:
    """Where the watcher can't have its pipe as descriptor 3, what the caller has there is not written to."""

    def child() -> Result:
        with open(tmp_path / "own", "wb") as own:
            os.dup2(own.fileno(), 3)
            seccomp.without(["dup3"], errno.EMFILE)()
            return run("/bin/true")

    assert forks.run(child).value == Result(NOT_STARTED, errno.EMFILE, "")
    assert (tmp_path / "own").read_bytes() == b""


def test_a_caller_with_a_timer(run: Run) -> None:
    """Thousands of signals while it waits, as a profiler sends them, are not the end of the wait."""

    def child() -> Result:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        return run("/bin/sleep", "1")

    assert forks.run(child).value == Result(EXITED, 0, "")


def test_endless_interruption_hangs_nobody(run: Run) -> None:
    """A wait for a process that answers nothing but EINTR is given up."""
    assert refusing("wait4", errno.EINTR, lambda: run("/bin/true", limit=200)) == Result(TIMED_OUT, 200, "")


@pytest.mark.root
def test_without_proc_the_program_is_killed(run: Run) -> None:
    """Where /proc is not mounted its children can't be found; it and its group end all the same."""

    def child() -> Result:
        libc = ctypes.CDLL(None, use_errno=True)
        private, namespace = 0x44000, 0x20000
        assert libc.unshare(namespace) == 0
        assert libc.mount(b"none", b"/", None, private, None) == 0
        assert libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, None) == 0
        return run("/bin/sleep", "1000", limit=100)

    assert forks.run(child).value == Result(TIMED_OUT, 100, "")


def test_what_it_left_behind_may_end_first(run: Run) -> None:
    """The status is the program's own, and not that of an orphan."""
    assert run(SHELL, "-c", "(exec sh -c 'exit 9' &); sleep 0.1; exit 7") == Result(EXITED, 7, "")


# --- one that is apart -----------------------------------------------------------

WRITES = (b"/bin/sh", b"-c", b"echo there >&3")


def apart(core: Core, before: Callable[[], object]) -> tuple[int, int, bytes]:
    """What run_apart() returned after `before()`, its errno, and what the program wrote to descriptor 3."""
    lib = ctypes.CDLL(core.lib._name, use_errno=True)

    def child() -> tuple[int, int, bytes]:
        reader, writer = os.pipe()
        argv = (ctypes.c_char_p * 4)(*WRITES, None)
        before()
        result, error = lib.run_apart(argv, (ctypes.c_int * 1)(writer), 1), ctypes.get_errno()
        os.close(writer)
        with open(reader, "rb") as file:
            return result, error, file.read()

    value: tuple[int, int, bytes] = forks.run(child).value
    return value


def test_one_that_is_apart(core: Core) -> None:
    """It runs, with the descriptor it was given."""
    result, _, wrote = apart(core, lambda: None)
    assert (result, wrote) == (0, b"there\n")


@pytest.mark.parametrize(
    "before",
    [
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),  # no place to put the descriptors
        seccomp.without(["chdir"], errno.EACCES),
    ],
    ids=["descriptors", "chdir"],
)
def test_one_that_can_not_be_apart_does_not_run(core: Core, before: Callable[[], object]) -> None:
    """Without its own descriptors, or its own directory, the program is not started: it would have the caller's."""
    assert apart(core, before)[2] == b""


@pytest.mark.root
@pytest.mark.parametrize("room", [0, 1, 2])
def test_no_process_for_one_that_is_apart(core: Core, room: int) -> None:
    """Told with the kernel's errno, where there is none and where there is room for the one between only."""

    def limited() -> None:
        os.setuid(54321)  # nobody else's processes count
        resource.setrlimit(resource.RLIMIT_NPROC, (1 + room, 1 + room))

    result, error, wrote = apart(core, limited)
    if room == 2:
        assert (result, wrote) == (0, b"there\n")
    else:
        assert (result, error, wrote) == (-1, errno.EAGAIN, b"")


def test_blanks_at_the_end_and_zeros_are_no_words(run: Run) -> None:
    """A zero byte is a blank; what is blank at the end is cut, and a program may have said nothing else."""
    assert run(SHELL, "-c", r"printf 'one\0two \n \n'").output == "one two"
    assert run(SHELL, "-c", r"printf '\0 \n'").output == ""


def test_the_pipe_of_a_watcher_that_was_killed_ends(core: Core, tmp_path: Path) -> None:
    """The caller does not wait for an answer that nobody gives."""
    file = tmp_path / "pid"
    raw = ResultStruct()
    argv = (ctypes.c_char_p * 4)(SHELL.encode(), b"-c", f"kill -9 $PPID; echo $$ >{file}; exec sleep 60".encode(), None)
    core.lib.run_command(argv, LIMIT, ctypes.byref(raw))
    assert (raw.end, raw.status) == (NOT_STARTED, errno.ECHILD)
    while not file.exists() or not file.read_text():
        time.sleep(0.01)
    os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "end, status, words",
    [(EXITED, 7, b"exit status 7"), (SIGNALLED, 11, b"killed by signal 11"), (TIMED_OUT, 2500, b"no end after 3 s, killed"),
     (NOT_STARTED, errno.ENOENT, b"not started: No such file or directory")],
)  # fmt: skip
def test_an_end_in_words(core: Core, end: int, status: int, words: bytes) -> None:
    """How a program ended, as the error's details have it."""
    text = ctypes.create_string_buffer(64)
    core.lib.run_describe(ctypes.byref(ResultStruct(end, status)), text, ctypes.c_size_t(len(text)))
    assert text.value == words
