# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways to save and restore a tree that are compared, as the commands that do it.

Each does what a careful administrator would: nothing counts as saved or restored
before it is durable.  `sync -f` (one syncfs) makes any number of files durable at
once; where a tool leaves a single file, `sync FILE DIRECTORY` is cheaper, and used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tree import Tree

__all__ = ["Command", "Cp", "Floor", "Git", "Helper", "KeptGit", "Rsync", "Tar", "Tool", "others"]

Command = tuple[str, ...]


class Tool:
    """One way to save and restore; the lists of commands are what is timed."""

    name: str
    own_tree = True  # keeps a state of its own about the tree, from one run to the next
    metadata = True  # restores mode and mtime to the nanosecond
    commits = False  # makes the edited files durable when it drops the saved ones

    def prepare(self, tree: Tree) -> None:
        """Make what a first start would find on a host that had others before."""

    def start(self, tree: Tree) -> list[Command]:
        """Save the tree."""
        raise NotImplementedError

    def commit(self, tree: Tree) -> list[Command]:
        """Keep the tree as it is."""
        raise NotImplementedError

    def rollback(self, tree: Tree) -> list[Command]:
        """Put the tree back as it was saved."""
        raise NotImplementedError

    def clear(self, tree: Tree) -> None:
        """Remove what was saved.  Not timed: a gift to those that need more than an unlink."""
        shutil.rmtree(tree.keep)
        tree.keep.mkdir()


class Floor(Tool):
    """bench/floor.c: one container, two barriers, nothing else."""

    name = "floor"
    commits = True

    def __init__(self, program: Path) -> None:
        self._program = str(program)

    def prepare(self, tree: Tree) -> None:
        (tree.root / "var/lib/floor").mkdir(parents=True, exist_ok=True)

    def start(self, tree: Tree) -> list[Command]:
        return [(self._program, "start", str(tree.root))]

    def commit(self, tree: Tree) -> list[Command]:
        return [(self._program, "commit", str(tree.root))]

    def rollback(self, tree: Tree) -> list[Command]:
        return [(self._program, "rollback", str(tree.root))]

    def clear(self, tree: Tree) -> None:
        pass


class Helper(Tool):
    """networking-config, as it is installed."""

    name = "helper"
    commits = True

    def __init__(self, program: Path) -> None:
        self._command = (str(program), "--root")

    def prepare(self, tree: Tree) -> None:
        (tree.root / "var/lib").mkdir(parents=True, exist_ok=True)

    def start(self, tree: Tree) -> list[Command]:
        return [(*self._command, str(tree.root), "snapshot_config")]

    def commit(self, tree: Tree) -> list[Command]:
        return [(*self._command, str(tree.root), "commit_config")]

    def rollback(self, tree: Tree) -> list[Command]:
        return [(*self._command, str(tree.root), "rollback_config")]

    def clear(self, tree: Tree) -> None:
        pass


class Cp(Tool):
    """A copy beside the tree; to restore, the copy takes its place."""

    name = "cp -a"
    own_tree = False

    def start(self, tree: Tree) -> list[Command]:
        copy = str(tree.keep / "etc")
        return [("cp", "-a", str(tree.root / "etc"), copy), ("sync", "-f", copy)]

    def rollback(self, tree: Tree) -> list[Command]:
        etc = str(tree.root / "etc")
        return [("rm", "-rf", etc), ("cp", "-a", str(tree.keep / "etc"), etc), ("sync", "-f", etc)]


class Tar(Tool):
    """One archive in tar's own format, which has no nanoseconds but is the fastest."""

    name = "tar"
    own_tree = False
    metadata = False

    def start(self, tree: Tree) -> list[Command]:
        archive = str(tree.keep / "etc.tar")
        return [
            ("tar", "-C", str(tree.root), "-cf", archive, "etc"),
            ("sync", archive, str(tree.keep)),
        ]

    def rollback(self, tree: Tree) -> list[Command]:
        root = str(tree.root)
        return [
            ("rm", "-rf", str(tree.root / "etc")),
            ("tar", "-C", root, "-xpf", str(tree.keep / "etc.tar")),
            ("sync", "-f", root),
        ]


class Rsync(Tool):
    """A copy beside the tree; to restore, only what differs in size or mtime is copied back."""

    name = "rsync -a"
    own_tree = False

    def start(self, tree: Tree) -> list[Command]:
        copy = str(tree.keep / "etc")
        return [("rsync", "-a", str(tree.root / "etc") + "/", copy), ("sync", "-f", copy)]

    def rollback(self, tree: Tree) -> list[Command]:
        etc = str(tree.root / "etc")
        copy = str(tree.keep / "etc") + "/"
        return [("rsync", "-a", "--delete", copy, etc), ("sync", "-f", etc)]


class Git(Tool):
    """A commit into an empty repository; to restore, reset and clean."""

    name = "git"
    own_tree = False
    metadata = False

    def _git(self, tree: Tree) -> Command:
        repository, work_tree = f"--git-dir={tree.keep}/git", f"--work-tree={tree.root}"
        durable = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=batch")
        quiet = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "user.name=bench")
        return ("git", repository, work_tree, *durable, *quiet, "-c", "user.email=bench")

    def prepare(self, tree: Tree) -> None:
        subprocess.run([*self._git(tree), "init", "--quiet"], check=True)

    def start(self, tree: Tree) -> list[Command]:
        git = self._git(tree)
        return [(*git, "add", "-A", "etc"), (*git, "commit", "-q", "--allow-empty", "-m", "start")]

    def rollback(self, tree: Tree) -> list[Command]:
        git = self._git(tree)
        return [
            (*git, "reset", "-q", "--hard"),
            (*git, "clean", "-qfd", "etc"),
            ("sync", "-f", str(tree.root)),
        ]


class KeptGit(Git):
    """A commit into a repository that has the tree already: what etckeeper does.

    Not a copy of the tree as all others make it: it saves what is new.
    """

    name = "git, kept"
    own_tree = True

    def prepare(self, tree: Tree) -> None:
        if not (tree.keep / "git").exists():
            super().prepare(tree)
            for command in self.start(tree):
                subprocess.run(command, check=True)

    def clear(self, tree: Tree) -> None:
        pass


def others() -> list[Tool]:
    """The tools other than ours that this machine has."""
    os.environ.update(LC_ALL="C", GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull)
    known: list[tuple[str, Tool]] = [
        ("cp", Cp()),
        ("tar", Tar()),
        ("rsync", Rsync()),
        ("git", Git()),
        ("git", KeptGit()),
    ]
    return [tool for program, tool in known if shutil.which(program)]
