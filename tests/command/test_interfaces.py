"""What netcf says about live interfaces, where a rollback could not bring one back.

The host is this machine with its files hidden, in a network namespace of its own.
systemd-networkd is meant to configure the interface; it has run and doesn't any more.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import netcf_py

from .conftest import COMMAND, PATIENCE

pytestmark = pytest.mark.root

FILE = "/etc/systemd/network/ncf0.network"
HOST = f"""set -e
mount -t tmpfs -o mode=0755 none /var/lib
mount -t tmpfs none /etc/systemd/network
for other in /etc/network /etc/netplan /etc/NetworkManager /etc/sysconfig; do
    [ ! -d $other ] || mount -t tmpfs none $other
done
mkdir -p /run/systemd/netif
mount -t tmpfs none /run/systemd/netif
echo OPER_STATE=routable >/run/systemd/netif/state
printf '[Match]\\nName=ncf0\\n[Network]\\nAddress=192.0.2.1/24\\n' >{FILE}
ip link add ncf0 type veth peer name ncf1
ip address add 192.0.2.1/24 dev ncf0
ip link set ncf0 up
ip link set ncf1 up
clock() {{ date +%s >&2; }}
edit() {{ sed -i s/192.0.2.1/192.0.2.9/ {FILE}; ip address flush dev ncf0; }}
set +e
"""
WORDS = f"sh -c 'sed -i s/192.0.2.1/192.0.2.9/ {FILE}; ip address flush dev ncf0'"
FOUND = {
    "name": "ncf0", "stack": "systemd-networkd", "change": "changed", "done": [], "lacks": "192.0.2.1/24",
}  # fmt: skip
LACKS = "ncf0 (systemd-networkd): had been changed; now lacks: 192.0.2.1/24"


SCRIPTS = {
    "rollback": "netcf start >/dev/null; edit; clock; netcf rollback --limit 2; echo $?; clock; netcf status",
    "failed": "netcf start >/dev/null; edit; clock; netcf rollback --json --command-limit 2; clock",
    "try": f"netcf try --yes --check-command false --check-time 1 -- {WORDS}; echo $?; cat {FILE}",
    "json": f"netcf try --json --yes --check-command false --check-time 1 -- {WORDS}; netcf status >&2",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What each script printed.  All at once: a rollback waits half a minute for an address."""
    if not Path("/etc/systemd/network").is_dir():
        pytest.skip("there is no /etc/systemd/network to hide")
    running = {
        name: subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", f"{HOST}alias netcf={COMMAND}\n{script}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=tmp_path_factory.mktemp("work"),
        )
        for name, script in SCRIPTS.items()
    }  # fmt: skip
    return {name: process.communicate(timeout=2 * PATIENCE) for name, process in running.items()}


def test_rollback_says_which_is_not_back(said: dict[str, tuple[str, str]]) -> None:
    """All files are back, the change is closed, and the interface is named, then and later."""
    out, err = said["rollback"]
    assert out.splitlines() == [
        f"  {LACKS}",
        "1",
        "No change is open.",
        "Not back since the last rollback: ncf0 (192.0.2.1/24)",
    ]
    assert "every file is as it was saved, and the change is closed" in err


def test_json_of_a_rollback_has_them(said: dict[str, tuple[str, str]]) -> None:
    """The error, and beside it all that a good rollback answers: also what commands said."""
    answer = json.loads(said["failed"][0])
    assert answer["error"]["code"] == netcf_py.NCF_EEXEC
    assert answer["changed"] == 1 and answer["discarded"]
    assert answer["interfaces"] == [FOUND]
    assert "networkctl: exit status 1" in answer["commands"]


@pytest.mark.parametrize("script", ["rollback", "failed"])
def test_limits(said: dict[str, tuple[str, str]], script: str) -> None:
    """The usual 30 s for one command, and 90 s for all, give way to what was asked for."""
    begin, end = (int(line) for line in said[script][1].splitlines() if line.isdigit())
    assert end - begin < 15


def test_try_says_which_is_not_back(said: dict[str, tuple[str, str]]) -> None:
    """It says that it rolled back and what lacks, not that the change stays open."""
    out, err = said["try"]
    lines = out.splitlines()
    assert lines[0].startswith("Rolled back: the check failed: command false; interfaces are not")
    assert f"  {LACKS}" in lines
    assert lines[-5] == "1" and lines[-1] == "Address=192.0.2.1/24"
    assert "stays open" not in out + err


def test_json_has_them(said: dict[str, tuple[str, str]]) -> None:
    """A failed check's rollback names the interface, its software and what it lacks."""
    out, err = said["json"]
    answer = json.loads(out)
    assert answer["outcome"] == "rolled back"
    assert answer["interfaces"] == [FOUND]
    assert "interfaces are not as they were" in answer["reason"]
    assert "No change is open." in err
