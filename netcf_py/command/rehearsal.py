# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``netcf doctor`` tries out: a guard, and a whole change on a copy of the live files.

MUST write below its scratch directory only, which nobody else can enter.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import NetcfError
from ..netcf import Netcf
from .common import Call
from .diff import open_root
from .findings import BAD, GOOD, Finding
from .sides import Side, live_side
from .words import paths

__all__ = ["guard", "rehearse"]

SCOPE = "etc/netcf/scope.d"
ADDED = "etc/netplan/99-rehearsal.yaml"
PATIENCE = 10.0


@contextlib.contextmanager
def _scratch(call: Call) -> Iterator[str]:
    """A directory that looks like a host, on the state directory's filesystem where that can be."""
    near = os.path.join(call.ncf.root, "var/tmp")
    where = near if os.access(near, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="netcf-rehearsal-", dir=where) as scratch:
        for directory in ("etc", "var/lib"):
            os.makedirs(os.path.join(scratch, directory))
        yield scratch


# --- guard -----------------------------------------------------------------------


def guard(call: Call) -> Finding:
    """Start a guard, and see it gone when its change is closed."""
    try:
        with _scratch(call) as scratch, Netcf(scratch) as ncf:
            return _guard(ncf)
    except (NetcfError, OSError) as error:
        said = error.details if isinstance(error, NetcfError) and error.details else str(error)
        remedy = "until then give a start no timeout and no leash"
        return Finding("guard", BAD, f"can't start: {said}", f"mend what it names; {remedy}")


def _guard(ncf: Netcf) -> Finding:
    began = time.perf_counter()
    ncf.change_start(deadline=3600)
    started = time.perf_counter() - began
    process = _process(ncf.status().id)
    began = time.perf_counter()
    ncf.change_rollback()
    if process is None:
        return Finding("guard", BAD, "started, and then was not there", "look for it in dmesg")
    try:
        ready, _, _ = select.select([process], [], [], PATIENCE)
    finally:
        os.close(process)
    if not ready:
        return Finding(
            "guard", BAD, f"still there {PATIENCE:.0f} s after its change", "report this"
        )
    gone = time.perf_counter() - began
    return Finding(
        "guard", GOOD,
        f"one started in {started * 1000:.0f} ms, and was gone {gone * 1000:.0f} ms after"
        " its change was closed",
    )  # fmt: skip


def _process(change: str) -> int | None:
    """A descriptor of the process that guards a change."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):  # no process, or gone meanwhile
            pid = int(entry.name)
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[1:3] == [b"guard", change.encode()]:
                return os.pidfd_open(pid)
    return None


# --- rehearsal ---------------------------------------------------------------------


def rehearse(call: Call) -> Finding:
    """A change on a copy: edited, files removed, one added, rolled back, compared."""
    try:
        with _scratch(call) as scratch, contextlib.ExitStack() as stack:
            return _rehearse(call, scratch, stack)
    except NetcfError as error:
        said = error.details or error.message
        return Finding("rehearsal", BAD, f"failed: {said}", "mend what it names")
    except OSError as error:
        return Finding(
            "rehearsal", BAD, f"failed: {error}", "mend what it names, or run it as root"
        )


def _rehearse(call: Call, scratch: str, stack: contextlib.ExitStack) -> Finding:
    root = open_root(call, stack)
    for name in _scope_files(root):
        _copy(root, name, os.fsencode(scratch))
    copied = [
        os.fsencode(file.path)
        for file in call.ncf.scope_list()
        if _copy(root, os.fsencode(file.path), os.fsencode(scratch))
    ]
    ncf = stack.enter_context(Netcf(scratch))
    copy = os.open(scratch, os.O_PATH | os.O_DIRECTORY)
    stack.callback(os.close, copy)
    before = {path: live_side(copy, path) for path in copied}
    began = time.perf_counter()
    ncf.change_start(note="rehearsal")
    saved = time.perf_counter() - began
    _edit(scratch, [path for path in copied if before[path].type == "f"])
    # Where the scope excludes it, it has to stay.
    added = any(file.path == ADDED for file in ncf.scope_list())
    began = time.perf_counter()
    ncf.change_rollback()
    back = time.perf_counter() - began
    wrong = [os.fsdecode(path) for path in copied if live_side(copy, path) != before[path]]
    if added == os.path.lexists(os.path.join(scratch, ADDED)):
        wrong.append(ADDED)
    if wrong:
        return Finding("rehearsal", BAD, f"{wrong[0]} came back wrong", "report this")
    return Finding(
        "rehearsal", GOOD,
        f"{paths(len(copied))} saved in {saved * 1000:.0f} ms, rolled back in {back * 1000:.0f} ms",
    )  # fmt: skip


def _scope_files(root: int) -> list[bytes]:
    try:
        directory = os.open(SCOPE, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    except FileNotFoundError:
        return []
    try:
        return [os.fsencode(f"{SCOPE}/{name}") for name in os.listdir(directory)]
    finally:
        os.close(directory)


def _copy(root: int, path: bytes, scratch: bytes) -> bool:
    """Copy one path; False where there is nothing that a snapshot would have."""
    side: Side = live_side(root, path)
    target = os.path.join(scratch, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if side.type == "d":
        os.makedirs(target, exist_ok=True)
    elif side.type == "l":
        os.symlink(side.content, target)
    elif side.type == "f":
        with open(target, "wb") as file:
            file.write(side.content)
        os.chmod(target, stat.S_IMODE(side.mode))
        os.utime(target, ns=(side.mtime_ns, side.mtime_ns))
    return side.type in ("d", "l", "f")


def _edit(scratch: str, files: list[bytes]) -> None:
    """Every second file gets a line, the others go, and one is added."""
    for number, path in enumerate(files):
        full = os.path.join(os.fsencode(scratch), path)
        if number % 2:
            os.unlink(full)
        else:
            os.chmod(full, 0o600)
            with open(full, "ab") as file:
                file.write(b"# rehearsal\n")
    added = os.path.join(scratch, ADDED)
    os.makedirs(os.path.dirname(added), exist_ok=True)
    with open(added, "w", encoding="ascii") as file:
        file.write("# rehearsal\n")
