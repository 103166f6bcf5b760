"""Deadline, leash and trial boots from Python."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from netcf_py import ArgumentError, Netcf, NotOpen, WrongToken


def wait_for_rollback(ncf: Netcf) -> None:
    end = time.monotonic() + 60
    while ncf.status().open:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_deadline_rolls_back_by_itself(ncf: Netcf, host: Path) -> None:
    """The helper that the package carries, or the installed one, guards it."""
    interfaces = host / "etc/network/interfaces"
    before = interfaces.read_bytes()
    ncf.change_start(deadline=1)
    assert ncf.status().guarded
    interfaces.write_text("locked out")
    wait_for_rollback(ncf)
    assert interfaces.read_bytes() == before


@pytest.mark.parametrize("as_file", [False, True])
def test_a_leash_rolls_back_when_it_ends(ncf: Netcf, as_file: bool) -> None:
    """A descriptor, or a file or socket that has one."""
    reader, writer = os.pipe()
    with open(reader, "rb") as line:
        ncf.change_start(leash=line if as_file else reader, grace=0)
    assert ncf.status().grace == 0
    os.close(writer)
    wait_for_rollback(ncf)


def test_extending(ncf: Netcf) -> None:
    """More time, for who knows the token."""
    with pytest.raises(NotOpen):
        ncf.change_extend(5)
    ncf.change_start(deadline=600, token="secret")
    ncf.change_extend(900)
    assert ncf.status().deadline == 900
    with pytest.raises(WrongToken):
        ncf.change_extend(1200, token="other")
    with pytest.raises(ArgumentError):
        ncf.change_extend(0)
    assert ncf.status().deadline == 900
    ncf.change_commit()


def test_a_guard_is_put_back(ncf: Netcf) -> None:
    """Without a change it is not an error, with one that is guarded it does nothing."""
    ncf.change_guard()
    ncf.change_start(deadline=600)
    ncf.change_guard()
    assert ncf.status().guarded
    ncf.change_rollback()


def test_trial_boots_are_in_the_status(ncf: Netcf) -> None:
    """How many boots the change still outlives."""
    with ncf.change(trial_boots=2):
        assert ncf.status().trial_boots == 2
