"""What netplan's YAML says about interfaces, read as a pure function."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import build
from lib.units import Parser, Units

HEAD = "network:\n  version: 2\n"


@pytest.fixture(scope="module")
def parse(products: build.Products) -> Parser:
    return Parser(products.test_library, "netplan")


def one(parse: Parser, text: str | bytes) -> Units:
    """The units of a single file."""
    return parse({"etc/netplan/01.yaml": text})


def text_of(units: Units, name: str) -> list[str]:
    """What is said about an interface but for the sum of what is said about all."""
    assert units.by_name[name].text[-1].startswith("common=")
    return [line for line in units.by_name[name].text if not line.startswith("common=")]


BLOCK = """\
# The uplink.
network:
  version: 2
  ethernets:
    eth0:
      addresses:
        - 192.0.2.2/24
        - "2001:db8::2/64"   # quoted
      nameservers:
          addresses: [192.0.2.53]
      routes:
      - to: default
        via: 192.0.2.1
      - {to: 10.0.0.0/8, via: 192.0.2.3}
    eth1: {}
  bridges:
    br0:
      interfaces: [eth0,
        'eth1']
      parameters:
        stp: false
"""
EXPECTED = {
    "br0": [
        *("bridges", "interfaces", "interfaces/-", "interfaces/-=eth0", "interfaces/-"),
        *("interfaces/-=eth1", "parameters", "parameters/stp", "parameters/stp=false"),
    ],
    "eth0": [
        *("ethernets", "addresses", "addresses/-", "addresses/-=192.0.2.2/24", "addresses/-"),
        *("addresses/-=2001:db8::2/64", "nameservers", "nameservers/addresses"),
        *("nameservers/addresses/-", "nameservers/addresses/-=192.0.2.53", "routes", "routes/-"),
        *("routes/-/to", "routes/-/to=default", "routes/-/via", "routes/-/via=192.0.2.1", "routes/-"),
        *("routes/-/to", "routes/-/to=10.0.0.0/8", "routes/-/via", "routes/-/via=192.0.2.3"),
    ],
    "eth1": ["ethernets"],
}

SAME = [
    BLOCK,
    BLOCK.replace("\n", "\r\n"),
    "---\n" + BLOCK,
    "\ufeff" + BLOCK,
    BLOCK.replace("  br0:", "  'br0':").replace("network:", '"network" :'),
    BLOCK.replace("    eth1: {}", "\n# more\n    eth1:\n").replace("stp: false", "stp:   false # no"),
    BLOCK.replace("      - {to: 10.0.0.0/8, via: 192.0.2.3}", "      -\n        to: 10.0.0.0/8\n        via: 192.0.2.3"),
    """{network: {"version": 2, ethernets: {eth0: {addresses: [192.0.2.2/24, "2001:db8::2/64"],
       nameservers: {addresses: [192.0.2.53]}, # a comment
       routes: [{to: default, via: 192.0.2.1}, {to: 10.0.0.0/8, via: 192.0.2.3}]}, eth1: {}},
       bridges: {br0: {interfaces: [eth0, eth1], parameters: {stp: false}}}}}""",
]  # fmt: skip


@pytest.mark.parametrize("text", SAME, ids=range(len(SAME)))
def test_same_meaning_in_other_words(parse: Parser, text: str) -> None:
    """Comments, quotes, brackets, ends of lines and depth of indentation are no difference."""
    units = one(parse, text)
    assert units.unread == ""
    assert {name: text_of(units, name) for name in units.by_name} == EXPECTED
    assert units == one(parse, BLOCK)


def test_what_stands_on_what(parse: Parser) -> None:
    """Ports and parents are needed; what configuration makes is a device."""
    units = one(
        parse,
        HEAD
        + """\
  ethernets: {eth0: {}, eth1: {}}
  bonds: {bond0: {interfaces: [eth0, eth1]}}
  vlans: {vlan7: {id: 7, link: bond0}}
  bridges: {br0: {interfaces: [vlan7], nameservers: {addresses: [eth0]}}}
  vrfs: {red: {table: 1, interfaces: [br0]}}
  tunnels: {wg0: {mode: wireguard, key: abc}}
  dummy-devices: {dm0: {}}
  wifis: {wlan0: {access-points: {"a: b": {password: "x"}}}}
""",
    )
    assert units.unread == ""
    assert {n: u.needs for n, u in units.by_name.items() if u.needs} == {
        "bond0": ["eth0", "eth1"],
        "vlan7": ["bond0"],
        "br0": ["vlan7"],
        "red": ["br0"],
    }
    devices = {n for n, u in units.by_name.items() if u.makes_device}
    assert devices == {"bond0", "vlan7", "br0", "red", "wg0", "dm0"}


MATCHED = """\
network:
  ethernets:
    lan:
      match: {macaddress: "52:54:00:00:00:01"}
      set-name: eth7
    pattern: {match: {name: "en*"}}
    unknown:
      match:
        driver: ixgbe
    plain: {}
  vlans:
    v1: {id: 1, link: lan}
  bridges:
    br0: {interfaces: [pattern, unknown, plain]}
"""


def test_ids_become_the_names_of_the_kernel(parse: Parser) -> None:
    """set-name goes before match by name; a match by anything else may be any interface."""
    units = one(parse, MATCHED)
    assert {n: u.handle for n, u in units.by_name.items()} == {
        "eth7": "lan",
        "en*": "pattern",
        "**": "unknown",
        "plain": "plain",
        "v1": "v1",
        "br0": "br0",
    }
    assert units.by_name["v1"].needs == ["eth7"]
    assert units.by_name["br0"].needs == ["en*", "**", "plain"]


@pytest.mark.parametrize("option", ['set-name: ""', "set-name: \0h0", 'match: {name: ""}', "match: {name: \0}"])
def test_no_interface_is_without_a_name(parse: Parser, option: str) -> None:
    """Where the name that is given is empty, or a zero byte comes first, the id is the name."""
    units = one(parse, f"network: {{ethernets: {{lan: {{{option}}}}}}}")
    assert {n: u.handle for n, u in units.by_name.items()} == {"lan": "lan"}


def test_files_are_joined(parse: Parser) -> None:
    """Parts of one id come from several files, in the order of their names; others are not read."""
    units = parse(
        {
            "etc/netplan/10-a.yaml": HEAD + "  ethernets:\n    eth0: {mtu: 1400}\n",
            "etc/netplan/20-b.yaml": HEAD + "  ethernets:\n    eth0: {mtu: 9000}\n    eth1: {}\n",
            "etc/netplan/README": "broken: [",
            "etc/netplan/90-c.yaml": HEAD + "  bridges: {br0: {interfaces: [eth0]}}\n",
            "etc/systemd/network/10-netplan-eth1.network.d/mtu.conf": "[Link]\n# high\nMTUBytes = 1300\n",
            "etc/systemd/network/20-eth2.network": "[Match]\nName=eth2\n",
        }
    )
    assert units.unread == ""
    assert sorted(units.by_name) == ["br0", "eth0", "eth1"]
    assert text_of(units, "eth0") == ["ethernets", "mtu", "mtu=1400", "ethernets", "mtu", "mtu=9000"]
    assert text_of(units, "eth1") == ["ethernets", "[Link]", "MTUBytes = 1300"]


def test_what_is_said_of_all_changes_all(parse: Parser) -> None:
    """Another renderer is a change to every interface; another version number is none."""
    text = HEAD + "  renderer: networkd\n  ethernets: {eth0: {}, eth1: {}}\n"
    usual = one(parse, text)
    other = one(parse, text.replace("networkd", "NetworkManager"))
    assert all(usual.by_name[n] != other.by_name[n] for n in ("eth0", "eth1"))
    assert usual == one(parse, text.replace("version: 2", "version: 3"))


BROKEN = {
    "tab": ("\n      addresses:", "\n\t    addresses:", 6),
    "further out": ("\n      nameservers:", "\n     nameservers:", 9),
    "item further out": ("\n      - to", "\n    - to", 12),
    "two values": ("\n          addresses: [192.0.2.53]", "\n          addresses: a: b", 10),
    "value below a value": ("stp: false", "stp: false\n          more: true", 22),
    "text behind brackets": ("[192.0.2.53]", "[192.0.2.53] x", 10),
    "wrong bracket": ("[192.0.2.53]", "[192.0.2.53}", 10),
    "open bracket": ("'eth1']", "'eth1'", 20),
    "open quote": ('db8::2/64"', "db8::2/64", 8),
    "anchor": ("    eth1: {}", "    eth1: &all {}", 15),
    "alias": ("    eth1: {}", "    eth1: *all", 15),
    "second document": ("  bridges:", "---\n  bridges:", 16),
    "no key": ("    eth1: {}", "    eth1: {}\n    eth2", 16),
    "no key in brackets": ("    eth1: {}", "    eth1: {: a}", 15),
    "no value in brackets": ("[192.0.2.53]", "[: a]", 10),
    "open quote of a value": ("stp: false", 'stp: "false', 21),
    "open quote in brackets": ("[192.0.2.53]", '["192]', 10),
    "text behind a quote": ('db8::2/64"', 'db8::2/64"#', 8),
    "text behind a key's colon": ("    eth1: {}", '    "eth1":{}', 15),
    "end of the document": ("  bridges:", "...\n  bridges:", 16),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_understood_is_said(parse: Parser, what: str) -> None:
    """With file and line; and every interface of the files counts as changed."""
    was, now, line = BROKEN[what]
    text = BLOCK.replace(was, now, 1)
    assert text != BLOCK
    units = one(parse, text)
    assert units.unread == f"etc/netplan/01.yaml, line {line}"
    whole = one(parse, BLOCK)
    assert all(units.by_name.get(name) != unit for name, unit in whole.by_name.items())


def test_literals(parse: Parser) -> None:
    """A literal is all that is further in than its key."""
    text = HEAD + "  ethernets:\n    eth0:\n      a: |\n        b: c\n\n        [d\n      mtu: 1400\n"
    units = one(parse, text)
    assert units.unread == ""
    assert text_of(units, "eth0") == ["ethernets", "a", "a= b: c", "", " [d", "", "mtu", "mtu=1400"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a: [:b, c:d, 'e''f', \"g\\\"h\"]", ["a", "a/-", "a/-=:b", "a/-", "a/-=c:d", "a/-", "a/-=e''f", "a/-", 'a/-=g\\"h']),
        ("a: b#c:d#", ["a", "a=b#c:d#"]),
        ("a: -b", ["a", "a=-b"]),
        ("a: --- b", ["a", "a=--- b"]),
        ('"": {b: c}', ["/b", "/b=c"]),
        ("interfaces: eth1", ["interfaces", "interfaces=eth1"]),
        ("interfaces: {eth1: x}", ["interfaces", "interfaces/eth1", "interfaces/eth1=x"]),
        ("link: {id: eth1}", ["link", "link/id", "link/id=eth1"]),
    ],
)
def test_values_and_keys(parse: Parser, value: str, said: list[str]) -> None:
    """What looks like a mark of YAML and is none; what looks like a port and is none."""
    units = one(parse, HEAD + f"  ethernets:\n    eth1: {{}}\n    eth0:\n      {value}\n")
    assert units.unread == ""
    assert text_of(units, "eth0") == ["ethernets", *said]
    assert units.by_name["eth0"].needs == []


@pytest.mark.parametrize("text", ["", "ethernets: eth0\n", "  ethernets: [a, b]\n", "other: {a: {b: c}}\n", "---x: {}\n"])
def test_what_is_no_interface(parse: Parser, text: str) -> None:
    """Other keys, and lists or words in the place of all interfaces, name none; and are no error here."""
    assert one(parse, HEAD + text) == Units("", {})


def test_the_last_and_clearest_name_of_an_id(parse: Parser) -> None:
    """Of two set-names the last; a set-name goes before a match, wherever it stands."""
    names = {"a": "set-name: x, match: {name: y}", "b": "match: {name: y}, set-name: x", "c": "set-name: y, set-name: x, match: {driver: z}"}
    for text in names.values():
        assert list(one(parse, HEAD + f"  ethernets: {{e: {{{text}}}}}\n").by_name) == ["x"]


def test_drop_ins(parse: Parser) -> None:
    """Those of devices and of ids with dots; comments and blank lines say nothing; others are nobody's."""
    more = "[Link]\n\n; high\nMTUBytes=1300\n"
    names = ["eth0.5.network.d/a.conf", "br0.netdev.d/a.conf", ".network.d/a.conf", "eth1.network", "eth1.link.d/a.conf", "eth1.conf"]
    units = parse({f"etc/systemd/network/10-netplan-{name}": more for name in names})
    assert {name: text_of(units, name) for name in units.by_name} == {n: ["[Link]", "MTUBytes=1300"] for n in ("eth0.5", "br0")}


def test_the_first_file_that_is_not_understood_is_named(parse: Parser) -> None:
    """Not the last of several."""
    assert parse({f"etc/netplan/{n}.yaml": "network: [" for n in (1, 2)}).unread == "etc/netplan/1.yaml, line 1"


PIECES = [
    *("network:", "ethernets:", "eth0:", "bridges", ":", ": ", "- ", "-", "\n", "\n  ", "\n    ", "\n      "),
    *("[", "]", "{", "}", ",", '"', "'", "\\", "#", " #", "|", ">", "&a", "*a", "---", "\t", "\r", "\0", "\xff"),
    *("interfaces", "link: ", "match: {name: ", "set-name: ", "10.0.0.1/8"),
]


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=60).map("".join))
def test_any_bytes_are_read(parse: Parser, text: str) -> None:
    """Whatever stands there, reading ends, and twice in the same."""
    assert one(parse, text) == one(parse, text)


HUGE = {
    "open brackets": b"[" * 1_000_000,
    "nested keys": b"".join(b" " * (i % 3000) + b"a:\n" for i in range(600)),
    "quotes": b'a: "\\"\n' * 140_000,
    "one key": b"a" * 1_000_000,
    "spaces": b" " * 1_000_000,
    "items": b"- " * 500_000,
    "lines": b"\n" * 1_000_000,
    "literals": b"a: |\n" * 200_000,
    "empty keys": b"{" + b":" * 900_000,
    "ids": HEAD.encode() + b"  ethernets:\n" + b"".join(b"    e%d: {match: {name: x%d}}\n" % (i, i) for i in range(30_000)),
    "needs": HEAD.encode() + b"  bridges:\n    b:\n      interfaces: [" + b"".join(b"e%d," % i for i in range(120_000)) + b"]\n",
}  # fmt: skip


@pytest.mark.parametrize("what", HUGE)
def test_huge_files_end_soon(parse: Parser, what: str) -> None:
    """A megabyte of anything takes less than two seconds of the processor."""
    begun = time.process_time()
    one(parse, HUGE[what])
    assert time.process_time() - begun < 2
