/* SPDX-License-Identifier: MIT */
/* Chooses kernels for the processor at hand and packs matrices for them. */
#include "nmi_kernels.h"

#include "cpu/nmi_cpu.h"

#include <string.h>

#ifdef NMI_HAVE_AVX2
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef NMI_HAVE_AVX512
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("fma");
}
#endif

const nmi_kernels *nmi_kernels_best(void)
{
#ifdef NMI_HAVE_AVX512
    if (has_avx512())
        return &nmi_kernels_avx512;
#endif
#ifdef NMI_HAVE_AVX2
    if (has_avx2())
        return &nmi_kernels_avx2;
#endif
    return &nmi_kernels_base;
}

const nmi_kernels *nmi_kernels_named(const char *name)
{
    if (strcmp(name, "base") == 0)
        return &nmi_kernels_base;
#ifdef NMI_HAVE_AVX2
    if (strcmp(name, "avx2") == 0 && has_avx2())
        return &nmi_kernels_avx2;
#endif
#ifdef NMI_HAVE_AVX512
    if (strcmp(name, "avx512") == 0 && has_avx512())
        return &nmi_kernels_avx512;
#endif
    return NULL;
}

nmi_epilogue nmi_epilogue_moved(const nmi_epilogue *epilogue, int64_t offset, int64_t column)
{
    nmi_epilogue moved = epilogue != NULL ? *epilogue : NMI_EPILOGUE_NONE;
    if (moved.bias != NULL)
        moved.bias += column;
    if (moved.residual != NULL)
        moved.residual += offset;
    if (moved.activated != NULL)
        moved.activated += offset;
    return moved;
}

static int64_t round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

size_t nmi_packed_floats(const nmi_kernels *kernels, int64_t depth, int64_t columns)
{
    return (size_t)(depth * round_up(columns, kernels->lanes));
}

int64_t nmi_panel_share(const nmi_kernels *kernels, int64_t columns, int64_t part, int64_t parts,
                        int64_t *first)
{
    const int64_t panels = round_up(columns, kernels->panel) / kernels->panel;
    const int64_t end = panels * (part + 1) / parts * kernels->panel;
    *first = panels * part / parts * kernels->panel;
    return (end < columns ? end : columns) - *first;
}

/* Width in floats of the panel that starts at `column`. */
static int64_t panel_width(const nmi_kernels *kernels, int64_t columns, int64_t column)
{
    int64_t left = round_up(columns - column, kernels->lanes);
    return left < kernels->panel ? left : kernels->panel;
}

/* One panel: `present` columns of `width` in memory, from `a` to `packed`, or added back. */
static void pack_panel(const nmi_depth *depth, int64_t present, int64_t width,
                       int64_t column_stride, const float *a, float *packed)
{
    for (int64_t i = 0; i < depth->count[0]; i++) {
        for (int64_t j = 0; j < depth->count[1]; j++) {
            const float *from = a + i * depth->stride[0] + j * depth->stride[1];
            for (int64_t l = 0; l < depth->count[2]; l++, packed += width) {
                for (int64_t n = 0; n < present; n++)
                    packed[n] = from[l * depth->stride[2] + n * column_stride];
                for (int64_t n = present; n < width; n++)
                    packed[n] = 0.0f;
            }
        }
    }
}

static void unpack_panel(const nmi_depth *depth, int64_t present, int64_t width,
                         int64_t column_stride, const float *packed, float *a)
{
    for (int64_t i = 0; i < depth->count[0]; i++) {
        for (int64_t j = 0; j < depth->count[1]; j++) {
            float *to = a + i * depth->stride[0] + j * depth->stride[1];
            for (int64_t l = 0; l < depth->count[2]; l++, packed += width)
                for (int64_t n = 0; n < present; n++)
                    to[l * depth->stride[2] + n * column_stride] += packed[n];
        }
    }
}

void nmi_pack(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
              int64_t column_stride, const float *a, float *packed)
{
    const int64_t total = depth->count[0] * depth->count[1] * depth->count[2];
    for (int64_t first = 0; first < columns; first += kernels->panel) {
        int64_t width = panel_width(kernels, columns, first);
        int64_t present = columns - first < width ? columns - first : width;
        pack_panel(depth, present, width, column_stride, a + first * column_stride,
                   packed + first * total);
    }
}

void nmi_unpack_add(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
                    int64_t column_stride, const float *packed, float *a)
{
    const int64_t total = depth->count[0] * depth->count[1] * depth->count[2];
    for (int64_t first = 0; first < columns; first += kernels->panel) {
        int64_t width = panel_width(kernels, columns, first);
        int64_t present = columns - first < width ? columns - first : width;
        unpack_panel(depth, present, width, column_stride, packed + first * total,
                     a + first * column_stride);
    }
}
