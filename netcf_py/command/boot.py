# SPDX-License-Identifier: LGPL-2.1-or-later
"""``netcf boot``: what makes the host's init roll an open change back."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable

import click

from .. import NCF_EEXEC, NCF_EFILE, NCF_EINVALIDOP, NCF_ENOENT, places
from ..errors import AlreadyOpen, FileError, NotFound, ProgramError
from .common import Call, command, root_option
from .findings import BAD, GOOD, Finding, answer
from .stacks import found, matching

__all__ = ["boot_command", "look"]

INITS = ("systemd", "sysv", "openrc", "runit", "dracut", "initramfs-tools")
INSTALL = "netcf boot install"
UNIT = "networking-config.service"
SCRIPT = "networking-config"
# As systemd searches them; the first that has a unit wins.
UNIT_DIRS = (
    "etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
    "usr/lib/systemd/system", "lib/systemd/system",
)  # fmt: skip
# Debian's and Red Hat's; the script is enabled by a link in them.
RC_DIRS = ("etc/rcS.d", "etc/rc[2-5].d", "etc/rc.d/rc[2-5].d")
# What the script of sysvinit has to come before.
LATER = re.compile(r"S\d+(?:networking|network|network-manager|wicked|connman|dhcpcd)$")


@click.group(
    "boot",
    no_args_is_help=False,
    short_help="Install, remove or check what rolls back at boot.",
)
@root_option
@click.pass_context
def boot_command(ctx: click.Context, root: str | None) -> None:
    """Install, remove or check what rolls an open change back at boot."""
    ctx.obj = root or ctx.obj


@command("install", short_help="Install the helper and the boot files.")
@click.argument("inits", nargs=-1, metavar="[INIT]...", type=click.Choice(INITS))
def install_command(call: Call, inits: tuple[str, ...]) -> None:
    """Install the helper and what makes the host's init run it at boot.

    Without INIT these are the files of the init that is found here.  What was
    installed before is replaced.  The helper becomes /usr/sbin/networking-config.
    """
    try:
        written = _files(lambda: places.install_boot(*inits, root=call.ncf.root))
    except LookupError as error:
        raise NotFound(
            NCF_ENOENT,
            "not found",
            f"found no init that is known; name one of {', '.join(INITS)}",
        ) from error
    _tell(call, "written", "Wrote", written)


@command("uninstall", short_help="Remove what install wrote.")
def uninstall_command(call: Call) -> None:
    """Remove what install wrote, for every init.

    Not while a change is open, since the next boot is what stands behind it.
    The helper stays where a unit of another package runs it.
    """
    change = call.ncf.status()
    if change.open:
        raise AlreadyOpen(
            NCF_EINVALIDOP, "a change is open",
            f"change {change.id} is open and the next boot stands behind it; nothing was removed. "
            "Commit it or roll it back first.",
        )  # fmt: skip
    _tell(call, "removed", "Removed", _files(lambda: places.uninstall_boot(root=call.ncf.root)))


@command("status", short_help="Say whether a boot would roll back.")
def status_command(call: Call) -> None:
    """Say whether the next boot would roll back an open change.

    The exit status is 1 if it might not.  netcf doctor looks at more.
    """
    answer(
        call, [look(call.ncf.root)], "An open change would be rolled back at boot.",
        "An open change might stay as it is at boot.",
    )  # fmt: skip


for _one in (install_command, uninstall_command, status_command):
    boot_command.add_command(_one)


def _files(act: Callable[[], list[Path]]) -> list[str]:
    """The paths that `act` wrote or removed; what it raises as the errors of this package."""
    try:
        return [str(path) for path in act()]
    except LookupError:
        raise
    except subprocess.CalledProcessError as error:
        raise ProgramError(
            NCF_EEXEC, "a program failed",
            f"{' '.join(error.cmd)}: exit status {error.returncode}; the files are in place",
        ) from error  # fmt: skip
    except OSError as error:
        raise FileError(
            NCF_EFILE, "a file can't be written",
            f"{error}; what came before it is done, and doing it again is safe",
        ) from error  # fmt: skip


def _tell(call: Call, key: str, word: str, files: list[str]) -> None:
    def say() -> None:
        for file in files:
            click.echo(f"{word} {call.path(file)}")
        if not files:
            click.echo("Nothing was installed.")

    call.answer({key: files}, say)


# --- looking ------------------------------------------------------------------------


def look(root: str) -> Finding:
    """Return whether the init below `root` would run the helper before what reads the files."""
    looks: dict[str, Callable[[str], Finding | None]] = {
        "systemd": _systemd, "openrc": _openrc, "runit": _runit, "sysv": _sysv,
    }  # fmt: skip
    init = _init(root)
    chosen = [looks[init]] if init else list(looks.values())
    for one in chosen:
        finding = one(root)
        if finding is not None:
            return finding
    return _bad(f"nothing rolls an open change back at boot under {init or 'any init'}", INSTALL)


def _init(root: str) -> str | None:
    """The init that boots the host, as far as that can be told."""
    if os.path.realpath(root) == "/" and os.path.isdir("/run/systemd/system"):
        return "systemd"
    init = os.path.join(root, "sbin/init")
    if not os.path.lexists(init):
        return None
    if os.path.islink(init) and "systemd" in os.readlink(init):
        return "systemd"
    for name, path in (
        ("openrc", "sbin/openrc-run"), ("runit", "etc/runit/core-services"),
        ("sysv", "usr/sbin/update-rc.d"), ("sysv", "sbin/chkconfig"),
    ):  # fmt: skip
        if os.path.lexists(os.path.join(root, path)):
            return name
    return None


def _bad(text: str, remedy: str) -> Finding:
    return Finding("boot", BAD, text, remedy)


def _good(text: str) -> Finding:
    return Finding("boot", GOOD, text)


def _systemd(root: str) -> Finding | None:
    unit = _unit(root, UNIT)
    if unit is None:
        return None
    text = _unit_text(root, UNIT)
    if not text.strip():
        return _bad(f"{unit} is masked", f"systemctl unmask {UNIT}")
    if not any(matching(root, f"{place}/*.{kind}/{UNIT}")
               for place in UNIT_DIRS for kind in ("wants", "requires")):  # fmt: skip
        return _bad(f"{unit} is not enabled", f"systemctl enable {UNIT}")
    before = _words(text, "Before")
    late = [
        name for stack in found(root) for name in stack.units
        if name not in before and not _waits(_words(_unit_text(root, name), "After"), before)
    ]  # fmt: skip
    if late:
        return _bad(f"{unit} may run after {', '.join(late)}", INSTALL)
    return _lacking(root, unit, text) or _good(
        f"{unit} is enabled, and ordered before all that is found here"
    )


def _unit(root: str, name: str) -> str | None:
    """The file of a unit that systemd would take, relative to the root."""
    paths = (f"{place}/{name}" for place in UNIT_DIRS)
    return next((path for path in paths if os.path.lexists(os.path.join(root, path))), None)


def _unit_text(root: str, name: str) -> str:
    """A unit with its drop-ins; empty where it is masked or not there."""
    unit = _unit(root, name)
    text = _read(root, unit) if unit else ""
    if text.strip():
        for place in UNIT_DIRS:
            for path in matching(root, f"{place}/{name}.d/*.conf"):
                text += "\n" + _read(root, path)
    return text


def _words(text: str, key: str) -> set[str]:
    """All values of a key of a unit, whose lines add up."""
    lines = re.findall(rf"^{key}[ \t]*=(.*)$", text.replace("\\\n", " "), re.MULTILINE)
    return {word for line in lines for word in line.split()}


def _waits(after: set[str], before: set[str]) -> bool:
    """Whether a unit that is `after` these comes after one that is `before` those."""
    return UNIT in after or "network-pre.target" in after & before


def _sysv(root: str) -> Finding | None:
    links = [path for place in RC_DIRS for path in matching(root, f"{place}/S*{SCRIPT}")]
    script = f"etc/init.d/{SCRIPT}"
    text = _read(root, links[0] if links else script)
    if not text or "openrc-run" in text:
        return None
    if not links:
        debian = not os.path.isdir(os.path.join(root, "etc/rc.d"))
        remedy = f"update-rc.d {SCRIPT} defaults" if debian else f"chkconfig --add {SCRIPT}"
        return _bad(f"{script} is not enabled", remedy)
    every = (path for place in RC_DIRS for path in matching(root, f"{place}/S*"))
    others = [path for path in every if LATER.match(os.path.basename(path))]
    late = [path for path in others if not any(_earlier(link, path) for link in links)]
    if late:
        return _bad(f"{links[0]} may run after {', '.join(late)}", INSTALL)
    return _lacking(root, script, text) or _good(f"{links[0]} runs before networking by its place")


def _earlier(link: str, other: str) -> bool:
    """Whether sysvinit runs a link before another: rcS first, then by name."""
    where, name = os.path.split(link)
    if where == os.path.dirname(other):
        return name < os.path.basename(other)
    return where == "etc/rcS.d"


def _openrc(root: str) -> Finding | None:
    script = f"etc/init.d/{SCRIPT}"
    link = f"etc/runlevels/boot/{SCRIPT}"
    text = _read(root, script)
    if "openrc-run" not in text:  # that of sysvinit has the same name
        return None
    if not os.path.lexists(os.path.join(root, link)):
        return _bad(f"{script} is not in runlevel boot", f"rc-update add {SCRIPT} boot")
    return _lacking(root, script, text) or _good(f"{link} comes before net by its depend()")


def _runit(root: str) -> Finding | None:
    found = matching(root, f"etc/runit/core-services/*{SCRIPT}*")
    if not found:
        return None
    return _lacking(root, found[0], _read(root, found[0])) or _good(
        f"{found[0]} runs before any service"
    )


def _lacking(root: str, file: str, text: str) -> Finding | None:
    """A finding if the helper that a boot file names can't be executed."""
    programs = re.findall(rf"(/[^\s'\"]*/{SCRIPT})\b(?:[ \t]+(?:start|--sysv)\b)", text)
    if not programs:
        return _bad(f"{file} runs no helper", INSTALL)
    for program in programs:
        if not os.access(os.path.join(root, program.lstrip("/")), os.X_OK):
            return _bad(f"{file} runs {program}, which can't be executed", INSTALL)
    return None


def _read(root: str, path: str) -> str:
    """A boot file; empty if it is not there.  Its link is one of the host below the root."""
    for _ in range(40):
        if not os.path.islink(os.path.join(root, path)):
            break
        target = os.readlink(os.path.join(root, path))
        path = os.path.join("/", os.path.dirname(path), target).lstrip("/")
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
