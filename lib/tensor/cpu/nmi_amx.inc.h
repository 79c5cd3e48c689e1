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
