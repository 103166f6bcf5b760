/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_INTERFACE_MODEL_H
#define NCF_INTERFACE_MODEL_H

#include "memory.h"

/*
 * What configuration files say about interfaces, and what follows when one set
 * of files takes the place of another: pure functions over bytes.
 */

struct config_file {
    const char *path; /* beneath the root */
    const char *bytes;
    size_t len;
};

/* Files of one moment, sorted by path. */
struct config {
    struct config_file *file;
    size_t count, room;
    struct arena memory;
};

bool config_add(struct config *c, const char *path, const char *bytes, size_t len);
void config_free(struct config *c);
#define AUTO_CONFIG __attribute__((cleanup(config_free))) struct config

/* All that the files say about one interface. */
struct unit {
    const char *name;   /* of the interface, or a pattern for such names */
    const char *handle; /* by which the stack's tools know it */
    struct buffer text; /* same text: same meaning */
    struct buffer needs; /* names of what it stands on, a space before each */
    bool makes_device;  /* a bridge, VLAN, bond: there because of its configuration */
    uint64_t device;    /* checksum of what is said about the device itself, or 0 */
    size_t at;          /* order in which it was found */
};

/* Sorted by name once model_finish() was called. */
struct model {
    struct unit *unit;
    size_t count, room;
    struct arena memory;
    const char *unread; /* file and line of the first thing that was not understood, or NULL */
    bool failed; /* memory was short */
};

/*
 * A new part of what is said about `name`; parts of one name are joined at the
 * end.  NULL where memory is short, and of an empty name.
 */
struct unit *model_add(struct model *m, const char *name, size_t len);
/* "KEY VALUE" as one line of the text; blanks at the ends and their number don't count. */
void unit_line(struct unit *u, const char *line, size_t len);
void unit_need(struct unit *u, const char *name, size_t len);
/* The next name that it stands on, `*at` NULL before the first; false at the end. */
bool unit_next_need(const struct unit *u, const char **at, const char **ret, size_t *ret_len);
/* Sorts and joins.  False if memory was short anywhere. */
bool model_finish(struct model *m);
struct unit *model_find(const struct model *m, const char *name);
/* Whether some unit is about this interface; patterns count. */
bool model_covers(const struct model *m, const char *name);
void model_free(struct model *m);
#define AUTO_MODEL __attribute__((cleanup(model_free))) struct model

enum plan_change { PLAN_SAME, PLAN_ADDED, PLAN_REMOVED, PLAN_CHANGED, PLAN_WITH_OTHERS, PLAN_BY_HAND };

/* One interface in the change from `was` back to `now`'s place. */
struct move {
    const char *name, *handle;
    const struct unit *was, *now; /* at the start, and at present; NULL: nothing */
    enum plan_change change;
    unsigned was_level, now_level; /* 0 stands on nothing, 1 on that, and so on */
    bool down_failed;
    bool told; /* to come up */
};

struct plan {
    struct move *move; /* sorted by name */
    size_t count;
    unsigned levels; /* one more than the highest */
};

/* Both models must be finished and outlive the plan.  False if memory is short. */
bool plan_make(struct plan *ret, const struct model *was, const struct model *now);
struct move *plan_find(const struct plan *p, const char *name);
/* By its name or a pattern. */
bool move_is_for(const struct move *m, const char *name);
/*
 * When every change is marked: what stands on something that changes goes down
 * before it and up after it, so it changes, too.  False if memory is short.
 */
bool plan_close(struct plan *p);
void plan_free(struct plan *p);
#define AUTO_PLAN __attribute__((cleanup(plan_free))) struct plan

/* ---- for those who read files ---- */

/* The next line, without its newline; false at the end. */
bool text_line(const char **p, const char *end, const char **ret, size_t *ret_len);
/* The next word of a line, blanks around it left out; false at the end. */
bool text_word(const char **p, const char *end, const char **ret, size_t *ret_len);
bool text_is(const char *word, size_t len, const char *other);
bool text_ends(const char *text, size_t len, const char *end);
/* Without blanks at both ends. */
void text_trim(const char **p, size_t *len);
/* As a string; "" if there is no room for all of it. */
void text_copy(char *to, size_t size, const char *text, size_t len);

/* Lines "KEY=VALUE" with the section they are in; comments left out. */
struct ini {
    const char *at, *end;
    const char *section, *key, *value;
    size_t section_len, key_len, value_len;
};

struct ini ini_of(const struct config_file *f);
/* False at the end. */
bool ini_next(struct ini *i);
bool ini_is(const struct ini *i, const char *section, const char *key);

#endif
