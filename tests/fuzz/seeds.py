#!/usr/bin/env python3
"""Make the corpus in tests/fuzz/corpus again: seeds for every target.

    .venv/bin/python tests/fuzz/seeds.py

Snapshots are taken by the library itself on small hosts, manifests are cut out
of them, scope files are written here.  What fuzzing found goes there by hand,
under a name that begins with "found-"; what it grew to reach more branches, "grown-".
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import build, ncf, snapshot, tree
from lib.ncf import Core

CORPUS = Path(__file__).resolve().parent / "corpus"
STATE = "var/lib/netcf"

SCOPES = {
    "empty": b"",
    "comment": b"# nothing\n\n   \n",
    "plain": b"etc/shadow\n/etc/hosts\n",
    "star": b"etc/*\netc/*/*\n!etc/netplan/*.yaml\n",
    "middle": b"etc/*/interfaces\n*/network/interfaces.d/?\n",
    "deep": b"etc/network/**\n!etc/network/interfaces.d/deep\n",
    "sets": b"etc/net[pw]*/[!b]*\netc/[a-z]*/[]]\netc/[^x-/[a-\n",
    "backtracking": b"etc/network/interfaces.d/" + b"*a" * 60 + b"*b\n",
    "crlf": b"  etc/shadow \r\n\tetc/netplan/**\r\n",
    "refused": b"../outside/secret\n",
    "through-a-link": b"etc/systemd/network/secret\n",
    "state": b"var/lib/netcf/**\n",
    "not-utf8": b"etc/\xff\xfe/*\netc/\x01\n",
    "no-newline": b"!etc/network/interfaces",
}

IFUPDOWN = """=== etc/network/interfaces
# comment
auto lo eth0 br0
iface lo inet loopback
source interfaces.d/*
source-directory interfaces.d
iface eth0 inet static \\
    address 192.0.2.2/24
    gateway 192.0.2.1
iface br0 inet dhcp inherits base
    bridge_ports eth0 eth1
    bond-master bond0
mapping eth* wlan0
    script /bin/map
    map a home
iface eth0.5 inet manual
    vlan-raw-device eth0
iface eth0:1 inet manual
=== etc/network/interfaces.d/a
allow-hotplug eth1
iface eth1 inet6 auto
    requires eth0
rename a=b
"""
NETWORKD = """=== etc/systemd/network/10-eth0.network
[Match]
Name=eth0 eth1
# comment
[Network]
Bridge=br0
VLAN=eth0.5
=== etc/systemd/network/10-eth0.network.d/more.conf
[Network]
Address=192.0.2.2/24
=== etc/systemd/network/05-br0.netdev
[NetDev]
Name=br0
Kind=bridge
=== etc/systemd/network/99-all.network
[Match]
Type=ether
[Network]
DHCP=yes
"""
IFCFG = """=== etc/sysconfig/network
GATEWAY=192.0.2.1
=== etc/sysconfig/network-scripts/ifcfg-uplink
export DEVICE="eth0" # comment
IPADDR='192.0.2.2'; PREFIX=24
MASTER=bond0
CONTROLLER=bond0
BRIDGE=br0
=== etc/sysconfig/network-scripts/ifcfg-eth0:1
IPADDR=192.0.2.3
ONPARENT=no
=== etc/sysconfig/network-scripts/ifcfg-eth0-range0
IPADDR_START=192.0.2.10
=== etc/sysconfig/network-scripts/ifcfg-eth0.5
VLAN=yes
PHYSDEV=eth0
NM_CONTROLLED=no
=== etc/sysconfig/network-scripts/route-eth0
10.0.0.0/8 via 192.0.2.1
=== etc/sysconfig/network-scripts/route6-eth0
ADDRESS0=10.0.0.0
=== etc/sysconfig/network-scripts/keys-uplink
KEY=s\\"ecret
=== etc/sysconfig/network-scripts/ifcfg-eth0.bak
DEVICE=eth0
"""
BRIDGE = """=== etc/sysconfig/network-scripts/ifcfg-eth0
DEVICE=eth0
BRIDGE=br0
=== etc/sysconfig/network-scripts/ifcfg-br0
DEVICE=br0
TYPE=Bridge
TEAM_CONFIG='{}'
BONDING_OPTS="mode=1 primary=eth0"
"""
NETPLAN = """=== etc/netplan/10-a.yaml
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0: {addresses: [192.0.2.2/24, "2001:db8::2/64"], routes: [{to: default, via: 192.0.2.1}]}
    more:
      match: {name: en*}
      dhcp4: true # comment
  bridges:
    br0:
      interfaces: [eth0, eth1]
  vlans:
    eth0.5:
      id: 5
      link: eth0
=== etc/netplan/20-b.yaml
network:
  ethernets:
    eth0:
      mtu: 1400
      nameservers:
        search: &names
        - 'a b'
        - |
          block
"""
KEYFILE = """=== etc/NetworkManager/system-connections/uplink.nmconnection
[connection]
id=uplink
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a11
type=ethernet
interface-name=eth0
controller=br0
port-type=bridge
[ipv4]
method=manual
address1=192.0.2.2/24,192.0.2.1
=== etc/NetworkManager/system-connections/br0.nmconnection
[connection]
id=br0
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a12
type=bridge
interface-name=br0
=== etc/NetworkManager/system-connections/vlan.nmconnection
[connection]
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a13
type=vlan
[vlan]
parent=eth0
id=5
"""
CIRCLE = """=== etc/network/interfaces
iface a inet manual
 requires b
iface b inet manual
 requires c
iface c inet manual
 requires a
source interfaces
"""


def changed(text: str, *edits: tuple[str, str]) -> bytes:
    """Files of the start, then the same with some words replaced."""
    now = text
    for old, new in edits:
        now = now.replace(old, new)
    return f"{text}=== now\n{now}".encode()


INTERFACES = {
    "ifupdown": changed(IFUPDOWN, ("192.0.2.2", "192.0.2.3"), ("eth1", "eth2")),
    "ifupdown-words": changed(IFUPDOWN, ("# comment\n", ""), ("    ", "\t")),
    "networkd": changed(NETWORKD, ("br0", "br1"), ("eth0 eth1", "eth0")),
    "ifcfg": changed(IFCFG, ("ifcfg-uplink", "ifcfg-eth0"), ("yes", "no")),
    "ifcfg-bridge": changed(BRIDGE, ("BRIDGE=br0", "IPADDR='192.0.2.2")),
    "netplan": changed(NETPLAN, ("192.0.2.2", "192.0.2.3"), ("- 'a b'", "- a: {")),
    "keyfiles": changed(KEYFILE, ("interface-name=eth0", ""), ("controller", "master")),
    "circle": changed(CIRCLE, ("requires a", "")),
}

# Each below 512 bytes, so that a short input has both sets whole.
FLOW = """=== etc/netplan/a.yaml
network: {ethernets: {eth0: {match: {macaddress: "02:00:00:00:00:01"}, set-name: lan0}},
  bonds: {bond0: {interfaces: [eth0, eth1], parameters: {mode: active-backup}}}}
"""
BLOCK = """=== etc/netplan/a.yaml
network:
  vlans:
    v5: {id: 5, link: eth0}
  ethernets:
    eth0:
      addresses:
      - 192.0.2.2/24: {label: a}
      - "fe80::1/64"
    all:
      match: {name: "en*"}
"""
MERGED = """=== etc/netplan/a.yaml
network: {renderer: NetworkManager, wifis: {wlan0: {dhcp4: yes}}}
=== etc/netplan/b.yaml
%YAML 1.1
---
network:
  wifis:
    wlan0:
      access-points: {? home : {password: 'it''s'}}
...
"""
BEYOND = """=== etc/netplan/a.yaml
network:
  ethernets: &all
    "eth\\x30": !str {dhcp4: |-
      folded
  bridges: *all
  tunnels: {<<: *all}
	vrfs: >+1
"""
PORTS = """=== etc/NetworkManager/system-connections/p
[connection]
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a11
type=ethernet
interface-name=eth0
controller=br0
=== etc/NetworkManager/system-connections/b
[connection]
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a12
type=bridge
interface-name=br0
timestamp=1
"""
PARENT = """=== etc/NetworkManager/system-connections/v
[connection]
uuid=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a13
type=vlan
# comment
[vlan]
parent=eth0;
[ethernet]
mac-address=02:00:00:00:00:01
"""

NETPLANS = {
    "flow": changed(FLOW, ("eth1", "eth2")),
    "block": changed(BLOCK, ("link: eth0", "link: all"), ("192.0.2.2", "192.0.2.3")),
    "merged": changed(MERGED, ("yes", "no")),
    "beyond": changed(BEYOND, ("<<", "gre0")),
    "ports": changed(PORTS, ("timestamp=1", "timestamp=2"), ("eth0", "eth1")),
    "parent": changed(PARENT, ("parent=eth0", "parent=6b4d0a4e-6b7c-4f4e-9c1c-1b1f6e2f3a11")),
    "both": (FLOW + PARENT + "=== now\n" + BLOCK).encode(),
}


def small(root: Path) -> None:
    """The scratch host of scratch.c, near enough."""
    tree.empty(root)
    tree.write(root, "etc/netplan/a.yaml", b"network: {version: 2}\n", 0o600)
    tree.write(root, "etc/network/interfaces", b"auto lo\niface lo inet loopback\n")
    tree.write(root, "etc/network/interfaces.d/a", b"auto eth0\n")
    tree.write(root, "etc/network/interfaces.d/b", b"")
    tree.write(root, "etc/network/interfaces.d/deep/c", b"iface eth0 inet dhcp\n")


def nothing(root: Path) -> None:
    tree.empty(root)


def one_file(root: Path) -> None:
    tree.write(root, "etc/network/interfaces", b"other content\n", 0o600)


def links(root: Path) -> None:
    small(root)
    os.link(root / "etc/netplan/a.yaml", root / "etc/network/interfaces.d/again")
    os.symlink("a", root / "etc/network/interfaces.d/soft")
    os.symlink("/nowhere", root / "etc/network/interfaces.d/dangling")


def attributes(root: Path) -> None:
    small(root)
    os.setxattr(root / "etc/network/interfaces", "user.note", b"a value\0with NUL")
    os.setxattr(root / "etc/network/interfaces.d", "user.empty", b"")
    os.chmod(root / "etc/network/interfaces.d/a", 0o4755)


def odd_names(root: Path) -> None:
    small(root)
    for name in (b"two\nlines", b"caf\xe9 %", b"long-" * 40):
        tree.write(root, b"etc/network/interfaces.d/" + name, b"x\n")


def times(root: Path) -> None:
    one_file(root)
    tree.write(root, "etc/netplan/a.yaml", b"")
    os.utime(root / "etc/network/interfaces", ns=(0, -1_500_000_000))
    os.utime(root / "etc/netplan/a.yaml", ns=(0, 2**34 * 10**9 + 1))


def special(root: Path) -> None:
    small(root)
    os.mkfifo(root / "etc/network/interfaces.d/fifo")


def types(root: Path) -> None:
    """Other types than on the scratch host: what is a file there is a directory, and the reverse."""
    tree.write(root, "etc/network/interfaces.d/a/file", b"a is a directory\n")
    tree.write(root, "etc/network/interfaces.d/deep", b"deep is a file\n")
    os.symlink("c", root / "etc/network/interfaces.d/b")


def modes(root: Path) -> None:
    small(root)
    os.chmod(root / "etc/network/interfaces.d", 0o2711)
    os.chmod(root / "etc/netplan/a.yaml", 0o644)


def age(root: Path) -> None:
    """Whole seconds: those need no pax header, which keeps the seeds small."""
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 10**18), follow_symlinks=False)


WHOLE = [nothing, one_file, small, links, attributes, odd_names, times, special, types, modes]


def whole(core: Core, root: Path) -> None:
    core.start(root)


def whole_with_options(core: Core, root: Path) -> None:
    with core.open(root) as handle:
        handle.set_options(note=b"why \xff\n", token=b"secret", deadline=600)
        handle.start()


def on_write(core: Core, root: Path) -> None:
    core.start(root, ncf.START_ON_WRITE)
    for path in sorted(tree.capture(root))[-4:]:
        core.announce(root, path)
    core.announce(root, "etc/network/nothing/there")


def snapshots(core: Core) -> Iterator[tuple[str, bytes]]:
    """Twenty seed snapshots and what they are called."""
    for host in WHOLE:
        for start in (whole_with_options if host is small else whole, on_write):
            root = Path(tempfile.mkdtemp(prefix="ncf-seed-", dir="/dev/shm"))
            try:
                host(root)
                if host is not times:
                    age(root)
                start(core, root)
                data = (root / STATE / "network-snapshot.tar").read_bytes()
                yield f"{host.__name__}-{start.__name__}".replace("_", "-"), data
            finally:
                shutil.rmtree(root)


def make(core: Core, corpus: Path) -> None:
    """Write the whole corpus below a directory."""
    for name in ("manifest", "rollback", "scope", "interfaces", "netplan"):
        (corpus / name).mkdir(parents=True, exist_ok=True)
        for old in (corpus / name).iterdir():
            if not old.name.startswith(("found-", "every-", "grown-")):
                old.unlink()
    for name, data in snapshots(core):
        path = corpus / "rollback" / name
        path.write_bytes(data)
        lines = snapshot.read(path).lines
        (corpus / "manifest" / name).write_bytes(b"".join(line + b"\n" for line in lines))
    for name, data in SCOPES.items():
        (corpus / "scope" / name).write_bytes(data)
    for name, data in INTERFACES.items():
        (corpus / "interfaces" / name).write_bytes(data)
    for name, data in NETPLANS.items():
        (corpus / "netplan" / name).write_bytes(data)


if __name__ == "__main__":
    make(Core(build.products().test_library), CORPUS)
