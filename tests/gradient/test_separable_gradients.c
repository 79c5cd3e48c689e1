/* SPDX-License-Identifier: MIT */
/*
 * Separable INRs against their formula in double, written plainly: values, and gradients against
 * central differences of it.
 *
 * Tolerances. Values: some 60 products in float through a few layers, then sums of 5 products, 1e-5
 * of the largest. Gradients: 2e-4 of the largest, which covers float rounding in the sums over
 * rows; the differences (step 1e-5 in double) are good to about 1e-8, except where the step crosses
 * a kink of ReLU: those parameters are told by comparing two steps, and left out.
 */
#include "nmi_manifolds.h"
#include "nmi_plain_mlp.h"
#include "nmi_separable.h"

enum { MOST_ROWS = 32 };

typedef struct problem {
    const nmi_manifold *manifold;
    const nmi_tensor *tensor;
    nmi_separable of;
    int64_t inputs; /* of the MLPs */
    double encoded[2][MOST_ROWS][MOST_INPUTS];
    double sides[2][MOST_ROWS][64];
    double *values;
} problem;

static void make_problem(problem *p, const nmi_manifold *m, const nmi_network *network, int32_t t,
                         const nmi_noise *noise)
{
    p->manifold = m;
    p->tensor = &network->tensors[t];
    p->of = nmi_separable_of(m, t);
    p->values = calloc((size_t)p->tensor->count, sizeof *p->values);
    const nmi_grid grid = {m->fields[t].index, m->counts[NMI_INR_SEPARABLE], p->tensor->dims[0],
                           p->tensor->dims[1], m->settings.coordinate_scale, NMI_EDGE_NONE};
    for (int side = 0; side < (p->of.vector ? 1 : 2); side++) {
        nmi_noise own = *noise; /* f and g draw from keys of their own */
        own.key = nmi_random_key(noise->key, NMI_RANDOM_NOISE, (uint64_t)side);
        for (int64_t r = 0; r < p->tensor->dims[side]; r++) {
            double draws[6];
            plain_noise(m, &grid, &own, r, draws);
            p->inputs = plain_encode(m, &p->of.mlp, &grid, side == 0 ? r : 0, side == 1 ? r : 0,
                                     draws, p->encoded[side][r]);
        }
    }
}

static void plain_sides(problem *p, const double *parameters)
{
    for (int side = 0; side < (p->of.vector ? 1 : 2); side++)
        for (int64_t r = 0; r < p->tensor->dims[side]; r++)
            plain_outputs(p->manifold, &p->of.mlp, parameters + p->of.sides[side],
                          p->encoded[side][r], p->inputs, p->sides[side][r]);
}

/* All values from f, g and t; their product with `weights` if given. */
static double plain_products(problem *p, const double *parameters, const float *weights)
{
    const nmi_separable *of = &p->of;
    const int64_t *dims = p->tensor->dims;
    const double gain = (double)of->full[1] / (double)dims[1], *t = parameters + of->factors;
    double loss = 0;
    for (int64_t v = 0; v < p->tensor->count; v++) {
        const int64_t k = v % of->taps, i = v / of->taps % dims[1], o = v / of->taps / dims[1];
        double value = of->vector ? p->sides[0][o][0] : 0;
        for (int64_t r = 0; r < of->rank && !of->vector; r++)
            value += gain * p->sides[0][o][r] * p->sides[1][i][r] * t[k * of->rank + r];
        p->values[v] = value;
        loss += weights != NULL ? (double)weights[v] * value : 0;
    }
    return loss;
}

static double plain_values(problem *p, const double *parameters, const float *weights)
{
    plain_sides(p, parameters);
    return plain_products(p, parameters, weights);
}

static void check_values(const problem *p)
{
    double largest = 0;
    for (int64_t i = 0; i < p->tensor->count; i++)
        largest = test_larger(largest, fabs(p->values[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < p->tensor->count; i++)
        ck_assert_double_eq_tol((double)p->tensor->data[i], p->values[i], 1e-5 * largest);
}

static double difference(problem *p, double *parameters, int64_t i, double step,
                         const float *weights)
{
    const double kept = parameters[i];
    parameters[i] = kept + step;
    const double above = plain_values(p, parameters, weights);
    parameters[i] = kept - step;
    const double below = plain_values(p, parameters, weights);
    parameters[i] = kept;
    return (above - below) / (2 * step);
}

static void check_gradients(problem *p, double *parameters, const float *weights,
                            const float *gradient)
{
    double largest = 0;
    int64_t kinks = 0, checked = 0;
    for (int64_t i = 0; i < p->of.count; i++)
        largest = test_larger(largest, fabs((double)gradient[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < p->of.count; i += i < p->of.count - 32 ? 17 : 1) {
        const double wide = difference(p, parameters, i, 1e-5, weights);
        const double narrow = difference(p, parameters, i, 5e-6, weights);
        checked++;
        if (fabs(wide - narrow) > 1e-6 * largest) {
            kinks++;
            continue;
        }
        ck_assert_double_eq_tol((double)gradient[i], narrow, 2e-4 * largest);
    }
    ck_assert_msg(kinks * 20 < checked, "%d of %d are at kinks", (int)kinks, (int)checked);
}

static void check_tensor(const nmi_manifold *m, const nmi_network *network, int32_t t,
                         const nmi_noise *noise, const float *weights, const float *gradient)
{
    const nmi_field *field = &m->fields[t];
    double *parameters = calloc((size_t)field->parameter_count, sizeof *parameters);
    problem *p = calloc(1, sizeof *p);
    for (int64_t i = 0; i < field->parameter_count; i++)
        parameters[i] = (double)field->parameters[i];
    make_problem(p, m, network, t, noise);
    ck_assert_int_eq(p->inputs, m->factors.encoding.inputs);
    ck_assert_int_eq(p->of.count, field->parameter_count);
    plain_values(p, parameters, NULL);
    check_values(p);
    check_gradients(p, parameters, weights, gradient);
    free(p->values);
    free(p);
    free(parameters);
}

static void check_manifold(const char *settings, int64_t s, int64_t h)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings);
    nmi_network *network = make_network(ctx, t, s, h);
    const nmi_noise noise = {.amplitude = 1, .clamp = 0.49, .key = 77, .sample = 3, .samples = 8};
    float *weights[16] = {NULL}, *gradients[16] = {NULL};
    ck_assert_int_eq(m->counts[NMI_INR_SEPARABLE], 8); /* all but the scale */
    for (int32_t i = 0; i < t->tensor_count; i++) {
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        test_fill(weights[i], network->tensors[i].count, (uint64_t)i + 1, -1, 1);
    }
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, &noise, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, &noise, NMI_FP32, weights, gradients));
    for (int32_t i = 0; i < t->tensor_count; i++) {
        if (m->fields[i].morphing)
            check_tensor(m, network, i, &noise, weights[i], gradients[i]);
        free(weights[i]);
        free(gradients[i]);
    }
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

static const char *const forms[] = {
    "INR_KIND=separable INR_RANK=5 INR_HIDDEN=19 INR_LAYERS=3 INR_OCTAVES=4 INR_SCALAR=0.7",
    "INR_KIND=separable INR_RANK=7 INR_HIDDEN=19 INR_LAYERS=3 INR_OCTAVES=4 INR_FUNCTION=elu",
    "INR_KIND=separable INR_RANK=17 INR_HIDDEN=16 INR_LAYERS=1 INR_OCTAVES=4 "
    "INR_ENCODING=integrated INR_FUNCTION=elu",
    "INR_KIND=separable INR_RANK=1 INR_HIDDEN=19 INR_LAYERS=2 INR_OCTAVES=4 "
    "INR_ENCODING=integrated",
};
enum { FORMS = sizeof forms / sizeof *forms };

START_TEST(values_and_gradients_follow_the_formula)
{
    check_manifold(forms[_i], 16, 14);
    check_manifold(forms[_i], 12, 5);
}
END_TEST

/* The clean draw and three noisy ones, of f and of g. */
static void check_average(const nmi_manifold *m, const nmi_network *network, int32_t t,
                          const nmi_noise *noise)
{
    enum { DRAWS = 4 };
    const nmi_field *field = &m->fields[t];
    double *parameters = calloc((size_t)field->parameter_count, sizeof *parameters);
    problem *mean = calloc(1, sizeof *mean), *p = calloc(1, sizeof *p);
    double *sums = &mean->sides[0][0][0], *draw = &p->sides[0][0][0];
    for (int64_t i = 0; i < field->parameter_count; i++)
        parameters[i] = (double)field->parameters[i];
    make_problem(mean, m, network, t, noise);
    for (int d = -1; d < DRAWS - 1; d++) {
        nmi_noise own = *noise;
        own.sample = d;
        own.amplitude = d < 0 ? 0 : own.amplitude;
        make_problem(p, m, network, t, &own);
        plain_sides(p, parameters);
        free(p->values);
        for (size_t i = 0; i < sizeof p->sides / sizeof(double); i++)
            sums[i] += draw[i] / DRAWS;
    }
    plain_products(mean, parameters, NULL);
    check_values(mean);
    free(mean->values);
    free(mean);
    free(p);
    free(parameters);
}

START_TEST(averages_are_those_of_both_functions)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, forms[0]);
    nmi_network *network = make_network(ctx, t, 14, 9);
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 7};
    assert_ok(ctx, nmi_manifold_emit_average(m, network, NULL, &noise, NMI_FP32, 4, true));
    for (int32_t i = 0; i < t->tensor_count; i++)
        if (m->fields[i].morphing)
            check_average(m, network, i, &noise);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("separable gradients");
    TCase *tests = tcase_create("central differences");
    tcase_add_loop_test(tests, values_and_gradients_follow_the_formula, 0, FORMS);
    tcase_add_test(tests, averages_are_those_of_both_functions);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
