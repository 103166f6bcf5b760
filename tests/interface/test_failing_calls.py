"""Every system call that is about no file fails in the real helper: netlink, processes, waits, timers, pipes.

strace deals the faults to the helper and to what it forks; the counts are those of each
process, so one fault may hit several.  The stack's programs are stand-ins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from interface.test_stand_ins import FRESH, INTERFACES, STATE, Stage, without_stacks
from lib import attached, hosts
from lib.build import Products
from lib.helper import DONE, FAILED, WRONG_STATE
from lib.hosts import Host
from lib.ncf import Core

pytestmark = [pytest.mark.root, pytest.mark.slow]

OLD, NEW = "iface eth0 inet manual\n", "iface eth0 inet manual\n up x\n"
FULL = os.environ.get("NCF_FULL") == "1"
ERRORS = ("EIO", "EPERM", "ENOMEM", "EMFILE", "EINTR", "EAGAIN", "ENOSPC", "EACCES", "EBUSY", "EINVAL", "ENOSYS", "ENOBUFS")
# Those of helper/test_injected_faults.py.
ON_FILES = (
    "open", "openat", "openat2", "statx", "read", "pread64", "write", "pwrite64", "fsync", "ftruncate",
    "fallocate", "renameat", "unlinkat", "linkat", "symlinkat", "readlinkat", "mkdirat", "getdents64",
    "fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "flock", "flistxattr", "fgetxattr", "fsetxattr",
)  # fmt: skip
# No failure of theirs is anybody's to handle, or they can't fail; writev() is libc's, for messages.
ENDLESS = {"exit", "exit_group", "rt_sigreturn", "restart_syscall", "arch_prctl", "set_tid_address", "brk", "mmap", "munmap", "mprotect", "getpid", "gettid", "close", "umask", "execve", "writev"}

# Where nothing can be written nothing is told; and what access() denies is not installed.
UNTOLD = ("write", "access")
START, ROLLBACK = ["networking-config", "snapshot_config"], ["networking-config", "rollback_config", "--limit", "2"]
GUARDED = [*START, "--timeout", "900"]


class Fault(NamedTuple):
    """The k-th call of this name fails in each process."""

    call: str
    k: int
    error: str
    lasting: bool

    def options(self) -> list[str]:
        return ["-o", "/dev/null", "-e", f"inject={self.call}:error={self.error}:when={self.k}{'+' if self.lasting else ''}"]


@pytest.fixture(scope="module")
def host(products: Products, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One for all tests; ifup and ifdown do nothing."""
    with without_stacks(products, tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def stage(host: Host, core: Core) -> Stage:
    host.run("sh", "-c", FRESH)
    stage = Stage(host, core)
    stage.install("ifup", "ifdown", "ifquery")
    stage.pair("eth0", "eth1")
    return stage


def living(host: Host) -> list[str]:
    """The processes on the host but for the one that keeps it."""
    names = []
    for pid in host.run("sh", "-c", "cd /proc && echo [0-9]*").split():
        status = Path(f"/proc/{host.pid}/root/proc/{pid}/status")
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if pid != "1" and "\nState:\tZ" not in text:
            names.append(text.split()[1])
    return names


def faults(stage: Stage, argv: list[str], tmp_path: Path) -> Iterator[Fault]:
    """Of each call that is about no file every one, of many every seventh, each with another error; and from the first on."""
    log = tmp_path / "log"
    assert attached.run(stage.host, argv, ["-y", "-o", str(log)], tmp_path, lambda: end_guard(stage)).status == DONE
    first, others = attached.calls(log)
    most: dict[str, int] = {}
    for rows in (first, *others):
        for name in {name for name, _ in rows} - ENDLESS:
            mine = [k for k, rest in enumerate((rest for call, rest in rows if call == name), 1)
                    if name not in ON_FILES or rows is not first or "<pipe:" in rest or "<socket:" in rest]  # fmt: skip
            most[name] = max([most.get(name, 0), *mine])
    turn = 0
    for name, count in sorted(most.items()):
        for k in range(1, count + 1, 1 if count <= 12 or FULL else 7):
            turn += 1
            yield Fault(name, k, ERRORS[turn % len(ERRORS)], False)
        if count:
            # musl itself repeats sigtimedwait() at EINTR, without end.
            yield Fault(name, 1, "EIO" if name == "rt_sigtimedwait" else ERRORS[turn % 5], True)


def end_guard(stage: Stage) -> None:
    stage.host.call("networking-config", "rollback_config", "--files-only")
    hosts.wait_for(lambda: living(stage.host) == [], "an end of what was started")


def is_open(stage: Stage) -> bool:
    return stage.path(f"{STATE}/network-snapshot.tar").exists()


def check_end(stage: Stage, fault: object) -> None:
    """Without a fault the change ends, and nothing is left of it."""
    assert stage.host.call(*ROLLBACK).returncode in (DONE, WRONG_STATE), fault
    assert stage.path(INTERFACES).read_text() == OLD, fault
    hosts.wait_for(lambda: living(stage.host) == [], f"an end of what was started: {fault}")
    left = sorted(name for name in os.listdir(stage.path(STATE)) if not name.startswith("network-rollback-"))
    assert left in ([], [".lock"], ["lock"]), (fault, left)


def test_every_call_of_a_rollback(stage: Stage, tmp_path: Path) -> None:
    """The file is old or edited, exit status and snapshot agree, and an interface that was not looked after is told."""

    def begin() -> None:
        stage.write(INTERFACES, OLD)
        stage.host.run(*START)
        stage.write(INTERFACES, NEW)
        stage.write("/calls", "")

    begin()
    problems, count = [], 0
    for fault in faults(stage, ROLLBACK, tmp_path):
        begin()
        done = attached.run(stage.host, ROLLBACK, fault.options(), tmp_path)
        text = stage.path(INTERFACES).read_text()
        called = "ifup" in stage.path("/calls").read_text()
        # The interface is as it was: what is said is that its files differed, and if it went down and up.
        told = re.search(r"eth0 \(ifupdown\): had been (changed|removed)|interface|not back", done.output)
        count += 1
        if done.status not in (DONE, FAILED):
            problems.append((fault, "status", done))
        elif done.status == DONE and (text != OLD or is_open(stage)):
            problems.append((fault, "files", done))
        elif done.status == FAILED and not done.output.strip() and fault.call != "write":
            problems.append((fault, "silent", done))
        elif text not in (OLD, NEW) or (text == NEW and not is_open(stage)):
            problems.append((fault, "lost", done))
        elif not called and not is_open(stage) and not told and fault.call not in UNTOLD:
            problems.append((fault, "untold", done))
        check_end(stage, fault)
    assert count > 20
    assert problems == [], "\n".join(map(str, problems))


@pytest.mark.parametrize("argv", [START, GUARDED], ids=["start", "guarded"])
def test_every_call_of_a_start(stage: Stage, tmp_path: Path, argv: list[str]) -> None:
    """A change is open exactly if it says so; with a deadline it has its guard; and it ends."""
    stage.write(INTERFACES, OLD)
    problems, count = [], 0
    for fault in faults(stage, argv, tmp_path):
        guarded: list[bool] = []
        opened: list[bool] = []

        def look(guarded: list[bool] = guarded, opened: list[bool] = opened) -> None:
            opened.append(is_open(stage))
            guarded.append(living(stage.host) != [])

        done = attached.run(stage.host, argv, fault.options(), tmp_path, look)
        count += 1
        if done.status not in (DONE, FAILED):
            problems.append((fault, "status", done))
        elif opened[0] != (done.status == DONE) and "snapshot may be there" not in done.output:
            problems.append((fault, "open", done))
        elif done.status == DONE and argv is GUARDED and not guarded[0]:
            problems.append((fault, "no guard", done))
        check_end(stage, fault)
    assert count > 20
    assert problems == [], "\n".join(map(str, problems))
