/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host to play in: beneath the root a few files in scope, one that is not,
 * and two ways out, a hard link and a symbolic link; beside it what must never
 * be reached by them.  As root and as an ordinary user.
 */
#include "baseline.h"
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int top, host, outside; /* open directories */
static int next_fd;
static struct stat before[BASELINE], dir_before, secret_before, linked_before;

static void clear_flags(int fd)
{
    const unsigned long get = _IOR('f', 1, long), set = _IOW('f', 2, long);
    int flags = 0;

    if (ioctl(fd, get, &flags) == 0 && flags & (FLAG_IMMUTABLE | FLAG_APPEND)) {
        flags &= ~(FLAG_IMMUTABLE | FLAG_APPEND);
        must(ioctl(fd, set, &flags) == 0, "can't clear flags");
    }
}

/* Everything in an open directory, whatever a rollback made of it; closes it. */
static void empty(int fd)
{
    DIR *dir = fdopendir(fd);
    struct dirent *d;

    must(dir, "can't read a directory");
    clear_flags(fd);
    fchmod(fd, 0700);
    while ((d = readdir(dir))) {
        int child;

        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        if (unlinkat(fd, d->d_name, 0) == 0)
            continue;
        fchmodat(fd, d->d_name, 0700, 0);
        child = openat(fd, d->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        must(child >= 0, "can't open %s", d->d_name);
        if (d->d_type == DT_DIR) {
            empty(child);
            must(unlinkat(fd, d->d_name, AT_REMOVEDIR) == 0, "can't remove %s", d->d_name);
            continue;
        }
        clear_flags(child);
        close(child);
        must(unlinkat(fd, d->d_name, 0) == 0, "can't remove %s", d->d_name);
    }
    closedir(dir);
}

static int open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    must(fd >= 0, "can't open %s", name);
    return fd;
}

static void put(int at, const char *path, const void *bytes, size_t n, mode_t mode)
{
    int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);

    must(fd >= 0 && write(fd, bytes, n) == (ssize_t)n, "can't write %s", path);
    close(fd);
}

static int free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    return fd;
}

void scratch_write(const char *path, const void *bytes, size_t n)
{
    put(host, path, bytes, n, 0600);
    next_fd = free_descriptor();
}

void scratch_reset(void)
{
    empty(open_dir(host, "."));
    for (size_t i = 0; i < BASELINE; i++)
        if (baseline[i].content)
            put(host, baseline[i].path, baseline[i].content, strlen(baseline[i].content),
                baseline[i].mode);
        else
            must(mkdirat(host, baseline[i].path, baseline[i].mode) == 0, "can't make %s",
                 baseline[i].path);
    must(linkat(outside, "linked", host, "etc/netplan/linked", 0) == 0 &&
             symlinkat("../../../outside", host, "etc/systemd/network") == 0,
         "can't make links");
    for (size_t i = 0; i < BASELINE; i++)
        must(fstatat(host, baseline[i].path, &before[i], AT_SYMLINK_NOFOLLOW) == 0, "can't stat");
}

static char name[4096];

static void remove_scratch(void)
{
    empty(top);
    rmdir(name);
}

int scratch_make(void)
{
    const char *where = getenv("TMPDIR");

    umask(022);
    snprintf(name, sizeof(name), "%s/ncf-fuzz-XXXXXX", where ? where : "/dev/shm");
    must(mkdtemp(name), "can't make %s", name);
    top = open_dir(AT_FDCWD, name);
    must(mkdirat(top, "outside", 0755) == 0 && mkdirat(top, "host", 0755) == 0, "can't make hosts");
    outside = open_dir(top, "outside");
    host = open_dir(top, "host");
    put(outside, "secret", "do not touch\n", 13, 0600);
    put(outside, "linked", "do not touch\n", 13, 0600);
    scratch_reset();
    must(fstat(outside, &dir_before) == 0 && fstatat(outside, "secret", &secret_before, 0) == 0 &&
             fstatat(outside, "linked", &linked_before, 0) == 0,
         "can't stat");
    atexit(remove_scratch);
    return host;
}

bool scratch_has(const char *path)
{
    return faccessat(host, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool scratch_all_closed(void)
{
    return free_descriptor() == next_fd;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool untouched(int at, const char *path, const struct stat *was)
{
    struct stat now;

    return fstatat(at, path, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == was->st_ino &&
           same_time(now.st_ctim, was->st_ctim);
}

bool scratch_untouched(void)
{
    for (size_t i = 0; i < BASELINE; i++)
        if (strcmp(baseline[i].path, PATH_STATE) && !untouched(host, baseline[i].path, &before[i]))
            return false;
    return true;
}

bool scratch_shadow_untouched(void)
{
    for (size_t i = 0; i < BASELINE; i++)
        if (!strcmp(baseline[i].path, SHADOW))
            return untouched(host, SHADOW, &before[i]);
    return false;
}

/* Its names within the host may come and go, which changes the ctime: nothing else of it may. */
static bool linked_is_the_same(void)
{
    struct stat now;

    return fstatat(outside, "linked", &now, AT_SYMLINK_NOFOLLOW) == 0 &&
           now.st_ino == linked_before.st_ino && now.st_mode == linked_before.st_mode &&
           now.st_uid == linked_before.st_uid && now.st_gid == linked_before.st_gid &&
           now.st_size == linked_before.st_size && same_time(now.st_mtim, linked_before.st_mtim);
}

bool scratch_outside_untouched(void)
{
    struct stat now;

    return fstat(outside, &now) == 0 && same_time(now.st_ctim, dir_before.st_ctim) &&
           untouched(outside, "secret", &secret_before) && linked_is_the_same();
}
