/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for what differs between the snapshot and now.
 * MUST NOT trust modification times: an editor can set them back.
 */
#include "compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

struct comparison {
    struct listing *saved, *live;
    struct content *content;
    struct dirs *dirs;
    const struct stamp *trusted; /* or NULL */
    bool tolerant;
    struct differences *ret;
    struct error *err;
    unsigned char *chunk; /* CONTENT_CHUNK bytes of a live file */
    /*
     * For each listing, by entry.link: the first entry of that inode that has
     * a partner on the other side.  Two partners are linked alike if these are
     * partners, too.
     */
    size_t *first_saved, *first_live;
};

static int add(struct comparison *c, struct difference d)
{
    if (!array_grow((void **)&c->ret->item, c->ret->count, &c->ret->room, sizeof(d)))
        return error_file(c->err, STEP_MEMORY, ENOMEM, "");
    c->ret->item[c->ret->count++] = d;
    c->ret->loud += !d.quiet;
    return 0;
}

static bool same_stamp(struct stamp a, struct stamp b)
{
    return a.sec == b.sec && a.nsec == b.nsec;
}

static unsigned stat_differences(const struct entry *s, const struct entry *l)
{
    unsigned m = 0;

    if (s->context)
        return s->st.flags != l->st.flags ? NCF_META_FLAGS : 0;
    if (s->type != 'l' && ((s->st.mode ^ l->st.mode) & 07777))
        m |= NCF_META_MODE;
    if (s->st.uid != l->st.uid || s->st.gid != l->st.gid)
        m |= NCF_META_OWNER;
    if (!same_stamp(s->st.mtime, l->st.mtime))
        m |= NCF_META_MTIME;
    if (s->st.flags != l->st.flags)
        m |= NCF_META_FLAGS;
    return m;
}

/* Only counts where there are hard links at all; both are then of the size of their listing. */
static unsigned link_difference(struct comparison *c, const struct entry *s, const struct entry *l)
{
    size_t si = (size_t)(s - c->saved->entry);
    size_t *fs = &c->first_saved[s->link], *fl = &c->first_live[l->link];

    if (*fs == (size_t)NONE)
        *fs = si;
    if (*fl == (size_t)NONE)
        *fl = si; /* in terms of the saved partner, to be compared with the other */
    return *fs != *fl ? NCF_META_LINKS : 0;
}

/* 1 same, 0 not, -1 failure. */
static int same_content(struct comparison *c, const struct entry *s, const struct entry *l, int fd)
{
    uint64_t done = 0;

    for (;;) {
        ssize_t got = sys_read(fd, c->chunk, CONTENT_CHUNK, l->path);
        const unsigned char *want;

        if (got < 0)
            return error_file(c->err, STEP_READ, errno, l->path);
        if ((uint64_t)got > s->st.size - done)
            return 0;
        if (got == 0)
            return done == s->st.size;
        want = content_at(c->content, s->offset + done, (size_t)got, c->err);
        if (!want)
            return -1;
        if (memcmp(want, c->chunk, (size_t)got) != 0)
            return 0;
        done += (uint64_t)got;
        if (done == s->st.size && l->st.size == s->st.size)
            return 1;
    }
}

static bool same_xattrs(const struct entry *s, const struct entry *l)
{
    return s->xattr_len == l->xattr_len &&
           (!s->xattr_len || !memcmp(s->xattr, l->xattr, s->xattr_len));
}

/* Both are there and of one type: 1 same content, 0 not, -1 failure. */
static int look_inside(struct comparison *c, const struct entry *s, struct entry *l)
{
    AUTO_CLOSE fd = -1;

    if (s->context)
        return 1;
    if (l->type == 'f' && (fd = entry_open(c->dirs, l, c->err)) < 0)
        return -1;
    if (entry_read_details(c->dirs, fd, l, &c->live->memory, c->err))
        return -1;
    if (s->type == 'l')
        return !strcmp(s->target, l->target);
    if (s->type == 'f' && s->st.size != l->st.size)
        return 0;
    return s->type == 'f' && s->st.size ? same_content(c, s, l, fd) : 1;
}

/* Memory and the snapshot itself must work; a live file need not. */
static bool tolerable(const struct comparison *c)
{
    return c->tolerant && c->err->code != NCF_ENOMEM &&
           strcmp(c->err->path, c->content->name) != 0;
}

static int compare_pair(struct comparison *c, struct entry *s, struct entry *l)
{
    struct difference d = { .saved = s, .live = l };
    int same = 0;

    if (s->type == '-' && l->type == '-')
        return 0;
    if (s->type == '-')
        return add(c, (struct difference){ NCF_DIFF_ADDED, 0, l->context, false, s, l });
    if (l->type == '-')
        return add(c, (struct difference){ NCF_DIFF_REMOVED, 0, s->context, false, s, l });
    if (s->type == 's' && l->type == 's')
        return 0; /* never saved, so nothing to be compared */
    if (s->type == l->type) {
        d.metadata = stat_differences(s, l) | (c->first_saved ? link_difference(c, s, l) : 0);
        if (!d.metadata && c->trusted && !entry_touched(&s->st, &l->st, *c->trusted))
            return 0;
        same = look_inside(c, s, l);
        if (same < 0) {
            if (!tolerable(c))
                return -1;
            error_clear(c->err);
            /* A directory is not read to be replaced: its attributes are set anew. */
            same = s->type == 'd';
            d.unreadable = !same;
            d.metadata |= same ? NCF_META_XATTR : 0;
        } else if (!s->context && !same_xattrs(s, l)) {
            d.metadata |= NCF_META_XATTR;
        }
    }
    d.kind = same ? NCF_DIFF_METADATA : NCF_DIFF_CHANGED;
    d.quiet = same && s->type == 'd' && d.metadata == NCF_META_MTIME;
    return same && !d.metadata ? 0 : add(c, d);
}

static int merge(struct comparison *c)
{
    size_t i = 0, j = 0;

    while (i < c->saved->count || j < c->live->count) {
        struct entry *s = i < c->saved->count ? &c->saved->entry[i] : NULL;
        struct entry *l = j < c->live->count ? &c->live->entry[j] : NULL;
        int order = !s ? 1 : !l ? -1 : path_compare(s->path, l->path);
        int r = 0;

        if (order == 0)
            r = compare_pair(c, s, l);
        else if (order < 0 && s->type != '-')
            r = add(c, (struct difference){ NCF_DIFF_REMOVED, 0, s->context, false, s, NULL });
        else if (order > 0 && l->type != '-' && (l->type == 'd' || !l->context))
            r = add(c, (struct difference){ NCF_DIFF_ADDED, 0, l->context, false, NULL, l });
        if (r)
            return -1;
        i += order <= 0;
        j += order >= 0;
    }
    return 0;
}

static bool has_links(const struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->entry[i].link != i)
            return true;
    return false;
}

static size_t *no_firsts(size_t count)
{
    size_t *first = malloc((count ? count : 1) * sizeof(*first));

    for (size_t i = 0; first && i < count; i++)
        first[i] = (size_t)NONE;
    return first;
}

int compare(struct differences *ret, struct listing *saved, struct content *content,
            struct listing *live, struct dirs *dirs, const struct stamp *trusted,
            bool tolerant, struct error *err)
{
    struct comparison c = { .saved = saved, .live = live, .content = content, .dirs = dirs,
                            .trusted = trusted, .tolerant = tolerant, .ret = ret, .err = err };
    bool links = has_links(saved) || has_links(live), memory;
    int r;

    c.chunk = malloc(CONTENT_CHUNK);
    if (links) {
        c.first_saved = no_firsts(saved->count);
        c.first_live = no_firsts(live->count);
    }
    memory = c.chunk && (!links || (c.first_saved && c.first_live));
    r = memory ? merge(&c) : error_file(err, STEP_MEMORY, ENOMEM, "");
    free(c.chunk);
    free(c.first_saved);
    free(c.first_live);
    return r;
}

void differences_free(struct differences *d)
{
    free(d->item);
    *d = (struct differences){ 0 };
}
