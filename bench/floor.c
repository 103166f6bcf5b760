/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floor.c - the least a durable snapshot, commit and restore can cost
 *
 *   floor start|commit|rollback ROOT
 *
 * The yardstick of bench/run.py, not a tool: four flat directories of small
 * files, no metadata but mode and mtime, no checksum, no lock, and nothing kept
 * of what a rollback replaces.
 *
 * MUST lose nothing at a power cut.
 * MUST NOT take a step that can be left out without giving that up.  It takes
 * them in the plain order, file after file: starting the write-back of all
 * files before the first fsync would save a tenth of a rollback of few files.
 *
 * The container: contents | struct saved [] | names | struct trailer
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIRS = 4, MAX_FILES = 1 << 17, MAX_NAMES = 1 << 23, CHUNK = 1 << 18 };

static const char *const paths[DIRS] = {"etc/network/interfaces.d", "etc/netplan",
                                        "etc/sysconfig/network-scripts", "etc/systemd/network"};

struct saved {
    size_t offset, size;
    struct timespec mtime;
    uint32_t mode, name; /* name: where it begins among the names */
};

static struct {
    size_t index, names;
    uint32_t first[DIRS + 1]; /* where each directory begins in the index */
} trailer;

static struct saved index_out[MAX_FILES];
static char names_out[MAX_NAMES], chunk[CHUNK];
static bool unchanged[MAX_FILES];

static const char *image; /* the container; its index and names: */
static const struct saved *saved;
static const char *names;

static void check(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int open_at(int dir, const char *name, int flags)
{
    int fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);

    check(fd >= 0, name);
    return fd;
}

static void sync_and_close(int fd)
{
    check(fsync(fd) == 0 && close(fd) == 0, "fsync");
}

static DIR *open_list(int root, int d)
{
    DIR *list = fdopendir(open_at(root, paths[d], O_RDONLY | O_DIRECTORY));

    check(list != NULL, paths[d]);
    return list;
}

/* The temporary file's name begins with a dot as well. */
static const char *next_name(DIR *list)
{
    const struct dirent *entry;

    do {
        entry = readdir(list);
    } while (entry != NULL && entry->d_name[0] == '.');
    return entry != NULL ? entry->d_name : NULL;
}

/* Append a file to the *used bytes of the chunk, which goes to `out` when it is full. */
static struct stat read_file(int dir, const char *name, size_t *used, int out)
{
    int fd = open_at(dir, name, O_RDONLY);
    struct stat st;

    check(fstat(fd, &st) == 0 && st.st_size <= CHUNK, name);
    if ((size_t)st.st_size > CHUNK - *used) {
        check(write(out, chunk, *used) == (ssize_t)*used, "write");
        *used = 0;
    }
    check(read(fd, chunk + *used, (size_t)st.st_size) == st.st_size && close(fd) == 0, name);
    *used += (size_t)st.st_size;
    return st;
}

static void start(int root, int state)
{
    int out = open_at(state, "new", O_WRONLY | O_CREAT | O_TRUNC);
    size_t used = 0, offset = 0, text = 0;
    uint32_t n = 0;

    for (int d = 0; d < DIRS; d++) {
        DIR *list = open_list(root, d);
        const char *name;

        for (; (name = next_name(list)) != NULL; n++) {
            struct stat st = read_file(dirfd(list), name, &used, out);
            size_t length = strlen(name) + 1;

            check(n < MAX_FILES && length <= MAX_NAMES - text, "too many files");
            index_out[n] = (struct saved){offset, (size_t)st.st_size, st.st_mtim,
                                          st.st_mode & 07777, (uint32_t)text};
            memcpy(names_out + text, name, length);
            offset += (size_t)st.st_size;
            text += length;
        }
        trailer.first[d + 1] = n;
    }
    trailer.index = (offset + 7) & ~(size_t)7;
    trailer.names = trailer.index + n * sizeof *index_out;

    static char padding[8];
    struct iovec rest[] = {{chunk, used},
                           {padding, trailer.index - offset},
                           {index_out, n * sizeof *index_out},
                           {names_out, text},
                           {&trailer, sizeof trailer}};
    check(writev(out, rest, 5) >= 0, "write");
    sync_and_close(out);
    check(renameat(state, "new", state, "snapshot") == 0, "snapshot");
    sync_and_close(state);
}

static void load(int state)
{
    int fd = open_at(state, "snapshot", O_RDONLY);
    struct stat st;

    check(fstat(fd, &st) == 0, "snapshot");
    image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    check(image != MAP_FAILED, "snapshot");
    memcpy(&trailer, image + (size_t)st.st_size - sizeof trailer, sizeof trailer);
    saved = (const void *)(image + trailer.index);
    names = image + trailer.names;
}

/* memcmp() of a small libc takes a byte at a time. */
static bool equal(const char *a, const char *b, size_t size)
{
    uint64_t x, y, difference = 0;

    for (; size >= sizeof x; a += sizeof x, b += sizeof y, size -= sizeof x) {
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        difference |= x ^ y;
    }
    return difference == 0 && memcmp(a, b, size) == 0;
}

/* Directories are listed in the order they had at start, but for what changed. */
static const struct saved *find(int d, const char *name, uint32_t *next)
{
    uint32_t first = trailer.first[d], count = trailer.first[d + 1] - first;

    for (uint32_t k = 0; k < count; k++, (*next)++) {
        const struct saved *s = &saved[first + *next % count];

        if (strcmp(names + s->name, name) == 0) {
            (*next)++;
            return s;
        }
    }
    return NULL;
}

static bool same_stamp(const struct saved *s, const struct stat *st)
{
    return s->size == (size_t)st->st_size && s->mtime.tv_sec == st->st_mtim.tv_sec &&
           s->mtime.tv_nsec == st->st_mtim.tv_nsec && s->mode == (st->st_mode & 07777);
}

static bool same_file(int dir, const struct saved *s, bool contents)
{
    const char *name = names + s->name;
    size_t used = 0;
    struct stat st;

    if (contents) {
        st = read_file(dir, name, &used, -1);
        return same_stamp(s, &st) && equal(image + s->offset, chunk, used);
    }
    check(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0, name);
    return same_stamp(s, &st);
}

static void put_back(int dir, const struct saved *s)
{
    int fd = open_at(dir, ".floor", O_WRONLY | O_CREAT | O_TRUNC);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, s->mtime};

    check(write(fd, image + s->offset, s->size) == (ssize_t)s->size, "write");
    check(fchmod(fd, s->mode) == 0 && futimens(fd, times) == 0, "metadata");
    sync_and_close(fd);
    check(renameat(dir, ".floor", dir, names + s->name) == 0, names + s->name);
}

/* Make what differs durable, or put it back; then drop the container. */
static void finish(int root, int state, bool restore)
{
    load(state);
    for (int d = 0; d < DIRS; d++) {
        DIR *list = open_list(root, d);
        bool touched = false;
        uint32_t next = 0;
        const char *name;

        while ((name = next_name(list)) != NULL) {
            const struct saved *s = find(d, name, &next);

            if (s != NULL && same_file(dirfd(list), s, restore)) {
                unchanged[s - saved] = true;
                continue;
            }
            touched = true;
            if (!restore)
                sync_and_close(open_at(dirfd(list), name, O_RDONLY));
            else if (s == NULL)
                check(unlinkat(dirfd(list), name, 0) == 0, name);
        }
        for (uint32_t i = trailer.first[d]; i < trailer.first[d + 1]; i++) {
            if (unchanged[i])
                continue;
            touched = true;
            if (restore)
                put_back(dirfd(list), &saved[i]);
        }
        if (touched)
            check(fsync(dirfd(list)) == 0, paths[d]);
    }
    check(unlinkat(state, "snapshot", 0) == 0, "snapshot");
    sync_and_close(state);
}

int main(int argc, char **argv)
{
    const char *command = argc == 3 ? argv[1] : "";
    bool saves = strcmp(command, "start") == 0, restores = strcmp(command, "rollback") == 0;
    int root, state;

    if (!saves && !restores && strcmp(command, "commit") != 0) {
        fprintf(stderr, "usage: floor start|commit|rollback ROOT\n");
        return 2;
    }
    root = open_at(AT_FDCWD, argv[2], O_RDONLY | O_DIRECTORY);
    state = open_at(root, "var/lib/floor", O_RDONLY | O_DIRECTORY);
    if (saves)
        start(root, state);
    else
        finish(root, state, restores);
    return 0;
}
