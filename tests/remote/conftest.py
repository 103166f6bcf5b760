"""A host that is reached by ssh and by nothing else, and whoever sits at the other end."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import netcf_py
from lib import build, debian, hosts
from lib.hosts import Booted, Namespace
from lib.images import find, need
from lib.terminal import Terminal

PACKAGES = ("systemd-sysv", "dbus", "libpam-systemd", "ifupdown", "iproute2", "iputils-ping",
            "openssh-server", "python3-click", "python3-rich", "python3-cffi-backend")  # fmt: skip
FILE = "/etc/network/interfaces"
OLD, WRONG, NEW, PEER = "192.0.2.2", "192.0.2.99", "192.0.2.50", "192.0.2.1"
# As a DHCP client does: it stays when ifup has ended.
DAEMON = "setsid sleep 7007 </dev/null >/dev/null 2>&1 &"
GOOD = f"auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n    address {OLD}/24\n    up {DAEMON}\n"

# sshd as it comes, and on another port as one sets it up who wants lost connections noticed.
PORT, WATCHFUL = 22, 2222
SSHD = f"Port {PORT}\nPort {WATCHFUL}\nMatch LocalPort {WATCHFUL}\nClientAliveInterval 1\nClientAliveCountMax 2\n"


class Remote:
    """The host, seen from the other end of its cable."""

    def __init__(self, host: Booted, peer: Namespace, key: Path) -> None:
        self.host = host
        self.peer = peer
        self.key = key

    def plug(self) -> None:
        """Give the host, which is off, a network card as it is before a boot: without an address."""
        hosts.cable(self.host.hardware, self.peer, "eth0", f"{PEER}/24")

    def ssh(self, *command: str, address: str = OLD, terminal: bool = False, port: int = PORT) -> list[str]:
        """The words of an ssh to the host."""
        options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR", "ConnectTimeout=2"]
        return [*self.peer.entry(), "ssh", "-F", "none", "-p", str(port), "-i", str(self.key), *(["-tt"] if terminal else []),
                *(word for option in options for word in ("-o", option)), f"root@{address}", *command]  # fmt: skip

    def run(self, *command: str, address: str = OLD) -> subprocess.CompletedProcess[str]:
        """A command by ssh, without a terminal."""
        return subprocess.run(
            self.ssh(*command, address=address), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip

    def answers(self, address: str) -> bool:
        """Whether an sshd answers there within a second."""
        return "ssh-ed25519" in self.peer.call("ssh-keyscan", "-t", "ed25519", "-T", "1", address).stdout

    def power_cut(self) -> None:
        """Cut the power and boot again."""
        self.host.cut()
        self.peer.run("ip", "link", "delete", "eth0")
        self.plug()
        self.host.boot()

    def is_open(self) -> bool:
        """Looked up on the host itself, by the one command that puts no guard back."""
        return (self.host.root / "var/lib/netcf/network-snapshot.tar").exists()

    def is_as_before(self) -> bool:
        """No change is open, the file is as it was, the old address is there and no other."""
        return (
            not self.is_open()
            and (self.host.root / FILE[1:]).read_text() == GOOD
            and self.host.addresses("eth0") == [f"{OLD}/24"]
        )

    def guards(self) -> dict[int, str]:
        """The guards on the host, each with its control group."""
        return {pid: group for pid, (group, words) in self.host.processes().items()
                if re.match(r"\S*/networking-config guard ", words)}  # fmt: skip


def use(address: str) -> str:
    """What a person types who gives eth0 another address."""
    return f"sed -i s/{OLD}/{address}/ {FILE}; ip addr flush dev eth0; ifup --force eth0"


def prepare(tree: Path, public: Path) -> None:
    """Install what we make, and let the key in."""
    build.make_install(tree, PREFIX="/usr", INIT="systemd")
    debian.inside(tree, "systemctl", "enable", "networking-config.service")
    shutil.copytree(Path(netcf_py.__file__).parent, tree / "usr/lib/python3/dist-packages/netcf_py")
    command = Path(sys.executable).with_name("netcf").read_text().splitlines()
    (tree / "usr/bin/netcf").write_text("\n".join(["#!/usr/bin/python3", *command[1:]]) + "\n")
    (tree / "usr/bin/netcf").chmod(0o755)
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(public, tree / "root/.ssh/authorized_keys")
    (tree / "etc/ssh/sshd_config.d/test.conf").write_text(SSHD)
    (tree / FILE[1:]).write_text(GOOD)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """One host for all tests of this room."""
    need("ssh", "ssh-keygen", "tmux")
    place = tmp_path_factory.mktemp("remote")
    key = place / "key"
    subprocess.run([find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with ExitStack() as stack:
        system = debian.system(*PACKAGES)
        host = stack.enter_context(hosts.booted(system, place, lambda tree: prepare(tree, key.with_suffix(".pub"))))
        remote = Remote(host, stack.enter_context(hosts.peer()), key)
        remote.plug()
        host.boot()
        yield remote


@pytest.fixture
def remote(shared: Remote) -> Iterator[Remote]:
    """The host on its old address, no change open; and so it has to be left."""
    assert shared.is_as_before()
    hosts.wait_for(lambda: shared.answers(OLD), "the host to answer")
    yield shared
    assert shared.is_as_before()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[list[str]], Terminal]]:
    """Run a command on a terminal of its own; those of a test are closed at its end."""
    opened: list[Terminal] = []

    def start(command: list[str]) -> Terminal:
        place = tmp_path / str(len(opened))
        place.mkdir()
        opened.append(Terminal(place, command))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
