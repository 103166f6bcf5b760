/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for the program of its name, which is in /real now under the same name,
 * because ifupdown2 looks at that: runs it and appends a line "START END" to
 * /clocked, in ns of CLOCK_REALTIME.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    char path[4096];
    long long start = now();
    pid_t pid = fork();
    int status = 0;
    FILE *log;

    (void)argc;
    if (pid == 0) {
        snprintf(path, sizeof(path), "/real/%s", program_invocation_short_name);
        execv(path, argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !(log = fopen("/clocked", "a")))
        return 126;
    fprintf(log, "%lld %lld\n", start, now());
    return fclose(log) || !WIFEXITED(status) ? 125 : WEXITSTATUS(status);
}
