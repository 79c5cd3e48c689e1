/* SPDX-License-Identifier: MIT */
/* Vectors and tiles of all levels with AVX-512. */
#include <immintrin.h>

#define LANES 16
#define TILE_ROWS 12
#define TILE_MIDDLE 8
#define TILE_SMALL 4
#define BROAD
#include "nmi_vector.inc.h"

static inline __mmask16 first_lanes(int n)
{
    return (__mmask16)(n >= LANES ? 0xffffu : (1u << n) - 1u);
}

static inline vec load_part(const float *p, int n)
{
    return (vec)_mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void store_part(float *p, int n, vec v)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)v);
}

static inline void widen(vec x, wide_vec out[2])
{
    out[0] = (wide_vec)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)x));
    out[1] = (wide_vec)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)x, 1));
}
