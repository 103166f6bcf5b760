#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print what a rollback of live interfaces takes by itself, beside what the stack's commands take.

As root, with the packages that the tests need: hosts are those of tests/interface.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Union

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/interface")]

import test_ifupdown
import test_netplan
import test_netplan_nm
import test_networkd
import test_networkmanager
from programs import compile_c
from report import Table

from lib import debian, hosts
from lib.hosts import Host

SIZES = (1, 10, 200)
SHARE, LEAST_MS = 0.05, 20.0  # the target: of the stack's time, or this


def address(i: int) -> str:
    return f"10.{i // 250}.{i % 250}.2/24"


class Ifupdown:
    """The three readers of /etc/network/interfaces."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.packages = test_ifupdown.SYSTEMS[name]
        self.programs = ("ifreload", "ifup") if name == "ifupdown2" else ("ifup", "ifdown")

    def write(self, host: Host, size: int, first: str) -> None:
        rows = [first, *map(address, range(1, size))]
        stanzas = [
            f"auto e{i}\niface e{i} inet static\n    address {row}\n" for i, row in enumerate(rows)
        ]
        host.write("/etc/network/interfaces", "".join(stanzas))

    @contextmanager
    def running(self, host: Host, _log: Path) -> Iterator[None]:
        host.run("ifup", "-a", timeout=600)
        yield

    def apply(self, host: Host) -> None:
        if self.name == "ifupdown2":
            host.run("ifreload", "-a", timeout=600)
        else:
            host.run("ifdown", "--force", "e0", check=False)
            host.run("ifup", "--force", "e0")


class Networkd:
    """systemd-networkd: its work goes on when `networkctl reload` has returned."""

    name = "systemd-networkd"
    packages = test_networkd.PACKAGES
    programs = ("networkctl",)

    def write(self, host: Host, size: int, first: str) -> None:
        for i in range(size):
            if i == 0 or not (host.root / f"etc/systemd/network/e{i}.network").exists():
                text = f"[Match]\nName=e{i}\n[Network]\nAddress={first if i == 0 else address(i)}\nLinkLocalAddressing=no\n"
                host.write(f"/etc/systemd/network/e{i}.network", text)

    @contextmanager
    def running(self, host: Host, log: Path) -> Iterator[None]:
        with test_networkd.daemon(host, log):
            yield

    def apply(self, host: Host) -> None:
        host.run("networkctl", "reload")


class NetworkManager:
    """NetworkManager, with a keyfile for each interface."""

    name = "NetworkManager"
    packages = test_networkmanager.PACKAGES
    programs: tuple[str, ...] = ("nmcli",)

    def write(self, host: Host, size: int, first: str) -> None:
        for i in range(size):
            path = f"{test_networkmanager.DIRECTORY}/e{i}.nmconnection"
            if i == 0 or not (host.root / path[1:]).exists():
                ipv4 = test_networkmanager.static(first if i == 0 else address(i))
                text = test_networkmanager.keyfile(f"e{i}", i, f"interface-name=e{i}", ipv4=ipv4)
                host.write(path, text, 0o600)

    @contextmanager
    def running(self, host: Host, log: Path) -> Iterator[None]:
        host.write("/etc/NetworkManager/conf.d/no-auto.conf", test_netplan_nm.NO_AUTO)
        host.run("mkdir", "-p", "/run/dbus")
        host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
        with open(log, "wb") as out:
            daemon = subprocess.Popen(
                [*host.entry(), "/usr/sbin/NetworkManager", "--debug"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            yield
        finally:
            daemon.kill()
            daemon.wait()

    def apply(self, host: Host) -> None:
        test_networkmanager.apply(host, 0)


class Netplan:
    """netplan over what follows the files that it generates."""

    def __init__(self, below: Networkd | NetworkManager, packages: tuple[str, ...]) -> None:
        self.below, self.packages = below, packages
        self.renderer = "networkd" if isinstance(below, Networkd) else below.name
        self.name = f"netplan, {self.renderer}"
        self.programs = ("netplan", *below.programs)

    def write(self, host: Host, size: int, first: str) -> None:
        rows = "".join(
            f"    e{i}: {{accept-ra: false, addresses: [{first if i == 0 else address(i)}]}}\n" for i in range(size)
        )
        head = f"network:\n  version: 2\n  renderer: {self.renderer}\n  ethernets:\n"
        host.write(test_netplan.FILE, head + rows, 0o600)

    @contextmanager
    def running(self, host: Host, log: Path) -> Iterator[None]:
        host.run("netplan", "generate")
        with self.below.running(host, log):
            yield

    def apply(self, host: Host) -> None:
        host.run("netplan", "generate")
        if isinstance(self.below, Networkd):
            self.below.apply(host)
        else:
            host.run("nmcli", "connection", "reload")
            host.run("nmcli", "connection", "up", "netplan-e0")


Stack = Union[Ifupdown, Networkd, NetworkManager, Netplan]
STACKS = (
    *(Ifupdown(name) for name in test_ifupdown.SYSTEMS),
    Networkd(),
    NetworkManager(),
    Netplan(Networkd(), test_netplan.PACKAGES),
    Netplan(NetworkManager(), test_netplan_nm.PACKAGES),
)


def clock(host: Host, clocked: Path, programs: tuple[str, ...]) -> None:
    """Put the clock in the place of each program."""
    for name in programs:
        # Where a link leads to is to be looked up inside the host, so it is not followed here.
        path = next(
            p for p in (host.root / d / name for d in ("usr/sbin", "usr/bin")) if os.path.lexists(p)
        )
        real = host.root / "real" / name
        real.parent.mkdir(exist_ok=True)
        if path.is_symlink():
            target = path.readlink()
            beside = "/real" if target.name in programs else path.parent.relative_to(host.root)
            real.symlink_to(Path("/", beside, target))
            path.unlink()
        else:
            path.rename(real)
        path.write_bytes(clocked.read_bytes())
        path.chmod(0o755)


def union(spans: list[tuple[float, float]]) -> float:
    """How long at least one of them lasted."""
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


@contextmanager
def monitored(host: Host, log: Path) -> Iterator[Callable[[], float]]:
    """When the kernel last told of an address, in seconds."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*host.entry(), "ip", "-ts", "monitor", "address"], stdout=out, stdin=subprocess.DEVNULL
        )
    try:
        time.sleep(0.3)
        yield lambda: max(
            (
                datetime.fromisoformat(found).timestamp()
                for found in re.findall(r"^\[(\S+?)\]", log.read_text(), re.M)
            ),
            default=0.0,
        )
    finally:
        process.kill()
        process.wait()


def rollback(host: Host, stack: Stack, size: int, log: Path) -> tuple[float, float, float]:
    """One change of one interface, rolled back: ms of our own, of the stack, and for files only."""
    entry = [*host.entry(), "/usr/sbin/networking-config"]
    stack.write(host, size, address(0))
    host.run("networking-config", "snapshot_config")
    stack.write(host, size, "10.9.9.9/24")
    files = took([*entry, "rollback_config", "--files-only"]) - took([*entry, "--version"])
    host.run("networking-config", "snapshot_config")
    stack.write(host, size, "10.9.9.9/24")
    stack.apply(host)
    hosts.wait_for(lambda: host.addresses("e0") == ["10.9.9.9/24"], "the edit")
    (host.root / "clocked").write_text("")
    with monitored(host, log) as last_event:
        begin = time.time()
        subprocess.run(
            [*entry, "rollback_config", "--limit", "300"], check=True, capture_output=True
        )
        end = time.time()
        event = last_event()
    begin += took([*entry, "--version"])
    hosts.wait_for(lambda: host.addresses("e0") == [address(0)], "what was there at the start")
    spans = [
        tuple(int(word) / 1e9 for word in line.split())
        for line in (host.root / "clocked").read_text().splitlines()
    ]
    if spans and max(stop for _, stop in spans) < event < end:
        spans.append((max(stop for _, stop in spans), event))
    stacks = union(spans)  # type: ignore[arg-type]
    return (end - begin - stacks) * 1e3, stacks * 1e3, files * 1e3


def took(command: list[str]) -> float:
    """Seconds of a command; of `--version`: what it takes to get into the host and out again."""
    begin = time.time()
    subprocess.run(command, check=True, capture_output=True)
    return time.time() - begin


def measure(
    stack: Stack, size: int, runs: int, helper: Path, scratch: Path, clocked: Path
) -> list[tuple[float, float, float]]:
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, debian.system(*stack.packages), scratch, helper)
        for i in range(size):
            hosts.cable(host, other, f"e{i}")
        stack.write(host, size, address(0))
        cleanup.enter_context(stack.running(host, scratch / "daemon.log"))
        hosts.wait_for(
            lambda: host.addresses(f"e{size - 1}") == [address(size - 1)], "all interfaces"
        )
        clock(host, clocked, stack.programs)
        return [rollback(host, stack, size, scratch / "events") for _ in range(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--sizes",
        default=",".join(map(str, SIZES)),
        help="how many interfaces, of which one changed",
    )
    names = [stack.name for stack in STACKS]
    parser.add_argument("--stack", action="append", choices=names, help="one of them; all without it")
    parser.add_argument("--helper", type=Path, default=PROJECT / "build/networking-config")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    table = Table(
        f"Live interfaces: ms of a rollback, medians of {args.runs}; target: own at most 5 % of the stack's, or 20 ms",
        ("stack", "interfaces", "stack's", "own", "files only", "share", "target"),
    )
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as scratch:
        clocked = compile_c(("cc", "-O2", "-static"), "clocked", Path(scratch))
        for stack in STACKS:
            for size in map(int, args.sizes.split(",") if stack.name in (args.stack or names) else ()):
                samples = measure(
                    stack, size, args.runs, args.helper.resolve(), Path(scratch), clocked
                )
                own, stacks, files = (statistics.median(column) for column in zip(*samples))
                met = own <= max(SHARE * stacks, LEAST_MS)
                table.add(
                    stack.name,
                    size,
                    f"{stacks:.0f}",
                    f"{own:.1f}",
                    f"{files:.1f}",
                    f"{own / stacks:.1%}",
                    "met" if met else "MISSED",
                )
                print(f"{stack.name}, {size}: done", file=sys.stderr, flush=True)
    print(table.render(args.markdown))


if __name__ == "__main__":
    main()
