"""The real netplan of Debian over the real systemd-networkd, edited out of reach and brought back.

`netplan apply` wants systemd as process 1.  What it does to networkd is done here by hand:
`netplan generate`, `networkctl reload` and `reconfigure`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

PACKAGES = ("systemd-sysv", "systemd", "dbus", "iproute2", "iputils-ping", "netplan.io")
FILE = "/etc/netplan/01-base.yaml"
GENERATED = "run/systemd/network"
HEAD = "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n"
ROUTE = "      routes:\n        - to: default\n          via: 192.0.2.1\n"
ETH0 = "    eth0:\n      addresses: [192.0.2.2/24]\n" + ROUTE
# Without a wait for routers networkd is done with it at once.
ETH1 = "    eth1:\n      accept-ra: false\n      addresses:\n      - 198.51.100.2/24\n"
GOOD = HEAD + ETH0 + ETH1
BARE0 = HEAD + "    eth0: {}\n" + ETH1
BRIDGE = BARE0 + "  bridges:\n    br0:\n      interfaces: [eth0]\n" + ETH0.partition("\n")[2]
PEERS = {"eth0": "192.0.2.1/24", "eth1": "198.51.100.1/24", "eth2": "203.0.113.1/24"}


@pytest.fixture
def bare(products: Products, tmp_path: Path) -> Iterator[Host]:
    """netplan, the bus and cables; nothing is configured, nothing runs yet."""
    with ExitStack() as cleanup:
        system = debian.system(*PACKAGES)
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        host.run("mkdir", "-p", "/run/dbus", "/run/systemd/netif/links", "/run/systemd/netif/leases")
        host.run("chown", "-R", "systemd-network:", "/run/systemd/netif")
        host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
        yield host


@pytest.fixture
def host(bare: Host, tmp_path: Path) -> Iterator[Host]:
    """eth0 with the default route and eth1 are up; a change is open."""
    with networkd(bare, tmp_path, GOOD):
        bare.start()
        yield bare


def networkd(host: Host, tmp_path: Path, text: str) -> ExitStack:
    """networkd, following `text`, until both interfaces are as they are at the start of all tests."""
    with ExitStack() as cleanup:
        host.write(FILE, text, 0o600)
        host.run("netplan", "generate")
        log = cleanup.enter_context(open(tmp_path / "networkd.log", "wb"))
        daemon = subprocess.Popen(
            [*host.entry(), "/lib/systemd/systemd-networkd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        cleanup.callback(daemon.wait)
        cleanup.callback(daemon.kill)
        hosts.wait_for(lambda: is_as_at_start(host), "networkd to configure both")
        return cleanup.pop_all()


def is_as_at_start(host: Host) -> bool:
    """Both interfaces have their address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.default_routes() == [("192.0.2.1", "eth0")]
    )


def generated(host: Host) -> dict[str, int]:
    """The inodes of the files that networkd reads."""
    directory = Path(f"/proc/{host.pid}/root") / GENERATED
    return {p.name: p.stat().st_ino for p in directory.iterdir()}


def apply(host: Host, text: str, condition: Callable[[], bool]) -> None:
    """Apply an edit as `netplan apply` does, and wait until it shows.

    That takes eth1's address away for a moment, too: only when networkd has written that it
    configured eth1 again is the neighbour at rest.
    """
    state = state_of(host, "eth1")
    before = state.stat().st_mtime_ns
    host.write(FILE, text, 0o600)
    host.run("netplan", "generate")
    host.run("networkctl", "reload")
    hosts.wait_for(
        lambda: state.stat().st_mtime_ns > before and "ADMIN_STATE=configured" in state.read_text(),
        "networkd to configure eth1 again",
    )
    hosts.wait_for(condition, "networkd to follow the edit")


def state_of(host: Host, link: str) -> Path:
    """The file in which networkd keeps how far it is with a link."""
    index = host.links()[link]["ifindex"]
    return Path(f"/proc/{host.pid}/root/run/systemd/netif/links/{index}")


def rolled_back(host: Host, *options: str) -> str:
    """Roll back while eth1, which did not change, answers; then all is as it was, nothing is left."""
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback(*options)
    hosts.wait_for(lambda: is_as_at_start(host), "what was there at the start and nothing else")
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    assert sorted(p.name for p in (host.root / "etc/netplan").iterdir()) == ["01-base.yaml"]
    assert sorted(generated(host)) == ["10-netplan-eth0.network", "10-netplan-eth1.network"]
    assert not (Path(f"/proc/{host.pid}/root/run") / "netcf-netplan").exists()
    assert sorted(host.links()) == ["eth0", "eth1", "eth2", "lo"]
    return said


def test_address_changed(host: Host) -> None:
    """The new address goes, the old one and the default route are back; eth1 keeps its file."""
    before = generated(host)["10-netplan-eth1.network"]
    apply(
        host,
        GOOD.replace("192.0.2.2", "192.0.2.99"),
        lambda: host.addresses("eth0") == ["192.0.2.99/24"],
    )
    assert generated(host)["10-netplan-eth1.network"] != before  # netplan wrote it anew
    before = generated(host)["10-netplan-eth1.network"]
    assert "eth0" in rolled_back(host)
    assert generated(host)["10-netplan-eth1.network"] == before


def test_interface_added(host: Host) -> None:
    """An added interface loses its address."""
    text = GOOD + "    eth2: {addresses: [203.0.113.2/24]}\n"
    apply(host, text, lambda: host.addresses("eth2") == ["203.0.113.2/24"])
    assert "eth2" in rolled_back(host)
    hosts.wait_for(lambda: host.addresses("eth2") == [], "eth2 to lose its address")


def test_interface_removed(host: Host) -> None:
    """A removed interface is up again."""
    apply(host, HEAD + ETH1, lambda: host.addresses("eth0") == [])
    rolled_back(host)


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    apply(host, BRIDGE, lambda: host.addresses("br0") == ["192.0.2.2/24"])
    rolled_back(host)


def test_bridge_then_yaml_refused(host: Host) -> None:
    """The bridge of an applied edit goes, though a later edit broke the file that made it."""
    apply(host, BRIDGE, lambda: host.addresses("br0") == ["192.0.2.2/24"])
    host.write(FILE, BRIDGE.replace("  bridges", "   bridges"), 0o600)
    assert host.call("netplan", "generate").returncode != 0
    assert "01-base.yaml" in rolled_back(host)


def test_syntax_broken(host: Host) -> None:
    """Broken indentation, never applied: said, and no interface is touched."""
    host.write(FILE, GOOD.replace("        - to", "    - to", 1), 0o600)
    assert host.call("netplan", "generate").returncode != 0
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "01-base.yaml, line 8" in said and "was not understood" in said
    assert "eth" not in said


def test_edited_but_not_applied(host: Host) -> None:
    """What was never applied is no reason to touch an interface."""
    before = generated(host)
    host.write(FILE, BRIDGE, 0o600)
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "eth0" not in said
    assert generated(host) == before


def test_dhcp_that_never_answers(host: Host) -> None:
    """The static address is back."""
    text = HEAD + "    eth0:\n      dhcp4: true\n" + ETH1
    apply(host, text, lambda: host.addresses("eth0") == [])
    rolled_back(host)


def test_killed_before_the_interfaces(host: Host) -> None:
    """The files are back, nothing else; the second run ends what the first began."""
    text = GOOD.replace("[192.0.2.2/24]", "[192.0.2.2/24, 192.0.2.99/24]") + "    eth2:\n      addresses: [203.0.113.2/24]\n"
    apply(host, text, lambda: len(host.addresses("eth0")) == 2 and len(host.addresses("eth2")) == 1)
    host.rollback_killed_after_files("/etc/netplan")
    assert len(host.addresses("eth0")) == 2
    rolled_back(host)
    hosts.wait_for(lambda: host.addresses("eth2") == [], "eth2 to lose its address")


# The default identifier is made from /etc/machine-id, which this host has not.
LEASED = ":\n      dhcp4: true\n      dhcp-identifier: mac\n"


def test_lease_is_back(bare: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    with (
        hosts.dhcp_server(bare.peer, "eth0", "192.0.2.2", tmp_path, router=True),
        networkd(bare, tmp_path, HEAD + "    eth0" + LEASED + ETH1),
    ):
        assert bare.leased("eth0")
        bare.start()
        apply(bare, GOOD.replace("192.0.2.2", "192.0.2.99"), lambda: bare.addresses("eth0") == ["192.0.2.99/24"])
        assert "eth0" in rolled_back(bare)
        assert bare.leased("eth0")


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    host.run("networking-config", "commit_config")
    text = GOOD + "    eth2" + LEASED
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        apply(host, text, lambda: host.addresses("eth2") == ["203.0.113.50/24"])
        host.start()
    apply(
        host,
        GOOD.replace("192.0.2.2", "192.0.2.99") + "    eth2: {addresses: [203.0.113.9/24]}\n",
        lambda: host.addresses("eth0") + host.addresses("eth2") == ["192.0.2.99/24", "203.0.113.9/24"],
    )
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    apply(
        host,
        GOOD.replace("192.0.2.2", "192.0.2.99"),
        lambda: host.addresses("eth0") == ["192.0.2.99/24"],
    )
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


def test_address_deleted_by_hand(host: Host) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
    rolled_back(host)


def test_device_deleted_by_hand(host: Host) -> None:
    """A bridge that was up at the start and is gone from the kernel is made and comes up again."""
    host.run("networking-config", "commit_config")
    bridge = "    eth2: {}\n  bridges:\n    br0:\n      interfaces: [eth2]\n      addresses: [203.0.113.2/24]\n"
    apply(host, GOOD + bridge, lambda: host.addresses("br0") == ["203.0.113.2/24"])
    host.start()
    host.run("ip", "link", "del", "br0")
    with hosts.answering(host, "198.51.100.1"):
        assert "  br0 (netplan): was not as at the start, reloaded\n" in host.rollback()
    assert host.addresses("br0") == ["203.0.113.2/24"] and is_as_at_start(host)
    host.run("ping", "-c1", "-w20", "203.0.113.1")
