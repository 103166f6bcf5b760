# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the calls return: frozen, comparable, made of plain Python types.

Paths are relative to the root, without a leading slash.  Bytes in them that
are no text are kept as surrogates; :func:`os.fsencode` gives the bytes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ChangeResult",
    "ChangeStatus",
    "Difference",
    "DifferenceKind",
    "Discarded",
    "FileType",
    "Interface",
    "InterfaceAction",
    "InterfaceChange",
    "Metadata",
    "Pattern",
    "ScopeFile",
    "StartOptions",
]


class DifferenceKind(Enum):
    """How a path differs from the snapshot."""

    ADDED = "added"
    """It is there now and was not."""
    REMOVED = "removed"
    """It was there and is not."""
    CHANGED = "changed"
    """Its content, link target or type differs."""
    METADATA = "metadata"
    """Only what :attr:`Difference.metadata` names differs."""


class Metadata(Enum):
    """What of a file's metadata differs."""

    MODE = "mode"
    OWNER = "owner"
    MTIME = "mtime"
    XATTR = "xattr"
    """Extended attributes: ACLs, SELinux label, capabilities and others."""
    FLAGS = "flags"
    """Inode flags, as set by chattr."""
    LINKS = "links"
    """Which names are hard links to each other."""


class FileType(Enum):
    """What is at a path."""

    FILE = "f"
    DIRECTORY = "d"
    LINK = "l"
    SPECIAL = "s"
    """A device, socket or FIFO."""
    NOTHING = "-"


class InterfaceChange(Enum):
    """Why a rollback touched an interface."""

    UNTOUCHED = 0
    """It did not, but something of it is missing."""
    ADDED = 1
    """Its configuration had been added."""
    REMOVED = 2
    CHANGED = 3
    WITH_OTHERS = 4
    """It stands on one that was touched, or all were."""
    BY_HAND = 5
    """It had been changed, and no file."""


class InterfaceAction(Enum):
    """What a rollback did with an interface."""

    DOWN = "down"
    """It had it taken down."""
    UP = "up"
    """It had it brought up, or configured anew."""
    DELETED = "deleted"
    """It deleted its device."""
    RELOADED = "reloaded"
    """It had its software read the files again and follow them."""


@dataclass(frozen=True)
class Interface:
    """One interface after a rollback."""

    name: str
    stack: str
    """The software that configures it."""
    change: InterfaceChange
    done: frozenset[InterfaceAction]
    """What was done; what failed meanwhile is in :attr:`ChangeResult.commands`."""
    lacks: str
    """What it had at the start and has not now; empty if it is back."""


@dataclass(frozen=True)
class StartOptions:
    """What a start may be told; :meth:`Netcf.change_start` says what each means."""

    note: str | None = None
    token: str | None = None
    deadline: int | None = None
    leash: int | None = None
    grace: int = 0
    trial_boots: int = 0


@dataclass(frozen=True)
class ChangeStatus:
    """The state of the host's change; all but `open` is empty where none is open."""

    open: bool
    """Whether a change is open."""
    id: str
    """16 hexadecimal digits."""
    on_write: bool
    """Whether files are saved when announced, not all at start."""
    started: int
    """Seconds since 1970, by the clock of then."""
    uid: int
    """Who started it."""
    pid: int
    """The process that started it."""
    program: str
    """The program that started it."""
    note: str
    """Why it was started."""
    has_token: bool
    """Whether a commit needs a token."""
    deadline: int | None
    """Seconds, as last set; None without one."""
    deadline_left: int | None
    """Seconds left, counting suspend; negative once passed; None without one."""
    grace: int | None
    """Seconds from the end of its leash to the rollback; None without a leash."""
    trial_boots: int
    """Boots that it still outlives."""
    guarded: bool
    """Whether a guard watches its deadline and leash."""
    boot: str
    """Boot id of the start, empty if unknown."""
    same_boot: bool
    """Whether the host has not rebooted since the start."""
    files: int
    """Saved files, links and directories."""
    bytes: int
    """Content saved, in bytes."""
    refused: int
    """Devices, sockets and FIFOs: seen, not saved."""
    not_back: str
    """Interfaces that the last rollback of this boot could not bring back; empty if none."""


@dataclass(frozen=True)
class Pattern:
    """One pattern of a scope."""

    pattern: str
    exclude: bool
    """Whether it leaves out what it matches."""


@dataclass(frozen=True)
class ScopeFile:
    """One path in scope."""

    path: str
    type: FileType
    """What is there now."""
    pattern: str | None
    """The first that takes it, or names in it; None if it was announced."""


@dataclass(frozen=True)
class Difference:
    """One path that is not as it was at start."""

    path: str
    kind: DifferenceKind
    metadata: frozenset[Metadata]
    """What of the metadata differs."""
    was: FileType
    now: FileType


@dataclass(frozen=True)
class Discarded:
    """One configuration that a rollback replaced."""

    id: int
    """Counts up: order by this, never by time."""
    when: int
    """Seconds since 1970, by the clock of then."""
    bytes: int
    """Size of its file, in bytes."""
    files: int
    """Number of paths in it."""
    note: str
    """Note of the change that was rolled back."""
    path: str
    """Where it is kept."""


@dataclass(frozen=True)
class ChangeResult:
    """What the last start, commit, rollback or restore did."""

    changed: int
    """Files put back to their old content."""
    added: int
    """Files that had been added, now deleted."""
    removed: int
    """Files that had gone, now back."""
    metadata: int
    """Files of which only the metadata was put back."""
    failed: int
    """Paths that could not be put back."""
    saved: int
    """By a start: files, links and directories."""
    refused: int
    """By a start: devices, sockets and FIFOs, seen but not saved."""
    id: str
    """Of the change."""
    discarded: str | None
    """Where the replaced files are kept; None if none were."""
    notice: str
    """What a person should know although the call succeeded; empty if nothing."""
    commands: str
    """What commands for interfaces said that failed; empty if none did."""
