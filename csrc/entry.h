/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_ENTRY_H
#define NCF_ENTRY_H

#include "error.h"
#include "memory.h"
#include "path.h"
#include "sys.h"

/* One path with all its metadata, live or saved. */
struct entry {
    const char *path;
    char type;    /* 'f' file, 'd' directory, 'l' symbolic link, 's' special: device,
                     FIFO or socket, never opened; '-' nothing is there */
    bool context; /* a directory on the way: made again if it is missing, else left alone;
                     in a listing of what is there now also what may stand in its place */
    bool saved;   /* all of it was read: its content is in an archive, or held in the listing */
    struct sys_stat st;
    const char *target; /* of a link */
    /* Sorted by name: NAME NUL, length of the value in 4 bytes, value; and so on. */
    const unsigned char *xattr;
    size_t xattr_len;
    uint64_t offset; /* of the content in the archive, or in what is held */
    size_t link;     /* index of the first entry of the listing with this inode */
};

/* Type and metadata of `name` in an open directory; -1 and errno. */
int entry_stat(int dirfd, const char *name, struct entry *e);
/* Whether both are the same inode in the same state, so that what was read still holds. */
bool entry_unchanged(const struct sys_stat *a, const struct sys_stat *b);

/*
 * Whether a change time is surely one of before `started`.  It has a grain: what
 * changed so shortly before that a later change might look the same is not.
 */
bool entry_before(struct stamp t, struct stamp started);
/*
 * Whether an inode may have been written since `started`, when it was `saved`.
 * No program can set its change time.
 */
bool entry_touched(const struct sys_stat *saved, const struct sys_stat *now, struct stamp started);

/* A descriptor of a file or directory, for reading, or as from sys_open_link(). */
int entry_open(struct dirs *dirs, const struct entry *e, struct error *err);
/*
 * Target and extended attributes, into `memory`.  fd as from entry_open(), or
 * -1: it is opened here where one is needed.
 */
int entry_read_details(struct dirs *dirs, int fd, struct entry *e, struct arena *memory,
                       struct error *err);

/* One attribute of a packed list; moves *pos.  False at the end. */
struct xattr {
    const char *name;
    const unsigned char *value;
    size_t len;
};
bool xattr_next(const unsigned char *list, size_t list_len, size_t *pos, struct xattr *ret);
void xattr_pack(struct buffer *b, const char *name, const void *value, size_t len);

/*
 * Give an open file or directory the metadata of `e`: owner, mode, attributes,
 * mtime.  Inode flags are not set here: they would lock the file.
 */
int entry_apply(int fd, const struct entry *e, struct error *err);
/* The same for the link `name` in an open directory, which was just made for `e`. */
int entry_apply_link(int dirfd, const char *name, const struct entry *e, struct error *err);

#endif
