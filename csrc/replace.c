/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for turning the live configuration into another, as a whole:
 * compare, keep what will go, put back.
 * MUST keep what it replaces, durably, before it touches the first live file.
 */
#include "replace.h"

#include "compare.h"
#include "durable.h"
#include "restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 5, PAUSE_MS = 20 };

static const char NOT_KEPT[] = "the disk is full: the replaced files could not be kept";
static const char NOT_READ[] = "could not be read, so it was replaced without being kept";
static const char PARTLY[] = "what could be restored was; the change stays open, "
                             "run rollback again when the cause is mended";

void result_notice(struct change_result *ret, const char *path, const char *words)
{
    size_t n;

    if (ret->notice[0])
        return;
    error_printable(ret->notice, sizeof(ret->notice) / 2, path);
    n = strlen(ret->notice);
    snprintf(ret->notice + n, sizeof(ret->notice) - n, "%s%s", n ? ": " : "", words);
}

static int add_discarded_entry(struct listing *l, const struct entry *e, bool context,
                               struct error *err)
{
    struct entry copy = *e;

    copy.context = context;
    copy.saved = false;
    return listing_add(l, &copy) ? 0 : error_file(err, STEP_MEMORY, ENOMEM, e->path);
}

/*
 * What is there now of all that differs: added and changed files, and for
 * removed ones that they were not there.  Directories come along as context.
 */
static int list_discarded(struct listing *l, const struct listing *live,
                          const struct differences *d, struct error *err)
{
    size_t j = 0;

    for (size_t i = 0; i < d->count; i++) {
        const struct difference *it = &d->item[i];
        const char *path = it->saved ? it->saved->path : it->live->path;
        struct entry nothing = { .path = path, .type = '-' };
        const struct entry *now = it->live && it->live->type != '-' ? it->live : &nothing;

        for (; j < live->count && path_compare(live->entry[j].path, path) <= 0; j++)
            if (live->entry[j].type == 'd' && strcmp(live->entry[j].path, path) != 0 &&
                add_discarded_entry(l, &live->entry[j], true, err))
                return -1;
        if (it->unreadable)
            continue; /* what can't be read can't be kept */
        if (add_discarded_entry(l, now, it->quiet && now->type == 'd', err))
            return -1;
    }
    return listing_find_links(l, err);
}

static int keep_readable(const struct replacement *r, const struct listing *live,
                         const struct differences *d, struct error *err)
{
    AUTO_LISTING files = { 0 };
    AUTO_DISCARDED before = { 0 };
    const struct scope nothing = { 0 };
    struct manifest m;
    char name[STORE_NAME_SIZE];

    snapshot_describe(&m, ARCHIVE_DISCARDED);
    memcpy(m.id, r->open->id, sizeof(m.id));
    memcpy(m.note, r->open->note, sizeof(m.note));
    if (list_discarded(&files, live, d, err) || store_list_discarded(r->store, &before, err))
        return -1;
    store_discarded_name(before.count ? before.item[before.count - 1].id + 1 : 1, name);
    if (snapshot_write(r->store->fd, &m, &nothing, &files, r->dirs, NULL, err) ||
        store_publish(r->store, name, err))
        return -1;
    snprintf(r->ret->discarded, sizeof(r->ret->discarded), PATH_STATE "/%s", name);
    return 0;
}

/* What the disk does not give back is left out, or one bad sector would keep the host out of reach. */
static bool leave_out(const struct replacement *r, struct differences *d, const struct error *err)
{
    if (err->sys != EIO && err->sys != EBADMSG && err->sys != EUCLEAN)
        return false;
    for (size_t i = 0; i < d->count; i++) {
        struct difference *it = &d->item[i];

        if (!it->live || it->unreadable || strcmp(it->live->path, err->path) != 0)
            continue;
        result_notice(r->ret, err->path, NOT_READ);
        return it->unreadable = true;
    }
    return false;
}

static int keep_discarded(const struct replacement *r, const struct listing *live,
                          struct differences *d, struct error *err)
{
    while (keep_readable(r, live, d, err)) {
        if (!leave_out(r, d, err))
            return -1;
        error_clear(err);
    }
    return 0;
}

static bool no_room(const struct error *err)
{
    return err->sys == ENOSPC || err->sys == EDQUOT;
}

/* Reaching the host goes before keeping what made it unreachable, but only when there is no room. */
static int keep_discarded_if_room(const struct replacement *r, const struct listing *live,
                                  struct differences *d, struct error *err)
{
    if (keep_discarded(r, live, d, err) == 0)
        return 0;
    if (!no_room(err))
        return -1;
    store_release_reserve(r->store);
    error_clear(err);
    if (keep_discarded(r, live, d, err) == 0)
        return 0;
    if (!no_room(err))
        return -1;
    error_clear(err);
    result_notice(r->ret, "", NOT_KEPT);
    return 0;
}

/* What interface/ has no file for, or not for this host: the interfaces stay as they are. */
static const char *unfollowed(const struct replacement *r, const char *path)
{
    static const struct {
        const char *directory, *stack;
    } rows[] = { { "etc/NetworkManager", "NetworkManager" }, { "etc/netplan", "netplan" },
                 { "etc/systemd/network", "systemd-networkd" },
                 { "etc/sysconfig/network-scripts", "network-scripts" },
                 { "etc/sysconfig/network" /* a file on Red Hat's */, "SUSE's network scripts" } };

    if (!r->followed || r->followed(r->by, path) || strstr(path, ".link") /* udev's */)
        return NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (path_beneath(path, rows[i].directory) && strcmp(path, rows[i].directory) != 0)
            return rows[i].stack;
    return NULL;
}

static void count(const struct replacement *r, const struct differences *d)
{
    struct change_result *ret = r->ret;

    for (size_t i = 0; i < d->count; i++) {
        if (d->item[i].quiet)
            continue;
        if (d->item[i].unreadable)
            result_notice(ret, d->item[i].live->path, NOT_READ);
        if (d->item[i].saved && d->item[i].saved->type == 's') {
            result_notice(ret, d->item[i].saved->path,
                   "was a device, socket or FIFO, which start does not save: it is left as it is");
            continue;
        }
        if (!ret->unfollowed)
            ret->unfollowed = unfollowed(r, d->item[i].saved ? d->item[i].saved->path
                                                             : d->item[i].live->path);
        ret->added += d->item[i].kind == NCF_DIFF_ADDED;
        ret->removed += d->item[i].kind == NCF_DIFF_REMOVED;
        ret->changed += d->item[i].kind == NCF_DIFF_CHANGED;
        ret->metadata += d->item[i].kind == NCF_DIFF_METADATA;
    }
}

static bool replaces_something(const struct differences *d)
{
    for (size_t i = 0; i < d->count; i++)
        if (!d->item[i].quiet && !(d->item[i].saved && d->item[i].saved->type == 's'))
            return true;
    return false;
}

/*
 * A file that is as it was saved may have been written so only a moment ago, by
 * hand or by a rollback that was killed before its sync: then nothing differs,
 * but nothing is durable either.  What does differ is synced when restored.
 */
static int sync_same(const struct replacement *r, struct listing *live,
                     const struct differences *d, struct error *err)
{
    bool *differs = calloc(live->count ? live->count : 1, sizeof(*differs));
    int result;

    if (!differs)
        return error_file(err, STEP_MEMORY, ENOMEM, "");
    for (size_t i = 0; i < d->count; i++) {
        const struct entry *now = d->item[i].live;
        const struct entry *parent =
            listing_find_parent(live, now ? now->path : d->item[i].saved->path);

        if (now)
            differs[now - live->entry] = true;
        /* Metadata is put back without the directory, which may name a file newly and not durably. */
        if (parent && d->item[i].kind != NCF_DIFF_METADATA)
            differs[parent - live->entry] = true;
    }
    result = durable_sync(r->dirs, &r->target->files, r->target->manifest.started, live, differs,
                          err);
    free(differs);
    return result;
}

/* Removing a leftover changes its directory's time: what is compared is what is there after that. */
static int list_without_leftovers(const struct replacement *r, struct listing *live,
                                  struct error *err)
{
    if (snapshot_list_live(r->target, r->dirs, live, err) ||
        restore_remove_leftovers(live, r->dirs, err))
        return -1;
    if (live->leftovers == 0)
        return 0;
    listing_free(live);
    return snapshot_list_live(r->target, r->dirs, live, err);
}

static int replace_once(const struct replacement *r, bool first, struct error *err)
{
    AUTO_LISTING live = { 0 };
    AUTO_DIFFERENCES d = { 0 };
    struct restore work = { .saved = &r->target->files, .content = &r->target->content,
                            .live = &live, .differences = &d, .dirs = r->dirs,
                            .store = r->store };
    struct stamp trusted;
    int restored;

    if (store_clean_temp(r->store, err) || list_without_leftovers(r, &live, err) ||
        compare(&d, work.saved, work.content, &live, r->dirs,
                snapshot_trusts_before(r->target, &trusted) ? &trusted : NULL, true, err) ||
        sync_same(r, &live, &d, err))
        return error_state(err, NOT_TOUCHED);
    if (first)
        count(r, &d); /* a further try only sees what the first left */
    if (d.count == 0)
        return 0;
    if (replaces_something(&d) && keep_discarded_if_room(r, &live, &d, err))
        return error_state(err, NOT_TOUCHED);
    work.sacrifice = r->ret->discarded[0] ? path_name(r->ret->discarded) : NULL;
    restored = restore_differences(&work, &r->ret->failed, err);
    if (r->ret->discarded[0] && !work.sacrifice) {
        r->ret->discarded[0] = '\0';
        result_notice(r->ret, "", NOT_KEPT);
    }
    if (restored == 0)
        return 0;
    if (d.loud == 0 && err->sys == EROFS) {
        error_clear(err); /* only times of directories, on a filesystem nobody can write to */
        r->ret->failed = 0;
        return 0;
    }
    return error_state(err, PARTLY);
}

/* Somebody may be writing at this very moment; what he writes is kept and replaced like the rest. */
int replace_live(const struct replacement *r, struct error *err)
{
    for (int tries = 1;; tries++) {
        if (replace_once(r, tries == 1, err) == 0)
            return 0;
        if (err->step != STEP_CHANGING || tries == TRIES)
            return -1;
        error_clear(err);
        sys_sleep_ms(PAUSE_MS);
    }
}
