/* SPDX-License-Identifier: MIT */
/* Vectors of bf16 for processors without instructions for them: products are exact in floats, so
 * only the order of the additions may differ from those. */

static inline __attribute__((always_inline)) vec pair_first(vec pairs)
{
    return (vec)((uvec)pairs << 16);
}

static inline __attribute__((always_inline)) vec pair_second(vec pairs)
{
    return (vec)((uvec)pairs & 0xffff0000u);
}

static inline __attribute__((always_inline)) vec add_pairs(vec sum, vec a, vec b)
{
    sum += pair_first(a) * pair_first(b);
    sum += pair_second(a) * pair_second(b);
    return sum;
}

/* As nmi_bf16_bits(), but in the upper halves. */
static inline __attribute__((always_inline)) uvec rounded_bits(vec x)
{
    const uvec bits = (uvec)x, nan = (uvec)(x != x);
    const uvec rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    return (nan & (bits | 0x400000u)) | (~nan & rounded);
}

static inline __attribute__((always_inline)) half_vec halves(vec x)
{
    return __builtin_convertvector(rounded_bits(x) >> 16, half_vec);
}
