"""The corpus of the fuzz targets, without a fuzzer: replayed under ASan and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import build

CORPUS = build.REPO / "tests/fuzz/corpus"


def made(target: str, directory: Path) -> Path:
    """Build one program of tests/fuzz/Makefile."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler is installed")
    product = directory / "fuzz" / target
    subprocess.run(
        ["make", "-s", "-f", "tests/fuzz/Makefile", f"BUILD={directory}", str(product)],
        cwd=build.REPO,
        check=True,
    )
    return product


@pytest.mark.parametrize("target", ["manifest", "scope", "rollback", "interfaces", "netplan"])
def test_the_corpus_is_replayed(target: str, tmp_path: Path, fast_dir: Path) -> None:
    """No input of the corpus breaks a claim of its target, nor a rule of memory or of C."""
    program = made(f"{target}-standalone", tmp_path)
    done = subprocess.run(
        [program, CORPUS / target],
        env={**os.environ, "TMPDIR": str(fast_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + [done.stderr]
    assert len(done.stdout.splitlines()) == len(list((CORPUS / target).iterdir())) > 0


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
