"""Snapshots hold secrets: never readable by others, not for a moment."""

from __future__ import annotations

import functools
import operator
import os
import stat
from pathlib import Path

import pytest

from lib import ncf, operations, seam, tree
from lib.ncf import Core
from lib.operations import Operation

UMASKS = [0o000, 0o022, 0o077, 0o777]
UMASK_IDS = [f"{mask:03o}" for mask in UMASKS]


@pytest.fixture(params=UMASKS, ids=UMASK_IDS)
def umask(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """Applies a umask around the core's calls only: the tests' own files keep theirs."""
    return request.param


def under(mask: int, function):  # type: ignore[no-untyped-def]
    old = os.umask(mask)
    try:
        return function()
    finally:
        os.umask(old)


def readable(root: Path) -> list[str]:
    """What in the state directory somebody else can read, and temporary files anywhere."""
    found = []
    state = root / "var/lib/netcf"
    paths = [Path(top, name) for top, *names in os.walk(state) for name in functools.reduce(operator.iadd, names, [])]
    paths += [state] if state.exists() else []
    paths += [Path(os.fsdecode(tree.join(root, path))) for path in tree.temporary_files(root)]
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISLNK(mode) and mode & 0o077:
            found.append(f"{path} {mode & 0o7777:o}")
    return found


@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_nothing_is_readable_at_any_moment(
    core: Core, fast_dir: Path, umask: int, operation: Operation
) -> None:
    """At no step of any operation can others read anything in the state directory."""
    world = operation.prepare(core, fast_dir / "host")
    seen: list[str] = []

    def look(event: seam.Event, _number: int) -> None:
        found = readable(world.root)
        # A temporary file has the mode of the file it becomes just before it becomes it.
        found = [row for row in found if "/etc/" not in row or row.endswith(" 600")]
        if found:
            seen.append(f"before {event}: {found}")

    with seam.watching(core, look):
        under(umask, lambda: operation.act(core, world.root))
    assert seen == []
    assert readable(world.root) == []


def test_modes_do_not_depend_on_the_umask(core: Core, root: Path, umask: int) -> None:
    """Directory 0700, snapshot and discarded configuration 0600, under any umask."""
    tree.realistic(root)
    under(umask, lambda: core.start(root))
    assert stat.S_IMODE(os.stat(root / "var/lib/netcf").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tree.join(root, tree.SNAPSHOT)).st_mode) == 0o600
    tree.lock_out(root)
    under(umask, lambda: core.rollback(root))
    kept = root / "var/lib/netcf/network-rollback-00000001.tar"
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600


def test_directories_above_are_made_as_usual(core: Core, tmp_path: Path, umask: int) -> None:
    """/var and /var/lib, where a root lacks them, can be entered by everybody as on any host."""
    bare = tmp_path / "bare"
    bare.mkdir()
    under(umask, lambda: core.start(bare))
    for path in ("var", "var/lib"):
        assert stat.S_IMODE(os.stat(bare / path).st_mode) == 0o755, path


def test_restored_secret_is_secret_at_every_moment(core: Core, fast_dir: Path, umask: int) -> None:
    """A 0600 file that was made readable since is never restored through a readable file."""
    tree.realistic(fast_dir)
    secret = b"etc/NetworkManager/system-connections/office.nmconnection"
    core.start(fast_dir)
    path = fast_dir / os.fsdecode(secret)
    path.unlink()
    path.write_bytes(b"now everybody's")
    path.chmod(0o644)
    seen: list[str] = []

    def look(event: seam.Event, _number: int) -> None:
        for temp in tree.temporary_files(fast_dir):
            mode = os.lstat(tree.join(fast_dir, temp)).st_mode
            if mode & 0o077:
                seen.append(f"before {event}: {temp!r} {mode:o}")
        if path.exists() and b"psk=" in path.read_bytes() and path.stat().st_mode & 0o077:
            seen.append(f"before {event}: the file itself")

    with seam.watching(core, look):
        under(umask, lambda: core.rollback(fast_dir))
    assert seen == []
    assert b"psk=" in path.read_bytes()


@pytest.mark.root
def test_restored_secret_belongs_to_nobody_else_before_it_is_whole(core: Core, fast_dir: Path) -> None:
    """A file of another user is given to him only with its final mode."""
    tree.compact(fast_dir)
    path = tree.join(fast_dir, operations.FIRST)
    os.chown(path, 1234, 1234)
    os.chmod(path, 0o4750)
    core.start(fast_dir)
    os.unlink(path)
    seen: list[str] = []

    def look(event: seam.Event, _number: int) -> None:
        for temp in tree.temporary_files(fast_dir):
            status = os.lstat(tree.join(fast_dir, temp))
            if status.st_uid == 0 and status.st_mode & stat.S_ISUID:
                seen.append(f"before {event}: setuid root")

    with seam.watching(core, look):
        core.rollback(fast_dir)
    assert seen == []
    assert os.stat(path).st_mode & 0o7777 == 0o4750


def test_a_state_directory_readable_by_others_is_closed_or_harmless(core: Core, root: Path) -> None:
    """In a state directory of mode 0755 the files are still 0600."""
    tree.realistic(root)
    state = root / "var/lib/netcf"
    state.mkdir()
    state.chmod(0o755)
    core.start(root)
    assert stat.S_IMODE(os.stat(tree.join(root, tree.SNAPSHOT)).st_mode) == 0o600


def test_errors_tell_no_content(core: Core, root: Path) -> None:
    """No error text quotes what is in a file."""
    tree.realistic(root)
    core.start(root)
    path = tree.join(root, tree.SNAPSHOT)
    data = bytearray(open(path, "rb").read())
    at = data.index(b"correct horse")
    data[at] ^= 1
    with open(path, "wb") as file:
        file.write(data)
    with pytest.raises(ncf.NcfError) as caught:
        core.rollback(root)
    assert "horse" not in str(caught.value)
