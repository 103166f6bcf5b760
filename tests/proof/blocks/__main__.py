"""Cut the power on every configuration and say what came of it: see docs/testing.md."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from proof import mutants
from proof.blocks import campaign
from proof.blocks.builds import build
from proof.blocks.campaign import Plan
from proof.blocks.images import CONFIGURATIONS


def main() -> int:
    """Exit status 0: no violation, or with --mutant: all of them found."""
    names = [configuration.name for configuration in CONFIGURATIONS]
    parser = argparse.ArgumentParser(prog="python -m proof.blocks", description=__doc__)
    parser.add_argument("--states", type=int, default=10_000, help="for each configuration")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--configuration", nargs="+", choices=names, default=names)
    parser.add_argument("--mutant", nargs="+", default=[], help="break the protocol; or: all")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    chosen = [each for each in CONFIGURATIONS if each.name in wanted.configuration]
    broken = [each for each in mutants.MUTANTS if {each.name, "all"} & {*wanted.mutant}]
    failed = False
    with tempfile.TemporaryDirectory(prefix="ncf-cuts-") as directory:
        for mutant in broken or [None]:
            programs = build(Path(directory), mutant)
            plans = [
                Plan(each, programs, wanted.seed, 0 if mutant else wanted.states, bool(mutant))
                for each in chosen
            ]
            found = False
            started = time.monotonic()
            for report in campaign.run(plans, wanted.jobs):
                passed = time.monotonic() - started
                print(f"{mutant or 'as shipped'}: {report}, {passed:.0f} s", flush=True)
                found = found or bool(report.violations)
            failed = failed or found == (mutant is None)
    return 1 if failed else 0


sys.exit(main())
