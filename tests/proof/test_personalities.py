"""The simulated disk leaves what real filesystems were seen to leave, and no promise is broken there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from lib import images
from proof import simulator

# What was found after a power cut, on Linux 6.18: the table in docs/testing.md.
# ext4 with data=writeback has no personality of its own: posix stands for it.
MEASURED = {
    "rename-unsynced": {"ext4": "new", "ext4-writeback": "new", "xfs": "empty", "btrfs": "empty"},
    "rename-synced": {"ext4": "new", "ext4-writeback": "new", "xfs": "new", "btrfs": "new"},
    "unnamed": {"ext4": "empty", "ext4-writeback": "empty", "xfs": "empty", "btrfs": "empty"},
    "unlink-other": {"ext4": "gone", "ext4-writeback": "gone", "xfs": "gone", "btrfs": "old"},
    "unlink-unwritten": {"ext4": "old", "ext4-writeback": "old", "xfs": "old", "btrfs": "old"},
    "rename-other": {"ext4": "new", "ext4-writeback": "old", "xfs": "empty", "btrfs": "old"},
    "link-named": {"ext4": "new", "ext4-writeback": "new", "xfs": "new", "btrfs": "new"},
    "link-changed": {"ext4": "new", "ext4-writeback": "new", "xfs": "new", "btrfs": "old"},
}
PERSONALITY = {"ext4": "ext4", "ext4-writeback": "posix", "xfs": "xfs", "btrfs": "btrfs"}
# What the core builds on, whatever the filesystem.
PROMISED = {"rename-synced": {"new"}, "link-named": {"new"}}
NEW, OLD = b"n" * 4096, b"o" * 4096


@pytest.fixture(scope="module")
def facts(simulator_directory: Path) -> dict[tuple[str, str], set[str]]:
    """By sequence and personality: all that a cut can leave on the simulated disk."""
    disk = simulator.build(None, simulator_directory / "base")
    lines = simulator.run(disk, "--facts").stdout.splitlines()
    return {(words[0], words[1]): set(words[2:]) for words in map(str.split, lines)}


@pytest.mark.parametrize("sequence", MEASURED)
@pytest.mark.parametrize("filesystem", PERSONALITY)
def test_what_was_measured_can_happen(
    facts: dict[tuple[str, str], set[str]], sequence: str, filesystem: str
) -> None:
    """The measured outcome is one of the personality's, and one of the worst case's."""
    outcome = MEASURED[sequence][filesystem]
    assert outcome in facts[sequence, PERSONALITY[filesystem]]
    assert outcome in facts[sequence, "posix"]


@pytest.mark.parametrize("sequence", MEASURED)
@pytest.mark.parametrize("personality", ["ext4", "xfs", "btrfs"])
def test_no_personality_is_worse_than_the_worst_case(
    facts: dict[tuple[str, str], set[str]], sequence: str, personality: str
) -> None:
    """What can happen on a filesystem can happen where nothing is promised."""
    assert facts[sequence, personality] <= facts[sequence, "posix"]


def test_where_the_outcome_is_certain_it_is_the_only_one(facts: dict[tuple[str, str], set[str]]) -> None:
    """A personality that only adds outcomes would agree with every measurement."""
    certain = {key for key, outcomes in facts.items() if len(outcomes) == 1}
    every = {"posix", "ext4", "xfs", "btrfs"}
    assert certain == {
        *(("rename-synced", name) for name in every),
        *(("link-named", name) for name in every),
        *(("unlink-other", name) for name in ("ext4", "xfs")),
        *(("link-changed", name) for name in ("ext4", "xfs")),
    }
    for sequence, outcome in PROMISED.items():
        assert all(facts[sequence, name] == outcome for name in every)


# ---- the same on the real ones ----


def _write(path: Path, content: bytes, synced: bool = False) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        if synced:
            os.fsync(file.fileno())


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _other(directory: Path) -> None:
    with open(directory / "Y", "ab") as file:
        file.write(b"more")
        file.flush()
        os.fsync(file.fileno())


def _rename(directory: Path, synced: bool) -> None:
    _write(directory / "T", NEW, synced)
    os.rename(directory / "T", directory / "X")


def _unnamed(directory: Path) -> None:
    fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o644)
    try:
        os.write(fd, NEW)
        os.link(f"/proc/self/fd/{fd}", directory / "N", src_dir_fd=fd, follow_symlinks=True)
    finally:
        os.close(fd)


def _named_link(directory: Path) -> None:
    link = directory / "T"
    link.symlink_to("target")
    os.chown(link, 7, 0, follow_symlinks=False)
    os.rename(link, directory / "N")


def _changed_link(directory: Path) -> None:
    os.chown(directory / "L", 7, 0, follow_symlinks=False)
    _write(directory / "T", NEW)


# By name: what is looked at, what happens, what is synced.
SEQUENCES: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "rename-unsynced": ("X", lambda d: _rename(d, False), _sync),
    "rename-synced": ("X", lambda d: _rename(d, True), _sync),
    "unnamed": ("N", _unnamed, _sync),
    "unlink-other": ("X", lambda d: os.unlink(d / "X"), _other),
    "unlink-unwritten": ("X", lambda d: os.unlink(d / "X"), lambda d: _sync(d / "Y")),
    "rename-other": ("X", lambda d: _rename(d, False), _other),
    "link-named": ("N", _named_link, _sync),
    "link-changed": ("L", _changed_link, _sync),
}


def _outcome(path: Path) -> str:
    if path.is_symlink():
        return "new" if os.lstat(path).st_uid == 7 else "old"
    if not path.exists():
        return "gone"
    content = path.read_bytes()
    return {NEW: "new", OLD: "old", b"": "empty", bytes(len(NEW)): "zeros"}.get(content, "torn")


def _run_all(filesystem: images.Image, image: Path, copies: Path) -> None:
    for sequence, (_, act, sync) in SEQUENCES.items():
        directory = filesystem.path / sequence
        directory.mkdir()
        _write(directory / "X", OLD)
        _write(directory / "Y", b"y")
        (directory / "L").symlink_to("target")
        filesystem.sync()
        act(directory)
        sync(directory)
        # In one moment, whatever is being written: the image shares its blocks with the copy.
        subprocess.run(["cp", "--reflink=always", image, copies / sequence], check=True)


@pytest.fixture(scope="module", params=PERSONALITY)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each sequence leaves on a real filesystem, copied as soon as the last call returned."""
    name = request.param
    kind = name.partition("-")[0]
    place = tmp_path_factory.mktemp(name)
    seen = {"filesystem": name}
    options = "data=writeback" if name != kind else ""
    with images.mounted("btrfs", place, size=1 << 30) as outer:
        inner = outer.path / "inner"
        inner.mkdir()
        with images.mounted(kind, inner, mount_options=options) as filesystem:
            _run_all(filesystem, inner / f"{kind}.img", outer.path)
        # Not sooner: no kernel mounts two filesystems that say they are the same.
        for sequence, (looked_at, _, _) in SEQUENCES.items():
            with images.mounted_again(kind, outer.path / sequence, place / "copy.mnt") as there:
                seen[sequence] = _outcome(there / sequence / looked_at)
    return seen


@pytest.mark.system
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_what_this_kernel_does_can_happen(
    facts: dict[tuple[str, str], set[str]], outcomes: dict[str, str], sequence: str
) -> None:
    """The filesystems of the kernel at hand leave what the simulated disk knows of."""
    assert outcomes[sequence] in facts[sequence, PERSONALITY[outcomes["filesystem"]]]
