"""VLANs, bonds and .link files, edited out of reach and brought back, where all is there: Debian, in QEMU.

One boot runs all scenarios, one stack after another.  ifupdown2 and ifupdown-ng, which Debian's
packages don't let be beside ifupdown, take its place: the files of their packages for those of its own.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from boot import guests
from interface.test_ifupdown import SYSTEMS
from lib import debian
from lib.machine import Boot

pytestmark = [pytest.mark.root, pytest.mark.slow]

# What every scenario uses.  `state` has all that a rollback has to bring back: names, what a VLAN
# stands on and its number, what a bond is made of and its mode, who is up, addresses, default routes.
# A new bond has no carrier until it has looked at its ports for the first time.
TOOLS = r"""
state() {
    ip -o link show | sed 's/^[0-9]*: //; s/NO-CARRIER,//; s/ mtu .* \(master [^ ]*\) .*/ \1/; s/ mtu .*//'
    ip -o -4 address show | awk '{ print $2, $4 }'
    # NetworkManager itself counts metrics up.
    ip -4 route show default | sed 's/ metric [0-9]*//'
    grep . /sys/class/net/*/mtu
    [ ! -d /proc/net/vlan ] || sed 1,2d /proc/net/vlan/config
    for bond in /sys/class/net/*/bonding; do
        [ ! -d $bond ] || echo "$bond $(cat $bond/mode) $(tr ' ' '\n' <$bond/slaves | sort | xargs)"
    done
}
settled() { state | cmp -s - /run/start; }
without() { [ ! -e /sys/class/net/$1 ]; }
member() { [ "$(readlink /sys/class/net/$1/master)" = ../$2 ]; }
start() {
    section "$1"
    state >/run/start
    cat /run/start
    networking-config snapshot_config >/dev/null
}
back() {
    section "$1, edited"
    state
    ip -o monitor link address route dev keep >/run/keep &
    section "$1, said"
    networking-config rollback_config && echo done
    section "$1, back"
    n=0
    until settled || [ $n = 40 ]; do n=$((n + 1)); sleep 0.2; done
    state
    kill $!
    section "$1, neighbour"
    sed '/fe80::/d' /run/keep # NetworkManager has it tried anew
}
iface() { # NAME METHOD-OR-ADDRESS [OPTION]...
    name=$1 address=$2
    shift 2
    {
        echo "auto $name"
        case $address in
        manual) echo "iface $name inet manual" ;;
        *) printf 'iface %s inet static\n address %s\n' $name $address ;;
        esac
        for option; do echo " $option"; done
    } >$interfaces/$name
}
network() { # NAME [LINE]...
    name=$1
    shift
    printf '[Match]\nName=%s\n[Network]\nLinkLocalAddressing=no\n' $name >/etc/systemd/network/$name.network
    printf '%s\n' "$@" >>/etc/systemd/network/$name.network
}
netdev() { # NAME KIND [LINE]...
    name=$1 kind=$2
    shift 2
    printf '[NetDev]\nName=%s\nKind=%s\n' $name $kind >/etc/systemd/network/$name.netdev
    printf '%s\n' "$@" >>/etc/systemd/network/$name.netdev
}
link() { # FILE MATCH LINE
    printf '[Match]\n%s\n[Link]\n%s\n' "$2" "$3" >/etc/systemd/network/$1.link
}
udev() { # NAME: as if it had just been plugged in
    udevadm control --reload
    udevadm trigger --settle --action=add --subsystem-match=net --sysname-match=$1
}
keyfile() { # NAME TYPE [LINE]...
    name=$1 kind=$2
    shift 2
    file=/etc/NetworkManager/system-connections/$name.nmconnection
    uuid=$(echo $name | md5sum | sed 's/\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)\(.\{12\}\).*/\1-\2-\3-\4-\5/')
    printf '[connection]\nid=%s\nuuid=%s\ntype=%s\ninterface-name=%s\n' $name $uuid $kind $name >$file
    printf '%s\n' "$@" '[ipv6]' method=disabled >>$file
    chmod 600 $file
}
yaml() { # RENDERER LINE...
    printf 'network:\n version: 2\n renderer: %s\n' $1 >/etc/netplan/guest.yaml
    shift
    printf '%s\n' "$@" >>/etc/netplan/guest.yaml
    chmod 600 /etc/netplan/guest.yaml
}
bare() {
    rm -f $interfaces/* /etc/systemd/network/* /etc/netplan/* /etc/NetworkManager/system-connections/*
    for name in eth0.5 vlan5 vlan6 bond0; do without $name || ip link delete $name; done
    for name in eth0 keep port1 port2 port3; do ip address flush dev $name; done
    ip route flush default
}
become() { # PACKAGE, and another ifupdown goes
    for file in $(cat /var/lib/dpkg/info/ifupdown.list /var/lib/dpkg/info/vlan.list /var/lib/dpkg/info/ifenslave.list); do
        [ -d $file ] || rm -f $file
    done
    [ ! -e /sbin/ifreload ] || rm -rf /sbin/if[rudq]* /usr/share/ifupdown2
    cp -a /stacks/$1/. /
}
addresses() {
    for port in eth0:10.0.0.1 keep:10.9.0.1 port1:10.1.0.1 port2:10.2.0.1 port3:10.3.0.1; do
        wait_for has_address ${port%:*} ${port#*:}
    done
}
ip netns add cables
for name in keep port1 port2 port3; do
    ip link add $name type veth peer name $name netns cables
    ip -n cables link set $name up
done
"""

WITH_IFUPDOWN = """
wait_for has_address eth0 10.0.0.1
ifdown eth0
iface eth0 10.0.0.1/24 "gateway 10.0.0.254"
iface keep 10.9.0.1/24
iface port1 10.1.0.1/24
iface port2 10.2.0.1/24
iface port3 10.3.0.1/24
ifup eth0 keep port1 port2 port3
"""

WITH_NETWORKD = """
ifdown --force eth0 vlan6 bond0 port1 port2 port3
rm -f $interfaces/*
network eth0 Address=10.0.0.1/24 Gateway=10.0.0.254
network keep Address=10.9.0.1/24
network port1 Address=10.1.0.1/24
network port2 Address=10.2.0.1/24
network port3 Address=10.3.0.1/24
systemctl start systemd-networkd
addresses
"""

ROUTE = "   routes: [{to: default, via: 10.0.0.254}]"
OTHERS = """'  keep: {addresses: [10.9.0.1/24]}' '  port3: {addresses: [10.3.0.1/24]}'"""
PORTS = """'  port1: {addresses: [10.1.0.1/24]}' '  port2: {addresses: [10.2.0.1/24]}'"""
UPLINK = f"""'  eth0:' '   addresses: [10.0.0.1/24]' '{ROUTE}'"""


def with_netplan(renderer: str, start: str) -> str:
    return f"""
systemctl stop systemd-networkd.socket systemd-networkd NetworkManager
bare
yaml {renderer} ' ethernets:' {UPLINK} {PORTS} {OTHERS}
netplan generate
systemctl {start}
addresses
"""


WITH_NETWORKMANAGER = """
systemctl stop systemd-networkd.socket systemd-networkd
bare
keyfile eth0 ethernet '[ipv4]' method=manual address1=10.0.0.1/24,10.0.0.254
keyfile keep ethernet '[ipv4]' method=manual address1=10.9.0.1/24
keyfile port1 ethernet '[ipv4]' method=manual address1=10.1.0.1/24
keyfile port2 ethernet '[ipv4]' method=manual address1=10.2.0.1/24
keyfile port3 ethernet '[ipv4]' method=manual address1=10.3.0.1/24
systemctl start NetworkManager
addresses
"""


def with_other_ifupdown(package: str, source: str) -> str:
    return f"""
systemctl stop NetworkManager
bare
become {package}
printf 'auto lo\\niface lo inet loopback\\n{source}\\n' >/etc/network/interfaces
rm -rf /run/network /run/ifstate*
mkdir /run/network
iface eth0 10.0.0.1/24 "gateway 10.0.0.254"
iface keep 10.9.0.1/24
iface port1 10.1.0.1/24
iface port2 10.2.0.1/24
iface port3 10.3.0.1/24
ifup -a
addresses
"""



@dataclass(frozen=True)
class Scenario:
    """What is there at the start beside what is there already, and the edit, which is applied."""

    name: str
    edit: str
    first: str = ""
    # In the state after the edit and not before: the edit took place.
    shows: str = ""
    reports: tuple[str, ...] = ()
    # networkd is restarted, which takes every address away for a moment.
    restarts: bool = False

    def job(self) -> str:
        return f'{self.first}\nstart "{self.name}"\n{self.edit}\nback "{self.name}"\n'


IFUPDOWN = [
    Scenario(
        "ifupdown: the uplink's address moves to a VLAN on it",
        """
        ifdown eth0
        iface eth0 manual "up ip link set eth0 mtu 1300"
        iface eth0.5 10.0.0.1/24 "gateway 10.0.0.254"
        ifup eth0 eth0.5
        """,
        shows="eth0.5@eth0: <BROADCAST,MULTICAST,UP,LOWER_UP>",
        reports=("eth0", "eth0.5"),
    ),
    Scenario(
        "ifupdown: a VLAN's address changed",
        """
        ifdown vlan6
        iface vlan6 10.6.0.99/24 "vlan-raw-device eth0"
        ifup vlan6
        """,
        first="""
        iface vlan6 10.6.0.1/24 "vlan-raw-device eth0"
        ifup vlan6
        """,
        shows="vlan6 10.6.0.99/24",
        reports=("vlan6",),
    ),
    Scenario(
        "ifupdown: a VLAN moved to another link",
        """
        ifdown vlan6
        iface vlan6 10.6.0.1/24 "vlan-raw-device port1"
        ifup vlan6
        """,
        shows="vlan6@port1: <BROADCAST,MULTICAST,UP,LOWER_UP>",
        reports=("vlan6",),
    ),
    Scenario(
        "ifupdown: a VLAN removed",
        """
        ifdown vlan6
        rm $interfaces/vlan6
        """,
        reports=("vlan6",),
    ),
    Scenario(
        "ifupdown: a bond made out of two links that had addresses",
        """
        ifdown port1 port2
        iface port1 manual
        iface port2 manual
        iface bond0 10.1.0.1/24 "bond-slaves port1 port2" "bond-mode active-backup" "bond-miimon 100"
        ifup bond0
        """,
        shows="/sys/class/net/bond0/bonding active-backup 1 port1 port2",
        reports=("bond0", "port1", "port2"),
    ),
    Scenario(
        "ifupdown: a bond's slaves changed",
        """
        ifdown bond0
        ifdown port3
        iface bond0 10.1.0.1/24 "bond-slaves port1 port3" "bond-mode active-backup" "bond-miimon 100"
        ifup bond0
        """,
        first="""
        ifdown port1 port2
        rm $interfaces/port1 $interfaces/port2
        iface bond0 10.1.0.1/24 "bond-slaves port1 port2" "bond-mode active-backup" "bond-miimon 100"
        ifup bond0
        """,
        shows="/sys/class/net/bond0/bonding active-backup 1 port1 port3",
        reports=("bond0",),
    ),
]

NETWORKD = [
    Scenario(
        "networkd: the uplink's address moves to a VLAN on it",
        """
        netdev vlan5 vlan "[VLAN]" Id=5
        network vlan5 Address=10.0.0.1/24 Gateway=10.0.0.254
        network eth0 VLAN=vlan5
        networkctl reload
        wait_for has_address vlan5 10.0.0.1
        """,
        shows="vlan5 10.0.0.1/24",
        reports=("eth0", "vlan5"),
    ),
    Scenario(
        "networkd: a VLAN's number changed, its link's file not",
        """
        netdev vlan6 vlan "[VLAN]" Id=66
        ip link delete vlan6
        systemctl restart systemd-networkd
        wait_for grep -q 66 /proc/net/vlan/vlan6
        wait_for has_address vlan6 10.6.0.1
        """,
        first="""
        netdev vlan6 vlan "[VLAN]" Id=6
        network vlan6 Address=10.6.0.1/24
        network eth0 Address=10.0.0.1/24 Gateway=10.0.0.254 VLAN=vlan6
        networkctl reload
        wait_for has_address vlan6 10.6.0.1
        wait_for has_address eth0 10.0.0.1
        """,
        shows="vlan6          | 66  | eth0",
        reports=("vlan6",),
        restarts=True,
    ),
    Scenario(
        "networkd: a bond made out of two links that had addresses",
        """
        netdev bond0 bond "[Bond]" Mode=active-backup
        network bond0 Address=10.1.0.1/24
        network port1 Bond=bond0
        network port2 Bond=bond0
        networkctl reload
        wait_for has_address bond0 10.1.0.1
        wait_for member port1 bond0
        wait_for member port2 bond0
        """,
        shows="/sys/class/net/bond0/bonding active-backup 1 port1 port2",
        reports=("bond0", "port1", "port2"),
    ),
    Scenario(
        "networkd: a bond's mode changed, its ports' files not",
        """
        netdev bond0 bond "[Bond]" Mode=balance-xor
        ip link delete bond0
        systemctl restart systemd-networkd
        wait_for has_address bond0 10.1.0.1
        wait_for member port1 bond0
        wait_for member port2 bond0
        """,
        first="""
        netdev bond0 bond "[Bond]" Mode=active-backup
        network bond0 Address=10.1.0.1/24
        network port1 Bond=bond0
        network port2 Bond=bond0
        networkctl reload
        wait_for has_address bond0 10.1.0.1
        wait_for member port1 bond0
        wait_for member port2 bond0
        """,
        shows="/sys/class/net/bond0/bonding balance-xor 2 port1 port2",
        reports=("bond0",),
    ),
]

# Names before Debian's 99-default.link: the first file that matches is taken.
LINKS = [
    Scenario(
        "udev: a .link file changed",
        "link 20-uplink OriginalName=eth0 MTUBytes=1300; udev eth0",
        first="link 20-uplink OriginalName=eth0 MTUBytes=1400; udev eth0",
        shows="/sys/class/net/eth0/mtu:1300",
        reports=("20-uplink.link",),
    ),
    Scenario(
        "udev: a .link file added, which comes before",
        "link 10-all 'OriginalName=eth*' MTUBytes=1200; udev eth0",
        shows="/sys/class/net/eth0/mtu:1200",
        reports=("10-all.link",),
    ),
    Scenario(
        "udev: a .link file removed, and another found",
        "rm /etc/systemd/network/30-one.link; udev port3",
        first="""
        ip link set port3 address 02:00:00:00:00:03
        link 30-one MACAddress=02:00:00:00:00:03 MTUBytes=1400
        link 40-both 'MACAddress=02:00:00:00:00:03 02:00:00:00:00:04' MTUBytes=1250
        udev port3
        """,
        shows="/sys/class/net/port3/mtu:1250",
        reports=("30-one.link",),
    ),
]

VLAN = "the uplink's address moves to a VLAN on it"
BOND = "a bond made out of two links that had addresses"


def netplan(renderer: str) -> list[Scenario]:
    """`netplan apply` also restarts, deletes and waits; it needs the real systemd, which is here."""
    name = f"netplan over {renderer}"
    return [
        Scenario(
            f"{name}: {VLAN}",
            f"""
            yaml {renderer} ' ethernets:' '  eth0: {{}}' {PORTS} {OTHERS} ' vlans:' {UPLINK.replace("eth0:", "vlan5:")} '   id: 5' '   link: eth0'
            netplan apply >/run/said 2>&1 || cat /run/said
            wait_for has_address vlan5 10.0.0.1
            wait_for has_address keep 10.9.0.1
            """,
            shows="vlan5 10.0.0.1/24",
            reports=("eth0", "vlan5"),
        ),
        Scenario(
            f"{name}: {BOND}",
            f"""
            yaml {renderer} ' ethernets:' '  port1: {{}}' '  port2: {{}}' {UPLINK} {OTHERS} ' bonds:' '  bond0:' \
                '   addresses: [10.1.0.1/24]' '   interfaces: [port1, port2]' '   parameters: {{mode: active-backup}}'
            netplan apply >/run/said 2>&1 || cat /run/said
            wait_for has_address bond0 10.1.0.1
            wait_for member port1 bond0
            wait_for member port2 bond0
            wait_for has_address keep 10.9.0.1
            """,
            shows="/sys/class/net/bond0/bonding active-backup 1 port1 port2",
            reports=("bond0", "port1", "port2"),
        ),
    ]


NETWORKMANAGER = [
    Scenario(
        f"NetworkManager: {VLAN}",
        """
        keyfile eth0 ethernet '[ipv4]' method=disabled
        keyfile vlan5 vlan '[vlan]' id=5 parent=eth0 '[ipv4]' method=manual address1=10.0.0.1/24,10.0.0.254
        nmcli connection reload
        nmcli connection up eth0 >/dev/null
        nmcli connection up vlan5 >/dev/null
        """,
        shows="vlan5 10.0.0.1/24",
        reports=("eth0", "vlan5"),
    ),
    Scenario(
        f"NetworkManager: {BOND}",
        """
        keyfile bond0 bond '[bond]' mode=active-backup '[ipv4]' method=manual address1=10.1.0.1/24
        keyfile port1 ethernet master=bond0 slave-type=bond
        keyfile port2 ethernet master=bond0 slave-type=bond
        nmcli connection reload
        nmcli connection up bond0 >/dev/null
        nmcli connection up port1 >/dev/null
        nmcli connection up port2 >/dev/null
        """,
        shows="/sys/class/net/bond0/bonding active-backup 1 port1 port2",
        reports=("bond0", "port1", "port2"),
    ),
]


def other_ifupdown(package: str) -> list[Scenario]:
    """The edit is applied as people do there."""
    vlan, bond = {"ifupdown2": ("ifreload -a", "ifreload -a"), "ifupdown-ng": ("ifup eth0 eth0.5", "ifup bond0")}[package]
    return [
        Scenario(
            f"{package}: {VLAN}",
            f"""
            ifdown eth0
            iface eth0 manual
            iface eth0.5 10.0.0.1/24 "gateway 10.0.0.254"
            {vlan}
            """,
            shows="eth0.5 10.0.0.1/24",
            reports=("eth0", "eth0.5"),
        ),
        Scenario(
            f"{package}: {BOND}",
            f"""
            ifdown port1 port2
            iface port1 manual
            iface port2 manual
            iface bond0 10.1.0.1/24 "bond-slaves port1 port2" "bond-mode active-backup" "bond-miimon 100"
            {bond}
            """,
            shows="/sys/class/net/bond0/bonding active-backup 1 port1 port2",
            reports=("bond0", "port1", "port2"),
        ),
    ]


# In the order in which they run: what goes before the first scenario of each, and its scenarios.
STACKS = [
    (WITH_IFUPDOWN, IFUPDOWN),
    (WITH_NETWORKD, [*NETWORKD, *LINKS]),
    (WITH_NETWORKMANAGER, NETWORKMANAGER),
    (with_netplan("networkd", "start systemd-networkd"), netplan("networkd")),
    (with_netplan("NetworkManager", "start NetworkManager"), netplan("NetworkManager")),
    (with_other_ifupdown("ifupdown2", "source /etc/network/interfaces.d/*"), other_ifupdown("ifupdown2")),
    (
        with_other_ifupdown("ifupdown-ng", "source-directory /etc/network/interfaces.d"),
        other_ifupdown("ifupdown-ng"),
    ),
]
SCENARIOS = [scenario for _, scenarios in STACKS for scenario in scenarios]


def prepare(tree: Path) -> None:
    """The service of the guest; NetworkManager waits for its turn; the other ifupdowns lie ready."""
    guests.with_service(tree)
    debian.inside(tree, "systemctl", "disable", "NetworkManager")
    # Its udev rules leave a veth to whoever made it.
    (tree / "etc/NetworkManager/conf.d/veth.conf").write_text("[device]\nmatch-device=driver:veth\nmanaged=1\n")
    for package in ("ifupdown2", "ifupdown-ng"):
        system = debian.system(*SYSTEMS[package])
        for line in (system / f"var/lib/dpkg/info/{package}.list").read_text().splitlines():
            if line.startswith(("/usr/share/doc", "/usr/share/man", "/lib/systemd", "/etc/init.d")):
                continue
            source = system / line[1:]
            # Packages still have files in /sbin, which is a link.
            target = tree / "stacks" / package / ("usr" if line.startswith("/sbin") else "") / line[1:]
            if not source.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """The one boot."""
    job = TOOLS + "".join(before + "".join(one.job() for one in scenarios) for before, scenarios in STACKS)
    packages = (*guests.SYSTEMD, "vlan", "ifenslave", "network-manager", "libbsd0")
    guest = guests.make(tmp_path_factory.mktemp("guest"), packages, False, prepare)
    return guest.boot(job, line="net.ifnames=0")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_it_is_back(boot: Boot, scenario: Scenario) -> None:
    """Devices, what they stand on, addresses and routes are as at the start; nothing happened to the neighbour."""
    start, edited, said, back = (boot.section(scenario.name + part) for part in ("", ", edited", ", said", ", back"))
    assert "not in time" not in " ".join(start + edited)
    assert edited != start
    assert not scenario.shows or scenario.shows in edited
    assert back == start
    assert said[-1] == "done"
    for name in scenario.reports:
        assert name in " ".join(said)
    assert scenario.restarts or boot.section(scenario.name + ", neighbour") == []
