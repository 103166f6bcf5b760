/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for systemd-networkd, which reconciles by itself but for devices.
 * MUST NOT touch a file that did not change: networkd compares inodes and times.
 */
#include "digest.h"
#include "interface/stack.h"
#include "scope.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY "etc/systemd/network"
enum { NAMES_MAX = 256, DROP_INS_MAX = 1000, STATE_MAX = 4096 };

static bool is_its_file(const char *path)
{
    return path_beneath(path, DIRECTORY) && !stack_udev.is_its_file(path);
}

/* Installed, and has run in this boot: the directory is made for it at boot, the file is its own. */
static bool in_use(void)
{
    char path[RUN_PATH_SIZE];

    return run_program("networkctl", path) && sys_exists("/run/systemd/netif/state");
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

struct word {
    const char *at;
    size_t len;
};

/* Names that one file is for, or that it says stand on those. */
struct names {
    const struct config_file *of;
    struct word word[NAMES_MAX];
    size_t count;
};

static void add_names(struct names *names, const char *at, size_t len)
{
    const char *end = at + len;
    struct word w;

    while (names->count < NAMES_MAX && text_word(&at, end, &w.at, &w.len))
        names->word[names->count++] = w;
}

/* Which interfaces a file is for.  A .network file that does not say is for all. */
static void read_names(struct names *names, const struct config_file *f, bool device)
{
    if (names->of == f)
        return; /* drop-ins follow the file that they belong to */
    names->of = f;
    names->count = 0;
    for (struct ini i = ini_of(f); ini_next(&i);)
        if (device ? ini_is(&i, "NetDev", "Name") : ini_is(&i, "Match", "Name"))
            add_names(names, i.value, i.value_len);
    if (!names->count && !device)
        add_names(names, "*", 1);
}

/* All that a file says, as a checksum: many interfaces may share it.  0: nothing. */
static uint64_t read_all(struct model *m, const struct config_file *f, struct names *uppers)
{
    struct unit all = { .name = "" };
    struct xxh64 sum;
    bool any;

    for (struct ini i = ini_of(f); ini_next(&i);) {
        unit_line(&all, i.section, i.section_len);
        buffer_text(&all.text, "/");
        unit_line(&all, i.key, i.key_len);
        buffer_text(&all.text, "=");
        unit_line(&all, i.value, i.value_len);
        if (names_upper(&i))
            add_names(uppers, i.value, i.value_len);
    }
    m->failed |= all.text.failed;
    xxh64_init(&sum);
    if (all.text.len)
        xxh64_add(&sum, all.text.data, all.text.len);
    any = all.text.len > 0;
    buffer_free(&all.text);
    return any ? xxh64_value(&sum) : 0;
}

/* `f` is for the interfaces that `names` has. */
static void add_file(struct model *m, const struct config_file *f, const struct names *names,
                     bool device)
{
    struct names uppers = { .count = 0 };
    uint64_t sum = read_all(m, f, &uppers);
    char line[32];

    snprintf(line, sizeof(line), "%016llx", (unsigned long long)sum);
    for (size_t i = 0; i < names->count; i++) {
        const struct word *name = &names->word[i];
        struct unit *u = model_add(m, name->at, name->len);

        if (u && sum)
            unit_line(u, line, strlen(line));
        if (u && device) {
            u->makes_device = true;
            u->device = sum;
        }
        for (size_t k = 0; !device && k < uppers.count; k++)
            if ((u = model_add(m, uppers.word[k].at, uppers.word[k].len)))
                unit_need(u, name->at, name->len);
    }
}

static int path_order(const void *key, const void *file)
{
    return path_compare(key, ((const struct config_file *)file)->path);
}

static void parse(const struct config *files, struct model *ret)
{
    struct names names = { .count = 0 };
    size_t drop_ins = 0;

    for (size_t i = 0; i < files->count; i++) {
        const struct config_file *f = &files->file[i], *base = f;
        size_t len = path_parent(f->path);
        char path[PATH_SIZE];
        bool device;

        if (!is_its_file(f->path))
            continue;
        if (text_ends(f->path, len, ".network.d") || text_ends(f->path, len, ".netdev.d")) {
            if (drop_ins++ > DROP_INS_MAX || !text_ends(f->path, strlen(f->path), ".conf"))
                continue;
            snprintf(path, sizeof(path), "%.*s", (int)(len - 2), f->path);
            base = bsearch(path, files->file, files->count, sizeof(*f), path_order);
        } else if (!text_ends(f->path, strlen(f->path), ".network") &&
                   !text_ends(f->path, strlen(f->path), ".netdev")) {
            continue;
        }
        if (!base)
            continue;
        device = text_ends(base->path, strlen(base->path), ".netdev");
        read_names(&names, base, device);
        add_file(ret, f, &names, device);
    }
}

static void before(struct work *w)
{
    work_delete_devices(w, true);
}

static bool needs(const struct unit *u, const char *name)
{
    const char *at = NULL, *word;
    size_t len;

    while (unit_next_need(u, &at, &word, &len))
        if (text_is(word, len, name))
            return true;
    return false;
}

/* Made anew, so that it has no ports, whether their files changed or not. */
static bool is_new(const struct work *w, const struct move *m)
{
    return m->change != PLAN_SAME && m->was && m->was->makes_device &&
           (!links_find(w->present, m->name) || !m->now || m->now->device != m->was->device);
}

/*
 * networkd 252 goes on with the device that is gone where a port's file did not
 * change: a bridge and a bond lack the port, which the kernel set down with its bond;
 * devices of other kinds refuse one.  A VLAN is not made at all, whence the restart.
 */
void networkd_add_ports(const struct work *w)
{
    AUTO_LINKS links = { 0 };

    for (size_t i = 0; i < w->plan.count; i++)
        for (size_t j = 0; is_new(w, &w->plan.move[i]) && j < w->plan.count; j++) {
            const struct move *upper = &w->plan.move[i], *port = &w->plan.move[j];
            const struct link *above = links_find_now(&links, upper->name);
            const struct link *below = links_find(&links, port->name);

            if (above && below && port->change == PLAN_SAME && needs(upper->was, port->name))
                (void)link_add_port(above, below);
        }
}

/* A second order is not harmless: see docs/interfaces.md.  Whose file changed has had one. */
static bool goes_up(const struct work *w, const struct move *m)
{
    return m->was && (m->change == PLAN_WITH_OTHERS || m->change == PLAN_BY_HAND) &&
           work_was_up(w, m->name) && links_find(w->present, m->name) != NULL;
}

void networkd_reload(struct work *w)
{
    static const char *const reload[] = { "reload", NULL };

    work_run(w, "networkctl", reload, NULL);
    /* It may have heard of that before the kernel told it that a device is gone. */
    if (!work_devices_are_there(w))
        work_run(w, "networkctl", reload, NULL);
}

/*
 * How long a link may be away, by its state, before networkd is told of it again.  It gives
 * up a port whose bridge or bond is deleted, since the port's file still names that; a reload
 * does not change it.  It takes a file for the one that it has read where the inode's number
 * is used again, and so knows nothing of what a hand did; for a moment after a reload its
 * words are old.  It waits for ever for a link-local address that a hand took away, but also
 * for a DHCP server, which needs time to answer: each wait is twice as long as the one before.
 */
static const struct {
    const char *state;
    int64_t ms;
} patience[] = { { "ADMIN_STATE=failed\n", 0 },
                 { "ADMIN_STATE=configured\n", 1000 },
                 { "ADMIN_STATE=configuring\n", 3000 } };

void networkd_again(struct work *w, const struct link *is, int64_t waited_ms)
{
    static const char *const again[] = { "reconfigure", NULL };
    char path[64], state[STATE_MAX];
    AUTO_CLOSE fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "/run/systemd/netif/links/%d", is->index);
    fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW, 0);
    n = fd < 0 ? 0 : sys_read(fd, state, sizeof(state), path);
    for (size_t i = 0; n > 0 && i < sizeof(patience) / sizeof(patience[0]); i++)
        if (waited_ms >= patience[i].ms &&
            memmem(state, (size_t)n, patience[i].state, strlen(patience[i].state)))
            work_up(w, is->name, "networkctl", again, is->name);
}

static void after(struct work *w)
{
    static const char *const again[] = { "reconfigure", NULL };
    static const char *const restart[] = { "try-restart", NULL };

    w->reloaded = work_has_reloaded(w, &stack_netplan); /* netplan's files are among its own */
    if (!w->reloaded || !work_devices_are_there(w))
        networkd_reload(w);
    work_run_each(w, "networkctl", again, WORK_UP, goes_up);
    networkd_add_ports(w);
    if (!work_devices_are_there(w))
        work_run(w, "systemctl", restart, "systemd-networkd.service");
    work_run_by_hand(w, "networkctl", again);
}

const struct stack stack_networkd = {
    .name = "systemd-networkd", .is_its_file = is_its_file, .in_use = in_use, .parse = parse,
    .before = before, .after = after, .again = networkd_again, .settles = true, .reloads = true,
};
