"""start, commit, rollback: which is valid when, and what each leaves."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lib import forks, ncf, tree
from lib.ncf import Core, NcfError


def refused(function) -> NcfError:  # type: ignore[no-untyped-def]
    """The EINVALIDOP that `function` fails with."""
    with pytest.raises(NcfError) as caught:
        function()
    assert caught.value.code == ncf.EINVALIDOP
    return caught.value


def test_a_change_is_open_exactly_while_its_snapshot_exists(core: Core, root: Path) -> None:
    """network-snapshot.tar appears with start and goes with commit and with rollback."""
    tree.realistic(root)
    snapshot = tree.join(root, tree.SNAPSHOT)
    for close in (core.commit, core.rollback):
        assert not os.path.exists(snapshot)
        assert core.status(root).open == 0
        core.start(root)
        assert os.path.exists(snapshot)
        assert core.status(root).open == 1
        close(root)
    assert not os.path.exists(snapshot)


def test_start_while_open_is_refused(core: Core, root: Path) -> None:
    """A second start says what libvirt's test driver says and leaves the first alone."""
    tree.realistic(root)
    core.start(root)
    before = tree.capture(root, state=True, identity=True)
    error = refused(lambda: core.start(root))
    assert "there is another transaction running." in error.details
    assert tree.capture(root, state=True, identity=True) == before


def test_commit_while_none_is_open_is_refused(core: Core, root: Path) -> None:
    """Commit without a change says what libvirt's test driver says."""
    tree.realistic(root)
    before = tree.capture(root, state=True, identity=True)
    error = refused(lambda: core.commit(root))
    assert "no transaction running, nothing to be committed." in error.details
    assert tree.capture(root, state=True, identity=True) == before


def test_rollback_while_none_is_open_is_refused(core: Core, root: Path) -> None:
    """Rollback without a change says what libvirt's test driver says."""
    tree.realistic(root)
    before = tree.capture(root, state=True, identity=True)
    error = refused(lambda: core.rollback(root))
    assert "no transaction running, nothing to rollback." in error.details
    assert tree.capture(root, state=True, identity=True) == before


def test_closing_twice_is_refused(core: Core, root: Path) -> None:
    """What was committed or rolled back can be neither again."""
    tree.realistic(root)
    for close in (core.commit, core.rollback):
        core.start(root)
        close(root)
        refused(lambda: core.commit(root))
        refused(lambda: core.rollback(root))


def test_commit_keeps_the_new_configuration(core: Core, root: Path) -> None:
    """After commit every edit is still there and no file was touched."""
    tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    edited = tree.capture(root, identity=True)
    core.commit(root)
    assert tree.differences(edited, tree.capture(root, identity=True)) == []
    assert os.listdir(root / "var/lib/netcf") == []


def test_rollback_restores_the_old_configuration(core: Core, root: Path) -> None:
    """After rollback the tree is exactly what it was at start."""
    before = tree.realistic(root)
    core.start(root)
    assert tree.lock_out(root) != before
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_begin_is_start(core: Core, root: Path) -> None:
    """netcf's released name does the same."""
    before = tree.realistic(root)
    with core.open(root) as handle:
        handle.begin()
        assert handle.status().open == 1
        tree.lock_out(root)
        handle.rollback()
    assert tree.differences(before, tree.capture(root)) == []


def test_another_handle_may_finish_the_change(core: Core, root: Path) -> None:
    """A change survives the handle that began it."""
    before = tree.realistic(root)
    starter = core.open(root)
    starter.start()
    starter.close()
    tree.lock_out(root)
    core.rollback(root)
    assert tree.differences(before, tree.capture(root)) == []


def test_another_process_may_finish_the_change(core: Core, root: Path) -> None:
    """A change survives the process that began it."""
    before = tree.realistic(root)
    forks.run(lambda: core.start(root))
    assert core.status(root).open == 1
    tree.lock_out(root)
    forks.run(lambda: core.rollback(root))
    assert core.status(root).open == 0
    assert tree.differences(before, tree.capture(root)) == []


def test_an_open_change_is_seen_by_a_handle_that_was_open_before(core: Core, root: Path) -> None:
    """A handle keeps no opinion of its own about whether a change is open."""
    tree.realistic(root)
    with core.open(root) as early:
        core.start(root)
        assert early.status().open == 1
        refused(early.start)
        core.commit(root)
        assert early.status().open == 0
        refused(early.commit)


def test_changes_one_after_the_other(core: Core, root: Path) -> None:
    """One handle can run any number of changes."""
    tree.realistic(root)
    file = root / "etc/sysconfig/network-scripts/ifcfg-eth0"
    with core.open(root) as handle:
        for number in range(5):
            handle.start()
            file.write_bytes(b"GOOD=%d\n" % number)
            handle.commit()
            handle.start()
            file.write_bytes(b"BAD=%d\n" % number)
            handle.rollback()
            assert file.read_bytes() == b"GOOD=%d\n" % number


def test_nothing_changed_is_a_successful_rollback(core: Core, root: Path) -> None:
    """Rollback of nothing closes the change, touches nothing and discards nothing."""
    tree.realistic(root)
    before = tree.capture(root, identity=True)
    core.start(root)
    result = core.rollback(root)
    assert tree.differences(before, tree.capture(root, identity=True)) == []
    assert (result.changed, result.added, result.removed, result.metadata) == (0, 0, 0, 0)
    assert result.discarded == b""
    assert core.discarded(root) == []
    assert os.listdir(root / "var/lib/netcf") == []


def test_rollback_counts_what_it_did(core: Core, root: Path) -> None:
    """ncf_change_result() has the figures of each kind of difference."""
    tree.realistic(root)
    core.start(root)
    scripts = root / "etc/sysconfig/network-scripts"
    (scripts / "ifcfg-eth0").write_bytes(b"changed")
    (scripts / "ifcfg-eth1").write_bytes(b"changed")
    (scripts / "ifcfg-new").write_bytes(b"")
    (scripts / "route-br0").unlink()
    (scripts / "route6-br0").unlink()
    (scripts / "rule-br0").unlink()
    (scripts / "keys-wlan0").chmod(0o644)
    result = core.rollback(root)
    assert (result.changed, result.added, result.removed, result.metadata) == (2, 1, 3, 1)
    assert result.failed == 0


def test_result_names_the_change_and_the_discarded_configuration(core: Core, root: Path) -> None:
    """The id is that of status; the discarded path is where the file is, below the root."""
    tree.realistic(root)
    with core.open(root) as handle:
        handle.start()
        change = handle.status().id
        assert re.fullmatch(rb"[0-9a-f]{16}", change)
        assert handle.result().id == change
        tree.lock_out(root)
        result = handle.rollback()
        assert result.id == change
        assert result.discarded == b"var/lib/netcf/network-rollback-00000001.tar"
        assert os.path.exists(tree.join(root, result.discarded))


def test_each_change_has_an_id_of_its_own(core: Core, root: Path) -> None:
    """No two changes share an id, also when they follow each other at once."""
    tree.realistic(root)
    seen = set()
    with core.open(root) as handle:
        for _ in range(50):
            handle.start()
            seen.add(handle.status().id)
            handle.commit()
    assert len(seen) == 50


def test_rollback_of_files_only(core: Core, root: Path) -> None:
    """NCF_ROLLBACK_FILES_ONLY restores the files as the default does."""
    before = tree.realistic(root)
    core.start(root)
    tree.lock_out(root)
    core.rollback(root, ncf.ROLLBACK_FILES_ONLY)
    assert tree.differences(before, tree.capture(root)) == []


def test_an_empty_scope_is_a_change_too(core: Core, root: Path) -> None:
    """A host without any configuration can be changed; what was added goes again."""
    before = tree.capture(root)
    core.start(root)
    assert core.status(root).files == 0
    scripts = root / "etc/sysconfig/network-scripts"
    scripts.mkdir(parents=True)
    (scripts / "ifcfg-eth0").write_bytes(b"DEVICE=eth0\n")
    (root / "etc/network").mkdir()
    (root / "etc/network/interfaces").write_bytes(b"auto lo\n")
    core.rollback(root)
    left = {path for path in tree.capture(root) if path not in before}
    assert {path for path in left if not os.path.isdir(tree.join(root, path))} == set()


def test_state_directory_is_made_private(core: Core, root: Path) -> None:
    """The state directory is created 0700 and the snapshot 0600."""
    tree.realistic(root)
    core.start(root)
    state = os.stat(root / "var/lib/netcf")
    assert state.st_mode & 0o7777 == 0o700
    assert os.stat(tree.join(root, tree.SNAPSHOT)).st_mode & 0o7777 == 0o600


def test_a_root_without_var_lib(core: Core, tmp_path: Path) -> None:
    """Start makes /var/lib itself where a root does not have it."""
    host = tmp_path / "bare"
    (host / "etc/network").mkdir(parents=True)
    (host / "etc/network/interfaces").write_bytes(b"auto lo\n")
    core.start(host)
    assert core.status(host).open == 1
    core.rollback(host)
