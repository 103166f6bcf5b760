# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf doctor``: would this host really be saved?

MUST change nothing but a scratch copy of its own.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import click

from ..errors import NetcfError
from ..netcf import Netcf
from .common import FAILED, Call, command
from .diff import open_root
from .sides import Side, live_side
from .words import paths, plural, printable, size

__all__ = ["doctor_command"]

GOOD, NOTE, BAD = "good", "note", "bad"
COLOURS = {GOOD: "green", NOTE: "yellow", BAD: "red"}
STATE = "var/lib/netcf"
RESERVE = 1024 * 1024
LOST_AT_BOOT = ("tmpfs", "ramfs", "overlay", "squashfs")
UNIT = "networking-config.service"
UNIT_DIRS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
# Where other inits find what was enabled.
ENABLED = (
    "etc/rcS.d/S*networking-config",
    "etc/rc[2-5].d/S*networking-config",
    "etc/runlevels/*/networking-config",
    "etc/runit/core-services/*networking-config*",
)


@dataclass(frozen=True)
class Stack:
    """Software that turns files into interfaces."""

    name: str
    programs: tuple[str, ...]
    """One of them is there where it is installed."""
    files: tuple[str, ...]
    """What it reads and an administrator writes."""
    units: tuple[str, ...]
    """What the boot unit has to come before."""


STACKS = (
    Stack("ifupdown", ("sbin/ifup", "usr/sbin/ifup"),
          ("etc/network/interfaces", "etc/network/interfaces.d/*"), ("networking.service",)),
    Stack("systemd-networkd",
          ("lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-networkd"),
          ("etc/systemd/network/*", "etc/systemd/networkd.conf.d/*"),
          ("systemd-networkd.service",)),
    Stack("NetworkManager", ("usr/sbin/NetworkManager",),
          ("etc/NetworkManager/system-connections/*", "etc/NetworkManager/conf.d/*"),
          ("NetworkManager.service",)),
    Stack("netplan", ("usr/sbin/netplan",), ("etc/netplan/*.yaml",), ()),
    Stack("network-scripts", ("etc/sysconfig/network-scripts/ifup",),
          ("etc/sysconfig/network-scripts/ifcfg-*", "etc/sysconfig/network-scripts/route*-*",
           "etc/sysconfig/network-scripts/rule*-*"), ("network.service",)),
    Stack("wicked", ("usr/sbin/wicked",),
          ("etc/sysconfig/network/ifcfg-*", "etc/sysconfig/network/ifroute-*"),
          ("wickedd.service", "wicked.service")),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: str
    text: str
    remedy: str = ""


@command("doctor", short_help="Say whether this host would really be saved.")
@click.option("--no-rehearsal", is_flag=True, help="Leave the rehearsal out.")
def doctor_command(call: Call, no_rehearsal: bool) -> None:
    """Look at all that a rollback depends on, and rehearse one.

    The rehearsal copies the files in scope to a scratch directory that only
    this user can read, changes them there and rolls back.  Nothing else is
    written.  The exit status is 1 if the host might not be saved.
    """
    present = [
        stack for stack in STACKS if any(os.path.lexists(_at(call, p)) for p in stack.programs)
    ]
    findings = [
        _boot(call, present),
        *_state(call),
        _reserve(call),
        *_scope(call, present),
    ]  # fmt: skip
    if not no_rehearsal:
        findings.append(_rehearsal(call))
    healthy = all(finding.level != BAD for finding in findings)

    def say() -> None:
        for finding in findings:
            level = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level], bold=True)
            _print(f"{level}  ", f"{finding.subject}: {finding.text}")
            if finding.remedy:
                _print("      ", f"-> {finding.remedy}")
        click.echo("This host would be saved." if healthy else "This host might not be saved.")

    call.answer({"healthy": healthy, "findings": [asdict(f) for f in findings]}, say)
    if not healthy:
        sys.exit(FAILED)


def _print(before: str, text: str) -> None:
    import textwrap

    lines = textwrap.wrap(printable(text), 74, break_on_hyphens=False, break_long_words=False)
    click.echo(f"{before}{lines[0]}")
    for line in lines[1:]:
        click.echo(f"      {line}")


def _at(call: Call, path: str) -> str:
    return os.path.join(call.ncf.root, path)


def _glob(call: Call, pattern: str) -> list[str]:
    """Paths beneath the root, relative to it."""
    root = call.ncf.root
    found = glob.glob(os.path.join(glob.escape(root), pattern))
    return sorted(os.path.relpath(path, root) for path in found)


# --- boot -------------------------------------------------------------------------


def _boot(call: Call, present: list[Stack]) -> Finding:
    install = "install the boot files of your init; README, At boot"
    for pattern in ENABLED:
        for found in _glob(call, pattern):
            return Finding("boot", GOOD, f"{found} runs before networking by its place")
    units = [path for path in (f"{place}/{UNIT}" for place in UNIT_DIRS)
             if os.path.isfile(_at(call, path))]  # fmt: skip
    if not units:
        return Finding("boot", BAD, "nothing rolls an open change back at boot", install)
    unit = units[0]
    if not any(_glob(call, f"{place}/*.{kind}/{UNIT}")
               for place in UNIT_DIRS for kind in ("wants", "requires")):  # fmt: skip
        return Finding("boot", BAD, f"{unit} is not enabled", f"systemctl enable {UNIT}")
    before = _before(_at(call, unit))
    late = [name for stack in present for name in stack.units if name not in before]
    if late:
        return Finding("boot", BAD, f"{unit} may run after {', '.join(late)}", install)
    return Finding("boot", GOOD, f"{unit} is enabled and ordered before what is found here")


def _before(path: str) -> set[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return {
            name
            for line in file if line.startswith("Before=")
            for name in line.partition("=")[2].split()
        }  # fmt: skip


# --- state directory ----------------------------------------------------------------


def _state(call: Call) -> Iterator[Finding]:
    path = _at(call, STATE)
    there = os.path.lexists(path)
    holder = path if there else os.path.dirname(path)
    if not os.path.isdir(holder) or os.path.islink(holder):
        yield Finding("state", BAD, f"{holder} is no directory", "make it one")
        return
    kind = _filesystem(holder)
    if os.statvfs(holder).f_flag & os.ST_RDONLY:
        yield Finding("state", BAD, f"{holder} is read-only", "mount it writable")
    elif not os.access(holder, os.W_OK | os.X_OK):
        yield Finding("state", BAD, f"{holder} can't be written by this user", "run it as root")
    elif kind in LOST_AT_BOOT:
        yield Finding(
            "state", BAD if kind != "overlay" else NOTE,
            f"{holder} is on {kind}, which may not outlive a reboot",
            f"keep {path} on a disk",
        )  # fmt: skip
    else:
        yield Finding("state", GOOD, f"{holder} is on {kind}, writable")
    if there:
        st = os.stat(path)
        private = not st.st_mode & 0o077 and st.st_uid in (0, os.geteuid())
        remedy = "" if private else f"chmod 0700 {path}; chown root {path}"
        text = f"{path} is private" if private else f"{path} can be entered by others"
        yield Finding("privacy", GOOD if private else BAD, text, remedy)


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
        open_now = call.ncf.status().open
    except NetcfError as error:
        return Finding("reserve", BAD, error.details or error.message, "mend what it names")
    if open_now:
        reserve = _at(call, f"{STATE}/.netcf-reserve-1")
        if os.path.isfile(reserve) and os.stat(reserve).st_blocks:
            return Finding("reserve", GOOD, "a rollback has its space, also on a full disk")
        return Finding(
            "reserve", NOTE, "the open change has no space reserved", "keep the disk from filling"
        )
    holder = _at(call, STATE)
    holder = holder if os.path.isdir(holder) else os.path.dirname(holder)
    if not os.path.isdir(holder):
        return Finding("reserve", BAD, f"{holder} is not there", "make it")
    free = os.statvfs(holder)
    room = free.f_bavail * free.f_frsize
    if room < 4 * RESERVE:
        return Finding(
            "reserve", BAD, f"only {size(room)} free: a start may be refused", "make room"
        )
    return Finding("reserve", GOOD, f"{size(room)} free for snapshot and reserve")


# --- scope ---------------------------------------------------------------------------


def _scope(call: Call, present: list[Stack]) -> Iterator[Finding]:
    try:
        covered = {file.path for file in call.ncf.scope_list()}
    except NetcfError as error:
        yield Finding("scope", BAD, error.details or error.message, "mend the scope files")
        return
    if not present:
        yield Finding("scope", NOTE, "no networking software that is known here was found")
    for stack in present:
        files = [path for pattern in stack.files for path in _glob(call, pattern)]
        left = [path for path in files if path not in covered]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            yield Finding(
                "scope", NOTE, f"{stack.name} reads what is not saved: {', '.join(left[:3])}{more}",
                f"if it matters: echo {left[0]} >>/etc/netcf/scope.d/local.conf",
            )  # fmt: skip
        elif files:
            yield Finding("scope", GOOD, f"{stack.name}: all {plural(len(files), 'file')} covered")


# --- rehearsal -------------------------------------------------------------------------


def _rehearsal(call: Call) -> Finding:
    """A change on a copy: edited, one file removed, one added, rolled back, compared."""
    try:
        with ExitStack() as stack:
            scratch = tempfile.mkdtemp(prefix="netcf-rehearsal-")
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            return _rehearse(call, scratch, stack)
    except NetcfError as error:
        return Finding(
            "rehearsal", BAD, f"failed: {error.details or error.message}", "mend what it names"
        )
    except OSError as error:
        return Finding("rehearsal", BAD, f"failed: {error}", "run it as root")


def _rehearse(call: Call, scratch: str, stack: ExitStack) -> Finding:
    root = open_root(call, stack)
    os.makedirs(os.path.join(scratch, "var/lib"))
    os.makedirs(os.path.join(scratch, "etc"))
    copied = [
        os.fsencode(file.path)
        for file in call.ncf.scope_list()
        if _copy(root, os.fsencode(file.path), os.fsencode(scratch))
    ]
    with Netcf(scratch) as ncf:
        copy = os.open(scratch, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, copy)
        before = {path: live_side(copy, path) for path in copied}
        began = time.perf_counter()
        ncf.change_start(note="rehearsal")
        saved = time.perf_counter() - began
        _edit(scratch, [path for path in copied if before[path].type == "f"])
        began = time.perf_counter()
        ncf.change_rollback()
        back = time.perf_counter() - began
        after = {path: live_side(copy, path) for path in copied}
    if after != before:
        wrong = next(path for path in copied if after[path] != before[path])
        return Finding(
            "rehearsal", BAD, f"{os.fsdecode(wrong)} came back wrong", "report this with the output"
        )
    return Finding(
        "rehearsal", GOOD,
        f"{paths(len(copied))} saved in {saved * 1000:.0f} ms, rolled back in {back * 1000:.0f} ms",
    )  # fmt: skip


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
    """Every kind of edit; the file that is added is in scope everywhere."""
    for number, path in enumerate(files):
        full = os.path.join(os.fsencode(scratch), path)
        if number % 2:
            os.unlink(full)
        else:
            with open(full, "ab") as file:
                file.write(b"# rehearsal\n")
    added = os.path.join(scratch, "etc/netplan/99-rehearsal.yaml")
    os.makedirs(os.path.dirname(added), exist_ok=True)
    with open(added, "w", encoding="ascii") as file:
        file.write("# rehearsal\n")
