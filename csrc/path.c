/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for staying beneath the root: the only way to a directory.
 * MUST NOT follow a symbolic link, nor accept "..".
 */
#include "path.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

bool path_valid(const char *path)
{
    const char *part = path;

    for (const char *c = path;; c++) {
        size_t n = (size_t)(c - part);

        if (*c && *c != '/')
            continue;
        if (n == 0 || n > 255 || (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.'))))
            return false;
        if (!*c)
            return c - path < PATH_SIZE;
        part = c + 1;
    }
}

size_t path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) : 0;
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int path_compare(const char *a, const char *b)
{
    unsigned char x, y;

    while (*a && *a == *b) {
        a++;
        b++;
    }
    x = (unsigned char)*a;
    y = (unsigned char)*b;
    /* The separator sorts below every byte of a name, the end below that. */
    return (x == '/' ? 1 : x ? x + 1 : 0) - (y == '/' ? 1 : y ? y + 1 : 0);
}

bool path_beneath(const char *path, const char *dir)
{
    for (; *dir; path++, dir++)
        if (*path != *dir)
            return false;
    return *path == '\0' || *path == '/';
}

bool path_is_temp(const char *name)
{
    return !strncmp(name, PATH_TEMP, sizeof(PATH_TEMP) - 1);
}

void dirs_init(struct dirs *d, int root)
{
    d->root = root;
    d->count = 0;
}

void dirs_forget(struct dirs *d)
{
    while (d->count)
        sys_close_cleanup(&d->open[--d->count].fd);
}

void dirs_give(struct dirs *d)
{
    d->count--;
}

/* Kernels before 5.6: the same walk by hand, one part at a time. */
static int open_by_parts(int root, char *path)
{
    int fd = root;

    for (char *part = path; part;) {
        char *slash = strchr(part, '/');
        int next;

        if (slash)
            *slash = '\0';
        next = sys_openat(fd, part, O_RDONLY | O_DIRECTORY, 0);
        if (slash)
            *slash = '/';
        if (fd != root)
            sys_close_cleanup(&fd);
        fd = next;
        if (fd < 0)
            return -1;
        part = slash ? slash + 1 : NULL;
    }
    return fd;
}

/* Closes what is open from the first on that does not lead to path[0..len). */
static void keep_way(struct dirs *d, const char *path, size_t len)
{
    while (d->count) {
        size_t n = d->open[d->count - 1].len;

        if (n <= len && !memcmp(d->path, path, n) && (n == 0 || n == len || path[n] == '/'))
            return;
        sys_close_cleanup(&d->open[--d->count].fd);
    }
}

static int open_fresh(struct dirs *d, const char *path, size_t len)
{
    int fd;

    if (len >= PATH_SIZE) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memmove(d->path, path, len);
    d->path[len] = '\0';
    /* From the root, not from the one above: that may have been moved out of it. */
    fd = sys_openat2(d->root, len ? d->path : ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOSYS)
        fd = open_by_parts(d->root, len ? d->path : (char[]){ "." });
    if (fd < 0)
        return -1;
    if (d->count == DIRS_OPEN)
        sys_close(d->open[--d->count].fd);
    d->open[d->count].fd = fd;
    d->open[d->count].read = false;
    d->open[d->count++].len = len;
    return fd;
}

int dirs_open(struct dirs *d, const char *path, size_t len)
{
    if (len == 0)
        return d->root;
    keep_way(d, path, len);
    if (d->count && d->open[d->count - 1].len == len)
        return d->open[d->count - 1].fd;
    return open_fresh(d, path, len);
}

int dirs_open_names(struct dirs *d, const char *path, size_t len)
{
    int fd;

    keep_way(d, path, len);
    if (d->count && d->open[d->count - 1].len == len && d->open[d->count - 1].read)
        sys_close(d->open[--d->count].fd);
    fd = d->count && d->open[d->count - 1].len == len ? d->open[d->count - 1].fd
                                                      : open_fresh(d, path, len);
    if (fd >= 0)
        d->open[d->count - 1].read = true;
    return fd;
}

int dirs_open_parent(struct dirs *d, const char *path)
{
    return dirs_open(d, path, path_parent(path));
}
