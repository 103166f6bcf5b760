/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hosts, and what happens to their files between start and commit or rollback:
 * every kind of difference, by every kind of editor, on at most four files.
 */
#include "scenarios.h"

#include "model.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

bool editor_syncs;

#define A "etc/netplan/a.yaml"
#define B "etc/netplan/b.yaml"
#define C "etc/netplan/c.yaml"
#define INTERFACES "etc/network/interfaces"
#define DEEP "etc/systemd/network"

enum { SHORT = 60, LONG = 9 * SECTOR - 100 };

/* ---- what a user's tools do ---- */

static void must(int result, const char *what, const char *path)
{
    if (result < 0)
        die("the scenario itself fails: %s %s", what, path);
}

static int parent_of(const char *path)
{
    static char parent[256];
    const char *slash = strrchr(path, '/');
    int root = sys_open_root("/"), fd;

    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
    fd = sys_openat2(root, parent, O_RDONLY | O_DIRECTORY);
    sys_close(root);
    must(fd, "open the directory of", path);
    return fd;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void finish(int fd, int dirfd)
{
    if (editor_syncs && fd >= 0)
        sys_fsync(fd, "");
    if (editor_syncs && dirfd >= 0)
        sys_fsync(dirfd, "");
    sys_close(fd);
    sys_close(dirfd);
}

static const char *words(const char *tag, size_t n)
{
    static char text[SECTORS_MAX * SECTOR];

    for (size_t at = 0; at < n;) {
        int put = snprintf(text + at, sizeof(text) - at, "%s %zu\n", tag, at);

        at += (size_t)put;
    }
    text[n] = '\0';
    return text;
}

static void write_to(const char *path, const char *name, int flags, const char *tag, size_t n)
{
    int dirfd = parent_of(path), fd = sys_openat(dirfd, name, O_WRONLY | flags, 0640);

    must(fd, "write", path);
    if (n)
        must(sys_write(fd, words(tag, n), n, ""), "write", path);
    finish(fd, flags & O_CREAT ? dirfd : (sys_close(dirfd), -1));
}

/* As shells do. */
static void write_anew(const char *path, const char *tag, size_t n)
{
    write_to(path, name_of(path), O_CREAT | O_TRUNC, tag, n);
}

/* As careful editors do; by a name that is in scope as well. */
static void replace(const char *path, const char *tag, size_t n)
{
    char temp[256];
    int dirfd;

    snprintf(temp, sizeof(temp), "new-%s", name_of(path));
    write_to(path, temp, O_CREAT | O_EXCL, tag, n);
    dirfd = parent_of(path);
    must(sys_renameat(dirfd, temp, dirfd, name_of(path)), "replace", path);
    finish(-1, dirfd);
}

/* As one who wants it not to show. */
static void overwrite(const char *path, const char *tag, size_t n)
{
    int dirfd = parent_of(path), fd = sys_openat(dirfd, name_of(path), O_WRONLY, 0);
    struct sys_stat before;

    must(fd, "overwrite", path);
    must(sys_statx(fd, NULL, &before), "examine", path);
    must(sys_pwrite(fd, words(tag, n), n, 0, ""), "overwrite", path);
    must(sys_utimensat(fd, NULL, before.mtime), "set the time of", path);
    sys_close(dirfd);
    finish(fd, -1);
}

static void take_away(const char *path, int flags)
{
    int dirfd = parent_of(path);

    must(sys_unlinkat(dirfd, name_of(path), flags), "remove", path);
    finish(-1, dirfd);
}

static void make_directory(const char *path)
{
    int dirfd = parent_of(path);

    must(sys_mkdirat(dirfd, name_of(path), 0755), "make", path);
    finish(-1, dirfd);
}

static void make_symlink(const char *path, const char *target)
{
    int dirfd = parent_of(path);

    must(sys_symlinkat(target, dirfd, name_of(path)), "link", path);
    finish(-1, dirfd);
}

static void make_link(const char *from, const char *path)
{
    int from_dir = parent_of(from), dirfd = parent_of(path);

    must(sys_linkat(from_dir, name_of(from), dirfd, name_of(path)), "link", path);
    sys_close(from_dir);
    finish(-1, dirfd);
}

static int open_it(const char *path)
{
    int dirfd = parent_of(path), fd = sys_openat(dirfd, name_of(path), O_RDONLY, 0);

    sys_close(dirfd);
    must(fd, "open", path);
    return fd;
}

static void set_flags(const char *path, uint32_t flags)
{
    int fd = open_it(path);

    must(sys_setflags(fd, flags, ""), "set the flags of", path);
    finish(fd, -1);
}

/* ---- hosts and edits ---- */

static void host_with_directories(void)
{
    static const char *const directories[] = { "var", "var/lib", "etc", "etc/netplan", "etc/network",
                                               "etc/systemd", DEEP };
    int fd, dirfd;

    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        make_directory(directories[i]);
    dirfd = parent_of("var/lib/netcf");
    must(sys_mkdirat(dirfd, "netcf", 0700), "make", "var/lib/netcf");
    fd = sys_openat(dirfd, "netcf", O_RDONLY | O_DIRECTORY, 0);
    sys_close(fd);
    sys_close(dirfd);
}

static void setup_nothing_yet(void)
{
}

static void edit_nothing(void)
{
}

static void edit_bare(void)
{
    make_directory("etc");
    make_directory("etc/netplan");
    write_anew(A, "first", SHORT);
}

static void setup_one(void)
{
    host_with_directories();
    write_anew(A, "old a", SHORT);
}

static void edit_one(void)
{
    replace(A, "new a", SHORT + 20);
}

static void setup_content(void)
{
    setup_one();
    write_anew(B, "old b", SHORT);
    write_anew(INTERFACES, "old interfaces", SHORT);
}

static void edit_truncated(void)
{
    write_anew(B, "new b", SHORT + 30);
}

static void edit_in_place(void)
{
    overwrite(INTERFACES, "new interfaces", SHORT);
}

static void edit_content(void)
{
    edit_one();
    edit_truncated();
    edit_in_place();
}

static void setup_large(void)
{
    host_with_directories();
    write_anew(A, "old a", LONG);
    write_anew(B, "old b", LONG);
}

static void edit_large(void)
{
    replace(A, "new a", LONG + SECTOR);
    overwrite(B, "new b", LONG);
}

static void edit_metadata(void)
{
    int fd = open_it(A);

    must(sys_fchmod(fd, 0600, ""), "chmod", A);
    must(sys_fchown(fd, 7, 8, ""), "chown", A);
    finish(fd, -1);
    fd = open_it(B);
    must(sys_setxattr(fd, NULL, "security.selinux", "new_label", 9), "label", B);
    must(sys_setxattr(fd, NULL, "user.more", "more", 4), "label", B);
    finish(fd, -1);
    fd = open_it(INTERFACES);
    must(sys_utimensat(fd, NULL, (struct stamp){ 12345, 678 }), "touch", INTERFACES);
    finish(fd, -1);
    fd = open_it("etc/netplan");
    must(sys_fchmod(fd, 0700, ""), "chmod", "etc/netplan");
    finish(fd, -1);
}

static void setup_metadata(void)
{
    int fd;

    setup_content();
    fd = open_it(B);
    must(sys_setxattr(fd, NULL, "security.selinux", "old_label", 9), "label", B);
    finish(fd, -1);
}

static void setup_names(void)
{
    setup_one();
    make_directory("etc/network/interfaces.d");
    write_anew("etc/network/interfaces.d/eth0", "old eth0", SHORT);
}

static void edit_names(void)
{
    write_anew(C, "added", SHORT);
    take_away(A, 0);
    take_away("etc/network/interfaces.d/eth0", 0);
    take_away("etc/network/interfaces.d", AT_REMOVEDIR);
    make_directory(DEEP "/10.d");
    write_anew(DEEP "/10.d/new", "added too", SHORT);
}

static void setup_types(void)
{
    setup_one();
    make_symlink(B, "/old/target");
    write_anew(DEEP "/x", "a file", SHORT);
    make_directory(DEEP "/y");
    write_anew(DEEP "/y/in", "within", SHORT);
}

static void edit_types(void)
{
    take_away(A, 0);
    make_symlink(A, "/somewhere");
    replace(B, "a file now", SHORT);
    take_away(DEEP "/x", 0);
    make_directory(DEEP "/x");
    write_anew(DEEP "/x/in", "new", SHORT);
    take_away(DEEP "/y/in", 0);
    take_away(DEEP "/y", AT_REMOVEDIR);
    write_anew(DEEP "/y", "file instead", SHORT);
}

static void setup_symlinks(void)
{
    host_with_directories();
    make_symlink(A, "/old/target");
    make_symlink(B, "/goes");
}

static void edit_symlinks(void)
{
    take_away(A, 0);
    make_symlink(A, "/new/target");
    take_away(B, 0);
    make_symlink(C, "/comes");
}

static void setup_links(void)
{
    host_with_directories();
    write_anew(A, "pair", SHORT);
    make_link(A, B);
    write_anew(DEEP "/r", "single r", SHORT);
    write_anew(DEEP "/s", "single s", SHORT);
}

static void edit_links(void)
{
    replace(B, "no longer a pair", SHORT);
    take_away(DEEP "/s", 0);
    make_link(DEEP "/r", DEEP "/s");
    overwrite(DEEP "/r", "edited through r", SHORT);
}

static void setup_empty(void)
{
    host_with_directories();
    write_anew(A, "", 0);
    write_anew(B, "old b", SHORT);
}

static void edit_empty(void)
{
    write_anew(A, "no longer empty", SHORT);
    write_anew(B, "", 0);
    write_anew(C, "", 0);
}

static void setup_flags(void)
{
    setup_content();
    set_flags(A, FLAG_IMMUTABLE);
    write_anew(DEEP "/x", "locked in", SHORT);
    set_flags(DEEP, FLAG_IMMUTABLE);
}

static void edit_flags(void)
{
    set_flags(A, 0);
    replace(A, "unlocked", SHORT);
    write_anew(B, "locked now", SHORT);
    set_flags(B, FLAG_APPEND);
    set_flags(INTERFACES, FLAG_NODUMP);
    set_flags(DEEP, 0);
    replace(DEEP "/x", "new x", SHORT);
}

static void edit_announced(void)
{
    must(announce(A), "announce", A);
    write_anew(A, "new a", SHORT);
    must(announce(C), "announce", C);
    write_anew(C, "announced before it was there", SHORT);
    must(announce(B), "announce", B);
    take_away(B, 0);
}

const struct scenario scenarios[] = {
    { "one", setup_one, edit_one, false, false },
    { "nothing", setup_one, edit_nothing, false, false },
    { "truncated", setup_content, edit_truncated, false, false },
    { "in-place", setup_content, edit_in_place, false, false },
    { "coarse-clock", setup_content, edit_in_place, false, true },
    { "bare", setup_nothing_yet, edit_bare, false, false },
    { "content", setup_content, edit_content, false, false },
    { "large", setup_large, edit_large, false, false },
    { "metadata", setup_metadata, edit_metadata, false, false },
    { "names", setup_names, edit_names, false, false },
    { "types", setup_types, edit_types, false, false },
    { "symlinks", setup_symlinks, edit_symlinks, false, false },
    { "links", setup_links, edit_links, false, false },
    { "empty", setup_empty, edit_empty, false, false },
    { "flags", setup_flags, edit_flags, false, false },
    { "announced", setup_content, edit_announced, true, false },
    { 0 },
};
