/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the words of every failure.
 * MUST NOT allocate, print or change errno.
 */
#include "error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const step_words[STEP_COUNT] = {
    [STEP_FLAGS] = "unsupported flags",
    [STEP_OPTIONS] = "option too long or out of range",
    [STEP_ARGUMENT_PATH] = "not a path beneath the root, or inside the state directory",
    [STEP_IS_OPEN] = "there is another transaction running.",
    [STEP_NOT_OPEN_COMMIT] = "no transaction running, nothing to be committed.",
    [STEP_NOT_OPEN_ROLLBACK] = "no transaction running, nothing to rollback.",
    [STEP_NOT_OPEN] = "no transaction running.",
    [STEP_TOKEN] = "wrong token: the change was started with another one (a rollback "
                   "needs none)",
    [STEP_NOT_COVERED] = "the open change saved a scope that does not cover this path",
    [STEP_CLOSED] = "null or closed handle",
    [STEP_MEMORY] = "out of memory",
    [STEP_OPEN_ROOT] = "can't open the root directory",
    [STEP_OPEN_DIRECTORY] = "can't open directory",
    [STEP_SYMLINK_ON_WAY] = "symbolic link where the scope expects a directory; what lies "
                            "behind it can't be saved (put the directory there, or "
                            "exclude this path in /etc/netcf/scope.d)",
    [STEP_READ_DIRECTORY] = "can't read directory",
    [STEP_PATTERN] = "bad pattern (want a path beneath the root and outside "
                     "the state directory, without .., ** only as its last part)",
    [STEP_SCOPE_FILE] = "can't read scope file",
    [STEP_SCOPE_FILE_TRUST] = "scope file or its directory belongs to somebody else or can be "
                              "written by others; refused",
    [STEP_TOO_MANY_FILES] = "the scope has more than 100,000 files",
    [STEP_TOO_MANY_BYTES] = "the files in scope hold more than 256 MiB",
    [STEP_STAT] = "can't examine",
    [STEP_OPEN] = "can't open",
    [STEP_READ] = "can't read",
    [STEP_READ_LINK] = "can't read symbolic link",
    [STEP_READ_XATTR] = "can't read extended attributes of",
    [STEP_CHANGING] = "keeps changing while it is read",
    [STEP_CREATE] = "can't create",
    [STEP_WRITE] = "can't write",
    [STEP_SET_OWNER] = "can't set the owner of",
    [STEP_SET_MODE] = "can't set the mode of",
    [STEP_SET_TIMES] = "can't set the times of",
    [STEP_SET_XATTR] = "can't set extended attributes of",
    [STEP_SET_FLAGS] = "can't set inode flags of",
    [STEP_SYNC] = "can't make durable",
    [STEP_SYNC_DIRECTORY] = "can't make directory durable",
    [STEP_RENAME] = "can't rename into place",
    [STEP_LINK] = "can't make hard link",
    [STEP_MAKE_DIRECTORY] = "can't make directory",
    [STEP_REMOVE] = "can't remove",
    [STEP_IN_THE_WAY] = "is now a directory with files outside the scope; move it away",
    [STEP_VERIFY] = "was restored but does not read back as saved",
    [STEP_STATE_DIRECTORY] = "can't use the state directory",
    [STEP_STATE_RIGHTS] = "can't use the state directory, which is root's (run this as root)",
    [STEP_STATE_TRUST] = "state directory, or the snapshot in it, belongs to somebody else or "
                         "can be written by others; refused",
    [STEP_OLD_NETCF] = "a directory that netcf's own script left is in the way; finish that "
                       "transaction with netcf, or move the directory away",
    [STEP_LOCK] = "can't lock",
    [STEP_RESERVE] = "can't reserve the space that a rollback may need",
    [STEP_RETIRE] = "can't remove the snapshot",
    [STEP_RETIRE_SYNC] = "removed the snapshot, but can't make that durable: a power cut now "
                         "may bring it back, and the next boot would roll back",
    [STEP_NOT_A_SNAPSHOT] = "is not a snapshot (damaged, or made by something else)",
    [STEP_TRUNCATED] = "snapshot is truncated",
    [STEP_CHECKSUM] = "snapshot is damaged: its checksum is wrong",
    [STEP_FORMAT] = "snapshot is damaged: its manifest can't be understood",
    [STEP_VERSION] = "snapshot was written by a newer version of this program; this one can't "
                     "read its format",
    [STEP_SNAPSHOT_PATH] = "snapshot is refused: it names a path that is not beneath the root",
    [STEP_GUARD_PROGRAM] = "a deadline or a leash needs the helper to guard it, which can't be found "
                           "or executed",
    [STEP_GUARD] = "the guard of the deadline or leash did not start",
    [STEP_LINE] = "a leash needs a terminal, pipe or socket, which can hang up",
    [STEP_WATCH] = "can't watch",
    [STEP_NO_DISCARDED] = "there is no such discarded configuration (see discarded or history)",
    [STEP_ASK_KERNEL] = "can't ask the kernel for its interfaces",
    [STEP_NOT_BACK] = "interfaces are not as they were at the start",
};

/* The control characters U+0080 to U+009F in UTF-8: terminals obey them like an escape. */
static bool is_c1(const char *bytes)
{
    return (unsigned char)bytes[0] == 0xc2 && ((unsigned char)bytes[1] & 0xe0) == 0x80;
}

void error_printable(char *text, size_t size, const char *bytes)
{
    size_t n = 0;

    for (; *bytes && n + 5 < size; bytes++) {
        unsigned char c = (unsigned char)*bytes;

        if (c < 0x20 || c == 0x7f || is_c1(bytes))
            n += (size_t)snprintf(text + n, size - n, "\\x%02x", c);
        else
            text[n++] = (char)c;
    }
    text[n] = '\0';
}

int error_set(struct error *err, int code, enum step step, int sys, const char *path)
{
    if (err->code != NCF_NOERROR)
        return -1;
    err->code = code;
    err->step = step;
    err->sys = sys;
    err->state = NULL;
    error_printable(err->path, sizeof(err->path), path);
    return -1;
}

int error_file(struct error *err, enum step step, int sys, const char *path)
{
    return error_set(err, sys == ENOMEM ? NCF_ENOMEM : NCF_EFILE, step, sys, path);
}

int error_state(struct error *err, const char *state)
{
    if (!err->state)
        err->state = state;
    return -1;
}

int error_where(struct error *err, const char *path)
{
    size_t n = strlen(err->path);

    snprintf(err->path + n, sizeof(err->path) - n, " (in %s)", path);
    return -1;
}

void error_clear(struct error *err)
{
    err->code = NCF_NOERROR;
    err->step = STEP_NONE;
    err->sys = 0;
    err->state = NULL;
    err->path[0] = '\0';
}

const char *error_message(int code)
{
    switch (code) {
    case NCF_NOERROR: return "no error";
    case NCF_EINTERNAL: return "internal error";
    case NCF_ENOMEM: return "out of memory";
    case NCF_ENOENT: return "no such file or configuration";
    case NCF_EEXEC: return "an external program failed";
    case NCF_EINUSE: return "in use";
    case NCF_EFILE: return "reading or writing a file failed";
    case NCF_EINVALIDOP: return "operation is not valid in the present state";
    default: return "bad argument";
    }
}

/* What `text` has room for behind what it holds, which is something. */
static void add(char *text, size_t size, const char *format, const char *words)
{
    size_t n = strlen(text);

    snprintf(text + n, size - n, format, words);
}

static bool is_sentence(const char *text)
{
    return text[strlen(text) - 1] == '.';
}

int error_details(const struct error *err, char *text, size_t size)
{
    if (err->code == NCF_NOERROR)
        return 0;
    snprintf(text, size, "%s", step_words[err->step]);
    /* libvirt's own sentences end with a period. */
    if (err->path[0])
        add(text, size, is_sentence(text) ? " (%s)" : ": %s", err->path);
    /* None is followed, so that one is enough; the words of libc are of many, or of a loop. */
    if (err->sys)
        add(text, size, ": %s",
            err->sys == ELOOP ? "a symbolic link is in the way" : strerror(err->sys));
    if (err->state)
        add(text, size, is_sentence(text) ? " (%s)" : "; %s", err->state);
    return 1;
}
