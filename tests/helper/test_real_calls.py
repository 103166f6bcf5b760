"""The protocol as the kernel sees it: strace of the real helper, not the seam's word."""

from __future__ import annotations

import re
from pathlib import Path

from lib import operations, trace, tree
from lib.helper import Helper
from lib.trace import Call


def run(helper: Helper, root: Path, directory: Path, command: str) -> list[Call]:
    status, calls = trace.helper(helper.path, ["--root", root, command], directory)
    assert status == 0
    return calls


def path_of(call: Call, root: Path) -> str:
    """The path strace -y shows for the first descriptor, relative to the root."""
    match = re.match(r"\d+<([^>]*)>", call.rest)
    assert match, call
    return match.group(1).replace(str(root) + "/", "")


def fsyncs(calls: list[Call], root: Path) -> list[str]:
    return [path_of(call, root) for call in calls if call.name == "fsync"]


def index(calls: list[Call], name: str, text: str, after: int = -1) -> int:
    for number, call in enumerate(calls):
        if number > after and call.name.startswith(name) and text in call.rest:
            return number
    raise AssertionError(f"no {name} with {text}")


def prepared(root: Path) -> Path:
    tree.compact(root)
    (root / "var/lib/netcf").mkdir(mode=0o700)
    operations.wait_until_older(root)
    return root


def test_start(helper: Helper, root: Path, tmp_path: Path) -> None:
    """fsync of the temporary file, rename to the snapshot's name, fsync of the directory, nothing else."""
    calls = run(helper, prepared(root), tmp_path, "change-begin")
    assert fsyncs(calls, root) == ["var/lib/netcf/.netcf-tmp", "var/lib/netcf"]
    rename = index(calls, "renameat", '"network-snapshot.tar"')
    first, last = [n for n, call in enumerate(calls) if call.name == "fsync"]
    assert first < rename < last
    assert all(call.rest.rstrip().endswith("= 0") for call in calls if call.name == "fsync")


def test_commit(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Changed files and their directories, then the snapshot's removal, then its directory."""
    helper.run("change-begin", root=prepared(root), check=True)
    tree.lock_out(root)
    calls = run(helper, root, tmp_path, "change-commit")
    drop = index(calls, "unlink", '"network-snapshot.tar"')
    before = fsyncs(calls[:drop], root)
    for path in (
        "etc/sysconfig/network-scripts/ifcfg-eth0",
        "etc/sysconfig/network-scripts/ifcfg-br0",
        "etc/sysconfig/network-scripts/ifcfg-eth9",
        "etc/sysconfig/network-scripts",
        "etc/network/interfaces.d",
        "etc/systemd/network",
        "etc/systemd/network/20-new.d/a/b.conf",
        "etc/systemd/network/20-new.d/a",
        "etc/systemd/network/20-new.d",
        "etc/netplan/01-base.yaml",
    ):
        assert before.count(path) == 1, path
    assert fsyncs(calls[drop:], root) == ["var/lib/netcf"]


def test_rollback(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Discarded durable, then files, renames, directories, then the snapshot, then its directory."""
    helper.run("change-begin", root=prepared(root), check=True)
    tree.lock_out(root)
    calls = run(helper, root, tmp_path, "change-rollback")
    kept = index(calls, "renameat", '"network-rollback-00000001.tar"')
    assert fsyncs(calls[:kept], root) == ["var/lib/netcf/.netcf-tmp"]
    drop = index(calls, "unlink", '"network-snapshot.tar"')
    between = fsyncs(calls[kept:drop], root)
    assert between[0] == "var/lib/netcf"
    assert fsyncs(calls[drop:], root) == ["var/lib/netcf"]
    for name in ("ifcfg-br0", "route-br0"):
        moved = index(calls, "renameat", f'"{name}"')
        temp = re.search(r'"(\.netcf-tmp[^"]*)"', calls[moved].rest)
        assert temp
        full = f"etc/sysconfig/network-scripts/{temp.group(1)}"
        assert full in fsyncs(calls[kept:moved], root)
        assert "etc/sysconfig/network-scripts" in fsyncs(calls[moved:drop], root)


def test_unchanged_files_are_not_opened_for_writing(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Rollback opens no existing file of the configuration for writing."""
    helper.run("change-begin", root=prepared(root), check=True)
    tree.lock_out(root)
    calls = run(helper, root, tmp_path, "change-rollback")
    opened = [call for call in calls if call.name.startswith("open") and re.search(r"O_(WRONLY|RDWR)", call.rest)]
    assert opened
    for call in opened:
        assert "O_EXCL" in call.rest or "/dev/null" in call.rest, call


def test_every_descriptor_is_close_on_exec(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Every open has O_CLOEXEC."""
    helper.run("change-begin", root=prepared(root), check=True)
    tree.lock_out(root)
    for command in ("status", "diff", "change-rollback"):
        for call in run(helper, root, tmp_path, command):
            if call.name.startswith("open") and "ENOENT" not in call.rest:
                assert "O_CLOEXEC" in call.rest or "/dev/null" in call.rest, call


def test_every_path_is_opened_beneath_the_root(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Directories are opened with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, files with O_NOFOLLOW."""
    helper.run("change-begin", root=prepared(root), check=True)
    tree.lock_out(root)
    for call in run(helper, root, tmp_path, "change-rollback"):
        if call.name == "openat2":
            assert "RESOLVE_BENEATH" in call.rest and "RESOLVE_NO_SYMLINKS" in call.rest
        elif call.name in ("open", "openat") and not call.rest.startswith(f'"{root}"'):
            path = re.search(r'"([^"]*)"', call.rest)
            assert path
            if path.group(1).startswith(("/proc/", "/dev/", str(root))):
                continue
            assert "O_NOFOLLOW" in call.rest and "/" not in path.group(1), call
