"""Options of the next start, and what status tells about the open change."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import pytest

from lib import forks, ncf, snapshot, tree
from lib.ncf import Core, NcfError

THIRTY_DAYS = 30 * 86400


def test_status_of_no_change_is_all_zero(core: Core, root: Path) -> None:
    """Where none is open, every field is zero."""
    tree.realistic(root)
    assert core.status(root) == ncf.Status(0, b"", 0, 0, 0, 0, b"", b"", 0, 0, 0, 0, 0, 0, 0, b"", 0, 0, 0, 0)
    core.start(root)
    core.commit(root)
    assert core.status(root) == ncf.Status(0, b"", 0, 0, 0, 0, b"", b"", 0, 0, 0, 0, 0, 0, 0, b"", 0, 0, 0, 0)


def test_status_tells_who_and_when(core: Core, root: Path) -> None:
    """uid, pid, program and time are those of the process that started the change."""
    tree.realistic(root)
    earliest = int(time.time())
    _, starter = forks.run(lambda: (core.start(root), os.getpid())[1])
    status = core.status(root)
    assert status.pid == starter
    assert status.uid == os.geteuid()
    assert earliest <= status.started <= int(time.time())
    assert status.program == Path("/proc/self/comm").read_bytes().strip()[:31]


def test_status_tells_the_boot(core: Core, root: Path) -> None:
    """The boot id is the kernel's, and on the same boot the status says so."""
    core.start(root)
    status = core.status(root)
    assert status.boot == Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    assert status.same_boot == 1


def test_status_counts_what_was_saved(core: Core, root: Path) -> None:
    """files counts files, links and directories in scope; bytes their content."""
    tree.write(root, "etc/network/interfaces", b"12345")
    tree.write(root, "etc/systemd/network/a.network", b"678")
    os.symlink("a.network", root / "etc/systemd/network/b.network")
    os.mkfifo(root / "etc/systemd/network/fifo")
    core.start(root)
    status = core.status(root)
    assert status.bytes == 8
    assert status.files == 4  # two files, a link, and etc/systemd/network
    assert status.refused == 1


def test_flags_are_stored(core: Core, root: Path) -> None:
    """Status tells the flags the change was started with."""
    core.start(root, ncf.START_ON_WRITE)
    assert core.status(root).flags == ncf.START_ON_WRITE
    core.commit(root)
    core.start(root)
    assert core.status(root).flags == 0


@pytest.mark.parametrize(
    "note",
    [b"new VLAN 42", b"n" * 255, "Grüße aus Köln".encode(), b"two\nlines\ttab", b"100% \\ 'x'", b"=", b"\xff\xfe"],
    ids=["plain", "longest", "utf-8", "newline", "odd", "equals", "bytes"],
)
def test_note_is_stored_as_it_is(core: Core, root: Path, note: bytes) -> None:
    """A note of up to 255 bytes comes back byte for byte, from another handle too."""
    with core.open(root) as handle:
        handle.set_options(note=note)
        handle.start()
        assert handle.status().note == note
    assert core.status(root).note == note


@pytest.mark.parametrize("field", ["note", "token"])
def test_texts_that_are_too_long(core: Core, root: Path, field: str) -> None:
    """A note or token of 256 bytes is NCF_EOTHER, and the options before stay."""
    with core.open(root) as handle:
        handle.set_options(note=b"before")
        with pytest.raises(NcfError) as caught:
            handle.set_options(**{field: b"x" * 256})
        assert caught.value.code == ncf.EOTHER
        handle.start()
        assert handle.status().note == b"before"


def test_deadline_is_stored_and_counts_down(core: Core, root: Path) -> None:
    """The deadline and what is left of it are shown."""
    with core.open(root) as handle:
        handle.set_options(deadline=600)
        handle.start()
    status = core.status(root)
    assert status.deadline == 600
    assert 590 <= status.deadline_left <= 600
    core.commit(root)  # and the guard goes


def test_longest_deadline(core: Core, root: Path) -> None:
    """30 days are allowed, a second more is NCF_EOTHER."""
    with core.open(root) as handle:
        with pytest.raises(NcfError) as caught:
            handle.set_options(deadline=THIRTY_DAYS + 1)
        assert caught.value.code == ncf.EOTHER
        handle.set_options(deadline=THIRTY_DAYS)
        handle.start()
        assert handle.status().deadline == THIRTY_DAYS
        handle.commit()  # and the guard goes


def test_no_deadline(core: Core, root: Path) -> None:
    """Without a deadline both fields are zero."""
    core.start(root)
    status = core.status(root)
    assert (status.deadline, status.deadline_left) == (0, 0)


def test_options_are_for_the_next_start_of_this_handle(core: Core, root: Path) -> None:
    """Another handle's start has none of them."""
    with core.open(root) as handle:
        handle.set_options(note=b"mine", token=b"mine", deadline=5)
        core.start(root)
    status = core.status(root)
    assert (status.note, status.has_token, status.deadline) == (b"", 0, 0)


def test_options_can_be_cleared(core: Core, root: Path) -> None:
    """NULL clears all options."""
    with core.open(root) as handle:
        handle.set_options(note=b"x", token=b"x", deadline=5)
        handle.clear_options()
        handle.start()
        status = handle.status()
    assert (status.note, status.has_token, status.deadline) == (b"", 0, 0)


def test_options_are_copied(core: Core, root: Path) -> None:
    """The caller's strings may be changed or freed after the call."""
    import ctypes

    note = ctypes.create_string_buffer(b"as it was")
    options = ncf.OptionsStruct(ctypes.sizeof(ncf.OptionsStruct), ctypes.cast(note, ctypes.c_char_p), None, 0)
    with core.open(root) as handle:
        assert core.lib.ncf_change_set_options(handle.handle, ctypes.byref(options)) == 0
        note.value = b"scribbled"
        handle.start()
        assert handle.status().note == b"as it was"


def test_options_of_an_unknown_size(core: Core, root: Path) -> None:
    """A size that no version of the structure has is NCF_EOTHER."""
    import ctypes

    options = ncf.OptionsStruct(0, None, None, 0)
    with core.open(root) as handle:
        assert core.lib.ncf_change_set_options(handle.handle, ctypes.byref(options)) == -1
        assert handle.error()[0] == ncf.EOTHER


def test_commit_needs_the_token(core: Core, root: Path) -> None:
    """With a token set, a commit without it, or with another, is refused and changes nothing."""
    tree.realistic(root)
    with core.open(root) as handle:
        handle.set_options(token=b"s3cret")
        handle.start()
    assert core.status(root).has_token == 1
    for wrong in (None, b"", b"other", b"s3cre", b"s3cretx"):
        with core.open(root) as handle:
            handle.set_options(token=wrong)
            with pytest.raises(NcfError) as caught:
                handle.commit()
            assert caught.value.code == ncf.EINVALIDOP
            assert "token" in caught.value.details
    assert core.status(root).open == 1
    with core.open(root) as handle:
        handle.set_options(token=b"s3cret")
        handle.commit()
    assert core.status(root).open == 0


def test_the_handle_that_started_knows_its_token(core: Core, root: Path) -> None:
    """A handle's own token is shown by its commit."""
    with core.open(root) as handle:
        handle.set_options(token=b"t" * 255)
        handle.start()
        handle.commit()


def test_token_of_a_change_without_one(core: Core, root: Path) -> None:
    """A change started without a token is committed by anyone, with any or none."""
    core.start(root)
    with core.open(root) as handle:
        handle.set_options(token=b"unneeded")
        handle.commit()


def test_rollback_needs_no_token(core: Core, root: Path) -> None:
    """The way back is always open: boot has no token."""
    before = tree.realistic(root)
    with core.open(root) as handle:
        handle.set_options(token=b"s3cret")
        handle.start()
    tree.lock_out(root)
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_the_token_is_not_in_the_snapshot(core: Core, root: Path) -> None:
    """Who can read the snapshot does not learn the token."""
    with core.open(root) as handle:
        handle.set_options(token=b"correct-horse")
        handle.start()
    assert b"correct-horse" not in (root / "var/lib/netcf/network-snapshot.tar").read_bytes()


def test_equal_tokens_are_stored_differently(core: Core, root: Path) -> None:
    """Tokens are stored with a salt: two snapshots do not tell that they share one."""
    stored = []
    for _ in range(2):
        with core.open(root) as handle:
            handle.set_options(token=b"same")
            handle.start()
            content = (root / "var/lib/netcf/network-snapshot.tar").read_bytes()
            stored.append([line for line in content.split(b"\n") if line.startswith(b"token")])
            handle.commit()
    assert stored[0] != stored[1]
    assert len(stored[0]) == 1


def rebooted(root: Path, *more: bytes) -> None:
    """Make the open change one of an earlier boot, with more lines behind its note."""

    def edit(lines: list[bytes]) -> list[bytes]:
        boot = b"boot 01234567-89ab-cdef-0123-456789abcdef"
        at = 1 + next(i for i, line in enumerate(lines) if line.startswith(b"note "))
        edited = [*lines[:at], *more, *lines[at:]]
        return [boot if line.startswith(b"boot ") else line for line in edited]

    snapshot.rewrite(tree.join(root, tree.SNAPSHOT), edit)


def test_status_after_a_reboot(core: Core, root: Path) -> None:
    """After a reboot the status says so, and a deadline has passed whatever the clocks say."""
    core.start(root)
    rebooted(root, b"deadline 2592000 1", b"due-boot 01234567-89ab-cdef-0123-456789abcdef")
    status = core.status(root)
    assert (status.open, status.deadline) == (1, THIRTY_DAYS)
    assert status.same_boot == 0
    assert status.boot == b"01234567-89ab-cdef-0123-456789abcdef"
    assert status.deadline_left < 0


@pytest.mark.parametrize("close", ["commit", "rollback"])
def test_a_change_of_an_earlier_boot_can_be_closed(core: Core, root: Path, close: str) -> None:
    """A change belongs to the host, not to the boot that started it."""
    before = tree.realistic(root)
    core.start(root)
    rebooted(root)
    edited = tree.lock_out(root)
    getattr(core, close)(root)
    wanted = edited if close == "commit" else before
    assert tree.differences(wanted, tree.capture(root)) == []


TOO_MUCH = {
    "grace": ("grace", THIRTY_DAYS + 1),
    "trial_boots": ("trial_boots", 101),
    "limit of a command": ("command_limit", 24 * 3600 + 1),
    "limit of all": ("total_limit", 24 * 3600 + 1),
    "size": ("size", 8),
}


@pytest.mark.parametrize(("field", "value"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_options_out_of_range(core: Core, root: Path, field: str, value: int) -> None:
    """Each is refused by its name, and none of the options is taken."""
    options = ncf.OptionsStruct(ctypes.sizeof(ncf.OptionsStruct), b"refused")
    setattr(options, field, value)
    with core.open(root) as handle:
        assert core.lib.ncf_change_set_options(handle.handle, ctypes.byref(options)) == -1
        code, _, details = handle.error()
        assert code == ncf.EOTHER
        assert details and field.replace("command_", "").replace("total_", "") in details
        handle.start()
        assert handle.status().note == b""


def test_options_in_range(core: Core, root: Path) -> None:
    """The largest of each are taken."""
    options = ncf.OptionsStruct(ctypes.sizeof(ncf.OptionsStruct), b"taken")
    for field, value in list(TOO_MUCH.values())[:-1]:
        setattr(options, field, value - 1)
    with core.open(root) as handle:
        assert core.lib.ncf_change_set_options(handle.handle, ctypes.byref(options)) == 0
        handle.start()
        assert handle.status().note == b"taken"


@pytest.mark.parametrize("seconds", [0, THIRTY_DAYS + 1])
def test_extending_out_of_range(core: Core, root: Path, seconds: int) -> None:
    """A deadline of no time, or of more than 30 days, is refused before anything is looked at."""
    with core.open(root) as handle:
        with pytest.raises(NcfError) as caught:
            handle.extend(seconds)
        assert caught.value.code == ncf.EOTHER
