"""What a person sees of netcf on a terminal of 80 columns, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lib import hosts
from lib.terminal import Terminal

from .conftest import DAEMON, FILE, GOOD, Remote

pytestmark = [pytest.mark.root, pytest.mark.slow]

Start = Callable[[list[str]], Terminal]
ASKED = "Keep it?"
EDIT = f"echo '    mtu 1400' >>{FILE}"
TRY = f'netcf try --timeout 60 -- sh -c "{EDIT}"'


def stable(screen: Terminal) -> list[str]:
    """The lines, with a name for what differs from run to run."""
    lines = screen.lines()
    assert all(len(line) <= 80 for line in lines)
    names = [(r"\b[0-9a-f]{16}\b", "ID"), (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"), (r" +\d+ s left", " N s left"),
             (r", \d+ s ago", ", N s ago"), (r"process \d+", "process N")]  # fmt: skip
    for pattern, name in names:
        lines = [re.sub(pattern, name, line) for line in lines]
    return lines


def test_the_question_and_yes(remote: Remote, terminal: Start) -> None:
    """A check, the countdown, Enter."""
    screen = terminal(remote.ssh("netcf try --timeout 60 --check-tcp 127.0.0.1:22 -- true", terminal=True))
    screen.wait_for(ASKED)
    asked = [
        "Change ID is open; it is taken back unless confirmed in time.",
        "Checking tcp 127.0.0.1:22 ...",
        "  passed (1 attempt, 0.0 s)",
        "Keep it? Enter keeps, Ctrl-C takes back, N s left",
    ]
    assert stable(screen) == asked
    hosts.wait_for(lambda: " 58 s left" in screen.screen(), "the countdown")
    assert stable(screen) == asked
    screen.type("Enter")
    assert screen.status() == 0
    assert stable(screen) == [*asked, "", "Kept. Change ID is committed."]


@pytest.mark.parametrize(
    ("key", "echo", "reason"), [("C-c", " ^C", "interrupted (SIGINT)"), ("C-d", "", "end of input")]
)
def test_the_question_and_no(remote: Remote, terminal: Start, key: str, echo: str, reason: str) -> None:
    """What was tried is taken back, and it is said where it is."""
    screen = terminal(remote.ssh(TRY, terminal=True))
    screen.wait_for(ASKED)
    screen.type(key)
    assert screen.status() == 1
    assert stable(screen) == [
        "Change ID is open; it is taken back unless confirmed in time.",
        f"Keep it? Enter keeps, Ctrl-C takes back, N s left{echo}",
        f"Rolled back: {reason}.",
        "1 path put back (1 changed).",
        "  eth0 (ifupdown): had been changed, down, up",
        "What was tried is kept; netcf history lists it.",
    ]


def test_a_check_that_fails(remote: Remote, terminal: Start) -> None:
    """It says which, why, and how long it was tried."""
    screen = terminal(
        remote.ssh("netcf try --timeout 60 --check-time 1 --check-tcp 127.0.0.1:1 -- true", terminal=True)
    )
    assert screen.status() == 1
    assert [re.sub(r"\d+ attempts? in \d+ s", "N attempts in N s", line) for line in stable(screen)] == [
        "Change ID is open; it is taken back unless confirmed in time.",
        "Checking tcp 127.0.0.1:1 ...",
        "  failed: Connection refused (N attempts in N s)",
        "",
        "Rolled back: the check failed: tcp 127.0.0.1:1.",
        "Nothing differed.",
    ]


def test_watching_another_session(remote: Remote, terminal: Start) -> None:
    """status --watch shows a change come and go, in place; diff shows what it does."""
    watch = terminal(remote.ssh("netcf status --watch", terminal=True))
    closed = ["No change is open.", "", "DATE  Ctrl-C ends"]
    hosts.wait_for(lambda: stable(watch) == closed, "the status")
    trial = terminal(remote.ssh(TRY, terminal=True))
    trial.wait_for(ASKED)
    watch.wait_for("1 path; see netcf diff")
    assert stable(watch) == [
        "A change is open: ID",
        "  started   DATE, N s ago, in this boot",
        "  by        uid 0 with netcf (process N)",
        "  note      sh -c 'echo '\"'\"'    mtu 1400'\"'\"' >>/etc/network/interfaces'",
        "  deadline  65 s after the start, N s left",
        f"  saved     3 paths, {len(GOOD)} bytes",
        "  differs   1 path; see netcf diff",
        "",
        "DATE  Ctrl-C ends",
    ]
    difference = terminal(remote.ssh("netcf diff", terminal=True))
    assert difference.status() == 0
    assert stable(difference) == [
        "changed   etc/network/interfaces",
        "--- a/etc/network/interfaces",
        "+++ b/etc/network/interfaces",
        "@@ -4,3 +4,4 @@",
        " iface eth0 inet static",
        "     address 192.0.2.2/24",
        f"     up {DAEMON}",
        "+    mtu 1400",
    ]
    trial.type("n", "Enter")
    assert trial.status() == 1
    hosts.wait_for(lambda: stable(watch) == closed, "the change's end")
    watch.type("C-c")
    assert watch.status() == 0
