/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for one path's metadata: reading all of it, putting all of it back.
 * MUST NOT open devices, sockets or FIFOs.
 */
#include "entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int entry_stat(int dirfd, const char *name, struct entry *e)
{
    if (sys_statx(dirfd, name, &e->st))
        return -1;
    e->type = S_ISREG(e->st.mode)   ? 'f'
              : S_ISDIR(e->st.mode) ? 'd'
              : S_ISLNK(e->st.mode) ? 'l'
                                    : 's';
    return 0;
}

bool entry_unchanged(const struct sys_stat *a, const struct sys_stat *b)
{
    return a->ino == b->ino && a->dev == b->dev && a->mode == b->mode &&
           (a->size == b->size || !S_ISREG(a->mode)) &&
           a->mtime.sec == b->mtime.sec && a->mtime.nsec == b->mtime.nsec &&
           a->ctime.sec == b->ctime.sec && a->ctime.nsec == b->ctime.nsec;
}

/* Whether t is earlier than `by` nanoseconds before u, which is not before 1970. */
static bool earlier(struct stamp t, struct stamp u, int64_t by)
{
    int64_t nsec = u.nsec - by;

    for (; nsec < 0; nsec += 1000000000)
        u.sec--;
    return t.sec < u.sec || (t.sec == u.sec && t.nsec < nsec);
}

bool entry_before(struct stamp t, struct stamp started)
{
    /* The clock's ticks, or whole seconds where the filesystem stores no more. */
    return earlier(t, started, t.nsec ? 20000000 : 2000000000);
}

bool entry_touched(const struct sys_stat *saved, const struct sys_stat *now, struct stamp started)
{
    return !entry_unchanged(saved, now) || !entry_before(now->ctime, started);
}

int entry_open(struct dirs *dirs, const struct entry *e, struct error *err)
{
    int fd, dirfd = dirs_open_parent(dirs, e->path);

    if (dirfd < 0)
        return error_file(err, STEP_OPEN_DIRECTORY, errno, e->path);
    fd = e->type == 'l' ? sys_open_link(dirfd, path_name(e->path))
                        : sys_openat(dirfd, path_name(e->path),
                                     O_RDONLY | (e->type == 'd' ? O_DIRECTORY : 0), 0);
    if (fd < 0)
        return error_file(err, STEP_OPEN, errno, e->path);
    return fd;
}

/*
 * Kept: what a person or a security module set.  Not kept: what the kernel
 * computes from the file (security.evm), and what only mirrors other metadata.
 */
static bool xattr_kept(const char *name)
{
    return !strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8) ||
           (!strncmp(name, "security.", 9) && strcmp(name, "security.evm") != 0) ||
           !strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default");
}

static int xattr_name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool xattr_next(const unsigned char *list, size_t list_len, size_t *pos, struct xattr *ret)
{
    const unsigned char *p;
    uint32_t len;

    if (*pos >= list_len)
        return false;
    ret->name = (const char *)list + *pos;
    p = list + *pos + strlen(ret->name) + 1;
    memcpy(&len, p, sizeof(len));
    ret->value = p + sizeof(len);
    ret->len = len;
    *pos = (size_t)(ret->value + len - list);
    return true;
}

void xattr_pack(struct buffer *b, const char *name, const void *value, size_t len)
{
    uint32_t len32 = (uint32_t)len;

    buffer_add(b, name, strlen(name) + 1);
    buffer_add(b, &len32, sizeof(len32));
    buffer_add(b, value, len);
}

enum { XATTR_MAX = 65536, XATTR_NAMES_MAX = 1024 };

/* The value may grow between two calls; the largest one the kernel allows always fits. */
static int pack_value(int fd, bool link, const char *name, char *value, struct buffer *b)
{
    ssize_t len = sys_getxattr(fd, link, name, value, XATTR_MAX);

    if (len < 0)
        return errno == ENODATA ? 0 : -1;
    xattr_pack(b, name, value, (size_t)len);
    return 0;
}

static int read_xattr_values(int fd, bool link, char *names, size_t len, struct entry *e,
                             struct arena *memory)
{
    const char *sorted[XATTR_NAMES_MAX];
    size_t count = 0;
    AUTO_BUFFER packed = { 0 };
    __attribute__((cleanup(arena_free))) struct arena scratch = { 0 };
    char *value = arena_alloc(&scratch, XATTR_MAX);

    for (const char *n = names; n < names + len; n += strlen(n) + 1)
        if (xattr_kept(n) && count < XATTR_NAMES_MAX)
            sorted[count++] = n;
    array_sort(sorted, count, sizeof(sorted[0]), xattr_name_order);
    for (size_t i = 0; i < count && value; i++)
        if (pack_value(fd, link, sorted[i], value, &packed))
            return -1;
    e->xattr_len = packed.len;
    e->xattr = packed.len ? (unsigned char *)arena_copy(memory, packed.data, packed.len) : NULL;
    if (!value || packed.failed || (packed.len && !e->xattr)) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

static int read_xattrs(int fd, bool link, struct entry *e, struct arena *memory,
                       struct error *err)
{
    char few[1024];
    __attribute__((cleanup(arena_free))) struct arena scratch = { 0 };
    char *names = few;
    ssize_t len = sys_listxattr(fd, link, few, sizeof(few));

    e->xattr = NULL;
    e->xattr_len = 0;
    if (len < 0 && errno == ERANGE) {
        names = arena_alloc(&scratch, XATTR_MAX);
        if (!names)
            return error_file(err, STEP_MEMORY, ENOMEM, e->path);
        len = sys_listxattr(fd, link, names, XATTR_MAX);
    }
    if (len == 0 || (len < 0 && errno == EOPNOTSUPP))
        return 0;
    /* Without /proc the attributes of a link can't be reached; it has none that matter there. */
    if (len < 0 && link && errno == ENOENT)
        return 0;
    if (len < 0 || read_xattr_values(fd, link, names, (size_t)len, e, memory))
        return error_file(err, STEP_READ_XATTR, errno, e->path);
    return 0;
}

static int read_target(int fd, struct entry *e, struct arena *memory, struct error *err)
{
    char target[PATH_SIZE];
    ssize_t n = sys_readlinkat(fd, "", target, sizeof(target));

    if (n < 0 || n == (ssize_t)sizeof(target))
        return error_file(err, STEP_READ_LINK, n < 0 ? errno : ENAMETOOLONG, e->path);
    e->target = arena_copy(memory, target, (size_t)n);
    return e->target ? 0 : error_file(err, STEP_MEMORY, ENOMEM, e->path);
}

int entry_read_details(struct dirs *dirs, int fd, struct entry *e, struct arena *memory,
                       struct error *err)
{
    AUTO_CLOSE own = -1;

    if (e->type != 'f' && e->type != 'd' && e->type != 'l')
        return 0;
    if (fd < 0 && e->type == 'd') {
        /* Kept open there: what comes next lies in it. */
        fd = dirs_open(dirs, e->path, strlen(e->path));
        if (fd < 0)
            return error_file(err, STEP_OPEN_DIRECTORY, errno, e->path);
    } else if (fd < 0) {
        own = entry_open(dirs, e, err);
        if (own < 0)
            return -1;
        fd = own;
    }
    if (e->type == 'l' && read_target(fd, e, memory, err))
        return -1;
    return read_xattrs(fd, e->type == 'l', e, memory, err);
}

/* Attributes that a new file inherited (a default ACL, for instance) and `e` does not have. */
static int remove_other_xattrs(int fd, bool link, const struct entry *e,
                               struct error *err)
{
    struct entry now = { .path = e->path };
    __attribute__((cleanup(arena_free))) struct arena memory = { 0 };
    struct xattr have, want;

    if (read_xattrs(fd, link, &now, &memory, err))
        return -1;
    for (size_t i = 0; xattr_next(now.xattr, now.xattr_len, &i, &have);) {
        bool wanted = false;

        for (size_t j = 0; !wanted && xattr_next(e->xattr, e->xattr_len, &j, &want);)
            wanted = !strcmp(have.name, want.name);
        if (!wanted && sys_removexattr(fd, link, have.name))
            return error_file(err, STEP_SET_XATTR, errno, e->path);
    }
    return 0;
}

static int apply_xattrs(int fd, bool link, const struct entry *e, struct error *err)
{
    struct xattr want;

    if (remove_other_xattrs(fd, link, e, err))
        return -1;
    for (size_t i = 0; xattr_next(e->xattr, e->xattr_len, &i, &want);)
        if (sys_setxattr(fd, link, want.name, want.value, want.len))
            return error_file(err, STEP_SET_XATTR, errno, e->path);
    return 0;
}

/*
 * Owner first: chown clears set-id bits and file capabilities.  Then the
 * attributes, whose ACL sets the group bits, then the mode, which agrees with
 * the ACL's mask.  Times last: everything before changes them.
 */
int entry_apply(int fd, const struct entry *e, struct error *err)
{
    struct sys_stat now;

    if (sys_statx(fd, NULL, &now))
        return error_file(err, STEP_STAT, errno, e->path);
    if ((now.uid != e->st.uid || now.gid != e->st.gid) &&
        sys_fchown(fd, e->st.uid, e->st.gid, e->path))
        return error_file(err, STEP_SET_OWNER, errno, e->path);
    if (apply_xattrs(fd, false, e, err))
        return -1;
    /* Inherited from the directory.  Flags that lock are not, and are set last. */
    if ((now.flags & ~e->st.flags & FLAG_NODUMP) &&
        sys_setflags(fd, now.flags & e->st.flags, e->path))
        return error_file(err, STEP_SET_FLAGS, errno, e->path);
    if (sys_fchmod(fd, e->st.mode & 07777, e->path))
        return error_file(err, STEP_SET_MODE, errno, e->path);
    if (sys_utimensat(fd, false, e->st.mtime))
        return error_file(err, STEP_SET_TIMES, errno, e->path);
    return 0;
}

int entry_apply_link(int dirfd, const char *name, const struct entry *e, struct error *err)
{
    struct sys_stat now;
    AUTO_CLOSE fd = sys_open_link(dirfd, name);

    if (fd < 0)
        return error_file(err, STEP_OPEN, errno, e->path);
    if (sys_statx(fd, NULL, &now))
        return error_file(err, STEP_STAT, errno, e->path);
    /* Who may write to the directory can have put something else there, for us to give away. */
    if (!S_ISLNK(now.mode) || now.nlink != 1)
        return error_set(err, NCF_EFILE, STEP_CHANGING, 0, e->path);
    if ((now.uid != e->st.uid || now.gid != e->st.gid) &&
        sys_fchown(fd, e->st.uid, e->st.gid, e->path))
        return error_file(err, STEP_SET_OWNER, errno, e->path);
    if (apply_xattrs(fd, true, e, err))
        return -1;
    if (sys_utimensat(fd, true, e->st.mtime))
        return error_file(err, STEP_SET_TIMES, errno, e->path);
    return 0;
}
