"""The real NetworkManager of Debian, edited out of reach and brought back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

# ifupdown has eth3, which NetworkManager then leaves alone.
PACKAGES = ("network-manager", "dbus", "ifupdown", "iproute2", "iputils-ping", "strace")
DIRECTORY = "/etc/NetworkManager/system-connections"
INTERFACES = "auto lo\niface lo inet loopback\nauto eth3\niface eth3 inet static\n    address 203.0.113.130/25\n"
PEERS = {
    "eth0": "192.0.2.1/24",
    "eth1": "198.51.100.1/24",
    "eth2": "203.0.113.1/25",
    "eth3": "203.0.113.129/25",
}


def uuid(number: int) -> str:
    return f"11111111-1111-4111-8111-{number:012}"


def keyfile(name: str, number: int, *connection: str, ipv4: str = "method=auto", kind: str = "ethernet") -> str:
    """A profile; `connection` are further lines about itself."""
    lines = "".join(f"{line}\n" for line in connection)
    return (
        f"[connection]\nid={name}\nuuid={uuid(number)}\ntype={kind}\n{lines}\n"
        f"[ipv4]\n{ipv4}\n\n[ipv6]\nmethod=disabled\n"
    )


def static(address: str, gateway: str = "") -> str:
    return f"method=manual\naddress1={address}{',' if gateway else ''}{gateway}"


UPLINK = static("192.0.2.2/24", "192.0.2.1")
ETH0 = keyfile("eth0", 0, "interface-name=eth0", ipv4=UPLINK)
ETH1 = keyfile("eth1", 1, "interface-name=eth1", ipv4=static("198.51.100.2/24"))
BR0 = keyfile("br0", 10, "interface-name=br0", ipv4=UPLINK, kind="bridge") + "\n[bridge]\nstp=false\n"
MACVLAN0 = (
    keyfile("macvlan0", 11, "interface-name=macvlan0", ipv4=static("203.0.113.2/25"), kind="macvlan")
    + "\n[macvlan]\nmode=2\nparent=eth0\n"
)
GOOD = {"eth0": ETH0, "eth1": ETH1}


def put(host: Host, name: str, text: str, mode: int = 0o600) -> None:
    host.write(f"{DIRECTORY}/{name}.nmconnection", text, mode)


def drop(host: Host, name: str) -> None:
    host.remove(f"{DIRECTORY}/{name}.nmconnection")


def apply(host: Host, *numbers: int) -> None:
    """As a person does after an edit."""
    host.run("nmcli", "connection", "reload")
    for number in numbers:
        host.run("nmcli", "connection", "up", "uuid", uuid(number))


@pytest.fixture
def system() -> Path:
    return debian.system(*PACKAGES)


@pytest.fixture
def host(system: Path, products: Products, tmp_path: Path) -> Iterator[Host]:
    """NetworkManager and its bus, without an init; eth0, eth1 are its own, eth2 has a cable."""
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        host.write("/etc/network/interfaces", INTERFACES)
        host.run("ifup", "-a")
        for name, text in GOOD.items():
            put(host, name, text)
        host.run("mkdir", "-p", "/run/dbus")
        host.run("dbus-daemon", "--system", "--fork", "--nopidfile")
        log = cleanup.enter_context(open(tmp_path / "NetworkManager.log", "wb"))
        daemon = subprocess.Popen(
            [*host.entry(), "/usr/sbin/NetworkManager", "--debug", "--log-level=INFO"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        cleanup.callback(daemon.wait)
        cleanup.callback(daemon.kill)
        hosts.wait_for(
            lambda: is_as_at_start(host) and active(host) == {"eth0": uuid(0), "eth1": uuid(1)},
            "NetworkManager to activate both",
        )
        yield host


def active(host: Host) -> dict[str, str]:
    """The profile that is active on each interface, by its UUID."""
    said = host.run("nmcli", "-t", "-f", "DEVICE,UUID,STATE", "connection", "show", "--active")
    rows = (line.split(":") for line in said.splitlines())
    return {row[0]: row[1] for row in rows if row[2] == "activated" and row[0] != "lo"}


def is_as_at_start(host: Host) -> bool:
    """Each interface has its address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.addresses("eth2") == []
        and host.addresses("eth3") == ["203.0.113.130/25"]
        and host.default_routes() == [("192.0.2.1", "eth0")]
    )


def files(host: Host) -> dict[str, tuple[str, int]]:
    """The keyfiles with their modes."""
    there = (host.root / DIRECTORY[1:]).iterdir()
    return {p.name.removesuffix(".nmconnection"): (p.read_text(), p.stat().st_mode & 0o777) for p in there}


def rolled_back(host: Host, *options: str) -> str:
    """Roll back while what did not change answers; then all is as it was, and stays so."""
    with hosts.answering(host, "198.51.100.1"), hosts.answering(host, "203.0.113.129"):
        said = host.rollback(*options)
        assert is_as_at_start(host), host.links()
        assert active(host) == {"eth0": uuid(0), "eth1": uuid(1)}
    assert files(host) == {name: (text, 0o600) for name, text in GOOD.items()}
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    assert not {"br0", "macvlan0"} & host.links().keys()
    assert "eth1" not in said
    assert "eth3" not in said
    return said


def test_address_changed(host: Host) -> None:
    """The new address goes, the old one and the default route are back."""
    host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0)
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    assert "eth0" in rolled_back(host)


def test_address_changed_by_nmcli(host: Host) -> None:
    """NetworkManager itself wrote the file, with all that it adds."""
    host.start()
    host.run("nmcli", "connection", "modify", "eth0", "ipv4.addresses", "192.0.2.99/24")
    apply(host, 0)
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    assert "eth0" in rolled_back(host)


@pytest.mark.parametrize("loaded", [False, True])
def test_edited_and_not_activated(host: Host, loaded: bool) -> None:
    """An edit that NetworkManager does not know, or knows and has not applied."""
    host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    if loaded:
        apply(host)
    assert is_as_at_start(host)
    assert "eth0" in rolled_back(host)


def test_no_change_of_meaning(host: Host) -> None:
    """Comments, blanks, an empty section, a time stamp: nobody is told, all answer all the time."""
    host.start()
    text = ETH0.replace("type=", "timestamp=1700000000\ntype = ").replace("[ipv4]", "# words\n\n[proxy]\n\n[ipv4]")
    put(host, "eth0", text)
    apply(host)
    with hosts.answering(host, "192.0.2.1"):
        assert "eth0" not in rolled_back(host)


def test_file_renamed(host: Host) -> None:
    """The same profile under another name is no change; NetworkManager knows the old name again."""
    host.start()
    drop(host, "eth0")
    put(host, "uplink", ETH0)
    apply(host)
    with hosts.answering(host, "192.0.2.1"):
        assert "eth0" not in rolled_back(host)
    said = host.run("nmcli", "-g", "FILENAME", "connection", "show", "--active")
    assert f"{DIRECTORY}/eth0.nmconnection" in said.replace("\\", "")


def test_interface_added(host: Host) -> None:
    """An added profile is deactivated and forgotten."""
    host.start()
    put(host, "eth2", keyfile("eth2", 2, "interface-name=eth2", ipv4=static("203.0.113.2/25")))
    apply(host, 2)
    assert host.addresses("eth2") == ["203.0.113.2/25"]
    assert "eth2" in rolled_back(host)
    assert uuid(2) not in host.run("nmcli", "connection")


def test_interface_removed(host: Host) -> None:
    """A file that was deleted."""
    host.start()
    drop(host, "eth0")
    apply(host)
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    assert "eth0" in rolled_back(host)


def test_deleted_by_nmcli(host: Host) -> None:
    """A profile that NetworkManager deleted, with its file."""
    host.start()
    host.run("nmcli", "connection", "delete", "eth0")
    assert "eth0" not in files(host)
    assert "eth0" in rolled_back(host)


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    host.start()
    put(host, "br0", BR0)
    put(host, "eth0", keyfile("eth0", 0, "interface-name=eth0", "master=br0", "slave-type=bridge"))
    apply(host, 0)
    hosts.wait_for(lambda: host.addresses("br0") == ["192.0.2.2/24"], "the bridge")
    assert host.addresses("eth0") == []
    rolled_back(host)


def test_bridge_taken_apart(host: Host) -> None:
    """A bridge that was there is made again, with its port and what stands on it."""
    # Without them NetworkManager would find the order by itself, sooner or later.
    by_hand = ("type=", "autoconnect=false\ntype=")
    put(host, "br0", BR0.replace(*by_hand))
    put(host, "eth0", keyfile("eth0", 0, "interface-name=eth0", f"master={uuid(10)}", "slave-type=bridge"))
    on_top = MACVLAN0.replace(*by_hand).replace("parent=eth0", f"parent={uuid(10)}")
    put(host, "above", on_top.replace("macvlan0", "above"))
    apply(host, 10, 0, 11)
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    host.start()
    drop(host, "br0")
    drop(host, "above")
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0)
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
        assert host.addresses("br0") == ["192.0.2.2/24"]
        assert host.addresses("eth0") == []
        assert host.addresses("above") == ["203.0.113.2/25"]
        links = host.links()
        assert (links["eth0"]["master"], links["above"]["link"]) == ("br0", "br0")
    assert "exit status" not in said
    host.run("ping", "-c1", "-w20", "192.0.2.1")


def test_device_on_top_of_the_uplink(host: Host) -> None:
    """A MACVLAN, which this kernel has, for a VLAN, which it may lack."""
    host.start()
    put(host, "macvlan0", MACVLAN0)
    apply(host, 11)
    assert host.addresses("macvlan0") == ["203.0.113.2/25"]
    with hosts.answering(host, "192.0.2.1"):
        assert "macvlan0" in rolled_back(host)


def test_device_of_another_kind(host: Host) -> None:
    """A device that can't become what it was is made anew."""
    put(host, "macvlan0", MACVLAN0)
    apply(host, 11)
    host.start()
    put(host, "macvlan0", MACVLAN0.replace("mode=2", "mode=1").replace("parent=eth0", f"parent={uuid(1)}"))
    apply(host)
    host.run("nmcli", "device", "delete", "macvlan0")
    host.run("nmcli", "connection", "up", "uuid", uuid(11))
    assert host.links()["macvlan0"]["link"] == "eth1"
    with hosts.answering(host, "192.0.2.1"), hosts.answering(host, "198.51.100.1"):
        host.rollback()
        assert host.links()["macvlan0"]["link"] == "eth0"
        assert host.addresses("macvlan0") == ["203.0.113.2/25"]


@pytest.mark.parametrize("text", ["[connection\nid=eth0\nuuid", "", "\0\xff" * 1000], ids=["half", "empty", "binary"])
def test_syntax_broken(host: Host, text: str) -> None:
    """A file of which NetworkManager understands nothing."""
    host.start()
    put(host, "eth0", text)
    apply(host)
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    assert "eth0" in rolled_back(host)


def test_mode_that_is_ignored(host: Host) -> None:
    """NetworkManager drops a profile that others can read; it takes it again."""
    host.start()
    put(host, "eth0", ETH0, 0o644)
    apply(host)
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    rolled_back(host)


def test_dhcp_that_never_answers(host: Host) -> None:
    """The static address is back."""
    host.start()
    put(host, "eth0", ETH0.replace(UPLINK, "method=auto"))
    apply(host)
    host.run("nmcli", "--wait", "0", "connection", "up", "uuid", uuid(0))
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    rolled_back(host)


def test_lease_is_back(host: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    leased = ETH0.replace(UPLINK, "method=auto")
    with hosts.dhcp_server(host.peer, "eth0", "192.0.2.2", tmp_path, router=True):
        put(host, "eth0", leased)
        apply(host, 0)
        assert is_as_at_start(host) and host.leased("eth0")
        host.start()
        put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
        apply(host, 0)
        assert host.addresses("eth0") == ["192.0.2.99/24"]
        with hosts.answering(host, "198.51.100.1"), hosts.answering(host, "203.0.113.129"):
            assert "eth0" in host.rollback()
        assert is_as_at_start(host) and host.leased("eth0")
    assert files(host)["eth0"] == (leased, 0o600)


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    leased = keyfile("eth2", 2, "interface-name=eth2")
    put(host, "eth2", leased)
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        apply(host, 2)
        assert host.addresses("eth2") == ["203.0.113.50/25"]
        host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    put(host, "eth2", leased.replace("method=auto", static("203.0.113.9/25")))
    apply(host, 0, 2)
    assert host.addresses("eth0") + host.addresses("eth2") == ["192.0.2.99/24", "203.0.113.9/25"]
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


@pytest.mark.parametrize(
    "command",
    ["ip address del 192.0.2.2/24 dev eth0", "ip link set eth0 down", "nmcli device disconnect eth0"],
)
def test_changed_by_hand(host: Host, command: str) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.start()
    host.run(*command.split())
    hosts.wait_for(lambda: not is_as_at_start(host), "the edit")
    rolled_back(host)


def test_networking_off(host: Host) -> None:
    """All that NetworkManager has was switched off."""
    host.start()
    host.run("nmcli", "networking", "off")
    hosts.wait_for(lambda: host.addresses("eth0") == [], "eth0 to lose its address")
    host.rollback()
    assert is_as_at_start(host)


def test_another_profile_of_the_interface(host: Host) -> None:
    """Of two profiles the one that was active is so again, though no file changed."""
    other = keyfile("other", 5, "interface-name=eth0", "autoconnect=false", ipv4=static("192.0.2.50/24"))
    put(host, "aaa", other)
    apply(host)
    host.start()
    apply(host, 5)
    assert host.addresses("eth0") == ["192.0.2.50/24"]
    host.rollback()
    assert is_as_at_start(host)
    assert active(host)["eth0"] == uuid(0)


@pytest.mark.parametrize("known_by", ["nothing", "mac"])
def test_profile_without_an_interface(host: Host, known_by: str) -> None:
    """It is active again where it was."""
    mac = host.links()["eth2"]["address"]
    text = keyfile("any", 6, "autoconnect=false", ipv4=static("203.0.113.2/25"))
    text += f"\n[ethernet]\nmac-address={mac}\n" if known_by == "mac" else ""
    put(host, "any", text)
    apply(host)
    host.run("nmcli", "connection", "up", "uuid", uuid(6), "ifname", "eth2")
    host.start()
    put(host, "any", text.replace("203.0.113.2/25", "203.0.113.77/25"))
    apply(host)
    host.run("nmcli", "connection", "up", "uuid", uuid(6), "ifname", "eth2")
    assert host.addresses("eth2") == ["203.0.113.77/25"]
    with hosts.answering(host, "192.0.2.1"), hosts.answering(host, "198.51.100.1"):
        host.rollback()
        assert host.addresses("eth2") == ["203.0.113.2/25"]
    host.start()
    host.run("ip", "address", "del", "203.0.113.2/25", "dev", "eth2")
    host.rollback()
    assert host.addresses("eth2") == ["203.0.113.2/25"]


def test_what_was_not_active_stays_so(host: Host) -> None:
    """A profile that nobody had activated is deactivated, and no other is touched."""
    text = keyfile("eth2", 2, "interface-name=eth2", "autoconnect=false", ipv4=static("203.0.113.2/25"))
    put(host, "eth2", text)
    apply(host)
    host.run("nmcli", "device", "disconnect", "eth2", check=False)
    host.start()
    put(host, "eth2", text.replace("autoconnect=false", "autoconnect=true"))
    apply(host, 2)
    with hosts.answering(host, "192.0.2.1"), hosts.answering(host, "198.51.100.1"):
        assert "eth2" in host.rollback()
        assert is_as_at_start(host)


IFCFG = "/etc/sysconfig/network-scripts/ifcfg-eth2"
PLUGIN = r"""#!/bin/sh
# Stands in for NetworkManager's ifcfg-rh plugin, which Debian has not: before a reload
# each ifcfg file becomes a keyfile that is not in scope.  All else is the real one's.
if [ "$1 $2" = "connection reload" ]; then
    cd /run/NetworkManager/system-connections
    rm -f ifcfg-*
    umask 077
    for file in /etc/sysconfig/network-scripts/ifcfg-*; do
        [ ! -f "$file" ] || (. "$file"; printf '%s\n' '[connection]' "id=$NAME" "uuid=$UUID" \
            type=ethernet "${DEVICE:+interface-name=$DEVICE}" '[ethernet]' "${HWADDR:+mac-address=$HWADDR}" \
            '[ipv4]' method=manual "address1=$IPADDR/$PREFIX" >"${file##*/}.nmconnection")
    done
fi
exec /usr/bin/nmcli.real "$@"
"""


@pytest.mark.parametrize("known_by", ["DEVICE", "HWADDR"])
@pytest.mark.parametrize("edit", ["changed", "removed"])
def test_ifcfg_files(host: Host, edit: str, known_by: str) -> None:
    """With the plugin the ifcfg files of NetworkManager's are followed as keyfiles are."""
    host.run("mv", "/usr/bin/nmcli", "/usr/bin/nmcli.real")
    host.write("/usr/bin/nmcli", PLUGIN, 0o755)
    host.write("/usr/share/dbus-1/system.d/nm-ifcfg-rh.conf", "<busconfig/>\n")
    name = "DEVICE=eth2\n" if known_by == "DEVICE" else f"HWADDR={host.links()['eth2']['address']}\n"
    text = f'NAME="System eth2"\nUUID={uuid(7)}\n{name}IPADDR=203.0.113.2\nPREFIX=25\n'
    host.write(IFCFG, text)
    apply(host, 7)
    assert host.addresses("eth2") == ["203.0.113.2/25"]
    host.start()
    if edit == "changed":
        host.write(IFCFG, text.replace("203.0.113.2", "203.0.113.77"))
        apply(host, 7)
    else:
        host.remove(IFCFG)
        apply(host)
    hosts.wait_for(lambda: host.addresses("eth2") != ["203.0.113.2/25"], "the edit")
    with hosts.answering(host, "192.0.2.1"), hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
        assert host.addresses("eth2") == ["203.0.113.2/25"]
    assert (host.root / IFCFG[1:]).read_text() == text
    assert "were not touched" not in said


def test_two_stacks_at_once(host: Host) -> None:
    """ifupdown's interface and NetworkManager's, both edited, each brought back by its own."""
    host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0)
    host.write("/etc/network/interfaces", INTERFACES.replace("203.0.113.130", "203.0.113.199"))
    host.run("ifdown", "--force", "eth3")
    host.run("ifup", "eth3")
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
        assert is_as_at_start(host)
    assert "eth0" in said and "eth3" in said


def test_all_interfaces(host: Host) -> None:
    """Every interface that was up goes down and up, changed or not."""
    host.start()
    said = host.rollback("--all-interfaces")
    assert is_as_at_start(host)
    assert "eth0" in said and "eth1" in said and "eth3" in said


def test_files_only(host: Host) -> None:
    """The files are back, and no interface is touched."""
    host.start()
    drop(host, "eth0")
    with hosts.answering(host, "192.0.2.1"):
        rolled_back(host, "--files-only")


def test_killed_before_the_reload(host: Host) -> None:
    """The files are back, nothing else; the second run ends what the first began."""
    host.start()
    put(host, "eth2", keyfile("eth2", 2, "interface-name=eth2", ipv4=static("203.0.113.2/25")))
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0, 2)
    # The second program that it starts: the first asks whether NetworkManager answers.
    inject = "inject=fork,vfork,clone,clone3:error=EAGAIN:signal=KILL:when=2"
    done = host.call("strace", "-qq", "-o", "/dev/null", "-e", inject, "networking-config", "rollback_config")
    assert done.returncode in (-9, 137), done.stdout
    assert files(host).keys() == GOOD.keys()
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    assert host.addresses("eth2") == ["203.0.113.2/25"]
    rolled_back(host)


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0)
    assert host.addresses("eth0") == ["192.0.2.99/24"]
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


def test_daemon_that_is_gone(host: Host) -> None:
    """Files only where NetworkManager does not run, and the rollback says so."""
    host.start()
    put(host, "eth0", ETH0.replace("192.0.2.2", "192.0.2.99"))
    apply(host, 0)
    pid = next(p for p in Path("/proc").glob("[0-9]*") if is_daemon_of(p, host))
    os.kill(int(pid.name), 9)
    hosts.wait_for(lambda: host.call("nmcli", "general").returncode != 0, "it to be gone")
    said = host.rollback()
    assert "NetworkManager: its files are back, but its interfaces were not touched" in said
    assert files(host) == {name: (text, 0o600) for name, text in GOOD.items()}
    assert host.addresses("eth0") == ["192.0.2.99/24"]


def is_daemon_of(process: Path, host: Host) -> bool:
    """Whether it is the NetworkManager in this host's namespace."""
    try:
        name = (process / "comm").read_text()
        return name == "NetworkManager\n" and os.readlink(process / "root") == str(host.root)
    except OSError:
        return False
