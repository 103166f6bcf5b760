"""Under the name netcf-transaction.sh: what callers of netcf's script see."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lib import tree
from lib.helper import DONE, FAILED, USAGE, WRONG_STATE, Helper

NAME = "netcf-transaction.sh"
RESTARTS = ["restart", "reload", "force-reload", "condrestart", "try-restart"]
USAGE_LINE = (
    "{change-begin|change-commit|change-rollback|snapshot-dir|start|stop|status|restart|"
    "condrestart|try-restart|reload|force-reload}"
)


@pytest.fixture
def script(helper: Helper, root: Path):  # type: ignore[no-untyped-def]
    """The helper by that name, in a chroot: netcf's script has no --root."""
    if os.geteuid() != 0:
        pytest.skip("needs root (to chroot: netcf's script takes no --root)")
    tree.realistic(root)
    program = root / "usr/libexec" / NAME
    program.parent.mkdir(parents=True)
    shutil.copy(helper.path, program)
    before = tree.capture(root)

    def run(*arguments: str) -> Any:
        inside = Helper(Path("/usr/libexec") / NAME)
        return inside.run(*arguments, name=f"/usr/libexec/{NAME}", preexec_fn=lambda: os.chroot(root))

    return run, root, before


def test_commands_of_libnetcf(script) -> None:  # type: ignore[no-untyped-def]
    """change-begin, change-commit, change-rollback as a stock libnetcf calls them."""
    run, root, before = script
    assert run("change-begin").returncode == DONE
    tree.lock_out(root)
    assert run("change-rollback").returncode == DONE
    assert tree.differences(before, tree.capture(root)) == []
    assert run("change-begin").returncode == DONE
    edited = tree.lock_out(root)
    assert run("change-commit").returncode == DONE
    assert tree.differences(edited, tree.capture(root)) == []


def test_wrong_state(script) -> None:  # type: ignore[no-untyped-def]
    """199 is what libnetcf turns into EINVALIDOP."""
    run, _, _ = script
    assert run("change-commit").returncode == WRONG_STATE
    assert run("change-rollback").returncode == WRONG_STATE
    assert run("change-begin").returncode == DONE
    assert run("change-begin").returncode == WRONG_STATE


def test_words_of_status(script) -> None:  # type: ignore[no-untyped-def]
    """status prints exactly netcf's two sentences and exits 0."""
    run, _, _ = script
    done = run("status")
    assert (done.returncode, done.stdout) == (DONE, "No open transaction\n")
    run("change-begin")
    done = run("status")
    assert (done.returncode, done.stdout) == (DONE, "There is an open transaction\n")


@pytest.mark.parametrize("command", RESTARTS + ["start"])
def test_restart_rolls_back(script, command: str) -> None:  # type: ignore[no-untyped-def]
    """start and every kind of restart roll an open change back; with none open they succeed."""
    run, root, before = script
    assert run(command).returncode == DONE
    run("change-begin")
    tree.lock_out(root)
    assert run(command).returncode == DONE
    assert tree.differences(before, tree.capture(root)) == []
    assert run("status").stdout == "No open transaction\n"


def test_stop_leaves_the_change_open(script) -> None:  # type: ignore[no-untyped-def]
    """stop does not roll back."""
    run, root, _ = script
    run("change-begin")
    edited = tree.lock_out(root)
    assert run("stop").returncode == DONE
    assert run("status").stdout == "There is an open transaction\n"
    assert tree.differences(edited, tree.capture(root)) == []


def test_snapshot_dir(script) -> None:  # type: ignore[no-untyped-def]
    """snapshot-dir prints a path that exists exactly while a change is open."""
    run, root, _ = script
    path = run("snapshot-dir").stdout.strip()
    assert path == "/var/lib/netcf/network-snapshot.tar"
    assert not (root / path.lstrip("/")).exists()
    run("change-begin")
    assert (root / path.lstrip("/")).exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["change-begin", "x"], ["nonsense"], ["snapshot_config"], ["diff"], ["--root", "/"], ["status", "--open"]],
    ids=repr,
)
def test_usage(helper: Helper, arguments: list) -> None:
    """Exactly one argument, one of netcf's commands; else usage and 2.  Ours have no meaning here."""
    done = helper.run(*arguments, name=f"/usr/libexec/{NAME}")
    assert done.returncode == USAGE
    assert USAGE_LINE in done.stdout + done.stderr


def test_failure_is_told(script) -> None:  # type: ignore[no-untyped-def]
    """A damaged snapshot makes start fail, with the script's name in the message."""
    run, root, _ = script
    run("change-begin")
    os.truncate(root / "var/lib/netcf/network-snapshot.tar", 600)
    for command in ("start", "restart", "change-rollback"):
        done = run(command)
        assert done.returncode == FAILED
        assert NAME in done.stderr
        assert "network-snapshot.tar" in done.stderr


def test_what_netcfs_own_script_left_is_not_touched(script) -> None:  # type: ignore[no-untyped-def]
    """A transaction that netcf's script has open blocks ours, with advice."""
    run, root, before = script
    left = root / "var/lib/netcf/network-snapshot"
    left.mkdir(parents=True)
    left.parent.chmod(0o700)
    for command in ("change-begin", "start"):
        done = run(command)
        assert done.returncode == FAILED
        assert "var/lib/netcf/network-snapshot" in done.stderr
    assert tree.differences(before, tree.capture(root)) == []
    assert left.is_dir()


def test_without_descriptors_and_without_devices(script) -> None:  # type: ignore[no-untyped-def]
    """Where there is no /dev/null either, no file of its becomes standard output or error."""
    run, root, before = script

    def closed() -> None:
        os.chroot(root)
        os.closerange(0, 3)

    assert Helper(Path("/usr/libexec") / NAME).run("change-begin", name=f"/usr/libexec/{NAME}", preexec_fn=closed).returncode == DONE
    tree.lock_out(root)
    assert run("change-rollback").returncode == DONE
    assert tree.differences(before, tree.capture(root)) == []
