/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for being csrc/sys.c on the disk in memory: the same calls with
 * the errors a Linux kernel gives, for one process that is root.
 */
#include "model.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct host host = { .space = -1 };

enum { FD_FIRST = 1000, FDS = 32 };
static struct {
    bool used;
    int inode;
    uint64_t at;
    int names_given; /* by getdents */
} fds[FDS];

static int fail(int e)
{
    errno = e;
    return -1;
}

/* The core asks libc for these two; the same answer in every run. */
pid_t getpid(void)
{
    return 42;
}

uid_t geteuid(void)
{
    return 0;
}

static void tick(void)
{
    host.now += host.tick;
    live_call();
}

static int fd_new(int inode)
{
    for (int i = 0; i < FDS; i++)
        if (!fds[i].used) {
            fds[i].used = true;
            fds[i].inode = inode;
            fds[i].at = 0;
            fds[i].names_given = 0;
            return FD_FIRST + i;
        }
    return fail(EMFILE);
}

int open_descriptors(void)
{
    int n = 0;

    for (int i = 0; i < FDS; i++) {
        n += fds[i].used;
        fds[i].used = false;
    }
    return n;
}

static int inode_of(int fd)
{
    if (fd < FD_FIRST || fd >= FD_FIRST + FDS || !fds[fd - FD_FIRST].used)
        die("call on a descriptor that is not open: %d", fd);
    return fds[fd - FD_FIRST].inode;
}

static struct inode *node(int i)
{
    return &live.inode[i];
}

static int links(int inode)
{
    int n = inode == ROOT;

    for (int i = 0; i < live.names; i++)
        n += live.name[i].inode == inode;
    return n;
}

static void set_meta(int inode, struct meta m)
{
    live_do((struct op){ .kind = OP_META, .inode = inode, .m = m });
}

static void changed(int inode, bool content)
{
    struct meta m = node(inode)->m;

    m.ctime = host.now;
    if (content)
        m.mtime = host.now;
    set_meta(inode, m);
}

/* ---- space ---- */

static int64_t sectors_of(const struct inode *n)
{
    uint32_t s = n->sectors > n->reserved ? n->sectors : n->reserved;

    return (s + 7) / 8 * 8; /* blocks of 4 KiB */
}

static bool room_for(int64_t sectors)
{
    int64_t used = 0;

    if (host.space < 0)
        return true;
    for (int i = 0; i < live.inodes; i++)
        if (live.inode[i].type == 'f' && links(i))
            used += sectors_of(&live.inode[i]);
    return used + sectors <= host.space;
}

/* ---- names ---- */

int sys_open_root(const char *path)
{
    (void)path;
    return fd_new(ROOT);
}

int sys_openat2(int dirfd, const char *path, int flags)
{
    int at = inode_of(dirfd);

    (void)flags; /* directories only */
    while (*path) {
        at = image_find_part(&live, at, path);
        if (at < 0)
            return fail(ENOENT);
        if (node(at)->type != 'd')
            return fail(node(at)->type == 'l' ? ELOOP : ENOTDIR);
        path = strchrnul(path, '/');
        path += *path == '/';
    }
    return fd_new(at);
}

static int make_inode(char type, uint32_t mode)
{
    int i = 0;

    while (i < live.inodes && live.inode[i].type)
        i++;
    live_do((struct op){ .kind = OP_MAKE, .inode = i, .type = type, .number = live.next_number,
                         .m = { .mode = mode, .mtime = host.now, .ctime = host.now } });
    return i;
}

static void set_name(int dir, const char *name, int target)
{
    live_do((struct op){ .kind = OP_NAME, .inode = dir, .text = text_of(name, strlen(name)),
                         .target = target });
    changed(dir, true);
}

/* A name can be added to or taken from `dir`. */
static int may_change(int dir, bool take)
{
    uint32_t flags = node(dir)->m.flags;

    if (!links(dir))
        return fail(ENOENT);
    return flags & (FLAG_IMMUTABLE | (take ? FLAG_APPEND : 0)) ? fail(EPERM) : 0;
}

/* The same for a name that is new, and an inode. */
static int may_add(int dir, const char *name)
{
    int i = 0;

    if (strlen(name) > 255)
        return fail(ENAMETOOLONG);
    while (i < live.inodes && live.inode[i].type)
        i++;
    if (i == INODES_MAX || live.names == NAMES_MAX)
        return fail(ENOSPC);
    return may_change(dir, false);
}

static int is_locked(int inode)
{
    return node(inode)->m.flags & FLAGS_LOCKING ? fail(EPERM) : 0;
}

static void set_size(int inode, uint64_t size, uint32_t reserved, bool delayed)
{
    live_do((struct op){ .kind = OP_SIZE, .inode = inode, .size = size, .reserved = reserved,
                         .delayed = delayed });
}

int sys_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    int dir = inode_of(dirfd);
    int found = strcmp(name, ".") ? image_find(&live, dir, name) : dir;

    if (node(dir)->type != 'd')
        return fail(ENOTDIR);
    if (found < 0 && !(flags & O_CREAT))
        return fail(ENOENT);
    if (found >= 0 && (flags & O_CREAT) && (flags & O_EXCL))
        return fail(EEXIST);
    if (found >= 0 && node(found)->type == 'l')
        return fail(ELOOP);
    if (found >= 0 && (flags & O_DIRECTORY) && node(found)->type != 'd')
        return fail(ENOTDIR);
    if (found >= 0 && (flags & O_ACCMODE) != O_RDONLY) {
        if (node(found)->type == 'd')
            return fail(EISDIR);
        if (is_locked(found))
            return -1;
    }
    if (found < 0) {
        if (may_add(dir, name))
            return -1;
        tick();
        found = make_inode('f', mode & 07777);
        set_name(dir, name, found);
    } else if (flags & O_TRUNC && node(found)->size) {
        tick();
        set_size(found, 0, 0, false);
        changed(found, true);
    }
    return fd_new(found);
}

static int named(int dirfd, const char *name)
{
    int dir = inode_of(dirfd), found;

    if (!name || !*name)
        return dir;
    if (node(dir)->type != 'd')
        return fail(ENOTDIR);
    found = image_find(&live, dir, name);
    return found < 0 ? fail(ENOENT) : found;
}

int sys_open_link(int dirfd, const char *name)
{
    int found = named(dirfd, name);

    return found < 0 ? -1 : fd_new(found);
}

void sys_close(int fd)
{
    if (fd < 0)
        return;
    inode_of(fd);
    fds[fd - FD_FIRST].used = false;
}

void sys_close_cleanup(int *fd)
{
    sys_close(*fd);
}

/* rename() in one directory, which is all the core does. */
int sys_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    int fd = inode_of(from_dir), td = inode_of(to_dir);
    int source = image_find(&live, fd, from), target = image_find(&live, td, to);

    if (source < 0)
        return fail(ENOENT);
    if (source == target)
        return 0;
    if (may_change(fd, true) || may_change(td, true) || is_locked(source))
        return -1;
    if (target >= 0) {
        if (node(source)->type != 'd' && node(target)->type == 'd')
            return fail(EISDIR);
        if (node(source)->type == 'd' && node(target)->type != 'd')
            return fail(ENOTDIR);
        if (is_locked(target))
            return -1;
    }
    tick();
    if (target >= 0)
        live_do((struct op){ .kind = OP_FLUSH, .inode = source });
    set_name(td, to, source);
    set_name(fd, from, -1);
    changed(source, false);
    return 0;
}

int sys_unlinkat(int dirfd, const char *name, int flags)
{
    int dir = inode_of(dirfd), found = image_find(&live, dir, name);

    if (found < 0)
        return fail(ENOENT);
    if (node(found)->type == 'd') {
        if (!(flags & AT_REMOVEDIR))
            return fail(EISDIR);
        for (int i = 0; i < live.names; i++)
            if (live.name[i].dir == found)
                return fail(ENOTEMPTY);
    } else if (flags & AT_REMOVEDIR) {
        return fail(ENOTDIR);
    }
    if (may_change(dir, true) || is_locked(found))
        return -1;
    tick();
    set_name(dir, name, -1);
    changed(found, false);
    return 0;
}

int sys_linkat(int from_dir, const char *from, int to_dir, const char *to)
{
    int source = image_find(&live, inode_of(from_dir), from), dir = inode_of(to_dir);

    if (source < 0)
        return fail(ENOENT);
    if (image_find(&live, dir, to) >= 0)
        return fail(EEXIST);
    if (node(source)->type == 'd')
        return fail(EPERM);
    if (may_add(dir, to) || is_locked(source))
        return -1;
    tick();
    set_name(dir, to, source);
    changed(source, false);
    return 0;
}

static void write_sectors(int inode, const unsigned char *bytes, size_t n, uint64_t at);

int sys_symlinkat(const char *target, int dirfd, const char *name)
{
    unsigned char bytes[SECTOR] = { 0 };
    int dir = inode_of(dirfd), made;
    size_t n = strlen(target);

    if (image_find(&live, dir, name) >= 0)
        return fail(EEXIST);
    if (n >= SECTOR)
        return fail(ENAMETOOLONG);
    if (may_add(dir, name))
        return -1;
    tick();
    made = make_inode('l', 0777);
    /* It lives in its inode, which is there as soon as a name leads to it. */
    memcpy(bytes, target, n);
    live_do((struct op){ .kind = OP_DATA, .inode = made, .type = 'l', .content = page_of(bytes) });
    live_do((struct op){ .kind = OP_SIZE, .inode = made, .type = 'l', .size = n });
    set_name(dir, name, made);
    return 0;
}

ssize_t sys_readlinkat(int dirfd, const char *name, char *buf, size_t n)
{
    int found = *name ? image_find(&live, inode_of(dirfd), name) : inode_of(dirfd);

    if (found < 0)
        return fail(ENOENT);
    if (node(found)->type != 'l')
        return fail(EINVAL);
    if (node(found)->size < n)
        n = (size_t)node(found)->size;
    memcpy(buf, page_bytes(node(found)->data[0]), n);
    return (ssize_t)n;
}

int sys_mkdirat(int dirfd, const char *name, mode_t mode)
{
    int dir = inode_of(dirfd);

    if (image_find(&live, dir, name) >= 0)
        return fail(EEXIST);
    if (may_add(dir, name))
        return -1;
    tick();
    set_name(dir, name, make_inode('d', mode & 07777));
    return 0;
}

struct dirent64 {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

ssize_t sys_getdents(int fd, void *buf, size_t n, const char *name)
{
    int dir = inode_of(fd), seen = 0;
    size_t used = 0;

    (void)name;
    for (int i = 0; i < live.names; i++) {
        struct dirent64 *d = (void *)((char *)buf + used);
        size_t len, reclen;
        const char *text;

        if (live.name[i].dir != dir || seen++ < fds[fd - FD_FIRST].names_given)
            continue;
        text = text_bytes(live.name[i].text, &len);
        reclen = (offsetof(struct dirent64, name) + len + 1 + 7) & ~(size_t)7;
        if (used + reclen > n)
            break;
        d->reclen = (uint16_t)reclen;
        d->type = node(live.name[i].inode)->type == 'f' ? 8 : 0; /* DT_REG, DT_UNKNOWN */
        memcpy(d->name, text, len + 1);
        used += reclen;
        fds[fd - FD_FIRST].names_given++;
    }
    return (ssize_t)used;
}

const char *sys_dirent_next(const void *buf, size_t n, size_t *pos)
{
    const struct dirent64 *d = (const void *)((const char *)buf + *pos);

    if (*pos >= n)
        return NULL;
    *pos += d->reclen;
    return d->name;
}

bool sys_dirent_is_file(const char *name)
{
    return name[-1] == 8;
}

/* ---- content ---- */

ssize_t sys_pread(int fd, void *buf, size_t n, uint64_t offset, const char *name)
{
    const struct inode *f = node(inode_of(fd));
    size_t done = 0;

    (void)name;
    if (f->type == 'd')
        return fail(EISDIR);
    if (offset >= f->size)
        return 0;
    if (n > f->size - offset)
        n = (size_t)(f->size - offset);
    while (done < n) {
        uint64_t sector = (offset + done) / SECTOR;
        size_t from = (size_t)((offset + done) % SECTOR), take = SECTOR - from;

        if (take > n - done)
            take = n - done;
        memcpy((char *)buf + done, page_bytes(sector < f->sectors ? f->data[sector] : 0) + from, take);
        done += take;
    }
    return (ssize_t)n;
}

ssize_t sys_read(int fd, void *buf, size_t n, const char *name)
{
    ssize_t got = sys_pread(fd, buf, n, fds[fd - FD_FIRST].at, name);

    if (got > 0)
        fds[fd - FD_FIRST].at += (uint64_t)got;
    return got;
}

static void write_sectors(int inode, const unsigned char *bytes, size_t n, uint64_t at)
{
    struct inode *f = node(inode);
    uint32_t had = f->sectors;

    for (size_t done = 0; done < n;) {
        unsigned char whole[SECTOR];
        uint64_t sector = (at + done) / SECTOR;
        size_t from = (size_t)((at + done) % SECTOR), take = SECTOR - from;

        if (take > n - done)
            take = n - done;
        memcpy(whole, page_bytes(sector < f->sectors ? f->data[sector] : 0), SECTOR);
        memcpy(whole + from, bytes + done, take);
        live_do((struct op){ .kind = OP_DATA, .inode = inode, .sector = (uint32_t)sector,
                             .content = page_of(whole), .delayed = sector >= had });
        done += take;
    }
    if (at + n > f->size)
        set_size(inode, at + n, f->reserved, true);
    changed(inode, true);
}

int sys_pwrite(int fd, const void *buf, size_t n, uint64_t offset, const char *name)
{
    int inode = inode_of(fd);
    unsigned char wrong[SECTORS_MAX * SECTOR];
    int64_t more = (int64_t)((offset + n + SECTOR - 1) / SECTOR) - node(inode)->sectors;

    (void)name;
    if (n == 0)
        return 0;
    if (offset + n > (uint64_t)SECTORS_MAX * SECTOR)
        return fail(EFBIG);
    if (more > 0 && offset + n > (uint64_t)node(inode)->reserved * SECTOR && !room_for((more + 7) / 8 * 8))
        return fail(ENOSPC);
    tick();
    if (host.corrupt_in > 0 && --host.corrupt_in == 0 && n <= sizeof(wrong)) {
        memcpy(wrong, buf, n);
        wrong[n / 2] ^= 1;
        buf = wrong;
    }
    write_sectors(inode, buf, n, offset);
    return 0;
}

int sys_write(int fd, const void *buf, size_t n, const char *name)
{
    if (sys_pwrite(fd, buf, n, fds[fd - FD_FIRST].at, name))
        return -1;
    fds[fd - FD_FIRST].at += n;
    return 0;
}

int sys_fsync(int fd, const char *name)
{
    int inode = inode_of(fd);

    (void)name;
    tick();
    if (host.sync_fails_in > 0 && --host.sync_fails_in == 0) {
        live_drop(inode);
        return fail(EIO);
    }
    live_do((struct op){ .kind = OP_SYNC, .inode = inode });
    live_call();
    return 0;
}

void sys_write_behind(int fd, uint64_t offset, uint64_t n)
{
    (void)offset, (void)n;
    inode_of(fd);
}

int sys_ftruncate(int fd, uint64_t size, const char *name)
{
    int inode = inode_of(fd);

    (void)name;
    if (size > (uint64_t)SECTORS_MAX * SECTOR)
        return fail(EFBIG);
    tick();
    if (node(inode)->size != size)
        set_size(inode, size, 0, false);
    changed(inode, true);
    return 0;
}

int sys_fallocate(int fd, uint64_t n, const char *name)
{
    int inode = inode_of(fd);
    uint32_t sectors = (uint32_t)((n + SECTOR - 1) / SECTOR);

    (void)name;
    if (!room_for((int64_t)sectors - sectors_of(node(inode))))
        return fail(ENOSPC);
    tick();
    set_size(inode, n, sectors, false);
    changed(inode, true);
    return 0;
}

/* ---- metadata ---- */

enum { SECOND = 1000000000 };
#define TIME_MAX ((int64_t)1 << 33) /* in seconds */

static struct stamp stamp_of(int64_t ns)
{
    int64_t rest = (ns % SECOND + SECOND) % SECOND;

    return (struct stamp){ (ns - rest) / SECOND, (uint32_t)rest };
}

static int stat_inode(int i, struct sys_stat *ret)
{
    const struct inode *n = node(i);
    uint32_t type = n->type == 'f' ? S_IFREG : n->type == 'd' ? S_IFDIR : S_IFLNK;

    *ret = (struct sys_stat){
        .mode = type | n->m.mode, .uid = n->m.uid, .gid = n->m.gid, .nlink = (uint32_t)links(i),
        .flags = n->m.flags, .size = n->size, .dev = 1, .ino = n->number,
        .mtime = stamp_of(n->m.mtime), .ctime = stamp_of(n->m.ctime),
    };
    return 0;
}

int sys_statx(int dirfd, const char *name, struct sys_stat *ret)
{
    int i = named(dirfd, name);

    return i < 0 ? -1 : stat_inode(i, ret);
}

static int edit_meta(int inode, struct meta m)
{
    if (inode < 0 || is_locked(inode))
        return -1;
    tick();
    m.ctime = host.now;
    set_meta(inode, m);
    return 0;
}

static int set_mode(int inode, mode_t mode)
{
    struct meta m;

    if (inode < 0)
        return -1;
    m = node(inode)->m;
    m.mode = mode & 07777;
    return edit_meta(inode, m);
}

int sys_fchmod(int fd, mode_t mode, const char *name)
{
    (void)name;
    return set_mode(inode_of(fd), mode);
}

/* Of a directory, and nothing else. */
int sys_fchmodat(int dirfd, const char *name, mode_t mode)
{
    int found = named(dirfd, name);

    if (found >= 0 && node(found)->type != 'd')
        return fail(node(found)->type == 'l' ? ELOOP : ENOTDIR);
    return set_mode(found, mode);
}

static int set_owner(int inode, uint32_t uid, uint32_t gid)
{
    struct meta m;

    if (inode < 0)
        return -1;
    m = node(inode)->m;
    m.uid = uid;
    m.gid = gid;
    return edit_meta(inode, m);
}

int sys_fchown(int fd, uint32_t uid, uint32_t gid, const char *name)
{
    (void)name;
    return set_owner(inode_of(fd), uid, gid);
}

int sys_utimensat(int fd, bool link, struct stamp mtime)
{
    int inode = inode_of(fd);
    struct meta m;

    (void)link;
    if (inode < 0)
        return -1;
    m = node(inode)->m;
    /* Beyond what an inode has room for it is the latest there is, as on Linux. */
    if (mtime.sec > TIME_MAX || mtime.sec < -TIME_MAX)
        mtime = (struct stamp){ mtime.sec < 0 ? -TIME_MAX : TIME_MAX, 0 };
    m.mtime = mtime.sec * SECOND + mtime.nsec;
    return edit_meta(inode, m);
}

int sys_setflags(int fd, uint32_t flags, const char *name)
{
    int inode = inode_of(fd);
    struct meta m = node(inode)->m;

    (void)name;
    if (m.flags == flags)
        return 0;
    tick();
    m.flags = flags;
    m.ctime = host.now;
    set_meta(inode, m);
    return 0;
}

int sys_flock(int fd, int operation, const char *name)
{
    (void)operation, (void)name;
    inode_of(fd);
    return 0;
}

/* ---- attributes ---- */

struct attribute {
    const char *name, *value;
    uint32_t len;
};

static bool next_attribute(uint32_t text, size_t *at, struct attribute *ret)
{
    size_t n;
    const char *bytes = text_bytes(text, &n);

    if (*at >= n)
        return false;
    ret->name = bytes + *at;
    *at += strlen(ret->name) + 1;
    memcpy(&ret->len, bytes + *at, 4);
    ret->value = bytes + *at + 4;
    *at += 4 + ret->len;
    return true;
}

ssize_t sys_listxattr(int fd, bool link, char *buf, size_t n)
{
    int i = inode_of(fd);
    struct attribute a;
    size_t used = 0;

    (void)link;
    if (i < 0)
        return -1;
    for (size_t at = 0; next_attribute(node(i)->m.xattrs, &at, &a);) {
        if (used + strlen(a.name) + 1 > n)
            return fail(ERANGE);
        memcpy(buf + used, a.name, strlen(a.name) + 1);
        used += strlen(a.name) + 1;
    }
    return (ssize_t)used;
}

ssize_t sys_getxattr(int fd, bool link, const char *attr, void *buf, size_t n)
{
    int i = inode_of(fd);
    struct attribute a;

    (void)link;
    if (i < 0)
        return -1;
    for (size_t at = 0; next_attribute(node(i)->m.xattrs, &at, &a);)
        if (!strcmp(a.name, attr)) {
            if (a.len > n)
                return fail(ERANGE);
            memcpy(buf, a.value, a.len);
            return (ssize_t)a.len;
        }
    return fail(ENODATA);
}

/* All but `attr`, and that with `value` unless it is NULL. */
static int replace_attribute(int i, const char *attr, const void *value, size_t n)
{
    char packed[1024];
    size_t used = 0;
    struct attribute a;
    struct meta m;
    uint32_t len = (uint32_t)n;

    if (i < 0)
        return -1;
    m = node(i)->m;
    for (size_t at = 0; next_attribute(m.xattrs, &at, &a);) {
        size_t whole = strlen(a.name) + 1 + 4 + a.len;

        if (strcmp(a.name, attr) != 0) {
            memcpy(packed + used, a.name, whole);
            used += whole;
        }
    }
    if (value && used + strlen(attr) + 5 + n > sizeof(packed))
        return fail(ENOSPC);
    if (value) {
        memcpy(packed + used, attr, strlen(attr) + 1);
        used += strlen(attr) + 1;
        memcpy(packed + used, &len, 4);
        memcpy(packed + used + 4, value, n);
        used += 4 + n;
    }
    m.xattrs = text_of(packed, used);
    return edit_meta(i, m);
}

int sys_setxattr(int fd, bool link, const char *attr, const void *value, size_t n)
{
    (void)link;
    return replace_attribute(inode_of(fd), attr, value, n);
}

int sys_removexattr(int fd, bool link, const char *attr)
{
    (void)link;
    return replace_attribute(inode_of(fd), attr, NULL, 0);
}

/* ---- the rest ---- */

struct stamp sys_now(void)
{
    return stamp_of(host.now);
}

uint64_t sys_boottime(void)
{
    return (uint64_t)host.now;
}

int sys_stamps(int fd)
{
    (void)fd;
    return 1;
}

void sys_program(char *name, size_t size)
{
    snprintf(name, size, "disk");
}

void sys_boot_id(char id[37])
{
    snprintf(id, 37, "boot-%d", host.boot);
}

void sys_sleep_ms(int ms)
{
    host.now += (int64_t)ms * 1000000;
}

void sys_random(void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        host.random = host.random * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)buf)[i] = (unsigned char)(host.random >> 56);
    }
}

/* ---- the guard: this machine has no other processes ---- */

int sys_mark(int fd, uint64_t key)
{
    (void)fd, (void)key;
    return -1;
}

int sys_is_marked(int fd, uint64_t key)
{
    (void)fd, (void)key;
    return 0;
}

int sys_watch(int fd)
{
    (void)fd;
    return -1;
}

int sys_sleep_until(int watch, int line, uint64_t until)
{
    (void)watch, (void)line, (void)until;
    return -1;
}

int sys_pipe(int *ret_read, int *ret_write)
{
    (void)ret_read, (void)ret_write;
    return -1;
}

bool sys_wait_readable(int fd, int ms)
{
    (void)fd, (void)ms;
    return false;
}

bool sys_is_line(int fd)
{
    (void)fd;
    return false;
}

void sys_protect(void)
{
}

/* ---- live interfaces: none, since the root is not "/" ---- */

bool sys_exists(const char *path)
{
    (void)path;
    return false;
}

bool sys_is_volatile(const char *path)
{
    (void)path;
    return false;
}
