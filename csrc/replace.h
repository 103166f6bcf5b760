/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_REPLACE_H
#define NCF_REPLACE_H

#include "snapshot.h"
#include "store.h"

/* The state of the host after a rollback that failed before its first write. */
#define NOT_TOUCHED "no configuration file was touched, the snapshot is kept: " \
                    "run rollback again when the cause is mended"

/* What an operation did, for people. */
struct change_result {
    uint64_t changed, added, removed, metadata, failed, saved, refused;
    bool on_trial; /* by a boot: counted, nothing rolled back */
    char id[NCF_ID_SIZE];
    char discarded[STORE_NAME_SIZE + sizeof(PATH_STATE)]; /* path, "" if none */
    const char *unfollowed; /* a stack whose files were put back and whose interfaces nobody
                               knows how to bring back, or NULL */
    char notice[1280];                                    /* "" if there is nothing to say */
};

/* The first thing to say is said, of `path` if that is not "". */
void result_notice(struct change_result *ret, const char *path, const char *words);

/* Shared by rollback and by putting a discarded configuration back. */
struct replacement {
    struct dirs *dirs;
    struct store *store;         /* locked */
    struct snapshot *target;     /* what shall be; verified */
    const struct manifest *open; /* of the change */
    struct change_result *ret;
    /* Whether a stack of this host will bring back what the file configures; or NULL. */
    bool (*followed)(const void *by, const char *path);
    const void *by;
};

/*
 * Makes the live configuration that of the target, durably, and keeps what it
 * replaces.  Where nothing differs, nothing is written.
 */
int replace_live(const struct replacement *r, struct error *err);

#endif
