"""What the built files are: their symbols, needs and sizes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import netcf_py
from lib.build import Products

from .tools import REPO, need, run


def declared() -> set[str]:
    """The functions that ncf.h declares."""
    header = (REPO / "csrc/ncf.h").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return set(re.findall(r"^[a-z].*?\b(ncf_\w+)\(", code, flags=re.MULTILINE))


def mapped() -> set[str]:
    """The names that the version script makes global."""
    script = (REPO / "csrc/ncf.map").read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(ncf_\w+);", script, flags=re.MULTILINE))


def exported(library: Path) -> set[str]:
    """What a shared object defines for others, without versions, and what musl's crti.o puts into each."""
    need("nm")
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if " A " not in line} - {"_init", "_fini"}


def test_the_version_script_is_the_header() -> None:
    """Every function of ncf.h is in ncf.map, and nothing else is."""
    assert len(declared()) > 10
    assert mapped() == declared()


def test_the_library_exports_the_header(products: Products) -> None:
    """libncf.so.0 defines what ncf.h declares, and nothing else."""
    assert exported(products.library) == declared()


def test_every_symbol_has_a_version(products: Products) -> None:
    """A later libncf can change a call and keep the old one for who links it."""
    need("nm")
    lines = run("nm", "-D", "--defined-only", products.library).splitlines()
    names = [line.split()[-1] for line in lines if " T " in line]
    assert [name for name in names if not name.endswith("@@NCF_0")] == []


def test_the_extension_exports_its_module_only() -> None:
    """A libnetcf in the same process never meets the core inside the extension."""
    [extension] = Path(netcf_py.__file__).parent.glob("_netcf*.so")
    assert exported(extension) == {"PyInit__netcf"}


def test_the_library_is_named_and_needs_libc_only(products: Products) -> None:
    """The soname is libncf.so.0; beside libc nothing is needed."""
    need("readelf")
    dynamic = run("readelf", "-d", products.library)
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libncf.so.0"]
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert len(needed) == 1
    assert re.fullmatch(r"libc\.so\.6|libc\.musl-.*\.so\.1", needed[0])


def test_the_library_is_hardened(products: Products) -> None:
    """Relocations are read-only at run time and the stack is never executable."""
    need("readelf")
    segments = run("readelf", "-lW", products.library)
    assert "GNU_RELRO" in segments
    assert "BIND_NOW" in run("readelf", "-d", products.library)
    [stack] = [line for line in segments.splitlines() if "GNU_STACK" in line]
    assert "RWE" not in stack


def test_the_helper_is_small_and_static_with_musl(products: Products) -> None:
    """With musl the helper needs no interpreter and has at most 200 KB."""
    need("readelf")
    if shutil.which("musl-gcc") is None and not Path("/etc/alpine-release").exists():
        pytest.skip("no musl here: musl-gcc is not installed")
    assert "INTERP" not in run("readelf", "-lW", products.helper)
    assert products.helper.stat().st_size <= 200_000


def test_the_helper_is_stripped(products: Products) -> None:
    """It carries no symbol table to early boot."""
    need("readelf")
    assert ".symtab" not in run("readelf", "-SW", products.helper)
