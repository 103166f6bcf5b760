"""The real systemd-networkd of Debian, edited out of reach and brought back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

PACKAGES = ("systemd-sysv", "systemd", "dbus", "iproute2", "iputils-ping")
DIRECTORY = "/etc/systemd/network"
ETH0 = "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.2/24\nGateway=192.0.2.1\n"
ETH1 = "[Match]\nName=eth1\n\n[Network]\nAddress=198.51.100.2/24\n"
PEERS = {"eth0": "192.0.2.1/24", "eth1": "198.51.100.1/24", "eth2": "203.0.113.1/24"}


@contextmanager
def daemon(host: Host, log: Path) -> Iterator[None]:
    """networkd and the bus it is told by, without an init."""
    host.run("mkdir", "-p", "/run/dbus")
    host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
    with following(host, log):
        yield


@contextmanager
def following(host: Host, log: Path) -> Iterator[None]:
    """networkd, where there is a bus."""
    host.run("systemd-tmpfiles", "--create", "--prefix=/run/systemd/netif")
    with open(log, "wb") as out:
        argv = [*host.entry(), "/lib/systemd/systemd-networkd"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def host(products: Products, tmp_path: Path) -> Iterator[Host]:
    """eth0 and eth1 are up; a change is open."""
    with ExitStack() as cleanup:
        system = debian.system(*PACKAGES)
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        host.write(f"{DIRECTORY}/10-eth0.network", ETH0)
        host.write(f"{DIRECTORY}/20-eth1.network", ETH1)
        cleanup.enter_context(daemon(host, tmp_path / "networkd.log"))
        hosts.wait_for(lambda: is_as_at_start(host), "networkd to configure both")
        host.start()
        yield host


def is_as_at_start(host: Host) -> bool:
    """Both interfaces have their address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.default_routes() == [("192.0.2.1", "eth0")]
    )


def reload(host: Host, condition) -> None:  # type: ignore[no-untyped-def]
    """Apply an edit as a person does, and wait until it shows."""
    host.run("networkctl", "reload")
    hosts.wait_for(condition, "networkd to follow the edit")


def rolled_back(host: Host, *options: str) -> str:
    """Roll back while eth1, which did not change, answers; then all is as it was."""
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback(*options)
    hosts.wait_for(lambda: is_as_at_start(host), "what was there at the start and nothing else")
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    files = sorted(p.name for p in (host.root / DIRECTORY[1:]).iterdir())
    assert files == ["10-eth0.network", "20-eth1.network"]
    assert "eth1" not in said
    return said


def test_address_changed(host: Host) -> None:
    """The new address goes, the old one and the default route are back."""
    host.write(f"{DIRECTORY}/10-eth0.network", ETH0.replace("192.0.2.2", "192.0.2.99"))
    reload(host, lambda: host.addresses("eth0") == ["192.0.2.99/24"])
    assert "  eth0 (systemd-networkd): had been changed, reloaded\n" in rolled_back(host)


def test_interface_added(host: Host) -> None:
    """An added interface loses its address."""
    text = "[Match]\nName=eth2\n[Network]\nAddress=203.0.113.2/24\n"
    host.write(f"{DIRECTORY}/30-eth2.network", text)
    reload(host, lambda: host.addresses("eth2") == ["203.0.113.2/24"])
    assert "eth2" in rolled_back(host)
    hosts.wait_for(lambda: host.addresses("eth2") == [], "eth2 to lose its address")


def test_interface_removed(host: Host) -> None:
    """A removed interface is up again."""
    host.remove(f"{DIRECTORY}/10-eth0.network")
    reload(host, lambda: host.addresses("eth0") == [])
    rolled_back(host)


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    host.write(f"{DIRECTORY}/05-br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n")
    host.write(f"{DIRECTORY}/05-br0.network", ETH0.replace("eth0", "br0"))
    host.write(f"{DIRECTORY}/10-eth0.network", "[Match]\nName=eth0\n[Network]\nBridge=br0\n")
    reload(host, lambda: host.addresses("br0") == ["192.0.2.2/24"])
    said = rolled_back(host)
    assert "br0" not in host.links()
    assert "br0 (systemd-networkd): had been added, device deleted, reloaded\n" in said


def test_syntax_broken(host: Host) -> None:
    """A file of which nothing is understood."""
    host.write(f"{DIRECTORY}/10-eth0.network", "[Match\nName=eth0\n[Netwrk]\nAddress=192.0.2.2\n")
    host.run("networkctl", "reload", check=False)
    rolled_back(host)


def test_dhcp_that_never_answers(host: Host) -> None:
    """The static address is back."""
    host.write(f"{DIRECTORY}/10-eth0.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n")
    reload(host, lambda: host.addresses("eth0") == [])
    rolled_back(host)


def test_edit_never_applied_and_an_address_taken_away(host: Host) -> None:
    """Where the file that is put back has the number of the inode that networkd has read, it sees no change."""
    file = host.root / f"{DIRECTORY[1:]}/10-eth0.network"
    other = file.with_name("new")
    other.write_text(ETH0.replace("192.0.2.2", "192.0.2.99"))
    other.rename(file)
    host.run("ip", "address", "flush", "dev", "eth0")
    rolled_back(host)


def test_killed_before_the_interfaces(host: Host) -> None:
    """The files are back, nothing else; the second run ends what the first began."""
    host.write(f"{DIRECTORY}/10-eth0.network", ETH0 + "Address=192.0.2.99/24\n")
    reload(host, lambda: len(host.addresses("eth0")) == 2)
    host.rollback_killed_after_files(DIRECTORY)
    assert len(host.addresses("eth0")) == 2
    rolled_back(host)


def leased(name: str) -> str:
    return f"[Match]\nName={name}\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n"


def test_lease_is_back(host: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth0", "192.0.2.2", tmp_path, router=True):
        host.write(f"{DIRECTORY}/10-eth0.network", leased("eth0"))
        reload(host, lambda: host.leased("eth0") and is_as_at_start(host))
        host.start()
        host.write(f"{DIRECTORY}/10-eth0.network", ETH0.replace("192.0.2.2", "192.0.2.99"))
        reload(host, lambda: host.addresses("eth0") == ["192.0.2.99/24"])
        assert "eth0" in rolled_back(host)
        assert host.leased("eth0")


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    host.run("networking-config", "commit_config")
    host.write(f"{DIRECTORY}/30-eth2.network", leased("eth2"))
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        reload(host, lambda: host.addresses("eth2") == ["203.0.113.50/24"])
        host.start()
    host.write(f"{DIRECTORY}/10-eth0.network", ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.write(f"{DIRECTORY}/30-eth2.network", leased("eth2").replace("DHCP=ipv4", "Address=203.0.113.9/24"))
    reload(host, lambda: host.addresses("eth0") + host.addresses("eth2") == ["192.0.2.99/24", "203.0.113.9/24"])
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    host.write(f"{DIRECTORY}/10-eth0.network", ETH0.replace("192.0.2.2", "192.0.2.99"))
    reload(host, lambda: host.addresses("eth0") == ["192.0.2.99/24"])
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


def test_address_deleted_by_hand(host: Host) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
    rolled_back(host)


def with_bridge(host: Host) -> None:
    """br0 with eth2 is there, too, when a change starts."""
    host.run("networking-config", "commit_config")
    host.write(f"{DIRECTORY}/05-br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n")
    host.write(f"{DIRECTORY}/05-br0.network", "[Match]\nName=br0\n[Network]\nAddress=203.0.113.2/24\n")
    host.write(f"{DIRECTORY}/30-eth2.network", "[Match]\nName=eth2\n[Network]\nBridge=br0\n")
    reload(host, lambda: host.addresses("br0") == ["203.0.113.2/24"])
    host.start()


def bridge_is_back(host: Host) -> None:
    with hosts.answering(host, "198.51.100.1"):
        assert "br0" in host.rollback()
    assert host.addresses("br0") == ["203.0.113.2/24"]
    host.run("ping", "-c1", "-w20", "203.0.113.1")
    assert is_as_at_start(host)


def test_device_deleted_by_hand(host: Host) -> None:
    """A bridge that was up at the start and is gone from the kernel is made and comes up again."""
    with_bridge(host)
    host.run("ip", "link", "del", "br0")
    bridge_is_back(host)


def test_device_changed(host: Host) -> None:
    """A bridge of other options is made anew, and has its port, whose file did not change."""
    with_bridge(host)
    host.write(f"{DIRECTORY}/05-br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n[Bridge]\nPriority=9\n")
    bridge_is_back(host)


def test_only_a_comment_changed(host: Host) -> None:
    """A comment is no change: nobody is told, both answer all the time."""
    host.write(f"{DIRECTORY}/10-eth0.network", "# only words\n" + ETH0)
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "eth0" not in said
    # An applied edit, taken back by hand and not applied: what it left on the link goes.
    host.start()
    host.write(f"{DIRECTORY}/10-eth0.network", ETH0 + "Address=192.0.2.99/24\n")
    reload(host, lambda: len(host.addresses("eth0")) == 2)
    host.write(f"{DIRECTORY}/10-eth0.network", "# only words\n" + ETH0)
    rolled_back(host)


def test_installed_and_not_running(products: Products, tmp_path: Path) -> None:
    """What systemd-tmpfiles makes at boot is no sign that networkd runs: files only, and said."""
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, debian.system(*PACKAGES), tmp_path, products.helper)
        hosts.cable(host, other, "eth0", "192.0.2.1/24")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
        host.write(f"{DIRECTORY}/10-eth0.network", ETH0)
        host.run("systemd-tmpfiles", "--create", "--prefix=/run/systemd/netif")
        host.run("test", "-d", "/run/systemd/netif/links")
        host.start()
        host.write(f"{DIRECTORY}/10-eth0.network", ETH0.replace("192.0.2.2", "192.0.2.99"))
        with hosts.answering(host, "192.0.2.1"):
            said = host.rollback()
        assert "systemd-networkd: its files are back, but its interfaces were not touched" in said
        assert "eth0" not in said
        assert host.addresses("eth0") == ["192.0.2.2/24"]
