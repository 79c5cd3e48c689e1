/* SPDX-License-Identifier: MIT */
/* The row kernels at every level this processor has, against the plain loops. */
#include "nmi_rows_problem.h"

#include <stdio.h>

enum { LEVELS = NMI_KERNEL_LEVELS };

/* Rows below, at and above each register tile, runs shorter and longer than one, columns around
 * one, two and four vectors of each width. */
static const sizes cases[] = {
    {1, 1, 1, 1, 0, 1},      {1, 5, 1, 3, 0, 4},     {1, 13, 1, 16, 2, 9},  {7, 7, 3, 9, 5, 16},
    {8, 8, 3, 48, 3, 17},    {1, 300, 1, 33, 0, 33}, {3, 11, 5, 5, 1, 40},  {32, 32, 3, 3, 7, 23},
    {1, 241, 1, 198, 0, 65}, {2, 300, 1, 11, 0, 7},  {5, 3, 2, 12, 0, 31},  {1, 9, 1, 0, 0, 19},
    {1, 47, 1, 21, 0, 64},   {3, 5, 3, 6, 2, 61},    {1, 2, 2, 13, 1, 131}, {5, 7, 1, 4, 0, 49},
    {2, 7, 2, 3, 1, 96},
};
enum { CASES = sizeof cases / sizeof *cases };

static problem start(const sizes *s, const nmi_kernels *kernels, uint64_t seed)
{
    return make_problem(s, kernels, seed, s->columns + 3, make);
}

/* Each addition rounds a partial sum, of size sqrt(terms) here, by 6e-8 of it; of random
 * signs, sqrt(terms) such errors remain. */
static double tolerance(int64_t terms)
{
    return 1e-7 * (4.0 + (double)terms);
}

static void check_forward(const nmi_kernels *kernels, const sizes *s, uint64_t seed,
                          int32_t activation, bool inside, bool in_place)
{
    problem p = start(s, kernels, seed);
    float *expected = filled(p.y_floats, untouched);
    float *actual = filled(p.y_floats, untouched);
    float *kept[2] = {filled(p.y_floats, untouched), filled(p.y_floats, untouched)};
    nmi_epilogue e = {p.bias, p.residual, kept[0], inside ? 1.0f : 0.3f, activation, inside, NULL};
    if (in_place) {
        memcpy(expected, p.residual, (size_t)p.y_floats * sizeof *expected);
        memcpy(actual, p.residual, (size_t)p.y_floats * sizeof *actual);
        e.residual = expected;
    }
    nmi_rows_forward_ref(&p.rows, p.w, p.columns, &e, expected, p.y_line, p.y_step);
    e.activated = kept[1];
    if (in_place)
        e.residual = actual;
    kernels->forward(&p.rows, p.packed, p.columns, &e, actual, p.y_line, p.y_step);
    assert_near(actual, expected, p.y_floats, tolerance(p.depth), 0.0);
    assert_near(kept[1], kept[0], p.y_floats, tolerance(p.depth), 0.0);
    free(expected);
    free(actual);
    free(kept[0]);
    free(kept[1]);
    finish(&p);
}

START_TEST(forward_equals_the_plain_loops_with_every_epilogue)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i % LEVELS));
    if (kernels == NULL)
        return;
    const sizes *s = &cases[_i / LEVELS];
    for (int32_t activation = 0; activation <= NMI_ACTIVATION_ELU; activation++)
        for (int way = 0; way < 4; way++)
            check_forward(kernels, s, (uint64_t)_i, activation, way & 1, way & 2);
}
END_TEST

START_TEST(forward_without_epilogue_stores_the_sums)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i % LEVELS));
    if (kernels == NULL)
        return;
    problem p = start(&cases[_i / LEVELS], kernels, 7);
    float *expected = filled(p.y_floats, untouched);
    float *actual = filled(p.y_floats, untouched);
    nmi_rows_forward_ref(&p.rows, p.w, p.columns, NULL, expected, p.y_line, p.y_step);
    kernels->forward(&p.rows, p.packed, p.columns, NULL, actual, p.y_line, p.y_step);
    assert_near(actual, expected, p.y_floats, tolerance(p.depth), 0.0);
    free(expected);
    free(actual);
    finish(&p);
}
END_TEST

START_TEST(weight_gradients_equal_the_plain_loops_and_accumulate)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i % LEVELS));
    if (kernels == NULL)
        return;
    problem p = start(&cases[_i / LEVELS], kernels, 11);
    /* As much dy as the last row reaches, and no more. */
    int64_t dy_floats = (p.rows.height - 1) * p.y_line + (p.rows.width - 1) * p.y_step + p.columns;
    float *dy = make(dy_floats, 12);
    float *expected = make(p.depth * p.columns, 13);
    float *actual = make(p.depth * p.columns, 13);
    memset(p.packed, 0, nmi_packed_floats(kernels, p.depth, p.columns) * sizeof *p.packed);
    for (int pass = 0; pass < 2; pass++) {
        nmi_rows_backward_weight_ref(&p.rows, dy, p.y_line, p.y_step, p.columns, expected);
        kernels->backward_weight(&p.rows, dy, p.y_line, p.y_step, p.columns, p.packed);
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
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    const sizes s = {1, 29, 1, 37, 0, 21};
    problem p = start(&s, kernels, 5);
    float *together = filled(p.y_floats, 0.0f);
    float *alone = filled(p.y_floats, 0.0f);
    kernels->forward(&p.rows, p.packed, p.columns, NULL, together, 0, p.y_step);
    for (int64_t r = 0; r < s.width; r++) {
        nmi_rows one = p.rows;
        one.width = 1;
        one.x += r * p.rows.x_step;
        kernels->forward(&one, p.packed, p.columns, NULL, alone + r * p.y_step, 0, p.y_step);
    }
    ck_assert_mem_eq(together, alone, (size_t)p.y_floats * sizeof *together);
    free(together);
    free(alone);
    finish(&p);
}
END_TEST

START_TEST(no_rows_change_nothing)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    const nmi_rows rows = {.height = 1, .segments = 1, .segment_length = 4};
    float y = untouched, w[64] = {0.0f};
    kernels->forward(&rows, w, 1, NULL, &y, 0, 1);
    kernels->backward_weight(&rows, w, 0, 1, 1, w);
    ck_assert(y == untouched && w[0] == 0.0f);
}
END_TEST

START_TEST(packing_is_undone_by_unpacking)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    for (int64_t columns = 1; columns < 70; columns += 4) {
        const nmi_depth depth = {{2, 3, 5}, {-15 * columns, 5, 1}};
        float *a = make(30 * columns, 3);
        float *b = filled(30 * columns, 0.0f);
        float *packed = make((int64_t)nmi_packed_floats(kernels, 30, columns), 4);
        nmi_pack(kernels, &depth, columns, 15, a + 15 * columns, packed);
        nmi_unpack_add(kernels, &depth, columns, 15, packed, b + 15 * columns);
        ck_assert_mem_eq(a, b, (size_t)(30 * columns) * sizeof *a);
        free(a);
        free(b);
        free(packed);
    }
}
END_TEST

START_TEST(levels_are_found_by_name)
{
    ck_assert_ptr_nonnull(nmi_kernels_best());
    ck_assert_ptr_eq(nmi_kernels_named(nmi_kernels_best()->name), nmi_kernels_best());
    ck_assert_ptr_nonnull(nmi_kernels_named("base"));
    ck_assert_ptr_null(nmi_kernels_named("mmx"));
    ck_assert_ptr_null(nmi_kernels_name(-1));
    ck_assert_ptr_null(nmi_kernels_name(LEVELS));
    for (int l = 0; l < LEVELS; l++) {
        const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(l));
        if (kernels == NULL)
            continue;
        ck_assert_str_eq(kernels->name, nmi_kernels_name(l));
        ck_assert_int_le(kernels->lanes, nmi_kernels_best()->lanes);
    }
}
END_TEST

int main(void)
{
    for (int l = 0; l < LEVELS; l++)
        if (nmi_kernels_named(nmi_kernels_name(l)) == NULL)
            fprintf(stderr, "SKIP: this processor or build has no %s kernels\n",
                    nmi_kernels_name(l));
    Suite *suite = suite_create("rows");
    TCase *tests = tcase_create("kernels");
    tcase_add_loop_test(tests, forward_equals_the_plain_loops_with_every_epilogue, 0,
                        CASES * LEVELS);
    tcase_add_loop_test(tests, forward_without_epilogue_stores_the_sums, 0, CASES * LEVELS);
    tcase_add_loop_test(tests, weight_gradients_equal_the_plain_loops_and_accumulate, 0,
                        CASES * LEVELS);
    tcase_add_loop_test(tests, a_row_does_not_depend_on_its_neighbours, 0, LEVELS);
    tcase_add_loop_test(tests, no_rows_change_nothing, 0, LEVELS);
    tcase_add_loop_test(tests, packing_is_undone_by_unpacking, 0, LEVELS);
    tcase_add_test(tests, levels_are_found_by_name);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
