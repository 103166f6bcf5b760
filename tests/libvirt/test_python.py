"""netcf_py.libvirt with the real libvirt-python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import tree
from lib.build import Products
from netcf_py.libvirt import virInterfaceChangeStart

from .conftest import with_python
from .host import DENIED, INVALID, INVALID_ARG, NO_SUPPORT, OK, Host

needs_root = [pytest.mark.root, pytest.mark.slow]

LOCAL = "qemu:///system"
TCP = "qemu+tcp://127.0.0.1/system"
LISTEN = 'listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\nlisten_addr = "127.0.0.1"\n'

START, COMMIT, ROLLBACK = (
    f"virInterfaceChange{what}" for what in ("Start", "Commit", "Rollback")
)


@pytest.fixture
def modern(udev_system: Path, products: Products, tmp_path: Path) -> Iterator[Host]:
    """A host of today, its libvirtd also listening on loopback."""
    with with_python(udev_system, products, tmp_path) as host:
        listen(host, adapter=False)
        yield host


def listen(host: Host, *, adapter: bool) -> None:
    (host.root / "etc/libvirt/libvirtd.conf").write_text(LISTEN)
    host.start_libvirtd("--listen", adapter=adapter)


def edit(host: Host) -> None:
    host.interfaces.write_text("auto lo\n")


def test_it_is_imported_without_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt-python is looked for when a call needs it, and named when it is not there."""
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(ModuleNotFoundError, match="libvirt"):
        virInterfaceChangeStart(LOCAL)


class TestHere:
    """A local connection to a driver without transactions."""

    pytestmark = needs_root

    @pytest.mark.parametrize("connection", ["c", LOCAL, "qemu+unix:///system"])
    def test_the_core_serves_it(self, modern: Host, connection: str) -> None:
        """By a connection or by a URI: start, commit and rollback, with libvirt's codes."""
        client = modern.connected()
        assert client("c", "changeBegin", 0).code == NO_SUPPORT
        before = tree.capture(modern.root / "etc")
        for call, code, sentence in (
            (COMMIT, INVALID, "no transaction running, nothing to be committed."),
            (ROLLBACK, INVALID, "no transaction running, nothing to rollback."),
            (START, OK, ""),
            (START, INVALID, "there is another transaction running."),
        ):
            answer = client(connection, call)
            assert answer.code == code
            assert sentence in answer.message
        assert modern.is_open
        edit(modern)
        rolled_back = client(connection, ROLLBACK)
        assert (rolled_back.code, rolled_back.result) == (OK, 0)
        assert tree.differences(before, tree.capture(modern.root / "etc")) == []
        assert client(connection, "virInterfaceChangeBegin", 0).code == OK
        edit(modern)
        assert client(connection, COMMIT, 0).code == OK
        assert modern.interfaces.read_text() == "auto lo\n"
        assert not modern.is_open

    def test_flags_and_readers_are_refused(self, modern: Host) -> None:
        """As libvirt refuses them: flags other than 0, and a connection that only reads."""
        client = modern.connected()
        assert client("reader", "openReadOnly", LOCAL).code == OK
        for call in (START, COMMIT, ROLLBACK):
            assert client("c", call, 1).code == INVALID_ARG
            assert client("reader", call).code == DENIED
        assert not modern.is_open

    def test_the_reason_is_told(self, modern: Host) -> None:
        """What the core can't do becomes libvirt's internal error, with the path."""
        scope = modern.root / "etc/netcf/scope.d"
        scope.mkdir(parents=True)
        (scope / "bad.conf").write_text("../etc/passwd\n")
        answer = modern.connected()("c", START)
        assert answer.kind == "libvirtError"
        assert "etc/netcf/scope.d/bad.conf" in answer.message

    def test_a_driver_with_transactions_does_them_itself(self, modern: Host) -> None:
        """The in-memory driver is asked, and no file of the host is saved."""
        client = modern.connected("test:///default")
        assert client("c", START).code == OK
        assert client("c", START).code == INVALID
        assert not modern.is_open
        assert client("c", ROLLBACK).code == OK


class TestElsewhere:
    """A connection that may lead to another host."""

    pytestmark = needs_root

    @pytest.mark.parametrize(
        "uri", [TCP, "qemu+unix:///system?socket=/run/libvirt/libvirt-sock"]
    )
    def test_without_transactions_there_it_is_refused(self, modern: Host, uri: str) -> None:
        """This host's files are not taken for the other's; the error says what to install there."""
        client = modern.connected(uri)
        for call in (START, COMMIT, ROLLBACK):
            answer = client("c", call)
            assert answer.code == NO_SUPPORT
            assert uri in answer.message
            assert "install libnetcf-change.so there" in answer.message
        assert not modern.is_open

    def test_with_the_adapter_there_it_works(
        self, stock: Host, udev_system: Path, products: Products, tmp_path: Path
    ) -> None:
        """A host of today changes one with the adapter, and none of its own files."""
        listen(stock, adapter=True)
        before = tree.capture(stock.root / "etc")
        with with_python(udev_system, products, tmp_path, net=stock) as here:
            client = here.connected(TCP)
            assert client("c", START).code == OK
            assert stock.is_open
            assert not here.is_open
            assert client("c", START).code == INVALID
            edit(stock)
            assert client("c", ROLLBACK).code == OK
        assert tree.differences(before, tree.capture(stock.root / "etc")) == []
