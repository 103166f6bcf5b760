/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_CHANGE_H
#define NCF_CHANGE_H

#include "compare.h"
#include "interface/engine.h"
#include "replace.h"

struct change_options {
    char note[NCF_NOTE_SIZE];
    char token[NCF_NOTE_SIZE]; /* "" for none */
    unsigned deadline, trial_boots;
    bool has_leash;
    int line; /* what hangs up when the leash ends */
    unsigned grace;
    char helper[NCF_NOTE_SIZE]; /* the program that guards, "" for the installed one */
    bool live; /* record what the interfaces are like */
};

/* For a guard: the one change it may roll back, and only if it is due. */
struct change_due {
    const char *id;
    bool leash_ended;
};

/* `root` is an open directory everywhere. */
int change_start(int root, unsigned flags, const struct change_options *options,
                 struct change_result *ret, struct error *err);
int change_commit(int root, const char *token, struct change_result *ret, struct error *err);
/* Sets the deadline of the open change to so many seconds from now. */
int change_extend(int root, const char *token, unsigned seconds, const char *helper,
                  struct error *err);
/*
 * `due` NULL: whatever change is open.  With `live`, whose options are set,
 * interfaces follow the files; it then has what came of it.
 */
int change_rollback(int root, const struct change_due *due, struct engine *live,
                    struct change_result *ret, struct error *err);
/* What a boot does: count a trial boot, else roll back. */
int change_boot(int root, const char *helper, struct change_result *ret, struct error *err);
/* Puts a guard back where the open change wants one and has none. */
int change_guard(int root, const char *helper, struct error *err);
int change_announce(int root, const char *path, struct error *err);
int change_put_back(int root, unsigned long long id, struct change_result *ret,
                    struct error *err);

/*
 * Readers: no lock, nothing written.  1: a change is open, 0: none, -1: failure.
 * Whether a guard watches it is looked up unless ret_guarded is NULL.
 */
int change_read(int root, struct snapshot *ret, bool *ret_guarded, struct error *err);
/* The differences point into both listings. */
int change_diff(int root, struct snapshot *s, struct listing *live, struct differences *ret,
                struct error *err);
/* What the last rollback of this boot could not bring back; "" if nothing. */
void change_not_back(int root, char *text, size_t size);
/* What is in scope now, by the open change's scope, else by the next start's: *ret_scope. */
int change_list(int root, struct snapshot *s, struct scope *next, const struct scope **ret_scope,
                struct listing *ret, struct error *err);
/* The scope of the next start. */
int change_scope(int root, struct scope *ret, struct error *err);

#endif
