/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_INTERFACE_ENGINE_H
#define NCF_INTERFACE_ENGINE_H

#include "interface/stack.h"
#include "snapshot.h"

enum { ENGINE_STACKS_MAX = 10, ENGINE_LACKS_SIZE = 256 };

struct engine_options {
    bool all;       /* every interface down and up, not only those that differ */
    int command_ms; /* limit of one command */
    int total_ms;   /* limit of all commands and waiting */
};

#define ENGINE_USUAL ((struct engine_options){ .command_ms = 30 * 1000, .total_ms = 90 * 1000 })

/* What was done with one interface, and what the kernel says of it now. */
struct engine_finding {
    char name[64];
    const char *stack;
    enum plan_change change;
    unsigned done; /* DONE_... bits */
    char lacks[ENGINE_LACKS_SIZE]; /* "" if it is as it was at the start */
};

struct engine {
    struct engine_options options;
    struct links start, present;
    struct work work[ENGINE_STACKS_MAX]; /* one for each stack in use */
    size_t count;
    bool acts; /* there is something to do */
    int64_t end; /* by sys_boottime() in ms */
    struct engine_finding *finding;
    size_t findings, room;
    struct buffer said; /* what failing commands said */
};

/* What the kernel has now, for the manifest of a change that starts. */
int engine_record(struct buffer *ret, struct error *err);

/*
 * Compares the configuration that the snapshot has with the present one, and
 * the kernel with what it had at the start.  Touches nothing.  Of the engine
 * only the options are set before.
 */
int engine_plan(struct engine *e, struct snapshot *s, struct dirs *dirs, struct error *err);
/* Whether a stack of this host reads the file, by a struct engine whose plan is made. */
bool engine_follows(const void *engine, const char *path);
/* Takes down what was added or changed, while its configuration is still there. */
void engine_before(struct engine *e);
/* Brings up what was removed or changed, and asks the kernel.  True if all is as it was. */
bool engine_after(struct engine *e);
/* What is not as it was, in one line, when engine_after() was not true. */
void engine_not_back(const struct engine *e, char *text, size_t size);
/* Where the present files could not be understood by us; NULL if they could, or nothing differs. */
const char *engine_unread(const struct engine *e);
/* What commands said that failed; "" if none did. */
const char *engine_said(struct engine *e);
void engine_free(struct engine *e);
#define AUTO_ENGINE __attribute__((cleanup(engine_free))) struct engine

#endif
