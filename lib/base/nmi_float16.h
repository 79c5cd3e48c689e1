/* SPDX-License-Identifier: MIT */
/*
 * The two 16-bit types of numbers, as bits: F16 (IEEE 754 binary16; 11 bits of precision, up to
 * 65504) and bf16, the upper half of a float (8 bits, the range of floats). Every one of them is a
 * float exactly; floats are rounded to the nearest, ties to even, and beyond the range to infinity.
 */
#ifndef NMI_FLOAT16_H
#define NMI_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t nmi_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float nmi_float_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t nmi_bf16_bits(float x)
{
    const uint32_t bits = nmi_float_bits(x);
    if (x != x)
        return bits >> 16 | 0x40u; /* rounding must not make it an infinity */
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

static inline float nmi_bf16_from_bits(uint32_t bits)
{
    return nmi_float_from_bits(bits << 16);
}

static inline uint32_t nmi_f16_bits(float x)
{
    const uint32_t bits = nmi_float_bits(x), sign = bits >> 16 & 0x8000u;
    const uint32_t size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return sign | 0x7e00u | (size >> 13 & 0x1ffu);
    if (size >= 0x47800000u) /* 2^16 */
        return sign | 0x7c00u;
    if (size < 0x38800000u) /* 2^-14: in steps of 2^-24, which those of floats from 0.5 on are */
        return sign | (nmi_float_bits(nmi_float_from_bits(size) + 0.5F) - nmi_float_bits(0.5F));
    return sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
}

static inline float nmi_f16_from_bits(uint32_t bits)
{
    const uint32_t sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
    if (size < 0x400u)
        return nmi_float_from_bits(sign | nmi_float_bits((float)size * 0x1p-24F));
    return nmi_float_from_bits(sign |
                               ((size << 13) + (size < 0x7c00u ? 0x38000000u : 0x70000000u)));
}

#endif
