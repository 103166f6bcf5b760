/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the process that waits beside an open change.
 * MUST NOT poll, hold the state directory's lock, or roll back by itself (change.c does).
 * MUST be out of reach of the login session that made the change.
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A boot may be slow, and a guard with fewer rights is no good there: a service gets a minute. */
enum {
    READY_MS = 10000, SERVICE_MS = 60000, STEP_MS = 2,
    PAUSE_DOUBLINGS = 9, PAUSE_MAX = 300 /* seconds */
};
#define SECOND 1000000000u
#define SYSTEMD_RUN "/usr/bin/systemd-run"
#define SYSTEMD_RUNS "/run/systemd/system"

bool guard_is_wanted(const struct manifest *m)
{
    return m->deadline || m->has_leash;
}

/* The mark that a guard sets on the state directory names the change. */
static uint64_t mark_key(const char *id)
{
    return strtoull(id, NULL, 16);
}

bool guard_is_there(struct store *store, const struct manifest *m)
{
    return sys_is_marked(store->fd, mark_key(m->id)) == 1;
}

static bool deadline_passed(const struct manifest *m)
{
    char boot[NCF_BOOT_SIZE];

    sys_boot_id(boot);
    /* Of another boot: how long ago that was, no clock can tell. */
    return m->deadline && (strcmp(boot, m->due_boot) != 0 || sys_boottime() >= m->due);
}

bool guard_is_due(const struct manifest *m, bool leash_ended)
{
    return deadline_passed(m) || (m->has_leash && leash_ended);
}

/* ---- starting one ---- */

/* By its name, not by the link: between this and the guard another program may stand. */
static const char *own_program(char path[GUARD_PATH_SIZE])
{
    ssize_t n = sys_readlinkat(-1, GUARD_SELF, path, GUARD_PATH_SIZE);

    if (n <= 0 || n == GUARD_PATH_SIZE)
        return NULL;
    path[n] = '\0';
    return path;
}

const char *guard_program(const char *helper, char path[GUARD_PATH_SIZE], struct error *err)
{
    const char *found = strcmp(helper, GUARD_SELF) ? helper : own_program(path);

    if (!found || !*found)
        found = run_program("networking-config", path);

    if (!found)
        error_set(err, NCF_EEXEC, STEP_GUARD_PROGRAM, 0, "networking-config");
    else if (*found != '/' || !run_executable(found))
        error_set(err, NCF_EEXEC, STEP_GUARD_PROGRAM, errno, found);
    else
        return found;
    return NULL;
}

/* Waits for the one byte that guard_begin() writes. */
static bool is_ready(int fd)
{
    char byte;

    return sys_wait_readable(fd, READY_MS) && sys_read(fd, &byte, 1, "guard") == 1;
}

static int launch(const char *const argv[], int root, int line, struct error *err)
{
    AUTO_CLOSE read_end = -1;
    AUTO_CLOSE write_end = -1;
    bool ready;

    if (sys_pipe(&read_end, &write_end))
        return error_set(err, NCF_EEXEC, STEP_GUARD, errno, argv[0]);
    if (run_apart(argv, (int[]){ root, write_end, line }, line < 0 ? 2 : 3))
        return error_set(err, NCF_EEXEC, STEP_GUARD, errno, argv[0]);
    sys_close_cleanup(&write_end); /* so that its end shows */
    write_end = -1;
    ready = is_ready(read_end);
    return ready ? 0 : error_set(err, NCF_EEXEC, STEP_GUARD, 0, argv[0]);
}

/*
 * A service has the rights of the system's own, whatever sandbox, namespaces or
 * limits the caller has, the boot unit for one.  It inherits no descriptor: there
 * is no line, the root is "/", and its mark tells that it is ready.
 */
static bool start_service(struct store *store, const char *program, const struct manifest *m,
                          const char *unit)
{
    const char *argv[] = {
        SYSTEMD_RUN, "--quiet", "--collect", unit,
        /* At boot, what a service usually waits for may itself wait for the caller. */
        "--property=DefaultDependencies=no",
        /* A DHCP client that the rollback starts outlives the guard. */
        "--property=KillMode=process", "--", program, "guard", m->id, "host", NULL
    };
    struct run_result r;

    run_command(argv, SERVICE_MS, &r);
    for (int waited = 0; run_succeeded(&r) && waited < SERVICE_MS; waited += STEP_MS) {
        if (guard_is_there(store, m))
            return true;
        sys_sleep_ms(STEP_MS);
    }
    return false;
}

static bool is_running_host(int root)
{
    AUTO_CLOSE top = sys_open_root("/");
    struct sys_stat a, b;

    return top >= 0 && sys_statx(top, NULL, &a) == 0 && sys_statx(root, NULL, &b) == 0 &&
           a.dev == b.dev && a.ino == b.ino;
}

int guard_start(struct store *store, int root, const char *program, const struct manifest *m,
                int line, struct error *err)
{
    char unit[64];
    const char *argv[] = {
        /* A scope of its own: systemd may kill what a login session leaves behind. */
        SYSTEMD_RUN, "--scope", "--quiet", "--collect", "--slice=system", unit, "--",
        /* Where there is no systemd, only this. */
        program, "guard", m->id, line < 0 ? NULL : "line", NULL
    };
    const char *const *plain = argv + 7;
    struct error ignored = { 0 };

    snprintf(unit, sizeof(unit), "--unit=netcf-guard-%s", m->id);
    if (run_executable(SYSTEMD_RUN) && run_executable(SYSTEMD_RUNS) && geteuid() == 0 &&
        ((line < 0 && is_running_host(root) && start_service(store, program, m, unit)) ||
         launch(argv, root, line, &ignored) == 0))
        return 0;
    return launch(plain, root, line, err);
}

/* ---- being one ---- */

static bool still_open(struct guard *g)
{
    AUTO_SNAPSHOT s = { .fd = -1 };
    struct error unreadable = { 0 };
    int there = snapshot_open(&s, g->store.fd, STORE_SNAPSHOT, &unreadable);

    if (there < 0)
        return true; /* what was known before holds; the rollback will say what is wrong */
    if (there == 0 || strcmp(s.manifest.id, g->change.id) != 0)
        return false;
    g->change = s.manifest; /* its deadline may have been moved */
    return true;
}

/* guard_start() waits for this one byte; a service's mark does. */
static int tell_ready(struct error *err)
{
    if (sys_write(GUARD_READY, "g", 1, "guard"))
        return error_file(err, STEP_WRITE, errno, "guard");
    sys_close(GUARD_READY);
    return 0;
}

int guard_begin(struct guard *g, const char *id, const char *how, struct error *err)
{
    bool has_line = how && !strcmp(how, "line"), is_service = how && !has_line;
    AUTO_DIRS dirs;
    int there;

    *g = (struct guard){ .root = is_service ? sys_open_root("/") : GUARD_ROOT, .watch = -1,
                         .line = has_line ? GUARD_LINE : -1,
                         /* Else it was lost with the guard before this one. */
                         .leash_end = has_line ? SYS_NEVER : sys_boottime() };
    snprintf(g->change.id, sizeof(g->change.id), "%s", id);
    g->host = is_running_host(g->root);
    sys_protect();
    dirs_init(&dirs, g->root);
    there = store_open(&g->store, &dirs, false, err);
    if (there <= 0)
        return there < 0 ? -1 : error_set(err, NCF_EINVALIDOP, STEP_NOT_OPEN, 0, "");
    /* First the watch, then the look (still_open()): what happens between wakes it. */
    g->watch = sys_watch(g->store.fd);
    if (g->watch < 0)
        return error_file(err, STEP_WATCH, errno, PATH_STATE);
    if (!still_open(g))
        return error_set(err, NCF_EINVALIDOP, STEP_NOT_OPEN, 0, "");
    if (sys_mark(g->store.fd, mark_key(id)))
        return error_file(err, STEP_LOCK, errno, PATH_STATE);
    return is_service ? 0 : tell_ready(err);
}

/* When the change is due as far as is known now. */
static uint64_t due_at(const struct guard *g, const struct manifest *m)
{
    uint64_t grace = (uint64_t)m->grace * SECOND, due = m->deadline ? m->due : SYS_NEVER;

    if (deadline_passed(m))
        due = 0;
    if (m->has_leash && g->leash_end != SYS_NEVER && g->leash_end + grace < due)
        due = g->leash_end + grace;
    return due > g->pause ? due : g->pause;
}

int guard_wait(struct guard *g, bool *ret_leash_ended, struct error *err)
{
    while (still_open(g)) {
        const struct manifest *m = &g->change;
        uint64_t now = sys_boottime(), due = due_at(g, m);

        if (now >= due) {
            *ret_leash_ended = m->has_leash && g->leash_end != SYS_NEVER &&
                               now >= g->leash_end + (uint64_t)m->grace * SECOND;
            return 1;
        }
        switch (sys_sleep_until(g->watch, m->has_leash ? g->line : -1, due)) {
        case SYS_WOKEN_BY_HANGUP:
            g->leash_end = sys_boottime();
            sys_close(g->line);
            g->line = -1;
            break;
        case -1:
            return error_file(err, STEP_WATCH, errno, PATH_STATE);
        default:
            break;
        }
    }
    return 0;
}

void guard_pause(struct guard *g)
{
    g->failures++;
    g->pause = sys_boottime() + (g->failures < PAUSE_DOUBLINGS ? (uint64_t)1 << g->failures
                                                               : PAUSE_MAX) * SECOND;
}
