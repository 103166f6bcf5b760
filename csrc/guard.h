/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_GUARD_H
#define NCF_GUARD_H

#include "run.h"
#include "store.h"

/*
 * The guard of a change with a deadline or a leash: one small process of the
 * helper that sleeps until the change is closed, or has to be rolled back.  It
 * decides nothing: whether a change is due is in the snapshot (guard_is_due()),
 * looked up under the lock.  Two guards, or none, lose nothing.
 */

/* Whether a change with this manifest wants one. */
bool guard_is_wanted(const struct manifest *m);
/* Whether one watches this change now. */
bool guard_is_there(struct store *store, const struct manifest *m);
/*
 * The program that will be the guard: `helper`, GUARD_SELF for the caller's own,
 * "" for where `make install` puts it.
 */
#define GUARD_SELF "/proc/self/exe"
enum { GUARD_PATH_SIZE = 1024 };
const char *guard_program(const char *helper, char path[GUARD_PATH_SIZE], struct error *err);
/*
 * Starts a guard for the open change of the host below `root`, whose state directory
 * is `store`, and waits until it watches.  `line` is the descriptor whose hang-up
 * ends the leash, or -1.
 */
int guard_start(struct store *store, int root, const char *program, const struct manifest *m,
                int line, struct error *err);

/* Whether the change has to be rolled back now; `leash_ended`: its leash did, a grace ago. */
bool guard_is_due(const struct manifest *m, bool leash_ended);

/* ---- in the guard's own process ---- */

struct guard {
    int root;
    struct store store;
    struct manifest change; /* as last read */
    bool host; /* the root is that of the running host: its interfaces follow */
    int watch, line;
    uint64_t leash_end; /* when the line hung up; SYS_NEVER before */
    uint64_t pause;     /* nothing is tried before this */
    unsigned failures;
};

/* Where guard_start() leaves what the process needs, unless it is a service. */
enum { GUARD_ROOT = RUN_APART_FD, GUARD_READY, GUARD_LINE };

/* Begins to watch the change `id`, and tells guard_start() so.  `how`: "line", "host" or NULL. */
int guard_begin(struct guard *g, const char *id, const char *how, struct error *err);
/* Sleeps.  1: the change is due (*ret_leash_ended: why); 0: it is closed; -1: failure. */
int guard_wait(struct guard *g, bool *ret_leash_ended, struct error *err);
/* After a rollback that failed: the next one is tried in 2, 4, 8 ... 300 seconds. */
void guard_pause(struct guard *g);

#endif
