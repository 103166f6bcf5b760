/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the change's states, of which there are two: open and not.
 * They differ by one name on disk, so that no crash can leave anything between.
 *
 * MUST, at start, make the snapshot durable before it has its name.
 * MUST, at commit, make the new files durable before the snapshot goes.
 * MUST, at rollback, verify the snapshot before it touches a live file, keep
 * what it replaces before it replaces it, and let the snapshot go last.
 */
#include "change.h"

#include "durable.h"
#include "guard.h"
#include "restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 5, PAUSE_MS = 20 };

static const char PERHAPS_OPEN[] = "its snapshot may be there all the same: ask for the status before "
                                   "you edit, for the next boot rolls an open change back";
static const char STAYS_OPEN[] = "the change stays open, no file was touched";
static const char DAMAGED[] = "no configuration file was touched, the snapshot is kept: take from "
                              "it by hand what can be read (tar), then commit, which drops it";

/* ---- opening ---- */

/* Locks the state directory.  1: there is one; 0: there is none; -1: failure. */
static int open_locked(struct store *store, struct dirs *dirs, bool create, struct error *err)
{
    for (;;) {
        int there = store_open(store, dirs, create, err);

        if (there > 0)
            there = store_lock(store, err);
        if (there || store->fd < 0)
            return there;
        store_close(store); /* a failed first start removed it while we waited */
    }
}

/* A discarded configuration under the snapshot's name is none, however well it reads. */
static int open_snapshot(struct store *store, struct snapshot *s, struct error *err)
{
    int there = snapshot_open(s, store->fd, STORE_SNAPSHOT, err);

    if (there > 0 && s->manifest.kind == ARCHIVE_DISCARDED)
        return error_set(err, NCF_EFILE, STEP_NOT_A_SNAPSHOT, 0, s->name);
    return there;
}

/* Opens the snapshot of the open change; where none is open, that is the error `none`. */
static int open_change(struct store *store, struct dirs *dirs, struct snapshot *s, enum step none,
                       struct error *err)
{
    int there = open_locked(store, dirs, false, err);

    if (there > 0)
        there = open_snapshot(store, s, err);
    if (there > 0)
        return 0;
    if (there == 0 && store->fd >= 0 &&
        (store_refuse_old_netcf(store, err) || store_clean(store, err)))
        return -1;
    return there < 0 ? -1 : error_set(err, NCF_EINVALIDOP, none, 0, "");
}

static int refuse_open(struct store *store, struct error *err)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    struct error unreadable = { 0 };
    char who[NCF_NOTE_SIZE + 128] = "";
    int there = snapshot_open(&s, store->fd, STORE_SNAPSHOT, &unreadable);

    if (there == 0)
        return store_refuse_old_netcf(store, err);
    if (there < 0 && !snapshot_is_damaged(&unreadable) && unreadable.step != STEP_VERSION) {
        *err = unreadable; /* whether one is open is not known */
        return -1;
    }
    /* Its start may have been killed before this: what is said to be open must stay so. */
    if (sys_fsync(store->fd, PATH_STATE))
        return error_file(err, STEP_SYNC_DIRECTORY, errno, PATH_STATE);
    if (there > 0)
        snprintf(who, sizeof(who), "started by uid %u with %s (pid %u)%s%s", s.manifest.uid,
                 s.manifest.program, s.manifest.pid, s.manifest.note[0] ? ", note: " : "",
                 s.manifest.note);
    return error_set(err, NCF_EINVALIDOP, STEP_IS_OPEN, 0, who);
}

/* ---- token ---- */

static void token_set(struct manifest *m, const char *token)
{
    m->has_token = *token != '\0';
    if (!m->has_token)
        return;
    sys_random(m->salt, sizeof(m->salt));
    sha256_salted(m->salt, sizeof(m->salt), token, m->token);
}

static int token_check(const struct manifest *m, const char *token, struct error *err)
{
    unsigned char hash[SHA256_SIZE], different = 0;

    if (!m->has_token)
        return 0;
    sha256_salted(m->salt, sizeof(m->salt), token, hash);
    for (size_t i = 0; i < sizeof(hash); i++)
        different |= hash[i] ^ m->token[i];
    return different ? error_set(err, NCF_EINVALIDOP, STEP_TOKEN, 0, "") : 0;
}

/* ---- deadline ---- */

static void deadline_set(struct manifest *m, unsigned seconds)
{
    m->deadline = seconds;
    m->due = sys_boottime() + (uint64_t)seconds * 1000000000u;
    sys_boot_id(m->due_boot);
}

/* Publishes the snapshot again, with what its manifest says now, in place of itself. */
static int rewrite(struct store *store, struct dirs *dirs, struct snapshot *s, struct error *err)
{
    if (store_clean_temp(store, err) || snapshot_verify(s, err) ||
        snapshot_write(store->fd, &s->manifest, &s->scope, &s->files, dirs, &s->content, err))
        return -1;
    return store_publish(store, STORE_SNAPSHOT, err);
}

static int extend(struct store *store, struct dirs *dirs, struct snapshot *s,
                  const char *program, unsigned seconds, struct error *err)
{
    deadline_set(&s->manifest, seconds);
    if (rewrite(store, dirs, s, err))
        return -1;
    return guard_is_there(store, &s->manifest)
               ? 0
               : guard_start(store, dirs->root, program, &s->manifest, -1, err);
}

/* A start with the open change's token and a deadline moves its deadline.  0: it is none. */
static int start_again(struct store *store, struct dirs *dirs, const char *program,
                       const struct change_options *options, struct change_result *ret,
                       struct error *err)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    struct error other = { 0 };

    if (!options->token[0] || !options->deadline || open_snapshot(store, &s, &other) <= 0 ||
        !s.manifest.has_token || token_check(&s.manifest, options->token, &other))
        return 0; /* refuse_open() has the words */
    if (extend(store, dirs, &s, program, options->deadline, err))
        return error_state(err, STAYS_OPEN);
    memcpy(ret->id, s.manifest.id, sizeof(ret->id));
    ret->saved = s.files.files;
    result_notice(ret, "", "the change was open already; its deadline was moved");
    return 1;
}

int change_extend(int root, const char *token, unsigned seconds, const char *helper,
                  struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 };
    char path[GUARD_PATH_SIZE];
    const char *program = guard_program(helper, path, err);

    dirs_init(&dirs, root);
    if (!program || open_change(&store, &dirs, &s, STEP_NOT_OPEN, err) ||
        token_check(&s.manifest, token, err) || extend(&store, &dirs, &s, program, seconds, err))
        return error_state(err, err->step == STEP_NOT_OPEN ? NULL : STAYS_OPEN);
    return 0;
}

int change_guard(int root, const char *helper, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 };
    char path[GUARD_PATH_SIZE];
    const char *program;
    int there;

    dirs_init(&dirs, root);
    there = store_open(&store, &dirs, false, err);
    if (there > 0)
        there = open_snapshot(&store, &s, err);
    if (there <= 0 || !guard_is_wanted(&s.manifest) || guard_is_there(&store, &s.manifest))
        return there < 0 ? -1 : 0;
    /* Whoever holds the lock now finishes the change or sees to its guard. */
    if (!store_try_lock(&store) || guard_is_there(&store, &s.manifest))
        return 0;
    program = guard_program(helper, path, err);
    return program ? guard_start(&store, root, program, &s.manifest, -1, err) : -1;
}

/* ---- start ---- */

/*
 * Room for every saved file to be written anew, and a mebibyte for what the
 * rollback keeps of the files it replaces.
 */
static uint64_t reserve_for(const struct listing *l)
{
    return l->bytes + l->files * 4096 + 1024 * 1024;
}

/* Write, sync, name, sync: snapshot_write() does the first two, store_publish() the others. */
static int save(struct store *store, struct dirs *dirs, struct manifest *m, struct scope *scope,
                struct change_result *ret, struct error *err)
{
    AUTO_LISTING files = { 0 };

    m->started = sys_now(); /* before the first look: what changes later differs */
    if (m->kind == ARCHIVE_WHOLE && listing_of_scope(&files, scope, dirs, LISTING_SAVE, err))
        return -1;
    if (store_reserve(store, reserve_for(&files), err) ||
        snapshot_write(store->fd, m, scope, &files, dirs, NULL, err))
        return -1;
    if (store_publish(store, STORE_SNAPSHOT, err)) {
        /* Said to have failed, so it must not be acted on. */
        if ((sys_unlinkat(store->fd, STORE_SNAPSHOT, 0) && errno != ENOENT) ||
            sys_fsync(store->fd, PATH_STATE))
            error_state(err, PERHAPS_OPEN);
        return -1;
    }
    ret->saved = files.files;
    ret->refused = files.refused;
    return 0;
}

/* Files that change while they are read are read again, all of them: they may belong together. */
static int save_with_patience(struct store *store, struct dirs *dirs, struct manifest *m,
                              struct scope *scope, struct change_result *ret,
                              struct error *err)
{
    for (int tries = 1;; tries++) {
        struct error ignored = { 0 };

        if (save(store, dirs, m, scope, ret, err) == 0)
            return 0;
        (void)store_clean(store, &ignored);
        if (err->step != STEP_CHANGING || tries == TRIES)
            return -1;
        error_clear(err);
        sys_sleep_ms(PAUSE_MS);
    }
}

static void describe(struct manifest *m, enum archive_kind kind,
                     const struct change_options *options)
{
    snapshot_describe(m, kind);
    memcpy(m->note, options->note, sizeof(m->note));
    if (options->deadline)
        deadline_set(m, options->deadline);
    m->has_leash = options->has_leash;
    m->grace = options->grace;
    m->trial_boots = options->trial_boots;
    token_set(m, options->token);
}

/* After the snapshot is published; a change that its guard does not watch is not started. */
static int set_guard(struct store *store, int root, const char *program,
                     const struct manifest *m, int line, struct error *err)
{
    struct error ignored = { 0 };

    if (guard_start(store, root, program, m, line, err) == 0)
        return 0;
    (void)store_retire(store, &ignored);
    return -1;
}

/* What is up now shall be up after a rollback.  A kernel that does not say is no reason to refuse. */
static void record_links(struct manifest *m, struct buffer *links)
{
    struct error ignored = { 0 };

    if (engine_record(links, &ignored) == 0) {
        m->links = links->data;
        m->links_len = links->len;
    }
}

static int start(int root, enum archive_kind kind, const struct change_options *options,
                 struct change_result *ret, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SCOPE scope = { 0 };
    AUTO_BUFFER links = { 0 };
    struct manifest m;
    char path[GUARD_PATH_SIZE];
    const char *program = NULL;
    int extended;

    dirs_init(&dirs, root); /* before the first return, which closes them */
    if (options->deadline || options->has_leash) {
        program = guard_program(options->helper, path, err);
        if (!program)
            return -1;
    }
    if (options->has_leash && !sys_is_line(options->line))
        return error_set(err, NCF_EOTHER, STEP_LINE, 0, "leash");
    if (open_locked(&store, &dirs, true, err) < 0)
        return -1;
    extended = start_again(&store, &dirs, program, options, ret, err);
    if (extended)
        return extended < 0 ? -1 : 0;
    if (refuse_open(&store, err) || store_clean(&store, err))
        return -1;
    describe(&m, kind, options);
    if (options->live)
        record_links(&m, &links);
    if ((kind == ARCHIVE_WHOLE && scope_read(&scope, &dirs, err)) ||
        save_with_patience(&store, &dirs, &m, &scope, ret, err) ||
        (program && set_guard(&store, root, program, &m, options->has_leash ? options->line : -1,
                              err))) {
        store_unmake(&store, &dirs);
        return -1;
    }
    if (options->live)
        store_forget_not_back(&store);
    memcpy(ret->id, m.id, sizeof(ret->id));
    return 0;
}

/* What the host is like after a start that failed, and what to do. */
static const char *not_started(const struct error *err)
{
    if (err->code == NCF_EINVALIDOP)
        return "commit it or roll it back first";
    return err->sys == ENOSPC || err->sys == EDQUOT
               ? "nothing was saved, nothing was changed: make room there and start again"
               : "nothing was saved, nothing was changed";
}

int change_start(int root, unsigned flags, const struct change_options *options,
                 struct change_result *ret, struct error *err)
{
    enum archive_kind kind = flags & NCF_START_ON_WRITE ? ARCHIVE_ON_WRITE : ARCHIVE_WHOLE;

    if (start(root, kind, options, ret, err) == 0)
        return 0;
    return error_state(err, not_started(err));
}

/* ---- commit ---- */

/* A damaged snapshot can be dropped, but says not which files changed: all are synced. */
static int sync_whole_scope(struct dirs *dirs, struct error *err)
{
    AUTO_SCOPE scope = { 0 };
    AUTO_LISTING live = { 0 };
    const struct listing nothing = { 0 };

    if (scope_read(&scope, dirs, err) ||
        listing_of_scope(&live, &scope, dirs, LISTING_COMPARE, err) ||
        restore_remove_leftovers(&live, dirs, err))
        return -1;
    return durable_sync(dirs, &nothing, (struct stamp){ 0, 0 }, &live, NULL, err);
}

static int commit(int root, const char *token, struct store *store, struct change_result *ret,
                  struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_SNAPSHOT s = { .fd = -1 };
    AUTO_LISTING live = { 0 };

    dirs_init(&dirs, root);
    if (open_change(store, &dirs, &s, STEP_NOT_OPEN_COMMIT, err)) {
        /* A commit that was killed may have removed it a moment ago: then that must last. */
        if (err->step == STEP_NOT_OPEN_COMMIT && store->fd >= 0 &&
            sys_fsync(store->fd, PATH_STATE)) {
            error_clear(err);
            return error_file(err, STEP_SYNC_DIRECTORY, errno, PATH_STATE);
        }
        if (!snapshot_is_damaged(err))
            return -1;
        error_clear(err);
        result_notice(ret, "", "the snapshot was damaged; it is dropped, the present files are kept");
        return store_clean_temp(store, err) || sync_whole_scope(&dirs, err) ? -1 : 0;
    }
    memcpy(ret->id, s.manifest.id, sizeof(ret->id));
    /* What nobody touched since has nothing to be made durable, so it is not even listed. */
    live.known = &s.files;
    live.started = s.manifest.started;
    live.names_known = snapshot_is_of_this_boot(&s);
    if (token_check(&s.manifest, token, err) || store_clean_temp(store, err) ||
        snapshot_list_live(&s, &dirs, &live, err) ||
        restore_remove_leftovers(&live, &dirs, err))
        return -1;
    return durable_sync(&dirs, &s.files, s.manifest.started, &live, NULL, err);
}

int change_commit(int root, const char *token, struct change_result *ret, struct error *err)
{
    AUTO_STORE store = { .fd = -1 };

    /* The new files first, the snapshot last: between them a power cut finds both. */
    if (commit(root, token, &store, ret, err) == 0 && store_retire(&store, err) == 0)
        return 0;
    return error_state(err, err->step == STEP_RETIRE_SYNC        ? "the new configuration is kept"
                            : err->step == STEP_NOT_OPEN_COMMIT ? NULL
                                                                : STAYS_OPEN);
}

/* ---- rollback ---- */

static bool nothing_differed(const struct change_result *ret)
{
    return ret->changed + ret->added + ret->removed + ret->metadata == 0;
}

static int retire(struct store *store, struct change_result *ret, struct error *err)
{
    struct error ignored = { 0 };

    if (store_retire(store, err)) {
        if (err->step != STEP_RETIRE || err->sys != EROFS || !nothing_differed(ret))
            return error_state(err, "every file is as it was saved; the change is not closed yet, "
                                    "run rollback again");
        error_clear(err);
        result_notice(ret, "", "the state directory is read-only: every file is as it was saved, but the "
                        "change stays open until a rollback can remove the snapshot");
        return 0;
    }
    if (ret->discarded[0] && store_prune_discarded(store, &ignored))
        result_notice(ret, "", "old discarded configurations could not be removed");
    return 0;
}

static int not_begun(struct error *err)
{
    if (err->code == NCF_EINVALIDOP)
        return -1;
    return error_state(err, snapshot_is_damaged(err) ? DAMAGED : NOT_TOUCHED);
}

/* The files are put back whatever can be found out about interfaces. */
static void plan_live(struct engine *live, struct snapshot *s, struct dirs *dirs,
                      struct change_result *ret)
{
    struct error unknown = { 0 };
    char words[1024];

    if (!live || engine_plan(live, s, dirs, &unknown) == 0)
        return;
    live->acts = false;
    error_details(&unknown, words, sizeof(words));
    result_notice(ret, "files only, no interface was touched", words);
}

/* Status keeps telling what is not back when the change is closed. */
static int end_rollback(struct store *store, const struct engine *live, bool back,
                        struct change_result *ret, struct error *err)
{
    char missing[sizeof(err->path)], text[sizeof(missing) + NCF_BOOT_SIZE + 1], boot[NCF_BOOT_SIZE];
    const char *unread = live ? engine_unread(live) : NULL;
    struct error ignored = { 0 };

    if (unread)
        result_notice(ret, unread, "was not understood: every interface of its stack was taken "
                                   "for changed");
    if (live && ret->unfollowed)
        result_notice(ret, ret->unfollowed, "its files are back, but its interfaces were not "
                                            "touched: reload or restart it");
    if (live && back)
        store_forget_not_back(store);
    if (!back) {
        engine_not_back(live, missing, sizeof(missing));
        sys_boot_id(boot);
        snprintf(text, sizeof(text), "%s\n%s", boot, missing);
        (void)store_keep_not_back(store, text, &ignored);
    }
    if (retire(store, ret, err))
        return -1;
    if (back)
        return 0;
    error_set(err, NCF_EEXEC, STEP_NOT_BACK, 0, missing);
    return error_state(err, "every file is as it was saved, and the change is closed");
}

/* With the lock, of the change that is open. */
static int roll_back(struct store *store, struct dirs *dirs, struct snapshot *s,
                     struct engine *live, struct change_result *ret, struct error *err)
{
    struct replacement r = { dirs, store, s, &s->manifest, ret, live ? engine_follows : NULL, live };
    int replaced;
    bool back;

    /* All of it, before the first live file changes: half a snapshot must restore nothing. */
    if (snapshot_verify(s, err))
        return not_begun(err);
    /* Down while the files that brought it up are there, up when the others are back. */
    plan_live(live, s, dirs, ret);
    if (live)
        engine_before(live);
    replaced = replace_live(&r, err);
    back = !live || engine_after(live);
    return replaced ? -1 : end_rollback(store, live, back, ret, err);
}

int change_rollback(int root, const struct change_due *due, struct engine *live,
                    struct change_result *ret, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 };

    dirs_init(&dirs, root);
    if (open_change(&store, &dirs, &s, STEP_NOT_OPEN_ROLLBACK, err))
        return not_begun(err);
    /* Looked at under the lock: since the guard woke it may have been kept, or given more time. */
    if (due && (strcmp(due->id, s.manifest.id) || !guard_is_due(&s.manifest, due->leash_ended)))
        return error_set(err, NCF_EINVALIDOP, STEP_NOT_OPEN_ROLLBACK, 0, due->id);
    memcpy(ret->id, s.manifest.id, sizeof(ret->id));
    return roll_back(&store, &dirs, &s, live, ret, err);
}

/* ---- boot ---- */

/* Durably, before anything uses the configuration on trial; with a guard, if there is a deadline. */
static int count_trial(struct store *store, struct dirs *dirs, struct snapshot *s,
                       const char *helper, struct change_result *ret, struct error *err)
{
    char path[GUARD_PATH_SIZE];
    const char *program = NULL;

    s->manifest.trial_boots--;
    s->manifest.has_leash = false;
    if (s->manifest.deadline) {
        deadline_set(&s->manifest, s->manifest.deadline); /* anew: it is judged in this boot */
        program = guard_program(helper, path, err);
        if (!program)
            return -1;
    }
    if (rewrite(store, dirs, s, err) ||
        (program && guard_start(store, dirs->root, program, &s->manifest, -1, err)))
        return -1;
    ret->on_trial = true;
    return 0;
}

int change_boot(int root, const char *helper, struct change_result *ret, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 };

    dirs_init(&dirs, root);
    if (open_change(&store, &dirs, &s, STEP_NOT_OPEN_ROLLBACK, err))
        return not_begun(err);
    memcpy(ret->id, s.manifest.id, sizeof(ret->id));
    if (s.manifest.trial_boots) {
        if (count_trial(&store, &dirs, &s, helper, ret, err) == 0)
            return 0;
        result_notice(ret, "", "a trial boot was allowed, but could not be counted or guarded");
        error_clear(err);
        snapshot_close(&s);
        if (open_snapshot(&store, &s, err) <= 0)
            return not_begun(err);
    }
    return roll_back(&store, &dirs, &s, NULL, ret, err);
}

/* ---- announcing, putting back ---- */

static int entry_order(const void *a, const void *b)
{
    return path_compare(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* Adds `more` to what the snapshot has, and publishes the result in its place. */
static int save_more(struct store *store, struct dirs *dirs, struct snapshot *s,
                     const struct listing *more, struct error *err)
{
    AUTO_LISTING all = { 0 };

    for (size_t i = 0; i < s->files.count; i++)
        if (!listing_add(&all, &s->files.entry[i]))
            return error_file(err, STEP_MEMORY, ENOMEM, "");
    for (size_t i = 0; i < more->count; i++)
        if (!listing_find(&s->files, more->entry[i].path) && !listing_add(&all, &more->entry[i]))
            return error_file(err, STEP_MEMORY, ENOMEM, "");
    array_sort(all.entry, all.count, sizeof(*all.entry), entry_order);
    if (listing_find_links(&all, err))
        return -1;
    /* A further name of a saved inode was the same file when that was saved. */
    for (size_t i = 0; i < all.count; i++)
        if (all.entry[all.entry[i].link].saved)
            all.entry[i].st = all.entry[all.entry[i].link].st;
    if (store_reserve(store, reserve_for(&all), err) ||
        snapshot_write(store->fd, &s->manifest, &s->scope, &all, dirs, &s->content, err))
        return -1;
    return store_publish(store, STORE_SNAPSHOT, err);
}

static int announce_once(int root, const char *path, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 };
    AUTO_LISTING more = { 0 };

    dirs_init(&dirs, root);
    if (open_change(&store, &dirs, &s, STEP_NOT_OPEN, err))
        return -1;
    if (listing_find(&s.files, path))
        return 0;
    if (s.manifest.kind == ARCHIVE_WHOLE)
        return scope_covers(&s.scope, path)
                   ? 0
                   : error_set(err, NCF_EOTHER, STEP_NOT_COVERED, 0, path);
    if (store_clean_temp(&store, err) || snapshot_verify(&s, err) ||
        listing_of_path(&more, path, &dirs, err))
        return -1;
    return save_more(&store, &dirs, &s, &more, err);
}

int change_announce(int root, const char *path, struct error *err)
{
    while (*path == '/')
        path++;
    if (!path_valid(path) || path_beneath(path, PATH_STATE))
        return error_set(err, NCF_EOTHER, STEP_ARGUMENT_PATH, 0, path);
    for (int tries = 1;; tries++) {
        if (announce_once(root, path, err) == 0)
            return 0;
        if (err->step != STEP_CHANGING || tries == TRIES)
            return error_state(err, "the path is not saved: do not modify it");
        error_clear(err);
        sys_sleep_ms(PAUSE_MS);
    }
}

/* Everything a put-back replaces must be in reach of the rollback that may follow. */
static int cover(struct store *store, struct dirs *dirs, struct snapshot *s,
                 const struct snapshot *discarded, struct error *err)
{
    for (size_t i = 0; i < discarded->files.count; i++) {
        const struct entry *e = &discarded->files.entry[i];
        AUTO_LISTING more = { 0 };

        if (e->context || listing_find(&s->files, e->path))
            continue;
        if (s->manifest.kind == ARCHIVE_WHOLE) {
            if (e->type == 'd' || scope_covers(&s->scope, e->path))
                continue;
            return error_set(err, NCF_EOTHER, STEP_NOT_COVERED, 0, e->path);
        }
        if (listing_of_path(&more, e->path, dirs, err) ||
            save_more(store, dirs, s, &more, err))
            return -1;
        snapshot_close(s);
        if (open_snapshot(store, s, err) <= 0)
            return error_set(err, NCF_EINTERNAL, STEP_OPEN, 0, STORE_SNAPSHOT);
    }
    return 0;
}

static int put_back(int root, unsigned long long id, struct change_result *ret,
                    struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    AUTO_SNAPSHOT s = { .fd = -1 }, discarded = { .fd = -1 };
    struct replacement r = { &dirs, &store, &discarded, &s.manifest, ret, NULL, NULL };
    struct error ignored = { 0 };
    char name[STORE_NAME_SIZE];
    int there;

    dirs_init(&dirs, root);
    if (open_change(&store, &dirs, &s, STEP_NOT_OPEN, err))
        return -1;
    memcpy(ret->id, s.manifest.id, sizeof(ret->id));
    store_discarded_name(id, name);
    there = snapshot_open(&discarded, store.fd, name, err);
    if (there == 0)
        return error_set(err, NCF_ENOENT, STEP_NO_DISCARDED, 0, discarded.name);
    if (there > 0 && discarded.manifest.kind != ARCHIVE_DISCARDED)
        return error_set(err, NCF_EFILE, STEP_NOT_A_SNAPSHOT, 0, discarded.name);
    if (there < 0 || snapshot_verify(&discarded, err) || snapshot_verify(&s, err) ||
        store_clean_temp(&store, err) || cover(&store, &dirs, &s, &discarded, err) ||
        replace_live(&r, err))
        return -1;
    if (ret->discarded[0] && store_prune_discarded(&store, &ignored))
        result_notice(ret, "", "old discarded configurations could not be removed");
    return 0;
}

int change_put_back(int root, unsigned long long id, struct change_result *ret,
                    struct error *err)
{
    if (put_back(root, id, ret, err) == 0)
        return 0;
    return error_state(err, err->code == NCF_EINVALIDOP
                                ? "start a change first, so that this too can be rolled back"
                                : "the change stays open and can be rolled back");
}

/* ---- reading ---- */

int change_read(int root, struct snapshot *ret, bool *ret_guarded, struct error *err)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    int there;

    dirs_init(&dirs, root);
    there = store_open(&store, &dirs, false, err);
    if (there > 0)
        there = open_snapshot(&store, ret, err);
    if (there > 0 && ret_guarded)
        *ret_guarded = guard_is_wanted(&ret->manifest) && guard_is_there(&store, &ret->manifest);
    return there;
}

int change_diff(int root, struct snapshot *s, struct listing *live, struct differences *ret,
                struct error *err)
{
    AUTO_DIRS dirs;
    struct stamp trusted;
    int there = change_read(root, s, NULL, err);

    dirs_init(&dirs, root);
    if (there == 0)
        return error_set(err, NCF_EINVALIDOP, STEP_NOT_OPEN, 0, "");
    if (there < 0 || snapshot_verify(s, err) || snapshot_list_live(s, &dirs, live, err))
        return -1;
    return compare(ret, &s->files, &s->content, live, &dirs,
                   snapshot_trusts_before(s, &trusted) ? &trusted : NULL, false, err);
}

void change_not_back(int root, char *text, size_t size)
{
    AUTO_DIRS dirs;
    AUTO_STORE store = { .fd = -1 };
    struct error ignored = { 0 };
    char boot[NCF_BOOT_SIZE];
    size_t n;

    *text = '\0';
    dirs_init(&dirs, root);
    if (store_open(&store, &dirs, false, &ignored) <= 0)
        return;
    store_read_not_back(&store, text, size);
    sys_boot_id(boot);
    n = strlen(boot);
    /* Of an earlier boot it says nothing. */
    if (strncmp(text, boot, n) != 0 || text[n] != '\n')
        n = strlen(text);
    else
        n++;
    memmove(text, text + n, strlen(text + n) + 1);
}

int change_list(int root, struct snapshot *s, struct scope *next, const struct scope **ret_scope,
                struct listing *ret, struct error *err)
{
    AUTO_DIRS dirs;
    int there = change_read(root, s, NULL, err);

    dirs_init(&dirs, root);
    if (there < 0)
        return -1;
    *ret_scope = there ? &s->scope : next;
    if (there)
        return snapshot_list_live(s, &dirs, ret, err);
    return scope_read(next, &dirs, err) ||
                   listing_of_scope(ret, next, &dirs, LISTING_COMPARE, err)
               ? -1
               : 0;
}

int change_scope(int root, struct scope *ret, struct error *err)
{
    AUTO_DIRS dirs;

    dirs_init(&dirs, root);
    return scope_read(ret, &dirs, err);
}
