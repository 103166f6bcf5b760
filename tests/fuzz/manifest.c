/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the decoder of manifests alone.  An input is the lines between the
 * first two and the filling.  What is accepted must be exactly what the encoder
 * writes for what was understood.
 */
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

static void check_entries(const struct listing *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->entry[i];

        must(path_valid(e->path), "a path that leads elsewhere: %s", e->path);
        must(!path_beneath(e->path, PATH_STATE), "a path in the state directory: %s", e->path);
        must(i == 0 || path_compare(l->entry[i - 1].path, e->path) < 0, "not sorted: %s", e->path);
        must(e->type != 'l' || (e->target && *e->target), "a link without a target: %s", e->path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t content = 0x0123456789abcdef;
    AUTO_BUFFER text = { 0 };
    AUTO_BUFFER again = { 0 };
    AUTO_SCOPE scope = { 0 };
    AUTO_LISTING files = { 0 };
    struct error err = { 0 };
    struct archive_end end;
    struct manifest m;
    uint64_t sum;
    size_t len;
    char *copy;

    seal_compose(&text, data, size);
    archive_seal(&text, content);
    len = text.len;
    buffer_claim(&text, ARCHIVE_END);
    must(archive_read_end(text.data + len - ARCHIVE_END_LINE, len + 1000000, &end, &err, "") == 0 &&
             end.manifest_len == len,
         "the end line is not found");
    copy = malloc(len + 1); /* no byte more, so that reading on is noticed */
    memcpy(copy, text.data, len);
    copy[len] = '\0';
    if (archive_read_manifest(copy, &end, &m, &scope, &files, &sum, &err, "") == 0) {
        must(sum == content, "another sum of the content");
        check_entries(&files);
        archive_manifest(&again, &m, &scope, &files);
        archive_seal(&again, sum);
        must(again.len == len && !memcmp(again.data, text.data, len),
             "accepted, but the encoder writes something else");
    } else {
        must(err.code == NCF_EFILE, "refused with code %d", err.code);
    }
    free(copy);
    return 0;
}

#ifndef FUZZ_STANDALONE
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return seal_mutate_lines(data, size, max, seed);
}
#endif
