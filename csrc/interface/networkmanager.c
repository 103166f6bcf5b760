/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for NetworkManager and its keyfiles.
 * MUST NOT have it add, modify or delete a profile: it would write the file.
 *
 * So: the files first, one reload, then what was active is activated.  A reload
 * takes down what has no file any more, with the device that NetworkManager made.
 * It disturbs nothing else, not even a profile whose file changed: that goes on
 * as it was until it is activated again.  Nothing goes down before the files
 * change, or NetworkManager would look for another profile to put there.
 *
 * A profile need not name an interface, and several may name the same one.
 * Which of them is active on a link stands in NetworkManager's state file of that
 * link; it is recorded when a change starts.  That a link is up says nothing:
 * NetworkManager sets all of them up.
 */
#include "digest.h"
#include "interface/stack.h"
#include "scope.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define DIRECTORY "etc/NetworkManager/system-connections"
#define STATE "/run/NetworkManager/devices"
#define FOR_NOW "/run/NetworkManager/system-connections"
enum { FILE_SIZE = 16384, STATE_PATH_SIZE = 64, RESOLVED_MAX = 1000, ASK_MS = 5000 };

static bool is_its_file(const char *path)
{
    return path_beneath(path, DIRECTORY);
}

/* Installed, has run in this boot, and answers. */
static bool in_use(void)
{
    char path[RUN_PATH_SIZE];
    const char *const argv[] = { run_program("nmcli", path), "-t", "general", NULL };
    struct run_result r;

    if (!argv[0] || !sys_exists(STATE))
        return false;
    run_command(argv, ASK_MS, &r);
    return run_succeeded(&r);
}

/* ---- files ---- */

/* What a keyfile says about itself. */
struct profile {
    struct ini uuid, interface, type;
};

static struct profile profile_of(const struct config_file *f)
{
    struct profile p = { .uuid = { .value = "" } };

    for (struct ini i = ini_of(f); ini_next(&i);) {
        bool own = text_is(i.section, i.section_len, "connection");

        if (own && text_is(i.key, i.key_len, "uuid"))
            p.uuid = i;
        else if (own && text_is(i.key, i.key_len, "type"))
            p.type = i;
        else if (text_is(i.key, i.key_len, "interface-name") &&
                 (own || !p.interface.value_len)) /* old ones: in the device's section */
            p.interface = i;
    }
    return p;
}

static bool is_one_of(const struct ini *type, const char *const *kinds)
{
    for (; type->value_len && *kinds; kinds++)
        if (text_is(type->value, type->value_len, *kinds))
            return true;
    return false;
}

/* What is said about the device itself, where it must be made anew to follow that. */
static uint64_t device_sum(const struct config_file *f, const struct ini *type)
{
    static const char *const changing[] = { "bridge", "bond", "team", "wireguard", "dummy", NULL };
    bool fixed = !is_one_of(type, changing);
    struct xxh64 sum;

    xxh64_init(&sum);
    xxh64_add(&sum, type->value, type->value_len);
    for (struct ini i = ini_of(f); fixed && ini_next(&i);)
        if (i.section_len == type->value_len && !memcmp(i.section, type->value, i.section_len))
            xxh64_add(&sum, i.key, (size_t)(i.value + i.value_len - i.key));
    return xxh64_value(&sum);
}

/* By its interface, else by its UUID, which the record of the links has. */
static struct unit *add_unit(struct model *m, const struct config_file *f)
{
    static const char *const virtual[] = { "bridge", "bond", "team", "wireguard", "dummy", "vlan",
                                           "macvlan", "macsec", "vxlan", "ip-tunnel", "tun", "vrf",
                                           "veth", NULL };
    struct profile p = profile_of(f);
    const struct ini *name = p.interface.value_len ? &p.interface : &p.uuid;
    struct unit *u = name->value_len ? model_add(m, name->value, name->value_len)
                                     : model_add(m, f->path, strlen(f->path));

    if (!u)
        return NULL;
    if (p.uuid.value_len && !(u->handle = arena_copy(&m->memory, p.uuid.value, p.uuid.value_len)))
        m->failed = true;
    u->makes_device = is_one_of(&p.type, virtual);
    u->device = u->makes_device ? device_sum(f, &p.type) : 0;
    return u;
}

/* Sections without a key, the order of blanks and what NetworkManager notes for itself don't count. */
static void add_text(struct unit *u, const struct config_file *f)
{
    for (struct ini i = ini_of(f); ini_next(&i);) {
        if (ini_is(&i, "connection", "timestamp"))
            continue;
        buffer_add(&u->text, i.section, i.section_len);
        buffer_text(&u->text, ".");
        buffer_add(&u->text, i.key, i.key_len);
        buffer_text(&u->text, "=");
        buffer_add(&u->text, i.value, i.value_len);
        buffer_text(&u->text, "\n");
    }
}

/* A profile may be named by its UUID where its interface is meant. */
static void add_need(struct model *m, size_t unit, const struct ini *i, size_t *resolved)
{
    struct unit *u = &m->unit[unit];

    if (!memchr(i->value, '-', i->value_len) || (*resolved)++ >= RESOLVED_MAX) {
        unit_need(u, i->value, i->value_len);
        return;
    }
    for (size_t k = 0; k < m->count; k++)
        if (text_is(i->value, i->value_len, m->unit[k].handle))
            unit_need(u, m->unit[k].name, strlen(m->unit[k].name));
}

/* What a port is part of, what a VLAN is on: NetworkManager activates it first. */
static void add_needs(struct model *m, size_t unit, const struct config_file *f, size_t *resolved)
{
    for (struct ini i = ini_of(f); ini_next(&i);)
        if (text_is(i.key, i.key_len, "parent") || ini_is(&i, "connection", "controller") ||
            ini_is(&i, "connection", "master"))
            add_need(m, unit, &i, resolved);
}

static void parse(const struct config *files, struct model *ret)
{
    size_t resolved = 0, unit = 0;

    for (size_t i = 0; i < files->count; i++) {
        struct unit *u = is_its_file(files->file[i].path) ? add_unit(ret, &files->file[i]) : NULL;

        if (u)
            add_text(u, &files->file[i]);
    }
    for (size_t i = 0; i < files->count && !ret->failed; i++)
        if (is_its_file(files->file[i].path))
            add_needs(ret, unit++, &files->file[i], &resolved);
}

/* ---- which profile is active ---- */

/* What NetworkManager wrote for itself; nothing where it can't be read. */
static struct config_file read_file(int dir, const char *name, char text[FILE_SIZE])
{
    AUTO_CLOSE fd = sys_openat(dir, name, O_RDONLY | O_NOFOLLOW, 0);
    ssize_t n = fd < 0 ? 0 : sys_read(fd, text, FILE_SIZE, name);

    return (struct config_file){ .path = name, .bytes = text, .len = n > 0 ? (size_t)n : 0 };
}

static void record_of(struct link *l)
{
    char path[STATE_PATH_SIZE], text[FILE_SIZE];
    struct config_file f;

    snprintf(path, sizeof(path), STATE "/%d", l->index);
    f = read_file(AT_FDCWD, path, text);
    for (struct ini i = ini_of(&f); ini_next(&i);)
        if (ini_is(&i, "device", "connection-uuid"))
            (void)link_set_profile(l, i.value, i.value_len);
}

static void record(struct links *l)
{
    for (size_t i = 0; sys_exists(STATE) && i < l->count; i++)
        record_of(&l->link[i]);
}

/* ---- up ---- */

/* What the unit was active on. */
static const struct link *link_of(const struct links *l, const struct move *m)
{
    const struct link *found = links_find(l, m->name);

    for (size_t i = 0; !found && i < l->count; i++)
        if (!strcmp(l->link[i].profile, m->name))
            found = &l->link[i];
    return found;
}

static bool starts_by_itself(const struct unit *u)
{
    static const char no[] = "connection.autoconnect=false\n";

    return !memmem(u->text.data, u->text.len, no, strlen(no));
}

static bool was_recorded(const struct work *w)
{
    for (size_t i = 0; i < w->start->count; i++)
        if (*w->start->link[i].profile)
            return true;
    return false;
}

static bool was_active(const struct work *w, const struct move *m)
{
    const struct link *was = link_of(w->start, m);

    return was_recorded(w) ? was && *was->profile : work_was_up(w, m->name);
}

static bool is_active(const struct work *w, const struct move *m)
{
    const struct link *now = link_of(w->present, m);

    return now && *now->profile;
}

/* One that was waiting for DHCP when the change started, say, may go on with that. */
static bool goes_up(const struct work *w, const struct move *m)
{
    return m->was && m->change != PLAN_SAME &&
           (was_active(w, m) || (is_active(w, m) && starts_by_itself(m->was)));
}

static bool goes_down(const struct work *w, const struct move *m)
{
    return m->was && m->change != PLAN_SAME && is_active(w, m) && !goes_up(w, m);
}

/* A profile without an interface goes where it was. */
static const struct link *place_of(const struct work *w, const struct move *m)
{
    return links_find(w->start, m->name) ? NULL : link_of(w->start, m);
}

static bool goes_up_by_itself(const struct work *w, const struct move *m)
{
    return goes_up(w, m) && !place_of(w, m);
}

/* Of several profiles for an interface the one that was active. */
static void choose(struct work *w)
{
    for (size_t i = 0; i < w->plan.count; i++) {
        struct move *m = &w->plan.move[i];
        const struct link *was = link_of(w->start, m);
        char lacks[256] = "";

        if (!was)
            continue;
        link_lacks(was, links_find(w->present, was->name), lacks, sizeof(lacks));
        if (*lacks && m->change == PLAN_SAME)
            m->change = PLAN_BY_HAND;
        if (*was->profile)
            m->handle = was->profile;
    }
}

static void up_one(struct work *w, const struct move *m)
{
    const struct link *place = place_of(w, m);
    const char *const words[] = { "connection", "up", "uuid", m->handle, place ? "ifname" : NULL,
                                  NULL };

    work_up(w, m->name, "nmcli", words, place ? place->name : NULL);
}

static void up(struct work *w)
{
    static const char *const words[] = { "connection", "up", "uuid", NULL };

    work_run_each(w, "nmcli", words, WORK_UP, goes_up_by_itself);
    for (size_t i = 0; i < w->plan.count; i++)
        if (goes_up(w, &w->plan.move[i]) && place_of(w, &w->plan.move[i]))
            up_one(w, &w->plan.move[i]);
}

static bool hides(const struct config_file *f, const char *uuid)
{
    bool same = false, hides_another = false;

    for (struct ini i = ini_of(f); ini_next(&i);) {
        same = same || (ini_is(&i, "connection", "uuid") && text_is(i.value, i.value_len, uuid));
        hides_another = hides_another || ini_is(&i, ".nmmeta", "shadowed-storage");
    }
    return same && hides_another;
}

static bool remove_hiding(const char *uuid)
{
    AUTO_CLOSE dir = sys_openat(AT_FDCWD, FOR_NOW, O_RDONLY | O_DIRECTORY, 0);
    char text[FILE_SIZE];
    uint64_t entries[512];
    const char *name;
    ssize_t n;

    while (dir >= 0 && (n = sys_getdents(dir, entries, sizeof(entries), FOR_NOW)) > 0)
        for (size_t at = 0; (name = sys_dirent_next(entries, (size_t)n, &at));) {
            struct config_file f = read_file(dir, name, text);

            if (hides(&f, uuid))
                return sys_unlinkat(dir, name, 0) == 0;
        }
    return false;
}

static const char *const reload[] = { "connection", "reload", NULL };

/*
 * A profile that was changed for the moment (nmcli --temporary) is in a file of its own, and
 * came up instead of the restored one.  It may be of before the start: it goes only where
 * something is still missing.
 */
static void uncover(struct work *w)
{
    AUTO_LINKS now = { 0 };

    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const struct link *was = goes_up(w, m) ? link_of(w->start, m) : NULL;
        char lacks[256] = "";

        if (was)
            link_lacks(was, links_find_now(&now, was->name), lacks, sizeof(lacks));
        if (*lacks && remove_hiding(m->handle)) {
            work_run(w, "nmcli", reload, NULL);
            up_one(w, m);
        }
    }
}

static void after(struct work *w)
{
    static const char *const on[] = { "networking", "on", NULL };
    static const char *const down[] = { "connection", "down", "uuid", NULL };
    bool any = false;

    choose(w);
    for (size_t i = 0; i < w->plan.count; i++)
        any = any || goes_up(w, &w->plan.move[i]);
    work_run(w, "nmcli", reload, NULL);
    work_delete_devices(w, true);
    work_run_each(w, "nmcli", down, WORK_DOWN, goes_down);
    if (any) /* what was active was so only while that was on */
        work_run(w, "nmcli", on, NULL);
    up(w);
    uncover(w);
}

/* ---- with the plugin that reads Red Hat's ifcfg files ---- */

static bool is_ifcfg_file(const char *path)
{
    return stack_networkscripts.is_its_file(path);
}

/* What its package brings along in a place that has no version in its name. */
static bool ifcfg_in_use(void)
{
    return (sys_exists("/usr/share/dbus-1/system.d/nm-ifcfg-rh.conf") ||
            sys_exists("/etc/dbus-1/system.d/nm-ifcfg-rh.conf")) &&
           in_use();
}

const struct stack stack_networkmanager_ifcfg = {
    .name = "NetworkManager", .is_its_file = is_ifcfg_file, .in_use = ifcfg_in_use,
    .parse = networkscripts_parse_managed, .after = after, .settles = true, .reloads = true,
};

const struct stack stack_networkmanager = {
    .name = "NetworkManager", .is_its_file = is_its_file, .in_use = in_use, .parse = parse,
    .after = after, .record = record, .settles = true, .reloads = true,
};
