"""Every operation that writes, with the host it starts from and what it may leave.

The exhaustive loops (kill at every call, fail every call) run over these.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable, NamedTuple

from lib import ncf, seam, snapshot, tree
from lib.forks import run
from lib.ncf import Core

FIRST = "etc/network/interfaces"
SECOND = "etc/netplan/01-base.yaml"
STATE = "var/lib/netcf"
SNAPSHOT = STATE + "/network-snapshot.tar"


class World(NamedTuple):
    """A host on which an operation is about to run."""

    root: Path
    old: tree.Tree  # what a rollback must end in
    new: tree.Tree  # what is there now


class Operation(NamedTuple):
    """How to get to it, and the call itself."""

    name: str
    prepare: Callable[[Core, Path], World]
    act: Callable[[Core, Path], object]

    def __str__(self) -> str:
        return self.name


def _untouched(_core: Core, root: Path) -> World:
    """Older than 20 ms, or a start would make more calls or fewer as the machine is fast or slow."""
    old = tree.compact(root)
    time.sleep(0.04)
    return World(root, old, old)


def _edited(core: Core, root: Path) -> World:
    old = tree.compact(root)
    core.start(root)
    return World(root, old, tree.lock_out(root))


def _with_attributes(core: Core, root: Path) -> World:
    """Edits of all that can be changed of a file but its content, and what a killed rollback left."""
    network = root / "etc/systemd/network"
    tree.compact(root)
    for name in ("a.network", "b.network", "c.network", "a.d/kept"):
        tree.write(root, network / name, b"saved")
    os.setxattr(network / "a.network", "user.changed", b"saved")
    os.setxattr(network / "a.network", "user.removed", b"saved")
    os.setxattr(network / "a.d", "user.directory", b"saved")
    (network / "d.network").symlink_to("a.network")
    tree.set_flags(network / "b.network", tree.NODUMP)
    tree.set_flags(network / "a.d", tree.NODUMP)
    as_root = os.geteuid() == 0
    if as_root:
        os.setxattr(network / "d.network", "trusted.link", b"saved", follow_symlinks=False)
        os.chown(network / "d.network", 1, 1, follow_symlinks=False)
        tree.set_flags(network / "c.network", tree.IMMUTABLE)
    old = tree.capture(root)
    core.start(root)
    tree.lock_out(root)
    os.setxattr(network / "a.network", "user.changed", b"edited")
    os.removexattr(network / "a.network", "user.removed")
    os.setxattr(network / "a.network", "user.added", b"edited")
    os.removexattr(network / "a.d", "user.directory")
    tree.set_flags(network / "b.network", 0)
    tree.set_flags(network / "a.d", 0)
    if as_root:
        tree.set_flags(network / "c.network", 0)
        os.setxattr(network / "d.network", "trusted.link", b"edited", follow_symlinks=False)
        os.chown(network / "a.network", 1, 1)
        tree.write(root, network / "e.d/f.network", b"added")
        tree.set_flags(network / "e.d/f.network", tree.IMMUTABLE)
    (network / "c.network").unlink()
    (network / "c.network").mkdir()
    (network / "a.d/kept").unlink()
    (network / "a.d/kept").write_bytes(b"edited")
    new = tree.capture(root)
    (network / ".netcf-tmp-0").write_bytes(b"left by a rollback that was killed")
    return World(root, old, new)


def _announced(core: Core, root: Path) -> World:
    old = tree.compact(root)
    core.start(root, ncf.START_ON_WRITE)
    core.announce(root, FIRST)
    (root / FIRST).write_bytes(b"edited")
    return World(root, old, tree.capture(root))


def _discarded(core: Core, root: Path) -> World:
    """A discarded configuration, and a change in which it is to be put back."""
    world = _edited(core, root)
    core.rollback(root)
    core.start(root)
    return World(root, world.old, tree.capture(root))


def _restore(core: Core, root: Path) -> None:
    with core.open(root) as handle:
        handle.restore(1)


START = Operation("start", _untouched, lambda core, root: core.start(root))
START_ON_WRITE = Operation(
    "start-on-write", _untouched, lambda core, root: core.start(root, ncf.START_ON_WRITE)
)
COMMIT = Operation("commit", _edited, lambda core, root: core.commit(root))
ROLLBACK = Operation("rollback", _edited, lambda core, root: core.rollback(root))
METADATA = Operation("rollback-metadata", _with_attributes, lambda core, root: core.rollback(root))
ANNOUNCE = Operation("announce", _announced, lambda core, root: core.announce(root, SECOND))
RESTORE = Operation("restore", _discarded, _restore)

ALL = [START, START_ON_WRITE, COMMIT, ROLLBACK, ANNOUNCE, RESTORE]


def differences(operation: Operation, expected: tree.Tree, actual: tree.Tree) -> list[str]:
    """What is not as expected; an announcement says nothing about directories."""
    if operation is ANNOUNCE:
        expected, actual = (tree.without_directory_times(it) for it in (expected, actual))
    return tree.differences(expected, actual)


def events(core: Core, directory: Path, operation: Operation) -> list[seam.Event]:
    """The calls the operation makes when nothing goes wrong."""
    root = directory / "dry-run"

    def child() -> list[seam.Event]:
        operation.prepare(core, root)
        with seam.watching(core) as seen:
            operation.act(core, root)
        return seen

    return run(child).value


_CHANGING = {
    "openat-create", "renameat", "unlinkat", "linkat", "symlinkat", "mkdirat", "fchmod", "fchown",
    "fchownat", "utimensat", "ioctl", "setxattr", "removexattr", "pwrite",
}  # fmt: skip


def kill_points(seen: list[seam.Event]) -> list[int]:
    """Before which calls, numbered from 1, a kill leaves a disk that no earlier kill leaves.

    Reading changes nothing, so only the first call after a changing one, the
    very first and the very last count.
    """
    changing = _CHANGING | {"write", "fallocate", "ftruncate"}
    after = [k + 1 for k, event in enumerate(seen, 1) if event.call in changing]
    return sorted({1, len(seen), *after} - {len(seen) + 1})


def live_writes(seen: list[seam.Event]) -> list[int]:
    """Where the live tree is modified: every changing call that is not the state directory's."""
    return [
        index
        for index, event in enumerate(seen)
        if event.call in _CHANGING
        and event.name != b".netcf-tmp"
        and not event.name.startswith((b"network-", b".netcf-reserve", STATE.encode()))
        and not (len(event.name) == 1 and event.name.isdigit())  # the spare inodes
    ]


def wait_until_older(root: Path) -> None:
    """Let the tree become older than the moments before a start that count as doubtful.

    What changed within the grain of the clock's ticks before a start may have
    changed after it too, so commit and rollback sync it again.  That holds for
    the root as well, in which a first start makes a name.
    """
    (root / STATE).mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [os.fsencode(root), *(tree.join(root, path) for path in tree.capture(root))]
    newest = max(os.lstat(path).st_ctime_ns for path in paths)
    while time.time_ns() < newest + 100_000_000:
        time.sleep(0.005)


def is_open(root: Path) -> bool:
    return os.path.lexists(root / SNAPSHOT)


def leftovers(root: Path) -> list[str]:
    """What may not be there while no change is open, and after a recovery."""
    state = root / STATE
    names = sorted(os.listdir(state)) if state.exists() else []
    kept = [name for name in names if not name.startswith("network-rollback-")]
    return kept + [os.fsdecode(path) for path in tree.temporary_files(root)]


def torn_files(world: World) -> list[bytes]:
    """Live files whose content is neither the old nor the new one."""
    now = tree.capture(world.root)
    torn = []
    for path, entry in now.items():
        if entry.kind != "f" or os.path.basename(path).startswith(b".netcf-tmp"):
            continue
        known = {
            world_tree[path].content
            for world_tree in (world.old, world.new)
            if path in world_tree
        }
        if entry.content not in known:
            torn.append(path)
    return torn


def lost_contents(world: World, discarded: list[Path] | None = None) -> list[bytes]:
    """New contents that are neither live nor in any discarded configuration."""
    state = world.root / STATE
    if discarded is None:
        discarded = sorted(state.glob("network-rollback-*.tar"))
    kept = set()
    for path in discarded:
        kept |= set(snapshot.contents(path).items())
    now = tree.capture(world.root)
    lost = []
    for path, entry in world.new.items():
        if entry.kind != "f" or world.old.get(path) == entry or now.get(path) == entry:
            continue
        if path in world.old and world.old[path].content == entry.content:
            continue
        if (path, entry.content) not in kept:
            lost.append(path)
    return lost
