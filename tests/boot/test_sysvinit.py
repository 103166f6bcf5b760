"""Debian with sysvinit: the kernel runs the helper as an init script, before networking."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib.helper import Helper
from lib.machine import MEBI, Boot, Machine

from . import guests
from .test_systemd import LINE

pytestmark = [pytest.mark.system, pytest.mark.slow]

# udev is faster than the helper here, and acts on the wrong files.
HOTPLUG = """
section prepared
networking-config snapshot_config
sed -i -e s/auto/allow-hotplug/ -e s/10.0.0.1/10.0.0.99/ $interfaces/eth0
echo "iface added inet manual" >$interfaces/added
rm $interfaces/spare
section wrong
files
sync
"""


@pytest.fixture(scope="module")
def boots(sysvinit: Machine) -> dict[str, Boot]:
    """Two boots with a power cut between them."""
    with sysvinit.root() as root:
        guests.set_up(root)
    up = "wait_for has_address eth0 10.0.0.1\nsleep 3\nreport\n"
    return {
        "nothing open": sysvinit.boot(up + HOTPLUG, line=LINE),
        "hotplug": sysvinit.boot(up, line=LINE),
    }


def test_the_script_is_ordered_before_networking(boots: dict[str, Boot]) -> None:
    """The kernel started the helper before networking brought anything up."""
    executed = boots["nothing open"].section("executed")
    assert executed.index("/etc/init.d/networking-config") < executed.index("/etc/init.d/networking")
    assert boots["nothing open"].section("log") == []


def test_hotplug_by_the_wrong_files(boots: dict[str, Boot]) -> None:
    """What udev brought up from the wrong files is taken down; files and address are the old ones."""
    boot = boots["hotplug"]
    executed = boot.section("executed")
    helper = executed.index("/etc/init.d/networking-config")
    assert executed.index("/sbin/ifup") < helper < executed.index("/usr/sbin/ifdown")
    assert executed.index("/usr/sbin/ifdown") < executed.index("/etc/init.d/networking")
    assert boot.section("files") == boots["nothing open"].section("files")
    assert boot.section("files") != boots["nothing open"].section("wrong")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]
    assert boot.section("status") == ["No open transaction"]


def test_console_and_log(boots: dict[str, Boot]) -> None:
    """One line on the console, one in the kernel's log."""
    line = r"networking-config: rolled back change [0-9a-f]{16}: 3 paths restored"
    assert len(re.findall(line, "\n".join(boots["hotplug"].section("log")))) == 1
    assert re.search(line, boots["hotplug"].console)


# Three kernels in one run of the machine; the job runs again with each.
REBOOTS = """
again() {
    section "$1"
    networking-config status
    cat $interfaces/eth0
    section "prepared after $1"
    rm -r /var/lib/netcf
}
wrong() {
    networking-config snapshot_config
    sed -i s/10.0.0.1/10.0.0.99/ $interfaces/eth0
    echo $1 >/step
    sync
}
case $(cat /step) in
full)
    wait_for has_address eth0 10.0.0.1
    report
    section clock
    stat -c %y /var/lib/netcf/*
    rm -r /fill /var/lib/netcf
    wrong reboot
    reboot -f
    sleep 600 ;;
reboot)
    again "reboot -f"
    wrong kexec
    kexec -l /boot/vmlinuz --initrd=/boot/initrd --reuse-cmdline
    kexec -e
    sleep 600 ;;
kexec)
    again kexec ;;
esac
"""


def fill_up(file: Path) -> None:
    """Leave no block free."""
    with open(file, "wb", buffering=0) as fill:
        for size in (MEBI, 4096, 512):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    fill.write(bytes(size))


@pytest.fixture(scope="module")
def reboots(sysvinit: Machine, helper: Helper) -> Boot:
    """A change is open on a disk without a free block, and it is 1970; then reboot -f; then kexec."""
    guests.open_change(sysvinit, helper)
    with sysvinit.root() as root:
        (root / "step").write_text("full\n")
        fill_up(root / "fill")
    boot = sysvinit.boot(REBOOTS, line=LINE, clock="1970-01-01T00:00:00")
    assert boot.kernels == 3
    return boot


def test_full_disk_in_1970(reboots: Boot) -> None:
    """The reserve of the start is enough for the rollback; no clock is needed."""
    assert len(re.findall(f"^{guests.ROLLED_BACK}$", reboots.console, re.M)) == 1
    assert reboots.section("state") == ["network-rollback-00000001.tar"]
    assert reboots.section("status") == ["No open transaction"]
    assert reboots.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]
    assert reboots.section("clock")[0].startswith("1970-01-01 00:0")


@pytest.mark.parametrize("how", ["reboot -f", "kexec"])
def test_boots_that_skip_the_shutdown(reboots: Boot, how: str) -> None:
    """They count as boots."""
    assert reboots.section(how) == ["No open transaction", *guests.RIGHT.splitlines()]
