/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_MEMORY_H
#define NCF_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that lives and dies together: the paths and attributes of a listing. */
struct arena {
    struct arena_block *last;
};

/* NULL if memory is short. */
void *arena_alloc(struct arena *a, size_t n);
/* A copy of n bytes with a NUL behind them. */
char *arena_copy(struct arena *a, const void *bytes, size_t n);
void arena_free(struct arena *a);

/* Bytes that grow.  A failed allocation is remembered: check `failed` once, at the end. */
struct buffer {
    char *data;
    size_t len, size;
    bool failed;
    bool fixed; /* the bytes are borrowed and stay `size`: more of them fails */
};

/* Room for n more bytes; false if memory is short. */
bool buffer_room(struct buffer *b, size_t n);
void buffer_add(struct buffer *b, const void *bytes, size_t n);
void buffer_text(struct buffer *b, const char *text);
/* The digits of a number in a base up to 16, at least `width` of them, then `end` unless it is NUL. */
void buffer_number(struct buffer *b, uint64_t value, unsigned base, int width, char end);
/* n more bytes, zeroed, to be filled in before the next call; NULL if memory is short. */
void *buffer_claim(struct buffer *b, size_t n);
void buffer_free(struct buffer *b);
#define AUTO_BUFFER __attribute__((cleanup(buffer_free))) struct buffer

/*
 * Room for one more element of `size` bytes in an array of `count`, some of which
 * may yet have to come; the array may move.  False if memory is short.
 */
bool array_grow(void **array, size_t count, size_t *room, size_t size);
/* As qsort(), which takes ten times the room in a small libc. */
void array_sort(void *array, size_t count, size_t size,
                int (*order)(const void *a, const void *b));

#endif
