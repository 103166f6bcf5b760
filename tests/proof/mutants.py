"""The protocol broken on purpose, one step at a time, to see whether the instruments notice.

A mutant is a text substitution on a copy of the core: what is shipped carries nothing for it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib.build import REPO

CSRC = REPO / "csrc"


@dataclass(frozen=True)
class Edit:
    """`old`, which must stand in `file` exactly once, becomes `new`."""

    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        count = text.count(self.old)
        if count != 1:
            raise LookupError(f"{self.file} has this {count} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """One essential step left out or done at the wrong time."""

    name: str
    caught: str  # on which personality of the simulated disk, in which scenario
    claim: str  # the words of docs/design.md or format.md that are no longer true
    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        return self.name


def _m(name: str, caught: str, claim: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, caught, claim, tuple(Edit(*edit) for edit in edits))


_LATE_SYNC = """{
        AUTO_CLOSE late = sys_openat(s->fd, name, O_RDONLY, 0);

        (void)sys_fsync(late, name);
    }
    """
_SYNC_ARCHIVE = "if (sys_fsync(w->fd, PATH_TEMP))"
_SYNC_PUBLISHED = (
    "if (sys_fsync(s->fd, PATH_STATE))\n        return error_file(err, STEP_SYNC_DIRECTORY"
)
_NEVER = "if (0)"

MUTANTS = [
    # --- start
    _m(
        "archive-not-synced",
        "posix nothing",
        "the bytes before the name",
        ("snapshot.c", _SYNC_ARCHIVE, _NEVER),
    ),
    _m(
        "archive-named-before-synced",
        "posix nothing",
        "the bytes before the name",
        ("snapshot.c", _SYNC_ARCHIVE, _NEVER),
        ("store.c", _SYNC_PUBLISHED, _LATE_SYNC + _SYNC_PUBLISHED),
    ),
    _m(
        "archive-name-not-synced",
        "posix nothing",
        "the name, before anybody edits",
        ("store.c", _SYNC_PUBLISHED, _SYNC_PUBLISHED.replace("sys_fsync(s->fd, PATH_STATE)", "0")),
    ),
    _m(
        "way-not-synced",
        "posix bare",
        "a snapshot is durable only if the way to it is",
        ("store.c", "sys_fsync(parent, way[i].path)", "0"),
    ),
    _m(
        "way-called-durable-before-synced",
        "posix bare",
        "sync the way to it and only then give it its mode 0700",
        ("store.c", "{ PATH_STATE, 0500 }", "{ PATH_STATE, 0700 }"),
        ("store.c", "create && (st.mode & 07777) != MODE_PROVEN &&", "s->made &&"),
    ),
    _m(
        "second-start-not-refused",
        "posix nothing",
        "a second snapshot would replace the good one",
        ("change.c", "if (refuse_open(&store, err) || store_clean(&store, err))",
            "if (store_clean(&store, err))"),
    ),
    _m(
        "start-cleans-before-it-refuses",
        "posix one",
        "refuse if a change is open; remove what a crash left",
        (
            "change.c",
            "refuse_open(&store, err) || store_clean(&store, err))",
            "store_clean(&store, err) || refuse_open(&store, err))",
        ),
    ),
    _m(
        "start-keeps-leftovers",
        "posix nothing",
        "remove what a crash left",
        (
            "change.c",
            "refuse_open(&store, err) || store_clean(&store, err))",
            "refuse_open(&store, err))",
        ),
    ),
    _m(
        "no-reserve",
        "posix one",
        "A rollback must succeed on a full disk. So start reserves",
        ("store.c", "i < RESERVE_FILES; i++) {\n        AUTO_CLOSE", "i < 0; i++) {\n        AUTO_CLOSE"),
    ),
    _m(
        "reserve-without-space",
        "posix one",
        "`.netcf-reserve-1` holds the bytes of all files",
        ("store.c", "if (i == 0 && sys_fallocate(", "if (0 && sys_fallocate("),
    ),
    _m(
        "open-answered-before-durable",
        "posix nothing",
        "both answers come after an fsync of the state directory",
        ("change.c", "if (sys_fsync(store->fd, PATH_STATE))\n        return error_file(err, STEP_SYNC_DIRECTORY", "if (0)\n        return error_file(err, STEP_SYNC_DIRECTORY"),
    ),
    # --- commit
    _m(
        "commit-syncs-nothing",
        "posix one",
        "else a power cut after the commit could leave neither old nor new",
        ("change.c", "return durable_sync(&dirs, &s.files", "return 0 && durable_sync(&dirs, &s.files"),
    ),
    _m(
        "commit-syncs-no-files",
        "posix one",
        "fsync every file that may have changed",
        ("durable.c", "if (sys_fsync(fd, e->path))", "if (e->type == 'd' && sys_fsync(fd, e->path))"),
    ),
    _m(
        "commit-syncs-no-directories",
        "posix one",
        "every directory whose names may have",
        ("durable.c", "if (sys_fsync(fd, e->path))", "if (e->type == 'f' && sys_fsync(fd, e->path))"),
    ),
    _m(
        "commit-forgets-the-root",
        "posix bare",
        "every directory whose names may have",
        ("durable.c", 'return sys_fsync(root, ".") ?', "return 0 ?"),
    ),
    _m(
        "commit-drops-the-snapshot-first",
        "posix nothing",
        "one unlink closes the change: it can't be half done",
        (
            "change.c",
            "return durable_sync(&dirs, &s.files",
            "return store_retire(store, err) ? -1 : durable_sync(&dirs, &s.files",
        ),
        ("change.c", "&store, ret, err) == 0 && store_retire(&store, err) == 0)", "&store, ret, err) == 0)"),
    ),
    _m(
        "dropped-name-not-synced",
        "posix nothing",
        "until then a power cut may bring the snapshot back",
        (
            "store.c",
            "if (sys_fsync(s->fd, PATH_STATE))\n        return error_file(err, STEP_RETIRE_SYNC",
            "if (0)\n        return error_file(err, STEP_RETIRE_SYNC",
        ),
    ),
    _m(
        "reserve-kept-when-closed",
        "posix nothing",
        "They go before the snapshot goes.",
        ("store.c", "if (remove_reserve(s, err))\n        return -1;\n    if (sys_unlinkat(", "if (sys_unlinkat("),
    ),
    _m(
        "commit-keeps-leftovers",
        "posix one",
        "remove temporary files of a rollback that crashed",
        (
            "change.c",
            "snapshot_list_live(&s, &dirs, &live, err) ||\n        restore_remove_leftovers(&live, &dirs, err))",
            "snapshot_list_live(&s, &dirs, &live, err))",
        ),
    ),
    _m(
        "commit-keeps-half-an-archive",
        "posix one",
        "they must not outlive the change",
        ("change.c", "token_check(&s.manifest, token, err) || store_clean_temp(store, err) ||", "token_check(&s.manifest, token, err) ||"),
    ),
    _m(
        "leftovers-removed-without-sync",
        "btrfs one",
        "they must not outlive the change",
        ("restore.c", "if (sys_fsync(dirfd, live->leftover[i]))", _NEVER),
    ),
    _m(
        "commit-trusts-mtime",
        "posix one",
        "A program can set an mtime back but not a ctime.",
        ("entry.c", "a->mtime.sec == b->mtime.sec && a->mtime.nsec == b->mtime.nsec &&\n           a->ctime.sec == b->ctime.sec && a->ctime.nsec == b->ctime.nsec;", "a->mtime.sec == b->mtime.sec && a->mtime.nsec == b->mtime.nsec;"),
        ("entry.c", "return !entry_unchanged(saved, now) ||", "return !entry_unchanged(saved, now) || 0 &&"),
    ),
    _m(
        "commit-trusts-coarse-clocks",
        "posix coarse-clock",
        "what changed within 20 ms before the start counts as changed",
        ("entry.c", "return !entry_unchanged(saved, now) ||", "return !entry_unchanged(saved, now) || 0 &&"),
    ),
    _m(
        "commit-trusts-the-names-of-all-directories",
        "posix one",
        "A directory that is untouched by this has the names it had",
        ("listing.c", "if (order != 0 || known->entry[w->next].type != e->type ||\n        entry_touched(", "if (order != 0 || known->entry[w->next].type != e->type ||\n        (e->type != 'd' && entry_touched("),
        ("listing.c", "&e->st, w->l->started))\n        return false;", "&e->st, w->l->started)))\n        return false;"),
    ),
    _m(
        "commit-trusts-names-after-a-power-cut",
        "btrfs one",
        "and then a temporary file would be left",
        ("change.c", "live.names_known = snapshot_is_of_this_boot(&s);", "live.names_known = true;"),
    ),
    _m(
        "closed-answered-before-durable",
        "posix nothing",
        "both answers come after an fsync of the state directory",
        ("change.c", "store->fd >= 0 &&\n            sys_fsync(store->fd, PATH_STATE))", "0)"),
    ),
    _m(
        "damaged-commit-syncs-nothing",
        "posix one",
        "A commit can drop it; then all of the scope is synced.",
        ("change.c", "sync_whole_scope(&dirs, err) ? -1 : 0", "0 ? -1 : 0"),
        ("change.c", "static int sync_whole_scope(", "__attribute__((unused)) static int sync_whole_scope("),
    ),
    # --- rollback
    _m(
        "rollback-does-not-verify",
        "posix nothing",
        "half a snapshot must restore nothing",
        ("change.c", "if (snapshot_verify(s, err))\n        return not_begun", "if (0)\n        return not_begun"),
    ),
    _m(
        "rollback-trusts-times-after-a-reboot",
        "posix truncated",
        "content on disk can be newer than its times",
        ("snapshot.c", "return boot[0] && !strcmp(boot, s->manifest.boot);", "return true;"),
    ),
    _m(
        "rollback-keeps-leftovers",
        "posix one",
        "What a crash leaves of these the next rollback or commit removes.",
        (
            "replace.c",
            "live, err) ||\n        restore_remove_leftovers(live, r->dirs, err))",
            "live, err))",
        ),
    ),
    _m(
        "locked-leftovers-stay",
        "btrfs flags",
        "also where they are locked in",
        ("restore.c", "return errno == EPERM ? remove_locked(dirfd, name) : -1;", "return -1;"),
    ),
    _m(
        "killed-rollback-leaves-the-root-unsynced",
        "posix bare",
        "a name that went from it leaves nothing else to see",
        ("durable.c", "if (!touched && entry_before(st.ctime, started) && !entry_before(sys_now(), started))", "if (!touched)"),
    ),
    _m(
        "rollback-keeps-half-an-archive",
        "posix nothing",
        "Killed anywhere, it is run again from its first step",
        ("replace.c", "if (store_clean_temp(r->store, err) ||", "if ("),
    ),
    _m(
        "same-not-synced",
        "posix one",
        "a rollback that was killed may have put it there a moment ago",
        ("replace.c", "sync_same(r, &live, &d, err))", "0)"),
        ("replace.c", "static int sync_same(", "__attribute__((unused)) static int sync_same("),
    ),
    _m(
        "discarded-not-kept",
        "posix one",
        "nothing is lost, so this goes before the first live file changes",
        ("replace.c", "if (replaces_something(&d) && keep_discarded_if_room(r, &live, &d, err))", "if (0 && (replaces_something(&d) || keep_discarded_if_room(r, &live, &d, err)))"),
    ),
    _m(
        "discarded-not-synced",
        "posix one",
        "keep what will be replaced: write, fsync, rename, fsync",
        ("snapshot.c", _SYNC_ARCHIVE, "if (m->kind != ARCHIVE_DISCARDED && sys_fsync(w->fd, PATH_TEMP))"),
    ),
    _m(
        "discarded-name-not-synced",
        "posix one",
        "keep what will be replaced: write, fsync, rename, fsync",
        ("store.c", _SYNC_PUBLISHED, _SYNC_PUBLISHED.replace("if (", "if (!strcmp(name, STORE_SNAPSHOT) && ")),
    ),
    _m(
        "discarded-kept-afterwards",
        "posix one",
        "nothing is lost, so this goes before the first live file changes",
        ("replace.c", "if (replaces_something(&d) && keep_discarded_if_room(r, &live, &d, err))\n        return error_state(err, NOT_TOUCHED);\n", ""),
        ("replace.c", "if (restored == 0)\n        return 0;", "if (restored == 0)\n        return replaces_something(&d) && keep_discarded_if_room(r, &live, &d, err) ? -1 : 0;"),
    ),
    _m(
        "restored-file-not-synced",
        "posix one",
        "Renaming it over another before that leaves a file of 0 bytes",
        ("restore.c", "if (sys_fsync(b->item[i].fd, e->path))", _NEVER),
    ),
    _m(
        "restored-file-renamed-before-synced",
        "posix one",
        "its name never leads to half of it",
        ("restore.c", "    sync_batch(w, b);\n", ""),
        ("restore.c", "    b->count = 0;\n}", "    sync_batch(w, b);\n    b->count = 0;\n}"),
    ),
    _m(
        "restored-file-labelled-after-its-rename",
        "posix one",
        "nor to a file with the wrong label",
        ("restore.c", "write_content(w, fd, e, err) || entry_apply(fd, e, err) ? -1 : 0", "write_content(w, fd, e, err)"),
        (
            "restore.c",
            "            made_anew(w, b->item[i].e);\n",
            "        {\n"
            "            AUTO_CLOSE late = b->item[i].e->type == 'f' ? entry_open(w->r->dirs, b->item[i].e, &one) : -1;\n"
            "            if (late >= 0 && (entry_apply(late, b->item[i].e, &one) || sys_fsync(late, b->item[i].e->path)))\n"
            "                failed(w, &one);\n"
            "            made_anew(w, b->item[i].e);\n"
            "        }\n",
        ),
    ),
    _m(
        "restored-metadata-not-synced",
        "posix metadata",
        "metadata in place where only metadata differs",
        ("restore.c", "if (sys_fsync(fd, d->saved->path))", _NEVER),
    ),
    _m(
        "restored-flags-not-synced",
        "btrfs flags",
        "flags last, for they lock the file",
        ("restore.c", "else if (fd >= 0 && sys_fsync(fd, e->path))", "else if (0)"),
    ),
    _m(
        "restored-directory-flags-not-synced",
        "btrfs flags",
        "fsync every directory in which a name changed",
        ("restore.c", "STEP_SET_FLAGS, errno, path);\n    if (sys_fsync(fd, path))", "STEP_SET_FLAGS, errno, path);\n    if (0)"),
    ),
    _m(
        "flags-set-first",
        "btrfs flags",
        "flags last, for they lock the file",
        ("restore.c", "write_content(w, fd, e, err) || entry_apply(fd, e, err) ? -1 : 0", "write_content(w, fd, e, err) || entry_apply(fd, e, err) || (e->st.flags && sys_setflags(fd, e->st.flags, temp)) ? -1 : 0"),
    ),
    _m(
        "restored-directory-not-synced",
        "posix one",
        "fsync every directory in which a name changed",
        ("restore.c", "entry_apply(fd, saved, err))\n        return -1;\n    /* The names in it, and with them its own times: nothing else makes them durable. */\n    if (sys_fsync(fd, path))", "entry_apply(fd, saved, err))\n        return -1;\n    if (0)"),
    ),
    _m(
        "directories-synced-before-their-names-change",
        "posix one",
        "A name is durable when *its directory* was synced.",
        ("restore.c", "        finish_directories(&w);\n        verify", "        verify"),
        ("restore.c", "        restore_files(&w);\n", "        finish_directories(&w);\n        restore_files(&w);\n"),
    ),
    _m(
        "not-read-back",
        "posix one",
        "nothing is believed that was not read back",
        ("restore.c", "        verify(&w);\n", "        (void)verify;\n"),
    ),
    _m(
        "rollback-drops-the-snapshot-first",
        "posix one",
        "the one step that closes the change, and only now",
        ("change.c", "replaced = replace_live(&r, err);", "replaced = retire(store, ret, err) || replace_live(&r, err);"),
        ("change.c", "    if (retire(store, ret, err))\n        return -1;\n    if (back)", "    if (back)"),
    ),
    # --- what only a failing disk shows
    _m(
        "failed-start-leaves-its-snapshot",
        "posix nothing",
        "A start that fails removes what it made.",
        ("change.c", "if ((sys_unlinkat(store->fd, STORE_SNAPSHOT, 0) && errno != ENOENT) ||\n            sys_fsync(store->fd, PATH_STATE))", "if (sys_fsync(store->fd, PATH_STATE))"),
    ),
    _m(
        "failed-start-not-taken-back-durably",
        "posix nothing",
        "A start that fails removes what it made.",
        ("change.c", "if ((sys_unlinkat(store->fd, STORE_SNAPSHOT, 0) && errno != ENOENT) ||\n            sys_fsync(store->fd, PATH_STATE))", "if (sys_unlinkat(store->fd, STORE_SNAPSHOT, 0) && errno != ENOENT)"),
    ),
    _m(
        "archive-sync-retried",
        "posix nothing",
        "A failed fsync is never repeated",
        ("snapshot.c", _SYNC_ARCHIVE, "if (sys_fsync(w->fd, PATH_TEMP) && sys_fsync(w->fd, PATH_TEMP))"),
    ),
    _m(
        "commit-sync-retried",
        "posix one",
        "A failed fsync is never repeated",
        ("durable.c", "if (sys_fsync(fd, e->path))", "if (sys_fsync(fd, e->path) && sys_fsync(fd, e->path))"),
    ),
    _m(
        "commit-sync-not-checked",
        "posix one",
        "else a power cut after the commit could leave neither old nor new",
        ("durable.c", "if (sys_fsync(fd, e->path))", "if (sys_fsync(fd, e->path), 0)"),
    ),
    _m(
        "restored-file-sync-not-checked",
        "posix one",
        "A path that fails does not stop the others. The error names the first one and the change stays open",
        ("restore.c", "if (sys_fsync(b->item[i].fd, e->path))", "if (sys_fsync(b->item[i].fd, e->path), 0)"),
    ),
    _m(
        "dropped-name-sync-not-checked",
        "posix nothing",
        "If step 5 fails, the commit says so and what it means",
        (
            "store.c",
            "if (sys_fsync(s->fd, PATH_STATE))\n        return error_file(err, STEP_RETIRE_SYNC",
            "if (sys_fsync(s->fd, PATH_STATE), 0)\n        return error_file(err, STEP_RETIRE_SYNC",
        ),
    ),
    # --- boot, announcing
    _m(
        "boot-keeps-leftovers",
        "posix nothing",
        "removed by the next start, rollback or boot",
        ("change.c", "(store_refuse_old_netcf(store, err) || store_clean(store, err))", "store_refuse_old_netcf(store, err)"),
    ),
    _m(
        "announcement-not-verified",
        "posix announced",
        "A damaged snapshot restores nothing",
        ("change.c", "if (store_clean_temp(&store, err) || snapshot_verify(&s, err) ||\n        listing_of_path", "if (store_clean_temp(&store, err) ||\n        listing_of_path"),
    ),
    _m(
        "announcement-keeps-half-an-archive",
        "posix announced",
        "by the steps 4 to 8 of start",
        ("change.c", "if (store_clean_temp(&store, err) || snapshot_verify(&s, err) ||\n        listing_of_path", "if (snapshot_verify(&s, err) ||\n        listing_of_path"),
    ),
]


def by_name(name: str) -> Mutant:
    """The mutant of that name."""
    (found,) = [mutant for mutant in MUTANTS if mutant.name == name]
    return found


def core_sources() -> list[str]:
    """The core's files, as csrc/sources.mk lists them."""
    text = (CSRC / "sources.mk").read_text(encoding="utf-8").replace("\\\n", " ")
    listed = re.search(r"^CORE = (.*)$", text, re.MULTILINE)
    assert listed
    return listed[1].split()


def mutate(mutant: Mutant, directory: Path) -> list[Path]:
    """Write the files that the mutant changes into `directory`; where each now is."""
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.file) or (CSRC / edit.file).read_text(encoding="utf-8")
        texts[edit.file] = edit.apply(text)
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (directory / file).write_text(text, encoding="utf-8")
    return [directory / file for file in texts]


def compile_objects(sources: list[Path], directory: Path, *flags: str) -> dict[str, Path]:
    """Compile into `directory`, what is newer than its object only; objects by source name."""
    version = (REPO / "VERSION").read_text(encoding="utf-8").strip()
    newest_header = max(path.stat().st_mtime for path in CSRC.rglob("*.h"))
    directory.mkdir(parents=True, exist_ok=True)
    made = {}
    for source in sources:
        inside = source.parent.name in ("disk", "interface")
        name = f"{source.parent.name}-{source.name}" if inside else source.name
        target = directory / f"{name}.o"
        made[name] = target
        wanted = max(source.stat().st_mtime, newest_header)
        if target.exists() and target.stat().st_mtime > wanted:
            continue
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run(
            [*compiler, "-std=c11", "-D_GNU_SOURCE", f'-DNCF_VERSION="{version}"', "-w", "-O2"]
            + [*flags, f"-I{CSRC}", "-c", "-o", str(target), str(source)],
            check=True,
        )
    return made


def link(objects: list[Path], target: Path, *flags: str) -> Path:
    """Link a program."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, *flags, "-o", str(target), *map(str, objects)], check=True)
    return target


def build_helper(mutant: Mutant | None, directory: Path) -> Path:
    """networking-config with the mutant in it (None: as shipped), in `directory`.

    Objects that the mutant leaves alone are shared by all builds below the same parent.
    """
    sources = [CSRC / name for name in [*core_sources(), "boot.c", "networking-config.c"]]
    objects = compile_objects(sources, directory.parent / "objects")
    directory.mkdir(parents=True, exist_ok=True)
    if mutant:
        objects |= compile_objects(mutate(mutant, directory), directory)
    return link(list(objects.values()), directory / "networking-config")
