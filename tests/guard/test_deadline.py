"""The deadline: the host rolls back by itself, unless somebody says it is fine."""

from __future__ import annotations

import errno
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lib import build, forks, ncf, trace, tree
from lib.helper import DONE, FAILED, USAGE, WRONG_STATE, Helper
from lib.images import need
from lib.ncf import Core, NcfError

from .conftest import guards, is_open, lock_out, until


def open_to_nobody(host: Path) -> None:
    """Let the user nobody be this host's administrator."""
    for directory in (host, *host.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o711)
    subprocess.run(["chown", "-R", "65534:65534", host], check=True)


def start(helper: Helper, host: Path, *options: str, token: str = "") -> None:
    environment = {**os.environ, "NETWORKING_CONFIG_TOKEN": token} if token else None
    helper.run("snapshot_config", *options, root=host, check=True, env=environment)


def test_a_change_that_nobody_commits_rolls_back(helper: Helper, host: Path) -> None:
    """At the deadline every file is as it was, the change is closed, the guard is gone."""
    before = tree.capture(host)
    start(helper, host, "--timeout", "1")
    lock_out(host)
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []
    until(lambda: guards(host) == [], "the guard's end")


def test_limits_of_the_session_are_not_the_guards(helper: Helper, host: Path) -> None:
    """What a shell's ulimit forbids, its guard can do: keep a file larger than that, and roll back."""
    before = tree.capture(host)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))

    helper.run("snapshot_config", "--timeout", "1", root=host, check=True, preexec_fn=limit)
    lock_out(host)
    tree.write(host, "etc/network/interfaces.d/large", b"x" * (3 << 20))
    # Not by asking the helper: that would start another guard in the place of a dead one.
    until(lambda: not (host / "var/lib/netcf/network-snapshot.tar").exists(), "the rollback", seconds=10)
    assert tree.differences(before, tree.capture(host)) == []


def test_it_does_not_roll_back_early(helper: Helper, host: Path) -> None:
    """Not one second too soon."""
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    start(helper, host, "--timeout", "2")
    until(lambda: not is_open(helper, host), "the rollback")
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began >= 2_000_000_000


@pytest.mark.parametrize("end", ["commit_config", "rollback_config"])
def test_the_guard_leaves_with_the_change(helper: Helper, host: Path, end: str) -> None:
    """Commit and rollback send it home; the committed configuration stays."""
    start(helper, host, "--timeout", "600")
    assert len(guards(host)) == 1
    lock_out(host)
    after = tree.capture(host)
    helper.run(end, root=host, check=True)
    until(lambda: guards(host) == [], "the guard's end", seconds=10)
    if end == "commit_config":
        assert tree.differences(after, tree.capture(host)) == []


def test_status_shows_it(helper: Helper, core: Core, host: Path) -> None:
    """Seconds left and whether somebody watches."""
    start(helper, host, "--timeout", "600")
    status = core.status(host)
    assert (status.deadline, status.guarded) == (600, 1)
    assert 590 <= status.deadline_left <= 600
    said = helper.run("status", root=host).stdout
    assert re.search(r"rolls back by itself in (59\d|600) s unless committed", said)
    assert "no guard" not in said


def test_a_killed_guard_shows_and_is_put_back(helper: Helper, core: Core, host: Path) -> None:
    """Status says that nobody watches; the next command of any kind puts a guard back."""
    start(helper, host, "--timeout", "600")
    (first,) = guards(host)
    os.kill(first, signal.SIGKILL)
    until(lambda: not core.status(host).guarded, "the mark to go")
    assert core.status(host).open == 1
    helper.run("status", root=host, check=True)
    (second,) = guards(host)
    assert second != first
    assert core.status(host).guarded == 1
    helper.run("status", root=host, check=True)
    assert guards(host) == [second]


COMMANDS = {
    "status": 0, "diff": 0, "discarded": 0, "snapshot-dir": 0, "put-back 9": 1, "announce nothing": 1,
    # These are refused, and the change stays open.
    "snapshot_config": WRONG_STATE, "extend 900": WRONG_STATE, "commit_config": WRONG_STATE,
}  # fmt: skip
NETCF = {"status": 0, "diff": 0, "scope": 0, "history": 0, "start": WRONG_STATE, "commit": WRONG_STATE}


@pytest.mark.parametrize(
    ("program", "command", "status"),
    [("networking-config", c, s) for c, s in COMMANDS.items()] + [("netcf", c, s) for c, s in NETCF.items()],
)
def test_any_command_puts_a_killed_guard_back(
    helper: Helper, core: Core, host: Path, program: str, command: str, status: int
) -> None:
    """Also one that fails, if it leaves the change open; of the helper and of netcf."""
    start(helper, host, "--timeout", "600", token="secret")
    (first,) = guards(host)
    os.kill(first, signal.SIGKILL)
    until(lambda: not core.status(host).guarded, "the mark to go")
    path = helper.path if program != "netcf" else Path(sys.executable).with_name("netcf")
    done = subprocess.run([path, "--root", host, *command.split()], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "the guard of the open change was gone; another watches it" in done.stderr
    (second,) = guards(host)
    assert second != first


@pytest.mark.parametrize("command", ["commit_config", "rollback_config"])
def test_what_closes_the_change_starts_no_guard(helper: Helper, core: Core, host: Path, command: str) -> None:
    """A guard that finds its deadline passed would be in a race with a commit."""
    start(helper, host, "--timeout", "1")
    for pid in guards(host):
        os.kill(pid, signal.SIGKILL)
    lock_out(host)
    until(lambda: core.status(host).deadline_left < 0, "the deadline")
    helper.run(command, root=host, check=True)
    assert guards(host) == []
    assert core.discarded(host) == [] or command == "rollback_config"


@pytest.mark.parametrize("end", ["commit_config", "rollback_config"])
def test_the_guard_is_gone_in_100_ms(helper: Helper, host: Path, end: str) -> None:
    """Counted from the end of the command; the best of five, for others work on the machine, too."""
    took = []
    for _ in range(5):
        start(helper, host, "--timeout", "600")
        (guard,) = guards(host)
        handle = os.pidfd_open(guard)
        helper.run(end, root=host, check=True)
        began = time.monotonic()
        assert select.select([handle], [], [], 60)[0]
        took.append(time.monotonic() - began)
        os.close(handle)
    print(f"the guard is gone after {sorted(round(1000 * t, 1) for t in took)} ms")
    assert min(took) < 0.1


def test_the_guard_that_was_put_back_keeps_the_deadline(helper: Helper, host: Path) -> None:
    """It acts when the first one would have."""
    before = tree.capture(host)
    start(helper, host, "--timeout", "2")
    lock_out(host)
    for pid in guards(host):
        os.kill(pid, signal.SIGKILL)
    helper.run("status", root=host, check=True)
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []


def test_a_deadline_that_passed_unguarded_is_made_good(helper: Helper, core: Core, host: Path) -> None:
    """A guard that comes too late rolls back at once."""
    start(helper, host, "--timeout", "1")
    for pid in guards(host):
        os.kill(pid, signal.SIGKILL)
    until(lambda: core.status(host).deadline_left < 0, "the deadline")
    assert core.status(host).open == 1
    assert core.status(host).guarded == 0
    helper.run("status", root=host, check=True)
    until(lambda: not is_open(helper, host), "the rollback")


def test_a_change_without_a_deadline_has_no_guard(helper: Helper, core: Core, host: Path) -> None:
    """Nothing is started that nothing needs."""
    start(helper, host)
    helper.run("status", root=host, check=True)
    assert guards(host) == []
    assert core.status(host).guarded == 0


def test_extending(helper: Helper, core: Core, host: Path) -> None:
    """A longer deadline counts from now; the guard that is there learns of it."""
    start(helper, host, "--timeout", "1")
    helper.run("extend", "600", root=host, check=True)
    pids = guards(host)
    status = core.status(host)
    assert status.deadline == 600
    assert 590 <= status.deadline_left <= 600
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 1.5, "the first deadline to pass")
    assert is_open(helper, host)
    assert guards(host) == pids


def test_shortening(helper: Helper, host: Path) -> None:
    """A deadline can be moved to be sooner, too, and the guard wakes for it."""
    before = tree.capture(host)
    start(helper, host, "--timeout", "600")
    lock_out(host)
    helper.run("extend", "1", root=host, check=True)
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []


def test_extending_gives_a_deadline_and_a_guard_to_a_change_without(
    helper: Helper, core: Core, host: Path
) -> None:
    """An open change can still be given a deadline."""
    start(helper, host)
    helper.run("extend", "600", root=host, check=True)
    assert core.status(host).guarded == 1
    assert len(guards(host)) == 1


def test_extending_loses_nothing_of_the_snapshot(helper: Helper, core: Core, host: Path) -> None:
    """The snapshot that takes the place of the first restores the same."""
    before = tree.capture(host)
    start(helper, host, "--note", "why", "--timeout", "600")
    first = core.status(host)
    tree.lock_out(host)
    helper.run("extend", "900", root=host, check=True)
    second = core.status(host)
    for field in ("id", "started", "note", "files", "bytes", "boot", "pid", "program"):
        assert getattr(first, field) == getattr(second, field)
    core.rollback(host)
    assert tree.differences(before, tree.capture(host)) == []


def test_a_start_with_the_token_extends(helper: Helper, core: Core, host: Path) -> None:
    """RFC 6241: the same token again moves the deadline; without it the start is refused."""
    start(helper, host, "--timeout", "600", token="secret")
    first = core.status(host)
    start(helper, host, "--timeout", "1200", token="secret")
    second = core.status(host)
    assert (first.id, second.deadline) == (second.id, 1200)
    for token in ("", "other"):
        done = helper.run(
            "snapshot_config", "--timeout", "5", root=host, env={"NETWORKING_CONFIG_TOKEN": token}
        )
        assert done.returncode == WRONG_STATE
        assert "there is another transaction running" in done.stderr
    assert core.status(host).deadline == 1200


def test_only_the_token_extends_and_commits(helper: Helper, core: Core, host: Path) -> None:
    """Another token or none moves and commits nothing; rollback is always allowed."""
    start(helper, host, "--timeout", "600", token="secret")
    for command in (["extend", "5"], ["commit_config"]):
        done = helper.run(*command, root=host, env={"NETWORKING_CONFIG_TOKEN": "other"})
        assert done.returncode == WRONG_STATE
        assert "wrong token" in done.stderr
    assert core.status(host).deadline == 600
    right = {"NETWORKING_CONFIG_TOKEN": "secret"}
    helper.run("extend", "900", root=host, check=True, env=right)
    helper.run("rollback_config", root=host, check=True)


def test_the_token_is_nowhere_to_be_read(helper: Helper, host: Path) -> None:
    """Neither on disk nor in the guard's arguments and environment."""
    start(helper, host, "--timeout", "600", token="a-secret-token")
    (guard,) = guards(host)
    for place in (
        tree.join(host, tree.SNAPSHOT),
        Path(f"/proc/{guard}/cmdline"),
        Path(f"/proc/{guard}/environ"),
    ):
        assert b"a-secret-token" not in Path(os.fsdecode(place)).read_bytes()


@pytest.mark.parametrize("seconds", ["2592001", "-1", "x", "", "1.5", "99999999999"])
def test_absurd_deadlines_are_refused(helper: Helper, host: Path, seconds: str) -> None:
    """More than 30 days, or no number: nothing is started."""
    done = helper.run("snapshot_config", "--timeout", seconds, root=host)
    assert done.returncode in (FAILED, USAGE)
    assert not is_open(helper, host)


def test_extending_by_nothing_is_refused(helper: Helper, host: Path) -> None:
    """0 is no deadline."""
    start(helper, host)
    assert helper.run("extend", "0", root=host).returncode == FAILED


def test_extending_without_a_change(helper: Helper, host: Path) -> None:
    """There is nothing to extend."""
    assert helper.run("extend", "60", root=host).returncode == WRONG_STATE


def test_no_helper_no_deadline(core: Core, host: Path, tmp_path: Path) -> None:
    """A deadline that nobody could guard is refused at start, not noticed later."""
    before = tree.capture(host, state=True)
    not_executable = tmp_path / "helper"
    not_executable.write_text("")
    for program in (b"/nowhere/networking-config", bytes(not_executable), b"networking-config"):
        with core.open(host) as handle:
            handle.set_options(deadline=60, helper=program)
            with pytest.raises(NcfError) as caught:
                handle.start()
        assert caught.value.code == ncf.EEXEC
        assert os.fsdecode(program) in caught.value.details
        assert "nothing was saved" in caught.value.details
    assert tree.differences(before, tree.capture(host, state=True)) == []


def test_a_helper_that_does_not_guard(core: Core, host: Path) -> None:
    """A guard that does not say it is there fails the start, which leaves nothing behind."""
    before = tree.capture(host, state=True)
    with core.open(host) as handle:
        handle.set_options(deadline=60, helper=b"/bin/true")
        with pytest.raises(NcfError) as caught:
            handle.start()
    assert caught.value.code == ncf.EEXEC
    assert "did not start" in caught.value.details
    assert tree.differences(before, tree.capture(host, state=True)) == []


def test_a_full_process_table(core: Core, host: Path) -> None:
    """Where no process can be made, the start is refused and says why; nothing is left."""

    def start_without_processes() -> tuple[int, str]:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)  # the limit does not bind root
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        with core.open(host) as handle:
            handle.set_options(deadline=60)
            try:
                handle.start()
            except NcfError as error:
                return error.code, error.details
        return 0, ""

    if os.geteuid() == 0:
        open_to_nobody(host)
    before = tree.capture(host, state=True)
    assert forks.run(start_without_processes).value == (
        ncf.EEXEC,
        f"the guard of the deadline or leash did not start: {build.directory()}/networking-config: "
        f"{os.strerror(errno.EAGAIN)}; nothing was saved, nothing was changed",
    )
    assert tree.differences(before, tree.capture(host, state=True)) == []


def test_the_guard_is_small_and_apart(helper: Helper, host: Path) -> None:
    """At most 1 MiB resident; own session, init's child, nothing of the caller's open."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    done = subprocess.Popen(
        [helper.path, "--root", host, "snapshot_config", "--timeout", "600"],
        stdout=subprocess.PIPE,
        pass_fds=[writer],
        cwd=host,
    )
    assert done.communicate()[1] is None
    assert done.returncode == DONE
    os.close(writer)
    assert os.read(reader, 1) == b""  # nobody else has the other end
    os.close(reader)
    (guard,) = guards(host)
    proc = Path(f"/proc/{guard}")
    resident = re.search(r"VmRSS:\s+(\d+) kB", (proc / "status").read_text())
    assert resident
    print(f"the guard's resident memory: {resident[1]} KiB")
    if trace.is_static(helper.path):
        assert int(resident[1]) <= 1024
    parent, _, session = (proc / "stat").read_text().rsplit(")", 1)[1].split()[1:4]
    assert int(session) != os.getsid(0)
    assert int(parent) != done.pid
    assert os.readlink(proc / "cwd") == "/"
    assert {os.readlink(proc / f"fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}

    def opened() -> set[str]:
        # What is closed meanwhile has no name.
        with suppress(FileNotFoundError):
            return {os.readlink(entry) for entry in (proc / "fd").iterdir()}
        return set()

    # It has said that it watches, and is about to close what it said that through.
    own = {str(host), str(host / "var/lib/netcf"), "anon_inode:[timerfd]", "anon_inode:inotify", "/dev/null"}
    until(lambda: opened() == own, "the guard to have its own files open and no other")


def test_the_guard_is_spared_when_memory_is_short(helper: Helper, host: Path) -> None:
    """As far as rights reach, the kernel takes others first."""
    wanted = "-1000"
    try:
        with open("/proc/self/oom_score_adj", "r+") as mine:
            was = mine.read()
            mine.seek(0)
            mine.write(wanted)
            mine.flush()
            mine.write(was)
    except PermissionError:
        wanted = Path("/proc/self/oom_score_adj").read_text().strip()
    start(helper, host, "--timeout", "600")
    (guard,) = guards(host)
    assert Path(f"/proc/{guard}/oom_score_adj").read_text().strip() == wanted


def test_the_guard_sleeps(helper: Helper, host: Path) -> None:
    """Between start and deadline it does not run at all: no polling."""
    start(helper, host, "--timeout", "600")
    (guard,) = guards(host)

    def switches() -> list[str]:
        return re.findall(r"ctxt_switches:\s+(\d+)", Path(f"/proc/{guard}/status").read_text())

    until(lambda: "S (sleeping)" in Path(f"/proc/{guard}/status").read_text(), "sleep")
    first = switches()
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 2, "two seconds")
    assert switches() == first


def test_the_clock_is_one_that_counts_suspend_and_knows_no_steps(
    helper: Helper, host: Path, tmp_path: Path
) -> None:
    """The guard's timer is an absolute one of CLOCK_BOOTTIME: neither suspend nor date moves it."""
    need("strace")
    log = tmp_path / "calls"
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", "trace=timerfd_create,timerfd_settime", helper.path]
        + ["--root", host, "snapshot_config", "--timeout", "1"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: not is_open(helper, host), "the rollback")
    calls = log.read_text()
    assert set(re.findall(r"timerfd_create\((\w+)", calls)) == {"CLOCK_BOOTTIME"}
    assert set(re.findall(r"timerfd_settime\(\d+, (\w+)", calls)) == {"TFD_TIMER_ABSTIME"}


def test_a_failed_rollback_is_tried_again(helper: Helper, host: Path) -> None:
    """What stood in the way at the deadline is gone later, and then the host is back."""
    before = tree.capture(host)
    start(helper, host, "--timeout", "1")
    blocked = host / "etc/network/interfaces"
    blocked.unlink()
    (blocked / "somebody's").mkdir(parents=True)
    (blocked / "somebody's/file").write_text("not in the scope")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 2, "the first try")
    assert is_open(helper, host)
    (blocked / "somebody's/file").unlink()
    (blocked / "somebody's").rmdir()
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []


def test_a_guard_leaves_another_change_alone(helper: Helper, core: Core, host: Path) -> None:
    """A guard that slept through a commit and a new start does not roll the new change back."""
    start(helper, host, "--timeout", "1")
    (old,) = guards(host)
    os.kill(old, signal.SIGSTOP)
    core.commit(host)
    start(helper, host)
    second = core.status(host).id
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 1.2, "the first deadline")
    os.kill(old, signal.SIGCONT)
    until(lambda: guards(host) == [], "its end")
    assert core.status(host).id == second


def test_two_guards_do_no_harm(helper: Helper, core: Core, host: Path) -> None:
    """One acts, the other finds the change closed."""
    before = tree.capture(host)
    start(helper, host, "--timeout", "2")
    (guard,) = guards(host)
    os.kill(guard, signal.SIGSTOP)  # looks dead to nobody; a second one is forced below
    change = core.status(host).id.decode()
    lock_out(host)
    root = os.open(host, os.O_RDONLY | os.O_DIRECTORY)
    reader, writer = os.pipe()
    second = os.fork()
    if second == 0:
        high_root, high_writer = os.dup2(root, 20), os.dup2(writer, 21)
        os.dup2(high_root, 3)
        os.dup2(high_writer, 4)
        os.execv(helper.path, ["networking-config", "guard", change])
    os.close(writer)
    assert os.read(reader, 1) == b"g"
    os.kill(guard, signal.SIGCONT)
    _, status = os.waitpid(second, 0)
    assert os.waitstatus_to_exitcode(status) == DONE
    until(lambda: guards(host) == [], "both to end")
    assert tree.differences(before, tree.capture(host)) == []
    assert len(core.discarded(host)) == 1
    os.close(reader)
    os.close(root)


def test_the_rollback_is_in_the_systems_log(helper: Helper, host: Path) -> None:
    """What was restored, and why, is told to /dev/log."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if os.path.exists("/dev/log"):
        pytest.skip("something reads /dev/log here already")
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        try:
            start(helper, host, "--timeout", "1")
            lock_out(host)
            log.settimeout(60)
            said = ""
            while "networking-config[" not in said:  # others of this machine may log, too
                said = log.recv(4096).decode()
        finally:
            os.unlink("/dev/log")
    assert "its deadline has passed" in said
    assert "1 changed" in said
    assert "network-rollback-00000001.tar" in said
