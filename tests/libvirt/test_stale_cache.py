"""libvirtd never goes on with what it read before a rollback.

libnetcf reads a file again only when the second of its modification time is
another one; a rollback puts the old time back, which may lie in that second.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lib import tree

from .definitions import ethernet
from .host import OK, Client, Host

pytestmark = [pytest.mark.root, pytest.mark.slow]


def begin_by_libvirt(host: Host, client: Client) -> None:
    assert client("c", "changeBegin", 0).code == OK


def rollback_by_libvirt(host: Host, client: Client) -> None:
    assert client("c", "changeRollback", 0).code == OK


def begin_by_helper(host: Host, client: Client) -> None:
    host.networking_config("snapshot_config")


def rollback_by_helper(host: Host, client: Client) -> None:
    host.networking_config("rollback_config")


def mtime(host: Host) -> int:
    return host.interfaces.stat().st_mtime_ns


def roll_back_within_the_second(
    host: Host,
    client: Client,
    begin: Callable[[Host, Client], None],
    rollback: Callable[[Host, Client], None],
) -> None:
    """Define eth7 and roll back, until all times lie in the second of the old file's."""
    for _ in range(50):
        # A later second than any before, so that this file is read whatever was known.
        second = mtime(host) // 10**9
        while mtime(host) // 10**9 == second:
            tree.rewrite(host.root, b"etc/network/interfaces", host.interfaces.read_bytes())
        assert "eth1" in client("c", "listDefinedInterfaces").result
        before = mtime(host)
        begin(host, client)
        assert client("c", "interfaceDefineXML", ethernet("eth7")).code == OK
        same_second = mtime(host) // 10**9 == before // 10**9
        rollback(host, client)
        assert mtime(host) == before
        if same_second:
            return
    pytest.fail("this machine is too slow for a define within a second")


@pytest.mark.parametrize("begin", [begin_by_libvirt, begin_by_helper])
@pytest.mark.parametrize("rollback", [rollback_by_libvirt, rollback_by_helper])
def test_a_rolled_back_interface_is_gone(
    host: Host,
    begin: Callable[[Host, Client], None],
    rollback: Callable[[Host, Client], None],
) -> None:
    """Not listed any more, and the next define does not write it again, whoever rolled back."""
    client = host.connected()
    roll_back_within_the_second(host, client, begin, rollback)
    assert "eth7" not in client("c", "listDefinedInterfaces").result
    roll_back_within_the_second(host, client, begin, rollback)
    assert client("c", "interfaceDefineXML", ethernet("eth8")).code == OK
    written = host.interfaces.read_text()
    assert "eth8" in written
    assert "eth7" not in written


def test_without_the_adapter_it_comes_back(stock: Host) -> None:
    """The defect is there in a stock libvirtd: it lists the interface and writes it to disk again."""
    stock.start_libvirtd(adapter=False)
    client = stock.connected()
    roll_back_within_the_second(stock, client, begin_by_helper, rollback_by_helper)
    assert "eth7" in client("c", "listDefinedInterfaces").result
    assert client("c", "interfaceDefineXML", ethernet("eth8")).code == OK
    assert "eth7" in stock.interfaces.read_text()
