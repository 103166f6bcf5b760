"""The two programs that the scenarios run, as they are or with a mutant in them."""

from __future__ import annotations

from pathlib import Path

from lib.helper import Helper
from proof import mutants
from proof.blocks.scenarios import Programs
from proof.mutants import Mutant

__all__ = ["build"]


def build(directory: Path, mutant: Mutant | None = None) -> Programs:
    """The helper, and the core with the seam on a kernel that writes nothing early."""
    place = directory / (mutant.name if mutant else "shipped")
    helper = mutants.build_helper(mutant, place)
    flags = ("-fPIC", "-DNCF_SEAM")
    sources = [mutants.CSRC / name for name in mutants.core_sources()]
    sources.append(Path(__file__).with_name("lazy.c"))
    objects = mutants.compile_objects(sources, directory / "seam-objects", *flags)
    if mutant:
        changed = mutants.mutate(mutant, place / "seam")
        objects |= mutants.compile_objects(changed, place / "seam", *flags)
    library = mutants.link(list(objects.values()), place / "libncf-test.so", "-shared")
    return Programs(Helper(helper), library)
