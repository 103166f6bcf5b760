/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for Red Hat's network-scripts: ifcfg files and what belongs to them.
 * MUST judge all files of one device together, as ifup and ifdown read them together.
 * MUST take an interface down while its file is there: without it ifdown fails.
 */
#include "digest.h"
#include "interface/stack.h"
#include "path.h"
#include "sys.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIRECTORY "etc/sysconfig/network-scripts"
#define FOR_ALL "etc/sysconfig/network"

static bool is_its_file(const char *path)
{
    return path_beneath(path, DIRECTORY) || !strcmp(path, FOR_ALL);
}

/* ---- the shell's rules, as far as such files use them ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == ';';
}

static bool is_name(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Up to the next blank outside quotes, the quotes taken away.  A line ends every quote. */
static void unquote(const char **p, const char *end, struct buffer *word)
{
    char quote = '\0';

    for (; *p < end && (quote || !is_blank(**p)); (*p)++) {
        if (quote ? **p == quote : **p == '\'' || **p == '"') {
            quote = quote ? '\0' : **p;
        } else {
            if (**p == '\\' && quote != '\'' && *p + 1 < end)
                (*p)++;
            buffer_add(word, *p, 1);
        }
    }
}

/* The next KEY=VALUE of a line; false at a comment, at other shell code and at the end. */
static bool assignment(const char **p, const char *end, struct buffer *word)
{
    const char *key;
    size_t n;

    word->len = 0;
    do {
        while (*p < end && is_blank(**p))
            (*p)++;
        for (key = *p; *p < end && is_name(**p); (*p)++)
            ;
        n = (size_t)(*p - key);
    } while (text_is(key, n, "export") && *p < end && is_blank(**p));
    if (n == 0 || *p == end || **p != '=') {
        *p = key;
        return false;
    }
    buffer_add(word, key, n);
    unquote(p, end, word);
    return !word->failed;
}

/* One of the words of a list, in whatever case. */
static bool is_one_of(const char *value, const char *words)
{
    const char *word, *end = words + strlen(words);
    size_t n;

    while (text_word(&words, end, &word, &n))
        if (strlen(value) == n && !strncasecmp(value, word, n))
            return true;
    return false;
}

static bool is_true(const char *value)
{
    return is_one_of(value, "t y yes on true 1");
}

static bool is_false(const char *value)
{
    return is_one_of(value, "f n no off false 0");
}

/* ---- what one ifcfg file says ---- */

enum key { DEVICE, TYPE, DEVICETYPE, MASTER, CONTROLLER, TEAM_MASTER, BRIDGE, OVS_BRIDGE, VLAN,
           VID, PHYSDEV, PARENTDEVICE, BONDING_OPTS, TEAM_CONFIG, NM_CONTROLLED, UUID, KEYS };

static const char key_names[KEYS][16] = {
    "DEVICE", "TYPE", "DEVICETYPE", "MASTER", "CONTROLLER", "TEAM_MASTER", "BRIDGE", "OVS_BRIDGE",
    "VLAN", "VID", "PHYSDEV", "PARENTDEVICE", "BONDING_OPTS", "TEAM_CONFIG", "NM_CONTROLLED",
    "UUID"
};

struct said {
    char value[KEYS][64]; /* no name of an interface is longer */
};

static void note(struct said *said, const struct buffer *word)
{
    size_t n = (size_t)((const char *)memchr(word->data, '=', word->len) - word->data);

    for (enum key k = 0; k < KEYS; k++)
        if (text_is(word->data, n, key_names[k]))
            snprintf(said->value[k], sizeof(said->value[k]), "%.*s", (int)(word->len - n - 1),
                     word->data + n + 1);
}

static struct said read_file(struct model *m, const struct config_file *f)
{
    const char *at = f->bytes, *end = f->bytes + f->len, *line;
    AUTO_BUFFER word = { 0 };
    struct said said = { .value = { "" } };
    size_t len;

    while (text_line(&at, end, &line, &len))
        for (const char *p = line; assignment(&p, line + len, &word);)
            note(&said, &word);
    m->failed |= word.failed;
    return said;
}

/* ---- units ---- */

static void add_line(struct unit *u, const char *kind, const char *text, size_t len)
{
    buffer_text(&u->text, kind);
    buffer_text(&u->text, " ");
    unit_line(u, text, len);
}

/* All that a file says, comments and quotes left out. */
static void add_text(struct unit *u, const char *kind, const struct config_file *f)
{
    const char *at = f->bytes, *end = f->bytes + f->len, *line;
    AUTO_BUFFER word = { 0 };
    size_t len;

    while (text_line(&at, end, &line, &len)) {
        const char *p = line;

        while (assignment(&p, line + len, &word))
            add_line(u, kind, word.data, word.len);
        len -= (size_t)(p - line);
        if (len && *p != '#')
            add_line(u, kind, p, len);
    }
    u->text.failed |= word.failed;
}

/* A port names what stands on it. */
static void add_upper(struct model *m, const char *upper, const char *port)
{
    struct unit *u = *upper ? model_add(m, upper, strlen(upper)) : NULL;

    if (u)
        unit_need(u, port, strlen(port));
}

static bool makes_device(const struct said *s)
{
    static const char types[] = "Bridge Bond Team Vlan Tap Veth GRE GRE6 IPIP IPIP6 SIT OVSBridge";

    return is_one_of(s->value[TYPE], types) || is_one_of(s->value[DEVICETYPE], types) ||
           is_true(s->value[VLAN]) || *s->value[BONDING_OPTS] || *s->value[TEAM_CONFIG];
}

/* eth0:1 is a further address of eth0, eth0.5 a VLAN on it. */
static void add_lower(struct unit *u, const struct said *s, const char *name)
{
    const char *dot = strrchr(name, '.'), *lower = s->value[PHYSDEV];
    size_t n = strcspn(name, ":");

    if (name[n] && n)
        unit_need(u, name, n);
    else if (is_true(s->value[VLAN]) && !*s->value[VID] && dot && dot > name)
        unit_need(u, name, (size_t)(dot - name));
    else if (*lower)
        unit_need(u, lower, strlen(lower));
    if (*s->value[PARENTDEVICE] && !name[n])
        unit_need(u, s->value[PARENTDEVICE], strlen(s->value[PARENTDEVICE]));
}

static int path_order(const void *key, const void *file)
{
    return path_compare(key, ((const struct config_file *)file)->path);
}

/* What `device` of a unit is used for here: this stack asks no more of it. */
enum { HAS_FILE = 1 };

struct parser {
    const struct config *files;
    struct model *model;
    enum { ALL, MANAGED, UNMANAGED } whose; /* by NetworkManager */
    const struct config_file *last; /* the ifcfg file that was read for another, */
    struct said said;               /* and what it says: its ranges follow one another */
};

static const struct config_file *ifcfg_of(const struct parser *p, const char *suffix)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), DIRECTORY "/ifcfg-%s", suffix);
    return bsearch(path, p->files->file, p->files->count, sizeof(*p->files->file), path_order);
}

static bool is_mine(const struct parser *p, const struct said *s)
{
    return p->whose == ALL || is_false(s->value[NM_CONTROLLED]) == (p->whose == UNMANAGED);
}

/* NetworkManager knows one without a device by its UUID. */
static const char *name_of(const struct parser *p, const struct said *s, const char *suffix)
{
    return *s->value[DEVICE]                           ? s->value[DEVICE]
           : p->whose == MANAGED && *s->value[UUID] ? s->value[UUID]
                                                       : suffix;
}

static void add_ifcfg(struct parser *p, const char *suffix, const struct config_file *f)
{
    const struct said s = read_file(p->model, f);
    const char *name = name_of(p, &s, suffix);
    struct unit *u = is_mine(p, &s) ? model_add(p->model, name, strlen(name)) : NULL;

    if (!u)
        return;
    /* ifup looks for a file of the name it is given before it looks into the files. */
    if (!ifcfg_of(p, name)) {
        const char *handle = arena_copy(&p->model->memory, suffix, strlen(suffix));

        p->model->failed |= !handle;
        u->handle = handle;
    }
    u->makes_device = makes_device(&s);
    u->device = HAS_FILE;
    add_lower(u, &s, name);
    add_text(u, "ifcfg", f);
    for (enum key k = MASTER; k <= OVS_BRIDGE; k++)
        add_upper(p->model, s.value[k], name);
}

/* route-NAME, rule-NAME, keys-NAME; NAME is the device's or that of its ifcfg file. */
static void add_other(struct parser *p, const char *kind, const char *suffix,
                      const struct config_file *f)
{
    const struct config_file *ifcfg = ifcfg_of(p, suffix);
    const char *name;
    struct unit *u;

    if (!ifcfg || ifcfg != p->last)
        p->said = ifcfg ? read_file(p->model, ifcfg) : (struct said){ .value = { "" } };
    p->last = ifcfg;
    name = name_of(p, &p->said, suffix);
    u = is_mine(p, &p->said) ? model_add(p->model, name, strlen(name)) : NULL;
    if (u)
        add_text(u, kind, f);
}

/* Names that the scripts pass over. */
static bool is_backup(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[strlen(name) - 1] == '~' ||
           (dot && is_one_of(dot + 1, "bak old orig rpmnew rpmorig rpmsave"));
}

/* ifcfg-NAME-rangeN is no interface of its own: it gives NAME more addresses. */
static void add_range(struct parser *p, const char *suffix, size_t len, const struct config_file *f)
{
    char name[256];

    text_copy(name, sizeof(name), suffix, len);
    add_other(p, "range", name, f);
}

static void add_file(struct parser *p, const struct config_file *f)
{
    const char *name = path_name(f->path), *dash = strchr(name, '-'), *range;
    char kind[8];

    if (path_parent(f->path) != strlen(DIRECTORY) || !dash || !dash[1] || is_backup(name))
        return;
    text_copy(kind, sizeof(kind), name, (size_t)(dash - name));
    range = strstr(++dash, "-range");
    if (is_one_of(kind, "route route6 rule rule6 keys"))
        add_other(p, kind, dash, f);
    else if (!strcmp(kind, "ifcfg") && range)
        add_range(p, dash, (size_t)(range - dash), f);
    else if (!strcmp(kind, "ifcfg"))
        add_ifcfg(p, dash, f);
}

/* The file for all: a change of it changes every interface but lo. */
static void add_for_all(struct model *m, const struct config_file *f)
{
    struct unit all = { .name = "" };
    struct xxh64 sum;
    char line[32];

    add_text(&all, "network", f);
    xxh64_init(&sum);
    if (all.text.len)
        xxh64_add(&sum, all.text.data, all.text.len);
    snprintf(line, sizeof(line), "network %016llx", (unsigned long long)xxh64_value(&sum));
    for (size_t i = 0; all.text.len && i < m->count; i++)
        if (m->unit[i].text.len && strcmp(m->unit[i].name, "lo") != 0)
            unit_line(&m->unit[i], line, strlen(line));
    m->failed |= all.text.failed;
    buffer_free(&all.text);
}

static void parse(struct parser p)
{
    for (size_t i = 0; i < p.files->count; i++)
        if (path_beneath(p.files->file[i].path, DIRECTORY))
            add_file(&p, &p.files->file[i]);
    for (size_t i = 0; i < p.files->count; i++)
        if (!strcmp(p.files->file[i].path, FOR_ALL))
            add_for_all(p.model, &p.files->file[i]);
}

static void parse_all(const struct config *files, struct model *ret)
{
    parse((struct parser){ .files = files, .model = ret });
}

static void parse_unmanaged(const struct config *files, struct model *ret)
{
    parse((struct parser){ .files = files, .model = ret, .whose = UNMANAGED });
}

void networkscripts_parse_managed(const struct config *files, struct model *ret)
{
    parse((struct parser){ .files = files, .model = ret, .whose = MANAGED });
}

/* ---- who owns the interfaces ---- */

static bool installed(void)
{
    char path[RUN_PATH_SIZE];

    return sys_exists("/" DIRECTORY "/ifup-eth") && run_program("ifup", path) &&
           run_program("ifdown", path);
}

/* While NetworkManager runs, ifup and ifdown pass on to it what is not NM_CONTROLLED=no. */
static bool in_use_alone(void)
{
    return installed() && !stack_networkmanager.in_use();
}

/* While it runs, ifup and ifdown pass on to it what is not NM_CONTROLLED=no. */
static bool in_use_beside(void)
{
    return installed() && stack_networkmanager.in_use();
}

/* ---- down and up ---- */

static const char *const NO_WORDS[] = { NULL };

/* Without a file of its own there is nothing that ifup and ifdown could be told. */
static bool has_file(const struct unit *u)
{
    return u && u->device >= HAS_FILE;
}

static bool is_present(const struct work *w, const char *name)
{
    return links_below(w->present, name) != NULL;
}

static bool goes_down(const struct work *w, const struct move *m)
{
    return m->change != PLAN_SAME && has_file(m->now) && is_present(w, m->name);
}

/* With the files of the start: what the present ones don't name, or could not take down. */
static bool goes_down_again(const struct work *w, const struct move *m)
{
    return m->change != PLAN_SAME && has_file(m->was) && (!has_file(m->now) || m->down_failed) &&
           is_present(w, m->name);
}

/* The kernel has no alias, only its address, by which it is known. */
static bool alias_was_up(const struct work *w, const struct move *m)
{
    static const char key[] = "ifcfg IPADDR=";
    const char *at = m->was->text.data, *end = at + m->was->text.len, *line;
    const struct link *parent;
    char address[INET_ADDRSTRLEN] = "";
    struct in_addr bytes;
    size_t len;

    while (text_line(&at, end, &line, &len))
        if (len > strlen(key) && !memcmp(line, key, strlen(key)))
            snprintf(address, sizeof(address), "%.*s", (int)(len - strlen(key)), line + strlen(key));
    parent = links_below(w->start, m->name);
    if (!parent || inet_pton(AF_INET, address, &bytes) != 1)
        return true;
    for (size_t i = 0; i < parent->count; i++)
        if (parent->own[i].kind == 'a' && parent->own[i].family == 4 &&
            !memcmp(parent->own[i].bytes, &bytes, sizeof(bytes)))
            return true;
    return false;
}

static bool goes_up(const struct work *w, const struct move *m)
{
    return m->change != PLAN_SAME && has_file(m->was) && work_was_up(w, m->name) &&
           (!strchr(m->name, ':') || alias_was_up(w, m));
}

static void before(struct work *w)
{
    work_run_each(w, "ifdown", NO_WORDS, WORK_DOWN, goes_down);
    work_delete_devices(w, false);
}

static void after(struct work *w)
{
    work_run_each(w, "ifdown", NO_WORDS, WORK_DOWN, goes_down_again);
    /* An interface that some file no longer names and ifdown does not know keeps its address. */
    work_clear(w);
    work_run_each(w, "ifup", NO_WORDS, WORK_UP, goes_up);
}

const struct stack stack_networkscripts = {
    .name = "network-scripts", .is_its_file = is_its_file, .in_use = in_use_alone,
    .parse = parse_all, .before = before, .after = after,
};

const struct stack stack_networkscripts_beside = {
    .name = "network-scripts", .is_its_file = is_its_file, .in_use = in_use_beside,
    .parse = parse_unmanaged, .before = before, .after = after,
};
