/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for deciding which interfaces a rollback touches, and in which order.
 * MUST be pure: bytes in, a plan out; nothing is asked and nothing is done here.
 * MUST end soon on any input: what it reads may be broken or hostile.
 */
#include "interface/model.h"

#include "scope.h"

#include <stdlib.h>
#include <string.h>

/* Nobody stacks interfaces higher; circles end here. */
enum { LEVELS_MAX = 64 };

/* ---- files ---- */

bool config_add(struct config *c, const char *path, const char *bytes, size_t len)
{
    void *array = c->file;
    struct config_file f = { .len = len };

    f.path = arena_copy(&c->memory, path, strlen(path));
    f.bytes = arena_copy(&c->memory, bytes, len);
    if (!f.path || !f.bytes || !array_grow(&array, c->count, &c->room, sizeof(f)))
        return false;
    c->file = array;
    c->file[c->count++] = f;
    return true;
}

void config_free(struct config *c)
{
    free(c->file);
    arena_free(&c->memory);
    *c = (struct config){ .count = 0 };
}

/* ---- text ---- */

static bool blank(char c)
{
    return c <= ' ' && strchr(" \t\r\v\f", c); /* and '\0' */
}

bool text_line(const char **p, const char *end, const char **ret, size_t *ret_len)
{
    const char *newline;

    if (*p >= end)
        return false;
    newline = memchr(*p, '\n', (size_t)(end - *p));
    *ret = *p;
    *ret_len = (size_t)((newline ? newline : end) - *p);
    *p = newline ? newline + 1 : end;
    return true;
}

bool text_word(const char **p, const char *end, const char **ret, size_t *ret_len)
{
    while (*p < end && blank(**p))
        (*p)++;
    *ret = *p;
    while (*p < end && !blank(**p))
        (*p)++;
    *ret_len = (size_t)(*p - *ret);
    return *ret_len > 0;
}

bool text_is(const char *word, size_t len, const char *other)
{
    return strlen(other) == len && !memcmp(word, other, len);
}

bool text_ends(const char *text, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len > n && !memcmp(text + len - n, end, n);
}

void text_trim(const char **p, size_t *len)
{
    while (*len && blank(**p)) {
        (*p)++;
        (*len)--;
    }
    while (*len && blank((*p)[*len - 1]))
        (*len)--;
}

void text_copy(char *to, size_t size, const char *text, size_t len)
{
    len = len < size ? len : 0;
    memcpy(to, text, len);
    to[len] = '\0';
}

bool ini_next(struct ini *i)
{
    const char *line;
    size_t len;

    while (text_line(&i->at, i->end, &line, &len)) {
        const char *equals;

        text_trim(&line, &len);
        if (!len || *line == '#' || *line == ';')
            continue;
        if (*line == '[') {
            i->section = line + 1;
            i->section_len = len - 1 - (len > 1 && line[len - 1] == ']');
            continue;
        }
        equals = memchr(line, '=', len);
        i->key = line;
        i->key_len = equals ? (size_t)(equals - line) : len;
        i->value = equals ? equals + 1 : line + len;
        i->value_len = len - i->key_len - (equals != NULL);
        text_trim(&i->key, &i->key_len);
        text_trim(&i->value, &i->value_len);
        return true;
    }
    return false;
}

struct ini ini_of(const struct config_file *f)
{
    return (struct ini){ .at = f->bytes, .end = f->bytes + f->len, .section = "" };
}

bool ini_is(const struct ini *i, const char *section, const char *key)
{
    return text_is(i->section, i->section_len, section) && text_is(i->key, i->key_len, key);
}

/* ---- units ---- */

struct unit *model_add(struct model *m, const char *name, size_t len)
{
    void *array = m->unit;
    const char *copy;
    struct unit *u;

    len = strnlen(name, len); /* a file may hold any byte */
    if (!len)
        return NULL;
    copy = arena_copy(&m->memory, name, len);
    if (!copy || !array_grow(&array, m->count, &m->room, sizeof(*u))) {
        m->failed = true;
        return NULL;
    }
    m->unit = array;
    u = &m->unit[m->count++];
    *u = (struct unit){ .name = copy, .handle = copy, .at = m->count };
    return u;
}

void unit_line(struct unit *u, const char *line, size_t len)
{
    const char *end = line + len, *word;
    size_t n;
    bool first = true;

    for (; text_word(&line, end, &word, &n); first = false) {
        if (!first)
            buffer_text(&u->text, " ");
        buffer_add(&u->text, word, n);
    }
    if (!first)
        buffer_text(&u->text, "\n");
}

void unit_need(struct unit *u, const char *name, size_t len)
{
    buffer_text(&u->needs, " ");
    buffer_add(&u->needs, name, len);
}

bool unit_next_need(const struct unit *u, const char **at, const char **ret, size_t *ret_len)
{
    if (!u->needs.len)
        return false;
    *at = *at ? *at : u->needs.data;
    return text_word(at, u->needs.data + u->needs.len, ret, ret_len);
}

static void unit_free(struct unit *u)
{
    buffer_free(&u->text);
    buffer_free(&u->needs);
}

static int unit_order(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : (x->at > y->at) - (x->at < y->at);
}

bool model_finish(struct model *m)
{
    size_t kept = 0;

    if (m->count)
        array_sort(m->unit, m->count, sizeof(*m->unit), unit_order);
    for (size_t i = 0; i < m->count; i++) {
        struct unit *u = &m->unit[i], *last = kept ? &m->unit[kept - 1] : NULL;

        if (!last || strcmp(last->name, u->name) != 0) {
            m->unit[kept++] = *u;
        } else {
            if (u->text.len)
                buffer_add(&last->text, u->text.data, u->text.len);
            if (u->needs.len)
                buffer_add(&last->needs, u->needs.data, u->needs.len);
            last->device += u->device;
            /* A mere mention of the name knows no other handle. */
            if (last->handle == last->name)
                last->handle = u->handle;
            last->makes_device = last->makes_device || u->makes_device;
            m->failed |= u->text.failed | u->needs.failed;
            unit_free(u);
        }
    }
    m->count = kept;
    for (size_t i = 0; i < kept; i++)
        m->failed |= m->unit[i].text.failed | m->unit[i].needs.failed;
    return !m->failed;
}

/* Units and moves begin with their names. */
static int name_order(const void *name, const void *item)
{
    return strcmp(name, *(const char *const *)item);
}

struct unit *model_find(const struct model *m, const char *name)
{
    return m->count ? bsearch(name, m->unit, m->count, sizeof(*m->unit), name_order) : NULL;
}

bool model_covers(const struct model *m, const char *name)
{
    if (model_find(m, name))
        return true;
    for (size_t i = 0; i < m->count; i++)
        if (scope_part_is_wild(m->unit[i].name) && scope_part_matches(m->unit[i].name, name))
            return true;
    return false;
}

void model_free(struct model *m)
{
    for (size_t i = 0; i < m->count; i++)
        unit_free(&m->unit[i]);
    free(m->unit);
    arena_free(&m->memory);
    *m = (struct model){ .count = 0 };
}

/* ---- plan ---- */

static bool same(const struct unit *a, const struct unit *b)
{
    return a->text.len == b->text.len && a->needs.len == b->needs.len &&
           (!a->text.len || !memcmp(a->text.data, b->text.data, a->text.len)) &&
           (!a->needs.len || !memcmp(a->needs.data, b->needs.data, a->needs.len));
}

bool plan_make(struct plan *ret, const struct model *was, const struct model *now)
{
    size_t i = 0, j = 0;

    ret->move = calloc(was->count + now->count + 1, sizeof(*ret->move));
    if (!ret->move)
        return false;
    while (i < was->count || j < now->count) {
        struct move *s = &ret->move[ret->count++];
        int order = i == was->count   ? 1
                    : j == now->count ? -1
                                      : strcmp(was->unit[i].name, now->unit[j].name);

        if (order <= 0)
            s->was = &was->unit[i++];
        if (order >= 0)
            s->now = &now->unit[j++];
        s->name = s->was ? s->was->name : s->now->name;
        s->handle = s->was ? s->was->handle : s->now->handle;
        s->change = !s->was             ? PLAN_ADDED
                    : !s->now           ? PLAN_REMOVED
                    : same(s->was, s->now) ? PLAN_SAME
                                           : PLAN_CHANGED;
    }
    return true;
}

struct move *plan_find(const struct plan *p, const char *name)
{
    return p->count ? bsearch(name, p->move, p->count, sizeof(*p->move), name_order) : NULL;
}

bool move_is_for(const struct move *m, const char *name)
{
    return !strcmp(m->name, name) ||
           (scope_part_is_wild(m->name) && scope_part_matches(m->name, name));
}

/* That one move stands on another, at the start or at present. */
struct edge {
    struct move *upper, *lower;
    bool now;
};

struct edges {
    struct edge *edge;
    size_t count, room;
};

static bool add_edges(struct edges *e, const struct plan *p, struct move *upper, bool now)
{
    const struct unit *u = now ? upper->now : upper->was;
    const char *at = NULL, *word;
    char name[256];
    size_t len;

    while (u && unit_next_need(u, &at, &word, &len)) {
        void *array = e->edge;
        struct move *lower;

        text_copy(name, sizeof(name), word, len);
        lower = plan_find(p, name);
        if (!lower || lower == upper)
            continue;
        if (!array_grow(&array, e->count, &e->room, sizeof(*e->edge)))
            return false;
        e->edge = array;
        e->edge[e->count++] = (struct edge){ .upper = upper, .lower = lower, .now = now };
    }
    return true;
}

/* Takes the upper above the lower; true if that changed anything. */
static bool stand(const struct edge *e)
{
    unsigned *level = e->now ? &e->upper->now_level : &e->upper->was_level;
    unsigned below = e->now ? e->lower->now_level : e->lower->was_level;
    bool moved = false;

    if (*level <= below && below + 1 < LEVELS_MAX) {
        *level = below + 1;
        moved = true;
    }
    if (e->lower->change != PLAN_SAME && e->upper->change == PLAN_SAME) {
        e->upper->change = PLAN_WITH_OTHERS;
        moved = true;
    }
    return moved;
}

bool plan_close(struct plan *p)
{
    struct edges e = { .count = 0 };
    bool moved = true, good = true;

    for (size_t i = 0; good && i < p->count; i++)
        good = add_edges(&e, p, &p->move[i], false) && add_edges(&e, p, &p->move[i], true);
    /* By turns from both ends: names that rise or fall along a chain need one turn each. */
    for (unsigned pass = 0; moved && pass < 2 * LEVELS_MAX; pass++) {
        moved = false;
        for (size_t i = 0; i < e.count; i++)
            moved = stand(&e.edge[pass % 2 ? e.count - 1 - i : i]) || moved;
    }
    free(e.edge);
    for (size_t i = 0; i < p->count; i++) {
        const struct move *s = &p->move[i];
        unsigned level = s->was_level > s->now_level ? s->was_level : s->now_level;

        if (level >= p->levels)
            p->levels = level + 1;
    }
    return good;
}

void plan_free(struct plan *p)
{
    free(p->move);
    *p = (struct plan){ .count = 0 };
}
