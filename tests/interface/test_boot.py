"""What a boot undoes besides files: what netplan's generator and hotplug made of the wrong ones.

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
from .test_netplan import FILE as NETPLAN
from .test_netplan import GENERATED, GOOD, PACKAGES

pytestmark = [pytest.mark.root, pytest.mark.slow]


def booting(packages: tuple[str, ...], products: Products, where: Path) -> Iterator[Host]:
    with ExitStack() as cleanup:
        host, other = hosts.everything(cleanup, debian.system(*packages), where, products.helper)
        hosts.cable(host, other, "eth0")
        yield host


@pytest.fixture
def ifupdown(products: Products, tmp_path: Path) -> Iterator[Host]:
    yield from booting(SYSTEMS["ifupdown"], products, tmp_path)


@pytest.fixture
def netplan(products: Products, tmp_path: Path) -> Iterator[Host]:
    yield from booting(PACKAGES, products, tmp_path)


def generated(host: Host) -> str:
    return "".join(path.read_text() for path in sorted(Path(f"/proc/{host.pid}/root", GENERATED).glob("*.network")))


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


def test_netplan_generates_again_from_the_old_files(netplan: Host) -> None:
    """What the generator had made of the wrong files is made anew."""
    netplan.write(NETPLAN, GOOD, 0o600)
    netplan.run("netplan", "generate")
    before = generated(netplan)
    netplan.start()
    netplan.write(NETPLAN, GOOD.replace("192.0.2.2/24", "192.0.2.99/24"), 0o600)
    netplan.run("netplan", "generate")
    assert "192.0.2.99" in generated(netplan)
    done = netplan.call("networking-config", "start")
    assert done.returncode == 0, done.stdout
    assert generated(netplan) == before


def test_a_generator_that_fails_is_told(netplan: Host) -> None:
    """The files are back, and what did not follow is said by name, with exit status 1."""
    netplan.write(NETPLAN, GOOD, 0o600)
    netplan.start()
    netplan.write(NETPLAN, GOOD.replace("192.0.2.2/24", "192.0.2.99/24"), 0o600)
    generators = [path for path in ("usr/libexec/netplan/generate", "usr/lib/netplan/generate", "lib/netplan/generate")
                  if (netplan.root / path).exists()]  # fmt: skip
    (netplan.root / generators[0]).unlink()
    netplan.write(generators[0], "#!/bin/sh\necho no such renderer\nexit 3\n", 0o755)
    done = netplan.call("networking-config", "start")
    assert done.returncode == 1
    assert f"/{generators[0]}: exit status 3: no such renderer" in done.stdout
    assert (netplan.root / NETPLAN[1:]).read_text() == GOOD
