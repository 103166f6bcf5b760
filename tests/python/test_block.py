"""``with ncf.change()``: committed at its end, rolled back on an exception."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Callable

import pytest

from lib import tree
from netcf_py import (
    AlreadyOpen,
    ArgumentError,
    Change,
    DifferenceKind,
    FileError,
    Netcf,
    NetcfError,
    NotOpen,
    UseAfterClose,
)

from .waiting import HeldLock

BRIDGE = "etc/sysconfig/network-scripts/ifcfg-br0"


class NoCommit(Netcf):
    """A host whose disk refuses to make the new files durable."""

    def change_commit(self, flags: int = 0, *, token: str | None = None) -> None:
        raise FileError(10, "no commit")


class NothingWorks(NoCommit):
    """A host where rollback fails too."""

    def change_rollback(self, flags: int = 0, **_options: object) -> None:  # type: ignore[override]
        raise FileError(10, "no rollback")


def test_success_commits(ncf: Netcf, host: Path) -> None:
    """The end of the block commits."""
    with ncf.change() as change:
        assert ncf.status().id == change.id
        after = tree.lock_out(host)
    assert not ncf.status().open
    assert ncf.discarded() == []
    assert tree.differences(after, tree.capture(host)) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_rolls_back(ncf: Netcf, host: Path, error: type[BaseException]) -> None:
    """Whatever leaves the block, the configuration returns and the exception passes as it is."""
    before = tree.capture(host)
    thrown = error("stop")
    with pytest.raises(error) as caught, ncf.change():
        tree.lock_out(host)
        raise thrown
    assert caught.value is thrown
    assert caught.value.__context__ is None
    assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []


def test_a_return_out_of_the_block_commits(ncf: Netcf, host: Path) -> None:
    """Leaving early without an exception is success."""

    def edit() -> str:
        with ncf.change():
            (host / BRIDGE).write_bytes(b"new\n")
            return "done"

    assert edit() == "done"
    assert not ncf.status().open
    assert (host / BRIDGE).read_bytes() == b"new\n"


def test_the_options_are_those_of_start(ncf: Netcf) -> None:
    """Note, token, deadline and mode reach the change, and the end knows the token."""
    with ncf.change(on_write=True, note="why", token="secret", deadline=60):
        status = ncf.status()
        assert status.on_write
        assert (status.note, status.has_token, status.deadline) == ("why", True, 60)
    assert not ncf.status().open


def test_the_block_announces_and_compares(ncf: Netcf, host: Path) -> None:
    """announce and diff are at hand on the change itself."""
    before = (host / BRIDGE).read_bytes()
    with pytest.raises(KeyError), ncf.change(on_write=True) as change:
        change.announce(BRIDGE)
        (host / BRIDGE).write_bytes(b"new\n")
        assert [(row.path, row.kind) for row in change.diff()] == [(BRIDGE, DifferenceKind.CHANGED)]
        raise KeyError
    assert (host / BRIDGE).read_bytes() == before


@pytest.mark.parametrize(
    "commit",
    [lambda ncf, change: change.commit(), lambda ncf, change: ncf.change_commit()],
    ids=["change", "netcf"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_commit_by_hand_is_left_alone(
    ncf: Netcf, host: Path, commit: Callable[[Netcf, Change], None], fails: bool
) -> None:
    """What was committed in the block stays, also when the block fails afterwards."""
    try:
        with ncf.change() as change:
            after = tree.lock_out(host)
            commit(ncf, change)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert not ncf.status().open
    assert tree.differences(after, tree.capture(host)) == []


@pytest.mark.parametrize(
    "rollback",
    [
        lambda ncf, change: change.rollback(),
        lambda ncf, change: change.rollback(files_only=True),
        lambda ncf, change: ncf.change_rollback(),
    ],
    ids=["change", "files only", "netcf"],
)
def test_a_rollback_by_hand_is_left_alone(
    ncf: Netcf, host: Path, rollback: Callable[[Netcf, Change], None]
) -> None:
    """Who rolls back in the block gets the old configuration and no exception."""
    before = tree.capture(host)
    with ncf.change() as change:
        tree.lock_out(host)
        rollback(ncf, change)
    assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []


def test_a_second_change_started_by_hand_stays_open(ncf: Netcf) -> None:
    """The block ends its own change and no other."""
    with ncf.change() as change:
        change.commit()
        ncf.change_start(note="second")
    assert ncf.status().note == "second"


def test_a_change_that_somebody_else_closed_is_not_open(ncf: Netcf, host: Path) -> None:
    """The end of the block does not pretend to have committed."""
    with pytest.raises(NotOpen) as caught, ncf.change() as change, Netcf(host) as other:
        other.change_rollback()
    assert (
        caught.value.details == f"change {change.id} was committed or rolled back by somebody else"
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_change_of_somebody_else_is_not_touched(ncf: Netcf, host: Path, fails: bool) -> None:
    """Neither end of the block closes a change that another has opened meanwhile."""
    with pytest.raises(KeyError if fails else NotOpen), ncf.change():
        with Netcf(host) as other:
            other.change_rollback()
            other.change_start(note="theirs")
        if fails:
            raise KeyError
    assert ncf.status().note == "theirs"


def test_an_exception_passes_when_somebody_else_rolled_back(ncf: Netcf, host: Path) -> None:
    """Where nothing is left to roll back, the block's own exception is the news."""
    with pytest.raises(KeyError) as caught, ncf.change():
        with Netcf(host) as other:
            other.change_rollback()
        raise KeyError
    assert caught.value.__context__ is None


def test_a_failed_rollback_is_chained_to_what_caused_it(ncf: Netcf, host: Path) -> None:
    """Neither the rollback's failure nor the exception before it is hidden."""
    thrown = KeyboardInterrupt()
    with pytest.raises(FileError) as caught, ncf.change():
        snapshot = Path(ncf.snapshot_path)
        snapshot.write_bytes(snapshot.read_bytes()[:-700])
        raise thrown
    assert caught.value.__context__ is thrown
    assert snapshot.exists()


def test_a_failed_commit_rolls_back(host: Path) -> None:
    """A configuration that can't be made durable is not kept half open."""
    before = tree.capture(host)
    with NoCommit(host) as ncf:
        with pytest.raises(FileError, match="no commit"), ncf.change():
            tree.lock_out(host)
        assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []


def test_a_failed_rollback_after_a_failed_commit_is_chained(host: Path) -> None:
    """Both failures are told, and the change is still open for the next boot."""
    with NothingWorks(host) as ncf:
        with pytest.raises(FileError, match="no rollback") as caught, ncf.change():
            pass
        assert str(caught.value.__context__) == "no commit"
        assert ncf.status().open


def test_a_nested_change_is_already_open_and_the_outer_rolls_back(ncf: Netcf, host: Path) -> None:
    """The inner start fails, and that exception rolls back the outer change only."""
    before = tree.capture(host)
    with pytest.raises(AlreadyOpen), ncf.change():
        tree.lock_out(host)
        with ncf.change():
            pytest.fail("the inner block must not be entered")
    assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []


def test_a_nested_change_that_is_caught_leaves_the_outer_alone(ncf: Netcf) -> None:
    """A refused inner change does not end the outer one."""
    with ncf.change() as outer:
        with pytest.raises(TypeError), ncf.change(note=3):  # type: ignore[arg-type]
            pytest.fail("the inner block must not be entered")
        with pytest.raises(AlreadyOpen), ncf.change():
            pytest.fail("the inner block must not be entered")
        assert ncf.status().id == outer.id
    assert not ncf.status().open


def test_a_start_that_fails_leaves_nothing_open(ncf: Netcf) -> None:
    """A block that could not be entered has no change."""
    with pytest.raises(ArgumentError), ncf.change(note="x" * 256):
        pytest.fail("the block must not be entered")
    assert not ncf.status().open


def test_a_start_that_fails_says_why_also_after_another_change(ncf: Netcf, host: Path) -> None:
    """What an earlier change left in the Netcf does not get in the way of the error."""
    with ncf.change():
        pass
    patterns = host / "etc/netcf/scope.d"
    patterns.mkdir(parents=True)
    (patterns / "bad.conf").write_text("../outside\n")
    with pytest.raises(NetcfError, match="bad pattern"), ncf.change():
        pytest.fail("the block must not be entered")


def test_a_netcf_closed_inside_the_block_is_a_clear_error(ncf: Netcf, host: Path) -> None:
    """The end can't commit any more, says so, and the change stays open."""
    with pytest.raises(UseAfterClose), ncf.change():
        ncf.close()
    with Netcf(host) as other:
        assert other.status().open


def test_nothing_starts_before_the_block_is_entered(ncf: Netcf) -> None:
    """Making a Change does nothing yet."""
    change = ncf.change()
    assert change.id == ""
    assert not ncf.status().open


def test_a_change_can_be_used_again(ncf: Netcf) -> None:
    """The same object starts a new change each time."""
    change = ncf.change(note="again")
    ids = []
    for _ in range(2):
        with change:
            ids.append(change.id)
            assert ncf.status().note == "again"
    assert len(set(ids)) == 2


def test_an_interrupt_during_the_start_leaves_nothing_open(ncf: Netcf, host: Path) -> None:
    """Ctrl-C while start works rolls back what start has just opened."""
    before = tree.capture(host)
    lock = HeldLock(host)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        lock.wait_for_waiters()
        signal.pthread_kill(main, signal.SIGINT)
        lock.release()

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt), ncf.change():
            pytest.fail("the block must not be entered")
    finally:
        other.join()
        signal.signal(signal.SIGINT, previous)
    assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []
    assert os.listdir(host / "var/lib/netcf") == []
