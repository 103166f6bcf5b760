/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for .link files, which udev looks at when a device appears: those that
 * changed devices go by are shown to it once more.
 * MUST NOT show it any other device: to rules like ifupdown's each is one that was plugged in.
 */
#include "interface/stack.h"
#include "path.h"
#include "sys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define DIRECTORY "etc/systemd/network"

/* The name of the file that it is, or belongs to; false if that is no .link file. */
static bool link_file(const char *path, const char **ret, size_t *ret_len)
{
    size_t len = strlen(path), above = path_parent(path);

    if (!path_beneath(path, DIRECTORY))
        return false;
    if (text_ends(path, above, ".link.d") && text_ends(path, len, ".conf"))
        len = above - 2;
    *ret = path + sizeof(DIRECTORY);
    *ret_len = len - sizeof(DIRECTORY);
    return text_ends(path, len, ".link") && !memchr(*ret, '/', *ret_len);
}

static bool is_its_file(const char *path)
{
    const char *name;
    size_t len;

    return link_file(path, &name, &len);
}

static bool in_use(void)
{
    char path[RUN_PATH_SIZE];

    return run_program("udevadm", path) && sys_exists("/run/udev/control");
}

/* A hardware address in any of its spellings, 00-A0-C9-00-00-01, 00a0.c900.0001, as the kernel has it. */
static void need_address(struct unit *u, const char *word, size_t len)
{
    char address[3 * 8] = "";
    size_t n = 0;

    for (size_t i = 0; i < len && n + 3 < sizeof(address); i++)
        if (isxdigit((unsigned char)word[i])) {
            if (n % 3 == 2)
                address[n++] = ':';
            address[n++] = (char)tolower((unsigned char)word[i]);
        }
    unit_need(u, address, n);
}

/* A file is a unit, which stands on the devices that it names: by a name, or by an address. */
static void parse(const struct config *files, struct model *ret)
{
    const char *name, *word;
    size_t len, n;

    for (size_t k = 0; k < files->count; k++) {
        struct unit *u = link_file(files->file[k].path, &name, &len)
                             ? model_add(ret, name, len) : NULL;

        if (!u)
            continue;
        for (struct ini i = ini_of(&files->file[k]); ini_next(&i);) {
            const char *at = i.value, *end = at + i.value_len;

            unit_line(u, i.section, i.section_len);
            unit_line(u, i.key, i.key_len);
            unit_line(u, i.value, i.value_len);
            while (ini_is(&i, "Match", "OriginalName") && text_word(&at, end, &word, &n))
                unit_need(u, word, n);
            while ((ini_is(&i, "Match", "MACAddress") ||
                    ini_is(&i, "Match", "PermanentMACAddress")) && text_word(&at, end, &word, &n))
                need_address(u, word, n);
        }
    }
}

static void show(struct work *w, const char *which, const char *value, size_t len)
{
    static const char *const words[] = { "trigger", "--action=add", "--subsystem-match=net", NULL };
    char matches[PATH_SIZE];

    snprintf(matches, sizeof(matches), "%s%.*s", which, (int)len, value);
    (void)work_run(w, "udevadm", words, matches);
}

/*
 * Devices that go by the present file udev knows.  Those that went by the one of the
 * start it may have forgotten, if somebody showed them to it meanwhile.
 */
static void after(struct work *w)
{
    static const char *const reload[] = { "control", "--reload", NULL };
    static const char *const settle[] = { "settle", NULL };

    work_run(w, "udevadm", reload, NULL);
    for (size_t i = 0; i < w->plan.count; i++) {
        const struct move *m = &w->plan.move[i];
        const char *at = NULL, *word;
        size_t len;

        if (m->change == PLAN_SAME)
            continue;
        show(w, "--property-match=ID_NET_LINK_FILE=*/", m->name, strlen(m->name));
        while (m->was && unit_next_need(m->was, &at, &word, &len))
            show(w, memchr(word, ':', len) ? "--attr-match=address=" : "--sysname-match=", word, len);
    }
    work_run(w, "udevadm", settle, NULL);
}

const struct stack stack_udev = {
    .name = "udev", .is_its_file = is_its_file, .in_use = in_use, .parse = parse, .after = after,
};
