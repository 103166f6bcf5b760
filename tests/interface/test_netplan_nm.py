"""The real netplan of Debian over the real NetworkManager, edited out of reach and brought back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from interface import test_networkd
from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

PACKAGES = ("network-manager", "netplan.io", "dbus", "iproute2", "iputils-ping", "strace")
FILE = "/etc/netplan/01-base.yaml"
HEAD = "network:\n  version: 2\n  renderer: NetworkManager\n  ethernets:\n"
ROUTE = "      routes:\n        - to: default\n          via: 192.0.2.1\n"
ETH0 = "    eth0:\n      addresses: [192.0.2.2/24]\n" + ROUTE
ETH1 = "    eth1:\n      addresses: [198.51.100.2/24]\n"
GOOD = HEAD + ETH0 + ETH1
BRIDGE = (
    HEAD + "    eth0: {}\n" + ETH1 + "  bridges:\n    br0:\n      parameters: {stp: false}\n      interfaces: [eth0]\n"
    + ETH0.partition("\n")[2]
)
PEERS = {"eth0": "192.0.2.1/24", "eth1": "198.51.100.1/24", "eth2": "203.0.113.1/24"}
# What nobody configures gets no profile of NetworkManager's own.
NO_AUTO = "[main]\nno-auto-default=*\n"


@pytest.fixture
def host(products: Products, tmp_path: Path) -> Iterator[Host]:
    """eth0 with the default route and eth1 are up; a change is open."""
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, debian.system(*PACKAGES), tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        host.write("/etc/NetworkManager/conf.d/no-auto.conf", NO_AUTO)
        host.write(FILE, GOOD, 0o600)
        host.run("netplan", "generate")
        host.run("mkdir", "-p", "/run/dbus")
        host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
        log = cleanup.enter_context(open(tmp_path / "NetworkManager.log", "wb"))
        daemon = subprocess.Popen(
            [*host.entry(), "/usr/sbin/NetworkManager", "--debug", "--log-level=INFO"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        cleanup.callback(daemon.wait)
        cleanup.callback(daemon.kill)
        hosts.wait_for(lambda: is_as_at_start(host), "NetworkManager to activate both")
        host.start()
        yield host


def is_as_at_start(host: Host) -> bool:
    """Each interface has its address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.addresses("eth2") == []
        and host.default_routes() == [("192.0.2.1", "eth0")]
        and active(host) == ["netplan-eth0", "netplan-eth1"]
    )


def active(host: Host) -> list[str]:
    said = host.call("nmcli", "-t", "-f", "NAME,STATE", "connection", "show", "--active").stdout
    rows = (line.split(":") for line in said.splitlines())
    return sorted(row[0] for row in rows if row[-1] == "activated" and row[0] != "lo")


def generated(host: Host) -> dict[str, str]:
    """The profiles that netplan made."""
    directory = Path(f"/proc/{host.pid}/root/run/NetworkManager/system-connections")
    return {p.name: p.read_text() for p in directory.glob("netplan-*")}


def apply(host: Host, text: str, *names: str) -> None:
    host.write(FILE, text, 0o600)
    host.run("netplan", "generate")
    host.run("nmcli", "connection", "reload")
    for name in names:
        host.run("nmcli", "connection", "up", f"netplan-{name}")


def rolled_back(host: Host) -> str:
    """Roll back while eth1, which did not change, answers; then all is as it was, nothing is left."""
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
        hosts.wait_for(lambda: is_as_at_start(host), "what was there at the start and nothing else")
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    assert sorted(generated(host)) == ["netplan-eth0.nmconnection", "netplan-eth1.nmconnection"]
    assert "address1=192.0.2.2/24" in generated(host)["netplan-eth0.nmconnection"]
    assert not Path(f"/proc/{host.pid}/root/run/netcf-netplan").exists()
    assert sorted(host.links()) == ["eth0", "eth1", "eth2", "lo"]
    assert "not touched" not in said
    return said


def test_address_changed(host: Host) -> None:
    """The new address goes, the old one and the default route are back."""
    apply(host, GOOD.replace("192.0.2.2", "192.0.2.99"), "eth0")
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    assert "eth0" in rolled_back(host)


def test_interface_added(host: Host) -> None:
    """An added interface loses its address."""
    apply(host, GOOD + "    eth2: {addresses: [203.0.113.2/24]}\n", "eth2")
    assert host.addresses("eth2") == ["203.0.113.2/24"]
    assert "eth2" in rolled_back(host)


def test_interface_removed(host: Host) -> None:
    """A removed interface is up again."""
    apply(host, HEAD + ETH1)
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    assert "eth0" in rolled_back(host)


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    apply(host, BRIDGE, "br0", "eth0")
    hosts.wait_for(lambda: host.addresses("br0") == ["192.0.2.2/24"], "the bridge")
    rolled_back(host)


def test_syntax_broken(host: Host) -> None:
    """Broken indentation, never applied: said, and no interface is touched."""
    host.write(FILE, GOOD.replace("        - to", "    - to", 1), 0o600)
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "01-base.yaml, line 8" in said and "eth" not in said


def test_edited_but_not_applied(host: Host) -> None:
    """What was never applied is no reason to touch an interface."""
    host.write(FILE, BRIDGE, 0o600)
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "eth0" not in said


def test_dhcp_that_never_answers(host: Host) -> None:
    """The static address is back."""
    apply(host, HEAD + "    eth0: {dhcp4: true}\n" + ETH1)
    host.run("nmcli", "--wait", "0", "connection", "up", "netplan-eth0")
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    rolled_back(host)


def test_lease_is_back(host: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth0", "192.0.2.2", tmp_path, router=True):
        apply(host, HEAD + "    eth0: {dhcp4: true}\n" + ETH1, "eth0")
        assert is_as_at_start(host) and host.leased("eth0")
        host.start()
        apply(host, GOOD.replace("192.0.2.2", "192.0.2.99"), "eth0")
        assert host.addresses("eth0") == ["192.0.2.99/24"]
        with hosts.answering(host, "198.51.100.1"):
            assert "eth0" in host.rollback()
        assert is_as_at_start(host) and host.leased("eth0")


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        apply(host, GOOD + "    eth2: {dhcp4: true}\n", "eth2")
        assert host.addresses("eth2") == ["203.0.113.50/24"]
        host.start()
    apply(host, GOOD.replace("192.0.2.2", "192.0.2.99") + "    eth2: {addresses: [203.0.113.9/24]}\n", "eth0", "eth2")
    assert host.addresses("eth0") + host.addresses("eth2") == ["192.0.2.99/24", "203.0.113.9/24"]
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    apply(host, GOOD.replace("192.0.2.2", "192.0.2.99"), "eth0")
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


def test_address_deleted_by_hand(host: Host) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
    rolled_back(host)


@pytest.mark.parametrize(
    "edit", [BRIDGE.replace("192.0.2.2", "192.0.2.99"), GOOD, BRIDGE], ids=["changed", "removed", "by hand"]
)
def test_bridge_of_the_start(host: Host, edit: str) -> None:
    """A bridge that was there at the start is there again, with its port, address and route."""
    apply(host, BRIDGE, "br0", "eth0")
    hosts.wait_for(lambda: host.addresses("br0") == ["192.0.2.2/24"], "the bridge")
    host.run("ping", "-c1", "-w40", "192.0.2.1")
    host.run("networking-config", "commit_config")
    host.start()
    if edit == BRIDGE:
        host.run("nmcli", "device", "delete", "br0")  # of `ip link del` it makes another at once
    else:
        apply(host, edit, "eth0", *(["br0"] if edit != GOOD else []))
    hosts.wait_for(lambda: host.addresses("br0") != ["192.0.2.2/24"], "the edit")
    with hosts.answering(host, "198.51.100.1"):
        assert "br0" in host.rollback()
        hosts.wait_for(lambda: host.addresses("br0") == ["192.0.2.2/24"], "the bridge")
    assert host.links()["eth0"]["master"] == "br0"
    host.run("ping", "-c1", "-w40", "192.0.2.1")
    assert host.default_routes() == [("192.0.2.1", "br0")]
    assert host.addresses("eth0") == []


def by_address(host: Host, first: str = "203.0.113.2", second: str = "192.0.2.2") -> str:
    """Two ids that match by the address of the hardware, and eth1."""
    mac = {name: link["address"] for name, link in host.links().items()}
    rows = {"first": ("eth2", first, ""), "second": ("eth0", second, ROUTE)}
    return HEAD + ETH1 + "".join(
        f"    {name}:\n      match: {{macaddress: '{mac[link]}'}}\n      addresses: [{address}/24]\n{more}"
        for name, (link, address, more) in rows.items()
    )


def test_matched_by_hardware_address(host: Host) -> None:
    """Each is activated again if its own profile changed, wherever NetworkManager finds it to belong."""
    apply(host, by_address(host), "first", "second")
    host.run("networking-config", "commit_config")
    host.start()
    apply(host, by_address(host, "203.0.113.99", "192.0.2.99"), "first", "second")
    assert (host.addresses("eth2"), host.addresses("eth0")) == (["203.0.113.99/24"], ["192.0.2.99/24"])
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
    assert (host.addresses("eth2"), host.addresses("eth0")) == (["203.0.113.2/24"], ["192.0.2.2/24"])
    assert "  first (netplan): had been changed, up, reloaded\n  second (netplan): " in said
    host.start()
    apply(host, by_address(host, second="192.0.2.99"), "second")
    with hosts.answering(host, "198.51.100.1"), hosts.answering(host, "203.0.113.1"):
        said = host.rollback()
    assert host.addresses("eth0") == ["192.0.2.2/24"] and host.default_routes() == [("192.0.2.1", "eth0")]
    assert "first" not in said


def test_two_renderers(host: Host, tmp_path: Path) -> None:
    """One interface under networkd, others under NetworkManager: each is brought back by its own."""
    other = "    eth2:\n      renderer: networkd\n      accept-ra: false\n      addresses: [203.0.113.2/24]\n"
    host.run("networking-config", "commit_config")
    with test_networkd.following(host, tmp_path / "networkd.log"):
        apply(host, GOOD + other)
        host.run("networkctl", "reload")
        hosts.wait_for(lambda: host.addresses("eth2") == ["203.0.113.2/24"], "networkd")
        host.start()
        apply(host, (GOOD + other).replace("203.0.113.2/", "203.0.113.99/"))
        host.run("networkctl", "reload")
        hosts.wait_for(lambda: host.addresses("eth2") == ["203.0.113.99/24"], "networkd to follow")
        with hosts.answering(host, "198.51.100.1"), hosts.answering(host, "192.0.2.1"):
            said = host.rollback()
        assert host.addresses("eth2") == ["203.0.113.2/24"]
        assert "eth2" in said and "eth0" not in said
        host.start()
        apply(host, (GOOD + other).replace("203.0.113.2/", "203.0.113.99/").replace("192.0.2.2/", "192.0.2.99/"), "eth0")
        host.run("networkctl", "reload")
        hosts.wait_for(lambda: host.addresses("eth2") == ["203.0.113.99/24"], "networkd to follow")
        with hosts.answering(host, "198.51.100.1"):
            said = host.rollback()
        assert host.addresses("eth2") == ["203.0.113.2/24"]
        assert host.addresses("eth0") == ["192.0.2.2/24"] and host.default_routes() == [("192.0.2.1", "eth0")]
        assert "eth2" in said and "eth0" in said and "eth1" not in said
