/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for other programs: the only file that starts one.
 * MUST end in time, whatever the program does, and leave nothing of one that did not.
 * MUST NOT use a shell, $PATH or anything else of the caller's environment.
 *
 * A process of its own watches each program.  It is the reaper of all that the
 * program starts (PR_SET_CHILD_SUBREAPER), so that nothing gets away from it by
 * a double fork or a session of its own; in the caller's process that would take
 * children away from the caller.  When the program ends in time, the watcher
 * ends, too, and what still runs, a daemon, becomes a child of init.
 */
#include "run.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sparse: only what is written takes memory.  What is written beyond fails. */
enum { OUTPUT_MAX = 1024 * 1024 };
enum { FORK_AGAIN_MS = 50, APART_MS = 10000 };

/* The kernel's ABI, for headers that lack it. */
enum {
    ABI_CLOSE_RANGE = 436,
    ABI_MFD_CLOEXEC = 1, ABI_MFD_ALLOW_SEALING = 2,
    ABI_ADD_SEALS = 1033, ABI_SEAL_SIZE = 2 | 4 /* shrink, grow */
};

/* ---- in the watcher and the program: only what is safe after a fork among threads ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t); /* a program that sleeps with the host uses no time */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Where the watcher has them. */
enum { ANSWER = 3, OUTPUT = 4 };

static void close_from(int first)
{
    if (syscall(ABI_CLOSE_RANGE, first, ~0u, 0) == 0)
        return;
    for (int fd = first; fd < 4096; fd++)
        close(fd);
}

/* The caller's descriptors, its sockets and locks among them, are not for others. */
static bool keep_descriptors(int answer, int output)
{
    int high_answer = fcntl(answer, F_DUPFD_CLOEXEC, 10);
    int high_output = output < 0 ? -1 : fcntl(output, F_DUPFD_CLOEXEC, 10);

    if (dup3(high_answer, ANSWER, O_CLOEXEC) < 0)
        return false;
    close(OUTPUT);
    if (high_output >= 0)
        dup3(high_output, OUTPUT, O_CLOEXEC);
    close_from(OUTPUT + 1);
    return true;
}

static void default_signals(void)
{
    sigset_t none;

    /* Not by signal(), which does not let anybody touch libc's own. */
    for (int i = 1; i < 65; i++)
        syscall(SYS_rt_sigaction, i, &(const unsigned long[8]){ 0 }, NULL, 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void answer(int fd, const struct run_result *r)
{
    (void)!write(fd, r, offsetof(struct run_result, output)); /* a caller that is gone asks nothing */
}

/* Where nobody's terminal, directory, mask or signal reaches. */
static void leave_caller(void)
{
    default_signals();
    setsid();
    umask(022);
}

static char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/",
                                     "TERM=dumb", NULL };

/* Ends in another program, or tells why not. */
static void become(const char *const argv[])
{
    struct run_result r = { .end = RUN_NOT_STARTED };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    leave_caller();
    dup2(null, 0);
    if (dup2(OUTPUT, 1) < 0)
        dup2(null, 1);
    dup2(1, 2);
    if (chdir("/") == 0)
        execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    r.status = errno;
    answer(ANSWER, &r);
    _exit(127);
}

/* A process table that is full has room again: what brings a host back waits for that. */
static pid_t fork_in_time(int limit_ms)
{
    int64_t end = now_ms() + limit_ms;
    pid_t pid;

    while ((pid = fork()) < 0 && errno == EAGAIN && now_ms() < end)
        sys_sleep_ms(FORK_AGAIN_MS);
    return pid;
}

static bool kill_listed(const char *list, bool deep);

/* Stopped first, so that it starts nothing more meanwhile. */
static void kill_tree(pid_t pid)
{
    char children[64];

    kill(pid, SIGSTOP);
    snprintf(children, sizeof(children), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    kill_listed(children, true);
    kill(pid, SIGKILL);
}

/* The processes whose numbers are in a file: one generation, or `deep` with all they started. */
static bool kill_listed(const char *list, bool deep)
{
    char text[4096];
    bool any = false;
    int fd = open(list, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (char *p = text, *end; *p; p = end) {
        long pid = strtol(p, &end, 10);

        if (pid <= 1)
            break; /* no number: the end */
        if (deep)
            kill_tree((pid_t)pid);
        else if (kill((pid_t)pid, SIGKILL) == 0)
            any = true;
    }
    return any;
}

/* The children of this process; their children come to it when they die. */
static bool kill_children(void)
{
    return kill_listed("/proc/thread-self/children", false);
}

static void kill_all(pid_t program)
{
    kill(-program, SIGKILL);
    kill(program, SIGKILL);
    for (int rounds = 0; rounds < 1000; rounds++) {
        bool any = kill_children();
        pid_t gone;

        while ((gone = waitpid(-1, NULL, WNOHANG)) > 0)
            any = true;
        if (gone < 0 || (!any && rounds > 10))
            return; /* none is left; or there is no /proc to find them */
        sys_sleep_ms(1);
    }
}

static void watch(pid_t program, int limit_ms, struct run_result *ret)
{
    int64_t end = now_ms() + limit_ms, left;
    sigset_t child;
    int status;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while ((left = end - now_ms()) > 0) {
        pid_t gone;

        while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
            if (gone != program)
                continue;
            ret->end = WIFEXITED(status) ? RUN_EXITED : RUN_SIGNALLED;
            ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
            return;
        }
        sigtimedwait(&child, NULL, &(struct timespec){ left / 1000, left % 1000 * 1000000 });
    }
    ret->end = RUN_TIMED_OUT;
    ret->status = limit_ms;
    kill_all(program);
}

/* What the watcher does; the caller goes on meanwhile. */
static void run_watched(const char *const argv[], int limit_ms, int to_caller, int output)
{
    struct run_result r = { .end = RUN_NOT_STARTED };
    sigset_t child;
    pid_t program;

    if (!keep_descriptors(to_caller, output)) {
        r.status = errno;
        answer(to_caller, &r); /* ANSWER may be a file of the caller's */
        _exit(126);
    }
    default_signals();
    setsid();
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL); /* waits for sigtimedwait() */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    program = fork_in_time(limit_ms);
    if (program == 0)
        become(argv);
    if (program < 0)
        r.status = errno;
    else
        watch(program, limit_ms, &r);
    answer(ANSWER, &r);
    _exit(0);
}

/* ---- in the caller ---- */

/* A file, not a pipe: a daemon that stays may write to it when nobody reads any more. */
static int make_output(void)
{
    int fd = (int)syscall(SYS_memfd_create, "output", ABI_MFD_CLOEXEC | ABI_MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, OUTPUT_MAX) || fcntl(fd, ABI_ADD_SEALS, ABI_SEAL_SIZE))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The last of it that fits. */
static void read_output(int fd, char *text, size_t size)
{
    off_t end = lseek(fd, 0, SEEK_CUR), from = end - (off_t)(size - 1);
    ssize_t n = end > 0 ? pread(fd, text, size - 1, from > 0 ? from : 0) : 0;

    text[n > 0 ? n : 0] = '\0';
    for (ssize_t i = 0; i < n; i++)
        if (!text[i])
            text[i] = ' ';
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
}

/*
 * The status of a child, 0 if it can't be had.  Signals of the caller's may interrupt a
 * wait any number of times, so it is the time that ends one that is only interrupted.
 */
static int wait_for(pid_t child, int64_t end)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR && now_ms() < end)
        ;
    return status;
}

static void not_started(struct run *r)
{
    r->failed = (struct run_result){ .end = RUN_NOT_STARTED, .status = errno };
}

void run_start(struct run *r, const char *const argv[], int limit_ms)
{
    int ends[2];
    pid_t first;

    /* Two forks may have to wait for a process to end, and so may the kill. */
    *r = (struct run){ .answer = -1, .output = -1, .end = now_ms() + 3 * (int64_t)limit_ms + 1000 };
    if (argv[0][0] != '/') {
        errno = EINVAL;
        not_started(r);
        return;
    }
    if (pipe2(ends, O_CLOEXEC)) {
        not_started(r);
        return;
    }
    r->output = make_output();
    /* Twice, so that the watcher is init's child and the caller has none to wait for. */
    first = fork_in_time(limit_ms);
    if (first == 0) {
        if (fork_in_time(limit_ms) == 0)
            run_watched(argv, limit_ms, ends[1], r->output);
        _exit(0);
    }
    if (first < 0)
        not_started(r);
    else
        wait_for(first, r->end);
    close(ends[1]);
    r->answer = ends[0];
}

void run_wait(struct run *r, struct run_result *ret)
{
    ssize_t n;

    *ret = (struct run_result){ .end = RUN_NOT_STARTED, .status = ECHILD };
    /* The watcher answers in time; if it was killed, the pipe ends. */
    do
        n = r->answer < 0 ? 0 : read(r->answer, ret, offsetof(struct run_result, output));
    while (n < 0 && errno == EINTR && now_ms() < r->end);
    if (n < 0)
        ret->status = errno;
    if (r->failed.status)
        *ret = r->failed;
    if (r->output >= 0)
        read_output(r->output, ret->output, sizeof(ret->output));
    sys_close(r->answer);
    sys_close(r->output);
}

void run_command(const char *const argv[], int limit_ms, struct run_result *ret)
{
    struct run r;

    run_start(&r, argv, limit_ms);
    run_wait(&r, ret);
}

static void become_apart(const char *const argv[], const int fds[], int count)
{
    int high[RUN_APART_MAX], null;

    for (int i = 0; i < count; i++)
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, RUN_APART_FD + RUN_APART_MAX);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < RUN_APART_FD; fd++)
        dup2(null, fd);
    for (int i = 0; i < count; i++)
        if (dup2(high[i], RUN_APART_FD + i) < 0)
            _exit(127); /* another file of the caller's would be there */
    close_from(RUN_APART_FD + count);
    if (chdir("/") == 0)
        execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    _exit(127);
}

int run_apart(const char *const argv[], const int fds[], int count)
{
    pid_t first = fork();
    int status;

    if (first == 0) {
        pid_t second;

        leave_caller();
        second = fork();
        if (second == 0)
            become_apart(argv, fds, count);
        _exit(second < 0 ? errno : 0);
    }
    if (first < 0)
        return -1;
    status = wait_for(first, now_ms() + APART_MS);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
    return errno ? -1 : 0;
}

/* One line of /proc/locks: "1: POSIX  ADVISORY  WRITE 123 00:43:5 0 EOF"; `file` is as 00:43:5. */
static bool kill_holder(const char *line, const char *file)
{
    const char *at = strstr(line, file), *word = at;
    long pid;

    while (word > line && word[-1] != ' ')
        word--;
    pid = at ? strtol(word, NULL, 10) : 0;
    if (pid > 1)
        kill_tree((pid_t)pid);
    return pid > 1;
}

static bool kill_holders(const char *file)
{
    char text[4096], *line, *end;
    size_t have = 0;
    bool any = false;
    int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);

    for (ssize_t n; fd >= 0 && (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = '\0';
        for (line = text; (end = strchr(line, '\n')); line = end + 1) {
            *end = '\0';
            any = kill_holder(line, file) || any;
        }
        have = (size_t)(text + have - line);
        memmove(text, line, have);
    }
    close(fd);
    return any;
}

/* By whichever of the two kinds of lock a stack takes on its files, which are whole files' ones. */
static bool is_locked(const char *path)
{
    AUTO_CLOSE fd = sys_openat(AT_FDCWD, path, O_RDONLY, 0);

    return fd >= 0 && (sys_is_marked(fd, 0) || sys_flock(fd, LOCK_SH | LOCK_NB, path));
}

void run_end_holders(const char *lock)
{
    struct sys_stat st;
    char file[64];

    if (sys_statx(AT_FDCWD, lock, &st))
        return;
    snprintf(file, sizeof(file), " %02x:%02x:%llu ", major(st.dev), minor(st.dev),
             (unsigned long long)st.ino);
    /* Reading /proc/locks stops every lock of the host for 10 to 30 ms: only if there is one. */
    for (int rounds = 0; rounds < 1000 && is_locked(lock) && kill_holders(file); rounds++)
        sys_sleep_ms(1);
}

bool run_succeeded(const struct run_result *r)
{
    return r->end == RUN_EXITED && r->status == 0;
}

void run_describe(const struct run_result *r, char *text, size_t size)
{
    switch (r->end) {
    case RUN_EXITED: snprintf(text, size, "exit status %d", r->status); break;
    case RUN_SIGNALLED: snprintf(text, size, "killed by signal %d", r->status); break;
    case RUN_TIMED_OUT: snprintf(text, size, "no end after %d s, killed", (r->status + 999) / 1000); break;
    case RUN_NOT_STARTED: snprintf(text, size, "not started: %s", strerror(r->status)); break;
    }
}

bool run_executable(const char *path)
{
    return access(path, X_OK) == 0;
}

const char *run_program(const char *name, char path[RUN_PATH_SIZE])
{
    static const char *const places[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin",
                                          "/usr/local/sbin" /* our own helper */ };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, RUN_PATH_SIZE, "%s/%s", places[i], name);
        if (run_executable(path))
            return path;
    }
    return NULL;
}
