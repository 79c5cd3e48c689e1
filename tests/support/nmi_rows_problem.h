/* SPDX-License-Identifier: MIT */
/* Rows, weights and epilogues for tests of the row kernels, in floats and in pairs. */
#ifndef NMI_ROWS_PROBLEM_H
#define NMI_ROWS_PROBLEM_H

#include "nmi_kernels.h"
#include "nmi_test.h"

enum { GUARD = 40 };

/* Values that must survive around an output. */
static const float untouched = -12345.0f;

/* Lengths of runs, and the gap between them, are in floats or in pairs. */
typedef struct sizes {
    int64_t height, width, segments, segment_length, gap, columns;
} sizes;

typedef struct problem {
    nmi_rows rows;
    int64_t depth, count, columns, y_step, y_line, y_floats;
    float *x, *w, *bias, *residual, *packed;
} problem;

static inline float *make(int64_t count, uint64_t seed)
{
    float *values = malloc((size_t)(count + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    test_fill(values, count, seed, -1.0f, 1.0f);
    return values;
}

static inline float *filled(int64_t count, float value)
{
    float *values = make(count, 1);
    for (int64_t i = 0; i < count; i++)
        values[i] = value;
    return values;
}

static inline nmi_depth plain_depth(const problem *p)
{
    return (nmi_depth){{1, 1, p->depth}, {0, 0, p->columns}};
}

/* `operands` makes x and w. */
static inline problem make_problem(const sizes *s, const nmi_kernels *kernels, uint64_t seed,
                                   int64_t y_step, float *(*operands)(int64_t, uint64_t))
{
    problem p = {.depth = s->segments * s->segment_length, .columns = s->columns};
    p.count = s->height * s->width;
    p.y_step = y_step;
    p.y_line = s->width * p.y_step + 2;
    p.y_floats = s->height * p.y_line + GUARD;
    /* Exactly as much x as the last row reaches, so that reading beyond it is found by ASan. */
    int64_t step = s->segment_length > 2 ? s->segment_length - 2 : 1;
    int64_t stride = s->segment_length + s->gap;
    int64_t line = s->width * step + 1;
    int64_t x_floats = (s->height - 1) * line + (s->width - 1) * step + (s->segments - 1) * stride +
                       s->segment_length;
    p.x = operands(x_floats, seed);
    p.w = operands(p.depth * s->columns, seed + 1);
    p.bias = make(s->columns, seed + 2);
    p.residual = make(p.y_floats, seed + 3);
    p.packed = make((int64_t)nmi_packed_floats(kernels, p.depth, s->columns), seed + 4);
    const nmi_depth depth = plain_depth(&p);
    nmi_pack(kernels, &depth, s->columns, 1, p.w, p.packed);
    p.rows =
        (nmi_rows){p.x, s->height, s->width, line, step, s->segments, s->segment_length, stride};
    return p;
}

static inline void finish(problem *p)
{
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->residual);
    free(p->packed);
}

#endif
