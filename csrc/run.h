/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_RUN_H
#define NCF_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a command ended. */
enum run_end {
    RUN_EXITED,      /* by itself; `status` is its exit status */
    RUN_SIGNALLED,   /* `status` is the signal */
    RUN_TIMED_OUT,   /* killed with all it had started; `status` is the limit in ms */
    RUN_NOT_STARTED  /* `status` is errno */
};

enum { RUN_OUTPUT_SIZE = 1024, RUN_PATH_SIZE = 64 };

struct run_result {
    enum run_end end;
    int status;
    char output[RUN_OUTPUT_SIZE]; /* the last of what it wrote on either output */
};

/* One command under way. */
struct run {
    int answer; /* a pipe from the process that watches it, or -1 */
    int output; /* what it wrote, or -1 */
    struct run_result failed; /* if it could not be started */
    int64_t end; /* by when it surely answers, in ms */
};

/*
 * Runs argv[0], an absolute path, without a shell: with an environment, a
 * session and descriptors of its own, for at most `limit_ms`; then it is killed
 * with all that it started.  What it leaves running when it ends in time, a DHCP
 * client for instance, goes on.  Changes nothing in the calling process: no
 * signal handler, no child that the caller would have to wait for.
 */
void run_command(const char *const argv[], int limit_ms, struct run_result *ret);
/* The same in two steps, so that several can run at once.  Each start needs its wait. */
void run_start(struct run *r, const char *const argv[], int limit_ms);
void run_wait(struct run *r, struct run_result *ret);

/*
 * Kills who holds a lock on that file or waits for it, with all that they started, and
 * waits a second at most until the lock is free.  Without such a file, or without
 * /proc, it does nothing.
 */
void run_end_holders(const char *lock);

bool run_succeeded(const struct run_result *r);
/* How it ended, in words: "exit status 1", "killed after 30 s" ... */
void run_describe(const struct run_result *r, char *text, size_t size);

/*
 * Starts argv[0], an absolute path, as a process that belongs to nobody: child of
 * init, a session of its own, no terminal, directory or descriptor of the
 * caller's but those of fds[], which it has as RUN_APART_FD, RUN_APART_FD + 1 ...
 * Returns 0 even if the program can't be executed; -1 and errno if no process can be made.
 */
enum { RUN_APART_FD = 3, RUN_APART_MAX = 3 };
int run_apart(const char *const argv[], const int fds[], int count);

bool run_executable(const char *path);
/* The absolute path of a system program, NULL if it is not installed. */
const char *run_program(const char *name, char path[RUN_PATH_SIZE]);

#endif
