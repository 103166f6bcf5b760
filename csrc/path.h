/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_PATH_H
#define NCF_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define PATH_STATE "var/lib/netcf"
/* Names our temporary files begin with: hidden, and matched by no stack's glob. */
#define PATH_TEMP ".netcf-tmp"
enum { PATH_SIZE = 4096 };

/* Relative, no empty part, no "." or "..", every part and the whole of legal length. */
bool path_valid(const char *path);
/* Length of the directory part; 0 at the top. */
size_t path_parent(const char *path);
const char *path_name(const char *path);
/* Order of a walk: a directory, then all in it, then its next sibling. */
int path_compare(const char *a, const char *b);
/* `path` is `dir` or lies in it. */
bool path_beneath(const char *path, const char *dir);
bool path_is_temp(const char *name);

/*
 * Directories beneath a root, opened without following a symbolic link
 * anywhere on the way.  Keeps the last one open and those above it: a walk in
 * path order opens each directory once.
 */
enum { DIRS_OPEN = 4 };
struct dirs {
    int root; /* borrowed */
    size_t count;
    struct {
        int fd;
        size_t len; /* of its path, with which `path` begins */
        bool read;  /* its names were: that moves the descriptor's position */
    } open[DIRS_OPEN]; /* each is above the next */
    char path[PATH_SIZE];
};

void dirs_init(struct dirs *d, int root);
/* A borrowed descriptor of the directory path[0..len), good until the next call; -1 and errno. */
int dirs_open(struct dirs *d, const char *path, size_t len);
/* Same, for the directory that holds `path`. */
int dirs_open_parent(struct dirs *d, const char *path);
/* Same, for reading all its names, once. */
int dirs_open_names(struct dirs *d, const char *path, size_t len);
/* The caller's now: what dirs_open() has just returned, not the root. */
void dirs_give(struct dirs *d);
/* After a directory was removed or made, and before what is there is looked at anew. */
void dirs_forget(struct dirs *d);
#define AUTO_DIRS __attribute__((cleanup(dirs_forget))) struct dirs

#endif
