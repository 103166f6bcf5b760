/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk in memory, and a log of what was done to it since it was mounted.
 *
 * The log is all that a power cut needs: what survives is the image at the
 * mount and some of the log's operations, in their order.  Which of them may be
 * lost is what crash.c knows.  kernel.c puts the system calls of csrc/sys.h on
 * top, explore.c runs the real core on it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SECTOR = 512,
    SECTORS_MAX = 128, /* of one file */
    INODES_MAX = 128,
    NAMES_MAX = 160,
    OPS_MAX = 4096,
    ROOT = 0 /* the inode of the root directory */
};

/* Contents of sectors, sets of attributes and names are kept once and have a number. */
typedef uint32_t page; /* 0: a sector of zeros */
page page_of(const unsigned char bytes[SECTOR]);
const unsigned char *page_bytes(page p);
uint64_t page_hash(page p);
/* What came after the mark is forgotten. */
uint32_t pages_mark(void);
void pages_release(uint32_t mark);

uint32_t text_of(const void *bytes, size_t n); /* 0: the empty one */
uint32_t texts_mark(void);
void texts_release(uint32_t mark);
const char *text_bytes(uint32_t text, size_t *ret_n);

struct meta {
    uint32_t mode, uid, gid, flags;
    uint32_t xattrs; /* a text: NAME NUL, length in 4 bytes, value; and so on */
    int64_t mtime, ctime;
};

struct inode {
    uint32_t number;
    char type; /* f, d, l; 0: not in use */
    struct meta m;
    uint64_t size;
    uint32_t reserved; /* sectors that fallocate took */
    uint32_t sectors;
    page data[SECTORS_MAX]; /* of a link: its target */
};

struct name {
    uint8_t dir, inode;
    uint32_t text;
};

struct image {
    uint32_t next_number;
    int inodes, names;
    struct name name[NAMES_MAX];
    struct inode inode[INODES_MAX];
};

void image_clear(struct image *im); /* an empty root directory */
void image_copy(struct image *to, const struct image *from);
/* To which inodes names lead, from the root on. */
void image_reach(const struct image *im, bool reached[INODES_MAX]);
/* What no name leads to is gone, as after fsck. */
void image_collect(struct image *im);
/* Of everything that can be seen; `loose` leaves out what differs without meaning: inode numbers, ctimes. */
uint64_t image_hash(const struct image *im, bool loose);
int image_find(const struct image *im, int dir, const char *name); /* an inode, or -1 */
int image_find_part(const struct image *im, int dir, const char *path); /* up to its first slash */
int image_find_text(const struct image *im, int dir, uint32_t text);
int image_walk(const struct image *im, const char *path);
bool image_same_content(const struct image *a, int i, const struct image *b, int j);

/*
 * OP_MAKE    an inode comes into being; no name leads to it yet
 * OP_DATA    one sector of content
 * OP_SIZE    the size; `delayed` like the data that made the file grow
 * OP_META    owner, mode, times, attributes, flags: one inode is one sector
 * OP_NAME    a name in directory `inode` leads to `target`, or nowhere (-1)
 * OP_SYNC    fsync of `inode` returned
 * OP_FLUSH   ext4 gives `inode` its blocks now, because it replaces a file
 */
enum op_kind { OP_MAKE, OP_DATA, OP_SIZE, OP_META, OP_NAME, OP_SYNC, OP_FLUSH };

struct op {
    enum op_kind kind;
    int inode;
    int target;
    uint32_t text;
    bool delayed; /* content that has no place on the disk yet */
    bool dropped; /* an fsync failed on it: no later one writes it, as on Linux */
    char type;
    uint32_t number;
    uint32_t sector;
    page content;
    uint64_t size;
    uint32_t reserved;
    struct meta m;
    int call; /* operations of one call are one transaction where there are transactions */
};

struct log {
    struct image base;
    int count, calls;
    struct op op[OPS_MAX];
};

void op_apply(struct image *im, const struct op *op);

/* The mounted disk: what processes see, and where it is logged; NULL: nowhere. */
extern struct image live;
extern struct log *live_log;
void mount(struct log *log, const struct image *im);
/* The first `ops` operations happened and nothing else: what a killed process leaves. */
void rewind_to(struct log *log, int ops);
void live_do(struct op op);
void live_call(void); /* the next operations belong to another call */
void live_drop(int inode);

/* What the kernel of this host is like. */
struct host {
    int64_t now;    /* ns */
    int64_t tick;   /* by which each call moves the clock */
    int boot;       /* its number */
    int64_t space;  /* in sectors; -1: without limit */
    int corrupt_in; /* the n-th write from now goes wrong silently; 0: none */
    int sync_fails_in; /* the n-th fsync from now fails; 0: none */
    uint64_t random;
};
extern struct host host;
int open_descriptors(void); /* and closes them */

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9E3779B97F4A7C15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ h >> 32;
}

#endif
