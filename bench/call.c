/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * call.c - what ncf_change_start() takes in a C program that holds a handle
 *
 *   call ROOT
 *
 * For each line read: start a change, roll it back, and print the nanoseconds
 * of the start alone.  bench/run.py takes turns with it and does the same from
 * Python.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <time.h>

#include "ncf.h"

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int fail(struct netcf *ncf)
{
    const char *message = NULL, *details = NULL;

    ncf_error(ncf, &message, &details);
    fprintf(stderr, "call: %s: %s\n", message, details != NULL ? details : "");
    ncf_close(ncf);
    return 1;
}

int main(int argc, char **argv)
{
    struct netcf *ncf;
    char line[8];

    if (argc != 2) {
        fprintf(stderr, "usage: call ROOT\n");
        return 2;
    }
    if (ncf_init(&ncf, argv[1]) != 0)
        return fail(ncf);
    while (fgets(line, sizeof line, stdin) != NULL) {
        long long began = now(), took;

        if (ncf_change_start(ncf, 0) != 0)
            return fail(ncf);
        took = now() - began;
        if (ncf_change_rollback(ncf, NCF_ROLLBACK_FILES_ONLY) != 0)
            return fail(ncf);
        printf("%lld\n", took);
        fflush(stdout);
    }
    ncf_close(ncf);
    return 0;
}
