"""netcf try: kept only when somebody or a check says so; else all is as it was."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from lib import hosts, tree

from .conftest import INTERFACES, PATIENCE, Netcf

ASKED = "Keep it?"


def edit(netcf: Netcf) -> str:
    return f"echo tried > {netcf.root}/{INTERFACES}"


def edited(netcf: Netcf) -> bool:
    return (netcf.root / INTERFACES).read_text() == "tried\n"


@pytest.mark.parametrize("answer", ["\n", "y\n", "YES\n"])
def test_enter_keeps(netcf: Netcf, terminal: Any, answer: str) -> None:
    """A person who confirms keeps the new configuration."""
    screen = terminal("try", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    screen.type(answer)
    assert screen.status() == 0, screen.screen
    assert "Kept" in screen.screen
    assert edited(netcf) and not netcf.open()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("n\n", "the answer was 'n'"), ("no\n", "the answer was 'no'"), ("\x03", "(SIGINT)"),
        ("\x04", "end of input"), ("\x1c", "(SIGQUIT)"),
    ],
)  # fmt: skip
def test_anything_else_takes_back(netcf: Netcf, terminal: Any, answer: str, reason: str) -> None:
    """Another answer, Ctrl-C, end of file or Ctrl-\\ rolls back."""
    before = tree.capture(netcf.root / "etc")
    screen = terminal("try", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    assert edited(netcf)
    screen.type(answer)
    assert screen.status() == 1, screen.screen
    assert "Rolled back" in screen.screen and reason in screen.screen
    assert tree.differences(before, tree.capture(netcf.root / "etc")) == []
    assert not netcf.open()


def test_what_was_typed_early_is_no_answer(netcf: Netcf, terminal: Any) -> None:
    """An Enter typed while the command runs does not confirm."""
    screen = terminal("try", "-t", "4", "--", "sh", "-c", f"{edit(netcf)}; echo ready; sleep 1")
    screen.wait_for("ready")
    screen.type("\n")
    assert screen.status() == 1
    assert "not confirmed within 4 s" in screen.screen
    assert not edited(netcf)


def test_a_lost_connection_takes_back(netcf: Netcf, terminal: Any) -> None:
    """When the terminal goes away, so does the new configuration."""
    screen = terminal("try", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    screen.hang_up()
    assert screen.status() == 1
    assert not edited(netcf) and not netcf.open()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_back(netcf: Netcf, terminal: Any, number: signal.Signals) -> None:
    """So does a signal that asks the process to end."""
    before = signal.signal(number, signal.SIG_DFL)  # nohup may have run these tests
    try:
        screen = terminal("try", "--", "sh", "-c", edit(netcf))
    finally:
        signal.signal(number, before)
    screen.wait_for(ASKED)
    os.kill(screen.pid, number)
    assert screen.status() == 1
    assert number.name in screen.screen
    assert not edited(netcf) and not netcf.open()


def test_ctrl_c_where_a_shell_had_it_ignored(netcf: Netcf, terminal: Any) -> None:
    """What a script starts with & ignores SIGINT; Ctrl-C takes back all the same, nohup doesn't."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
    try:
        screen = terminal("try", "--", "sh", "-c", edit(netcf))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    screen.wait_for(ASKED)
    os.kill(screen.pid, signal.SIGHUP)
    screen.type("\x03")
    assert screen.status() == 1
    assert "(SIGINT)" in screen.screen and not edited(netcf)


def test_the_deadline_ends_a_command_that_hangs(netcf: Netcf, terminal: Any) -> None:
    """The command is killed with all it started, and nothing is edited after the rollback."""
    late = f"(trap '' TERM; sleep 2; {edit(netcf)}; sleep 100) & {edit(netcf)}; wait"
    screen = terminal("try", "-t", "1", "--", "sh", "-c", late)
    assert screen.status() == 1
    assert "not confirmed within 1 s" in screen.screen
    assert not edited(netcf) and not netcf.open()


def test_ctrl_c_ends_the_command(netcf: Netcf, terminal: Any) -> None:
    """Ctrl-C goes to the command, whose end rolls back."""
    screen = terminal("try", "--", "sh", "-c", f"{edit(netcf)}; echo ready; sleep 100")
    screen.wait_for("ready")
    screen.type("\x03")
    assert screen.status() == 1
    assert not edited(netcf) and not netcf.open()


def test_ctrl_z_does_not_stop_the_countdown(netcf: Netcf, terminal: Any) -> None:
    """A process that is stopped sees to no deadline; so it can't be stopped from the keyboard."""
    screen = terminal("try", "-t", "4", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    screen.type("\x1a")
    assert screen.status() == 1
    assert not edited(netcf)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["false"], "false failed with exit status 1"),
        (["sh", "-c", "kill -9 $$"], "sh was ended by signal 9"),
        (["/nonexistent"], "/nonexistent can't be executed: No such file or directory"),
        (["/etc/passwd"], "/etc/passwd can't be executed: Permission denied"),
    ],
)
def test_a_failing_command_takes_back(netcf: Netcf, words: list[str], reason: str) -> None:
    """The reason is said, and no change is left open."""
    said = netcf.json("try", "--yes", "--check-command", "true", "--", *words, status=1)
    assert (said["outcome"], said["reason"]) == ("rolled back", reason)
    assert not netcf.open()


def test_checks_that_pass_keep(netcf: Netcf) -> None:
    """With --yes nobody is asked."""
    said = netcf.json(
        "try", "--yes", "--check-ping", "127.0.0.1" if os.geteuid() == 0 else "localhost",
        "--check-command", f"grep tried {netcf.root}/{INTERFACES}", "--", "sh", "-c", edit(netcf),
    ) if os.geteuid() == 0 else netcf.json(
        "try", "--yes", "--check-command", "true", "--", "sh", "-c", edit(netcf)
    )  # fmt: skip
    assert said["outcome"] == "kept"
    assert all(check["passed"] for check in said["checks"])
    assert edited(netcf) and not netcf.open()


@pytest.mark.root
@pytest.mark.parametrize("answers", [True, False], ids=["answers", "silent"])
def test_the_gateway_decides(netcf: Netcf, answers: bool) -> None:
    """--check-gateway pings the real one, at the other end of a cable: kept, or taken back."""
    with hosts.peer() as host, hosts.peer() as gateway:
        hosts.cable(host, gateway, "eth0", "192.0.2.1/24" if answers else None)
        host.run("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "add", "default", "via", "192.0.2.1")
        words = ["--yes", "--check-time", "3", "--check-gateway", "--", "sh", "-c", edit(netcf)]
        host.call(str(netcf.command), "--root", str(netcf.root), "try", *words)
    assert edited(netcf) == answers and not netcf.open()


def test_a_check_is_retried(netcf: Netcf) -> None:
    """What works a moment later has passed."""
    mark = netcf.root / "mark"
    check = f"sh -c 'test -e {mark} || {{ touch {mark}; false; }}'"
    said = netcf.json("try", "--yes", "--check-command", check, "--", "true")
    assert [(c["passed"], c["tries"]) for c in said["checks"]] == [(True, 2)]


def test_a_check_that_fails_takes_back(netcf: Netcf) -> None:
    """Why it failed is said."""
    said = netcf.json(
        "try", "--yes", "--check-time", "2", "--check-tcp", "127.0.0.1:1",
        "--", "sh", "-c", edit(netcf), status=1,
    )  # fmt: skip
    assert said["outcome"] == "rolled back"
    assert said["checks"][0]["reason"] == "Connection refused"
    assert not edited(netcf) and not netcf.open()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--check-tcp", "host"],
        ["--check-tcp", "host:0"],
        ["--check-tcp", "::1:22"],
        ["--check-ping", ""],
        ["--check-command", "an 'open quote"],
        ["--check-command", "/nonexistent"],
        ["--check-command", " "],
        ["--timeout", "0"],
        ["--timeout", "2592001"],
        ["--check-command", "true", "--timeout", "5", "--check-time", "5"],
        [],
    ],
)
def test_bad_input_is_refused_before_anything_starts(netcf: Netcf, arguments: list[str]) -> None:
    """Usage, and the command is never run."""
    ran = netcf.run("try", "--yes", *arguments, "--", "sh", "-c", edit(netcf))
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert not edited(netcf) and not (netcf.root / "var/lib/netcf").exists()


def test_nobody_to_ask_is_refused(netcf: Netcf) -> None:
    """Without a terminal it needs checks and --yes."""
    assert netcf.run("try", "--", "true").returncode == 2
    assert netcf.run("try", "--check-command", "true", "--", "true").returncode == 2


def test_another_change_is_left_alone(netcf: Netcf) -> None:
    """While a change is open nothing is tried."""
    netcf.out("start")
    ran = netcf.run("try", "--yes", "--check-command", "true", "--", "sh", "-c", edit(netcf))
    assert ran.returncode == 199
    assert not edited(netcf) and netcf.open()


@pytest.mark.parametrize(("command", "status"), [("commit", 0), ("rollback", 1)])
def test_another_session_may_decide(
    netcf: Netcf, terminal: Any, command: str, status: int
) -> None:
    """What another session said counts, and is said."""
    screen = terminal("try", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    netcf.out(command)
    assert screen.status() == status
    assert "by another session" in screen.screen
    assert edited(netcf) == (command == "commit")


def test_killed_it_leaves_the_change_to_the_guard(netcf: Netcf, terminal: Any) -> None:
    """After kill -9 the change stays open until the guard takes it back at the deadline."""
    screen = terminal("try", "-t", "3", "--", "sh", "-c", edit(netcf))
    screen.wait_for(ASKED)
    assert netcf.json("status")["change"]["guarded"]
    os.kill(screen.pid, signal.SIGKILL)
    assert screen.status() == -signal.SIGKILL
    end = time.monotonic() + PATIENCE
    while netcf.open():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not edited(netcf)
