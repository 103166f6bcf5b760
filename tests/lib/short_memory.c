/*
 * Runs one operation with its k-th allocation failing.  Linked against
 * libncf.a with --wrap for malloc, calloc and realloc.
 *
 *   short_memory ROOT OPERATION K     prints: RESULT CODE ALLOCATIONS
 */
#include "ncf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);

static long allocations, failing = -1;

static int fails(void)
{
    return ++allocations == failing;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

static int run(struct ncf *ncf, const char *operation)
{
    struct ncf_difference *differences;
    struct ncf_discarded *discarded;
    struct ncf_pattern *patterns;
    struct ncf_change_status status;
    size_t count;
    int r;

    if (!strcmp(operation, "start"))
        return ncf_change_start(ncf, 0);
    if (!strcmp(operation, "start-on-write"))
        return ncf_change_start(ncf, NCF_START_ON_WRITE);
    if (!strcmp(operation, "commit"))
        return ncf_change_commit(ncf, 0);
    if (!strcmp(operation, "rollback"))
        return ncf_change_rollback(ncf, 0);
    if (!strcmp(operation, "announce"))
        return ncf_change_announce(ncf, "etc/netplan/01-base.yaml");
    if (!strcmp(operation, "restore"))
        return ncf_discarded_restore(ncf, 1, 0);
    if (!strcmp(operation, "status"))
        return ncf_change_status(ncf, &status);
    if (!strcmp(operation, "diff") && (r = ncf_change_diff(ncf, &differences, &count)) == 0)
        ncf_free(differences);
    else if (!strcmp(operation, "scope") && (r = ncf_change_scope(ncf, &patterns, &count)) == 0)
        ncf_free(patterns);
    else if (!strcmp(operation, "list") && (r = ncf_discarded_list(ncf, &discarded, &count)) == 0)
        ncf_free(discarded);
    return r;
}

int main(int argc, char **argv)
{
    struct ncf *ncf;
    int r, code;

    if (argc != 4 || ncf_init(&ncf, argv[1]))
        return 2;
    allocations = 0;
    failing = atol(argv[3]);
    r = run(ncf, argv[2]);
    failing = -1;
    code = ncf_error(ncf, NULL, NULL);
    printf("%d %d %ld\n", r, code, allocations);
    ncf_close(ncf);
    return 0;
}
