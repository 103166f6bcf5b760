"""Every command, alias, exit status and wording of networking-config under its own name."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lib import snapshot, tree
from lib.helper import DONE, FAILED, NOT_OPEN, USAGE, WRONG_STATE, Helper

SCRIPTS = "etc/sysconfig/network-scripts"
SNAPSHOT = "var/lib/netcf/network-snapshot.tar"

STARTS = ["snapshot_config", "change-begin"]
COMMITS = ["commit_config", "change-commit"]
ROLLBACKS = ["rollback_config", "change-rollback"]
LSB = ["stop", "restart", "reload", "force-reload", "condrestart", "try-restart"]


@pytest.fixture
def host(root: Path) -> Path:
    tree.realistic(root)
    return root


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("commit", COMMITS)
def test_start_and_commit(helper: Helper, host: Path, start: str, commit: str) -> None:
    """A change is started, edited and committed; both exit 0 and nothing goes to standard error."""
    done = helper.run(start, root=host, check=True)
    assert done.stderr == ""
    assert (host / SNAPSHOT).exists()
    edited = tree.lock_out(host)
    done = helper.run(commit, root=host, check=True)
    assert done.stderr == ""
    assert not (host / SNAPSHOT).exists()
    assert tree.differences(edited, tree.capture(host)) == []


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rollback", ROLLBACKS)
def test_start_and_rollback(helper: Helper, host: Path, start: str, rollback: str) -> None:
    """A change is started, edited and rolled back: the tree is exact, the output says what was done."""
    before = tree.capture(host)
    helper.run(start, root=host, check=True)
    tree.lock_out(host)
    done = helper.run(rollback, root=host, check=True)
    assert done.stderr == ""
    assert "rolled back" in done.stdout
    assert "var/lib/netcf/network-rollback-00000001.tar" in done.stdout
    assert tree.differences(before, tree.capture(host)) == []


@pytest.mark.parametrize("command", STARTS)
def test_start_while_open(helper: Helper, host: Path, command: str) -> None:
    """Exit status 199 and libvirt's words."""
    helper.run(command, root=host, check=True)
    done = helper.run(command, root=host)
    assert done.returncode == WRONG_STATE
    assert "there is another transaction running." in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMITS)
def test_commit_while_none_is_open(helper: Helper, host: Path, command: str) -> None:
    """Exit status 199 and libvirt's words."""
    done = helper.run(command, root=host)
    assert done.returncode == WRONG_STATE
    assert "no transaction running, nothing to be committed." in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ROLLBACKS)
def test_rollback_while_none_is_open(helper: Helper, host: Path, command: str) -> None:
    """Exit status 199 and libvirt's words."""
    done = helper.run(command, root=host)
    assert done.returncode == WRONG_STATE
    assert "no transaction running, nothing to rollback." in done.stderr
    assert done.stdout == ""


def test_status_in_both_states(helper: Helper, host: Path) -> None:
    """status exits 0 either way; the text tells the state."""
    done = helper.run("status", root=host, check=True)
    assert "No open transaction" in done.stdout
    assert "an open transaction" not in done.stdout
    helper.run("snapshot_config", root=host, check=True)
    done = helper.run("status", root=host, check=True)
    assert "an open transaction" in done.stdout
    assert "No open transaction" not in done.stdout


def test_status_open(helper: Helper, host: Path) -> None:
    """status --open: 0 while a change is open, 3 while none is."""
    assert helper.run("status", "--open", root=host).returncode == NOT_OPEN
    helper.run("snapshot_config", root=host, check=True)
    assert helper.run("status", "--open", root=host).returncode == DONE
    helper.run("commit_config", root=host, check=True)
    assert helper.run("status", "--open", root=host).returncode == NOT_OPEN


def test_status_shows_the_note(helper: Helper, host: Path) -> None:
    """The note of the start is shown, with nothing in it that could drive a terminal."""
    helper.run("snapshot_config", "--note", "new VLAN\x1b[31m 42", root=host, check=True)
    done = helper.run("status", root=host, check=True)
    assert "new VLAN\\x1b[31m 42" in done.stdout
    assert "\x1b" not in done.stdout


def test_status_of_a_damaged_snapshot(helper: Helper, host: Path) -> None:
    """A damaged snapshot is an error of status, not "no open transaction"."""
    helper.run("snapshot_config", root=host, check=True)
    os.truncate(host / SNAPSHOT, 700)
    for arguments in (["status"], ["status", "--open"]):
        done = helper.run(*arguments, root=host)
        assert done.returncode == FAILED
        assert "network-snapshot.tar" in done.stderr
        assert "No open transaction" not in done.stdout


def test_boot_rolls_back(helper: Helper, host: Path) -> None:
    """start undoes what was neither committed nor rolled back."""
    before = tree.capture(host)
    helper.run("snapshot_config", root=host, check=True)
    tree.lock_out(host)
    done = helper.run("start", root=host, check=True)
    assert "rolled back" in done.stdout
    assert tree.differences(before, tree.capture(host)) == []
    assert helper.run("status", "--open", root=host).returncode == NOT_OPEN


def test_boot_with_nothing_open(helper: Helper, host: Path) -> None:
    """start with nothing open succeeds silently and touches nothing."""
    before = tree.capture(host, state=True, identity=True)
    done = helper.run("start", root=host, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert tree.differences(before, tree.capture(host, state=True, identity=True)) == []


@pytest.mark.parametrize("is_open", [False, True], ids=["none-open", "open"])
@pytest.mark.parametrize("command", LSB)
def test_init_commands_do_nothing(helper: Helper, host: Path, command: str, is_open: bool) -> None:
    """stop, restart and their kin exit 0 and leave an open change open."""
    if is_open:
        helper.run("snapshot_config", root=host, check=True)
        tree.lock_out(host)
    before = tree.capture(host, state=True, identity=True)
    helper.run(command, root=host, check=True)
    assert tree.differences(before, tree.capture(host, state=True, identity=True)) == []


def test_snapshot_dir(helper: Helper, host: Path) -> None:
    """It prints the path that exists exactly while a change is open."""
    path = helper.run("snapshot-dir", root=host, check=True).stdout
    assert path == f"{host}/{SNAPSHOT}\n"
    assert not os.path.exists(path.strip())
    helper.run("snapshot_config", root=host, check=True)
    assert helper.run("snapshot-dir", root=host, check=True).stdout == path
    assert os.path.exists(path.strip())
    assert helper.run("snapshot-dir", check=True).stdout == f"/{SNAPSHOT}\n"


def test_diff(helper: Helper, host: Path) -> None:
    """Each difference is one line: what, path, and for metadata what of it."""
    helper.run("snapshot_config", root=host, check=True)
    assert helper.run("diff", root=host, check=True).stdout == ""
    tree.lock_out(host)
    lines = helper.run("diff", root=host, check=True).stdout.splitlines()
    found = {re.split(" +", line, maxsplit=1)[1]: line.split(" ")[0] for line in lines}
    assert found[f"{SCRIPTS}/ifcfg-eth9"] == "added"
    assert found[f"{SCRIPTS}/route-br0"] == "removed"
    assert found[f"{SCRIPTS}/ifcfg-br0"] == "changed"
    assert found["etc/netplan/01-base.yaml (mode)"] == "metadata"
    assert found[f"{SCRIPTS}/rule-br0 (mtime)"] == "metadata"


def test_diff_without_a_change(helper: Helper, host: Path) -> None:
    """diff needs an open change: 199."""
    assert helper.run("diff", root=host).returncode == WRONG_STATE


def test_names_can_not_drive_a_terminal(helper: Helper, host: Path) -> None:
    """Control characters in names are shown as \\xNN."""
    helper.run("snapshot_config", root=host, check=True)
    tree.write(host, b"etc/network/interfaces.d/a\x1b]0;b\nc", b"")
    done = helper.run("diff", root=host, check=True)
    assert done.stdout == "added     etc/network/interfaces.d/a\\x1b]0;b\\x0ac\n"


def test_on_write_and_announce(helper: Helper, host: Path) -> None:
    """A change on write restores exactly what was announced."""
    path = f"{SCRIPTS}/ifcfg-eth0"
    helper.run("snapshot_config", "--on-write", root=host, check=True)
    helper.run("announce", path, f"/{SCRIPTS}/ifcfg-new", root=host, check=True)
    (host / path).write_bytes(b"edited")
    (host / SCRIPTS / "ifcfg-new").write_bytes(b"")
    (host / SCRIPTS / "ifcfg-br0").write_bytes(b"not announced")
    helper.run("rollback_config", root=host, check=True)
    assert (host / path).read_bytes() == tree.IFCFG_SLAVE % b"eth0"
    assert not (host / SCRIPTS / "ifcfg-new").exists()
    assert (host / SCRIPTS / "ifcfg-br0").read_bytes() == b"not announced"


def test_announce_errors(helper: Helper, host: Path) -> None:
    """Without a change 199; outside the root 1; without a path 2."""
    assert helper.run("announce", "etc/hostname", root=host).returncode == WRONG_STATE
    helper.run("snapshot_config", "--on-write", root=host, check=True)
    done = helper.run("announce", "../x", root=host)
    assert done.returncode == FAILED
    assert "../x" in done.stderr
    assert helper.run("announce", root=host).returncode == USAGE


def test_discarded_and_put_back(helper: Helper, host: Path) -> None:
    """What a rollback replaced is listed with number, path and note, and can be put back."""
    assert helper.run("discarded", root=host, check=True).stdout == ""
    helper.run("snapshot_config", "--note", "try 1", root=host, check=True)
    edited = tree.lock_out(host)
    helper.run("rollback_config", root=host, check=True)
    (line,) = helper.run("discarded", root=host, check=True).stdout.splitlines()
    assert line.startswith("1 ")
    assert "var/lib/netcf/network-rollback-00000001.tar" in line
    assert line.endswith("try 1")
    assert helper.run("put-back", "1", root=host).returncode == WRONG_STATE
    helper.run("snapshot_config", root=host, check=True)
    helper.run("put-back", "1", root=host, check=True)
    assert tree.differences(
        tree.without_directory_times(edited), tree.without_directory_times(tree.capture(host))
    ) == []
    done = helper.run("put-back", "7", root=host)
    assert done.returncode == FAILED
    assert "no such discarded configuration" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"], ["-1"], ["1x"], [""]])
def test_put_back_usage(helper: Helper, host: Path, arguments: list) -> None:
    """put-back wants exactly one number."""
    helper.run("snapshot_config", root=host, check=True)
    assert helper.run("put-back", *arguments, root=host).returncode == USAGE


def test_token_comes_from_the_environment(helper: Helper, core, host: Path) -> None:  # type: ignore[no-untyped-def]
    """A token is never on the command line; commit_config takes it from the environment."""
    with core.open(host) as handle:
        handle.set_options(token=b"s3cret")
        handle.start()
    done = helper.run("commit_config", root=host)
    assert done.returncode == WRONG_STATE
    assert "token" in done.stderr
    wrong = {"NETWORKING_CONFIG_TOKEN": "other"}
    assert helper.run("commit_config", root=host, env=wrong).returncode == WRONG_STATE
    right = {"NETWORKING_CONFIG_TOKEN": "s3cret"}
    assert helper.run("commit_config", root=host, env=right).returncode == DONE


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["no-such-command"], ["--no-such-option"], ["status", "extra"], ["start", "extra"],
        ["start", "--open"], ["snapshot_config", "--note"], ["commit_config", "--on-write"],
        ["snapshot_config", "x"], ["snapshot_config", "--timeout", "0"], ["rollback_config", "--limit", "0"],
        ["rollback_config", "--command-limit", "0"], ["snapshot_config", "--command-limit", "3"], ["--root"], ["Start"], [""], ["status", "--Open"],
    ],
    ids=repr,
)  # fmt: skip
def test_usage(helper: Helper, host: Path, arguments: list) -> None:
    """What makes no sense is exit status 2, a usage line on standard error, and nothing done."""
    before = tree.capture(host, state=True, identity=True)
    done = helper.run(*arguments, root=host if arguments != ["--root"] else None)
    assert done.returncode == USAGE
    assert "Usage: networking-config" in done.stderr
    if arguments and arguments[0] != "--root":
        assert f"networking-config: {arguments[0]}: no command, or not" in done.stderr
    assert done.stdout == ""
    assert tree.differences(before, tree.capture(host, state=True, identity=True)) == []


def test_help_names_every_command(helper: Helper) -> None:
    """--help goes to standard output, exits 0 and names every command and exit status."""
    done = helper.run("--help", check=True)
    for word in STARTS + COMMITS + ROLLBACKS + LSB + ["start", "status", "--open", "snapshot-dir", "--root", "199"]:
        assert word in done.stdout
    assert done.stderr == ""


def test_version(helper: Helper) -> None:
    """--version says what the file VERSION says."""
    version = (Path(__file__).resolve().parents[2] / "VERSION").read_text().strip()
    assert version in helper.run("--version", check=True).stdout.split()


def test_root_that_does_not_exist(helper: Helper, host: Path) -> None:
    """A root that is not there is exit status 1, with its path."""
    done = helper.run("start", root=host / "missing")
    assert done.returncode == FAILED
    assert str(host / "missing") in done.stderr


def test_root_is_a_prefix_option(helper: Helper, host: Path) -> None:
    """--root DIR stands before the command; the state is below it."""
    helper.run("snapshot_config", root=host, check=True)
    assert (host / SNAPSHOT).exists()
    assert snapshot.read(host / SNAPSHOT).version == b"netcf 1"


def test_errors_name_program_and_command(helper: Helper, host: Path) -> None:
    """An error line begins with what was run."""
    done = helper.run("commit_config", root=host)
    assert done.stderr.startswith("networking-config: commit_config: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1


def test_arguments_of_a_caller_without_argv(helper: Helper) -> None:
    """Run with an empty argument vector it shows its usage instead of crashing."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        empty = (ctypes.c_char_p * 1)(None)
        os.close(2)
        libc.execve(os.fsencode(helper.path), empty, empty)
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == USAGE


def test_what_is_not_saved_is_told(helper: Helper, host: Path) -> None:
    """Start and status say how many devices, sockets or FIFOs are in scope."""
    os.mkfifo(host / "etc/netplan/fifo.yaml")
    done = helper.run("snapshot_config", root=host, check=True)
    assert done.stderr == "networking-config: note: 1 device, socket or FIFO in scope not saved\n"
    assert "  1 not saved: devices, sockets or FIFOs\n" in helper.run("status", root=host, check=True).stdout
    helper.run("commit_config", root=host, check=True)
    os.mkfifo(host / "etc/netplan/another.yaml")
    done = helper.run("snapshot_config", root=host, check=True)
    assert done.stderr == "networking-config: note: 2 devices, sockets or FIFOs in scope not saved\n"


def test_status_of_other_kinds_of_change(helper: Helper, host: Path) -> None:
    """On write, on trial, and of an earlier boot."""
    helper.run("snapshot_config", "--on-write", "--trial-boots", "1", "--grace", "0", root=host, check=True)
    status = helper.run("status", root=host, check=True).stdout
    assert "in this boot" in status and "  outlives 1 more boot\n" in status and "saved as they were announced" in status
    helper.run("commit_config", root=host, check=True)
    helper.run("snapshot_config", "--trial-boots", "2", root=host, check=True)
    assert "  outlives 2 more boots\n" in helper.run("status", root=host, check=True).stdout
    boot = b"boot 01234567-89ab-cdef-0123-456789abcdef"
    snapshot.rewrite(host / SNAPSHOT, lambda lines: [boot if line.startswith(b"boot ") else line for line in lines])
    assert "before the last boot" in helper.run("status", root=host, check=True).stdout
    helper.run("commit_config", root=host, check=True)
    helper.run("snapshot_config", "--trial-boots", "0", root=host, check=True)
    assert "outlives" not in helper.run("status", root=host, check=True).stdout


@pytest.mark.parametrize("arguments", [[], ["1", "2"], ["x"], ["1x"], ["-1"], ["+1"], [""], ["4294967296"]], ids=repr)
def test_extend_usage(helper: Helper, host: Path, arguments: list[str]) -> None:
    """extend wants exactly one number of seconds, and so does --timeout; the change stays as it is."""
    helper.run("snapshot_config", root=host, check=True)
    before = (host / SNAPSHOT).read_bytes()
    assert helper.run("extend", *arguments, root=host).returncode == USAGE
    assert (host / SNAPSHOT).read_bytes() == before
    helper.run("commit_config", root=host, check=True)
    if len(arguments) < 2:
        assert helper.run("snapshot_config", "--timeout", *arguments, root=host).returncode == USAGE
        assert not (host / SNAPSHOT).exists()


def test_discarded_of_a_directory_that_is_not_trusted(helper: Helper, host: Path) -> None:
    """A list that others may have written is refused."""
    helper.run("snapshot_config", root=host, check=True)
    (host / "var/lib/netcf").chmod(0o777)
    done = helper.run("discarded", root=host)
    assert (done.returncode, done.stdout) == (FAILED, "") and "refused" in done.stderr


def test_what_can_not_be_told_was_not_done(helper: Helper, host: Path) -> None:
    """A full disk behind standard output is exit status 1."""
    with open("/dev/full", "w") as full:
        assert helper.run("status", root=host, stdout=full).returncode == FAILED
        assert helper.run("--help", stdout=full).returncode == FAILED


def test_the_root_of_the_host_itself(helper: Helper) -> None:
    """--root / is no root."""
    assert helper.run("--root", "/", "snapshot-dir", check=True).stdout == f"/{SNAPSHOT}\n"


@pytest.mark.parametrize("arguments", ["", "0123456789abcdef", "0123456789abcdef host"])
def test_a_guard_of_nothing(helper: Helper, arguments: str) -> None:
    """Whoever calls it by hand, without a change, has nothing to wait for."""
    done = subprocess.run(["sh", "-c", f"exec 3<&- 4>&-; exec {helper.path} guard {arguments}"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (FAILED, b"")


def test_a_guard_that_nobody_waits_for(helper: Helper, host: Path) -> None:
    """It can't say that it is there, so it is not."""
    helper.run("snapshot_config", "--trial-boots", "1", root=host, check=True)
    [line] = [line for line in snapshot.read(host / SNAPSHOT).lines if line.startswith(b"id ")]
    change = line.split()[1].decode()
    done = subprocess.run(["sh", "-c", f"exec 3<{host} 4>&-; exec {helper.path} guard {change}"], timeout=60)
    assert done.returncode == FAILED
