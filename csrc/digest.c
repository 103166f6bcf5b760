/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Responsible for the two digests: one that finds damage, one that hides a token.
 * MUST be exact to their published definitions: other programs check them.
 */
#include "digest.h"

#include <string.h>

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu,
                      P3 = 0x165667B19E3779F9u, P4 = 0x85EBCA77C2B2AE63u,
                      P5 = 0x27D4EB2F165667C5u;

static uint64_t rotl64(uint64_t v, int n)
{
    return v << n | v >> (64 - n);
}

static uint64_t load64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint32_t load32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t round64(uint64_t lane, uint64_t word)
{
    return rotl64(lane + word * P2, 31) * P1;
}

/* Whole stripes of 32 bytes; the lanes stay in registers. */
static void stripes(struct xxh64 *x, const unsigned char *p, size_t count)
{
    uint64_t a = x->lane[0], b = x->lane[1], c = x->lane[2], d = x->lane[3];

    for (; count; count--, p += 32) {
        a = round64(a, load64(p));
        b = round64(b, load64(p + 8));
        c = round64(c, load64(p + 16));
        d = round64(d, load64(p + 24));
    }
    x->lane[0] = a;
    x->lane[1] = b;
    x->lane[2] = c;
    x->lane[3] = d;
}

void xxh64_init(struct xxh64 *x)
{
    *x = (struct xxh64){ .lane = { P1 + P2, P2, 0, -P1 } };
}

void xxh64_add(struct xxh64 *x, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t have = x->total % 32;

    x->total += n;
    if (have) {
        size_t take = n < 32 - have ? n : 32 - have;

        memcpy(x->rest + have, p, take);
        p += take;
        n -= take;
        if (have + take < 32)
            return;
        stripes(x, x->rest, 1);
    }
    stripes(x, p, n / 32);
    if (n % 32)
        memcpy(x->rest, p + n / 32 * 32, n % 32);
}

uint64_t xxh64_value(const struct xxh64 *x)
{
    const unsigned char *p = x->rest;
    size_t n = x->total % 32;
    uint64_t h;

    if (x->total >= 32) {
        h = rotl64(x->lane[0], 1) + rotl64(x->lane[1], 7) + rotl64(x->lane[2], 12) +
            rotl64(x->lane[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ round64(0, x->lane[i])) * P1 + P4;
    } else {
        h = P5;
    }
    h += x->total;
    for (; n >= 8; p += 8, n -= 8)
        h = rotl64(h ^ round64(0, load64(p)), 27) * P1 + P4;
    if (n >= 4) {
        h = rotl64(h ^ load32(p) * P1, 23) * P2 + P3;
        p += 4;
        n -= 4;
    }
    for (; n; p++, n--)
        h = rotl64(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

static uint32_t rotr32(uint32_t v, int n)
{
    return v >> n | v << (32 - n);
}

static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void sha256_block(uint32_t state[8], const unsigned char *p)
{
    uint32_t w[64], v[8];

    for (int i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];

        w[i] = w[i - 16] + w[i - 7] + (rotr32(a, 7) ^ rotr32(a, 18) ^ a >> 3) +
               (rotr32(b, 17) ^ rotr32(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (rotr32(v[4], 6) ^ rotr32(v[4], 11) ^ rotr32(v[4], 25)) +
                      ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha256_k[i] + w[i];
        uint32_t t2 = (rotr32(v[0], 2) ^ rotr32(v[0], 13) ^ rotr32(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

struct sha256 {
    uint32_t state[8];
    unsigned char block[64];
    uint64_t total;
};

static void sha256_byte(struct sha256 *s, unsigned char c)
{
    s->block[s->total++ % 64] = c;
    if (s->total % 64 == 0)
        sha256_block(s->state, s->block);
}

void sha256_salted(const void *salt, size_t salt_len, const char *text,
                   unsigned char ret_hash[SHA256_SIZE])
{
    struct sha256 s = { .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
    uint64_t bits;

    for (size_t i = 0; i < salt_len; i++)
        sha256_byte(&s, ((const unsigned char *)salt)[i]);
    for (; *text; text++)
        sha256_byte(&s, (unsigned char)*text);
    bits = s.total * 8;
    sha256_byte(&s, 0x80);
    while (s.total % 64 != 56)
        sha256_byte(&s, 0);
    for (int i = 56; i >= 0; i -= 8)
        sha256_byte(&s, (unsigned char)(bits >> i));
    for (int i = 0; i < SHA256_SIZE; i++)
        ret_hash[i] = (unsigned char)(s.state[i / 4] >> (24 - 8 * (i % 4)));
}
