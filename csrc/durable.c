/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for making durable what others wrote: editors do not sync.
 * MUST NOT write; MUST sync rather too much than too little.
 */
#include "durable.h"

#include <errno.h>
#include <string.h>

/* Written out at once, waited for one after the other: the first sync takes most of the others' work along. */
struct batch {
    size_t count;
    struct {
        const struct entry *e;
        int fd;
    } item[32];
};

static int sync_entry(int fd, const struct entry *e, struct error *err)
{
    if (sys_fsync(fd, e->path))
        return error_file(err, e->type == 'd' ? STEP_SYNC_DIRECTORY : STEP_SYNC, errno, e->path);
    return 0;
}

/* In the order in which they came. */
static int sync_batch(struct batch *b, struct error *err)
{
    for (size_t i = 0; i < b->count; i++) {
        if (err->code == NCF_NOERROR)
            sync_entry(b->item[i].fd, b->item[i].e, err);
        sys_close_cleanup(&b->item[i].fd);
    }
    b->count = 0;
    return err->code == NCF_NOERROR ? 0 : -1;
}

static int sync_later(struct batch *b, struct dirs *dirs, const struct entry *e, struct error *err)
{
    int fd;

    if (e->type != 'f' && e->type != 'd')
        return 0; /* a link lives in its directory */
    fd = entry_open(dirs, e, err);
    if (fd < 0)
        return -1;
    if (e->type == 'f')
        sys_write_behind(fd, 0, 0);
    b->item[b->count].e = e;
    b->item[b->count++].fd = fd;
    return b->count < sizeof(b->item) / sizeof(b->item[0]) ? 0 : sync_batch(b, err);
}

/*
 * The root is no entry, so nothing says what it was like: that a name in it went,
 * which leaves no entry either, shows in its ctime alone.  Where the clock was
 * set back since the start, not even there.
 */
static int sync_root(int root, struct stamp started, bool touched, struct error *err)
{
    struct sys_stat st;

    if (sys_statx(root, NULL, &st))
        return error_file(err, STEP_STAT, errno, ".");
    if (!touched && entry_before(st.ctime, started) && !entry_before(sys_now(), started))
        return 0;
    return sys_fsync(root, ".") ? error_file(err, STEP_SYNC_DIRECTORY, errno, ".") : 0;
}

/* Files before the directories that name them: the listing backwards has them in this order. */
int durable_sync(struct dirs *dirs, const struct listing *saved, struct stamp started,
                 const struct listing *live, const bool *except, struct error *err)
{
    struct batch b = { .count = 0 };
    bool root_touched = false;
    size_t j = saved->count; /* of the saved entries from here on, none belongs to what is left */

    for (size_t i = live->count; i-- > 0;) {
        const struct entry *now = &live->entry[i], *was;
        int order = 0;

        while (j > 0 && (order = path_compare(saved->entry[j - 1].path, now->path)) > 0)
            j--;
        was = j > 0 && order == 0 ? &saved->entry[--j] : NULL;

        if (now->type == '-' || (now->context && now->type != 'd') || (except && except[i]) ||
            (was && !entry_touched(&was->st, &now->st, started)))
            continue;
        if (sync_later(&b, dirs, now, err))
            break;
        root_touched = root_touched || (path_parent(now->path) == 0 &&
                                        (!was || was->st.ino != now->st.ino));
    }
    if (sync_batch(&b, err))
        return -1;
    return sync_root(dirs->root, started, root_touched, err);
}
