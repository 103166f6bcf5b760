"""Another process works against us at full speed, or only looks, while hundreds of changes run."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lib import ncf, operations, tree
from lib.ncf import Core, NcfError

SECRET = b"the key of somebody else's safe"
PLACE = "etc/systemd/network"
ROUNDS = 150

pytestmark = pytest.mark.root


@pytest.fixture
def adversary(fast_dir: Path) -> Path:
    """The program, where every user can run it."""
    program = fast_dir / "adversary"
    source = Path(__file__).with_name("adversary.c")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    fast_dir.chmod(0o711)
    return program


@contextmanager
def running(program: Path, *arguments: str | Path, user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """The adversary, which is at work when the block begins; killed at its end."""
    command = [program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=user) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def state(directory: Path) -> tuple[object, ...]:
    """All of what lies outside that a write could change.  Names of the linked file come and go."""

    def of(path: Path) -> tuple[object, ...]:
        it = path.lstat()
        return it.st_mode, it.st_uid, it.st_gid, it.st_size, it.st_mtime_ns, tree.get_flags(path), os.listxattr(path)

    assert (directory / "secret").read_bytes() == SECRET
    assert (directory / "linked").read_bytes() == b"written by somebody else"
    return os.listdir(directory), directory.stat().st_ctime_ns, [of(directory / name) for name in ("secret", "linked")]


def host(root: Path) -> None:
    """Files, a link, a locked file and a directory of each kind in the place that is fought over."""
    tree.compact(root)
    for name in ("own.d/a", "own.d/b", "own.d/inner/c", "kept"):
        tree.write(root, f"{PLACE}/{name}", b"saved " + name.encode())
    place = root / PLACE / "own.d"
    (place / "link").symlink_to("a")
    os.chown(place / "link", 1234, 1234, follow_symlinks=False)
    os.setxattr(place / "link", "trusted.mark", b"x", follow_symlinks=False)
    os.chown(place / "b", 1234, 1234)
    os.setxattr(place / "b", "user.mark", b"x")
    tree.set_flags(place / "inner/c", tree.NODUMP)


def edit(root: Path) -> None:
    """Take files away, unless a link stands on the way just now."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    with ExitStack() as stack:
        at = None
        for part in (root / "etc/systemd", "network", "own.d", "inner"):
            at = os.open(part, flags, dir_fd=at)
            stack.callback(os.close, at)
            for name in ("a", "b", "c", "link"):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=at)


def finish(core: Core, root: Path) -> int:
    """Roll back as often as it takes, which the adversary can make often; how often it failed."""
    for failures in range(1000):
        try:
            core.rollback(root)
            return failures
        except NcfError as error:
            if error.code == ncf.EINVALIDOP:
                return failures
            assert error.code == ncf.EFILE and error.details, str(error)
    return 1000


@pytest.mark.parametrize("what", ["own.d", "own.d/inner", "own.d/a", "../network"])
def test_names_change_places_at_full_speed(core: Core, adversary: Path, fast_dir: Path, what: str) -> None:
    """A directory or file that is a link elsewhere every other moment: nothing there is read or written."""
    root, outside = fast_dir / "host", fast_dir / "outside"
    host(root)
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "linked").write_bytes(b"written by somebody else")
    for name in ("a", "b", "c", "kept"):
        os.symlink("secret", outside / name)
    place = (root / PLACE / what).parent.resolve() / Path(what).name
    aside = fast_dir / "aside"
    target = outside / "secret" if place.is_file() else outside
    before = state(outside)
    tried = started = failed = 0
    until = time.monotonic() + 60
    with ExitStack() as stack:
        stack.enter_context(running(adversary, "exchange", place, aside, target))
        stack.enter_context(running(adversary, "temps", root / PLACE / "own.d", outside / "linked"))
        # On a busy machine it may let few begin.
        while tried < ROUNDS or (started <= ROUNDS // 10 and time.monotonic() < until):
            tried += 1
            try:
                core.start(root)
                started += 1
            except NcfError as error:
                assert error.code == ncf.EFILE, str(error)
                continue
            with contextlib.suppress(OSError):
                edit(root)
            failed += finish(core, root)
            assert state(outside) == before
            for archive in (root / operations.STATE).glob("network-*.tar"):
                assert SECRET not in archive.read_bytes(), archive
    print(f"{started} of {tried} changes began, {failed} rollbacks failed")
    assert started > ROUNDS // 10, "the adversary let nothing begin: no test"
    finish(core, root)
    assert core.status(root).open == 0
    core.start(root)
    core.rollback(root)


WATCHED = ["etc/NetworkManager/system-connections", operations.STATE, PLACE]


def watched_paths(root: Path) -> list[Path]:
    names = ["/network-snapshot.tar", "/network-rollback-0000000#", "/.netcf-tmp", "/.netcf-tmp-#"]
    return [root / path for path in WATCHED] + [
        Path(f"{root}/{path}{name}") for path in WATCHED for name in names
    ]


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_secrets_are_readable_by_others_at_no_instant(
    core: Core, adversary: Path, fast_dir: Path, umask: int
) -> None:
    """Another user who looks all the time never reads a secret, whatever the umask."""
    root = fast_dir / "host"
    tree.compact(root)
    secrets = [
        Path(os.fsdecode(tree.write(root, f"{WATCHED[0]}/{name}", SECRET, mode=0o600))) for name in ("a", "b")
    ]
    below = Path(os.fsdecode(tree.write(root, f"{PLACE}/closed/secret", SECRET, mode=0o644))).parent
    below.chmod(0o700)
    paths = [*watched_paths(root), below]
    previous = os.umask(umask)
    try:
        with running(adversary, "watch", SECRET.decode(), *paths, user=65534) as watcher:
            for number in range(ROUNDS):
                core.start(root)
                for path in secrets:
                    path.unlink()
                    path.write_bytes(b"public")
                    path.chmod(0o644)
                if number % 2:
                    (below / "secret").unlink()
                    below.rmdir()
                core.rollback(root)
                assert watcher.poll() is None, watcher.stdout and watcher.stdout.read()
    finally:
        os.umask(previous)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_bytes() == SECRET for path in secrets)
    assert stat.S_IMODE(below.stat().st_mode) == 0o700


def test_the_watcher_sees_what_is_readable_for_a_moment(adversary: Path, fast_dir: Path) -> None:
    """The instrument can fail: a file that is closed a moment after it was written is found."""
    root = fast_dir / "host"
    tree.compact(root)
    tree.write(root, f"{WATCHED[0]}/a", mode=0o600)
    (root / operations.STATE).mkdir(mode=0o700)
    with running(adversary, "watch", SECRET.decode(), *watched_paths(root), user=65534) as watcher:
        for _ in range(100_000):
            if watcher.poll() is not None:
                break
            path = root / WATCHED[0] / ".netcf-tmp-0"
            path.write_bytes(SECRET)
            path.chmod(0o600)
            path.unlink()
    assert watcher.returncode == 1
