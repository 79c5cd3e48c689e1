/* SPDX-License-Identifier: MIT */
/* The kernels for x86-64 with AVX-512 F, VL, DQ, BW and BF16: products of pairs have an instruction
 * that does twice the work of a multiply-add. */
#include "nmi_avx512.inc.h"

#define TABLE nmi_kernels_avx512bf16
#define NAME "avx512bf16"

static inline __attribute__((always_inline)) vec add_pairs(vec sum, vec a, vec b)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

static inline __attribute__((always_inline)) half_vec halves(vec x)
{
    return (half_vec)_mm512_cvtneps_pbh((__m512)x);
}

#include "nmi_rows_kernel.inc.h"
