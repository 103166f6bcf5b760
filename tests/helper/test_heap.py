"""csrc/heap.c, the helper's malloc() where libc is a small one, under other names in a library."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lib import forks
from lib.build import REPO

NAMES = ("malloc", "free", "calloc", "realloc")
SIZES = (0, 1, 15, 16, 17, 100, 5_000, 70_000, 131_072, 131_073, 300_000, 1_000_000)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heap") / "heap.so"
    renamed = [f"-D{name}=heap_{name}" for name in NAMES]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-fno-builtin", *renamed]
    flags += os.environ.get("HEAP_CFLAGS", "").split()  # of proof/coverage.py
    subprocess.run(["cc", *flags, "-o", path, REPO / "csrc/heap.c"], check=True)
    return path


def load(library: Path) -> ctypes.CDLL:
    heap = ctypes.CDLL(str(library), use_errno=True)
    for name, arguments in (("malloc", 1), ("calloc", 2), ("realloc", 2), ("free", 1)):
        function = getattr(heap, f"heap_{name}")
        function.argtypes = [ctypes.c_size_t] * arguments
        function.restype = None if name == "free" else ctypes.c_void_p
    return heap


def test_blocks_keep_what_is_in_them(library: Path) -> None:
    """Of many blocks of all sizes that come, grow and go, each is aligned and holds its own bytes."""
    heap, dice = load(library), random.Random(2)
    blocks: dict[int, bytes] = {}
    for _ in range(4_000):
        size = dice.choice(SIZES)
        content = dice.randbytes(1) * size
        grown = dice.choice(list(blocks)) if blocks and dice.random() < 0.5 else None
        if grown is not None:
            before = blocks.pop(grown)
            assert ctypes.string_at(grown, len(before)) == before
            if dice.random() < 0.6:
                heap.heap_free(grown)
                continue
            block = heap.heap_realloc(grown, size)
            kept = min(size, len(before))
            assert ctypes.string_at(block, kept) == before[:kept]
        elif dice.random() < 0.5:
            block = heap.heap_malloc(size)
        else:
            block = heap.heap_calloc(size, 1)
            assert ctypes.string_at(block, size) == bytes(size)
        assert block % 16 == 0 and block not in blocks
        ctypes.memmove(block, content, size)
        blocks[block] = content
    for block, content in blocks.items():
        assert ctypes.string_at(block, len(content)) == content
        heap.heap_free(block)
    heap.heap_free(0)


def test_what_is_freed_is_used_again(library: Path) -> None:
    """A guard that reads the snapshot again for days does not grow."""
    heap = load(library)
    seen = set()
    for _ in range(1_000):
        blocks = [heap.heap_malloc(size) for size in SIZES if size <= 131_072]
        seen.update(blocks)
        for block in blocks:
            heap.heap_free(block)
    assert len(seen) <= 2 * len(SIZES)


def test_too_much_is_refused(library: Path) -> None:
    """What no address space holds, or overflows, is ENOMEM; the block that should grow stays."""
    heap, most = load(library), 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
    for size in (10, 1_000_000):
        block = heap.heap_malloc(size)
        ctypes.memset(block, 7, size)
        for call, *arguments in (
            (heap.heap_malloc, most),
            (heap.heap_malloc, most // 2 - 20),
            (heap.heap_calloc, most, 2),
            (heap.heap_calloc, 2, most // 2 + 1),
            (heap.heap_realloc, block, most),
            (heap.heap_realloc, block, most // 2 - 20),
        ):
            ctypes.set_errno(0)
            assert (call(*arguments), ctypes.get_errno()) == (None, errno.ENOMEM)
            assert ctypes.string_at(block, size) == b"\7" * size
        heap.heap_free(block)


def test_nothing_can_grow(library: Path) -> None:
    """realloc() of no block is malloc()."""
    heap = load(library)
    block = heap.heap_realloc(0, 100)
    ctypes.memset(block, 7, 100)
    grown = heap.heap_realloc(block, 1_000)
    assert ctypes.string_at(grown, 100) == b"\7" * 100
    heap.heap_free(grown)


def test_a_pool_that_the_kernel_does_not_give(library: Path) -> None:
    """ENOMEM, and what was handed out before is whole."""

    def child() -> tuple[int, bool]:
        heap = load(library)
        resource.setrlimit(resource.RLIMIT_AS, (0, 0))
        blocks = []
        while block := heap.heap_malloc(131_072):
            ctypes.memset(block, len(blocks), 131_072)
            blocks.append(block)
        error = ctypes.get_errno()
        return error, all(ctypes.string_at(b, 9) == bytes([i]) * 9 for i, b in enumerate(blocks)) and len(blocks) > 0

    assert forks.run(child).value == (errno.ENOMEM, True)


@pytest.mark.parametrize(
    "misuse", ["heap_free(p)", "heap_realloc(p, 9)", "heap_free(q)"], ids=["twice", "grown", "overrun"]
)
def test_a_damaged_heap_ends_the_process(library: Path, misuse: str) -> None:
    """A block that was freed before, or whose header was overwritten from the one before it."""
    program = f"""
import ctypes
heap = ctypes.CDLL({str(library)!r})
heap.heap_malloc.restype = ctypes.c_void_p
p, q = (ctypes.c_void_p(heap.heap_malloc(16)) for _ in range(2))
if {misuse == "heap_free(q)"}:
    ctypes.memset(p, 1, 48)
else:
    heap.heap_free(p)
print("before", flush=True)
heap.{misuse}
print("after", flush=True)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stdout, ran.returncode < 0) == ("before\n", True)
