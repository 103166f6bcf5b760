/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host to play in on the disk in memory of tests/proof/disk, which no system
 * call is needed for: that is much faster.  It has a directory beside the root
 * and a hard link to a file there, but follows no link whatever it is asked: what
 * the kernel must be asked for is for the real files of scratch.c to show.
 */
#include "baseline.h"
#include "fuzz.h"

#include "../proof/disk/model.h"
#include "sys.h"

#include <fcntl.h>
#include <string.h>

static struct image baseline_image;
static uint32_t pages, texts;
static int host_inode, root;
static uint64_t host_hash, outside_hash;

static int directory_of(const char *path, const char **ret_name)
{
    char way[4096];
    const char *slash = strrchr(path, '/');
    int fd;

    snprintf(way, sizeof(way), "%.*s", slash ? (int)(slash - path) : 0, path);
    *ret_name = slash ? slash + 1 : path;
    fd = sys_openat2(root, way, O_RDONLY | O_DIRECTORY);
    must(fd >= 0, "can't open %s", way);
    return fd;
}

static void put(const char *path, const void *bytes, size_t n, mode_t mode)
{
    const char *name;
    int dir = directory_of(path, &name), fd = sys_openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, mode);

    must(fd >= 0 && (n == 0 || sys_write(fd, bytes, n, name) == 0), "can't write %s", path);
    sys_close(fd);
    sys_close(dir);
}

static void make(const char *path, mode_t mode)
{
    const char *name;
    int dir = directory_of(path, &name);

    must(sys_mkdirat(dir, name, mode) == 0, "can't make %s", path);
    sys_close(dir);
}

/* All of the image that can be reached from `dir` on, but for what is in the state directory. */
static uint64_t hash_beneath(int dir)
{
    static struct image part;
    int state = image_walk(&live, "host/" PATH_STATE), kept = 0;

    image_copy(&part, &live);
    for (int i = 0; i < part.names; i++)
        if (part.name[i].dir != state && (part.name[i].dir != ROOT || part.name[i].inode == dir))
            part.name[kept++] = part.name[i];
    part.names = kept;
    if (state >= 0)
        part.inode[state].m = (struct meta){ .mode = 0 };
    part.inode[ROOT].m = (struct meta){ .mode = 0 };
    image_collect(&part);
    return image_hash(&part, false);
}

/* The ctime of what is linked to from the host may change: its names may come and go. */
static uint64_t hash_outside(void)
{
    int linked = image_walk(&live, "outside/linked");
    struct meta was = live.inode[linked < 0 ? ROOT : linked].m;
    uint64_t h;

    live.inode[linked < 0 ? ROOT : linked].m.ctime = 0;
    h = hash_beneath(image_walk(&live, "outside"));
    live.inode[linked < 0 ? ROOT : linked].m = was;
    return h;
}

static void open_root(void)
{
    int top = sys_open_root("/");

    root = sys_openat2(top, "host", O_RDONLY | O_DIRECTORY);
    sys_close(top);
}

void scratch_write(const char *path, const void *bytes, size_t n)
{
    if (pages_mark() > pages + 1000)
        scratch_reset(); /* contents are never forgotten otherwise */
    put(path, bytes, n, 0600);
}

void scratch_reset(void)
{
    image_copy(&live, &baseline_image);
    host = (struct host){ .now = (int64_t)3600 * 1000000000, .tick = 1000, .space = -1 };
    pages_release(pages);
    texts_release(texts);
}

int scratch_make(void)
{
    const char *name;
    int from, to;

    image_clear(&live);
    host = (struct host){ .now = 1000000000, .tick = 1000, .space = -1 };
    root = sys_open_root("/");
    make("outside", 0755);
    make("host", 0755);
    put("outside/secret", "do not touch\n", 13, 0600);
    put("outside/linked", "do not touch\n", 13, 0600);
    sys_close(root);
    open_root();
    for (size_t i = 0; i < BASELINE; i++)
        if (baseline[i].content)
            put(baseline[i].path, baseline[i].content, strlen(baseline[i].content), baseline[i].mode);
        else
            make(baseline[i].path, baseline[i].mode);
    from = sys_open_root("/");
    to = sys_openat2(from, "outside", O_RDONLY | O_DIRECTORY);
    sys_close(from);
    from = to;
    to = directory_of("etc/netplan/linked", &name);
    must(sys_linkat(from, "linked", to, name) == 0, "can't link");
    sys_close(from);
    sys_close(to);
    to = directory_of("etc/systemd/network", &name);
    must(sys_symlinkat("../../../outside", to, name) == 0, "can't link");
    sys_close(to);
    host_inode = image_walk(&live, "host");
    host_hash = hash_beneath(host_inode);
    outside_hash = hash_outside();
    image_copy(&baseline_image, &live);
    pages = pages_mark();
    texts = texts_mark();
    return root;
}

bool scratch_has(const char *path)
{
    char whole[4096];

    snprintf(whole, sizeof(whole), "host/%s", path);
    return image_walk(&live, whole) >= 0;
}

bool scratch_all_closed(void)
{
    int open = open_descriptors(), was = root;

    open_root();
    return open == 1 && root == was;
}

bool scratch_untouched(void)
{
    return hash_beneath(host_inode) == host_hash;
}

bool scratch_shadow_untouched(void)
{
    int now = image_walk(&live, "host/" SHADOW), was = image_walk(&baseline_image, "host/" SHADOW);

    return now >= 0 && live.inode[now].number == baseline_image.inode[was].number &&
           live.inode[now].m.ctime == baseline_image.inode[was].m.ctime;
}

bool scratch_outside_untouched(void)
{
    return hash_outside() == outside_hash;
}
