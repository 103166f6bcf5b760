/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for netplan, which makes files below /run out of YAML for
 * systemd-networkd or NetworkManager to follow.
 * MUST believe what `netplan generate` makes, not the YAML, about what has to move.
 * MUST keep the inodes of generated files that come out as they were: networkd
 * compares inodes and times, and takes the address of every interface away for
 * a moment whose file is a new one.
 */
#include "digest.h"
#include "interface/stack.h"
#include "interface/yaml.h"
#include "scope.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "etc/netplan"
#define DROP_INS "etc/systemd/network/" PREFIX
#define PREFIX "10-netplan-"
#define NM_PREFIX "netplan-"
static const char GENERATED[] = "/run/systemd/network", ASIDE[] = "/run/netcf-netplan";
static const char NM_GENERATED[] = "/run/NetworkManager/system-connections";

/* ---- reading the files ---- */

/* Which interface of the kernel an id is for: what says so most clearly counts, the last of these. */
struct alias {
    const char *id, *name;
    enum { ALIAS_ANY, ALIAS_MATCH, ALIAS_SET_NAME } kind;
    size_t at;
};

struct parser {
    struct model *model;
    struct alias *alias;
    size_t aliases, room, any;
    struct xxh64 common; /* what is said about no interface in particular counts for all */
};

static bool is_drop_in(const char *path)
{
    return !strncmp(path, DROP_INS, strlen(DROP_INS)) && text_ends(path, strlen(path), ".conf");
}

static bool is_its_file(const char *path)
{
    return (path_beneath(path, DIRECTORY) && text_ends(path, strlen(path), ".yaml")) || is_drop_in(path);
}

static bool key_is(const struct yaml *y, size_t depth, const char *key)
{
    return y->depth > depth && text_is(y->path[depth].key, y->path[depth].len, key);
}

/* network: KIND: ID: ... */
enum { KIND = 1, ID = 2, OPTION = 3, BELOW = 4 };

static bool makes_device(const struct yaml *y)
{
    static const char *const kinds[] = { "bridges", "bonds", "vlans", "tunnels", "vrfs",
                                         "dummy-devices", "virtual-ethernets" };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (key_is(y, KIND, kinds[i]))
            return true;
    return false;
}

static void add_alias(struct parser *p, const struct yaml *y)
{
    /* Any interface, by a name that no other such id has. */
    static const char any[] = "****************";
    struct alias a = { .kind = ALIAS_ANY, .at = p->aliases };
    const char *name = any;
    size_t len = 1 + p->any % (sizeof(any) - 1);
    void *array = p->alias;

    if (key_is(y, OPTION, "set-name"))
        a.kind = ALIAS_SET_NAME;
    else if (!key_is(y, OPTION, "match"))
        return;
    else if (key_is(y, BELOW, "name"))
        a.kind = ALIAS_MATCH;
    else
        p->any++;
    if (a.kind != ALIAS_ANY) {
        name = y->value;
        len = strnlen(name, y->value_len); /* as model_add() takes it */
        if (!len)
            return;
    }
    a.id = arena_copy(&p->model->memory, y->path[ID].key, y->path[ID].len);
    a.name = arena_copy(&p->model->memory, name, len);
    if (!a.id || !a.name || !array_grow(&array, p->aliases, &p->room, sizeof(a))) {
        p->model->failed = true;
        return;
    }
    p->alias = array;
    p->alias[p->aliases++] = a;
}

static bool names_lower(const struct yaml *y)
{
    return (key_is(y, OPTION, "interfaces") && key_is(y, BELOW, "-")) ||
           (key_is(y, OPTION, "link") && y->depth == BELOW);
}

static void add_line(struct model *m, struct unit *u, const struct yaml *y)
{
    AUTO_BUFFER line = { 0 };

    for (size_t i = OPTION; i < y->depth; i++) {
        buffer_text(&line, i > OPTION ? "/" : "");
        buffer_add(&line, y->path[i].key, y->path[i].len);
    }
    if (y->value) {
        buffer_text(&line, "=");
        buffer_add(&line, y->value, y->value_len);
    }
    if (line.failed)
        m->failed = true;
    else if (line.len)
        unit_line(u, line.data, line.len);
}

static void add_common(struct parser *p, const struct yaml *y)
{
    if (key_is(y, KIND, "version"))
        return;
    for (size_t i = 0; i < y->depth; i++) {
        xxh64_add(&p->common, y->path[i].key, y->path[i].len);
        xxh64_add(&p->common, ":", 1);
    }
    xxh64_add(&p->common, y->value, y->value_len);
    xxh64_add(&p->common, "\n", 1);
}

/* What is said about one id in one run; it goes on in the next part after another id. */
static void add_part(struct parser *p, const struct yaml *y, size_t *unit)
{
    struct model *m = p->model;

    if (y->depth == OPTION && !y->value) {
        struct unit *u = model_add(m, y->path[ID].key, y->path[ID].len);

        *unit = m->count;
        if (!u) {
            *unit = 0;
            return;
        }
        u->makes_device = makes_device(y);
        unit_line(u, y->path[KIND].key, y->path[KIND].len);
        return;
    }
    if (!*unit)
        return;
    add_line(m, &m->unit[*unit - 1], y);
    if (!y->value)
        return;
    if (names_lower(y))
        unit_need(&m->unit[*unit - 1], y->value, y->value_len);
    add_alias(p, y);
}

static void tell_unread(struct model *m, const struct config_file *f, const char *at)
{
    char words[PATH_SIZE + 32];
    size_t line = 1;

    for (const char *c = f->bytes; c < at; c++)
        line += *c == '\n';
    snprintf(words, sizeof(words), "%s, line %zu", f->path, line);
    if (!m->unread)
        m->unread = arena_copy(&m->memory, words, strlen(words));
}

static void parse_yaml(struct parser *p, const struct config_file *f)
{
    struct yaml y = yaml_of(f->bytes, f->len);
    size_t unit = 0;

    while (yaml_next(&y)) {
        bool within = key_is(&y, 0, "network") && y.depth >= OPTION && !key_is(&y, ID, "-");

        if (within)
            add_part(p, &y, &unit);
        else if (y.value)
            add_common(p, &y);
    }
    if (y.unread) {
        tell_unread(p->model, f, y.unread);
        xxh64_add(&p->common, f->bytes, f->len);
    }
}

/* A drop-in of a generated file says more about its interface. */
static void parse_drop_in(struct parser *p, const struct config_file *f)
{
    const char *id = f->path + strlen(DROP_INS), *dot = strstr(id, ".network.d/");
    const char *at = f->bytes, *end = at + f->len, *line;
    struct unit *u;
    size_t len;

    /* ID.network.d/NAME.conf */
    dot = dot ? dot : strstr(id, ".netdev.d/");
    if (!dot || !(u = model_add(p->model, id, (size_t)(dot - id))))
        return;
    while (text_line(&at, end, &line, &len)) {
        text_trim(&line, &len);
        if (len && *line != '#' && *line != ';')
            unit_line(u, line, len);
    }
}

/* ---- from ids to the kernel's names ---- */

static int alias_order(const void *a, const void *b)
{
    const struct alias *x = a, *y = b;
    int order = strcmp(x->id, y->id);

    if (!order)
        order = (int)x->kind - (int)y->kind;
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int alias_find(const void *id, const void *alias)
{
    return strcmp(id, ((const struct alias *)alias)->id);
}

static void sort_aliases(struct parser *p)
{
    size_t kept = 0;

    if (p->aliases)
        array_sort(p->alias, p->aliases, sizeof(*p->alias), alias_order);
    for (size_t i = 0; i < p->aliases; i++)
        if (i + 1 == p->aliases || strcmp(p->alias[i].id, p->alias[i + 1].id) != 0)
            p->alias[kept++] = p->alias[i];
    p->aliases = kept;
}

static const char *name_of(const struct parser *p, const char *id)
{
    const struct alias *a =
        p->aliases ? bsearch(id, p->alias, p->aliases, sizeof(*a), alias_find) : NULL;

    return a ? a->name : id;
}

static void rename_needs(struct parser *p, struct unit *u)
{
    struct buffer renamed = { .failed = u->needs.failed };
    const char *at = NULL, *word;
    size_t len;

    while (unit_next_need(u, &at, &word, &len)) {
        const char *id = arena_copy(&p->model->memory, word, len);
        const char *name = id ? name_of(p, id) : "";

        p->model->failed |= !id;
        buffer_text(&renamed, " ");
        buffer_text(&renamed, name);
    }
    buffer_free(&u->needs);
    u->needs = renamed;
}

static void finish_units(struct parser *p)
{
    sort_aliases(p);
    for (size_t i = 0; i < p->model->count; i++) {
        struct unit *u = &p->model->unit[i];

        u->name = name_of(p, u->handle);
        rename_needs(p, u);
        buffer_text(&u->text, "common=");
        buffer_number(&u->text, xxh64_value(&p->common), 16, 16, '\0');
        buffer_text(&u->text, "\n");
    }
}

static void parse(const struct config *files, struct model *ret)
{
    struct parser p = { .model = ret };

    xxh64_init(&p.common);
    for (size_t i = 0; i < files->count; i++)
        if (is_drop_in(files->file[i].path))
            parse_drop_in(&p, &files->file[i]);
        else if (is_its_file(files->file[i].path))
            parse_yaml(&p, &files->file[i]);
    finish_units(&p);
    free(p.alias);
}

/* ---- what is generated ---- */

static bool in_use(void)
{
    char path[RUN_PATH_SIZE];

    return run_program("netplan", path) && (stack_networkd.in_use() || stack_networkmanager.in_use());
}

/* Generated files as networkd knows them, beside those that were made now. */
struct generated {
    int old, new, nm; /* directories; -1: there is none */
};

static int open_directory(const char *path)
{
    return sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static void open_generated(struct generated *ret)
{
    *ret = (struct generated){ .old = open_directory(ASIDE),
                                .new = open_directory(GENERATED),
                                .nm = open_directory(NM_GENERATED) };
}

static void close_generated(struct generated *g)
{
    sys_close_cleanup(&g->old);
    sys_close_cleanup(&g->new);
    sys_close_cleanup(&g->nm);
}
#define AUTO_GENERATED __attribute__((cleanup(close_generated))) struct generated

/* The renderer's directory of a generated file. */
static int directory_of(const struct generated *g, const char *name)
{
    return *name == *NM_PREFIX ? g->nm : g->new;
}

static void each_file(const struct generated *g, const char *path,
                      void (*act)(const struct generated *g, const char *name))
{
    AUTO_CLOSE dir = open_directory(path);
    uint64_t entries[512];
    const char *name;
    ssize_t n;

    while (dir >= 0 && (n = sys_getdents(dir, entries, sizeof(entries), path)) > 0)
        for (size_t at = 0; (name = sys_dirent_next(entries, (size_t)n, &at));)
            if (!strncmp(name, PREFIX, strlen(PREFIX)) ||
                !strncmp(name, NM_PREFIX, strlen(NM_PREFIX)))
                act(g, name);
}

/* What a rollback that was killed had put there stays: networkd still knows that one. */
static void keep_file(const struct generated *g, const char *name)
{
    (void)sys_linkat(directory_of(g, name), name, g->old, name);
}

static bool same_bytes(int a, int b, uint64_t size, const char *name)
{
    char x[4096], y[4096];
    ssize_t n;

    for (uint64_t done = 0; done < size; done += (uint64_t)n) {
        n = sys_read(a, x, sizeof(x), name);
        if (n <= 0 || n != sys_read(b, y, sizeof(y), name) || memcmp(x, y, (size_t)n) != 0)
            return false;
    }
    return true;
}

/* A file that is on neither side is the same, too. */
static bool same_file(const struct generated *g, const char *name)
{
    AUTO_CLOSE a = sys_openat(g->old, name, O_RDONLY | O_NOFOLLOW, 0);
    AUTO_CLOSE b = sys_openat(directory_of(g, name), name, O_RDONLY | O_NOFOLLOW, 0);
    struct sys_stat x, y;

    if (a < 0 || b < 0)
        return a < 0 && b < 0;
    return sys_statx(a, NULL, &x) == 0 && sys_statx(b, NULL, &y) == 0 && x.mode == y.mode &&
           x.uid == y.uid && x.gid == y.gid && x.size == y.size && same_bytes(a, b, x.size, name);
}

static void put_back_file(const struct generated *g, const char *name)
{
    if (same_file(g, name))
        (void)sys_renameat(g->old, name, directory_of(g, name), name);
}

static void drop_file(const struct generated *g, const char *name)
{
    (void)sys_unlinkat(g->old, name, 0);
}

/* ---- around the files ---- */

/* What was generated from YAML that nobody can read any more is found by its file. */
static void before(struct work *w)
{
    if (stack_networkd.in_use()) /* NetworkManager deletes by itself what has no file any more */
        work_delete_devices(w, false);
    for (size_t i = 0; i < w->present->count; i++) {
        const struct link *there = &w->present->link[i];
        const struct unit *was = model_find(&w->was, there->name);
        char path[PATH_SIZE];

        snprintf(path, sizeof(path), "%s/" PREFIX "%s.netdev", GENERATED, there->name);
        if (w->start->count && !links_find(w->start, there->name) && !(was && was->makes_device) &&
            sys_exists(path))
            work_delete(w, there);
    }
}

static bool file_differs(const struct generated *g, const struct move *m, const char *prefix,
                         const char *ending)
{
    char name[PATH_SIZE];

    snprintf(name, sizeof(name), "%s%s%s", prefix, m->handle, ending);
    return !strchr(name, '/') && !same_file(g, name);
}

/* NetworkManager's files don't tell the device from its addresses. */
static bool device_differs(const struct generated *g, const struct move *m)
{
    return file_differs(g, m, PREFIX, ".netdev") || file_differs(g, m, NM_PREFIX, ".nmconnection");
}

static bool lacks(const struct work *w, const char *name)
{
    const struct link *was = links_find(w->start, name);
    char words[256] = "";

    if (was)
        link_lacks(was, links_find(w->present, name), words, sizeof(words));
    return *words;
}

/*
 * Edits that were never applied, or that mean the same: nothing has to move.  Where
 * networkd's file differs, its reload tells it to bring the interface up.
 */
static void leave_same(struct work *w, const struct generated *g)
{
    for (size_t i = 0; i < w->plan.count; i++) {
        struct move *m = &w->plan.move[i];

        if (m->change == PLAN_SAME)
            continue;
        m->told = file_differs(g, m, PREFIX, ".network");
        if (!m->told && !w->all && !device_differs(g, m) && !file_differs(g, m, PREFIX, ".link") &&
            !lacks(w, m->name))
            m->change = PLAN_SAME;
    }
}

/* A device that changes is made anew; what is to be a port of it loses it. */
static void delete_changed(struct work *w, const struct generated *g)
{
    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const struct link *there = links_find(w->present, m->name);
        const char *at = NULL, *word;
        size_t len;

        if (!there || !m->was || !m->was->makes_device || !device_differs(g, m))
            continue;
        work_delete(w, there);
        while (unit_next_need(m->was, &at, &word, &len)) {
            char name[LINK_NAME_SIZE];
            struct move *port;

            text_copy(name, sizeof(name), word, len);
            port = plan_find(&w->plan, name);
            if (port && port->change == PLAN_SAME)
                port->change = PLAN_WITH_OTHERS;
        }
    }
}

static void keep_old(void)
{
    AUTO_GENERATED g;

    (void)sys_mkdirat(AT_FDCWD, ASIDE, 0700);
    open_generated(&g);
    each_file(&g, GENERATED, keep_file);
    each_file(&g, NM_GENERATED, keep_file);
}

static bool goes_up(const struct work *w, const char *name)
{
    const struct move *m = plan_find(&w->plan, name);

    return work_was_up(w, name) && model_covers(&w->was, name) &&
           (w->all || (m && m->change != PLAN_SAME) || lacks(w, name));
}

static bool is_told(const struct work *w, const char *name)
{
    for (size_t i = 0; i < w->plan.count; i++)
        if (w->plan.move[i].told && move_is_for(&w->plan.move[i], name))
            return true;
    return false;
}

static void networkd_follows(struct work *w)
{
    static const char *const again[] = { "reconfigure", NULL };
    AUTO_LINKS left = { 0 };

    networkd_reload(w);
    for (size_t i = 0; i < w->present->count; i++) {
        const struct link *was = &w->present->link[i];
        const struct link *is = goes_up(w, was->name) && !is_told(w, was->name)
                                    ? links_find_now(&left, was->name) : NULL;

        if (is && is->index == was->index) /* one that was made anew is configured anyway */
            work_up(w, is->name, "networkctl", again, is->name);
    }
    networkd_add_ports(w);
}

static bool profile_goes_up(const struct work *w, const struct move *m)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%s/" NM_PREFIX "%s.nmconnection", NM_GENERATED, m->handle);
    /* NetworkManager knows where one goes that matches by something else than a name. */
    return m->was && m->change != PLAN_SAME &&
           (scope_part_is_wild(m->name) || work_was_up(w, m->name)) && sys_exists(path);
}

/* Its profiles are known by a name that netplan gives: their UUID is made of their path. */
static void networkmanager_follows(struct work *w)
{
    static const char *const reload[] = { "connection", "reload", NULL };

    work_run(w, "nmcli", reload, NULL);
    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        char id[PATH_SIZE];
        const char *const up[] = { "connection", "up", "id", NULL };

        snprintf(id, sizeof(id), NM_PREFIX "%s", m->handle);
        if (profile_goes_up(w, m))
            work_up(w, m->name, "nmcli", up, id);
    }
}

static void after(struct work *w)
{
    static const char *const generate[] = { "generate", NULL };
    AUTO_GENERATED g;

    keep_old();
    work_run(w, "netplan", generate, NULL);
    open_generated(&g); /* its directories may be new ones */
    leave_same(w, &g);
    delete_changed(w, &g);
    each_file(&g, ASIDE, put_back_file);
    if (stack_networkd.in_use())
        networkd_follows(w);
    if (stack_networkmanager.in_use())
        networkmanager_follows(w);
    each_file(&g, ASIDE, drop_file);
    (void)sys_unlinkat(AT_FDCWD, ASIDE, AT_REMOVEDIR);
}

const struct stack stack_netplan = {
    .name = "netplan", .is_its_file = is_its_file, .in_use = in_use, .parse = parse,
    .before = before, .after = after, .again = networkd_again, .settles = true, .reloads = true,
};
