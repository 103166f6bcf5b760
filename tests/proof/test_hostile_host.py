"""Somebody else on the host works against us while an operation runs."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from conftest import remove
from lib import ncf, operations, seam, tree
from lib.helper import DONE, FAILED, Helper
from lib.ncf import Core, NcfError

SNAPSHOT = "var/lib/netcf/network-snapshot.tar"


def test_link_in_the_place_of_a_directory_just_made(core: Core, fast_dir: Path) -> None:
    """A directory that is swapped for a link as soon as it was made has nobody else's mode changed."""
    root, outside = fast_dir / "host", fast_dir / "outside"
    tree.realistic(root)
    outside.mkdir(mode=0o755)
    core.start(root)
    made = root / "etc/systemd/network/10-eth2.network.d"
    (made / "mtu.conf").unlink()
    made.rmdir()

    def swap(event: seam.Event, _number: int) -> None:
        if event.call == "fchmodat" and event.name == os.fsencode(made.name):
            made.rmdir()
            made.symlink_to(outside)

    with seam.watching(core, swap), pytest.raises(NcfError) as caught:
        core.rollback(root)
    assert made.is_symlink()
    assert "10-eth2.network.d" in caught.value.details
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert os.listdir(outside) == []


@pytest.mark.parametrize("call", ["rollback", "commit", "diff", "status"])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_snapshot_that_others_can_write(core: Core, root: Path, call: str, mode: int) -> None:
    """A snapshot that others can write to is refused, with its path, and nothing is touched."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    (root / SNAPSHOT).chmod(mode)
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        getattr(core, call)(root)
    assert caught.value.code == ncf.EFILE
    assert SNAPSHOT in caught.value.details
    assert "can be written by others" in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.root
def test_snapshot_of_somebody_else(core: Core, helper: Helper, root: Path) -> None:
    """A snapshot that belongs to neither root nor the caller is refused, at boot too."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    os.chown(root / SNAPSHOT, 1234, 1234)
    before = tree.capture(root, state=True, identity=True)
    assert helper.boot(root) == FAILED
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.parametrize("metadata_only", [False, True])
def test_hard_link_to_a_file_outside_is_not_written_through(
    core: Core, root: Path, metadata_only: bool
) -> None:
    """A name in scope that became a hard link to a file outside is replaced; the file is untouched."""
    tree.realistic(root)
    path = root / "etc/netplan/01-base.yaml"
    content = path.read_bytes()
    core.start(root)
    outside = root / "etc/shadow"
    outside.write_bytes(content if metadata_only else b"root:*:1:\n")
    outside.chmod(0o640)
    before = outside.stat()
    path.unlink()
    os.link(outside, path)
    core.rollback(root)
    now = outside.stat()
    assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert now.st_nlink == 1
    assert path.read_bytes() == content


def test_control_characters_beyond_ascii_can_not_drive_a_terminal(helper: Helper, root: Path) -> None:
    """U+009B, which starts a command on a terminal as ESC [ does, is shown as its bytes."""
    tree.realistic(root)
    helper.run("snapshot_config", root=root, check=True)
    tree.write(root, b"etc/network/interfaces.d/\xc2\x9b31m\xc3\xa9")
    shown = os.fsencode(helper.run("diff", root=root, check=True).stdout)
    assert b"\xc2\x9b" not in shown
    assert rb"etc/network/interfaces.d/\xc2" in shown
    assert "\u00e9".encode() in shown


IN_THE_WAY = ("empty", "full")


def put_directory(path: Path, kind: str) -> None:
    path.mkdir()
    if kind == "full":
        (path / "mine").write_bytes(b"somebody's")


@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("command", ["rollback", "commit"])
@pytest.mark.parametrize(
    "name", [".netcf-tmp", ".netcf-reserve-1", ".netcf-reserve-2", "network-rollback-00000001.tar", "not-back"]
)
def test_directory_with_a_name_of_ours_in_the_state_directory(
    core: Core, root: Path, name: str, command: str, kind: str
) -> None:
    """A directory under a name that the library uses stops nothing, and what is in it is not lost."""
    state = root / "var/lib/netcf"
    old = tree.realistic(root)
    core.start(root)
    new = tree.lock_out(root)
    (state / name).unlink(missing_ok=True)
    put_directory(state / name, kind)
    getattr(core, command)(root)
    assert tree.differences(new if command == "commit" else old, tree.capture(root)) == []
    assert core.status(root).open == 0
    if kind == "full":
        assert [path.read_bytes() for path in state.glob("*/mine")] == [b"somebody's"]
    core.start(root)
    tree.write(root, "etc/network/interfaces", b"edited again")
    core.rollback(root)
    assert len(core.discarded(root)) == (1 if command == "commit" else 2)


@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("since", ["before", "after"])
@pytest.mark.parametrize("command", ["rollback", "commit"])
def test_directory_with_a_name_of_ours_beside_live_files(
    core: Core, root: Path, command: str, since: str, kind: str
) -> None:
    """A directory named like a temporary file, there since before the start or not, stops nothing and stays."""
    old = tree.realistic(root)
    places = [root / "etc/systemd/network/.netcf-tmp-0", root / "etc/netplan/.netcf-tmp-1", root / "etc/.netcf-tmp"]
    if since == "before":
        for place in places:
            put_directory(place, kind)
        core.start(root)
        new = tree.lock_out(root)
    else:
        core.start(root)
        new = tree.lock_out(root)
        for place in places:
            put_directory(place, kind)
    getattr(core, command)(root)
    assert core.status(root).open == 0
    assert all(place.is_dir() and os.listdir(place) == ["mine"] * (kind == "full") for place in places)
    now, wanted = (
        {path: entry for path, entry in tree.without_directory_times(it).items() if b".netcf-tmp" not in path}
        for it in (tree.capture(root), new if command == "commit" else old)
    )
    assert tree.differences(wanted, now) == []


def swap_at_every_call(core: Core, directory: Path, change: Callable[[Path], None], name: str) -> Iterator[Path]:
    """Roll back once for each of its calls; at that call a hard link to a file outside comes to stand
    under `name`, or under the name of the temporary file on its way there.  Yields the file outside."""
    for k in itertools.count(1):
        root, outside = directory / f"host-{k}", directory / f"outside-{k}"
        tree.compact(root)
        outside.write_bytes(b"root's own")
        os.utime(outside, ns=(1, 1))
        outside.chmod(0o640)
        place = root / "etc/systemd/network" / name
        tree.write(root, "etc/systemd/network/kept")
        change(place)
        core.start(root)
        if os.geteuid() == 0:
            tree.set_flags(place, 0) if not place.is_symlink() else None
        place.unlink()

        def swap(
            _event: seam.Event, number: int, k: int = k, place: Path = place, outside: Path = outside
        ) -> None:
            if number != k:
                return
            for victim in [*place.parent.glob(".netcf-tmp-*"), place]:
                if os.path.lexists(victim):
                    try:
                        victim.unlink()
                    except PermissionError:
                        continue  # immutable already: nobody swaps that
                    os.link(outside, victim)

        with seam.watching(core, swap) as events, contextlib.suppress(NcfError):
            core.rollback(root)
        yield outside
        tree.clear_flags(root)
        if len(events) < k:
            break
        remove(root)


def test_hard_link_in_the_place_of_a_restored_link(core: Core, fast_dir: Path) -> None:
    """Owner, time and attributes of a symbolic link are never set on a file put in its place."""

    def change(place: Path) -> None:
        place.symlink_to("nowhere")
        os.utime(place, ns=(2, 2), follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(place, 1234, 1234, follow_symlinks=False)
            os.setxattr(place, "trusted.mark", b"x", follow_symlinks=False)

    for outside in swap_at_every_call(core, fast_dir, change, "link"):
        now = outside.stat()
        assert (now.st_uid, now.st_mtime_ns, os.listxattr(outside)) == (os.geteuid(), 1, [])


@pytest.mark.root
def test_hard_link_in_the_place_of_a_file_about_to_be_locked(core: Core, fast_dir: Path) -> None:
    """Inode flags are never set on a file put in the place of the restored one."""

    def change(place: Path) -> None:
        place.write_bytes(b"saved")
        tree.set_flags(place, tree.IMMUTABLE)

    for outside in swap_at_every_call(core, fast_dir, change, "locked"):
        assert tree.get_flags(outside) == 0
        assert outside.read_bytes() == b"root's own"


@pytest.mark.root
def test_further_name_of_an_immutable_file(core: Core, root: Path) -> None:
    """A hard link to an immutable file comes back, and the file is immutable again."""
    tree.compact(root)
    first, second = root / "etc/systemd/network/a", root / "etc/systemd/network/b"
    tree.write(root, "etc/systemd/network/a", b"saved")
    os.link(first, second)
    tree.set_flags(first, tree.IMMUTABLE)
    old = tree.capture(root)
    core.start(root)
    tree.set_flags(first, 0)
    second.unlink()
    tree.set_flags(first, tree.IMMUTABLE)
    core.rollback(root)
    assert tree.differences(old, tree.capture(root)) == []


REPLACED_BY = {
    "nothing": lambda state, _outside: None,
    "another": lambda state, _outside: state.mkdir(mode=0o700),
    "a link": lambda state, outside: state.symlink_to(outside),
}


@pytest.mark.root  # others may not move a directory that they may not write to
@pytest.mark.parametrize("by", REPLACED_BY)
@pytest.mark.parametrize("operation", [operations.START, operations.COMMIT, operations.ROLLBACK], ids=str)
def test_state_directory_replaced_at_every_call(
    core: Core, helper: Helper, fast_dir: Path, operation: operations.Operation, by: str
) -> None:
    """Whenever it is moved away (each way takes a third of the calls): nothing is written elsewhere; where it comes back, boot ends what was begun."""
    for k in itertools.count(1 + list(REPLACED_BY).index(by), len(REPLACED_BY)):
        world = operation.prepare(core, fast_dir / f"host-{k}")
        state, moved, outside = (fast_dir / name for name in (f"host-{k}/var/lib/netcf", "moved", "outside"))
        outside.mkdir(mode=0o700)

        def move(
            _event: seam.Event, number: int, k: int = k, state: Path = state, moved: Path = moved, outside: Path = outside
        ) -> None:
            if number == k and state.exists():
                state.rename(moved)
                REPLACED_BY[by](state, outside)

        with seam.watching(core, move) as events, contextlib.suppress(NcfError):
            operation.act(core, world.root)
        assert os.listdir(outside) == []
        assert operations.torn_files(world) == []
        if moved.exists():
            if state.is_symlink():
                state.unlink()
            remove(state) if state.exists() else None
            moved.rename(state)
        outside.rmdir()
        committed = operation is operations.COMMIT and not operations.is_open(world.root)
        assert helper.boot(world.root) == DONE, k
        wanted = world.new if committed else world.old
        assert tree.differences(wanted, tree.capture(world.root)) == [], k
        assert operations.leftovers(world.root) == [], k
        remove(world.root)
        if len(events) < k:
            break


def test_environment_of_somebody_else(helper: Helper, root: Path, tmp_path: Path) -> None:
    """Nothing that a caller's environment can say changes what is done, or where."""
    old = tree.realistic(root)
    bad = str(tmp_path / "nowhere")
    names = ["PATH", "TMPDIR", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "LOCPATH", "NLSPATH", "TZDIR", "GCONV_PATH",
             "XDG_RUNTIME_DIR", "NCF_ROOT", "IFS", "LC_ALL", "LANG", "TZ", "MALLOC_PERTURB_"]  # fmt: skip
    environment = dict.fromkeys(names, bad) | {"TZ": ":" + bad, "POSIXLY_CORRECT": "1", "JOURNAL_STREAM": "x" * 70_000}
    helper.run("snapshot_config", root=root, check=True, env=environment)
    tree.lock_out(root)
    helper.run("start", root=root, check=True, env=environment)
    assert tree.differences(old, tree.capture(root)) == []
    assert not (tmp_path / "nowhere").exists()
    too_long = environment | {"NETWORKING_CONFIG_TOKEN": "x" * 100_000}
    done = helper.run("snapshot_config", root=root, env=too_long)
    assert (done.returncode, "token" in done.stderr) == (FAILED, True)
    assert not operations.is_open(root)
