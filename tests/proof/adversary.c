/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Somebody else on the host, at full speed until he is killed:
 *
 * adversary exchange A B TARGET   two names change places, again and again; where
 *                                 one is missing, a link to TARGET takes its place
 * adversary temps DIRECTORY FILE  whatever appears in it under a temporary name
 *                                 becomes a hard link to FILE
 * adversary watch WORD PATH...    opens each path, and all in it where it is a
 *                                 directory, as soon as it may; a name ending in
 *                                 # stands for its names with 0 to 9.  Exits with
 *                                 1 and the path when it could read WORD.
 *
 * A line on standard output says that it has begun.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static void begun(void)
{
    puts("begun");
    fflush(stdout);
}

static void exchange(const char *a, const char *b, const char *target)
{
    begun();
    for (;;)
        if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) && errno == ENOENT &&
            symlink(target, a) && errno == EEXIST)
            (void)!symlink(target, b);
}

static void temps(const char *directory, const char *file)
{
    char name[64], other[64];
    int dir, i = 0;

    begun();
    for (;; i = (i + 1) % 64) {
        dir = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        snprintf(name, sizeof(name), ".netcf-tmp-%d", i);
        snprintf(other, sizeof(other), ".mine-%d", i);
        if (dir >= 0 && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
            linkat(AT_FDCWD, file, dir, other, 0) == 0)
            renameat(dir, other, dir, name);
        close(dir);
    }
}

static void look_at(int at, const char *name, const char *word, const char *path)
{
    char bytes[65536];
    int fd = openat(at, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes));

    if (n > 0 && memmem(bytes, (size_t)n, word, strlen(word))) {
        printf("%s %s\n", path, name);
        fflush(stdout);
        _exit(1);
    }
    if (fd >= 0)
        close(fd);
}

static void look_into(const char *path, const char *word)
{
    DIR *dir = opendir(path);
    struct dirent *d;

    if (!dir) {
        if (errno == ENOTDIR)
            look_at(AT_FDCWD, path, word, "");
        return;
    }
    while ((d = readdir(dir)))
        look_at(dirfd(dir), d->d_name, word, path);
    closedir(dir);
}

static void watch(const char *word, char **paths)
{
    char events[4096], name[4096];
    int told = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    for (char **p = paths; *p; p++)
        inotify_add_watch(told, *p, IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_MODIFY);
    begun();
    for (;;)
        for (char **p = paths; *p; p++) {
            size_t n = strlen(*p);
            ssize_t got = read(told, events, sizeof(events));

            /* What was told of is looked at before anything else. */
            for (ssize_t at = 0; at < got;) {
                struct inotify_event *e = (void *)(events + at);

                for (char **q = paths; e->len && *q; q++) {
                    snprintf(name, sizeof(name), "%s/%s", *q, e->name);
                    look_at(AT_FDCWD, name, word, "");
                }
                at += (ssize_t)(sizeof(*e) + e->len);
            }
            if ((*p)[n - 1] != '#') {
                look_into(*p, word);
                continue;
            }
            for (int i = 0; i < 10; i++) {
                snprintf(name, sizeof(name), "%.*s%d", (int)n - 1, *p, i);
                look_at(AT_FDCWD, name, word, "");
            }
        }
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "exchange"))
        exchange(argv[2], argv[3], argv[4]);
    if (argc == 4 && !strcmp(argv[1], "temps"))
        temps(argv[2], argv[3]);
    if (argc >= 4 && !strcmp(argv[1], "watch"))
        watch(argv[2], argv + 3);
    return 2;
}
