"""Debian with systemd and a kernel that enforces Debian's SELinux policy."""

from __future__ import annotations

import re

import pytest

from lib.machine import Boot

from . import guests
from .test_systemd import LINE

pytestmark = [pytest.mark.system, pytest.mark.slow]

ENFORCING = f"{LINE} security=selinux enforcing=1"

# Two labels that the policy itself would give no file here.
CHANGE = """
section right
chcon -t net_conf_t $interfaces/eth0
chcon -t net_conf_t $interfaces/spare
labels() { stat -c '%n %C' $interfaces $interfaces/* /etc/network/interfaces; }
labels
networking-config snapshot_config >/dev/null
sed -i s/10.0.0.1/10.0.0.99/ $interfaces/eth0
chcon -t etc_t $interfaces/eth0
chcon -t net_conf_t /etc/network/interfaces
echo "iface added inet manual" >$interfaces/added
rm $interfaces/spare
section wrong
labels
sync
"""

ROLLED_BACK = """
section enforced
getenforce
stat -c %C /usr/sbin/networking-config /var/lib/netcf/*
section labels
labels() { stat -c '%n %C' $interfaces $interfaces/* /etc/network/interfaces; }
labels
section running
networking-config snapshot_config >/dev/null
sed -i s/10.0.0.1/10.0.0.98/ $interfaces/eth0
chcon -t etc_t $interfaces/eth0
networking-config rollback_config >/dev/null
labels
"""


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Boot]:
    """Two boots with a power cut between them."""
    guest = guests.with_selinux(tmp_path_factory.mktemp("selinux"))
    up = "wait_for has_address eth0 10.0.0.1\nreport\n"
    return {
        "nothing open": guest.boot(up + CHANGE, line=ENFORCING),
        "wrong address": guest.boot(up + ROLLED_BACK, line=ENFORCING),
    }


def denied(boot: Boot) -> list[str]:
    """What the policy denied the helper."""
    return re.findall(r'avc:  denied  \{ (.*) \} for .* comm="networking-conf".* tcontext=\S*:(\S+):s0 ', boot.console)


def test_rolled_back_under_an_enforcing_kernel(boots: dict[str, Boot]) -> None:
    """Files and their labels are exact, the old address is up, the unit is content."""
    before, boot = boots["nothing open"], boots["wrong address"]
    assert boot.section("enforced")[0] == "Enforcing"
    assert boot.section("files") == before.section("files")
    assert before.section("right") != before.section("wrong")
    assert boot.section("labels") == before.section("right")
    assert "eth0 10.0.0.1/24" in boot.section("addresses")
    assert boot.section("status") == ["No open transaction"]
    assert sorted(boot.section("unit")) == ["ActiveState=active", "ExecMainStatus=0"]
    assert len(re.findall("rolled back change", "\n".join(boot.section("journal")))) == 1


def test_what_the_policy_made_of_the_helper(boots: dict[str, Boot]) -> None:
    """It runs where init scripts do, and no label of ours is needed.

    One thing is denied: that udevadm changes its domain, which NoNewPrivileges rules out; it runs in that of the helper.
    """
    boot = boots["wrong address"]
    assert "system_u:system_r:initrc_t:s0" in boot.section("journal")[1]
    assert [label.split(":")[2] for label in boot.section("enforced")[1:]] == ["bin_t", "var_lib_t"]
    assert denied(boots["nothing open"]) == []
    assert set(denied(boot)) == {("nnp_transition", "udev_t")}


def test_rolled_back_on_the_running_host(boots: dict[str, Boot]) -> None:
    """The same by hand, where the policy is in force."""
    boot = boots["wrong address"]
    assert boot.section("running") == boots["nothing open"].section("right")
