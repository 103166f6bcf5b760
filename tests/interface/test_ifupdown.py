"""The real ifupdown, ifupdown2 and ifupdown-ng of Debian, each edited out of reach and brought back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host, Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOOLS = ("iproute2", "iputils-ping", "isc-dhcp-client")
SYSTEMS = {
    "ifupdown": ("ifupdown", "bridge-utils", "vlan", "ifenslave", *TOOLS),
    "ifupdown2": ("ifupdown2", *TOOLS),
    "ifupdown-ng": ("ifupdown-ng", *TOOLS),
}
FILE = "/etc/network/interfaces"
LO = "auto lo\niface lo inet loopback\n"
ETH0 = "auto eth0\niface eth0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n"
ETH1 = "auto eth1\niface eth1 inet static\n    address 198.51.100.2/24\n"
GOOD = LO + ETH0 + ETH1
PEERS = {"eth0": "192.0.2.1/24", "eth1": "198.51.100.1/24", "eth2": "203.0.113.1/24"}


@pytest.fixture(params=SYSTEMS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(stack: str, products: Products, tmp_path: Path) -> Iterator[Host]:
    """eth0 with the default route and eth1 are up; eth2 has a cable; a change is open."""
    with ExitStack() as cleanup:
        system = debian.system(*SYSTEMS[stack])
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        host.write(FILE, GOOD)
        host.run("ifup", "-a")
        as_at_start(host)
        host.start()
        yield host


def is_as_at_start(host: Namespace) -> bool:
    """Both interfaces have their address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.default_routes() == [("192.0.2.1", "eth0")]
    )


def as_at_start(host: Namespace) -> None:
    assert is_as_at_start(host), (host.links(), host.default_routes())


def rolled_back(host: Host, *options: str) -> str:
    """Roll back while eth1, which did not change, answers; then all is as it was."""
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback(*options)
    as_at_start(host)
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    assert (host.root / FILE[1:]).read_text() == GOOD
    assert "eth1" not in said
    return said


def test_address_changed(host: Host, stack: str) -> None:
    """The new address goes, the old one and the default route are back."""
    host.write(FILE, LO + ETH0.replace("192.0.2.2", "192.0.2.99").replace("192.0.2.1\n", "192.0.2.7\n") + ETH1)
    host.run("ifdown", "--force", "eth0", check=False)
    host.run("ifup", "--force", "eth0", check=False)
    did = "reloaded" if stack == "ifupdown2" else "down, up"
    assert f"  eth0 ({stack}): had been changed, {did}\n" in rolled_back(host)


def test_edited_and_not_applied(host: Host) -> None:
    """Comments, blanks and an edit that nobody applied: eth0 ends as it was."""
    host.write(FILE, LO + "# new\n\n" + ETH0.replace("192.0.2.2", "192.0.2.99") + ETH1.replace("    ", "\t"))
    rolled_back(host)


def test_only_a_comment_changed(host: Host) -> None:
    """No interface is touched: both answer all the time."""
    host.write(FILE, "# only words\n" + GOOD.replace("    address", "\taddress  "))
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "eth0" not in said


def test_interface_added(host: Host) -> None:
    """An added interface loses its address."""
    host.write(FILE, GOOD + "auto eth2\niface eth2 inet static\n    address 203.0.113.2/24\n")
    host.run("ifup", "eth2")
    assert host.addresses("eth2") == ["203.0.113.2/24"]
    assert "eth2" in rolled_back(host)
    assert host.addresses("eth2") == []


def test_interface_removed(host: Host) -> None:
    """A removed interface is up again."""
    host.run("ifdown", "eth0")
    host.write(FILE, LO + ETH1)
    assert host.addresses("eth0") == []
    rolled_back(host)


def test_stanza_removed_and_still_up(host: Host) -> None:
    """A stanza that went while its interface stayed up, half forgotten by the stack."""
    host.write(FILE, LO + ETH1)
    host.run("ifdown", "eth0", check=False)
    rolled_back(host)


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    bridge = "auto br0\niface br0 inet static\n    bridge-ports eth0\n    bridge_maxwait 0\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n"
    host.run("ifdown", "eth0")
    host.write(FILE, LO + bridge + ETH1)
    host.run("ifup", "br0", check=False)
    rolled_back(host)
    assert "br0" not in host.links()


def test_syntax_broken(host: Host) -> None:
    """A file that the stack refuses altogether."""
    host.write(FILE, LO + ETH1 + "auto eth0\niface eth0 inet sttic\n    adress 192.0.2.2\n    gateway\n")
    host.run("ifdown", "eth0", check=False)
    host.run("ifup", "eth0", check=False)
    rolled_back(host)


def test_dhcp_that_never_answers(host: Host) -> None:
    """While ifup still waits for the client, the static address is back, and nobody asks any more."""
    host.run("ifdown", "--force", "eth0")
    host.write(FILE, LO + "auto eth0\niface eth0 inet dhcp\n" + ETH1)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    ifup = subprocess.Popen([*host.entry(), "ifup", "eth0"], **quiet)
    try:
        hosts.wait_for(lambda: asks(host), "the client to ask")
        rolled_back(host)
        assert not asks(host)
    finally:
        ifup.kill()
        ifup.wait()


def asks(host: Host) -> bool:
    """Whether a DHCP client runs; one that has ended and that nobody waited for has no words."""
    for words in Path(f"/proc/{host.pid}/root/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"dhclient" in words.read_bytes().partition(b"\0")[0]:
                return True
    return False


def test_lease_is_back(host: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    host.run("networking-config", "commit_config")
    leased = LO + "auto eth0\niface eth0 inet dhcp\n" + ETH1
    with hosts.dhcp_server(host.peer, "eth0", "192.0.2.2", tmp_path, router=True):
        host.run("ifdown", "eth0")
        host.write(FILE, leased)
        host.run("ifup", "eth0")
        as_at_start(host)
        assert host.leased("eth0")
        host.start()
        host.run("ifdown", "--force", "eth0")
        host.write(FILE, GOOD.replace("192.0.2.2", "192.0.2.99"))
        host.run("ifup", "--force", "eth0")
        with hosts.answering(host, "198.51.100.1"):
            assert "eth0" in host.rollback()
        as_at_start(host)
        assert host.leased("eth0")
    assert (host.root / FILE[1:]).read_text() == leased


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        host.write(FILE, GOOD + "auto eth2\niface eth2 inet dhcp\n")
        host.run("ifup", "eth2")
        host.start()
    host.run("ifdown", "--force", "eth0", "eth2", check=False)
    host.write(FILE, LO + ETH0.replace("192.0.2.2", "192.0.2.99") + ETH1)
    host.run("ifup", "--force", "eth0", check=False)
    host.run("ip", "address", "flush", "dev", "eth2")
    for lease in (host.root / "var/lib/dhcp").glob("*.leases"):
        lease.unlink()  # dhclient would go on with one that it remembers
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    host.write(FILE, GOOD.replace("192.0.2.2", "192.0.2.99"))
    host.run("ifdown", "--force", "eth0", check=False)
    host.run("ifup", "--force", "eth0", check=False)
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


@pytest.mark.parametrize("stack", ["ifupdown", "ifupdown2"])
def test_killed_before_the_interfaces(host: Host) -> None:
    """The files are back, nothing else; the second run ends what the first began."""
    more = ETH0 + "iface eth0 inet static\n    address 192.0.2.99/24\n"
    host.write(FILE, LO + more + ETH1 + "auto eth2\niface eth2 inet static\n    address 203.0.113.2/24\n")
    host.run("ifdown", "--force", "eth0")
    host.run("ifup", "--force", "eth0", "eth2")
    assert host.addresses("eth2") == ["203.0.113.2/24"] and len(host.addresses("eth0")) == 2
    host.rollback_killed_after_files("/etc/network")
    assert (host.root / FILE[1:]).read_text() == GOOD
    rolled_back(host)
    assert host.addresses("eth2") == []


@pytest.mark.parametrize("stack", ["ifupdown"])
def test_command_that_hangs(host: Host) -> None:
    """It is killed at its limit with what it started, which is told, and eth1 is brought up all the same."""
    hangs = "    pre-up test ! -e /hang || sleep 1234\n"
    host.run("networking-config", "commit_config")
    host.write(FILE, LO + ETH0 + hangs + ETH1)
    host.start()
    host.write(FILE, LO + ETH0.replace("192.0.2.2", "192.0.2.99") + ETH1.replace(".2/", ".9/"))
    host.run("ifdown", "--force", "eth0", "eth1")
    host.run("ifup", "eth0", "eth1")
    host.write("/hang", "")
    said = host.rollback("--command-limit", "2", status=1)
    assert "  eth0 (ifupdown): had been changed, down; now lacks: " in said
    assert "  eth1 (ifupdown): had been changed, down, up\n" in said
    assert "ifup eth0: no end after 2 s, killed" in said
    assert host.addresses("eth1") == ["198.51.100.2/24"]
    assert "sleep 1234" not in host.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_address_deleted_by_hand(host: Host) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
    rolled_back(host)


def test_device_deleted_by_hand(host: Host) -> None:
    """A bridge that was up at the start and is gone from the kernel is made and comes up again."""
    bridge = "auto br0\niface br0 inet static\n    bridge-ports eth2\n    bridge_maxwait 0\n    address 203.0.113.2/24\n"
    host.run("networking-config", "commit_config")
    host.write(FILE, GOOD + bridge)
    host.run("ifup", "br0")
    assert host.addresses("br0") == ["203.0.113.2/24"]
    host.start()
    host.run("ip", "link", "del", "br0")
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
    assert "br0" in said and "eth1" not in said
    as_at_start(host)
    assert host.addresses("br0") == ["203.0.113.2/24"]
    host.run("ping", "-c1", "-w20", "203.0.113.1")


def test_files_only(host: Host) -> None:
    """The files are back, and no interface is touched."""
    host.write(FILE, LO + ETH1)
    with hosts.answering(host, "192.0.2.1"):
        rolled_back(host, "--files-only")


def test_all_interfaces(host: Host) -> None:
    """Every interface that was up goes down and up, changed or not."""
    said = host.rollback("--all-interfaces")
    as_at_start(host)
    assert "eth0" in said and "eth1" in said


def test_what_is_not_back_is_told(host: Host) -> None:
    """A cable that is gone: an error with the files restored, and status keeps telling."""
    host.write(FILE, LO + ETH1)
    host.run("ip", "link", "del", "eth0")
    said = host.rollback("--limit", "20", status=1)
    assert "eth0 (is not there)" in said
    assert (host.root / FILE[1:]).read_text() == GOOD
    status = host.run("networking-config", "status")
    assert "eth0 (is not there)" in status and "No open transaction" in status
    host.start()
    assert "not these interfaces" not in host.run("networking-config", "status")
