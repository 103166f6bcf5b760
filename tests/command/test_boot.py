"""netcf boot: what makes an init roll back is installed, judged and removed."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest

import netcf_py
from lib import tree

from .conftest import Netcf
from .test_commands import said

INITS = ["systemd", "sysv", "openrc", "runit", "dracut", "initramfs-tools"]
UNIT = "etc/systemd/system/networking-config.service"


def look(netcf: Netcf, status: int) -> Any:
    """The one finding of boot status."""
    answer = said(netcf, "boot", "status", status=status)
    [found] = answer["findings"]
    assert answer["healthy"] == (status == 0) == (found["level"] == "good")
    assert bool(found["remedy"]) == (status == 1)
    return found


def run(netcf: Netcf, script: str) -> None:
    subprocess.run(["sh", "-ec", script], cwd=netcf.root, check=True)


@pytest.mark.parametrize("init", INITS)
def test_uninstall_takes_back_what_install_wrote(netcf: Netcf, init: str) -> None:
    """Nothing of it is left, and nothing else goes."""
    before = set(tree.capture(netcf.root))
    written = said(netcf, "boot", "install", init)["written"]
    assert written[0] == f"{netcf.root}/usr/sbin/networking-config" and len(written) > 1
    assert all(os.path.lexists(path) for path in written)
    removed = said(netcf, "boot", "uninstall")["removed"]
    assert sorted(removed) == sorted(written)
    after = {path for path, entry in tree.capture(netcf.root).items() if entry.kind != "d"}
    assert after <= before
    assert said(netcf, "boot", "uninstall") == {"removed": []}
    assert netcf.out("boot", "uninstall") == "Nothing was installed.\n"


def test_what_it_tells(netcf: Netcf) -> None:
    """A path a line, and whether a boot would roll back."""
    assert re.fullmatch(r"(?:Wrote /\S+\n){5}", netcf.out("boot", "install", "systemd"))
    assert "An open change would be rolled back at boot.\n" in netcf.out("boot", "status")
    assert re.fullmatch(r"(?:Removed /\S+\n){5}", netcf.out("boot", "uninstall"))
    ran = netcf.run("boot", "status")
    assert ran.returncode == 1 and "An open change might stay as it is at boot." in ran.stdout


def test_the_init_that_is_there(netcf: Netcf) -> None:
    """Without a name it is found; where none is, or the name is none, nothing is written."""
    error = said(netcf, "boot", "install", status=1, schema="errors")["error"]
    assert "found no init that is known; name one of systemd, " in error["details"]
    assert netcf.run("boot", "install", "upstart").returncode == 2
    assert not (netcf.root / "usr").exists()
    tree.write(netcf.root, "usr/lib/systemd/systemd", b"", 0o755)
    netcf.out("boot", "install")
    assert look(netcf, 0)["text"].startswith(f"{UNIT} is enabled")


def test_a_directory_that_can_not_be_written(netcf: Netcf) -> None:
    """The file and the reason are named."""
    (netcf.root / "usr").write_text("no directory\n")
    error = said(netcf, "boot", "install", "systemd", status=1, schema="errors")["error"]
    assert error["code"] == netcf_py.NCF_EFILE and f"{netcf.root}/usr" in error["details"]


def test_not_while_a_change_is_open(netcf: Netcf) -> None:
    """What stands behind an open change is not taken away."""
    netcf.out("boot", "install", "systemd")
    netcf.out("start")
    error = said(netcf, "boot", "uninstall", status=199, schema="errors")["error"]
    assert "nothing was removed" in error["details"]
    assert look(netcf, 0)
    netcf.out("rollback")
    netcf.out("boot", "uninstall")


def test_the_helper_of_somebody_else_stays(netcf: Netcf) -> None:
    """One that a unit of a package runs, or that isn't ours, is not removed."""
    netcf.out("boot", "install", "systemd")
    tree.write(netcf.root, "usr/lib/systemd/system/networking-config.service", b"[Unit]\n")
    netcf.out("boot", "uninstall")
    assert (netcf.root / "usr/sbin/networking-config").exists()
    run(netcf, "rm usr/lib/systemd/system/networking-config.service; echo >usr/sbin/networking-config")
    assert said(netcf, "boot", "uninstall") == {"removed": []}
    assert (netcf.root / "usr/sbin/networking-config").exists()


# --- status: each way in which a boot would not roll back ---------------------------------


@pytest.mark.parametrize(
    ("init", "harm", "text"),
    [
        ("systemd", f"rm {UNIT} etc/systemd/system/*/*.service", "nothing rolls an open change back"),
        ("systemd", "rm etc/systemd/system/multi-user.target.wants/*", "is not enabled"),
        ("systemd", f"ln -sf /dev/null {UNIT}", "is masked"),
        ("systemd", f"sed -i /^Before/d {UNIT}", "may run after networking.service"),
        ("systemd", "rm usr/sbin/networking-config", "runs /usr/sbin/networking-config, which can't"),
        ("systemd", "chmod 644 usr/sbin/networking-config", "which can't be executed"),
        ("systemd", f"sed -i /^ExecStart/d {UNIT}", "runs no helper"),
        ("sysv", "rm etc/rcS.d/S02networking-config", "is not enabled"),
        ("sysv", "mv etc/rcS.d/S02networking-config etc/rcS.d/S15networking-config",
         "may run after etc/rcS.d/S12networking"),
        ("sysv", "mkdir etc/rc2.d; mv etc/rcS.d/S02networking-config etc/rc2.d",
         "may run after etc/rcS.d/S12networking"),
        ("sysv", "rm usr/sbin/networking-config", "which can't be executed"),
        ("openrc", "rm etc/runlevels/boot/*", "is not in runlevel boot"),
        ("openrc", "rm usr/sbin/networking-config", "which can't be executed"),
        ("runit", "rm etc/runit/core-services/*", "nothing rolls an open change back"),
        ("runit", "rm usr/sbin/networking-config", "which can't be executed"),
    ],
)  # fmt: skip
def test_what_is_wrong(netcf: Netcf, init: str, harm: str, text: str) -> None:
    """As installed it is right; with one thing wrong that is named, with its remedy."""
    tree.write(netcf.root, "usr/sbin/ifup", b"", 0o755)
    tree.write(netcf.root, "etc/rcS.d/S12networking", b"", 0o755)
    netcf.out("boot", "install", init)
    if init == "sysv":  # what update-rc.d does on the running host
        run(netcf, "ln -s ../init.d/networking-config etc/rcS.d/S02networking-config")
    assert look(netcf, 0)
    run(netcf, harm)
    assert text in look(netcf, 1)["text"]


@pytest.mark.parametrize(
    ("before", "after", "ordered"),
    [
        ("networking.service", "", True),
        ("network-pre.target", "network-pre.target", True),
        ("", "networking-config.service", True),
        ("network-pre.target", "local-fs.target", False),
        ("systemd-networkd.service", "network-pre.target", False),
    ],
)
def test_the_order_of_units(netcf: Netcf, before: str, after: str, ordered: bool) -> None:
    """By name, or by a target between the two, also one that a drop-in names."""
    tree.write(netcf.root, "usr/sbin/ifup", b"", 0o755)
    netcf.out("boot", "install", "systemd")
    run(netcf, f"sed -i /^Before/d {UNIT}")
    tree.write(
        netcf.root, f"{UNIT}.d/order.conf", f"[Unit]\nBefore = basic.target \\\n {before}\n".encode()
    )
    tree.write(netcf.root, "lib/systemd/system/networking.service", b"[Unit]\nAfter=" + after.encode())
    assert look(netcf, 0 if ordered else 1)


def test_files_for_another_init_do_not_count(netcf: Netcf) -> None:
    """A unit is of no use where the host boots with sysvinit."""
    tree.write(netcf.root, "sbin/init", b"", 0o755)
    tree.write(netcf.root, "usr/sbin/update-rc.d", b"", 0o755)
    netcf.out("boot", "install", "systemd")
    assert look(netcf, 1)["text"].endswith("at boot under sysv")
    (netcf.root / "sbin/init").unlink()
    (netcf.root / "sbin/init").symlink_to("/lib/systemd/systemd")
    assert look(netcf, 0)


def test_a_unit_of_make_install(netcf: Netcf) -> None:
    """Where make install puts it by default it is found, too."""
    tree.write(netcf.root, "usr/sbin/ifup", b"", 0o755)
    netcf.out("boot", "install", "systemd")
    run(netcf, "mkdir -p usr/local/lib/systemd; mv etc/systemd/system usr/local/lib/systemd/system")
    assert look(netcf, 0)["text"].startswith("usr/local/lib/systemd/system/networking-config.service")
