"""The tests of the core with AddressSanitizer and UBSan in the library and the helper: `make sanitized`.

The library is loaded into a Python before which AddressSanitizer was loaded; in the helper
it is linked, so what starts it needs to do nothing, in a root of its own, too.
Leaks are not looked for: Python has its own, and under strace nobody may ask.  Those of the
core are what core/test_short_memory.py and proof/test_valgrind.py are for.
What is found ends the program, so that its test fails, and is written to a file that fails the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FLAGS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
RUN = ["core", "helper", "guard", "interface", "proof/test_hostile_host.py", "proof/test_adversary.py"]
LEFT_OUT = [
    # What the helper has to be: small, static, with few calls; a library of their own below it.
    "helper/test_boot.py", "helper/test_boot_follows.py", "helper/test_real_calls.py", "helper/test_netcf_name.py",
    "core/test_one_look.py::test_clock_set_back",
    # Minutes in a guest, for what is done on the host, too.
    "interface/test_guest.py",
    # Faults that would hit the calls of the sanitizers themselves, and memory that they keep.
    "helper/test_injected_faults.py", "interface/test_failing_calls.py",
    "core/test_failing_calls.py::test_memory_is_not_lost_on_failure",
    # Sizes at which a sanitizer ends the process.
    "core/test_short_memory.py::test_what_no_memory_holds",
]  # fmt: skip
OWN_BUILDS = "not sanitized"  # tests that build such programs themselves


def build(directory: Path, source: Path = REPO, *targets: str) -> None:
    """Into `directory`; what is found goes to its reports/."""
    (directory / "reports").mkdir(parents=True, exist_ok=True)
    options = directory / "options.o"
    told = f'-DOPTIONS="detect_leaks=0:log_path={directory}/reports/report"'
    subprocess.run(["gcc", "-fPIC", told, "-c", "-o", options, Path(__file__).with_name("sanitized.c")], check=True)
    variables = [f"{name}={FLAGS}" for name in ("CFLAGS", "HELPER_CFLAGS", "TEST_CFLAGS")]
    subprocess.run(
        ["make", "-s", "-j2", f"BUILD={directory}", "CC=gcc", "HELPER_CC=gcc", "CPPFLAGS=-U_FORTIFY_SOURCE", "HELPER_LTO=",
         f"HELPER_STATIC=-static-libasan -static-libubsan {FLAGS}", f"LDFLAGS={FLAGS} {options}", *variables, *(targets or ("all", "test-lib"))],
        cwd=source, check=True,
    )  # fmt: skip


def library(name: str) -> str:
    return subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()


def left_out() -> list[str]:
    return [f"--{'deselect' if '::' in name else 'ignore'}=tests/{name}" for name in LEFT_OUT]


def main(directory: Path, tests: list[str]) -> int:
    build(directory)
    reports = directory / "reports"
    for old in reports.iterdir():
        old.unlink()
    status = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n4", "--dist=loadfile", "-p", "lib.sanitized", "-k", OWN_BUILDS, *left_out(), *(tests or [f"tests/{name}" for name in RUN])],
        cwd=REPO, check=False,
        env={**os.environ, "HELPER_CC": "gcc", "NCF_BUILD_DIR": str(directory), "PYTHONPATH": str(REPO / "tests"),
             "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
             **dict.fromkeys(("ASAN_OPTIONS", "UBSAN_OPTIONS"), f"detect_leaks=0:log_path={reports}/report")},
    ).returncode  # fmt: skip
    found = sorted(reports.iterdir())
    for report in found:
        print(report.read_text(errors="replace"))
    print(f"{len(found)} reports of the sanitizers")
    return status or bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
