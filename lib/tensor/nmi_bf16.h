/* SPDX-License-Identifier: MIT */
/*
 * bf16: the upper half of a float, rounded to the nearest, ties to even. Two that are neighbours
 * along a sum make a pair. A pair lies, and is passed, where a float is, the first of the two in
 * its lower half; only its bits mean something.
 */
#ifndef NMI_BF16_H
#define NMI_BF16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t nmi_bf16_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return bits >> 16 | 0x40u; /* rounding must not make it an infinity */
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

static inline float nmi_bf16_from_bits(uint32_t bits)
{
    float x;
    bits <<= 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float nmi_pair(float first, float second)
{
    const uint32_t bits = nmi_bf16_bits(first) | nmi_bf16_bits(second) << 16;
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

/* The two of a pair as floats. */
static inline float nmi_pair_first(float pair)
{
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return nmi_bf16_from_bits(bits & 0xffffu);
}

static inline float nmi_pair_second(float pair)
{
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return nmi_bf16_from_bits(bits >> 16);
}

#endif
