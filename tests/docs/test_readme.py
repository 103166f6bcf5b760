"""Every block of the README does what the README says."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import netcf_py
from lib import tree
from lib.build import REPO, Products
from lib.helper import Helper
from lib.images import need

from .blocks import block, blocks

# The blocks are run as they stand; these words mean the scratch host and the scratch prefix.
PRELUDE = r"""
set -eu
sudo() { "$@"; }
make() { command make -s BUILD="$BUILD" PREFIX="$PREFIX" "$@"; }
sudoedit() { echo "# edited" >>"$ROOT$1"; }
networking-config() {
    [ "$1" = --root ] || set -- --root "$ROOT" "$@"
    "$PREFIX/sbin/networking-config" "$@"
}
netcf() { "$NETCF" "$1" --root "$ROOT" "${@:2}"; }
cc() { command "${CC:-cc}" -I"$PREFIX/include" "$@"; }
"""


class Shell:
    """Runs blocks, on a realistic host and with everything installed."""

    def __init__(self, products: Products, root: Path, scratch: Path) -> None:
        self.directory = scratch / "work"
        self.directory.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "BUILD": str(products.directory),
            "PREFIX": str(scratch / "prefix"),
            "ROOT": str(root),
            "NETCF": str(Path(sys.executable).with_name("netcf")),
            "PKG_CONFIG_PATH": str(scratch / "prefix/lib/pkgconfig"),
            "LD_LIBRARY_PATH": str(scratch / "prefix/lib"),
        }
        self.run(block("README.md", "sh", "make\nsudo make install\n"), cwd=REPO)

    def run(self, text: str, cwd: Path | None = None, stdin: int = subprocess.DEVNULL) -> str:
        ran = subprocess.run(
            ["bash", "-c", PRELUDE + text],
            cwd=cwd or self.directory,
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout


@pytest.fixture
def shell(products: Products, root: Path, tmp_path: Path) -> Shell:
    need("bash")
    tree.realistic(root)
    return Shell(products, root, tmp_path)


def test_two_commands_do_all_the_set_up() -> None:
    """The first block is `make demo` and `make check`, nothing else."""
    commands = [line.split("#")[0].strip() for line in blocks("README.md", "sh")[0].splitlines()]
    assert commands == ["make demo", "make check"]


def test_every_block_is_run_here() -> None:
    """A block that is added to the README needs a test."""
    assert len(blocks("README.md", "sh")) == 9
    assert len(blocks("README.md", "c")) == 1
    assert len(blocks("README.md", "python")) == 1


def test_an_edit_is_kept(shell: Shell, root: Path, helper: Helper) -> None:
    """The commands around an edit show the difference and keep it."""
    printed = shell.run(block("README.md", "sh", "commit_config"))
    assert "changed   etc/network/interfaces\n" in printed
    assert "committed" in printed
    assert (root / "etc/network/interfaces").read_text().endswith("# edited\n")
    assert "No open transaction" in helper.run("status", root=root).stdout


def test_an_edit_is_taken_back(shell: Shell, root: Path) -> None:
    """With the last line replaced, everything is as it was."""
    before = tree.capture(root)
    steps = block("README.md", "sh", "commit_config").splitlines()[:-1]
    shell.run("\n".join(steps) + "\n" + block("README.md", "sh", "sudo networking-config rollback"))
    assert tree.differences(before, tree.capture(root)) == []


def test_a_change_that_rolls_back_by_itself(shell: Shell, helper: Helper, root: Path) -> None:
    """The line for ssh starts one that its session's end takes back."""
    reader, writer = os.pipe()
    shell.run(block("README.md", "sh", "--leash"), stdin=reader)
    os.close(reader)
    assert "rolls back 30 s after" in helper.run("status", root=root).stdout
    shell.run("networking-config extend 300")
    assert re.search(
        r"rolls back by itself in (300|2\d\d) s", helper.run("status", root=root).stdout
    )
    shell.run("networking-config commit_config")
    os.close(writer)


def test_a_directory_that_looks_like_a_host(shell: Shell) -> None:
    """The commands with --root work on a directory of one's own."""
    printed = shell.run(block("README.md", "sh", "--root host"))
    assert "changed   etc/network/interfaces\n" in printed
    assert (shell.directory / "host/etc/network/interfaces").read_text() == "auto lo\n"


def test_the_commands_for_people(shell: Shell, root: Path) -> None:
    """The boot files are installed, the host would be saved, and Enter keeps what netplan did."""
    tree.write(root, "usr/lib/systemd/systemd", b"", 0o755)
    file = root / "etc/netplan/90-applied.yaml"
    # What is tried is not netplan's business here.
    tree.write(shell.directory, "bin/netplan", f"#!/bin/sh\ntouch {file}\n".encode(), 0o755)
    shell.environment["PATH"] = f"{shell.directory}/bin:{shell.environment['PATH']}"
    ours, theirs = os.openpty()
    with subprocess.Popen(
        ["bash", "-c", PRELUDE + block("README.md", "sh", "sudo netcf try")],
        env=shell.environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=shell.directory,
    ) as process:  # fmt: skip
        os.close(theirs)
        screen = ""
        with contextlib.suppress(OSError):  # the end of a terminal
            while got := os.read(ours, 4096):
                screen += got.decode()
                if "Keep it?" in screen:
                    os.write(ours, b"\n")
    os.close(ours)
    assert process.returncode == 0, screen
    assert "Wrote " in screen and "This host would be saved." in screen and "Kept." in screen
    assert file.exists() and not netcf_py.Netcf(root).status().open


def test_the_c_program(shell: Shell, root: Path) -> None:
    """The C block compiles with the line below it and runs a whole change."""
    if subprocess.run(["sh", "-c", "command -v pkg-config"], capture_output=True).returncode:
        pytest.skip("pkg-config is not installed")
    before = tree.capture(root)
    (shell.directory / "change.c").write_text(block("README.md", "c", "main"))
    shell.run(block("README.md", "sh", "pkg-config"))
    shell.run("./change $ROOT")
    assert tree.differences(before, tree.capture(root)) == []
    shell.run("networking-config snapshot_config")
    ran = subprocess.run(
        [shell.directory / "change", root],
        env=shell.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ran.returncode == 1
    assert "there is another transaction running." in ran.stderr


def test_the_adapter_is_installed(shell: Shell, tmp_path: Path) -> None:
    """The libvirt block installs the adapter, and drop-ins that lead to it."""
    shell.run(block("README.md", "sh", "install-libvirt"), cwd=REPO)
    library = tmp_path / "prefix/lib/libnetcf-change.so"
    assert library.exists()
    for daemon in ("libvirtd", "virtinterfaced"):
        drop_in = f"prefix/lib/systemd/system/{daemon}.service.d/netcf-change.conf"
        assert f"\nEnvironment=LD_PRELOAD={library}\n" in (tmp_path / drop_in).read_text()


def test_the_python_block(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python block commits, and what it calls shows the difference."""
    tree.realistic(root)
    file = root / "etc/network/interfaces"
    netcf = netcf_py.Netcf
    monkeypatch.setattr(netcf_py, "Netcf", lambda: netcf(root))
    code = compile(block("README.md", "python", "edit_files"), "README.md", "exec")
    exec(code, {"edit_files": lambda: file.write_text("auto lo\n")})
    assert capsys.readouterr().out == "changed etc/network/interfaces\n"
    assert file.read_text() == "auto lo\n"
    assert not netcf(root).status().open


def test_every_file_it_names_exists() -> None:
    """No link and no path of the README leads nowhere."""
    text = (REPO / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^):]+)\)", text)) | set(re.findall(r"`(\w+/[\w./-]+)`", text))
    assert "docs/format.md" in named
    assert sorted(path for path in named if not (REPO / path).exists()) == []
