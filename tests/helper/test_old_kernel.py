"""What the helper does where the kernel lacks what it prefers: a seccomp filter, or strace, answers ENOSYS."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import seccomp, tree
from lib.helper import Helper

MISSING = {
    "before Linux 5.6, no openat2": ["openat2"],
    "before Linux 4.11, no statx": ["openat2", "statx"],
    "no getrandom, no fallocate": ["openat2", "statx", "getrandom", "fallocate"],
}


@pytest.mark.parametrize("calls", MISSING.values(), ids=MISSING)
def test_a_whole_change_without_newer_system_calls(
    helper: Helper, root: Path, tmp_path: Path, calls: list[str]
) -> None:
    """Start, diff and rollback work as ever, and leave the same tree."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace.log"

    def run(command: str) -> str:
        return subprocess.run(
            [strace, "-o", log, helper.path, "--root", root, command],
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=seccomp.without(calls),
        ).stdout

    before = tree.thorny(root)
    run("snapshot_config")
    taken = [line for line in log.read_text().splitlines() if line.startswith(tuple(f"{call}(" for call in calls))]
    assert taken and all("ENOSYS" in line for line in taken)
    tree.lock_out(root)
    assert run("diff").splitlines() == helper.run("diff", root=root).stdout.splitlines()
    run("start")
    assert tree.differences(before, tree.capture(root)) == []
    assert tree.temporary_files(root) == []


def test_no_link_is_followed_without_openat2(helper: Helper, root: Path, tmp_path: Path) -> None:
    """The walk by hand refuses a symbolic link on the way, as openat2 does."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.yaml").write_bytes(b"outside")
    (root / "etc/netplan").mkdir(parents=True)
    helper.run("change-begin", root=root, check=True)
    (root / "etc/netplan").rmdir()
    (root / "etc/netplan").symlink_to(outside)
    subprocess.run(
        [strace, "-o", tmp_path / "log", "-e", "inject=openat2:error=ENOSYS", helper.path]
        + ["--root", root, "start"],
        check=True,
        capture_output=True,
    )
    assert (root / "etc/netplan").is_dir() and not (root / "etc/netplan").is_symlink()
    assert (outside / "a.yaml").read_bytes() == b"outside"


def test_time_of_a_link_before_linux_5_8(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Where the time of a link can't be set by its descriptor alone, it is by way of /proc."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    network = root / "etc/systemd/network"
    network.mkdir(parents=True)
    (network / "link").symlink_to("nowhere")
    os.utime(network / "link", ns=(5, 5), follow_symlinks=False)
    before = tree.capture(root)
    helper.run("change-begin", root=root, check=True)
    (network / "link").unlink()
    log = tmp_path / "strace.log"
    done = subprocess.run(
        [strace, "-o", log, "-e", "inject=utimensat:error=EINVAL:when=1", helper.path, "--root", root, "start"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "AT_EMPTY_PATH) = -1 EINVAL" in log.read_text()
    assert tree.differences(before, tree.capture(root)) == []
