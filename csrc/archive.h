/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_ARCHIVE_H
#define NCF_ARCHIVE_H

#include "digest.h"
#include "listing.h"

/*
 * The encoding of snapshots and discarded configurations (docs/format.md): a
 * pax tar, so that tar can unpack it, whose last member is the manifest, which
 * is all that this library reads besides the content it points to.
 */
enum { ARCHIVE_BLOCK = 512, ARCHIVE_END = 2 * ARCHIVE_BLOCK, ARCHIVE_END_LINE = 34 };
#define ARCHIVE_MANIFEST_MAX ((uint64_t)256 * 1024 * 1024)

enum archive_kind {
    ARCHIVE_WHOLE = 'w',    /* snapshot of a whole scope: what it does not list was not there */
    ARCHIVE_ON_WRITE = 'o', /* snapshot of what was announced */
    ARCHIVE_DISCARDED = 'd' /* what a rollback replaced */
};

/* What a snapshot says besides its files. */
struct manifest {
    enum archive_kind kind;
    char id[NCF_ID_SIZE];
    struct stamp started;
    uint32_t uid, pid;
    char program[NCF_PROGRAM_SIZE];
    char boot[NCF_BOOT_SIZE];
    char note[NCF_NOTE_SIZE];
    uint32_t deadline; /* seconds; 0: none */
    uint64_t due;      /* when they are up: sys_boottime() ... */
    char due_boot[NCF_BOOT_SIZE]; /* ... of this boot */
    bool has_leash;
    uint32_t grace; /* seconds from the end of the leash to the rollback */
    uint32_t trial_boots; /* boots that the change still outlives */
    bool has_token;
    unsigned char salt[16], token[SHA256_SIZE];
    const char *links; /* lines about live interfaces (interface/link.h), or NULL */
    size_t links_len;
};

/*
 * The blocks that go before the content of `e`, into a buffer of whole blocks;
 * `first` holds its content if that is another.
 */
void archive_member(struct buffer *b, const struct entry *e, const struct entry *first);
/* The header of the manifest's member. */
void archive_manifest_member(struct buffer *b, size_t manifest_len);
/* The manifest's text, whole but for the two checksums. */
void archive_manifest(struct buffer *b, const struct manifest *m, const struct scope *scope,
                      const struct listing *l);
/* Fill in the checksums: `content` is that of all bytes before the manifest. */
void archive_seal(struct buffer *manifest, uint64_t content);

/*
 * The last ARCHIVE_END_LINE + ARCHIVE_END bytes of an archive of file_size
 * bytes: where its manifest is and what its checksum must be.
 */
struct archive_end {
    uint64_t manifest_offset;
    size_t manifest_len;
    uint64_t checksum;
};
int archive_read_end(const char *tail, uint64_t file_size, struct archive_end *ret,
                     struct error *err, const char *name);
/*
 * Takes a manifest apart, after checking its checksum.  The text is changed
 * and must live as long as the listing.  Every path is checked.
 */
int archive_read_manifest(char *text, const struct archive_end *end, struct manifest *ret_manifest,
                          struct scope *ret_scope, struct listing *ret_listing,
                          uint64_t *ret_content, struct error *err, const char *name);

#endif
