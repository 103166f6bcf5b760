/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the state directory: lock, names, what is kept and for how long.
 * A change is open exactly while STORE_SNAPSHOT exists.
 * MUST NOT give a name to anything that is not durable, nor retry a failed fsync.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLD_NETCF "network-snapshot" /* the directory netcf's script works with */
#define NOT_BACK "not-back"
#define DISCARDED_PREFIX "network-rollback-"
#define DISCARDED_SUFFIX ".tar"
enum { DISCARDED_MAX = 20 };
#define DISCARDED_BYTES_MAX ((uint64_t)64 * 1024 * 1024)

/* The way to the state directory, from the top. */
static const struct {
    const char *path;
    mode_t mode; /* when made; see prove_way() for the last */
} way[] = { { "var", 0755 }, { "var/lib", 0755 }, { PATH_STATE, 0500 } };
enum { WAY = sizeof(way) / sizeof(way[0]) };

/*
 * A snapshot is durable only if the way to it is.  Until it is, the state
 * directory has another mode: whoever finds that, because he made the
 * directory or because somebody who did was killed, syncs the way first.
 */
enum { MODE_PROVEN = 0700 };

static int no_way(struct error *err, const char *path)
{
    bool rights = errno == EACCES || errno == EPERM;

    return error_file(err, rights ? STEP_STATE_RIGHTS : STEP_STATE_DIRECTORY, errno, path);
}

static int make_way(struct store *s, struct dirs *dirs, struct error *err)
{
    for (int i = 0; i < WAY; i++) {
        int parent = dirs_open_parent(dirs, way[i].path);
        const char *name = path_name(way[i].path);

        if (parent < 0)
            return no_way(err, way[i].path);
        if (sys_mkdirat(parent, name, way[i].mode) == 0) {
            s->made++;
            if (sys_fchmodat(parent, name, way[i].mode)) /* whatever the umask */
                return no_way(err, way[i].path);
        } else if (errno != EEXIST) {
            return no_way(err, way[i].path);
        }
    }
    return 0;
}

static int prove_way(struct store *s, struct dirs *dirs, struct error *err)
{
    for (int i = 0; i < WAY; i++) {
        int parent = dirs_open_parent(dirs, way[i].path);

        if (parent < 0 || sys_fsync(parent, way[i].path))
            return error_file(err, STEP_SYNC_DIRECTORY, errno, way[i].path);
    }
    if (sys_fchmod(s->fd, MODE_PROVEN, PATH_STATE))
        return error_file(err, STEP_SET_MODE, errno, PATH_STATE);
    return 0;
}

void store_unmake(struct store *s, struct dirs *dirs)
{
    for (int i = WAY; i-- > WAY - s->made;) {
        int parent;

        dirs_forget(dirs);
        parent = dirs_open_parent(dirs, way[i].path);
        if (parent < 0 || sys_unlinkat(parent, path_name(way[i].path), AT_REMOVEDIR))
            return;
    }
}

int store_open(struct store *s, struct dirs *dirs, bool create, struct error *err)
{
    struct sys_stat st;
    int fd;

    *s = (struct store){ .fd = -1 };
    fd = dirs_open(dirs, PATH_STATE, sizeof(PATH_STATE) - 1);
    if (fd < 0 && errno == ENOENT && create) {
        if (make_way(s, dirs, err)) {
            store_unmake(s, dirs);
            return -1;
        }
        fd = dirs_open(dirs, PATH_STATE, sizeof(PATH_STATE) - 1);
    }
    if (fd < 0)
        return errno == ENOENT && !create
                   ? 0
                   : no_way(err, PATH_STATE);
    s->fd = fd;
    dirs_give(dirs); /* with its lock */
    if (sys_statx(fd, NULL, &st))
        return no_way(err, PATH_STATE);
    if ((st.uid != 0 && st.uid != geteuid()) || (st.mode & 022))
        return error_set(err, NCF_EFILE, STEP_STATE_TRUST, 0, PATH_STATE);
    if (create && (st.mode & 07777) != MODE_PROVEN && prove_way(s, dirs, err)) {
        store_unmake(s, dirs);
        return -1;
    }
    return 1;
}

int store_lock(struct store *s, struct error *err)
{
    struct sys_stat st;

    if (sys_flock(s->fd, LOCK_EX, PATH_STATE) || sys_statx(s->fd, NULL, &st))
        return error_file(err, STEP_LOCK, errno, PATH_STATE);
    return st.nlink > 0;
}

bool store_try_lock(struct store *s)
{
    return sys_flock(s->fd, LOCK_EX | LOCK_NB, PATH_STATE) == 0;
}

void store_close(struct store *s)
{
    sys_close_cleanup(&s->fd);
    s->fd = -1;
}

int store_refuse_old_netcf(struct store *s, struct error *err)
{
    struct sys_stat st;

    if (sys_statx(s->fd, OLD_NETCF, &st) == 0)
        return error_set(err, NCF_EFILE, STEP_OLD_NETCF, 0, PATH_STATE "/" OLD_NETCF);
    return errno == ENOENT ? 0 : error_file(err, STEP_STAT, errno, PATH_STATE "/" OLD_NETCF);
}

/* A directory under a name of ours is somebody's: it is kept under another, but stops nothing. */
static int move_away(struct store *s, const char *name)
{
    char other[32];

    for (int n = 1; n < 100; n++) {
        snprintf(other, sizeof(other), "in-the-way-%d", n);
        if (sys_renameat(s->fd, name, s->fd, other) == 0)
            return 0;
    }
    return -1;
}

/* Removed now, or known not to be there; on a read-only filesystem nothing can be in use. */
static bool clear_name(struct store *s, const char *name)
{
    return sys_unlinkat(s->fd, name, 0) == 0 || errno == ENOENT || errno == EROFS ||
           (errno == EISDIR && move_away(s, name) == 0);
}

/*
 * The reserve is two files beside the snapshot, and not blocks of the snapshot
 * itself: unlink gives space back on a filesystem where a quota refuses even
 * ftruncate.  Not synced: that would double the flushes of a start, for a disk
 * that is full after a power cut on a filesystem that logs each file apart.
 */
static const char *const reserve[] = { PATH_STATE "/.netcf-reserve-1",
                                       PATH_STATE "/.netcf-reserve-2" };
enum { RESERVE_FILES = sizeof(reserve) / sizeof(reserve[0]) };

static int remove_reserve(struct store *s, struct error *err)
{
    for (int i = 0; i < RESERVE_FILES; i++)
        if (!clear_name(s, path_name(reserve[i])))
            return error_file(err, STEP_REMOVE, errno, reserve[i]);
    return 0;
}

int store_reserve(struct store *s, uint64_t bytes, struct error *err)
{
    for (int i = 0; i < RESERVE_FILES; i++) {
        AUTO_CLOSE fd = sys_openat(s->fd, path_name(reserve[i]), O_WRONLY | O_CREAT, 0600);

        if (fd < 0)
            return error_file(err, STEP_RESERVE, errno, reserve[i]);
        /* Some filesystems can't: NFS before 4.2, FAT, some FUSE.  They go without. */
        if (i == 0 && sys_fallocate(fd, bytes, path_name(reserve[i])) && errno != EOPNOTSUPP &&
            errno != ENOSYS && errno != EINVAL)
            return error_file(err, STEP_RESERVE, errno, reserve[i]);
    }
    return 0;
}

void store_release_reserve(struct store *s)
{
    struct error ignored = { 0 }; /* then there is less room, which shows */

    (void)remove_reserve(s, &ignored);
}

int store_clean_temp(struct store *s, struct error *err)
{
    if (!clear_name(s, PATH_TEMP))
        return error_file(err, STEP_REMOVE, errno, PATH_STATE "/" PATH_TEMP);
    return 0;
}

int store_clean(struct store *s, struct error *err)
{
    return store_clean_temp(s, err) || remove_reserve(s, err) ? -1 : 0;
}

int store_publish(struct store *s, const char *name, struct error *err)
{
    if (sys_renameat(s->fd, PATH_TEMP, s->fd, name) &&
        (errno != EISDIR || move_away(s, name) || sys_renameat(s->fd, PATH_TEMP, s->fd, name))) {
        error_file(err, STEP_RENAME, errno, PATH_STATE "/" PATH_TEMP);
        sys_unlinkat(s->fd, PATH_TEMP, 0);
        return -1;
    }
    if (sys_fsync(s->fd, PATH_STATE))
        return error_file(err, STEP_SYNC_DIRECTORY, errno, PATH_STATE);
    return 0;
}

int store_retire(struct store *s, struct error *err)
{
    /* What belongs to the snapshot goes before it: after it, nobody would look. */
    if (remove_reserve(s, err))
        return -1;
    if (sys_unlinkat(s->fd, STORE_SNAPSHOT, 0))
        return error_file(err, STEP_RETIRE, errno, PATH_STATE "/" STORE_SNAPSHOT);
    /* Until here a power cut may bring the snapshot back: the change is not closed before. */
    if (sys_fsync(s->fd, PATH_STATE))
        return error_file(err, STEP_RETIRE_SYNC, errno, PATH_STATE "/" STORE_SNAPSHOT);
    return 0;
}

/* ---- what is not back ---- */

int store_keep_not_back(struct store *s, const char *text, struct error *err)
{
    AUTO_CLOSE fd = -1;

    if (store_clean_temp(s, err))
        return -1;
    fd = sys_openat(s->fd, PATH_TEMP, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return error_file(err, STEP_CREATE, errno, PATH_STATE "/" PATH_TEMP);
    if (sys_write(fd, text, strlen(text), PATH_TEMP) || sys_fsync(fd, PATH_TEMP) ||
        sys_renameat(s->fd, PATH_TEMP, s->fd, NOT_BACK))
        return error_file(err, STEP_WRITE, errno, PATH_STATE "/" NOT_BACK);
    return 0;
}

void store_read_not_back(const struct store *s, char *text, size_t size)
{
    AUTO_CLOSE fd = sys_openat(s->fd, NOT_BACK, O_RDONLY, 0);
    ssize_t n = fd < 0 ? 0 : sys_read(fd, text, size - 1, NOT_BACK);

    text[n > 0 ? n : 0] = '\0';
}

void store_forget_not_back(struct store *s)
{
    sys_unlinkat(s->fd, NOT_BACK, 0);
}

void store_discarded_name(unsigned long long id, char name[STORE_NAME_SIZE])
{
    snprintf(name, STORE_NAME_SIZE, DISCARDED_PREFIX "%08llu" DISCARDED_SUFFIX, id);
}

/* The number in a name of ours; 0 if it is none. */
static unsigned long long discarded_id(const char *name)
{
    char again[STORE_NAME_SIZE];
    unsigned long long id;

    if (strncmp(name, DISCARDED_PREFIX, sizeof(DISCARDED_PREFIX) - 1) != 0)
        return 0;
    id = strtoull(name + sizeof(DISCARDED_PREFIX) - 1, NULL, 10);
    store_discarded_name(id, again);
    return strcmp(name, again) ? 0 : id;
}

static int id_order(const void *a, const void *b)
{
    const struct discarded *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int add_discarded(struct store *s, struct discarded_list *l, const char *name,
                         struct error *err)
{
    struct discarded d = { .id = discarded_id(name) };
    struct sys_stat st;

    if (!d.id)
        return 0;
    if (sys_statx(s->fd, name, &st))
        return errno == ENOENT ? 0 : error_file(err, STEP_STAT, errno, name);
    if (!S_ISREG(st.mode))
        return 0;
    d.bytes = st.size;
    store_discarded_name(d.id, d.name);
    if (!array_grow((void **)&l->item, l->count, &l->room, sizeof(d)))
        return error_file(err, STEP_MEMORY, ENOMEM, name);
    l->item[l->count++] = d;
    return 0;
}

int store_list_discarded(struct store *s, struct discarded_list *ret, struct error *err)
{
    _Alignas(8) char entries[4096];
    const char *name;
    ssize_t got;
    AUTO_CLOSE fd = sys_openat(s->fd, ".", O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return error_file(err, STEP_OPEN_DIRECTORY, errno, PATH_STATE);
    while ((got = sys_getdents(fd, entries, sizeof(entries), PATH_STATE)) > 0)
        for (size_t pos = 0; (name = sys_dirent_next(entries, (size_t)got, &pos));)
            if (add_discarded(s, ret, name, err))
                return -1;
    if (got < 0)
        return error_file(err, STEP_READ_DIRECTORY, errno, PATH_STATE);
    if (ret->count)
        array_sort(ret->item, ret->count, sizeof(*ret->item), id_order);
    return 0;
}

void discarded_list_free(struct discarded_list *l)
{
    free(l->item);
    *l = (struct discarded_list){ 0 };
}

int store_prune_discarded(struct store *s, struct error *err)
{
    AUTO_DISCARDED list = { 0 };
    uint64_t bytes = 0;

    if (store_list_discarded(s, &list, err))
        return -1;
    for (size_t kept = 0, i = list.count; i-- > 0; kept++) {
        bytes += list.item[i].bytes;
        if (kept == 0 || (kept < DISCARDED_MAX && bytes <= DISCARDED_BYTES_MAX))
            continue;
        if (sys_unlinkat(s->fd, list.item[i].name, 0) && errno != ENOENT)
            return error_file(err, STEP_REMOVE, errno, list.item[i].name);
    }
    return 0;
}
