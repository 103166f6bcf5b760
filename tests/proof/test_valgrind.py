"""A whole change under valgrind: no error, nothing lost, no descriptor left open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lib import build, driver, ncf, operations, tree
from lib.driver import Driver
from lib.helper import Helper
from lib.ncf import Core
from lib.operations import Operation

OPTIONS = ("--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=all", "--show-leak-kinds=all")


@pytest.fixture(scope="module")
def valgrind() -> str:
    found = shutil.which("valgrind")
    if found is None:
        pytest.skip("valgrind is not installed")
    return found


@pytest.mark.parametrize("operation", [*operations.ALL, operations.METADATA], ids=str)
def test_every_operation_of_the_library(
    core: Core, products: build.Products, valgrind: str, fast_dir: Path, operation: Operation
) -> None:
    """The library as it is shipped does each operation without an error of memory."""
    world = operation.prepare(core, fast_dir / "host")
    ran = Driver(products.driver, (valgrind, *OPTIONS)).run(world.root, operation.name)
    assert ran[:2] == (0, ncf.NOERROR)
    driver.check(core, operation, world, succeeded=True)


def test_a_whole_change_with_the_helper(
    helper: Helper, products: build.Products, valgrind: str, fast_dir: Path, tmp_path: Path
) -> None:
    """The helper's own main, too; linked so that valgrind sees its allocations."""
    dynamic = build.make(
        tmp_path / "dynamic", "HELPER_CC=cc", "HELPER_STATIC=", "HELPER_CFLAGS=-O1 -g", "helper"
    ).helper
    root = fast_dir / "host"
    before = tree.compact(root)
    run = Helper(Path(valgrind)).run

    def under_valgrind(*arguments: str) -> None:
        done = run(*OPTIONS, str(dynamic), "--root", str(root), *arguments, name="valgrind")
        # On standard error valgrind also names calls that it does not know (openat2).
        assert done.returncode == 0, done.stderr

    under_valgrind("snapshot_config", "--note", "a note")
    tree.lock_out(root)
    under_valgrind("status")
    under_valgrind("diff")
    under_valgrind("start")
    assert tree.differences(before, tree.capture(root)) == []
    under_valgrind("snapshot_config")
    under_valgrind("put-back", "1")
    under_valgrind("discarded")
    under_valgrind("commit_config")
    under_valgrind("start")
