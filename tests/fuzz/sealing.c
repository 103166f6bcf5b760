/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Manifests with right checksums, so that what is wrong with them is only what
 * the fuzzer made wrong, and the parser behind the checksums gets to see it.
 */
#include "fuzz.h"

#include <string.h>

#define HEAD "netcf 1\ncontent 0000000000000000\n"

void seal_compose(struct buffer *b, const uint8_t *lines, size_t n)
{
    size_t pad;

    buffer_text(b, HEAD);
    buffer_add(b, lines, n);
    pad = ARCHIVE_BLOCK - (b->len + 2 + ARCHIVE_END_LINE) % ARCHIVE_BLOCK;
    buffer_text(b, "#");
    while (pad--)
        buffer_text(b, ".");
    buffer_text(b, "\nend ");
    buffer_number(b, b->len - 4 + ARCHIVE_END_LINE, 10, 12, ' ');
    buffer_text(b, "0000000000000000\n");
}

bool seal_find_lines(const uint8_t *data, size_t size, size_t *ret_start, size_t *ret_len)
{
    struct error err = { 0 };
    struct archive_end end;
    size_t len;

    if (size < ARCHIVE_END_LINE + ARCHIVE_END ||
        archive_read_end((const char *)data + size - ARCHIVE_END_LINE - ARCHIVE_END, size, &end,
                         &err, ""))
        return false;
    len = end.manifest_len - ARCHIVE_END_LINE;
    data += end.manifest_offset;
    while (len > sizeof(HEAD) && data[len - 1] != '#')
        len--;
    *ret_start = end.manifest_offset + sizeof(HEAD) - 1;
    *ret_len = len - sizeof(HEAD);
    return len > sizeof(HEAD);
}

#ifndef FUZZ_STANDALONE

/* Words that mean something somewhere in a manifest. */
static const char *const words[] = {
    "0", "1", "07777", "644", "4755", "10", "30", "70", "4294967295", "18446744073709551615",
    "-1.000000000", "9223372036854775807.999999999", "-9223372036854775807.000000001", "0.000000000",
    "..", "../outside/secret", "/etc/shadow", "etc/shadow", "etc", "etc/network", "etc/network/interfaces",
    "etc/network/interfaces.d", "etc/network/interfaces.d/a", "etc/netplan/a.yaml", "etc/netplan/linked",
    "etc/systemd/network", "etc/systemd/network/secret", "etc/.netcf-tmp-0", "var/lib/netcf/x",
    "etc/*/interfaces", "etc/**", "*/*", "etc/[a-z]*", "f", "d", "l", "p", "s", "-", "x", "t", "include",
    "exclude", "user.a", "trusted.b", "security.capability", "system.posix_acl_access", "%00", "%2e%2e", "",
};

struct line {
    uint8_t *start;
    size_t len; /* with its newline */
};

static struct line pick(uint8_t *lines, size_t size, unsigned seed)
{
    uint8_t *p = lines + seed % size, *end;

    while (p > lines && p[-1] != '\n')
        p--;
    end = memchr(p, '\n', (size_t)(lines + size - p));
    return (struct line){ p, (size_t)((end ? end + 1 : lines + size) - p) };
}

/* Puts n bytes in the place of old ones; the new size, or the old one if there is no room. */
static size_t replace(uint8_t *at, size_t old, const void *bytes, size_t n, uint8_t *lines,
                      size_t size, size_t max)
{
    if (size - old + n > max)
        return size;
    memmove(at + n, at + old, (size_t)(lines + size - at) - old);
    memcpy(at, bytes, n);
    return size - old + n;
}

static size_t replace_word(uint8_t *lines, size_t size, size_t max, struct line l, unsigned seed)
{
    const char *word = words[seed % (sizeof(words) / sizeof(words[0]))];
    uint8_t *from = l.start + (seed >> 8) % l.len, *to = from;

    while (from > l.start && from[-1] != ' ')
        from--;
    while (to < l.start + l.len && *to != ' ' && *to != '\n')
        to++;
    return replace(from, (size_t)(to - from), word, strlen(word), lines, size, max);
}

size_t seal_mutate_lines(uint8_t *lines, size_t size, size_t max, unsigned seed)
{
    unsigned what = seed % 8, more = seed / 8 * 2654435761u;
    struct line l, other;
    uint8_t copy[4096];

    if (size == 0 || what < 2)
        return LLVMFuzzerMutate(lines, size, max);
    l = pick(lines, size, more);
    if (what < 5)
        return replace_word(lines, size, max, l, more >> 7);
    other = pick(lines, size, more >> 13 ^ more << 5);
    if (other.len > sizeof(copy))
        return size;
    memcpy(copy, other.start, other.len);
    if (what == 5)
        return replace(l.start, l.len, "", 0, lines, size, max);
    return replace(l.start, what == 6 ? 0 : l.len, copy, other.len, lines, size, max);
}

#endif
