/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NCF_DIGEST_H
#define NCF_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/*
 * XXH64, seed 0: finds damage.  Within one lane every step is a bijection, so
 * any change confined to one 8-byte word is found for certain, any other with
 * probability 1 - 2^-64, at the speed of memory.
 */
struct xxh64 {
    uint64_t lane[4];
    uint64_t total;
    unsigned char rest[32];
};

void xxh64_init(struct xxh64 *x);
void xxh64_add(struct xxh64 *x, const void *bytes, size_t n);
uint64_t xxh64_value(const struct xxh64 *x);

/* SHA-256 (FIPS 180-4) of `salt` followed by `text`: how a token is stored. */
enum { SHA256_SIZE = 32 };
void sha256_salted(const void *salt, size_t salt_len, const char *text,
                   unsigned char ret_hash[SHA256_SIZE]);

#endif
