"""What a boot does besides files: what udev, netplan and ifupdown made of the replaced ones follows.

In a root of its own, in which recorders stand in for udevadm, systemctl, reboot and ifdown:
the real ones restart machines, in tests/boot.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lib import tree
from lib.build import Products
from lib.helper import DONE, FAILED
from lib.images import need

pytestmark = pytest.mark.root

LINK = "etc/systemd/network/10-lan.link"
NETPLAN = "etc/netplan/01.yaml"
INTERFACES = "etc/network/interfaces"
RECORDER = '#!/bin/sh\necho "${0##*/} $*" >>/ran\n'
UDEV = ["udevadm control --reload", "udevadm trigger --subsystem-match=net --action=add"]
GENERATORS = ["systemctl daemon-reload", "systemctl --no-block start multi-user.target"]
IFDOWN = "ifdown --allow=hotplug --all --exclude=lo --force"
AGAIN = "interfaces have their names from the replaced files: booting again"


@dataclass
class Host:
    """A root with recorders in it, seen as init does: as "/", without a terminal."""

    root: Path
    build: Path

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        tree.write(self.root, path, text.encode())
        (self.root / path).chmod(mode)

    def program(self, path: str, script: str = "") -> None:
        """What says what it was started with, and then does this."""
        self.write(path, RECORDER + script, 0o755)

    def change(self, path: str, old: str = "old\n", new: str = "new\n") -> None:
        """A change is open, in which a file was edited."""
        self.write(path, old)
        assert self.run("snapshot_config").returncode == DONE
        self.write(path, new)

    def run(self, *words: str, mount: str = ":") -> subprocess.CompletedProcess[str]:
        """Run the helper where it was built, which is the same place in there."""
        enter = f'mount --bind {self.build} "$0{self.build}"; cd "$0"; {mount}; exec chroot "$0" "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", enter, self.root, self.build / "networking-config", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False,
        )  # fmt: skip

    def boot(self, status: int = DONE, mount: str = ":") -> str:
        """Boot; what the helper says, the same to the kernel's log and to the console."""
        # Pipes, since the helper opens these anew for each line.
        heard = {name: os.open(self.root / "dev" / name, os.O_RDWR | os.O_NONBLOCK) for name in ("kmsg", "console")}
        done = self.run("start", mount=mount)
        said = (done.stdout + done.stderr).splitlines()
        assert done.returncode == status, said
        for name, end in heard.items():
            told = os.read(end, 65536).decode().splitlines() if said else []
            assert sorted(line if name == "console" else line[3:] for line in told) == sorted(said)
            os.close(end)
        return "\n".join(said)

    def ran(self) -> list[str]:
        """What was started, in its order."""
        return (self.root / "ran").read_text().splitlines()


@pytest.fixture
def host(products: Products, tmp_path: Path) -> Host:
    need("unshare", "chroot", "mount", "ldd", "stat")
    kind = subprocess.run(["stat", "-f", "-c%T", tmp_path], capture_output=True, text=True, check=True).stdout.strip()
    if kind in ("tmpfs", "ramfs", "overlayfs"):
        pytest.skip(f"{kind} does not outlive a boot: needs $TMPDIR on a disk")
    root = tmp_path / "host"
    for directory in ("bin", "dev", "run/udev", "var/lib", str(products.directory)[1:]):
        (root / directory).mkdir(parents=True)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name in ("kmsg", "console"):
        os.mkfifo(root / "dev" / name)
    for name in ("run/udev/control", "ran"):
        (root / name).touch()
    shutil.copy("/bin/sh", root / "bin/sh")
    needed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(", needed):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    made = Host(root, products.directory)
    for program in ("udevadm", "systemctl", "reboot", "ifdown"):
        made.program(f"usr/sbin/{program}")
    return made


@pytest.fixture
def systemd(host: Host) -> Host:
    """The same, where systemd runs."""
    (host.root / "run/systemd/system").mkdir(parents=True)
    return host


def test_a_name_from_the_replaced_files_is_booted_away(host: Host) -> None:
    """udev is asked again with the old files, and since it takes no name away, the host boots again."""
    host.change(LINK)
    assert AGAIN in host.boot()
    assert host.ran() == [*UDEV, "reboot -f"]
    assert (host.root / LINK).read_text() == "old\n"


def test_systemd_boots_again_by_itself(systemd: Host) -> None:
    """Where systemd runs it is asked to."""
    systemd.change(LINK)
    assert AGAIN in systemd.boot()
    assert systemd.ran() == [*UDEV, "systemctl --no-block reboot"]


def test_no_second_boot_where_the_state_would_be_the_same_again(host: Host) -> None:
    """From a disk in memory the next boot finds the snapshot again, and again: it is not begun."""
    (host.root / "var/lib/netcf").mkdir(mode=0o700)
    host.change(LINK)
    said = host.boot(FAILED, "mkdir in; mount -t tmpfs tmpfs in; cp -a var/lib/netcf/. in; chmod 700 in; mount --move in var/lib/netcf")
    assert "/var/lib/netcf does not outlive a boot" in said
    assert host.ran() == UDEV


def test_a_reboot_that_fails_is_told(host: Host) -> None:
    """The files are back, the names are not, and the exit status says so."""
    host.change(LINK)
    host.program("usr/sbin/reboot", "echo not now; exit 3")
    assert "/usr/sbin/reboot: exit status 3: not now" in host.boot(FAILED)


def test_nothing_that_could_reboot_is_told(host: Host) -> None:
    """Where there is no such program, the next boot is a person's, who has to know."""
    host.change(LINK)
    (host.root / "usr/sbin/reboot").unlink()
    assert "there is no program that boots again" in host.boot(FAILED)


def test_no_reboot_after_udev_failed(host: Host) -> None:
    """The first failure is the one that is told; what would come after it is left."""
    host.change(LINK)
    host.program("usr/sbin/udevadm", "exit 4")
    host.program("usr/sbin/reboot", "exit 5")
    said = host.boot(FAILED)
    assert "/usr/sbin/udevadm: exit status 4" in said and "status 5" not in said
    assert host.ran() == UDEV


def test_without_udev_no_name_was_given(host: Host) -> None:
    """Nothing is run where udev does not: in a container."""
    host.change(LINK)
    (host.root / "run/udev/control").unlink()
    assert AGAIN not in host.boot()
    assert host.ran() == []


def test_other_files_name_nothing(host: Host) -> None:
    """A file of networkd that is no .link file needs no udev."""
    host.change("etc/systemd/network/10-lan.network")
    host.boot()
    assert host.ran() == []


@pytest.mark.parametrize("file", ["systemd/network/10-netplan-lan.link", "udev/rules.d/99-netplan-lan.rules"])
def test_what_netplan_generates_may_name(systemd: Host, file: str) -> None:
    """systemd runs the generators again, and boots again if they name interfaces otherwise then."""
    systemd.program("usr/sbin/systemctl", f"[ $1 != daemon-reload ] || echo old >/run/{file}")
    systemd.write(f"run/{file}", "new\n")
    systemd.change(NETPLAN)
    assert AGAIN in systemd.boot()
    assert systemd.ran() == [*GENERATORS, *UDEV, "systemctl --no-block reboot"]


def test_generated_names_that_stay_are_no_reason(systemd: Host) -> None:
    """Neither are other generated files, nor what can't be read."""
    generated = "/run/systemd/network/a.network /run/udev/rules.d/90-netplan.rules"
    systemd.program("usr/sbin/systemctl", f"for file in {generated}; do echo changed >$file; done")
    systemd.write("run/systemd/network/10-netplan-lan.link", "same\n")
    systemd.write("run/udev/rules.d/99-netplan-lan.rules", "same\n")
    (systemd.root / "run/systemd/network/a.link").symlink_to("nowhere")
    (systemd.root / "run/systemd/network/b.link").mkdir()
    systemd.change(NETPLAN)
    assert AGAIN not in systemd.boot()
    assert systemd.ran() == [*GENERATORS, *UDEV]


def test_without_systemd_no_generator_runs(host: Host) -> None:
    """netplan's files then make nothing before netplan itself is run."""
    host.change(NETPLAN)
    host.boot()
    assert host.ran() == UDEV


def test_programs_that_are_not_there_are_not_needed(systemd: Host) -> None:
    """Where a program is missing, what it would do is nobody's wish."""
    (systemd.root / "usr/sbin/udevadm").unlink()
    systemd.change(NETPLAN)
    systemd.boot()
    assert systemd.ran() == GENERATORS


def test_hotplug_was_faster(host: Host) -> None:
    """What udev had ifupdown bring up goes down before the files change, and comes up from the old ones."""
    host.program("usr/sbin/ifdown", "cat() { while read -r line; do echo \"$line\"; done; }; cat </etc/network/interfaces >>/ran")
    host.write("run/network/ifstate", "lo=lo\n")
    host.change(INTERFACES, "# old\n", "# new\n")
    host.boot()
    assert host.ran() == [IFDOWN, "# new", *UDEV]


def test_with_systemd_hotplug_waits(systemd: Host) -> None:
    """There udev only asks for a unit, which waits for the helper."""
    systemd.write("run/network/ifstate", "lo=lo\n")
    systemd.change(INTERFACES, "# old\n", "# new\n")
    systemd.boot()
    assert systemd.ran() == UDEV


def test_a_damaged_snapshot_runs_nothing(host: Host) -> None:
    """Nothing will be restored, so nothing has to follow."""
    host.change(LINK)
    snapshot = host.root / "var/lib/netcf/network-snapshot.tar"
    os.truncate(snapshot, snapshot.stat().st_size - 1)
    assert "snapshot" in host.boot(FAILED)
    assert host.ran() == []
    assert (host.root / LINK).read_text() == "new\n"
