"""Which interfaces a rollback touches, in which order: every parser and the plan as pure functions."""

from __future__ import annotations

import ctypes
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


def test_a_port_in_the_place_of_another_is_a_change(parse: Parse) -> None:
    """Names of the same length: nothing of a bridge's own text differs."""
    was = networkd(a__network="[Match]\nName=eth0\n[Network]\nBridge=br0\n", b__netdev=NETDEV)
    now = networkd(a__network="[Match]\nName=eth1\n[Network]\nBridge=br0\n", b__netdev=NETDEV)
    assert changes(parse, "networkd", was, now) == {"eth0": REMOVED, "eth1": ADDED, "br0": CHANGED}


def test_nothing_is_about_nothing(core: Core, parse: Parse) -> None:
    """Without files no interface is covered, and no move is there to stand on; an ending is not all."""
    nothing = parse("ifupdown", {})
    assert not nothing.covers("a") and interfaces.plan(nothing, nothing) == {}
    assert not core.lib.plan_find(ctypes.byref(interfaces.PlanStruct()), b"a")
    assert not core.lib.text_ends(b".conf", ctypes.c_size_t(5), b".conf")


def test_a_name_that_no_interface_can_have_is_no_ground(parse: Parse) -> None:
    """What is said to stand on a word of 300 bytes stands on nothing, not on its first 255."""
    files = ifupdown(f"iface {'x' * 255} inet x\niface a inet x\n requires {'x' * 300}\n")
    assert changes(parse, "ifupdown", files, files, "x" * 255) == {"x" * 255: BY_HAND}


OWN = {
    "ifupdown": ["etc/network/interfaces", "etc/network/interfaces.d/a", "etc/network/interfaces.d/b/c"],
    "networkd": ["etc/systemd/network/a.network", "etc/systemd/network/10-netplan-a.network.d/x.conf"],
    "udev": ["etc/systemd/network/10-a.link", "etc/systemd/network/99-default.link.d/x.conf"],
    "networkscripts": ["etc/sysconfig/network", "etc/sysconfig/network-scripts/ifcfg-a"],
    "netplan": ["etc/netplan/a.yaml", "etc/systemd/network/10-netplan-a.network.d/x.conf"],
    "networkmanager": ["etc/NetworkManager/system-connections/a"],
}
NOBODYS = [
    *("etc/network/interfaces2", "etc/network/if-up.d/a", "etc/systemd/networkd.conf", "etc/sysconfig/network/ifcfg-a"),
    *("etc/systemd/network.link", "etc/udev/10-a.link", "etc/netplan/a.yml", "etc/netplan.yaml", "etc/NetworkManager/conf.d/a", "etc/hosts"),
]


@pytest.mark.parametrize("stack", OWN)
def test_which_files_are_whose(core: Core, stack: str) -> None:
    """Each stack takes its own files; what generated files are extended by is netplan's, too."""
    is_its_file = interfaces.stack_of(core.lib, stack).is_its_file
    asked = {path for paths in OWN.values() for path in paths} | {*NOBODYS, "etc/systemd/network/10-netplan-a.network"}
    expected = {*OWN[stack], *(["etc/systemd/network/10-netplan-a.network"] if stack == "networkd" else [])}
    assert {path for path in asked if is_its_file(path.encode())} == expected


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


def test_ifupdown_ng_sources(parse: Parse) -> None:
    """Its `source-directory` takes names with a dot, too."""
    files = ifupdown("source-directory /etc/network/interfaces.d\n", **{"eth0": ETH0, "eth0.5": "iface eth0.5\n"})
    assert sorted(parse("ifupdown_ng", files).units()) == ["eth0", "eth0.5"]
    assert sorted(parse("ifupdown", files).units()) == ["eth0"]


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


@pytest.mark.parametrize(
    "option, needs",
    [
        *((f"{key} eth0 eth1", ("eth0", "eth1")) for key in ("bridge_ports", "bridge-ports", "bond-slaves", "bond_slaves", "slaves")),
        *((f"{key} eth0", ("eth0",)) for key in ("vlan-raw-device", "vlan_raw_device")),
        ("bridge", ()),
        ("bond-mode 1", ()),
        ("bondage x", ()),
    ],
)
def test_ifupdown_options_that_make_a_device(parse: Parse, option: str, needs: tuple[str, ...]) -> None:
    """In the words of each of the three; a key that is no more than "bridge" makes none."""
    [unit] = parse("ifupdown", ifupdown(f"iface a inet manual\n {option}\n")).units().values()
    assert (unit.needs, unit.makes_device) == (needs, option != "bridge")


@pytest.mark.parametrize("word", ["bond-master", "bond_master"])
def test_ifupdown_a_port_names_its_bond(parse: Parse, word: str) -> None:
    """The bond stands on it; where no name follows, on nothing."""
    units = parse("ifupdown", ifupdown(f"iface a inet manual\n {word} b\niface c inet manual\n {word}\n")).units()
    assert {name: unit.needs for name, unit in units.items()} == {"a": (), "b": ("a",), "c": ()}


@pytest.mark.parametrize(
    "name, needs, makes_device",
    [("eth0.", (), False), ("eth0.5", ("eth0",), True), ("eth0.5x", (), False), ("a.b.5", ("a.b",), True), ("a.5:1", ("a.5",), False)],
)
def test_ifupdown_names(parse: Parse, name: str, needs: tuple[str, ...], makes_device: bool) -> None:
    """A number behind the last dot is a VLAN's, anything else part of a name."""
    [unit] = parse("ifupdown", ifupdown(f"iface {name} inet manual\n")).units().values()
    assert (unit.needs, unit.makes_device) == (needs, makes_device)


@pytest.mark.parametrize("line", ["auto a", "allow-hotplug a", "no-auto-down a", "no-scripts a", "rename a=b", "template a", "source", "iface", "mapping"])
def test_ifupdown_what_ends_a_stanza(parse: Parse, line: str) -> None:
    """What follows belongs to no interface; a key that only begins as such is an option."""
    own = {"a": "a inet manual\n"}
    assert {n: u.text for n, u in parse("ifupdown", ifupdown(f"iface a inet manual\n{line}\n up x\n")).units().items()} == own
    assert "allow-" in parse("ifupdown", ifupdown("iface a inet manual\n allow-\n")).units()["a"].text


def test_ifupdown_words_that_lack(parse: Parse) -> None:
    """`inherits` or `map` without a name: nothing is needed; the last line may go on to nowhere."""
    files = ifupdown("iface a inet x inherits\niface b inet x inherit a\nmapping c\n map\niface d inet x\n up y \\")
    units = parse("ifupdown", files).units()
    assert {name: unit.needs for name, unit in units.items()} == {"a": (), "b": ("a",), "c": (), "d": ()}
    assert units["d"].text == "d inet x\nup y\n"


@pytest.mark.parametrize(
    "source, found",
    [
        ("source interfaces.d/a", ["a"]),
        ("source /etc/network/interfaces.d/a", ["a"]),
        ("source interfaces.d", []),
        ("source interfaces.d/a/b interfaces.d/b", ["b"]),
        ("source-directory interfaces.d/a", []),
        (f"source {'x' * 5000} interfaces.d/{'*' * 5000}", []),
        ("source interfaces.d/.*", []),
    ],
    ids=["relative", "absolute", "directory", "too deep", "no directory", "too long", "hidden"],
)
def test_ifupdown_what_a_source_leads_to(parse: Parse, source: str, found: list[str]) -> None:
    """As many parts as the pattern has, each matching."""
    stanzas = {name: f"iface {name.strip('.')} inet manual\n" for name in ("a", "b", ".c")}
    assert list(parse("ifupdown", ifupdown(source + "\n", **stanzas)).units()) == found


# ---- udev ----

LINK = "[Match]\nMACAddress=02:00:00:00:00:01\n[Link]\nMTUBytes=1400\n"


def test_a_link_file_and_its_drop_ins_are_one(parse: Parse) -> None:
    """By the file's name, wherever it lies: the base of a drop-in may be the distribution's."""
    more = "[Link]\nMTUBytes=1300\n"
    for was, now, expected in [
        (networkd(a__link=LINK), networkd(a__link="# new\n" + LINK.replace("=", " = ")), {}),
        (networkd(a__link=LINK), networkd(a__link=LINK.replace("1400", "1300")), {"a.link": CHANGED}),
        (networkd(), {"etc/systemd/network/b.link.d/x.conf": more}, {"b.link": ADDED}),
        ({"etc/systemd/network/b.link.d/x.conf": more}, networkd(), {"b.link": REMOVED}),
        ({**networkd(a__link=LINK), "etc/systemd/network/a.link.d/x.conf": more}, networkd(a__link=LINK), {"a.link": CHANGED}),
        (networkd(a__network=LINK), {"etc/systemd/network/b.link.d/x": LINK, "etc/systemd/network/c.d/d.link": LINK}, {}),
    ]:
        assert changes(parse, "udev", was, now) == expected
    assert changes(parse, "networkd", networkd(a__link=LINK), networkd()) == {}


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


def test_networkd_files_that_name_nothing(parse: Parse) -> None:
    """A device without a name, a name of no bytes, other files, a section without an end."""
    files = networkd(a__netdev="[NetDev]\nKind=bridge\n", b__link="[Match]\nName=b\n", c__network="[Match]\nName=\n[\nX\n")
    files["etc/systemd/network/n"] = "[Match]\nName=n\n"
    assert {name: unit.text.count("\n") for name, unit in parse("networkd", files).units().items()} == {"*": 1}


def test_networkd_an_empty_file_says_nothing(parse: Parse) -> None:
    """It is for all, with nothing to say, so that it is no change where another is for all."""
    assert {n: u.text for n, u in parse("networkd", networkd(a__network="", b__netdev="")).units().items()} == {"*": ""}


def test_networkd_drop_ins_of_devices(parse: Parse) -> None:
    """They say more about the device; a file that is no .conf says nothing."""
    was = networkd(b__netdev=NETDEV)
    for name, change in {"b.netdev.d/x.conf": {"br0": CHANGED}, "b.netdev.d/x": {}, "b.link.d/x.conf": {}}.items():
        now = {**was, f"etc/systemd/network/{name}": "[Bridge]\nSTP=no\n"}
        assert changes(parse, "networkd", was, now) == change, name


# ---- NetworkManager ----

CONNECTIONS = "etc/NetworkManager/system-connections"


def test_keyfile_names(parse: Parse) -> None:
    """By its interface, in the device's section where old files have it; else its UUID; else its path."""
    files = {
        "a": "[connection]\nuuid=1\ninterface-name=eth0\n[ethernet]\ninterface-name=eth9\n",
        "b": "[bridge]\ninterface-name=br0\n[connection]\nuuid=2\ntype=bridge\n",
        "c": "[connection]\nuuid=3\n",
        "d": "",
    }
    units = parse("networkmanager", {f"{CONNECTIONS}/{name}": text for name, text in files.items()}).units()
    assert {name: unit.handle for name, unit in units.items()} == {"eth0": "1", "br0": "2", "3": "3", f"{CONNECTIONS}/d": f"{CONNECTIONS}/d"}
    assert units["br0"].makes_device and not units["eth0"].makes_device


def test_keyfile_device(parse: Parse) -> None:
    """A VLAN with another id is another device; other settings and other sections leave it."""
    def device(more: str, kind: str = "vlan") -> int:
        text = f"[connection]\nuuid=1\ntype={kind}\n{more}"
        return int(parse("networkmanager", {f"{CONNECTIONS}/a": text}).raw.unit[0].device)

    assert device("[vlan]\nid=1\n") != device("[vlan]\nid=2\n")
    assert device("[vlan]\nid=1\n[ipv4]\nmethod=auto\n[vlax]\nid=2\n") == device("[vlan]\nid=1\n")
    assert device("[bridge]\nstp=no\n", "bridge") == device("", "bridge") != 0
    assert device("[ethernet]\nmtu=1\n", "ethernet") == 0


def test_keyfile_needs(parse: Parse) -> None:
    """By name, or by UUID; one UUID in two profiles is both; one in none is nothing."""
    rows = {"a": ("u-1", "eth0", ""), "b": ("u-1", "eth1", ""), "c": ("u-3", "p", "controller=u-1"), "d": ("u-4", "q", "master=br0")}
    rows["e"] = ("u-5", "r", "controller=u-9")
    files = {f"{CONNECTIONS}/{n}": f"[connection]\nuuid={u}\ninterface-name={i}\n{more}\n" for n, (u, i, more) in rows.items()}
    files[f"{CONNECTIONS}/f"] = "[connection]\nuuid=u-6\ntype=vlan\n[vlan]\nparent=eth0\n[x]\nmaster=eth1\n"
    units = parse("networkmanager", files).units()
    assert {name: unit.needs for name, unit in units.items() if unit.needs} == {"p": ("eth0", "eth1"), "q": ("br0",), "u-6": ("eth0",)}


# ---- network-scripts ----

UPLINK = "DEVICE=eth0\nIPADDR=192.0.2.2\nPREFIX=24\n"


def test_ifcfg_quotes_comments_and_blanks(parse: Parse) -> None:
    """The shell's quotes, `export`, several on a line: what they come to counts."""
    was = ifcfg({"ifcfg-eth0": UPLINK + "OPTS='a b'\n"})
    now = ifcfg({"ifcfg-eth0": "# new\nexport DEVICE=\"eth0\" # it\n\tIPADDR='192.0.2'.2; PREFIX=24\nOPTS=a\\ b\n"})
    assert changes(parse, "networkscripts", was, now) == {}
    assert parse("networkscripts", was).units()["eth0"].text.splitlines()[-1] == "ifcfg OPTS=a b"


@pytest.mark.parametrize(
    "text, device",
    [
        ("DEVICE=a", "a"),
        (" ;\t;export\tDEVICE=a;X=y", "a"),
        ("DEVICE='a\n", "a"),
        ("DEVICE=a\\", "a\\"),
        ('DEVICE="a\\"b"', 'a"b'),
        ("DEVICE='a\\'", "a\\"),
        ("DEVICE{=a", "x"),
        ("export", "x"),
        ("exportDEVICE=a", "x"),
        ("export=a", "x"),
        ("DEVICE", "x"),
        ("DEVICE a", "x"),
        ("DEVICE=" + "a" * 80, "a" * 63),
        ("DEVICE=a\rDEVICE=b", "b"),
    ],
)
def test_ifcfg_assignments(parse: Parse, text: str, device: str) -> None:
    """What the shell takes for one, and what it does not."""
    assert list(parse("networkscripts", ifcfg({"ifcfg-x": text})).units()) == [device]


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
    others = ["ifup-eth", "network-functions", "ifcfg-", "ifcfg-x/ifcfg-y", "ifcfg", "a-b", "ifcfg-" + "x" * 300 + "-range0"]
    for name in [*backups, *others]:
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
        ("DEVICE=t\nTEAM_CONFIG='{}'\n", (), True),
        ("DEVICE=mv0\nPARENTDEVICE=eth0\n", ("eth0",), False),
        ("DEVICE=mv0:1\nPARENTDEVICE=eth0\n", ("mv0",), False),
        ("DEVICE=.5\nVLAN=yes\n", (), True),
        ("DEVICE=v\nVLAN=yes\n", (), True),
        ("DEVICE=:1\n", (), False),
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
    "ifupdown: sources a large file": ("ifupdown", ifupdown("source interfaces.d/a\n" * 200, a="#\n" * (MEBI // 2))),
    "NetworkManager: parents by UUID": (
        "networkmanager",
        {f"{CONNECTIONS}/{i:04}": f"[connection]\nuuid=u-{i}\n[vlan]\nparent=u-{i - 1}\n" for i in range(2000)},
    ),
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
