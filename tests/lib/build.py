"""Where the build products are, and how they are made: once per session, by make."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    def adapter(self) -> Path:
        return self.directory / "libnetcf-change.so"

    @property
    def test_library(self) -> Path:
        return self.directory / "test" / "libncf-test.so"

    @property
    def driver(self) -> Path:
        return self.directory / "test" / "driver"


def directory() -> Path:
    """The build directory: $NCF_BUILD_DIR, else build/ in the tree."""
    return Path(os.environ.get("NCF_BUILD_DIR", REPO / "build")).resolve()


def products() -> Products:
    """Bring every product up to date and say where they are."""
    return make(directory(), "all", "test-lib")


def make(into: Path, *arguments: str) -> Products:
    """Run make with another build directory; two at once would write each other's objects."""
    into.mkdir(parents=True, exist_ok=True)
    with open(into / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["make", "-s", f"BUILD={into}", *arguments],
            cwd=REPO,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return Products(into)


def need_sanitizers(flags: str = "-fsanitize=address,undefined") -> str:
    """The compiler, or a skip where it has none: Alpine's gcc comes without."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    probe = [compiler, *flags.split(), "-x", "c", "-", "-o", os.devnull]
    if compiler is None or subprocess.run(probe, input=b"int main(void){}", capture_output=True).returncode:
        pytest.skip("no C compiler with AddressSanitizer is installed")
    return compiler


def sanitized(shipped: Products) -> Products:
    """All of it again, with ASan and UBSan; what they find ends the program with an error."""
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all"
    compiler = need_sanitizers(flags)
    build = f"-O1 -g {flags}"
    return make(
        shipped.directory / "sanitized", "CPPFLAGS=-U_FORTIFY_SOURCE", f"CFLAGS={build}", f"TEST_CFLAGS={build}",
        f"HELPER_CFLAGS={build}", f"LDFLAGS={flags}", f"CC={compiler}", f"HELPER_CC={compiler}",
        "HELPER_STATIC=", "all", "test-lib",
    )  # fmt: skip


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
