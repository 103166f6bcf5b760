"""Snapshots that are damaged or made by an enemy: no live file is touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest

from lib import ncf, snapshot, tree
from lib.helper import FAILED, Helper
from lib.ncf import Core, NcfError
from lib.snapshot import FLAGS, MODE, MTIME, NLINK, OFFSET, PATH, SIZE, TYPE, change_field

SCRIPTS = b"etc/sysconfig/network-scripts/"
IFCFG = SCRIPTS + b"ifcfg-eth0"


@pytest.fixture
def host(core: Core, root: Path) -> Path:
    """A realistic host with an open change and every kind of edit made."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    return root


@pytest.fixture
def file(host: Path) -> Path:
    """The snapshot of that change."""
    return host / "var/lib/netcf/network-snapshot.tar"


def refused(core: Core, helper: Helper, host: Path, *words: str) -> None:
    """Rollback, diff and boot fail with these words and touch nothing, the snapshot included."""
    before = tree.capture(host, state=True, identity=True)
    for call in (core.rollback, core.diff):
        with pytest.raises(NcfError) as caught:
            call(host)
        assert caught.value.code == ncf.EFILE
        for word in words:
            assert word in caught.value.details
    assert helper.boot(host) == FAILED
    assert tree.differences(before, tree.capture(host, state=True, identity=True)) == []


def test_crafting_changes_nothing_by_itself(core: Core, host: Path, file: Path) -> None:
    """A snapshot taken apart and put together by the tests is the same bytes."""
    was = file.read_bytes()
    snapshot.rewrite(file, lambda lines: lines)
    assert file.read_bytes() == was


@pytest.mark.parametrize("left", [0, 1, 511, 512, 1024, 1058, 5000, -1, -512, -1024, -1025, -1058, -2000])
def test_truncated(core: Core, helper: Helper, host: Path, file: Path, left: int) -> None:
    """A snapshot cut anywhere is damage, not "start was interrupted"."""
    size = file.stat().st_size
    os.truncate(file, left if left >= 0 else size + left)
    refused(core, helper, host, "network-snapshot.tar")


def test_one_bit_flipped_anywhere(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """Every single flipped bit is noticed, in headers, content, padding and manifest."""
    sound = file.read_bytes()
    live = tree.capture(host, identity=True)
    with core.open(host) as handle:
        for position in range(0, len(sound), 97):
            damaged = bytearray(sound)
            damaged[position] ^= 1 << position % 8
            file.write_bytes(damaged)
            with pytest.raises(NcfError) as caught:
                handle.rollback()
            assert caught.value.code == ncf.EFILE, position
    assert file.exists()
    assert tree.differences(live, tree.capture(host, identity=True)) == []
    file.write_bytes(sound)
    core.rollback(host)


def test_content_overwritten_with_zeros(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A block that a power cut left as zeros does not become a file's content."""
    data = bytearray(file.read_bytes())
    at = data.index(b"DEVICE=")
    data[at : at + 64] = bytes(64)
    file.write_bytes(data)
    refused(core, helper, host, "network-snapshot.tar", "checksum")


def test_damage_says_what_to_do(core: Core, host: Path, file: Path) -> None:
    """A rollback that meets damage says how to recover by hand and how to close the change."""
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(NcfError, match=r"by hand what can be read \(tar\), then commit, which drops it"):
        core.rollback(host)


@pytest.mark.parametrize("tail", [b"\0", b"x", bytes(512), bytes(10240)], ids=["nul", "x", "block", "record"])
def test_something_appended(core: Core, helper: Helper, host: Path, file: Path, tail: bytes) -> None:
    """Bytes after the end are refused, zeros too."""
    with open(file, "ab") as stream:
        stream.write(tail)
    refused(core, helper, host, "network-snapshot.tar")


def test_empty_file(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """An empty file in the snapshot's place is no snapshot."""
    file.write_bytes(b"")
    refused(core, helper, host, "network-snapshot.tar")


def test_a_tar_of_somebody_else(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A tar that this library did not write is no snapshot."""
    import tarfile

    with tarfile.open(file, "w:") as archive:
        archive.add(host / "etc", "etc")
    refused(core, helper, host, "is not a snapshot")


def test_newer_format(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A snapshot of a newer version is refused with words that say so."""
    snapshot.set_version(file, b"netcf 2")
    refused(core, helper, host, "newer version", "network-snapshot.tar")


@pytest.mark.parametrize("version", [b"netcf 10", b"netcf 1 ", b"netcf", b"other 1", b""])
def test_other_first_lines(core: Core, helper: Helper, host: Path, file: Path, version: bytes) -> None:
    """Any other first line is refused."""
    snapshot.set_version(file, version)
    refused(core, helper, host, "network-snapshot.tar")


@pytest.mark.parametrize(
    "path",
    [
        b"../outside", b"etc/../../outside", b"etc/..", b"..", b"/etc/hosts", b"etc//hosts", b"./etc/hosts",
        b"etc/./hosts", b"etc/hosts/", b"", b"var/lib/netcf/network-snapshot.tar", b"var/lib/netcf",
        b"etc/" + b"n" * 256, b"etc/.netcf-tmp", b"etc/a%00b", b"etc/%2e%2e/x",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(
    core: Core, helper: Helper, host: Path, file: Path, path: bytes
) -> None:
    """A path with .., an absolute one, one into the state directory: refused before anything is read."""
    outside = host.parent / "outside"
    outside.write_bytes(b"do not touch")

    def first_path(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, line in enumerate(lines) if line.startswith(b"f "))
        fields = lines[number].split(b" ")
        fields[PATH] = path
        lines[number] = b" ".join(fields)
        return lines

    snapshot.rewrite(file, first_path)
    refused(core, helper, host)
    assert outside.read_bytes() == b"do not touch"


@pytest.mark.parametrize("pattern", [b"../*", b"/../x", b"**", b"etc/../../**", b"var/lib/netcf/*"])
@pytest.mark.parametrize("word", [b"include", b"exclude"])
def test_patterns_that_lead_elsewhere(
    core: Core, helper: Helper, host: Path, file: Path, word: bytes, pattern: bytes
) -> None:
    """A scope in a snapshot is checked as one in scope.d is."""

    def add(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, line in enumerate(lines) if line.startswith(b"include "))
        return lines[:number] + [word + b" " + pattern] + lines[number:]

    snapshot.rewrite(file, add)
    refused(core, helper, host)


def test_unsorted_paths(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """Paths that are out of order are refused."""

    def swap(lines: list[bytes]) -> list[bytes]:
        one, other = [i for i, line in enumerate(lines) if SCRIPTS + b"ifcfg-" in line and line[:1] == b"f"][:2]
        lines[one], lines[other] = lines[other], lines[one]
        return lines

    snapshot.rewrite(file, swap)
    refused(core, helper, host)


def test_duplicate_paths(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A path that is listed twice is refused."""

    def double(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, line in enumerate(lines) if line.endswith(b" " + IFCFG))
        return lines[:number] + [lines[number]] + lines[number:]

    snapshot.rewrite(file, double)
    refused(core, helper, host)


def test_path_below_a_link_of_the_snapshot(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A snapshot can't make a symbolic link and then write through it."""
    outside = host.parent / "outside"
    outside.mkdir()

    def link(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, line in enumerate(lines) if line.endswith(b" etc/systemd/network/10-eth2.network.d"))
        fields = lines[number].split(b" ")
        fields[TYPE] = b"l"
        lines[number] = b" ".join(fields)
        return lines[: number + 1] + [b"t " + bytes(outside)] + lines[number + 1 :]

    snapshot.rewrite(file, link)
    refused(core, helper, host)
    assert os.listdir(outside) == []


def test_path_below_a_file_of_the_snapshot(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """Nothing can lie below what the snapshot says is a file."""
    snapshot.rewrite(file, change_field(b"etc/systemd/network/10-eth2.network.d", TYPE, b"f"))
    refused(core, helper, host)


FIELDS: list[tuple] = [
    (TYPE, b"c"), (TYPE, b"b"), (TYPE, b"x"), (TYPE, b"ff"), (TYPE, b"F"), (TYPE, b""),
    (MODE, b"10000"), (MODE, b"100644"), (MODE, b"-1"), (MODE, b"8"), (MODE, b""), (MODE, b"0644"),
    (FLAGS, b"80"), (FLAGS, b"1"), (FLAGS, b"010"), (FLAGS, b"00"), (MTIME, b"-0.000000000"), (FLAGS, b"ffffffff"),
    (SIZE, b"99999999999"), (SIZE, b"-1"), (SIZE, b"18446744073709551615"), (SIZE, b"184467440737095516160"),
    (OFFSET, b"99999999999"), (OFFSET, b"18446744073709551615"), (OFFSET, b"+1"),
    (NLINK, b"4294967296"), (NLINK, b"x"),
]  # fmt: skip


@pytest.mark.parametrize("field, value", FIELDS, ids=[f"{f}={v.decode() or 'empty'}" for f, v in FIELDS])
def test_fields_out_of_range(
    core: Core, helper: Helper, host: Path, file: Path, field: int, value: bytes
) -> None:
    """An entry with a type, mode, flag, size or offset that can't be is refused."""
    snapshot.rewrite(file, change_field(IFCFG, field, value))
    refused(core, helper, host)


def drop(prefix: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [line for line in lines if not line.startswith(prefix)]


@pytest.mark.parametrize("key", [b"kind", b"id", b"started", b"by", b"program", b"boot", b"note"])
def test_missing_lines(core: Core, helper: Helper, host: Path, file: Path, key: bytes) -> None:
    """A manifest that lacks one of its lines is refused."""
    snapshot.rewrite(file, drop(key + b" "))
    refused(core, helper, host, "network-snapshot.tar")


@pytest.mark.parametrize(
    "line",
    [b"", b" ", b"unknown line", b"f", b"f 644", b"x user.a b", b"t target", b"#", b"\x00", b"note again", b"end 000000000000 0"],
)  # fmt: skip
def test_lines_nobody_wrote(core: Core, helper: Helper, host: Path, file: Path, line: bytes) -> None:
    """A line that makes no sense is refused, not skipped."""

    def add(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, row in enumerate(lines) if snapshot.is_entry(row))
        return lines[:number] + [line] + lines[number:]

    snapshot.rewrite(file, add)
    refused(core, helper, host)


@pytest.mark.parametrize(
    "key, value",
    [
        (b"kind", b"x"), (b"kind", b""), (b"kind", b"ww"), (b"id", b"0123456789abcdef0"),
        (b"id", b"%1b[31m"), (b"id", b"0123456789abcde"), (b"id", b"0123456789abcdeF"), (b"note", b"%41"),
        (b"started", b"-1.000000000"), (b"started", b"-0.000000000"), (b"include", b"/etc/hosts"),
        (b"started", b"1"), (b"started", b"1.5"), (b"started", b"x.000000000"),
        (b"by", b"0"), (b"by", b"0 4294967296"), (b"program", b"p" * 32), (b"boot", b"b" * 37),
        (b"note", b"n" * 256), (b"note", b"%0"), (b"note", b"%zz"), (b"note", b"%00"), (b"note", b"a b"),
    ],
)  # fmt: skip
def test_lines_out_of_range(
    core: Core, helper: Helper, host: Path, file: Path, key: bytes, value: bytes
) -> None:
    """A value of the manifest's head that can't be is refused."""

    def change(lines: list[bytes]) -> list[bytes]:
        number = next(i for i, line in enumerate(lines) if line.startswith(key + b" "))
        lines[number] = key + b" " + value
        return lines

    snapshot.rewrite(file, change)
    refused(core, helper, host)


@pytest.mark.parametrize(
    "line",
    [
        b"deadline x 1", b"deadline 0 1", b"deadline 5", b"deadline 4294967296 1", b"deadline 5 1", b"due-boot x",
        b"leash", b"leash x", b"trial-boots 0", b"trial-boots 4294967296",
    ],
)  # fmt: skip
def test_wrong_lines_of_the_guard(core: Core, helper: Helper, host: Path, file: Path, line: bytes) -> None:
    """What deadline, leash and trial boots can't be is refused; `deadline` needs its `due-boot`."""

    def add(lines: list[bytes]) -> list[bytes]:
        at = 1 + next(i for i, row in enumerate(lines) if row.startswith(b"note "))
        return [*lines[:at], line, *lines[at:]]

    snapshot.rewrite(file, add)
    refused(core, helper, host)


def test_discarded_configuration_in_the_snapshots_place(
    core: Core, helper: Helper, root: Path
) -> None:
    """A discarded configuration that was moved to the snapshot's name is not acted on."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    core.rollback(root)
    state = root / "var/lib/netcf"
    os.rename(state / "network-rollback-00000001.tar", state / "network-snapshot.tar")
    refused(core, helper, root, "network-snapshot.tar")


def test_symlinked_directory_on_the_live_host(core: Core, host: Path) -> None:
    """A directory that became a link to outside is not written through; the rest is restored."""
    outside = host.parent / "outside"
    outside.mkdir()
    (outside / "ifcfg-eth0").write_bytes(b"do not touch")
    scripts = host / "etc/sysconfig/network-scripts"
    scripts.rename(host / "etc/sysconfig/moved")
    scripts.symlink_to(outside)
    try:
        core.rollback(host)
    except NcfError as error:
        assert error.code == ncf.EFILE
        assert "etc/sysconfig/network-scripts" in error.details
        assert core.status(host).open == 1
    assert (outside / "ifcfg-eth0").read_bytes() == b"do not touch"
    assert os.listdir(outside) == ["ifcfg-eth0"]
    assert (host / "etc/network/interfaces.d/eth0.5").read_bytes() == tree.REALISTIC[
        b"etc/network/interfaces.d/eth0.5"
    ][1]


def test_snapshot_that_is_a_symbolic_link(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A link in the snapshot's place is not followed."""
    elsewhere = host.parent / "elsewhere.tar"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    refused(core, helper, host, "network-snapshot.tar")


def test_snapshot_that_is_a_fifo(core: Core, helper: Helper, host: Path, file: Path) -> None:
    """A FIFO in the snapshot's place is refused at once."""
    file.unlink()
    os.mkfifo(file)
    refused(core, helper, host, "network-snapshot.tar")


@pytest.mark.parametrize("where", ["network-snapshot", "network-snapshot.tar"])
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_directory_left_by_the_old_netcf_script(
    core: Core, helper: Helper, root: Path, where: str, filled: bool
) -> None:
    """What netcf's own script left is neither acted on nor overwritten: start and boot refuse."""
    tree.realistic(root)
    left = root / "var/lib/netcf" / where
    left.mkdir(parents=True)
    left.parent.chmod(0o700)
    if filled:
        tree.write(left, "etc/sysconfig/network-scripts/ifcfg-eth0", b"old copy\n")
    before = tree.capture(root, state=True, identity=True)
    with pytest.raises(NcfError) as caught:
        core.start(root)
    assert caught.value.code == ncf.EFILE
    assert f"var/lib/netcf/{where}" in caught.value.details
    assert "netcf" in caught.value.details
    assert helper.boot(root) == FAILED
    assert helper.run("status", "--open", root=root).returncode != 0
    assert tree.differences(before, tree.capture(root, state=True, identity=True)) == []


def test_damage_of_a_discarded_configuration(core: Core, root: Path) -> None:
    """A damaged discarded configuration is refused when it is to be put back."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    core.rollback(root)
    path = root / "var/lib/netcf/network-rollback-00000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    core.start(root)
    before = tree.capture(root, identity=True)
    with core.open(root) as handle, pytest.raises(NcfError) as caught:
        handle.restore(1)
    assert caught.value.code == ncf.EFILE
    assert "network-rollback-00000001.tar" in caught.value.details
    assert tree.differences(before, tree.capture(root, identity=True)) == []


def test_a_start_beside_what_can_not_be_read(core: Core, host: Path, file: Path) -> None:
    """A damaged snapshot, and one of a newer version, are open changes to a start, of which it can't tell whose."""
    sound = file.read_bytes()
    snapshot.set_version(file, b"netcf 2")
    newer = file.read_bytes()
    for content in (newer, sound[:700]):
        file.write_bytes(content)
        with pytest.raises(NcfError, match="there is another transaction running") as caught:
            core.start(host)
        assert caught.value.code == ncf.EINVALIDOP and "started by" not in caught.value.details
        assert file.read_bytes() == content


def test_a_snapshot_in_the_place_of_a_discarded_configuration(core: Core, host: Path, file: Path) -> None:
    """It is not put back: it is none, however well it reads."""
    edited = tree.capture(host)
    (file.parent / "network-rollback-00000001.tar").write_bytes(file.read_bytes())
    with core.open(host) as handle, pytest.raises(NcfError, match="is not a snapshot") as caught:
        handle.restore(1)
    assert "network-rollback-00000001.tar" in caught.value.details
    assert tree.differences(edited, tree.capture(host)) == []
