/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for putting files back.  Redo: every step may be repeated, and a
 * crash between any two leaves something that running all of them again mends,
 * because the snapshot goes only after the last one (change.c).
 * MUST NOT touch a path that does not differ; MUST NOT write to an inode that
 * a name outside the scope may share; MUST sync a file before its rename.
 */
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32, HOLE = 4096, TEMP_TRIES = 100, TEMP_SIZE = sizeof(PATH_TEMP) + 24 };

struct inode {
    uint64_t dev, ino;
    uint32_t nlink; /* 0: any */
};

struct work {
    struct restore *r;
    struct error *err;
    uint64_t failed;
    bool reserve_released;
    unsigned temps;         /* temporary files made */
    struct listing touched; /* directories whose names changed */
    size_t *source;         /* by index in saved: the entry whose inode it shall be a name of */
    bool *rewrite;          /* by index in saved: still to be made anew */
    struct inode *made;     /* by index in saved: of one made anew that flags shall lock */
    size_t made_anew;       /* how many were */
};

/* A failure of one path; the first one is reported, all are counted, the others go on. */
static void failed(struct work *w, struct error *one)
{
    w->failed++;
    if (w->err->code == NCF_NOERROR)
        *w->err = *one;
}

/*
 * Whether to try again: the disk was full, and now there is more room.  First
 * the reserve goes, then what this rollback kept of the files it replaces:
 * reaching the host goes before keeping what made it unreachable.
 */
static bool make_room(struct work *w, struct error *one)
{
    if (one->sys != ENOSPC && one->sys != EDQUOT)
        return false;
    if (!w->reserve_released) {
        w->reserve_released = true;
        store_release_reserve(w->r->store);
    } else if (w->r->sacrifice) {
        if (sys_unlinkat(w->r->store->fd, w->r->sacrifice, 0))
            return false;
        w->r->sacrifice = NULL;
    } else {
        return false;
    }
    error_clear(one);
    return true;
}

static int parent_of(struct work *w, const char *path, struct error *err)
{
    int fd = dirs_open_parent(w->r->dirs, path);

    return fd < 0 ? error_file(err, STEP_OPEN_DIRECTORY, errno, path) : fd;
}

/* For writing metadata.  Somebody may have put another file there since; running again sees it. */
static int open_same(struct work *w, const struct entry *e, struct inode same, struct error *err)
{
    int fd = entry_open(w->r->dirs, e, err);
    struct sys_stat now;

    if (fd < 0)
        return -1;
    if (sys_statx(fd, NULL, &now))
        error_file(err, STEP_STAT, errno, e->path);
    else if (now.dev == same.dev && now.ino == same.ino &&
             (!same.nlink || now.nlink == same.nlink))
        return fd;
    else
        error_set(err, NCF_EFILE, STEP_CHANGING, 0, e->path);
    sys_close(fd);
    return -1;
}

static int set_flags(struct work *w, const struct entry *e, uint32_t flags, struct error *err)
{
    AUTO_CLOSE fd = open_same(w, e, (struct inode){ e->st.dev, e->st.ino, 0 }, err);

    if (fd < 0)
        return -1;
    if (sys_setflags(fd, flags, e->path))
        return error_file(err, STEP_SET_FLAGS, errno, e->path);
    return 0;
}

/* An immutable or append-only file or directory must be unlocked before it can be replaced. */
static int unlock(struct work *w, const struct entry *live, struct error *err)
{
    if (!live || (live->type != 'f' && live->type != 'd') || !(live->st.flags & FLAGS_LOCKING))
        return 0;
    return set_flags(w, live, live->st.flags & ~(uint32_t)FLAGS_LOCKING, err);
}

/* Before the first name in a directory changes: remember it, unlock it. */
static int touch_parent(struct work *w, const char *path, struct error *err)
{
    struct entry *last = w->touched.count ? &w->touched.entry[w->touched.count - 1] : NULL;
    size_t n = path_parent(path);
    struct entry e = { .type = 'd' };

    if (last && strlen(last->path) == n && !memcmp(last->path, path, n))
        return 0;
    e.path = arena_copy(&w->touched.memory, path, n);
    if (!e.path || !listing_add(&w->touched, &e))
        return error_file(err, STEP_MEMORY, ENOMEM, path);
    return unlock(w, listing_find_parent(w->r->live, path), err);
}

/*
 * Whether a directory that can't be opened need not be: it is gone, or the
 * snapshot has something else on the way to it.
 */
static bool no_way(const struct work *w, const char *dir, size_t len, int sys)
{
    char path[PATH_SIZE];
    const struct entry *saved = NULL;

    if (sys != ENOTDIR && sys != ELOOP)
        return sys == ENOENT;
    for (; len && !saved; len = path_parent(path)) {
        memcpy(path, dir, len);
        path[len] = '\0';
        saved = listing_find(w->r->saved, path);
    }
    return saved && saved->type != 'd';
}

static int remove_name(struct work *w, const struct entry *live, struct error *err)
{
    int dirfd;

    dirs_forget(w->r->dirs);
    /* Gone with its directory, which had to make way for something else. */
    if (dirs_open_parent(w->r->dirs, live->path) < 0 &&
        no_way(w, live->path, path_parent(live->path), errno))
        return 0;
    if (touch_parent(w, live->path, err) || unlock(w, live, err))
        return -1;
    dirfd = parent_of(w, live->path, err);
    if (dirfd < 0)
        return -1;
    if (sys_unlinkat(dirfd, path_name(live->path), live->type == 'd' ? AT_REMOVEDIR : 0) == 0 ||
        errno == ENOENT)
        return 0;
    /* A directory that still holds files outside the scope stays: they are not ours. */
    if (live->type == 'd' && (errno == ENOTEMPTY || errno == EEXIST))
        return 0;
    return error_file(err, STEP_REMOVE, errno, live->path);
}

static void remove_added_beneath(struct work *w, const char *dir)
{
    const struct differences *d = w->r->differences;

    for (size_t i = d->count; i-- > 0;) {
        struct error one = { 0 };

        if (d->item[i].kind == NCF_DIFF_ADDED &&
            (!dir || path_beneath(d->item[i].live->path, dir)) &&
            remove_name(w, d->item[i].live, &one))
            failed(w, &one);
    }
}

/* A directory where something else belongs, or the reverse: it must go before that can come. */
static void clear_the_way(struct work *w)
{
    const struct differences *d = w->r->differences;

    for (size_t i = 0; i < d->count; i++) {
        const struct difference *it = &d->item[i];
        struct error one = { 0 };

        if (it->kind != NCF_DIFF_CHANGED || it->saved->type == it->live->type ||
            (it->saved->type != 'd' && it->live->type != 'd'))
            continue;
        if (it->live->type == 'd')
            remove_added_beneath(w, it->live->path);
        if (remove_name(w, it->live, &one))
            failed(w, &one);
    }
}

static int make_directory(struct work *w, const struct entry *e, struct error *err)
{
    int dirfd;

    if (touch_parent(w, e->path, err))
        return -1;
    dirs_forget(w->r->dirs);
    dirfd = parent_of(w, e->path, err);
    if (dirfd < 0)
        return -1;
    /* Ours alone until its own mode is set, and whatever the umask, ours to enter. */
    if ((sys_mkdirat(dirfd, path_name(e->path), 0700) && errno != EEXIST) ||
        sys_fchmodat(dirfd, path_name(e->path), 0700))
        return error_file(err, STEP_MAKE_DIRECTORY, errno, e->path);
    return 0;
}

static void make_directories(struct work *w)
{
    const struct differences *d = w->r->differences;

    for (size_t i = 0; i < d->count; i++) {
        const struct difference *it = &d->item[i];
        struct error one = { 0 };

        if (it->kind == NCF_DIFF_ADDED || it->saved->type != 'd' ||
            (it->live && it->live->type == 'd'))
            continue;
        while (make_directory(w, it->saved, &one))
            if (!make_room(w, &one)) {
                failed(w, &one);
                break;
            }
    }
}

/* ---- files and links made anew ---- */

/* A whole block of zeros is left out, so that a sparse file stays sparse. */
static bool is_hole(const unsigned char *bytes, size_t n)
{
    static const unsigned char zeros[HOLE];

    return n >= HOLE && !memcmp(bytes, zeros, HOLE);
}

static int write_content(struct work *w, int fd, const struct entry *e, struct error *err)
{
    uint64_t size = 0; /* that the file has so far */

    for (uint64_t done = 0; done < e->st.size;) {
        uint64_t left = e->st.size - done;
        size_t n = left < CONTENT_CHUNK ? (size_t)left : CONTENT_CHUNK;
        const unsigned char *bytes = content_at(w->r->content, e->offset + done, n, err);

        if (!bytes)
            return -1;
        for (size_t at = 0; at < n;) {
            size_t end = at;

            while (end < n && !is_hole(bytes + end, n - end))
                end += n - end < HOLE ? n - end : HOLE;
            if (end > at && sys_pwrite(fd, bytes + at, end - at, done + at, e->path))
                return error_file(err, STEP_WRITE, errno, e->path);
            if (end > at)
                size = done + end;
            at = end < n ? end + HOLE : n;
        }
        done += n;
    }
    if (size < e->st.size && sys_ftruncate(fd, e->st.size, e->path))
        return error_file(err, STEP_WRITE, errno, e->path);
    return 0;
}

/* Where a hard link comes from. */
struct source {
    int dirfd;
    const char *name;
};

static int try_temp(int dirfd, const char *temp, const struct entry *e, const struct source *source)
{
    if (source)
        return sys_linkat(source->dirfd, source->name, dirfd, temp);
    if (e->type == 'l')
        return sys_symlinkat(e->target, dirfd, temp);
    return sys_openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

/*
 * What has the name already was left by a rollback that was killed; only a
 * directory is not ours to remove, but then there are other names.
 */
static int create_temp(struct work *w, int dirfd, char temp[TEMP_SIZE], const struct entry *e,
                       const struct source *source)
{
    for (int tries = 0; tries < TEMP_TRIES; tries++) {
        int fd;

        snprintf(temp, TEMP_SIZE, PATH_TEMP "-%u", w->temps);
        fd = try_temp(dirfd, temp, e, source);
        if (fd >= 0)
            w->temps++;
        if (fd >= 0 || errno != EEXIST)
            return fd;
        if (sys_unlinkat(dirfd, temp, 0) == 0)
            continue;
        if (errno != EISDIR)
            return -1;
        w->temps++;
    }
    errno = EEXIST;
    return -1;
}

/* The whole new file under its temporary name; returns its descriptor, 0 for a link. */
static int write_temp(struct work *w, const struct entry *e, char temp[TEMP_SIZE],
                      struct error *err)
{
    int fd, dirfd, r;

    if (touch_parent(w, e->path, err))
        return -1;
    dirfd = parent_of(w, e->path, err);
    if (dirfd < 0)
        return -1;
    fd = create_temp(w, dirfd, temp, e, NULL);
    if (fd < 0)
        return error_file(err, STEP_CREATE, errno, e->path);
    if (e->type == 'l')
        r = entry_apply_link(dirfd, temp, e, err);
    else
        r = write_content(w, fd, e, err) || entry_apply(fd, e, err) ? -1 : 0;
    if (r == 0)
        return e->type == 'l' ? 0 : fd;
    if (e->type != 'l')
        sys_close_cleanup(&fd);
    sys_unlinkat(dirfd, temp, 0);
    return -1;
}

static int move_into_place(struct work *w, const struct entry *e, const char *temp,
                           struct error *err)
{
    const struct entry *live = listing_find(w->r->live, e->path);
    int dirfd = parent_of(w, e->path, err);

    if (dirfd < 0)
        return -1;
    /* What was a directory is gone by now, or still in the way. */
    if (live && live->type != 'd' && unlock(w, live, err)) {
        sys_unlinkat(parent_of(w, e->path, err), temp, 0);
        return -1;
    }
    dirfd = parent_of(w, e->path, err);
    if (sys_renameat(dirfd, temp, dirfd, path_name(e->path)) == 0)
        return 0;
    /* A directory that somebody put there goes if it is empty. */
    if (errno == EISDIR && sys_unlinkat(dirfd, path_name(e->path), AT_REMOVEDIR) == 0 &&
        sys_renameat(dirfd, temp, dirfd, path_name(e->path)) == 0)
        return 0;
    if (errno == ENOTEMPTY)
        error_file(err, STEP_IN_THE_WAY, 0, e->path);
    else
        error_file(err, STEP_RENAME, errno, e->path);
    sys_unlinkat(dirfd, temp, 0);
    return -1;
}

/*
 * Files on their way: written, not yet synced; then synced, not yet renamed.
 * Write all, then sync all, then rename all: the first sync of a batch takes
 * most of the others' work along.  No rename before its file's sync: a name
 * must never lead to content that a power cut can take away.
 */
struct batch {
    size_t count;
    struct {
        struct entry *e;
        int fd; /* 0 for a link, which has none */
        bool failed;
        char temp[TEMP_SIZE];
    } item[BATCH];
};

/* What is needed once it has its name: flags that lock are set last, and on no other inode. */
static int remember(struct work *w, const struct entry *e, int fd, struct error *err)
{
    struct sys_stat st;

    if (!e->st.flags)
        return 0;
    if (sys_statx(fd, NULL, &st))
        return error_file(err, STEP_STAT, errno, e->path);
    w->made[e - w->r->saved->entry] = (struct inode){ st.dev, st.ino, 0 };
    return 0;
}

static void sync_batch(struct work *w, struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        struct entry *e = b->item[i].e;
        struct error one = { 0 };

        if (e->type == 'l')
            continue;
        if (sys_fsync(b->item[i].fd, e->path))
            error_file(&one, STEP_SYNC, errno, e->path);
        else
            remember(w, e, b->item[i].fd, &one);
        if (one.code) {
            failed(w, &one);
            b->item[i].failed = true;
            sys_unlinkat(parent_of(w, e->path, &one), b->item[i].temp, 0);
        }
        sys_close(b->item[i].fd);
    }
}

static void made_anew(struct work *w, const struct entry *e)
{
    w->rewrite[e - w->r->saved->entry] = false;
    w->made_anew++;
}

static void finish_batch(struct work *w, struct batch *b)
{
    sync_batch(w, b);
    for (size_t i = 0; i < b->count; i++) {
        struct error one = { 0 };

        if (b->item[i].failed)
            continue;
        if (move_into_place(w, b->item[i].e, b->item[i].temp, &one))
            failed(w, &one);
        else
            made_anew(w, b->item[i].e);
    }
    b->count = 0;
}

static int make_link(struct work *w, const struct entry *e, const struct entry *source,
                     struct error *err)
{
    char temp[TEMP_SIZE];
    struct dirs from;
    struct source it = { .name = path_name(source->path) };
    int dirfd;

    if (touch_parent(w, e->path, err))
        return -1;
    dirs_init(&from, w->r->dirs->root);
    it.dirfd = dirs_open_parent(&from, source->path);
    dirfd = parent_of(w, e->path, err);
    if (dirfd >= 0 && it.dirfd < 0)
        error_file(err, STEP_OPEN_DIRECTORY, errno, source->path);
    if (dirfd >= 0 && it.dirfd >= 0 && create_temp(w, dirfd, temp, e, &it))
        error_file(err, STEP_LINK, errno, e->path);
    dirs_forget(&from);
    if (err->code || move_into_place(w, e, temp, err))
        return -1;
    /* rename() of two names of one inode does nothing and leaves both. */
    dirfd = parent_of(w, e->path, err);
    if (dirfd >= 0 && sys_unlinkat(dirfd, temp, 0) && errno != ENOENT)
        return error_file(err, STEP_REMOVE, errno, e->path);
    return 0;
}

/* Further names of inodes that are in place. */
static void restore_links(struct work *w)
{
    struct listing *saved = w->r->saved;
    struct error one;

    for (size_t i = 0; i < saved->count; i++) {
        if (!w->rewrite[i] || w->source[i] == i || w->rewrite[w->source[i]])
            continue;
        error_clear(&one);
        if (make_link(w, &saved->entry[i], &saved->entry[w->source[i]], &one))
            failed(w, &one);
        made_anew(w, &saved->entry[i]);
    }
}

/* What those before it replaced is free once they are in place: that comes before any sacrifice. */
static bool make_room_for_next(struct work *w, struct batch *b, struct error *one)
{
    size_t before = w->made_anew;

    if (one->sys == ENOSPC || one->sys == EDQUOT) {
        finish_batch(w, b);
        restore_links(w);
    }
    if (w->made_anew == before)
        return make_room(w, one);
    error_clear(one);
    return true;
}

static void restore_one(struct work *w, struct batch *b, struct entry *e)
{
    struct error one = { 0 };
    int fd;

    do
        fd = write_temp(w, e, b->item[b->count].temp, &one);
    while (fd < 0 && make_room_for_next(w, b, &one));
    if (fd < 0) {
        failed(w, &one);
        return;
    }
    if (e->type == 'f')
        sys_write_behind(fd, 0, 0);
    b->item[b->count].e = e;
    b->item[b->count].fd = fd;
    b->item[b->count++].failed = false;
    if (b->count == BATCH)
        finish_batch(w, b);
}

/* Those that replace something first: each frees what it replaces, for those that come back. */
static void restore_files(struct work *w)
{
    struct listing *saved = w->r->saved;
    struct batch b = { .count = 0 };

    for (int missing = 0; missing <= 1; missing++)
        for (size_t i = 0; i < saved->count; i++)
            if (w->rewrite[i] && w->source[i] == i &&
                missing == !listing_find(w->r->live, saved->entry[i].path))
                restore_one(w, &b, &saved->entry[i]);
    finish_batch(w, &b);
}

/* A further name whose inode could not be made. */
static void count_unlinked(struct work *w)
{
    struct listing *saved = w->r->saved;
    struct error one;

    for (size_t i = 0; i < saved->count; i++) {
        if (!w->rewrite[i] || w->source[i] == i)
            continue;
        error_clear(&one);
        error_set(&one, NCF_EFILE, STEP_LINK, 0, saved->entry[i].path);
        failed(w, &one);
    }
}

/* ---- metadata in place ---- */

/* Never in place: links can't be synced, and an inode with further names is not ours alone. */
static bool must_rewrite(const struct difference *d)
{
    if (d->kind == NCF_DIFF_ADDED || (d->saved->type != 'f' && d->saved->type != 'l'))
        return false;
    return d->kind != NCF_DIFF_METADATA || d->saved->type == 'l' || d->live->st.nlink > 1 ||
           (d->metadata & NCF_META_LINKS);
}

static int restore_in_place(struct work *w, const struct difference *d, struct error *err)
{
    const struct sys_stat *now = &d->live->st;
    AUTO_CLOSE fd = -1;

    if (unlock(w, d->live, err))
        return -1;
    fd = open_same(w, d->live, (struct inode){ now->dev, now->ino, now->nlink }, err);
    if (fd < 0)
        return -1;
    if (entry_apply(fd, d->saved, err))
        return -1;
    if ((d->saved->st.flags || d->live->st.flags) &&
        sys_setflags(fd, d->saved->st.flags, d->saved->path))
        return error_file(err, STEP_SET_FLAGS, errno, d->saved->path);
    if (sys_fsync(fd, d->saved->path))
        return error_file(err, STEP_SYNC, errno, d->saved->path);
    return 0;
}

static void restore_metadata(struct work *w)
{
    const struct differences *d = w->r->differences;

    for (size_t i = 0; i < d->count; i++) {
        const struct difference *it = &d->item[i];
        struct error one = { 0 };

        if (it->kind == NCF_DIFF_METADATA && it->saved->type == 'f' && !must_rewrite(it) &&
            restore_in_place(w, it, &one))
            failed(w, &one);
    }
}

/* Files that shall be immutable or the like: last, for it locks them. */
static void restore_flags(struct work *w)
{
    struct listing *saved = w->r->saved;
    struct error one;

    for (size_t i = 0; i < saved->count; i++) {
        const struct entry *e = &saved->entry[i];
        AUTO_CLOSE fd = -1;

        if (!w->made[i].ino || w->rewrite[i])
            continue;
        error_clear(&one);
        fd = open_same(w, e, w->made[i], &one);
        if (fd >= 0 && sys_setflags(fd, e->st.flags, e->path))
            error_file(&one, STEP_SET_FLAGS, errno, e->path);
        else if (fd >= 0 && sys_fsync(fd, e->path))
            error_file(&one, STEP_SYNC, errno, e->path);
        if (one.code)
            failed(w, &one);
    }
}

/* ---- directories ---- */

static int path_order(const void *a, const void *b)
{
    return path_compare(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* Directories that differ themselves join those in which names changed. */
static int gather_directories(struct work *w, struct error *err)
{
    const struct differences *d = w->r->differences;
    size_t kept = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (!d->item[i].saved || d->item[i].saved->type != 'd')
            continue;
        if (!listing_add(&w->touched, d->item[i].saved))
            return error_file(err, STEP_MEMORY, ENOMEM, d->item[i].saved->path);
    }
    if (w->touched.count)
        array_sort(w->touched.entry, w->touched.count, sizeof(struct entry), path_order);
    for (size_t i = 0; i < w->touched.count; i++)
        if (i == 0 || strcmp(w->touched.entry[i].path, w->touched.entry[kept - 1].path) != 0)
            w->touched.entry[kept++] = w->touched.entry[i];
    w->touched.count = kept;
    return 0;
}

static int finish_directory(struct work *w, const char *path, struct error *err)
{
    const struct entry *saved = listing_find(w->r->saved, path);
    const struct entry *live = listing_find(w->r->live, path);
    bool made = saved && (!live || live->type != 'd');
    int fd;

    if (live && live->type == 'd' && unlock(w, live, err))
        return -1;
    fd = dirs_open(w->r->dirs, path, strlen(path));
    if (fd < 0)
        return no_way(w, path, strlen(path), errno)
                   ? 0
                   : error_file(err, STEP_OPEN_DIRECTORY, errno, path);
    if (saved && saved->type == 'd' && (made || !saved->context) && entry_apply(fd, saved, err))
        return -1;
    /* The names in it, and with them its own times: nothing else makes them durable. */
    if (sys_fsync(fd, path))
        return error_file(err, STEP_SYNC_DIRECTORY, errno, path);
    return 0;
}

static int finish_directory_flags(struct work *w, const char *path, struct error *err)
{
    const struct entry *saved = listing_find(w->r->saved, path);
    const struct entry *live = listing_find(w->r->live, path);
    uint32_t flags = saved ? saved->st.flags : live ? live->st.flags : 0;
    int fd;

    if (!flags && !(live && live->st.flags))
        return 0;
    fd = dirs_open(w->r->dirs, path, strlen(path));
    if (fd < 0)
        return no_way(w, path, strlen(path), errno)
                   ? 0
                   : error_file(err, STEP_OPEN_DIRECTORY, errno, path);
    if (sys_setflags(fd, flags, path))
        return error_file(err, STEP_SET_FLAGS, errno, path);
    if (sys_fsync(fd, path))
        return error_file(err, STEP_SYNC_DIRECTORY, errno, path);
    return 0;
}

/* Deepest first: what happens in a directory changes its times. */
static void finish_directories(struct work *w)
{
    struct error one = { 0 };

    dirs_forget(w->r->dirs);
    if (gather_directories(w, &one))
        failed(w, &one);
    for (size_t i = w->touched.count; i-- > 0;) {
        const char *path = w->touched.entry[i].path;

        error_clear(&one);
        if (finish_directory(w, path, &one) ||
            (*path && finish_directory_flags(w, path, &one)))
            failed(w, &one);
    }
}

/* ---- reading back ---- */

static int expected_paths(const struct work *w, struct listing *ret, struct error *err)
{
    const struct differences *d = w->r->differences;

    for (size_t i = 0; i < d->count; i++) {
        struct entry nothing = { .type = '-', .path = d->item[i].live ? d->item[i].live->path : "" };
        const struct entry *e = d->item[i].kind == NCF_DIFF_ADDED ? &nothing : d->item[i].saved;

        if (d->item[i].kind == NCF_DIFF_ADDED && d->item[i].live->type == 'd')
            continue; /* may have to stay: see remove_name() */
        if (e->type == 's')
            continue; /* never saved, so left alone */
        if (!listing_add(ret, e))
            return error_file(err, STEP_MEMORY, ENOMEM, "");
    }
    return listing_find_links(ret, err);
}

/* Nothing is believed that was not read back: the snapshot goes next. */
static void verify(struct work *w)
{
    struct error one = { 0 };
    AUTO_LISTING expected = { 0 }, now = { 0 };
    AUTO_DIFFERENCES wrong = { 0 };

    dirs_forget(w->r->dirs);
    if (expected_paths(w, &expected, &one) ||
        listing_of_paths(&now, &expected, w->r->dirs, false, &one) ||
        compare(&wrong, &expected, w->r->content, &now, w->r->dirs, NULL, false, &one)) {
        failed(w, &one);
        return;
    }
    for (size_t i = 0; i < wrong.count && !w->failed; i++) {
        const struct difference *d = &wrong.item[i];

        if (d->quiet)
            continue;
        error_clear(&one);
        error_set(&one, NCF_EFILE, STEP_VERIFY, 0, d->saved ? d->saved->path : d->live->path);
        failed(w, &one);
    }
}

/* ---- the whole ---- */

/* No name can be linked to a file that flags lock: where one is missing, all are made anew. */
static void rewrite_locked(struct work *w)
{
    struct listing *saved = w->r->saved;

    for (size_t i = 0; i < saved->count; i++)
        w->source[saved->entry[i].link] |= w->rewrite[i];
    for (size_t i = 0; i < saved->count; i++) {
        const struct entry *live = w->source[saved->entry[i].link]
                                       ? listing_find(w->r->live, saved->entry[i].path)
                                       : NULL;

        if (live && live->st.flags & FLAGS_LOCKING)
            w->rewrite[i] = true;
    }
}

/* Which entries are made anew, and for hard links: from which of their names. */
static int plan(struct work *w)
{
    const struct differences *d = w->r->differences;
    struct listing *saved = w->r->saved;
    size_t n = saved->count + 1; /* NULL for none is not for short memory */

    w->source = calloc(n, sizeof(*w->source));
    w->rewrite = calloc(n, sizeof(*w->rewrite));
    w->made = calloc(n, sizeof(*w->made));
    if (!w->source || !w->rewrite || !w->made)
        return error_file(w->err, STEP_MEMORY, ENOMEM, "");
    for (size_t i = 0; i < d->count; i++)
        if (must_rewrite(&d->item[i]))
            w->rewrite[d->item[i].saved - saved->entry] = true;
    rewrite_locked(w);
    /* source[first] is the first name that stays, if any, else the first name itself. */
    for (size_t i = saved->count; i-- > 0;)
        w->source[i] = i;
    for (size_t i = saved->count; i-- > 0;)
        if (!w->rewrite[i])
            w->source[saved->entry[i].link] = i;
    for (size_t i = 0; i < saved->count; i++)
        w->source[i] = w->source[saved->entry[i].link];
    return 0;
}

int restore_differences(struct restore *r, uint64_t *ret_failed, struct error *err)
{
    struct work w = { .r = r, .err = err };

    if (plan(&w) == 0) {
        clear_the_way(&w);
        make_directories(&w);
        restore_files(&w);
        restore_links(&w);
        count_unlinked(&w);
        restore_metadata(&w);
        remove_added_beneath(&w, NULL);
        restore_flags(&w);
        finish_directories(&w);
        verify(&w);
    }
    *ret_failed = w.failed;
    free(w.source);
    free(w.rewrite);
    free(w.made);
    listing_free(&w.touched);
    return err->code ? -1 : 0;
}

/* ---- leftovers ---- */

static int unlock_fd(int fd, uint32_t flags, const char *name)
{
    return flags & FLAGS_LOCKING ? sys_setflags(fd, flags & ~(uint32_t)FLAGS_LOCKING, name) : 0;
}

static int lock_again(int fd, uint32_t flags, const char *name)
{
    return flags & FLAGS_LOCKING ? sys_setflags(fd, flags, name) : 0;
}

/*
 * A power cut may have left a temporary name in a directory that is immutable
 * again, or beside the name that its file was given before that was locked.
 * Both are locked again: a commit keeps them, and nobody compares then.  Whoever
 * comes next syncs both: the directory for its name, the file for its new inode.
 */
static int remove_locked(int dirfd, const char *name)
{
    AUTO_CLOSE fd = sys_openat(dirfd, name, O_RDONLY, 0); /* not of a link, which has no flags */
    struct sys_stat dir, file = { 0 };
    int removed;

    if (sys_statx(dirfd, NULL, &dir) || (fd >= 0 && sys_statx(fd, NULL, &file)) ||
        unlock_fd(dirfd, dir.flags, ".") || unlock_fd(fd, file.flags, name))
        return -1;
    removed = sys_unlinkat(dirfd, name, 0);
    return lock_again(fd, file.flags, name) || lock_again(dirfd, dir.flags, ".") ? -1 : removed;
}

static int remove_leftover(int dirfd, const char *name)
{
    if (sys_unlinkat(dirfd, name, 0) == 0 || errno == ENOENT || errno == EISDIR /* never ours */)
        return 0;
    return errno == EPERM ? remove_locked(dirfd, name) : -1;
}

int restore_remove_leftovers(const struct listing *live, struct dirs *dirs, struct error *err)
{
    for (size_t i = 0; i < live->leftovers; i++) {
        int dirfd = dirs_open_parent(dirs, live->leftover[i]);

        if (dirfd < 0 || remove_leftover(dirfd, path_name(live->leftover[i])))
            return error_file(err, STEP_REMOVE, errno, live->leftover[i]);
        /* Names that are gone must stay gone, or they would outlive the recovery. */
        if (sys_fsync(dirfd, live->leftover[i]))
            return error_file(err, STEP_SYNC_DIRECTORY, errno, live->leftover[i]);
    }
    return 0;
}
