# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole change on a scratch host: start, a bad edit, a reboot, everything back.

Run by `make demo`, as any user; with --keep the scratch host stays.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import netcf_py

HOST = Path(__file__).resolve().parent / "host"
SECRET = ("etc/NetworkManager/", "etc/netplan/")  # readable by their owner alone

ADDRESS = "etc/sysconfig/network-scripts/ifcfg-br0"
KEYFILE = "etc/NetworkManager/system-connections/uplink.nmconnection"
ADDED = "etc/sysconfig/network-scripts/ifcfg-eth9"
MODE = "etc/netplan/01-uplink.yaml"

Picture = dict[str, tuple[object, ...]]

TERMINAL = os.environ.get("TERM", "dumb") != "dumb"
COLOUR = sys.stdout.isatty() and TERMINAL and not os.environ.get("NO_COLOR")


def paint(code: str, text: str) -> str:
    """Colour on a terminal, plain text elsewhere."""
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(number: int, text: str) -> None:
    """One of the steps."""
    print(paint("1", f"\n{number}. {text}"))


# --- the host ---------------------------------------------------------------------

# Some Pythons that were built with musl, as on Alpine, have no os.setxattr().
NO_XATTRS = (OSError, AttributeError)


def files_below(root: Path) -> list[str]:
    """Every file, relative to `root`."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def build(root: Path) -> bool:
    """Make the host; whether its filesystem keeps extended attributes."""
    shutil.copytree(HOST, root, dirs_exist_ok=True)
    for number, path in enumerate(files_below(root)):
        (root / path).chmod(0o600 if path.startswith(SECRET) else 0o644)
        day = (1_700_000_000 + number * 86_400) * 10**9
        os.utime(root / path, ns=(day, day + 123_456_789 + number))
    try:
        os.setxattr(root / ADDRESS, "user.owner", b"the network team")
    except NO_XATTRS:
        return False
    return True


def picture(root: Path) -> Picture:
    """All there is to know about each path below etc, read without the library."""
    found: Picture = {}
    for path in sorted((root / "etc").rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        try:
            xattrs = [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
        except NO_XATTRS:
            xattrs = []
        found[str(path.relative_to(root))] = (
            content, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
            status.st_nlink, xattrs,
        )  # fmt: skip
    return found


# --- the four steps ------------------------------------------------------------------


def show_host(root: Path) -> None:
    """What the host is made of."""
    print(paint("1", f"A scratch host below {root}"))
    stacks = "ifcfg (bond, bridge, VLAN), ifupdown, NetworkManager, netplan"
    print(f"   {len(files_below(root))} files of {stacks}")


def start(ncf: netcf_py.Netcf) -> None:
    """Save the configuration."""
    heading(1, "Start: the configuration is saved")
    began = time.perf_counter()
    ncf.change_start(note="give br0 a new address")
    took = time.perf_counter() - began
    print('   >>> ncf.change_start(note="give br0 a new address")')
    print(f"   {ncf.status().files} paths are safe on disk after {took * 1000:.1f} ms")


def lock_out(root: Path) -> None:
    """Edit the configuration the way that ends with a drive to the data centre."""
    text = (root / ADDRESS).read_text()
    (root / ADDRESS).write_text(text.replace("IPADDR=192.0.2.10", "IPADDR=192.0.2.110"))
    (root / KEYFILE).unlink()
    (root / ADDED).write_text("DEVICE=eth9\nONBOOT=yes\nBRIDGE=br0\n")
    (root / MODE).chmod(0o644)


def show_difference(ncf: netcf_py.Netcf) -> None:
    """What is not as it was saved."""
    heading(2, "Edit: a wrong address, a lost keyfile, a stray file, a secret for all")
    print("   >>> ncf.diff()")
    for d in ncf.diff():
        what = ", ".join(sorted(m.value for m in d.metadata))
        print(f"   {d.kind.value:<8}  {d.path}{what and f' ({what})'}")


def reboot(root: Path) -> int:
    """Nobody committed; the next boot runs the helper."""
    heading(3, "Reboot: nobody said commit, so the helper rolls back before networking")
    command = [str(netcf_py.helper_path()), "--root", str(root), "start"]
    print(f"   $ networking-config {shlex.join(command[1:])}")
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in textwrap.wrap(ran.stdout, 74, break_long_words=False, break_on_hyphens=False):
        print(f"   {line}")
    return ran.returncode


def prove(before: Picture, root: Path, has_xattrs: bool) -> bool:
    """Compare every path with how it was."""
    heading(4, "Proof: every path read again, without the library")
    after = picture(root)
    wrong = [p for p in sorted(before.keys() | after.keys()) if before.get(p) != after.get(p)]
    for path in wrong:
        print(paint("31", f"   NOT BACK  {path}"))
    parts = "content, type, mode, owner, mtime to the nanosecond, links"
    print(f"   {len(before)} paths compared, {len(wrong)} differ")
    print(f"   in {parts}{', xattrs' * has_xattrs}")
    return not wrong


def main() -> int:
    """Run the demo; 0 if everything came back."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the scratch host there")
    keep = parser.parse_args().keep

    root = Path(tempfile.mkdtemp(prefix="ncf-demo-"))
    has_xattrs = build(root)
    before = picture(root)
    show_host(root)
    with netcf_py.Netcf(root) as ncf:
        start(ncf)
        lock_out(root)
        show_difference(ncf)
        status = reboot(root)
        good = prove(before, root, has_xattrs) and status == 0 and not ncf.status().open
    print(paint("1;32" if good else "1;31", "\nEverything is back." if good else "\nFAILED."))
    if keep or not good:
        print(f"The host is still in {root}")
    else:
        shutil.rmtree(root)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except netcf_py.NetcfError as error:
        sys.exit(f"demo: {error}")
