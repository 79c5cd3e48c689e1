/* SPDX-License-Identifier: MIT */
/*
 * Pairs of bf16 that are neighbours along a sum. A pair lies, and is passed, where a float is, the
 * first of the two in its lower half; only its bits mean something.
 */
#ifndef NMI_BF16_H
#define NMI_BF16_H

#include "nmi_float16.h"

static inline float nmi_pair(float first, float second)
{
    return nmi_float_from_bits(nmi_bf16_bits(first) | nmi_bf16_bits(second) << 16);
}

/* The two of a pair as floats. */
static inline float nmi_pair_first(float pair)
{
    return nmi_bf16_from_bits(nmi_float_bits(pair) & 0xffffu);
}

static inline float nmi_pair_second(float pair)
{
    return nmi_bf16_from_bits(nmi_float_bits(pair) >> 16);
}

#endif
