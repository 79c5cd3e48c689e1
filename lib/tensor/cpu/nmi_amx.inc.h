/* SPDX-License-Identifier: MIT */
/*
 * The operations of nmi_amx_kernel.inc.h as instructions of AMX. In assembler: intrinsics of gcc 12
 * do not say that tiles are loaded from memory, so that what was stored there may come too late.
 */

/* Palette 1: tiles of up to 16 lines of 64 bytes. */
typedef struct matrix_palette {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} matrix_palette;

/* See nmi_amx_kernel.inc.h. */
static inline matrix_palette matrix_shapes(int first, int second, int depth)
{
    const uint8_t lines[8] = {(uint8_t)first, (uint8_t)first,  (uint8_t)second, (uint8_t)second,
                              (uint8_t)first, (uint8_t)second, (uint8_t)depth,  (uint8_t)depth};
    matrix_palette shapes = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        shapes.lines[t] = lines[t];
        shapes.line_bytes[t] = t == 4 || t == 5 ? (uint16_t)(4 * depth) : 64;
    }
    return shapes;
}

#define MATRIX_CONFIGURE(first, second, depth)                                                     \
    do {                                                                                           \
        const matrix_palette shapes = matrix_shapes(first, second, depth);                         \
        __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory");                               \
    } while (0)
#define MATRIX_RELEASE() __asm__ volatile("tilerelease" : : : "memory")
#define MATRIX_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : : : "memory")
#define MATRIX_LOAD(t, from, stride)                                                               \
    __asm__ volatile("tileloadd (%0, %1, 1), %%tmm" #t                                             \
                     :                                                                             \
                     : "r"(from), "r"((int64_t)sizeof(float) * (stride))                           \
                     : "memory")
#define MATRIX_STREAM(t, from, stride)                                                             \
    __asm__ volatile("tileloaddt1 (%0, %1, 1), %%tmm" #t                                           \
                     :                                                                             \
                     : "r"(from), "r"((int64_t)sizeof(float) * (stride))                           \
                     : "memory")
#define MATRIX_STORE(t, to, stride)                                                                \
    __asm__ volatile("tilestored %%tmm" #t ", (%0, %1, 1)"                                         \
                     :                                                                             \
                     : "r"(to), "r"((int64_t)sizeof(float) * (stride))                             \
                     : "memory")
#define MATRIX_ADD(c, a, b)                                                                        \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

/* Pairs of the numbers of two vectors. */
static inline __attribute__((always_inline)) vec pair_up(vec first, vec second)
{
    const uvec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const __m512i order = (__m512i)(lane | (lane + LANES) << 16);
    const __m512bh both = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    return (vec)_mm512_permutexvar_epi16(order, (__m512i)both);
}

/* From lane `first` on; what follows the last one means nothing. */
static inline __attribute__((always_inline)) vec lanes_from(vec v, int first)
{
    const uvec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (vec)_mm512_permutexvar_ps((__m512i)(lane + (uint32_t)first), (__m512)v);
}

/* 16 vectors of 16 floats, transposed in place: first within quarters of vectors, then those. */
static inline __attribute__((always_inline)) void transpose(vec v[16])
{
    __m512 a[16], b[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps((__m512)v[i], (__m512)v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps((__m512)v[i], (__m512)v[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            const __m512d x = (__m512d)a[i + j], y = (__m512d)a[i + j + 2];
            b[i + 2 * j] = (__m512)_mm512_unpacklo_pd(x, y);
            b[i + 2 * j + 1] = (__m512)_mm512_unpackhi_pd(x, y);
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512 low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x44);
        const __m512 high = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xee);
        const __m512 next_low = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x44);
        const __m512 next_high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xee);
        v[i] = (vec)_mm512_shuffle_f32x4(low, next_low, 0x88);
        v[i + 4] = (vec)_mm512_shuffle_f32x4(low, next_low, 0xdd);
        v[i + 8] = (vec)_mm512_shuffle_f32x4(high, next_high, 0x88);
        v[i + 12] = (vec)_mm512_shuffle_f32x4(high, next_high, 0xdd);
    }
}
