/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_SCOPE_H
#define NCF_SCOPE_H

#include "error.h"
#include "memory.h"
#include "path.h"

/*
 * A pattern is a path beneath the root; *, ? and [...] match within one part.
 * "**" as the last part takes everything below a directory; any other last
 * part takes what is not a directory.
 */
struct pattern {
    const char *text;
    bool exclude;
    bool deep;          /* ended in "**", which is not among the parts */
    size_t parts;
    size_t plain;       /* length of the text up to its first wildcard */
    char last;          /* the byte that what it takes ends in, or 0 */
    const char **part;
    size_t excluding; /* of an excluding one: the same of those before it */
};

struct scope {
    struct pattern *pattern;
    size_t count, room;
    size_t excluding; /* one behind the last that excludes, 0 if none does */
    struct arena memory;
};

/* Adds a pattern; a leading slash is dropped.  A bad one is an error. */
int scope_add(struct scope *s, const char *text, bool exclude, struct error *err);
/* The default patterns, then those of etc/netcf/scope.d. */
int scope_read(struct scope *s, struct dirs *dirs, struct error *err);
bool scope_excludes(const struct scope *s, const char *path);
/* Whether `path` is what an including pattern takes and no excluding one leaves out. */
bool scope_covers(const struct scope *s, const char *path);
/* The first pattern that takes `path`, or names in it, if it is a directory; NULL if none does. */
const struct pattern *scope_why(const struct scope *s, const char *path);
/* One part against one name, byte by byte, whatever the locale. */
bool scope_part_matches(const char *part, const char *name);
bool scope_part_is_wild(const char *part);
void scope_free(struct scope *s);
#define AUTO_SCOPE __attribute__((cleanup(scope_free))) struct scope

#endif
