/*
 * Runs one operation under a fault that only the real calls below sys.c can
 * show.  Linked with --wrap for what it wraps.
 *
 *   driver ROOT OPERATION FAULT K     prints: RESULT CODE COUNT
 *
 * none      no fault.
 * memory    the K-th allocation fails.
 * hungry    the K-th allocation and all later ones fail.
 * short     every read and write transfers at most K bytes.
 * nothing   every write transfers 0 bytes.
 * interrupt every call that a signal may interrupt fails K times with EINTR.
 *
 * COUNT is the number of allocations, of interruptions or of short transfers.
 */
#include "ncf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static enum { NONE, MEMORY, HUNGRY, SHORT, NOTHING, INTERRUPT } fault;
static long k, count, interruptions;

/* ---- memory ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);

static int lacks(void)
{
    if (fault > HUNGRY)
        return 0;
    count++;
    return (fault == MEMORY && count == k) || (fault == HUNGRY && count >= k);
}

void *__wrap_malloc(size_t n)
{
    return lacks() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return lacks() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return lacks() ? NULL : __real_realloc(p, n);
}

/* ---- calls ---- */

ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t at);
int __real_open(const char *path, int flags);
int __real_openat(int dirfd, const char *path, int flags, mode_t mode);
int __real_ftruncate(int fd, off_t size);
int __real_fallocate(int fd, int mode, off_t at, off_t n);
int __real_flock(int fd, int operation);

/* K interruptions of each call, then one that gets through. */
static int interrupted(void)
{
    if (fault != INTERRUPT || interruptions++ == k) {
        interruptions = 0;
        return 0;
    }
    count++;
    errno = EINTR;
    return 1;
}

static size_t shortened(size_t n)
{
    if (fault != SHORT || n <= (size_t)k)
        return n;
    count++;
    return (size_t)k;
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
    return interrupted() ? -1 : __real_read(fd, buf, shortened(n));
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    return interrupted() ? -1 : __real_pread(fd, buf, shortened(n), at);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
    return interrupted() ? -1 : fault == NOTHING ? 0 : __real_write(fd, buf, shortened(n));
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t at)
{
    return interrupted() ? -1 : fault == NOTHING ? 0 : __real_pwrite(fd, buf, shortened(n), at);
}

int __wrap_open(const char *path, int flags)
{
    return interrupted() ? -1 : __real_open(path, flags);
}

int __wrap_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    return interrupted() ? -1 : __real_openat(dirfd, path, flags, mode);
}

int __wrap_ftruncate(int fd, off_t size)
{
    return interrupted() ? -1 : __real_ftruncate(fd, size);
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t n)
{
    return interrupted() ? -1 : __real_fallocate(fd, mode, at, n);
}

int __wrap_flock(int fd, int operation)
{
    return interrupted() ? -1 : __real_flock(fd, operation);
}

/* ---- the operation ---- */

static int run(struct netcf *ncf, const char *operation)
{
    struct ncf_difference *differences;
    struct ncf_discarded *discarded;
    struct ncf_scope_file *files;
    struct ncf_pattern *patterns;
    struct ncf_change_status status;
    size_t n;
    int r = -1;

    if (!strcmp(operation, "start"))
        return ncf_change_start(ncf, 0);
    if (!strcmp(operation, "unguarded")) {
        struct ncf_change_options options = { .size = sizeof(options), .deadline = 60,
                                              .helper = "/nowhere" };

        return ncf_change_set_options(ncf, &options) ? -1 : ncf_change_start(ncf, 0);
    }
    if (!strcmp(operation, "start-on-write"))
        return ncf_change_start(ncf, NCF_START_ON_WRITE);
    if (!strcmp(operation, "commit"))
        return ncf_change_commit(ncf, 0);
    if (!strcmp(operation, "rollback") || !strcmp(operation, "rollback-metadata"))
        return ncf_change_rollback(ncf, 0);
    if (!strcmp(operation, "announce"))
        return ncf_change_announce(ncf, "etc/netplan/01-base.yaml");
    if (!strcmp(operation, "restore"))
        return ncf_discarded_restore(ncf, 1, 0);
    if (!strcmp(operation, "status"))
        return ncf_change_status(ncf, &status);
    if (!strcmp(operation, "diff") && (r = ncf_change_diff(ncf, &differences, &n)) == 0)
        ncf_free(differences);
    else if (!strcmp(operation, "files") && (r = ncf_scope_list(ncf, &files, &n)) == 0)
        ncf_free(files);
    else if (!strcmp(operation, "scope") && (r = ncf_change_scope(ncf, &patterns, &n)) == 0)
        ncf_free(patterns);
    else if (!strcmp(operation, "list") && (r = ncf_discarded_list(ncf, &discarded, &n)) == 0)
        ncf_free(discarded);
    return r;
}

int main(int argc, char **argv)
{
    static const char *const faults[] = { "none", "memory", "hungry", "short", "nothing",
                                          "interrupt" };
    struct netcf *ncf;
    size_t chosen = 0;
    long counted;
    int r, code;

    if (argc != 5)
        return 2;
    while (chosen < sizeof(faults) / sizeof(faults[0]) && strcmp(argv[3], faults[chosen]))
        chosen++;
    k = atol(argv[4]);
    fault = chosen;
    r = ncf_init(&ncf, argv[1]);
    if (r == 0)
        r = run(ncf, argv[2]);
    counted = count;
    fault = NONE;
    code = ncf ? ncf_error(ncf, NULL, NULL) : 3;
    printf("%d %d %ld\n", r, code, counted);
    ncf_close(ncf);
    return 0;
}
