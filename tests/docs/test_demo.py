"""The demo shows a whole change on one screen and fails if something is not back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lib.build import REPO

DEMO = REPO / "demo/demo.py"
BROKEN_BOOT = """
import sys, pathlib, runpy, netcf_py
netcf_py.helper_path = lambda: pathlib.Path("/bin/true")
sys.argv = [sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python away from the tree, with its scratch files below `tmp_path`."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    """The demo ends well, shows each kind of difference and leaves nothing behind."""
    ran = run(tmp_path, DEMO)
    assert (ran.returncode, ran.stderr) == (0, "")
    for line in [
        "   changed   etc/sysconfig/network-scripts/ifcfg-br0\n",
        "   removed   etc/NetworkManager/system-connections/uplink.nmconnection\n",
        "   added     etc/sysconfig/network-scripts/ifcfg-eth9\n",
        "   metadata  etc/netplan/01-uplink.yaml (mode)\n",
        " paths compared, 0 differ\n",
        "\nEverything is back.\n",
    ]:
        assert line in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_fits_on_a_screen(tmp_path: Path) -> None:
    """No more than 30 lines of 80 columns, and no colour where no terminal is."""
    printed = run(tmp_path, DEMO).stdout
    assert len(printed.splitlines()) <= 30
    assert max(map(len, printed.replace(str(tmp_path), "/tmp").splitlines())) <= 80
    assert "\033" not in printed


def test_it_fails_if_the_boot_rolls_nothing_back(tmp_path: Path) -> None:
    """With a helper that does nothing, each path that is not back is named."""
    ran = run(tmp_path, "-c", BROKEN_BOOT, DEMO)
    assert ran.returncode == 1
    wrong = [line.split()[-1] for line in ran.stdout.splitlines() if "NOT BACK" in line]
    assert wrong == [
        "etc/NetworkManager/system-connections",
        "etc/NetworkManager/system-connections/uplink.nmconnection",
        "etc/netplan/01-uplink.yaml",
        "etc/sysconfig/network-scripts",
        "etc/sysconfig/network-scripts/ifcfg-br0",
        "etc/sysconfig/network-scripts/ifcfg-eth9",
    ]
    assert "FAILED." in ran.stdout
    [left] = tmp_path.iterdir()
    assert (left / wrong[-1]).exists()


def test_the_host_can_be_kept(tmp_path: Path) -> None:
    """With --keep the scratch host stays, rolled back."""
    assert run(tmp_path, DEMO, "--keep").returncode == 0
    [left] = tmp_path.iterdir()
    assert "192.0.2.10\n" in (left / "etc/sysconfig/network-scripts/ifcfg-br0").read_text()
