"""Random sequences of edits: rollback is always exact, commit always keeps exactly the edits."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lib import ncf, tree
from lib.ncf import Core

# Few names in few directories, so that edits meet each other; all in scope.
FILES = [
    "etc/sysconfig/network-scripts/ifcfg-eth0",
    "etc/sysconfig/network-scripts/ifcfg-br0",
    "etc/sysconfig/network-scripts/route-br0",
    "etc/network/interfaces",
    "etc/netplan/01-base.yaml",
    "etc/systemd/network/a",
    "etc/systemd/network/b",
    "etc/systemd/network/d/a",
    "etc/systemd/network/d/b",
    "etc/systemd/network/d/e/a",
]
DIRECTORIES = ["etc/systemd/network/d", "etc/systemd/network/d/e", "etc/systemd/network/f"]

paths = st.sampled_from(FILES)
directories = st.sampled_from(DIRECTORIES)
contents = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"x" * 5000]))
modes = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o640])
dates = st.integers(min_value=0, max_value=2**31 * 10**9)

edits = st.one_of(
    st.tuples(st.just("write"), paths, contents),
    st.tuples(st.just("append"), paths, contents),
    st.tuples(st.just("replace"), paths, contents),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("symlink"), paths, paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("touch"), paths, dates),
    st.tuples(st.just("xattr"), paths, contents),
    st.tuples(st.just("fifo"), paths),
    st.tuples(st.just("mkdir"), directories, modes),
    st.tuples(st.just("chmod-directory"), directories, modes),
    st.tuples(st.just("rmtree"), directories),
    st.tuples(st.just("rename-directory"), directories, directories),
)
Edit = tuple

EXPECTED_ERRORS = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL,
    errno.ELOOP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM,
}  # fmt: skip


def write(path: Path, content: bytes, how: str = "wb") -> None:
    """Never through a link or into a FIFO: an editor would replace those."""
    if path.is_symlink() or path.is_fifo():
        path.unlink()
    path.parent.mkdir(exist_ok=True)
    with open(path, how) as file:
        file.write(content)


def replace_file(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    path.parent.mkdir(exist_ok=True)
    fresh.write_bytes(content)
    try:
        os.rename(fresh, path)
    except OSError:
        fresh.unlink()
        raise


def symlink(path: Path, target: str) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)


def hard_link(path: Path, other: Path) -> None:
    if other.is_symlink() or not other.is_file() or path == other:
        return
    if path.is_symlink() or path.exists():
        path.unlink()
    os.link(other, path)


def fifo(path: Path) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()
    os.mkfifo(path)


def apply(root: Path, edit: Edit) -> None:
    """Do one edit; one that makes no sense here (ENOENT, EISDIR ...) does nothing."""
    what, path, *rest = edit
    full = root / path
    actions: dict[str, Callable[..., object]] = {
        "write": lambda content: write(full, content),
        "append": lambda content: write(full, content, "ab"),
        "replace": lambda content: replace_file(full, content),
        "remove": lambda: full.unlink(),
        "rename": lambda other: os.rename(full, root / other),
        "link": lambda other: hard_link(full, root / other),
        "symlink": lambda other: symlink(full, other),
        "chmod": lambda mode: None if full.is_symlink() else full.chmod(mode | 0o600),
        "touch": lambda when: os.utime(full, ns=(when, when), follow_symlinks=False),
        "xattr": lambda value: os.setxattr(full, "user.x", value[:1000], follow_symlinks=False),
        "fifo": lambda: fifo(full),
        "mkdir": lambda mode: full.mkdir(mode | 0o700),
        "chmod-directory": lambda mode: full.chmod(mode | 0o700),
        "rmtree": lambda: shutil.rmtree(full),
        "rename-directory": lambda other: os.rename(full, root / other),
    }
    try:
        actions[what](*rest)
    except OSError as error:
        if error.errno not in EXPECTED_ERRORS:
            raise


def no_specials(root: Path) -> None:
    """A special file at start is refused, not saved: it is no part of what must come back."""
    for path, entry in tree.capture(root).items():
        if entry.kind not in "fdl":
            os.unlink(tree.join(root, path))


sequences = st.lists(edits, max_size=12)
common = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def fresh(fast_dir: Path) -> Callable[[], Path]:
    """A new compact host for every example."""

    def make() -> Path:
        root = Path(tempfile.mkdtemp(dir=fast_dir))
        tree.compact(root)
        (root / "etc/systemd/network/a").write_bytes(b"a")
        (root / "etc/systemd/network/d/e").mkdir(parents=True)
        (root / "etc/systemd/network/d/a").write_bytes(b"d/a")
        (root / "etc/systemd/network/d/e/a").write_bytes(b"d/e/a")
        tree.age(root)
        return root

    return make


@given(before=sequences, after=sequences)
@example(before=[], after=[("remove", FILES[5]), ("mkdir", DIRECTORIES[0], 0o755)])
@example(before=[("link", FILES[5], FILES[0])], after=[("append", FILES[0], b"x"), ("remove", FILES[5])])
@example(before=[], after=[("rename-directory", DIRECTORIES[0], DIRECTORIES[2])])
@example(before=[], after=[("rmtree", DIRECTORIES[0]), ("symlink", "etc/systemd/network/d", ".")])
@common
def test_rollback_is_exact(
    core: Core, fresh: Callable[[], Path], before: list[Edit], after: list[Edit]
) -> None:
    """Edits, start, edits, rollback: exactly the tree of the start."""
    root = fresh()
    for edit in before:
        apply(root, edit)
    no_specials(root)
    saved = tree.capture(root)
    core.start(root)
    for edit in after:
        apply(root, edit)
    core.rollback(root)
    assert tree.differences(saved, tree.capture(root)) == []
    assert core.status(root).open == 0
    assert tree.temporary_files(root) == []
    shutil.rmtree(root)


@given(before=sequences, after=sequences)
@common
def test_commit_keeps_the_edits(
    core: Core, fresh: Callable[[], Path], before: list[Edit], after: list[Edit]
) -> None:
    """Edits, start, edits, commit: not a byte, date or inode differs from before the commit."""
    root = fresh()
    for edit in before:
        apply(root, edit)
    no_specials(root)
    core.start(root)
    for edit in after:
        apply(root, edit)
    edited = tree.capture(root, identity=True)
    core.commit(root)
    assert tree.differences(edited, tree.capture(root, identity=True)) == []
    shutil.rmtree(root)


@given(after=sequences)
@common
def test_diff_is_empty_exactly_when_nothing_differs(
    core: Core, fresh: Callable[[], Path], after: list[Edit]
) -> None:
    """Diff lists a path if and only if it differs; a directory's date alone does not count."""
    root = fresh()
    saved = tree.without_directory_times(tree.capture(root))
    core.start(root)
    for edit in after:
        apply(root, edit)
    now = tree.without_directory_times(tree.capture(root))
    differing = {path for path in saved.keys() | now.keys() if saved.get(path) != now.get(path)}
    found = {row.path for row in core.diff(root)}
    groups = {name for path in differing for it in (saved, now) if path in it for name in it[path].links}
    assert found - groups == differing - groups
    assert bool(found) == bool(differing)
    shutil.rmtree(root)


@given(after=sequences)
@common
def test_discarded_edits_can_be_put_back(
    core: Core, fresh: Callable[[], Path], after: list[Edit]
) -> None:
    """Rollback, then put the discarded configuration back: the edits are all there again."""
    root = fresh()
    core.start(root)
    for edit in after:
        apply(root, edit)
    no_specials(root)
    edited = tree.without_directory_times(tree.capture(root))
    core.rollback(root)
    core.start(root)
    with core.open(root) as handle:
        for row in handle.discarded():
            handle.restore(row.id)
    # A link to a file that did not differ is kept as a file of its own.
    now = tree.without_directory_times(tree.capture(root))
    assert tree.differences(without_links(edited), without_links(now)) == []
    core.rollback(root)
    shutil.rmtree(root)


@given(after=sequences)
@common
def test_mode_b_is_exact_for_what_was_announced(
    core: Core, fresh: Callable[[], Path], after: list[Edit]
) -> None:
    """With every path announced before its edit, rollback in mode B restores every file."""
    root = fresh()
    saved = tree.capture(root)
    with core.open(root) as handle:
        handle.start(ncf.START_ON_WRITE)
        # Announced up front, deepest last: each is announced before its first edit.
        for path in sorted(FILES + DIRECTORIES + list(tree_names(saved))):
            handle.announce(path)
        for edit in after:
            if edit[0] != "rename-directory":  # makes names that nobody announced
                apply(root, edit)
        handle.rollback()
    now = tree.capture(root)
    assert tree.differences(
        tree.without_directory_times(saved), tree.without_directory_times(now)
    ) == []
    shutil.rmtree(root)


def without_links(captured: tree.Tree) -> tree.Tree:
    return {path: replace(entry, links=()) for path, entry in captured.items()}


def tree_names(captured: tree.Tree) -> list[str]:
    """What lies in the directories that edits may remove whole."""
    return [os.fsdecode(path) for path in captured if path.startswith(b"etc/systemd/network/")]
