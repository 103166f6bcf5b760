"""From an initramfs: busybox alone, as on Alpine; the modules for Debian's initramfs-tools and dracut."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from lib import debian, machine, trace, tree
from lib.helper import Helper
from lib.machine import Machine

from . import guests
from .test_systemd import LINE

pytestmark = [pytest.mark.system, pytest.mark.slow]

INITTAB = """::sysinit:/sbin/networking-config start
::sysinit:/bin/busybox sh /report
"""

REPORT = """
/bin/busybox mkdir -p /dev
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS1 2>&1
echo "== interfaces"; /bin/busybox cat /etc/network/interfaces
echo "== status"; /sbin/networking-config status
echo "== again"; /sbin/networking-config start; echo $?
echo "== date"; /bin/busybox date +%Y
echo "== proc"; /bin/busybox ls -d /proc
echo "== end"
"""


def test_busybox_sysinit(helper: Helper, root: Path, tmp_path: Path) -> None:
    """A sysinit line rolls back in 1970, without /proc, /dev/null, a users database or a library."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the helper needs its libraries")
    tree.realistic(root)
    right = (root / "etc/network/interfaces").read_text()
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    files: dict[str, Path | bytes] = {
        str(path.relative_to(root)): path
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    files |= {
        "bin/busybox": machine.kernel() / "bin/busybox",
        "sbin/networking-config": helper.path,
        "etc/inittab": INITTAB.encode(),
        "report": REPORT.encode(),
    }
    disk = tmp_path / "unused.img"
    disk.write_bytes(bytes(1 << 20))
    guest = Machine(tmp_path / "boots", machine.archive(files, {"init": "/bin/busybox"}), [disk])
    boot = guest.boot("", clock="1970-01-01T00:00:00")
    assert "\n".join(boot.section("interfaces")) + "\n" == right
    assert boot.section("status") == ["No open transaction"]
    assert boot.section("again") == ["0"]
    assert boot.section("date") == ["1970"]
    assert "No such file" in boot.section("proc")[0]
    assert re.search(r"networking-config: rolled back change [0-9a-f]{16}: ", boot.console)


# The network is up already where the root comes over it.
BY_NETWORK = "auto eth0\niface eth0 inet manual\n"
LOST = "auto eth0\niface eth0 inet static\n    address 10.0.0.99/24\n    pre-up ip addr flush dev eth0\n"

MAKE = {
    "initramfs-tools": "sed -i s/MODULES=.*/MODULES=list/ /etc/initramfs-tools/initramfs.conf; "
    "printf '%s\\n' virtio_pci virtio_blk virtio_net >/etc/initramfs-tools/modules; mkinitramfs -o /initrd {kernel}",
    "dracut": "dracut --no-hostonly --drivers 'virtio_pci virtio_blk' "
    "-m 'base rootfs-block udev-rules fs-lib kernel-modules networking-config' /initrd {kernel}",
}


@pytest.fixture(scope="module")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What Debian's tools make of our modules."""
    made = {}
    place = tmp_path_factory.mktemp("initramfs")
    for init, command in MAKE.items():
        with debian.copy(machine.kernel(), place) as tree:
            guests.install(tree, init)
            [kernel] = (tree / "usr/lib/modules").iterdir()
            debian.inside(tree, "sh", "-c", command.format(kernel=kernel.name))
            made[init] = place / init
            shutil.copy(tree / "initrd", made[init])
    return made


def test_initramfs_tools_when_the_root_comes_over_the_network(
    sysvinit: Machine, helper: Helper, initramfs: dict[str, Path]
) -> None:
    """Rolled back before the host's init starts: with the wrong files it would lose its root."""
    guests.open_change(sysvinit, helper, BY_NETWORK, LOST)
    boot = sysvinit.boot(
        "report\n",
        line=f"{LINE} ip=dhcp root=/dev/nbd0 nbdroot=$nbd",
        initrd=initramfs["initramfs-tools"],
        network_root=True,
    )
    guests.assert_rolled_back(sysvinit, boot, BY_NETWORK)
    executed = boot.section("executed")
    assert executed.index("/sbin/networking-config") < executed.index("/sbin/init")
    assert "eth0 10.0.2.15/24" in boot.section("addresses")


def test_dracut(sysvinit: Machine, helper: Helper, initramfs: dict[str, Path]) -> None:
    """Rolled back before the host's init starts; the root is as read-only again as it was.

    SELinux is on and no policy is loaded yet: the labels of the files come back all the same.
    """
    with sysvinit.root() as root:
        guests.set_up(root)
        interfaces = root / "etc/network/interfaces.d"
        for file in interfaces.iterdir():
            os.setxattr(file, "security.selinux", f"system_u:object_r:{file.name}_t:s0\0".encode())
        helper.run("snapshot_config", root=root, check=True)
        guests.go_wrong(root)
        os.setxattr(interfaces / "eth0", "security.selinux", b"system_u:object_r:wrong_t:s0\0")
    boot = sysvinit.boot("report\n", line=f"{LINE} security=selinux", initrd=initramfs["dracut"])
    assert "SELinux:  Initializing." in boot.console
    guests.assert_rolled_back(sysvinit, boot)
    with sysvinit.root() as root:
        labels = {name: os.getxattr(root / "etc/network/interfaces.d" / name, "security.selinux") for name in ("eth0", "spare")}
    assert labels == {name: f"system_u:object_r:{name}_t:s0\0".encode() for name in labels}
    executed = boot.section("executed")
    assert executed.index("/usr/sbin/networking-config") < executed.index("/sbin/init")
