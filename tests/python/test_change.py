"""Netcf: what each call does, and what it says when it can't."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Callable

import pytest

import netcf_py
from lib import tree
from netcf_py import (
    NCF_EFILE,
    NCF_EINVALIDOP,
    NCF_ENOENT,
    NCF_EOTHER,
    NCF_ROLLBACK_FILES_ONLY,
    NCF_START_ON_WRITE,
    AlreadyOpen,
    ArgumentError,
    ChangeStatus,
    FileError,
    InvalidOperation,
    Netcf,
    NotFound,
    NotOpen,
    Pattern,
    UseAfterClose,
    WrongToken,
    _core,
)

BRIDGE = "etc/sysconfig/network-scripts/ifcfg-br0"

NEEDS_OPEN = [
    pytest.param(
        lambda ncf: ncf.change_commit(),
        "no transaction running, nothing to be committed.",
        id="commit",
    ),
    pytest.param(
        lambda ncf: ncf.change_rollback(),
        "no transaction running, nothing to rollback.",
        id="rollback",
    ),
    pytest.param(lambda ncf: ncf.diff(), "no transaction running.", id="diff"),
    pytest.param(lambda ncf: ncf.announce(BRIDGE), "no transaction running.", id="announce"),
    pytest.param(lambda ncf: ncf.restore(1), "no transaction running.", id="restore"),
]

EVERY_CALL = [
    pytest.param(lambda ncf: ncf.change_start(), id="change_start"),
    pytest.param(lambda ncf: ncf.change_start(note="why"), id="change_start with options"),
    pytest.param(lambda ncf: ncf.change_begin(), id="change_begin"),
    pytest.param(lambda ncf: ncf.change_commit(), id="change_commit"),
    pytest.param(lambda ncf: ncf.change_rollback(), id="change_rollback"),
    pytest.param(lambda ncf: ncf.status(), id="status"),
    pytest.param(lambda ncf: ncf.scope(), id="scope"),
    pytest.param(lambda ncf: ncf.diff(), id="diff"),
    pytest.param(lambda ncf: ncf.announce(BRIDGE), id="announce"),
    pytest.param(lambda ncf: ncf.discarded(), id="discarded"),
    pytest.param(lambda ncf: ncf.restore(1), id="restore"),
    pytest.param(lambda ncf: ncf.result(), id="result"),
    pytest.param(lambda ncf: ncf.snapshot_path, id="snapshot_path"),
    pytest.param(lambda ncf: ncf.change().__enter__(), id="change"),
]


def test_rollback_brings_back_what_start_saved(ncf: Netcf, host: Path) -> None:
    """A locked-out host is as it was after start and rollback."""
    before = tree.capture(host)
    ncf.change_start()
    tree.lock_out(host)
    ncf.change_rollback()
    assert tree.differences(before, tree.capture(host)) == []


def test_commit_keeps_what_was_changed(ncf: Netcf, host: Path) -> None:
    """After commit the new configuration stays and nothing is left to roll back."""
    ncf.change_start()
    after = tree.lock_out(host)
    ncf.change_commit()
    assert tree.differences(after, tree.capture(host)) == []
    with pytest.raises(NotOpen):
        ncf.change_rollback()


def test_begin_starts_a_change(ncf: Netcf) -> None:
    """change_begin is change_start under netcf's released name."""
    ncf.change_begin()
    assert ncf.status().open


def test_start_while_open_is_already_open(ncf: Netcf) -> None:
    """A second start raises AlreadyOpen with what libvirt's driver says."""
    ncf.change_start()
    with pytest.raises(AlreadyOpen) as caught:
        ncf.change_start()
    assert caught.value.code == NCF_EINVALIDOP
    assert str(caught.value.details).startswith("there is another transaction running.")


@pytest.mark.parametrize(("call", "words"), NEEDS_OPEN)
def test_what_needs_an_open_change_is_not_open(
    ncf: Netcf, call: Callable[[Netcf], object], words: str
) -> None:
    """Without a change each of them raises NotOpen with its own words."""
    with pytest.raises(NotOpen) as caught:
        call(ncf)
    assert caught.value.code == NCF_EINVALIDOP
    assert str(caught.value.details).startswith(words)


@pytest.mark.parametrize("flags", [0x4, 0x80000000])
@pytest.mark.parametrize("call", ["change_start", "change_begin", "change_rollback"])
def test_unknown_flags_are_an_argument_error(ncf: Netcf, call: str, flags: int) -> None:
    """Unknown flags are refused before the state is looked at."""
    with pytest.raises(ArgumentError, match="unsupported flags") as caught:
        getattr(ncf, call)(flags)
    assert caught.value.code == NCF_EOTHER
    assert not ncf.status().open


def test_commit_has_no_flags(ncf: Netcf) -> None:
    """Any flag of commit is refused, and the change stays open."""
    ncf.change_start()
    with pytest.raises(ArgumentError, match="unsupported flags"):
        ncf.change_commit(1)
    assert ncf.status().open


@pytest.mark.parametrize("flags", [-1, 1 << 32])
@pytest.mark.parametrize("call", ["change_start", "change_commit", "change_rollback"])
def test_flags_that_c_can_not_hold_are_an_argument_error(ncf: Netcf, call: str, flags: int) -> None:
    """A number that is no unsigned int never reaches C."""
    with pytest.raises(ArgumentError, match=f"flags: {flags} is out of range"):
        getattr(ncf, call)(flags)


@pytest.mark.parametrize(
    "start",
    [lambda ncf: ncf.change_start(on_write=True), lambda ncf: ncf.change_start(NCF_START_ON_WRITE)],
    ids=["keyword", "flag"],
)
def test_on_write_saves_what_is_announced(
    ncf: Netcf, host: Path, start: Callable[[Netcf], None]
) -> None:
    """A change on first write undoes exactly the announced files."""
    announced, other = host / BRIDGE, host / "etc/network/interfaces"
    before = announced.read_bytes()
    start(ncf)
    assert ncf.status().on_write
    ncf.announce("/" + BRIDGE)
    for path in (announced, other):
        path.write_bytes(b"new\n")
    ncf.change_rollback()
    assert announced.read_bytes() == before
    assert other.read_bytes() == b"new\n"


@pytest.mark.parametrize("path", [BRIDGE, os.fsencode(BRIDGE), Path(BRIDGE)], ids=type)
def test_announce_takes_any_kind_of_path(ncf: Netcf, host: Path, path: str | bytes | Path) -> None:
    """str, bytes and PathLike name the same file."""
    ncf.change_start(on_write=True)
    ncf.announce(path)
    assert ncf.status().files == 1


@pytest.mark.parametrize("path", ["../outside", "etc/../../outside", "var/lib/netcf/x", ""])
def test_announcing_what_is_not_the_hosts_is_an_argument_error(ncf: Netcf, path: str) -> None:
    """A path outside the root or in the state directory is refused."""
    ncf.change_start(on_write=True)
    with pytest.raises(ArgumentError) as caught:
        ncf.announce(path)
    assert caught.value.code == NCF_EOTHER


def test_announce_with_a_nul_byte_is_an_argument_error(ncf: Netcf) -> None:
    """A path is not cut at a NUL byte, it is refused."""
    ncf.change_start(on_write=True)
    with pytest.raises(ArgumentError, match="path: a NUL byte"):
        ncf.announce(b"etc/network/interfaces\0x")
    assert ncf.status().files == 0


@pytest.mark.parametrize(
    "rollback",
    [
        lambda ncf: ncf.change_rollback(files_only=True),
        lambda ncf: ncf.change_rollback(NCF_ROLLBACK_FILES_ONLY),
    ],
    ids=["keyword", "flag"],
)
def test_files_only_restores_the_files(
    ncf: Netcf, host: Path, rollback: Callable[[Netcf], None]
) -> None:
    """A rollback of files only brings the files back."""
    before = tree.capture(host)
    ncf.change_start()
    tree.lock_out(host)
    rollback(ncf)
    assert tree.differences(before, tree.capture(host)) == []


@pytest.mark.parametrize(
    ("rollback", "flags"),
    [
        (lambda ncf: ncf.change_rollback(), 0),
        (lambda ncf: ncf.change_rollback(files_only=True), NCF_ROLLBACK_FILES_ONLY),
        (lambda ncf: ncf.change_rollback(NCF_ROLLBACK_FILES_ONLY), NCF_ROLLBACK_FILES_ONLY),
    ],
    ids=["default", "keyword", "flag"],
)
def test_files_only_reaches_c(
    monkeypatch: pytest.MonkeyPatch, ncf: Netcf, rollback: Callable[[Netcf], None], flags: int
) -> None:
    """The keyword and the flag are the same bit."""
    seen = []

    class Library:
        def ncf_change_rollback(self, handle: object, flags: int) -> int:
            seen.append(flags)
            return 0

    with monkeypatch.context() as patch:
        patch.setattr(_core, "lib", Library())
        rollback(ncf)
    assert seen == [flags]


def test_a_change_belongs_to_the_host(ncf: Netcf, host: Path) -> None:
    """Another Netcf sees the change and rolls it back, after the first is closed."""
    before = tree.capture(host)
    ncf.change_start()
    started = ncf.status().id
    ncf.close()
    tree.lock_out(host)
    with Netcf(host) as other:
        assert other.status().id == started
        other.change_rollback()
    assert tree.differences(before, tree.capture(host)) == []


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_root_is_any_kind_of_path(host: Path, kind: Callable[[Path], str | bytes | Path]) -> None:
    """str, bytes and PathLike name the same root, and it is shown as str."""
    with Netcf(kind(host)) as ncf:
        assert ncf.root == str(host)
        assert repr(ncf) == f"<Netcf root={str(host)!r}>"
        ncf.change_start()
    assert (host / os.fsdecode(tree.SNAPSHOT)).exists()
    assert repr(ncf) == f"<Netcf root={str(host)!r} closed>"


def test_the_default_root_is_the_host_itself() -> None:
    """Netcf() is this host, and opening it changes nothing."""
    with Netcf() as ncf:
        assert ncf.root == "/"
        assert ncf.snapshot_path == "/var/lib/netcf/network-snapshot.tar"


def test_a_root_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A missing root is a FileNotFoundError that names it."""
    missing = tmp_path / "missing"
    with pytest.raises(NotFound) as caught:
        Netcf(missing)
    assert caught.value.code == NCF_ENOENT
    assert caught.value.errno == errno.ENOENT
    assert str(missing) in str(caught.value)


def test_a_root_with_a_nul_byte_is_an_argument_error(tmp_path: Path) -> None:
    """A root is not cut at a NUL byte, it is refused."""
    with pytest.raises(ArgumentError, match="root: a NUL byte"):
        Netcf(os.fsencode(tmp_path) + b"\0x")


def test_a_root_that_is_no_path_is_a_type_error() -> None:
    """A number is no root."""
    with pytest.raises(TypeError):
        Netcf(3)  # type: ignore[arg-type]


def test_the_snapshot_path_exists_exactly_while_a_change_is_open(ncf: Netcf, host: Path) -> None:
    """snapshot_path has the root in front and comes and goes with the change."""
    assert ncf.snapshot_path == str(host / "var/lib/netcf/network-snapshot.tar")
    assert not os.path.exists(ncf.snapshot_path)
    ncf.change_start()
    assert os.path.exists(ncf.snapshot_path)
    ncf.change_commit()
    assert not os.path.exists(ncf.snapshot_path)


def test_status_without_a_change_is_empty(ncf: Netcf) -> None:
    """All of the status but `open` is empty while none is open."""
    assert ncf.status() == ChangeStatus(
        open=False,
        id="",
        on_write=False,
        started=0,
        uid=0,
        pid=0,
        program="",
        note="",
        has_token=False,
        deadline=None,
        deadline_left=None,
        grace=None,
        trial_boots=0,
        guarded=False,
        boot="",
        same_boot=False,
        files=0,
        bytes=0,
        refused=0,
        not_back="",
    )


def test_status_tells_who_started_what_and_why(ncf: Netcf, host: Path) -> None:
    """The options of the start and the process that did it are in the status."""
    os.mkfifo(host / "etc/network/interfaces.d/fifo")
    ncf.change_start(note="new uplink für eth0", token="secret", deadline=600)
    status = ncf.status()
    assert status.open
    assert len(status.id) == 16
    assert int(status.id, 16) >= 0
    assert not status.on_write
    assert (status.uid, status.pid) == (os.geteuid(), os.getpid())
    assert status.program
    assert status.note == "new uplink für eth0"
    assert status.has_token
    assert status.deadline == 600
    assert status.deadline_left is not None
    assert 590 < status.deadline_left <= 600
    assert status.same_boot
    assert status.files > 10
    assert status.bytes > 100
    assert status.refused == 1
    ncf.change_rollback()  # or its guard would wait for ten minutes


def test_status_without_options_has_none(ncf: Netcf) -> None:
    """A start without options has no note, no token and no deadline."""
    ncf.change_start()
    status = ncf.status()
    assert (status.note, status.has_token) == ("", False)
    assert (status.deadline, status.deadline_left) == (None, None)


def test_options_are_for_one_start_only(ncf: Netcf) -> None:
    """What was said for one start does not stick to the next, and may be said again."""
    for _ in range(2):
        ncf.change_start(note="first", token="secret", deadline=60)
        assert ncf.status().note == "first"
        ncf.change_rollback()
    ncf.change_start()
    status = ncf.status()
    assert (status.note, status.has_token, status.deadline) == ("", False, None)


@pytest.mark.parametrize(
    "options",
    [{"note": "x" * 256}, {"token": "x" * 256}, {"deadline": 30 * 86_400 + 1}, {"deadline": -1}],
    ids=["note", "token", "deadline", "negative deadline"],
)
def test_an_option_out_of_bounds_is_an_argument_error(
    ncf: Netcf, options: dict[str, str | int]
) -> None:
    """Too long a text and an impossible deadline are refused before anything is saved."""
    with pytest.raises(ArgumentError) as caught:
        ncf.change_start(**options)  # type: ignore[arg-type]
    assert caught.value.code == NCF_EOTHER
    assert not ncf.status().open


@pytest.mark.parametrize("option", ["note", "token"])
def test_an_option_with_a_nul_byte_is_an_argument_error(ncf: Netcf, option: str) -> None:
    """A note or token is not cut at a NUL byte, it is refused."""
    with pytest.raises(ArgumentError, match=f"{option}: a NUL byte"):
        ncf.change_start(**{option: "a\0b"})  # type: ignore[arg-type]
    assert not ncf.status().open


def test_a_note_that_is_not_utf_8_can_be_printed(ncf: Netcf) -> None:
    """Bytes of a note that are no text come out readable and encodable."""
    ncf.change_start(note=os.fsdecode(b"caf\xe9"))
    assert ncf.status().note == "caf\\xe9"


def test_a_token_is_needed_to_commit(ncf: Netcf, host: Path) -> None:
    """Another Netcf commits with the token and not without or with a wrong one."""
    ncf.change_start(token="secret")
    with Netcf(host) as other:
        for wrong in (None, "guess", ""):
            with pytest.raises(WrongToken) as caught:
                other.change_commit(token=wrong)
            assert caught.value.code == NCF_EINVALIDOP
        assert ncf.status().open
        other.change_commit(token="secret")
    assert not ncf.status().open


def test_the_netcf_that_started_knows_the_token(ncf: Netcf) -> None:
    """Commit without a token shows the one of the start, also after a wrong one."""
    ncf.change_start(token="secret")
    with pytest.raises(WrongToken):
        ncf.change_commit(token="guess")
    ncf.change_commit()
    assert not ncf.status().open


def test_a_token_is_for_one_commit(ncf: Netcf, host: Path) -> None:
    """A token that a commit showed in vain is not shown by the next."""
    with pytest.raises(NotOpen):
        ncf.change_commit(token="secret")
    with Netcf(host) as other:
        other.change_start(token="secret")
    with pytest.raises(WrongToken):
        ncf.change_commit()


def test_a_rollback_needs_no_token(ncf: Netcf, host: Path) -> None:
    """Anybody may go back to the known-good configuration."""
    ncf.change_start(token="secret")
    with Netcf(host) as other:
        other.change_rollback()
    assert not ncf.status().open


def test_scope_lists_the_patterns(ncf: Netcf) -> None:
    """The default scope takes in what the host has and says so."""
    patterns = ncf.scope()
    assert Pattern("etc/network/interfaces", exclude=False) in patterns
    assert Pattern("etc/modprobe.d/netcf.conf", exclude=False) in patterns


def test_result_has_the_figures_of_a_rollback(ncf: Netcf, host: Path) -> None:
    """Each kind of difference is counted, with the id of the change."""
    scripts = host / "etc/sysconfig/network-scripts"
    ncf.change_start()
    started = ncf.status().id
    (scripts / "ifcfg-br0").write_bytes(b"changed\n")
    (scripts / "ifcfg-new").write_bytes(b"added\n")
    (scripts / "ifcfg-eth0").unlink()
    (scripts / "ifcfg-eth1").chmod(0o600)
    ncf.change_rollback()
    result = ncf.result()
    assert (result.changed, result.added, result.removed) == (1, 1, 1)
    assert result.failed == 0
    assert result.id == started
    assert result.discarded is not None
    assert (host / result.discarded).is_file()


def test_result_has_the_figures_of_a_start(ncf: Netcf, host: Path) -> None:
    """What was saved and what was not is counted, as the status counts it."""
    os.mkfifo(host / "etc/network/interfaces.d/fifo")
    ncf.change_start()
    result, status = ncf.result(), ncf.status()
    assert (result.saved, result.refused) == (status.files, 1)
    assert (result.id, result.discarded) == (status.id, None)


def test_result_of_a_commit_has_no_discarded_configuration(ncf: Netcf) -> None:
    """Where nothing was replaced, nothing was kept."""
    ncf.change_start()
    ncf.change_commit()
    assert ncf.result().discarded is None


def test_a_discarded_configuration_can_be_put_back(ncf: Netcf, host: Path) -> None:
    """What a rollback replaced is listed, with its note, and comes back in a new change."""
    bridge = host / BRIDGE
    before = bridge.read_bytes()
    assert ncf.discarded() == []
    ncf.change_start(note="try")
    bridge.write_bytes(b"tried\n")
    ncf.change_rollback()

    [kept] = ncf.discarded()
    assert kept.note == "try"
    assert kept.files >= 1
    assert kept.bytes == (host / kept.path).stat().st_size
    assert kept.path == ncf.result().discarded

    for discarded in (kept, kept.id):
        ncf.change_start()
        ncf.restore(discarded)
        assert bridge.read_bytes() == b"tried\n"
        ncf.change_rollback()
        assert bridge.read_bytes() == before
    assert [row.id for row in ncf.discarded()] == sorted(
        (row.id for row in ncf.discarded()), reverse=True
    )


@pytest.mark.parametrize("number", [0, 4711, (1 << 64) - 1])
def test_restoring_an_unknown_configuration_is_not_found(ncf: Netcf, number: int) -> None:
    """An id that nothing has is a NotFound."""
    ncf.change_start()
    with pytest.raises(NotFound) as caught:
        ncf.restore(number)
    assert caught.value.code == NCF_ENOENT


def test_an_impossible_id_is_an_argument_error(ncf: Netcf) -> None:
    """A negative id never reaches C."""
    ncf.change_start()
    with pytest.raises(ArgumentError, match="id: -1 is out of range"):
        ncf.restore(-1)


def test_a_state_directory_others_can_write_to_is_a_file_error(ncf: Netcf, host: Path) -> None:
    """A FileError is an OSError and names the path."""
    state = host / "var/lib/netcf"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(FileError, match="var/lib/netcf") as caught:
        ncf.change_start()
    assert caught.value.code == NCF_EFILE
    assert isinstance(caught.value, OSError)


def test_a_damaged_snapshot_is_a_file_error_and_touches_nothing(ncf: Netcf, host: Path) -> None:
    """Rollback from a damaged snapshot fails loudly and keeps the evidence."""
    ncf.change_start()
    snapshot = Path(ncf.snapshot_path)
    snapshot.write_bytes(snapshot.read_bytes()[:-700])
    after = tree.lock_out(host)
    with pytest.raises(FileError) as caught:
        ncf.change_rollback()
    assert caught.value.code == NCF_EFILE
    assert tree.differences(after, tree.capture(host)) == []
    assert snapshot.exists()


def test_closing_twice_is_fine(ncf: Netcf) -> None:
    """close may be called again, and closed says so."""
    assert not ncf.closed
    ncf.close()
    ncf.close()
    assert ncf.closed


def test_closing_leaves_the_change_open(ncf: Netcf, host: Path) -> None:
    """The change outlives the Netcf that started it."""
    ncf.change_start()
    ncf.close()
    with Netcf(host) as other:
        assert other.status().open


@pytest.mark.parametrize("call", EVERY_CALL)
def test_use_after_close_is_a_clear_error(ncf: Netcf, call: Callable[[Netcf], object]) -> None:
    """Every call on a closed Netcf raises UseAfterClose, a ValueError."""
    ncf.close()
    with pytest.raises(UseAfterClose, match="this Netcf has been closed") as caught:
        call(ncf)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == NCF_EOTHER


def test_leaving_a_netcf_closes_it(host: Path) -> None:
    """The with block of a Netcf closes it and lets exceptions pass."""
    with pytest.raises(KeyError), Netcf(host) as ncf:
        raise KeyError
    assert ncf.closed


def test_the_library_says_its_version() -> None:
    """The package, the library and VERSION agree."""
    version = Path(__file__).parents[2] / "VERSION"
    assert netcf_py.__version__ == version.read_text().strip()


def test_already_open_and_not_open_are_invalid_operations() -> None:
    """Who only wants to know that the state was wrong catches one class."""
    assert issubclass(AlreadyOpen, InvalidOperation)
    assert issubclass(NotOpen, InvalidOperation)
    assert issubclass(WrongToken, InvalidOperation)
