/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for memory that is freed in one piece.
 * MUST NOT abort: short memory is the caller's error to report.
 */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* With a block's own header: powers of two, which is what heap.c hands out. */
enum { BLOCK_MIN = 1024, BLOCK_MAX = 64 * 1024 };

struct arena_block {
    struct arena_block *before;
    size_t used, size;
    _Alignas(16) char bytes[];
};

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_block *block = a->last;
    void *p;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 7) & ~(size_t)7;
    if (!block || block->size - block->used < n) {
        size_t size = block ? 2 * (sizeof(*block) + block->size) : BLOCK_MIN;

        if (size > BLOCK_MAX)
            size = BLOCK_MAX;
        if (size < sizeof(*block) + n)
            size = sizeof(*block) + n;
        block = malloc(size);
        if (!block)
            return NULL;
        *block = (struct arena_block){ .before = a->last, .size = size - sizeof(*block) };
        a->last = block;
    }
    p = block->bytes + block->used;
    block->used += n;
    return p;
}

char *arena_copy(struct arena *a, const void *bytes, size_t n)
{
    char *p = arena_alloc(a, n + 1);

    if (p) {
        if (n)
            memcpy(p, bytes, n);
        p[n] = '\0';
    }
    return p;
}

void arena_free(struct arena *a)
{
    while (a->last) {
        struct arena_block *before = a->last->before;

        free(a->last);
        a->last = before;
    }
}

bool buffer_room(struct buffer *b, size_t n)
{
    size_t size = b->size ? b->size : 4096;
    char *data;

    if (b->failed)
        return false;
    if (b->size - b->len >= n)
        return true;
    while (size - b->len < n && size < SIZE_MAX / 2)
        size += size / 2;
    data = b->fixed || size - b->len < n ? NULL : realloc(b->data, size);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

void buffer_add(struct buffer *b, const void *bytes, size_t n)
{
    const char *from = bytes;
    char *to;

    if (n == 0 || !buffer_room(b, n))
        return;
    to = b->data + b->len;
    b->len += n;
    /* Most additions are a few bytes, for which a call costs more than the bytes. */
    if (n > 16)
        memcpy(to, from, n);
    else
        while (n--)
            *to++ = *from++;
}

void buffer_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

void buffer_number(struct buffer *b, uint64_t value, unsigned base, int width, char end)
{
    char digits[65];
    char *last = digits + sizeof(digits) - 1, *first = last;

    *last = end;
    do {
        /* Nearly all are decimal, and a division by a constant is none. */
        uint64_t rest = base == 10 ? value / 10 : value / base;

        *--first = "0123456789abcdef"[value - rest * base];
        value = rest;
    } while (value || last - first < width);
    buffer_add(b, first, (size_t)(last - first) + (end != '\0'));
}

void *buffer_claim(struct buffer *b, size_t n)
{
    void *claimed;

    if (!buffer_room(b, n))
        return NULL;
    claimed = b->data + b->len;
    memset(claimed, 0, n);
    b->len += n;
    return claimed;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}

bool array_grow(void **array, size_t count, size_t *room, size_t size)
{
    size_t more = *room ? *room * 2 : 32;
    void *moved;

    if (count < *room)
        return true;
    while (more <= count && more <= SIZE_MAX / 4 / size)
        more *= 2;
    if (more <= count || more > SIZE_MAX / 2 / size)
        return false;
    moved = realloc(*array, more * size);
    if (!moved)
        return false;
    *array = moved;
    *room = more;
    return true;
}

static void swap(char *a, char *b, size_t size)
{
    uint64_t word;

    for (; size >= sizeof(word); a += sizeof(word), b += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, a, sizeof(word));
        memcpy(a, b, sizeof(word));
        memcpy(b, &word, sizeof(word));
    }
    for (; size; a++, b++, size--) {
        char c = *a;

        *a = *b;
        *b = c;
    }
}

/*
 * Puts array[top] where it belongs in the heap below it.  It came from the end and nearly
 * always goes back there: so down to a leaf first, then up again, for half the comparisons.
 */
static void sink(char *base, size_t top, size_t end, size_t size,
                 int (*order)(const void *a, const void *b))
{
    size_t at = top, child;

    while ((child = 2 * at + 1) < end) {
        if (child + 1 < end && order(base + child * size, base + (child + 1) * size) < 0)
            child++;
        at = child;
    }
    while (at > top && order(base + top * size, base + at * size) > 0)
        at = (at - 1) / 2;
    for (; at > top; at = (at - 1) / 2)
        swap(base + top * size, base + at * size, size);
}

/* A heap sort: in place, and never slow. */
void array_sort(void *array, size_t count, size_t size,
                int (*order)(const void *a, const void *b))
{
    char *base = array;

    for (size_t top = count / 2; top > 0; top--)
        sink(base, top - 1, count, size, order);
    for (size_t end = count; end-- > 1;) {
        swap(base, base + end * size, size);
        sink(base, 0, end, size, order);
    }
}
