/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_RESTORE_H
#define NCF_RESTORE_H

#include "compare.h"
#include "store.h"

/* What is to be made true on disk, and the places to do it. */
struct restore {
    struct listing *saved;
    struct content *content;
    struct listing *live;
    struct differences *differences;
    struct dirs *dirs;
    struct store *store;   /* whose reserve may be used */
    const char *sacrifice; /* discarded configuration that may go if the disk is full even
                              so; NULL if there is none, or once it went */
};

/*
 * Makes every path of the differences what `saved` says, durably, and reads it
 * back.  A path that fails does not stop the others: `err` has the first
 * failure and *ret_failed how many there were.
 */
int restore_differences(struct restore *r, uint64_t *ret_failed, struct error *err);
/* Removes temporary files that an interrupted restore left. */
int restore_remove_leftovers(const struct listing *live, struct dirs *dirs, struct error *err);

#endif
