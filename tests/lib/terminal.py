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
        self._socket, self._pid, self._status = (place / name for name in ("tmux", "pid", "status"))
        # Not asked of tmux, which now and then never learns how its command ended.
        run = f"""sh -c 'echo $$ >"$0"; exec "$@"' {self._pid} {shlex.join(command)}; echo $? >{self._status}"""
        # What is on the screen when the command has ended stays there to be read.
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines),
                   "cat", ";", "set", "-g", "remain-on-exit", "on", ";", "set", "-g", "remain-on-exit-format", "", ";", "set", "-g", "status", "off", ";",
                   "resize-window", "-x", str(columns), "-y", str(lines), ";",
                   "respawn-pane", "-k", shlex.join(["sh", "-c", run]))  # fmt: skip

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
        return int(self._when_written(self._pid))

    def status(self) -> int:
        """Wait for the command's end; its exit status as a shell has it."""
        return int(self._when_written(self._status))

    def _when_written(self, file: Path) -> str:
        end = time.monotonic() + PATIENCE
        while not (file.exists() and file.read_text().endswith("\n")):
            assert time.monotonic() < end, self.screen()
            time.sleep(0.05)
        return file.read_text()

    def close(self) -> None:
        self._tmux("kill-server")
