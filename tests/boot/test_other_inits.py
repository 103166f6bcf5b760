"""Debian with runit, s6 or OpenRC: rolled back before networking."""

from __future__ import annotations

import re

import pytest

from lib.helper import Helper
from lib.machine import Boot, Machine

from . import guests
from .test_systemd import LINE, UP

pytestmark = [pytest.mark.system, pytest.mark.slow]


def before_networking(boot: Boot, helper: str) -> bool:
    """The kernel started the helper, under a name like this, before ifup."""
    executed = boot.section("executed")
    helpers = [n for n, name in enumerate(executed) if re.fullmatch(helper, name)]
    return helpers[0] < min(n for n, name in enumerate(executed) if name.endswith("/ifup"))


@pytest.fixture(scope="module")
def openrc(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Debian with OpenRC."""
    return guests.with_openrc(tmp_path_factory.mktemp("openrc"))


def test_runit_with_the_scripts_of_sysvinit(sysvinit: Machine, helper: Helper) -> None:
    """Debian's first stage of runit runs the init script, with --force-sysv, before networking."""
    guests.open_change(sysvinit, helper)
    boot = sysvinit.boot(UP, line=f"{LINE} init=/lib/runit/runit-init")
    guests.assert_rolled_back(sysvinit, boot)
    assert before_networking(boot, r"/etc/rcS\.d/S\d\dnetworking-config")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]


def test_runit_with_a_first_stage_of_files(sysvinit: Machine, helper: Helper) -> None:
    """As on Void: the stage reads our file behind the one that mounts and before networking."""
    guests.open_change(sysvinit, helper)
    with sysvinit.root() as root:
        (root / "etc/runit/native.boot.run").touch()
    boot = sysvinit.boot(UP, line=f"{LINE} init=/lib/runit/runit-init")
    guests.assert_rolled_back(sysvinit, boot)
    assert before_networking(boot, "/usr/sbin/networking-config")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]


def test_s6(sysvinit: Machine, helper: Helper) -> None:
    """The line of the oneshot, run by execline under s6-svscan; Debian has no s6-rc, which would run it."""
    guests.open_change(sysvinit, helper)
    boot = sysvinit.boot(UP, line=f"{LINE} init=/sbin/s6-init")
    guests.assert_rolled_back(sysvinit, boot)
    assert before_networking(boot, "/usr/sbin/networking-config")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]


def test_openrc_with_lsb_headers(openrc: Machine, helper: Helper) -> None:
    """Debian's OpenRC takes the init script for a service, and orders it before networking."""
    guests.open_change(openrc, helper)
    boot = openrc.boot(UP, line=LINE)
    guests.assert_rolled_back(openrc, boot)
    assert before_networking(boot, "/etc/init.d/networking-config")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]


def test_openrc_init_with_the_service(openrc: Machine, helper: Helper) -> None:
    """OpenRC's own init runs the service in runlevel boot; on the running host it does nothing."""
    guests.open_change(openrc, helper)
    with openrc.root() as root:
        guests.use_openrc_init(root)
    running = """
networking-config snapshot_config
rc-service networking-config restart
networking-config status --open && networking-config commit_config
"""
    boot = openrc.boot(f"{UP}section running{running}", line=f"{LINE} init=/sbin/openrc-init")
    guests.assert_rolled_back(openrc, boot)
    assert before_networking(boot, "/usr/sbin/networking-config")
    assert boot.section("addresses") == ["lo 127.0.0.1/8", "eth0 10.0.0.1/24"]
    assert boot.section("running")[-1].endswith("committed")
