"""A whole change under valgrind: no error, nothing lost, no descriptor left open."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lib import build, driver, ncf, operations, tree
from lib.driver import Driver
from lib.helper import Helper
from lib.ncf import Core
from lib.operations import Operation

OPTIONS = ("--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=all", "--show-leak-kinds=all")


@pytest.fixture(scope="module")
def valgrind() -> str:
    found = shutil.which("valgrind")
    if found is None:
        pytest.skip("valgrind is not installed")
    return found


@pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)
def test_every_operation_of_the_library(
    core: Core, products: build.Products, valgrind: str, fast_dir: Path, operation: Operation
) -> None:
    """The library as it is shipped does each operation without an error of memory."""
    world = operation.prepare(core, fast_dir / "host")
    ran = Driver(products.driver, (valgrind, *OPTIONS)).run(world.root, operation.name)
    assert ran[:2] == (0, ncf.NOERROR)
    driver.check(core, operation, world, succeeded=True)


def test_a_start_that_nobody_can_guard(core: Core, products: build.Products, valgrind: str, fast_dir: Path) -> None:
    """It is refused before anything is opened, and closes nothing: what it would close was not set yet once."""
    world = operations.START.prepare(core, fast_dir / "host")
    ran = Driver(products.driver, (valgrind, *OPTIONS)).run(world.root, "unguarded")
    assert ran[:2] == (-1, ncf.EEXEC)
    driver.check(core, operations.START, world, succeeded=False)


@pytest.fixture(scope="module")
def dynamic(products: build.Products, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helper, linked so that valgrind sees its allocations."""
    into = tmp_path_factory.mktemp("dynamic")
    return build.make(into, "HELPER_CC=cc", "HELPER_STATIC=", "HELPER_CFLAGS=-O1 -g", "helper").helper


def test_a_whole_change_with_the_helper(dynamic: Path, valgrind: str, fast_dir: Path) -> None:
    """The helper's own main, too."""
    root = fast_dir / "host"
    before = tree.compact(root)
    run = Helper(Path(valgrind)).run

    def under_valgrind(*arguments: str) -> None:
        done = run(*OPTIONS, str(dynamic), "--root", str(root), *arguments, name="valgrind")
        # On standard error valgrind also names calls that it does not know (openat2).
        assert done.returncode == 0, done.stderr

    under_valgrind("snapshot_config", "--note", "a note")
    tree.lock_out(root)
    under_valgrind("status")
    under_valgrind("diff")
    under_valgrind("start")
    assert tree.differences(before, tree.capture(root)) == []
    under_valgrind("snapshot_config")
    under_valgrind("put-back", "1")
    under_valgrind("discarded")
    under_valgrind("commit_config")
    under_valgrind("start")


# --- with interfaces -----------------------------------------------------------------

# The files of five stacks before and after an edit; ifup and ifdown are recorders.
FILES = {
    "network/interfaces": "auto eth0\niface eth0 inet static\n    address {}/24\n",
    "netplan/01-base.yaml": "network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses: [{}/24]\n  bridges:\n    br0:\n      interfaces: [eth1]\n",
    "systemd/network/10-lan.network": "[Match]\nName=eth1\n[Network]\nAddress={}/24\n",
    "sysconfig/network-scripts/ifcfg-eth1": "DEVICE=eth1\nIPADDR={}\nPREFIX=24\n",
    "NetworkManager/system-connections/lan.nmconnection": "[connection]\nid=lan\nuuid=0\ntype=ethernet\ninterface-name=eth1\n[ipv4]\naddress1={}/24\n",
}
ENTER = """
mount --make-rprivate /
mount --bind -o ro /usr "$0/usr"
mount --bind "$1" "$0/build"
mount -t proc proc "$0/proc"
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 192.0.2.1/24 dev eth0
exec chroot "$0" sh -c "$2"
"""
RECORDER = '#!/bin/sh\necho "${0##*/} $*" >>/ran\n'


@pytest.mark.root
@pytest.mark.parametrize("options", ["", "--files-only"], ids=["exact", "files"])
def test_a_rollback_with_interfaces(dynamic: Path, valgrind: str, tmp_path: Path, options: str) -> None:
    """What plans, asks the kernel and runs programs is clean, too: several stacks, in a network of its own."""
    root = tmp_path / "host"
    for directory in ("usr", "build", "proc", "dev", "sbin", "tmp", "run/network", "var/lib"):
        (root / directory).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (root / "run/network/ifstate").write_text("lo=lo\neth0=eth0\n")
    for name in ("ifup", "ifdown", "ifquery"):
        (root / "sbin" / name).write_text(RECORDER)
        (root / "sbin" / name).chmod(0o755)
    for place, address in (("etc", "192.0.2.1"), ("edited", "192.0.2.99")):
        for path, text in FILES.items():
            tree.write(root, f"{place}/{path}", text.format(address).encode())
    run = f"{valgrind} {' '.join(OPTIONS)} --child-silent-after-fork=yes /build/networking-config"
    script = f"{run} snapshot_config && cp -r /edited/. /etc && {run} diff && {run} rollback_config {options}"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-ec", ENTER, root, dynamic.parent, script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert "rolled back change" in done.stdout or "interfaces are not as they were" in done.stdout, done.stdout
    assert done.returncode in (0, 1), done.stdout
    for path, text in FILES.items():
        assert (root / "etc" / path).read_text() == text.format("192.0.2.1")
    ran = (root / "ran").read_text() if (root / "ran").exists() else ""
    assert ran == ("" if options else "ifdown --force eth0\n"), done.stdout
