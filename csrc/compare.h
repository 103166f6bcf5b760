/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_COMPARE_H
#define NCF_COMPARE_H

#include "snapshot.h"

struct difference {
    int kind;          /* NCF_DIFF_... */
    unsigned metadata; /* NCF_META_... */
    bool quiet;        /* not worth telling: times of a directory, a directory on the way */
    bool unreadable;   /* the live file can't be read, so it counts as changed */
    struct entry *saved; /* NULL or '-': nothing */
    struct entry *live;
};

struct differences {
    struct difference *item;
    size_t count, room;
    size_t loud; /* those not quiet */
};

/*
 * Every path that is not the same in both listings, in order.  Content is
 * compared byte by byte, unless `trusted` is given and the inode was not
 * touched since then.  A live file that can't be read is an error, or with
 * `tolerant` a difference.
 */
int compare(struct differences *ret, struct listing *saved, struct content *content,
            struct listing *live, struct dirs *dirs, const struct stamp *trusted,
            bool tolerant, struct error *err);
void differences_free(struct differences *d);
#define AUTO_DIFFERENCES __attribute__((cleanup(differences_free))) struct differences

#endif
