/* SPDX-License-Identifier: MIT */
/* Products in bf16 at every level this processor has, against the plain loops; and rounding. */
#include "nmi_dense.h"
#include "nmi_rows_problem.h"

#include <math.h>
#include <stdio.h>

/* All levels, and the model of AMX. */
enum { LEVELS = NMI_KERNEL_LEVELS + 1 };

extern const nmi_kernels nmi_kernels_amx_model;

static const nmi_kernels *kernels_at(int level)
{
    return level < NMI_KERNEL_LEVELS ? nmi_kernels_named(nmi_kernels_name(level))
                                     : &nmi_kernels_amx_model;
}

/* Rows below, at and above each register tile and each tile of 16 x 16, runs shorter and longer
 * than one, columns around one and two vectors of each width. */
static const sizes cases[] = {
    {1, 1, 1, 1, 0, 1},     {1, 5, 1, 3, 0, 4},     {1, 13, 1, 16, 2, 9},   {7, 7, 3, 9, 5, 16},
    {8, 8, 3, 24, 3, 17},   {1, 300, 1, 17, 0, 33}, {3, 11, 5, 5, 1, 40},   {32, 32, 3, 2, 7, 23},
    {1, 121, 1, 99, 0, 65}, {2, 300, 1, 6, 0, 7},   {5, 3, 2, 12, 0, 31},   {1, 9, 1, 0, 0, 19},
    {1, 60, 1, 128, 8, 96}, {1, 33, 1, 17, 0, 48},  {4, 16, 3, 32, 16, 64}, {1, 31, 2, 16, 0, 15},
};
enum { CASES = sizeof cases / sizeof *cases };

static float *make_pairs(int64_t count, uint64_t seed)
{
    float *numbers = make(2 * count, seed), *pairs = make(count, seed);
    for (int64_t i = 0; i < count; i++)
        pairs[i] = nmi_pair(numbers[2 * i], numbers[2 * i + 1]);
    free(numbers);
    return pairs;
}

static problem start(const sizes *s, const nmi_kernels *kernels, uint64_t seed)
{
    return make_problem(s, kernels, seed, (s->columns + 4) / 2 * 2, make_pairs); /* an even step */
}

/* Products are exact; each addition rounds a partial sum as in test_rows.c. */
static double tolerance(int64_t pairs)
{
    return 1e-7 * (4.0 + 2.0 * (double)pairs);
}

/* Two pairs of results that differ by `error` may round to neighbours in bf16. */
static void assert_pairs_near(const float *actual, const float *expected, int64_t count,
                              double error)
{
    for (int64_t i = 0; i < count; i++) {
        const float a[2] = {nmi_pair_first(actual[i]), nmi_pair_second(actual[i])};
        const float e[2] = {nmi_pair_first(expected[i]), nmi_pair_second(expected[i])};
        for (int k = 0; k < 2; k++)
            ck_assert_double_le(fabs((double)a[k] - (double)e[k]),
                                error + fabs((double)e[k]) / 128);
    }
}

typedef struct results {
    float *y, *activated, *rounded;
} results;

static results make_results(const problem *p, bool in_place)
{
    results o = {filled(p->y_floats, untouched), filled(p->y_floats, untouched),
                 filled(p->y_floats / 2, untouched)};
    if (in_place)
        memcpy(o.y, p->residual, (size_t)p->y_floats * sizeof *o.y);
    return o;
}

static nmi_epilogue epilogue_of(const problem *p, const results *o, int32_t activation, int way)
{
    const bool inside = (way & 1) != 0, in_place = (way & 2) != 0;
    return (nmi_epilogue){.bias = p->bias,
                          .residual = in_place ? o->y : p->residual,
                          .activated = o->activated,
                          .scale = inside ? 1.0f : 0.3f,
                          .activation = activation,
                          .residual_inside = inside,
                          .rounded = o->rounded};
}

static void free_results(results *o)
{
    free(o->y);
    free(o->activated);
    free(o->rounded);
}

static void check_forward(const nmi_kernels *kernels, const sizes *s, uint64_t seed,
                          int32_t activation, int way)
{
    problem p = start(s, kernels, seed);
    results expected = make_results(&p, (way & 2) != 0), actual = make_results(&p, (way & 2) != 0);
    nmi_epilogue e = epilogue_of(&p, &expected, activation, way);
    nmi_rows_forward_pairs_ref(&p.rows, p.w, p.columns, &e, expected.y, p.y_line, p.y_step);
    e = epilogue_of(&p, &actual, activation, way);
    kernels->forward_pairs(&p.rows, p.packed, p.columns, &e, actual.y, p.y_line, p.y_step);
    assert_near(actual.y, expected.y, p.y_floats, tolerance(p.depth), 0.0);
    assert_near(actual.activated, expected.activated, p.y_floats, tolerance(p.depth), 0.0);
    assert_pairs_near(actual.rounded, expected.rounded, p.y_floats / 2, tolerance(p.depth));
    free_results(&expected);
    free_results(&actual);
    finish(&p);
}

START_TEST(forward_equals_the_plain_loops_with_every_epilogue)
{
    const nmi_kernels *kernels = kernels_at(_i % LEVELS);
    if (kernels == NULL)
        return;
    const sizes *s = &cases[_i / LEVELS];
    /* What differs by activation is the epilogue of floats, which test_rows.c has in full. */
    for (int way = 0; way < 4; way++)
        check_forward(kernels, s, (uint64_t)_i, (_i + way) % (NMI_ACTIVATION_ELU + 1), way);
}
END_TEST

START_TEST(weight_gradients_equal_the_plain_loops_and_accumulate)
{
    const nmi_kernels *kernels = kernels_at(_i % LEVELS);
    if (kernels == NULL)
        return;
    problem p = start(&cases[_i / LEVELS], kernels, 11);
    /* As much dy as the last row reaches, and no more. */
    int64_t dy_floats = (p.rows.height - 1) * p.y_line + (p.rows.width - 1) * p.y_step + p.columns;
    float *dy = make_pairs(dy_floats, 12);
    float *expected = make(p.depth * p.columns, 13);
    float *actual = make(p.depth * p.columns, 13);
    memset(p.packed, 0, nmi_packed_floats(kernels, p.depth, p.columns) * sizeof *p.packed);
    for (int pass = 0; pass < 2; pass++) {
        nmi_rows_backward_weight_pairs_ref(&p.rows, dy, p.y_line, p.y_step, p.columns, expected);
        kernels->backward_weight_pairs(&p.rows, dy, p.y_line, p.y_step, p.columns, p.packed);
    }
    const nmi_depth depth = plain_depth(&p);
    nmi_unpack_add(kernels, &depth, p.columns, 1, p.packed, actual);
    assert_near(actual, expected, p.depth * p.columns, tolerance(2 * p.count), 0.0);
    free(dy);
    free(expected);
    free(actual);
    finish(&p);
}
END_TEST

START_TEST(a_row_does_not_depend_on_its_neighbours)
{
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    const sizes s = {1, 45, 1, 37, 0, 21};
    problem p = start(&s, kernels, 5);
    float *together = filled(p.y_floats, 0.0f);
    float *alone = filled(p.y_floats, 0.0f);
    kernels->forward_pairs(&p.rows, p.packed, p.columns, NULL, together, 0, p.y_step);
    for (int64_t r = 0; r < s.width; r++) {
        nmi_rows one = p.rows;
        one.width = 1;
        one.x += r * p.rows.x_step;
        kernels->forward_pairs(&one, p.packed, p.columns, NULL, alone + r * p.y_step, 0, p.y_step);
    }
    ck_assert_mem_eq(together, alone, (size_t)p.y_floats * sizeof *together);
    free(together);
    free(alone);
    finish(&p);
}
END_TEST

/* Ties both ways, the largest number, infinities, zeros. */
static const float corners[] = {0.0f,          -0.0f,         1.0f,       0x1.01p0f,
                                0x1.03p0f,     0x1.010002p0f, -0x1.01p0f, 0x1.fffffep127f,
                                0x1.fep127f,   0x1p-126f,     INFINITY,   -INFINITY,
                                0x1.00fffep0f, 3.0e38f,       -1e-30f,    255.5f};

START_TEST(lines_are_rounded_to_the_nearest_and_ties_to_even)
{
    enum { MOST = 70, CORNERS = sizeof corners / sizeof *corners };
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    for (int64_t count = 1; count < MOST; count++) {
        float *x = make(count, (uint64_t)count), *pairs = filled(MOST / 2 + 1, untouched);
        for (int64_t i = 0; i < count; i += 3)
            x[i] = corners[(count + i) % CORNERS];
        kernels->round_line(count, x, pairs);
        for (int64_t i = 0; i < (count + 1) / 2; i++) {
            const float expected = nmi_pair(x[2 * i], 2 * i + 1 < count ? x[2 * i + 1] : 0.0f);
            ck_assert_mem_eq(&pairs[i], &expected, sizeof expected);
        }
        ck_assert(pairs[(count + 1) / 2] == untouched);
        free(x);
        free(pairs);
    }
    const float bad[2] = {NAN, -NAN};
    float pair;
    kernels->round_line(2, bad, &pair);
    ck_assert(isnan(nmi_pair_first(pair)) && isnan(nmi_pair_second(pair)));
    ck_assert(nmi_pair_first(nmi_pair(0x1.01p0f, 0)) == 1.0f);      /* a tie, down to even */
    ck_assert(nmi_pair_first(nmi_pair(0x1.03p0f, 0)) == 0x1.04p0f); /* a tie, up to even */
    ck_assert(nmi_pair_second(nmi_pair(0, 0x1.010002p0f)) == 0x1.02p0f);
}
END_TEST

START_TEST(lines_are_interleaved)
{
    enum { MOST = 70 };
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    for (int64_t count = 1; count < MOST; count++) {
        float *x = make(2 * count, (uint64_t)count), *pairs = filled(MOST, untouched);
        float *line = make((count + 1) / 2, 1), *next = make((count + 1) / 2, 1);
        kernels->round_line(count, x, line);
        kernels->round_line(count, x + count, next);
        for (int alone = 0; alone < 2; alone++) {
            kernels->interleave(count, line, alone ? NULL : next, pairs);
            for (int64_t i = 0; i < count; i++) {
                const float expected = nmi_pair(x[i], alone ? 0.0f : x[count + i]);
                ck_assert_mem_eq(&pairs[i], &expected, sizeof expected);
            }
            ck_assert(pairs[count] == untouched);
        }
        free(x);
        free(pairs);
        free(line);
        free(next);
    }
}
END_TEST

/* Columns of any number out of lines of any length, whole tiles of them too. */
START_TEST(columns_are_packed)
{
    enum { MOST = 70, WIDTH = 20 };
    static const int64_t columns[][2] = {{16, 16}, {3, 4}, {0, 16}, {9, 16}, {8, 8}};
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    float *w = make(NMI_PACKED_AT_ONCE * (MOST + 3), 1);
    for (int64_t inputs = 1; inputs < MOST; inputs++)
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            const int64_t present = columns[c][0], all = columns[c][1], stride = inputs + 3;
            float *packed = filled(MOST * WIDTH, untouched);
            kernels->pack_columns(inputs, present, all, w, stride, WIDTH, packed);
            for (int64_t p = 0; p <= (inputs + 1) / 2; p++)
                for (int64_t n = 0; n < WIDTH; n++) {
                    const int64_t x = n * stride + 2 * p;
                    float expected = n < all && 2 * p < inputs ? 0.0f : untouched;
                    if (n < present && 2 * p < inputs)
                        expected = nmi_pair(w[x], 2 * p + 1 < inputs ? w[x + 1] : 0.0f);
                    ck_assert_mem_eq(&packed[p * WIDTH + n], &expected, sizeof expected);
                }
            free(packed);
        }
    free(w);
}
END_TEST

START_TEST(lines_are_added_and_rounded)
{
    enum { MOST = 70 };
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    for (int64_t count = 1; count < MOST; count++)
        for (int32_t act = NMI_ACTIVATION_NONE; act <= NMI_ACTIVATION_ELU; act++) {
            float *a = make(count, 1), *b = make(count, 2), *sum = filled(count, 0.0f);
            float *y = filled(count + 1, untouched), *pairs = filled(count + 1, untouched);
            float *expected = filled(count + 1, untouched);
            for (int64_t i = 0; i < count; i++)
                sum[i] = a[i] + b[i];
            kernels->activate(act, count, sum, sum);
            kernels->round_line(count, sum, expected);
            kernels->add_activate(act, count, a, b, y, pairs);
            ck_assert_mem_eq(y, sum, (size_t)count * sizeof *y);
            ck_assert_mem_eq(pairs, expected, (size_t)(count + 1) * sizeof *pairs);
            kernels->add_activate(act, count, a, b, a, NULL);
            ck_assert_mem_eq(a, sum, (size_t)count * sizeof *a);
            ck_assert(y[count] == untouched);
            free(a);
            free(b);
            free(sum);
            free(y);
            free(pairs);
            free(expected);
        }
}
END_TEST

/* Layers of any numbers of inputs and outputs, odd ones too, against the fp32 products of what
 * bf16 makes of their operands. */
static const int64_t layers[][3] = {{1, 1, 1}, {5, 7, 3}, {26, 33, 17}, {121, 64, 65}, {9, 199, 9}};
enum { LAYERS = sizeof layers / sizeof *layers };

static void round_all(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = nmi_pair_first(nmi_pair(x[i], 0.0f));
}

typedef struct layer {
    const nmi_kernels *kernels;
    nmi_dense_shape shape;
    int64_t rows;
    float *x, *w, *dy, *packed, *pairs, *lines, *dy_lines, *y[2];
} layer;

static layer start_layer(const nmi_kernels *kernels, const int64_t *size)
{
    const int64_t rows = size[0], inputs = size[1], outputs = size[2];
    const int64_t most = inputs > outputs ? inputs : outputs;
    layer l = {.kernels = kernels, .shape = {inputs, outputs}, .rows = rows};
    l.x = make(rows * inputs, 1);
    l.w = make(outputs * inputs, 2);
    l.dy = make(rows * outputs, 3);
    round_all(rows * inputs, l.x);
    round_all(outputs * inputs, l.w);
    round_all(rows * outputs, l.dy);
    l.packed = filled((int64_t)nmi_dense_packed_floats(kernels, l.shape) +
                          (int64_t)nmi_dense_packed_transposed_floats(kernels, l.shape),
                      0.0f);
    l.pairs = make(rows * most, 4);
    l.lines = make(rows * most, 4);
    l.dy_lines = make(rows * most, 4);
    l.y[0] = filled(rows * most + most * most, 0.0f);
    l.y[1] = filled(rows * most + most * most, 0.0f);
    return l;
}

static void end_layer(layer *l)
{
    free(l->x);
    free(l->w);
    free(l->dy);
    free(l->packed);
    free(l->pairs);
    free(l->lines);
    free(l->dy_lines);
    free(l->y[0]);
    free(l->y[1]);
}

/* Rows of x [rows][columns] as pairs, and two to a line. */
static void pair_rows(const layer *l, int64_t columns, const float *x, float *pairs, float *lines)
{
    const int64_t stride = (columns + 1) / 2;
    for (int64_t r = 0; r < l->rows; r++)
        l->kernels->round_line(columns, x + r * columns, pairs + r * stride);
    for (int64_t r = 0; r < l->rows; r += 2)
        l->kernels->interleave(columns, pairs + r * stride,
                               r + 1 < l->rows ? pairs + (r + 1) * stride : NULL,
                               lines + r / 2 * columns);
}

START_TEST(layers_are_those_of_rounded_operands)
{
    const nmi_kernels *kernels = kernels_at(_i % LEVELS);
    if (kernels == NULL)
        return;
    layer l = start_layer(kernels, layers[_i / LEVELS]);
    const int64_t inputs = l.shape.inputs, outputs = l.shape.outputs, rows = l.rows;
    nmi_dense_pack(kernels, l.shape, l.w, l.packed);
    nmi_dense_forward(kernels, l.shape, rows, l.x, inputs, l.packed, NULL, l.y[0], outputs);
    nmi_dense_pack_pairs(kernels, l.shape, l.w, l.packed);
    pair_rows(&l, inputs, l.x, l.pairs, l.lines);
    nmi_dense_forward_pairs(kernels, l.shape, rows, l.pairs, (inputs + 1) / 2, l.packed, NULL,
                            l.y[1], outputs);
    assert_near(l.y[1], l.y[0], rows * outputs, tolerance(inputs), 0.0);

    nmi_dense_pack_transposed(kernels, l.shape, l.w, l.packed);
    memset(l.y[0], 0, (size_t)(rows * inputs) * sizeof *l.y[0]);
    memset(l.y[1], 0, (size_t)(rows * inputs) * sizeof *l.y[1]);
    nmi_dense_backward_input(kernels, l.shape, rows, l.dy, outputs, l.packed, true, l.y[0], inputs);
    nmi_dense_pack_transposed_pairs(kernels, l.shape, l.w, l.packed);
    pair_rows(&l, outputs, l.dy, l.pairs, l.dy_lines);
    nmi_dense_backward_input_pairs(kernels, l.shape, rows, l.pairs, (outputs + 1) / 2, l.packed,
                                   true, l.y[1], inputs);
    assert_near(l.y[1], l.y[0], rows * inputs, tolerance(outputs), 0.0);

    const size_t floats = nmi_dense_packed_floats(kernels, l.shape);
    float *gradient = filled((int64_t)floats, 0.0f);
    for (int i = 0; i < 2; i++)
        memset(l.y[i], 0, (size_t)(outputs * inputs) * sizeof *l.y[i]);
    nmi_dense_backward_weight(kernels, l.shape, rows, l.x, inputs, l.dy, outputs, gradient, NULL);
    nmi_dense_unpack_gradient(kernels, l.shape, gradient, l.y[0]);
    memset(gradient, 0, floats * sizeof *gradient);
    nmi_dense_backward_weight_pairs(kernels, l.shape, (rows + 1) / 2, l.lines, inputs, l.dy_lines,
                                    outputs, gradient);
    nmi_dense_unpack_gradient(kernels, l.shape, gradient, l.y[1]);
    assert_near(l.y[1], l.y[0], outputs * inputs, tolerance(rows), 0.0);
    free(gradient);
    end_layer(&l);
}
END_TEST

START_TEST(no_rows_change_nothing)
{
    const nmi_kernels *kernels = kernels_at(_i);
    if (kernels == NULL)
        return;
    const nmi_rows rows = {.height = 1, .segments = 1, .segment_length = 4};
    float y = untouched, w[64] = {0.0f};
    kernels->forward_pairs(&rows, w, 1, NULL, &y, 0, 2);
    kernels->backward_weight_pairs(&rows, w, 0, 1, 1, w);
    ck_assert(y == untouched && w[0] == 0.0f);
}
END_TEST

int main(void)
{
    for (int l = 0; l < LEVELS; l++)
        if (kernels_at(l) == NULL)
            fprintf(stderr, "SKIP: this processor or build has no %s kernels\n",
                    nmi_kernels_name(l));
    Suite *suite = suite_create("pairs");
    TCase *tests = tcase_create("kernels");
    tcase_add_loop_test(tests, forward_equals_the_plain_loops_with_every_epilogue, 0,
                        CASES * LEVELS);
    tcase_add_loop_test(tests, weight_gradients_equal_the_plain_loops_and_accumulate, 0,
                        CASES * LEVELS);
    tcase_add_loop_test(tests, layers_are_those_of_rounded_operands, 0, LAYERS * LEVELS);
    tcase_add_loop_test(tests, a_row_does_not_depend_on_its_neighbours, 0, LEVELS);
    tcase_add_loop_test(tests, lines_are_rounded_to_the_nearest_and_ties_to_even, 0, LEVELS);
    tcase_add_loop_test(tests, lines_are_interleaved, 0, LEVELS);
    tcase_add_loop_test(tests, columns_are_packed, 0, LEVELS);
    tcase_add_loop_test(tests, lines_are_added_and_rounded, 0, LEVELS);
    tcase_add_loop_test(tests, no_rows_change_nothing, 0, LEVELS);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
