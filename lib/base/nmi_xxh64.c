/* SPDX-License-Identifier: MIT */
/* XXH64: four accumulators over stripes of 32 bytes, then the rest, then bits are spread. */
#include "nmi_hash.h"

static const uint64_t PRIME1 = UINT64_C(0x9E3779B185EBCA87);
static const uint64_t PRIME2 = UINT64_C(0xC2B2AE3D27D4EB4F);
static const uint64_t PRIME3 = UINT64_C(0x165667B19E3779F9);
static const uint64_t PRIME4 = UINT64_C(0x85EBCA77C2B2AE63);
static const uint64_t PRIME5 = UINT64_C(0x27D4EB2F165667C5);

enum { STRIPE = 32 };

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Little-endian; compilers make one load of it. */
static uint64_t load32(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

static uint64_t load64(const unsigned char *p)
{
    return load32(p) | load32(p + 4) << 32;
}

static uint64_t mix(uint64_t accumulator, uint64_t lane)
{
    return rotate(accumulator + lane * PRIME2, 31) * PRIME1;
}

/* Hash of whole stripes. */
static uint64_t take_stripes(const unsigned char *p, size_t stripes, uint64_t seed)
{
    uint64_t a[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
    for (; stripes > 0; stripes--, p += STRIPE)
        for (int i = 0; i < 4; i++)
            a[i] = mix(a[i], load64(p + 8 * i));
    uint64_t hash = rotate(a[0], 1) + rotate(a[1], 7) + rotate(a[2], 12) + rotate(a[3], 18);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ mix(0, a[i])) * PRIME1 + PRIME4;
    return hash;
}

static uint64_t take_rest(const unsigned char *p, size_t size, uint64_t hash)
{
    for (; size >= 8; size -= 8, p += 8)
        hash = rotate(hash ^ mix(0, load64(p)), 27) * PRIME1 + PRIME4;
    for (; size >= 4; size -= 4, p += 4)
        hash = rotate(hash ^ load32(p) * PRIME1, 23) * PRIME2 + PRIME3;
    for (; size > 0; size--, p++)
        hash = rotate(hash ^ *p * PRIME5, 11) * PRIME1;
    return hash;
}

uint64_t nmi_xxh64(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    const size_t stripes = size / STRIPE;
    uint64_t hash = stripes > 0 ? take_stripes(p, stripes, seed) : seed + PRIME5;
    hash = take_rest(p + stripes * STRIPE, size % STRIPE, hash + size);
    hash = (hash ^ hash >> 33) * PRIME2;
    hash = (hash ^ hash >> 29) * PRIME3;
    return hash ^ hash >> 32;
}
