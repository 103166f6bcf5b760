/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for one archive file: writing it in one pass, reading it back checked.
 * MUST NOT give it its name: that is what publishes it (store.c).
 * MUST create it 0600: it holds secrets from its first byte.
 */
#include "snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = 128 * 1024, WRITE_BUFFER = 64 * 1024, WRITE_BEHIND = 1024 * 1024 };
#define TEMP_PATH PATH_STATE "/" PATH_TEMP

/* ---- reading ---- */

const unsigned char *content_at(struct content *c, uint64_t offset, size_t n, struct error *err)
{
    if (offset >= c->start && offset + n <= c->start + c->len)
        return c->window + (offset - c->start);
    if (!c->window)
        c->window = malloc(WINDOW);
    if (!c->window) {
        error_file(err, STEP_MEMORY, ENOMEM, c->name);
        return NULL;
    }
    c->start = offset;
    c->len = 0;
    while (c->len < n) {
        ssize_t got = sys_pread(c->fd, c->window + c->len, WINDOW - c->len, offset + c->len,
                                c->name);

        if (got <= 0) {
            error_file(err, got ? STEP_READ : STEP_TRUNCATED, got ? errno : 0, c->name);
            return NULL;
        }
        c->len += (size_t)got;
    }
    return c->window;
}

void content_free(struct content *c)
{
    free(c->window);
    c->window = NULL;
}

static int read_at(struct snapshot *s, char *buf, size_t n, uint64_t offset, struct error *err)
{
    while (n) {
        ssize_t got = sys_pread(s->fd, buf, n, offset, s->content.name);

        if (got <= 0)
            return error_file(err, got ? STEP_READ : STEP_TRUNCATED, got ? errno : 0,
                              s->content.name);
        buf += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

static int read_manifest(struct snapshot *s, struct error *err)
{
    char tail[ARCHIVE_END_LINE + ARCHIVE_END];
    struct archive_end end;

    if (s->size < sizeof(tail))
        return error_set(err, NCF_EFILE, STEP_TRUNCATED, 0, s->content.name);
    if (read_at(s, tail, sizeof(tail), s->size - sizeof(tail), err) ||
        archive_read_end(tail, s->size, &end, err, s->content.name))
        return -1;
    s->text = malloc(end.manifest_len + 1);
    if (!s->text)
        return error_file(err, STEP_MEMORY, ENOMEM, s->content.name);
    s->text[end.manifest_len] = '\0';
    s->content_end = end.manifest_offset;
    if (read_at(s, s->text, end.manifest_len, end.manifest_offset, err))
        return -1;
    return archive_read_manifest(s->text, &end, &s->manifest, &s->scope, &s->files,
                                 &s->content_sum, err, s->content.name);
}

int snapshot_open(struct snapshot *s, int dirfd, const char *name, struct error *err)
{
    struct sys_stat st;

    *s = (struct snapshot){ .fd = -1 };
    snprintf(s->name, sizeof(s->name), PATH_STATE "/%s", name);
    s->fd = sys_openat(dirfd, name, O_RDONLY, 0);
    if (s->fd < 0)
        return errno == ENOENT ? 0 : error_file(err, STEP_OPEN, errno, s->name);
    s->content = (struct content){ .fd = s->fd, .name = s->name };
    if (sys_statx(s->fd, NULL, &st))
        return error_file(err, STEP_STAT, errno, s->name);
    if (S_ISDIR(st.mode))
        return error_set(err, NCF_EFILE, STEP_OLD_NETCF, 0, s->name);
    if (!S_ISREG(st.mode))
        return error_set(err, NCF_EFILE, STEP_NOT_A_SNAPSHOT, 0, s->name);
    if ((st.uid != 0 && st.uid != geteuid()) || (st.mode & 022))
        return error_set(err, NCF_EFILE, STEP_STATE_TRUST, 0, s->name);
    s->size = st.size;
    return read_manifest(s, err) ? -1 : 1;
}

int snapshot_verify(struct snapshot *s, struct error *err)
{
    struct xxh64 sum;

    xxh64_init(&sum);
    for (uint64_t at = 0; at < s->content_end;) {
        uint64_t left = s->content_end - at;
        size_t n = left < CONTENT_CHUNK ? (size_t)left : CONTENT_CHUNK;
        const unsigned char *bytes = content_at(&s->content, at, n, err);

        if (!bytes)
            return -1;
        xxh64_add(&sum, bytes, n);
        at += n;
    }
    if (xxh64_value(&sum) != s->content_sum)
        return error_set(err, NCF_EFILE, STEP_CHECKSUM, 0, s->content.name);
    return 0;
}

void snapshot_close(struct snapshot *s)
{
    sys_close_cleanup(&s->fd);
    s->fd = -1;
    free(s->text);
    s->text = NULL;
    scope_free(&s->scope);
    listing_free(&s->files);
    content_free(&s->content);
}

bool snapshot_is_damaged(const struct error *err)
{
    return err->code == NCF_EFILE && err->step >= STEP_NOT_A_SNAPSHOT &&
           err->step <= STEP_SNAPSHOT_PATH && err->step != STEP_VERSION;
}

int snapshot_list_live(struct snapshot *s, struct dirs *dirs, struct listing *live,
                       struct error *err)
{
    if (!live->known && !listing_expect(live, s->files.count))
        return error_file(err, STEP_MEMORY, ENOMEM, "");
    if (s->manifest.kind == ARCHIVE_WHOLE)
        return listing_of_scope(live, &s->scope, dirs, LISTING_COMPARE, err);
    return listing_of_paths(live, &s->files, dirs, true, err);
}

bool snapshot_is_of_this_boot(const struct snapshot *s)
{
    char boot[NCF_BOOT_SIZE];

    sys_boot_id(boot);
    return boot[0] && !strcmp(boot, s->manifest.boot);
}

/*
 * Not after a reboot: a power cut can leave content on disk that is newer than
 * its times.  And not within the minute before the start: a program that has
 * the file mapped changes the time only when it first writes to a page that is
 * clean, and pages stay dirty for half a minute.
 */
bool snapshot_trusts_before(const struct snapshot *s, struct stamp *ret)
{
    *ret = s->manifest.started;
    ret->sec -= 60;
    return snapshot_is_of_this_boot(s);
}

/* ---- writing ---- */

void snapshot_describe(struct manifest *m, enum archive_kind kind)
{
    unsigned char id[8];

    *m = (struct manifest){ .kind = kind, .started = sys_now(),
                            .uid = geteuid(), .pid = (uint32_t)getpid() };
    sys_random(id, sizeof(id));
    for (size_t i = 0; i < sizeof(id); i++)
        snprintf(m->id + 2 * i, 3, "%02x", id[i]);
    sys_program(m->program, sizeof(m->program));
    sys_boot_id(m->boot);
}

struct writer {
    int fd;
    unsigned char *buf; /* WRITE_BUFFER bytes */
    size_t len;
    uint64_t written;
    struct xxh64 sum;
    struct listing *l;
    struct dirs *dirs;
    struct content *saved;
    struct error *err;
};

static uint64_t writer_at(const struct writer *w)
{
    return w->written + w->len;
}

static int writer_flush(struct writer *w)
{
    if (w->len == 0)
        return 0;
    xxh64_add(&w->sum, w->buf, w->len);
    if (sys_write(w->fd, w->buf, w->len, PATH_TEMP))
        return error_file(w->err, STEP_WRITE, errno, TEMP_PATH);
    w->written += w->len;
    w->len = 0;
    return 0;
}

/*
 * How much of the buffer is free, at least one byte; 0 on failure.  It is written
 * only when it is full: pieces that begin where the kernel's large pages begin are
 * taken in fewer of them.
 */
static size_t writer_room(struct writer *w)
{
    if (w->len == WRITE_BUFFER) {
        if (writer_flush(w))
            return 0;
        /* The disk works while what comes next is put together: the fsync at the end waits less. */
        if (w->written % WRITE_BEHIND == 0)
            sys_write_behind(w->fd, w->written - WRITE_BEHIND, WRITE_BEHIND);
    }
    return WRITE_BUFFER - w->len;
}

static int writer_add(struct writer *w, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    while (n) {
        size_t room = writer_room(w), take = n < room ? n : room;

        if (!room)
            return -1;
        memcpy(w->buf + w->len, p, take);
        w->len += take;
        p += take;
        n -= take;
    }
    return 0;
}

static int writer_pad(struct writer *w)
{
    static const char zeros[ARCHIVE_BLOCK];

    return writer_add(w, zeros, (ARCHIVE_BLOCK - writer_at(w) % ARCHIVE_BLOCK) % ARCHIVE_BLOCK);
}

/* Listed before it was opened, examined again after it was read: what lies between is it. */
static int unchanged(struct writer *w, const struct entry *e, int fd)
{
    struct sys_stat now;

    if (sys_statx(fd, NULL, &now))
        return error_file(w->err, STEP_STAT, errno, e->path);
    if (!entry_unchanged(&e->st, &now))
        return error_set(w->err, NCF_EFILE, STEP_CHANGING, 0, e->path);
    return 0;
}

static int copy_live_content(struct writer *w, struct entry *e, int fd)
{
    uint64_t left = e->st.size;

    while (left) {
        size_t room = writer_room(w);
        ssize_t got;

        if (!room)
            return -1;
        got = sys_read(fd, w->buf + w->len, left < room ? (size_t)left : room, e->path);
        if (got < 0)
            return error_file(w->err, STEP_READ, errno, e->path);
        if (got == 0)
            break;
        w->len += (size_t)got;
        left -= (uint64_t)got;
    }
    return left ? error_set(w->err, NCF_EFILE, STEP_CHANGING, 0, e->path) : unchanged(w, e, fd);
}

static int copy_saved_content(struct writer *w, struct entry *e, uint64_t from)
{
    for (uint64_t done = 0; done < e->st.size;) {
        uint64_t left = e->st.size - done;
        size_t n = left < CONTENT_CHUNK ? (size_t)left : CONTENT_CHUNK;
        const unsigned char *bytes = content_at(w->saved, from + done, n, w->err);

        if (!bytes || writer_add(w, bytes, n))
            return -1;
        done += n;
    }
    return 0;
}

/* Encoded where it is written from; only one that does not fit there needs memory of its own. */
static int write_head(struct writer *w, const struct entry *e, const struct entry *first)
{
    size_t room = writer_room(w);
    struct buffer direct = { .data = (char *)w->buf + w->len, .size = room, .fixed = true };
    AUTO_BUFFER own = { 0 };

    if (!room)
        return -1;
    archive_member(&direct, e, first);
    if (!direct.failed) {
        w->len += direct.len;
        return 0;
    }
    archive_member(&own, e, first);
    if (own.failed)
        return error_file(w->err, STEP_MEMORY, ENOMEM, e->path);
    return writer_add(w, own.data, own.len);
}

/* A live file that went away or became something else since it was listed is one that changes. */
static int vanished(struct writer *w, struct entry *e)
{
    if (w->err->sys == ENOENT || w->err->sys == ELOOP || w->err->sys == ENOTDIR) {
        error_clear(w->err);
        return error_set(w->err, NCF_EFILE, STEP_CHANGING, 0, e->path);
    }
    return -1;
}

static int write_member(struct writer *w, struct entry *e)
{
    const struct entry *first = &w->l->entry[e->link];
    bool live = !e->saved;
    uint64_t from = e->offset;
    AUTO_CLOSE fd = -1;

    if (e->type == '-' || e->type == 's')
        return 0;
    if (live && (e->type == 'f' || e->type == 'l') &&
        (fd = entry_open(w->dirs, e, w->err)) < 0)
        return vanished(w, e);
    if (live && entry_read_details(w->dirs, fd, e, &w->l->memory, w->err))
        return vanished(w, e);
    if (live && e->type == 'l' && unchanged(w, e, fd))
        return -1;
    if (e->context)
        return 0;
    if (write_head(w, e, first))
        return -1;
    if (e->type != 'f')
        return 0;
    if (first != e) {
        e->offset = first->offset;
        return 0;
    }
    e->offset = writer_at(w);
    if (live ? copy_live_content(w, e, fd) : copy_saved_content(w, e, from))
        return -1;
    return writer_pad(w);
}

static int write_manifest(struct writer *w, const struct manifest *m, const struct scope *scope)
{
    struct buffer *text = &w->l->content; /* what it held is written: its memory serves again */
    char block[ARCHIVE_BLOCK];
    struct buffer head = { .data = block, .size = sizeof(block), .fixed = true };

    text->len = 0;
    text->failed = false;
    archive_manifest(text, m, scope, w->l);
    archive_manifest_member(&head, text->len);
    if (text->failed)
        return error_file(w->err, STEP_MEMORY, ENOMEM, TEMP_PATH);
    if (writer_add(w, head.data, head.len) || writer_flush(w))
        return -1;
    archive_seal(text, xxh64_value(&w->sum));
    if (!buffer_claim(text, ARCHIVE_END))
        return error_file(w->err, STEP_MEMORY, ENOMEM, TEMP_PATH);
    if (sys_write(w->fd, text->data, text->len, PATH_TEMP))
        return error_file(w->err, STEP_WRITE, errno, TEMP_PATH);
    return 0;
}

static int write_all(struct writer *w, const struct manifest *m, const struct scope *scope)
{
    /* Whatever the umask: the owner reads it, nobody else, before there is anything to read. */
    if (sys_fchmod(w->fd, 0600, PATH_TEMP))
        return error_file(w->err, STEP_SET_MODE, errno, TEMP_PATH);
    for (size_t i = 0; i < w->l->count; i++)
        if (write_member(w, &w->l->entry[i]))
            return -1;
    if (write_manifest(w, m, scope))
        return -1;
    /* The bytes before the name: a name that survives a power cut must lead to all of them. */
    if (sys_fsync(w->fd, PATH_TEMP))
        return error_file(w->err, STEP_SYNC, errno, TEMP_PATH);
    return 0;
}

int snapshot_write(int dirfd, const struct manifest *m, const struct scope *scope,
                   struct listing *l, struct dirs *dirs, struct content *saved,
                   struct error *err)
{
    struct content held = { .fd = -1, .name = TEMP_PATH, .len = l->content.len,
                            .window = (unsigned char *)l->content.data };
    struct writer w = { .l = l, .dirs = dirs, .saved = saved ? saved : &held, .err = err };
    int r;

    w.fd = sys_openat(dirfd, PATH_TEMP, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (w.fd < 0)
        return error_file(err, STEP_CREATE, errno, TEMP_PATH);
    xxh64_init(&w.sum);
    w.buf = malloc(WRITE_BUFFER);
    r = w.buf ? write_all(&w, m, scope) : error_file(err, STEP_MEMORY, ENOMEM, TEMP_PATH);
    free(w.buf);
    sys_close(w.fd);
    if (r)
        sys_unlinkat(dirfd, PATH_TEMP, 0);
    return r;
}
