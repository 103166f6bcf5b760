# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf doctor``: would this host really be saved?

MUST change nothing but a scratch directory of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from ..errors import NetcfError
from . import boot, rehearsal, stacks
from .common import Call, command
from .findings import BAD, GOOD, NOTE, Finding, answer
from .words import plural, size

__all__ = ["doctor_command"]

STATE, SCOPE = "var/lib/netcf", "etc/netcf/scope.d"
# What the reserve has besides the bytes of the files, and the least free inodes.
RESERVE, FOR_EACH, INODES = 1 << 20, 4096, 16
# Not there after a reboot, and not there before the network is.
LOST_AT_BOOT = ("tmpfs", "ramfs", "squashfs")
NEEDS_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs")


@command("doctor", short_help="Say whether this host would really be saved.")
@click.option("--no-rehearsal", is_flag=True, help="Leave the rehearsal out.")
def doctor_command(call: Call, no_rehearsal: bool) -> None:
    """Look at all that a rollback depends on, start a guard, and rehearse.

    The guard watches an empty scratch directory and has to be gone after its
    change.  The rehearsal copies the files in scope to a scratch directory that
    only this user can read, changes them there and rolls back.  Nothing else is
    written.  The exit status is 1 if the host might not be saved.
    """
    findings = [
        boot.look(call.ncf.root),
        *_state(call),
        _reserve(call),
        *_scope(call),
        rehearsal.guard(call),
    ]
    if not no_rehearsal:
        findings.append(rehearsal.rehearse(call))
    answer(call, findings, "This host would be saved.", "This host might not be saved.")


def _at(call: Call, path: str) -> str:
    return os.path.join(call.ncf.root, path)


def _failed(subject: str, error: NetcfError, remedy: str) -> Finding:
    return Finding(subject, BAD, error.details or error.message, remedy)


# --- state directory ----------------------------------------------------------------


def _holder(call: Call) -> str:
    """The state directory, or what a start would make it in."""
    path = _at(call, STATE)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _state(call: Call) -> Iterator[Finding]:
    path, holder = _at(call, STATE), _holder(call)
    if not os.path.isdir(holder) or os.path.islink(holder):
        yield Finding("state", BAD, f"{holder} is no directory", "make it one")
        return
    kind = _filesystem(holder)
    keep = f"keep {path} on a disk of this host"
    if os.statvfs(holder).f_flag & os.ST_RDONLY:
        yield Finding(
            "state", BAD, f"{holder} is on {kind}, read-only", f"mount -o remount,rw {holder}"
        )
    elif not os.access(holder, os.W_OK | os.X_OK):
        yield Finding("state", BAD, f"{holder} can't be written by this user", "run it as root")
    elif kind in LOST_AT_BOOT:
        yield Finding("state", BAD, f"{holder} is on {kind}, which a reboot empties", keep)
    elif kind in NEEDS_NETWORK:
        yield Finding("state", BAD, f"{holder} is on {kind}, which is not there at boot", keep)
    elif kind == "overlay":
        yield Finding("state", NOTE, f"{holder} is on {kind}, which may not outlive a reboot", keep)
    else:
        yield Finding("state", GOOD, f"{holder} is on {kind}, writable")
    if holder == path:
        yield _private(path)
    etc = _at(call, "etc")
    if os.path.isdir(etc) and os.stat(etc).st_dev != os.stat(holder).st_dev:
        yield Finding(
            "state", NOTE, f"{etc} is on another filesystem: the space reserved is not there",
            "keep some space free on it",
        )  # fmt: skip


def _private(path: str) -> Finding:
    st = os.stat(path)
    if st.st_uid not in (0, os.geteuid()):
        return Finding(
            "privacy", BAD, f"{path} belongs to uid {st.st_uid}",
            f"look at what is in it, then chown root {path}",
        )  # fmt: skip
    if st.st_mode & 0o077:
        return Finding("privacy", BAD, f"{path} can be entered by others", f"chmod 0700 {path}")
    return Finding("privacy", GOOD, f"{path} is private")


def _filesystem(path: str) -> str:
    """The type of the filesystem that `path` is on."""
    device = os.stat(path).st_dev
    wanted, best, kind = os.path.realpath(path), "", "an unknown filesystem"
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split() for line in file]
    except OSError:
        return kind
    for row in rows:
        place = row[4].replace("\\040", " ")
        beneath = wanted == place or wanted.startswith(place.rstrip("/") + "/")
        if (row[2] == name or not best) and beneath and len(place) >= len(best):
            best, kind = place, row[row.index("-") + 1]
    return kind


def _reserve(call: Call) -> Finding:
    try:
        change = call.ncf.status()
        wanted = _wanted(call)
    except NetcfError as error:
        return _failed("reserve", error, "mend what it names")
    if change.open:
        reserve = _at(call, f"{STATE}/.netcf-reserve-1")
        if os.path.isfile(reserve) and os.stat(reserve).st_blocks:
            return Finding("reserve", GOOD, "a rollback has its space, also on a full disk")
        return Finding(
            "reserve", NOTE, "the open change has no space reserved", "keep the disk from filling"
        )
    free = os.statvfs(_holder(call))
    room = free.f_bavail * free.f_frsize
    if room < wanted or (free.f_files and free.f_favail < INODES):
        return Finding(
            "reserve", BAD,
            f"{size(room)} and {plural(free.f_favail, 'inode')} free, but a start takes"
            f" {size(wanted)}", f"make room on the filesystem of {_holder(call)}",
        )  # fmt: skip
    return Finding("reserve", GOOD, f"a start takes {size(wanted)} of {size(room)} that are free")


def _wanted(call: Call) -> int:
    """What a start takes at most: the snapshot, about as much as it saves, and the reserve."""
    count, total = 0, 0
    for file in call.ncf.scope_list():
        count += 1
        if file.type.value == "f":
            total += os.lstat(_at(call, file.path)).st_size
    return 2 * (total + count * FOR_EACH) + RESERVE


# --- scope ---------------------------------------------------------------------------


def _scope(call: Call) -> Iterator[Finding]:
    root = call.ncf.root
    try:
        covered = {file.path for file in call.ncf.scope_list()}
    except NetcfError as error:
        yield _failed("scope", error, "mend the scope files")
        return
    present = stacks.found(root)
    if not present:
        yield Finding("scope", NOTE, "no networking software that is known here was found")
    for stack in present:
        files = stacks.files(root, stack)
        left = [path for path in files if path not in covered]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            yield Finding(
                "scope", NOTE, f"{stack.name} reads what is not saved: {', '.join(left[:3])}{more}",
                f"if it matters: mkdir -p {_at(call, SCOPE)};"
                f" printf '%s\\n' {' '.join(left[:3])} >>{_at(call, SCOPE)}/local.conf",
            )  # fmt: skip
        elif files:
            yield Finding("scope", GOOD, f"{stack.name}: all {plural(len(files), 'file')} covered")
        else:
            yield Finding("scope", GOOD, f"{stack.name}: has no file here")
