/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_ERROR_H
#define NCF_ERROR_H

#include "ncf.h"

/* What was being done when it failed: one value per step, its words in error.c. */
enum step {
    STEP_NONE,
    /* arguments and state */
    STEP_FLAGS,
    STEP_OPTIONS,
    STEP_ARGUMENT_PATH,
    STEP_IS_OPEN,
    STEP_NOT_OPEN_COMMIT,
    STEP_NOT_OPEN_ROLLBACK,
    STEP_NOT_OPEN,
    STEP_TOKEN,
    STEP_NOT_COVERED,
    STEP_CLOSED,
    STEP_MEMORY,
    /* the root and the ways beneath it */
    STEP_OPEN_ROOT,
    STEP_OPEN_DIRECTORY,
    STEP_SYMLINK_ON_WAY,
    STEP_READ_DIRECTORY,
    /* scope */
    STEP_PATTERN,
    STEP_SCOPE_FILE,
    STEP_SCOPE_FILE_TRUST,
    STEP_TOO_MANY_FILES,
    STEP_TOO_MANY_BYTES,
    /* one file */
    STEP_STAT,
    STEP_OPEN,
    STEP_READ,
    STEP_READ_LINK,
    STEP_READ_XATTR,
    STEP_CHANGING,
    STEP_CREATE,
    STEP_WRITE,
    STEP_SET_OWNER,
    STEP_SET_MODE,
    STEP_SET_TIMES,
    STEP_SET_XATTR,
    STEP_SET_FLAGS,
    STEP_SYNC,
    STEP_SYNC_DIRECTORY,
    STEP_RENAME,
    STEP_LINK,
    STEP_MAKE_DIRECTORY,
    STEP_REMOVE,
    STEP_IN_THE_WAY,
    STEP_VERIFY,
    /* the state directory */
    STEP_STATE_DIRECTORY,
    STEP_STATE_RIGHTS,
    STEP_STATE_TRUST,
    STEP_OLD_NETCF,
    STEP_LOCK,
    STEP_RESERVE,
    STEP_RETIRE,
    STEP_RETIRE_SYNC,
    /* the snapshot */
    STEP_NOT_A_SNAPSHOT,
    STEP_TRUNCATED,
    STEP_CHECKSUM,
    STEP_FORMAT,
    STEP_VERSION,
    STEP_SNAPSHOT_PATH,
    STEP_NO_DISCARDED,
    /* the guard */
    STEP_GUARD_PROGRAM,
    STEP_GUARD,
    STEP_LINE,
    STEP_WATCH,
    /* live interfaces */
    STEP_ASK_KERNEL,
    STEP_NOT_BACK,
    STEP_COUNT
};

/*
 * One failure.  `state` says what it means for the host; it is a string
 * constant.  No memory is needed to report that memory is short.
 */
struct error {
    int code;          /* NCF_E... */
    enum step step;
    int sys;           /* errno, 0 if no system call failed */
    const char *state; /* or NULL */
    char path[1024];   /* made printable, cut if longer */
};

/*
 * Fill `err` and return -1.  Only the first failure counts: while one is
 * recorded, later ones (of the cleanup, for instance) change nothing.
 */
int error_set(struct error *err, int code, enum step step, int sys, const char *path);

/* NCF_ENOMEM where `sys` is ENOMEM, else NCF_EFILE: most failures are of a file. */
int error_file(struct error *err, enum step step, int sys, const char *path);

/* What the failure means for the host, unless that was said already.  Returns -1. */
int error_state(struct error *err, const char *state);

/* Adds the file in which the wrong thing stands.  Returns -1. */
int error_where(struct error *err, const char *path);

void error_clear(struct error *err);

/* One sentence for a code. */
const char *error_message(int code);

/* "STEP: path: reason; state" into `text`, cut if longer.  Returns 0 if there is nothing to say. */
int error_details(const struct error *err, char *text, size_t size);

/* Copy bytes into `text`, control characters as \xNN, so that no name can drive a terminal. */
void error_printable(char *text, size_t size, const char *bytes);

#endif
