/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parser of one stack makes of files, for lib/units.py: a part of
 * libncf-test.so, so that no test has to know how the structures are laid out.
 */
#include "interface/stack.h"

#include <string.h>

/* "FIELD\0" for every field: first where a file was not understood, then five of each unit. */
size_t units_describe(const char *stack, const char *const *paths, const char *const *bytes,
                      const size_t *lens, size_t count, char *ret, size_t size);

static void field(struct buffer *b, const char *bytes, size_t n)
{
    buffer_add(b, bytes, n);
    buffer_add(b, "", 1);
}

static void describe(struct buffer *b, const struct model *m)
{
    field(b, m->unread ? m->unread : "", m->unread ? strlen(m->unread) : 0);
    for (size_t i = 0; i < m->count; i++) {
        const struct unit *u = &m->unit[i];

        field(b, u->name, strlen(u->name));
        field(b, u->handle, strlen(u->handle));
        field(b, u->text.len ? u->text.data : "", u->text.len);
        field(b, u->needs.len ? u->needs.data : "", u->needs.len);
        field(b, u->makes_device ? "device" : "", u->makes_device ? 6 : 0);
    }
}

/* How long the description is, or 0 if there is no such stack or no memory. */
size_t units_describe(const char *stack, const char *const *paths, const char *const *bytes,
                      const size_t *lens, size_t count, char *ret, size_t size)
{
    AUTO_CONFIG files = { 0 };
    AUTO_MODEL model = { 0 };
    struct buffer b = { .data = ret, .size = size, .fixed = true };

    for (size_t i = 0; i < count; i++)
        if (!config_add(&files, paths[i], bytes[i], lens[i]))
            return 0;
    for (const struct stack *const *s = stacks; *s; s++) {
        if (strcmp((*s)->name, stack) != 0)
            continue;
        (*s)->parse(&files, &model);
        if (!model_finish(&model))
            return 0;
        describe(&b, &model);
        return b.failed ? 0 : b.len;
    }
    return 0;
}
