/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real core on the disk in memory: every power cut in every scenario, then
 * a boot; every power cut in that boot, then another; and what must be true
 * after each.
 */
#include "crash.h"
#include "facts.h"
#include "model.h"
#include "scenarios.h"

#include "ncf.h"
#include "snapshot.h"
#include "store.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE "var/lib/netcf"
#define HOUR ((int64_t)3600 * 1000000000)

enum { DEPTH_MAX = 4, KEPT_MAX = 12 };

static struct {
    uint64_t states, repeated, recoveries, violations;
    uint64_t by_depth[DEPTH_MAX + 1];
} count;

static struct crash crash = { .limit = 256, .samples = 64, .seed = 1 };
static int depth_exhaustive = 2;
static uint32_t third_of; /* of so many states of that depth one is cut again; 0: none */
static uint64_t seed = 1;

static const struct scenario *scenario;
static char situation[128];

/* ---- sets of states that were seen ---- */

struct set {
    uint64_t *slot, used, size;
};
static struct set checked, expanded, settled;

static bool set_add(struct set *s, uint64_t key)
{
    uint64_t i;

    key += key == 0;
    if (2 * s->used >= s->size) {
        struct set bigger = { .size = s->size ? 2 * s->size : 1 << 16 };

        bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
        if (!bigger.slot)
            die("no memory");
        for (i = 0; i < s->size; i++)
            if (s->slot[i])
                set_add(&bigger, s->slot[i]);
        free(s->slot);
        *s = bigger;
    }
    for (i = key & (s->size - 1); s->slot[i]; i = (i + 1) & (s->size - 1))
        if (s->slot[i] == key)
            return false;
    s->slot[i] = key;
    s->used++;
    return true;
}

static void set_clear(struct set *s)
{
    free(s->slot);
    *s = (struct set){ .size = 0 };
}

/* ---- trees ---- */

/* What shall be: everything outside the state directory. */
struct target {
    struct image image;
    uint64_t hash;
};
static struct target old_tree, new_tree, half_tree, kept_tree;

static bool is_context(const struct image *im, int dir)
{
    static const char *const context[] = { "etc", "etc/network", "etc/systemd" };

    if (scenario->on_write || dir == ROOT)
        return true;
    for (size_t i = 0; i < sizeof(context) / sizeof(context[0]); i++)
        if (image_walk(im, context[i]) == dir)
            return true;
    return false;
}

static uint64_t tree_hash(const struct image *im)
{
    uint64_t place[INODES_MAX] = { 0 }, group[INODES_MAX] = { 0 }, sum = 0;
    int var = image_find(im, ROOT, "var"), context[4];
    static const char *const on_the_way[] = { "etc", "etc/network", "etc/systemd" };

    for (int i = 0; i < 3; i++)
        context[i] = image_walk(im, on_the_way[i]);
    place[ROOT] = 2;
    for (int pass = 0; pass < 5; pass++)
        for (int i = 0; i < im->names; i++) {
            int n = im->name[i].inode, d = im->name[i].dir;

            if (im->inode[n].type == 'd' && n != var && place[d])
                place[n] = mix(place[d], im->name[i].text);
        }
    for (int i = 0; i < im->names; i++)
        if (place[im->name[i].dir] && im->name[i].inode != var)
            group[im->name[i].inode] += mix(place[im->name[i].dir], im->name[i].text);
    for (int i = 0; i < im->names; i++) {
        const struct inode *n = &im->inode[im->name[i].inode];
        bool timeless = n->type == 'd' && scenario->on_write;
        uint64_t h;

        if (!place[im->name[i].dir] || im->name[i].inode == var)
            continue;
        for (int k = 0; k < 3; k++)
            timeless = timeless || im->name[i].inode == context[k];
        h = mix(mix((uint64_t)n->type, n->size), group[im->name[i].inode]);
        h = mix(h, (uint64_t)n->m.mode << 32 | n->m.uid);
        h = mix(h, (uint64_t)n->m.gid << 32 | n->m.flags);
        h = mix(mix(h, n->m.xattrs), timeless ? 0 : (uint64_t)n->m.mtime);
        for (uint32_t s = 0; (uint64_t)s * SECTOR < n->size; s++)
            h = mix(h, s < n->sectors ? page_hash(n->data[s]) : 0);
        sum += mix(mix(place[im->name[i].dir], im->name[i].text), h);
    }
    return sum;
}

static void target_set(struct target *t, const struct image *im)
{
    image_copy(&t->image, im);
    image_collect(&t->image);
    t->hash = tree_hash(&t->image);
}

static void print_tree(const struct image *im, int dir, int indent)
{
    for (int i = 0; i < im->names; i++) {
        const struct inode *n = &im->inode[im->name[i].inode];

        if (im->name[i].dir != dir)
            continue;
        printf("%*s%s  %c %o %u:%u %llu bytes mtime %lld%s flags %x inode %u xattrs %u %.20s\n", indent, "",
               text_bytes(im->name[i].text, NULL), n->type, n->m.mode, n->m.uid, n->m.gid,
               (unsigned long long)n->size, (long long)n->m.mtime,
               n->type == 'd' && is_context(im, im->name[i].inode) ? " (any)" : "", n->m.flags,
               n->number, n->m.xattrs,
               n->type != 'd' && n->sectors ? (const char *)page_bytes(n->data[0]) : "\n");
        if (n->type == 'd')
            print_tree(im, im->name[i].inode, indent + 2);
    }
}

/* ---- the core, called ---- */

enum operation { START, COMMIT, ROLLBACK, BOOT };
static const char *const operation_name[] = { "start", "commit", "rollback", "boot" };

static char last_error[2048];

/* The error's code; 0: done. */
static int core(enum operation op)
{
    struct netcf *n;
    const char *details;
    int code;

    if (ncf_init(&n, "/disk"))
        die("ncf_init fails");
    if (op == START)
        ncf_change_start(n, scenario->on_write ? NCF_START_ON_WRITE : 0);
    else if (op == COMMIT)
        ncf_change_commit(n, 0);
    else
        ncf_change_rollback(n, 0);
    code = ncf_error(n, NULL, &details);
    snprintf(last_error, sizeof(last_error), "%s", details ? details : "");
    ncf_close(n);
    return code;
}

int announce(const char *path)
{
    struct netcf *n;
    int r = ncf_init(&n, "/disk") || ncf_change_announce(n, path) ? -1 : 0;

    ncf_close(n);
    return r;
}

static int snapshot_in(const struct image *im)
{
    return image_walk(im, STATE "/" STORE_SNAPSHOT);
}

static const char *leftover_in(const struct image *im)
{
    int state = image_walk(im, STATE);

    for (int i = 0; i < im->names; i++) {
        const char *name = text_bytes(im->name[i].text, NULL);

        if (!strncmp(name, ".netcf-", 7) ||
            (im->name[i].dir == state && strncmp(name, "network-rollback-", 17) != 0))
            return name;
    }
    return NULL;
}

/* ---- what must not be lost ---- */

/* Contents that a rollback replaces: in its discarded configuration afterwards. */
struct kept {
    int n;
    struct {
        uint32_t sectors;
        page data[SECTORS_MAX / 4];
    } item[KEPT_MAX];
};

/* `at` in `im` against the same place in `was`, -1 where that does not exist. */
static void gather_kept(struct kept *k, const struct image *im, int at, const struct image *was, int there)
{
    for (int i = 0; i < im->names; i++) {
        const struct inode *n = &im->inode[im->name[i].inode];
        const char *name = text_bytes(im->name[i].text, NULL);
        int counterpart = there < 0 ? -1 : image_find_text(was, there, im->name[i].text);

        if (im->name[i].dir != at || !strncmp(name, ".netcf-", 7) || (at == ROOT && !strcmp(name, "var")))
            continue;
        if (n->type == 'd') {
            gather_kept(k, im, im->name[i].inode, was, counterpart);
        } else if (n->type == 'f' && n->size &&
                   (counterpart < 0 || !image_same_content(im, im->name[i].inode, was, counterpart))) {
            if (k->n == KEPT_MAX || n->size > sizeof(k->item[0].data) / sizeof(page) * SECTOR)
                die("too much to be kept");
            k->item[k->n].sectors = (uint32_t)((n->size + SECTOR - 1) / SECTOR);
            for (uint32_t s = 0; s < k->item[k->n].sectors; s++)
                k->item[k->n].data[s] = s < n->sectors ? n->data[s] : 0;
            k->n++;
        }
    }
}

/* In an archive every content begins at a multiple of 512 bytes, which is a sector. */
static bool is_kept(const struct image *im, const struct kept *k, int item)
{
    int state = image_walk(im, STATE);

    for (int i = 0; i < im->names; i++) {
        const struct inode *n = &im->inode[im->name[i].inode];
        uint32_t want = k->item[item].sectors;

        if (im->name[i].dir != state || strncmp(text_bytes(im->name[i].text, NULL), "network-rollback-", 17) != 0)
            continue;
        for (uint32_t s = 0; s + want <= n->sectors; s++)
            if (!memcmp(n->data + s, k->item[item].data, want * sizeof(page)))
                return true;
    }
    return false;
}

static uint64_t kept_hash(const struct kept *k)
{
    uint64_t h = 1;

    for (int i = 0; i < k->n; i++)
        for (uint32_t s = 0; s < k->item[i].sectors; s++)
            h = mix(h, page_hash(k->item[i].data[s]));
    return h;
}

/* ---- expectations ---- */

enum openness { EITHER, OPEN, CLOSED };

struct expect {
    enum openness open;
    const struct target *if_open, *if_closed; /* how it ends */
    const struct image *before; /* of a rollback: until it ends each name leads to the one or the other */
    struct kept kept;
    int depth; /* of the power cut */
};

/* How a state came about, for the report. */
static struct {
    const struct log *log;
    int upto;
    bool kept[OPS_MAX];
} trail[DEPTH_MAX + 1];

static const struct image *reported;

static void violation(int depth, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void violation(int depth, const char *format, ...)
{
    va_list args;

    count.violations++;
    printf("VIOLATION %s: ", situation);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    if (!getenv("DISK_BRIEF")) {
        for (int d = 1; d <= depth; d++) {
            printf("  power cut %d, after %d operations:\n", d, trail[d].upto);
            crash_describe(trail[d].log, trail[d].upto, trail[d].kept);
        }
        if (depth > 0 && reported) {
            printf("  what the last power cut left:\n");
            print_tree(reported, ROOT, 4);
        }
        printf("  what is there:\n");
        print_tree(&live, ROOT, 4);
        printf("  the last error: %s\n", last_error);
    }
    exit(1);
}

/* No name leads to half a file: to the one before the rollback, or to the saved one with all its metadata. */
static void check_names(const struct image *im, int at, const struct image *before, int b,
                        const struct image *saved, int s, int depth)
{
    for (int i = 0; i < im->names; i++) {
        int n = im->name[i].inode;
        uint32_t text = im->name[i].text;
        const char *name = text_bytes(text, NULL);
        int was = b < 0 ? -1 : image_find_text(before, b, text);
        int shall = s < 0 ? -1 : image_find_text(saved, s, text);

        if (im->name[i].dir != at || !strncmp(name, ".netcf-", 7) || (at == ROOT && !strcmp(name, "var")))
            continue;
        if (im->inode[n].type == 'd')
            check_names(im, n, before, was, saved, shall, depth);
        if (im->inode[n].type != 'f' || (was >= 0 && image_same_content(im, n, before, was)))
            continue;
        if (shall < 0 || !image_same_content(im, n, saved, shall))
            violation(depth, "%s leads to something that is neither old nor new", name);
        else if (im->inode[n].m.mode != saved->inode[shall].m.mode ||
                 im->inode[n].m.uid != saved->inode[shall].m.uid ||
                 im->inode[n].m.gid != saved->inode[shall].m.gid ||
                 im->inode[n].m.xattrs != saved->inode[shall].m.xattrs)
            violation(depth, "%s leads to the old content with other metadata", name);
    }
}

/* ---- after a recovery ---- */

static struct log scratch;

static void check_archives(int depth)
{
    int root = sys_open_root("/");
    int dir = sys_openat2(root, STATE, O_RDONLY | O_DIRECTORY), state = image_walk(&live, STATE);

    for (int i = 0; i < live.names && dir >= 0; i++) {
        struct snapshot s = { .fd = -1 };
        struct error err = { 0 };

        if (live.name[i].dir != state)
            continue;
        if (snapshot_open(&s, dir, text_bytes(live.name[i].text, NULL), &err) <= 0 || snapshot_verify(&s, &err))
            violation(depth, "a discarded configuration is damaged");
        snapshot_close(&s);
    }
    sys_close(dir);
    sys_close(root);
}

static void check_closed(int depth, const struct target *t, const char *after)
{
    const char *left = leftover_in(&live);
    int lost = open_descriptors();

    if (snapshot_in(&live) >= 0)
        violation(depth, "after %s the change is still open", after);
    if (left)
        violation(depth, "after %s %s is left", after, left);
    if (lost)
        violation(depth, "after %s %d descriptors are open", after, lost);
    if (tree_hash(&live) != t->hash) {
        printf("  what should be there:\n");
        print_tree(&t->image, ROOT, 4);
        violation(depth, "after %s the tree is another", after);
    }
}

/* Where it ended well: once more changes nothing; start and rollback work. */
static void check_settled(int depth, const struct target *t)
{
    if (!set_add(&settled, mix(image_hash(&live, true), t->hash)))
        return;
    mount(&scratch, &live);
    if (core(BOOT) != NCF_EINVALIDOP || scratch.count)
        violation(depth, "a second recovery changes something");
    check_archives(depth);
    if (core(START))
        violation(depth, "after recovery a start fails");
    if (snapshot_in(&live) < 0)
        violation(depth, "after recovery a start opens nothing");
    if (core(ROLLBACK))
        violation(depth, "after recovery a rollback fails");
    check_closed(depth, t, "a further start and rollback");
}

static void cut_everywhere(const struct log *log, int from, int to, struct expect *e);
static void cut_here(const struct log *log, int upto, struct expect *e);

static struct log level[DEPTH_MAX + 1]; /* of the operation that power cut number n+1 interrupts */

static bool has_leftover(const struct image *im)
{
    for (int i = 0; i < im->names; i++)
        if (!strncmp(text_bytes(im->name[i].text, NULL), ".netcf-tmp-", 11))
            return true;
    return false;
}

/* Somebody commits what the power cut left, before a boot could roll it back: so it stays, without leftovers. */
static void commit_instead(int depth, const struct image *left)
{
    struct expect e = { .if_open = &kept_tree, .if_closed = &kept_tree, .open = CLOSED, .depth = depth + 1 };

    mount(&level[depth], left);
    if (core(COMMIT))
        violation(depth, "after a power cut a commit fails");
    target_set(&kept_tree, &live);
    check_closed(depth, &kept_tree, "a commit after a power cut");
    cut_here(&level[depth], level[depth].count, &e);
}

static void found(void *context, struct image *left, const struct log *log, int upto, const bool *kept)
{
    struct expect *e = context;
    int depth = e->depth, boot, lost;
    uint64_t h = mix(image_hash(left, false), mix((uint64_t)e->open, e->if_open ? e->if_open->hash : 0));
    bool first, again, open = snapshot_in(left) >= 0;
    const struct target *t;
    struct expect next;
    uint32_t mark;

    h = mix(mix(h, e->if_closed ? e->if_closed->hash : 0), kept_hash(&e->kept) + (e->before != NULL));
    first = set_add(&checked, h);
    again = depth < depth_exhaustive || (depth == depth_exhaustive && third_of && mix(h, seed) % third_of == 0);
    again = again && set_add(&expanded, mix(h, crash.personality));
    count.states += first;
    count.by_depth[depth] += first;
    count.repeated += !first;
    if (!first && !again)
        return;

    trail[depth].log = log;
    trail[depth].upto = upto;
    memcpy(trail[depth].kept, kept, (size_t)upto * sizeof(*kept));
    reported = left;
    last_error[0] = '\0';
    mark = pages_mark();
    mount(&level[depth], left);
    if ((e->open == OPEN && !open) || (e->open == CLOSED && open))
        violation(depth, "the change should be %s", e->open == OPEN ? "open" : "closed");
    t = open ? e->if_open : e->if_closed;
    if (e->before)
        check_names(left, ROOT, e->before, ROOT, &old_tree.image, ROOT, depth);

    next = (struct expect){ .if_open = t, .if_closed = t, .before = open ? &level[depth].base : NULL,
                            .kept = e->kept, .depth = depth + 1 };
    if (open)
        gather_kept(&next.kept, left, ROOT, &t->image, ROOT);
    host = (struct host){ .now = HOUR * (100 + depth), .tick = 1000, .boot = depth + 1, .space = -1,
                          .random = (uint64_t)depth };
    boot = core(BOOT);
    count.recoveries++;
    if (boot != (open ? 0 : NCF_EINVALIDOP))
        violation(depth, "boot fails with %d", boot);
    check_closed(depth, t, "boot");
    for (int i = 0; i < next.kept.n; i++)
        if (!is_kept(&live, &next.kept, i))
            violation(depth, "boot replaced a file and no discarded configuration has it");
    lost = level[depth].count;
    if (first) {
        host.now += HOUR / 2;
        check_settled(depth, t);
    }
    if (again) {
        cut_everywhere(&level[depth], 0, lost, &next);
        next.open = CLOSED;
        cut_here(&level[depth], lost, &next);
    }
    if (first && open && depth == 1 && mix(h, seed) % 8 == 0 && has_leftover(left))
        commit_instead(depth, left);
    pages_release(mark);
}

static void cut_here(const struct log *log, int upto, struct expect *e)
{
    void *outer = crash.context; /* a recovery is cut while the cuts of what it recovers from go on */

    crash.found = found;
    crash.context = e;
    crash_at(&crash, log, upto);
    crash.context = outer;
}

/* Every power cut while the log's operations from `from` to `to` happen. */
static void cut_everywhere(const struct log *log, int from, int to, struct expect *e)
{
    for (int i = from; i <= to; i++)
        if (i == to || log->op[i].kind == OP_SYNC)
            cut_here(log, i, e);
}

/* ---- a whole change ---- */

struct script {
    int started, edited, ended; /* operations until then */
};

static void pass(int64_t ns)
{
    if (host.tick)
        host.now += ns;
}

static void play(struct script *s, enum operation end)
{
    static struct log setup;
    struct image empty;

    host = (struct host){ .now = HOUR, .tick = scenario->coarse_clock ? 0 : 1000, .space = -1 };
    image_clear(&empty);
    mount(&setup, &empty);
    bool syncs = editor_syncs;
    editor_syncs = false;
    scenario->setup();
    editor_syncs = syncs;
    target_set(&old_tree, &live);
    pass(HOUR);
    mount(&level[0], &old_tree.image);
    if (core(START))
        violation(0, "start fails");
    s->started = level[0].count;
    pass(1000000000);
    scenario->edit();
    s->edited = level[0].count;
    pass(1000000000);
    target_set(&new_tree, &live);
    if (core(end))
        violation(0, "%s fails", operation_name[end]);
    s->ended = level[0].count;
    check_closed(0, end == COMMIT ? &new_tree : &old_tree, operation_name[end]);
    if (open_descriptors())
        violation(0, "descriptors stay open");
}

static void cut_change(enum operation end)
{
    struct script s;
    static struct image before;
    struct expect e = { .if_open = &old_tree, .if_closed = &old_tree, .depth = 1 };

    play(&s, end);
    if (end == ROLLBACK) {
        cut_everywhere(&level[0], 0, s.started, &e);
        e.open = OPEN;
        cut_here(&level[0], s.started, &e);
        cut_everywhere(&level[0], s.started, s.edited, &e);
    }
    e.open = EITHER;
    if (end == COMMIT)
        e.if_closed = &new_tree;
    if (end == ROLLBACK && editor_syncs) {
        image_copy(&before, &new_tree.image);
        e.before = &before;
        gather_kept(&e.kept, &before, ROOT, &old_tree.image, ROOT);
    }
    cut_everywhere(&level[0], s.edited, s.ended, &e);
    e.open = CLOSED;
    cut_here(&level[0], s.ended, &e);
}

/* The process is killed at any call, another one comes, and then the power is cut. */
static void kill_and(enum operation first, enum operation second)
{
    static struct log whole;
    struct script s;
    int from, to;

    play(&s, first == COMMIT ? COMMIT : ROLLBACK);
    from = first == START ? 0 : s.edited;
    to = first == START ? s.started : s.ended;
    whole = level[0];
    for (int k = from; k <= to; k++) {
        struct expect e = { .if_open = &old_tree, .if_closed = &old_tree, .depth = 1 };
        bool open;
        int code, want;

        if (k > 0 && k < to && whole.op[k].call == whole.op[k - 1].call)
            continue;
        level[0] = whole;
        rewind_to(&level[0], k);
        level[0].calls = whole.calls + 1;
        host = (struct host){ .now = 3 * HOUR, .tick = 1000, .space = -1, .random = 99 };
        open = snapshot_in(&live) >= 0;
        trail[0].upto = k;
        code = core(second);
        want = open == (second != START) ? 0 : NCF_EINVALIDOP;
        if (code != want)
            violation(0, "after a kill at %d, %s answers %d", k, operation_name[second], code);
        if (first == COMMIT && !open)
            e.if_closed = &new_tree;
        if (second == COMMIT && open) {
            target_set(&half_tree, &live);
            e.if_closed = &half_tree;
        }
        if (second != START)
            check_closed(0, e.if_closed, operation_name[second]);
        cut_everywhere(&level[0], k, level[0].count, &e);
        e.open = second == START ? OPEN : second == COMMIT || open ? CLOSED : EITHER;
        cut_here(&level[0], level[0].count, &e);
    }
}

/* The process that announces is killed at any call; another one announces, and a rollback follows. */
static void kill_announcement(void)
{
    static struct log whole;
    struct script s;

    play(&s, ROLLBACK);
    whole = level[0];
    for (int k = s.started; k <= s.edited; k++) {
        if (k < s.edited && whole.op[k].call == whole.op[k - 1].call)
            continue;
        level[0] = whole;
        rewind_to(&level[0], k);
        level[0].calls = whole.calls + 1;
        host = (struct host){ .now = 3 * HOUR, .tick = 1000, .space = -1, .random = 99 };
        trail[0].upto = k;
        if (announce("etc/netplan/z.yaml"))
            violation(0, "after a kill at %d an announcement fails", k);
        if (core(ROLLBACK))
            violation(0, "after a kill at %d and an announcement, rollback fails: %s", k, last_error);
        check_closed(0, &old_tree, "a killed announcement, another and a rollback");
    }
}

/* ---- other trouble ---- */

static bool is_untouched(const struct image *im)
{
    return image_hash(&live, false) == image_hash(im, false);
}

/* Up to the end of the edits. */
static void play_until_edited(void)
{
    struct script s;

    play(&s, ROLLBACK);
    rewind_to(&level[0], s.edited);
    host = (struct host){ .now = 3 * HOUR, .tick = 1000, .space = -1, .random = 99 };
}

/* One byte of the snapshot is another: nothing is restored, nothing saved on top; commit still works. */
static void damage_snapshot(void)
{
    static struct image healthy, damaged;
    int snapshot;

    play_until_edited();
    image_copy(&healthy, &live);
    image_collect(&healthy);
    snapshot = snapshot_in(&healthy);
    for (uint32_t s = 0; s < healthy.inode[snapshot].sectors; s++) {
        struct expect e = { .if_open = &half_tree, .if_closed = &half_tree, .depth = 1 };
        unsigned char bytes[SECTOR];
        int code;

        image_copy(&damaged, &healthy);
        memcpy(bytes, page_bytes(damaged.inode[snapshot].data[s]), SECTOR);
        bytes[300] ^= 4;
        damaged.inode[snapshot].data[s] = page_of(bytes);
        mount(&level[0], &damaged);
        code = core(ROLLBACK);
        /* The 1,024 zeros behind the manifest are for tar alone. */
        if (code == 0 && s + 2 < healthy.inode[snapshot].sectors)
            violation(0, "a snapshot damaged in sector %u is restored", s);
        if (code && !is_untouched(&damaged))
            violation(0, "a refused rollback of a damaged snapshot changes something");
        if (scenario->on_write) {
            mount(&level[0], &damaged);
            if (announce("etc/netplan/z.yaml") == 0 && s + 2 < healthy.inode[snapshot].sectors)
                violation(0, "a snapshot damaged in sector %u is saved anew", s);
        }
        play_until_edited(); /* with the user's unsynced files */
        level[0].op[level[0].count] = (struct op){ .kind = OP_DATA, .inode = snapshot, .sector = s,
                                                   .content = damaged.inode[snapshot].data[s], .call = -1 };
        op_apply(&live, &level[0].op[level[0].count++]);
        level[0].op[level[0].count++] = (struct op){ .kind = OP_SYNC, .inode = snapshot, .call = -2 };
        target_set(&half_tree, &live);
        if (core(COMMIT))
            violation(0, "a damaged snapshot can't be dropped: %s", last_error);
        e.open = CLOSED;
        cut_here(&level[0], level[0].count, &e);
    }
}

/* The disk is full when the rollback begins, but for what start reserved, which a refused start left alone. */
static void fill_disk(void)
{
    struct kept kept = { .n = 0 };
    int64_t used = 0;

    play_until_edited();
    if (core(START) != NCF_EINVALIDOP)
        violation(0, "a second start is not refused");
    target_set(&half_tree, &live);
    for (int i = 0; i < half_tree.image.inodes; i++) {
        const struct inode *n = &half_tree.image.inode[i];
        uint32_t s = n->sectors > n->reserved ? n->sectors : n->reserved;

        if (n->type == 'f')
            used += (s + 7) / 8 * 8;
    }
    host.space = used;
    gather_kept(&kept, &half_tree.image, ROOT, &old_tree.image, ROOT);
    if (core(ROLLBACK))
        violation(0, "rollback fails on a full disk: %s", last_error);
    check_closed(0, &old_tree, "rollback on a full disk");
    for (int i = 0; i < kept.n; i++)
        if (!is_kept(&live, &kept, i))
            violation(0, "on a full disk the discarded configuration is not kept");
}

/* The n-th write of a rollback stores something else and says nothing. */
static void lie(void)
{
    for (int n = 1; n < 40; n++) {
        play_until_edited();
        host.corrupt_in = n;
        if (core(ROLLBACK) && core(ROLLBACK))
            violation(0, "after a write that went wrong, rollback fails twice: %s", last_error);
        check_closed(0, &old_tree, "a write that went wrong");
    }
}

/* The n-th fsync of an operation fails and the disk drops what it should have written; then the power goes. */
static void fail_syncs(enum operation op)
{
    static struct log whole;

    for (int n = 1;; n++) {
        struct expect e = { .if_open = &old_tree, .if_closed = op == COMMIT ? &new_tree : &old_tree,
                            .depth = 1 };
        struct script s;
        int code;

        play(&s, op == COMMIT ? COMMIT : ROLLBACK);
        whole = level[0];
        rewind_to(&level[0], op == START ? 0 : s.edited);
        level[0].calls = whole.calls + 1;
        host = (struct host){ .now = 3 * HOUR, .tick = 1000, .space = -1, .random = 99, .sync_fails_in = n };
        code = core(op);
        if (host.sync_fails_in)
            return; /* it makes fewer */
        trail[0].upto = n;
        if (!code)
            violation(0, "%s does not notice that its fsync %d failed", operation_name[op], n);
        if (op == START && leftover_in(&live))
            violation(0, "a start whose fsync %d failed leaves %s", n, leftover_in(&live));
        e.open = op == START ? CLOSED : snapshot_in(&live) >= 0 ? OPEN : EITHER;
        cut_here(&level[0], level[0].count, &e);
    }
}

/* ---- main ---- */

static const struct {
    enum operation first, second;
} kills[] = { { START, START }, { COMMIT, COMMIT }, { COMMIT, ROLLBACK }, { ROLLBACK, ROLLBACK },
              { ROLLBACK, COMMIT }, { ROLLBACK, START } };

static uint64_t states_before;

static void report(void)
{
    printf("%-44s %9llu states\n", situation, (unsigned long long)(count.states - states_before));
    fflush(stdout);
    states_before = count.states;
}

static void run_scenario(int only_personality)
{
    for (int p = 0; p < PERSONALITIES; p++) {
        if (only_personality >= 0 && p != only_personality)
            continue;
        crash.personality = (enum personality)p;
        set_clear(&checked);
        set_clear(&expanded);
        set_clear(&settled);
        for (int syncs = 0; syncs <= 1; syncs++) {
            editor_syncs = syncs;
            for (int end = COMMIT; end <= ROLLBACK; end++) {
                snprintf(situation, sizeof(situation), "%s, %s, %s, %s", personality_name[p], scenario->name,
                         syncs ? "synced" : "unsynced", operation_name[end]);
                cut_change((enum operation)end);
                report();
            }
        }
        editor_syncs = false;
        for (size_t k = 0; k < sizeof(kills) / sizeof(kills[0]); k++) {
            int depth = depth_exhaustive;

            snprintf(situation, sizeof(situation), "%s, %s, killed %s, %s", personality_name[p], scenario->name,
                     operation_name[kills[k].first], operation_name[kills[k].second]);
            depth_exhaustive = 1;
            kill_and(kills[k].first, kills[k].second);
            depth_exhaustive = depth;
            report();
        }
    }
    if (only_personality > POSIX)
        return;
    snprintf(situation, sizeof(situation), "%s, killed announcement", scenario->name);
    if (scenario->on_write)
        kill_announcement();
    crash.personality = POSIX;
    for (int op = START; op <= ROLLBACK; op++) {
        int depth = depth_exhaustive;

        snprintf(situation, sizeof(situation), "posix, %s, failing disk, %s", scenario->name, operation_name[op]);
        depth_exhaustive = 1;
        fail_syncs((enum operation)op);
        depth_exhaustive = depth;
        report();
    }
    snprintf(situation, sizeof(situation), "%s, full disk", scenario->name);
    fill_disk();
    snprintf(situation, sizeof(situation), "%s, a write goes wrong", scenario->name);
    lie();
    snprintf(situation, sizeof(situation), "%s, damaged snapshot", scenario->name);
    damage_snapshot();
    report();
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int personality = -1;

#ifdef __GLIBC__ /* its memory goes to the kernel and comes back all the time */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 1 << 24);
#endif
    if (argc == 2 && !strcmp(argv[1], "--facts")) {
        print_facts();
        return 0;
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 10);

        if (!strcmp(argv[i], "--scenario"))
            only = argv[i + 1];
        else if (!strcmp(argv[i], "--personality")) {
            for (int p = 0; p < PERSONALITIES; p++)
                if (!strcmp(argv[i + 1], personality_name[p]))
                    personality = p;
        } else if (!strcmp(argv[i], "--depth"))
            depth_exhaustive = (int)n;
        else if (!strcmp(argv[i], "--third"))
            third_of = (uint32_t)n;
        else if (!strcmp(argv[i], "--limit"))
            crash.limit = n;
        else if (!strcmp(argv[i], "--samples"))
            crash.samples = (uint32_t)n;
        else if (!strcmp(argv[i], "--seed"))
            crash.seed = seed = n;
        else
            die("unknown option %s", argv[i]);
    }
    for (scenario = scenarios; scenario->name; scenario++)
        if (!only || !strcmp(only, scenario->name))
            run_scenario(personality);
    printf("states %llu repeated %llu recoveries %llu points %llu coarse %llu bounded %llu cuts",
           (unsigned long long)count.states, (unsigned long long)count.repeated,
           (unsigned long long)count.recoveries, (unsigned long long)crash.points,
           (unsigned long long)crash.coarse, (unsigned long long)crash.bounded);
    for (int d = 1; d <= DEPTH_MAX; d++)
        printf(" %llu", (unsigned long long)count.by_depth[d]);
    printf("\n");
    return count.violations != 0;
}
