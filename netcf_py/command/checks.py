# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``netcf try`` may ask before it believes a new configuration.

Every attempt runs in a process of its own that is killed when its time is over,
so that neither a name server nor a command that hangs holds up the deadline.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BadCheck", "Check", "Command", "Gateway", "Outcome", "Ping", "Tcp", "run"]

ATTEMPT = 5.0
PAUSE = 1.0


class BadCheck(ValueError):
    """A check that says nothing which could be checked."""


class Check(Protocol):
    """One question about the new configuration."""

    @property
    def name(self) -> str:
        """What is checked, in a few words."""

    def attempt(self) -> None:
        """Ask once; an `OSError` says why the answer is no."""


@dataclass(frozen=True)
class Outcome:
    """What became of a check."""

    check: str
    passed: bool
    tries: int
    seconds: float
    reason: str
    """Why the last attempt failed; empty if it passed."""


class Gateway:
    """A default gateway answers a ping."""

    name = "gateway"

    def attempt(self) -> None:
        """Ping every default gateway until one answers."""
        gateways = [*_gateways4(), *_gateways6()]
        if not gateways:
            raise OSError("there is no default route through a gateway")
        failures = []
        for gateway in gateways:
            try:
                _ping(gateway, ATTEMPT / len(gateways) * 0.9)
                return
            except OSError as error:
                failures.append(f"{gateway}: {error}")
        raise OSError("; ".join(failures))


class Ping:
    """A host answers a ping."""

    def __init__(self, host: str) -> None:
        if not host or host.split() != [host]:
            raise BadCheck(f"no host: {host!r}")
        self._host = host
        self.name = f"ping {host}"

    def attempt(self) -> None:
        """Ping once."""
        _ping(self._host, ATTEMPT * 0.9)


class Tcp:
    """A port accepts connections."""

    def __init__(self, address: str) -> None:
        host, colon, port = address.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise BadCheck(f"an IPv6 address needs brackets: [{host}]:{port}")
        if not colon or not host or host.split() != [host]:
            raise BadCheck(f"not HOST:PORT: {address!r}")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise BadCheck(f"no port: {port!r}")
        self._address = host, int(port)
        self.name = f"tcp {address}"

    def attempt(self) -> None:
        """Connect once."""
        socket.create_connection(self._address, ATTEMPT * 0.9).close()


class Command:
    """A command succeeds.  It is run without a shell."""

    def __init__(self, text: str) -> None:
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise BadCheck(f"{error}: {text!r}") from error
        if not self._words:
            raise BadCheck("an empty command")
        if shutil.which(self._words[0]) is None:
            raise BadCheck(f"{self._words[0]}: no such command")
        self.name = f"command {text}"

    def attempt(self) -> None:
        """Run it once."""
        ran = subprocess.run(
            self._words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        if ran.returncode:
            said = ran.stdout.decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(said) if line.strip()), "")
            how = f"exit status {ran.returncode}"
            if ran.returncode < 0:
                how = f"killed by signal {-ran.returncode}"
            raise OSError(f"{how}: {last.strip()}" if last else how)


def run(check: Check, end: float) -> Outcome:
    """Try until it passes or, by the monotonic clock, it is `end`; at least once."""
    began = time.monotonic()
    tries = 0
    while True:
        tries += 1
        limit = max(min(ATTEMPT, end - time.monotonic()), PAUSE)
        reason = _apart(check, limit)
        passed = time.monotonic() - began
        if reason is None or time.monotonic() + PAUSE >= end:
            return Outcome(check.name, reason is None, tries, round(passed, 1), reason or "")
        time.sleep(PAUSE)


def _apart(check: Check, limit: float) -> str | None:
    """One attempt in a process of its own: None if it passed, else why not."""
    ours, theirs = os.pipe()
    with _signals_blocked() as before:
        child = os.fork()
        if child == 0:
            _in_child(check, theirs, before)
    try:
        os.close(theirs)
        answer = _read(ours, limit)
    finally:
        os.close(ours)
        # The child made itself a group before it did anything; or it is not that far yet.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        return f"no answer within {limit:.0f} s"
    return None if answer == b"+" else answer[1:].decode("utf-8", "replace") or "failed"


def _in_child(check: Check, answer: int, mask: set[signal.Signals]) -> None:
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            check.attempt()
            said = b"+"
        except OSError as error:
            said = b"-" + str(error.strerror or error).encode("utf-8", "replace")[:400]
        os.write(answer, said)
    finally:
        os._exit(0)


def _read(fd: int, limit: float) -> bytes | None:
    ready, _, _ = select.select([fd], [], [], limit)
    return os.read(fd, 512) if ready else None


@contextlib.contextmanager
def _signals_blocked() -> Iterator[set[signal.Signals]]:
    """Between fork and its use no handler may run: in the child it would act for the parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    mask = {signal.Signals(number) for number in before}
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# --- default gateways, as the kernel lists them ---------------------------------


def _table(name: str) -> list[list[str]]:
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            return [line.split() for line in file]
    except FileNotFoundError:
        return []


def _gateways4() -> list[str]:
    """Gateways of default routes; the table is in the host's byte order."""
    return [
        socket.inet_ntoa(struct.pack("=I", int(row[2], 16)))
        for row in _table("route")[1:]
        if int(row[1], 16) == 0 and int(row[7], 16) == 0 and int(row[2], 16) != 0
    ]


def _gateways6() -> list[str]:
    found = []
    for row in _table("ipv6_route"):
        if int(row[0], 16) == 0 and int(row[1], 16) == 0 and int(row[4], 16) != 0:
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[4]))
            found.append(f"{address}%{row[9]}" if address.startswith("fe80:") else address)
    return found


# --- ping ----------------------------------------------------------------------


def _ping(host: str, limit: float) -> None:
    """Send one echo request and wait for its answer."""
    family, _, _, _, address = socket.getaddrinfo(host, None, 0, socket.SOCK_DGRAM)[0]
    v6 = family == socket.AF_INET6
    number = os.getpid() & 0xFFFF
    payload = os.urandom(16)
    with _icmp(family, v6) as echo:
        echo.settimeout(limit)
        echo.sendto(_request(128 if v6 else 8, number, payload), address)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            echo.settimeout(max(end - time.monotonic(), 0.01))
            try:
                packet = echo.recv(2048)
            except socket.timeout:
                break
            # A raw IPv4 socket also hears what others get, with the header in front.
            if packet.endswith(payload) and (129 if v6 else 0) in (packet[0], packet[-24]):
                return
    raise OSError("no answer to a ping")


def _icmp(family: int, v6: bool) -> socket.socket:
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)


def _request(kind: int, number: int, payload: bytes) -> bytes:
    """An echo request; the kernel itself fills in the checksum of ICMPv6."""
    packet = struct.pack("!BBHHH", kind, 0, 0, number, 1) + payload
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", kind, 0, checksum, number, 1) + payload
