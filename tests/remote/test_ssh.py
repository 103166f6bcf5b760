"""As a remote person would: ssh to a real host, a wrong address, and the host comes back by itself."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from lib import hosts
from lib.terminal import Terminal

from .conftest import FILE, GOOD, NEW, OLD, WATCHFUL, WRONG, Remote, use

pytestmark = [pytest.mark.root, pytest.mark.slow]

Start = Callable[[list[str]], Terminal]
ASKED = "Keep it?"


def log_of(remote: Remote) -> str:
    """What the guards of this boot told the journal; the last thing that they do."""
    hosts.wait_for(lambda: remote.guards() == {}, "the guard's end")
    remote.host.run("journalctl", "--sync")
    return remote.host.run("journalctl", "-b", "-q", "-o", "cat", "-t", "networking-config")


def running(remote: Remote, words: str) -> list[int]:
    """The processes on the host whose words begin so."""
    return [pid for pid, (_, all_words) in remote.host.processes().items() if all_words.startswith(words)]


def cut_off(remote: Remote) -> float:
    """Wait until the host is out of reach; when that was seen."""
    hosts.wait_for(lambda: remote.answers(WRONG), "the wrong address")
    assert not remote.answers(OLD)
    return time.monotonic()


def back(remote: Remote) -> float:
    """Wait until the host is back in reach and all is done; when that was seen."""
    hosts.wait_for(lambda: remote.answers(OLD), "the old address")
    seen = time.monotonic()
    hosts.wait_for(remote.is_as_before, "the end of the rollback")
    return seen


def test_a_wrong_address_is_taken_back_at_the_deadline(remote: Remote, terminal: Start) -> None:
    """`netcf try` over ssh cuts its own connection; at the deadline the same ssh goes on."""
    screen = terminal(remote.ssh(f"netcf try --timeout 5 -- sh -c '{use(WRONG)}'", terminal=True))
    cut_off(remote)
    back(remote)
    screen.wait_for("Rolled back: ")
    assert screen.status() == 1


def test_the_client_killed_and_the_address_wrong(remote: Remote, terminal: Start) -> None:
    """sshd hears nothing of the kill; whether it misses its client or not, the deadline does not wait for it."""
    screen = terminal(remote.ssh(f"netcf try --timeout 15 -- sh -c '{use(WRONG)}'", terminal=True, port=WATCHFUL))
    began = cut_off(remote)
    os.kill(screen.pid(), signal.SIGKILL)
    seconds = back(remote) - began
    print(f"a trial whose client was killed: out of reach for {seconds:.1f} s")
    assert seconds < 40


def test_the_client_killed(remote: Remote, terminal: Start) -> None:
    """Where the host is still in reach the connection's end takes the change back at once."""
    edit = f"echo '# wrong' >>{FILE}"
    screen = terminal(remote.ssh(f"netcf try --timeout 600 -- sh -c {edit!r}", terminal=True))
    screen.wait_for(ASKED)
    assert remote.is_open()
    os.kill(screen.pid(), signal.SIGKILL)
    hosts.wait_for(remote.is_as_before, "the rollback")


def test_the_session_is_killed_by_systemd(remote: Remote, terminal: Start) -> None:
    """logind kills all that a session left, as with KillUserProcesses, but not the guard; at the deadline it acts."""
    start = "networking-config snapshot_config --timeout 6; setsid sleep 601 &"
    terminal(remote.ssh(f"{start} {use(WRONG)}; sleep 600", terminal=True))
    cut_off(remote)
    [stray] = running(remote, "sleep 601")
    [session] = re.findall(r"/session-(\w+)\.scope$", remote.host.processes()[stray][0])
    remote.host.run("loginctl", "terminate-session", session)
    hosts.wait_for(lambda: not running(remote, "sleep 60"), "the session's end")
    assert remote.is_open()
    [group] = remote.guards().values()
    assert re.fullmatch(r"payload/system\.slice/netcf-guard-[0-9a-f]{16}\.service", group)
    back(remote)
    [*_, said] = [line for line in log_of(remote).splitlines() if line.startswith("rolled back change")]
    assert re.fullmatch(
        r"rolled back change [0-9a-f]{16} \(its deadline has passed\): 1 changed, 0 removed, 0 added, "
        r"0 metadata; the replaced files are in /var/lib/netcf/network-rollback-\d{8}\.tar", said,
    )  # fmt: skip
    # What ifup left running for eth0, as it does with a DHCP client, outlives the guard that ran it.
    hosts.wait_for(lambda: remote.guards() == {}, "the guard's end")
    assert (group, "sleep 7007") in remote.host.processes().values()


def test_a_leash_brings_the_host_back_in_seconds(remote: Remote, terminal: Start) -> None:
    """With no deadline at all: sshd misses its client, hangs up, and a second later it is undone."""
    screen = terminal(
        remote.ssh(f"networking-config snapshot_config --leash --grace 1; {use(WRONG)}; sleep 600",
                   terminal=True, port=WATCHFUL)
    )  # fmt: skip
    began = cut_off(remote)
    seconds = back(remote) - began
    print(f"the leash: out of reach for {seconds:.1f} s")
    assert seconds < 30
    assert "the session that started it is gone" in log_of(remote)
    screen.type("C-c")


def test_the_leash_of_a_killed_client(remote: Remote, terminal: Start) -> None:
    """Killed with -9, the client's machine ends the connection, and that ends the leash."""
    screen = terminal(
        remote.ssh(f"networking-config snapshot_config --leash; echo '# wrong' >>{FILE}; sleep 600", terminal=True)
    )
    screen.wait_for("started")
    hosts.wait_for(lambda: "# wrong" in (remote.host.root / FILE[1:]).read_text(), "the edit")
    os.kill(screen.pid(), signal.SIGKILL)
    hosts.wait_for(remote.is_as_before, "the rollback")


def test_a_good_change_is_confirmed_from_a_second_login(remote: Remote, terminal: Start) -> None:
    """The first session is cut off by the very change; whoever knows the token keeps it by the new address."""
    start = "NETWORKING_CONFIG_TOKEN=s3cret networking-config snapshot_config --leash --grace 60 --timeout 60"
    terminal(remote.ssh(f"{start}; {use(NEW)}; sleep 600", terminal=True))
    hosts.wait_for(lambda: remote.answers(NEW), "the new address")
    refused = remote.run("netcf commit", address=NEW)
    assert refused.returncode == 199
    assert "token" in refused.stdout
    kept = remote.run("NETWORKING_CONFIG_TOKEN=s3cret netcf commit", address=NEW)
    assert (kept.returncode, remote.is_open()) == (0, False), kept.stdout
    hosts.wait_for(lambda: remote.guards() == {}, "the guard's end")
    assert remote.host.addresses("eth0") == [f"{NEW}/24"]
    assert (remote.host.root / FILE[1:]).read_text() == GOOD.replace(OLD, NEW)
    # And back, in the same way, for whoever comes next.
    terminal(remote.ssh(f"netcf try --timeout 60 -- sh -c '{use(NEW).replace(f's/{OLD}/{NEW}/', f's/{NEW}/{OLD}/')}'",
                        address=NEW, terminal=True))  # fmt: skip
    hosts.wait_for(lambda: remote.answers(OLD), "the old address")
    assert remote.run("netcf commit").returncode == 0


def test_the_guard_is_killed_and_then_the_power_fails(remote: Remote, terminal: Start) -> None:
    """Nothing is left that would act, but for the boot: the host has its old address again."""
    terminal(remote.ssh(f"networking-config snapshot_config --timeout 600; {use(WRONG)}", terminal=True))
    cut_off(remote)
    [guard] = remote.guards()
    os.kill(guard, signal.SIGKILL)
    hosts.wait_for(lambda: remote.guards() == {}, "its end")
    remote.power_cut()
    back(remote)


def test_a_trial_boot_is_taken_back_at_its_deadline(remote: Remote, terminal: Start) -> None:
    """The host boots with the wrong address; the guard that the boot started gives it the old one.

    The boot unit may not touch interfaces: its guard is a service with rights of its own.
    """
    start = "networking-config snapshot_config --timeout 5 --trial-boots 1"
    terminal(remote.ssh(f"{start}; sed -i s/{OLD}/{WRONG}/ {FILE}; sleep 600", terminal=True))
    hosts.wait_for(lambda: WRONG in (remote.host.root / FILE[1:]).read_text(), "the edit")
    remote.power_cut()
    assert remote.host.addresses("eth0") == [f"{WRONG}/24"]
    assert "netcf-guard-" in "".join(remote.guards().values())
    assert "this boot is a trial" in remote.host.run("journalctl", "-b", "-q", "-o", "cat", "-u", "networking-config")
    back(remote)
    assert "its deadline has passed" in log_of(remote)
    assert "but not" not in log_of(remote)


def test_what_could_not_be_brought_back_is_in_the_journal(remote: Remote) -> None:
    """The files are back, an interface is not: both are said, by the log and by status."""
    hook = remote.host.root / "etc/network/if-pre-up.d/refuse"
    remote.host.run("networking-config", "snapshot_config", "--timeout", "1")
    remote.host.run("sh", "-c", use(WRONG))
    hook.write_text("#!/bin/sh\n[ $IFACE != eth0 ]\n")
    hook.chmod(0o755)
    hosts.wait_for(lambda: not remote.is_open(), "the rollback")
    hosts.wait_for(lambda: remote.guards() == {}, "the guard's end")
    *_, rolled_back, lacking = log_of(remote).splitlines()
    assert rolled_back.startswith("rolled back change ")
    assert ": 1 changed, " in rolled_back
    assert re.fullmatch(r"not all is as it was: interfaces are not as .*: eth0 \(.*; every file is as it was saved, .*", lacking)
    assert "not these interfaces: eth0" in remote.host.run("networking-config", "status")
    hook.unlink()
    remote.host.run("ifup", "--force", "eth0")
