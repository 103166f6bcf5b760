"""A container with systemd as its init and netplan: started again, and rebooted softly."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lib import debian
from lib.images import find, need
from lib.machine import Boot

from . import guests

pytestmark = [pytest.mark.system, pytest.mark.slow]

# The first systemd that knows soft reboots is 254.
SUITE = "trixie"
PACKAGES = ("systemd-sysv", "dbus", "iproute2", "netplan.io")

FILE = "etc/netplan/host0.yaml"
RIGHT = """network:
  renderer: networkd
  ethernets:
    host0:
      addresses: [10.0.0.1/24]
      ignore-carrier: true
"""

# Runs in each boot.
JOB = """
exec >>/report 2>&1
mark() { echo "== $(cat /step) $1"; }
wrong() {
    networking-config snapshot_config
    sed -i s/10.0.0.1/10.0.0.99/ /etc/netplan/host0.yaml
    echo "$1" >/step
}
n=0
until ip -o -4 addr show dev host0 | grep -q 10.0.0 || [ $n -eq 100 ]; do
    n=$((n + 1))
    sleep 0.1
done
mark address
ip -o -4 addr show dev host0 | awk '{ print $4 }'
mark status
networking-config status
mark unit
systemctl show -p ActiveState -p ExecMainStatus networking-config.service
mark journal
journalctl -b -q -o cat -t networking-config | tail -n 1
mark boot
cat /proc/sys/kernel/random/boot_id
mark file
cat /etc/netplan/host0.yaml
mark end
case $(cat /step) in
first) wrong "started again"; systemctl --force --force poweroff ;;
"started again") wrong "rebooted softly"; systemctl soft-reboot ;;
*) systemctl --force --force poweroff ;;
esac
"""


def run(tree: Path) -> None:
    """Start the container and wait until it is off."""
    need("systemd-nspawn", "unshare")
    # Its own cgroup and network namespaces: this machine may have no systemd.
    inside = f"exec {find('systemd-nspawn')} -q -b --keep-unit --register=no --network-veth -D {tree}"
    done = subprocess.run(
        ["unshare", "--net", "--cgroup", "--mount", "sh", "-c", inside],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """Three boots of one container, with a change opened in the first and in the second."""
    place = tmp_path_factory.mktemp("container")
    with debian.copy(debian.system(*PACKAGES, suite=SUITE), place) as tree:
        guests.install(tree, "systemd")
        (tree / "usr/sbin/policy-rc.d").unlink()
        (tree / FILE).write_text(RIGHT)
        (tree / FILE).chmod(0o600)
        (tree / "etc/systemd/system/guest.service").write_text(guests.SERVICE)
        (tree / "guest.sh").write_text(JOB)
        (tree / "step").write_text("first\n")
        debian.inside(tree, "systemctl", "enable", "guest.service")
        run(tree)
        run(tree)
        return Boot("", (tree / "report").read_text(), 0)


def test_nothing_was_open_at_first(report: Boot) -> None:
    """The first boot has nothing to say."""
    assert report.section("first address") == ["10.0.0.1/24"]
    assert report.section("first journal") == []


@pytest.mark.parametrize("how", ["started again", "rebooted softly"])
def test_boots_without_a_kernel(report: Boot, how: str) -> None:
    """They count as boots: files and address are the old ones, and the unit is content."""
    assert report.section(f"{how} address") == ["10.0.0.1/24"]
    assert report.section(f"{how} status") == ["No open transaction"]
    assert sorted(report.section(f"{how} unit")) == ["ActiveState=active", "ExecMainStatus=0"]
    assert "rolled back change" in report.section(f"{how} journal")[0]
    assert report.section(f"{how} file") == RIGHT.splitlines()


def test_the_boot_id_would_not_tell(report: Boot) -> None:
    """After a soft reboot it is the same, so it is not what counts."""
    assert report.section("started again boot") == report.section("rebooted softly boot")
