/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes scope files: an input is a file of etc/netcf/scope.d.  The walk of the
 * host and the question whether a path is covered must agree, and a part
 * without sets must match as fnmatch() says.
 */
#include "fuzz.h"

#include <fnmatch.h>
#include <string.h>

static int root;
static size_t defaults;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    AUTO_DIRS dirs;
    AUTO_SCOPE s = { 0 };
    struct error err = { 0 };

    (void)argc, (void)argv;
    root = scratch_make();
    dirs_init(&dirs, root);
    must(scope_read(&s, &dirs, &err) == 0, "the default patterns are refused");
    defaults = s.count;
    return 0;
}

static void check_parts(const struct pattern *p)
{
    for (size_t i = 0; i < p->parts; i++)
        for (const char *const *file = scratch_files; *file; file++) {
            const char *name = path_name(*file);

            if (!strchr(p->part[i], '['))
                must(scope_part_matches(p->part[i], name) == !fnmatch(p->part[i], name, FNM_NOESCAPE),
                     "%s against %s", p->part[i], name);
        }
}

/* A file that stands where a pattern that spells its name expects a directory is listed, too. */
static bool is_spelt(const struct pattern *p, const char *path)
{
    size_t depth = 0;

    for (const char *part = path; part; depth++) {
        char name[256] = "";
        size_t n = strcspn(part, "/");

        memcpy(name, part, n);
        if (p->exclude || depth >= p->parts || !scope_part_matches(p->part[depth], name))
            return false;
        part = part[n] ? part + n + 1 : NULL;
    }
    return (p->deep || depth < p->parts) && !scope_part_is_wild(p->part[depth - 1]);
}

static bool may_be_listed(const struct scope *s, const struct entry *e)
{
    bool spelt = false;

    for (size_t i = 0; i < s->count && !spelt; i++)
        spelt = is_spelt(&s->pattern[i], e->path);
    return e->context || e->type == 'd' || e->type == 'l' || spelt || scope_covers(s, e->path);
}

static void check_walk(const struct scope *s, enum listing_purpose purpose)
{
    AUTO_DIRS dirs;
    AUTO_LISTING l = { 0 };
    struct error err = { 0 };

    dirs_init(&dirs, root);
    if (listing_of_scope(&l, s, &dirs, purpose, &err)) {
        must(err.step == STEP_SYMLINK_ON_WAY || err.step == STEP_OPEN_DIRECTORY,
             "the walk failed at step %d", err.step);
        return;
    }
    for (size_t i = 0; i < l.count; i++) {
        const struct entry *e = &l.entry[i];

        must(i == 0 || path_compare(l.entry[i - 1].path, e->path) < 0, "not sorted: %s", e->path);
        must(may_be_listed(s, e), "listed, but not covered: %s", e->path);
    }
    for (const char *const *file = scratch_files; *file; file++)
        must(!scope_covers(s, *file) || listing_find(&l, *file), "covered, but not listed: %s", *file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_DIRS dirs;
    AUTO_SCOPE s = { 0 };
    struct error err = { 0 };

    scratch_write("etc/netcf/scope.d/fuzz.conf", data, size);
    dirs_init(&dirs, root);
    if (scope_read(&s, &dirs, &err)) {
        must(err.code == NCF_EFILE && (err.step == STEP_PATTERN || err.step == STEP_SCOPE_FILE),
             "refused at step %d", err.step);
        return 0;
    }
    for (size_t i = defaults; i < s.count; i++) {
        must(path_valid(s.pattern[i].text), "a pattern that leads elsewhere: %s", s.pattern[i].text);
        check_parts(&s.pattern[i]);
    }
    check_walk(&s, LISTING_SAVE);
    check_walk(&s, LISTING_COMPARE);
    return 0;
}
