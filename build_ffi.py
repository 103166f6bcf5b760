# SPDX-License-Identifier: LGPL-2.1-or-later
"""Describe netcf_py._netcf for cffi.

The declarations are those of csrc/ncf.h and the sources those of
csrc/sources.mk: nothing is said twice.
"""

import re
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

# A free-threaded Python has none.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")


def declarations() -> str:
    """Return what stands between the two markers of ncf.h."""
    header = (HERE / "csrc/ncf.h").read_text(encoding="utf-8")
    return header.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


def sources() -> list:
    """Return the core's sources, relative to the project, as setuptools wants them."""
    text = (HERE / "csrc/sources.mk").read_text(encoding="utf-8").replace("\\\n", " ")
    core = re.search(r"^CORE *= *(.*)$", text, re.MULTILINE)
    if core is None:
        raise ValueError("csrc/sources.mk: no list CORE")
    return [f"csrc/{name}" for name in core[1].split()]


ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "netcf_py._netcf",
    '#include "ncf.h"',
    sources=sources(),
    include_dirs=["csrc"],
    define_macros=[
        ("_GNU_SOURCE", "1"),
        ("NCF_VERSION", f'"{(HERE / "VERSION").read_text(encoding="utf-8").strip()}"'),
        *([("Py_LIMITED_API", "0x03090000")] if STABLE_ABI else []),
    ],
    # Hidden, because a process may hold libnetcf too, which defines some of
    # the same names.
    extra_compile_args=["-std=c11", "-fvisibility=hidden"],
    py_limited_api=STABLE_ABI,
)
