/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for a program that was renamed to NAME.real: runs it and appends a
 * line "START END" to /clocked, in ns of CLOCK_REALTIME.
 */
#define _GNU_SOURCE
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
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 6);
    pid_t pid = n > 0 ? fork() : -1;
    int status = 0;
    FILE *log;

    (void)argc;
    if (pid == 0) {
        snprintf(path + n, 6, ".real");
        execv(path, argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !(log = fopen("/clocked", "a")))
        return 126;
    fprintf(log, "%lld %lld\n", start, now());
    return fclose(log) || !WIFEXITED(status) ? 125 : WEXITSTATUS(status);
}
