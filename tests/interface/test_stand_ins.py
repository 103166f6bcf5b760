"""Stacks whose tools fail, are missing, or do nothing: what a rollback does then, and what it says.

The kernel's interfaces are real; in the place of the stacks' programs are stand-ins,
which note that they were called and do what a test says.  Calls are those of the core
itself, in a process on the host, so that memory, the kernel and files can fail, too.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lib import debian, faults, forks, hosts, ncf, seam
from lib.build import Products
from lib.hosts import Host
from lib.interfaces import ADDED, BY_HAND, CHANGED, REMOVED, WITH_OTHERS
from lib.ncf import Core, Ncf, NcfError

pytestmark = [pytest.mark.root, pytest.mark.slow]

SYSTEM = ("systemd-sysv", "systemd", "dbus", "iproute2", "iputils-ping")
STAND_IN = """#!/bin/sh
# Stands in for a stack's program: notes the call, then does what the test says.
name=${0##*/}
echo "$name $*" >>/calls
[ ! -f "/does/$name" ] || . "/does/$name"
"""
PROGRAMS = "/usr/sbin/ifup /usr/sbin/ifdown /usr/sbin/ifquery /usr/sbin/ifreload /usr/sbin/netplan /usr/sbin/nmcli /usr/sbin/udevadm"
RENDERERS = "/bin/networkctl /bin/systemctl /usr/bin/networkctl /usr/bin/systemctl /usr/sbin/networkctl /usr/sbin/systemctl"
IN_MEMORY = "/var/lib/netcf /etc/network /etc/systemd/network"  # what is synced
FAST = f"for d in {IN_MEMORY}; do mkdir -p $d; mount -t tmpfs -o mode=755 none $d; done; rm -f {RENDERERS}"
FRESH = f"""
for link in $(ls /sys/class/net); do [ $link = lo ] || [ ! -e /sys/class/net/$link ] || ip link delete $link; done
for d in {IN_MEMORY}; do rm -rf $d/* $d/.[!.]*; done
rm -rf /does {PROGRAMS} {RENDERERS} /etc/netplan /etc/sysconfig /etc/NetworkManager /etc/netcf
rm -rf /run/systemd /run/udev /run/NetworkManager /etc/dbus-1/system.d/nm-ifcfg-rh.conf /usr/share/dbus-1/system.d/nm-ifcfg-rh.conf
"""
IFUPDOWN = ("ifup", "ifdown", "ifquery")
INTERFACES = "/etc/network/interfaces"
NETWORK = "/etc/systemd/network"
STATE = "/var/lib/netcf"
SCRIPTS = "/etc/sysconfig/network-scripts"
PROFILES = "/etc/NetworkManager/system-connections"
PROFILE = "[connection]\nuuid={uuid}\ntype=ethernet\ninterface-name={name}\n{more}"
ROLLBACK_ALL = 0x2


@dataclass
class Outcome:
    """What came of a rollback."""

    error: str  # its details, "" if it succeeded
    code: int
    notice: str
    commands: str  # what commands said that failed
    interfaces: dict[str, tuple[int, str]]  # the change, and what is lacking
    calls: list[str] = field(default_factory=list)


def real(_call: str, _sent: bytes) -> None:
    """The kernel as it is."""


class Stage:
    """A host with stand-ins for its stacks."""

    def __init__(self, host: Host, core: Core) -> None:
        self.host, self.core, self.run = host, core, host.run
        self.write("/calls", "")

    def path(self, path: str) -> Path:
        """A file as the host sees it."""
        return Path(f"/proc/{self.host.pid}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def install(self, *programs: str) -> None:
        for name in programs:
            self.write(f"/usr/sbin/{name}", STAND_IN, 0o755)

    def does(self, program: str, commands: str) -> None:
        """What a stand-in does, in words of the shell."""
        self.write(f"/does/{program}", commands)

    def networkd(self) -> None:
        self.install("networkctl", "systemctl")
        self.write("/run/systemd/netif/state", "")

    def networkmanager(self, **active: str) -> None:
        """It runs, and has these profiles active on links."""
        self.install("nmcli")
        self.write("/run/NetworkManager/devices/x", "")
        for name, uuid in active.items():
            index = self.host.links()[name]["ifindex"]
            self.write(f"/run/NetworkManager/devices/{index}", f"[device]\nconnection-uuid={uuid}\n")

    def pair(self, *names: str) -> None:
        """Links that are up, two by two."""
        pairs = zip(names[::2], names[1::2])
        lines = [f"link add {a} up type veth peer name {b}\nlink set {b} up\n" for a, b in pairs]
        self.write("/batch", "".join(lines))
        self.run("ip", "-batch", "/batch")

    def inside(self, function: Callable[[], Any]) -> Any:
        """Call a function in a process on the host."""
        libc = ctypes.CDLL(None, use_errno=True)
        opened = [os.open(f"/proc/{self.host.pid}/{name}", os.O_RDONLY) for name in ("ns/net", "ns/pid", "ns/mnt", "root")]

        def there() -> Any:
            for fd in opened[:3]:
                assert libc.setns(fd, 0) == 0, os.strerror(ctypes.get_errno())
            os.fchdir(opened[3])
            os.chroot(".")
            return forks.run(function).value  # the namespace of processes is for children

        try:
            return forks.run(there).value
        finally:
            for fd in opened:
                os.close(fd)

    def start(self, flags: int = 0, *announced: str, kernel: faults.Answer = real) -> None:
        """Start a change; forget the calls before it."""

        def act() -> None:
            with self.core.open("/") as it, faults.kernel(self.core, kernel):
                it.start(flags)
                for path in announced:
                    it.announce(path)

        self.inside(act)
        self.write("/calls", "")

    def rollback(self, flags: int = 0, limit: int = 5, kernel: faults.Answer = real, files: seam.Act | None = None) -> Outcome:
        """Roll back, with a kernel that answers so and calls on files that fail so."""

        def act() -> Outcome:
            with self.core.open("/") as it:
                it.set_options(total_limit=limit)
                faulty = ExitStack()
                faulty.enter_context(faults.kernel(self.core, kernel))
                faulty.enter_context(seam.watching(self.core, files))
                return outcome(it, flags, faulty)

        found: Outcome = self.inside(act)
        log = self.path("/calls")
        found.calls = log.read_text().splitlines()
        log.write_text("")
        return found


def outcome(it: Ncf, flags: int, faulty: AbstractContextManager[object]) -> Outcome:
    """Roll back, in a context."""
    code, details = 0, ""
    try:
        with faulty:
            it.rollback(flags)
    except NcfError as error:
        code, details = error.code, error.details
    result = it.result()
    rows = {row.name.decode(): (row.change, row.lacks.decode()) for row in it.interfaces()}
    return Outcome(details, code, result.notice.decode(), result.commands.decode(), rows)


@contextmanager
def without_stacks(products: Products, place: Path) -> Iterator[Host]:
    """A host without a stack, whose disk is memory."""
    with hosts.chroot(debian.system(*SYSTEM), place, products.helper) as host:
        host.run("sh", "-c", FAST)
        yield host


@pytest.fixture(scope="module")
def host(products: Products, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One for all tests."""
    with without_stacks(products, tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def stage(host: Host, core: Core) -> Stage:
    """As if nobody had been here."""
    host.run("sh", "-c", FRESH)
    return Stage(host, core)


class Refusing:
    """A kernel that refuses one kind of call from the `first` on: of sendto() one type of message."""

    def __init__(self, call: str, first: int = 1, message: int = 0) -> None:
        self.call, self.first, self.message, self.count = call, first, message, 0

    def __call__(self, call: str, sent: bytes) -> int | None:
        if call != self.call or (self.message and struct.unpack_from("=H", sent, 4)[0] != self.message):
            return None
        self.count += 1
        return errno.EIO if self.count >= self.first else None


# ---- what is found out ----


def test_nothing_recorded(stage: Stage) -> None:
    """A kernel that did not say what was up: what changed comes up all the same, 16 at once."""
    stage.install(*IFUPDOWN)
    names = [f"e{n}" for n in range(20)]
    stage.write(INTERFACES, "".join(f"iface {name} inet manual\n" for name in names))
    stage.start(kernel=Refusing("sendto"))
    stage.write(INTERFACES, "# none\n")
    found = stage.rollback(limit=60)  # twenty programs on a busy machine
    assert found.error == "" and sorted(found.calls) == sorted(f"ifup --force {name}" for name in names)
    assert found.interfaces == dict.fromkeys(names, (REMOVED, ""))


@pytest.mark.parametrize("call", ["socket", "sendto", "recv"])
def test_a_kernel_that_does_not_say_what_is_there(stage: Stage, call: str) -> None:
    """Files only, and said."""
    stage.install(*IFUPDOWN)
    stage.start()
    stage.write(INTERFACES, "iface lo inet loopback\n")
    found = stage.rollback(kernel=Refusing(call))
    assert (found.error, found.calls, found.interfaces) == ("", [], {})
    assert found.notice.startswith("files only, no interface was touched: ")
    assert not stage.path(INTERFACES).exists()


def test_a_kernel_that_says_no_more(stage: Stage) -> None:
    """After the commands nobody knows what is back: that is no success, and no interface is named."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.write(INTERFACES, "iface eth0 inet manual\n")
    stage.start()
    stage.write(INTERFACES, "iface eth0 inet manual\n up x\n")
    found = stage.rollback(limit=1, kernel=Refusing("sendto", 4))
    assert found.code == ncf.EEXEC and "the kernel does not say which" in found.error
    assert found.interfaces == {"eth0": (CHANGED, "")}
    assert found.calls == ["ifdown --force eth0", "ifup --force eth0"]


def test_only_the_first_mebibyte_of_a_file_is_read(stage: Stage) -> None:
    """Of a file of another size no more is asked than of one that fits, at the start and now."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    text = "iface eth0 inet manual\n" + "#" * 1024 * 1024 + "\niface eth1 inet manual\n"
    stage.write(INTERFACES, text)
    stage.start()
    stage.write(INTERFACES, text.replace("eth0 inet", "eth0 inet6").replace("eth1 inet", "eth1 inet6"))
    found = stage.rollback()
    assert found.error == "" and found.interfaces == {"eth0": (CHANGED, "")}


@pytest.mark.parametrize("call", ["openat", "read"])
def test_a_file_that_can_not_be_read_says_nothing(stage: Stage, call: str) -> None:
    """Its interfaces count as changed, and are brought back."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.write(INTERFACES, "source interfaces.d/*\n")
    stage.write(f"{INTERFACES}.d/a", "iface eth0 inet manual\n")
    stage.start()

    def unreadable(event: seam.Event, _: int) -> int:
        name = event.name.rsplit(b"/", 1)[-1]
        return errno.EIO if event.call == call and name == b"a" else 0

    found = stage.rollback(files=unreadable)
    assert found.interfaces == {"eth0": (REMOVED, "")}
    assert found.calls == ["ifdown --force eth0", "ifup --force eth0"]


def test_a_change_that_saves_on_first_write(stage: Stage) -> None:
    """What was announced is as it was saved, all the rest as it is now: only the former comes back."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.write(INTERFACES, "source interfaces.d/*\n")
    for name in ("eth0", "eth1"):
        stage.write(f"{INTERFACES}.d/{name}", f"iface {name} inet manual\n")
    stage.start(ncf.START_ON_WRITE, f"{INTERFACES}.d/eth0"[1:])
    for name in ("eth0", "eth1"):
        stage.write(f"{INTERFACES}.d/{name}", f"iface {name} inet manual\n up x\n")
    found = stage.rollback()
    assert found.error == "" and found.interfaces == {"eth0": (CHANGED, "")}
    assert found.calls == ["ifdown --force eth0", "ifup --force eth0"]


def test_a_scope_that_can_not_be_read(stage: Stage) -> None:
    """Of a change that saves on first write: files only, and said."""
    stage.install(*IFUPDOWN)
    stage.write(INTERFACES, "iface lo inet loopback\n")
    stage.write("/etc/netcf/scope.d/a.conf", "etc/hosts\n")
    stage.start(ncf.START_ON_WRITE, INTERFACES[1:])
    stage.write(INTERFACES, "# none\n")
    found = stage.rollback(files=lambda event, _: errno.EIO if event.name.endswith(b"scope.d") else 0)
    assert (found.error, found.calls) == ("", [])
    assert "no interface was touched" in found.notice and "scope.d" in found.notice


# ---- commands ----


def test_a_command_that_is_not_installed(stage: Stage) -> None:
    """ifreload without ifup: said, with what was to be done; a link that nobody configures is nobody's."""
    stage.install("ifreload")
    stage.pair("eth0", "eth1")
    stage.write(INTERFACES, "iface eth0 inet manual\n")
    stage.start()
    stage.run("ip", "link", "set", "eth0", "down")
    stage.run("ip", "link", "delete", "eth1")
    found = stage.rollback(limit=1)
    assert found.commands == "ifup eth0: not started: No such file or directory"
    assert found.interfaces == {"eth0": (BY_HAND, "is not there")}
    assert found.calls == ["ifreload -a"]


def test_a_link_that_no_file_is_about(stage: Stage) -> None:
    """It may be gone or down: nothing is done, and nothing is said."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.start()
    stage.run("ip", "link", "set", "eth0", "down")
    found = stage.rollback()
    assert (found.error, found.calls, found.interfaces) == ("", [], {})


def test_the_time_for_all_commands_is_over(stage: Stage) -> None:
    """One is killed at the limit, those after it are not started, and each is named."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1", "eth2", "eth3")
    stanza = "iface {} inet manual\n requires eth0\n"
    stage.write(INTERFACES, "iface eth0 inet manual\n" + stanza.format("eth2"))
    stage.start()
    stage.write(INTERFACES, "iface eth0 inet manual\n up x\n" + stanza.format("eth2"))
    stage.does("ifdown", "sleep 30")
    found = stage.rollback(limit=1)
    assert found.commands.splitlines() == [
        "ifdown eth2: no end after 1 s, killed",
        *(f"{words}: not started: Timer expired" for words in ("ifdown eth0", "ifdown eth2", "ifdown eth0", "ifup eth0", "ifup eth2")),
    ]


def test_many_that_are_not_back(stage: Stage) -> None:
    """All are in the list; the line that names them ends where the line ends."""
    stage.install(*IFUPDOWN)
    names = [f"interface-{n:03}" for n in range(60)]
    stage.pair(*names)
    stage.write(INTERFACES, "".join(f"iface {name} inet manual\n" for name in names))
    stage.start()
    stage.write("/batch", "".join(f"link delete {name}\n" for name in names[::2]))
    stage.run("ip", "-batch", "/batch")
    found = stage.rollback(limit=1)
    assert {name: lacks for name, (_, lacks) in found.interfaces.items()} == dict.fromkeys(names, "is not there")
    assert "interface-000 (is not there), interface-001 (is not there), " in found.error
    assert 900 < len(found.error) < 1200


# ---- ifupdown ----


def test_an_address_that_ifdown_leaves(stage: Stage) -> None:
    """What a tool leaves on an interface goes: of both families, with the route; it may not come up."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "set", "eth0", "down")
    stage.write(INTERFACES, "iface eth0 inet manual\n")
    stage.start()
    stage.write(INTERFACES, "iface eth0 inet static\n address 192.0.2.2/24\n")
    stage.run("ip", "link", "set", "eth0", "up")
    for address in ("192.0.2.2/24", "2001:db8::2/64"):
        stage.run("ip", "address", "add", address, "dev", "eth0", "nodad")
    stage.run("ip", "route", "add", "default", "via", "192.0.2.1")
    found = stage.rollback()
    assert found.error == "" and found.interfaces == {"eth0": (CHANGED, "")}
    assert stage.host.addresses("eth0") == [] and stage.host.default_routes() == []
    assert found.calls == ["ifdown --force eth0"]


def test_a_device_that_can_not_be_deleted(stage: Stage) -> None:
    """A bridge that was not there at the start and stays: said, by its name."""
    stage.install(*IFUPDOWN)
    stage.write(INTERFACES, "iface lo inet loopback\n")
    stage.start()
    stage.write(INTERFACES, "iface lo inet loopback\niface br0 inet manual\n bridge_ports none\n")
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    found = stage.rollback(limit=1, kernel=Refusing("sendto", message=17))
    assert "br0 (was not there and can't be deleted)" in found.error
    assert found.interfaces == {"br0": (ADDED, "was not there and can't be deleted")}
    stage.start()
    stage.write(INTERFACES, "iface lo inet loopback\niface br0 inet manual\n bridge_ports none\n")
    assert stage.rollback().interfaces == {"br0": (ADDED, "")} and "br0" in stage.host.links()


def test_a_device_that_was_there_before_its_file(stage: Stage) -> None:
    """It is not the configuration's, and stays; where nothing was recorded none is deleted for sure."""
    stage.install(*IFUPDOWN)
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    stage.start(kernel=Refusing("sendto"))
    stage.write(INTERFACES, "iface br0 inet manual\n bridge_ports none\n")
    assert stage.rollback().error == ""


# ---- systemd-networkd ----

BRIDGE = {"br0.netdev": "[NetDev]\nName=br0\nKind=bridge\n", "br0.network": "[Match]\nName=br0\n"}


def bridge_was_up(stage: Stage) -> None:
    stage.networkd()
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    stage.run("ip", "link", "set", "br0", "up")
    stage.run("ip", "link", "set", "eth0", "master", "br0")
    for name, text in {**BRIDGE, "e.network": "[Match]\nName=eth0\n[Network]\nBridge=br0\n"}.items():
        stage.write(f"{NETWORK}/{name}", text)
    stage.start()
    stage.run("ip", "link", "delete", "br0")


MTU = "iface eth0 inet manual\n"


def mtu(stage: Stage, name: str) -> int:
    return int(stage.host.links()[name]["mtu"])


def test_an_mtu_that_only_the_edit_set(stage: Stage) -> None:
    """It is set; of a link that stands on another, after that one's."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "add", "above", "link", "eth0", "up", "mtu", "1450", "type", "macvlan")
    stage.write(INTERFACES, MTU + "iface above inet manual\n")
    stage.start()
    stage.write(INTERFACES, MTU + " mtu 1300\niface above inet manual\n")
    for name in ("eth0", "eth1"):
        stage.run("ip", "link", "set", name, "mtu", "1300")
    assert [mtu(stage, name) for name in ("eth0", "above", "eth1")] == [1300, 1300, 1300]
    found = stage.rollback()
    assert found.error == "" and found.calls == ["ifdown --force eth0", "ifup --force eth0"]
    assert found.interfaces == {"eth0": (CHANGED, ""), "above": (BY_HAND, "")}
    assert [mtu(stage, name) for name in ("eth0", "above", "eth1")] == [1500, 1450, 1300]


def test_an_mtu_set_by_hand(stage: Stage) -> None:
    """Put back without taking anything down; what the kernel refuses is said."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1", "eth2", "eth3")
    stage.run("ip", "link", "set", "eth2", "down")
    stage.write(INTERFACES, MTU + "iface eth2 inet manual\n")
    for refuses, code, lacks, left in ((0, 0, "", 1500), (1, ncf.EEXEC, "MTU 1500", 1300)):
        stage.start()
        for name in ("eth0", "eth2"):
            stage.run("ip", "link", "set", name, "mtu", "1300")
        found = stage.rollback(limit=1, kernel=Refusing("sendto", message=16) if refuses else real)
        assert (found.code, found.calls, found.interfaces) == (code, [], {"eth0": (BY_HAND, lacks)})
        assert (mtu(stage, "eth0"), mtu(stage, "eth2")) == (left, 1300)


@pytest.mark.parametrize("runs", [True, False])
def test_devices_of_link_files_are_shown_to_udev(stage: Stage, runs: bool) -> None:
    """What went by a file that comes back or goes, as udev knows and as the file says; no other."""
    stage.install("udevadm")
    if runs:
        stage.write("/run/udev/control", "")
    one, two, three, same = (f"{NETWORK}/{name}.link" for name in ("10-one", "20-two", "30-three", "40-same"))
    link = "[Match]\n{}\n[Link]\nMTUBytes=1400\n"
    stage.write(one, link.format("OriginalName=eth0 en*"))
    stage.write(two, link.format("MACAddress=02-AB-00-00-00-01 02ab.0000.0003\nPermanentMACAddress=02:AB:00:00:00:02"))
    stage.write(same, link.format("OriginalName=eth2"))
    stage.start()
    stage.write(one, link.format("OriginalName=eth1"))
    stage.path(two).unlink()
    stage.write(f"{three}.d/x.conf", link.format("Driver=veth"))
    stage.write(same, "# no difference\n" + link.format("OriginalName=eth2"))
    found = stage.rollback()
    trigger = "udevadm trigger --action=add --subsystem-match=net"
    assert found.error == found.notice == ""
    assert found.calls == [
        "udevadm control --reload",
        f"{trigger} --property-match=ID_NET_LINK_FILE=*/10-one.link",
        f"{trigger} --sysname-match=eth0",
        f"{trigger} --sysname-match=en*",
        f"{trigger} --property-match=ID_NET_LINK_FILE=*/20-two.link",
        *(f"{trigger} --attr-match=address=02:ab:00:00:00:0{n}" for n in (1, 3, 2)),
        f"{trigger} --property-match=ID_NET_LINK_FILE=*/30-three.link",
        "udevadm settle",
    ] * runs
    expected = {"10-one.link": (CHANGED, ""), "20-two.link": (REMOVED, ""), "30-three.link": (ADDED, "")}
    assert found.interfaces == (expected if runs else {})


@pytest.mark.parametrize("made_by", ["reload", "reload, asked again", "try-restart"])
def test_a_device_that_networkd_makes_late(stage: Stage, made_by: str) -> None:
    """It is asked twice, then started anew; the port whose file did not change is put back."""
    bridge_was_up(stage)
    stage.write(f"{NETWORK}/br0.netdev", BRIDGE["br0.netdev"] + "[Bridge]\nSTP=yes\n")
    make = "ip link add br0 type bridge; ip link set br0 up; "
    when = {"reload": "[ $1 != reload ] ||", "reload, asked again": "[ $1 != reload ] || [ ! -e /does/asked ] ||"}.get(made_by, "false &&")
    stage.does("networkctl", f"{when} {{ {make} }}; touch /does/asked")
    stage.does("systemctl", make)
    found = stage.rollback(limit=2)
    calls = ["networkctl reload"] * (1 if made_by == "reload" else 2)
    assert found.calls[: len(calls)] == calls
    assert ("systemctl try-restart systemd-networkd.service" in found.calls) == (made_by == "try-restart")
    assert found.interfaces["br0"] == (CHANGED, "")
    assert (stage.host.links()["eth0"].get("master") == "br0") == made_by.startswith("reload")


@pytest.mark.parametrize("stack", ["ifupdown", "networkd"])
def test_a_device_whose_addresses_changed(stage: Stage, stack: str) -> None:
    """Nothing of the device itself did, or the stack changes it in place: it is not made anew."""
    if stack == "ifupdown":
        stage.install(*IFUPDOWN)
    else:
        stage.networkd()
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    before = stage.host.links()["br0"]["ifindex"]
    for more in ("", "# more\n", " up x\n"):
        stage.write(INTERFACES, "iface br0 inet manual\n bridge_ports none\n" + more)
        for name, text in BRIDGE.items():
            stage.write(f"{NETWORK}/{name}", text + ("[Network]\nDHCP=yes\n" if "x" in more and name == "br0.network" else ""))
        if not more:
            stage.start()
    assert stage.rollback().interfaces == {"br0": (CHANGED, "")}
    assert stage.host.links()["br0"]["ifindex"] == before


def test_a_pattern_whose_file_changed(stage: Stage) -> None:
    """What is as networkd was told anew is not told again; what a hand did elsewhere is."""
    stage.networkd()
    stage.pair("eth0", "eth1", "p0", "p1")
    stage.write(f"{NETWORK}/e.network", "[Match]\nName=eth*\n")
    stage.write(f"{NETWORK}/p.network", "[Match]\nName=p0\n")
    for name in ("eth0", "p0"):
        stage.run("ip", "address", "add", "192.0.2.2/24", "dev", name)
    stage.start()
    stage.write(f"{NETWORK}/e.network", "[Match]\nName=eth*\n[Network]\nDHCP=yes\n")
    for name in ("eth0", "p0"):
        stage.run("ip", "address", "flush", "dev", name)
    stage.does("networkctl", '[ $1 != reload ] || ip address add 192.0.2.2/24 dev eth0; [ "$2" != p0 ] || ip address add 192.0.2.2/24 dev p0')
    found = stage.rollback()
    assert (found.error, found.commands) == ("", "")
    assert found.calls == ["networkctl reload", "networkctl reconfigure p0"]


@pytest.mark.parametrize(
    ("follows", "state"),
    [("networkd", "failed"), ("netplan", "failed"), ("networkd", "configured"), ("networkd", "configuring")],
)
def test_a_link_that_networkd_leaves_alone(stage: Stage, follows: str, state: str) -> None:
    """It is told once more; a link that it has only begun with, and one that lacks nothing, are not."""
    stage.pair("eth0", "eth1", "eth2", "eth3", "eth4", "eth5")
    stage.networkd()
    names = ["eth0", "eth2", "eth4"]
    for name, its_state in zip(names, [state, "pending" if state == "configuring" else "configuring", state]):
        stage.run("ip", "address", "add", "192.0.2.2/24", "dev", name)
        index = stage.host.links()[name]["ifindex"]
        stage.write(f"/run/systemd/netif/links/{index}", f"# private\nADMIN_STATE={its_state}\nOPER_STATE=routable\n")
        stage.write(f"{NETWORK}/{name}.network", f"[Match]\nName={name}\n")
    if follows == "netplan":
        netplan(stage)
        for name in names:
            stage.path(f"{NETWORK}/{name}.network").unlink()
        stage.write("/etc/netplan/a.yaml", YAML + "    eth2: {}\n    eth4: {}\n")
    stage.start()
    for name in names[:2]:
        stage.run("ip", "address", "flush", "dev", name)
    back = "ip address add 192.0.2.2/24 dev eth0; ip address add 192.0.2.2/24 dev eth2"
    stage.does("networkctl", f'[ "$*" != "reconfigure eth0" ] || [ $(grep -c "$*" /calls) != 2 ] || {{ {back}; }}')
    found = stage.rollback()
    ordered = [f"networkctl reconfigure {name}" for name in names]
    assert (found.error, found.commands) == ("", "") and "eth4" not in found.interfaces
    assert [found.calls.count(order) for order in ordered] == [2, 1, 0]


def test_a_link_that_was_down_stays_so(stage: Stage) -> None:
    """Whatever changed of its file, and though networkd is asked to bring all of them up anew."""
    stage.networkd()
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "set", "eth0", "down")
    stage.write(f"{NETWORK}/e.network", "[Match]\nName=eth0\n")
    stage.start()
    stage.write(f"{NETWORK}/e.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    assert stage.rollback(ROLLBACK_ALL).calls == ["networkctl reload"]


# ---- NetworkManager ----


def profile(name: str, uuid: str, more: str = "") -> str:
    return PROFILE.format(name=name, uuid=uuid, more=more)


def test_profiles_of_a_change_that_recorded_none(stage: Stage) -> None:
    """Nobody knows which were active: those whose link was up come up."""
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "set", "eth1", "down")
    for name in ("eth0", "eth1"):
        stage.write(f"{PROFILES}/{name}", profile(name, f"u-{name}"), 0o600)
    stage.start()
    stage.networkmanager()
    for name in ("eth0", "eth1"):
        stage.write(f"{PROFILES}/{name}", profile(name, f"u-{name}", "[ipv4]\nmethod=auto\n"), 0o600)
    found = stage.rollback()
    assert found.error == "" and found.calls == [
        *("nmcli -t general", "nmcli connection reload", "nmcli networking on", "nmcli connection up uuid u-eth0")
    ]


@pytest.mark.parametrize(("more", "word"), [("", "up"), ("autoconnect=false\n", "down")])
def test_a_profile_that_is_active_only_now(stage: Stage, more: str, word: str) -> None:
    """It goes on with the file of the start where it would have begun by itself; else it goes down."""
    stage.pair("eth0", "eth1")
    stage.networkmanager(eth1="u-other")
    stage.write(f"{PROFILES}/eth0", profile("eth0", "u-eth0", more), 0o600)
    stage.start()
    stage.write(f"{PROFILES}/eth0", profile("eth0", "u-eth0", more + "[ipv4]\nmethod=auto\n"), 0o600)
    stage.networkmanager(eth0="u-eth0")
    assert f"nmcli connection {word} uuid u-eth0" in stage.rollback().calls


def test_a_state_file_of_no_use(stage: Stage) -> None:
    """One that is empty, not there, or a directory records nothing; the change starts all the same."""
    stage.pair("eth0", "eth1")
    stage.networkmanager(eth0="../x")
    stage.write(f"/run/NetworkManager/devices/{stage.host.links()['eth1']['ifindex']}/x", "")
    stage.start()
    [manifest] = stage.run("sh", "-c", "tar xOf /var/lib/netcf/network-snapshot.tar --wildcards '*manifest*' | grep -c profile: || true").splitlines()
    assert manifest == "0"


@pytest.mark.parametrize("place", ["/usr/share", "/etc"])
def test_ifcfg_files_of_network_manager(stage: Stage, place: str) -> None:
    """Where its plugin is, wherever the package put its permission, it is told; without, nobody is."""
    stage.pair("eth0", "eth1")
    stage.networkmanager(eth0="u-1")
    stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth0\nUUID=u-1\n")
    stage.start()
    stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth0\nUUID=u-1\nMTU=9000\n")
    stage.write(f"{place}/dbus-1/system.d/nm-ifcfg-rh.conf", "")
    assert "nmcli connection up uuid u-1" in stage.rollback().calls


# ---- network-scripts ----

ALIAS = "A=b\nDEVICE=eth0:1\nIPADDR={}\nPREFIX=24\n"


@pytest.mark.parametrize(
    ("address", "record", "up"),
    [("192.0.2.3", True, True), ("192.0.2.4", True, False), ("dhcp", True, True), ("2001:db8::1", True, True), ("192.0.2.4", False, True)],
    ids=["was there", "was not there", "no address", "IPv6", "nobody knows"],
)
def test_an_alias_comes_up_if_its_address_was_there(stage: Stage, address: str, record: bool, up: bool) -> None:
    """The kernel has no alias; where it can't be known whether it was up it comes up."""
    stage.install(*IFUPDOWN[:2])
    stage.write(f"{SCRIPTS}/ifup-eth", "", 0o755)
    stage.pair("eth0", "eth1")
    for known in ("2001:db8::1/64", "192.0.2.2/24", "192.0.2.3/24"):
        stage.run("ip", "address", "add", known, "dev", "eth0", "nodad" if ":" in known else "noprefixroute")
    stage.run("ip", "route", "add", "default", "dev", "eth0")
    stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth0\n")
    stage.write(f"{SCRIPTS}/ifcfg-eth0:1", ALIAS.format(address))
    stage.start(kernel=real if record else Refusing("sendto"))
    stage.write(f"{SCRIPTS}/ifcfg-eth0:1", ALIAS.format(address) + "NETMASK=255.255.255.0\n")
    found = stage.rollback()
    assert found.calls == ["ifdown eth0:1", *(["ifup eth0:1"] if up else [])]


@pytest.mark.parametrize("missing", ["ifup", "ifdown"])
def test_scripts_of_which_one_is_missing(stage: Stage, missing: str) -> None:
    """They are no stack that could be told: files only."""
    stage.install({"ifup": "ifdown", "ifdown": "ifup"}[missing])
    stage.write(f"{SCRIPTS}/ifup-eth", "", 0o755)
    stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth0\n")
    stage.start()
    stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth1\n")
    found = stage.rollback()
    assert (found.error, found.calls) == ("", []) and "its interfaces were not touched" in found.notice


def test_a_port_that_only_others_name(stage: Stage) -> None:
    """A bridge without a file changes with its port; ifup and ifdown can't be told of it; what was down stays so."""
    stage.install(*IFUPDOWN[:2])
    stage.write(f"{SCRIPTS}/ifup-eth", "", 0o755)
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "set", "eth1", "down")
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    for more in ("", "MTU=9000\n"):
        stage.write(f"{SCRIPTS}/ifcfg-eth0", "DEVICE=eth0\nBRIDGE=br0\n" + more)
        stage.write(f"{SCRIPTS}/ifcfg-eth1", "DEVICE=eth1\n" + more)
        if not more:
            stage.start()
    found = stage.rollback()
    assert found.interfaces == {"eth0": (CHANGED, ""), "eth1": (CHANGED, ""), "br0": (WITH_OTHERS, "")}
    assert sorted(found.calls) == ["ifdown eth0", "ifdown eth1", "ifup eth0"]


# ---- netplan ----

GENERATED = "/run/systemd/network/10-netplan-eth0.network"
NM_RUN = "/run/NetworkManager/system-connections"
FOLLOWED = ["netplan generate", "networkctl reload"]
YAML = "network:\n  ethernets:\n    eth0: {}\n"


def netplan(stage: Stage, text: str = "Name=eth0") -> None:
    """It makes one file for networkd, a new one each time."""
    stage.install("netplan")
    stage.does("netplan", f"mkdir -p /run/systemd/network; rm -f {GENERATED}; echo {text} >{GENERATED}")


@pytest.mark.parametrize(
    ("generate", "moved_by"),
    [
        ("true", ""),
        (f"chmod 600 {GENERATED}", "reload"),
        (f"chown 1 {GENERATED}", "reload"),
        (f"chgrp 1 {GENERATED}", "reload"),
        (f"echo >>{GENERATED}", "reload"),
        (f"echo Name=eth1 >{GENERATED}", "reload"),
        (f"rm {GENERATED}", "reload"),
        (f"cp {GENERATED} /run/systemd/network/10-netplan-eth0.link", "reconfigure"),
        (f"cp {GENERATED} /run/systemd/network/10-netplan-eth0.netdev", "reconfigure"),
        (f"mkdir -p {NM_RUN}; cp {GENERATED} {NM_RUN}/netplan-eth0.nmconnection", "reconfigure"),
    ],
)
def test_what_netplan_generates_otherwise(stage: Stage, generate: str, moved_by: str) -> None:
    """Any difference of content, mode or owner moves the interface, once; where there is none, the inode stays."""
    stage.networkd()
    stage.pair("eth0", "eth1")
    netplan(stage)
    stage.run("netplan", "generate")
    stage.write("/etc/netplan/a.yaml", YAML)
    stage.start()
    stage.write("/etc/netplan/a.yaml", YAML.replace("{}", "{mtu: 9000}"))
    before = stage.run("stat", "-c", "%i", GENERATED)
    does = stage.path("/does/netplan")
    does.write_text(does.read_text() + f"\n{generate}\n")
    found = stage.rollback()
    assert found.error == ""
    assert found.calls == [*FOLLOWED, *(["networkctl reconfigure eth0"] if moved_by == "reconfigure" else [])]
    if moved_by != "reload":
        assert stage.run("stat", "-c", "%i", GENERATED) == before
    assert stage.run("sh", "-c", "ls -d /run/netcf* || true").startswith("ls: cannot access")


@pytest.mark.parametrize("call", ["read", "statx"])
def test_generated_files_that_can_not_be_compared(stage: Stage, call: str) -> None:
    """They count as changed."""
    stage.networkd()
    stage.pair("eth0", "eth1")
    netplan(stage)
    stage.run("netplan", "generate")
    stage.write("/etc/netplan/a.yaml", YAML)
    stage.start()
    stage.write("/etc/netplan/a.yaml", YAML.replace("{}", "{mtu: 9000}"))
    opened = 0

    def act(event: seam.Event, _: int) -> int:
        nonlocal opened
        opened += (event.call, event.name) == ("openat", b"10-netplan-eth0.network")
        return errno.EIO if event.call == call and opened == 2 else 0

    found = stage.rollback(files=act)
    assert (found.error, found.calls, found.interfaces) == ("", [*FOLLOWED], {"eth0": (CHANGED, "")})


@pytest.mark.parametrize("runs", ["networkd", "NetworkManager", "neither"])
def test_a_renderer_of_netplan(stage: Stage, runs: str) -> None:
    """The one that runs is told; where none does, nobody is, and that is said."""
    stage.pair("eth0", "eth1")
    netplan(stage)
    stage.install("nmcli")
    if runs == "networkd":
        stage.networkd()
    if runs == "NetworkManager":
        stage.networkmanager()
    stage.write("/etc/netplan/a.yaml", YAML)
    stage.start()
    stage.write("/etc/netplan/a.yaml", YAML.replace("{}", "{mtu: 9000}"))
    found = stage.rollback()
    told = {"networkd": "networkctl reload", "NetworkManager": "nmcli connection reload", "neither": ""}
    assert found.error == "" and {call for call in found.calls if call.endswith("reload")} == {told[runs]} - {""}
    assert ("its interfaces were not touched" in found.notice) == (runs == "neither")


@pytest.mark.parametrize("known", ["from its file", "from the YAML of the start", "recorded"])
def test_a_device_of_yaml_that_nobody_can_read(stage: Stage, known: str) -> None:
    """What was not there is found by its generated file; what the start had, or what has no file, stays."""
    stage.networkd()
    netplan(stage)
    own = YAML + ("  bridges: {br0: {}}\n" if known == "from the YAML of the start" else "")
    stage.write("/etc/netplan/a.yaml", own)
    if known == "recorded":
        stage.run("ip", "link", "add", "br0", "type", "bridge")
    stage.start()
    stage.write("/etc/netplan/a.yaml", "network: [")
    stage.write("/run/systemd/network/10-netplan-br0.netdev", "[NetDev]\n")
    for name in ("br0", "br1")[known == "recorded" :]:
        stage.run("ip", "link", "add", name, "type", "bridge")
    found = stage.rollback()
    assert "a.yaml, line 1: was not understood" in found.notice
    assert {"br0", "br1"} & set(stage.host.links()) == ({"br1"} if known == "from its file" else {"br0", "br1"})


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_a_bridge_that_netplan_makes_anew(stage: Stage, late: bool) -> None:
    """It goes, with its ports' ties, and comes again; networkd is asked twice where it came late."""
    stage.networkd()
    stage.install("netplan")
    stage.pair("eth0", "eth1")
    stage.run("ip", "link", "add", "br0", "type", "bridge")
    stage.run("ip", "link", "set", "br0", "up")
    netdev = "/run/systemd/network/10-netplan-br0.netdev"
    stage.does("netplan", f"rm -f {netdev}; grep STP= /etc/netplan/a.yaml >{netdev}; true")
    make = "ip link add br0 type bridge && ip link set br0 up"
    again = "[ ! -e /sys/class/net/br0 ] || exit 0; " + ("[ -e /does/asked ] || { touch /does/asked; exit 0; }; " if late else "")
    stage.does("networkctl", f"[ $1 = reload ] || exit 0; {again}{make}")
    text = YAML + '    "a/b": {}\n  bridges:\n    br0:\n      interfaces: [eth0, eth9, a-port-of-too-long-a-name]\n'
    before = stage.host.links()["br0"]["ifindex"]
    stage.write("/etc/netplan/a.yaml", text)
    stage.write("/run/systemd/network/x", "")
    stage.start()
    stage.write("/etc/netplan/a.yaml", text + "      # STP=yes\n      mtu: 9000\n")
    stage.run("netplan", "generate")
    stage.write("/calls", "")
    found = stage.rollback()
    assert found.error == "" and stage.host.links()["br0"]["ifindex"] != before
    assert found.calls == [*FOLLOWED, *(["networkctl reload"] if late else []), "networkctl reconfigure eth0"]


def test_all_interfaces_of_netplan(stage: Stage) -> None:
    """Where all are asked for, each that was up is configured anew, changed or not, and once."""
    stage.networkd()
    stage.pair("eth0", "eth1")
    netplan(stage)
    stage.write("/etc/netplan/a.yaml", YAML)
    stage.start()
    assert stage.rollback(ROLLBACK_ALL).calls == [*FOLLOWED]  # by the reload: the file is new
    stage.start()
    assert stage.rollback(ROLLBACK_ALL).calls == [*FOLLOWED, "networkctl reconfigure eth0"]


# ---- everything fails ----


class Refusal(ExitStack):
    """A block in which the kernel refuses the k-th request, or the disk the k-th read of the snapshot."""

    def __init__(self, core: Core, k: int, call: str) -> None:
        super().__init__()
        self.call, self.k, self.count = call, k, 0
        self.enter_context(faults.kernel(core, lambda name, _: self.refuse(name)))
        self.enter_context(seam.watching(core, lambda event, _: self.refuse(event.call)))

    def refuse(self, call: str) -> int:
        self.count += call == self.call
        return errno.EIO if call == self.call and self.count == self.k else 0


def each_fault(
    stage: Stage, path: str, texts: tuple[str, str], fault: Callable[[int], faults.Memory | Refusal]
) -> list[Outcome]:
    """One rollback after another of an edit of one file, the k-th with the k-th fault, until none is left."""

    def edit(text: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    def act() -> list[Outcome]:
        found: list[Outcome] = []
        kept: list[object] = []
        for k in itertools.count():  # 0: none, to see what is kept for good
            edit(texts[0])
            with stage.core.open("/") as it:
                it.start()
                edit(texts[1])
                it.set_options(total_limit=1)
                faulty = fault(k)
                found.append(outcome(it, 0, faulty))
            if (Path(STATE) / "network-snapshot.tar").exists():
                assert found[-1].code != 0, k
                stage.core.rollback("/")
            assert Path(path).read_text() == texts[0], k
            kept.append((faults.held(stage.core), os.listdir("/proc/self/fd")))
            assert kept[-1] == kept[0], k
            if faulty.count < k:
                return found
        raise AssertionError

    found: list[Outcome] = stage.inside(act)
    usual = found[0]
    assert (found[-1].code, found[-1].interfaces) == (usual.code, usual.interfaces)
    for k, it in enumerate(found):
        assert set(it.interfaces) <= set(usual.interfaces), k
        assert it.code or it.interfaces or it.commands or "no interface was touched" in it.notice, k
    return found


def test_every_allocation_of_a_rollback_fails(stage: Stage) -> None:
    """The file is back, or will be; nothing is kept; and what was not done is said."""
    stage.install(*IFUPDOWN)
    stage.does("ifup", "echo refused; exit 1")
    stage.pair("eth0", "eth1")
    texts = [f"iface eth0 inet manual\n{more}iface a inet manual\n requires eth0\n" for more in ("", " up x\n")]
    found = each_fault(stage, INTERFACES, (texts[0], texts[1]), lambda k: faults.Memory(stage.core, k))
    assert found[0].commands == "ifup eth0: exit status 1: refused"
    assert len(found) > 10 and any(it.code == ncf.ENOMEM for it in found)


def test_every_request_to_the_kernel_fails(stage: Stage) -> None:
    """Once: the file is back, and the interface, or that it was not touched is said."""
    bridge_was_up(stage)
    stage.does("networkctl", "[ $1 != reload ] || { ip link add br0 type bridge && ip link set br0 up; }")
    stage.run("networkctl", "reload")
    stage.inside(lambda: stage.core.commit("/"))

    texts = BRIDGE["br0.netdev"], BRIDGE["br0.netdev"] + "[Bridge]\nSTP=yes\n"
    found = each_fault(stage, f"{NETWORK}/br0.netdev", texts, lambda k: Refusal(stage.core, k, "sendto"))
    assert len(found) > 10 and all(it.code == 0 for it in found)


def test_every_read_of_the_snapshot_fails(stage: Stage) -> None:
    """Once: nothing was touched, or the interface was not and that is said; a second rollback does it."""
    stage.install(*IFUPDOWN)
    stage.pair("eth0", "eth1")
    stage.write(f"{INTERFACES}.d/large", "#\n" * 200_000)  # so that it is read more than once
    texts = "iface eth0 inet manual\n", "iface eth0 inet manual\n up x\n"
    found = each_fault(stage, INTERFACES, texts, lambda k: Refusal(stage.core, k, "pread"))
    assert any("no interface was touched" in it.notice for it in found) and any(it.code for it in found)


def test_every_allocation_of_a_start_fails(stage: Stage) -> None:
    """There is a change, with what is up or without; or there is none, and that is an error."""
    stage.pair("eth0", "eth1")

    def act() -> tuple[int, set[bool]]:
        recorded, held = set(), []
        for k in itertools.count():
            try:
                with faults.Memory(stage.core, k) as memory, stage.core.open("/") as it:
                    it.start()
            except (MemoryError, NcfError) as error:
                assert getattr(error, "code", ncf.ENOMEM) == ncf.ENOMEM, k
                assert not (Path(STATE) / "network-snapshot.tar").exists(), k
            else:
                recorded.add(b"link eth0 up mtu:1500\n" in (Path(STATE) / "network-snapshot.tar").read_bytes())
                stage.core.commit("/")
            held.append(faults.held(stage.core))
            assert held[-1] == held[0], k
            if memory.count < k:
                return k, recorded
        raise AssertionError

    assert stage.inside(act)[1] == {True, False}
