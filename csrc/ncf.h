/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ncf.h - start / commit / rollback for a host's network configuration
 *
 *   struct netcf *ncf;
 *   if (ncf_init(&ncf, NULL) == 0 && ncf_change_start(ncf, 0) == 0) {
 *       ... edit the files ...
 *       ncf_change_commit(ncf, 0);       or ncf_change_rollback(ncf, 0);
 *   }
 *   ncf_close(ncf);
 *
 * Results.  Calls return 0 on success and -1 on failure; ncf_error() then says
 * what failed.  Out-parameters (ret_...) are written on success only.
 *
 * Threads.  A handle may be used by one thread at a time.  Different handles,
 * also on the same root, are independent: the lock that orders them is in the
 * state directory and is shared with every other process.
 *
 * A change belongs to the host.  Any handle, process or boot may commit it or
 * roll it back, not only the one that started it.
 *
 * Paths are relative to the root, without a leading slash in what the library
 * returns ("etc/network/interfaces"); arguments may have one.  They are bytes,
 * not text: nothing is assumed about their encoding.
 */
#ifndef NCF_H
#define NCF_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What stands between the two markers is also read by build_ffi.py. */
/* cffi: begin */

struct netcf;

/* Error codes; the numbers are netcf's. */
typedef enum {
    NCF_NOERROR = 0,     /* no error */
    NCF_EINTERNAL = 1,   /* a defect of this library */
    NCF_EOTHER = 2,      /* bad argument, unsupported flags */
    NCF_ENOMEM = 3,      /* out of memory */
    NCF_ENOENT = 6,      /* no such root, discarded configuration, ... */
    NCF_EEXEC = 7,       /* an external program failed */
    NCF_EINUSE = 8,      /* something else holds what is needed */
    NCF_EFILE = 10,      /* reading, writing or trusting a file failed */
    NCF_EINVALIDOP = 13  /* not valid in the present state */
} ncf_errcode_t;

/* Flags of ncf_change_start(). */
enum {
    NCF_START_ON_WRITE = 0x1  /* save each file when it is announced, not all now */
};

/* Flags of ncf_change_rollback(). */
enum {
    NCF_ROLLBACK_FILES_ONLY = 0x1,     /* restore files, touch no live interface */
    NCF_ROLLBACK_ALL_INTERFACES = 0x2  /* every interface down before and up after, not
                                          only those that differ */
};

/* How a path differs from the snapshot. */
enum {
    NCF_DIFF_ADDED = 1,    /* is there now, was not */
    NCF_DIFF_REMOVED = 2,  /* was there, is not */
    NCF_DIFF_CHANGED = 3,  /* content, link target or type differs */
    NCF_DIFF_METADATA = 4  /* only what ncf_difference.metadata names differs */
};

/* What of the metadata differs (bits of ncf_difference.metadata). */
enum {
    NCF_META_MODE = 0x1,
    NCF_META_OWNER = 0x2,
    NCF_META_MTIME = 0x4,
    NCF_META_XATTR = 0x8,  /* extended attributes: ACLs, SELinux label, capabilities ... */
    NCF_META_FLAGS = 0x10, /* inode flags +i, +a, +d */
    NCF_META_LINKS = 0x20  /* which names are hard links to each other */
};

/* Sizes of the text fields below, with their final NUL. */
enum { NCF_ID_SIZE = 17, NCF_PROGRAM_SIZE = 32, NCF_NOTE_SIZE = 256, NCF_BOOT_SIZE = 37,
       NCF_NOT_BACK_SIZE = 1024 };

/*
 * Options of the next start.  `size` is sizeof(struct ncf_change_options), so
 * that the structure can grow.  NULL and 0 mean "not set".
 */
struct ncf_change_options {
    size_t size;
    const char *note;      /* why: shown by status; at most 255 bytes */
    const char *token;     /* secret that a commit must know; at most 255 bytes */
    unsigned int deadline; /* seconds until the change rolls back by itself, at most
                              30 days, by the clock that counts suspend and knows no
                              steps */
    const int *leash;      /* a terminal, pipe or socket: when its other end hangs up,
                              the change rolls back.  Stays the caller's */
    unsigned int grace;    /* seconds from then to the rollback, in which a commit is
                              still possible */
    unsigned int trial_boots; /* boots, at most 100, that the change outlives; the one
                                 after them rolls back.  With each, the deadline
                                 begins anew and the leash ends */
    const char *helper;    /* absolute path of the helper networking-config, which
                              guards deadline and leash; NULL: the installed one */
    unsigned int command_limit; /* seconds for each command of a rollback on this
                                   handle that takes an interface down or up; 0: 30 */
    unsigned int total_limit;   /* seconds for all of them together; 0: 90.  A guard
                                   has the usual limits */
};

/* The open change.  All but `open` is zero where none is open. */
struct ncf_change_status {
    int open;
    char id[NCF_ID_SIZE];            /* 16 hexadecimal digits */
    unsigned int flags;              /* flags it was started with */
    long long started;               /* seconds since 1970, by the clock of then */
    unsigned int uid;                /* who started it ... */
    int pid;
    char program[NCF_PROGRAM_SIZE];  /* ... and with what */
    char note[NCF_NOTE_SIZE];
    int has_token;
    unsigned int deadline;           /* seconds, as last set; 0: none */
    long long deadline_left;         /* seconds left by the clock that counts
                                        suspend; negative once it has passed,
                                        also after a reboot */
    int has_leash;
    unsigned int grace;              /* seconds from its end to the rollback */
    unsigned int trial_boots;        /* boots that it still outlives */
    int guarded;                     /* 1: a guard watches deadline and leash; 0
                                        although one is set: only the next boot is
                                        behind it, see ncf_change_guard() */
    char boot[NCF_BOOT_SIZE];        /* boot id of the start, "" if unknown */
    int same_boot;                   /* 1: this host has not rebooted since */
    unsigned long long files;        /* saved files, links and directories */
    unsigned long long bytes;        /* content saved */
    unsigned long long refused;      /* devices, sockets, FIFOs: seen, not saved */
    char not_back[NCF_NOT_BACK_SIZE]; /* also where no change is open: interfaces that
                                        the last rollback of this boot could not bring
                                        back, and what they lack; "" if none */
};

/* Why a rollback touched an interface. */
enum {
    NCF_INTERFACE_UNTOUCHED = 0,   /* it did not, but something of it is missing */
    NCF_INTERFACE_ADDED = 1,       /* its configuration had been added */
    NCF_INTERFACE_REMOVED = 2,
    NCF_INTERFACE_CHANGED = 3,
    NCF_INTERFACE_WITH_OTHERS = 4, /* stands on one that was touched, or all were */
    NCF_INTERFACE_BY_HAND = 5      /* it had been changed, and no file */
};

/* What a rollback did with an interface (bits of ncf_interface.done). */
enum {
    NCF_DONE_DOWN = 0x1,    /* had it taken down */
    NCF_DONE_UP = 0x2,      /* had it brought up, or configured anew */
    NCF_DONE_DELETED = 0x4, /* deleted its device */
    NCF_DONE_RELOADED = 0x8 /* had its software read the files again and follow them */
};

/* One interface after a rollback. */
struct ncf_interface {
    const char *name;   /* of stack "udev" a .link file's, "10-a.link" */
    const char *stack;  /* the software that configures it */
    int change;         /* NCF_INTERFACE_... */
    unsigned int done;  /* NCF_DONE_... bits; what failed meanwhile is in
                           ncf_change_result.commands */
    const char *lacks;  /* what it had at the start and has not now; "": it is back */
};

/* One pattern of a scope. */
struct ncf_pattern {
    int exclude;          /* 1: leaves out, 0: takes in */
    const char *pattern;
};

/* One path in scope. */
struct ncf_scope_file {
    char type;             /* what is there now: 'f', 'd', 'l', 's' or '-', as below */
    const char *path;
    const char *pattern;   /* the first that takes it, or names in it; "" if it
                              was announced */
};

/* One path that is not as it was at start. */
struct ncf_difference {
    int kind;              /* NCF_DIFF_... */
    unsigned int metadata; /* NCF_META_... bits */
    char was;              /* type then and now: 'f' file, 'd' directory, */
    char now;              /* 'l' symbolic link, 's' special, '-' nothing */
    const char *path;
};

/* One configuration that a rollback replaced, kept so that nothing is lost. */
struct ncf_discarded {
    unsigned long long id;      /* counts up; order by this, never by time */
    long long when;             /* seconds since 1970, by the clock of then */
    unsigned long long bytes;   /* size of its file */
    unsigned long long files;   /* paths in it */
    const char *note;           /* note of the change that was rolled back */
    const char *path;           /* where it is kept, relative to the root */
};

/* What the last successful or failed operation on a handle did. */
struct ncf_change_result {
    unsigned long long changed;  /* files put back to their old content */
    unsigned long long added;    /* files that were added, now deleted */
    unsigned long long removed;  /* files that were gone, now back */
    unsigned long long metadata; /* files of which only the metadata was put back */
    unsigned long long failed;   /* paths that could not be put back */
    unsigned long long saved;    /* by a start: files, links and directories */
    unsigned long long refused;  /* by a start: devices, sockets, FIFOs, seen but not saved */
    int on_trial;                /* by a boot: 1: a trial boot, nothing was rolled back */
    char id[NCF_ID_SIZE];        /* of the change */
    const char *discarded;       /* where the replaced files are kept; "" if none */
    const char *notice;          /* what a person should know besides success or
                                    failure; "" if nothing */
    const char *commands;        /* what commands for interfaces said that failed, one
                                    after the other; "" if none did */
};

/*
 * Open a handle for the host whose configuration is below `root` (NULL: "/").
 * Returns 0; -1 if the root can't be used (*ncf is then a handle good for
 * ncf_error() and ncf_close() only); -2 if memory is short (*ncf is NULL).
 * Nothing is created on disk.
 */
int ncf_init(struct netcf **ncf, const char *root);

/* Close a handle and free it.  An open change stays open.  NULL is allowed. */
int ncf_close(struct netcf *ncf);

/*
 * Start a change: save every file in scope, or with NCF_START_ON_WRITE nothing
 * yet.  On return the snapshot is durable.  A failed start leaves nothing
 * behind.
 *
 * Errors: NCF_EOTHER unknown flags; NCF_EINVALIDOP a change is open already;
 * NCF_EFILE a file can't be read, keeps changing, the scope is too large (over
 * 100,000 files or 256 MiB), the disk is full, the state directory or a scope
 * file is not to be trusted; NCF_EEXEC a deadline or leash was set, and its
 * guard can't be started.
 */
int ncf_change_start(struct netcf *ncf, unsigned int flags);

/*
 * Set the deadline of the open change to `seconds` from now, 1 to 30 days; it
 * may have had none.  Needs the token of the change, if it has one.  A start
 * with that token and a deadline does the same.
 *
 * Errors: NCF_EINVALIDOP no change is open, or it has another token; NCF_EOTHER
 * seconds out of range; NCF_EEXEC there is no guard and none can be started.
 */
int ncf_change_extend(struct netcf *ncf, unsigned int seconds);

/*
 * Start a guard if the open change has a deadline or a leash and nobody watches
 * it (ncf_change_status.guarded is 0).  A leash without a guard has ended.
 * No open change is a success.  Errors: NCF_EEXEC none can be started.
 */
int ncf_change_guard(struct netcf *ncf);

/*
 * What a boot does before networking starts: count a trial boot if the open
 * change has any left (ncf_change_result.on_trial), else roll back as
 * ncf_change_rollback() does.  flags must be 0.
 */
int ncf_change_boot(struct netcf *ncf, unsigned int flags);

/* netcf's released name for ncf_change_start(). */
int ncf_change_begin(struct netcf *ncf, unsigned int flags);

/*
 * Keep the configuration as it is now and drop the snapshot.  Before the
 * snapshot goes, every file that changed is made durable, so that a power cut
 * leaves the new configuration, never neither.
 *
 * Errors: NCF_EOTHER unknown flags; NCF_EINVALIDOP no change is open, or it
 * was started with a token and this handle's is another; NCF_EFILE a new file
 * can't be made durable (the change stays open).
 */
int ncf_change_commit(struct netcf *ncf, unsigned int flags);

/*
 * Put back exactly what start saved: content, type, mode, owner, modification
 * time, extended attributes, inode flags, hard links.  Added files go, removed
 * ones return, unchanged ones are not touched.  What is replaced is kept as a
 * discarded configuration.  May be repeated after any failure or crash and
 * then ends in the same state.  The change is closed only when every file is
 * as it was; ncf_change_result() has the figures.
 *
 * Where the root is "/", live interfaces follow: those whose configuration was
 * added, removed or changed, and those that are not as they were at the start,
 * go down before and up after, by the means of the host's own software.  Others
 * are not touched.  Whether they are back is asked of the kernel; see
 * ncf_change_interfaces() and docs/interfaces.md.
 *
 * Errors: NCF_EOTHER unknown flags; NCF_EINVALIDOP no change is open;
 * NCF_EFILE the snapshot is damaged (no file is touched), or a path can't be
 * put back (all others are; the change stays open); NCF_EEXEC all files are
 * back and the change is closed, but interfaces are not as they were.
 */
int ncf_change_rollback(struct netcf *ncf, unsigned int flags);

/*
 * The code of the last call's error on this handle; NCF_NOERROR if it
 * succeeded.  *errmsg: a sentence for the code.  *details: which step failed on
 * which path and why, and what state the host is in; NULL if there is nothing
 * to add.  Both belong to the handle and live until the next call on it.
 * errmsg and details may be NULL.
 */
int ncf_error(struct netcf *ncf, const char **errmsg, const char **details);

/*
 * Set the options of the next start on this handle; the token is also what the
 * next commit shows.  The strings are copied.  NULL clears all.
 * Errors: NCF_EOTHER too long, or a deadline over 30 days.
 */
int ncf_change_set_options(struct netcf *ncf, const struct ncf_change_options *options);

/* The state of the host's change.  Takes no lock and writes nothing. */
int ncf_change_status(struct netcf *ncf, struct ncf_change_status *ret_status);

/*
 * The scope: that of the open change, else that of the next start.
 * *ret_patterns is one block for ncf_free().
 */
int ncf_change_scope(struct netcf *ncf, struct ncf_pattern **ret_patterns, size_t *ret_count);

/*
 * The paths that are in scope now, sorted: what the next start would save, or
 * what a rollback of the open change would look at.  Takes no lock and writes
 * nothing.  *ret_files is one block for ncf_free().
 */
int ncf_scope_list(struct netcf *ncf, struct ncf_scope_file **ret_files, size_t *ret_count);

/*
 * What differs now from the snapshot, sorted by path; equal content with equal
 * metadata is no difference.  *ret_differences is one block for ncf_free().
 * Takes no lock and writes nothing.  Errors: NCF_EINVALIDOP no change is open;
 * NCF_EFILE the snapshot is damaged, or a file can't be read.
 */
int ncf_change_diff(struct netcf *ncf, struct ncf_difference **ret_differences, size_t *ret_count);

/*
 * In a change started with NCF_START_ON_WRITE: save `path`, or the fact that
 * nothing is there, before it is modified for the first time.  Durable on
 * return.  Announcing a path again, or in a change that saved the whole scope
 * and covers it, does nothing.
 *
 * Errors: NCF_EINVALIDOP no change is open; NCF_EOTHER the path leaves the
 * root, lies in the state directory, or is not covered by a whole-scope change.
 */
int ncf_change_announce(struct netcf *ncf, const char *path);

/* What the last start, commit, rollback or restore on this handle did. */
int ncf_change_result(struct netcf *ncf, struct ncf_change_result *ret_result);

/*
 * The interfaces that the last rollback on this handle touched, or that are not
 * back, sorted by nothing in particular; one block for ncf_free().
 */
int ncf_change_interfaces(struct netcf *ncf, struct ncf_interface **ret_list, size_t *ret_count);

/* The discarded configurations, newest first; one block for ncf_free(). */
int ncf_discarded_list(struct netcf *ncf, struct ncf_discarded **ret_list, size_t *ret_count);

/*
 * Put a discarded configuration back: its files return, and what it did not
 * have goes.  Needs an open change, so that this too can be rolled back.
 * flags must be 0.
 *
 * Errors: NCF_EINVALIDOP no change is open; NCF_ENOENT there is none with this
 * id; else as ncf_change_rollback().
 */
int ncf_discarded_restore(struct netcf *ncf, unsigned long long id, unsigned int flags);

/*
 * Where the snapshot is while a change is open, with the root in front
 * ("/var/lib/netcf/network-snapshot.tar").  Belongs to the handle.
 */
const char *ncf_snapshot_path(struct netcf *ncf);

/* Free a list that one of the calls above returned.  NULL is allowed. */
void ncf_free(void *list);

/* The version of the library, "MAJOR.MINOR.PATCH". */
const char *ncf_version(void);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
