"""netcf doctor: each finding is made true on a scratch host, and it says so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import netcf_py
from lib import tree

from .conftest import COMMAND, PATIENCE, Netcf
from .test_commands import said

STATE = "var/lib/netcf"


@pytest.fixture
def host(netcf: Netcf) -> Netcf:
    """A host with ifupdown, where the boot files are installed."""
    tree.write(netcf.root, "usr/sbin/ifup", b"", 0o755)
    netcf.out("boot", "install", "systemd")
    return netcf


def finding(answer: Any, subject: str, level: str) -> Any:
    """The first finding about a subject that is so."""
    found = [f for f in answer["findings"] if (f["subject"], f["level"]) == (subject, level)]
    assert found, answer["findings"]
    return found[0]


def elsewhere(netcf: Netcf, mounts: str) -> Any:
    """What doctor says where something else is mounted in the host."""
    script = f"cd {netcf.root} && {mounts} && exec {COMMAND} --root {netcf.root} doctor --json"
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True,
        timeout=PATIENCE, env=netcf.environment,
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr


    return json.loads(ran.stdout)


def test_a_host_that_would_be_saved(host: Netcf) -> None:
    """All is looked at, a guard and a rehearsal are run, nothing changes, and the status is 0."""
    before = tree.capture(host.root, state=True)
    answer = said(host, "doctor")
    assert answer["healthy"]
    assert [(f["subject"], f["level"], f["remedy"]) for f in answer["findings"]] == [
        (subject, "good", "")
        for subject in ("boot", "state", "reserve", "scope", "guard", "rehearsal")
    ]
    [times] = re.findall(r"^25 paths saved in \d+ ms, rolled back in \d+ ms$",
                         finding(answer, "rehearsal", "good")["text"])  # fmt: skip
    assert times
    text = host.out("doctor", "--no-rehearsal")
    assert text.endswith("This host would be saved.\n") and "rehearsal" not in text
    assert tree.differences(before, tree.capture(host.root, state=True)) == []


def test_80_columns(host: Netcf) -> None:
    """What is bad is in words and with its remedy, within 80 columns but for paths."""
    (host.root / "usr/sbin/networking-config").unlink()
    ran = host.run("doctor", "--no-rehearsal")
    assert ran.returncode == 1
    assert ran.stdout.startswith("bad   boot: etc/systemd/system/networking-config.service runs\n")
    assert "      -> netcf boot install\n" in ran.stdout
    assert ran.stdout.endswith("This host might not be saved.\n")
    for line in ran.stdout.replace(str(host.root), "/host").split("\n"):
        assert len(line) <= 80


# --- state directory --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "harm", "text"),
    [
        ("privacy", f"mkdir -m 755 {STATE}", "can be entered by others"),
        ("state", "rm -r var/lib && touch var/lib", "is no directory"),
        ("state", "mv var/lib elsewhere && ln -s ../elsewhere var/lib", "is no directory"),
    ],
)
def test_a_state_directory_that_is_wrong(
    host: Netcf, subject: str, harm: str, text: str
) -> None:
    """What is wrong is named with its remedy, and the status is 1."""
    subprocess.run(["sh", "-ec", harm], cwd=host.root, check=True)
    answer = said(host, "doctor", "--no-rehearsal", status=1)
    bad = finding(answer, subject, "bad")
    assert text in bad["text"] and bad["remedy"]


def test_a_host_without_var(host: Netcf) -> None:
    """A start makes the way to its directory, so that is no finding."""
    shutil.rmtree(host.root / "var")
    assert finding(said(host, "doctor"), "state", "good")
    host.out("start")


@pytest.mark.root
def test_a_state_directory_of_somebody_else(host: Netcf) -> None:
    """Whoever owns it can replace what is saved."""
    (host.root / STATE).mkdir(mode=0o700)
    os.chown(host.root / STATE, 12345, 0)
    bad = finding(said(host, "doctor", "--no-rehearsal", status=1), "privacy", "bad")
    assert "belongs to uid 12345" in bad["text"] and "chown root" in bad["remedy"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("mounts", "subject", "level", "text"),
    [
        ("mount -t tmpfs none var/lib", "state", "bad", "tmpfs, which a reboot empties"),
        ("mount --bind var/lib var/lib && mount -o remount,ro,bind var/lib",
         "state", "bad", "read-only"),
        ("mkdir o && mount -t tmpfs none o && mkdir o/u o/w &&"
         " mount -t overlay -o lowerdir=var/lib,upperdir=o/u,workdir=o/w none var/lib",
         "state", "note", "overlay, which may not outlive a reboot"),
        ("mount -t tmpfs none etc", "state", "note", "on another filesystem"),
        ("mount -t tmpfs -o size=512k none var/lib", "reserve", "bad", "512.0 KiB and "),
        ("mkdir -p var/tmp && dd if=/dev/zero of=etc/systemd/network/x bs=1k count=200 2>/dev/null"
         " && mount -t tmpfs -o size=100k none var/tmp",
         "rehearsal", "bad", "No space left on device"),
    ],
)  # fmt: skip
def test_where_it_is_mounted(
    host: Netcf, mounts: str, subject: str, level: str, text: str
) -> None:
    """A filesystem that forgets, can't be written or is full is a finding."""
    answer = elsewhere(host, mounts)
    found = finding(answer, subject, level)
    assert text in found["text"] and found["remedy"]
    assert answer["healthy"] == (level == "note" and "none etc" not in mounts)


@pytest.mark.root
def test_a_user_who_may_not(host: Netcf) -> None:
    """Who can't write the state directory is told to be root."""
    os.chown(host.root / "var/lib", 12345, 12345)
    ran = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override", COMMAND, "--root", host.root, "doctor"],
        capture_output=True, text=True, env=host.environment, timeout=PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "can't be written by this user" in " ".join(ran.stdout.split())
    assert "-> run it as root" in ran.stdout


def test_the_reserve_of_an_open_change(host: Netcf) -> None:
    """It is there after a start; without it a full disk could stop a rollback."""
    host.out("start")
    assert "has its space" in finding(said(host, "doctor"), "reserve", "good")["text"]
    (host.root / STATE / ".netcf-reserve-1").unlink()
    note = finding(said(host, "doctor"), "reserve", "note")
    assert "no space reserved" in note["text"] and note["remedy"]


# --- scope --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("usr/sbin/ifup", "etc/network/extra/eth7"),
        ("usr/sbin/NetworkManager", "etc/NetworkManager/conf.d/unmanaged.conf"),
        ("lib/systemd/systemd-networkd", "etc/systemd/networkd.conf.d/dns.conf"),
        ("usr/sbin/wicked", "etc/wicked/local.xml"),
        ("usr/sbin/connmand", "var/lib/connman/wifi/settings"),
        ("usr/sbin/dhcpcd", "etc/dhcpcd.conf"),
    ],
)
def test_a_file_that_is_not_covered(host: Netcf, program: str, file: str) -> None:
    """What a stack reads and no pattern takes is named; what the remedy says covers it."""
    tree.write(host.root, program, b"", 0o755)
    with open(host.root / "etc/network/interfaces", "a") as interfaces:
        interfaces.write("source extra/*\n")
    tree.write(host.root, file, b"# here\n")
    note = finding(said(host, "doctor", "--no-rehearsal"), "scope", "note")
    assert note["text"].endswith(file)
    subprocess.run(["sh", "-ec", note["remedy"].partition(": ")[2]], check=True)
    answer = said(host, "doctor")
    assert [f for f in answer["findings"] if file in f["text"]] == []
    assert finding(answer, "rehearsal", "good")


def test_a_scope_that_others_can_write(host: Netcf) -> None:
    """Nothing could be started, and it says so."""
    tree.write(host.root, "etc/netcf/scope.d/open.conf", b"etc/hostname\n", 0o666)
    bad = finding(said(host, "doctor", status=1), "scope", "bad")
    assert "open.conf" in bad["text"] and bad["remedy"]


def test_no_software_that_is_known(netcf: Netcf) -> None:
    """Where nothing reads the files, that is worth a note."""
    netcf.out("boot", "install", "runit")
    assert finding(said(netcf, "doctor"), "scope", "note")["text"].startswith("no networking")


def test_an_exclusion_is_rehearsed_too(host: Netcf) -> None:
    """The rehearsal has the scope of the host, not the default one."""
    tree.write(host.root, "etc/netcf/scope.d/local.conf", b"!etc/netplan/*\netc/hostname\n")
    tree.write(host.root, "etc/hostname", b"here\n")
    assert finding(said(host, "doctor"), "rehearsal", "good")


# --- guard --------------------------------------------------------------------------------


def test_a_guard_that_can_not_be_started(host: Netcf, tmp_path: Path) -> None:
    """Where the helper can't be executed, no deadline would be seen to."""
    package = tmp_path / "python/netcf_py"
    shutil.copytree(Path(netcf_py.__file__).parent, package)
    (package / "bin/networking-config").chmod(0o644)
    ran = subprocess.run(
        [sys.executable, "-m", "netcf_py.command", "--root", host.root, "doctor"],
        env={**host.environment, "PYTHONPATH": str(tmp_path / "python")}, cwd=tmp_path,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "bad   guard: can't start: " in ran.stdout
    assert f"{package}/bin/networking-config" in ran.stdout
    assert "give a start no timeout" in " ".join(ran.stdout.split())
