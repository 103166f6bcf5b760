"""RLIMIT_FSIZE: a file that may not grow is an error, not the end of the process."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import forks, ncf, operations, tree
from lib.helper import DONE, FAILED, Helper
from lib.ncf import Core, NcfError
from lib.operations import Operation

BIG = "etc/network/interfaces.d/big"


def limited(size: int, function: Callable[[], Any]) -> forks.Ended:
    """Call in a child that SIGXFSZ would kill, as most programs."""

    def child() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            function()
        except NcfError as error:
            return error.code, error.details, signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return None

    return forks.run(child)


def with_big_file(core: Core, operation: Operation, root: Path) -> operations.World:
    world = operation.prepare(core, root)
    tree.write(root, BIG, b"x" * 100_000)
    return world


@pytest.mark.parametrize("size", [0, 1000, 60_000])
@pytest.mark.parametrize(
    "operation", [operations.START, operations.START_ON_WRITE, operations.ROLLBACK, operations.ANNOUNCE], ids=str
)
def test_too_large_is_an_error(core: Core, fast_dir: Path, operation: Operation, size: int) -> None:
    """Whichever file grows too large: EFBIG with step and path, no signal, the tree as it was."""
    world = with_big_file(core, operation, fast_dir / "host")
    before = tree.capture(world.root)
    was_open = operations.is_open(world.root)
    ended = limited(size, lambda: operation.act(core, world.root))
    assert ended.signal == 0
    if size == 60_000 and operation in (operations.START_ON_WRITE, operations.ANNOUNCE):
        assert ended.value is None or os.strerror(errno.EFBIG) in ended.value[1]
        return
    code, details, pending, blocked = ended.value
    assert code == ncf.EFILE
    assert os.strerror(errno.EFBIG) in details and ": " in details
    assert (pending, blocked) == (set(), set()), "the thread's signals are the caller's"
    assert operations.is_open(world.root) == was_open
    assert tree.differences(before, tree.capture(world.root)) == []
    assert tree.temporary_files(world.root) == []


@pytest.mark.parametrize("pending_before", [False, True])
def test_the_callers_own_signal_stays(core: Core, fast_dir: Path, pending_before: bool) -> None:
    """Who blocks SIGXFSZ himself finds it blocked afterwards, and pending only if it was before."""
    world = with_big_file(core, operations.START, fast_dir / "host")

    def child() -> tuple[bool, bool]:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXFSZ])
        if pending_before:
            os.kill(os.getpid(), signal.SIGXFSZ)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        with pytest.raises(NcfError):
            core.start(world.root)
        found = signal.SIGXFSZ in signal.sigpending(), signal.SIGXFSZ in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return found

    assert forks.run(child) == (0, (pending_before, True))


def test_helper_with_too_low_a_limit(core: Core, helper: Helper, fast_dir: Path) -> None:
    """The helper fails with words; without the limit, the same command succeeds."""
    world = with_big_file(core, operations.ROLLBACK, fast_dir / "host")

    def low() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    done = helper.run("rollback_config", root=world.root, preexec_fn=low)
    assert done.returncode == FAILED
    assert os.strerror(errno.EFBIG) in done.stderr
    assert operations.is_open(world.root)
    assert helper.run("rollback_config", root=world.root).returncode == DONE
    assert tree.differences(world.old, tree.capture(world.root)) == []


def test_output_to_a_file_that_may_not_grow(core: Core, helper: Helper, fast_dir: Path) -> None:
    """A boot whose standard output is such a file rolls back whole and says that it could not tell."""
    world = operations.ROLLBACK.prepare(core, fast_dir / "host")
    full = fast_dir / "output"
    full.write_bytes(b"x" * 1_000_000)

    def low() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))

    with full.open("ab") as output:
        done = helper.run("start", root=world.root, preexec_fn=low, stdout=output, stderr=subprocess.PIPE)
    assert done.returncode == FAILED
    assert tree.differences(world.old, tree.capture(world.root)) == []
    assert not operations.is_open(world.root)
