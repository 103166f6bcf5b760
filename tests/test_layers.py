"""Layers go one way, one file does all system calls, one file prints and exits."""

from __future__ import annotations

import re

import pytest

from lib import build

CSRC = build.REPO / "csrc"


def sources() -> list[str]:
    """The core's sources as csrc/sources.mk lists them, lowest layer first."""
    text = (CSRC / "sources.mk").read_text().replace("\\\n", " ")
    match = re.search(r"^CORE\s*[:+]?=\s*(.*)$", text, flags=re.M)
    assert match
    return match.group(1).split()


CORE = sources()
HEAP, BOOT = "heap.c", "boot.c"  # the helper's alone
MAIN = "networking-config.c"
LAYERS = CORE + [HEAP, BOOT, MAIN]

# What only sys.c may call: everything that asks the kernel about files.
FILE_CALLS: set[str] = {
    "open", "openat", "openat2", "creat", "close", "read", "pread", "readv", "preadv", "write", "pwrite",
    "writev", "pwritev", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "rename", "renameat",
    "renameat2", "unlink", "unlinkat", "rmdir", "remove", "link", "linkat", "symlink", "symlinkat", "readlink",
    "readlinkat", "mkdir", "mkdirat", "mknod", "mknodat", "mkfifo", "mkstemp", "mkostemp", "mkdtemp", "tmpfile",
    "stat", "lstat", "fstat", "fstatat", "statx", "access", "faccessat", "chmod", "fchmod", "fchmodat", "chown",
    "lchown", "fchown", "fchownat", "utimensat", "futimens", "utimes", "truncate", "ftruncate", "fallocate",
    "posix_fallocate", "flock", "lockf", "fcntl", "ioctl", "mmap", "munmap", "dup", "dup2", "dup3", "lseek",
    "opendir", "fdopendir", "readdir", "closedir", "getdents64", "scandir", "glob", "ftw", "nftw", "realpath",
    "fopen", "fdopen", "freopen", "fread", "fwrite", "fclose", "fgets", "getline", "copy_file_range", "sendfile",
    "listxattr", "llistxattr", "flistxattr", "getxattr", "lgetxattr", "fgetxattr", "setxattr", "lsetxattr",
    "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "syscall", "getrandom", "clock_gettime", "time",
    "gettimeofday", "chroot", "chdir", "fchdir", "umask", "nanosleep", "usleep", "sleep",
}  # fmt: skip

# What nothing below main may call: the process is the caller's.
PROCESS_CALLS: set[str] = {
    "exit", "_exit", "_Exit", "abort", "assert", "printf", "vprintf", "fprintf", "vfprintf", "dprintf", "puts",
    "fputs", "putchar", "putc", "fputc", "perror", "syslog", "vsyslog", "err", "errx", "warn", "warnx", "error",
    "fork", "vfork", "execve", "execv", "execvp", "execl", "execlp", "system", "popen", "posix_spawn", "signal",
    "sigaction", "setlocale", "setenv", "putenv", "getenv", "atexit", "longjmp", "setjmp", "strtok", "localtime",
    "gmtime", "ctime", "strerror_l", "gets", "getpwuid", "getpwnam",
}  # fmt: skip


# The runner of other programs is where processes are made; it keeps their descriptors in order.
ALLOWED: dict[str, set[str]] = {
    "heap.c": {"mmap", "munmap"},
    "run.c": {
        "_exit", "access", "chdir", "clock_gettime", "close", "dup2", "dup3", "execve", "fcntl", "fork", "ftruncate",
        "lseek", "open", "pread", "read", "signal", "syscall", "umask", "write",
    },
}  # fmt: skip


def code(name: str) -> str:
    """A file without comments, strings and character constants."""
    text = (CSRC / name).read_text()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return re.sub(r"'(?:\\.|[^'\\])+'|\"(?:\\.|[^\"\\])*\"", '""', text)


def called(name: str) -> set[str]:
    """Every identifier that is followed by a parenthesis, macros and declarations included."""
    return set(re.findall(r"(?<![\w.>])([A-Za-z_]\w*)\s*\(", code(name)))


def included(name: str) -> list[str]:
    """The headers of the tree that a file includes."""
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', (CSRC / name).read_text(), flags=re.M)


def test_list_of_sources_is_complete() -> None:
    """Every .c file is in sources.mk, or is the helper's main; none is listed twice or missing."""
    assert sorted(CORE) == sorted(set(CORE))
    found = [str(path.relative_to(CSRC)) for path in CSRC.rglob("*.c")]
    assert sorted(LAYERS) == sorted(path for path in found if not path.startswith("libvirt/"))


def rank(header: str) -> int:
    """The layer of a header: that of its .c file; ncf.h, which all may use, is below all."""
    if header == "ncf.h":
        return -1
    if header == "interface/stack.h":  # what all stacks are to the engine
        header = "interface/model.h"
    source = header[:-2] + ".c"
    assert source in LAYERS, f"{header} has no source in sources.mk"
    return LAYERS.index(source)


@pytest.mark.parametrize("source", LAYERS)
def test_a_file_includes_only_what_is_below_it(source: str) -> None:
    """The .c file and its header include headers of lower layers only, and their own."""
    own = source[:-2] + ".h"
    layer = LAYERS.index(source)
    files = [source] + ([own] if (CSRC / own).exists() else [])
    above = {
        f"{file} includes {header}"
        for file in files
        for header in included(file)
        if header != own and rank(header) >= layer
    }
    assert above == set()


def test_every_header_belongs_to_a_source() -> None:
    """A header without a .c file has no layer."""
    for path in CSRC.rglob("*.h"):
        rank(str(path.relative_to(CSRC)))


@pytest.mark.parametrize("source", CORE + [HEAP, BOOT])
def test_only_sys_talks_to_the_kernel_about_files(source: str) -> None:
    """Every other file goes through the seam, so that tests see and can fail every call."""
    if source == "sys.c":
        assert called(source) & FILE_CALLS
        return
    assert called(source) & FILE_CALLS <= ALLOWED.get(source, set())


@pytest.mark.parametrize("source", CORE + [HEAP, BOOT])
def test_nothing_below_main_prints_or_exits(source: str) -> None:
    """The core never prints, exits, or changes the process it is in; run.c alone starts programs."""
    assert called(source) & PROCESS_CALLS <= ALLOWED.get(source, set())


def test_main_does_no_work_on_files() -> None:
    """The helper's main opens standard descriptors; else it calls the core."""
    allowed = {"open", "fcntl"}
    assert called(MAIN) & FILE_CALLS <= allowed
    assert set(included(MAIN)) <= {"boot.h", "change.h", "guard.h"}


@pytest.mark.parametrize("source", LAYERS)
def test_a_file_says_what_it_is_responsible_for(source: str) -> None:
    """Every .c file opens with its responsibility and its MUST or MUST NOT lines."""
    head = (CSRC / source).read_text().split("*/")
    opening = " ".join(head[:2])
    assert "SPDX-License-Identifier: LGPL-2.1-or-later" in head[0]
    assert "esponsible for" in opening or source == MAIN
    assert re.search(r"\bMUST( NOT)?\b", opening)


@pytest.mark.parametrize("source", CORE + [BOOT])
def test_no_global_state(source: str) -> None:
    """No file keeps state between calls, but for the seam of the tests; the heap is such a state."""
    found = [
        line.strip()
        for line in code(source).splitlines()
        if re.match(r"^(static\s+)?(?!.*\bconst\b)(?!.*\()(?!struct\s+\w+\s*\{|enum|typedef|union)[a-z_][\w\s\*]*\b\w+\s*(\[[^\]]*\])?\s*(=.*)?;$", line)
        and not line.startswith(("return", "extern"))
    ]
    assert found == (["static sys_seam_hook seam;"] if source == "sys.c" else [])


def test_functions_are_short() -> None:
    """No function is over 60 lines."""
    long: dict[str, int] = {}
    for path in CSRC.rglob("*.c"):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                if number - start - 1 > 60:
                    long[f"{path.name}:{start}"] = number - start - 1
                start = None
    assert long == {}


def test_exported_symbols(products: build.Products) -> None:
    """The library exports what ncf.h declares, under one version, and nothing else."""
    import subprocess

    from lib import images

    images.need("nm")
    header = re.sub(r"/\*.*?\*/", " ", (CSRC / "ncf.h").read_text(), flags=re.S)
    declared = set(re.findall(r"\b(ncf_\w+)\s*\(", header))
    output = subprocess.run(
        ["nm", "-D", "--defined-only", products.library], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in output.splitlines()]
    exported = {row[-1].split("@")[0] for row in rows if row[-2] != "A"}
    assert exported == declared
    assert {row[-1].partition("@@")[2] for row in rows if row[-2] != "A"} == {"NCF_0"}
