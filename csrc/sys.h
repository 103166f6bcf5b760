/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_SYS_H
#define NCF_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The one seam for all system calls.  Wrappers are named after their call,
 * return -1 and set errno as it does, retry EINTR, and set O_CLOEXEC.  `name`
 * where the kernel needs none is for the seam and its log.
 */

#ifdef NCF_SEAM
/* Called before every call; a nonzero result is the errno to fail with instead. */
typedef int (*sys_seam_hook)(const char *call, const char *name);
void sys_seam_set(sys_seam_hook hook);
#endif

struct stamp {
    int64_t sec;
    uint32_t nsec;
};

/* Inode flags that are saved and restored; the values are FS_..._FL and STATX_ATTR_... alike. */
enum { FLAG_IMMUTABLE = 0x10, FLAG_APPEND = 0x20, FLAG_NODUMP = 0x40 };
#define FLAGS_KEPT (FLAG_IMMUTABLE | FLAG_APPEND | FLAG_NODUMP)
#define FLAGS_LOCKING (FLAG_IMMUTABLE | FLAG_APPEND)

struct sys_stat {
    uint32_t mode; /* type and permissions */
    uint32_t uid, gid;
    uint32_t nlink;
    uint32_t flags; /* FLAGS_KEPT */
    uint64_t size;
    uint64_t dev, ino;
    struct stamp mtime, ctime;
};

int sys_open_root(const char *path);
/* openat2 beneath `dirfd`, following no symbolic link; ENOSYS on old kernels. */
int sys_openat2(int dirfd, const char *path, int flags);
int sys_openat(int dirfd, const char *name, int flags, mode_t mode);
/*
 * A descriptor of a symbolic link itself, which stays that link's whatever
 * happens to its name: for statx, fchown, readlinkat with the name "", and the
 * calls that have `link`, which is true for it.
 */
int sys_open_link(int dirfd, const char *name);
void sys_close(int fd);
ssize_t sys_read(int fd, void *buf, size_t n, const char *name);
ssize_t sys_pread(int fd, void *buf, size_t n, uint64_t offset, const char *name);
/* Writes all of it or fails. */
int sys_write(int fd, const void *buf, size_t n, const char *name);
int sys_pwrite(int fd, const void *buf, size_t n, uint64_t offset, const char *name);
int sys_fsync(int fd, const char *name);
/* Begins to write out what was written so far; promises nothing. */
void sys_write_behind(int fd, uint64_t offset, uint64_t n);
int sys_ftruncate(int fd, uint64_t size, const char *name);
int sys_fallocate(int fd, uint64_t n, const char *name);
int sys_renameat(int from_dir, const char *from, int to_dir, const char *to);
int sys_unlinkat(int dirfd, const char *name, int flags);
int sys_linkat(int from_dir, const char *from, int to_dir, const char *to);
int sys_symlinkat(const char *target, int dirfd, const char *name);
ssize_t sys_readlinkat(int dirfd, const char *name, char *buf, size_t n);
int sys_mkdirat(int dirfd, const char *name, mode_t mode);
/* Entries as getdents64 gives them: walk with sys_dirent_next(). */
ssize_t sys_getdents(int fd, void *buf, size_t n, const char *name);
/* The name at *pos, which then moves on; NULL at the end. */
const char *sys_dirent_next(const void *buf, size_t n, size_t *pos);
/* Of such a name: whether the directory itself says that it is a regular file's. */
bool sys_dirent_is_file(const char *name);
/* Never follows a link; name NULL: the descriptor itself. */
int sys_statx(int dirfd, const char *name, struct sys_stat *ret);
int sys_fchmod(int fd, mode_t mode, const char *name);
/* Of a directory, never through a link. */
int sys_fchmodat(int dirfd, const char *name, mode_t mode);
int sys_fchown(int fd, uint32_t uid, uint32_t gid, const char *name);
/* Sets mtime, leaves atime. */
int sys_utimensat(int fd, bool link, struct stamp mtime);
int sys_setflags(int fd, uint32_t flags, const char *name);
int sys_flock(int fd, int operation, const char *name);

/* Extended attributes; those of a link only where /proc is. */
ssize_t sys_listxattr(int fd, bool link, char *buf, size_t n);
ssize_t sys_getxattr(int fd, bool link, const char *attr, void *buf, size_t n);
int sys_setxattr(int fd, bool link, const char *attr, const void *value, size_t n);
int sys_removexattr(int fd, bool link, const char *attr);

/*
 * Marks the open file `fd` for as long as this descriptor lives: other processes
 * see the mark, it keeps nobody from anything (a shared record lock at `key`).
 */
int sys_mark(int fd, uint64_t key);
/* 1: somebody else's mark with this key is on the file; 0: none; -1: failure. */
int sys_is_marked(int fd, uint64_t key);
/* A descriptor that tells of names that appear in the directory `fd` or go. */
int sys_watch(int fd);
/*
 * Sleeps until that happens, the other end of `line` hangs up, or
 * sys_boottime() reaches `until` (SYS_NEVER: not by time), whichever is first.
 * A descriptor may be -1.  Returns what it was.
 */
#define SYS_NEVER UINT64_MAX
enum sys_woken { SYS_WOKEN_BY_TIME = 1, SYS_WOKEN_BY_NAMES, SYS_WOKEN_BY_HANGUP };
int sys_sleep_until(int watch, int line, uint64_t until);
/* Whether `fd` is something that can hang up; a network connection then notices a dead peer. */
bool sys_is_line(int fd);
/* Both ends close on exec. */
int sys_pipe(int *ret_read, int *ret_write);
/* Whether there is something to read within that time; its end counts. */
bool sys_wait_readable(int fd, int ms);
/* Asks the kernel to take others when memory is short, and lifts limits; as far as rights reach. */
void sys_protect(void);

/* On the running host, whatever the root: what daemons leave in /run. */
bool sys_exists(const char *path);
/* By the clock that stamps inodes: what changes from now on gets no earlier time. */
struct stamp sys_now(void);
/* 1: it is this host's clock that stamps the inodes of the filesystem `fd` is on; 0: not known. */
int sys_stamps(int fd);
/* Nanoseconds of the clock that counts suspend and knows no steps. */
uint64_t sys_boottime(void);
/* The name of this process, which for a script is the script's, cut to `size` bytes with the NUL. */
void sys_program(char *name, size_t size);
/* The kernel's id of this boot, "" where /proc is not there. */
void sys_boot_id(char id[37]);
/* What is written there may be gone after the next boot, or `path` can't be examined. */
bool sys_is_volatile(const char *path);
void sys_sleep_ms(int ms);
void sys_random(void *buf, size_t n);

/* Closes at the end of a scope and keeps errno. */
void sys_close_cleanup(int *fd);
#define AUTO_CLOSE __attribute__((cleanup(sys_close_cleanup))) int

#endif
