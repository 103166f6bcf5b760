"""Every allocation of every operation fails once: NCF_ENOMEM, no crash, nothing lost."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import build, ncf, operations, tree
from lib.ncf import Core
from lib.operations import Operation, World, is_open, leftovers

Driver = Callable[[Path, str, int], "tuple[int, int, int]"]


@pytest.fixture(scope="module")
def driver(products: build.Products, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """short_memory.c, compiled against the static library."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler is installed")
    program = tmp_path_factory.mktemp("short-memory") / "short_memory"
    source = Path(__file__).resolve().parents[1] / "lib/short_memory.c"
    subprocess.run(
        [compiler, "-I", build.REPO / "csrc", source, products.archive, "-o", program,
         "-Wl,--wrap=malloc", "-Wl,--wrap=calloc", "-Wl,--wrap=realloc"],
        check=True,
    )  # fmt: skip

    def run(root: Path, operation: str, k: int) -> tuple[int, int, int]:
        done = subprocess.run(
            [program, root, operation, str(k)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{operation}, allocation {k}: exit {done.returncode}"
        result, code, allocations = map(int, done.stdout.split())
        return result, code, allocations

    return run


def sound(core: Core, operation: Operation, world: World, succeeded: bool) -> None:
    """What the host must be like after the operation, and after it was finished."""
    assert operation is operations.RESTORE or operations.torn_files(world) == []
    assert tree.temporary_files(world.root) == []
    if operation in (operations.START, operations.START_ON_WRITE):
        assert is_open(world.root) == succeeded
        assert succeeded or leftovers(world.root) == []
        assert tree.differences(world.old, tree.capture(world.root)) == []
        return
    if operation is operations.COMMIT:
        assert is_open(world.root) != succeeded
        assert tree.differences(world.new, tree.capture(world.root)) == []
        return
    if is_open(world.root):
        core.rollback(world.root)
    left = operations.differences(operation, world.old, tree.capture(world.root))
    assert left == []
    assert operation is not operations.ROLLBACK or operations.lost_contents(world) == []


@pytest.mark.parametrize("operation", operations.ALL, ids=str)
def test_every_allocation_fails_once(
    core: Core, driver: Driver, fast_dir: Path, operation: Operation
) -> None:
    """Out of memory is told as such, and the host is whole: old, new, or still open."""
    for k in itertools.count(1):
        world = operation.prepare(core, fast_dir / f"host-{k}")
        result, code, allocations = driver(world.root, operation.name, k)
        short = k <= allocations
        if short:
            assert code == ncf.ENOMEM or result == 0, f"allocation {k}"
        else:
            assert (result, code) == (0, ncf.NOERROR)
        sound(core, operation, world, result == 0)
        shutil.rmtree(world.root)
        if not short:
            break
    assert k > 2


@pytest.mark.parametrize("reader", ["status", "diff", "scope", "list"])
def test_readers_with_short_memory(core: Core, driver: Driver, fast_dir: Path, reader: str) -> None:
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
        result, code, allocations = driver(root, reader, k)
        if k > allocations:
            break
        assert (result, code) == (-1, ncf.ENOMEM), f"allocation {k}"
    assert (result, code) == (0, ncf.NOERROR)
    assert k > 2
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []
