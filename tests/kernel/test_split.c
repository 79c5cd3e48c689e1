/* SPDX-License-Identifier: MIT */
/*
 * The first layer of an INR taken apart, against the same layer as one product: values and
 * parameter gradients of all rows of a tensor, in blocks that begin anywhere.
 */
#include "nmi_inr_mlp.h"
#include "nmi_split.h"
#include "nmi_test.h"
#include "nmi_test_kernels.h"

#include <math.h>

enum { HIDDEN = 21, LAYERS = 2, TAPS = 9, BLOCK = 24 };

/* Outputs and inputs: blocks with all inputs, with some, with parts of two outputs, one block. */
static const int64_t grids[][2] = {{5, 8}, {9, 11}, {3, 24}, {4, 25}, {2, 61}, {1, 9}, {31, 23}};
enum { GRIDS = sizeof grids / sizeof *grids, ENCODINGS = 2 };

typedef struct problem {
    nmi_mlp mlp;
    nmi_mlp_rows rows;
    int64_t row_count, parameters, lane;
    float *values, *gradient;
} problem;

static float *make(size_t count)
{
    float *values = aligned_alloc(64, (count * sizeof *values + 64) / 64 * 64);
    ck_assert_ptr_nonnull(values);
    memset(values, 0, count * sizeof *values);
    return values;
}

/* Fills values and gradient with what the rows give, block by block. */
static void run(problem *p, bool clean)
{
    nmi_mlp_rows rows = p->rows;
    float *packed = make(nmi_mlp_packed_floats(&p->mlp, true));
    float *terms = make(nmi_mlp_terms_floats(&p->mlp));
    float *work = make(nmi_mlp_work_floats(&p->mlp, true)), *lane = make((size_t)p->lane);
    float *dy = malloc((size_t)(p->row_count * TAPS) * sizeof *dy);
    ck_assert_ptr_nonnull(dy);
    test_fill(dy, p->row_count * TAPS, 3, -1, 1);
    rows.clean = clean;
    rows.packed = packed;
    rows.terms = terms;
    rows.work = work;
    nmi_mlp_pack(&rows, (nmi_mlp_uses){true, true}, packed, terms);
    p->values = make((size_t)(p->row_count * TAPS));
    p->gradient = make((size_t)p->parameters);
    for (rows.first = 0; rows.first < p->row_count; rows.first += BLOCK) {
        rows.rows = p->row_count - rows.first < BLOCK ? p->row_count - rows.first : BLOCK;
        nmi_mlp_emit_keeping(&rows, p->values + rows.first * TAPS);
        nmi_mlp_backward(&rows, dy + rows.first * TAPS, lane);
    }
    for (int64_t share = 0; share < nmi_mlp_shares(&p->mlp); share++)
        nmi_mlp_reduce(&rows, lane, 0, 1, share, p->gradient, p->gradient);
    free(packed);
    free(terms);
    free(work);
    free(lane);
    free(dy);
}

static problem start(int index, float *parameters)
{
    const int64_t *sizes = grids[index / ENCODINGS];
    problem p = {.row_count = sizes[0] * sizes[1]};
    const nmi_grid grid = {3, 7, sizes[0], sizes[1], 40, 0};
    p.mlp = (nmi_mlp){.kernels = test_kernels(),
                      .hidden = HIDDEN,
                      .layers = LAYERS,
                      .outputs = TAPS,
                      .activation = NMI_ACTIVATION_ELU, /* smooth: both ways take the same branch */
                      .block_rows = BLOCK,
                      .terms = sizes[0] + sizes[1]};
    nmi_encoding_plan(&p.mlp.encoding, index % ENCODINGS, 6, 4, 1, &grid);
    p.rows =
        (nmi_mlp_rows){.parameters = parameters, .slice = {0, TAPS}, .grid = grid, .scale = 0.5f};
    p.parameters = nmi_mlp_parameter_count(&p.mlp);
    p.lane = (int64_t)nmi_mlp_lane_floats(&p.mlp);
    return p;
}

enum { MOST_PARAMETERS = 4000 };

START_TEST(values_and_gradients_equal_those_of_the_whole_layer)
{
    static float parameters[MOST_PARAMETERS];
    problem p = start(_i, parameters);
    p.rows.mlp = &p.mlp;
    ck_assert_int_le(p.parameters, MOST_PARAMETERS);
    test_fill(parameters, p.parameters, 1, -0.3f, 0.3f);
    run(&p, false);
    float *values = p.values, *gradient = p.gradient;
    run(&p, true);
    /* Some 70 products of size 0.3 in another order: 70 * 0.3 * 6e-8, through a layer of 21. */
    assert_near(p.values, values, p.row_count * TAPS, 5e-6, 0.0);
    /* Sums over up to 713 rows of derivatives of order 1. */
    assert_near(p.gradient, gradient, p.parameters, 2e-4, 1e-5);
    ck_assert(memcmp(p.gradient, gradient, (size_t)p.parameters * sizeof *gradient) != 0);
    free(values);
    free(gradient);
    free(p.values);
    free(p.gradient);
}
END_TEST

START_TEST(a_row_does_not_depend_on_its_block)
{
    static float parameters[MOST_PARAMETERS];
    problem p = start(_i, parameters);
    p.rows.mlp = &p.mlp;
    test_fill(parameters, p.parameters, 2, -0.3f, 0.3f);
    run(&p, true);
    nmi_mlp_rows rows = p.rows;
    float *packed = make(nmi_mlp_packed_floats(&p.mlp, false));
    float *terms = make(nmi_mlp_terms_floats(&p.mlp));
    float *work = make(nmi_mlp_work_floats(&p.mlp, false)), values[5 * TAPS];
    rows.clean = true;
    rows.packed = packed;
    rows.terms = terms;
    rows.work = work;
    nmi_mlp_pack(&rows, (nmi_mlp_uses){.forward = true}, packed, terms);
    for (rows.first = 0; rows.first < p.row_count; rows.first += rows.rows) {
        rows.rows = 1 + rows.first % 5;
        if (rows.rows > p.row_count - rows.first)
            rows.rows = p.row_count - rows.first;
        nmi_mlp_emit(&rows, values);
        ck_assert_mem_eq(values, p.values + rows.first * TAPS,
                         (size_t)(rows.rows * TAPS) * sizeof *values);
    }
    free(packed);
    free(terms);
    free(work);
    free(p.values);
    free(p.gradient);
}
END_TEST

START_TEST(features_of_both_parts_are_those_of_the_whole)
{
    const nmi_grid grid = {3, 7, 6, 9, 40, 0};
    nmi_encoding e;
    nmi_encoding_plan(&e, _i, 6, 4, 1, &grid);
    double *work = malloc((size_t)nmi_encoding_work(&e, 1) * sizeof *work);
    float whole[128], part[128];
    int16_t places[128];
    int64_t count = 0;
    ck_assert_ptr_nonnull(work);
    for (int64_t row = 0; row < grid.outputs * grid.inputs; row++) {
        nmi_encoding_rows(test_kernels(), &e, &grid, NULL, row, 1, work, whole, 0);
        for (int32_t f = NMI_FEATURES_INPUT; f <= NMI_FEATURES_OTHER; f++) {
            /* Of another row with the same input, or the same output. */
            const int64_t twin =
                f == NMI_FEATURES_INPUT ? row % grid.inputs : row / grid.inputs * grid.inputs;
            nmi_encoding_clean(test_kernels(), &e, &grid, f, twin, 1, 1, work, part, 0);
            nmi_encoding_places(&e, f, places);
            for (int64_t n = 0; n < nmi_encoding_count(&e, f); n++) /* the error of nmi_sincospi */
                ck_assert_float_eq_tol(part[n], whole[places[n]], 2e-7f);
            count += nmi_encoding_count(&e, f);
        }
    }
    ck_assert_int_eq(count, grid.outputs * grid.inputs * e.inputs);
    free(work);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("split");
    TCase *tests = tcase_create("first layer");
    tcase_add_loop_test(tests, values_and_gradients_equal_those_of_the_whole_layer, 0,
                        GRIDS * ENCODINGS);
    tcase_add_loop_test(tests, a_row_does_not_depend_on_its_block, 0, GRIDS * ENCODINGS);
    tcase_add_loop_test(tests, features_of_both_parts_are_those_of_the_whole, 0, ENCODINGS);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
