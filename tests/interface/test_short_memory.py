"""Memory is short while the files of interfaces are read: told, or without effect, and nothing kept."""

from __future__ import annotations

import itertools

import pytest

from interface.test_model import ETH0, ETH1, NETDEV, NETWORK, UPLINK, ifcfg, ifupdown, networkd
from lib import faults, interfaces
from lib.interfaces import Files, Model
from lib.ncf import Core

LONG = "x" * 5000  # more than the first room of a buffer
KEYFILE = "[connection]\nuuid={uuid}\ntype={type}\ninterface-name={name}\n[ipv4]\naddress1=192.0.2.{n}/24\n{more}\n"


def netplan(text: str) -> Files:
    return {
        "etc/netplan/01.yaml": f"network:\n  ethernets:\n    lan: {{match: {{name: eth0}}}}\n{text}",
        "etc/netplan/04.yaml": f"network: {{ethernets: {{i{LONG}: {{set-name: n{LONG}}}}}, bonds: {{b: {{interfaces: [i{LONG}]}}}}}}",
        "etc/netplan/02.yaml": f"network: {{bonds: {{bond0: {{interfaces: [lan], mtu: {LONG}}}}}}}",
        "etc/netplan/03.yaml": "network: [broken",
        "etc/systemd/network/10-netplan-lan.network.d/more.conf": "[Link]\nMTUBytes=1300\n",
    }


def keyfiles(last: int) -> Files:
    bond = KEYFILE.format(uuid="u-1", type="bond", name="bond0", n=2, more=LONG)
    port = KEYFILE.format(uuid="u-2", type="ethernet", name="eth0", n=last, more="[connection]\nmaster=u-1\ncontroller=bond0")
    rows = {"d": KEYFILE.format(uuid=LONG, type="x", name="y", n=4, more=""), "a": bond, "b": port, "c": "[connection]\ntype=vlan\n"}
    return {f"etc/NetworkManager/system-connections/{name}": text for name, text in rows.items()}


# For each stack the files of the start and of now.
CASES: dict[str, tuple[Files, Files]] = {
    "ifupdown": (
        ifupdown("source interfaces.d/*\nmapping e* x\n map a eth1\n" + ETH1, a=ETH0 + f" up {LONG}\n bond-master bond0\n"),
        ifupdown(ETH1 + ETH0 + " bridge_ports eth1\n" + "".join(f"iface i{n} inet x\n requires eth1\n" for n in range(40))),
    ),
    "networkd": (
        networkd(a__network=NETWORK, b__netdev=NETDEV),
        networkd(a__network=NETWORK + f"Description={LONG}\n", b__netdev=NETDEV),
    ),
    "networkscripts": (
        ifcfg({"ifcfg-uplink": UPLINK + "BRIDGE=br0\n", "route-eth0": f"x {LONG}\n"}, f"GATEWAY={LONG}\n"),
        ifcfg({"ifcfg-eth0": UPLINK, "ifcfg-br0": "DEVICE=br0\nTYPE=Bridge\n"}, "GATEWAY=192.0.2.1\n"),
    ),
    "networkmanager": (keyfiles(2), keyfiles(3)),
    "netplan": (netplan("  bridges: {br0: {interfaces: [bond0]}}\n"), netplan("")),
}


def whole(core: Core, stack: str) -> object:
    """All that is made of the files."""
    was_files, now_files = CASES[stack]
    models: list[Model] = []
    try:
        models += [Model(core, stack, was_files)]
        models += [Model(core, stack, now_files)]
        unread = [model.raw.unread for model in models]
        return [model.units() for model in models], unread, interfaces.plan(*models)
    finally:
        for model in models:
            model.close()


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("stack", CASES)
def test_every_allocation_fails(core: Core, stack: str, lasting: bool) -> None:
    """No interface is forgotten in silence: the whole plan, or an error; and no memory is kept."""
    interfaces.check_headers()
    expected, held = whole(core, stack), faults.held(core)
    told = 0
    for k in itertools.count(1):
        with faults.Memory(core, k, lasting) as memory:
            try:
                found = whole(core, stack)
            except MemoryError:
                found, told = expected, told + 1
        if memory.count < k:
            break
        assert found == expected, f"allocation {k}"
        assert faults.held(core) == held, f"allocation {k}"
    assert told > 10
