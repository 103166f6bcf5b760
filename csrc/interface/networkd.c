/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for systemd-networkd, which reconciles by itself but for devices.
 * MUST NOT touch a file that did not change: networkd compares inodes and times.
 */
#include "digest.h"
#include "interface/stack.h"
#include "scope.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "etc/systemd/network"
enum { NAMES_MAX = 256, DROP_INS_MAX = 1000 };

static bool is_its_file(const char *path)
{
    return path_beneath(path, DIRECTORY);
}

static bool in_use(void)
{
    char path[RUN_PATH_SIZE];

    return run_program("networkctl", path) && sys_exists("/run/systemd/netif");
}

static bool ends_with(const char *text, size_t len, const char *end)
{
    return len > strlen(end) && !memcmp(text + len - strlen(end), end, strlen(end));
}

/* A port names what stands on it. */
static bool names_upper(const struct ini *i)
{
    static const char *const keys[] = { "Bridge", "Bond", "VLAN", "VRF", "MACVLAN", "IPVLAN",
                                        "VXLAN", "Tunnel" };

    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
        if (ini_is(i, "Network", keys[k]))
            return true;
    return false;
}

/* All of a file into the unit of one name. */
static void add_file(struct model *m, const struct config_file *f, const char *name, size_t len,
                     bool device)
{
    struct unit *u = model_add(m, name, len);
    size_t own = m->count;
    struct xxh64 sum;

    xxh64_init(&sum);
    for (struct ini i = ini_of(f); u && ini_next(&i); u = own <= m->count ? &m->unit[own - 1] : NULL) {
        AUTO_BUFFER line = { 0 };

        buffer_add(&line, i.section, i.section_len);
        buffer_text(&line, "/");
        buffer_add(&line, i.key, i.key_len);
        buffer_text(&line, "=");
        buffer_add(&line, i.value, i.value_len);
        if (line.failed) {
            m->failed = true;
            return;
        }
        unit_line(u, line.data, line.len);
        xxh64_add(&sum, line.data, line.len);
        if (!device && names_upper(&i)) {
            struct unit *upper = model_add(m, i.value, i.value_len);

            if (upper)
                unit_need(upper, name, len);
        }
    }
    if (u && device) {
        u->makes_device = true;
        u->device = xxh64_value(&sum);
    }
}

/* Which interfaces `base` is for; `f` is that file or a drop-in of it. */
static void add_for_names(struct model *m, const struct config_file *base,
                          const struct config_file *f)
{
    bool device = ends_with(base->path, strlen(base->path), ".netdev");
    size_t names = 0;

    for (struct ini i = ini_of(base); ini_next(&i);) {
        const char *at = i.value, *end = at + i.value_len, *word;
        size_t n;

        if (!(device ? ini_is(&i, "NetDev", "Name") : ini_is(&i, "Match", "Name")))
            continue;
        while (names < NAMES_MAX && text_word(&at, end, &word, &n)) {
            names++;
            add_file(m, f, word, n, device);
        }
    }
    if (!names)
        add_file(m, f, "*", 1, false);
}

static int path_order(const void *key, const void *file)
{
    return path_compare(key, ((const struct config_file *)file)->path);
}

static void parse(const struct config *files, struct model *ret)
{
    size_t drop_ins = 0;

    for (size_t i = 0; i < files->count; i++) {
        const struct config_file *f = &files->file[i], *base = f;
        size_t len = path_parent(f->path);
        char path[PATH_SIZE];

        if (!is_its_file(f->path))
            continue;
        if (ends_with(f->path, len, ".network.d") || ends_with(f->path, len, ".netdev.d")) {
            if (drop_ins++ > DROP_INS_MAX || !ends_with(f->path, strlen(f->path), ".conf"))
                continue;
            snprintf(path, sizeof(path), "%.*s", (int)(len - 2), f->path);
            base = bsearch(path, files->file, files->count, sizeof(*f), path_order);
        } else if (!ends_with(f->path, strlen(f->path), ".network") &&
                   !ends_with(f->path, strlen(f->path), ".netdev")) {
            continue;
        }
        if (base)
            add_for_names(ret, base, f);
    }
}

static void before(struct work *w)
{
    work_delete_devices(w, true);
}

static bool goes_up(const struct work *w, const struct move *m)
{
    return m->was && m->change != PLAN_SAME && work_was_up(w, m->name) &&
           links_find(w->present, m->name) != NULL;
}

static void after(struct work *w)
{
    static const char *const reload[] = { "reload", NULL }, *const again[] = { "reconfigure", NULL };

    work_run(w, "networkctl", reload, NULL);
    /* A reload alone leaves a port bare when its bridge was deleted a moment ago. */
    work_run_each(w, "networkctl", again, WORK_UP, goes_up);
    work_run_by_hand(w, "networkctl", again);
}

const struct stack stack_networkd = {
    .name = "systemd-networkd", .is_its_file = is_its_file, .in_use = in_use, .parse = parse,
    .before = before, .after = after, .settles = true,
};
