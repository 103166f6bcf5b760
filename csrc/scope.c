/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for which files a change covers.
 * MUST NOT open a file in scope; MUST refuse a scope file that somebody else could have written.
 */
#include "scope.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCOPE_DIR "etc/netcf/scope.d"
enum { SCOPE_FILE_MAX = 64 * 1024, PATTERNS_MAX = 1000 };

/*
 * What decides whether a host can be reached.  The excluded names are those
 * that the stack reading the directory ignores too.
 */
static const struct {
    const char *directory;
    const char *include, *exclude; /* names, separated by spaces */
} defaults[] = {
    /* Red Hat: network-scripts, and NetworkManager's ifcfg-rh plugin */
    { "etc/sysconfig", "network", "" },
    { "etc/sysconfig/network-scripts", "ifcfg-* route-* route6-* rule-* rule6-* keys-*",
      "*~ *.bak *.orig *.rpmnew *.rpmorig *.rpmsave" },
    /* SUSE: wicked, sysconfig-network */
    { "etc/sysconfig/network", "ifcfg-* ifroute-* routes config dhcp",
      "*~ *.bak *.old *.orig *.rpmnew *.rpmorig *.rpmsave" },
    /* Debian: ifupdown, ifupdown2, ifupdown-ng */
    { "etc/network", "interfaces", "" },
    { "etc/network/interfaces.d", "**", "" },
    { "etc/netplan", "*.yaml", "" },
    { "etc/systemd/network", "**", "" },
    { "etc/NetworkManager/system-connections", "*", "*~ .*" },
    /* netcf: bonding options */
    { "etc/modprobe.d", "netcf.conf", "" },
};

bool scope_part_is_wild(const char *part)
{
    return strpbrk(part, "*?[") != NULL;
}

/* [...] at `p`: whether it matches c, and where it ends; NULL if it is no closed set. */
static const char *match_set(const char *p, unsigned char c, bool *ret_match)
{
    bool invert = p[1] == '!' || p[1] == '^', found = false;
    const char *q = p + 1 + invert;

    do {
        unsigned char low = (unsigned char)*q, high = low;

        if (!low)
            return NULL;
        if (q[1] == '-' && q[2] && q[2] != ']') {
            high = (unsigned char)q[2];
            q += 2;
        }
        if (low <= c && c <= high)
            found = true;
        q++;
    } while (*q != ']');
    *ret_match = found != invert;
    return q + 1;
}

/* One character of the pattern against c; moves *p behind it. */
static bool match_one(const char **p, unsigned char c)
{
    bool match;
    const char *end;

    if (**p == '[' && (end = match_set(*p, c, &match)) != NULL) {
        *p = end;
        return match;
    }
    match = **p == '?' || (unsigned char)**p == c;
    (*p)++;
    return match;
}

bool scope_part_matches(const char *part, const char *name)
{
    const char *star = NULL, *resume = NULL;

    /* Only the last star can need another try, so this is at most quadratic. */
    while (*name) {
        if (*part == '*') {
            star = ++part;
            resume = name;
            continue;
        }
        if (*part && match_one(&part, (unsigned char)*name)) {
            name++;
            continue;
        }
        if (!star)
            return false;
        part = star;
        name = ++resume;
    }
    while (*part == '*')
        part++;
    return !*part;
}

static int pattern_split(struct scope *s, struct pattern *p, struct error *err)
{
    char *text = arena_copy(&s->memory, p->text, strlen(p->text));
    size_t parts = 1, n = 0;

    for (const char *c = p->text; *c; c++)
        parts += *c == '/';
    p->part = arena_alloc(&s->memory, parts * sizeof(*p->part));
    if (!text || !p->part)
        return error_file(err, STEP_MEMORY, ENOMEM, "");
    for (char *part = text; part;) {
        char *slash = strchr(part, '/');

        if (slash)
            *slash = '\0';
        p->part[n++] = part;
        if (!strcmp(part, "**")) {
            /* Below the top only, so that no pattern takes the whole host. */
            if (slash || n < 2)
                return error_set(err, NCF_EFILE, STEP_PATTERN, 0, p->text);
            p->deep = true;
            n--;
        }
        part = slash ? slash + 1 : NULL;
    }
    p->parts = n;
    p->plain = strcspn(p->text, "*?[");
    p->last = p->text[strlen(p->text) - 1];
    if (strchr("*?]", p->last))
        p->last = '\0';
    return 0;
}

int scope_add(struct scope *s, const char *text, bool exclude, struct error *err)
{
    struct pattern p = { .exclude = exclude };

    while (*text == '/')
        text++;
    p.text = arena_copy(&s->memory, text, strlen(text));
    if (!p.text || !array_grow((void **)&s->pattern, s->count, &s->room, sizeof(p)))
        return error_file(err, STEP_MEMORY, ENOMEM, "");
    if (!path_valid(text) || s->count >= PATTERNS_MAX || path_beneath(text, PATH_STATE))
        return error_set(err, NCF_EFILE, STEP_PATTERN, 0, text);
    if (pattern_split(s, &p, err))
        return -1;
    p.excluding = s->excluding;
    s->pattern[s->count++] = p;
    if (exclude)
        s->excluding = s->count;
    return 0;
}

static int add_defaults(struct scope *s, const char *directory, const char *names, bool exclude,
                        struct error *err)
{
    char text[128];

    while (*names) {
        size_t n = strcspn(names, " "), d = strlen(directory);

        memcpy(text, directory, d);
        text[d] = '/';
        memcpy(text + d + 1, names, n);
        text[d + 1 + n] = '\0';
        if (scope_add(s, text, exclude, err))
            return -1;
        names += n + strspn(names + n, " ");
    }
    return 0;
}

static int trusted(const struct sys_stat *st, const char *path, struct error *err)
{
    if ((st->uid != 0 && st->uid != geteuid()) || (st->mode & 022))
        return error_set(err, NCF_EFILE, STEP_SCOPE_FILE_TRUST, 0, path);
    return 0;
}

static int add_lines(struct scope *s, char *text, struct error *err)
{
    for (char *line = text; line;) {
        char *end = strchr(line, '\n'), *next = end ? end + 1 : NULL;
        bool exclude;

        if (end)
            *end = '\0';
        end = line + strlen(line);
        while (end > line && strchr(" \t\r", end[-1]))
            *--end = '\0';
        line += strspn(line, " \t");
        exclude = *line == '!';
        if (*line && *line != '#' && scope_add(s, line + exclude, exclude, err))
            return -1;
        line = next;
    }
    return 0;
}

static int read_scope_file(struct scope *s, int dirfd, const char *name, struct error *err)
{
    char path[PATH_SIZE] = SCOPE_DIR "/";
    __attribute__((cleanup(arena_free))) struct arena memory = { 0 };
    struct sys_stat st;
    size_t len = 0;
    ssize_t got;
    char *text;
    AUTO_CLOSE fd = -1;

    strncat(path, name, sizeof(path) - sizeof(SCOPE_DIR) - 1);
    fd = sys_openat(dirfd, name, O_RDONLY, 0);
    if (fd < 0 || sys_statx(fd, NULL, &st))
        return error_file(err, STEP_SCOPE_FILE, errno, path);
    if (!S_ISREG(st.mode) || st.size > SCOPE_FILE_MAX)
        return error_file(err, STEP_SCOPE_FILE, S_ISREG(st.mode) ? EFBIG : EINVAL, path);
    if (trusted(&st, path, err))
        return -1;
    text = arena_alloc(&memory, SCOPE_FILE_MAX + 1);
    if (!text)
        return error_file(err, STEP_MEMORY, ENOMEM, path);
    while ((got = sys_read(fd, text + len, SCOPE_FILE_MAX - len, path)) > 0)
        len += (size_t)got;
    if (got < 0)
        return error_file(err, STEP_SCOPE_FILE, errno, path);
    text[len] = '\0';
    if (strlen(text) != len)
        return error_file(err, STEP_SCOPE_FILE, EINVAL, path);
    return add_lines(s, text, err) ? error_where(err, path) : 0;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_scope_file(const char *name)
{
    size_t n = strlen(name);

    return name[0] != '.' && n > 5 && !strcmp(name + n - 5, ".conf");
}

static int read_scope_dir(struct scope *s, int dirfd, struct error *err)
{
    _Alignas(8) char entries[4096];
    __attribute__((cleanup(arena_free))) struct arena memory = { 0 };
    const char *names[256];
    size_t count = 0;
    ssize_t got;

    while ((got = sys_getdents(dirfd, entries, sizeof(entries), SCOPE_DIR)) > 0) {
        const char *name;

        for (size_t pos = 0; (name = sys_dirent_next(entries, (size_t)got, &pos));) {
            if (!is_scope_file(name))
                continue;
            if (count == sizeof(names) / sizeof(names[0]))
                return error_file(err, STEP_SCOPE_FILE, E2BIG, SCOPE_DIR);
            names[count] = arena_copy(&memory, name, strlen(name));
            if (!names[count++])
                return error_file(err, STEP_MEMORY, ENOMEM, SCOPE_DIR);
        }
    }
    if (got < 0)
        return error_file(err, STEP_READ_DIRECTORY, errno, SCOPE_DIR);
    array_sort(names, count, sizeof(names[0]), name_order);
    for (size_t i = 0; i < count; i++)
        if (read_scope_file(s, dirfd, names[i], err))
            return -1;
    return 0;
}

int scope_read(struct scope *s, struct dirs *dirs, struct error *err)
{
    struct sys_stat st;
    int dirfd;

    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        if (add_defaults(s, defaults[i].directory, defaults[i].include, false, err) ||
            add_defaults(s, defaults[i].directory, defaults[i].exclude, true, err))
            return -1;
    dirfd = dirs_open_names(dirs, SCOPE_DIR, sizeof(SCOPE_DIR) - 1);
    if (dirfd < 0)
        return errno == ENOENT ? 0 : error_file(err, STEP_SCOPE_FILE, errno, SCOPE_DIR);
    if (sys_statx(dirfd, NULL, &st))
        return error_file(err, STEP_STAT, errno, SCOPE_DIR);
    if (trusted(&st, SCOPE_DIR, err))
        return -1;
    return read_scope_dir(s, dirfd, err);
}

/* How many parts of `path` the pattern matches from the start; *ret_parts: how many it has. */
static size_t parts_matched(const struct pattern *p, const char *path, size_t *ret_parts)
{
    size_t matched = 0, parts = 0;
    char part[256];
    bool matching = true;

    for (const char *c = path; c; parts++) {
        size_t n = strcspn(c, "/");

        if (matching && parts < p->parts && n < sizeof(part)) {
            memcpy(part, c, n);
            part[n] = '\0';
            matching = scope_part_matches(p->part[parts], part);
            matched += matching;
        }
        c = c[n] ? c + n + 1 : NULL;
    }
    *ret_parts = parts;
    return matched;
}

/* `len` is that of the path. */
static bool pattern_takes(const struct pattern *p, const char *path, size_t len)
{
    size_t parts, matched;

    /* Nearly always, and quickly. */
    if ((p->last && p->last != path[len - 1]) || len < p->plain ||
        memcmp(path, p->text, p->plain) != 0)
        return false;
    matched = parts_matched(p, path, &parts);
    return matched == p->parts && (p->deep ? parts > matched : parts == matched);
}

bool scope_excludes(const struct scope *s, const char *path)
{
    size_t len = strlen(path);
    const struct pattern *p;

    for (size_t i = s->excluding; i > 0; i = p->excluding) {
        p = &s->pattern[i - 1];
        if (pattern_takes(p, path, len))
            return true;
    }
    return false;
}

bool scope_covers(const struct scope *s, const char *path)
{
    char above[PATH_SIZE];
    size_t len = strlen(path);
    bool taken = false;

    for (size_t i = 0; i < s->count && !taken; i++)
        taken = !s->pattern[i].exclude && pattern_takes(&s->pattern[i], path, len);
    /* What is excluded takes all below it along. */
    for (size_t n = len; taken && n > 0; n = path_parent(above)) {
        memcpy(above, path, n);
        above[n] = '\0';
        taken = !scope_excludes(s, above);
    }
    return taken;
}

const struct pattern *scope_why(const struct scope *s, const char *path)
{
    size_t len = strlen(path);

    for (const struct pattern *p = s->pattern; p < s->pattern + s->count; p++) {
        size_t parts;

        if (!p->exclude &&
            (pattern_takes(p, path, len) || (parts_matched(p, path, &parts) == parts &&
                                        parts + !p->deep == p->parts)))
            return p;
    }
    return NULL;
}

void scope_free(struct scope *s)
{
    free(s->pattern);
    arena_free(&s->memory);
    *s = (struct scope){ 0 };
}
