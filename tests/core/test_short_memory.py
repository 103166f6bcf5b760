"""Every allocation of every operation fails: NCF_ENOMEM, no crash, nothing lost."""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path

import pytest

from conftest import remove
from lib import build, driver, ncf, operations, tree
from lib.driver import Driver
from lib.ncf import Core
from lib.operations import Operation

FAULTS = pytest.mark.parametrize("fault", ["memory", "hungry"], ids=["once", "lasting"])


@pytest.fixture(scope="module", params=["shipped", "sanitized"])
def program(request: pytest.FixtureRequest, products: build.Products) -> Driver:
    """Against the library as it is shipped, and with ASan, LeakSanitizer and UBSan in it."""
    if request.param == "shipped":
        return Driver(products.driver)
    return Driver(build.sanitized(products).driver)


@FAULTS
@pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)
def test_every_allocation_fails(
    core: Core, program: Driver, fast_dir: Path, operation: Operation, fault: str
) -> None:
    """Out of memory is told as such, and the host is whole: old, new, or still open."""
    for k in itertools.count(1):
        world = operation.prepare(core, fast_dir / "host")
        ran = program.run(world.root, operation.name, fault, k)
        short = k <= ran.count
        if short:
            assert ran.code == ncf.ENOMEM or ran.result == 0, f"allocation {k}"
        else:
            assert ran[:2] == (0, ncf.NOERROR)
        driver.check(core, operation, world, ran.result == 0)
        remove(world.root)
        if not short:
            break
    assert k > 2


@FAULTS
@pytest.mark.parametrize("reader", ["status", "diff", "scope", "files", "list"])
def test_readers_with_short_memory(
    core: Core, program: Driver, fast_dir: Path, reader: str, fault: str
) -> None:
    """A reader that runs out of memory says so and changes nothing."""
    root = fast_dir / "host"
    tree.compact(root)
    for edit in range(2):
        core.start(root)
        tree.write(root, "etc/netplan/01-base.yaml", b"edit %d" % edit)
        if edit == 0:
            core.rollback(root)
    before = tree.capture(root, state=True, identity=True)
    for k in itertools.count(1):
        ran = program.run(root, reader, fault, k)
        if k > ran.count:
            break
        assert ran.result < 0 and ran.code == ncf.ENOMEM, f"allocation {k}"
    assert ran[:2] == (0, ncf.NOERROR)
    assert k > 2
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


MOST = 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1


def test_what_no_memory_holds(core: Core) -> None:
    """A size that overflows is short memory, and what was there stays as it was."""
    lib = core.lib
    arena_alloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(("arena_alloc", lib))
    arena = ctypes.c_void_p()
    assert arena_alloc(ctypes.byref(arena), 8)
    used = arena.value
    for n in (MOST, MOST // 2 + 1):
        assert arena_alloc(ctypes.byref(arena), n) is None and arena.value == used
    lib.arena_free(ctypes.byref(arena))

    buffer_room = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_size_t)(("buffer_room", lib))
    for n in (MOST, MOST // 2):
        buffer = Buffer()
        lib.buffer_text(ctypes.byref(buffer), b"kept")
        assert not buffer_room(ctypes.byref(buffer), n)
        assert buffer.failed and ctypes.string_at(buffer.data, buffer.len) == b"kept"
        assert not buffer_room(ctypes.byref(buffer), 1), "a failure is remembered"
        lib.buffer_free(ctypes.byref(buffer))

    array_grow = ctypes.CFUNCTYPE(
        ctypes.c_bool, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
    )(("array_grow", lib))  # fmt: skip
    array, room = ctypes.c_void_p(), ctypes.c_size_t()
    for count, size in ((MOST, 1), (MOST // 3, 1), (MOST // 16, 100)):
        assert not array_grow(ctypes.byref(array), count, ctypes.byref(room), size)
        assert (array.value, room.value) == (None, 0)
    assert array_grow(ctypes.byref(array), 100, ctypes.byref(room), 8) and room.value > 100
    lib.ncf_free(array)


class Buffer(ctypes.Structure):
    """csrc/memory.h: struct buffer."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("len", ctypes.c_size_t), ("size", ctypes.c_size_t),
        ("failed", ctypes.c_bool), ("fixed", ctypes.c_bool),
    ]  # fmt: skip
