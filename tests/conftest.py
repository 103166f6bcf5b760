"""What every test has: built products, a root to play in, strict skips."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import build, ncf, tree
from lib.helper import Helper
from lib.ncf import Core

STRICT = os.environ.get("NCF_NO_SKIP") == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "root: needs root")
    config.addinivalue_line("markers", "system: needs root and real filesystems on loop devices")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() == 0:
        return
    for marker in ("root", "system"):
        if item.get_closest_marker(marker):
            pytest.skip("needs root")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """With NCF_NO_SKIP=1, as in CI, what could not be tested has failed."""
    outcome = yield
    report = outcome.get_result()
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"NCF_NO_SKIP=1 and a test was skipped: {reason}"


@pytest.fixture(scope="session")
def products() -> build.Products:
    """Everything make builds, up to date."""
    return build.products()


@pytest.fixture(scope="session")
def core(products: build.Products) -> Core:
    """The core with the seam in it."""
    ncf.check_header(build.REPO / "csrc/ncf.h")
    return Core(products.test_library)


@pytest.fixture(scope="session")
def helper(products: build.Products) -> Helper:
    """The real executable."""
    return Helper(products.helper)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty host: etc and var/lib."""
    host = tmp_path / "host"
    tree.empty(host)
    yield host
    if os.geteuid() == 0:
        tree.clear_flags(host)


@pytest.fixture
def fast_dir() -> Iterator[Path]:
    """A directory in memory where there is one: for loops of hundreds of runs."""
    shm = "/dev/shm"
    where = shm if os.path.isdir(shm) and os.access(shm, os.W_OK | os.X_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="ncf-test-", dir=where))
    try:
        yield directory
    finally:
        remove(directory)


def remove(directory: Path) -> None:
    """Delete a tree, also what a failed test left immutable or unreadable."""

    def retry(function, path, _):  # type: ignore[no-untyped-def]
        parent = os.path.dirname(path)
        for stuck in (parent, path):
            if not os.path.islink(stuck) and os.path.exists(stuck):
                if os.path.isdir(stuck) or os.path.isfile(stuck):
                    clear(stuck)
        function(path)

    def clear(path: str) -> None:
        if os.geteuid() == 0:
            tree.set_flags(path, 0)
        elif os.path.isdir(path):
            os.chmod(path, 0o700)

    shutil.rmtree(directory, onerror=retry)
