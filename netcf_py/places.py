# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the package keeps what it carries for others than Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Each command imports this module, and most need none of pathlib, shutil and subprocess.
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["helper_path", "include_path", "install_boot", "library_path", "uninstall_boot"]

# What the boot files need to know; the helper must not be in /usr/local, which
# may be another filesystem.
_SBINDIR = "/usr/sbin"
_UNITDIR = "/etc/systemd/system"
_UNIT = "networking-config.service"
_SCRIPT = "/etc/init.d/networking-config"
# Where somebody else's unit would be, which runs the helper too.
_OTHER_UNITDIRS = ("/usr/lib/systemd/system", "/lib/systemd/system")


def helper_path() -> Path:
    """Return the path of the helper, the executable ``networking-config``.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("bin/networking-config")


def library_path() -> Path:
    """Return the path of ``libncf.so.0``, for ctypes and for linking.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("lib/libncf.so.0")


def include_path() -> Path:
    """Return the directory that holds ``ncf.h``.

    Raises:
        FileNotFoundError: This installation has none.
    """
    return _carried("include/ncf.h").parent


def install_boot(*inits: str, root: str | os.PathLike[str] = "/") -> list[Path]:
    """Install the helper and what makes the host's init run it at boot.

    The helper goes to ``/usr/sbin/networking-config``; the other files are those
    that ``initscript/places`` names for each init.  Files that are there already
    are replaced.

    Args:
        inits: Any of ``systemd``, ``sysv``, ``openrc``, ``runit``, ``dracut`` and
            ``initramfs-tools``; none for those of the first four that the host has.
        root: The host's root directory.

    Returns:
        The paths that were written, the helper first.

    Raises:
        FileNotFoundError: This installation carries no helper.
        LookupError: An init is unknown, or none was named and the host has none of them.
        OSError: A file can't be written.
        subprocess.CalledProcessError: On sysvinit, the script could not be enabled.
    """
    source, table = _places()
    chosen = set(inits) or {
        row[0] for row in table if row[1] == "if" and os.path.lexists(_below(root, row[2]))
    }
    files = [row for row in table if row[1] != "if" and row[0] in chosen]
    if not chosen or chosen - {row[0] for row in files}:
        raise LookupError(
            f"no boot files for this init: {' '.join(sorted(chosen)) or 'none found'}"
        )
    helper = _below(root, f"{_SBINDIR}/networking-config")
    helper.parent.mkdir(parents=True, exist_ok=True)
    _replace(helper, helper_path().read_bytes(), 0o755)
    written = [helper]
    for _, mode, file, place in files:
        target = _below(root, place.replace("@UNITDIR@", _UNITDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "link":
            target.unlink(missing_ok=True)
            target.symlink_to(file)
        else:
            text = (source / file).read_text(encoding="utf-8").replace("@SBINDIR@", _SBINDIR)
            _replace(target, text.encode(), int(mode, 8))
        written.append(target)
    if "sysv" in chosen and os.path.realpath(root) == "/":
        _run("update-rc.d networking-config defaults", "chkconfig --add networking-config")
    return written


def uninstall_boot(root: str | os.PathLike[str] = "/") -> list[Path]:
    """Remove what `install_boot` installs, for every init.

    The helper stays where a unit of somebody else's, such as a package of the
    distribution, still runs it, or where it is not the one of this package.

    Args:
        root: The host's root directory.

    Returns:
        The paths that were removed.

    Raises:
        FileNotFoundError: This installation carries no boot files.
        OSError: A file can't be removed.
        subprocess.CalledProcessError: On sysvinit, the script could not be disabled.
    """
    import shutil

    _, table = _places()
    known = shutil.which("update-rc.d") or shutil.which("chkconfig")
    enabled = known and os.path.realpath(root) == "/" and os.path.exists(_SCRIPT)
    if enabled:  # chkconfig reads the script that it disables
        _run("", "chkconfig --del networking-config")
    removed = []
    # From the end: a link that enables a file goes before the file.
    for _, _, _, place in reversed([row for row in table if row[1] != "if"]):
        target = _below(root, place.replace("@UNITDIR@", _UNITDIR))
        if os.path.lexists(target):
            target.unlink()
            removed.append(target)
    if enabled:  # update-rc.d wants it gone
        _run("update-rc.d networking-config remove", "")
    helper = _below(root, f"{_SBINDIR}/networking-config")
    others = any(os.path.lexists(_below(root, f"{place}/{_UNIT}")) for place in _OTHER_UNITDIRS)
    if not others and helper.is_file() and helper.read_bytes() == helper_path().read_bytes():
        helper.unlink()
        removed.append(helper)
    return removed


def _places() -> tuple[Path, list[list[str]]]:
    """The directory of the boot files, and the rows of its table."""
    table = _carried("initscript/places")
    lines = table.read_text(encoding="utf-8").splitlines()
    return table.parent, [line.split() for line in lines if line and line[0] != "#"]


def _run(debian: str, others: str) -> None:
    """Run the one of two commands whose program this host has; an empty one is nothing to do."""
    import shutil
    import subprocess

    command = debian if shutil.which("update-rc.d") else others
    if command:
        subprocess.run(command.split(), check=True)


def _below(root: str | os.PathLike[str], path: str) -> Path:
    from pathlib import Path

    return Path(root, path.lstrip("/"))


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file under another name first: the old one may be running."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)


def _carried(name: str) -> Path:
    from pathlib import Path

    path = Path(__file__).resolve().parent / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not part of this installation of netcf_py")
    return path
