/* SPDX-License-Identifier: MIT */
/*
 * Speed of the tensor kernels on one thread: median and spread of repeated runs, beside the peak
 * of multiply-adds, measured in the same program on rows and weights that never leave the cache of
 * the first level. Usage: bench_kernels [repetitions].
 */
#include "nmi_conv.h"
#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_gemm.h"
#include "nmi_kernels.h"
#include "nmi_optimizer.h"
#include "nmi_sincospi.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 101 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *make(size_t count)
{
    float *values = aligned_alloc(64, (count * sizeof *values + 127) / 64 * 64);
    if (values == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)((i * 2654435761u) % 1000) * 1e-3f - 0.5f;
    return values;
}

typedef void (*task)(void *argument);

static int repetitions = 15;

/* Runs `work` for the median of repeated timings of about a millisecond or more each. */
static void report(const char *name, task work, void *argument, double operations, const char *unit)
{
    double seconds[MOST];
    double begin = now();
    work(argument);
    double once = now() - begin;
    int inner = once < 1e-3 ? (int)(1e-3 / (once + 1e-9)) + 1 : 1;
    for (int r = 0; r < repetitions; r++) {
        begin = now();
        for (int i = 0; i < inner; i++)
            work(argument);
        seconds[r] = (now() - begin) / inner;
    }
    qsort(seconds, (size_t)repetitions, sizeof *seconds, by_value);
    double median = seconds[repetitions / 2];
    printf("%-52s %10.3f ms  %4.0f..%3.0f %%  %8.1f %s\n", name, 1e3 * median,
           100.0 * seconds[0] / median, 100.0 * seconds[repetitions * 9 / 10] / median,
           1e-9 * operations / median, unit);
}

/* --- rows ---------------------------------------------------------------------------------- */

typedef struct rows_problem {
    const nmi_kernels *kernels;
    nmi_rows rows;
    int64_t columns;
    float *w, *y;
} rows_problem;

static void rows_forward(void *argument)
{
    rows_problem *p = argument;
    p->kernels->forward(&p->rows, p->w, p->columns, NULL, p->y, 0, p->columns);
}

static void rows_weight(void *argument)
{
    rows_problem *p = argument;
    p->kernels->backward_weight(&p->rows, p->y, 0, p->columns, p->columns, p->w);
}

#if defined(__x86_64__)
/* Twelve independent sums in registers, nothing else: what the processor can do at all. */
#define FMA_PEAK(name, instructions, vector, splat, multiply_add)                                  \
    __attribute__((target(instructions))) static void name(void *argument)                         \
    {                                                                                              \
        vector sum[12], factor = splat(0.999f), term = splat(1e-3f);                               \
        for (int i = 0; i < 12; i++)                                                               \
            sum[i] = splat(1.0f);                                                                  \
        for (int64_t n = 0; n < PEAK_STEPS; n++)                                                   \
            for (int i = 0; i < 12; i++)                                                           \
                sum[i] = multiply_add(sum[i], factor, term);                                       \
        for (int i = 0; i < 12; i++)                                                               \
            memcpy((float *)argument + 16 * i, &sum[i], sizeof sum[i]);                            \
    }
enum { PEAK_STEPS = 100000 };
FMA_PEAK(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
FMA_PEAK(fma_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)

static void bench_fma(void)
{
    float *sums = make(16 * 12);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        report("avx2: multiply-adds in registers (peak)", fma_avx2, sums, 2.0 * 12 * 8 * PEAK_STEPS,
               "GFLOP/s");
    if (__builtin_cpu_supports("avx512f"))
        report("avx512: multiply-adds in registers (peak)", fma_avx512, sums,
               2.0 * 12 * 16 * PEAK_STEPS, "GFLOP/s");
    free(sums);
}
#else
static void bench_fma(void)
{
}
#endif

/* A tile whose rows and weights stay in the first-level cache: multiply-adds and little else. */
static void bench_peak(const nmi_kernels *kernels)
{
    float *x = make(256);
    rows_problem p = {kernels,
                      {.x = x,
                       .height = 1,
                       .width = 240,
                       .x_step = 0,
                       .segments = 1,
                       .segment_length = 256,
                       .segment_stride = 0},
                      kernels->panel,
                      make((size_t)(256 * kernels->panel)),
                      make((size_t)(240 * kernels->panel))};
    char name[80];
    snprintf(name, sizeof name, "%s: in the first-level cache (practical peak)", kernels->name);
    report(name, rows_forward, &p, 2.0 * 240 * 256 * kernels->panel, "GFLOP/s");
    free(x);
    free(p.w);
    free(p.y);
}

static void rows_forward_pairs(void *argument)
{
    rows_problem *p = argument;
    p->kernels->forward_pairs(&p->rows, p->w, p->columns, NULL, p->y, 0, p->columns);
}

static void rows_weight_pairs(void *argument)
{
    rows_problem *p = argument;
    p->kernels->backward_weight_pairs(&p->rows, p->y, 0, p->columns, p->columns, p->w);
}

static void pair_all(size_t count, float *values)
{
    for (size_t i = 0; i < count; i++)
        values[i] = nmi_pair(values[i], values[i]);
}

static void bench_rows(const nmi_kernels *kernels, int64_t rows, int64_t depth, int64_t columns)
{
    float *x = make((size_t)(rows * depth));
    rows_problem p = {kernels,
                      {.x = x,
                       .height = 1,
                       .width = rows,
                       .x_step = depth,
                       .segments = 1,
                       .segment_length = depth},
                      columns,
                      make(nmi_packed_floats(kernels, depth, columns)),
                      make((size_t)(rows * columns))};
    const double flop = 2.0 * (double)rows * (double)depth * (double)columns;
    static const struct {
        const char *name;
        task work;
        bool along, across; /* pairs along the depth, or of rows */
    } products[] = {{"forward", rows_forward, false, false},
                    {"dW     ", rows_weight, false, false},
                    {"forward, bf16", rows_forward_pairs, true, false},
                    {"dW     , bf16", rows_weight_pairs, false, true}};
    for (int i = 0; i < 4; i++) {
        char name[80];
        if (i == 2) {
            pair_all((size_t)(rows * depth), x);
            pair_all((size_t)(rows * columns), p.y);
            pair_all(nmi_packed_floats(kernels, depth, columns), p.w);
        }
        p.rows.segment_length = products[i].along ? (depth + 1) / 2 : depth;
        p.rows.width = products[i].across ? (rows + 1) / 2 : rows;
        snprintf(name, sizeof name, "%s: dense %s %d x %d -> %d", kernels->name, products[i].name,
                 (int)rows, (int)depth, (int)columns);
        report(name, products[i].work, &p, flop, "GFLOP/s");
    }
    free(x);
    free(p.w);
    free(p.y);
}

/* --- convolution --------------------------------------------------------------------------- */

typedef struct conv_problem {
    nmi_conv_path path;
    nmi_conv_shape shape;
    int64_t items;
    float *x, *y, *w, *transposed, *gradient;
    void *workspace;
} conv_problem;

static void conv_forward(void *argument)
{
    conv_problem *p = argument;
    nmi_epilogue e = NMI_EPILOGUE_NONE;
    e.activation = NMI_ACTIVATION_RELU;
    nmi_conv_forward(p->path, &p->shape, p->items, p->x, p->w, &e, p->y, p->workspace);
}

static void conv_input(void *argument)
{
    conv_problem *p = argument;
    nmi_conv_backward_input(p->path, &p->shape, p->items, p->y, p->transposed, false, p->x,
                            p->workspace);
}

static void conv_weight(void *argument)
{
    conv_problem *p = argument;
    nmi_conv_backward_weight(p->path, &p->shape, p->items, p->x, p->y, p->gradient, NULL,
                             p->workspace);
}

static void bench_conv(const nmi_kernels *kernels, int32_t way, nmi_conv_shape shape, int64_t items)
{
    static const char *const ways[NMI_CONV_WAYS] = {"columns", "direct", "bf16", "bf16 tiles",
                                                    "Winograd"};
    conv_problem p = {.path = {kernels, way}, .shape = shape, .items = items};
    if (!nmi_conv_shape_complete(&p.shape) || !nmi_conv_fits(p.path, &p.shape))
        return;
    const nmi_conv_shape *s = &p.shape;
    const int64_t outputs = items * s->out_height * s->out_width * s->out_channels;
    const int64_t taps = s->kernel * s->kernel * s->in_channels;
    p.x = make((size_t)(items * s->in_height * s->in_width * s->in_channels));
    p.y = make((size_t)outputs);
    p.w = make(nmi_conv_packed_floats(p.path, s));
    p.transposed = make(nmi_conv_packed_transposed_floats(p.path, s));
    p.gradient = make(nmi_conv_gradient_floats(p.path, s));
    p.workspace = make(nmi_conv_workspace_bytes(p.path, s) / sizeof(float));
    static const struct {
        const char *name;
        task work;
    } directions[] = {{"forward", conv_forward}, {"dx     ", conv_input}, {"dW     ", conv_weight}};
    for (int d = 0; d < 3; d++) {
        char name[96];
        snprintf(name, sizeof name, "%s, %s: conv %s %d x %dx%dx%d -> %d k%d s%d",
                 way == NMI_CONV_COLUMNS ? nmi_gemm_name() : kernels->name, ways[way],
                 directions[d].name, (int)items, (int)s->in_height, (int)s->in_width,
                 (int)s->in_channels, (int)s->out_channels, (int)s->kernel, (int)s->stride);
        report(name, directions[d].work, &p, 2.0 * (double)outputs * (double)taps, "GFLOP/s");
    }
    free(p.x);
    free(p.y);
    free(p.w);
    free(p.transposed);
    free(p.gradient);
    free(p.workspace);
}

/* --- the INR of the paper ------------------------------------------------------------------- */

enum { INR_ROWS = 8320, INR_BLOCK = 192, INR_INPUTS = 198, INR_WIDTH = 256, INR_OUTPUTS = 9 };

typedef struct inr_problem {
    float *x, *first, *hidden[4], *last, *bias, *a, *b, *y;
} inr_problem;

/* All layers on one block of rows before the next, with residuals. */
static void inr_forward(void *argument)
{
    inr_problem *p = argument;
    for (int64_t r = 0; r < INR_ROWS; r += INR_BLOCK) {
        const int64_t rows = INR_ROWS - r < INR_BLOCK ? INR_ROWS - r : INR_BLOCK;
        float *now_in = p->a, *now_out = p->b;
        nmi_epilogue e = {p->bias, NULL, NULL, 1.0f, NMI_ACTIVATION_RELU, false, NULL};
        nmi_dense_forward(nmi_kernels_best(), (nmi_dense_shape){INR_INPUTS, INR_WIDTH}, rows,
                          p->x + r * INR_INPUTS, INR_INPUTS, p->first, &e, now_in, INR_WIDTH);
        e.scale = 0.1f;
        for (int l = 0; l < 4; l++) {
            e.residual = now_in;
            nmi_dense_forward(nmi_kernels_best(), (nmi_dense_shape){INR_WIDTH, INR_WIDTH}, rows,
                              now_in, INR_WIDTH, p->hidden[l], &e, now_out, INR_WIDTH);
            float *swap = now_in;
            now_in = now_out;
            now_out = swap;
        }
        e = (nmi_epilogue){p->bias, NULL, NULL, 1.0f, NMI_ACTIVATION_NONE, false, NULL};
        nmi_dense_forward(nmi_kernels_best(), (nmi_dense_shape){INR_WIDTH, INR_OUTPUTS}, rows,
                          now_in, INR_WIDTH, p->last, &e, p->y + r * INR_OUTPUTS, INR_OUTPUTS);
    }
}

static void bench_inr(void)
{
    const nmi_dense_shape first = {INR_INPUTS, INR_WIDTH}, hidden = {INR_WIDTH, INR_WIDTH};
    const nmi_dense_shape last = {INR_WIDTH, INR_OUTPUTS};
    inr_problem p = {.x = make(INR_ROWS * INR_INPUTS),
                     .first = make(nmi_dense_packed_floats(nmi_kernels_best(), first)),
                     .last = make(nmi_dense_packed_floats(nmi_kernels_best(), last)),
                     .bias = make(INR_WIDTH),
                     .a = make(INR_BLOCK * INR_WIDTH),
                     .b = make(INR_BLOCK * INR_WIDTH),
                     .y = make(INR_ROWS * INR_OUTPUTS)};
    for (int l = 0; l < 4; l++)
        p.hidden[l] = make(nmi_dense_packed_floats(nmi_kernels_best(), hidden));
    const double flop =
        2.0 * INR_ROWS *
        (INR_INPUTS * INR_WIDTH + 4.0 * INR_WIDTH * INR_WIDTH + INR_WIDTH * INR_OUTPUTS);
    report("INR 198 -> 256 x 5 -> 9, 8320 rows", inr_forward, &p, flop, "GFLOP/s");
    float *all[] = {p.x, p.first, p.last, p.bias, p.a, p.b, p.y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    for (int l = 0; l < 4; l++)
        free(p.hidden[l]);
}

/* --- products through nmi_gemm, sweeps ----------------------------------------------------- */

typedef struct gemm_problem {
    int64_t m, n, k;
    float *a, *b, *c;
} gemm_problem;

static void gemm(void *argument)
{
    gemm_problem *p = argument;
    nmi_gemm(false, false, p->m, p->n, p->k, 1.0f, p->a, p->k, p->b, p->n, 0.0f, p->c, p->n);
}

static void bench_gemm(int64_t m, int64_t n, int64_t k)
{
    gemm_problem p = {m, n, k, make((size_t)(m * k)), make((size_t)(k * n)), make((size_t)(m * n))};
    char name[80];
    snprintf(name, sizeof name, "%s: %d x %d -> %d", nmi_gemm_name(), (int)m, (int)k, (int)n);
    report(name, gemm, &p, 2.0 * (double)m * (double)n * (double)k, "GFLOP/s");
    free(p.a);
    free(p.b);
    free(p.c);
}

enum { SWEEP = 1 << 16 };

typedef struct sweep_problem {
    double *d;
    float *a, *b, *c, *e;
} sweep_problem;

static void sincospi(void *argument)
{
    sweep_problem *p = argument;
    nmi_kernels_best()->sincospi(p->d, p->a, p->b, SWEEP);
}

static void elu(void *argument)
{
    sweep_problem *p = argument;
    nmi_activation_forward(nmi_kernels_best(), NMI_ACTIVATION_ELU, SWEEP, p->a, p->b);
}

static void adamw(void *argument)
{
    sweep_problem *p = argument;
    const nmi_adamw s = {1e-3f, 0.9f, 0.999f, 1e-8f, 1e-2f, 10};
    nmi_adamw_step(&s, SWEEP, p->a, p->b, p->e, p->c);
}

static void bench_sweeps(void)
{
    sweep_problem p = {malloc(SWEEP * sizeof(double)), make(SWEEP), make(SWEEP), make(SWEEP),
                       make(SWEEP)};
    if (p.d == NULL)
        exit(1);
    for (int i = 0; i < SWEEP; i++) {
        p.d[i] = 1e3 * (double)p.a[i];
        p.e[i] = p.a[i] * p.a[i];
    }
    report("sincospi, 65536 values", sincospi, &p, SWEEP, "Gvalues/s");
    report("ELU, 65536 values", elu, &p, SWEEP, "Gvalues/s");
    report("AdamW, 65536 parameters", adamw, &p, SWEEP, "Gvalues/s");
    free(p.d);
    free(p.a);
    free(p.b);
    free(p.c);
    free(p.e);
}

int main(int count, char **arguments)
{
    if (count > 1)
        repetitions = atoi(arguments[1]);
    if (repetitions < 1 || repetitions > MOST)
        repetitions = 15;
    printf("one thread, %d repetitions; spread: fastest..90th percentile in %% of the median\n",
           repetitions);
    bench_fma();
    for (int32_t l = 0; l < NMI_KERNEL_LEVELS; l++)
        if (nmi_kernels_named(nmi_kernels_name(l)) != NULL)
            bench_peak(nmi_kernels_named(nmi_kernels_name(l)));
    for (int32_t l = 0; l < NMI_KERNEL_LEVELS; l++)
        if (nmi_kernels_named(nmi_kernels_name(l)) != NULL)
            bench_rows(nmi_kernels_named(nmi_kernels_name(l)), 512, 256, 256);
    const nmi_kernels *best = nmi_kernels_best();
    bench_rows(best, 512, 198, 256);
    bench_rows(best, 512, 256, 9);
    bench_rows(best, 128, 400, 120);
    bench_rows(best, 512, 2048, 2048);
    bench_gemm(512, 256, 256);
    bench_gemm(512, 2048, 2048);
    bench_inr();
    static const nmi_conv_shape shapes[] = {
        {3, 32, 32, 16, 0, 0, 3, 1, 1},  {16, 32, 32, 16, 0, 0, 3, 1, 1},
        {16, 32, 32, 32, 0, 0, 3, 2, 1}, {32, 16, 16, 32, 0, 0, 3, 1, 1},
        {32, 16, 16, 64, 0, 0, 3, 2, 1}, {64, 8, 8, 64, 0, 0, 3, 1, 1},
        {64, 8, 8, 40, 0, 0, 3, 1, 1},   {23, 32, 32, 23, 0, 0, 3, 1, 1},
        {1, 28, 28, 32, 0, 0, 5, 1, 0},  {64, 8, 8, 64, 0, 0, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int32_t way = NMI_CONV_DIRECT; way < NMI_CONV_WAYS; way++)
            bench_conv(best, way, shapes[i], 8);
    for (int32_t way = 0; way < NMI_CONV_WAYS; way++) {
        bench_conv(nmi_kernels_named("base"), way, shapes[1], 8);
        bench_conv(nmi_kernels_named("base"), way, shapes[5], 8);
    }
    bench_sweeps();
    return 0;
}
