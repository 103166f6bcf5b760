/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * networking-config: the helper's main.  The only file that prints and exits.
 * MUST work before anything else on the host does: no shell, no interpreter,
 * no users database, no /proc, perhaps no standard descriptors.
 */
#include "boot.h"
#include "change.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, USAGE = 2, NONE_OPEN = 3, INVALID_STATE = 199 };

#define NETCF_SCRIPT "netcf-transaction.sh"

struct call {
    struct netcf *ncf;
    const char *root; /* "" for the host's own */
    const char *command;
    bool as_netcf;  /* called by the name of netcf's script */
    bool open_only; /* status --open */
    bool boots;     /* this host, now */
    bool initramfs; /* the host's own init comes here, too */
    unsigned start_flags, rollback_flags;
    struct ncf_change_options options;
    char **argument; /* what follows the command, up to NULL */
};

static const char help[] =
    "Usage: networking-config [--root DIR] COMMAND\n"
    "Save the host's network configuration before a change, keep or undo the change.\n"
    "\n"
    "  snapshot_config [OPTION]...\n"
    "                    start a change: save the configuration as it is now\n"
    "                    (also: change-begin)\n"
    "      --note TEXT         why\n"
    "      --on-write          save each file only when it is announced\n"
    "      --timeout SECONDS   roll back by itself unless committed in time\n"
    "      --leash             roll back when standard input hangs up ...\n"
    "      --grace SECONDS     ... and so many seconds have passed\n"
    "      --trial-boots N     let the change outlive N boots\n"
    "  extend SECONDS    move the deadline of the open change to so long from now\n"
    "  announce PATH...  in such a change: save PATH before it is modified\n"
    "  commit_config     keep the configuration as it is now (also: change-commit)\n"
    "  rollback_config [OPTION]...\n"
    "                    put the saved configuration back (also: change-rollback), and\n"
    "                    with it the interfaces that differ\n"
    "      --files-only        ... or none\n"
    "      --all-interfaces    ... or all of them\n"
    "      --limit SECONDS     for all interfaces together (usually 90)\n"
    "      --command-limit SECONDS\n"
    "                          for each command that takes one down or up (usually 30)\n"
    "  diff              what differs from the saved configuration\n"
    "  status [--open]   whether a change is open; with --open the exit status says it:\n"
    "                    0 open, 3 not\n"
    "  discarded         what rollbacks replaced, newest first\n"
    "  put-back ID       in an open change: put such a configuration back\n"
    "  snapshot-dir      the path that exists exactly while a change is open\n"
    "  start [--initramfs]\n"
    "                    at boot: undo a change that was neither kept nor undone;\n"
    "                    from an initramfs a change on trial is left to the host's init\n"
    "  stop, restart, reload, force-reload, condrestart, try-restart\n"
    "                    for init; they leave an open change alone\n"
    "\n"
    "  --root DIR        work on the host below DIR instead of /\n"
    "  --help, --version\n"
    "\n"
    "Environment: NETWORKING_CONFIG_TOKEN, a secret; where a change was started with\n"
    "it, commit_config and extend need the same.\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 usage, 199 not valid in the present state.\n";

static const char netcf_usage[] =
    "Usage: netcf-transaction.sh {change-begin|change-commit|change-rollback|snapshot-dir|start|"
    "stop|status|restart|condrestart|try-restart|reload|force-reload}\n";

static void print(FILE *to, const char *before, const char *bytes, const char *after)
{
    char text[4096];

    error_printable(text, sizeof(text), bytes);
    fprintf(to, "%s%s%s", before, text, after);
}

static void say(const struct call *c, FILE *to, const char *line)
{
    fprintf(to, "%s\n", line);
    /* From a systemd unit's output the journal and the console have it. */
    if (c->boots && !getenv("JOURNAL_STREAM"))
        boot_tell(line, to == stdout, !isatty(fileno(to)));
}

static void print_lines(FILE *to, const char *lines)
{
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        char line[1024];

        snprintf(line, sizeof(line), "%.*s", (int)n, lines);
        print(to, "  ", line, "\n");
        lines += n + (lines[n] != '\0');
    }
}

/* netcf quotes what its script prints on either output. */
static int fail(const struct call *c)
{
    const char *message, *details;
    char text[4096], command[64], line[4200];
    int code = ncf_error(c->ncf, &message, &details);

    error_printable(command, sizeof(command), c->command);
    error_printable(text, sizeof(text), details ? details : message);
    snprintf(line, sizeof(line), "%s: %s: %s", c->as_netcf ? NETCF_SCRIPT : "networking-config",
             command, text);
    say(c, stderr, line);
    return code == NCF_EINVALIDOP ? INVALID_STATE : FAILED;
}

static const char *plural(unsigned long long n)
{
    return n == 1 ? "" : "s";
}

/* A whole number that fits; false if the text is none. */
static bool number(const char *text, unsigned *ret)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > UINT_MAX)
        return false;
    *ret = (unsigned)value;
    return true;
}

static void print_rollback(const struct call *c, const struct ncf_change_result *r)
{
    unsigned long long all = r->changed + r->added + r->removed + r->metadata;
    char what[160] = "nothing differed", line[4400];

    if (all)
        snprintf(what, sizeof(what),
                 "%llu path%s restored (%llu changed, %llu removed, %llu added, %llu metadata)",
                 all, plural(all), r->changed, r->removed, r->added, r->metadata);
    snprintf(line, sizeof(line), "networking-config: rolled back change %s: %s%s%s%s%s", r->id, what,
             r->discarded[0] ? "; the replaced files are in " : "", r->discarded[0] ? c->root : "",
             r->discarded[0] ? "/" : "", r->discarded);
    say(c, stdout, line);
}

static void print_note(const struct call *c, const char *text)
{
    char line[1200];

    if (!text[0])
        return;
    snprintf(line, sizeof(line), "networking-config: note: %s", text);
    say(c, stderr, line);
}

static void print_notice(const struct call *c, const struct ncf_change_result *r)
{
    print_note(c, r->notice);
}

/* What the last call did; of an open handle this always can be said. */
static struct ncf_change_result result_of(const struct call *c)
{
    struct ncf_change_result r = { .discarded = "", .notice = "", .commands = "" };

    (void)ncf_change_result(c->ncf, &r);
    return r;
}

static int do_start_change(struct call *c)
{
    struct ncf_change_result r;

    if (ncf_change_start(c->ncf, c->start_flags))
        return fail(c);
    if (c->as_netcf)
        return DONE;
    r = result_of(c);
    if (c->start_flags & NCF_START_ON_WRITE)
        printf("change %s started; announce each file before you modify it\n", r.id);
    else
        printf("change %s started: %llu path%s saved\n", r.id, r.saved, plural(r.saved));
    print_notice(c, &r);
    if (r.refused)
        fprintf(stderr, "networking-config: note: %llu device%s, socket%s or FIFO%s in scope not "
                        "saved\n", r.refused, plural(r.refused), plural(r.refused),
                plural(r.refused));
    return DONE;
}

static int do_commit(struct call *c)
{
    struct ncf_change_result r;

    if (ncf_change_commit(c->ncf, 0))
        return fail(c);
    r = result_of(c);
    print_notice(c, &r);
    if (!c->as_netcf)
        printf("change %s committed\n", r.id);
    return DONE;
}

static int do_extend(struct call *c)
{
    unsigned seconds;

    if (!c->argument[0] || c->argument[1] || !number(c->argument[0], &seconds))
        return USAGE;
    if (ncf_change_extend(c->ncf, seconds))
        return fail(c);
    printf("the change rolls back in %u s unless it is committed\n", seconds);
    return DONE;
}

static void print_interfaces(const struct call *c)
{
    static const char *const why[] = {
        [NCF_INTERFACE_UNTOUCHED] = "not touched",
        [NCF_INTERFACE_ADDED] = "had been added",
        [NCF_INTERFACE_REMOVED] = "had been removed",
        [NCF_INTERFACE_CHANGED] = "had been changed",
        [NCF_INTERFACE_WITH_OTHERS] = "went with others",
        [NCF_INTERFACE_BY_HAND] = "was not as at the start",
    };
    static const char *const done[] = { "down", "up", "device deleted", "reloaded" };
    struct ncf_interface *list;
    size_t count;

    if (ncf_change_interfaces(c->ncf, &list, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        print(stdout, "  ", list[i].name, "");
        printf(" (%s): %s", list[i].stack, why[list[i].change]);
        for (size_t k = 0; k < sizeof(done) / sizeof(done[0]); k++)
            if (list[i].done & 1u << k)
                printf(", %s", done[k]);
        print(stdout, list[i].lacks[0] ? "; now lacks: " : "", list[i].lacks, "\n");
    }
    ncf_free(list);
}

static int report_rollback(struct call *c, int result)
{
    struct ncf_change_result r = result_of(c);
    int status = result ? fail(c) : DONE;

    if (status == DONE)
        print_rollback(c, &r);
    print_interfaces(c);
    print_notice(c, &r);
    if (status != DONE && r.commands[0])
        print_lines(stderr, r.commands);
    return status;
}

/* Nothing that can happen to what it prints ends it half way. */
static void ignore_signals(void)
{
    /* The terminal may be at the other end of an interface that goes down. */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static int do_rollback(struct call *c)
{
    ignore_signals();
    return report_rollback(c, ncf_change_rollback(c->ncf, c->rollback_flags));
}

/* What was faster than this follows the restored files, too. */
static int catch_up(struct call *c, struct boot *b, int status)
{
    bool again = boot_after(b);

    print_note(c, b->failed);
    if (b->failed[0])
        status = FAILED;
    if (!again || status != DONE)
        return status;
    say(c, stdout, "networking-config: interfaces have their names from the replaced files: "
                   "booting again");
    if (boot_again(b))
        return DONE;
    print_note(c, b->failed);
    return FAILED;
}

/* At boot: nothing open is how it should be. */
static int do_boot(struct call *c)
{
    struct ncf_change_status s;
    struct ncf_change_result r;
    struct boot b;
    int result;

    if (c->initramfs && !ncf_change_status(c->ncf, &s) && s.open && s.trial_boots)
        return DONE; /* or this boot would be counted twice */
    c->boots = !*c->root && !c->as_netcf;
    if (c->boots)
        boot_before(&b, c->ncf);
    result = ncf_change_boot(c->ncf, 0);
    if (result && ncf_error(c->ncf, NULL, NULL) == NCF_EINVALIDOP)
        return DONE;
    r = result_of(c);
    if (!result && r.on_trial) {
        char line[128];

        snprintf(line, sizeof(line), "networking-config: change %s: this boot is a trial; commit "
                                     "it to keep it", r.id);
        say(c, stdout, line);
        return DONE;
    }
    ignore_signals();
    result = report_rollback(c, result);
    return c->boots ? catch_up(c, &b, result) : result;
}

static void log_error(const char *what, const struct error *err)
{
    char details[2048] = "";

    error_details(err, details, sizeof(details));
    syslog(LOG_ERR, "%s: %s", what, details);
}

static void log_rollback(const struct change_due *due, const struct change_result *r,
                         const struct error *err)
{
    const char *why = due->leash_ended ? "the session that started it is gone"
                                       : "its deadline has passed";

    if (err->code != NCF_NOERROR && err->code != NCF_EEXEC) {
        log_error("the rollback failed and will be tried again", err);
        return;
    }
    syslog(LOG_WARNING,
           "rolled back change %s (%s): %llu changed, %llu removed, %llu added, %llu metadata; "
           "the replaced files are in /%s",
           due->id, why, (unsigned long long)r->changed, (unsigned long long)r->removed,
           (unsigned long long)r->added, (unsigned long long)r->metadata,
           r->discarded[0] ? r->discarded : PATH_STATE);
    if (err->code == NCF_EEXEC)
        log_error("not all is as it was", err);
    if (r->notice[0])
        syslog(LOG_WARNING, "%s", r->notice);
}

/*
 * The process that watches an open change.  guard_start() made it, with its
 * descriptors; what it has to say goes to the system's log.
 */
static int be_guard(char **arg)
{
    struct guard guard;
    struct change_due due = { .id = arg[0] };
    struct error err = { 0 };
    int left;

    if (!arg[0] || guard_begin(&guard, due.id, arg[1], &err))
        return FAILED;
    openlog("networking-config", LOG_PID, LOG_DAEMON);
    while ((left = guard_wait(&guard, &due.leash_ended, &err)) > 0) {
        struct change_result r = { .changed = 0 };
        AUTO_ENGINE live = { .options = ENGINE_USUAL };
        int result = change_rollback(guard.root, &due, guard.host ? &live : NULL, &r, &err);

        /* Closed meanwhile, or given more time: then it was not due. */
        if (!result || err.code != NCF_EINVALIDOP)
            log_rollback(&due, &r, &err);
        if (result && err.code != NCF_EINVALIDOP)
            guard_pause(&guard);
        error_clear(&err);
    }
    if (left < 0)
        log_error("the guard ends; only the next boot is behind the change", &err);
    return left < 0 ? FAILED : DONE;
}

static void print_open(const struct ncf_change_status *s)
{
    printf("There is an open transaction (%s)\n", s->id);
    printf("  started by uid %u with ", s->uid);
    print(stdout, "", s->program, "");
    printf(" (pid %d), %s\n", s->pid,
           s->same_boot ? "in this boot" : "before the last boot");
    if (s->note[0]) {
        print(stdout, "  note: ", s->note, "\n");
    }
    if (s->has_token)
        printf("  a commit needs its token\n");
    if (s->deadline && s->deadline_left >= 0)
        printf("  rolls back by itself in %lld s unless committed\n", s->deadline_left);
    else if (s->deadline)
        printf("  its deadline has passed\n");
    if (s->has_leash)
        printf("  rolls back %u s after the session that started it hangs up\n", s->grace);
    if ((s->deadline || s->has_leash) && !s->guarded)
        printf("  no guard watches it: only the next boot would roll it back\n");
    if (s->trial_boots)
        printf("  outlives %u more boot%s\n", s->trial_boots, plural(s->trial_boots));
    printf("  %llu path%s, %llu bytes saved%s\n", s->files, plural(s->files), s->bytes,
           s->flags & NCF_START_ON_WRITE ? " as they were announced" : "");
    if (s->refused)
        printf("  %llu not saved: devices, sockets or FIFOs\n", s->refused);
}

static int do_status(struct call *c)
{
    struct ncf_change_status s;

    if (ncf_change_status(c->ncf, &s))
        return fail(c);
    if (s.not_back[0] && !c->as_netcf) {
        print(stdout, "The last rollback put every file back, but not these interfaces: ", s.not_back,
              "\n");
    }
    if (!s.open)
        puts("No open transaction");
    else if (c->as_netcf)
        puts("There is an open transaction");
    else
        print_open(&s);
    return c->open_only && !s.open ? NONE_OPEN : DONE;
}

static void print_metadata(unsigned m)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        { NCF_META_MODE, "mode" },   { NCF_META_OWNER, "owner" }, { NCF_META_MTIME, "mtime" },
        { NCF_META_XATTR, "xattrs" }, { NCF_META_FLAGS, "flags" }, { NCF_META_LINKS, "hard links" },
    };
    const char *before = " (";

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (m & words[i].bit) {
            printf("%s%s", before, words[i].word);
            before = ", ";
        }
    if (m)
        printf(")");
}

static int do_diff(struct call *c)
{
    static const char *const kinds[] = { [NCF_DIFF_ADDED] = "added", [NCF_DIFF_REMOVED] = "removed",
                                         [NCF_DIFF_CHANGED] = "changed",
                                         [NCF_DIFF_METADATA] = "metadata" };
    struct ncf_difference *d;
    size_t count;

    if (ncf_change_diff(c->ncf, &d, &count))
        return fail(c);
    for (size_t i = 0; i < count; i++) {
        printf("%-8s  ", kinds[d[i].kind]);
        print(stdout, "", d[i].path, "");
        print_metadata(d[i].metadata);
        printf("\n");
    }
    ncf_free(d);
    return DONE;
}

static int do_announce(struct call *c)
{
    if (!c->argument[0])
        return USAGE;
    for (char **path = c->argument; *path; path++)
        if (ncf_change_announce(c->ncf, *path))
            return fail(c);
    return DONE;
}

static int do_discarded(struct call *c)
{
    struct ncf_discarded *d;
    size_t count;

    if (ncf_discarded_list(c->ncf, &d, &count))
        return fail(c);
    for (size_t i = 0; i < count; i++) {
        printf("%llu  %llu path%s  %llu bytes  %s/%s", d[i].id, d[i].files, plural(d[i].files),
               d[i].bytes, c->root, d[i].path);
        print(stdout, d[i].note[0] ? "  " : "", d[i].note, "\n");
    }
    ncf_free(d);
    return DONE;
}

static int do_put_back(struct call *c)
{
    struct ncf_change_result r;
    unsigned long long id;
    char *end;

    if (!c->argument[0] || c->argument[1])
        return USAGE;
    id = strtoull(c->argument[0], &end, 10);
    if (*end || end == c->argument[0])
        return USAGE;
    if (ncf_discarded_restore(c->ncf, id, 0))
        return fail(c);
    printf("configuration %llu put back; commit or roll back\n", id);
    r = result_of(c);
    print_notice(c, &r);
    return DONE;
}

static int do_snapshot_dir(struct call *c)
{
    puts(ncf_snapshot_path(c->ncf));
    return DONE;
}

static int do_nothing(struct call *c)
{
    (void)c;
    return DONE;
}

enum {
    OURS = 1, NETCFS = 2, ARGUMENTS = 4,
    GUARDS = 8,   /* puts a missing guard back first */
    GUARDS_AFTER = 16 /* ... if it fails: else it sees to the guard, or closes the change */
};

static const struct {
    const char *name;
    int (*run)(struct call *c);
    unsigned kind;
} commands[] = {
    { "snapshot_config", do_start_change, OURS | GUARDS_AFTER },
    { "extend", do_extend, OURS | ARGUMENTS | GUARDS_AFTER },
    { "commit_config", do_commit, OURS | GUARDS_AFTER },
    { "rollback_config", do_rollback, OURS | GUARDS_AFTER },
    { "change-begin", do_start_change, OURS | NETCFS | GUARDS_AFTER },
    { "change-commit", do_commit, OURS | NETCFS | GUARDS_AFTER },
    { "change-rollback", do_rollback, OURS | NETCFS | GUARDS_AFTER },
    { "announce", do_announce, OURS | ARGUMENTS | GUARDS },
    { "diff", do_diff, OURS | GUARDS },
    { "status", do_status, OURS | NETCFS | GUARDS },
    { "discarded", do_discarded, OURS | GUARDS },
    { "put-back", do_put_back, OURS | ARGUMENTS | GUARDS },
    { "snapshot-dir", do_snapshot_dir, OURS | NETCFS | GUARDS },
    { "start", do_boot, OURS | NETCFS },
    { "stop", do_nothing, OURS },
    { "restart", do_nothing, OURS },
    { "reload", do_nothing, OURS },
    { "force-reload", do_nothing, OURS },
    { "condrestart", do_nothing, OURS },
    { "try-restart", do_nothing, OURS },
    /* netcf's script: stop reports, every kind of restart rolls back. */
    { "stop", do_status, NETCFS },
    { "restart", do_boot, NETCFS },
    { "reload", do_boot, NETCFS },
    { "force-reload", do_boot, NETCFS },
    { "condrestart", do_boot, NETCFS },
    { "try-restart", do_boot, NETCFS },
};

/* What else went wrong is for the command itself to say. */
static void put_guard_back(const struct call *c)
{
    struct ncf_change_status s;

    if (ncf_change_status(c->ncf, &s) || s.guarded || !(s.deadline || s.has_leash))
        return;
    if (ncf_change_guard(c->ncf) == 0 && !c->as_netcf)
        print_note(c, "the guard of the open change was gone; another watches it now");
    else if (ncf_error(c->ncf, NULL, NULL) == NCF_EEXEC)
        (void)fail(c);
}

static int run(struct call *c)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        unsigned kind = commands[i].kind;
        int r;

        if (strcmp(c->command, commands[i].name) || !(kind & (c->as_netcf ? NETCFS : OURS)))
            continue;
        if (c->argument[0] && !(kind & ARGUMENTS))
            return USAGE;
        if (ncf_change_set_options(c->ncf, &c->options))
            return fail(c);
        if (kind & GUARDS)
            put_guard_back(c);
        r = commands[i].run(c);
        if ((kind & GUARDS_AFTER) && r != DONE && r != USAGE)
            put_guard_back(c);
        return r;
    }
    return USAGE;
}

static const int standard_input = 0;

/* Where the number of an option of start or of a rollback goes; NULL if it has none. */
static unsigned *number_option(struct call *c, const char *name, bool starts)
{
    if (starts)
        return !strcmp(name, "--timeout")       ? &c->options.deadline
               : !strcmp(name, "--grace")       ? &c->options.grace
               : !strcmp(name, "--trial-boots") ? &c->options.trial_boots
                                                : NULL;
    return !strcmp(name, "--limit")           ? &c->options.total_limit
           : !strcmp(name, "--command-limit") ? &c->options.command_limit
                                              : NULL;
}

/* Options of the command, which may stand among its arguments; false: not one of ours. */
static bool take_options(struct call *c, char **argv)
{
    bool starts = !strcmp(c->command, "snapshot_config") || !strcmp(c->command, "change-begin");
    bool rolls_back = !strcmp(c->command, "rollback_config") ||
                      !strcmp(c->command, "change-rollback");
    char **kept = argv;
    unsigned *value;

    c->argument = argv;
    if (c->as_netcf)
        return !*argv; /* exactly one argument, as netcf's script */
    for (; *argv; argv++) {
        if (starts && !strcmp(*argv, "--on-write"))
            c->start_flags |= NCF_START_ON_WRITE;
        else if (starts && !strcmp(*argv, "--leash"))
            c->options.leash = &standard_input;
        else if (starts && !strcmp(*argv, "--note") && argv[1])
            c->options.note = *++argv;
        else if ((starts || rolls_back) && (value = number_option(c, *argv, starts)) && argv[1] &&
                 number(argv[1], value) &&
                 (*value || value == &c->options.grace || value == &c->options.trial_boots))
            argv++;
        else if (rolls_back && !strcmp(*argv, "--files-only"))
            c->rollback_flags |= NCF_ROLLBACK_FILES_ONLY;
        else if (rolls_back && !strcmp(*argv, "--all-interfaces"))
            c->rollback_flags |= NCF_ROLLBACK_ALL_INTERFACES;
        else if (!strcmp(c->command, "status") && !strcmp(*argv, "--open"))
            c->open_only = true;
        else if (!strcmp(c->command, "start") && !strcmp(*argv, "--initramfs"))
            c->initramfs = true;
        else if (**argv == '-')
            return false;
        else
            *kept++ = *argv;
    }
    *kept = NULL;
    return true;
}

static int usage(const struct call *c)
{
    if (c->command && !c->as_netcf)
        print(stderr, "networking-config: ", c->command, ": no command, or not with these arguments\n");
    fputs(c->as_netcf ? netcf_usage : "Usage: networking-config [--root DIR] COMMAND; "
                                      "networking-config --help lists the commands\n",
          stderr);
    return USAGE;
}

static int run_on_root(struct call *c)
{
    int r;

    if (ncf_init(&c->ncf, *c->root ? c->root : "/") == 0) {
        r = run(c);
    } else if (c->ncf) {
        r = fail(c);
    } else {
        fputs("networking-config: out of memory\n", stderr);
        r = FAILED;
    }
    ncf_close(c->ncf);
    return r == USAGE ? usage(c) : r;
}

/* Without them, the first file opened would become standard output or error. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0 && open("/", O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
    struct call c = { .root = "",
                      .as_netcf = argc > 0 && !strcmp(name ? name + 1 : argv[0], NETCF_SCRIPT) };
    char **arg = argc > 0 ? argv + 1 : argv;
    bool script;
    int r;

    if (*arg && !strcmp(*arg, "guard"))
        return be_guard(arg + 1); /* from guard_start() only, so not in the help */
    open_standard_descriptors();
    c.options = (struct ncf_change_options){
        .size = sizeof(c.options), .helper = GUARD_SELF,
        /* A secret is not for the command line, where every user reads it. */
        .token = getenv("NETWORKING_CONFIG_TOKEN"),
    };
    /* As interpreter of an init script the kernel puts "--sysv" and the script's path first. */
    script = *arg && !strcmp(*arg, "--sysv");
    if (script)
        arg += arg[1] ? 2 : 1;
    while (*arg && !c.as_netcf && !strcmp(*arg, "--root") && arg[1]) {
        c.root = strcmp(arg[1], "/") ? arg[1] : "";
        arg += 2;
    }
    if (*arg && !strcmp(*arg, "--help")) {
        fputs(c.as_netcf ? netcf_usage : help, stdout);
    } else if (*arg && !c.as_netcf && !strcmp(*arg, "--version")) {
        printf("networking-config %s\n", ncf_version());
    } else {
        if (!*arg)
            return usage(&c);
        c.command = *arg++;
        if (script)
            *arg = NULL; /* LSB has one argument; Debian's runit adds "--force-sysv" */
        r = take_options(&c, arg) ? run_on_root(&c) : usage(&c);
        if (r)
            return r;
    }
    if (!fflush(stdout) && !ferror(stdout))
        return DONE;
    fputs("networking-config: done, but could not say so on standard output\n", stderr);
    return FAILED;
}
