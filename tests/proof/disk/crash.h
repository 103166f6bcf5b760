/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CRASH_H
#define CRASH_H

#include "model.h"

/*
 * What a filesystem promises about operations that nobody synced.
 *
 * POSIX  nothing: of each sector, size, inode and name any version since its
 *        last fsync may be there, independently of all others
 * EXT4   (ordered) operations on names and inodes survive in their order, an
 *        fsync takes along all before the last one on its inode; a file that
 *        replaces another has its size, but perhaps zeros
 * XFS    the same, but a file that replaces another may have 0 bytes
 * BTRFS  everything up to some moment, and what was synced after it: each
 *        fsync on its own, so that an older unlink elsewhere may be undone
 */
enum personality { POSIX, EXT4, XFS, BTRFS, PERSONALITIES };
extern const char *const personality_name[PERSONALITIES];

struct crash {
    enum personality personality;
    uint64_t limit;   /* up to so many subsets at one point, all are tried */
    uint32_t samples; /* beyond it, so many by chance; and at each torn write */
    uint64_t seed;
    void (*found)(void *context, struct image *left, const struct log *log, int upto,
                  const bool *kept);
    void *context;
    /* ret */
    uint64_t points;  /* where the power was cut */
    uint64_t coarse;  /* of them those where all versions of a directory's times were one */
    uint64_t bounded; /* and those where not all subsets were tried */
};

/*
 * Every image a power cut can leave while the first `upto` operations of the
 * log had happened: as if the power was cut before the operation after them, or at any
 * moment since the last fsync before that.
 */
void crash_at(struct crash *c, const struct log *log, int upto);
void crash_describe(const struct log *log, int upto, const bool *kept);

#endif
