/* SPDX-License-Identifier: MIT */
/* Vectors of bf16 with instructions for them, beside nmi_avx512.inc.h. */

static inline __attribute__((always_inline)) vec add_pairs(vec sum, vec a, vec b)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

static inline __attribute__((always_inline)) half_vec halves(vec x)
{
    return (half_vec)_mm512_cvtneps_pbh((__m512)x);
}
