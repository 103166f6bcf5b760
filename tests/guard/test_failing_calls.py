"""Every system call fails, and kills, where a change is guarded: the snapshot is there, and boot ends the change.

A script that says it is ready stands in for the guard: here the caller's calls fail, not the guard's.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import remove
from core.test_failing_calls import boot, check_error, faults
from guard.conftest import until
from lib import forks, ncf, operations, seam, tree
from lib.ncf import Core, Ncf, NcfError

pytestmark = pytest.mark.slow

READY = "#!/bin/sh\nprintf g >&4\n"  # csrc/guard.h: GUARD_READY
TOKEN = b"secret"


class Step(NamedTuple):
    """What is done to an open change, and whether a trial boot is left of it."""

    name: str
    act: Callable[[Ncf, bytes], object]  # the second: the program that guards
    trial_boots: int = 0

    def __str__(self) -> str:
        return self.name


def again(handle: Ncf, program: bytes) -> None:
    handle.set_options(token=TOKEN, deadline=900, helper=program)
    handle.start()


STEPS = [
    Step("start-again", again),
    Step("extend", lambda handle, _: handle.extend(900)),
    Step("guard", lambda handle, _: handle.guard()),
    Step("trial-boot", lambda handle, _: handle.boot(), trial_boots=2),
]


@pytest.fixture
def program(tmp_path: Path) -> bytes:
    """The stand-in, where programs may be executed."""
    path = tmp_path / "guard"
    path.write_text(READY)
    path.chmod(0o755)
    return os.fsencode(path)


def opened(core: Core, root: Path, program: bytes, step: Step) -> tuple[tree.Tree, tree.Tree]:
    """The tree before the change, and as it was edited since."""
    old = tree.compact(root)
    with core.open(root) as handle:
        handle.set_options(token=TOKEN, deadline=600, helper=program, trial_boots=step.trial_boots)
        handle.start()
    return old, tree.lock_out(root)


def attempt(core: Core, root: Path, program: bytes, step: Step, act: seam.Act | None) -> tuple[NcfError | None, list[seam.Event]]:
    failure = None
    with core.open(root) as handle:
        handle.set_options(token=TOKEN, helper=program)
        with seam.watching(core, act) as events:
            try:
                step.act(handle, program)
            except NcfError as caught:
                failure = caught
    return failure, events


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_every_call_fails(core: Core, fast_dir: Path, program: bytes, step: Step, lasting: bool) -> None:
    """The edited files stay, the change stays open, the error names step and path, nothing leaks; boot goes back."""
    root = fast_dir / "host"
    opened(core, root, program, step)
    failure, events = attempt(core, root, program, step, None)
    assert failure is None
    remove(root)
    for fault in faults(len(events), lasting):
        old, new = opened(core, root, program, step)
        before = len(os.listdir("/proc/self/fd"))
        failure, seen = attempt(core, root, program, step, fault.act)
        where = f"{fault}, {seen[fault.k - 1] if len(seen) >= fault.k else None}: {failure}"
        assert len(os.listdir("/proc/self/fd")) == before, where
        kept = tree.differences(new, tree.capture(root)) == []
        # A boot that can't be counted is no trial: it rolls back.
        assert (kept and operations.is_open(root)) or step.trial_boots, where
        assert operations.torn_files(operations.World(root, old, new)) == [], where
        if failure is not None and failure.code not in (ncf.EEXEC, ncf.EINVALIDOP):
            check_error(failure, fault.error)
        boot(core, root)
        assert tree.differences(old, tree.capture(root)) == [], where
        assert operations.leftovers(root) == [], where
        remove(root)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_at_every_call(core: Core, fast_dir: Path, program: bytes, step: Step) -> None:
    """Whoever is killed there leaves an open change, which boot rolls back."""
    root = fast_dir / "host"
    opened(core, root, program, step)
    _, events = attempt(core, root, program, step, None)
    remove(root)
    for k in operations.kill_points(events):
        old, new = opened(core, root, program, step)
        ended = forks.run(partial(attempt, core, root, program, step, seam.dying_at(k)))
        assert ended.signal == signal.SIGKILL, events[k - 1]
        assert operations.is_open(root) and tree.differences(new, tree.capture(root)) == [], events[k - 1]
        boot(core, root)
        assert tree.differences(old, tree.capture(root)) == [], events[k - 1]
        assert operations.leftovers(root) == [], events[k - 1]
        remove(root)


NOWHERE = b"/nowhere/networking-config"


def test_extending_without_a_program(core: Core, root: Path, program: bytes) -> None:
    """A deadline that nobody could guard is not moved: the old one stays."""
    opened(core, root, program, STEPS[1])
    with core.open(root) as handle:
        handle.set_options(token=TOKEN, helper=NOWHERE)
        with pytest.raises(NcfError, match=r"nowhere.*no file was touched"):
            handle.extend(900)
        assert handle.status().deadline == 600


@pytest.mark.parametrize("token", [b"another", None, TOKEN])
def test_starting_again_with_what_is_no_token(core: Core, root: Path, program: bytes, token: bytes | None) -> None:
    """Where it is another, or the open change has none, the start is refused as any other, and says whose change it is."""
    tree.compact(root)
    with core.open(root) as handle:
        handle.set_options(token=None if token == TOKEN else TOKEN, deadline=600, helper=program, note=b"first")
        handle.start()
        handle.set_options(token=token or b"", deadline=900, helper=program)
        with pytest.raises(NcfError, match=r"another transaction.*note: first") as caught:
            handle.start()
        assert caught.value.code == ncf.EINVALIDOP
        assert handle.status().deadline == 600


def test_a_guard_that_is_not_put_back(core: Core, root: Path, program: bytes) -> None:
    """Without its program it is an error; of a damaged snapshot, too; while another is at work, and without a deadline, there is nothing to do."""
    opened(core, root, program, STEPS[2])
    called = Path(os.fsdecode(program)).parent / "called"
    Path(os.fsdecode(program)).write_text(READY + f"\ntouch {called}\n")
    state = os.open(root / operations.STATE, os.O_RDONLY)
    with core.open(root) as handle:
        handle.set_options(helper=NOWHERE)
        with pytest.raises(NcfError, match="nowhere") as caught:
            handle.guard()
        assert caught.value.code == ncf.EEXEC
        handle.set_options(helper=program)
        fcntl.flock(state, fcntl.LOCK_EX)
        handle.guard()
        assert not called.exists()
        fcntl.flock(state, fcntl.LOCK_UN)
        handle.guard()
        until(called.exists, "the guard")
        snapshot = (root / operations.SNAPSHOT).read_bytes()
        os.truncate(root / operations.SNAPSHOT, 700)
        with pytest.raises(NcfError, match=r"network-snapshot\.tar"):
            handle.guard()
        (root / operations.SNAPSHOT).write_bytes(snapshot)
        handle.set_options(token=TOKEN)
        handle.commit()
        handle.set_options(helper=NOWHERE)
        handle.start()
        handle.guard()
    os.close(state)
