/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for what at boot was faster than the helper: netplan's generator,
 * and udev, which renames interfaces and has ifupdown bring them up.
 * MUST NOT run anything unless the files it reads differ.
 * MUST NOT be part of the library: on a running host this would do harm.
 */
#include "boot.h"

#include "digest.h"
#include "run.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { COMMAND_MS = 30 * 1000 };

static bool exists(const char *path)
{
    struct sys_stat st;

    return sys_statx(AT_FDCWD, path, &st) == 0;
}

/* A system program by its name.  False if it is not there: most are not needed then. */
static bool run(struct boot *b, const char *const words[])
{
    const char *argv[8];
    char path[RUN_PATH_SIZE], how[64];
    struct run_result r;

    argv[0] = run_program(words[0], path);
    if (!argv[0])
        return false;
    for (size_t i = 1; (argv[i] = words[i]); i++)
        ;
    run_command(argv, COMMAND_MS, &r);
    if (run_succeeded(&r) || b->failed[0])
        return true;
    run_describe(&r, how, sizeof(how));
    snprintf(b->failed, sizeof(b->failed), "%s: %s%s%.150s", argv[0], how,
             r.output[0] ? ": " : "", r.output);
    return true;
}

static bool begins(const char *path, const char *with)
{
    return strncmp(path, with, strlen(with)) == 0;
}

static bool ends(const char *path, const char *with)
{
    size_t n = strlen(path), m = strlen(with);

    return n >= m && strcmp(path + n - m, with) == 0;
}

/*
 * A sum of names and contents that doesn't depend on their order; missing is empty.
 * Of netplan's rules 90-netplan.rules only says what NetworkManager leaves alone.
 */
static uint64_t sum_of_directory(const char *path, const char *ending)
{
    AUTO_CLOSE dir = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    uint64_t entries[512], sum = 0;
    char bytes[4096];
    const char *name;
    ssize_t n, got;

    while (dir >= 0 && (n = sys_getdents(dir, entries, sizeof(entries), path)) > 0)
        for (size_t at = 0; (name = sys_dirent_next(entries, (size_t)n, &at));) {
            AUTO_CLOSE fd = ends(name, ending) && !begins(name, "90-netplan.")
                                ? sys_openat(dir, name, O_RDONLY, 0) : -1;
            struct xxh64 x;

            if (fd < 0)
                continue;
            xxh64_init(&x);
            xxh64_add(&x, name, strlen(name) + 1);
            while ((got = sys_read(fd, bytes, sizeof(bytes), name)) > 0)
                xxh64_add(&x, bytes, (size_t)got);
            sum += xxh64_value(&x);
        }
    return sum;
}

static uint64_t sum_of_generated(void)
{
    return sum_of_directory("/run/systemd/network", ".link") +
           sum_of_directory("/run/udev/rules.d", ".rules");
}

void boot_before(struct boot *ret, struct netcf *ncf)
{
    struct ncf_difference *differences;
    size_t count;

    *ret = (struct boot){ .names = false };
    if (!exists(ncf_snapshot_path(ncf)) || ncf_change_diff(ncf, &differences, &count))
        return; /* nothing open, or damaged: nothing will be restored */
    ret->generated = sum_of_generated();
    for (size_t i = 0; i < count; i++) {
        const char *path = differences[i].path;

        ret->ifupdown |= begins(path, "etc/network/");
        ret->netplan |= begins(path, "etc/netplan/");
        ret->names |= begins(path, "etc/systemd/network/") && ends(path, ".link");
    }
    ncf_free(differences);
    /* With systemd udev only asks for what then waits for the helper. */
    if (ret->ifupdown && exists("/run/network/ifstate") && !exists("/run/systemd/system"))
        run(ret, (const char *const[]){ "ifdown", "--allow=hotplug", "--all", "--exclude=lo",
                                        "--force", NULL });
}

/*
 * systemd runs its generators again, netplan's of any version among them; then
 * what only the restored files want joins the boot.
 */
static void generate(struct boot *b)
{
    if (!exists("/run/systemd/system"))
        return;
    run(b, (const char *const[]){ "systemctl", "daemon-reload", NULL });
    run(b, (const char *const[]){ "systemctl", "--no-block", "start", "multi-user.target", NULL });
    b->names |= b->generated != sum_of_generated();
}

bool boot_after(struct boot *b)
{
    if (b->netplan)
        generate(b);
    if (!exists("/run/udev/control") || !(b->ifupdown || b->netplan || b->names))
        return false;
    run(b, (const char *const[]){ "udevadm", "control", "--reload", NULL });
    run(b, (const char *const[]){ "udevadm", "trigger", "--subsystem-match=net", "--action=add",
                                  NULL });
    return b->names; /* a name that udev has given once it doesn't take away */
}

bool boot_again(struct boot *b)
{
    static const char *const systemd[] = { "systemctl", "--no-block", "reboot", NULL };
    static const char *const others[] = { "reboot", "-f", NULL };

    b->failed[0] = '\0';
    /* It would find the snapshot again, and again. */
    if (sys_is_volatile("/var/lib/netcf")) {
        snprintf(b->failed, sizeof(b->failed), "/var/lib/netcf does not outlive a boot");
        return false;
    }
    if (!run(b, exists("/run/systemd/system") ? systemd : others))
        snprintf(b->failed, sizeof(b->failed), "there is no program that boots again");
    return !b->failed[0];
}

void boot_tell(const char *line, bool good, bool console)
{
    AUTO_CLOSE log = sys_openat(AT_FDCWD, "/dev/kmsg", O_WRONLY | O_NOCTTY, 0);
    AUTO_CLOSE screen = console ? sys_openat(AT_FDCWD, "/dev/console", O_WRONLY | O_NOCTTY, 0) : -1;
    char text[1024];
    int n = snprintf(text, sizeof(text), "<%d>%.990s\n", good ? 5 : 3, line);

    if (log >= 0)
        sys_write(log, text, (size_t)n, "/dev/kmsg");
    if (screen >= 0)
        sys_write(screen, text + 3, (size_t)n - 3, "/dev/console");
}
