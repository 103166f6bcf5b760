"""Which interfaces a rollback touches, in which order: every parser and the plan as pure functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lib import interfaces
from lib.interfaces import ADDED, BY_HAND, CHANGED, REMOVED, SAME, WITH_OTHERS, Files, Model, Move
from lib.ncf import Core

Parse = Callable[[str, Files], Model]


@pytest.fixture
def parse(core: Core) -> Iterator[Parse]:
    """A stack's parser on some files."""
    interfaces.check_headers()
    with ExitStack() as cleanup:

        def call(stack: str, files: Files) -> Model:
            model = Model(core, stack, files)
            cleanup.callback(model.close)
            return model

        yield call


def ifupdown(text: str, **more: str) -> Files:
    return {"etc/network/interfaces": text, **{f"etc/network/interfaces.d/{k}": v for k, v in more.items()}}


def networkd(**files: str) -> Files:
    return {f"etc/systemd/network/{name.replace('__', '.')}": text for name, text in files.items()}


def ifcfg(files: Files, network: str = "") -> Files:
    rows = {f"etc/sysconfig/network-scripts/{name}": text for name, text in files.items()}
    return {**rows, **({"etc/sysconfig/network": network} if network else {})}


def changes(parse: Parse, stack: str, was: Files, now: Files, *by_hand: str) -> dict[str, int]:
    """What becomes of each interface, those that stay left out."""
    moves = interfaces.plan(parse(stack, was), parse(stack, now), *by_hand)
    return {name: move.change for name, move in moves.items() if move.change != SAME}


ETH0 = "iface eth0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n"
ETH1 = "iface eth1 inet dhcp\n"
BRIDGE = "iface br0 inet dhcp\n    bridge_ports eth0 eth1\niface br0.7 inet manual\n"


# ---- the plan ----


def test_added_removed_changed_and_unchanged(parse: Parse) -> None:
    """Each by its stanza, though all are in one file."""
    was = ifupdown(ETH0 + ETH1 + "iface a inet manual\n")
    now = ifupdown(ETH0.replace("2.2", "2.3") + ETH1 + "iface b inet manual\n")
    assert changes(parse, "ifupdown", was, now) == {"eth0": CHANGED, "a": REMOVED, "b": ADDED}


def test_what_stands_on_a_change_changes_with_it(parse: Parse) -> None:
    """Upwards, through every level, and never downwards."""
    files = ifupdown(ETH0 + ETH1 + BRIDGE)
    assert changes(parse, "ifupdown", files, files, "eth0") == {"eth0": BY_HAND, "br0": WITH_OTHERS, "br0.7": WITH_OTHERS}
    assert changes(parse, "ifupdown", files, files, "br0") == {"br0": BY_HAND, "br0.7": WITH_OTHERS}


def test_levels_of_the_start_and_of_now(parse: Parse) -> None:
    """Down goes by what stands on what at present, up by how it stood at the start."""
    was, now = parse("ifupdown", ifupdown(ETH0 + ETH1)), parse("ifupdown", ifupdown(ETH0 + ETH1 + BRIDGE))
    assert interfaces.plan(was, now) == {
        "br0": Move(ADDED, 0, 1),
        "br0.7": Move(ADDED, 0, 2),
        "eth0": Move(SAME, 0, 0),
        "eth1": Move(SAME, 0, 0),
    }
    assert interfaces.plan(now, was)["br0.7"] == Move(REMOVED, 2, 0)


@pytest.mark.parametrize("name", ["i{:03}", "{:03}z"], ids=["rising", "falling"])
def test_a_long_chain_changes_to_its_end(parse: Parse, name: str) -> None:
    """300 interfaces, each on the one before, named so that the chain rises or falls."""
    order = range(300) if name.startswith("i") else range(299, -1, -1)
    names = [name.format(i) for i in order]
    text = f"iface {names[0]} inet manual\n"
    for lower, upper in zip(names, names[1:]):
        text += f"iface {upper} inet manual\n  requires {lower}\n"
    files = ifupdown(text)
    assert len(changes(parse, "ifupdown", files, files, names[0])) == 300


def test_circles_end(parse: Parse) -> None:
    """Each of a circle changes with the others; what it stands on itself counts for nothing."""
    text = "iface a inet manual\n requires b a\niface b inet manual\n requires c\niface c inet manual\n requires a\n"
    files = ifupdown(text)
    assert changes(parse, "ifupdown", files, files, "b") == {"a": WITH_OTHERS, "b": BY_HAND, "c": WITH_OTHERS}
    alone = ifupdown("iface a inet manual\n requires a\n")
    assert interfaces.plan(parse("ifupdown", alone), parse("ifupdown", alone)) == {"a": Move(SAME, 0, 0)}


# ---- ifupdown ----


def test_ifupdown_words_and_blanks(parse: Parse) -> None:
    """Comments, blanks, continued lines, `auto` and where a stanza stands are no change."""
    now = "auto eth1\n# new\n\n" + ETH1 + ETH0.replace("    address", "\t address ").replace("gateway ", "gateway \\\n ")
    assert changes(parse, "ifupdown", ifupdown(ETH0 + ETH1), ifupdown(now)) == {}
    moved = ifupdown("source interfaces.d/*\n" + ETH1, eth0=ETH0)
    assert changes(parse, "ifupdown", ifupdown(ETH0 + ETH1), moved) == {}


def test_ifupdown_order_of_options(parse: Parse) -> None:
    """Options run in their order: another order is a change."""
    was, now = "iface a inet manual\n up one\n up two\n", "iface a inet manual\n up two\n up one\n"
    assert changes(parse, "ifupdown", ifupdown(was), ifupdown(now)) == {"a": CHANGED}


def test_ifupdown_stanzas_of_one_name_are_one(parse: Parse) -> None:
    """IPv4 and IPv6 of an interface are judged together."""
    was = ifupdown(ETH0 + "iface eth0 inet6 auto\n")
    assert changes(parse, "ifupdown", was, ifupdown(ETH0)) == {"eth0": CHANGED}


def test_ifupdown_sources(parse: Parse) -> None:
    """`source` takes patterns, `source-directory` plain names, in whichever file they stand."""
    files = ifupdown("source interfaces.d/*.cfg /etc/network/interfaces.d/b*\nsource-directory interfaces.d\n",
                     **{"a.cfg": ETH0, "b~": ETH1, "c": "iface c inet manual\n", "d.x": "iface d inet manual\n"})  # fmt: skip
    assert sorted(parse("ifupdown", files).units()) == ["c", "eth0", "eth1"]


def test_ifupdown_mapping_and_inherits(parse: Parse) -> None:
    """A mapping is for a pattern and leads to stanzas; what inherits stands on what it takes over."""
    text = "mapping eth* wlan0\n script /bin/x\n map a home\niface home inet dhcp\niface eth0 inet dhcp inherits home\n"
    model = parse("ifupdown", ifupdown(text))
    assert {name: unit.needs for name, unit in model.units().items()} == {"eth*": ("home",), "eth0": ("home",), "home": ()}
    assert model.covers("eth5") and not model.covers("lan0")
    changed = ifupdown(text.replace("home inet dhcp", "home inet manual"))
    assert changes(parse, "ifupdown", ifupdown(text), changed) == {"home": CHANGED, "eth*": WITH_OTHERS, "eth0": WITH_OTHERS}


def test_ifupdown_devices(parse: Parse) -> None:
    """Bridges, bonds, VLANs by name or option make a device; an alias and a port don't."""
    text = (
        "iface br0 inet manual\n bridge_ports none\niface bond0 inet manual\n bond-slaves eth0\niface eth0.5 inet manual\n"
        "iface vlan7 inet manual\n vlan-raw-device eth0\niface eth0 inet manual\niface eth0:1 inet manual\n"
        "iface eth1 inet manual\n bond-master bond1\n"
    )
    units = parse("ifupdown", ifupdown(text)).units()
    assert {name for name, unit in units.items() if unit.makes_device} == {"br0", "bond0", "eth0.5", "vlan7"}
    assert units["eth0:1"].needs == ("eth0",) and units["bond1"].needs == ("eth1",)


# ---- systemd-networkd ----

NETWORK = "[Match]\nName=eth0 eth1\n\n[Network]\nAddress=192.0.2.2/24\nBridge=br0\n"
NETDEV = "[NetDev]\nName=br0\nKind=bridge\n"


def test_networkd_words_and_blanks(parse: Parse) -> None:
    """Comments and blanks are no change."""
    now = networkd(a__network="# new\n; too\n" + NETWORK.replace("=", " =  ").replace("\n\n", "\n"))
    assert changes(parse, "networkd", networkd(a__network=NETWORK), now) == {}


def test_networkd_the_same_words_in_another_section(parse: Parse) -> None:
    """A setting counts with its section."""
    was, now = "[Match]\nName=a\n[Link]\nX=y\n", "[Match]\nName=a\n[DHCP]\nX=y\n"
    assert changes(parse, "networkd", networkd(a__network=was), networkd(a__network=now)) == {"a": CHANGED}


def test_networkd_ports_bridge_and_device(parse: Parse) -> None:
    """A bridge stands on the ports that name it; its .netdev file makes the device."""
    files = networkd(a__network=NETWORK, b__netdev=NETDEV)
    units = parse("networkd", files).units()
    assert units["br0"].needs == ("eth0", "eth1") and units["br0"].makes_device
    assert not units["eth0"].makes_device
    without = networkd(a__network=NETWORK.replace("Bridge=br0\n", ""))
    assert changes(parse, "networkd", files, without) == {"br0": REMOVED, "eth0": CHANGED, "eth1": CHANGED}


def test_networkd_drop_ins(parse: Parse) -> None:
    """A drop-in belongs to the interfaces of its file; one that says nothing is no change."""
    was = networkd(a__network=NETWORK)
    more = {**was, "etc/systemd/network/a.network.d/x.conf": "[Network]\nDNS=192.0.2.1\n"}
    nothing = {**was, "etc/systemd/network/a.network.d/x.conf": "# only words\n"}
    lost = {**was, "etc/systemd/network/b.network.d/x.conf": "[Network]\nDNS=192.0.2.1\n"}
    assert changes(parse, "networkd", was, more) == {"eth0": CHANGED, "eth1": CHANGED, "br0": WITH_OTHERS}
    assert changes(parse, "networkd", was, nothing) == changes(parse, "networkd", was, lost) == {}


def test_networkd_files_for_many(parse: Parse) -> None:
    """A pattern, or no name at all, covers what it matches."""
    assert parse("networkd", networkd(a__network="[Match]\nName=en*\n")).covers("enp1s0")
    assert not parse("networkd", networkd(a__network="[Match]\nName=en*\n")).covers("eth0")
    assert parse("networkd", networkd(a__network="[Match]\nType=ether\n")).covers("eth0")


# ---- network-scripts ----

UPLINK = "DEVICE=eth0\nIPADDR=192.0.2.2\nPREFIX=24\n"


def test_ifcfg_quotes_comments_and_blanks(parse: Parse) -> None:
    """The shell's quotes, `export`, several on a line: what they come to counts."""
    was = ifcfg({"ifcfg-eth0": UPLINK + "OPTS='a b'\n"})
    now = ifcfg({"ifcfg-eth0": "# new\nexport DEVICE=\"eth0\" # it\n\tIPADDR='192.0.2'.2; PREFIX=24\nOPTS=a\\ b\n"})
    assert changes(parse, "networkscripts", was, now) == {}
    assert parse("networkscripts", was).units()["eth0"].text.splitlines()[-1] == "ifcfg OPTS=a b"


def test_ifcfg_files_of_one_device_are_one(parse: Parse) -> None:
    """Routes, rules, keys and ranges belong to the device, whatever its ifcfg file is called."""
    was = ifcfg({"ifcfg-uplink": UPLINK})
    assert parse("networkscripts", was).units()["eth0"].handle == "uplink"
    for name in ("route-eth0", "route6-uplink", "rule-uplink", "rule6-eth0", "keys-uplink", "ifcfg-eth0-range0"):
        now = ifcfg({"ifcfg-uplink": UPLINK, name: "10.0.0.0/8 via 192.0.2.1\n"})
        assert changes(parse, "networkscripts", was, now) == {"eth0": CHANGED}, name
    assert changes(parse, "networkscripts", was, ifcfg({"ifcfg-uplink": UPLINK, "route-eth0": "# only words\n"})) == {}


def test_ifcfg_a_file_without_a_device(parse: Parse) -> None:
    """Its name is the interface's."""
    assert list(parse("networkscripts", ifcfg({"ifcfg-eth7": "IPADDR=192.0.2.2\n"})).units()) == ["eth7"]


def test_ifcfg_two_files_for_one_device(parse: Parse) -> None:
    """The one named after it is brought up, else the first."""
    files = {"ifcfg-a": UPLINK, "ifcfg-b": UPLINK}
    assert parse("networkscripts", ifcfg(files)).units()["eth0"].handle == "a"
    assert parse("networkscripts", ifcfg({**files, "ifcfg-eth0": UPLINK})).units()["eth0"].handle == "eth0"


def test_ifcfg_names_that_the_scripts_pass_over(parse: Parse) -> None:
    """Backups, other files of the directory and directories below it."""
    backups = [f"ifcfg-eth0{end}" for end in ("~", ".bak", ".old", ".orig", ".rpmnew", ".rpmorig", ".rpmsave")]
    for name in [*backups, "ifup-eth", "network-functions", "ifcfg-", "ifcfg-x/ifcfg-y"]:
        assert parse("networkscripts", ifcfg({name: UPLINK})).units() == {}, name


@pytest.mark.parametrize(
    "port, upper",
    [
        ("MASTER=bond0\nSLAVE=yes\n", "bond0"),
        ("CONTROLLER=bond0\nPORT=yes\n", "bond0"),
        ("TEAM_MASTER='team0'\n", "team0"),
        ("BRIDGE=br0\n", "br0"),
    ],
)
def test_ifcfg_ports(parse: Parse, port: str, upper: str) -> None:
    """What takes ports stands on them."""
    files = ifcfg({"ifcfg-eth0": "DEVICE=eth0\n" + port, f"ifcfg-{upper}": f"DEVICE={upper}\n"})
    assert parse("networkscripts", files).units()[upper].needs == ("eth0",)
    assert changes(parse, "networkscripts", files, files, "eth0") == {"eth0": BY_HAND, upper: WITH_OTHERS}


@pytest.mark.parametrize(
    "text, needs, makes_device",
    [
        ("DEVICE=eth0.5\nVLAN=yes\n", ("eth0",), True),
        ("DEVICE=vlan5\nVLAN=Yes\nPHYSDEV=eth1\n", ("eth1",), True),
        ("DEVICE=eth0.5\nVLAN=yes\nVID=9\nPHYSDEV=eth1\n", ("eth1",), True),
        ("DEVICE=eth0.5\nVLAN=no\n", (), False),
        ("DEVICE=eth0:1\n", ("eth0",), False),
        ("DEVICE=br0\nTYPE=Bridge\n", (), True),
        ("DEVICE=bond0\nBONDING_OPTS='mode=1'\n", (), True),
        ("DEVICE=team0\nDEVICETYPE=Team\n", (), True),
        ("DEVICE=eth0\nTYPE=Ethernet\n", (), False),
    ],
)
def test_ifcfg_devices(parse: Parse, text: str, needs: tuple[str, ...], makes_device: bool) -> None:
    """VLANs, aliases, bridges, bonds and teams."""
    [unit] = parse("networkscripts", ifcfg({"ifcfg-x": text})).units().values()
    assert (unit.needs, unit.makes_device) == (needs, makes_device)


def test_ifcfg_the_file_for_all(parse: Parse) -> None:
    """etc/sysconfig/network concerns every interface but lo; a comment in it none."""
    files = {"ifcfg-eth0": UPLINK, "ifcfg-lo": "DEVICE=lo\n", "ifcfg-eth1": "DEVICE=eth1\n"}
    was = ifcfg(files, "GATEWAY=192.0.2.1\n")
    assert changes(parse, "networkscripts", was, ifcfg(files, "GATEWAY=192.0.2.9\n")) == {"eth0": CHANGED, "eth1": CHANGED}
    assert changes(parse, "networkscripts", was, ifcfg(files, "# x\nGATEWAY='192.0.2.1'\n")) == {}
    assert changes(parse, "networkscripts", ifcfg(files), ifcfg(files, "# only words\n")) == {}


def test_ifcfg_beside_network_manager(parse: Parse) -> None:
    """Only what is NM_CONTROLLED=no, its routes among it."""
    files = ifcfg(
        {"ifcfg-a": "NM_CONTROLLED=no\n", "ifcfg-b": "NM_CONTROLLED=yes\n", "ifcfg-c": "", "route-a": "x\n", "route-b": "x\n"}
    )
    assert list(parse("networkscripts_beside", files).units()) == ["a"]
    assert list(parse("networkscripts", files).units()) == ["a", "b", "c"]


# ---- broken and huge input ----

MEBI = 1024 * 1024
HUGE: dict[str, tuple[str, Files]] = {
    "ifupdown: one line": ("ifupdown", ifupdown("iface " + "x" * MEBI)),
    "ifupdown: a circle with many ports": (
        "ifupdown",
        ifupdown("iface a inet x\n requires b" + " b" * (MEBI // 2) + "\niface b inet x\n requires a\n"),
    ),
    "ifupdown: sources itself": ("ifupdown", ifupdown("source interfaces\n" * (MEBI // 18))),
    "ifupdown: many sources of many files": (
        "ifupdown",
        ifupdown("source interfaces.d/*\n" * (MEBI // 44), **{f"f{i}": "" for i in range(20000)}),
    ),
    "ifupdown: a name in many stanzas": ("ifupdown", ifupdown("iface a inet x\n" * (MEBI // 15))),
    "ifupdown: patterns that look back": ("ifupdown", ifupdown("source " + "*a" * 2000 + "b\n" * 200, **{"a" * 200: ""})),
    "networkd: many names of a large file": (
        "networkd",
        networkd(a__network="[Match]\nName=" + " ".join(f"n{i}" for i in range(2000)) + "\n[Network]\n" + "VLAN=v\n" * (MEBI // 8)),
    ),
    "networkd: many drop-ins of a large file": (
        "networkd",
        {
            **networkd(a__network="[Match]\n" + "Name=n\n" * (MEBI // 16)),
            **{f"etc/systemd/network/a.network.d/{i}.conf": "[Network]\nVLAN=v\n" for i in range(10000)},
        },
    ),
    "ifcfg: ranges of a large file": (
        "networkscripts",
        ifcfg({"ifcfg-a": "X=y\n" * (MEBI // 8), **{f"ifcfg-a-range{i}": "" for i in range(10000)}}),
    ),
    "ifcfg: one value": ("networkscripts", ifcfg({"ifcfg-a": "DEVICE='" + "\\" * MEBI})),
    "ifcfg: assignments on a line": ("networkscripts", ifcfg({"ifcfg-a": "A=b;" * (MEBI // 4)})),
    "ifcfg: export without end": ("networkscripts", ifcfg({"ifcfg-a": "export " * (MEBI // 7)})),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_mebibyte_takes_no_quadratic_time(parse: Parse, case: str) -> None:
    """Files made to take long, 1 MiB of each: parsed, compared and planned in a few seconds."""
    stack, files = HUGE[case]
    started = time.process_time()
    model = parse(stack, files)
    moves = interfaces.plan(model, model)
    assert time.process_time() - started < 10
    assert all(move.change == SAME for move in moves.values())
