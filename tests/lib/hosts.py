"""Hosts to lock oneself out of: a Debian in a network namespace, a peer at the other end of its cables."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lib import debian
from lib.images import need

# The way in and out of every host; nothing here should take that long.
PATIENCE = 120.0


class Namespace:
    """A process that keeps namespaces alive, and a way into them."""

    def __init__(self, process: subprocess.Popen[bytes], pid: int, root: Path | None) -> None:
        self.process = process
        self.pid = pid
        self.root = root

    def run(self, *command: str, check: bool = True, timeout: float = PATIENCE) -> str:
        """What a command inside says; it must succeed unless `check` is off."""
        done = self.call(*command, timeout=timeout)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout)
        return done.stdout

    def call(self, *command: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return subprocess.run(
            [*self.entry(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            check=False,
        )

    def entry(self) -> list[str]:
        """The words before a command that bring it inside."""
        where = ["--net"] if self.root is None else ["--net", "--mount", "--pid", "--root", "--wd"]
        return ["nsenter", "-t", str(self.pid), *where, "--"]

    def links(self) -> dict[str, Any]:
        """The links as the kernel has them, by name, each with its addresses."""
        rows = json.loads(self.run("ip", "-json", "address"))
        return {row["ifname"]: row for row in rows}

    def addresses(self, name: str) -> list[str]:
        """The addresses of a link that reach further than it."""
        info = self.links()[name]["addr_info"] if name in self.links() else []
        return [f"{a['local']}/{a['prefixlen']}" for a in info if a.get("scope") == "global"]

    def leased(self, name: str) -> bool:
        """Whether its address is one for a time, as DHCP gives them."""
        rows = self.links()[name]["addr_info"]
        return any(row.get("dynamic") and row["family"] == "inet" for row in rows)

    def default_routes(self) -> list[tuple[str, str]]:
        """Gateway and interface of every default route of IPv4."""
        rows = json.loads(self.run("ip", "-json", "route", "show", "default"))
        return [(row.get("gateway", ""), row["dev"]) for row in rows]


class Host(Namespace):
    """A Debian system whose root is its own, with the helper in /usr/sbin."""

    root: Path
    peer: Namespace  # at the other end of its cables

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file as an editor does: the content anew, the inode kept."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink()

    def start(self) -> None:
        """Start a change."""
        self.run("networking-config", "snapshot_config")

    def rollback(self, *options: str, status: int = 0) -> str:
        """Roll back; what the helper says."""
        done = self.call("networking-config", "rollback_config", *options, timeout=PATIENCE * 2)
        assert done.returncode == status, done.stdout
        return done.stdout

    def rollback_waiting_for(self, missing: str, is_back: Callable[[], bool], limit: int = 6) -> None:
        """Roll back, where one interface can't come back: all else is there while the rollback still waits for it."""
        argv = [*self.entry(), "networking-config", "rollback_config", "--limit", str(limit)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            wait_for(lambda: is_back() or process.poll() is not None, "the others")
            assert process.poll() is None, process.communicate()[0]
            said = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 1, said
        assert f"{missing} (an address from DHCP)" in said, said
        assert is_back()

    def wait_for_guard(self, is_back: Callable[[], bool]) -> None:
        """Let the deadline of the open change pass: the guard alone brings everything back."""
        self.run("networking-config", "extend", "1")
        wait_for(lambda: self.call("networking-config", "status", "--open").returncode == 3, "the guard")
        wait_for(is_back, "what was there at the start and nothing else")
        assert "not these interfaces" not in self.run("networking-config", "status")




    def rollback_killed_after_files(self, directory: str) -> None:
        """Roll back; the helper is killed when the files in `directory` are in place, before anything else."""
        need("strace")
        inject = ["-P", f"{self.root}{directory}", "-e", "inject=fsync:signal=KILL"]
        entry = [word for word in self.entry() if word != "--pid"]  # or it would be a child of nsenter
        done = subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", *inject, *entry, "networking-config", "rollback_config"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.05)


def _child(pid: int) -> int | None:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(text[0]) if text else None


@contextmanager
def _namespace(argv: Sequence[str], root: Path | None) -> Iterator[Namespace]:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or _child(process.pid) is not None, "a child")
        child = _child(process.pid)
        assert child is not None
        yield Namespace(process, child, root)
    finally:
        process.kill()
        process.wait()


@contextmanager
def peer() -> Iterator[Namespace]:
    """A network namespace for the other ends of the cables."""
    need("unshare", "nsenter", "ip")
    argv = ["unshare", "--net", "--fork", "--kill-child", "sleep", "infinity"]
    with _namespace(argv, None) as it:
        wait_for(
            lambda: os.readlink(f"/proc/{it.pid}/ns/net") != os.readlink("/proc/self/ns/net"),
            "a namespace",
        )
        it.run("ip", "link", "set", "lo", "up")
        yield it


# Mounts of its own, then its own root, then nothing: the test goes in and out.
CHROOT = """
set -e
mount --make-rprivate /
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
mount -t tmpfs -o mode=755 tmpfs "$0/run"
mkdir "$0/run/network" "$0/run/lock"
touch "$0/run/.ready"
exec chroot "$0" sleep infinity
"""


@contextmanager
def chroot(system: Path, where: Path, helper: Path) -> Iterator[Host]:
    """A host without an init: for stacks that need none."""
    need("unshare", "nsenter", "ip")
    with debian.copy(system, where) as root:
        shutil.copy(helper, root / "usr/sbin/networking-config")
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        with _namespace([*argv, "sh", "-c", CHROOT, str(root)], root) as it:
            host = Host(it.process, it.pid, root)
            wait_for(
                lambda: os.path.exists(f"/proc/{it.pid}/root/run/.ready")
                and os.readlink(f"/proc/{it.pid}/root") == str(root),
                "a root of its own",
            )
            host.run("ip", "link", "set", "lo", "up")
            yield host


def cable(host: Namespace, other: Namespace, name: str, address: str | None = None) -> None:
    """A cable from `name` in the host to a link of the same name at the peer, which is up."""
    subprocess.run(
        [*("nsenter", "-t", str(other.pid), "--net", "ip", "link", "add", name, "type", "veth"),
         *("peer", "name", name, "netns", str(host.pid))],
        check=True,
    )  # fmt: skip
    other.run("ip", "link", "set", name, "up")
    if address:
        other.run("ip", "address", "add", address, "dev", name)


@contextmanager
def answering(host: Host, target: str) -> Iterator[None]:
    """Every ping to `target`, ten a second, is answered while the block runs."""
    host.run("ping", "-c1", "-w10", target)
    argv = [*host.entry(), "ping", "-n", "-i", "0.1", "-W", "5", target]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield
        time.sleep(0.3)  # so that some are sent after the last change
    finally:
        inside = _child(process.pid)  # nsenter passes no signal on
        if inside:
            os.kill(inside, signal.SIGINT)
        try:
            said = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    assert " 0% packet loss" in said, said


def everything(stack: ExitStack, system: Path, where: Path, helper: Path) -> tuple[Host, Namespace]:
    """A chroot host and its peer."""
    host, other = stack.enter_context(chroot(system, where, helper)), stack.enter_context(peer())
    host.peer = other
    return host, other


@contextmanager
def dhcp_server(other: Namespace, link: str, address: str, where: Path, router: bool = False) -> Iterator[None]:
    """A real DHCP server at the peer that has one address to give, while the block runs; it may be the router, too."""
    need("dnsmasq")
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
    argv += [f"--interface={link}", "--bind-interfaces", f"--dhcp-range={address},{address},120", "--dhcp-authoritative", "--no-ping"]
    argv += [] if router else ["--dhcp-option=3"]
    argv += [f"--dhcp-leasefile={where}/leases", f"--pid-file={where}/dnsmasq.pid"]
    process = subprocess.Popen([*other.entry(), *argv], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Booted(Host):
    """A Debian host with its own init, systemd, in a container; its hardware is a network namespace.

    What comes in by `run` belongs to no login session; a login is what ssh makes.
    """

    def __init__(self, root: Path, hardware: Namespace, log: Path) -> None:
        self.root = root
        self.hardware = hardware
        self.log = log
        self._cgroup = _cgroups() / f"netcf-test-{os.getpid()}-{hardware.pid}"

    def boot(self) -> None:
        """Power on, and wait until all units have started."""
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self._cgroup.mkdir()
        argv = ["systemd-nspawn", "--quiet", "--boot", "--keep-unit", "--register=no",
                "--link-journal=no", "--console=pipe", "--capability=all", f"--directory={self.root}",
                f"--network-namespace-path=/proc/{self.hardware.pid}/ns/net"]  # fmt: skip
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self._cgroup, *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        wait_for(self._has_booted, "systemd")

    def _has_booted(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        child = _child(self.process.pid)
        if child is None or Path(f"/proc/{child}/comm").read_text() != "systemd\n":
            return False
        self.pid = child
        return self.call("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def cut(self) -> None:
        """Cut the power: nothing of what runs gets a chance to do anything."""
        self.process.kill()
        self.process.wait()
        (self._cgroup / "cgroup.kill").write_text("1")
        wait_for(lambda: not (self._cgroup / "cgroup.procs").read_text(), "every process to end")
        # Where both hierarchies are mounted, nspawn has made a group of the same name in the other.
        for group in (self._cgroup, Path("/sys/fs/cgroup/systemd") / self._cgroup.name):
            wait_for(lambda group=group: _removed(group), "the kernel to forget its groups")  # type: ignore[misc]

    def processes(self) -> dict[int, tuple[str, str]]:
        """All that runs on the host, by its number here: its control group, and its words."""
        found = {}
        # Groups and processes come and go meanwhile; os.walk() passes over what is gone.
        for group, _, _ in os.walk(self._cgroup):
            with suppress(OSError):
                for pid in Path(group, "cgroup.procs").read_text().split():
                    with suppress(FileNotFoundError, ProcessLookupError):
                        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                        found[int(pid)] = (os.path.relpath(group, self._cgroup), words)
        return found

    def entry(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "--all", "--root", "--wd", "--"]


def _cgroups() -> Path:
    """Where the unified hierarchy is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2":
            return Path(where)
    pytest.skip("no cgroup v2 is mounted")


def _removed(group: Path) -> bool:
    try:
        for directory in [] if not group.exists() else [*sorted(group.rglob("*/"), reverse=True), group]:
            directory.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@contextmanager
def booted(system: Path, where: Path, prepare: Callable[[Path], None]) -> Iterator[Booted]:
    """A host that can be booted, the power cut, and booted again; it is off at first."""
    need("systemd-nspawn", "unshare", "nsenter", "ip")
    with debian.copy(system, where) as root, peer() as hardware:
        prepare(root)
        host = Booted(root, hardware, where / "console.log")
        try:
            yield host
        finally:
            if hasattr(host, "process"):
                host.cut()
