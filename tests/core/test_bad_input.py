"""What the world may do to a caller: each gets its own clear error, nothing changed on disk."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import forks, ncf, seam, tree
from lib.ncf import Core, NcfError
from lib.operations import leftovers

SCRIPTS = "etc/sysconfig/network-scripts"
NM = "etc/NetworkManager/system-connections"
NOBODY = 65534


def start_fails(core: Core, root: Path, *words: str) -> NcfError:
    """Start fails with NCF_EFILE and these words in its details; nothing is left behind."""
    before = tree.capture(root, state=False, identity=True)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    for word in words:
        assert word in caught.value.details
    assert tree.differences(before, tree.capture(root, state=False, identity=True)) == []
    assert leftovers(root) == []
    return caught.value


def as_nobody(function: Callable[[], Any]) -> Any:
    """Run in a child without any privilege; what the function returns, or raises as NcfError."""

    def child() -> Any:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            return True, function()
        except NcfError as error:
            return False, (error.code, error.message, error.details)

    succeeded, value = forks.run(child).value
    if not succeeded:
        raise NcfError(*value)
    return value


@pytest.fixture
def open_to_all(fast_dir: Path) -> Iterator[Path]:
    """A realistic root that every user can read."""
    fast_dir.chmod(0o755)
    host = fast_dir / "host"
    tree.realistic(host)
    host.chmod(0o755)
    for path in (f"{SCRIPTS}/keys-wlan0", "etc/netplan/01-base.yaml", f"{NM}/office.nmconnection"):
        (host / path).chmod(0o644)
    (host / NM).chmod(0o755)
    yield host


def test_no_permission_to_read_a_file(core: Core, open_to_all: Path) -> None:
    """A file in scope that can't be read fails start, with its path and the reason."""
    root = open_to_all
    secret = root / SCRIPTS / "keys-wlan0"
    secret.chmod(0)
    (root / "var/lib").chmod(0o777)
    with pytest.raises(NcfError) as caught:
        as_nobody(lambda: core.start(root))
    assert caught.value.code == ncf.EFILE
    assert f"{SCRIPTS}/keys-wlan0" in caught.value.details
    assert os.strerror(errno.EACCES) in caught.value.details
    secret.chmod(0o600)
    assert tree.temporary_files(root) == []
    assert not (root / "var/lib/netcf/network-snapshot.tar").exists()


@pytest.mark.root
def test_no_permission_to_make_the_state_directory(core: Core, open_to_all: Path) -> None:
    """An ordinary user who may read everything, but not write /var/lib, is told so."""
    root = open_to_all
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        as_nobody(lambda: core.start(root))
    assert caught.value.code == ncf.EFILE
    assert "var/lib/netcf" in caught.value.details
    assert os.strerror(errno.EACCES) in caught.value.details
    assert "run this as root" in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.root
@pytest.mark.parametrize("call", ["commit", "rollback"])
def test_no_permission_to_finish_roots_change(core: Core, open_to_all: Path, call: str) -> None:
    """An ordinary user can neither commit nor roll back what root started."""
    root = open_to_all
    core.start(root)
    tree.lock_out(root)
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        as_nobody(lambda: getattr(core, call)(root))
    assert caught.value.code == ncf.EFILE
    assert "var/lib/netcf" in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.root
def test_no_permission_to_read_the_state(core: Core, open_to_all: Path) -> None:
    """An ordinary user asking for the status of root's change gets an error, not "none open"."""
    root = open_to_all
    core.start(root)
    with pytest.raises(NcfError) as caught:
        as_nobody(lambda: core.status(root))
    assert caught.value.code == ncf.EFILE
    assert os.strerror(errno.EACCES) in caught.value.details


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o720, 0o1777])
def test_state_directory_that_others_can_write(core: Core, root: Path, mode: int) -> None:
    """A state directory others can write to is refused; its content can't be trusted."""
    tree.realistic(root)
    state = root / "var/lib/netcf"
    state.mkdir()
    state.chmod(mode)
    start_fails(core, root, "state directory", "var/lib/netcf", "written by others")


@pytest.mark.root
def test_state_directory_of_somebody_else(core: Core, root: Path) -> None:
    """A state directory that belongs to another user is refused."""
    tree.realistic(root)
    state = root / "var/lib/netcf"
    state.mkdir(mode=0o700)
    os.chown(state, 1234, 1234)
    start_fails(core, root, "state directory", "belongs to somebody else")


def test_untrusted_state_directory_at_rollback(core: Core, root: Path) -> None:
    """A snapshot in a directory that others can write to is not acted on."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    (root / "var/lib/netcf").chmod(0o777)
    before = tree.capture(root, identity=True)
    for call in (core.rollback, core.commit):
        with pytest.raises(NcfError) as caught:
            call(root)
        assert caught.value.code == ncf.EFILE
        assert "state directory" in caught.value.details
    assert tree.differences(before, tree.capture(root, identity=True)) == []
    assert (root / "var/lib/netcf/network-snapshot.tar").exists()


def test_state_directory_that_is_a_file(core: Core, root: Path) -> None:
    """A file where the state directory should be is named in the error."""
    (root / "var/lib/netcf").write_bytes(b"")
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "var/lib/netcf" in caught.value.details


def test_state_directory_that_is_a_symbolic_link(core: Core, root: Path) -> None:
    """The state directory is not reached through a link."""
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (root / "var/lib/netcf").symlink_to(elsewhere)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert os.listdir(elsewhere) == []


def test_var_lib_that_is_a_symbolic_link(core: Core, root: Path) -> None:
    """Nor is anything above it."""
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (root / "var/lib").rmdir()
    (root / "var/lib").symlink_to(elsewhere)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert os.listdir(elsewhere) == []


def test_scope_that_matches_nothing(core: Core, root: Path) -> None:
    """A host without configuration is no error."""
    core.start(root)
    status = core.status(root)
    assert (status.open, status.files, status.bytes) == (1, 0, 0)
    core.commit(root)


def test_more_files_than_the_limit(core: Core, fast_dir: Path) -> None:
    """100,000 files are the limit; one more is refused before anything is written."""
    tree.empty(fast_dir)
    directory = fast_dir / "etc/systemd/network"
    directory.mkdir(parents=True)
    for number in range(100_001 - 1):
        os.close(os.open(f"{directory}/{number}", os.O_CREAT | os.O_WRONLY, 0o644))
    with pytest.raises(NcfError) as caught:
        core.start(fast_dir)
    assert caught.value.code == ncf.EFILE
    assert "more than 100,000 files" in caught.value.details
    assert "etc/systemd/network" in caught.value.details
    assert os.listdir(fast_dir / "var/lib") == []
    os.unlink(directory / "1")
    core.start(fast_dir)
    assert core.status(fast_dir).files == 100_000


def test_more_bytes_than_the_limit(core: Core, fast_dir: Path) -> None:
    """256 MiB are the limit; a byte more is refused before anything is written."""
    tree.empty(fast_dir)
    directory = fast_dir / "etc/systemd/network"
    directory.mkdir(parents=True)
    (directory / "a").touch()
    os.truncate(directory / "a", 256 << 20)
    (directory / "b").write_bytes(b"x")
    with seam.watching(core) as events:
        start_fails(core, fast_dir, "more than 256 MiB", "etc/systemd/network/b")
    assert seam.positions(events, "openat-create") == []
    assert seam.positions(events, "write") == []


def test_limits_do_not_stop_a_rollback(core: Core, fast_dir: Path) -> None:
    """A scope that grew beyond a limit since start can still be rolled back."""
    before = tree.realistic(fast_dir)
    core.start(fast_dir)
    path = fast_dir / "etc/systemd/network/huge"
    path.touch()
    os.truncate(path, (256 << 20) + 1)
    core.rollback(fast_dir)
    assert tree.differences(before, tree.capture(fast_dir)) == []


def writer(path: Path, times: int) -> seam.Act:
    """Change `path` at each of the first `times` reads of it, as an editor at work would."""
    written = []

    def act(event: seam.Event, _number: int) -> None:
        if event.call in ("read", "pread") and os.path.basename(event.name) == os.fsencode(path.name):
            if len(written) < times:
                written.append(1)
                path.write_bytes(b"version %d\n" % len(written) * (10 + len(written)))

    return act


def test_file_that_changes_once_while_it_is_read(core: Core, root: Path) -> None:
    """A file that changed while it was read is read again; the snapshot holds one version of it."""
    tree.realistic(root)
    path = root / SCRIPTS / "ifcfg-eth0"
    with seam.watching(core, writer(path, 1)):
        core.start(root)
    saved = path.read_bytes()
    assert saved == b"version 1\n" * 11
    assert core.diff(root) == []
    path.write_bytes(b"later")
    core.rollback(root)
    assert path.read_bytes() == saved


def test_file_that_keeps_changing(core: Core, root: Path) -> None:
    """A file that never holds still is refused, by name; nothing is left behind."""
    tree.realistic(root)
    path = root / SCRIPTS / "ifcfg-eth0"
    with seam.watching(core, writer(path, 10**9)):
        with pytest.raises(NcfError) as caught:
            core.start(root)
    assert caught.value.code == ncf.EFILE
    assert f"{SCRIPTS}/ifcfg-eth0" in caught.value.details
    assert "keeps changing" in caught.value.details
    assert leftovers(root) == []


def test_file_that_vanishes_while_the_scope_is_read(core: Core, root: Path) -> None:
    """A file that is deleted between being listed and being read does not make a torn snapshot."""
    tree.realistic(root)
    path = root / SCRIPTS / "ifcfg-eth0"

    def act(event: seam.Event, _number: int) -> None:
        if event.call == "openat" and event.name.endswith(b"ifcfg-eth0") and path.exists():
            path.unlink()

    with seam.watching(core, act):
        try:
            core.start(root)
        except NcfError as error:
            assert error.code == ncf.EFILE
            assert f"{SCRIPTS}/ifcfg-eth0" in error.details
            assert leftovers(root) == []
            return
    assert core.diff(root) == []


def test_fifo_and_socket_in_scope(core: Core, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIFOs and sockets are recorded as refused, never opened, and left where they are."""
    directory = root / "etc/systemd/network"
    directory.mkdir(parents=True)
    os.mkfifo(directory / "fifo")
    monkeypatch.chdir(directory)  # socket names are limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    before = tree.capture(root, identity=True)
    with seam.watching(core) as events:
        core.start(root)
        assert core.status(root).refused == 2
        assert core.diff(root) == []
        (directory / "file").write_bytes(b"x")
        core.rollback(root)
    opened = [event.name for event in events if event.call.startswith("openat")]
    assert not [name for name in opened if os.path.basename(name) in (b"fifo", b"socket")]
    after = tree.capture(root, identity=True)
    for name in (b"etc/systemd/network/fifo", b"etc/systemd/network/socket"):
        assert after[name] == before[name]


@pytest.mark.root
def test_device_in_scope(core: Core, root: Path) -> None:
    """A device node is recorded as refused and never opened."""
    directory = root / "etc/systemd/network"
    directory.mkdir(parents=True)
    os.mknod(directory / "device", 0o600 | 0o020000, os.makedev(1, 3))
    with seam.watching(core) as events:
        core.start(root)
        core.rollback(root)
    assert not [e for e in events if e.call.startswith("openat") and e.name.endswith(b"device")]
    assert core.discarded(root) == []


def test_refused_file_that_became_a_file(core: Core, root: Path) -> None:
    """What was refused at start can't be put back; rollback says so instead of guessing."""
    directory = root / "etc/systemd/network"
    directory.mkdir(parents=True)
    os.mkfifo(directory / "fifo")
    (directory / "file").write_bytes(b"old")
    core.start(root)
    (directory / "fifo").unlink()
    (directory / "file").write_bytes(b"new")
    try:
        result = core.rollback(root)
        assert b"etc/systemd/network/fifo" in result.notice
    except NcfError as error:
        assert "etc/systemd/network/fifo" in error.details
    assert (directory / "file").read_bytes() == b"old"


def test_directory_in_the_way(core: Core, root: Path) -> None:
    """A directory with somebody's files where a file was is not deleted; the error names it."""
    tree.realistic(root)
    core.start(root)
    path = root / SCRIPTS / "ifcfg-eth0"
    path.unlink()
    path.mkdir()
    (path / "mine").write_bytes(b"keep")
    (root / SCRIPTS / "ifcfg-br0").write_bytes(b"changed")
    with pytest.raises(NcfError) as caught:
        core.rollback(root)
    assert caught.value.code == ncf.EFILE
    assert f"{SCRIPTS}/ifcfg-eth0" in caught.value.details
    assert (path / "mine").read_bytes() == b"keep"
    assert (root / SCRIPTS / "ifcfg-br0").read_bytes() == tree.IFCFG_BRIDGE
    assert core.status(root).open == 1
    (path / "mine").unlink()
    path.rmdir()
    core.rollback(root)
    assert path.read_bytes() == tree.IFCFG_SLAVE % b"eth0"


def test_use_of_a_removed_root(core: Core, root: Path) -> None:
    """A root that vanished under an open handle gives an error, not a crash or a new tree."""
    with core.open(root) as handle:
        for directory in ("var/lib", "var", "etc", ""):
            (root / directory).rmdir()
        with pytest.raises(NcfError) as caught:
            handle.start()
        assert caught.value.code in (ncf.EFILE, ncf.ENOENT)
    assert not root.exists()
    root.mkdir()


@pytest.mark.parametrize(
    "path",
    ["../etc/passwd", "etc/../../x", "", "/", "//", ".", "var/lib/netcf/network-snapshot.tar", "var/lib/netcf", "e/" * 3000],
)  # fmt: skip
def test_paths_that_can_not_be_announced(core: Core, root: Path, path: str) -> None:
    """A path that leaves the root or lies in the state directory is NCF_EOTHER."""
    tree.realistic(root)
    core.start(root, ncf.START_ON_WRITE)
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        core.announce(root, path)
    assert caught.value.code == ncf.EOTHER
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []
