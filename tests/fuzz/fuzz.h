/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FUZZ_H
#define FUZZ_H

#include "archive.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls; standalone.c calls the first two. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* A claim about the core that must hold for every input. */
#define must(holds, ...)                                        \
    do {                                                        \
        if (!(holds)) {                                         \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);     \
            fprintf(stderr, __VA_ARGS__);                       \
            fputc('\n', stderr);                                \
            abort();                                            \
        }                                                       \
    } while (0)

/* ---- sealing.c: manifests whose checksums are right ---- */

/* A whole manifest around these lines, all of it right but for the checksums. */
void seal_compose(struct buffer *b, const uint8_t *lines, size_t n);
/* Where the lines of the manifest of an archive are; false if it has none. */
bool seal_find_lines(const uint8_t *data, size_t size, size_t *ret_start, size_t *ret_len);
/* Changes the lines of a manifest by whole lines, words and bytes. */
size_t seal_mutate_lines(uint8_t *lines, size_t size, size_t max, unsigned seed);

/* ---- a host to play in: scratch.c beneath $TMPDIR, memory.c on the disk in memory ---- */

/* Makes it; returns its open root. */
int scratch_make(void);
/* Brings it back to how scratch_make() left it. */
void scratch_reset(void);
void scratch_write(const char *path, const void *bytes, size_t n);
bool scratch_has(const char *path);
/* Whether nothing is open that was not before scratch_write(). */
bool scratch_all_closed(void);
/* Whether every path of the host is the same inode, untouched since the last reset. */
bool scratch_untouched(void);
/* Whether the file of the host that no default pattern covers is untouched. */
bool scratch_shadow_untouched(void);
/* Whether all that lies beside the root, and is linked to from within, is as it was. */
bool scratch_outside_untouched(void);
/* The files of the host that no link stands before, up to NULL. */
extern const char *const scratch_files[];

#endif
