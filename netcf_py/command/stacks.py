# SPDX-License-Identifier: LGPL-2.1-or-later
"""The software that turns files into interfaces, as far as it is found on a host."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Stack", "files", "found", "matching"]


@dataclass(frozen=True)
class Stack:
    """Software that turns files into interfaces."""

    name: str
    programs: tuple[str, ...]
    """One of them is there where it is installed."""
    files: tuple[str, ...]
    """What it reads and an administrator writes."""
    units: tuple[str, ...]
    """What the boot unit has to come before."""


STACKS = (
    Stack("ifupdown", ("sbin/ifup", "usr/sbin/ifup"),
          ("etc/network/interfaces", "etc/network/interfaces.d/*"), ("networking.service",)),
    Stack("systemd-networkd",
          ("lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-networkd"),
          ("etc/systemd/network/*", "etc/systemd/networkd.conf.d/*"),
          ("systemd-networkd.service",)),
    Stack("NetworkManager", ("usr/sbin/NetworkManager", "usr/bin/NetworkManager"),
          ("etc/NetworkManager/system-connections/*", "etc/NetworkManager/NetworkManager.conf",
           "etc/NetworkManager/conf.d/*"), ("NetworkManager.service",)),
    # Its generator runs before every unit; at boot the helper makes up for that.
    Stack("netplan", ("usr/sbin/netplan",), ("etc/netplan/*.yaml",), ()),
    Stack("network-scripts", ("etc/sysconfig/network-scripts/ifup",),
          ("etc/sysconfig/network", "etc/sysconfig/network-scripts/ifcfg-*",
           "etc/sysconfig/network-scripts/route*-*", "etc/sysconfig/network-scripts/rule*-*"),
          ("network.service",)),
    Stack("wicked", ("usr/sbin/wicked",),
          ("etc/sysconfig/network/ifcfg-*", "etc/sysconfig/network/ifroute-*", "etc/wicked/*.xml"),
          ("wickedd.service", "wicked.service")),
    Stack("ConnMan", ("usr/sbin/connmand",), ("etc/connman/*", "var/lib/connman/*/settings"),
          ("connman.service",)),
    Stack("dhcpcd", ("sbin/dhcpcd", "usr/sbin/dhcpcd"), ("etc/dhcpcd.conf",),
          ("dhcpcd.service",)),
)  # fmt: skip

# Kept by packagers and editors beside the files, and read by no stack.
_BACKUPS = ("~", ".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".dpkg-old", ".dpkg-dist")


def found(root: str) -> list[Stack]:
    """Return the stacks whose programs are installed below `root`."""
    return [
        stack
        for stack in STACKS
        if any(os.path.lexists(os.path.join(root, program)) for program in stack.programs)
    ]


def files(root: str, stack: Stack) -> list[str]:
    """Return what a stack reads, relative to `root`."""
    patterns = [*stack.files, *(_sources(root) if stack.name == "ifupdown" else ())]
    read = {path for pattern in patterns for path in matching(root, pattern)}
    return sorted(path for path in read if not path.endswith(_BACKUPS))


def matching(root: str, pattern: str) -> list[str]:
    """Return the paths beneath `root` that match, relative to it."""
    matched = glob.glob(os.path.join(glob.escape(root), pattern))
    return sorted(os.path.relpath(path, root) for path in matched)


def _sources(root: str) -> Iterator[str]:
    """What ifupdown's file says that it reads, too."""
    base = "etc/network"
    try:
        with open(os.path.join(root, base, "interfaces"), "rb") as file:
            rows = [os.fsdecode(line).split() for line in file]
    except OSError:  # that it can't be read is found elsewhere
        return
    for row in rows:
        if len(row) > 1 and row[0] in ("source", "source-directory"):
            for pattern in row[1:]:
                path = os.path.join("/", base, pattern).lstrip("/")
                yield path if row[0] == "source" else f"{path}/*"
