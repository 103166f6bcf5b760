/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What gcov counts is written when a process exits.  These write it before other ends. */
#include <unistd.h>

void __gcov_dump(void);
void __gcov_reset(void);
void coverage_dump(void);
_Noreturn void coverage_exit(int status);
int coverage_execve(const char *path, char *const argv[], char *const environment[]);

/*
 * gcov asks by its address whether there are threads.  This libc's would be of a version
 * that Debian 11, which the adapter is tested on, does not have.
 */
__attribute__((visibility("hidden"))) int __pthread_key_create(void);
int __pthread_key_create(void)
{
    return 0;
}

void coverage_dump(void)
{
    __gcov_dump();
}

/* In place of _exit(). */
_Noreturn void coverage_exit(int status)
{
    __gcov_dump();
    _exit(status);
}

/* In place of execve(). */
int coverage_execve(const char *path, char *const argv[], char *const environment[])
{
    __gcov_dump();
    __gcov_reset();
    return execve(path, argv, environment);
}
