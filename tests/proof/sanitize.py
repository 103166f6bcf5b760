"""The core under AddressSanitizer and UBSan, in every process of its tests: `make sanitize`.

Builds library, helper, test library and driver with both, and runs the tests of
core, helper, guard and interfaces on them.  A finding ends its process by SIGABRT
and leaves a report in build/sanitized, also where no test looks: fails if there is
one.  Arguments are pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
# Long loops of kills over what shorter tests do, too; and a guest, which has a helper of its own.
LEFT_OUT = ["core/test_random_edits.py", "core/test_killed_anywhere.py", "interface/test_guest.py"]
RUN = ["core", "helper", "guard", "interface", "proof/test_hostile_host.py", "proof/test_fuzz_corpus.py"]


def build(directory: Path) -> None:
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all"
    options = directory / "sanitizers.o"
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-fPIC", f'-DREPORTS="{directory}/report"', "-c", "-o", options, Path(__file__).with_name("sanitizers.c")],
        check=True,
    )
    compiled = f"-O1 -g {flags}"
    # Programs need nothing but libc, so that they run in a root of their own.
    alone = f"{compiled} -static-libasan -static-libubsan"
    subprocess.run(
        ["make", "-s", f"BUILD={directory}", "CC=gcc", "HELPER_CC=gcc", "HELPER_STATIC=", "HELPER_LTO=",
         "CPPFLAGS=-U_FORTIFY_SOURCE", f"CFLAGS={compiled}", f"TEST_CFLAGS={compiled}", f"HELPER_CFLAGS={alone}",
         f"LDFLAGS={flags} {options}", "all", "test-lib"],
        cwd=REPO, check=True,
    )  # fmt: skip


def run_tests(directory: Path, arguments: list[str]) -> int:
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-q", "-n3", "-p", "lib.sanitized", f"--basetemp={directory}/tmp",
         *(f"--ignore=tests/{name}" for name in LEFT_OUT), "-k", "not sanitized and not 200_pairs",
         *(arguments or [f"tests/{name}" for name in RUN])],
        cwd=REPO, check=False,
        env={**os.environ, "HELPER_CC": "gcc", "NCF_BUILD_DIR": str(directory), "PYTHONPATH": str(REPO / "tests"),
             # For Python, which does not have it; the plugin keeps it from all others.
             "LD_PRELOAD": runtime.stdout.strip(),
             "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:log_path={directory}/report"},
    ).returncode  # fmt: skip


def main() -> int:
    directory = REPO / "build/sanitized"
    build(directory)
    for old in directory.glob("report.*"):
        old.unlink()
    failed = run_tests(directory, sys.argv[1:])
    reports = sorted(directory.glob("report.*"))
    for report in reports:
        print(report.read_text(errors="replace"))
    print(f"{len(reports)} reports of the sanitizers")
    return 1 if failed or reports else 0


if __name__ == "__main__":
    sys.exit(main())
