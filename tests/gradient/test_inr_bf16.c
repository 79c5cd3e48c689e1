/* SPDX-License-Identifier: MIT */
/*
 * Values and gradients of an INR in bf16 against those in floats, on few rows, so that one that is
 * lost shows: odd and even numbers of rows and of hidden units, one layer and several, the first
 * layer whole and taken apart. Also on the model of AMX.
 */
#include "nmi_inr_mlp.h"
#include "nmi_test.h"
#include "nmi_test_kernels.h"

#include <math.h>

enum { TAPS = 9, BLOCK = 24, MOST_PARAMETERS = 20000 };

extern const nmi_kernels nmi_kernels_amx_model;

typedef struct example {
    int64_t outputs, inputs, hidden, layers;
    int32_t encoding, activation;
    bool clean;
} example;

static const example examples[] = {
    {1, 1, 1, 1, 0, NMI_ACTIVATION_RELU, false},  {1, 1, 33, 3, 0, NMI_ACTIVATION_ELU, false},
    {1, 2, 32, 3, 0, NMI_ACTIVATION_ELU, false},  {3, 1, 40, 2, 0, NMI_ACTIVATION_RELU, false},
    {3, 9, 21, 4, 0, NMI_ACTIVATION_ELU, true},   {5, 8, 64, 3, 1, NMI_ACTIVATION_ELU, true},
    {5, 11, 47, 1, 0, NMI_ACTIVATION_ELU, true},  {7, 13, 35, 2, 1, NMI_ACTIVATION_ELU, false},
    {2, 61, 48, 5, 0, NMI_ACTIVATION_ELU, false},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

typedef struct problem {
    nmi_mlp mlp;
    nmi_mlp_rows rows;
    int64_t row_count, parameter_count;
    float *parameters;
} problem;

static float *make(size_t count)
{
    float *values = aligned_alloc(64, (count * sizeof *values + 64) / 64 * 64);
    ck_assert_ptr_nonnull(values);
    memset(values, 0, count * sizeof *values);
    return values;
}

/* Parameters of the size they start with. */
static void fill_parameters(problem *p)
{
    nmi_inr_part part;
    for (int32_t i = 0; nmi_mlp_part(&p->mlp, i, &part); i++)
        test_fill(p->parameters + part.offset, part.count, (uint64_t)i + 1,
                  part.bound > 0 ? (float)-part.bound : 0.3f,
                  part.bound > 0 ? (float)part.bound : 0.4f);
}

static void start(problem *p, const example *e, const nmi_kernels *kernels)
{
    const nmi_grid grid = {3, 7, e->outputs, e->inputs, 40, 0};
    *p = (problem){.row_count = e->outputs * e->inputs};
    p->mlp = (nmi_mlp){.kernels = kernels,
                       .hidden = e->hidden,
                       .layers = e->layers,
                       .outputs = TAPS,
                       .activation = e->activation,
                       .block_rows = BLOCK,
                       .terms = e->outputs + e->inputs};
    nmi_encoding_plan(&p->mlp.encoding, e->encoding, 6, 4, 1, &grid);
    p->parameter_count = nmi_mlp_parameter_count(&p->mlp);
    ck_assert_int_le(p->parameter_count, MOST_PARAMETERS);
    p->parameters = make((size_t)p->parameter_count);
    fill_parameters(p);
    p->rows = (nmi_mlp_rows){.mlp = &p->mlp,
                             .parameters = p->parameters,
                             .slice = {0, TAPS},
                             .grid = grid,
                             .clean = e->clean,
                             .scale = 0.5f};
}

/* Values, and the gradient where all of the values' are given. */
static void run(const problem *p, int32_t precision, float *values, float *gradient)
{
    nmi_mlp_rows rows = p->rows;
    float *packed = make(nmi_mlp_packed_floats(&p->mlp, true));
    float *terms = make(nmi_mlp_terms_floats(&p->mlp));
    float *work = make(nmi_mlp_work_floats(&p->mlp, true));
    float *lane = make(nmi_mlp_lane_floats(&p->mlp)), *again = make(BLOCK * TAPS);
    float *dy = make((size_t)(p->row_count * TAPS));
    test_fill(dy, p->row_count * TAPS, 3, 0.1f, 1);
    rows.precision = precision;
    rows.packed = packed;
    rows.terms = terms;
    rows.work = work;
    nmi_mlp_pack(&rows, (nmi_mlp_uses){true, true}, packed, terms);
    for (rows.first = 0; rows.first < p->row_count; rows.first += BLOCK) {
        rows.rows = p->row_count - rows.first < BLOCK ? p->row_count - rows.first : BLOCK;
        float *block = values + rows.first * TAPS;
        nmi_mlp_emit(&rows, again);
        nmi_mlp_emit_keeping(&rows, block);
        ck_assert_mem_eq(again, block, (size_t)(rows.rows * TAPS) * sizeof *again);
        nmi_mlp_backward(&rows, dy + rows.first * TAPS, lane);
    }
    for (int64_t share = 0; share < nmi_mlp_shares(&p->mlp); share++)
        nmi_mlp_reduce(&rows, lane, 0, 1, share, gradient, gradient);
    free(packed);
    free(terms);
    free(work);
    free(lane);
    free(again);
    free(dy);
}

static double largest(const float *values, int64_t count)
{
    double found = 0;
    for (int64_t i = 0; i < count; i++)
        found = test_larger(found, fabs((double)values[i]));
    return found;
}

/* Operands are wrong by up to 2^-9 of themselves. Gradients are sums in which much cancels: 2 % of
 * the largest was seen, where a row left out would be a third of it. */
START_TEST(values_and_gradients_are_near_those_in_floats)
{
    problem p;
    start(&p, &examples[_i / 2], _i % 2 == 0 ? test_kernels() : &nmi_kernels_amx_model);
    const int64_t values = p.row_count * TAPS;
    float *value[2], *gradient[2];
    for (int32_t precision = NMI_FP32; precision <= NMI_BF16; precision++) {
        value[precision] = make((size_t)values);
        gradient[precision] = make((size_t)p.parameter_count);
        run(&p, precision, value[precision], gradient[precision]);
    }
    assert_near(value[1], value[0], values, 5e-3 * largest(value[0], values), 0);
    const bool rounded = p.mlp.layers > 1 || !p.rows.clean; /* else there is nothing in bf16 */
    ck_assert((memcmp(value[1], value[0], (size_t)values * sizeof(float)) != 0) == rounded);
    nmi_inr_part part;
    for (int32_t i = 0; nmi_mlp_part(&p.mlp, i, &part); i++)
        assert_near(gradient[1] + part.offset, gradient[0] + part.offset, part.count,
                    4e-2 * largest(gradient[0] + part.offset, part.count), 0);
    for (int32_t precision = NMI_FP32; precision <= NMI_BF16; precision++) {
        free(value[precision]);
        free(gradient[precision]);
    }
    free(p.parameters);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inr_bf16");
    TCase *tests = tcase_create("mlp");
    tcase_add_loop_test(tests, values_and_gradients_are_near_those_in_floats, 0, 2 * EXAMPLES);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
