"""A real terminal: a tmux of its own, 80 columns by 24 lines, that can be looked at and typed into."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lib.images import need

PATIENCE = 60.0


class Terminal:
    """One command on its own terminal."""

    def __init__(self, place: Path, command: Sequence[str], columns: int = 80, lines: int = 24) -> None:
        need("tmux")
        self._socket = place / "tmux"
        # What is on the screen when the command has ended stays there to be read.
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines),
                   "cat", ";", "set", "-g", "remain-on-exit", "on", ";", "set", "-g", "remain-on-exit-format", "", ";", "set", "-g", "status", "off", ";",
                   "resize-window", "-x", str(columns), "-y", str(lines), ";",
                   "respawn-pane", "-k", shlex.join(command))  # fmt: skip

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=PATIENCE,
        ).stdout  # fmt: skip

    def lines(self) -> list[str]:
        """What a person sees, and what has scrolled away, without the empty lines at the end."""
        return self._tmux("capture-pane", "-p", "-S", "-").rstrip("\n").split("\n")

    def screen(self) -> str:
        return "\n".join(self.lines())

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until `text` is on the screen."""
        end = time.monotonic() + seconds
        while text not in self.screen():
            assert time.monotonic() < end, f"waited in vain for {text!r}:\n{self.screen()}"
            time.sleep(0.05)

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._tmux("send-keys", *keys)

    def pid(self) -> int:
        """The process of the command."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def status(self) -> int:
        """Wait for the command's end; its exit status."""
        end = time.monotonic() + PATIENCE
        # The terminal may be closed a moment before tmux knows how its command ended.
        while not (ended := self._tmux("display-message", "-p", "#{pane_dead_status}").strip()):
            assert time.monotonic() < end, self.screen()
            time.sleep(0.05)
        return int(ended)

    def close(self) -> None:
        self._tmux("kill-server")
