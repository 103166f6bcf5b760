"""What the package carries for others: helper, library, header."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import netcf_py
from lib import tree
from netcf_py import Netcf, places

REPO = Path(__file__).resolve().parents[2]

# Run without site-packages: ctypes is all there is.
CTYPES_ONLY = """
import ctypes, os, sys

library, root = sys.argv[1], sys.argv[2]
ncf = ctypes.CDLL(library)
ncf.ncf_snapshot_path.restype = ctypes.c_char_p
ncf.ncf_snapshot_path.argtypes = [ctypes.c_void_p]
for name in "ncf_change_start", "ncf_change_commit", "ncf_change_rollback":
    getattr(ncf, name).argtypes = [ctypes.c_void_p, ctypes.c_uint]
ncf.ncf_error.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p)]

handle = ctypes.c_void_p()
assert ncf.ncf_init(ctypes.byref(handle), os.fsencode(root)) == 0
snapshot = ncf.ncf_snapshot_path(handle)
file = os.path.join(root, "etc/network/interfaces")
with open(file, "rb") as stream:
    before = stream.read()

def edit(content):
    with open(file, "wb") as stream:
        stream.write(content)

assert ncf.ncf_change_start(handle, 0) == 0
assert os.path.exists(snapshot)
edit(b"first")
assert ncf.ncf_change_rollback(handle, 0) == 0
with open(file, "rb") as stream:
    assert stream.read() == before

assert ncf.ncf_change_start(handle, 0) == 0
edit(b"second")
assert ncf.ncf_change_commit(handle, 0) == 0
with open(file, "rb") as stream:
    assert stream.read() == b"second"
assert not os.path.exists(snapshot)

assert ncf.ncf_change_commit(handle, 0) == -1
details = ctypes.c_char_p()
assert ncf.ncf_error(handle, None, ctypes.byref(details)) == 13
assert details.value.startswith(b"no transaction running, nothing to be committed.")
assert ncf.ncf_close(handle) == 0
assert not {"cffi", "_cffi_backend", "netcf_py"} & set(sys.modules)
print("done")
"""


def test_a_whole_change_through_ctypes_alone(host: Path) -> None:
    """The carried library needs neither the package nor cffi."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CTYPES_ONLY, netcf_py.library_path(), host],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_the_carried_helper_rolls_back_what_python_started(ncf: Netcf, host: Path) -> None:
    """The helper in the package is the boot half of the same thing."""
    before = tree.capture(host)
    ncf.change_start()
    tree.lock_out(host)
    ran = subprocess.run(
        [netcf_py.helper_path(), "--root", host, "start"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert not ncf.status().open
    assert tree.differences(before, tree.capture(host)) == []


def test_the_helper_is_executable() -> None:
    """helper_path is a program that can be run."""
    assert os.access(netcf_py.helper_path(), os.X_OK)


def test_the_carried_header_is_the_header() -> None:
    """include_path holds ncf.h as it stands in the source."""
    header = netcf_py.include_path() / "ncf.h"
    assert header.read_bytes() == (REPO / "csrc/ncf.h").read_bytes()


def test_an_installation_without_them_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing file is a FileNotFoundError with its path, not a path to nothing."""
    monkeypatch.setattr(places, "__file__", str(tmp_path / "places.py"))
    for place, name in [
        (places.helper_path, "bin/networking-config"),
        (places.library_path, "lib/libncf.so.0"),
        (places.include_path, "include/ncf.h"),
    ]:
        with pytest.raises(FileNotFoundError) as caught:
            place()
        assert str(tmp_path / name) in str(caught.value)


def files_below(top: Path) -> set[str]:
    """Every file and link, relative to `top`."""
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def test_boot_files_are_those_of_make_install(tmp_path: Path) -> None:
    """install_boot writes the helper and each init's files, and says which."""
    for init in ["systemd", "sysv", "openrc", "runit", "dracut", "initramfs-tools"]:
        top = tmp_path / init
        written = places.install_boot(init, root=top)
        assert {str(path.relative_to(top)) for path in written} == files_below(top)
        assert places.install_boot(init, root=top) == written
        helper, *others = written
        assert helper == top / "usr/sbin/networking-config"
        assert helper.read_bytes() == netcf_py.helper_path().read_bytes()
        assert os.access(helper, os.X_OK)
        text = "".join(path.read_text() for path in others if not path.is_symlink())
        assert "/usr/sbin/networking-config" in text and "@SBINDIR@" not in text
    unit = tmp_path / "systemd/etc/systemd/system/multi-user.target.wants/networking-config.service"
    assert unit.read_text().startswith("# SPDX")


def test_boot_files_of_the_init_that_is_there(tmp_path: Path) -> None:
    """Without a name the host's own init is found; a host without any is an error."""
    with pytest.raises(LookupError, match="none found"):
        places.install_boot(root=tmp_path)
    with pytest.raises(LookupError, match="upstart"):
        places.install_boot("upstart", root=tmp_path)
    assert files_below(tmp_path) == set()
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    assert len(places.install_boot(root=tmp_path)) == 5
