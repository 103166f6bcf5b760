/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the parsers of interfaces' files and the plan.  An input is two sets
 * of files: a line "=== PATH" begins one, "=== now" ends the set of the start.
 * Paths are beneath etc/ and of a handful of directories, or the input's own.
 */
#include "fuzz.h"
#include "interface/stack.h"
#include "path.h"

#include <string.h>

#ifdef FUZZED /* netplan.c takes only some */
static const struct stack *const fuzzed[] = { FUZZED, NULL };
#else
#define fuzzed stacks
#endif

enum { FILES_MAX = 1000 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

static int file_order(const void *a, const void *b)
{
    return path_compare(((const struct config_file *)a)->path, ((const struct config_file *)b)->path);
}

static bool begins_file(const char *p, const char *end)
{
    return end - p > 4 && !memcmp(p, "=== ", 4);
}

/* One set of files; returns where the next begins. */
static const char *read_set(struct config *c, const char *p, const char *end)
{
    const char *line, *begin;
    size_t len;

    while (text_line(&p, end, &line, &len)) {
        char path[PATH_SIZE];

        if (!begins_file(line, end))
            continue;
        if (text_is(line, len, "=== now"))
            break;
        snprintf(path, sizeof(path), "%.*s", (int)(len - 4 < 200 ? len - 4 : 200), line + 4);
        begin = p;
        while (p < end && !begins_file(p, end))
            text_line(&p, end, &line, &len);
        if (path_valid(path) && c->count < FILES_MAX)
            must(config_add(c, path, begin, (size_t)(p - begin)), "memory");
    }
    if (c->count)
        qsort(c->file, c->count, sizeof(*c->file), file_order);
    /* A tree has each path once. */
    for (size_t i = 1; i < c->count;)
        if (strcmp(c->file[i - 1].path, c->file[i].path) == 0)
            memmove(&c->file[i], &c->file[i + 1], (--c->count - i) * sizeof(*c->file));
        else
            i++;
    return p;
}

static bool equal(const struct buffer *a, const struct buffer *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

static void check_model(const struct stack *stack, const struct config *c, const struct model *m)
{
    AUTO_MODEL again = { 0 };

    stack->parse(c, &again);
    must(model_finish(&again) && again.count == m->count, "%s: parsed otherwise", stack->name);
    for (size_t i = 0; i < m->count; i++) {
        const struct unit *u = &m->unit[i];

        must(*u->name && *u->handle, "%s: an interface without a name", stack->name);
        must(i == 0 || strcmp(m->unit[i - 1].name, u->name) < 0, "not sorted: %s", u->name);
        must(model_find(m, u->name) == u && model_covers(m, u->name), "not found: %s", u->name);
        must(equal(&u->text, &again.unit[i].text) && equal(&u->needs, &again.unit[i].needs) &&
             !strcmp(u->name, again.unit[i].name) && !strcmp(u->handle, again.unit[i].handle),
             "%s: %s parsed otherwise", stack->name, u->name);
    }
}

/* Every edge of a plan that can be put in order: above what it stands on, and changing with it. */
static void check_needs(const struct plan *p, const struct move *m, const struct unit *u, bool now)
{
    const char *at = u && u->needs.len ? u->needs.data : NULL, *word;
    size_t len;

    while (at && text_word(&at, u->needs.data + u->needs.len, &word, &len)) {
        char name[256];
        const struct move *lower;

        snprintf(name, sizeof(name), "%.*s", len < sizeof(name) ? (int)len : 0, word);
        lower = plan_find(p, name);
        if (!lower || lower == m || p->levels > 32)
            continue; /* chains and circles that are cut */
        must(lower->change == PLAN_SAME || m->change != PLAN_SAME, "%s stays on %s", m->name, name);
        must(now ? m->now_level > lower->now_level : m->was_level > lower->was_level,
             "%s is not above %s", m->name, name);
    }
}

static void check_plan(const struct model *was, const struct model *now, bool same, size_t seed)
{
    AUTO_PLAN p = { 0 };

    must(plan_make(&p, was, now), "memory");
    for (size_t i = 0; same && i < p.count; i++)
        must(p.move[i].change == PLAN_SAME, "%s differs from itself", p.move[i].name);
    if (p.count)
        p.move[seed % p.count].change = PLAN_BY_HAND;
    must(plan_close(&p), "memory");
    for (size_t i = 0; i < p.count; i++) {
        const struct move *m = &p.move[i];

        must(m->was || m->now, "%s is nothing", m->name);
        must(plan_find(&p, m->name) == m, "%s is not found", m->name);
        must(m->was_level < p.levels && m->now_level < p.levels, "%s is too high", m->name);
        must(!m->was == (m->change == PLAN_ADDED) || (m->was && !m->now) || i == seed % p.count,
             "%s is no addition", m->name);
        check_needs(&p, m, m->was, false);
        check_needs(&p, m, m->now, true);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data, *end = p + size;
    AUTO_CONFIG was = { 0 }, now = { 0 };

    if (size == 0)
        return 0;
    p = read_set(&was, p, end);
    read_set(&now, p, end);
    for (const struct stack *const *stack = fuzzed; *stack; stack++) {
        AUTO_MODEL a = { 0 }, b = { 0 };

        if (stack > fuzzed && stack[0]->parse == stack[-1]->parse)
            continue; /* another reader of the same files */
        (*stack)->parse(&was, &a);
        (*stack)->parse(&now, &b);
        must(model_finish(&a) && model_finish(&b), "memory");
        check_model(*stack, size % 2 ? &was : &now, size % 2 ? &a : &b);
        check_plan(&a, &a, true, size);
        check_plan(&a, &b, false, size);
    }
    return 0;
}
