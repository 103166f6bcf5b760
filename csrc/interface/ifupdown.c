/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for Debian's /etc/network/interfaces and its three readers:
 * ifupdown, ifupdown2 and ifupdown-ng.
 * MUST compare stanza by stanza: many interfaces share one file.
 */
#include "interface/stack.h"

#include "scope.h"
#include "sys.h"

#include <stdio.h>
#include <string.h>

#define MAIN_FILE "etc/network/interfaces"
/* Files may source one another, again and again: what goes beyond is not read. */
enum { DEPTH_MAX = 8, FILES_MAX = 10000, SOURCES_MAX = 256, BYTES_MAX = 16 * 1024 * 1024 };

struct parser {
    const struct config *files;
    struct model *model;
    size_t unit; /* index + 1 of the stanza at hand, 0: none */
    size_t read, bytes, sources; /* files, what is in them, and patterns of such, so far */
    struct buffer line;
    bool any_name; /* ifupdown-ng's source-directory takes names with dots, too */
};

static void parse_path(struct parser *p, const char *pattern, size_t len, bool directory,
                       unsigned depth);

static bool starts(const char *word, size_t len, const char *with)
{
    return len > strlen(with) && !memcmp(word, with, strlen(with));
}

/* A line with those that continue it. */
static bool whole_line(struct parser *p, const char **at, const char *end)
{
    const char *line;
    size_t len;
    bool any = false;

    p->line.len = 0;
    while (text_line(at, end, &line, &len)) {
        bool goes_on = len && line[len - 1] == '\\';

        any = true;
        buffer_add(&p->line, line, len - goes_on);
        if (!goes_on)
            break;
        buffer_text(&p->line, " ");
    }
    p->model->failed |= p->line.failed;
    return any && !p->line.failed;
}

static bool is_port_list(const char *key, size_t len)
{
    return text_is(key, len, "bridge_ports") || text_is(key, len, "bridge-ports") ||
           text_is(key, len, "bond-slaves") || text_is(key, len, "bond_slaves") ||
           text_is(key, len, "slaves") || text_is(key, len, "vlan-raw-device") ||
           text_is(key, len, "vlan_raw_device") || text_is(key, len, "requires");
}

static void parse_option(struct parser *p, const char *line, size_t len)
{
    struct unit *u = &p->model->unit[p->unit - 1];
    const char *at = line, *end = line + len, *key, *word;
    size_t key_len, n;

    unit_line(u, line, len);
    (void)text_word(&at, end, &key, &key_len); /* there is one, or nobody had called */
    if (is_port_list(key, key_len)) {
        u->makes_device = u->makes_device || !text_is(key, key_len, "requires");
        while (text_word(&at, end, &word, &n))
            unit_need(u, word, n);
    } else if (text_is(key, key_len, "map")) {
        /* The last word of a mapping's line is, by custom, the stanza it leads to. */
        const char *last = NULL;
        size_t last_len = 0;

        for (; text_word(&at, end, &word, &n); last = word, last_len = n)
            ;
        if (last)
            unit_need(u, last, last_len);
    } else if (text_is(key, key_len, "bond-master") || text_is(key, key_len, "bond_master")) {
        const char *own = u->name;

        (void)text_word(&at, end, &word, &n);
        if ((u = model_add(p->model, word, n)))
            unit_need(u, own, strlen(own));
    } else if (starts(key, key_len, "bridge") || starts(key, key_len, "bond")) {
        u->makes_device = true;
    }
}

/* eth0.5 is a VLAN on eth0, eth0:1 a further address of it. */
static void parse_name(struct unit *u)
{
    const char *colon = strchr(u->name, ':'), *dot = strrchr(u->name, '.');

    if (colon)
        unit_need(u, u->name, (size_t)(colon - u->name));
    else if (dot && dot[1] && strspn(dot + 1, "0123456789") == strlen(dot + 1)) {
        unit_need(u, u->name, (size_t)(dot - u->name));
        u->makes_device = true;
    }
}

static void parse_iface(struct parser *p, const char *at, const char *end)
{
    const char *word, *line = at;
    struct unit *u;
    size_t n;

    p->unit = 0;
    (void)text_word(&at, end, &word, &n);
    if (!(u = model_add(p->model, word, n)))
        return;
    p->unit = p->model->count;
    unit_line(u, line, (size_t)(end - line));
    parse_name(u);
    while (text_word(&at, end, &word, &n))
        if ((text_is(word, n, "inherits") || text_is(word, n, "inherit")) &&
            text_word(&at, end, &word, &n))
            unit_need(u, word, n);
}

/* Which physical interfaces a mapping is for is said by patterns: it stays a unit of that name. */
static void parse_mapping(struct parser *p, const char *at, const char *end)
{
    const char *word;
    struct unit *u;
    size_t n;

    p->unit = 0;
    (void)text_word(&at, end, &word, &n);
    if (!(u = model_add(p->model, word, n)))
        return;
    p->unit = p->model->count;
    unit_line(u, "mapping", 7);
}

static bool ends_stanza(const char *key, size_t len)
{
    return text_is(key, len, "auto") || starts(key, len, "allow-") ||
           text_is(key, len, "no-auto-down") || text_is(key, len, "no-scripts") ||
           text_is(key, len, "rename") || text_is(key, len, "template");
}

static void parse_line(struct parser *p, unsigned depth)
{
    const char *at = p->line.len ? p->line.data : "", *end = at + p->line.len, *key, *word, *line = at;
    size_t len, n;

    if (!p->line.len || !text_word(&at, end, &key, &len) || *key == '#')
        return;
    if (text_is(key, len, "iface")) {
        parse_iface(p, at, end);
    } else if (text_is(key, len, "mapping")) {
        parse_mapping(p, at, end);
    } else if (text_is(key, len, "source") || text_is(key, len, "source-directory")) {
        bool directory = len > strlen("source");

        p->unit = 0;
        while (text_word(&at, end, &word, &n)) {
            char pattern[PATH_SIZE];

            if (n + 3 < sizeof(pattern)) {
                memcpy(pattern, word, n);
                memcpy(pattern + n, "/*", 3);
                parse_path(p, pattern, n + (directory ? 2 : 0), directory, depth + 1);
            }
        }
        /* What was read meanwhile left its stanza behind. */
        p->unit = 0;
    } else if (ends_stanza(key, len)) {
        p->unit = 0;
    } else if (p->unit) {
        parse_option(p, line, (size_t)(end - line));
    }
}

static void parse_file(struct parser *p, const struct config_file *f, unsigned depth)
{
    const char *at = f->bytes, *end = f->bytes + f->len;
    struct buffer outer = p->line;

    p->bytes += f->len;
    if (depth > DEPTH_MAX || p->read++ > FILES_MAX || p->bytes > BYTES_MAX)
        return;
    p->line = (struct buffer){ .data = NULL };
    p->unit = 0;
    while (whole_line(p, &at, end))
        parse_line(p, depth);
    buffer_free(&p->line);
    p->line = outer;
}

/* Names that source-directory takes; a wildcard takes all that are not hidden. */
static bool taken(const char *name, bool directory)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    return directory ? name[strspn(name, plain)] == '\0' : *name != '.';
}

/* A pattern of one word against a path: the same number of parts, each matching. */
static bool path_matches(const char *pattern, const char *path)
{
    char a[PATH_SIZE], b[PATH_SIZE];

    for (;;) {
        size_t m = strcspn(pattern, "/"), n = strcspn(path, "/");

        text_copy(a, sizeof(a), pattern, m);
        text_copy(b, sizeof(b), path, n);
        if (!scope_part_matches(a, b) || !pattern[m] != !path[n])
            return false;
        if (!pattern[m])
            return true;
        pattern += m + 1;
        path += n + 1;
    }
}

static void parse_path(struct parser *p, const char *pattern, size_t len, bool directory,
                       unsigned depth)
{
    char whole[PATH_SIZE + sizeof("etc/network/")];

    if (p->sources++ > SOURCES_MAX)
        return;
    if (*pattern == '/')
        snprintf(whole, sizeof(whole), "%.*s", (int)(len - 1), pattern + 1);
    else
        snprintf(whole, sizeof(whole), "etc/network/%.*s", (int)len, pattern);
    for (size_t i = 0; i < p->files->count; i++) {
        const struct config_file *f = &p->files->file[i];

        if (path_matches(whole, f->path) && taken(path_name(f->path), directory && !p->any_name))
            parse_file(p, f, depth);
    }
}

static void parse_interfaces(const struct config *files, struct model *ret)
{
    struct parser p = { .files = files, .model = ret };

    parse_path(&p, "interfaces", strlen("interfaces"), false, 0);
}

static void parse_ng(const struct config *files, struct model *ret)
{
    struct parser p = { .files = files, .model = ret, .any_name = true };

    parse_path(&p, "interfaces", strlen("interfaces"), false, 0);
}

static bool is_its_file(const char *path)
{
    return path_beneath(path, MAIN_FILE) || path_beneath(path, MAIN_FILE ".d");
}

/* ---- which of the three ---- */

static bool installed(const char *program)
{
    char path[RUN_PATH_SIZE];

    return run_program(program, path) != NULL;
}

static bool ifupdown2_in_use(void)
{
    return installed("ifreload");
}

static bool ng_in_use(void)
{
    return !ifupdown2_in_use() && installed("ifctrstat");
}

static bool ifupdown_in_use(void)
{
    return installed("ifup") && installed("ifdown") && installed("ifquery") &&
           !ifupdown2_in_use() && !ng_in_use();
}

/* ---- who is still at it ---- */

/*
 * An ifup that waits for a DHCP server holds a lock, in a file that has the interface's
 * name in it: the next one waits for it, or refuses.  So it ends, with its client.
 */
static void end_others(const struct work *w, const char *head, const char *tail)
{
    char lock[RUN_PATH_SIZE];

    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];

        snprintf(lock, sizeof(lock), "%s%s%s", head, m->name, tail);
        if (m->change != PLAN_SAME)
            run_end_holders(lock);
    }
}

/* ---- down and up ---- */

static const char *const FORCE[] = { "--force", NULL };

static bool present(const struct work *w, const struct move *s)
{
    return links_below(w->present, s->name) != NULL;
}

static bool goes_down(const struct work *w, const struct move *s)
{
    return s->now && s->change != PLAN_SAME && present(w, s);
}

static bool goes_down_twice(const struct work *w, const struct move *s)
{
    return s->was && s->change != PLAN_SAME && present(w, s);
}

/* With the files of the start: what the present ones don't name, or could not take down. */
static bool goes_down_again(const struct work *w, const struct move *s)
{
    return s->was && s->change != PLAN_SAME && (!s->now || s->down_failed) && present(w, s);
}

static bool goes_up(const struct work *w, const struct move *s)
{
    return s->was && s->change != PLAN_SAME && work_was_up(w, s->name);
}

static void down(struct work *w)
{
    work_run_each(w, "ifdown", FORCE, WORK_DOWN, goes_down);
    work_delete_devices(w, false);
}

static void before(struct work *w)
{
    end_others(w, "/run/network/ifstate.", "");
    down(w);
}

static void after(struct work *w)
{
    work_run_each(w, "ifdown", FORCE, WORK_DOWN, goes_down_again);
    /* One that went from a static address to DHCP before it went down still has the address. */
    work_clear(w);
    work_run_each(w, "ifup", FORCE, WORK_UP, goes_up);
}

const struct stack stack_ifupdown = {
    .name = "ifupdown", .is_its_file = is_its_file, .in_use = ifupdown_in_use,
    .parse = parse_interfaces, .before = before, .after = after,
};

/* It compares files and kernel itself, deletions included; only a hand's work it may not see. */
static void reload_before(struct work *w)
{
    run_end_holders("/run/network/.lock");
    if (w->all)
        work_run_each(w, "ifdown", FORCE, WORK_DOWN, goes_down);
}

static void reload_after(struct work *w)
{
    static const char *const all[] = { "-a", NULL };

    work_run(w, "ifreload", all, NULL);
    work_delete_devices(w, false);
    work_run_by_hand(w, "ifup", FORCE);
}

const struct stack stack_ifupdown2 = {
    .name = "ifupdown2", .is_its_file = is_its_file, .in_use = ifupdown2_in_use,
    .parse = parse_interfaces, .before = reload_before, .after = reload_after, .reloads = true,
};

static void ng_before(struct work *w)
{
    end_others(w, "/run/ifstate.", ".lock");
    down(w);
}

/* It counts states, so that a plain ifup may do nothing and succeed: down twice, up by force. */
static void ng_after(struct work *w)
{
    work_run_each(w, "ifdown", FORCE, WORK_DOWN, goes_down_twice);
    work_clear(w);
    work_run_each(w, "ifup", FORCE, WORK_UP, goes_up);
}

const struct stack stack_ifupdown_ng = {
    .name = "ifupdown-ng", .is_its_file = is_its_file, .in_use = ng_in_use,
    .parse = parse_ng, .before = ng_before, .after = ng_after,
};
