"""What the adapter does to the process it is in: nothing but answer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lib import tree

from .host import DROP_IN, INTERNAL, INVALID, OK, TIMEOUT, Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

# In place of ifup: what it was started with.
RECORDER = """#!/bin/sh
tr '\\0' '\\n' </proc/$$/environ >/root/environment
ls -l /proc/$$/fd >/root/descriptors
"""


def child(host: Host) -> tuple[list[str], str]:
    """The environment and the descriptors of a program that libvirtd starts."""
    ifup = host.root / "sbin/ifup"
    ifup.unlink()
    ifup.write_text(RECORDER)
    ifup.chmod(0o755)
    # It fails, since there is no such interface; ifup ran all the same.
    assert host.connected()("c", "interfaceLookupByName", "eth1").code == OK
    host.virsh("iface-start", "eth1", status=1)
    environment = (host.root / "root/environment").read_text().splitlines()
    return environment, (host.root / "root/descriptors").read_text()


def preload(host: Host) -> str:
    return host.environment_of_drop_in()["LD_PRELOAD"]


def test_programs_it_starts_know_nothing_of_it(host: Host) -> None:
    """No LD_PRELOAD, and no descriptor of the state directory, also while a change is open."""
    host.virsh("iface-begin")
    environment, descriptors = child(host)
    assert [line for line in environment if "LD_PRELOAD" in line] == []
    assert "PATH=/usr/sbin:/usr/bin:/sbin:/bin" in environment
    assert "netcf" not in descriptors


def test_what_else_is_preloaded_stays(stock: Host) -> None:
    """Other libraries in LD_PRELOAD are passed on, in their order."""
    other = "/lib/x86_64-linux-gnu/libutil.so.1", "/lib/x86_64-linux-gnu/libdl.so.2"
    for library in other:
        if not (stock.root / library[1:]).exists():
            pytest.skip(f"no {library} on this architecture")
    stock.start_libvirtd(LD_PRELOAD=f"{other[0]}:{preload(stock)} {other[1]}")
    environment, _ = child(stock)
    assert f"LD_PRELOAD={other[0]}:{other[1]}" in environment
    stock.virsh("iface-begin")


def test_a_shell_on_the_way_passes_it_on(stock: Host) -> None:
    """Where an init script exports LD_PRELOAD, the adapter arrives in libvirtd."""
    script = f"export LD_PRELOAD={preload(stock)}; exec sh -c 'sh -c \"exec libvirtd --daemon\"'"
    stock.run("sh", "-c", script)
    stock.virsh("iface-begin")
    assert stock.is_open


def test_no_descriptor_stays_open(host: Host) -> None:
    """A hundred calls, good and bad, leave libvirtd's descriptors as they were."""
    client = host.connected()

    def open_descriptors() -> list[str]:
        return host.run("sh", "-c", "ls /proc/$(cat /run/libvirtd.pid)/fd").stdout.split()

    assert client("c", "changeRollback", 0).code == INVALID
    before = open_descriptors()
    for _ in range(25):
        for call, code in (
            ("changeBegin", OK), ("changeBegin", INVALID), ("changeRollback", OK), ("changeCommit", INVALID),
        ):  # fmt: skip
            assert client("c", call, 0).code == code
    assert open_descriptors() == before


def test_a_failure_is_told_once(host: Host) -> None:
    """After a failed call of ours, libnetcf's own errors keep their code and words."""
    client = host.connected()
    for _ in range(3):
        ours = client("c", "changeRollback", 0)
        assert ours.code == INVALID
        theirs = client("c", "interfaceLookupByName", "none")
        assert theirs.code == INTERNAL
        assert "couldn't find interface named 'none'" in theirs.message
        theirs = client("c", "interfaceDefineXML", "<interface type='ethernet' name='x'/>")
        assert theirs.code not in (OK, INVALID)
        assert "transaction" not in theirs.message


def test_the_reason_reaches_the_user(host: Host) -> None:
    """A start that can't save names the step and the path, and leaves no change open."""
    scope = host.root / "etc/netcf/scope.d"
    scope.mkdir(parents=True)
    (scope / "bad.conf").write_text("../etc/passwd\n")
    answer = host.connected()("c", "changeBegin", 0)
    assert answer.code == INTERNAL
    assert "bad pattern" in answer.message
    assert "etc/netcf/scope.d/bad.conf" in answer.message
    assert not host.is_open


def test_a_default_deadline_is_stored(stock: Host) -> None:
    """NETCF_CHANGE_DEADLINE goes with each change begun through libvirt, and a guard watches it."""
    stock.start_libvirtd(NETCF_CHANGE_DEADLINE="600")
    stock.virsh("iface-begin")
    status = stock.networking_config("status")
    assert "rolls back by itself in " in status
    assert "no guard" not in status
    stock.virsh("iface-rollback")


def test_a_client_that_is_cut_off_leaves_a_host_that_comes_back(stock: Host) -> None:
    """virsh and libvirtd die after a begin; at the deadline the guard rolls back by itself."""
    stock.start_libvirtd(NETCF_CHANGE_DEADLINE="3")
    before = tree.capture(stock.root / "etc")
    stock.virsh("iface-begin")
    stock.virsh("iface-undefine", "eth1")
    stock.kill_libvirtd()
    assert stock.is_open
    until = time.monotonic() + TIMEOUT
    while stock.is_open:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert tree.differences(before, tree.capture(stock.root / "etc")) == []


@pytest.mark.parametrize("value", ["soon", "600s", "-1", "99999999999999999999"])
def test_a_bad_deadline_starts_nothing(stock: Host, value: str) -> None:
    """A change that would not come back as the administrator thinks is not begun."""
    stock.start_libvirtd(NETCF_CHANGE_DEADLINE=value)
    assert "deadline" in stock.virsh("iface-begin", status=1)
    assert not stock.is_open


def test_the_drop_in_shows_the_deadline(stock: Host) -> None:
    """It is installed for both daemons, with the setting commented out."""
    text = (stock.root / DROP_IN).read_text()
    assert "\n#Environment=NETCF_CHANGE_DEADLINE=600\n" in text
    other = Path(DROP_IN.replace("libvirtd.service", "virtinterfaced.service"))
    assert (stock.root / other).read_text() == text
    assert (stock.root / preload(stock)[1:]).exists()
