"""Run the real executable."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

DONE, FAILED, USAGE, NOT_OPEN, WRONG_STATE = 0, 1, 2, 3, 199

# No command here should take seconds; one that hangs must not hang the suite.
TIMEOUT = 120.0


class Helper:
    """networking-config, under its own name or another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(
        self,
        *arguments: str | bytes | Path,
        root: Path | None = None,
        name: str = "networking-config",
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run `name [--root root] arguments`; with `check`, expect exit status 0."""
        argv: list[str | bytes | Path] = [name]
        if root is not None:
            argv += ["--root", root]
        argv += arguments
        options.setdefault("timeout", TIMEOUT)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        done = subprocess.run(
            argv, executable=str(self.path), text=True, errors="surrogateescape", **options
        )
        if check:
            assert done.returncode == 0, (argv, done.returncode, done.stdout, done.stderr)
        return done

    def boot(self, root: Path) -> int:
        """`start`, as boot runs it: the exit status.  As cheap as a spawn can be."""
        silent = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ]
        child = os.posix_spawn(
            self.path,
            ["networking-config", "--root", str(root), "start"],
            {},
            file_actions=silent,
        )
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
