"""Hosts with libvirt."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import netcf_py
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

# Today's, whose interface driver is udev's.
UDEV_PACKAGES = (
    "iproute2",
    "libvirt-clients",
    "libvirt-daemon-system",
    "python3-cffi-backend",
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


@pytest.fixture(scope="session")
def udev_system() -> Path:
    """Debian 12: libvirt 9.0.0, which answers that transactions are not supported."""
    return debian.system(*UDEV_PACKAGES)


@contextmanager
def with_python(system: Path, products: Products, where: Path, net: Host | None = None) -> Iterator[Host]:
    """Such a host with netcf_py, as it is installed here, in the network of another or its own."""
    with debian.copy(system, where) as root:
        install(root, products)
        configure(root)
        package = Path(netcf_py.__file__).parent
        shutil.copytree(package, root / "usr/lib/python3/dist-packages/netcf_py")
        with running(root, net) as host:
            yield host


def install(root: Path, products: Products) -> None:
    build, below = f"BUILD={products.directory}", f"DESTDIR={root}"
    for target in ("install-libvirt", "install-netcf-transaction"):
        subprocess.run(
            ["make", "-s", build, below, "DIR=/usr/libexec", target], cwd=REPO, check=True
        )


def configure(root: Path) -> None:
    etc = root / "etc"
    (etc / "network/interfaces.d").mkdir(parents=True, exist_ok=True)
    (etc / "network/interfaces").write_text(INTERFACES)
    (etc / "network/interfaces").chmod(0o640)
    (etc / "network/interfaces.d/eth9").write_text("iface eth9 inet manual\n")
    tree.age(etc / "network")
