/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the helper's malloc(), in the place of libc's.  A small libc asks
 * the kernel for every few pages and gives them back soon after, which was a tenth
 * of a rollback; and it is eight kilobytes of code.
 *
 * A block has room for a power of two of bytes, is cut from the pool, and when it is
 * freed waits for the next of its size.  What is larger is pages of its own.
 *
 * MUST NOT be linked to what has threads: the helper has none.
 * MUST end the process where a block was freed before, or its header was overwritten.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SMALLEST = 4, LARGEST = 17, POOL = 512 * 1024 };

struct block {
    size_t size;        /* of its bytes */
    struct block *next; /* free: of the same size; in use: itself */
    _Alignas(16) char bytes[];
};

static _Alignas(16) char first_pool[POOL];
static char *pool = first_pool;
static size_t left = POOL; /* of the pool */
static struct block *waiting[LARGEST + 1];

/* What the kernel gave, or did not. */
static void *hand_out(struct block *b, size_t size)
{
    if (b == MAP_FAILED) {
        errno = ENOMEM; /* mremap() has another word for what is too much */
        return NULL;
    }
    b->size = size;
    b->next = b;
    return b->bytes;
}

static struct block *block_of(void *bytes)
{
    struct block *b = (struct block *)((char *)bytes - sizeof(*b));

    if (b->next != b)
        __builtin_trap();
    return b;
}

static bool has_own_pages(size_t size)
{
    return size > (size_t)1 << LARGEST;
}

static size_t with_header(size_t size)
{
    return sizeof(struct block) + size;
}

/* The binary logarithm of a size, rounded up. */
static int order(size_t size)
{
    int n = SMALLEST;

    while ((size_t)1 << n < size)
        n++;
    return n;
}

static void *map(size_t size)
{
    return mmap(NULL, with_header(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void *cut(size_t size)
{
    if (left < with_header(size)) {
        char *more = map(POOL);

        if (more == MAP_FAILED)
            return hand_out(MAP_FAILED, size);
        pool = more;
        left = POOL;
    }
    left -= with_header(size);
    pool += with_header(size);
    return hand_out((struct block *)(void *)(pool - with_header(size)), size);
}

void *malloc(size_t n)
{
    struct block *b;

    if (n > PTRDIFF_MAX - sizeof(*b))
        return hand_out(MAP_FAILED, n);
    if (has_own_pages(n))
        return hand_out(map(n), n);
    b = waiting[order(n)];
    if (!b)
        return cut((size_t)1 << order(n));
    waiting[order(n)] = b->next;
    return hand_out(b, b->size);
}

void free(void *bytes)
{
    struct block *b;
    int before = errno;

    if (!bytes)
        return;
    b = block_of(bytes);
    if (has_own_pages(b->size)) {
        munmap(b, with_header(b->size));
        errno = before;
    } else {
        b->next = waiting[order(b->size)];
        waiting[order(b->size)] = b;
    }
}

void *calloc(size_t count, size_t size)
{
    void *bytes;

    if (__builtin_mul_overflow(count, size, &size))
        size = SIZE_MAX; /* which is refused */
    bytes = malloc(size);
    return bytes ? memset(bytes, 0, size) : NULL;
}

void *realloc(void *bytes, size_t n)
{
    struct block *b;
    void *moved;

    if (!bytes)
        return malloc(n);
    b = block_of(bytes);
    if (n <= b->size)
        return bytes;
    if (has_own_pages(b->size) && n <= PTRDIFF_MAX - sizeof(*b))
        return hand_out(mremap(b, with_header(b->size), with_header(n), MREMAP_MAYMOVE), n);
    moved = malloc(n);
    if (moved) {
        memcpy(moved, bytes, b->size);
        free(bytes);
    }
    return moved;
}
