"""What the kernel says about interfaces, how it is written down, and what is missing later."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from ctypes import POINTER, byref, c_bool, c_char, c_int, c_size_t, c_ubyte, c_void_p

import pytest

from lib import faults, forks
from lib.interfaces import BufferStruct
from lib.ncf import ENOMEM, EOTHER, Core


class LinkStruct(ctypes.Structure):
    _fields_ = [
        ("name", c_char * 16), ("index", c_int), ("up", c_bool), ("leased", c_bool), ("mtu", ctypes.c_uint32), ("profile", c_char * 48),
        ("own", c_void_p), ("count", c_size_t), ("room", c_size_t),
    ]  # fmt: skip


class LinksStruct(ctypes.Structure):
    _fields_ = [("link", POINTER(LinkStruct)), ("count", c_size_t), ("room", c_size_t)]


class ErrorStruct(ctypes.Structure):
    _fields_ = [("code", c_int), ("room", c_ubyte * 8192)]


class Links:
    """A list of links in the core."""

    def __init__(self, core: Core) -> None:
        self.lib = core.lib
        self.raw = LinksStruct()
        self.error = ErrorStruct()
        self.lib.links_parse.restype = c_bool
        self.lib.links_find.restype = POINTER(LinkStruct)

    def read(self) -> bool:
        """Ask the kernel."""
        self.error = ErrorStruct()
        return self.lib.links_read(byref(self.raw), byref(self.error)) == 0

    def parse(self, text: bytes) -> bool:
        """Read a record of a manifest."""
        return bool(self.lib.links_parse(text, c_size_t(len(text)), byref(self.raw)))

    def text(self) -> str:
        """As it would be recorded."""
        buffer = BufferStruct()
        self.lib.links_encode(byref(buffer), byref(self.raw))
        assert not buffer.failed
        try:
            return buffer.text()
        finally:
            self.lib.buffer_free(byref(buffer))

    def find(self, name: str) -> ctypes._Pointer[LinkStruct]:
        return self.lib.links_find(byref(self.raw), name.encode())  # type: ignore[no-any-return]

    def close(self) -> None:
        self.lib.links_free(byref(self.raw))


@pytest.fixture
def links(core: Core) -> Iterator[Links]:
    """An empty list; nothing of it is kept."""
    held = faults.held(core)
    it = Links(core)
    yield it
    it.close()
    assert faults.held(core) == held


# ---- the record ----

RECORD = """\
link br0 down
link eth0 up leased profile:3c6ce51d-Aa mtu:9000 192.0.2.2/24 2001:db8::2/128 default:4 default:192.0.2.1 default:fe80::1
link eth0.5 up leased mtu:2147483647
link lo up 127.0.0.1/8
"""


def test_a_record_is_read_as_it_was_written(links: Links) -> None:
    """Every kind of word; and a record of nothing."""
    assert links.parse(RECORD.encode()) and links.text() == RECORD
    links.close()
    assert links.parse(b"") and links.text() == ""
    assert links.parse(b"link a up default:6 default:::1\n") and links.text() == "link a up default:6 default:::1\n"


NO_RECORDS = [
    *("lnk a up", "link ", "link a", "link a ", "link  up", "link a down\nlink a up", "link b up\nlink a up", "a b"),
    *("link \x01 up", "link \x7f up", "link a% up", f"link {'a' * 16} up", "link a leased", "link a mtu:1500", "link a up up"),
    *(f"link a up mtu:{value}" for value in ("", "0", "01", "-1", "+1", "1x", "2147483648", "99999999999999999999", "1500 mtu:1500")),
    "link a profile:b",
    *("link a up 192.0.2.2/", "link a up 192.0.2.2/129", "link a up 192.0.2.2/1x", "link a up 192.0.2/24", "link a up g/1", "link a up ::g/1"),
    *("link a up 192.0.2.2", "link a up default:", "link a up default:5", "link a up default:x", "link a up default:192.0.2"),
    *("link a up profile:", "link a up profile:-b", "link a up profile:b/c", "link a up profile:b profile:c"),
    f"link a up profile:{'b' * 48}",
]


@pytest.mark.parametrize("text", NO_RECORDS)
def test_what_is_no_record_is_refused(links: Links, text: str) -> None:
    """A manifest is read by root: nothing in it is taken for something like it."""
    assert not links.parse(text.encode())


def test_a_profile_is_taken_as_a_whole(links: Links) -> None:
    """What a state file says may hold any byte: a UUID is recorded, or nothing."""
    assert links.parse(b"link a up")
    set_profile = links.lib.link_set_profile
    set_profile.restype = c_bool
    for bad in (b"", b"-a", b"a b", b"a\0b", b"b" * 48):
        assert not set_profile(links.find("a"), bad, c_size_t(len(bad)))
    assert links.text() == "link a up\n"
    assert set_profile(links.find("a"), b"b" * 47, c_size_t(47)) and links.text() == f"link a up profile:{'b' * 47}\n"


def test_short_memory_is_no_record(core: Core, links: Links) -> None:
    """Every allocation of reading a record fails: it is refused, and nothing is kept."""
    text = b"".join(b"link n%02d up 192.0.2.2/24\n" % i for i in range(40))
    for k in itertools.count(1):
        with faults.Memory(core, k) as memory:
            taken = links.parse(text)
        assert taken == (memory.count < k)
        links.close()
        if taken:
            break
    assert k > 40


@pytest.mark.parametrize(
    ("was", "now", "lacks"),
    [
        ("up 192.0.2.2/24 default:192.0.2.1", "up 192.0.2.3/24", "192.0.2.2/24, default:192.0.2.1"),
        ("up 192.0.2.2/24", "up 192.0.2.1/24 192.0.2.2/24", ""),
        ("up 192.0.2.2/24", "down 192.0.2.2/24", "is down"),
        ("down 192.0.2.2/24", "down", ""),
        ("up leased", "up", "an address from DHCP"),
        ("up leased", "up 2001:db8::2/64 default:4", "an address from DHCP"),
        ("up leased", "up 192.0.2.2/24", ""),
        ("up leased", "up leased", ""),
        ("up", None, "is not there"),
    ],
)
def test_what_is_lacking(core: Core, links: Links, was: str, now: str | None, lacks: str) -> None:
    """All that a link had and has not; a lease may have become an address."""
    after = Links(core)
    text = ctypes.create_string_buffer(256)
    assert links.parse(f"link a {was}".encode()) and after.parse(f"link a {now}".encode() if now else b"")
    core.lib.link_lacks(links.find("a"), after.find("a"), text, c_size_t(256))
    after.close()
    assert text.value.decode() == lacks


def test_the_link_of_an_alias(core: Core, links: Links) -> None:
    """eth0:1 is an address of eth0; what is too long for a name is nobody's."""
    core.lib.links_below.restype = POINTER(LinkStruct)
    assert not core.lib.links_below(byref(links.raw), b"eth0")
    assert links.parse(RECORD.encode())
    for name in (b"eth0", b"eth0:1", b"eth0:"):
        assert core.lib.links_below(byref(links.raw), name)[0].name == b"eth0"
    for name in (b"eth1", b":1", b"e" * 16, b"e" * 300):
        assert not core.lib.links_below(byref(links.raw), name)
    assert not links.find("e" * 16)


# ---- the kernel ----

LINK, ADDRESS, ROUTE = 16, 20, 24
ERROR, DONE = 2, 3
CHANGED = 0x10


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("=HH", 4 + len(value) if length is None else length, kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes = b"", flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack("=IHHII", 16 + len(body) if length is None else length, kind, flags, 0, 0) + body


def link(name: str, index: int = 1, up: bool = True) -> bytes:
    return message(LINK, struct.pack("=BBHiII", 0, 0, 1, index, up, 0) + attribute(3, name.encode() + b"\0"))


def address(text: str, prefix: int, index: int = 1, *, flags: int = 0x80, scope: int = 0, kind: int = 2, more: bytes = b"") -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    own = struct.pack("=BBBBI", family, prefix, flags, scope, index)
    return message(ADDRESS, own + attribute(kind, socket.inet_pton(family, text)) + more)


def route(gateway: str | None, index: int | None = 1, *, family: int = socket.AF_INET, dst: int = 0, table: int = 254,
          protocol: int = 3, kind: int = 1, more: bytes = b"") -> bytes:  # fmt: skip
    own = struct.pack("=BBBBBBBBI", family, dst, 0, 0, table, protocol, 0, kind, 0)
    via = attribute(5, socket.inet_pton(family, gateway)) if gateway else b""
    return message(ROUTE, own + (attribute(4, struct.pack("=I", index)) if index is not None else b"") + via + more)


class Kernel:
    """Answers to the three questions of links_read(), one piece for each recv()."""

    def __init__(self, links: list[bytes], addresses: list[bytes], routes: list[bytes]) -> None:
        self.pieces = {18: links, 22: addresses, 26: routes}
        self.left: list[bytes | int] = []
        self.asked: list[int] = []

    def __call__(self, call: str, sent: bytes) -> bytes | int | None:
        if call == "sendto":
            self.asked.append(struct.unpack_from("=H", sent, 4)[0])
            self.left = [*self.pieces[self.asked[-1]], message(DONE, bytes(4))]
        return self.left.pop(0) if call == "recv" else None


def said(core: Core, links: Links, kernel: Kernel) -> str:
    """The record of what the kernel says."""
    with faults.kernel(core, kernel):
        assert links.read()
    return links.text()


def test_what_counts_of_the_answers(core: Core, links: Links) -> None:
    """Static addresses, leases, gateways of default routes; not what the kernel or a router gives."""
    kernel = Kernel(
        [link("eth1", 2, up=False) + link("eth0"), link("a b", 3) + link("", 4) + link("x%", 5) + link("x\x7f", 6), link("y" * 16, 7)],
        [
            address("192.0.2.2", 24) + address("2001:db8::2", 64, kind=1),
            address("2001:db8::3", 64, flags=0) + address("198.51.100.2", 24, flags=0) + address("fe80::1", 64, scope=253),
            address("203.0.113.2", 24, flags=0, more=attribute(8, struct.pack("=I", 0x280))),
            address("192.0.2.9", 24, index=9) + message(ADDRESS, struct.pack("=BBBBI", 5, 24, 0x80, 0, 1) + attribute(2, bytes(16))),
            message(ADDRESS, struct.pack("=BBBBI", 2, 24, 0x80, 0, 1) + attribute(2, b"\1\2")),
        ],
        [
            route("192.0.2.1") + route(None) + route(None, family=socket.AF_INET6) + route("fe80::1", family=socket.AF_INET6),
            route("192.0.2.8", dst=8) + route("192.0.2.8", kind=7) + route("192.0.2.8", protocol=2) + route("192.0.2.8", protocol=9),
            route("192.0.2.8", table=255) + route("192.0.2.8", more=attribute(15, struct.pack("=I", 7))),
            route("192.0.2.8", index=None) + route("192.0.2.8", index=9),
            message(ROUTE, struct.pack("=BBBBBBBBI", 5, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(4, struct.pack("=I", 1))),
        ],
    )
    eth0 = "192.0.2.2/24 203.0.113.2/24 2001:db8::2/64 default:4 default:192.0.2.1 default:6 default:fe80::1"
    assert said(core, links, kernel) == f"link eth0 up leased {eth0}\nlink eth1 down\n"


def test_broken_answers(core: Core, links: Links) -> None:
    """Attributes that end outside, messages that are short: passed over, and what is whole is taken."""
    own = struct.pack("=BBHiII", 0, 0, 1, 3, 1, 0)
    kernel = Kernel(
        [
            message(LINK, own[:8]) + message(LINK, own + attribute(3, b"b\0", 2)) + message(LINK, own + attribute(3, b"c\0", 99)),
            message(LINK, own + attribute(3, b"d")) + message(LINK, own) + link("eth0"),
            b"\0" * 8,
            message(LINK, own, length=8),
            message(LINK, own, length=999),
            link("eth1", 2)[:-1],
        ],
        [message(ADDRESS, b"\2"), address("192.0.2.2", 24)],
        [message(ROUTE, b"\2"), route("192.0.2.1")],
    )
    assert said(core, links, kernel) == "link eth0 up 192.0.2.2/24 default:192.0.2.1\n"


def test_every_truncation_of_an_answer(core: Core, links: Links) -> None:
    """Whatever the length that a message claims, and wherever it stops, reading ends and is right."""
    whole = link("eth0")
    for n in range(1, len(whole)):
        assert said(core, links, Kernel([whole[:n]], [], [])) == ""
        shorter = struct.pack("=I", n) + whole[4:]
        assert said(core, links, Kernel([shorter], [], [])) in ("", "link eth0 up\n")


def test_no_links(core: Core, links: Links) -> None:
    """A kernel that has none is believed; the end of a list may come without a number."""
    kernel = Kernel([message(DONE)], [], [])
    assert said(core, links, kernel) == "" and kernel.asked == [18, 22, 26]


def test_a_list_that_changed_meanwhile_is_asked_for_again(core: Core, links: Links) -> None:
    """From the first question on; and not for ever."""
    kernel = Kernel([link("eth0")], [], [])
    kernel.pieces[22] = [message(DONE, bytes(4), CHANGED)]

    def once(call: str, sent: bytes) -> bytes | int | None:
        if kernel.asked.count(22) == 1:
            kernel.pieces[22] = []
        return kernel(call, sent)

    with faults.kernel(core, once):
        assert links.read()
    assert links.text() == "link eth0 up\n" and kernel.asked == [18, 22, 18, 22, 26]
    kernel = Kernel([message(LINK, flags=CHANGED) + link("eth0"), message(DONE, bytes(4))], [], [])
    with faults.kernel(core, kernel):
        assert not links.read()
    assert kernel.asked == [18] * 10
    assert (links.error.code, links.text()) == (EOTHER, "")


class Failing:
    """The real kernel, but for the k-th call of one name."""

    def __init__(self, call: str, k: int = 0) -> None:
        self.call, self.k, self.count = call, k, 0

    def __call__(self, call: str, sent: bytes) -> int | None:
        self.count += call == self.call
        return errno.EIO if call == self.call and self.k in (0, self.count) else None


@pytest.mark.parametrize("call", ["socket", "sendto", "recv"])
def test_a_call_that_fails(core: Core, links: Links, call: str) -> None:
    """Each of each kind: an error, no list, no descriptor."""
    for k in itertools.count(1):
        failing, open_before = Failing(call, k), os.listdir("/proc/self/fd")
        with faults.kernel(core, failing):
            read = links.read()
        assert os.listdir("/proc/self/fd") == open_before
        assert read == (failing.count < k)
        if read:
            break
        assert (links.error.code, links.text()) == (EOTHER, "")
    assert k > 1


def test_an_interruption_is_no_error(core: Core, links: Links) -> None:
    """Of every second recv()."""
    turns = itertools.cycle([errno.EINTR, None])
    with faults.kernel(core, lambda call, _: next(turns) if call == "recv" else None):
        assert links.read() and links.find("lo")


def test_endless_interruption_is_an_error(core: Core, links: Links) -> None:
    """A recv() that answers nothing but EINTR hangs nobody."""
    with faults.kernel(core, lambda call, _: errno.EINTR if call == "recv" else None):
        assert not links.read()
    assert links.error.code == EOTHER


def test_what_else_the_kernel_says_to_a_command(core: Core, links: Links) -> None:
    """Its answer is an error message, of 0 for success; what comes before it is passed over."""
    assert links.parse(b"link eth0 up\n")
    for error in (0, errno.EPERM):
        answers: list[bytes | int] = [link("eth0"), message(ERROR, struct.pack("=i", -error))]
        with faults.kernel(core, lambda call, _, left=answers: left.pop(0) if call == "recv" else None):  # type: ignore[misc]
            assert core.lib.link_delete(links.find("eth0")) == (-1 if error else 0)
        assert answers == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.EINTR])
def test_the_kernel_refuses(core: Core, links: Links, error: int) -> None:
    """Its error is an error, whichever it is."""
    kernel = Kernel([message(ERROR, struct.pack("=i", -error))], [], [])
    with faults.kernel(core, kernel):
        assert not links.read()
    assert links.error.code == EOTHER and kernel.asked == [18]


def test_short_memory_is_an_error(core: Core, links: Links) -> None:
    """Every allocation for what the kernel says fails: told as such, and nothing is kept."""
    kernel = Kernel([link(f"n{i}", i) for i in range(40)], [address("192.0.2.2", 24, i) for i in range(9)], [route("192.0.2.1", 30)])
    held = faults.held(core)
    for k in itertools.count(1):
        with faults.kernel(core, kernel), faults.Memory(core, k) as memory:
            read = links.read()
        assert read == (memory.count < k)
        if read:
            break
        assert links.error.code == ENOMEM and faults.held(core) == held
    assert k > 10


def test_nothing_is_changed_without_a_right_to(core: Core, links: Links) -> None:
    """Deleting, clearing, adding a port: refused, also where there is no socket, or nothing can be sent."""

    def as_somebody() -> list[int]:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        changes = [core.lib.link_delete, core.lib.link_clear]
        results = [change(links.find("lo")) for change in changes]
        results.append(core.lib.link_add_port(links.find("lo"), links.find("lo")))
        for call in ("socket", "sendto"):
            with faults.kernel(core, Failing(call)):
                results += [change(links.find("lo")) for change in changes]
        return results

    assert links.read() and links.find("lo")
    assert forks.run(as_somebody).value == [-1] * 7
