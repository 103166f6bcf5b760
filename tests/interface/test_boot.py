"""What a boot undoes besides files: what ifupdown's hotplug made of the wrong ones.

In a root of its own, where nothing can restart the machine: an interface that has to be
renamed is for tests/boot, which has whole machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib import debian, hosts
from lib.build import Products
from lib.hosts import Host

from .test_ifupdown import ETH0, FILE, LO, SYSTEMS

pytestmark = [pytest.mark.root, pytest.mark.slow]


def booting(packages: tuple[str, ...], products: Products, where: Path) -> Iterator[Host]:
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, debian.system(*packages), where, products.helper)
        hosts.cable(host, other, "eth0")
        yield host


@pytest.fixture
def ifupdown(products: Products, tmp_path: Path) -> Iterator[Host]:
    yield from booting(SYSTEMS["ifupdown"], products, tmp_path)


def test_what_hotplug_brought_up_from_the_wrong_files_goes(ifupdown: Host) -> None:
    """An interface that udev had ifupdown bring up before the helper ran is down, the files are the old ones."""
    ifupdown.write(FILE, LO)
    ifupdown.start()
    ifupdown.write(FILE, LO + ETH0.replace("auto eth0", "allow-hotplug eth0"))
    ifupdown.run("ifup", "--allow=hotplug", "eth0")
    assert ifupdown.addresses("eth0") == ["192.0.2.2/24"]
    done = ifupdown.call("networking-config", "start")
    assert done.returncode == 0, done.stdout
    assert "rolled back change" in done.stdout
    assert ifupdown.addresses("eth0") == []
    assert (ifupdown.root / FILE[1:]).read_text() == LO


def test_nothing_of_ifupdown_was_up(ifupdown: Host) -> None:
    """Where ifupdown has no state, only files are put back."""
    ifupdown.write(FILE, LO)
    ifupdown.run("rm", "-rf", "/run/network")
    ifupdown.start()
    ifupdown.write(FILE, LO + ETH0)
    assert ifupdown.call("networking-config", "start").returncode == 0
    assert (ifupdown.root / FILE[1:]).read_text() == LO
