/* SPDX-License-Identifier: MIT */
/* The kernels for x86-64 with AVX2 and FMA; compiled with -mavx2 -mfma. */
#include <immintrin.h>

#define LANES 8
#define TILE_ROWS 6
#define TILE_MIDDLE 4
#define TILE_SMALL 2
#define AHEAD 16
#define TABLE nmi_kernels_avx2
#define NAME "avx2"
#include "nmi_vector.inc.h"

static inline __m256i first_lanes(int n)
{
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), numbers);
}

static inline vec load_part(const float *p, int n)
{
    return (vec)_mm256_maskload_ps(p, first_lanes(n));
}

static inline void store_part(float *p, int n, vec v)
{
    _mm256_maskstore_ps(p, first_lanes(n), (__m256)v);
}

static inline void widen(vec x, wide_vec out[2])
{
    out[0] = (wide_vec)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)x));
    out[1] = (wide_vec)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)x, 1));
}

#include "nmi_pairs.inc.h"
#include "nmi_rows_kernel.inc.h"
