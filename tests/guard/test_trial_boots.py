"""Trial boots: a change that can only be judged after a reboot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lib import ncf, tree
from lib.helper import FAILED, Helper
from lib.ncf import Core
from lib.seam import Event, watching

from .conftest import guards, is_open, lock_out, until


def boot(helper: Helper, host: Path) -> str:
    return helper.run("start", root=host, check=True).stdout


def test_the_boot_after_the_trials_rolls_back(helper: Helper, core: Core, host: Path) -> None:
    """Each boot is counted; the change outlives exactly so many."""
    before = tree.capture(host)
    helper.run("snapshot_config", "--trial-boots", "2", root=host, check=True)
    lock_out(host)
    on_trial = tree.capture(host)
    for left in (1, 0):
        assert "this boot is a trial" in boot(helper, host)
        assert core.status(host).trial_boots == left
        assert tree.differences(on_trial, tree.capture(host)) == []
    assert "rolled back change" in boot(helper, host)
    assert not is_open(helper, host)
    assert tree.differences(before, tree.capture(host)) == []


def test_a_commit_after_a_trial_keeps_it(helper: Helper, host: Path) -> None:
    """What was found good after the reboot stays."""
    helper.run("snapshot_config", "--trial-boots", "1", root=host, check=True)
    lock_out(host)
    after = tree.capture(host)
    boot(helper, host)
    helper.run("commit_config", root=host, check=True)
    boot(helper, host)
    assert tree.differences(after, tree.capture(host)) == []


def test_without_trial_boots_the_first_boot_rolls_back(helper: Helper, host: Path) -> None:
    """The default is none."""
    helper.run("snapshot_config", root=host, check=True)
    lock_out(host)
    assert "rolled back change" in boot(helper, host)


def test_the_deadline_begins_anew_with_a_trial(helper: Helper, core: Core, host: Path) -> None:
    """It is judged in that boot, and rolls back by itself in that boot."""
    before = tree.capture(host)
    helper.run("snapshot_config", "--trial-boots", "1", "--timeout", "2", root=host, check=True)
    for pid in guards(host):
        os.kill(pid, 9)  # as a power cut does
    lock_out(host)
    boot(helper, host)
    assert core.status(host).guarded == 1
    until(lambda: not is_open(helper, host), "the rollback")
    assert tree.differences(before, tree.capture(host)) == []


def test_a_leash_does_not_outlive_the_boot(helper: Helper, core: Core, host: Path) -> None:
    """The session is gone with the reboot, which was asked for: the trial goes on without it."""
    reader, writer = os.pipe()
    helper.run(
        "snapshot_config", "--trial-boots", "1", "--leash", root=host, check=True, stdin=reader
    )
    for pid in guards(host):
        os.kill(pid, 9)
    boot(helper, host)
    status = core.status(host)
    assert (status.open, status.has_leash) == (1, 0)
    assert guards(host) == []
    os.close(reader)
    os.close(writer)


def test_a_boot_is_counted_durably(core: Core, host: Path) -> None:
    """The new count is synced before it has its name, and the name before the boot goes on."""
    with core.open(host) as handle:
        handle.set_options(trial_boots=1)
        handle.start()
        with watching(core) as events:
            handle.boot()
    order = [event.call for event in events if event.call in ("fsync", "renameat")]
    assert order == ["fsync", "renameat", "fsync"]


@pytest.mark.parametrize("call", ["fsync", "renameat", "write"])
def test_a_trial_that_can_not_be_counted_rolls_back(core: Core, host: Path, call: str) -> None:
    """Else a host whose disk fails would be on trial for ever."""
    before = tree.capture(host)
    with core.open(host) as handle:
        handle.set_options(trial_boots=1)
        handle.start()
        lock_out(host)
        failed: list[Event] = []

        def first_fails(event: Event, _: int) -> int:
            if event.call != call or failed:
                return 0
            failed.append(event)
            return errno.EIO

        with watching(core, first_fails):
            result = handle.boot()
        assert failed
    assert result.on_trial == 0
    assert b"could not be counted" in result.notice
    assert tree.differences(before, tree.capture(host)) == []


@pytest.mark.parametrize("helper", [b"/bin/true", b"/nowhere/networking-config"])
def test_a_trial_that_can_not_be_guarded_rolls_back(core: Core, host: Path, helper: bytes) -> None:
    """A deadline without a guard is none, whether it does not start or is not there."""
    before = tree.capture(host)
    with core.open(host) as handle:
        handle.set_options(trial_boots=1, deadline=600)
        handle.start()
        for pid in guards(host):
            os.kill(pid, 9)
        lock_out(host)
        handle.set_options(helper=helper)
        result = handle.boot()
    assert result.on_trial == 0 and b"could not be counted or guarded" in result.notice
    assert tree.differences(before, tree.capture(host)) == []


def test_too_many_are_refused(core: Core, helper: Helper, host: Path) -> None:
    """A hundred is the most."""
    assert helper.run("snapshot_config", "--trial-boots", "101", root=host).returncode == FAILED
    with core.open(host) as handle, pytest.raises(ncf.NcfError) as caught:
        handle.set_options(trial_boots=101)
    assert caught.value.code == ncf.EOTHER
