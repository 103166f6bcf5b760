"""Hosts with libvirt."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import debian, tree
from lib.build import REPO, Products

from .host import Host, running

# The last Debian whose libvirtd has the interface driver of netcf.
NETCF_PACKAGES = (
    "bridge-utils",
    "ifenslave",
    "ifupdown",
    "iproute2",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon-system",
    "python3-libvirt",
)

INTERFACES = """\
# as the administrator left it
auto lo
iface lo inet loopback

auto eth1
iface eth1 inet static
    address 192.0.2.1
    netmask 255.255.255.0

auto br1
iface br1 inet dhcp
    bridge_ports eth2
    bridge_stp off
"""


@pytest.fixture(scope="session")
def netcf_system() -> Path:
    """Debian 11: libvirt 7.0.0 with libnetcf 0.2.8."""
    return debian.system(*NETCF_PACKAGES, suite="bullseye")


@pytest.fixture
def stock(netcf_system: Path, products: Products, tmp_path: Path) -> Iterator[Host]:
    """Such a host with some interfaces, everything of ours installed, libvirtd not started."""
    with debian.copy(netcf_system, tmp_path) as root:
        install(root, products)
        configure(root)
        with running(root) as host:
            yield host


@pytest.fixture
def host(stock: Host) -> Host:
    """The same with libvirtd running as the drop-in says."""
    stock.start_libvirtd()
    return stock


def install(root: Path, products: Products) -> None:
    build, below = f"BUILD={products.directory}", f"DESTDIR={root}"
    for target in ("install-libvirt", "install-netcf-transaction"):
        subprocess.run(
            ["make", "-s", build, below, "DIR=/usr/libexec", target], cwd=REPO, check=True
        )


def configure(root: Path) -> None:
    etc = root / "etc"
    (etc / "network/interfaces").write_text(INTERFACES)
    (etc / "network/interfaces").chmod(0o640)
    (etc / "network/interfaces.d/eth9").write_text("iface eth9 inet manual\n")
    tree.age(etc / "network")
