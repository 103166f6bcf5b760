/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sequences whose outcome was measured on real filesystems, on this disk:
 * tests/proof/test_personalities.py compares the two.
 */
#include "facts.h"

#include "crash.h"
#include "model.h"

#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { OLD_UID = 0, NEW_UID = 7, BYTES = 4096 };
enum outcome { GONE, OLD, NEW, EMPTY, ZEROS, TORN, OUTCOMES };
static const char *const outcome_name[OUTCOMES] = { "gone", "old", "new", "empty", "zeros", "torn" };

static int directory; /* d, the only one */

static const char *content(char with)
{
    static char bytes[BYTES];

    memset(bytes, with, sizeof(bytes));
    return bytes;
}

static void create(const char *name, char with, bool synced)
{
    int fd = sys_openat(directory, name, O_WRONLY | O_CREAT, 0644);

    if (fd < 0 || sys_write(fd, content(with), BYTES, name) || (synced && sys_fsync(fd, name)))
        die("can't make %s", name);
    sys_close(fd);
}

static void sync_other(bool written)
{
    int fd = sys_openat(directory, "Y", O_WRONLY, 0);

    if (written)
        sys_pwrite(fd, "more", 4, BYTES, "Y");
    sys_fsync(fd, "Y");
    sys_close(fd);
}

static void sync_directory(void)
{
    sys_fsync(directory, "d");
}

static void setup(void)
{
    int root = sys_open_root("/");

    sys_mkdirat(root, "d", 0755);
    directory = sys_openat(root, "d", O_RDONLY | O_DIRECTORY, 0);
    create("X", 'o', false);
    create("Y", 'y', false);
    sys_symlinkat("target", directory, "L");
    sys_close(directory);
    sys_close(root);
}

static void rename_unsynced(void)
{
    create("T", 'n', false);
    sys_renameat(directory, "T", directory, "X");
    sync_directory();
}

static void rename_synced(void)
{
    create("T", 'n', true);
    sys_renameat(directory, "T", directory, "X");
    sync_directory();
}

/* O_TMPFILE and linkat(): an inode without a name, and then its name. */
static void unnamed(void)
{
    int made = live.inodes;

    live_do((struct op){ .kind = OP_MAKE, .inode = made, .type = 'f', .number = live.next_number,
                         .m = { .mode = 0644 } });
    live_call();
    for (uint32_t s = 0; s < BYTES / SECTOR; s++)
        live_do((struct op){ .kind = OP_DATA, .inode = made, .sector = s, .delayed = true,
                             .content = page_of((const unsigned char *)content('n')) });
    live_do((struct op){ .kind = OP_SIZE, .inode = made, .size = BYTES, .delayed = true });
    live_call();
    live_do((struct op){ .kind = OP_NAME, .inode = image_walk(&live, "d"), .text = text_of("N", 1),
                         .target = made });
    live_call();
    sync_directory();
}

static void unlink_other(void)
{
    sys_unlinkat(directory, "X", 0);
    sync_other(true);
}

static void unlink_unwritten(void)
{
    sys_unlinkat(directory, "X", 0);
    sync_other(false);
}

static void rename_other(void)
{
    create("T", 'n', false);
    sys_renameat(directory, "T", directory, "X");
    sync_other(true);
}

static void give_away(const char *link)
{
    int fd = sys_open_link(directory, link);

    sys_fchown(fd, NEW_UID, 0, link);
    sys_close(fd);
}

static void link_named(void)
{
    sys_symlinkat("target", directory, "T");
    give_away("T");
    sys_renameat(directory, "T", directory, "N");
    sync_directory();
}

static void link_changed(void)
{
    give_away("L");
    create("T", 'n', false);
    sync_directory();
}

static const struct fact {
    const char *name, *path; /* what is looked at afterwards */
    void (*sequence)(void);
} facts[] = {
    { "rename-unsynced", "d/X", rename_unsynced }, { "rename-synced", "d/X", rename_synced },
    { "unnamed", "d/N", unnamed },                 { "unlink-other", "d/X", unlink_other },
    { "unlink-unwritten", "d/X", unlink_unwritten }, { "rename-other", "d/X", rename_other },
    { "link-named", "d/N", link_named },           { "link-changed", "d/L", link_changed },
};

struct looking {
    const struct fact *fact;
    bool seen[OUTCOMES];
};

static enum outcome outcome_in(const struct image *im, const char *path)
{
    int i = image_walk(im, path);
    const struct inode *n = &im->inode[i < 0 ? ROOT : i];
    unsigned char first = n->sectors ? page_bytes(n->data[0])[0] : 0;

    if (i < 0)
        return GONE;
    if (n->type == 'l')
        return n->m.uid == NEW_UID ? NEW : OLD;
    if (n->size == 0)
        return EMPTY;
    for (uint32_t s = 0; s < BYTES / SECTOR; s++)
        if (n->size != BYTES || n->sectors <= s ||
            memcmp(page_bytes(n->data[s]), content((char)first), SECTOR) != 0)
            return n->sectors ? TORN : ZEROS;
    return first == 'n' ? NEW : first == 'o' ? OLD : first == 0 ? ZEROS : TORN;
}

static void look(void *context, struct image *left, const struct log *log, int upto, const bool *kept)
{
    struct looking *l = context;

    (void)log, (void)upto, (void)kept;
    l->seen[outcome_in(left, l->fact->path)] = true;
}

void print_facts(void)
{
    static struct log before, during;
    struct image base, empty;

    image_clear(&empty);
    mount(&before, &empty);
    setup();
    image_copy(&base, &live);
    for (size_t f = 0; f < sizeof(facts) / sizeof(facts[0]); f++)
        for (int p = 0; p < PERSONALITIES; p++) {
            struct looking l = { .fact = &facts[f] };
            struct crash c = { .personality = (enum personality)p, .limit = 1 << 16, .samples = 64,
                               .seed = 1, .found = look, .context = &l };
            int root;

            mount(&during, &base);
            root = sys_open_root("/");
            directory = sys_openat(root, "d", O_RDONLY | O_DIRECTORY, 0);
            facts[f].sequence();
            crash_at(&c, &during, during.count);
            sys_close(directory);
            sys_close(root);
            printf("%s %s", facts[f].name, personality_name[p]);
            for (int o = 0; o < OUTCOMES; o++)
                if (l.seen[o])
                    printf(" %s", outcome_name[o]);
            printf("\n");
        }
}
