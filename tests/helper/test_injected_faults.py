"""Faults the kernel deals to the real helper, by strace: failing calls, kills, interruptions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from conftest import remove
from lib import operations, trace, tree
from lib.helper import DONE, FAILED, Helper
from lib.ncf import Core

SIGKILL = 9


def injected(helper: Helper, root: Path, command: str, *rules: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the helper with strace's `inject` rules."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    options = [word for rule in rules for word in ("-e", f"inject={rule}")]
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", "/dev/null", *options, str(helper.path), "--root", str(root), command],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ.get("PATH", "")},
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    return done


def count(helper: Helper, core: Core, directory: Path, operation: operations.Operation, call: str) -> int:
    """How often the helper makes a call in an operation."""
    world = operation.prepare(core, directory / "counted")
    name = {"start": "change-begin", "commit": "change-commit", "rollback": "start"}[operation.name]
    _, calls = trace.helper(helper.path, ["--root", world.root, name], directory)
    return len([row for row in calls if row.name == call])


@pytest.mark.parametrize("how", ["same size", "other size", "added"])
def test_a_live_file_that_the_disk_does_not_give_back(helper: Helper, root: Path, how: str) -> None:
    """It is replaced like the others, only not kept; and that is said by name."""
    before = tree.realistic(root)
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    file = root / ("etc/network/interfaces.d/new" if how == "added" else "etc/network/interfaces")
    file.parent.mkdir(exist_ok=True)
    content = b"" if how == "added" else file.read_bytes()
    file.write_bytes(content[:-1] + b"X" * (1 if how == "same size" else 9))
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    done = subprocess.run(
        [strace, "-qq", "-o", "/dev/null", "-P", file, "-e", "inject=read:error=EIO:when=1", helper.path]
        + ["--root", root, "start"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    path = file.relative_to(root)
    assert done.returncode == DONE, done.stderr
    assert f"note: {path}: could not be read, so it was replaced without being kept" in done.stdout + done.stderr
    assert tree.differences(before, tree.capture(root)) == []
    [kept] = (root / "var/lib/netcf").glob("network-rollback-*.tar")
    with tarfile.open(kept) as archive:
        assert archive.getnames()
        assert str(path) not in archive.getnames()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["fsync", "renameat", "unlinkat", "fchmod", "mkdirat", "getdents64", "flock"])
def test_a_call_that_fails_during_boot(
    helper: Helper, core: Core, fast_dir: Path, call: str, error: str
) -> None:
    """Whichever call of this name fails at boot, exit status and files tell the same story; the next boot ends it."""
    for k in range(1, count(helper, core, fast_dir, operations.ROLLBACK, call) + 1):
        world = operations.ROLLBACK.prepare(core, fast_dir / f"host-{k}")
        done = injected(helper, world.root, "start", f"{call}:error={error}:when={k}")
        restored = tree.differences(world.old, tree.capture(world.root)) == []
        if done.returncode == DONE:
            assert restored and not operations.is_open(world.root), (k, done.stderr)
        else:
            assert done.returncode == FAILED
            assert done.stderr.startswith("networking-config: start: "), done.stderr
            assert operations.is_open(world.root) or restored, (k, done.stderr)
        assert operations.torn_files(world) == []
        assert helper.boot(world.root) == DONE
        assert tree.differences(world.old, tree.capture(world.root)) == [], (k, done.stderr)
        assert operations.leftovers(world.root) == []
        shutil.rmtree(world.root)


@pytest.mark.parametrize("call", ["write", "pwrite64", "fsync", "renameat", "unlinkat", "linkat", "symlinkat"])
def test_a_kill_during_boot(helper: Helper, core: Core, fast_dir: Path, call: str) -> None:
    """Boot that is killed at any call of this name is finished by the next boot."""
    for k in range(1, count(helper, core, fast_dir, operations.ROLLBACK, call) + 1):
        world = operations.ROLLBACK.prepare(core, fast_dir / f"host-{k}")
        injected(helper, world.root, "start", f"{call}:signal=KILL:when={k}")
        assert helper.boot(world.root) == DONE
        assert tree.differences(world.old, tree.capture(world.root)) == [], k
        assert operations.leftovers(world.root) == []
        assert operations.lost_contents(world) == []
        shutil.rmtree(world.root)


def test_every_fsync_of_a_commit_fails(helper: Helper, core: Core, fast_dir: Path) -> None:
    """A commit that can't make the new files durable exits 1, and boot goes back to the old ones."""
    world = operations.COMMIT.prepare(core, fast_dir / "host")
    done = injected(helper, world.root, "change-commit", "fsync:error=EIO")
    assert done.returncode == FAILED
    assert operations.is_open(world.root)
    assert helper.boot(world.root) == DONE
    assert tree.differences(world.old, tree.capture(world.root)) == []


@pytest.mark.parametrize("operation", [operations.START, operations.COMMIT, operations.ROLLBACK], ids=str)
def test_an_fsync_that_fails_once_and_then_succeeds(
    helper: Helper, core: Core, fast_dir: Path, operation: operations.Operation
) -> None:
    """What the kernel dropped is never called durable: an error names step and path, and the snapshot is not lost."""
    command = COMMANDS[operation.name]
    made = count(helper, core, fast_dir, operation, "fsync")
    assert made > 1
    for k in range(1, made + 1):
        world = operation.prepare(core, fast_dir / "host")
        done = injected(helper, world.root, command, f"fsync:error=EIO:when={k}")
        assert done.returncode == FAILED, k
        told = re.match(rf"networking-config: {command}: (.+): ([^ :]+): I/O error", done.stderr)
        assert told and told[2].partition("/")[0] in ("etc", "var", "."), done.stderr
        assert operations.torn_files(world) == [], k
        is_open = operations.is_open(world.root)
        if operation is operations.START:
            assert not is_open and tree.differences(world.old, tree.capture(world.root)) == [], done.stderr
        else:
            assert is_open or "removed the snapshot" in told[1], done.stderr
        if operation is operations.COMMIT:
            assert tree.differences(world.new, tree.capture(world.root)) == [], done.stderr
        assert helper.boot(world.root) == DONE, k
        wanted = world.new if operation is operations.COMMIT and not is_open else world.old
        assert tree.differences(wanted, tree.capture(world.root)) == [], done.stderr
        assert operations.leftovers(world.root) == [], done.stderr
        shutil.rmtree(world.root)


def test_interrupted_calls_are_repeated(helper: Helper, core: Core, fast_dir: Path) -> None:
    """EINTR from a signal is no failure."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")
    rules = [f"{call}:error=EINTR:when=1..4" for call in ("openat", "openat2", "read", "pread64", "write", "flock")]
    done = injected(helper, world.root, "start", *rules)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert tree.differences(world.old, tree.capture(world.root)) == []


# What a filesystem may lack; for what a kernel may lack see test_old_kernel.py.
LACKING = {
    "fallocate": ["fallocate:error=EOPNOTSUPP"],
    "extended attributes": ["flistxattr:error=EOPNOTSUPP", "llistxattr:error=EOPNOTSUPP"],
}


@pytest.mark.parametrize("rules", LACKING.values(), ids=LACKING)
def test_lesser_filesystems(helper: Helper, fast_dir: Path, rules: list[str]) -> None:
    """A change is started, rolled back and committed all the same."""
    root = fast_dir / "host"
    before = tree.compact(root)
    done = injected(helper, root, "change-begin", *rules)
    assert (done.returncode, done.stderr) == (DONE, "")
    tree.lock_out(root)
    done = injected(helper, root, "start", *rules)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert tree.differences(before, tree.capture(root)) == []
    assert injected(helper, root, "change-begin", *rules).returncode == DONE
    edited = tree.lock_out(root)
    assert injected(helper, root, "change-commit", *rules).returncode == DONE
    assert tree.differences(edited, tree.capture(root)) == []
    assert operations.leftovers(root) == []


def test_start_refuses_a_link_on_the_way_without_openat2(helper: Helper, fast_dir: Path) -> None:
    """Where openat2 is missing the way is walked part by part, and a link on it is an error too."""
    root = fast_dir / "host"
    tree.compact(root)
    elsewhere = fast_dir / "elsewhere"
    (root / "etc/systemd").rename(elsewhere)
    (root / "etc/systemd").symlink_to(elsewhere)
    done = injected(helper, root, "change-begin", "openat2:error=ENOSYS")
    assert done.returncode == FAILED
    assert "symbolic link" in done.stderr and "etc/systemd" in done.stderr


# All that the helper calls may fail or be the last, but what can't fail and what it asks for about itself.
LEFT_OUT = (
    "arch_prctl", "set_tid_address", "rt_sigprocmask", "rt_sigaction", "brk", "mmap", "munmap", "geteuid", "getpid", "exit_group",
)  # fmt: skip
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "EINTR", "EMFILE", "ENOMEM", "EXDEV", "EBUSY", "ELOOP")
COMMANDS = {"start": "change-begin", "commit": "change-commit", "rollback": "start", "rollback-metadata": "start"}
FULL = os.environ.get("NCF_FULL") == "1"  # each call with each error; else they take turns
RULES = {"fails": "error={error}:when={k}", "fails from then on": "error={error}:when={k}+", "kills": "signal=KILL:when={k}"}


@pytest.mark.slow
@pytest.mark.parametrize("how", RULES)
@pytest.mark.parametrize(
    "operation",
    [operations.START, operations.COMMIT, operations.ROLLBACK, *([operations.METADATA] if FULL else [])],
    ids=str,
)
def test_every_call_of_the_helper(
    helper: Helper, core: Core, fast_dir: Path, operation: operations.Operation, how: str
) -> None:
    """Each call in its turn, each with another error or SIGKILL: exit status and files agree, boot ends it."""
    command = COMMANDS[operation.name]
    world = operation.prepare(core, fast_dir / "counted")
    status, calls = trace.helper(helper.path, ["--root", world.root, command], fast_dir)
    assert status == DONE
    made = [row.name for row in calls if row.name not in LEFT_OUT]
    faults = [
        (name, made[: at + 1].count(name), error)
        for at, name in enumerate(made)
        for error in (ERRORS if FULL and how != "kills" else ERRORS[at % len(ERRORS) :][:1])
    ]
    kills = 0
    for name, k, error in faults:
        where = f"{name} {k}, {error}"
        world = operation.prepare(core, fast_dir / "host")
        done = injected(helper, world.root, command, f"{name}:{RULES[how].format(error=error, k=k)}")
        succeeded, killed = done.returncode == DONE, done.returncode == -SIGKILL
        unsaid = "done, but could not say so" in done.stderr
        told = re.search(rf"^networking-config: {command}: .+: (etc|var|[./])[^:;]*[:;]", done.stderr, re.MULTILINE)
        mute = name.startswith("write") and done.stderr == ""  # where it can't write, it can't tell
        assert succeeded or killed or (done.returncode == FAILED and (told or unsaid or mute)), (where, done.stderr)
        # A slow machine makes fewer: what is older at the start needs no fsync.
        assert killed or how != "kills" or succeeded, where
        kills += killed
        is_open = operations.is_open(world.root)
        assert operations.torn_files(world) == [], where
        if operation is operations.START and not killed:
            assert is_open == (succeeded or unsaid) or "snapshot may be there" in done.stderr or mute, where
        elif succeeded:
            assert not is_open, where
        committed = operation is operations.COMMIT and not is_open
        assert helper.boot(world.root) == DONE, where
        wanted = world.new if committed else world.old
        assert tree.differences(wanted, tree.capture(world.root)) == [], where
        assert operations.leftovers(world.root) == [], where
        remove(world.root)
    print(f"{operation}, {how}: {len(faults)} faults in {len(made)} calls")
    assert kills > 0.9 * len(faults) if how == "kills" else not kills
