/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_SNAPSHOT_H
#define NCF_SNAPSHOT_H

#include "archive.h"

/* Content of an archive, read through one window that moves forward. */
enum { CONTENT_CHUNK = 64 * 1024 };
struct content {
    int fd; /* borrowed */
    const char *name;
    unsigned char *window;
    uint64_t start;
    size_t len;
};

/* n <= CONTENT_CHUNK bytes at `offset`, valid until the next call; NULL on failure. */
const unsigned char *content_at(struct content *c, uint64_t offset, size_t n, struct error *err);
void content_free(struct content *c);

/* Who starts a change, when and in which boot. */
void snapshot_describe(struct manifest *m, enum archive_kind kind);

/* An archive that was opened. */
struct snapshot {
    int fd;
    char name[sizeof(PATH_STATE) + 64]; /* as a path beneath the root */
    uint64_t size;
    uint64_t content_end, content_sum;
    char *text; /* of the manifest; the listing points into it */
    struct manifest manifest;
    struct scope scope;
    struct listing files;
    struct content content;
};

/*
 * Opens `name` in the state directory and reads its manifest, which is
 * checked.  1: there is one; 0: there is none; -1: failure or damage.
 */
int snapshot_open(struct snapshot *s, int dirfd, const char *name, struct error *err);
/* Reads all of the content and checks it. */
int snapshot_verify(struct snapshot *s, struct error *err);
/* Whether a failure of the two above is damage, not want of memory or permission. */
bool snapshot_is_damaged(const struct error *err);
void snapshot_close(struct snapshot *s);
#define AUTO_SNAPSHOT __attribute__((cleanup(snapshot_close))) struct snapshot

/* What is there now of all that the snapshot covers; leftovers, too. */
int snapshot_list_live(struct snapshot *s, struct dirs *dirs, struct listing *live,
                       struct error *err);
bool snapshot_is_of_this_boot(const struct snapshot *s);
/*
 * The time before which an inode must have been touched last, to be trusted to
 * be as it was saved without reading it; false if none can be.
 */
bool snapshot_trusts_before(const struct snapshot *s, struct stamp *ret);

/*
 * Writes an archive of `l` to PATH_TEMP in an open directory and makes the
 * file, not its name, durable.  Content comes from the live files, or for
 * entries that are saved from `saved`.  A live file that is not as it was
 * listed fails with STEP_CHANGING.  On failure the file is removed.
 */
int snapshot_write(int dirfd, const struct manifest *m, const struct scope *scope,
                   struct listing *l, struct dirs *dirs, struct content *saved,
                   struct error *err);

#endif
