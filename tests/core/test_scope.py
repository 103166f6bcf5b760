"""Which files a change covers: the default patterns and what administrators add."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lib import forks, ncf, snapshot, tree
from lib.ncf import Core, NcfError, Pattern

DEFAULTS = [
    "etc/sysconfig/network",
    "etc/sysconfig/network-scripts/ifcfg-eth0",
    "etc/sysconfig/network-scripts/route-eth0",
    "etc/sysconfig/network-scripts/route6-eth0",
    "etc/sysconfig/network-scripts/rule-eth0",
    "etc/sysconfig/network-scripts/rule6-eth0",
    "etc/sysconfig/network-scripts/keys-wlan0",
    "etc/network/interfaces",
    "etc/network/interfaces.d/eth0",
    "etc/network/interfaces.d/.hidden",
    "etc/network/interfaces.d/sub/dir/eth0",
    "etc/netplan/50-cloud-init.yaml",
    "etc/systemd/network/10-eth0.network",
    "etc/systemd/network/10-eth0.network.d/mtu.conf",
    "etc/NetworkManager/system-connections/office.nmconnection",
    "etc/NetworkManager/system-connections/no-suffix",
    "etc/modprobe.d/netcf.conf",
]
SUSE = [
    "etc/sysconfig/network/ifcfg-eth0",
    "etc/sysconfig/network/ifroute-eth0",
    "etc/sysconfig/network/routes",
    "etc/sysconfig/network/config",
    "etc/sysconfig/network/dhcp",
]
OUTSIDE = [
    "etc/hosts",
    "etc/resolv.conf",
    "etc/sysconfig/network-scripts/ifup-eth",
    "etc/sysconfig/network-scripts/sub/ifcfg-eth0",
    "etc/network/interfaces.other",
    "etc/network/if-up.d/script",
    "etc/netplan/notes.txt",
    "etc/netplan/sub/50.yaml",
    "etc/systemd/networkd.conf",
    "etc/NetworkManager/NetworkManager.conf",
    "etc/modprobe.d/other.conf",
]
BACKUPS = [
    "etc/sysconfig/network-scripts/ifcfg-eth0~",
    "etc/sysconfig/network-scripts/ifcfg-eth0.bak",
    "etc/sysconfig/network-scripts/ifcfg-eth0.orig",
    "etc/sysconfig/network-scripts/ifcfg-eth0.rpmnew",
    "etc/sysconfig/network-scripts/ifcfg-eth0.rpmsave",
    "etc/NetworkManager/system-connections/office.nmconnection~",
    "etc/NetworkManager/system-connections/.office.nmconnection.swp",
]


def covered(core: Core, root: Path, path: str) -> bool:
    """Whether a file at `path` is put back by a rollback."""
    full = Path(os.fsdecode(tree.write(root, path, b"old")))
    core.start(root)
    full.write_bytes(b"new")
    core.rollback(root)
    content = full.read_bytes()
    assert content in (b"old", b"new")
    return content == b"old"


@pytest.mark.parametrize("path", DEFAULTS + SUSE)
def test_default_scope_covers(core: Core, root: Path, path: str) -> None:
    """Each file of DESIGN section 8 is covered without any configuration."""
    assert covered(core, root, path)


@pytest.mark.parametrize("path", OUTSIDE + BACKUPS)
def test_default_scope_leaves_out(core: Core, root: Path, path: str) -> None:
    """Other files, and backups of editors and packagers, are left alone."""
    assert not covered(core, root, path)


def patterns(core: Core, root: Path) -> list[Pattern]:
    with core.open(root) as handle:
        return handle.scope()


def conf(root: Path, text: str, name: str = "local.conf") -> Path:
    """A file of the administrator's in scope.d."""
    path = root / "etc/netcf/scope.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_scope_lists_the_default_patterns(core: Core, root: Path) -> None:
    """ncf_change_scope() names every pattern, with excludes marked."""
    found = patterns(core, root)
    assert Pattern(False, b"etc/sysconfig/network-scripts/ifcfg-*") in found
    assert Pattern(False, b"etc/network/interfaces.d/**") in found
    assert Pattern(False, b"etc/modprobe.d/netcf.conf") in found
    assert Pattern(True, b"etc/NetworkManager/system-connections/*~") in found


def test_scope_list_says_which_pattern_took_a_path(core: Core, root: Path) -> None:
    """Each path in scope is listed with the pattern that takes it, or names in it."""
    tree.write(root, "etc/systemd/network/10-eth2.network.d/mtu.conf")
    tree.write(root, "etc/netplan/README")
    tree.write(root, "etc/netplan/b.yaml")
    tree.write(root, "etc/hosts")
    conf(root, "!etc/netplan/b*\netc/hosts\n")
    os.symlink("b.yaml", root / "etc/netplan/a.yaml")
    with core.open(root) as handle:
        found = handle.scope_list()
        assert found == [
            (b"f", b"etc/hosts", b"etc/hosts"),
            (b"d", b"etc/netplan", b"etc/netplan/*.yaml"),
            (b"l", b"etc/netplan/a.yaml", b"etc/netplan/*.yaml"),
            (b"d", b"etc/systemd/network", b"etc/systemd/network/**"),
            (b"d", b"etc/systemd/network/10-eth2.network.d", b"etc/systemd/network/**"),
            (b"f", b"etc/systemd/network/10-eth2.network.d/mtu.conf", b"etc/systemd/network/**"),
        ]


def test_scope_list_follows_the_open_change(core: Core, root: Path) -> None:
    """While a change is open its own scope counts, and what was announced has no pattern."""
    conf(root, "etc/hosts\n")
    tree.write(root, "etc/hosts")
    core.start(root)
    conf(root, "")
    with core.open(root) as handle:
        assert handle.scope_list() == [(b"f", b"etc/hosts", b"etc/hosts")]
    core.rollback(root)
    core.start(root, ncf.START_ON_WRITE)
    with core.open(root) as handle:
        handle.announce("etc/hosts")
        handle.announce("etc/other")
        assert handle.scope_list() == [(b"f", b"etc/hosts", b""), (b"-", b"etc/other", b"")]


def test_scope_file_adds_a_pattern(core: Core, root: Path) -> None:
    """A line of scope.d takes in a file, with or without a leading slash."""
    conf(root, "/etc/hosts\netc/resolv.conf\n")
    assert covered(core, root, "etc/hosts")
    assert covered(core, root, "etc/resolv.conf")
    assert not covered(core, root, "etc/hostname")
    assert Pattern(False, b"etc/hosts") in patterns(core, root)


def test_scope_file_excludes_a_pattern(core: Core, root: Path) -> None:
    """A line beginning with ! leaves out what another pattern takes in."""
    conf(root, "!etc/netplan/50-*.yaml\n! /etc/never\n".replace("! /", "!/"))
    assert not covered(core, root, "etc/netplan/50-cloud-init.yaml")
    assert covered(core, root, "etc/netplan/60-mine.yaml")
    assert Pattern(True, b"etc/netplan/50-*.yaml") in patterns(core, root)


def test_excluded_directory_is_not_entered(core: Core, root: Path) -> None:
    """Excluding a directory leaves out all that is below it."""
    conf(root, "!etc/systemd/network/vendor\n")
    assert not covered(core, root, "etc/systemd/network/vendor/10.network")
    assert covered(core, root, "etc/systemd/network/mine/10.network")


def test_comments_blanks_and_spaces_in_a_scope_file(core: Core, root: Path) -> None:
    """Comments, empty lines, spaces around a pattern, CRLF and a missing last newline are fine."""
    conf(root, "# comment\n\n   \n  etc/hosts  \r\n\t# more\n!etc/netplan/a.yaml\netc/last")
    added = [row for row in patterns(core, root) if row not in patterns_of_defaults(core, root)]
    assert added == [
        Pattern(False, b"etc/hosts"),
        Pattern(True, b"etc/netplan/a.yaml"),
        Pattern(False, b"etc/last"),
    ]


def patterns_of_defaults(core: Core, root: Path) -> list[Pattern]:
    bare = root / "bare"
    (bare / "etc").mkdir(parents=True, exist_ok=True)
    return patterns(core, bare)


def test_scope_files_are_read_in_order_of_their_names(core: Core, root: Path) -> None:
    """All *.conf count, sorted by name; other names and hidden files do not."""
    conf(root, "etc/b\n", "20-b.conf")
    conf(root, "etc/a\n", "10-a.conf")
    conf(root, "etc/no\n", "README")
    conf(root, "etc/no\n", "30.conf~")
    conf(root, "etc/no\n", ".hidden.conf")
    defaults = patterns_of_defaults(core, root)
    assert patterns(core, root)[len(defaults) :] == [Pattern(False, b"etc/a"), Pattern(False, b"etc/b")]


@pytest.mark.parametrize(
    "pattern, name, matches",
    [
        ("*", "anything", True),
        ("*", ".hidden", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[]]x", "]x", True),
        ("[a", "[a", True),
        ("*.conf", ".conf", True),
        ("*.conf", "x.conf.d", False),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXcYb", False),
        ("**x", "yx", True),
        ("caf?", b"caf\xe9", True),
        ("x*", "x", True),
        ("[a-]", "-", True),
    ],
)
def test_wildcards(core: Core, root: Path, pattern: str, name: object, matches: bool) -> None:
    """*, ? and [...] match within one name, byte by byte."""
    conf(root, f"etc/extra/{pattern}\n")
    assert covered(core, root, os.path.join("etc/extra", os.fsdecode(name))) == matches


def test_wildcard_in_the_middle_of_a_path(core: Core, root: Path) -> None:
    """A wildcard may stand for a directory, but not for several."""
    conf(root, "etc/*/net/if-[0-9]\n")
    assert covered(core, root, "etc/one/net/if-1")
    assert covered(core, root, "etc/two/net/if-2")
    assert not covered(core, root, "etc/one/more/net/if-1")
    assert not covered(core, root, "etc/one/net/if-x")


def test_wildcard_for_a_directory_takes_no_files(core: Core, root: Path) -> None:
    """A file whose name only a wildcard for directories matches is not saved, put back or deleted."""
    conf(root, "etc/*/net/if-[0-9]\n")
    tree.write(root, "etc/shadow", b"old")
    tree.write(root, "etc/one/net/if-1", b"old")
    core.start(root)
    assert list(snapshot.contents(tree.join(root, tree.SNAPSHOT))) == [b"etc/one/net/if-1"]
    tree.write(root, "etc/shadow", b"new")
    tree.write(root, "etc/passwd", b"new")
    assert core.diff(root) == []
    core.rollback(root)
    assert (root / "etc/shadow").read_bytes() == b"new"
    assert (root / "etc/passwd").read_bytes() == b"new"


def test_file_in_the_place_of_a_directory_that_a_wildcard_matched(core: Core, root: Path) -> None:
    """Where such a directory became a file, rollback brings it back with what was in it."""
    conf(root, "etc/*/net/if-[0-9]\n")
    tree.write(root, "etc/one/net/if-1", b"old")
    core.start(root)
    shutil.rmtree(root / "etc/one")
    tree.write(root, "etc/one", b"in the way")
    core.rollback(root)
    assert (root / "etc/one/net/if-1").read_bytes() == b"old"
    assert core.status(root).open == 0


def test_pattern_of_a_wildcard_takes_no_directories(core: Core, root: Path) -> None:
    """Only ** takes directories: a directory that * would match is left alone."""
    conf(root, "etc/extra/*\n")
    directory = root / "etc/extra/sub"
    directory.mkdir(parents=True, mode=0o755)
    core.start(root)
    directory.chmod(0o700)
    (directory / "file").write_bytes(b"x")
    core.rollback(root)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "file").exists()


@pytest.mark.parametrize(
    "line",
    ["../outside", "etc/../../outside", "etc/./hosts", "etc//hosts", "etc/hosts/", ".", "**", "/",
     "etc/**/x", "!**", "!../x", "var/lib/netcf/network-snapshot.tar", "etc/" + "n" * 256],
)  # fmt: skip
def test_bad_patterns_are_refused(core: Core, root: Path, line: str) -> None:
    """A pattern that leaves the root, takes the whole host or is no path fails start."""
    conf(root, line + "\n")
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "bad pattern" in caught.value.details
    assert line.lstrip("!/")[:200] in caught.value.details
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_scope_file_that_others_can_write(core: Core, root: Path, mode: int) -> None:
    """A scope file that others could have written is refused, by name."""
    conf(root, "etc/hosts\n").chmod(mode)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "etc/netcf/scope.d/local.conf" in caught.value.details
    assert "can be written by others" in caught.value.details
    assert core.status(root).open == 0


def test_scope_directory_that_others_can_write(core: Core, root: Path) -> None:
    """A scope.d that others can write to is refused too."""
    conf(root, "etc/hosts\n").parent.chmod(0o777)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "etc/netcf/scope.d" in caught.value.details


@pytest.mark.root
def test_scope_file_of_somebody_else(core: Core, root: Path) -> None:
    """A scope file that belongs to neither root nor the caller is refused."""
    os.chown(conf(root, "etc/hosts\n"), 1234, 0)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "belongs to somebody else" in caught.value.details


def test_scope_file_that_is_a_symbolic_link(core: Core, root: Path) -> None:
    """A scope file is never read through a link."""
    outside = root / "list"
    outside.write_text("etc/hosts\n")
    conf(root, "", "x.conf").unlink()
    (root / "etc/netcf/scope.d/x.conf").symlink_to(outside)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "etc/netcf/scope.d/x.conf" in caught.value.details


def test_scope_file_that_is_a_fifo(core: Core, root: Path) -> None:
    """A FIFO among the scope files is refused without waiting for a writer."""
    conf(root, "", "x.conf").unlink()
    os.mkfifo(root / "etc/netcf/scope.d/x.conf")
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE


def test_the_scope_is_stored_in_the_snapshot(core: Core, root: Path) -> None:
    """Rollback and diff use the scope of start, whatever scope.d says by then."""
    path = conf(root, "etc/hosts\n!etc/netplan/b.yaml\n")
    tree.write(root, "etc/hosts", b"old")
    tree.write(root, "etc/netplan/a.yaml", b"old")
    tree.write(root, "etc/netplan/b.yaml", b"old")
    wanted = patterns(core, root)
    core.start(root)
    path.write_text("etc/hostname\n!etc/netplan/a.yaml\n")
    tree.write(root, "etc/hostname", b"not covered at start")
    for name in ("etc/hosts", "etc/netplan/a.yaml", "etc/netplan/b.yaml"):
        tree.write(root, name, b"new")
    assert patterns(core, root) == wanted
    core.rollback(root)
    assert (root / "etc/hosts").read_bytes() == b"old"
    assert (root / "etc/netplan/a.yaml").read_bytes() == b"old"
    assert (root / "etc/netplan/b.yaml").read_bytes() == b"new"
    assert (root / "etc/hostname").read_bytes() == b"not covered at start"


def test_a_damaged_scope_file_does_not_stop_a_rollback(core: Core, root: Path) -> None:
    """Rollback needs no scope file: one that is bad by then changes nothing."""
    before = tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    path = conf(root, "../bad\n")
    path.chmod(0o666)
    core.rollback(root)
    for row in (path, path.parent, path.parent.parent):
        row.unlink() if row.is_file() else row.rmdir()
    assert tree.differences(before, tree.capture(root)) == []


def test_pattern_that_matches_nothing_is_captured(core: Core, root: Path) -> None:
    """A pattern that matched nothing at start lets rollback delete what came later."""
    core.start(root)
    added = Path(os.fsdecode(tree.write(root, "etc/netplan/new.yaml", b"x")))
    core.rollback(root)
    assert not added.exists()


def test_pattern_that_was_not_captured_deletes_nothing(core: Core, root: Path) -> None:
    """A pattern added to scope.d during the change gives no right to delete."""
    core.start(root)
    conf(root, "etc/extra/*\n")
    added = Path(os.fsdecode(tree.write(root, "etc/extra/file", b"x")))
    core.rollback(root)
    assert added.read_bytes() == b"x"


@pytest.mark.parametrize("directory", ["etc/systemd/network", "etc/systemd", "etc/netplan", "etc/network", "etc"])
def test_symlinked_directory_on_the_way(core: Core, root: Path, directory: str) -> None:
    """A pattern that leads through a symbolic link is refused at start, with path and advice."""
    (root / "etc/netplan").mkdir()
    real = root / "srv/real"
    real.parent.mkdir()
    target = root / directory
    if target.exists():
        target.rename(real)
    else:
        real.mkdir()
        target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(real)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "symbolic link" in caught.value.details
    assert directory in caught.value.details
    assert not (root / "var/lib/netcf/network-snapshot.tar").exists()


def test_symlinked_directory_that_is_excluded(core: Core, root: Path) -> None:
    """Excluding the pattern, as the error advises, makes start possible."""
    (root / "srv").mkdir()
    (root / "etc/netplan").symlink_to(root / "srv")
    conf(root, "!etc/netplan\n")
    core.start(root)
    assert core.status(root).open == 1


def test_symlinked_directory_below_a_deep_pattern(core: Core, root: Path) -> None:
    """Below ** a link is saved as a link, whatever it points to, and not entered."""
    (root / "srv").mkdir()
    (root / "srv/file").write_bytes(b"old")
    (root / "etc/systemd/network").mkdir(parents=True)
    (root / "etc/systemd/network/link").symlink_to("/srv")
    core.start(root)
    (root / "srv/file").write_bytes(b"new")
    core.rollback(root)
    assert (root / "srv/file").read_bytes() == b"new"
    assert os.readlink(root / "etc/systemd/network/link") == "/srv"


def test_the_state_directory_is_never_in_scope(core: Core, root: Path) -> None:
    """Patterns that would take the state directory in skip it."""
    conf(root, "var/lib/**\nvar/lib/netcf-other/*\n")
    tree.write(root, "var/lib/other/file", b"old")
    core.start(root)
    (root / "var/lib/other/file").write_bytes(b"new")
    core.rollback(root)
    assert (root / "var/lib/other/file").read_bytes() == b"old"
    assert len(core.discarded(root)) == 1
    core.start(root)
    core.rollback(root)
    assert len(core.discarded(root)) == 1


def test_overlapping_patterns_save_a_file_once(core: Core, root: Path) -> None:
    """A file that several patterns take is one file."""
    conf(root, "etc/netplan/*\netc/netplan/a*\netc/netplan/**\n")
    tree.write(root, "etc/netplan/a.yaml", b"old")
    core.start(root)
    assert core.status(root).files == 2  # the file and the directory that is listed
    (root / "etc/netplan/a.yaml").unlink()
    assert core.rollback(root).removed == 1


@pytest.mark.parametrize("kind", ["too large", "too many patterns", "too many files"])
def test_scope_files_beyond_the_limits(core: Core, root: Path, kind: str) -> None:
    """More than 64 KiB, 1,000 patterns or 256 files are refused, by name, and nothing is saved."""
    if kind == "too large":
        conf(root, "#" * (64 * 1024 + 1))
    elif kind == "too many patterns":
        conf(root, "etc/x\n" * 1001)
    else:
        for number in range(257):
            tree.write(root, f"etc/netcf/scope.d/{number:03}.conf", b"")
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert "etc/netcf/scope.d" in caught.value.details
    assert core.status(root).open == 0


def test_other_names_in_the_scope_directory(core: Core, root: Path) -> None:
    """Only what ends in .conf and is not hidden is read: a short name, an editor's, a hidden one are not."""
    for name in ("conf", "a", ".conf", ".a.conf", "a.conf~", "README"):
        tree.write(root, f"etc/netcf/scope.d/{name}", b"../not a pattern\n")
    core.start(root)
    assert core.status(root).open == 1


@pytest.mark.root
def test_a_root_of_ones_own(core: Core, fast_dir: Path) -> None:
    """An ordinary user starts, rolls back and commits on a tree of his own, with a scope file of his own."""
    root = fast_dir / "host"
    tree.compact(root)
    conf(root, "etc/more/*\n")
    (root / "etc/more").mkdir()
    fast_dir.chmod(0o755)
    for path in [root, *root.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)

    def child() -> list[str]:
        os.setgid(65534)
        os.setuid(65534)
        before = tree.capture(root)
        core.start(root)
        (root / "etc/more/added").write_bytes(b"added")
        (root / "etc/network/interfaces").write_bytes(b"edited")
        core.rollback(root)
        left = tree.differences(before, tree.capture(root))
        core.start(root)
        core.commit(root)
        return left

    assert forks.run(child).value == []
