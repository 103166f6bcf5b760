/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_LISTING_H
#define NCF_LISTING_H

#include "entry.h"
#include "scope.h"

/* Limits of a snapshot. */
enum { LISTING_FILES_MAX = 100000 };
#define LISTING_BYTES_MAX ((uint64_t)256 * 1024 * 1024)

/* Paths with their metadata, in the order of path_compare(), each once. */
struct listing {
    struct entry *entry;
    size_t count, room;
    uint64_t files; /* all but context directories and '-' */
    uint64_t bytes; /* content of files */
    uint64_t refused;
    const char **leftover; /* temporary files that a crash left */
    size_t leftovers, leftover_room;
    struct buffer content; /* of live files that were read at once */
    /* Set before: what is as it is here, and not touched since `started`, is left out. */
    const struct listing *known;
    struct stamp started;
    bool names_known; /* a directory left out has the names it has in `known` */
    struct arena memory;
};

/* So many may come: room for them at once costs less than growing.  False if memory is short. */
bool listing_expect(struct listing *l, size_t count);
/* Adds an entry whose strings are in l->memory.  NULL if memory is short. */
struct entry *listing_add(struct listing *l, const struct entry *e);
/* The entry of `path`, or NULL. */
struct entry *listing_find(const struct listing *l, const char *path);
/* The entry of the directory that `path` is in, or NULL. */
struct entry *listing_find_parent(const struct listing *l, const char *path);
/* Fill in entry.link; call once when all entries are there. */
int listing_find_links(struct listing *l, struct error *err);
void listing_free(struct listing *l);
#define AUTO_LISTING __attribute__((cleanup(listing_free))) struct listing

enum listing_purpose {
    LISTING_SAVE,    /* to be saved: limits hold, a symbolic link on the way is an error;
                        what is proven to be old and not too much is read at once, and held */
    LISTING_COMPARE  /* to be compared: whatever is there now is taken, leftovers are found */
};

/*
 * What the scope takes: one stat for each path.  The directories on the way are in it as context; one whose names a wildcard
 * takes is in scope itself.
 */
int listing_of_scope(struct listing *l, const struct scope *scope, struct dirs *dirs,
                     enum listing_purpose purpose, struct error *err);
/* What is now at each path of `paths`; nothing there gives '-'.  Leftovers beside them, if asked. */
int listing_of_paths(struct listing *l, const struct listing *paths, struct dirs *dirs,
                     bool leftovers, struct error *err);
/* What is now at `path` and, as context, at the directories above it. */
int listing_of_path(struct listing *l, const char *path, struct dirs *dirs, struct error *err);

#endif
