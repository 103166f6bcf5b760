"""As on Alpine: busybox init and the static helper, nothing else, in an initramfs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib import machine, trace, tree
from lib.helper import Helper
from lib.machine import Machine

pytestmark = [pytest.mark.system, pytest.mark.slow]

INITTAB = """::sysinit:/sbin/networking-config start
::sysinit:/bin/busybox sh /report
"""

REPORT = """
/bin/busybox mkdir -p /dev
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS1 2>&1
echo "== interfaces"; /bin/busybox cat /etc/network/interfaces
echo "== status"; /sbin/networking-config status
echo "== again"; /sbin/networking-config start; echo $?
echo "== proc"; /bin/busybox ls -d /proc
echo "== end"
"""


def test_busybox_sysinit(helper: Helper, root: Path, tmp_path: Path) -> None:
    """A sysinit line rolls back in 1970, without /proc, /dev/null, a users database or a library."""
    if not trace.is_static(helper.path):
        pytest.skip("no static libc on this machine: the helper needs its libraries")
    tree.realistic(root)
    right = (root / "etc/network/interfaces").read_text()
    helper.run("change-begin", root=root, check=True)
    tree.lock_out(root)
    files: dict[str, Path | bytes] = {
        str(path.relative_to(root)): path
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    files |= {
        "bin/busybox": machine.kernel() / "bin/busybox",
        "sbin/networking-config": helper.path,
        "etc/inittab": INITTAB.encode(),
        "report": REPORT.encode(),
    }
    disk = tmp_path / "unused.img"
    disk.write_bytes(bytes(1 << 20))
    guest = Machine(tmp_path / "boots", machine.archive(files, {"init": "/bin/busybox"}), [disk])
    boot = guest.boot("")
    assert "\n".join(boot.section("interfaces")) + "\n" == right
    assert boot.section("status") == ["No open transaction"]
    assert boot.section("again") == ["0"]
    assert "No such file" in boot.section("proc")[0]
    assert re.search(r"networking-config: rolled back change [0-9a-f]{16}: ", boot.console)
