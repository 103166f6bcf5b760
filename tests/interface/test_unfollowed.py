"""Files of stacks that this host does not run, or that nobody here knows how to tell: files only, and said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from interface.test_ifupdown import SYSTEMS
from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOLD = "its files are back, but its interfaces were not touched: reload or restart it"
INTERFACES = "auto lo\niface lo inet loopback\n"
WICKED = "/etc/sysconfig/network/ifcfg-eth0"


@pytest.fixture
def host(products: Products, tmp_path: Path) -> Iterator[Host]:
    """Only ifupdown is there; eth0 is up by hand; a change is open."""
    with ExitStack() as cleanup:
        system = debian.system(*SYSTEMS["ifupdown"])
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        hosts.cable(host, other, "eth0", "192.0.2.1/24")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
        host.write("/etc/network/interfaces", INTERFACES)
        host.write(WICKED, "STARTMODE=auto\nBOOTPROTO=static\nIPADDR=192.0.2.2/24\n")
        host.start()
        yield host


@pytest.mark.parametrize(
    ("path", "stack"),
    [
        (WICKED, "SUSE's network scripts"),
        ("/etc/sysconfig/network-scripts/ifcfg-eth0", "network-scripts"),
        ("/etc/NetworkManager/system-connections/eth0.nmconnection", "NetworkManager"),
        ("/etc/netplan/90-eth0.yaml", "netplan"),
    ],
    ids=["wicked", "network-scripts", "NetworkManager", "netplan"],
)
def test_told(host: Host, path: str, stack: str) -> None:
    """The files are back, the interface answers all the time, and a person is told what to do."""
    host.write(path, "# out of reach\n", mode=0o600)
    with hosts.answering(host, "192.0.2.1"):
        said = host.rollback()
    assert f"{stack}: {TOLD}" in said
    assert host.run("networking-config", "status").startswith("No open transaction")
    if path == WICKED:
        assert "IPADDR=192.0.2.2/24\n" in (host.root / path[1:]).read_text()
    else:
        assert not (host.root / path[1:]).exists()


def test_not_told_without_a_reason(host: Host) -> None:
    """Nothing of it is said where only files of a stack in use differ, or none."""
    host.write("/etc/network/interfaces", INTERFACES + "# out of reach\n")
    assert TOLD not in host.rollback()
    host.start()
    assert TOLD not in host.rollback()
