"""libnetcf-change.so as it is built: loads everywhere, defines five names, needs no more than libc."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib import forks, ncf
from lib.build import REPO, Products
from lib.images import need
from lib.ncf import Core

# Debian 11's, the oldest system that it is tested on.
OLDEST_GLIBC = (2, 31)
SERVED = {"aug_load", "ncf_change_begin", "ncf_change_commit", "ncf_change_rollback", "ncf_error"}


def read(*command: object) -> str:
    need(str(command[0]))
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=True
    ).stdout


def test_it_loads_with_an_old_glibc(products: Products) -> None:
    """No symbol of libc is needed in a version that came after Debian 11's."""
    symbols = read("objdump", "-T", products.adapter)
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", symbols)}
    if not versions:
        pytest.skip("this libc has no versions")
    assert max(versions) <= OLDEST_GLIBC


def test_it_defines_what_it_serves(products: Products) -> None:
    """Nothing else is exported, and no name has a version: only so does libvirtd bind to it."""
    lines = read("nm", "-D", "--defined-only", products.adapter).splitlines()
    assert {line.split()[-1] for line in lines} == SERVED


def test_it_needs_libc_alone(products: Products) -> None:
    """Neither libnetcf nor augeas is loaded for it: they come with libvirt, or not at all."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", read("readelf", "-d", products.adapter))
    assert [name for name in needed if not name.startswith(("libc.", "ld-", "libdl."))] == []


def test_it_stands_above_the_core() -> None:
    """It includes the public interface and the lowest layers; it never prints, exits or forks."""
    text = (REPO / "csrc/libvirt/adapter.c").read_text()
    assert set(re.findall(r'#include "\.\./(\w+\.h)"', text)) == {"ncf.h", "path.h", "sys.h"}
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    assert re.findall(r"\b(printf|fprintf|puts|exit|abort|fork|exec\w*|system|setenv)\s*\(", code) == []


def loaded(products: Products, act: Callable[[ctypes.CDLL], Any], root: Path | None = None) -> Any:
    """What it answers in a process that has neither libnetcf nor augeas, on the host below `root`."""

    def child() -> Any:
        library = ctypes.CDLL(str(products.adapter))
        if root:
            os.chroot(root)
        return act(library)

    return forks.run(child).value


def test_it_is_alone(products: Products) -> None:
    """Where there is no libnetcf there is no error of its, and without augeas nothing can be loaded."""
    assert loaded(products, lambda lib: (lib.ncf_error(None, None, None), lib.aug_load(None))) == (ncf.NOERROR, -1)


@pytest.mark.root
def test_a_failure_is_told_once_in_whatever_form(products: Products, root: Path) -> None:
    """With its words or without; the next question is about the next failure."""

    def act(lib: ctypes.CDLL) -> list[object]:
        message, details = ctypes.c_char_p(), ctypes.c_char_p()
        told: list[object] = [lib.ncf_change_commit(None, 0), lib.ncf_error(None, None, None), lib.ncf_error(None, None, None)]
        told += [lib.ncf_change_rollback(None, 0)]
        told += [lib.ncf_error(None, ctypes.byref(message), ctypes.byref(details)), message.value, details.value]
        return told

    words = b"no transaction running, nothing to rollback."
    assert loaded(products, act, root) == [
        -1, ncf.EINVALIDOP, ncf.NOERROR,
        -1, ncf.EINVALIDOP, b"operation is not valid in the present state", words,
    ]  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("deadline", [None, ""])
def test_no_deadline_is_set(products: Products, core: Core, root: Path, deadline: str | None) -> None:
    """Neither by none nor by an empty one."""

    def act(lib: ctypes.CDLL) -> int:
        if deadline is not None:
            os.environ["NETCF_CHANGE_DEADLINE"] = deadline
        return int(lib.ncf_change_begin(None, 0))

    assert loaded(products, act, root) == 0
    status = core.status(root)
    assert (status.open, status.deadline) == (1, 0)


def test_no_descriptor_is_left(products: Products) -> None:
    """Where the root can't be opened, that is the failure that libvirt is told."""

    def act(lib: ctypes.CDLL) -> tuple[int, int, int]:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        told = lib.ncf_change_begin(None, 0), lib.ncf_error(None, None, None), lib.ncf_error(None, None, None)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        return told

    assert loaded(products, act) == (-1, ncf.EFILE, ncf.NOERROR)


@pytest.mark.parametrize("name, stays", [("virtinterfaced", False), ("libvirtd", False), ("start-stop-daemon", True)])
def test_what_a_daemon_hides(products: Products, name: str, stays: bool) -> None:
    """Itself, and not what else is preloaded, and only in the daemon: what is on the way to that passes it on."""
    preloaded = f"libm.so.6:{products.adapter}"
    # Not env: that may be busybox, which does what its name says.
    done = subprocess.run(
        [name, "-Sc", "import os; print('LD_PRELOAD=' + os.environ['LD_PRELOAD'])"],
        executable=sys.executable,
        env={"LD_PRELOAD": preloaded, "PYTHONHOME": sys.base_prefix},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"LD_PRELOAD={preloaded if stays else 'libm.so.6:'}\n"
