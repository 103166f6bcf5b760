"""docs/format.md: recovery by hand works with nothing but tar."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from lib import tree
from lib.build import REPO
from lib.helper import Helper
from lib.images import need

from .blocks import block


def run_recovery(root: Path) -> str:
    """Run the block on the host below `root`; what it prints."""
    commands = block("docs/format.md", "sh", "tar -xpf")
    assert commands.count("cd / ") == 1
    assert commands.count("/tmp/saved") == 3
    commands = commands.replace("cd / ", f"cd '{root}' ").replace("/tmp/saved", "../saved")
    ran = subprocess.run(
        ["bash", "-c", commands], capture_output=True, text=True, errors="surrogateescape"
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def as_tar_has_it(root: Path) -> tree.Tree:
    """The host in whole seconds; removing by hand what was added changes the times of directories."""
    return {
        path: replace(entry, mtime_ns=entry.mtime_ns // 10**9)
        for path, entry in tree.capture(root).items()
        if entry.kind != "d"
    }


@pytest.mark.parametrize("build", [tree.realistic, tree.thorny])
def test_recovery_by_hand(root: Path, helper: Helper, build: Callable[[Path], tree.Tree]) -> None:
    """The commands put every file back, name what was added and close the change."""
    need("bash")
    if "GNU tar" not in os.popen("tar --version").read():
        pytest.skip("GNU tar is not installed")
    build(root)
    before = as_tar_has_it(root)
    helper.run("snapshot_config", root=root, check=True)
    tree.lock_out(root)
    printed = run_recovery(root).splitlines()
    assert not any(line.startswith("etc/netplan/") and "Mod time" in line for line in printed)
    assert "etc/sysconfig/network-scripts/ifcfg-eth0: Size differs" in printed
    assert "etc/sysconfig/network-scripts/ifcfg-eth9" in printed
    (root / "etc/sysconfig/network-scripts/ifcfg-eth9").unlink()
    shutil.rmtree(root / "etc/systemd/network/20-new.d")
    assert tree.differences(before, as_tar_has_it(root)) == []
    assert helper.run("status", "--open", root=root).returncode == 3
    assert list((root / "var/lib/netcf").iterdir()) == []


def test_the_state_files_are_documented() -> None:
    """Every name that the core makes in the state directory stands in the document."""
    text = (REPO / "docs/format.md").read_text(encoding="utf-8")
    for name in ["network-snapshot.tar", "network-rollback-", ".netcf-tmp", ".netcf-reserve"]:
        assert name in text
