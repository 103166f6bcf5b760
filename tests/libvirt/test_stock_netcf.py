"""libnetcf without the adapter: it runs a program, which may be the helper."""

from __future__ import annotations

import pytest

from lib import tree

from .definitions import BOND, ethernet
from .host import INTERNAL, INVALID, OK, Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

# What Debian compiled into libnetcf as its transaction program.
COMPILED_IN = "/bin/false"
# Red Hat's is where this name is; Debian's name is kept, so that something must lead there.
LEADS_TO_HELPER = '#!/bin/sh\nexec /usr/libexec/netcf-transaction.sh "$@"\n'


def test_stock_libvirtd_can_begin_nothing(stock: Host) -> None:
    """The contrast: Debian's libvirtd as it is fails and saves nothing."""
    stock.start_libvirtd(adapter=False)
    client = stock.connected()
    for call in ("changeBegin", "changeCommit", "changeRollback"):
        answer = client("c", call, 0)
        assert answer.code == INTERNAL
        assert COMPILED_IN in answer.message
    assert not stock.is_open


@pytest.fixture
def red_hat(stock: Host) -> Host:
    """A stock libvirtd whose libnetcf finds netcf-transaction.sh."""
    program = stock.root / "root/program"
    program.write_text(LEADS_TO_HELPER)
    program.chmod(0o755)
    stock.run("mount", "--bind", "/root/program", COMPILED_IN)
    stock.start_libvirtd(adapter=False)
    return stock


def test_libnetcf_drives_the_helper(red_hat: Host) -> None:
    """Installed as netcf-transaction.sh, the helper serves begin, rollback and commit."""
    client = red_hat.connected()
    before = tree.capture(red_hat.root / "etc")
    assert client("c", "changeBegin", 0).code == OK
    assert red_hat.is_open
    assert client("c", "interfaceDefineXML", ethernet("eth7")).code == OK
    assert client("c", "interfaceDefineXML", BOND).code == OK
    assert client("c", "changeRollback", 0).code == OK
    assert tree.differences(before, tree.capture(red_hat.root / "etc")) == []
    assert client("c", "changeBegin", 0).code == OK
    assert client("c", "undefine", "eth1").code == OK
    assert client("c", "changeCommit", 0).code == OK
    assert not red_hat.is_open
    assert "eth1" not in red_hat.interfaces.read_text()


def test_exit_199_is_not_valid(red_hat: Host) -> None:
    """What is not valid now reaches the user as such, with the helper's words."""
    client = red_hat.connected()
    nothing_open = client("c", "changeRollback", 0)
    assert nothing_open.code == INVALID
    assert "no transaction running, nothing to rollback." in nothing_open.message
    assert client("c", "changeCommit", 0).code == INVALID
    assert client("c", "changeBegin", 0).code == OK
    is_open = client("c", "changeBegin", 0)
    assert is_open.code == INVALID
    assert "there is another transaction running." in is_open.message
