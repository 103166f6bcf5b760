#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print how long after its deadline a change is taken back, beside netplan try and NetworkManager.

Each stack of a Debian host with systemd, in a container, is given a wrong address under a
deadline of some seconds.  Watched from outside, by one clock: when the first file is as it
was, and when the kernel says that the address is back.  Needs root and what tests/lib needs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pty
import re
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from programs import PROJECT
from report import Table

sys.path.insert(0, str(PROJECT / "tests"))

from lib import build, debian, hosts, snapshot
from lib.hosts import Booted

PACKAGES = ("systemd-sysv", "dbus", "ifupdown", "iproute2", "netplan.io", "network-manager")
OLD, WRONG = "192.0.2.2", "192.0.2.99"
DEADLINE = 3
PATIENCE = 60.0
NO_NM = "[keyfile]\nunmanaged-devices=*\n"

INTERFACES = "auto lo\niface lo inet loopback\n"
ETH0 = f"auto eth0\niface eth0 inet static\n    address {OLD}/24\n"
YAML = f"""network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      accept-ra: false
      addresses: [{OLD}/24]
"""
KEYFILE = f"""[connection]
id=eth0
uuid=11111111-1111-4111-8111-111111111111
type=ethernet
interface-name=eth0

[ipv4]
method=manual
address1={OLD}/24

[ipv6]
method=disabled
"""


class Sample(NamedTuple):
    """Milliseconds from the deadline to the first restored file and to the address."""

    file: float
    address: float


def now() -> float:
    """Seconds of the clock that our deadlines are on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Stack:
    """One stack: its file, and how a person applies an edit of it."""

    def __init__(self, name: str, file: str, text: str, apply: str, mode: int = 0o600) -> None:
        self.name = name
        self.file = file
        self.text = text
        self.apply = apply
        self.mode = mode

    def prepare(self, tree: Path) -> None:
        """A host with this stack and no other."""
        build.make_install(tree, PREFIX="/usr", INIT="systemd")
        (tree / "etc/network/interfaces").write_text(INTERFACES)
        (tree / "etc/NetworkManager/conf.d").mkdir(parents=True, exist_ok=True)
        if self.name != "NetworkManager":
            (tree / "etc/NetworkManager/conf.d/none.conf").write_text(NO_NM)
            debian.inside(tree, "systemctl", "disable", "NetworkManager.service")
        # A container has no udev, and netplan apply fails where its trigger does.
        (tree / "usr/bin/udevadm").unlink()
        (tree / "usr/bin/udevadm").symlink_to("true")
        path = tree / self.file[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)
        path.chmod(self.mode)

    def edit(self, host: Booted, old: str, new: str) -> None:
        """Edit the file and apply the edit."""
        host.write(self.file, (host.root / self.file[1:]).read_text().replace(old, new), self.mode)
        host.run("sh", "-c", self.apply)
        hosts.wait_for(lambda: host.addresses("eth0") == [f"{new}/24"], f"{self.name}: {new}")


STACKS = [
    Stack("ifupdown", "/etc/network/interfaces", INTERFACES + ETH0,
          "ip addr flush dev eth0; ifup --force eth0", 0o644),
    Stack("netplan", "/etc/netplan/01-eth0.yaml", YAML, "netplan apply"),
    Stack("NetworkManager", "/etc/NetworkManager/system-connections/eth0.nmconnection", KEYFILE,
          "nmcli connection reload && nmcli connection up eth0"),
]  # fmt: skip


@contextmanager
def addresses(host: Booted) -> Iterator[socket.socket]:
    """The kernel's news about addresses in the host's network namespace."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/self/ns/net") as back, open(f"/proc/{host.hardware.pid}/ns/net") as there:
        setns(there.fileno(), 0)
        try:
            news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
            news.bind((0, 0x10))  # RTMGRP_IPV4_IFADDR
        finally:
            setns(back.fileno(), 0)
    with news:
        yield news


def watch(host: Booted, file: Path, good: str, deadline: Callable[[], float]) -> Sample:
    """Wait for the file and the address; both must come."""
    when: dict[str, float] = {}
    with addresses(host) as news:
        end = now() + PATIENCE
        while len(when) < 2:
            if now() > end:
                raise SystemExit(f"{file}: after {PATIENCE:.0f} s only {sorted(when)} was back")
            if "file" not in when and is_good(file, good):
                when["file"] = now()
            ready, _, _ = select.select([news], [], [], 0.001)
            # RTM_NEWADDR; the address is in it as four bytes.
            if ready and (said := news.recv(8192)) and said[4:6] == b"\x14\0":
                if socket.inet_aton(OLD) in said:
                    when.setdefault("address", now())
    due = deadline()
    return Sample(*(1000 * (when[what] - due) for what in ("file", "address")))


def is_good(file: Path, good: str) -> bool:
    try:
        return good in file.read_text()
    except FileNotFoundError:
        return False


def ours(stack: Stack, host: Booted, memory: list[int]) -> Sample:
    """networking-config, whose guard acts."""
    host.run("networking-config", "snapshot_config", "--timeout", str(DEADLINE))
    lines = snapshot.read(host.root / "var/lib/netcf/network-snapshot.tar").lines
    [due] = [int(line.split()[2]) / 1e9 for line in lines if line.startswith(b"deadline ")]
    for pid, (_, words) in host.processes().items():
        if "networking-config guard" in words:
            resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            memory.append(int(resident[1]) if resident else 0)
    stack.edit(host, OLD, WRONG)
    if now() > due:
        raise SystemExit(f"{stack.name}: the edit took longer than {DEADLINE} s")
    sample = watch(host, host.root / stack.file[1:], OLD, lambda: due)
    hosts.wait_for(
        lambda: not (host.root / "var/lib/netcf/network-snapshot.tar").exists(), "the end"
    )
    return sample


def netplan_try(stack: Stack, host: Booted, _: list[int]) -> Sample:
    """netplan try, on a terminal.  Its deadline is so long after it begins to ask."""
    host.write(stack.file, stack.text.replace(OLD, WRONG), stack.mode)
    child, terminal = pty.fork()
    if child == 0:
        words = [*host.entry(), "netplan", "try", "--timeout", str(DEADLINE)]
        os.execvp(words[0], words)
    said = b""
    while b"ENTER" not in said:
        said += os.read(terminal, 4096)
    due = now() + DEADLINE
    # What it puts back is what netplan generated; the file that was edited stays as it is.
    generated = Path(f"/proc/{host.pid}/root/run/systemd/network/10-netplan-eth0.network")
    sample = watch(host, generated, OLD, lambda: due)
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:
            break
    os.close(terminal)
    os.waitpid(child, 0)
    if is_good(host.root / stack.file[1:], OLD):
        raise SystemExit("netplan try has restored the file that was edited: measure that")
    host.write(stack.file, stack.text, stack.mode)
    host.run("netplan", "apply")
    return sample


def checkpoint(stack: Stack, host: Booted, _: list[int]) -> Sample:
    """A checkpoint of NetworkManager of all devices, with a timeout."""
    name, top = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
    made = json.loads(host.run("busctl", "--json=short", "call", name, top, name,
                               "CheckpointCreate", "aouu", "0", str(DEADLINE), "0"))  # fmt: skip
    [path] = made["data"]
    told = json.loads(host.run("busctl", "--json=short", "get-property", name, path,
                               f"{name}.Checkpoint", "Created"))  # fmt: skip
    due = told["data"] / 1000 + DEADLINE
    stack.edit(host, OLD, WRONG)
    return watch(host, host.root / stack.file[1:], OLD, lambda: due)


RIVALS = {"netplan": ("netplan try", netplan_try), "NetworkManager": ("checkpoint", checkpoint)}


def measure(runs: int, place: Path) -> tuple[Table, list[int]]:
    """Every stack, its tools by turns."""
    table = Table(
        "From the deadline: ms, median [lowest - highest]",
        ["stack", "taken back by", "runs", "first file", "address back"],
    )
    system, memory = debian.system(*PACKAGES), list[int]()
    for stack in STACKS:
        tools = [("networking-config", ours)]
        if stack.name in RIVALS:
            tools.append(RIVALS[stack.name])
        samples: dict[str, list[Sample]] = {name: [] for name, _ in tools}
        with ExitStack() as cleanup:
            where = place / stack.name
            where.mkdir()
            host = cleanup.enter_context(hosts.booted(system, where, stack.prepare))
            hosts.cable(host.hardware, cleanup.enter_context(hosts.peer()), "eth0", "192.0.2.1/24")
            host.boot()
            for _ in range(runs):
                for name, run in tools:
                    hosts.wait_for(
                        lambda host=host: host.addresses("eth0") == [f"{OLD}/24"], "the address"
                    )
                    print(f"{stack.name}: {name}", file=sys.stderr, flush=True)
                    samples[name].append(run(stack, host, memory))
        for name, each in samples.items():
            table.add(stack.name, name, len(each), *(spread(column) for column in zip(*each)))
    return table, memory


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.0f} [{min(values):.0f} - {max(values):.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each tool on each stack (5)")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as place:
        table, memory = measure(arguments.runs, Path(place))
    print(table.render(arguments.markdown))
    print(f"\nThe guard: {max(memory)} KiB resident at most; limit: 1024")


if __name__ == "__main__":
    main()
