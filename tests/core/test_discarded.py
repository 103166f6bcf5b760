"""What a rollback replaced is kept: content, retention, putting it back, plain tar."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from lib import images, ncf, seam, snapshot, tree
from lib.ncf import Core, NcfError

SCRIPTS = "etc/sysconfig/network-scripts"
IFCFG = f"{SCRIPTS}/ifcfg-eth0"
MEBI = 1 << 20


def discard(core: Core, root: Path, content: bytes, note: bytes = b"") -> None:
    """One change that ends in a rollback of IFCFG."""
    with core.open(root) as handle:
        handle.set_options(note=note)
        handle.start()
        (root / IFCFG).write_bytes(content)
        handle.rollback()


def files(root: Path) -> list[str]:
    return sorted(os.listdir(root / "var/lib/netcf"))


def same_files(expected: tree.Tree, actual: tree.Tree) -> list[str]:
    """Differences but for times of directories, which nobody announced or discarded."""
    return tree.differences(
        tree.without_directory_times(expected), tree.without_directory_times(actual)
    )


@pytest.fixture
def host(root: Path) -> Path:
    tree.realistic(root)
    return root


def test_only_what_differed_is_kept(core: Core, host: Path) -> None:
    """A discarded configuration holds the replaced and the added files, nothing else."""
    core.start(host)
    tree.lock_out(host)
    new = {path: (host / os.fsdecode(path)).read_bytes() for path in (
        b"etc/sysconfig/network-scripts/ifcfg-eth0",
        b"etc/sysconfig/network-scripts/ifcfg-br0",
        b"etc/sysconfig/network-scripts/ifcfg-eth9",
        b"etc/systemd/network/20-new.d/a/b.conf",
    )}  # fmt: skip
    result = core.rollback(host)
    kept = snapshot.contents(tree.join(host, result.discarded))
    assert {path: kept[path] for path in new} == new
    metadata_only = {b"etc/netplan/01-base.yaml", b"etc/sysconfig/network-scripts/rule-br0"}
    assert set(kept) - set(new) <= metadata_only
    names = snapshot.names(tree.join(host, result.discarded))
    assert b"etc/network/interfaces.d/eth0.5" in names  # the link that stood there
    assert b"etc/hostname" not in names


def test_list_tells_about_each(core: Core, host: Path) -> None:
    """id, time, size, note and path of each are told, newest first."""
    before = int(time.time())
    discard(core, host, b"one", b"first try")
    discard(core, host, b"two", b"second try")
    newest, oldest = core.discarded(host)
    assert (newest.id, oldest.id) == (2, 1)
    assert (newest.note, oldest.note) == (b"second try", b"first try")
    assert newest.path == b"var/lib/netcf/network-rollback-00000002.tar"
    assert newest.bytes == os.path.getsize(tree.join(host, newest.path))
    assert newest.files == 1
    assert before <= newest.when <= int(time.time())


def test_names_are_eight_digits_that_count_up(core: Core, host: Path) -> None:
    """Two rollbacks in the same moment get two names, in order."""
    for number in range(3):
        discard(core, host, b"%d" % number)
    assert files(host) == [f"network-rollback-{number:08}.tar" for number in (1, 2, 3)]


def test_order_is_by_number_not_by_date(core: Core, host: Path) -> None:
    """Time may run backwards: dates of the files decide nothing."""
    for number in range(3):
        discard(core, host, b"%d" % number)
    for number, name in enumerate(files(host)):
        when = 2_000_000_000 - number * 1_000_000
        os.utime(host / "var/lib/netcf" / name, (when, when))
    assert [row.id for row in core.discarded(host)] == [3, 2, 1]


def test_newest_twenty_are_kept(core: Core, fast_dir: Path) -> None:
    """After 25 rollbacks the newest 20 are there; the oldest went first."""
    tree.realistic(fast_dir)
    for number in range(25):
        discard(core, fast_dir, b"%d" % number)
    assert [row.id for row in core.discarded(fast_dir)] == list(range(25, 5, -1))
    assert len(files(fast_dir)) == 20
    assert snapshot.contents(tree.join(fast_dir, core.discarded(fast_dir)[-1].path)) == {IFCFG.encode(): b"5"}


def test_numbers_are_not_used_again(core: Core, host: Path) -> None:
    """The number after the newest is next, also where older ones were deleted."""
    for number in range(3):
        discard(core, host, b"%d" % number)
    os.unlink(host / "var/lib/netcf/network-rollback-00000001.tar")
    os.unlink(host / "var/lib/netcf/network-rollback-00000002.tar")
    discard(core, host, b"next")
    assert files(host) == ["network-rollback-00000003.tar", "network-rollback-00000004.tar"]


def test_at_most_64_mebibytes_are_kept(core: Core, fast_dir: Path) -> None:
    """Of three discarded configurations of 30 MiB, the oldest goes."""
    tree.realistic(fast_dir)
    for number in range(3):
        discard(core, fast_dir, bytes([number]) * (30 * MEBI))
    assert [row.id for row in core.discarded(fast_dir)] == [3, 2]
    assert sum(row.bytes for row in core.discarded(fast_dir)) <= 64 * MEBI


def test_the_newest_is_always_kept(core: Core, fast_dir: Path) -> None:
    """One that alone is over the bound is kept; the others go."""
    tree.realistic(fast_dir)
    discard(core, fast_dir, b"small")
    discard(core, fast_dir, b"x" * (70 * MEBI))
    assert [row.id for row in core.discarded(fast_dir)] == [2]
    discard(core, fast_dir, b"small again")
    assert [row.id for row in core.discarded(fast_dir)] == [3]


def test_old_ones_go_only_after_the_new_one_is_durable(core: Core, fast_dir: Path) -> None:
    """Nothing is pruned before the new one and its directory are synced."""
    tree.realistic(fast_dir)
    for number in range(20):
        discard(core, fast_dir, b"%d" % number)
    with core.open(fast_dir) as handle:
        handle.start()
        (fast_dir / IFCFG).write_bytes(b"the 21st")
        with seam.watching(core) as events:
            handle.rollback()
    publish = seam.position(events, "renameat", b"network-rollback-00000021.tar")
    synced = [i for i in seam.positions(events, "fsync") if i > publish]
    prune = seam.position(events, "unlinkat", b"network-rollback-00000001.tar")
    assert synced[0] < prune


def test_other_files_in_the_state_directory_stay(core: Core, host: Path) -> None:
    """Names that are not a discarded configuration's are neither listed nor pruned."""
    discard(core, host, b"one")
    state = host / "var/lib/netcf"
    for name in ("network-rollback-1.tar", "network-rollback-0000000x.tar", "network-rollback-00000007.tar.bak", "notes"):
        (state / name).write_bytes(b"mine")
    assert [row.id for row in core.discarded(host)] == [1]
    discard(core, host, b"two")
    assert (state / "notes").read_bytes() == b"mine"
    assert [row.id for row in core.discarded(host)] == [2, 1]


def test_list_of_a_host_without_any(core: Core, host: Path) -> None:
    """No discarded configuration is an empty list."""
    assert core.discarded(host) == []
    core.start(host)
    core.commit(host)
    assert core.discarded(host) == []


def test_commit_discards_nothing(core: Core, host: Path) -> None:
    """Only a rollback keeps what it replaces."""
    core.start(host)
    tree.lock_out(host)
    core.commit(host)
    assert files(host) == []


def test_putting_one_back(core: Core, host: Path) -> None:
    """In a new change a discarded configuration comes back as it was."""
    before = tree.capture(host)
    core.start(host)
    edited = tree.lock_out(host)
    core.rollback(host)
    assert tree.differences(before, tree.capture(host)) == []
    with core.open(host) as handle:
        handle.start()
        handle.restore(1)
    assert same_files(edited, tree.capture(host)) == []


def test_putting_one_back_can_be_rolled_back(core: Core, host: Path) -> None:
    """The change around it undoes it exactly."""
    before = tree.capture(host)
    core.start(host)
    tree.lock_out(host)
    core.rollback(host)
    with core.open(host) as handle:
        handle.start()
        handle.restore(1)
        handle.rollback()
    assert tree.differences(before, tree.capture(host)) == []


def test_putting_one_back_touches_only_its_own_files(core: Core, host: Path) -> None:
    """Edits made since, to other files, survive it."""
    discard(core, host, b"first try")
    (host / SCRIPTS / "ifcfg-br0").write_bytes(b"later edit")
    core.start(host)
    with core.open(host) as handle:
        handle.restore(1)
    assert (host / IFCFG).read_bytes() == b"first try"
    assert (host / SCRIPTS / "ifcfg-br0").read_bytes() == b"later edit"


def test_putting_one_back_removes_what_it_did_not_have(core: Core, host: Path) -> None:
    """A file that the discarded configuration had removed is removed again."""
    core.start(host)
    (host / IFCFG).unlink()
    core.rollback(host)
    assert (host / IFCFG).exists()
    core.start(host)
    with core.open(host) as handle:
        handle.restore(1)
    assert not (host / IFCFG).exists()


def test_putting_one_back_in_mode_b(core: Core, host: Path) -> None:
    """In an on-write change its files are announced first, so that it can be undone."""
    before = tree.capture(host)
    core.start(host)
    tree.lock_out(host)
    core.rollback(host)
    core.start(host, ncf.START_ON_WRITE)
    with core.open(host) as handle:
        handle.restore(1)
    core.rollback(host)
    assert same_files(before, tree.capture(host)) == []


def test_putting_one_back_needs_a_change(core: Core, host: Path) -> None:
    """Without an open change it is NCF_EINVALIDOP and nothing is touched."""
    discard(core, host, b"first try")
    before = tree.capture(host, state=True, identity=True)
    with core.open(host) as handle, pytest.raises(NcfError) as caught:
        handle.restore(1)
    assert caught.value.code == ncf.EINVALIDOP
    assert tree.differences(before, tree.capture(host, state=True, identity=True)) == []


@pytest.mark.parametrize("number", [0, 2, 99999999, 2**64 - 1])
def test_putting_back_one_that_is_not_there(core: Core, host: Path, number: int) -> None:
    """An unknown number is NCF_ENOENT."""
    discard(core, host, b"first try")
    core.start(host)
    with core.open(host) as handle, pytest.raises(NcfError) as caught:
        handle.restore(number)
    assert caught.value.code == ncf.ENOENT
    assert "no such discarded configuration" in caught.value.details
    assert core.status(host).open == 1


def test_permissions_of_a_discarded_configuration(core: Core, host: Path) -> None:
    """It is as private as the snapshot: 0600."""
    discard(core, host, b"psk=secret")
    assert os.stat(host / "var/lib/netcf/network-rollback-00000001.tar").st_mode & 0o7777 == 0o600


# --- plain tar -----------------------------------------------------------------


def unpack(archive: Path, into: Path) -> None:
    """GNU tar, with every kind of metadata it knows."""
    images.need("tar")
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout
    if "GNU tar" not in version:
        pytest.skip("GNU tar is not installed")
    into.mkdir()
    done = subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf", archive, "-C", into],
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
    )
    # GNU tar warns of dates before 1970, in its own archives too, and restores them.
    warnings = [line for line in done.stderr.splitlines() if "implausibly old time stamp" not in line]
    assert (done.returncode, warnings) == (0, [])


def as_tar_has_it(captured: tree.Tree, paths: list[bytes]) -> tree.Tree:
    """What tar can restore: everything but inode flags, and times in whole seconds."""
    from dataclasses import replace

    return {
        path: replace(captured[path], flags=None, mtime_ns=captured[path].mtime_ns // 10**9)
        for path in paths
    }


def in_scope(captured: tree.Tree) -> list[bytes]:
    outside = {path for path, (mode, _) in tree.REALISTIC.items() if path in OUTSIDE}
    return [
        path
        for path, entry in captured.items()
        if path not in outside and (entry.kind != "d" or tree.in_scope(path))
    ]


OUTSIDE = {
    b"etc/hostname",
    b"etc/sysconfig/network-scripts/ifup-eth",
    b"etc/network/if-up.d/openssh",
    b"etc/NetworkManager/NetworkManager.conf",
    b"etc/modprobe.d/blacklist.conf",
    b"etc/netplan/README",
}


def test_snapshot_can_be_unpacked_with_tar(core: Core, root: Path, tmp_path: Path) -> None:
    """An ordinary user's tar gets every path, content, mode and date out of a snapshot."""
    before = tree.thorny(root)
    core.start(root)
    unpack(root / "var/lib/netcf/network-snapshot.tar", tmp_path / "out")
    after = tree.capture(tmp_path / "out")
    paths = in_scope(before)
    assert tree.differences(as_tar_has_it(before, paths), as_tar_has_it(after, [p for p in paths if p in after])) == []
    assert {path for path, entry in after.items() if entry.kind != "d"} == {
        path for path in paths if before[path].kind != "d"
    }


@pytest.mark.root
def test_tar_restores_owners_and_attributes(core: Core, root: Path, tmp_path: Path) -> None:
    """Root's tar also restores owners, xattrs, ACLs, labels, capabilities and times before 1970."""
    from core.test_exact_restore import ACL, CAPABILITY, xattr_or_skip

    tree.thorny(root)
    scripts = root / SCRIPTS
    os.chown(scripts / "ifcfg-br0", 1234, 2_500_000)
    xattr_or_skip(scripts / "ifcfg-br0", "user.comment", b"by hand\n=\0")
    xattr_or_skip(scripts / "ifcfg-eth0", "system.posix_acl_access", ACL)
    xattr_or_skip(scripts / "ifcfg-bond0", "security.capability", CAPABILITY)
    xattr_or_skip(scripts / "ifcfg-lo", "trusted.note", b"x" * 2000)
    xattr_or_skip(root / "etc/systemd/network/empty.d", "system.posix_acl_default", ACL)
    tree.age(root)
    os.utime(scripts / "rule-br0", ns=(-1_500_000_001, -1_500_000_001))
    os.utime(scripts / "rule6-br0", ns=(-1, -1))
    before = tree.capture(root)
    core.start(root)
    unpack(root / "var/lib/netcf/network-snapshot.tar", tmp_path / "out")
    after = tree.capture(tmp_path / "out")
    paths = in_scope(before)
    assert tree.differences(as_tar_has_it(before, paths), as_tar_has_it(after, paths)) == []
    with_pax_header = ["rule-br0", "rule6-br0", "ifcfg-br0", "ifcfg-eth0", "ifcfg-bond0", "ifcfg-lo"]
    for path in (f"{SCRIPTS}/{name}".encode() for name in with_pax_header):
        assert after[path].mtime_ns == before[path].mtime_ns, path


def test_discarded_configuration_can_be_unpacked_with_tar(core: Core, root: Path, tmp_path: Path) -> None:
    """tar gets what was replaced out of a discarded configuration."""
    tree.realistic(root)
    core.start(root)
    edited = tree.lock_out(root)
    core.rollback(root)
    unpack(root / "var/lib/netcf/network-rollback-00000001.tar", tmp_path / "out")
    after = tree.capture(tmp_path / "out")
    files_ = [path for path, entry in after.items() if entry.kind != "d"]
    assert f"{SCRIPTS}/ifcfg-eth9".encode() in files_
    assert tree.differences(as_tar_has_it(edited, files_), as_tar_has_it(after, files_)) == []


def test_a_fraction_of_a_second_costs_no_header(core: Core, root: Path) -> None:
    """An ordinary file takes its header and its content in whole blocks, whatever its time."""
    (root / "etc/network").mkdir()
    (root / "etc/network/interfaces").write_bytes(b"#" * 600)
    os.utime(root / "etc/network/interfaces", ns=(1, 1_700_000_000_123_456_789))
    core.start(root)
    saved = snapshot.read(root / "var/lib/netcf/network-snapshot.tar")
    assert len(saved.members) == 512 + 1024


def test_tar_lists_what_is_in_a_snapshot(core: Core, root: Path) -> None:
    """The last member is the manifest, whose first line names the format."""
    tree.realistic(root)
    core.start(root)
    path = root / "var/lib/netcf/network-snapshot.tar"
    names = snapshot.names(path)
    assert names[-1] == b"var/lib/netcf/manifest"
    assert names.count(b"var/lib/netcf/manifest") == 1
    assert IFCFG.encode() in names
    assert snapshot.read(path).version == b"netcf 1"


def test_a_file_that_took_a_directorys_place_can_be_put_back(core: Core, root: Path) -> None:
    """What a rollback kept of it reads back, and is itself rolled back, with what was in the directory."""
    inside = root / "etc/network/interfaces.d/y/in"
    tree.realistic(root)
    inside.parent.mkdir()
    inside.write_text("was here")
    before = tree.capture(root)
    core.start(root)
    inside.unlink()
    inside.parent.rmdir()
    inside.parent.write_text("a file now")
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []
    with core.open(root) as handle:
        handle.start()
        handle.restore(1)
        assert inside.parent.read_text() == "a file now"
        handle.rollback()
    assert tree.differences(before, tree.capture(root)) == []


def test_putting_back_what_is_there_already(core: Core, host: Path) -> None:
    """Nothing differs, so nothing is replaced and nothing more is kept."""
    core.start(host)
    tree.lock_out(host)
    core.rollback(host)
    core.start(host)
    with core.open(host) as handle:
        assert handle.restore(1).discarded
        state = tree.capture(host, identity=True)
        result = handle.restore(1)
    assert (result.discarded, result.changed) == (b"", 0)
    assert tree.differences(state, tree.capture(host, identity=True)) == []
    assert len(core.discarded(host)) == 2


def test_putting_back_what_the_change_does_not_cover(core: Core, host: Path) -> None:
    """A rollback could not take it away again: it is refused by its path, and nothing is touched."""
    tree.write(host, "etc/netcf/scope.d/more.conf", b"etc/more/*\n")
    tree.write(host, "etc/more/file", b"saved")
    core.start(host)
    (host / "etc/more/file").write_bytes(b"edited")
    core.rollback(host)
    (host / "etc/netcf/scope.d/more.conf").unlink()
    core.start(host)
    with core.open(host) as handle, pytest.raises(NcfError, match="does not cover this path: etc/more/file"):
        handle.restore(1)
    assert (host / "etc/more/file").read_bytes() == b"saved"
