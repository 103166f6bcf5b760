"""Debian systems for the tests to run: built once by debootstrap, used through an overlay.

Where they are kept: $NCF_CACHE, else netcf-tests in the user's cache directory.
Nothing there is ever changed once it has its name; delete it to build anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.images import find, need

# Part of every key: raise it when what is built changes with the same packages.
EDITION = "1"


def cache() -> Path:
    """The directory of what takes long to build."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netcf-tests"
    directory = Path(os.environ.get("NCF_CACHE") or usual)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def mirror() -> str:
    """Where this machine itself gets Debian's packages from."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in lists:
        text = file.read_text() if file.is_file() else ""
        found = re.search(r"^(?:deb\s+(?:\[.*\]\s+)?|URIs:\s*)(\S+?/debian)/?(?:\s|$)", text, re.M)
        if found:
            return found[1]
    pytest.skip("apt knows no Debian mirror")


def system(*packages: str, suite: str = "bookworm") -> Path:
    """The root directory of a Debian with these packages; for reading only."""
    need("debootstrap", "chroot", "unshare")
    if not packages:
        return _once(f"{suite}-base", lambda tree: _debootstrap(suite, tree))
    base = system(suite=suite)
    wanted = sorted(packages)
    key = hashlib.sha256("\n".join([EDITION, suite, *wanted]).encode()).hexdigest()[:12]
    return _once(f"{suite}-{key}", lambda tree: _install(base, wanted, tree))


@contextmanager
def copy(tree: Path, where: Path) -> Iterator[Path]:
    """A throw-away copy of a system: an overlay, whose upper layer lies below `where`."""
    place = Path(tempfile.mkdtemp(prefix="debian-", dir=where))
    layers = {name: place / name for name in ("upper", "work", "root")}
    for layer in layers.values():
        layer.mkdir(mode=0o755)
    options = f"lowerdir={tree},upperdir={layers['upper']},workdir={layers['work']}"
    _run("mount", "-t", "overlay", "-o", options, "overlay", layers["root"])
    try:
        yield layers["root"]
    finally:
        _run("umount", "--recursive", layers["root"])
        shutil.rmtree(place)


def _once(name: str, build) -> Path:  # type: ignore[no-untyped-def]
    """Build a directory unless it is there; two who want it at once build it once."""
    done = cache() / name
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_dir():
            half = cache() / f"{name}.half"
            _remove(half)
            half.mkdir(mode=0o755)
            build(half)
            half.rename(done)
    return done


def _remove(tree: Path) -> None:
    if tree.is_dir():
        _run("rm", "-rf", "--one-file-system", tree)


def _debootstrap(suite: str, tree: Path) -> None:
    _run(find("debootstrap"), "--variant=minbase", suite, tree, mirror())
    # No service starts while packages are installed.
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def _install(base: Path, packages: Sequence[str], tree: Path) -> None:
    _run("cp", "-a", "--reflink=auto", f"{base}/.", tree)
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(file).exists():
            shutil.copyfile(file, f"{tree}{file}")
    # What this machine says about its way to the mirror holds inside, too.
    for file in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copyfile(file, f"{tree}{file}")
    apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    inside(tree, *apt, "update")
    inside(tree, *apt, "install", "-y", "--no-install-recommends", *packages)
    inside(tree, *apt, "clean")


def inside(tree: Path, *command: str) -> str:
    """Run a command in a system, in mount and process namespaces of its own."""
    return _run(
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        f"--mount-proc={tree}/proc",
        find("chroot"),
        tree,
        "/usr/bin/env",
        "-i",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND=noninteractive",
        "LC_ALL=C.UTF-8",
        *command,
    )


def _run(*command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-3000:])
    return done.stdout
