"""A Debian with libvirtd, in namespaces of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.images import find

# Generous: the machine may be busy.
TIMEOUT = 120.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
DROP_IN = "usr/local/lib/systemd/system/libvirtd.service.d/netcf-change.conf"

# libvirt's error codes.
OK, INTERNAL, NO_SUPPORT, INVALID_ARG, DENIED, INVALID = 0, 1, 3, 8, 29, 55


@dataclass(frozen=True)
class Answer:
    """What a call through libvirt-python returned or raised."""

    result: Any
    code: int
    message: str
    kind: str


class Client:
    """A process with libvirt-python, which keeps its connections."""

    def __init__(self, host: Host, *wrapper: str) -> None:
        shutil.copy(Path(__file__).parent / "client.py", host.root / "root/client.py")
        self._process = subprocess.Popen(
            host.command(*wrapper, "python3", "/root/client.py"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, connection: str, name: str, *arguments: object) -> Answer:
        assert self._process.stdin and self._process.stdout
        print(json.dumps([connection, name, arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the client died"
        return Answer(**json.loads(line))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


class Host:
    """A running Debian; `net` is the process whose network it shares, its own by default."""

    def __init__(self, root: Path, net: Host | None = None) -> None:
        self.root = root
        self._libvirtd: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []
        enter = [find("nsenter"), f"--net=/proc/{net.pid}/ns/net"] if net else []
        own = [] if net else ["--net"]
        self._init = subprocess.Popen(
            [
                *enter, find("unshare"), "--mount", "--pid", "--ipc", "--uts", *own, "--fork",
                "--kill-child", f"--mount-proc={root}/proc", find("chroot"), root,
                "sh", "-c", "mount -t sysfs sysfs /sys && ip link set lo up && echo up && exec sleep infinity",
            ],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._init.stdout and self._init.stdout.readline() == b"up\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self.pid = int(children.read_text())

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.kill_libvirtd()
        # Everything in its process namespace goes with it.
        self._init.kill()
        self._init.wait()
        assert self._init.stdout
        self._init.stdout.close()

    def command(self, *words: str, **environment: str) -> list[str]:
        """What runs a command in here."""
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **environment}.items()]
        target = f"--target={self.pid}"
        enter = [find("nsenter"), target, "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd"]
        return [*enter, "env", "-i", *variables, *words]

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that must exit with `status`, or with anything if that is None."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert status in (None, done.returncode), (words, done)
        return done

    def networking_config(self, *words: str, status: int = 0) -> str:
        return self.run("/usr/local/sbin/networking-config", *words, status=status).stdout

    def virsh(self, *words: str, status: int = 0, uri: str = "qemu:///system") -> str:
        """Its output, errors included."""
        done = self.run("virsh", "--quiet", "--connect", uri, *words, status=status)
        return done.stdout + done.stderr

    def client(self) -> Client:
        self._clients.append(Client(self))
        return self._clients[-1]

    def connected(self, uri: str = "qemu:///system") -> Client:
        """A client whose connection "c" is open."""
        client = self.client()
        assert client("c", "open", uri).code == OK
        return client

    def environment_of_drop_in(self) -> dict[str, str]:
        """What systemd would give libvirtd."""
        lines = re.findall(r"^Environment=(\w+)=(\S+)$", (self.root / DROP_IN).read_text(), re.M)
        assert [name for name, _ in lines] == ["LD_PRELOAD"]
        return dict(lines)

    def start_libvirtd(self, *options: str, adapter: bool = True, **environment: str) -> None:
        """Start it as the drop-in says, or as it is without; returns when it answers."""
        if adapter:
            environment = {**self.environment_of_drop_in(), **environment}
        with open(self.root / "root/libvirtd.log", "ab") as log:
            self._libvirtd = subprocess.Popen(
                self.command("libvirtd", *options, **environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + TIMEOUT
        while self.run("virsh", "-c", "qemu:///system", "uri", status=None).returncode:
            assert time.monotonic() < until and self._libvirtd.poll() is None, self.log()
            time.sleep(0.05)

    def kill_libvirtd(self) -> None:
        """As kill -9 does."""
        if self._libvirtd:
            self.run("sh", "-c", "kill -KILL $(cat /run/libvirtd.pid)")
            self._libvirtd.wait(TIMEOUT)
            self._libvirtd = None

    def log(self) -> str:
        return (self.root / "root/libvirtd.log").read_text(errors="replace")

    @property
    def interfaces(self) -> Path:
        return self.root / "etc/network/interfaces"

    @property
    def is_open(self) -> bool:
        return (self.root / "var/lib/netcf/network-snapshot.tar").exists()


@contextmanager
def running(root: Path, net: Host | None = None) -> Iterator[Host]:
    host = Host(root, net)
    try:
        yield host
    finally:
        host.close()
