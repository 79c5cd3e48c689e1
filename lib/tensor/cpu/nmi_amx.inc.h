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

static const matrix_palette matrix_shapes = {
    .palette = 1,
    .line_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .lines = {16, 16, 16, 16, 16, 16, 16, 16},
};

#define MATRIX_CONFIGURE() __asm__ volatile("ldtilecfg %0" : : "m"(matrix_shapes) : "memory")
#define MATRIX_RELEASE() __asm__ volatile("tilerelease" : : : "memory")
#define MATRIX_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : : : "memory")
#define MATRIX_LOAD(t, from, stride)                                                               \
    __asm__ volatile("tileloadd (%0, %1, 1), %%tmm" #t                                             \
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
