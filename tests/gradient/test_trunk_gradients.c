/* SPDX-License-Identifier: MIT */
/*
 * INRs that share a trunk against their formula in double, written plainly: values, and gradients
 * against central differences of it, those of the trunk over all tensors at once.
 *
 * Tolerances. Values: some 60 products in float through a few layers, 1e-5 of the largest.
 * Gradients: 2e-4 of the largest, which covers float rounding in the sums over rows; the
 * differences (step 1e-5 in double) are good to about 1e-8, except where the step crosses a kink of
 * ReLU: those parameters are told by comparing two steps, and left out.
 */
#include "nmi_manifolds.h"
#include "nmi_plain_mlp.h"

enum { TENSORS = 16 };

typedef struct problem {
    const nmi_manifold *manifold;
    const nmi_network *network;
    const nmi_noise *noise;
    int32_t shared;
    double *parameters[TENSORS]; /* of each field */
    float *weights[TENSORS];     /* the loss is their product with the values */
    double *encoded[TENSORS];    /* [rows][MOST_INPUTS] */
    int64_t inputs;
} problem;

static bool is_live(const problem *p, int32_t tensor)
{
    return p->manifold->fields[tensor].morphing && p->network->tensors[tensor].rank > 0;
}

static void make_problem(problem *p, const nmi_manifold *m, const nmi_network *network,
                         const nmi_noise *noise)
{
    *p = (problem){.manifold = m, .network = network, .noise = noise};
    p->shared = m->shared[NMI_INR_TRUNK];
    for (int32_t f = 0; f < m->field_count; f++) {
        const nmi_field *field = &m->fields[f];
        p->parameters[f] = calloc((size_t)field->parameter_count, sizeof(double));
        for (int64_t i = 0; i < field->parameter_count; i++)
            p->parameters[f][i] = (double)field->parameters[i];
    }
    for (int32_t t = 0; t < m->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &network->tensors[t];
        p->weights[t] = calloc((size_t)tensor->count, sizeof(float));
        test_fill(p->weights[t], tensor->count, 5, -1, 1);
        if (!is_live(p, t))
            continue;
        const nmi_grid grid = {m->fields[t].index, m->counts[NMI_INR_TRUNK],     tensor->dims[0],
                               tensor->dims[1],    m->settings.coordinate_scale, NMI_EDGE_NONE};
        const int64_t rows = grid.outputs * grid.inputs;
        p->encoded[t] = calloc((size_t)(rows * MOST_INPUTS), sizeof(double));
        for (int64_t r = 0; r < rows; r++) {
            double draws[6];
            plain_noise(m, &grid, noise, r, draws);
            p->inputs = plain_encode(m, &m->trunk, &grid, r / grid.inputs, r % grid.inputs, draws,
                                     p->encoded[t] + r * MOST_INPUTS);
        }
    }
}

static void free_problem(problem *p)
{
    for (int i = 0; i < TENSORS; i++) {
        free(p->parameters[i]);
        free(p->weights[i]);
        free(p->encoded[i]);
    }
}

/* The MLP that the tensor's own parameters and the shared ones are together, in the order of one.
 */
static double *whole_mlp(const problem *p, int32_t tensor, int64_t taps)
{
    const int64_t hidden = p->manifold->settings.hidden, first = hidden * p->inputs;
    const int64_t own = p->manifold->fields[tensor].parameter_count;
    const int64_t shared = p->manifold->fields[p->shared].parameter_count;
    double *all = calloc((size_t)(own + shared), sizeof *all);
    ck_assert_int_eq(own, hidden + taps * (hidden + 1));
    memcpy(all, p->parameters[p->shared], (size_t)first * sizeof *all);
    memcpy(all + first, p->parameters[tensor], (size_t)hidden * sizeof *all);
    memcpy(all + first + hidden, p->parameters[p->shared] + first,
           (size_t)(shared - first) * sizeof *all);
    memcpy(all + shared + hidden, p->parameters[tensor] + hidden,
           (size_t)(own - hidden) * sizeof *all);
    return all;
}

/* The loss of one tensor; its values, unless NULL. */
static double plain_values(const problem *p, int32_t tensor, double *values)
{
    const nmi_tensor *of = &p->network->tensors[tensor];
    const int64_t taps = of->dims[2] * of->dims[3];
    double *all = whole_mlp(p, tensor, taps), out[16], loss = 0;
    nmi_mlp mlp = p->manifold->trunk;
    mlp.outputs = taps;
    for (int64_t r = 0; r < of->dims[0] * of->dims[1]; r++) {
        plain_outputs(p->manifold, &mlp, all, p->encoded[tensor] + r * MOST_INPUTS, p->inputs, out);
        for (int64_t k = 0; k < taps; k++) {
            const double value = out[k] / (double)of->dims[1];
            loss += (double)p->weights[tensor][r * taps + k] * value;
            if (values != NULL)
                values[r * taps + k] = value;
        }
    }
    free(all);
    return loss;
}

/* Of a tensor, or of all that share the trunk. */
static double loss_of(const problem *p, int32_t field)
{
    double loss = 0;
    for (int32_t t = 0; t < p->manifold->topology->tensor_count; t++)
        if (is_live(p, t) && (field == p->shared || field == t))
            loss += plain_values(p, t, NULL);
    return loss;
}

static double difference(const problem *p, int32_t field, int64_t i, double step)
{
    double *at = &p->parameters[field][i];
    const double kept = *at;
    *at = kept + step;
    const double above = loss_of(p, field);
    *at = kept - step;
    const double below = loss_of(p, field);
    *at = kept;
    return (above - below) / (2 * step);
}

static void check_values(const problem *p, int32_t tensor)
{
    const nmi_tensor *made = &p->network->tensors[tensor];
    double *values = calloc((size_t)made->count, sizeof *values), largest = 0;
    plain_values(p, tensor, values);
    for (int64_t i = 0; i < made->count; i++)
        largest = test_larger(largest, fabs(values[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < made->count; i++)
        ck_assert_double_eq_tol((double)made->data[i], values[i], 1e-5 * largest);
    free(values);
}

/* Some 60 of the field's parameters, the last ones among them. */
static void check_gradients(const problem *p, int32_t field, const float *gradient)
{
    const int64_t count = p->manifold->fields[field].parameter_count;
    double largest = 0;
    int64_t kinks = 0, checked = 0;
    for (int64_t i = 0; i < count; i++)
        largest = test_larger(largest, fabs((double)gradient[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < count; i += i < count - 10 ? 1 + count / 50 : 1) {
        const double wide = difference(p, field, i, 1e-5);
        const double narrow = difference(p, field, i, 5e-6);
        checked++;
        if (fabs(wide - narrow) > 1e-6 * largest) {
            kinks++;
            continue;
        }
        ck_assert_double_eq_tol((double)gradient[i], narrow, 2e-4 * largest);
    }
    ck_assert_msg(kinks * 4 < checked, "%d of %d are at kinks", (int)kinks, (int)checked);
}

#define TRUNK "INR_KIND=trunk INR_LAYERS=3 INR_OCTAVES=5 "
static const char *const forms[] = {TRUNK "INR_HIDDEN=24",
                                    TRUNK "INR_HIDDEN=21 INR_FUNCTION=elu INR_EXTENT_OCTAVES=1",
                                    TRUNK "INR_HIDDEN=33 INR_ENCODING=integrated",
                                    "INR_KIND=trunk INR_LAYERS=1 INR_OCTAVES=4 INR_HIDDEN=16"};
enum { FORMS = sizeof forms / sizeof *forms };

static void make_gradients(const nmi_manifold *m, float **gradients)
{
    for (int32_t f = 0; f < m->field_count; f++)
        gradients[f] = calloc((size_t)m->fields[f].parameter_count, sizeof(float));
}

static void free_gradients(float **gradients)
{
    for (int i = 0; i < TENSORS; i++)
        free(gradients[i]);
}

/* With what emission kept, and without; noise where the encoding has it. */
START_TEST(values_and_gradients_follow_the_formula)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, forms[_i / 2]);
    nmi_network *network = make_network(ctx, t, 14, 9);
    const nmi_noise noise = {.amplitude = 1, .clamp = 0.49, .key = 3, .sample = 2};
    float *gradients[TENSORS] = {NULL};
    problem p;
    ck_assert_int_eq(m->counts[NMI_INR_TRUNK], 8); /* all but the scale */
    make_gradients(m, gradients);
    if (_i % 2 == 0)
        assert_ok(ctx, nmi_manifold_emit(m, network, NULL, &noise, NMI_FP32));
    else
        assert_ok(ctx, nmi_manifold_emit_keeping(m, network, NULL, &noise, NMI_FP32));
    make_problem(&p, m, network, &noise);
    ck_assert_int_eq(p.inputs, m->trunk.encoding.inputs);
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, &noise, NMI_FP32, p.weights, gradients));
    for (int32_t i = 0; i < t->tensor_count; i++)
        if (m->fields[i].morphing) {
            check_values(&p, i);
            check_gradients(&p, i, gradients[i]);
        }
    check_gradients(&p, p.shared, gradients[p.shared]);
    free_gradients(gradients);
    free_problem(&p);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* Of the marked tensors alone, in either precision: what it shares gets the sum over them. bf16 has
 * 8 bits, which leaves some percent. */
START_TEST(only_marked_tensors_add_to_what_is_shared)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, forms[0]);
    nmi_network *network = make_network(ctx, t, 14, 9);
    const int32_t chosen[2] = {tensor(t, "a.weight"), tensor(t, "fc.bias")};
    const int32_t shared = m->shared[NMI_INR_TRUNK];
    const int32_t precision = _i == 0 ? NMI_FP32 : NMI_BF16;
    const double tolerance = _i == 0 ? 1e-5 : 0.05;
    float *sum[TENSORS] = {NULL}, *both[TENSORS] = {NULL};
    bool fields[TENSORS] = {false};
    problem p;
    double largest = 0;
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    make_problem(&p, m, network, NULL);
    make_gradients(m, sum);
    make_gradients(m, both);
    for (int i = 0; i < 2; i++) {
        memset(fields, 0, sizeof fields);
        fields[chosen[i]] = true;
        assert_ok(ctx, nmi_manifold_backward(m, network, fields, NULL, NMI_FP32, p.weights, sum));
    }
    fields[chosen[0]] = true;
    assert_ok(ctx, nmi_manifold_backward(m, network, fields, NULL, precision, p.weights, both));
    for (int64_t i = 0; i < m->fields[shared].parameter_count; i++)
        largest = test_larger(largest, fabs((double)sum[shared][i]));
    for (int64_t i = 0; i < m->fields[shared].parameter_count; i++)
        ck_assert_double_eq_tol((double)both[shared][i], (double)sum[shared][i],
                                tolerance * largest);
    for (int32_t f = 0; f < t->tensor_count; f++)
        for (int64_t i = 0; i < m->fields[f].parameter_count && !fields[f]; i++)
            ck_assert(both[f][i] == 0);
    free_gradients(sum);
    free_gradients(both);
    free_problem(&p);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trunk gradients");
    TCase *tests = tcase_create("central differences");
    tcase_add_loop_test(tests, values_and_gradients_follow_the_formula, 0, 2 * FORMS);
    tcase_add_loop_test(tests, only_marked_tensors_add_to_what_is_shared, 0, 2);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
