# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's network configuration, and a change of it as a ``with`` block."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._core import (
    NCF_EINVALIDOP,
    NCF_ROLLBACK_ALL_INTERFACES,
    NCF_ROLLBACK_FILES_ONLY,
    NCF_START_ON_WRITE,
    Handle,
)
from .errors import NotOpen
from .records import (
    ChangeResult,
    ChangeStatus,
    Difference,
    Discarded,
    Interface,
    Pattern,
    ScopeFile,
    StartOptions,
)

if TYPE_CHECKING:
    from socket import socket
    from types import TracebackType
    from typing import IO, Any, Union

    AnyPath = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    Line = Union[int, IO[Any], socket]

__all__ = ["Change", "Netcf"]


class Netcf:
    """The network configuration of the host below a root directory.

    As a context manager it only closes itself; a change is a block of its own::

        with Netcf() as ncf:
            with ncf.change(note="new uplink"):
                edit_files()

    A change belongs to the host, not to this object: any other, in any process
    and after any reboot, may commit it or roll it back.

    One object may be used by several threads; one call runs at a time, and
    other Python threads run meanwhile.

    Every method raises :class:`UseAfterClose` after :meth:`close`.
    """

    def __init__(self, root: AnyPath = "/") -> None:
        """Open the host below `root`.  Nothing is created on disk.

        Args:
            root: The directory that holds the host's ``etc`` and ``var``.

        Raises:
            NotFound: There is no such directory.
            FileError: It can't be opened.
        """
        self._root = os.fsdecode(root)
        self._handle = Handle(os.fsencode(root))
        self._closings = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} root={self._root!r}{' closed' * self.closed}>"

    def __enter__(self) -> Netcf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root(self) -> str:
        """The root directory, as it was given."""
        return self._root

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._handle.closed

    @property
    def snapshot_path(self) -> str:
        """The path that exists exactly while a change is open, with the root in front."""
        return self._handle.snapshot_path()

    def close(self) -> None:
        """Close; an open change stays open.  Closing twice is fine."""
        self._handle.close()

    def change(
        self,
        *,
        on_write: bool = False,
        note: str | None = None,
        token: str | None = None,
        deadline: int | None = None,
        leash: Line | None = None,
        grace: int = 0,
        trial_boots: int = 0,
    ) -> Change:
        """Return a change to use in a ``with`` statement, which starts it.

        The end of the block commits it, an exception rolls it back.

        Args:
            on_write: See :meth:`change_start`, as for all others.
            note: Why.
            token: Secret that a commit must know.
            deadline: Seconds until it rolls back by itself.
            leash: What hangs up with the session.
            grace: Seconds from then to the rollback.
            trial_boots: Boots that it outlives.
        """
        return Change(self, on_write, _options(note, token, deadline, leash, grace, trial_boots))

    def change_start(
        self,
        flags: int = 0,
        *,
        on_write: bool = False,
        note: str | None = None,
        token: str | None = None,
        deadline: int | None = None,
        leash: Line | None = None,
        grace: int = 0,
        trial_boots: int = 0,
    ) -> None:
        """Start a change: save every file in scope.

        On return the snapshot is durable.  A failed start leaves nothing behind.

        Args:
            flags: ``NCF_START_...`` bits.
            on_write: Save nothing now but each file when it is announced, as
                ``NCF_START_ON_WRITE`` does.
            note: Why; shown by :meth:`status`; at most 255 bytes.
            token: Secret that a commit must know; at most 255 bytes.
            deadline: Seconds until the change rolls back by itself, at most 30
                days; neither suspend nor the clock's steps move it.  A start
                with the open change's token moves its deadline.
            leash: A terminal, pipe or socket, or its descriptor: when its other
                end hangs up, the change rolls back.
            grace: Seconds from then to the rollback, in which a commit is still
                possible.
            trial_boots: Boots, at most 100, that the change outlives; the one
                after them rolls back.

        Raises:
            AlreadyOpen: A change is open.
            ArgumentError: Unknown flags, or an option that is too long.
            FileError: A file can't be read or keeps changing, the scope is too
                large, the disk is full, or the state directory can't be trusted.
            ProgramError: The guard of a deadline or leash can't be started.
        """
        options = _options(note, token, deadline, leash, grace, trial_boots)
        self._start(flags | NCF_START_ON_WRITE * on_write, options)

    def _start(self, flags: int, options: StartOptions) -> None:
        self._handle.start(flags, options)

    change_begin = change_start

    def change_commit(self, flags: int = 0, *, token: str | None = None) -> None:
        """Keep the configuration as it is now and drop the snapshot.

        On return every file that changed is durable.

        Args:
            flags: Must be 0.
            token: The token of the change; None for the one that this object's
                last start set.

        Raises:
            NotOpen: No change is open.
            WrongToken: The change was started with another token.
            ArgumentError: Unknown flags.
            FileError: A new file can't be made durable; the change stays open.
        """
        self._handle.commit(flags, token)
        self._closings += 1

    def change_extend(self, seconds: int, *, token: str | None = None) -> None:
        """Set the deadline of the open change to `seconds` from now.

        Args:
            seconds: 1 to 30 days.
            token: The token of the change; None for the one of this object's
                last start.

        Raises:
            NotOpen: No change is open.
            WrongToken: The change was started with another token.
            ArgumentError: `seconds` is out of range.
            ProgramError: No guard watches it, and none can be started.
        """
        self._handle.extend(seconds, token)

    def change_guard(self) -> None:
        """Start a guard if the open change wants one and nobody watches it.

        Raises:
            ProgramError: None can be started.
        """
        self._handle.guard()

    def change_rollback(
        self,
        flags: int = 0,
        *,
        files_only: bool = False,
        all_interfaces: bool = False,
        command_limit: int = 0,
        total_limit: int = 0,
    ) -> None:
        """Put back exactly what start saved.

        What is replaced is kept as a discarded configuration.  May be repeated
        after any failure; :meth:`result` has the figures.

        Args:
            flags: ``NCF_ROLLBACK_...`` bits.
            files_only: Touch no live interface, as ``NCF_ROLLBACK_FILES_ONLY`` does.
            all_interfaces: Take every interface down and up, as
                ``NCF_ROLLBACK_ALL_INTERFACES`` does.
            command_limit: Seconds for each command that takes an interface down
                or up, at most a day; 0 for the usual 30.
            total_limit: Seconds for all of them together; 0 for the usual 90.

        Raises:
            NotOpen: No change is open.
            ArgumentError: Unknown flags, or a limit that is out of range.
            FileError: The snapshot is damaged and no file was touched, or a path
                can't be put back; the change stays open.
            ProgramError: All files are back and the change is closed, but interfaces
                are not as they were; :meth:`interfaces` says which.
        """
        flags |= NCF_ROLLBACK_FILES_ONLY * files_only
        flags |= NCF_ROLLBACK_ALL_INTERFACES * all_interfaces
        self._handle.rollback(flags, command_limit, total_limit)
        self._closings += 1

    def status(self) -> ChangeStatus:
        """Return the state of the host's change.  Takes no lock, writes nothing.

        Raises:
            FileError: The snapshot can't be read.
        """
        return self._handle.status()

    def scope(self) -> list[Pattern]:
        """Return the scope of the open change, else that of the next start.

        Raises:
            FileError: A scope file can't be read or trusted.
        """
        return self._handle.scope()

    def scope_list(self) -> list[ScopeFile]:
        """Return the paths that are in scope now, sorted, and why each is.

        They are what the next start would save, or what a rollback of the open
        change would look at.

        Raises:
            FileError: A scope file or a directory can't be read or trusted.
        """
        return self._handle.scope_list()

    def diff(self) -> list[Difference]:
        """Return what differs now from the snapshot, sorted by path.

        Raises:
            NotOpen: No change is open.
            FileError: The snapshot is damaged, or a file can't be read.
        """
        return self._handle.diff()

    def announce(self, path: AnyPath) -> None:
        """Save `path` before it is modified, in a change started with `on_write`.

        On return that is durable, also when nothing is at `path`.

        Args:
            path: Relative to the root; a leading slash is allowed.

        Raises:
            NotOpen: No change is open.
            ArgumentError: The path leaves the root, lies in the state directory,
                or is not covered by a change that saved the whole scope.
            FileError: It can't be saved.
        """
        self._handle.announce(os.fsencode(path))

    def discarded(self) -> list[Discarded]:
        """Return the configurations that rollbacks replaced, newest first.

        Raises:
            FileError: They can't be read.
        """
        return self._handle.discarded()

    def restore(self, discarded: Discarded | int) -> None:
        """Put a discarded configuration back, within an open change.

        Args:
            discarded: One of :meth:`discarded`, or its id.

        Raises:
            NotOpen: No change is open.
            NotFound: There is none with this id.
            FileError: As for :meth:`change_rollback`.
        """
        self._handle.restore(discarded.id if isinstance(discarded, Discarded) else discarded, 0)

    def interfaces(self) -> list[Interface]:
        """Return the interfaces that the last rollback here touched, or that are not back."""
        return self._handle.interfaces()

    def result(self) -> ChangeResult:
        """Return what the last start, commit, rollback or restore here did."""
        return self._handle.result()


class Change:
    """A change as a ``with`` block; :meth:`Netcf.change` makes it.

    Entering starts it.  Leaving commits it, or rolls it back if an exception
    leaves the block, whatever its class, or if the commit fails.  When that
    rollback fails too, its exception is raised with the first as its context.

    A change that was committed or rolled back inside the block, here or on the
    Netcf, is left alone.  One that somebody else closed meanwhile makes the end
    of the block raise :class:`NotOpen`: what it did was not committed by it.
    """

    def __init__(self, ncf: Netcf, on_write: bool, options: StartOptions) -> None:
        self._ncf = ncf
        self._flags = NCF_START_ON_WRITE * on_write
        self._options = options
        self._closings = 0
        self._id = ""

    @property
    def id(self) -> str:
        """16 hexadecimal digits; empty before the block is entered."""
        return self._id

    def __enter__(self) -> Change:
        ncf = self._ncf
        earlier = ncf.result().id
        try:
            ncf._start(self._flags, self._options)
            self._id, self._closings = ncf.result().id, ncf._closings
        except BaseException:
            # An interrupt arrives when C returns, and then the change may be open.
            started = ncf.result().id
            if started != earlier and self._is_open(started):
                ncf.change_rollback()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ncf._closings != self._closings:
            return
        try:
            if kind is None:
                self._commit_own()
        finally:
            if self._is_open(self._id):
                self.rollback()

    def _commit_own(self) -> None:
        if not self._is_open(self._id):
            raise NotOpen(
                NCF_EINVALIDOP,
                "no longer open",
                f"change {self._id} was committed or rolled back by somebody else",
            )
        self.commit()

    def _is_open(self, change: str) -> bool:
        """Whether the host's open change is this one and not somebody else's."""
        return change != "" and self._ncf.status().id == change

    def commit(self) -> None:
        """Commit now; see :meth:`Netcf.change_commit`."""
        self._ncf.change_commit()

    def rollback(self, *, files_only: bool = False, all_interfaces: bool = False) -> None:
        """Roll back now; see :meth:`Netcf.change_rollback`."""
        self._ncf.change_rollback(files_only=files_only, all_interfaces=all_interfaces)

    def announce(self, path: AnyPath) -> None:
        """Save `path` before it is modified; see :meth:`Netcf.announce`."""
        self._ncf.announce(path)

    def diff(self) -> list[Difference]:
        """Return what differs now from the snapshot; see :meth:`Netcf.diff`."""
        return self._ncf.diff()


def _options(
    note: str | None,
    token: str | None,
    deadline: int | None,
    leash: Line | None,
    grace: int,
    trial_boots: int,
) -> StartOptions:
    line = leash if leash is None or isinstance(leash, int) else leash.fileno()
    return StartOptions(note, token, deadline, line, grace, trial_boots)
