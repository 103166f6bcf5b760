"""Red Hat's network-scripts on realistic ifcfg trees.

Debian has no package of them, so a recorder stands in for ifup and ifdown: a
shell script that notes each call and sets addresses, bridges and routes with
iproute2 as the scripts do.  $NCF_NETWORK_SCRIPTS names a checkout of Red Hat's
initscripts to run the same tests with the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from interface.test_ifupdown import SYSTEMS, asks
from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

REAL = os.environ.get("NCF_NETWORK_SCRIPTS")
# A system that other tests have, too; its own ifup and ifdown give way to the recorder.
RECORDED = SYSTEMS["ifupdown"]
FOR_REAL = ("iproute2", "iputils-ping", "iputils-arping", "ipcalc-ng", "gawk", "isc-dhcp-client", "hostname", "procps", "kmod")
DIRECTORY = "/etc/sysconfig/network-scripts"
LOG = "/var/log/recorder"

RECORDER = r"""#!/bin/sh
# A recorder, not Red Hat's script: notes the call, then does by iproute2 what the real one does.
echo "${0##*/} $1" >>/var/log/recorder
cd /etc/sysconfig/network-scripts || exit 1
[ -f ../network ] && . ../network
file=ifcfg-$1
[ -f "$file" ] || file=$(grep -l "^DEVICE=['\"]*$1['\"]*$" ifcfg-* | head -n 1)
[ -f "$file" ] || { echo "configuration for $1 not found" >&2; exit 1; }
. "./$file"
: "${DEVICE:=${file#ifcfg-}}"
link=${DEVICE%%:*}
case ${0##*/} in
ifdown)
    [ -d "/sys/class/net/$link" ] || exit 1
    if [ "$link" != "$DEVICE" ]; then exec ip address flush dev "$link" label "$DEVICE" scope global; fi
    [ ! -f "/run/dhclient-$link.pid" ] || dhclient -q -r -lf "/run/$link.leases" -pf "/run/dhclient-$link.pid" "$link"
    ip address flush dev "$link" scope global
    ip link set dev "$link" down
    [ "$VLAN" != yes ] || exec ip link delete "$link"
    if [ -n "$BRIDGE" ]; then
        ip link set dev "$link" nomaster
        [ -n "$(ip link show master "$BRIDGE")" ] || ip link delete "$BRIDGE"
    fi ;;
ifup)
    [ "$TYPE" != Bridge ] || ip link add "$link" type bridge 2>/dev/null
    # This kernel may lack VLANs: a MACVLAN stands in for one.
    [ "$VLAN" != yes ] || ip link add link "$PHYSDEV" name "$link" type macvlan 2>/dev/null
    ip link set dev "$link" up || exit 1
    if [ -n "$BRIDGE" ]; then
        ip link add "$BRIDGE" type bridge 2>/dev/null
        exec ip link set dev "$link" master "$BRIDGE"
    fi
    [ "$BOOTPROTO" != dhcp ] || exec dhclient -1 -q -lf "/run/$link.leases" -pf "/run/dhclient-$link.pid" "$link"
    [ -z "$IPADDR" ] || ip address replace "$IPADDR/$PREFIX" dev "$link" label "$DEVICE" || exit 1
    [ -z "$GATEWAY" ] || ip route replace default via "$GATEWAY" dev "$link"
    [ "$link" = "$DEVICE" ] || exit 0
    while read -r line; do ip route replace $line dev "$link" || exit 1; done 2>/dev/null <"route-$link"
    for alias in "ifcfg-$link":*; do
        [ ! -f "$alias" ] || grep -q ^ONPARENT=no "$alias" || "$0" "${alias#ifcfg-}" || exit 1
    done
    for range in "ifcfg-$link"-range*; do
        [ ! -f "$range" ] || (. "./$range"; ip address replace "$IPADDR_START/$PREFIX" dev "$link")
    done ;;
esac
"""

ETH0 = """# The uplink
TYPE=Ethernet
BOOTPROTO=none
DEVICE=eth0
ONBOOT=yes
IPADDR=192.0.2.2
PREFIX=24
GATEWAY=192.0.2.1
DEFROUTE="yes"
NM_CONTROLLED=no
"""
ETH1 = "DEVICE='eth1'\nBOOTPROTO=none\nONBOOT=yes\nIPADDR=198.51.100.2\nPREFIX=24\nNM_CONTROLLED=no\n"
PEERS = {"eth0": "192.0.2.1/24", "eth1": "198.51.100.1/24", "eth2": "203.0.113.1/24"}


def ifcfg(name: str) -> str:
    return f"{DIRECTORY}/ifcfg-{name}"


@pytest.fixture
def host(products: Products, tmp_path: Path) -> Iterator[Host]:
    """eth0 with the default route and eth1 are up; eth2 has a cable; a change is open."""
    with ExitStack() as cleanup:
        system = debian.system(*(FOR_REAL if REAL else RECORDED))
        host, other = hosts.everything(cleanup, system, tmp_path, products.helper)
        for name, address in PEERS.items():
            hosts.cable(host, other, name, address)
        install(host)
        host.write("/etc/sysconfig/network", "NETWORKING=yes\nNOZEROCONF=yes\n")
        host.write(ifcfg("eth0"), ETH0)
        host.write(ifcfg("eth1"), ETH1)
        host.run("ifup", "eth0")
        host.run("ifup", "eth1")
        as_at_start(host)
        host.start()
        forget(host)
        yield host


def install(host: Host) -> None:
    """The recorder, or Red Hat's scripts where they are at hand."""
    if not REAL:
        for name in ("ifup", "ifdown", "ifquery"):
            host.remove(f"/usr/sbin/{name}")
        for name in ("ifup", "ifdown"):
            host.write(f"/usr/sbin/{name}", RECORDER, 0o755)
        host.write(f"{DIRECTORY}/ifup-eth", "", 0o755)
        return
    shutil.copytree(Path(REAL) / "network-scripts", host.root / DIRECTORY[1:], dirs_exist_ok=True)
    shutil.copy(Path(REAL) / "etc/rc.d/init.d/functions", host.root / "etc/init.d/functions")
    for name in ("ifup", "ifdown"):
        shutil.copy(host.root / DIRECTORY[1:] / name, host.root / "usr/sbin" / name)
    (host.root / "usr/bin/ipcalc").symlink_to("ipcalc-ng")
    (host.root / "usr/sbin/arping").symlink_to("../bin/arping")


def forget(host: Host) -> None:
    (host.root / LOG[1:]).write_text("")


def calls(host: Host) -> list[str]:
    """What ifup and ifdown were called with; calls of one level run at once, in any order."""
    return (host.root / LOG[1:]).read_text().splitlines()


def is_as_at_start(host: Host) -> bool:
    """Both interfaces have their address and no other, and the default route is there."""
    return (
        host.addresses("eth0") == ["192.0.2.2/24"]
        and host.addresses("eth1") == ["198.51.100.2/24"]
        and host.default_routes() == [("192.0.2.1", "eth0")]
    )


def as_at_start(host: Host) -> None:
    assert is_as_at_start(host), (host.links(), host.default_routes())


def rolled_back(host: Host, *wanted: str) -> str:
    """Roll back while eth1, which did not change, answers; then all is as it was, by these calls."""
    forget(host)
    with hosts.answering(host, "198.51.100.1"):
        said = host.rollback()
    as_at_start(host)
    host.run("ping", "-c1", "-w20", "192.0.2.1")
    assert (host.root / ifcfg("eth0")[1:]).read_text() == ETH0
    assert "eth1" not in said
    assert REAL or calls(host) == list(wanted)
    return said


def test_address_changed(host: Host) -> None:
    """The scripts leave both addresses after an edit and ifup: only the old one is left."""
    host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.run("ifup", "eth0")
    assert host.addresses("eth0") == ["192.0.2.2/24", "192.0.2.99/24"]
    rolled_back(host, "ifdown eth0", "ifup eth0")


def test_comments_quotes_and_blanks_are_no_change(host: Host) -> None:
    """No interface is touched: both answer all the time."""
    host.write(ifcfg("eth0"), "\n# new\n" + ETH0.replace("DEVICE=eth0", "export DEVICE='eth0' # uplink").replace('"yes"', "yes  "))
    host.write(ifcfg("eth0.bak"), "DEVICE=eth0\nIPADDR=192.0.2.77\n")
    with hosts.answering(host, "192.0.2.1"):
        said = rolled_back(host)
    assert "eth0" not in said


def test_interface_added(host: Host) -> None:
    """An added interface goes down while its file is there."""
    host.write(ifcfg("eth2"), "DEVICE=eth2\nBOOTPROTO=none\nIPADDR=203.0.113.2\nPREFIX=24\n")
    host.run("ifup", "eth2")
    assert host.addresses("eth2") == ["203.0.113.2/24"]
    assert "eth2" in rolled_back(host, "ifdown eth2")
    assert host.addresses("eth2") == []


def test_file_removed_and_still_up(host: Host) -> None:
    """ifdown fails without the file: it runs when the file is back."""
    host.remove(ifcfg("eth0"))
    assert host.call("ifdown", "eth0").returncode == 1
    rolled_back(host, "ifdown eth0", "ifup eth0")


def test_interface_removed(host: Host) -> None:
    """A removed interface is up again."""
    host.run("ifdown", "eth0")
    host.remove(ifcfg("eth0"))
    assert host.addresses("eth0") == []
    rolled_back(host, "ifdown eth0", "ifup eth0")


def test_file_renamed(host: Host) -> None:
    """A file of another name for the same DEVICE: down by the new name, up by the old."""
    host.remove(ifcfg("eth0"))
    host.write(ifcfg("uplink"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.run("ifup", "uplink")
    rolled_back(host, "ifdown uplink", "ifup eth0")


def test_bridge_out_of_the_uplink(host: Host) -> None:
    """The bridge goes, the uplink has its address again."""
    host.run("ifdown", "eth0")
    host.write(ifcfg("eth0"), "DEVICE=eth0\nBOOTPROTO=none\nBRIDGE=br0\n")
    host.write(ifcfg("br0"), "DEVICE=br0\nTYPE=Bridge\nBOOTPROTO=none\nIPADDR=192.0.2.2\nPREFIX=24\nGATEWAY=192.0.2.1\n")
    host.run("ifup", "eth0")
    host.run("ifup", "br0")
    assert host.addresses("br0") == ["192.0.2.2/24"]
    rolled_back(host, "ifdown br0", "ifdown eth0", "ifup eth0")
    assert "br0" not in host.links()


def test_alias_added(host: Host) -> None:
    """A further address goes; the interface that it stands on is left alone."""
    host.write(ifcfg("eth0:1"), "DEVICE=eth0:1\nIPADDR=192.0.2.50\nPREFIX=24\n")
    host.run("ifup", "eth0:1")
    assert host.addresses("eth0") == ["192.0.2.2/24", "192.0.2.50/24"]
    with hosts.answering(host, "192.0.2.1"):
        rolled_back(host, "ifdown eth0:1")


def test_range_added(host: Host) -> None:
    """A range is part of its interface, which goes down and up."""
    host.write(ifcfg("eth0-range0"), "IPADDR_START=192.0.2.60\nIPADDR_END=192.0.2.60\nPREFIX=24\nCLONENUM_START=5\n")
    host.run("ifup", "eth0")
    assert "192.0.2.60/24" in host.addresses("eth0")
    rolled_back(host, "ifdown eth0", "ifup eth0")


def test_route_added(host: Host) -> None:
    """A route file belongs to its interface."""
    host.write(f"{DIRECTORY}/route-eth0", "10.0.0.0/8 via 192.0.2.1\n")
    host.run("ifup", "eth0")
    assert host.run("ip", "route", "show", "10.0.0.0/8")
    rolled_back(host, "ifdown eth0", "ifup eth0")
    assert not host.run("ip", "route", "show", "10.0.0.0/8")


def test_syntax_broken(host: Host) -> None:
    """Half a file, with a quote that nothing closes: it says nothing of eth0 that holds."""
    host.write(ifcfg("eth0"), ETH0[:40] + "DEV='eth0\n<<<<<<< mine\nIPADDR=(\n")
    host.call("ifup", "eth0")
    rolled_back(host, "ifdown eth0", "ifdown eth0", "ifup eth0")


def test_vlan_on_the_uplink(host: Host) -> None:
    """The address moves to a VLAN on the uplink: the device goes, the uplink has it again."""
    host.run("ifdown", "eth0")
    host.write(ifcfg("vlan5"), "VLAN=yes\nDEVICE=vlan5\nPHYSDEV=eth0\nIPADDR=192.0.2.2\nPREFIX=24\nNM_CONTROLLED=no\n")
    host.write(ifcfg("eth0"), "DEVICE=eth0\nBOOTPROTO=none\nONBOOT=yes\nNM_CONTROLLED=no\n")
    host.run("ifup", "eth0")
    host.run("ifup", "vlan5")
    assert host.addresses("vlan5") == ["192.0.2.2/24"]
    rolled_back(host, "ifdown vlan5", "ifdown eth0", "ifup eth0")
    assert "vlan5" not in host.links()


LEASED = "DEVICE=eth{}\nBOOTPROTO=dhcp\nONBOOT=yes\nNM_CONTROLLED=no\n"


def test_dhcp_that_never_answers(host: Host) -> None:
    """While ifup still waits for the client, the static address is back."""
    host.run("ifdown", "eth0")
    host.write(ifcfg("eth0"), LEASED.format(0))
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    ifup = subprocess.Popen([*host.entry(), "ifup", "eth0"], **quiet)
    try:
        hosts.wait_for(lambda: asks(host), "the client to ask")
        rolled_back(host, "ifdown eth0", "ifup eth0")
    finally:
        ifup.kill()
        ifup.wait()


def test_lease_is_back(host: Host, tmp_path: Path) -> None:
    """Away from DHCP to a static address: lease, address and default route are back, from a real server."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth0", "192.0.2.2", tmp_path, router=True):
        host.run("ifdown", "eth0")
        host.write(ifcfg("eth0"), LEASED.format(0))
        host.run("ifup", "eth0")
        assert is_as_at_start(host) and host.leased("eth0")
        host.start()
        host.run("ifdown", "eth0")
        host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
        host.run("ifup", "eth0")
        with hosts.answering(host, "198.51.100.1"):
            assert "eth0" in host.rollback()
        assert is_as_at_start(host) and host.leased("eth0")
    assert (host.root / ifcfg("eth0")[1:]).read_text() == LEASED.format(0)


def test_a_server_that_is_gone_holds_nothing_up(host: Host, tmp_path: Path) -> None:
    """The lease can't come back: all else is back at once, and that is told."""
    host.run("networking-config", "commit_config")
    with hosts.dhcp_server(host.peer, "eth2", "203.0.113.50", tmp_path):
        host.write(ifcfg("eth2"), LEASED.format(2))
        host.run("ifup", "eth2")
        assert host.addresses("eth2") == ["203.0.113.50/24"]
        host.start()
        host.run("ifdown", "eth2")
    host.run("ifdown", "eth0")
    host.remove(ifcfg("eth2"))
    host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.run("ifup", "eth0")
    host.run("rm", "/run/eth2.leases")  # the client would go on with what it remembers
    with hosts.answering(host, "198.51.100.1"):
        host.rollback_waiting_for("eth2", lambda: is_as_at_start(host))


def test_deadline_with_nobody_there(host: Host) -> None:
    """The guard brings the interface back by itself."""
    host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.run("ifup", "eth0")
    with hosts.answering(host, "198.51.100.1"):
        host.wait_for_guard(lambda: is_as_at_start(host))


def test_address_deleted_by_hand(host: Host) -> None:
    """No file differs, yet what was up at the start comes up again."""
    host.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
    rolled_back(host, "ifdown eth0", "ifup eth0")


def test_what_is_not_back_is_told(host: Host) -> None:
    """A device that is gone: the file is back, the rest is up, and the call fails with its name."""
    host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.run("ip", "link", "del", "eth0")
    said = host.rollback("--limit", "20", status=1)
    assert "eth0 (is not there)" in said
    assert (host.root / ifcfg("eth0")[1:]).read_text() == ETH0
    assert host.addresses("eth1") == ["198.51.100.2/24"]


def test_network_manager_keeps_its_own(host: Host) -> None:
    """While it runs only what is NM_CONTROLLED=no is the scripts'."""
    host.run("mkdir", "-p", "/run/NetworkManager/devices")
    host.write("/usr/bin/nmcli", "#!/bin/sh\n# Stands in for one whose daemon answers.\n", 0o755)
    host.write(ifcfg("eth0"), ETH0.replace("192.0.2.2", "192.0.2.99"))
    host.write(ifcfg("eth2"), "DEVICE=eth2\nBOOTPROTO=none\nIPADDR=203.0.113.2\nPREFIX=24\n")
    rolled_back(host, "ifdown eth0", "ifup eth0")
