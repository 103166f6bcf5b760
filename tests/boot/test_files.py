"""The boot files: checked by the tools that read them."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import build, debian, images, trace, tree
from lib.helper import DONE, Helper

from . import guests

BOOT_FILES = build.REPO / "initscript"
SCRIPTS = sorted(path for path in BOOT_FILES.rglob("*") if path.is_file())


def shells() -> list[Path]:
    """The files that a shell reads."""
    return [path for path in SCRIPTS if re.search(rb"^#!/bin/(ba)?sh|shellcheck shell", path.read_bytes(), re.M)]


def test_no_shell_but_where_the_host_has_its_own() -> None:
    """Only initramfs builders, and Void's first stage, read shell; nothing that systemd or sysvinit runs is one."""
    assert {path.relative_to(BOOT_FILES).parts[0] for path in shells()} == {"dracut", "initramfs-tools", "runit"}


def test_shellcheck_finds_nothing() -> None:
    """The few lines that are shell are clean."""
    images.need("shellcheck")
    done = subprocess.run(["shellcheck", "-e", "SC1091,SC2154", *shells()], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian with systemd and the unit installed."""
    with debian.copy(debian.system(*guests.SYSTEMD), tmp_path_factory.mktemp("host")) as system:
        guests.install(system, "systemd")
        yield system


@pytest.mark.system
def test_systemd_accepts_the_units(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """systemd-analyze verify says nothing; security calls the one that works OK, and its level is printed."""
    unit = "/usr/lib/systemd/system/networking-config.service"
    verified = debian.inside(host, "systemd-analyze", "verify", "--man=no", unit, unit.replace(".", "-soft-reboot."))
    assert "networking-config" not in verified
    exposure = debian.inside(host, "systemd-analyze", "security", "--offline=true", "--threshold=40", unit)
    level = exposure.splitlines()[-1]
    assert "OK" in level
    with capsys.disabled():
        print(f"\n{level.strip()}", end="")


@pytest.mark.system
def test_insserv_orders_the_script(tmp_path: Path) -> None:
    """update-rc.d links it in rcS.d after local filesystems and before networking."""
    with debian.copy(debian.system(*guests.SYSVINIT), tmp_path) as system:
        guests.install(system, "sysv")
        debian.inside(system, "update-rc.d", "networking-config", "defaults")
        order = {path.name[3:]: path.name[:3] for path in (system / "etc/rcS.d").glob("S*")}
        assert order["mountall.sh"] < order["networking-config"] < order["networking"]
        insserv = debian.inside(system, "insserv", "-n", "networking-config")
        assert "warning" not in insserv


@pytest.mark.root
def test_boot_of_the_host_itself_is_cheap(helper: Helper, root: Path, tmp_path: Path) -> None:
    """At most 25 system calls also without --root, and nothing is told to the kernel's log."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the dynamic loader has calls of its own")
    images.need("strace", "chroot")
    shutil.copy(helper.path, root / "networking-config")
    (root / "var/lib/netcf").mkdir(mode=0o700)
    log = tmp_path / "log"
    command = ["strace", "-o", log, images.find("chroot"), root, "/networking-config", "start"]
    assert subprocess.run(command, check=False).returncode == DONE
    text = log.read_text()
    calls = text[text.index('execve("/networking-config"') :].splitlines()[1:-1]
    assert len(calls) <= 25, "\n".join(calls)
    assert "kmsg" not in text


@pytest.mark.root
def test_a_boot_with_nothing_open_takes_less_than_a_millisecond(
    helper: Helper, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time of the processor, exec and exit included; nothing in the root is another one afterwards."""
    (root / "var/lib/netcf").mkdir(mode=0o700)
    tree.realistic(root)
    before = tree.capture(root, identity=True)
    times = []
    for _ in range(200):
        child = os.posix_spawn(helper.path, [str(helper.path), "--root", str(root), "start"], {})
        _, status, used = os.wait4(child, 0)
        assert status == 0
        times.append((used.ru_utime + used.ru_stime) * 1000)
    assert tree.differences(before, tree.capture(root, identity=True)) == []
    with capsys.disabled():
        print(f"\nnothing open: {statistics.median(times):.2f} ms of the processor, at most {max(times):.2f}", end="")
    assert statistics.median(times) < 1
