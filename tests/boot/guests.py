"""The guests: Debian with systemd; with sysvinit, runit and s6; with OpenRC."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lib import build, debian, machine
from lib.helper import Helper
from lib.machine import MEBI, Boot, Machine

HERE = Path(__file__).parent

SYSTEMD = ("systemd-sysv", "udev", "dbus", "ifupdown", "netplan.io", "iproute2", "kmod")
SYSVINIT = ("sysvinit-core", "initscripts", "insserv", "udev", "ifupdown", "iproute2", "kmod", "procps")
MODULES = ("virtio_net", "8021q", "bonding", "dummy", "veth")
# Not as Debian's /sbin/init: the kernel's command line says which one runs.
OTHER_INITS = ("runit", "s6", "execline")
OPENRC = ("openrc",)
SELINUX = ("systemd-sysv", "udev", "dbus", "ifupdown", "iproute2", "kmod", "policycoreutils", "selinux-policy-default", "selinux-utils")

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


def make(place: Path, packages: Sequence[str], own_var: bool, prepare: Callable[[Path], None]) -> machine.Machine:
    """A machine with the helper installed as `make install` does it."""
    with debian.copy(debian.system(*packages), place) as tree:
        machine.add_modules(tree, MODULES)
        shutil.copy(HERE / "guest.sh", tree)
        for name, text in INTERFACES.items():
            (tree / "etc/network" / name).write_text(text)
        (tree / "etc/fstab").write_text("LABEL=root / ext4 errors=remount-ro 0 1\n" + "/dev/vdc /var ext4 defaults 0 2\n" * own_var)
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


def with_systemd(place: Path, own_var: bool, *more: str) -> machine.Machine:
    return make(place, (*SYSTEMD, *more), own_var, with_service)


def with_service(tree: Path) -> None:
    """The helper's units, and one for the job."""
    install(tree, "systemd")
    (tree / "etc/systemd/system/guest.service").write_text(SERVICE)
    debian.inside(tree, "systemctl", "enable", "guest.service")


def with_selinux(place: Path) -> machine.Machine:
    """Debian's own policy, enforced; every file has the label that it wants."""

    def prepare(tree: Path) -> None:
        with_service(tree)
        (tree / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
        # cat has the label that the helper has, so it is run in the same domain.
        unit = tree / "etc/systemd/system/networking-config.service.d/domain.conf"
        unit.parent.mkdir()
        unit.write_text("[Service]\nExecStartPre=cat /proc/self/attr/current\n")

    guest = make(place, SELINUX, False, prepare)
    with guest.root() as root:
        debian.inside(root, "setfiles", "-F", "/etc/selinux/default/contexts/files/file_contexts", "/")
    return guest


def with_sysvinit(place: Path) -> machine.Machine:
    """Also boots with runit, with and without sysvinit's scripts, and with s6."""

    def prepare(tree: Path) -> None:
        install(tree, "sysv", "runit")
        debian.inside(tree, "update-rc.d", "networking-config", "defaults")
        run_guest_from_rc_local(tree)
        add_runit(tree)
        add_s6(tree)
        add_kernel(tree)

    return make(place, (*SYSVINIT, *OTHER_INITS, "kexec-tools"), False, prepare)


def with_openrc(place: Path) -> machine.Machine:
    """Debian's way, where scripts with LSB headers are the services; `native` makes it Gentoo's and Alpine's."""

    def prepare(tree: Path) -> None:
        install(tree, "sysv")
        debian.inside(tree, "update-rc.d", "networking-config", "defaults")
        run_guest_from_rc_local(tree)

    return make(place, (*SYSVINIT, *OPENRC), False, prepare)


def run_guest_from_rc_local(tree: Path) -> None:
    local = tree / "etc/rc.local"
    local.write_text("#!/bin/sh\nsh /guest.sh &\n")
    local.chmod(0o755)


def add_runit(tree: Path) -> None:
    """A first stage as Void has it: files that it reads in order, ours among them."""
    services = tree / "etc/runit/core-services"
    (services / "03-filesystems.sh").write_text(
        "mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t tmpfs run /run\nmount -o remount,rw /\n"
    )
    (services / "05-network.sh").write_text("modprobe virtio_net\nmkdir -p /run/network\nifup -a\n")
    # Debian's stage reads /etc/runit/boot-run where it finds this one.
    (tree / "etc/runit/boot-run").symlink_to("core-services")


def add_s6(tree: Path) -> None:
    """An init of execline and s6-svscan, which runs the line of our s6-rc oneshot."""
    up = (build.REPO / "initscript/s6-rc/networking-config/up").read_text()
    (tree / "etc/up").write_text(up.replace("@SBINDIR@", "/usr/sbin"))
    init = tree / "sbin/s6-init"
    init.write_text(
        "#!/usr/bin/execlineb -P\n"
        "/usr/lib/execline/bin/export PATH /usr/lib/execline/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        "foreground { mount -t proc proc /proc }\nforeground { mount -t sysfs sys /sys }\n"
        "foreground { mount -t tmpfs run /run }\nforeground { mount -o remount,rw / }\n"
        "foreground { execlineb -P /etc/up }\n"
        "foreground { modprobe virtio_net }\nforeground { mkdir -p /run/network /run/service }\n"
        "foreground { ifup -a }\nbackground { sh /guest.sh }\n"
        "s6-svscan /run/service\n"
    )
    init.chmod(0o755)


def add_kernel(tree: Path) -> None:
    """What kexec loads."""
    [kernel] = (machine.kernel() / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, tree / "boot/vmlinuz")
    (tree / "boot/initrd").write_bytes(machine.initramfs())


def use_openrc_init(root: Path) -> None:
    """OpenRC's own init and a service for it instead of the script with LSB headers.

    Debian has no `localmount`; this one is the tests' own.
    """
    (root / "etc/init.d/networking-config").unlink()
    (root / "etc/runlevels/sysinit/networking-config").unlink()
    install(root, "openrc")
    localmount = root / "etc/init.d/localmount"
    localmount.write_text('#!/sbin/openrc-run\ndepend() { need mountall; }\nstart() { mount -a; }\n')
    localmount.chmod(0o755)
    # Debian's script for udev takes OpenRC's init for a person at a terminal, and waits.
    (root / "etc/runlevels/sysinit/udev").unlink()
    # Where Gentoo and Alpine have it.
    (root / "etc/runlevels/sysinit/networking").rename(root / "etc/runlevels/boot/networking")
    net = root / "etc/init.d/networking"
    net.write_text(
        "#!/sbin/openrc-run\ndepend() { need localmount; provide net; }\n"
        "start() { modprobe virtio_net; mkdir -p /run/network; ifup -a; }\n"
    )


# --- a change that is open when the guest boots ------------------------------------------

RIGHT = INTERFACES["interfaces.d/eth0"]
WRONG = RIGHT.replace("10.0.0.1", "10.0.0.99")


def set_up(root: Path, right: str = RIGHT) -> None:
    """The right files and no change."""
    network = root / "etc/network"
    shutil.rmtree(root / "var/lib/netcf", ignore_errors=True)
    shutil.rmtree(network / "interfaces.d")
    (network / "interfaces.d").mkdir()
    for name, text in INTERFACES.items():
        (network / name).write_text(text)
    (network / "interfaces.d/eth0").write_text(right)


def go_wrong(root: Path, wrong: str = WRONG) -> None:
    """One file changed, one added, one removed."""
    interfaces = root / "etc/network/interfaces.d"
    (interfaces / "eth0").write_text(wrong)
    (interfaces / "added").write_text("iface added inet manual\n")
    (interfaces / "spare").unlink()


def open_change(guest: Machine, helper: Helper, right: str = RIGHT, wrong: str = WRONG) -> None:
    """What the power was cut in the middle of."""
    with guest.root() as root:
        set_up(root, right)
        helper.run("snapshot_config", root=root, check=True)
        go_wrong(root, wrong)


ROLLED_BACK = (
    r"networking-config: rolled back change [0-9a-f]{16}: 3 paths restored \(1 changed, 1 removed, 1 added, "
    r"0 metadata\); the replaced files are in \S*/var/lib/netcf/network-rollback-00000001\.tar"
)


def assert_rolled_back(guest: Machine, boot: Boot, right: str = RIGHT) -> None:
    """Said once on the console and in the kernel's log; files exact on the disk; the change is closed."""
    assert len(re.findall(rf"^{ROLLED_BACK}$", boot.console, re.M)) == 1, boot.console
    assert len(re.findall(ROLLED_BACK, "\n".join(boot.section("log")))) == 1
    assert boot.section("status") == ["No open transaction"]
    with guest.root() as root:
        network = root / "etc/network"
        expected = {**INTERFACES, "interfaces.d/eth0": right}
        files = [network / "interfaces", *(network / "interfaces.d").iterdir()]
        assert {str(file.relative_to(network)): file.read_text() for file in files} == expected
        assert [path.name for path in (root / "var/lib/netcf").iterdir()] == ["network-rollback-00000001.tar"]
