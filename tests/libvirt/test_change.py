"""A change made through an unmodified libvirtd: what it does to the files, and who may end it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from lib import tree
from lib.helper import WRONG_STATE

from .definitions import BOND, BRIDGE, ethernet
from .host import INVALID, OK, Client, Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

IS_OPEN = "there is another transaction running."
NOT_OPEN = "no transaction running, nothing to rollback."


def names(client: Client) -> set[str]:
    """The interfaces that libvirt lists, up or not."""
    lists = (client("c", call).result for call in ("listInterfaces", "listDefinedInterfaces"))
    return {name for found in lists for name in found}


def edit(client: Client) -> None:
    """Define one interface of each kind, undefine two that were there."""
    for xml in (ethernet("eth7"), BRIDGE, BOND):
        assert client("c", "interfaceDefineXML", xml).code == OK
    for name in ("eth1", "br1"):
        assert client("c", "undefine", name).code == OK


def test_a_rollback_is_exact(host: Host) -> None:
    """Interfaces defined and undefined through libvirt: every file and name is as before."""
    client = host.connected()
    before, listed = tree.capture(host.root / "etc"), names(client)
    assert listed == {"lo", "eth1", "br1"}
    assert client("c", "changeBegin", 0).code == OK
    edit(client)
    assert names(client) == {"lo", "eth7", "br7", "bond7"}
    assert (host.root / "etc/modprobe.d/netcf.conf").exists()
    changed = host.networking_config("diff")
    assert "changed   etc/network/interfaces\n" in changed
    assert "added     etc/modprobe.d/netcf.conf\n" in changed
    assert client("c", "changeRollback", 0).code == OK
    assert tree.differences(before, tree.capture(host.root / "etc")) == []
    assert names(client) == listed
    assert not host.is_open


def test_virsh_does_a_whole_change(host: Host) -> None:
    """iface-begin, iface-define, iface-rollback at a prompt put everything back."""
    before = tree.capture(host.root / "etc")
    (host.root / "root/bond.xml").write_text(BOND)
    host.virsh("iface-begin")
    host.virsh("iface-define", "/root/bond.xml")
    host.virsh("iface-undefine", "eth1")
    host.virsh("iface-rollback")
    assert tree.differences(before, tree.capture(host.root / "etc")) == []


def test_a_commit_keeps_what_was_edited(host: Host) -> None:
    """After a commit no rollback and no boot takes it back."""
    client = host.connected()
    assert client("c", "changeBegin", 0).code == OK
    edit(client)
    edited = tree.capture(host.root / "etc")
    assert client("c", "changeCommit", 0).code == OK
    assert client("c", "changeRollback", 0).code == INVALID
    host.networking_config("start")
    assert tree.differences(edited, tree.capture(host.root / "etc")) == []
    assert names(client) == {"lo", "eth7", "br7", "bond7"}


def test_a_change_outlives_libvirtd(host: Host) -> None:
    """libvirtd is killed and started again: the change is still open, and can be rolled back."""
    client = host.connected()
    before = tree.capture(host.root / "etc")
    assert client("c", "changeBegin", 0).code == OK
    edit(client)
    host.kill_libvirtd()
    assert host.is_open
    host.start_libvirtd()
    client = host.connected()
    refused = client("c", "changeBegin", 0)
    assert refused.code == INVALID
    assert IS_OPEN in refused.message
    assert client("c", "changeRollback", 0).code == OK
    assert tree.differences(before, tree.capture(host.root / "etc")) == []
    assert names(client) == {"lo", "eth1", "br1"}


def by_virsh(host: Host) -> None:
    host.virsh("iface-rollback", uri="interface:///system")


def by_python(host: Host) -> None:
    assert host.connected()("c", "changeRollback", 0).code == OK


def by_helper(host: Host) -> None:
    host.networking_config("rollback_config")


def by_boot(host: Host) -> None:
    host.kill_libvirtd()
    host.networking_config("start")
    host.start_libvirtd()


@pytest.mark.parametrize("finish", [by_virsh, by_python, by_helper, by_boot])
def test_another_ends_the_change(host: Host, finish: Callable[[Host], None]) -> None:
    """A change begun over one connection is rolled back over another, by the helper, or at boot."""
    before = tree.capture(host.root / "etc")
    first = host.connected()
    assert first("c", "changeBegin", 0).code == OK
    edit(first)
    finish(host)
    assert tree.differences(before, tree.capture(host.root / "etc")) == []
    second = host.connected()
    refused = second("c", "changeRollback", 0)
    assert refused.code == INVALID
    assert NOT_OPEN in refused.message
    assert names(second) == {"lo", "eth1", "br1"}


def test_virsh_and_the_helper_race(host: Host) -> None:
    """Of many who begin or roll back at once one succeeds; the others hear that it is not valid."""
    virsh = ["virsh", "--quiet", "--connect", "qemu:///system"]
    helper = ["/usr/local/sbin/networking-config"]
    for _ in range(5):
        for ours, theirs in (
            ("snapshot_config", "iface-begin"),
            ("rollback_config", "iface-rollback"),
        ):
            racers = [
                subprocess.Popen(
                    host.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
                for words in [[*helper, ours], [*virsh, theirs]] * 3
            ]
            errors = [racer.communicate()[1] for racer in racers]
            statuses = [racer.returncode for racer in racers]
            assert statuses.count(0) == 1, (statuses, errors)
            assert set(statuses[0::2]) <= {0, WRONG_STATE}, errors
            for status, error in zip(statuses[1::2], errors[1::2]):
                assert status == 0 or "error: Requested operation is not valid: " in error
    assert not host.is_open
