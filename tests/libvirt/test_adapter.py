"""libnetcf-change.so as it is built: loads everywhere, defines five names, needs no more than libc."""

from __future__ import annotations

import re
import subprocess

import pytest

from lib.build import REPO, Products
from lib.images import need

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
