"""The guests: Debian with systemd, Debian with sysvinit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lib import build, debian, machine
from lib.machine import MEBI

HERE = Path(__file__).parent

SYSTEMD = ("systemd-sysv", "udev", "dbus", "ifupdown", "netplan.io", "iproute2", "kmod")
SYSVINIT = ("sysvinit-core", "initscripts", "insserv", "udev", "ifupdown", "iproute2", "kmod", "procps")

INTERFACES = {
    "interfaces": "auto lo\niface lo inet loopback\nsource interfaces.d/*\n",
    "interfaces.d/eth0": "auto eth0\niface eth0 inet static\n    address 10.0.0.1/24\n",
    "interfaces.d/spare": "iface spare inet manual\n",
}

SERVICE = """[Unit]
After=network.target
[Service]
Type=exec
ExecStart=/bin/sh /guest.sh
[Install]
WantedBy=multi-user.target
"""


def make(place: Path, packages: tuple[str, ...], own_var: bool, prepare: Callable[[Path], None]) -> machine.Machine:
    """A machine with the helper installed as `make install` does it."""
    with debian.copy(debian.system(*packages), place) as tree:
        machine.add_modules(tree, ["virtio_net"])
        shutil.copy(HERE / "guest.sh", tree)
        for name, text in INTERFACES.items():
            (tree / "etc/network" / name).write_text(text)
        (tree / "etc/fstab").write_text("/dev/vda / ext4 errors=remount-ro 0 1\n" + "/dev/vdc /var ext4 defaults 0 2\n" * own_var)
        (tree / "usr/sbin/policy-rc.d").unlink()
        prepare(tree)
        machine.strip(tree)
        disks = [place / "root.img"]
        if own_var:
            disks.append(place / "var.img")
            with tempfile.TemporaryDirectory(dir=place) as empty:
                var = Path(empty)
                shutil.move(tree / "var", var / "var")
                (tree / "var").mkdir()
                machine.disk(disks[1], 128 * MEBI, var / "var")
        machine.disk(disks[0], 768 * MEBI, tree)
    return machine.Machine(place / "boots", machine.initramfs(), disks)


def install(tree: Path, *inits: str) -> None:
    """What `make install` does for these init systems."""
    build.make_install(tree, PREFIX="/usr", INIT=" ".join(inits))


def with_systemd(place: Path, own_var: bool) -> machine.Machine:
    def prepare(tree: Path) -> None:
        install(tree, "systemd")
        (tree / "etc/systemd/system/guest.service").write_text(SERVICE)
        debian.inside(tree, "systemctl", "enable", "guest.service")

    return make(place, SYSTEMD, own_var, prepare)


def with_sysvinit(place: Path) -> machine.Machine:
    def prepare(tree: Path) -> None:
        install(tree, "sysv")
        debian.inside(tree, "update-rc.d", "networking-config", "defaults")
        local = tree / "etc/rc.local"
        local.write_text("#!/bin/sh\nsh /guest.sh &\n")
        local.chmod(0o755)

    return make(place, SYSVINIT, False, prepare)
