/* SPDX-License-Identifier: MIT */
/* The levels of kernels, which of them a context gets, and matrices packed for them. */
#include "nmi_kernels.h"

#include "cpu/nmi_cpu.h"

#include <string.h>

static bool always(void)
{
    return true;
}

#ifdef NMI_HAVE_AVX2
static bool has_avx2(void)
{
    __builtin_cpu_init(); /* we may run before the constructor that does it */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef NMI_HAVE_AVX512
static bool has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("fma");
}
#endif

#ifdef NMI_HAVE_AVX512BF16
static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

#ifdef NMI_HAVE_AMX
static bool has_amx(void)
{
    return has_avx512bf16() && nmi_amx_usable();
}
#endif

typedef struct level {
    const char *name;
    const nmi_kernels *kernels; /* NULL: not in this build */
    bool (*supported)(void);    /* by the processor, and by the system that keeps its registers */
} level;

static const level levels[NMI_KERNEL_LEVELS] = {
    {"base", &nmi_kernels_base, always},
#ifdef NMI_HAVE_NEON
    {"neon", &nmi_kernels_neon, always}, /* part of every AArch64 */
#else
    {"neon", NULL, always},
#endif
#ifdef NMI_HAVE_AVX2
    {"avx2", &nmi_kernels_avx2, has_avx2},
#else
    {"avx2", NULL, always},
#endif
#ifdef NMI_HAVE_AVX512
    {"avx512", &nmi_kernels_avx512, has_avx512},
#else
    {"avx512", NULL, always},
#endif
#ifdef NMI_HAVE_AVX512BF16
    {"avx512bf16", &nmi_kernels_avx512bf16, has_avx512bf16},
#else
    {"avx512bf16", NULL, always},
#endif
#ifdef NMI_HAVE_AMX
    {"amx", &nmi_kernels_amx, has_amx},
#else
    {"amx", NULL, always},
#endif
};

static const nmi_kernels *kernels_at(int32_t number)
{
    const level *l = &levels[number];
    return l->kernels != NULL && l->supported() ? l->kernels : NULL;
}

/* The number of a level, -1 for an unknown name. */
static int32_t find_level(const char *name)
{
    int32_t number = NMI_KERNEL_LEVELS - 1;
    while (number >= 0 && strcmp(levels[number].name, name) != 0)
        number--;
    return number;
}

const char *nmi_kernels_name(int32_t number)
{
    return number >= 0 && number < NMI_KERNEL_LEVELS ? levels[number].name : NULL;
}

const nmi_kernels *nmi_kernels_named(const char *name)
{
    const int32_t number = find_level(name);
    return number >= 0 ? kernels_at(number) : NULL;
}

const nmi_kernels *nmi_kernels_best(void)
{
    int32_t number = NMI_KERNEL_LEVELS - 1;
    while (number > 0 && kernels_at(number) == NULL)
        number--;
    return levels[number].kernels;
}

static neumeta_status refuse(nmi_context *context, neumeta_status status, const char *name)
{
    char offered[64] = "auto";
    for (int32_t number = 0; number < NMI_KERNEL_LEVELS; number++) {
        if (kernels_at(number) != NULL) {
            strcat(offered, ", ");
            strcat(offered, levels[number].name);
        }
    }
    return nmi_fail(context, status,
                    status == NEUMETA_ERR_ARGUMENT
                        ? "there are no kernels '%s'; this processor and build offer %s"
                        : "kernels '%s' are not to be had: this processor and build offer %s",
                    name, offered);
}

neumeta_status nmi_kernels_choose(nmi_context *context, int32_t held, const char *name)
{
    const bool automatic = strcmp(name, "auto") == 0;
    const nmi_kernels *chosen = automatic ? nmi_kernels_best() : nmi_kernels_named(name);
    if (chosen == NULL)
        return refuse(context,
                      find_level(name) >= 0 ? NEUMETA_ERR_UNSUPPORTED : NEUMETA_ERR_ARGUMENT, name);
    if (atomic_load(&context->references) > held)
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "kernels are chosen before anything is made from the context: free its "
                        "handles first");
    context->kernels = chosen;
    return NEUMETA_OK;
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
    if (moved.rounded != NULL)
        moved.rounded += offset / 2;
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

int64_t nmi_panel_width(const nmi_kernels *kernels, int64_t columns, int64_t column)
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
        int64_t width = nmi_panel_width(kernels, columns, first);
        int64_t present = columns - first < width ? columns - first : width;
        pack_panel(depth, present, width, column_stride, a + first * column_stride,
                   packed + first * total);
    }
}

/* One line of a panel: the pairs of all columns at `from` and, if there is one, the next number. */
static void pack_pair_line(int64_t present, int64_t width, int64_t column_stride, const float *from,
                           const float *next, float *packed)
{
    for (int64_t n = 0; n < present; n++)
        packed[n] =
            nmi_pair(from[n * column_stride], next != NULL ? next[n * column_stride] : 0.0f);
    for (int64_t n = present; n < width; n++)
        packed[n] = 0.0f;
}

void nmi_pack_pairs(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
                    int64_t column_stride, const float *a, float *packed)
{
    const int64_t count = depth->count[2], stride = depth->stride[2];
    for (int64_t first = 0; first < columns; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, columns, first);
        const int64_t present = columns - first < width ? columns - first : width;
        for (int64_t i = 0; i < depth->count[0]; i++)
            for (int64_t j = 0; j < depth->count[1]; j++)
                for (int64_t l = 0; l < count; l += 2, packed += width) {
                    const float *from = a + first * column_stride + i * depth->stride[0] +
                                        j * depth->stride[1] + l * stride;
                    pack_pair_line(present, width, column_stride, from,
                                   l + 1 < count ? from + stride : NULL, packed);
                }
    }
}

void nmi_unpack_add(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
                    int64_t column_stride, const float *packed, float *a)
{
    const int64_t total = depth->count[0] * depth->count[1] * depth->count[2];
    for (int64_t first = 0; first < columns; first += kernels->panel) {
        int64_t width = nmi_panel_width(kernels, columns, first);
        int64_t present = columns - first < width ? columns - first : width;
        unpack_panel(depth, present, width, column_stride, packed + first * total,
                     a + first * column_stride);
    }
}

neumeta_status nmi_precision_check(nmi_context *context, int32_t precision)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    if (precision == NMI_BF16) /* pairs are read as they lie in memory */
        return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                        "PRECISION bf16 needs a little-endian machine");
#endif
    (void)context;
    (void)precision;
    return NEUMETA_OK;
}
