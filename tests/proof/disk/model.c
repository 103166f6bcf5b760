/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image live;
struct log *live_log;

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("disk: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    exit(3);
}

/* ---- contents, each kept once ---- */

enum { PAGES_MAX = 1 << 19, BUCKETS = 1 << 18 };

static struct {
    unsigned char bytes[SECTOR];
    uint64_t hash;
    page before; /* in its bucket */
} *pool;
static page bucket[BUCKETS];
static uint32_t pages = 1;

static uint64_t hash_bytes(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t h[4] = { 1, 2, 3, n }, v;

    for (; n >= 32; p += 32, n -= 32)
        for (int i = 0; i < 4; i++) {
            memcpy(&v, p + 8 * i, 8);
            h[i] = (h[i] ^ v) * 0x9E3779B97F4A7C15u;
            h[i] ^= h[i] >> 29;
        }
    while (n--)
        h[0] = (h[0] ^ *p++) * 0x100000001b3u;
    return mix(mix(h[0], h[1]), mix(h[2], h[3]));
}

page page_of(const unsigned char bytes[SECTOR])
{
    static const unsigned char zeros[SECTOR];
    uint64_t hash;
    page p;

    if (!memcmp(bytes, zeros, SECTOR))
        return 0;
    if (!pool && !(pool = calloc(PAGES_MAX, sizeof(*pool))))
        die("no memory");
    hash = hash_bytes(bytes, SECTOR);
    for (p = bucket[hash % BUCKETS]; p; p = pool[p].before)
        if (pool[p].hash == hash && !memcmp(pool[p].bytes, bytes, SECTOR))
            return p;
    if (pages == PAGES_MAX)
        die("more than %d different sectors", PAGES_MAX);
    p = pages++;
    memcpy(pool[p].bytes, bytes, SECTOR);
    pool[p].hash = hash;
    pool[p].before = bucket[hash % BUCKETS];
    bucket[hash % BUCKETS] = p;
    return p;
}

const unsigned char *page_bytes(page p)
{
    static const unsigned char zeros[SECTOR];

    return p ? pool[p].bytes : zeros;
}

uint64_t page_hash(page p)
{
    return p ? pool[p].hash : 0;
}

uint32_t pages_mark(void)
{
    return pages;
}

void pages_release(uint32_t mark)
{
    while (pages > mark) {
        pages--;
        bucket[pool[pages].hash % BUCKETS] = pool[pages].before;
    }
}

static struct {
    char *bytes;
    size_t n;
} text[4096];
static uint32_t texts = 1;

uint32_t text_of(const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    for (uint32_t i = 1; i < texts; i++)
        if (text[i].n == n && !memcmp(text[i].bytes, bytes, n))
            return i;
    if (texts == sizeof(text) / sizeof(text[0]))
        die("too many names");
    text[texts].bytes = calloc(1, n + 1);
    if (!text[texts].bytes)
        die("no memory");
    memcpy(text[texts].bytes, bytes, n);
    text[texts].n = n;
    return texts++;
}

uint32_t texts_mark(void)
{
    return texts;
}

void texts_release(uint32_t mark)
{
    while (texts > mark)
        free(text[--texts].bytes);
}

const char *text_bytes(uint32_t t, size_t *ret_n)
{
    if (ret_n)
        *ret_n = t ? text[t].n : 0;
    return t ? text[t].bytes : "";
}

/* ---- images ---- */

void image_clear(struct image *im)
{
    im->next_number = 11;
    im->inodes = 1;
    im->names = 0;
    memset(&im->inode[ROOT], 0, sizeof(im->inode[ROOT]));
    im->inode[ROOT].number = 2;
    im->inode[ROOT].type = 'd';
    im->inode[ROOT].m.mode = 0755;
}

void image_copy(struct image *to, const struct image *from)
{
    to->next_number = from->next_number;
    to->inodes = from->inodes;
    to->names = from->names;
    memcpy(to->name, from->name, (size_t)from->names * sizeof(from->name[0]));
    for (int i = 0; i < from->inodes; i++)
        memcpy(&to->inode[i], &from->inode[i],
               offsetof(struct inode, data) + from->inode[i].sectors * sizeof(page));
}

/* Nobody can read what lies behind the end of a file. */
static void cut_at_size(struct inode *n)
{
    unsigned char bytes[SECTOR];
    uint32_t whole = (uint32_t)(n->size / SECTOR), rest = (uint32_t)(n->size % SECTOR);

    if (n->sectors > whole + (rest != 0))
        n->sectors = whole + (rest != 0);
    if (rest == 0 || n->sectors <= whole || n->data[whole] == 0)
        return;
    memcpy(bytes, page_bytes(n->data[whole]), SECTOR);
    for (uint32_t i = rest; i < SECTOR; i++)
        if (bytes[i]) {
            memset(bytes + rest, 0, SECTOR - rest);
            n->data[whole] = page_of(bytes);
            return;
        }
}

void image_reach(const struct image *im, bool reached[INODES_MAX])
{
    memset(reached, 0, INODES_MAX * sizeof(*reached));
    reached[ROOT] = true;
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < im->names; i++)
            if (reached[im->name[i].dir] && !reached[im->name[i].inode]) {
                reached[im->name[i].inode] = true;
                again = again || im->inode[im->name[i].inode].type == 'd';
            }
    }
}

void image_collect(struct image *im)
{
    bool reached[INODES_MAX];
    int kept = 0;

    image_reach(im, reached);
    for (int i = 0; i < im->names; i++)
        if (reached[im->name[i].dir])
            im->name[kept++] = im->name[i];
    im->names = kept;
    for (int i = 0; i < im->inodes; i++)
        if (!reached[i]) {
            im->inode[i].type = 0;
            im->inode[i].sectors = 0;
        } else if (im->inode[i].type == 'f') {
            cut_at_size(&im->inode[i]);
        }
    while (im->inode[im->inodes - 1].type == 0)
        im->inodes--;
}

static uint64_t inode_hash(const struct inode *n, bool loose)
{
    uint64_t h = mix((uint64_t)n->type, n->size);

    h = mix(h, (uint64_t)n->m.mode << 32 | n->m.uid);
    h = mix(h, (uint64_t)n->m.gid << 32 | n->m.flags);
    h = mix(h, (uint64_t)n->m.xattrs << 32 | n->reserved);
    if (!loose || n->type != 'd')
        h = mix(h, (uint64_t)n->m.mtime);
    if (!loose)
        h = mix(mix(h, (uint64_t)n->m.ctime), n->number);
    for (uint32_t i = 0; i < n->sectors; i++)
        h = mix(h, page_hash(n->data[i]));
    return h;
}

uint64_t image_hash(const struct image *im, bool loose)
{
    uint64_t inode[INODES_MAX], place[INODES_MAX], sum = 0;

    for (int i = 0; i < im->inodes; i++) {
        inode[i] = im->inode[i].type ? inode_hash(&im->inode[i], loose) : 0;
        place[i] = loose ? 0 : im->inode[i].number;
    }
    if (loose) {
        /* Where a directory is, instead of its number: by its names, as deep as they go. */
        place[ROOT] = 2;
        for (int depth = 0; depth < 6; depth++)
            for (int i = 0; i < im->names; i++)
                if (im->inode[im->name[i].inode].type == 'd')
                    place[im->name[i].inode] = mix(place[im->name[i].dir], im->name[i].text);
    }
    sum = mix(inode[ROOT], 7);
    for (int i = 0; i < im->names; i++)
        sum += mix(mix(place[im->name[i].dir], im->name[i].text), inode[im->name[i].inode]);
    return sum;
}

int image_find_text(const struct image *im, int dir, uint32_t t)
{
    for (int i = 0; i < im->names; i++)
        if (im->name[i].text == t && im->name[i].dir == dir)
            return im->name[i].inode;
    return -1;
}

static int find(const struct image *im, int dir, const char *name, size_t n)
{
    for (int i = 0; i < im->names; i++)
        if (im->name[i].dir == dir && text[im->name[i].text].n == n &&
            !memcmp(text[im->name[i].text].bytes, name, n))
            return im->name[i].inode;
    return -1;
}

int image_find(const struct image *im, int dir, const char *name)
{
    return find(im, dir, name, strlen(name));
}

int image_find_part(const struct image *im, int dir, const char *path)
{
    return find(im, dir, path, (size_t)(strchrnul(path, '/') - path));
}

int image_walk(const struct image *im, const char *path)
{
    int at = ROOT;

    while (*path && at >= 0) {
        at = image_find_part(im, at, path);
        path = strchrnul(path, '/');
        path += *path == '/';
    }
    return at;
}

bool image_same_content(const struct image *a, int i, const struct image *b, int j)
{
    const struct inode *x = &a->inode[i], *y = &b->inode[j];
    uint32_t n = x->sectors > y->sectors ? x->sectors : y->sectors;

    if (x->type != y->type || x->size != y->size)
        return false;
    for (uint32_t s = 0; s < n && (uint64_t)s * SECTOR < x->size; s++)
        if ((s < x->sectors ? x->data[s] : 0) != (s < y->sectors ? y->data[s] : 0))
            return false;
    return true;
}

/* ---- operations ---- */

static void set_name(struct image *im, int dir, uint32_t t, int target)
{
    for (int i = 0; i < im->names; i++)
        if (im->name[i].text == t && im->name[i].dir == dir) {
            if (target >= 0)
                im->name[i].inode = (uint8_t)target;
            else
                im->name[i] = im->name[--im->names];
            return;
        }
    if (target < 0)
        return;
    if (im->names == NAMES_MAX)
        die("too many names in an image");
    im->name[im->names++] = (struct name){ (uint8_t)dir, (uint8_t)target, t };
}

void op_apply(struct image *im, const struct op *op)
{
    struct inode *n = &im->inode[op->inode];

    switch (op->kind) {
    case OP_MAKE:
        while (im->inodes <= op->inode)
            im->inode[im->inodes++] = (struct inode){ .type = 0 };
        n->number = op->number;
        n->type = op->type;
        n->m = op->m;
        n->size = 0;
        n->reserved = n->sectors = 0;
        if (im->next_number <= op->number)
            im->next_number = op->number + 1;
        break;
    case OP_DATA:
        while (n->sectors <= op->sector)
            n->data[n->sectors++] = 0;
        n->data[op->sector] = op->content;
        break;
    case OP_SIZE:
        n->size = op->size;
        n->reserved = op->reserved;
        if ((uint64_t)n->sectors * SECTOR >= op->size + SECTOR)
            n->sectors = (uint32_t)((op->size + SECTOR - 1) / SECTOR);
        break;
    case OP_META:
        n->m = op->m;
        break;
    case OP_NAME:
        set_name(im, op->inode, op->text, op->target);
        break;
    case OP_SYNC:
    case OP_FLUSH:
        break;
    }
}

void mount(struct log *log, const struct image *im)
{
    image_copy(&log->base, im);
    log->count = log->calls = 0;
    if (im != &live)
        image_copy(&live, im);
    live_log = log;
}

void rewind_to(struct log *log, int ops)
{
    image_copy(&live, &log->base);
    log->count = ops;
    for (int i = 0; i < ops; i++)
        op_apply(&live, &log->op[i]);
    live_log = log;
}

void live_do(struct op op)
{
    if (!live_log) {
        op_apply(&live, &op);
        return;
    }
    if (live_log->count == OPS_MAX)
        die("too many operations");
    op.call = live_log->calls;
    live_log->op[live_log->count++] = op;
    op_apply(&live, &op);
}

void live_call(void)
{
    if (live_log)
        live_log->calls++;
}

void live_drop(int inode)
{
    for (int i = 0; live_log && i < live_log->count; i++)
        if (live_log->op[i].inode == inode && live_log->op[i].kind == OP_DATA)
            live_log->op[i].dropped = true;
}
