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
    d->fd = -1;
    d->len = 0;
}

void dirs_forget(struct dirs *d)
{
    sys_close_cleanup(&d->fd);
    d->fd = -1;
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

int dirs_open(struct dirs *d, const char *path, size_t len)
{
    if (len == 0)
        return d->root;
    if (d->fd >= 0 && d->len == len && !memcmp(d->path, path, len))
        return d->fd;
    dirs_forget(d);
    if (len >= PATH_SIZE) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memmove(d->path, path, len);
    d->path[len] = '\0';
    d->len = len;
    d->fd = sys_openat2(d->root, d->path, O_RDONLY | O_DIRECTORY);
    if (d->fd < 0 && errno == ENOSYS)
        d->fd = open_by_parts(d->root, d->path);
    return d->fd;
}

int dirs_open_parent(struct dirs *d, const char *path)
{
    return dirs_open(d, path, path_parent(path));
}
