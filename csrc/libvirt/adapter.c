/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libnetcf-change.so: responsible for answering netcf's transaction calls from
 * this project's core, in a process that has libnetcf.so.1: libvirtd.
 * MUST answer for the core's failures only, and for each once: every other
 * error is libnetcf's.  MUST NOT print, exit, or reach the programs that the
 * process starts.
 */

/* In here the core's calls go by other names (see the Makefile): netcf's are those served. */
#define ncf_error core_error
#define ncf_change_begin core_change_begin
#define ncf_change_commit core_change_commit
#define ncf_change_rollback core_change_rollback
#include "../ncf.h"
#undef ncf_error
#undef ncf_change_begin
#undef ncf_change_commit
#undef ncf_change_rollback

#include "../path.h"
#include "../sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEADLINE "NETCF_CHANGE_DEADLINE"
#define ITSELF "libnetcf-change.so"

/*
 * Built with a new glibc, loaded with an old one.  glibc 2.34 moved dlsym()
 * from libdl to libc and has it in its old version, too.  Weak, because a
 * program on the way to libvirtd may have no libdl, and must run all the same.
 */
#if defined(__x86_64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34) /* before that there is no other, and old linkers refuse to name it */
__asm__(".symver dlsym, dlsym@GLIBC_2.2.5");
#endif
#endif
#pragma weak dlsym

/*
 * These came with glibc 2.33.  The core asks them only where the kernel has no
 * statx(), before Linux 4.11: there, a start fails.
 */
int fstat(int fd, struct stat *st)
{
    (void)fd;
    (void)st;
    errno = ENOSYS;
    return -1;
}

int fstatat(int dirfd, const char *restrict name, struct stat *restrict st, int flags)
{
    (void)name;
    (void)flags;
    return fstat(dirfd, st);
}

/* ---- the calls ---- */

/* The core's failure that libvirt asks for next, in the thread that saw it. */
static __thread struct {
    int code; /* NCF_NOERROR: none */
    char message[128];
    char details[2048];
} failure;

static int fail(int code, const char *message, const char *details)
{
    failure.code = code;
    snprintf(failure.message, sizeof(failure.message), "%s", message);
    snprintf(failure.details, sizeof(failure.details), "%s", details ? details : "");
    return -1;
}

static int fail_as(struct netcf *core)
{
    const char *message, *details;
    int code = core_error(core, &message, &details);

    return fail(code, message, details);
}

/* On a handle of its own: the caller's is libnetcf's and means nothing to the core. */
static int serve(int (*call)(struct netcf *core, unsigned int flags), unsigned int flags)
{
    struct netcf *core;
    int result;

    failure.code = NCF_NOERROR;
    result = ncf_init(&core, NULL);
    if (result == -2)
        return fail(NCF_ENOMEM, "out of memory", NULL);
    result = result || call(core, flags) ? fail_as(core) : 0;
    ncf_close(core);
    return result;
}

/* libvirt has no argument for it, so the administrator sets one for all. */
static int begin(struct netcf *core, unsigned int flags)
{
    struct ncf_change_options options = { .size = sizeof(options) };
    const char *text = getenv(DEADLINE);
    char *end = NULL;

    if (text && *text) {
        unsigned long seconds = strtoul(text, &end, 10);

        /* What is no number becomes one that is refused, with the core's words. */
        options.deadline = *end || seconds > UINT32_MAX ? UINT32_MAX : (unsigned int)seconds;
    }
    return ncf_change_set_options(core, &options) || core_change_begin(core, flags);
}

int ncf_change_begin(struct netcf *netcf, unsigned int flags)
{
    (void)netcf;
    return serve(begin, flags);
}

int ncf_change_commit(struct netcf *netcf, unsigned int flags)
{
    (void)netcf;
    return serve(core_change_commit, flags);
}

int ncf_change_rollback(struct netcf *netcf, unsigned int flags)
{
    (void)netcf;
    return serve(core_change_rollback, flags);
}

/* The function of this name that would have been called without this library. */
static void real(const char *name, void *ret_function)
{
    void *found = dlsym ? dlsym(RTLD_NEXT, name) : NULL;

    memcpy(ret_function, &found, sizeof(found));
}

int ncf_error(struct netcf *netcf, const char **errmsg, const char **details)
{
    int (*theirs)(struct netcf *, const char **, const char **);
    int code = failure.code;

    if (code == NCF_NOERROR) {
        real("ncf_error", &theirs);
        return theirs ? theirs(netcf, errmsg, details) : NCF_NOERROR;
    }
    /* Once: the next failure that libvirt asks about is libnetcf's own. */
    failure.code = NCF_NOERROR;
    if (errmsg)
        *errmsg = failure.message;
    if (details)
        *details = failure.details[0] ? failure.details : NULL;
    return code;
}

/* ---- what libnetcf has read ---- */

struct augeas;

/* Whether a change was started or ended, by whatever process, since this was last asked. */
static bool state_changed(const struct augeas *aug)
{
    static __thread const struct augeas *of;
    static __thread struct stamp seen;
    struct sys_stat st;
    bool same;

    if (sys_statx(AT_FDCWD, "/" PATH_STATE, &st))
        return false;
    same = aug == of && st.ctime.sec == seen.sec && st.ctime.nsec == seen.nsec;
    of = aug;
    /* Clocks tick coarsely: a later change may get the same time while that is young. */
    seen = sys_now().sec - st.ctime.sec > 1 ? st.ctime : (struct stamp){ 0, 0 };
    return !same;
}

/*
 * Augeas reads a file again when the second of its mtime differs from the one
 * it knows.  A rollback puts the old mtime back, so the known ones must go.
 */
int aug_load(struct augeas *aug)
{
    int (*load)(struct augeas *);
    int (*rm)(struct augeas *, const char *);

    real("aug_load", &load);
    real("aug_rm", &rm);
    if (rm && state_changed(aug))
        rm(aug, "/augeas/files//mtime");
    return load ? load(aug) : -1;
}

/* ---- the process it is in ---- */

static bool names_itself(const char *item, size_t n)
{
    size_t own = strlen(ITSELF);

    return n >= own && !memcmp(item + n - own, ITSELF, own);
}

/* Not in a shell or start-stop-daemon on the way to libvirtd: that must inherit it. */
static bool in_daemon(void)
{
    return !strcmp(program_invocation_short_name, "libvirtd") ||
           !strcmp(program_invocation_short_name, "virtinterfaced");
}

__attribute__((constructor)) static void hide_from_children(void)
{
    char *list = getenv("LD_PRELOAD"), *item = list;

    if (!list || !in_daemon())
        return;
    while (*item) {
        size_t n = strcspn(item, " :");
        size_t next = n + strspn(item + n, " :");

        if (names_itself(item, n))
            memmove(item, item + next, strlen(item + next) + 1);
        else
            item += next;
    }
    if (!*list)
        unsetenv("LD_PRELOAD");
}
