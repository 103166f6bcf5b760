/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for being the only file that talks to the kernel about files.
 * MUST NOT know anything about snapshots, scopes or errors of this library.
 */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#ifdef NCF_SEAM
static sys_seam_hook seam;

void sys_seam_set(sys_seam_hook hook)
{
    seam = hook;
}

static int seam_enter(const char *call, const char *name)
{
    int e = seam ? seam(call, name ? name : "") : 0;

    if (e)
        errno = e;
    return e;
}
#define SEAM(call, name)            \
    do {                            \
        if (seam_enter(call, name)) \
            return -1;              \
    } while (0)
#else
#define SEAM(call, name) ((void)(name))
#endif

/* Bounded, so that a kernel that answers nothing but EINTR can't hang a boot. */
static bool interrupted(long result, int *tries)
{
    return result < 0 && errno == EINTR && --*tries;
}

#define RETRY(result, expression)                 \
    do {                                          \
        int tries_ = 1000;                        \
        do                                        \
            (result) = (expression);              \
        while (interrupted((result), &tries_));   \
    } while (0)

/*
 * What would grow beyond RLIMIT_FSIZE shall fail with EFBIG, and not end a
 * program that never asked for the signal: it stays blocked in this thread
 * meanwhile, and is taken out of the queue.
 */
struct size_limit {
    sigset_t before;
    bool keep; /* it was pending already: the caller's */
};

static void size_limit_set(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGXFSZ);
}

static void size_limit_block(struct size_limit *l)
{
    sigset_t signal, pending;

    size_limit_set(&signal);
    sigprocmask(SIG_BLOCK, &signal, &l->before);
    l->keep = sigismember(&l->before, SIGXFSZ) && sigpending(&pending) == 0 &&
              sigismember(&pending, SIGXFSZ);
}

static void size_limit_restore(const struct size_limit *l, bool failed)
{
    int saved = errno;
    sigset_t signal;

    size_limit_set(&signal);
    if (failed && saved == EFBIG && !l->keep)
        sigtimedwait(&signal, NULL, &(struct timespec){ 0, 0 });
    sigprocmask(SIG_SETMASK, &l->before, NULL);
    errno = saved;
}

#define LIMITED(result, expression)                  \
    do {                                             \
        struct size_limit limit_;                    \
        size_limit_block(&limit_);                   \
        (result) = (expression);                     \
        size_limit_restore(&limit_, (result) != 0);  \
    } while (0)

/*
 * The kernel's ABI, spelt out: musl's headers of 2023 lack these, and a build
 * must not need the kernel's own.
 */
struct abi_open_how {
    uint64_t flags, mode, resolve;
};
enum { ABI_NO_MAGICLINKS = 0x02, ABI_NO_SYMLINKS = 0x04, ABI_BENEATH = 0x08 };

struct abi_statx_timestamp {
    int64_t sec;
    uint32_t nsec;
    int32_t reserved;
};
struct abi_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct abi_statx_timestamp atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare[14];
};
_Static_assert(sizeof(struct abi_statx) == 256, "struct statx");
enum { ABI_TMPFS = 0x01021994, ABI_OVERLAYFS = 0x794c7630, ABI_EXT = 0xef53, ABI_XFS = 0x58465342 };
#define ABI_RAMFS 0x858458f6u
#define ABI_BTRFS 0x9123683eu
#define ABI_F2FS 0xf2f52010u
enum { ABI_STATX_BASIC = 0x7ff, ABI_AT_EMPTY_PATH = 0x1000 };

struct abi_dirent64 {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};
#define ABI_GETFLAGS _IOR('f', 1, long)
#define ABI_SETFLAGS _IOW('f', 2, long)
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

int sys_open_root(const char *path)
{
    int fd;

    SEAM("open", path);
    RETRY(fd, openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd;
}

int sys_openat2(int dirfd, const char *path, int flags)
{
    struct abi_open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = ABI_BENEATH | ABI_NO_SYMLINKS | ABI_NO_MAGICLINKS,
    };
    long fd;

    SEAM("openat2", path);
    RETRY(fd, syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
    return (int)fd;
}

int sys_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    int fd;

    SEAM(flags & O_CREAT ? "openat-create" : "openat", name);
    RETRY(fd, openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode));
    return fd;
}

int sys_open_link(int dirfd, const char *name)
{
    int fd;

    SEAM("openat", name);
    RETRY(fd, openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    return fd;
}

void sys_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

void sys_close_cleanup(int *fd)
{
    int saved = errno;

    sys_close(*fd);
    errno = saved;
}

ssize_t sys_read(int fd, void *buf, size_t n, const char *name)
{
    ssize_t got;

    SEAM("read", name);
    RETRY(got, read(fd, buf, n));
    return got;
}

ssize_t sys_pread(int fd, void *buf, size_t n, uint64_t offset, const char *name)
{
    ssize_t got;

    SEAM("pread", name);
    RETRY(got, pread(fd, buf, n, (off_t)offset));
    return got;
}

/* At *offset, which moves on; NULL: where the descriptor stands. */
static int write_all(int fd, const char *p, size_t n, uint64_t *offset)
{
    while (n) {
        ssize_t put;

        RETRY(put, offset ? pwrite(fd, p, n, (off_t)*offset) : write(fd, p, n));
        if (put == 0)
            errno = ENOSPC;
        if (put <= 0)
            return -1;
        p += put;
        n -= (size_t)put;
        if (offset)
            *offset += (uint64_t)put;
    }
    return 0;
}

int sys_write(int fd, const void *buf, size_t n, const char *name)
{
    int r;

    SEAM("write", name);
    LIMITED(r, write_all(fd, buf, n, NULL));
    return r;
}

int sys_pwrite(int fd, const void *buf, size_t n, uint64_t offset, const char *name)
{
    int r;

    SEAM("pwrite", name);
    LIMITED(r, write_all(fd, buf, n, &offset));
    return r;
}

int sys_fsync(int fd, const char *name)
{
    SEAM("fsync", name);
    /* Never retried: a second fsync may say 0 although the first lost the data. */
    return fsync(fd);
}

void sys_write_behind(int fd, uint64_t offset, uint64_t n)
{
#ifdef SYNC_FILE_RANGE_WRITE
    int saved = errno;

    (void)sync_file_range(fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
    errno = saved;
#else
    (void)fd, (void)offset, (void)n;
#endif
}

static int set_size(int fd, off_t size)
{
    int r;

    RETRY(r, ftruncate(fd, size));
    return r;
}

int sys_ftruncate(int fd, uint64_t size, const char *name)
{
    int r;

    SEAM("ftruncate", name);
    LIMITED(r, set_size(fd, (off_t)size));
    return r;
}

static int allocate(int fd, off_t n)
{
    int r;

    RETRY(r, fallocate(fd, 0, 0, n));
    return r;
}

int sys_fallocate(int fd, uint64_t n, const char *name)
{
    int r;

    SEAM("fallocate", name);
    LIMITED(r, allocate(fd, (off_t)n));
    return r;
}

int sys_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    SEAM("renameat", to);
    return renameat(from_dir, from, to_dir, to);
}

int sys_unlinkat(int dirfd, const char *name, int flags)
{
    SEAM("unlinkat", name);
    return unlinkat(dirfd, name, flags);
}

int sys_linkat(int from_dir, const char *from, int to_dir, const char *to)
{
    SEAM("linkat", to);
    return linkat(from_dir, from, to_dir, to, 0);
}

int sys_symlinkat(const char *target, int dirfd, const char *name)
{
    SEAM("symlinkat", name);
    return symlinkat(target, dirfd, name);
}

ssize_t sys_readlinkat(int dirfd, const char *name, char *buf, size_t n)
{
    SEAM("readlinkat", name);
    return readlinkat(dirfd, name, buf, n);
}

int sys_mkdirat(int dirfd, const char *name, mode_t mode)
{
    SEAM("mkdirat", name);
    return mkdirat(dirfd, name, mode);
}

ssize_t sys_getdents(int fd, void *buf, size_t n, const char *name)
{
    SEAM("getdents", name);
    return (ssize_t)syscall(SYS_getdents64, fd, buf, n);
}

const char *sys_dirent_next(const void *buf, size_t n, size_t *pos)
{
    const struct abi_dirent64 *d;

    if (*pos >= n)
        return NULL;
    d = (const void *)((const char *)buf + *pos);
    *pos += d->reclen;
    return d->name;
}

bool sys_dirent_is_file(const char *name)
{
    enum { REGULAR = 8 };

    return (unsigned char)name[-1] == REGULAR; /* the byte before it is its type */
}

/* Kernels before 4.11. */
static int stat_without_statx(int dirfd, const char *name, struct sys_stat *ret)
{
    struct stat st;
    int flags = 0; /* what the kernel writes, whatever the request's size says */

    if (name ? fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(dirfd, &st))
        return -1;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        int fd = name ? openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                      : dirfd;

        if (fd >= 0 && syscall(SYS_ioctl, fd, ABI_GETFLAGS, &flags))
            flags = 0;
        if (name)
            sys_close(fd);
    }
    *ret = (struct sys_stat){
        .mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid,
        .nlink = (uint32_t)st.st_nlink, .flags = (uint32_t)flags & FLAGS_KEPT,
        .size = (uint64_t)st.st_size, .dev = st.st_dev, .ino = st.st_ino,
        .mtime = { st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec },
        .ctime = { st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec },
    };
    return 0;
}

int sys_statx(int dirfd, const char *name, struct sys_stat *ret)
{
    struct abi_statx x;

    SEAM("statx", name);
    if (syscall(SYS_statx, dirfd, name ? name : "",
                AT_SYMLINK_NOFOLLOW | (name ? 0 : ABI_AT_EMPTY_PATH), ABI_STATX_BASIC, &x))
        return errno == ENOSYS ? stat_without_statx(dirfd, name, ret) : -1;
    *ret = (struct sys_stat){
        .mode = x.mode, .uid = x.uid, .gid = x.gid, .nlink = x.nlink,
        .flags = (uint32_t)x.attributes & FLAGS_KEPT,
        .size = x.size, .dev = makedev(x.dev_major, x.dev_minor), .ino = x.ino,
        .mtime = { x.mtime.sec, x.mtime.nsec },
        .ctime = { x.ctime.sec, x.ctime.nsec },
    };
    return 0;
}

int sys_fchmod(int fd, mode_t mode, const char *name)
{
    SEAM("fchmod", name);
    return fchmod(fd, mode);
}

int sys_fchmodat(int dirfd, const char *name, mode_t mode)
{
    int fd, r;

    SEAM("fchmodat", name);
    /* Not by name: a link or another file may stand there since a moment ago. */
    RETRY(fd, openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    /* An ordinary user under a umask that took his right to read; from Linux 6.6. */
    if (fd < 0 && errno == EACCES)
        return (int)syscall(SYS_fchmodat2, dirfd, name, mode, AT_SYMLINK_NOFOLLOW);
    if (fd < 0)
        return -1;
    r = fchmod(fd, mode);
    sys_close_cleanup(&fd);
    return r;
}

int sys_fchown(int fd, uint32_t uid, uint32_t gid, const char *name)
{
    SEAM("fchown", name);
    /* fchown() refuses what sys_open_link() opened. */
    return fchownat(fd, "", uid, gid, ABI_AT_EMPTY_PATH);
}

/* The path that leads to what sys_open_link() opened, and not to where that leads. */
static const char *link_path(int fd, char path[32])
{
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return path;
}

int sys_utimensat(int fd, bool link, struct stamp mtime)
{
    struct timespec times[2] = {
        { .tv_nsec = UTIME_OMIT },
        { .tv_sec = (time_t)mtime.sec, .tv_nsec = (long)mtime.nsec },
    };
    char path[32];
    int r;

    SEAM("utimensat", "");
    if (!link)
        return futimens(fd, times);
    r = utimensat(fd, "", times, ABI_AT_EMPTY_PATH);
    if (r && errno == EINVAL) /* kernels before 5.8 */
        r = utimensat(AT_FDCWD, link_path(fd, path), times, 0);
    return r;
}

int sys_setflags(int fd, uint32_t flags, const char *name)
{
    int now = 0;

    SEAM("ioctl", name);
    /* Not ioctl(): the type of its request differs between libcs. */
    if (syscall(SYS_ioctl, fd, ABI_GETFLAGS, &now))
        return -1;
    if (((uint32_t)now & FLAGS_KEPT) == flags)
        return 0;
    now = (now & ~FLAGS_KEPT) | (int)flags;
    return (int)syscall(SYS_ioctl, fd, ABI_SETFLAGS, &now);
}

int sys_flock(int fd, int operation, const char *name)
{
    int r;

    SEAM("flock", name);
    RETRY(r, flock(fd, operation));
    return r;
}

ssize_t sys_listxattr(int fd, bool link, char *buf, size_t n)
{
    char path[32];

    SEAM("listxattr", "");
    return link ? listxattr(link_path(fd, path), buf, n) : flistxattr(fd, buf, n);
}

ssize_t sys_getxattr(int fd, bool link, const char *attr, void *buf, size_t n)
{
    char path[32];

    SEAM("getxattr", attr);
    return link ? getxattr(link_path(fd, path), attr, buf, n) : fgetxattr(fd, attr, buf, n);
}

int sys_setxattr(int fd, bool link, const char *attr, const void *value, size_t n)
{
    char path[32];

    SEAM("setxattr", attr);
    return link ? setxattr(link_path(fd, path), attr, value, n, 0)
                : fsetxattr(fd, attr, value, n, 0);
}

int sys_removexattr(int fd, bool link, const char *attr)
{
    char path[32];

    SEAM("removexattr", attr);
    return link ? removexattr(link_path(fd, path), attr) : fremovexattr(fd, attr);
}

static struct flock mark_of(short type, uint64_t key)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET,
                           .l_start = (off_t)(key & INT32_MAX), .l_len = 1 };
}

int sys_mark(int fd, uint64_t key)
{
    struct flock mark = mark_of(F_RDLCK, key);

    SEAM("mark", "");
    return fcntl(fd, F_OFD_SETLK, &mark);
}

int sys_is_marked(int fd, uint64_t key)
{
    struct flock mark = mark_of(F_WRLCK, key);

    SEAM("is_marked", "");
    if (fcntl(fd, F_OFD_GETLK, &mark))
        return -1;
    return mark.l_type != F_UNLCK;
}

int sys_watch(int fd)
{
    char path[32];
    int watch;

    SEAM("inotify_init", "");
    watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (inotify_add_watch(watch, path, IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF) < 0) {
        sys_close_cleanup(&watch);
        return -1;
    }
    return watch;
}

static int timer_at(uint64_t until)
{
    struct itimerspec at = { .it_value = { .tv_sec = (time_t)(until / 1000000000u),
                                           .tv_nsec = (long)(until % 1000000000u) + !until } };
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);

    if (fd < 0 || timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        return fd;
    sys_close_cleanup(&fd);
    return -1;
}

int sys_sleep_until(int watch, int line, uint64_t until)
{
    AUTO_CLOSE timer = until == SYS_NEVER ? -1 : timer_at(until);
    struct pollfd on[] = { { .fd = watch, .events = POLLIN },
                           { .fd = line, .events = POLLRDHUP },
                           { .fd = timer, .events = POLLIN } };
    char events[4096];
    int n;

    SEAM("sleep_until", "");
    if (until != SYS_NEVER && timer < 0)
        return -1;
    RETRY(n, poll(on, 3, -1));
    if (n < 0)
        return -1;
    if (on[1].revents)
        return SYS_WOKEN_BY_HANGUP;
    if (!on[0].revents)
        return SYS_WOKEN_BY_TIME;
    /* All that is there: what happened is looked up, not read from here. */
    while (read(watch, events, sizeof(events)) > 0)
        ;
    return SYS_WOKEN_BY_NAMES;
}

/* A peer that is gone without a word is noticed after this, in seconds. */
enum { TCP_IDLE = 10, TCP_INTERVAL = 5, TCP_PROBES = 3 };

static void notice_dead_peer(int fd)
{
    static const struct {
        int level, option, value;
    } settings[] = {
        { IPPROTO_TCP, TCP_KEEPIDLE, TCP_IDLE },
        { IPPROTO_TCP, TCP_KEEPINTVL, TCP_INTERVAL },
        { IPPROTO_TCP, TCP_KEEPCNT, TCP_PROBES },
        /* The same for what was sent and is not acknowledged. */
        { IPPROTO_TCP, TCP_USER_TIMEOUT, (TCP_IDLE + TCP_PROBES * TCP_INTERVAL) * 1000 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        (void)setsockopt(fd, settings[i].level, settings[i].option, &settings[i].value,
                         sizeof(settings[i].value)); /* other sockets have no such setting */
}

bool sys_is_line(int fd)
{
    struct stat st;

    if (fstat(fd, &st))
        return false;
    if (S_ISSOCK(st.st_mode))
        notice_dead_peer(fd);
    return S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) || isatty(fd);
}

int sys_pipe(int *ret_read, int *ret_write)
{
    int ends[2];

    SEAM("pipe", "");
    if (pipe2(ends, O_CLOEXEC))
        return -1;
    *ret_read = ends[0];
    *ret_write = ends[1];
    return 0;
}

bool sys_wait_readable(int fd, int ms)
{
    struct pollfd on = { .fd = fd, .events = POLLIN };
    int n;

    RETRY(n, poll(&on, 1, ms));
    return n > 0;
}

void sys_protect(void)
{
    static const int limits[] = { RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU };
    AUTO_CLOSE fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        uint64_t soft_hard[] = { UINT64_MAX, UINT64_MAX }; /* no limit */

        if (syscall(SYS_prlimit64, 0, limits[i], soft_hard, NULL) &&
            syscall(SYS_prlimit64, 0, limits[i], NULL, soft_hard) == 0) {
            soft_hard[0] = soft_hard[1];
            (void)syscall(SYS_prlimit64, 0, limits[i], soft_hard, NULL);
        }
    }
    (void)!write(fd, "-1000", 5); /* who may not, or has no /proc, goes without */
}

bool sys_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

struct stamp sys_now(void)
{
    struct timespec t;

    /* The last tick: an inode that changes now may get a time before CLOCK_REALTIME's. */
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (struct stamp){ t.tv_sec, (uint32_t)t.tv_nsec };
}

uint64_t sys_boottime(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The first line of a small file of /proc; "" where that is not there. */
static void read_proc(const char *path, char *text, size_t size)
{
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    sys_close(fd);
}

void sys_program(char *name, size_t size)
{
    enum { KERNEL_CUTS_AT = 15 };
    const char *called = program_invocation_short_name;

    read_proc("/proc/self/comm", name, size);
    if (!*name || (strlen(name) == KERNEL_CUTS_AT && !strncmp(called, name, KERNEL_CUTS_AT)))
        snprintf(name, size, "%s", called);
}

void sys_boot_id(char id[37])
{
    read_proc("/proc/sys/kernel/random/boot_id", id, 37);
}

bool sys_is_volatile(const char *path)
{
    struct statfs s;

    return statfs(path, &s) || s.f_type == ABI_TMPFS || (uint32_t)s.f_type == ABI_RAMFS ||
           s.f_type == ABI_OVERLAYFS;
}

int sys_stamps(int fd)
{
    static const uint32_t kinds[] = { ABI_EXT,   ABI_XFS,   ABI_BTRFS, ABI_F2FS,
                                      ABI_TMPFS, ABI_RAMFS, ABI_OVERLAYFS };
    struct statfs s;
    int known = 0;

    SEAM("fstatfs", "");
    if (fstatfs(fd, &s))
        return -1;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        known |= (uint32_t)s.f_type == kinds[i];
    return known;
}

void sys_sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

void sys_random(void *buf, size_t n)
{
    struct timespec t;
    uint64_t mix;
    unsigned char *p = buf;

    if (getrandom(buf, n, 1 /* GRND_NONBLOCK: early boot must not wait */) == (ssize_t)n)
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    mix = (uint64_t)t.tv_nsec * 0x9E3779B97F4A7C15u ^ (uint64_t)getpid() << 32;
    for (size_t i = 0; i < n; i++) {
        mix = mix * 6364136223846793005u + 1442695040888963407u;
        p[i] = (unsigned char)(mix >> 56);
    }
}
