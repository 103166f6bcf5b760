"""Branch coverage of csrc/ as it is shipped: `make coverage`.

Builds with gcov, runs the tests of core, helper, guard, interfaces, binding, command and
real file systems and those of the adapter in a real libvirtd, and adds up what the library,
the helper and the test library did, those included that were killed at a call or ran in a
root of their own.
Which branches there are is what the shipped library and helper have: what only the
seam adds does not count.
Fails below 95 %, and where uncovered.txt lists a line that is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
LEAST = 95.0
REASONS = Path(__file__).with_name("uncovered.txt")
# Long loops over what shorter tests do, too; where faults hit the files that gcov writes; and
# guests, whose disks keep them.
LEFT_OUT = [
    "core/test_random_edits.py", "core/test_file_size_limit.py", "core/test_killed_anywhere.py",
    "helper/test_injected_faults.py", "interface/test_guest.py",
]  # fmt: skip
LOOPS = "not sanitized and not 200_pairs and not small_and_apart"
RUN = ["core", "helper", "guard", "interface", "python", "command", "system", "proof/test_hostile_host.py"]
# The adapter, by itself and in a real libvirtd.
RUN += ["libvirt/test_adapter.py", "libvirt/test_oracle.py", "libvirt/test_daemon.py", "libvirt/test_stale_cache.py"]
WORKERS = 6  # they mostly wait
FLAGS = "-O0 -g --coverage -fprofile-update=atomic"
# test_heap.py compiles the helper's malloc() itself: a helper with glibc has that one's.
HEAP = "heap.so-heap.gcno"

Branches = dict[tuple[str, int], list[int]]


def build(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    dump = directory / "gcov.o"
    subprocess.run(["gcc", "-fPIC", "-O2", "-c", "-o", dump, Path(__file__).with_name("gcov.c")], check=True)
    variables = [f"{name}={FLAGS}" for name in ("CFLAGS", "HELPER_CFLAGS", "TEST_CFLAGS")]
    subprocess.run(
        ["make", "-s", f"BUILD={directory}", "CC=gcc", "HELPER_CC=gcc", "CPPFLAGS=-U_FORTIFY_SOURCE -D_exit=coverage_exit -Dexecve=coverage_execve",
         f"LDFLAGS=--coverage {dump}", *variables, "all", "test-lib"],
        cwd=REPO, check=True,
    )  # fmt: skip
    # Empty, and for all: some tests are no longer root when they count.
    for notes in directory.rglob("*.gcno"):
        counts = notes.with_suffix(".gcda")
        counts.write_bytes(b"")
        counts.chmod(0o666)


def run_tests(directory: Path) -> int:
    ignored = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    return subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-q", f"-n{WORKERS}", "-p", "lib.instrumented", *ignored, "-k", LOOPS,
         f"--basetemp={directory}/tmp", *(f"tests/{name}" for name in RUN)],
        cwd=REPO, check=False,
        env={**os.environ, "HELPER_CC": "gcc", "HEAP_CFLAGS": FLAGS, "NCF_BUILD_DIR": str(directory), "PYTHONPATH": str(REPO / "tests")},
    ).returncode  # fmt: skip


def replay_corpora(directory: Path) -> None:
    """The inputs that fuzzing kept, on the objects of the test library."""
    fuzz = REPO / "tests/fuzz"
    corpora = sorted((fuzz / "corpus").iterdir())
    objects = sorted((directory / "test").rglob("*.o"))
    for corpus in corpora:
        program = directory / f"fuzz-{corpus.name}"
        own = [fuzz / f"{name}.c" for name in (corpus.name, "standalone", "scratch", "sealing")]
        subprocess.run(
            ["gcc", "-D_GNU_SOURCE", "-DNCF_SEAM", "-DFUZZ_STANDALONE", f"-I{REPO}/csrc", f"-I{fuzz}",
             "-w", "-o", program, *own, *objects, directory / "gcov.o", "--coverage"],
            cwd=directory, check=True,
        )  # fmt: skip
        for inputs in ([corpus], *(["--edits", seed] for seed in corpus.glob("every-line"))):
            subprocess.run([program, *inputs], check=True, stdout=subprocess.DEVNULL)


def branches(notes: Path) -> Branches:
    """How often each branch was taken, by file and line."""
    told = subprocess.run(
        ["gcov", "--branch-probabilities", "--json-format", "--stdout", str(notes)],
        cwd=notes.parent, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: Branches = defaultdict(list)
    for file in json.loads(told.stdout)["files"]:
        for line in file["lines"]:
            name = file["file"].rpartition("csrc/")[2]
            found[name, line["line_number"]] += [branch["count"] for branch in line["branches"]]
    return found


def covered(directory: Path) -> Branches:
    """The branches of the shipped objects, with what every build of them did."""
    total: Branches = {}
    for counted in directory.rglob("*.gcda"):
        if counted.stat().st_size == 0:
            counted.unlink()  # nothing ran, and gcov() takes it for damaged
    for kind, pattern in (("lib", "*.gcno"), ("helper", "*.gcno"), ("tmp", HEAP), ("test", "*.gcno")):
        for notes in sorted((directory / kind).rglob(pattern)):
            for place, counts in branches(notes).items():
                known = total.get(place)
                if known is None and kind != "test" and place[0].endswith(".c"):
                    total[place] = counts
                elif known is not None:
                    # Else this could not tell which is which: no figure is better than a wrong one.
                    assert len(known) == len(counts), f"{place}: not the same branches in {notes}"
                    total[place] = [a + b for a, b in zip(known, counts)]
    return {place: counts for place, counts in total.items() if counts}


def reasons() -> dict[tuple[str, str], str]:
    """uncovered.txt: FILE | LINE OF CODE | REASON."""
    rows = {}
    for line in REASONS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            file, _, rest = line.partition(" | ")
            code, _, reason = rest.rpartition(" | ")
            rows[file, code] = reason
    return rows


def report(found: Branches) -> bool:
    lines = {name: (REPO / "csrc" / name).read_text().splitlines() for name, _ in found}
    all_hit = all_there = 0
    for name in sorted(lines):
        counts = [count for (file, _), row in found.items() if file == name for count in row]
        hit = sum(count > 0 for count in counts)
        print(f"{name:22} {hit:5} of {len(counts):5} branches  {100 * hit / len(counts):5.1f} %")
        all_hit += hit
        all_there += len(counts)
    listed = reasons()
    missing = {}
    for (name, number), counts in sorted(found.items()):
        if 0 in counts:
            missing[name, lines[name][number - 1].strip()] = f"{name}:{number}"
    for key, where in missing.items():
        print(f"not taken: {where}: {key[1]}  [{listed.get(key, 'no reason given')}]")
    # Some of what is listed depends on the time: what is taken once is told, what is gone is an error.
    gone = [(name, code) for name, code in listed if code not in map(str.strip, lines.get(name, []))]
    for name, code in listed:
        if (name, code) not in missing:
            print(f"{REASONS.name}: {'gone' if (name, code) in gone else 'taken this time'}: {name} | {code}")
    share = 100 * all_hit / all_there
    print(f"csrc/: {all_hit} of {all_there} branches, {share:.1f} % (at least {LEAST} %)")
    return share >= LEAST and not gone


def main() -> int:
    directory = REPO / "build/coverage"
    # A container mounts its own there, over what is counted.
    assert not directory.is_relative_to("/tmp") and not directory.is_relative_to("/run"), f"not in {directory}"
    build(directory)
    failed = run_tests(directory)
    replay_corpora(directory)
    if failed:
        print("The tests failed, so this is no figure:")
    return 0 if report(covered(directory)) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
