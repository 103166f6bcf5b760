"""Handles, arguments and errors: what ncf.h promises before any file is read."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from lib import forks, ncf, tree
from lib.ncf import Core, NcfError

CHANGE_CALLS = ["ncf_change_start", "ncf_change_begin", "ncf_change_commit", "ncf_change_rollback"]


def test_init_and_close_create_nothing(core: Core, root: Path) -> None:
    """Opening and closing a handle leaves no trace on disk."""
    before = tree.capture(root, state=True, identity=True)
    with core.open(root) as handle:
        assert handle.error() == (ncf.NOERROR, handle.error()[1], None)
    assert tree.capture(root, state=True, identity=True) == before


def test_root_that_does_not_exist(core: Core, root: Path) -> None:
    """A root that is not there is NCF_ENOENT, with the path in the details."""
    missing = root / "no-such-root"
    with pytest.raises(NcfError) as caught:
        core.open(missing)
    assert caught.value.code == ncf.ENOENT
    assert str(missing) in caught.value.details


def test_root_that_is_a_file(core: Core, root: Path) -> None:
    """A root that is no directory is refused, with the path in the details."""
    file = root / "file"
    file.write_bytes(b"")
    with pytest.raises(NcfError) as caught:
        core.open(file)
    assert caught.value.code in (ncf.ENOENT, ncf.EFILE)
    assert str(file) in caught.value.details
    assert os.strerror(20) in caught.value.details  # ENOTDIR


def test_failed_init_leaves_a_handle_for_its_error(core: Core, root: Path) -> None:
    """After -1 the handle tells the error, refuses every call and can be closed."""
    handle = ctypes.c_void_p()
    missing = str(root / "missing").encode()
    assert core.lib.ncf_init(ctypes.byref(handle), missing) == -1
    assert handle.value is not None
    message = ctypes.c_char_p()
    assert core.lib.ncf_error(handle, ctypes.byref(message), None) == ncf.ENOENT
    assert message.value
    assert core.lib.ncf_change_start(handle, 0) == -1
    assert core.lib.ncf_close(handle) == 0


def test_null_handle_is_refused_by_every_call(core: Core) -> None:
    """NULL in place of a handle fails and does not crash."""

    def calls() -> list:
        lib = core.lib
        status, result = ncf.StatusStruct(), ncf.ResultStruct()
        patterns, count = ctypes.POINTER(ncf.PatternStruct)(), ctypes.c_size_t()
        files = ctypes.POINTER(ncf.ScopeFileStruct)()
        differences = ctypes.POINTER(ncf.DifferenceStruct)()
        discarded = ctypes.POINTER(ncf.DiscardedStruct)()
        interfaces = ctypes.POINTER(ncf.InterfaceStruct)()
        ref = ctypes.byref
        outcomes = [getattr(lib, name)(None, 0) for name in CHANGE_CALLS]
        outcomes += [
            lib.ncf_change_set_options(None, None),
            lib.ncf_change_status(None, ref(status)),
            lib.ncf_change_scope(None, ref(patterns), ref(count)),
            lib.ncf_scope_list(None, ref(files), ref(count)),
            lib.ncf_change_diff(None, ref(differences), ref(count)),
            lib.ncf_change_announce(None, b"etc/hosts"),
            lib.ncf_change_result(None, ref(result)),
            lib.ncf_discarded_list(None, ref(discarded), ref(count)),
            lib.ncf_discarded_restore(None, 1, 0),
            lib.ncf_change_extend(None, 60),
            lib.ncf_change_guard(None),
            lib.ncf_change_boot(None, 0),
            lib.ncf_change_interfaces(None, ref(interfaces), ref(count)),
        ]
        assert lib.ncf_snapshot_path(None) is None
        return outcomes

    ended = forks.run(calls)
    assert ended.signal == 0
    assert ended.value == [-1] * 17


def test_null_handle_has_an_error_code(core: Core) -> None:
    """ncf_error(NULL) answers with a code instead of crashing."""
    assert forks.run(lambda: core.lib.ncf_error(None, None, None)) == (0, ncf.EOTHER)


def test_null_is_closed_and_freed_silently(core: Core) -> None:
    """ncf_close(NULL) is 0 and ncf_free(NULL) does nothing."""

    def calls() -> int:
        core.lib.ncf_free(None)
        return core.lib.ncf_close(None)

    assert forks.run(calls) == (0, 0)


def test_init_needs_somewhere_to_put_the_handle(core: Core, root: Path) -> None:
    """ncf_init(NULL, root) fails and does not crash."""
    assert forks.run(lambda: core.lib.ncf_init(None, str(root).encode())) == (0, -1)


def list_without_count(call, handle) -> int:  # type: ignore[no-untyped-def]
    """Its list has a place, and the number of its rows has none."""
    return int(call(handle, ctypes.byref(call.argtypes[1]._type_()), None))


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, handle: lib.ncf_change_status(handle, None),
        lambda lib, handle: lib.ncf_change_result(handle, None),
        lambda lib, handle: lib.ncf_change_diff(handle, None, None),
        lambda lib, handle: lib.ncf_change_scope(handle, None, None),
        lambda lib, handle: lib.ncf_scope_list(handle, None, None),
        lambda lib, handle: lib.ncf_discarded_list(handle, None, None),
        lambda lib, handle: lib.ncf_change_interfaces(handle, None, None),
        lambda lib, handle: lib.ncf_change_announce(handle, None),
        lambda lib, handle: list_without_count(lib.ncf_change_diff, handle),
        lambda lib, handle: list_without_count(lib.ncf_change_scope, handle),
        lambda lib, handle: list_without_count(lib.ncf_scope_list, handle),
        lambda lib, handle: list_without_count(lib.ncf_discarded_list, handle),
        lambda lib, handle: list_without_count(lib.ncf_change_interfaces, handle),
    ],
    ids=["status", "result", "diff", "scope", "scope_list", "discarded_list", "interfaces", "announce",
         "diff_count", "scope_count", "scope_list_count", "discarded_list_count", "interfaces_count"],
)
def test_null_arguments_are_refused(core: Core, root: Path, call) -> None:  # type: ignore[no-untyped-def]
    """A NULL argument that is needed is NCF_EOTHER, not a crash."""
    tree.realistic(root)
    core.start(root)

    def in_child() -> tuple:
        with core.open(root) as handle:
            return call(core.lib, handle.handle), handle.error()[0]

    assert forks.run(in_child) == (0, (-1, ncf.EOTHER))


def test_error_accepts_null_for_both_texts(core: Core, root: Path) -> None:
    """ncf_error() may be asked for the code only."""
    with core.open(root) as handle:
        assert core.lib.ncf_error(handle.handle, None, None) == ncf.NOERROR


def test_error_is_that_of_the_last_call(core: Core, root: Path) -> None:
    """A success after a failure clears code and details."""
    with core.open(root) as handle:
        with pytest.raises(NcfError):
            handle.commit()
        assert handle.error()[0] == ncf.EINVALIDOP
        handle.status()
        assert handle.error()[0] == ncf.NOERROR
        assert handle.error()[2] is None


@pytest.mark.parametrize("bit", [0x4, 0x80000000])
@pytest.mark.parametrize("call", CHANGE_CALLS)
@pytest.mark.parametrize("is_open", [False, True], ids=["none-open", "open"])
def test_unknown_flags_are_refused_before_state_is_looked_at(
    core: Core, root: Path, call: str, bit: int, is_open: bool
) -> None:
    """Unknown flag bits are NCF_EOTHER "unsupported flags" whether or not a change is open."""
    tree.realistic(root)
    if is_open:
        core.start(root)
    before = tree.capture(root, state=True, identity=True)
    with core.open(root) as handle:
        assert getattr(core.lib, call)(handle.handle, bit) == -1
        code, message, details = handle.error()
    assert code == ncf.EOTHER
    assert "unsupported flags" in f"{message} {details}"
    assert tree.capture(root, state=True, identity=True) == before


@pytest.mark.parametrize("call", ["ncf_change_commit", "ncf_discarded_restore"])
def test_flags_of_calls_that_have_none(core: Core, root: Path, call: str) -> None:
    """Where no flag is defined, bit 0 is refused too."""
    tree.realistic(root)
    core.start(root)
    arguments = (1, 1) if call == "ncf_discarded_restore" else (1,)
    with core.open(root) as handle:
        assert getattr(core.lib, call)(handle.handle, *arguments) == -1
        assert handle.error()[0] == ncf.EOTHER
    assert core.status(root).open == 1


def test_unknown_flags_under_a_root_that_can_not_be_read(core: Core, root: Path) -> None:
    """Flags are checked first: a broken state directory does not change the answer."""
    (root / "var/lib/netcf").write_bytes(b"not a directory")
    with core.open(root) as handle:
        with pytest.raises(NcfError) as caught:
            handle.start(0x40)
    assert caught.value.code == ncf.EOTHER


def test_snapshot_path_has_the_root_in_front(core: Core, root: Path) -> None:
    """ncf_snapshot_path() is where the snapshot is, whether or not it exists."""
    with core.open(root) as handle:
        path = handle.snapshot_path()
        assert path == tree.join(root, tree.SNAPSHOT)
        assert not os.path.exists(path)
        handle.start()
        assert os.path.exists(path)


def test_snapshot_path_of_the_host_itself(core: Core) -> None:
    """With root NULL or "/" the path is the contract's absolute one."""
    for top in (None, "/"):
        with core.open(top) as handle:
            assert handle.snapshot_path() == b"/var/lib/netcf/network-snapshot.tar"


def test_a_root_with_slashes_at_its_end(core: Core, root: Path) -> None:
    """A trailing slash of the root does not double in paths."""
    with core.open(f"{root}//") as handle:
        assert b"//" not in handle.snapshot_path()
        handle.start()
    assert core.status(root).open == 1


def test_a_relative_root(core: Core, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root may be relative to the working directory, which may change afterwards."""
    tree.realistic(root)
    monkeypatch.chdir(root.parent)
    with core.open(root.name) as handle:
        os.chdir("/")
        handle.start()
    assert core.status(root).open == 1


def test_version(core: Core) -> None:
    """ncf_version() is what the file VERSION says."""
    version = (Path(__file__).resolve().parents[2] / "VERSION").read_text().strip()
    assert core.version() == version


def test_handles_leak_no_descriptor(core: Core, root: Path) -> None:
    """Whatever a handle did, closing it leaves the process with the descriptors it had."""
    before = len(os.listdir("/proc/self/fd"))
    tree.realistic(root)
    with core.open(root) as handle:
        handle.start()
        tree.lock_out(root)
        handle.diff()
        handle.status()
        handle.scope()
        handle.rollback()
        handle.discarded()
        with pytest.raises(NcfError):
            handle.commit()
    with pytest.raises(NcfError):
        core.open(root / "missing")
    assert len(os.listdir("/proc/self/fd")) == before


WORDS = {
    ncf.NOERROR: b"no error", ncf.EINTERNAL: b"internal error", ncf.EOTHER: b"bad argument", ncf.ENOMEM: b"out of memory",
    ncf.ENOENT: b"no such file or configuration", ncf.EEXEC: b"an external program failed", ncf.EINUSE: b"in use",
    ncf.EFILE: b"reading or writing a file failed", ncf.EINVALIDOP: b"operation is not valid in the present state",
}  # fmt: skip


@pytest.mark.parametrize("code", WORDS)
def test_every_code_has_its_words(core: Core, code: int) -> None:
    """One sentence for each of ncf.h's codes."""
    words = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)(("error_message", core.lib))
    assert words(code) == WORDS[code]


class Error(ctypes.Structure):
    """csrc/error.h: struct error."""

    _fields_ = [
        ("code", ctypes.c_int), ("step", ctypes.c_int), ("sys", ctypes.c_int),
        ("state", ctypes.c_char_p), ("path", ctypes.c_char * 1024),
    ]  # fmt: skip


def test_words_that_have_no_room_are_cut(core: Core) -> None:
    """Whatever the room, its last byte is the NUL, nothing is written behind it, and the beginning is that of the whole."""
    error = Error()
    core.lib.error_file(ctypes.byref(error), 12, 5, b"etc/a\x1b")  # some step
    core.lib.error_state(ctypes.byref(error), b"nothing was changed")
    core.lib.error_state(ctypes.byref(error), b"and this comes too late")
    whole = ctypes.create_string_buffer(4096)
    assert core.lib.error_details(ctypes.byref(error), whole, ctypes.c_size_t(len(whole))) == 1
    assert whole.value.endswith(b": etc/a\\x1b: %s; nothing was changed" % os.strerror(5).encode())
    for size in range(2, len(whole.value) + 2):
        text = ctypes.create_string_buffer(b"#" * (size + 8))
        assert core.lib.error_details(ctypes.byref(error), text, ctypes.c_size_t(size)) == 1
        told, _, behind = text.raw.partition(b"\0")
        assert whole.value.startswith(told)
        assert len(told) < size and behind[size - len(told) - 1 :] == b"#" * 8 + b"\0"
