"""Every command of netcf: what it does, its exit status, its JSON as docs/json.md has it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lib import tree
from lib.build import REPO

from .conftest import INTERFACES, PATIENCE, Netcf


def strict(schema: Any) -> Any:
    """The schema of which each property has to be there, and no other."""
    if isinstance(schema, dict):
        schema = {name: strict(part) for name, part in schema.items()}
        if isinstance(schema.get("type"), (str, list)) and "object" in schema["type"]:
            schema["required"] = list(schema["properties"])
            schema["additionalProperties"] = False
    return schema


SCHEMAS = {
    name: strict(json.loads(schema))
    for name, schema in re.findall(
        r"^## ([a-z ]+)\n.*?^```json\n(.*?)^```",
        (REPO / "docs/json.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL,
    )
}  # fmt: skip
COMMANDS = [
    "start", "commit", "rollback", "status", "diff", "scope", "try", "history", "show", "restore",
    "doctor", "boot",
]  # fmt: skip


def said(netcf: Netcf, *arguments: str, status: int = 0, schema: str = "", **options: Any) -> Any:
    """The answer in JSON, which is one line that its schema accepts."""
    words = 2 if arguments[0] == "boot" else 1
    ran = netcf.run(*arguments[:words], "--json", *arguments[words:], **options)
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert ran.stdout.count("\n") == 1
    answer = json.loads(ran.stdout)
    jsonschema.validate(answer, SCHEMAS[schema or " ".join(arguments[:words])])
    return answer


def edit(netcf: Netcf) -> None:
    (netcf.root / INTERFACES).write_text("edited\n")


def test_each_schema_is_one() -> None:
    """There is a schema for each command and for errors, and each is valid."""
    boot = {"boot install", "boot uninstall", "boot status"}
    assert set(SCHEMAS) == {*COMMANDS, *boot, "errors"} - {"boot"}
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["required"]


def test_help_names_every_command(netcf: Netcf) -> None:
    """--help lists the commands that the schemas know, within 80 columns; so does each's own."""
    text = netcf.out("--help")
    [listed] = re.findall(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert re.findall(r"^  (\S+)", listed, re.MULTILINE) == COMMANDS
    for command in [*COMMANDS, "boot install", "boot uninstall", "boot status"]:
        text += netcf.out(*command.split(), "--help")
    assert max(map(len, text.split("\n"))) <= 80


def test_start_and_commit_keep(netcf: Netcf) -> None:
    """What was edited stays."""
    started = said(netcf, "start", "--note", "why")
    assert started["saved"] > 10
    change = said(netcf, "status")["change"]
    assert (change["id"], change["note"], change["uid"]) == (started["id"], "why", os.geteuid())
    edit(netcf)
    assert said(netcf, "commit")["id"] == started["id"]
    assert said(netcf, "status") == {"open": False, "change": None, "not_back": ""}
    assert (netcf.root / INTERFACES).read_text() == "edited\n"


def test_start_and_rollback_take_back(netcf: Netcf) -> None:
    """All is as it was, and the figures say what was done."""
    before = tree.capture(netcf.root / "etc")
    started = said(netcf, "start")
    tree.lock_out(netcf.root)
    done = said(netcf, "rollback")
    assert done["id"] == started["id"] and done["failed"] == 0
    assert min(done["changed"], done["added"], done["removed"], done["metadata"]) > 0
    assert done["discarded"].startswith("var/lib/netcf/network-rollback-")
    assert tree.differences(before, tree.capture(netcf.root / "etc")) == []
    netcf.out("start")
    assert "Nothing differed." in netcf.out("rollback", "--files-only")


@pytest.mark.parametrize(
    ("arguments", "open_first"),
    [(["commit"], False), (["rollback"], False), (["diff"], False), (["start"], True)],
)
def test_not_valid_now_is_199(netcf: Netcf, arguments: list[str], open_first: bool) -> None:
    """What the present state doesn't allow has a status of its own, also in JSON."""
    if open_first:
        netcf.out("start")
    ran = netcf.run(*arguments)
    assert (ran.returncode, ran.stdout) == (199, "")
    assert ran.stderr.startswith(f"netcf {arguments[0]}: ")
    error = said(netcf, *arguments, status=199, schema="errors")["error"]
    assert error["code"] == 13


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["start", "--nonsense"], ["start", "--timeout", "0"],
        ["start", "--timeout", "2592001"], ["start", "--trial-boots", "101"],
        ["start", "extra"], ["rollback", "--files-only", "--all-interfaces"], ["boot"], ["show"], ["show", "x"], ["restore", "-1"], ["restore", "1" * 21],
        ["commit", "--token-file", "/nonexistent"],
    ],
)  # fmt: skip
def test_usage_is_2(netcf: Netcf, arguments: list[str]) -> None:
    """What can't be understood changes nothing."""
    ran = netcf.run(*arguments)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert not (netcf.root / "var/lib/netcf").exists()


def test_failure_is_1(netcf: Netcf) -> None:
    """A root that isn't there, a configuration that isn't kept, a note that is too long."""
    for command in ("show", "restore"):
        assert "no configuration 7" in netcf.run(command, "7").stderr
        said(netcf, command, "7", status=1, schema="errors")
    said(netcf, "start", "--note", "x" * 256, status=1, schema="errors")
    netcf.root = netcf.root / "nowhere"
    for command in ("start", "status", "doctor", "history"):
        said(netcf, command, status=1, schema="errors")


def test_a_damaged_snapshot_is_1(netcf: Netcf) -> None:
    """Damage is a failure of rollback and diff, and no live file is touched."""
    netcf.out("start")
    edit(netcf)
    snapshot = netcf.root / "var/lib/netcf/network-snapshot.tar"
    damaged = bytearray(snapshot.read_bytes())
    damaged[600] ^= 1
    snapshot.write_bytes(damaged)
    for command in ("rollback", "diff"):
        said(netcf, command, status=1, schema="errors")
    assert (netcf.root / INTERFACES).read_text() == "edited\n"


# --- deadline, token, boots -------------------------------------------------------------


def test_a_timeout_rolls_back(netcf: Netcf) -> None:
    """A start with --timeout is guarded, says how long is left, and takes itself back."""
    said(netcf, "start", "--timeout", "600", "--trial-boots", "2")
    change = said(netcf, "status")["change"]
    assert (change["deadline"], change["guarded"], change["trial_boots"]) == (600, True, 2)
    assert 0 < change["deadline_left"] <= 600
    text = netcf.out("status")
    assert "deadline  10 min after the start" in text and "outlives 2 more" in text
    netcf.out("rollback")
    netcf.out("start", "--timeout", "1")
    edit(netcf)
    end = time.monotonic() + PATIENCE
    while netcf.open():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert (netcf.root / INTERFACES).read_text() != "edited\n"


def test_a_token_from_the_environment(netcf: Netcf) -> None:
    """Only who knows it commits, a second start with it moves the deadline; it is shown nowhere."""
    token = {"NETWORKING_CONFIG_TOKEN": "open sesame"}
    first = said(netcf, "start", "--timeout", "600", **token)
    assert said(netcf, "status")["change"]["has_token"]
    assert "sesame" not in netcf.out("status") + netcf.out("status", "--json")
    said(netcf, "commit", status=199, schema="errors")
    said(netcf, "commit", status=199, schema="errors", NETWORKING_CONFIG_TOKEN="wrong")
    again = said(netcf, "start", "--timeout", "1200", **token)
    assert again["id"] == first["id"] and "deadline was moved" in again["notice"]
    assert first["notice"] == ""
    assert said(netcf, "status")["change"]["deadline"] == 1200
    said(netcf, "commit", **token)


def test_a_token_from_a_file(netcf: Netcf, tmp_path: Path) -> None:
    """The first line of the file; rollback needs none."""
    (tmp_path / "token").write_text("open sesame\n")
    said(netcf, "start", "--token-file", f"{tmp_path}/token")
    assert netcf.run("commit").returncode == 199
    said(netcf, "commit", NETWORKING_CONFIG_TOKEN="open sesame")
    said(netcf, "start", "--token-file", f"{tmp_path}/token")
    said(netcf, "rollback")


def test_the_end_of_the_session_rolls_back(netcf: Netcf) -> None:
    """With --leash, when what standard input leads to hangs up and the grace time has passed."""
    ours, theirs = os.pipe()
    started = subprocess.run(
        [netcf.command, "--root", netcf.root, "start", "--leash", "--grace", "1"],
        stdin=ours, capture_output=True, text=True, timeout=PATIENCE, env=netcf.environment,
    )  # fmt: skip
    os.close(ours)
    assert started.returncode == 0, started.stderr
    assert "It rolls back 1 s after this session has gone.\n" in started.stdout
    change = said(netcf, "status")["change"]
    assert (change["grace"], change["deadline"], change["guarded"]) == (1, None, True)
    edit(netcf)
    os.close(theirs)
    end = time.monotonic() + PATIENCE
    while netcf.open():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (netcf.root / INTERFACES).read_text() != "edited\n"


@pytest.mark.parametrize("ran", ["{command} start --leash", "/bin/bash"])
def test_sudos_own_terminal_is_no_session(netcf: Netcf, ran: str) -> None:
    """Behind sudo a leash comes with a warning, in a shell that sudo gave it does not."""
    ours, theirs = pty.openpty()
    started = subprocess.run(
        [netcf.command, "--root", netcf.root, "start", "--leash", "--grace", "60"],
        stdin=theirs, capture_output=True, text=True, timeout=PATIENCE,
        env={**netcf.environment, "SUDO_COMMAND": ran.format(command=netcf.command)},
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert ("use_pty" in started.stderr) == ("command" in ran)
    said(netcf, "rollback")
    os.close(ours)
    os.close(theirs)


def test_a_leash_needs_a_session(netcf: Netcf) -> None:
    """What can't hang up, and what is read already, is refused, and nothing is started."""
    error = said(netcf, "start", "--leash", status=1, schema="errors")["error"]  # /dev/null
    assert "terminal, pipe or socket" in error["details"]
    assert netcf.run("start", "--grace", "5").returncode == 2
    assert netcf.run("start", "--leash", "--token-file", "-").returncode == 2
    assert not netcf.open()


def test_status_says_who_and_what(netcf: Netcf) -> None:
    """For people: whose change it is, what is saved, what differs, and that nothing is open."""
    assert netcf.out("status") == "No change is open.\n"
    netcf.out("start", "--note", "move the uplink")
    edit(netcf)
    text = netcf.out("status")
    for part in ("move the uplink", f"uid {os.geteuid()}", "in this boot", "1 path; see netcf diff"):
        assert part in text


def test_status_says_what_the_helper_started(netcf: Netcf, helper: Any) -> None:
    """The leash and its grace time of a change that another program started."""
    ours, theirs = os.pipe()
    with subprocess.Popen(
        [helper.path, "--root", netcf.root, "snapshot_config", "--leash", "--grace", "30"],
        stdin=ours,
    ) as process:  # fmt: skip
        os.close(ours)
        assert process.wait(PATIENCE) == 0
    try:
        change = said(netcf, "status")["change"]
        assert (change["grace"], change["guarded"]) == (30, True)
        assert "rolls back 30 s after its session has gone" in netcf.out("status")
    finally:
        netcf.out("rollback")
        os.close(theirs)


def test_watch_prints_each_state(netcf: Netcf) -> None:
    """Where no terminal is, --watch prints a line of JSON for each new state."""
    with subprocess.Popen(
        [netcf.command, "--root", netcf.root, "status", "--json", "--watch"],
        stdout=subprocess.PIPE, env=netcf.environment, text=True,
    ) as watching:  # fmt: skip
        assert watching.stdout is not None
        try:
            states = [json.loads(watching.stdout.readline())]
            netcf.out("start")
            states.append(json.loads(watching.stdout.readline()))
        finally:
            watching.terminate()
    for state in states:
        jsonschema.validate(state, SCHEMAS["status"])
    assert [state["open"] for state in states] == [False, True]


# --- scope, history ---------------------------------------------------------------------


def test_scope_says_which_and_why(netcf: Netcf) -> None:
    """Each file with the pattern that takes it; a scope file adds and excludes."""
    tree.write(netcf.root, "etc/netcf/scope.d/local.conf", b"etc/hostname\n!etc/netplan/*\n")
    answer = said(netcf, "scope")
    files = {file["path"]: file["pattern"] for file in answer["files"]}
    assert files["etc/hostname"] == "etc/hostname"
    assert not any(path.startswith("etc/netplan/") for path in files)
    assert {"pattern": "etc/hostname", "exclude": False} in answer["patterns"]
    assert re.search(r"^etc/hostname +file +etc/hostname$", netcf.out("scope"), re.MULTILINE)
    assert "  etc/hostname\n" in netcf.out("scope", "--patterns")


def test_history_show_restore(netcf: Netcf) -> None:
    """A replaced configuration is listed, shown, and put back as a change that can be undone."""
    assert said(netcf, "history") == {"discarded": []}
    assert netcf.out("history") == "No rollback has replaced anything yet.\n"
    before = tree.capture(netcf.root / "etc")
    change = said(netcf, "start", "--note", "the new uplink")["id"]
    edit(netcf)
    tree.write(netcf.root, "etc/netplan/50-new.yaml", b"network: {}\n")
    netcf.out("rollback")
    [entry] = said(netcf, "history")["discarded"]
    assert entry["note"] == "the new uplink" and "the new uplink" in netcf.out("history")
    shown = said(netcf, "show", str(entry["id"]))
    assert shown["change"] == change
    kinds = {one["path"]: one["kind"] for one in shown["differences"]}
    assert kinds == {INTERFACES: "changed", "etc/netplan/50-new.yaml": "added"}
    assert "+edited" in netcf.out("show", str(entry["id"]))
    restored = said(netcf, "restore", str(entry["id"]))
    assert restored["started"] and netcf.open()
    assert (netcf.root / INTERFACES).read_text() == "edited\n"
    assert (netcf.root / "etc/netplan/50-new.yaml").exists()
    assert "All of it is as it is now." in netcf.out("show", str(entry["id"]))
    netcf.out("rollback")
    assert tree.differences(before, tree.capture(netcf.root / "etc")) == []


def test_restore_within_an_open_change(netcf: Netcf) -> None:
    """It joins the change that is open."""
    netcf.out("start")
    edit(netcf)
    netcf.out("rollback")
    change = said(netcf, "start")["id"]
    answer = said(netcf, "restore", "1")
    assert (answer["started"], answer["id"]) == (False, change)
    netcf.out("commit")
    assert (netcf.root / INTERFACES).read_text() == "edited\n"


def test_restore_that_fails_leaves_no_change(netcf: Netcf) -> None:
    """A damaged configuration is refused, and the change opened for it is closed again."""
    netcf.out("start")
    edit(netcf)
    netcf.out("rollback")
    [kept] = (netcf.root / "var/lib/netcf").glob("network-rollback-*.tar")
    damaged = bytearray(kept.read_bytes())
    damaged[600] ^= 1
    kept.write_bytes(damaged)
    before = tree.capture(netcf.root / "etc")
    said(netcf, "restore", "1", status=1, schema="errors")
    assert not netcf.open()
    assert tree.differences(before, tree.capture(netcf.root / "etc")) == []


def test_try_answers(netcf: Netcf) -> None:
    """Kept and rolled back, each in JSON."""
    words = ["--yes", "--check-command", "true", "--"]
    assert said(netcf, "try", *words, "true")["outcome"] == "kept"
    assert said(netcf, "try", *words, "false", status=1)["outcome"] == "rolled back"
