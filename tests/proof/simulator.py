"""Build and run the simulated disk (tests/proof/disk/) with the core as it is or with a mutant."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lib.build import REPO
from proof import mutants

DISK = REPO / "tests/proof/disk"
SCENARIOS = [
    "one", "nothing", "truncated", "in-place", "coarse-clock", "bare", "content", "large",
    "metadata", "names", "types", "symlinks", "links", "empty", "flags", "announced",
]  # fmt: skip


def build(mutant: mutants.Mutant | None, directory: Path) -> Path:
    """The simulator in `directory`; objects are shared below the same parent."""
    core = [mutants.CSRC / name for name in mutants.core_sources() if name != "sys.c"]
    objects = mutants.compile_objects([*core, *DISK.glob("*.c")], directory.parent / "objects")
    directory.mkdir(parents=True, exist_ok=True)
    if mutant:
        objects |= mutants.compile_objects(mutants.mutate(mutant, directory), directory)
    return mutants.link(list(objects.values()), directory / "disk")


def run(program: Path, *options: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
    """Explore; 0: no violation, 1: one was found and printed."""
    return subprocess.run(
        [str(program), *options], capture_output=True, text=True, errors="replace", timeout=timeout
    )
