"""Debian with sysvinit: the kernel runs the helper as an init script, before networking."""

from __future__ import annotations

import re

import pytest

from lib.machine import Boot

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
def boots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Boot]:
    """Two boots with a power cut between them."""
    guest = guests.with_sysvinit(tmp_path_factory.mktemp("sysvinit"))
    up = "wait_for has_address eth0 10.0.0.1\nsleep 3\nreport\n"
    return {
        "nothing open": guest.boot(up + HOTPLUG, line=LINE),
        "hotplug": guest.boot(up, line=LINE),
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
