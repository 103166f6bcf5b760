"""Where the build products are, and how they are made: once per session, by make."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Products:
    """The files that `make all test-lib` builds."""

    directory: Path

    @property
    def helper(self) -> Path:
        return self.directory / "networking-config"

    @property
    def library(self) -> Path:
        return self.directory / "libncf.so.0"

    @property
    def archive(self) -> Path:
        return self.directory / "libncf.a"

    @property
    def test_library(self) -> Path:
        return self.directory / "test" / "libncf-test.so"


def directory() -> Path:
    """The build directory: $NCF_BUILD_DIR, else build/ in the tree."""
    return Path(os.environ.get("NCF_BUILD_DIR", REPO / "build")).resolve()


def products() -> Products:
    """Bring every product up to date and say where they are."""
    made = Products(directory())
    subprocess.run(
        ["make", "-s", f"BUILD={made.directory}", "all", "test-lib"],
        cwd=REPO,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return made


def make_install(destination: Path, **variables: str) -> None:
    """What `make install` does, below `destination`."""
    made = products()
    subprocess.run(
        [
            "make", "-s", f"BUILD={made.directory}", f"DESTDIR={destination}",
            *(f"{name}={value}" for name, value in variables.items()), "install",
        ],
        cwd=REPO,
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
