"""Boot: what `start` costs, and that it needs nothing but itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import images, trace, tree
from lib.helper import DONE, FAILED, NOT_OPEN, Helper
from lib.ncf import Core

CALLS_AT_MOST = 25

READING_CALLS = {
    "open", "openat", "openat2", "fstat", "stat", "lstat", "statx", "newfstatat", "close", "fcntl", "flock",
    "exit_group", "exit", "brk", "mmap", "munmap", "mprotect", "arch_prctl", "set_tid_address",
    "set_robust_list", "rseq", "prlimit64", "getrandom", "readlink", "readlinkat", "rt_sigprocmask", "read",
    "pread64", "access", "faccessat", "futex", "madvise", "geteuid", "getuid", "uname", "ioctl", "sigaltstack",
}  # fmt: skip


def test_boot_with_nothing_open_is_cheap(helper: Helper, root: Path, tmp_path: Path) -> None:
    """At most 25 system calls after exec where no change was ever made, on the static helper."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the dynamic loader has calls of its own")
    tree.realistic(root)
    status, calls = trace.helper(helper.path, ["--root", root, "start"], tmp_path)
    assert status == DONE
    assert len(calls) <= CALLS_AT_MOST, "\n".join(f"{c.name}({c.rest}" for c in calls)


def test_boot_after_earlier_changes_is_cheap(helper: Helper, root: Path, tmp_path: Path) -> None:
    """The same where the state directory exists and holds discarded configurations."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the dynamic loader has calls of its own")
    tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    helper.run("change-rollback", root=root, check=True)
    status, calls = trace.helper(helper.path, ["--root", root, "start"], tmp_path)
    assert status == DONE
    assert len(calls) <= CALLS_AT_MOST, "\n".join(f"{c.name}({c.rest}" for c in calls)


@pytest.mark.parametrize("state", [False, True], ids=["never-used", "used"])
def test_boot_with_nothing_open_touches_no_disk(
    helper: Helper, root: Path, tmp_path: Path, state: bool
) -> None:
    """It makes reading calls only: no write, no fsync, no mkdir, nothing created."""
    tree.realistic(root)
    if state:
        (root / "var/lib/netcf").mkdir(mode=0o700)
    _, calls = trace.helper(helper.path, ["--root", root, "start"], tmp_path)
    harmless = [call for call in calls if call.name == "unlinkat" and "ENOENT" in call.rest]
    others = [call for call in calls if call.name not in READING_CALLS and call not in harmless]
    assert others == []
    assert not [call for call in calls if "O_CREAT" in call.rest or "O_WRONLY" in call.rest]


def test_boot_runs_no_other_program(helper: Helper, root: Path, tmp_path: Path) -> None:
    """No fork, no exec: no shell and no interpreter is needed to roll back."""
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    status, calls = trace.helper(helper.path, ["--root", root, "start"], tmp_path)
    assert status == DONE
    assert tree.differences(before, tree.capture(root)) == []
    names = {call.name for call in calls}
    assert names.isdisjoint({"fork", "vfork", "clone", "clone3", "execve", "execveat", "socket", "connect"})


@pytest.mark.root
def test_boot_in_an_empty_root(helper: Helper, root: Path) -> None:
    """As in an initramfs: nothing but the helper there, no /proc, no /dev, no /etc/passwd."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the helper needs its libraries")
    tree.realistic(root)
    shutil.copy(helper.path, root / "networking-config")
    before = tree.capture(root)

    def inside(*arguments: str) -> subprocess.CompletedProcess[str]:
        return Helper(Path("/networking-config")).run(*arguments, preexec_fn=lambda: os.chroot(root))

    assert inside("start").returncode == DONE
    assert inside("snapshot_config").returncode == DONE
    assert "an open transaction" in inside("status").stdout
    tree.lock_out(root)
    done = inside("start")
    assert (done.returncode, done.stderr) == (DONE, "")
    assert tree.differences(before, tree.capture(root)) == []


def test_boot_twice(helper: Helper, root: Path) -> None:
    """The second start finds nothing to do and changes nothing."""
    tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    helper.run("start", root=root, check=True)
    once = tree.capture(root, state=True, identity=True)
    done = helper.run("start", root=root, check=True)
    assert done.stdout == ""
    assert tree.differences(once, tree.capture(root, state=True, identity=True)) == []


def test_boot_removes_a_stale_temporary_file(helper: Helper, root: Path) -> None:
    """A half-written archive that a crash left is gone after boot, also with nothing open."""
    tree.realistic(root)
    state = root / "var/lib/netcf"
    state.mkdir(mode=0o700)
    (state / ".netcf-tmp").write_bytes(b"half of a snapshot")
    helper.run("start", root=root, check=True)
    assert os.listdir(state) == []


def test_boot_with_a_damaged_snapshot(helper: Helper, core: Core, root: Path) -> None:
    """It fails loudly, keeps the evidence and touches no live file."""
    tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    path = root / "var/lib/netcf/network-snapshot.tar"
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 0xFF
    path.write_bytes(damaged)
    done = helper.run("start", root=root)
    assert done.returncode == FAILED
    assert done.stderr.startswith("networking-config: start: ")
    assert "checksum" in done.stderr and "network-snapshot.tar" in done.stderr
    assert path.read_bytes() == damaged
    assert tree.differences(edited, tree.capture(root)) == []


def test_a_damaged_snapshot_can_be_dropped(helper: Helper, core: Core, root: Path) -> None:
    """The administrator's way out: commit keeps the present files and drops the damaged snapshot."""
    tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    os.truncate(root / "var/lib/netcf/network-snapshot.tar", 900)
    done = helper.run("commit_config", root=root, check=True)
    assert "damaged" in done.stderr
    assert tree.differences(edited, tree.capture(root)) == []
    assert helper.run("start", root=root).returncode == DONE


# --- as an init script -----------------------------------------------------------


def test_arguments_of_an_init_script(helper: Helper, root: Path) -> None:
    """The kernel puts --sysv and the script's path before init's own argument."""
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    done = helper.run("--sysv", "/etc/init.d/networking-config", "--root", root, "start")
    assert done.returncode == DONE
    assert tree.differences(before, tree.capture(root)) == []


def test_further_words_of_an_init_are_not_for_the_script(helper: Helper, root: Path) -> None:
    """Debian's runit says "start --force-sysv"."""
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    done = helper.run("--sysv", "/etc/init.d/networking-config", "--root", root, "start", "--force-sysv")
    assert done.returncode == DONE
    assert tree.differences(before, tree.capture(root)) == []
    assert helper.run("--root", root, "start", "--force-sysv").returncode == 2


def test_an_initramfs_leaves_trial_boots_to_the_host(helper: Helper, root: Path) -> None:
    """One boot is counted once; any other change is rolled back there."""
    before = tree.realistic(root)
    helper.run("change-begin", "--trial-boots", "1", root=root, check=True)
    edited = tree.lock_out(root)
    done = helper.run("start", "--initramfs", root=root, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert tree.differences(edited, tree.capture(root)) == []
    assert "this boot is a trial" in helper.run("start", root=root, check=True).stdout
    assert "rolled back change" in helper.run("start", "--initramfs", root=root, check=True).stdout
    assert tree.differences(before, tree.capture(root)) == []


def test_init_script_run_by_the_kernel(helper: Helper, root: Path, tmp_path: Path) -> None:
    """A file whose first line names the helper is run without a shell; its other lines are comments."""
    if len(str(helper.path)) > 100:
        pytest.skip("the path of the helper is too long for a #! line")
    before = tree.realistic(root)
    script = tmp_path / "networking-config"
    script.write_text(
        f"#!{helper.path} --sysv\n### BEGIN INIT INFO\n# Provides: networking-config\n"
        "# Default-Start: S\n### END INIT INFO\n"
    )
    script.chmod(0o755)

    def run(*arguments: str) -> int:
        return subprocess.run([script, "--root", root, *arguments], check=False, stdout=subprocess.DEVNULL).returncode

    assert run("start") == DONE
    helper.run("change-begin", root=root, check=True)
    for command in ("restart", "force-reload", "stop", "status"):
        assert run(command) == DONE
    assert helper.run("status", "--open", root=root).returncode == 0
    tree.lock_out(root)
    assert run("start") == DONE
    assert tree.differences(before, tree.capture(root)) == []
    assert run("nonsense") == 2


def test_init_script_without_an_argument(helper: Helper) -> None:
    """Like every init script: usage and 2."""
    assert helper.run("--sysv", "/etc/init.d/networking-config").returncode == 2
    assert helper.run("--sysv").returncode == 2


# --- standard descriptors -----------------------------------------------------------


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors(helper: Helper, root: Path, closed: tuple) -> None:
    """Whatever is closed, no message ends up in a configuration file or in the snapshot."""
    before = tree.realistic(root)

    def run(*arguments: str) -> int:
        actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in closed]
        child = os.posix_spawn(
            helper.path, ["networking-config", "--root", str(root), *arguments], {}, file_actions=actions
        )
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run("change-begin") == DONE
    assert run("change-begin") == 199
    assert run("status") == DONE
    tree.lock_out(root)
    assert run("start") == DONE
    assert tree.differences(before, tree.capture(root)) == []


def test_full_standard_output(helper: Helper, root: Path) -> None:
    """What could not be told is a failure, and on standard error it is said that only that failed."""
    tree.realistic(root)
    for arguments in (["status"], ["--help"], ["change-begin"], ["change-commit"]):
        with open("/dev/full", "wb") as full:
            told = helper.run(*arguments, root=None if arguments == ["--help"] else root, stdout=full)
        assert told.returncode == FAILED
        assert told.stderr == "networking-config: done, but could not say so on standard output\n"
    assert helper.run("status", "--open", root=root).returncode == NOT_OPEN


def test_closed_pipe_on_standard_output_does_not_stop_a_rollback(helper: Helper, root: Path) -> None:
    """A reader that went away does not kill a rollback half-way."""
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    reader, writer = os.pipe()
    os.close(reader)
    helper.run("change-rollback", root=root, stdout=writer)
    os.close(writer)
    assert tree.differences(before, tree.capture(root)) == []
    assert helper.run("status", "--open", root=root).returncode == 3


# --- the file itself ------------------------------------------------------------------


def test_size(helper: Helper) -> None:
    """A static helper with musl is at most 200 KB."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine")
    if b"musl" not in helper.path.read_bytes() and shutil.which("musl-gcc") is None:
        pytest.skip("musl is not installed: the bound is for musl")
    assert helper.path.stat().st_size <= 200_000


def test_libraries(helper: Helper) -> None:
    """It is static, or needs libc and nothing else."""
    if trace.is_static(helper.path):
        return
    images.need("readelf")
    dynamic = subprocess.run(["readelf", "-d", helper.path], capture_output=True, text=True, check=True).stdout
    needed: list[str] = [line for line in dynamic.splitlines() if "NEEDED" in line]
    assert len(needed) == 1 and "libc." in needed[0]
