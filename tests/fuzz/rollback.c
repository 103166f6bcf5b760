/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes a whole rollback on a scratch host: an input is a snapshot file.  The
 * mutator makes its checksums right again, most of the time.  What lies beside
 * the root must stay as it is, what the snapshot does not cover too, and where
 * the snapshot is refused, everything.
 */
#include "change.h"
#include "fuzz.h"

#include <string.h>

#define SNAPSHOT PATH_STATE "/" STORE_SNAPSHOT

static int root;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    root = scratch_make();
    return 0;
}

/* Asked only where the file did change: was it the snapshot's to change? */
/* Where a pattern needs a directory of that name, a file there stands in its way. */
static bool is_in_the_way(const struct scope *scope)
{
    for (size_t i = 0; i < scope->count; i++) {
        const struct pattern *p = &scope->pattern[i];

        if (!p->exclude && p->parts + p->deep > 2 && scope_part_matches(p->part[0], "etc") &&
            scope_part_matches(p->part[1], "shadow"))
            return true;
    }
    return false;
}

static bool covers_shadow(const uint8_t *data, size_t size)
{
    AUTO_SCOPE scope = { 0 };
    AUTO_LISTING files = { 0 };
    struct error err = { 0 };
    struct archive_end end;
    struct manifest m;
    uint64_t sum;
    bool covers;
    char *text;

    archive_read_end((const char *)data + size - ARCHIVE_END_LINE - ARCHIVE_END, size, &end, &err, "");
    text = malloc(end.manifest_len + 1);
    memcpy(text, data + end.manifest_offset, end.manifest_len);
    text[end.manifest_len] = '\0';
    must(archive_read_manifest(text, &end, &m, &scope, &files, &sum, &err, "") == 0,
         "a snapshot was acted on that can't be read");
    covers = scope_covers(&scope, "etc/shadow") || listing_find(&files, "etc/shadow") ||
             is_in_the_way(&scope);
    free(text);
    return covers;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct change_result result = { 0 };
    struct error err = { 0 };

    scratch_write(SNAPSHOT, data, size);
    if (change_rollback(root, NULL, NULL, &result, &err) == 0)
        must(!scratch_has(SNAPSHOT), "done, but still open");
    else
        must(scratch_has(SNAPSHOT), "failed at step %d, but the snapshot is gone", err.step);
    must(scratch_outside_untouched(), "something beside the root was touched");
    must(scratch_all_closed(), "a descriptor was left open");
    if (snapshot_is_damaged(&err)) {
        must(scratch_untouched(), "refused at step %d, but a file was touched", err.step);
    } else {
        must(scratch_shadow_untouched() || covers_shadow(data, size),
             "a file that the snapshot does not cover was touched");
        scratch_reset();
    }
    return 0;
}

#ifndef FUZZ_STANDALONE
static size_t reseal(uint8_t *data, size_t before, const uint8_t *lines, size_t n, size_t size,
                     size_t max)
{
    AUTO_BUFFER text = { 0 };
    struct xxh64 sum;

    seal_compose(&text, lines, n);
    if (text.failed || before + text.len + ARCHIVE_END > max)
        return size;
    xxh64_init(&sum);
    xxh64_add(&sum, data, before);
    archive_seal(&text, xxh64_value(&sum));
    memcpy(data + before, text.data, text.len);
    memset(data + before + text.len, 0, ARCHIVE_END);
    return before + text.len + ARCHIVE_END;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    enum { ROOM = 1 << 16, HEAD = 33 };
    static uint8_t lines[ROOM];
    size_t start, n, before;

    if (seed % 16 == 0 || !seal_find_lines(data, size, &start, &n) || n > ROOM / 2)
        return LLVMFuzzerMutate(data, size, max);
    before = start - HEAD;
    memcpy(lines, data + start, n);
    if (seed % 16 < 3 && before)
        LLVMFuzzerMutate(data, before, before); /* content, in place */
    else
        n = seal_mutate_lines(lines, n, ROOM, seed / 16);
    return reseal(data, before, lines, n, size, max);
}
#endif
