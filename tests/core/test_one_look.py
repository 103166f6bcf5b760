"""A start looks at each file once where that proves that all are of one moment, else twice."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib import build, operations, seam, tree
from lib.ncf import Core, NcfError

SCRIPTS = "etc/sysconfig/network-scripts"
NAMES = (b"ifcfg-a", b"ifcfg-b", b"ifcfg-c")
EDITED = b"edited by one program, at one time\n"

# The clock of the process, by which the kernel does not stamp inodes, can be set.
CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
long clock_ahead;
int clock_gettime(clockid_t clock, struct timespec *t)
{
    long r = syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        t->tv_sec += clock_ahead;
    return (int)r;
}
"""


def some_files(root: Path) -> None:
    for name in NAMES:
        tree.write(root, root / SCRIPTS / os.fsdecode(name), b"known good " + name + b"\n")
    operations.wait_until_older(root)


def edit_while_the_last_is_read(root: Path, remove: bool = False) -> seam.Act:
    """What a program does that changes two files that belong together: read before, and not yet."""
    done = []

    def act(event: seam.Event, _number: int) -> None:
        if event == seam.Event("openat", NAMES[-1]) and not done:
            done.append(1)
            for name in (NAMES[0], NAMES[-1]):
                (root / SCRIPTS / os.fsdecode(name)).write_bytes(EDITED)
            if remove:
                (root / SCRIPTS / os.fsdecode(NAMES[-1])).unlink()

    return act


def examined_by_name(seen: list[seam.Event]) -> list[bytes]:
    return [event.name for event in seen if event.call == "statx" and event.name in NAMES]


def test_old_files_are_looked_at_once(core: Core, root: Path) -> None:
    """Where all is old, each file is opened, read and then examined, and nothing else."""
    some_files(root)
    with seam.watching(core) as seen:
        core.start(root)
    assert examined_by_name(seen) == []
    for name in NAMES:
        first = seam.position(seen, "openat", name)
        assert [event.call for event in seen[first : first + 4] if event.call != "fstatfs"][:4] == [
            "openat", "read", "listxattr", "statx",
        ]  # fmt: skip
        assert len(seam.positions(seen, "openat", name)) == 1
        assert len(seam.positions(seen, "read", name)) == 1


def test_one_young_file(core: Core, root: Path) -> None:
    """Where one has just been written, each is examined before it is read, and again after."""
    some_files(root)
    (root / SCRIPTS / os.fsdecode(NAMES[1])).write_bytes(EDITED)
    with seam.watching(core) as seen:
        core.start(root)
    assert examined_by_name(seen)[-3:] == list(NAMES)
    assert core.diff(root) == []


def test_clock_of_another_host(core: Core, root: Path) -> None:
    """Times prove nothing where it is not known whose clock they are from (NFS, FUSE)."""
    some_files(root)
    with seam.watching(core, lambda event, _: errno.EIO if event.call == "fstatfs" else 0) as seen:
        core.start(root)
    assert examined_by_name(seen)[-3:] == list(NAMES)


@pytest.mark.parametrize("remove", [False, True])
def test_files_that_change_together(core: Core, root: Path, remove: bool) -> None:
    """Two files are edited, or one removed, when one was read and the other not: saved as they are now."""
    some_files(root)
    before = tree.capture(root)
    with seam.watching(core, edit_while_the_last_is_read(root, remove)):
        core.start(root)
    assert core.diff(root) == []
    edited = tree.capture(root)
    assert tree.differences(before, edited) != []
    for name in NAMES:
        (root / SCRIPTS / os.fsdecode(name)).unlink(missing_ok=True)
    core.rollback(root)
    assert tree.differences(edited, tree.capture(root)) == []


def set_back(root: Path) -> None:
    """For a process of its own: the same edit, and the clock set back by an hour at that moment."""
    import ctypes

    core = Core(build.products().test_library)
    ahead = ctypes.c_long.in_dll(ctypes.CDLL(None), "clock_ahead")
    ahead.value = 3600
    edit = edit_while_the_last_is_read(root)

    def act(event: seam.Event, number: int) -> None:
        edit(event, number)
        if event == seam.Event("openat", NAMES[-1]):
            ahead.value = 0

    with seam.watching(core, act):
        core.start(root)
    assert core.diff(root) == []


def test_clock_set_back(core: Core, root: Path, tmp_path: Path) -> None:
    """A clock that is set back gives a change a time from before the start: that is noticed."""
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    some_files(root)
    code = "import sys; from pathlib import Path; from core import test_one_look; "
    subprocess.run(
        [sys.executable, "-c", code + "test_one_look.set_back(Path(sys.argv[1]))", root],
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "PYTHONPATH": str(build.REPO / "tests"),
            "NCF_BUILD_DIR": str(build.directory()),
        },
        check=True,
    )


def test_more_than_is_held(core: Core, root: Path) -> None:
    """What is too large to be held in memory before the first write is read when it is saved."""
    content = {f"ifcfg-{i:03}": os.urandom(60000) for i in range(160)}
    content["ifcfg-050"] = os.urandom(70000)
    for name, data in content.items():
        tree.write(root, root / SCRIPTS / name, data)
    operations.wait_until_older(root)
    before = tree.capture(root)
    with seam.watching(core) as seen:
        core.start(root)
    late = [event.name for event in seen if event.call == "statx" and event.name.startswith(b"ifcfg-")]
    assert late[0] == b"ifcfg-050"
    assert late[-1] == b"ifcfg-159"
    assert len(late) < 30
    for name in content:
        (root / SCRIPTS / name).write_bytes(b"changed")
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_each_call_failing_once(core: Core, root: Path) -> None:
    """Whatever fails while old files are looked at once, a start saves all of it or nothing."""
    some_files(root)
    with seam.watching(core) as seen:
        core.start(root)
    core.commit(root)
    assert examined_by_name(seen) == []
    for k in range(1, len(seen) + 1):
        try:
            with seam.watching(core, seam.failing_at(k, errno.EIO)):
                core.start(root)
        except NcfError as error:
            assert os.strerror(errno.EIO) in (error.details or ""), str(seen[k - 1])
            assert not operations.is_open(root), str(seen[k - 1])
            assert operations.leftovers(root) == [], str(seen[k - 1])
        else:
            assert core.diff(root) == [], str(seen[k - 1])
            core.commit(root)
