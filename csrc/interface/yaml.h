/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_INTERFACE_YAML_H
#define NCF_INTERFACE_YAML_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The YAML that people write by hand: mappings and sequences, by indentation or
 * in brackets, with plain, quoted and literal scalars and comments.  Anchors,
 * tags, complex keys and a second document are not understood.
 */

enum { YAML_DEPTH = 24 };

struct yaml_level {
    const char *key; /* "-" for the items of a sequence */
    size_t len;
    size_t indent; /* its column; of no use in brackets */
    bool item;     /* of a sequence by indentation */
    char bracket;  /* '{' or '[', or 0 */
};

struct yaml {
    const char *at, *end, *line;
    struct yaml_level path[YAML_DEPTH];
    size_t depth;
    const char *value; /* of the last key of the path; NULL: that key alone, what follows is below it */
    size_t value_len;
    const char *unread; /* where the first thing was that is not understood, or NULL */
    bool has_value;     /* the last key has one already */
    bool in_line;       /* a value may follow in this line */
};

struct yaml yaml_of(const char *bytes, size_t len);
/* The next key or value in the order of the text; false at the end.  Each byte is read once or twice. */
bool yaml_next(struct yaml *y);

#endif
