"""The corpus of the fuzz targets, without a fuzzer: replayed under ASan and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import build

CORPUS = build.REPO / "tests/fuzz/corpus"


def made(target: str, directory: Path, host: str = "files") -> Path:
    """Build one program of tests/fuzz/Makefile, its host to play in made of that."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler is installed")
    if target.endswith("-standalone"):
        build.need_sanitizers()
    product = directory / f"fuzz-{host}" / target
    subprocess.run(
        ["make", "-s", "-f", "tests/fuzz/Makefile", f"BUILD={directory}", f"HOST={host}", str(product)],
        cwd=build.REPO,
        check=True,
    )
    return product


def replay(program: Path, corpora: list[Path], scratch: Path) -> None:
    """Run it on all that is in the corpora."""
    done = subprocess.run(
        [program, *corpora],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + [done.stderr]
    inputs = [len(list(corpus.iterdir())) for corpus in corpora]
    assert all(inputs) and len(done.stdout.splitlines()) == sum(inputs)


@pytest.mark.parametrize("target", ["manifest", "scope", "rollback", "interfaces"])
def test_the_corpus_is_replayed(target: str, tmp_path: Path, fast_dir: Path) -> None:
    """No input of the corpus breaks a claim of its target, nor a rule of memory or of C."""
    corpora = [CORPUS / target] + [CORPUS / "netplan"] * (target == "interfaces")
    replay(made(f"{target}-standalone", tmp_path), corpora, fast_dir)


def test_rollbacks_are_replayed_on_the_disk_in_memory(tmp_path: Path, fast_dir: Path) -> None:
    """Where the fuzzer runs them the same claims hold."""
    replay(made("rollback-standalone", tmp_path, "memory"), [CORPUS / "rollback"], fast_dir)


def test_every_edit_of_a_manifest_of_every_line(tmp_path: Path) -> None:
    """A manifest with each line there is, edited at each place with sums made right again: refused, or it
    means exactly what it says."""
    seed = CORPUS / "manifest/every-line"
    done = subprocess.run(
        [made("manifest-standalone", tmp_path), "--edits", seed], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(seed)]


def test_every_flipped_bit_and_every_cut_is_refused(tmp_path: Path, fast_dir: Path) -> None:
    """Of 20 snapshots, every single-bit flip and every truncation is refused as damage."""
    snapshots = sorted((CORPUS / "rollback").iterdir())[:20]
    done = subprocess.run(
        [made("flips", tmp_path), fast_dir, *snapshots], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    size = sum(path.stat().st_size for path in snapshots)
    assert done.stdout.split() == ["20", str(8 * size), str(size)]
