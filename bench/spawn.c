/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spawn.c - run commands one after the other and print what they took
 *
 *   spawn COMMAND [ARGUMENT]... [, COMMAND [ARGUMENT]...]...
 *
 * Prints "NANOSECONDS KIB": wall time from before the first is spawned until
 * after the last has ended, and the largest resident size any of them had.
 *
 * This is not left to bench/run.py because a child's ru_maxrss begins with what
 * its parent holds at the moment of exec: below an interpreter, every program
 * would seem as large as the interpreter.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Returns the command's resident size in KiB, or -1 unless it succeeded. */
static long run(char **command, const posix_spawn_file_actions_t *quiet)
{
    struct rusage usage;
    pid_t pid;
    int status;

    if (posix_spawnp(&pid, command[0], quiet, NULL, command, environ) != 0 ||
        wait4(pid, &status, 0, &usage) != pid || status != 0)
        return -1;
    return usage.ru_maxrss;
}

int main(int argc, char **argv)
{
    posix_spawn_file_actions_t quiet;
    long long began;
    long largest = 0;

    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    began = now();
    for (int first = 1, last = 1; first < argc; first = ++last) {
        long size;

        while (last < argc && strcmp(argv[last], ",") != 0)
            last++;
        argv[last] = NULL;
        size = run(argv + first, &quiet);
        if (size < 0) {
            fprintf(stderr, "spawn: %s failed\n", argv[first]);
            return 1;
        }
        largest = size > largest ? size : largest;
    }
    printf("%lld %ld\n", now() - began, largest);
    return 0;
}
