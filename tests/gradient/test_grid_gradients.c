/* SPDX-License-Identifier: MIT */
/*
 * Grids against their formula in double, written plainly: values, and gradients against central
 * differences of it.
 *
 * Tolerances. Values are sums of up to 12 products in float: 1e-6 of the largest. Gradients are
 * sums over the few rows and columns that one full channel reaches: 1e-5 of the largest; the values
 * are linear in the parameters, so the differences are exact but for rounding in double.
 */
#include "nmi_manifolds.h"

#include <math.h>

/* Origin of a channel: weights of two full channels. */
typedef struct origin {
    int64_t at[2];
    double weight[2];
} origin;

static origin origin_of(bool relative, int64_t channel, int64_t count, int64_t full)
{
    if (!relative)
        return (origin){{channel, channel}, {1, 0}};
    double place = ((double)channel + 0.5) * (double)full / (double)count - 0.5;
    place = place < 0 ? 0 : place > (double)full - 1 ? (double)full - 1 : place;
    const int64_t at = (int64_t)floor(place);
    const int64_t next = at + 1 < full ? at + 1 : at;
    return (origin){{at, next}, {1 - (place - (double)at), place - (double)at}};
}

typedef struct problem {
    const nmi_manifold *manifold;
    const nmi_network *network;
    int32_t tensor;
    int64_t full[4], count; /* of the full tensor */
    bool relative;
    double *values;
} problem;

/* phi of the index-th grid: 1, then 1 - extent/full for each axis that varies. */
static double factor(const problem *p, int32_t index)
{
    const nmi_topology *t = p->manifold->topology;
    for (int32_t a = 0; a < t->axis_count && index > 0; a++)
        if (t->axes[a].min < t->axes[a].max && nmi_graph_tensor_depends(t, p->tensor, a) &&
            --index == 0)
            return 1 - (double)p->network->sizes[a] / (double)t->axes[a].max;
    return 1;
}

/* All values from parameters in double; returns their product with `weights` if given. */
static double plain_values(problem *p, const double *parameters, int32_t grids,
                           const float *weights)
{
    const nmi_tensor *tensor = &p->network->tensors[p->tensor];
    const int64_t *dims = tensor->dims, taps = dims[2] * dims[3];
    const double gain = p->relative && tensor->rank > 1 ? (double)p->full[1] / (double)dims[1] : 1;
    double loss = 0;
    for (int64_t v = 0; v < tensor->count; v++) {
        const int64_t k = v % taps, i = v / taps % dims[1], o = v / taps / dims[1];
        const origin row = origin_of(p->relative, o, dims[0], p->full[0]);
        const origin column = origin_of(p->relative, i, dims[1], p->full[1]);
        double value = 0;
        for (int32_t g = 0; g < grids; g++)
            for (int c = 0; c < 4; c++)
                value += factor(p, g) * row.weight[c / 2] * column.weight[c % 2] *
                         parameters[g * p->count +
                                    (row.at[c / 2] * p->full[1] + column.at[c % 2]) * taps + k];
        p->values[v] = gain * value;
        loss += weights != NULL ? gain * value * (double)weights[v] : 0;
    }
    return loss;
}

static void check_tensor(problem *p, const float *weights, const float *gradient)
{
    const nmi_field *field = &p->manifold->fields[p->tensor];
    const nmi_tensor *tensor = &p->network->tensors[p->tensor];
    const int32_t grids = (int32_t)(field->parameter_count / p->count);
    double *parameters = calloc((size_t)field->parameter_count, sizeof *parameters);
    double largest = 0, steepest = 0;
    p->values = calloc((size_t)tensor->count, sizeof *p->values);
    for (int64_t i = 0; i < field->parameter_count; i++) {
        parameters[i] = (double)field->parameters[i];
        steepest = test_larger(steepest, fabs((double)gradient[i]));
    }
    plain_values(p, parameters, grids, NULL);
    for (int64_t i = 0; i < tensor->count; i++)
        largest = test_larger(largest, fabs(p->values[i]));
    ck_assert(largest > 0 && steepest > 0);
    for (int64_t i = 0; i < tensor->count; i++)
        ck_assert_double_eq_tol((double)tensor->data[i], p->values[i], 1e-6 * largest);
    for (int64_t i = 0; i < field->parameter_count; i += 1 + i % 5) {
        const double kept = parameters[i];
        parameters[i] = kept + 0.5;
        const double above = plain_values(p, parameters, grids, weights);
        parameters[i] = kept - 0.5;
        const double below = plain_values(p, parameters, grids, weights);
        parameters[i] = kept;
        ck_assert_double_eq_tol((double)gradient[i], above - below, 1e-5 * steepest);
    }
    free(p->values);
    free(parameters);
}

static void check_manifold(const char *settings, bool relative, int64_t s, int64_t h)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings);
    nmi_network *network = make_network(ctx, t, s, h), *full = make_network(ctx, t, 16, 14);
    float *weights[16] = {NULL}, *gradients[16] = {NULL};
    ck_assert_int_eq(m->counts[NMI_INR_GRID], 8); /* all but the scale */
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const nmi_field *field = &m->fields[i];
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        gradients[i] = calloc((size_t)field->parameter_count, sizeof(float));
        test_fill(weights[i], network->tensors[i].count, (uint64_t)i + 1, -1, 1);
        test_fill(field->parameters, field->parameter_count, (uint64_t)i + 50, -1, 1);
    }
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, NMI_FP32, weights, gradients));
    for (int32_t i = 0; i < t->tensor_count; i++) {
        problem p = {.manifold = m, .network = network, .tensor = i, .relative = relative};
        memcpy(p.full, full->tensors[i].dims, sizeof p.full);
        p.count = full->tensors[i].count;
        if (m->fields[i].morphing)
            check_tensor(&p, weights[i], gradients[i]);
        free(weights[i]);
        free(gradients[i]);
    }
    nmi_network_release(network);
    nmi_network_release(full);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

static const struct {
    const char *settings;
    bool relative;
} gauges[] = {
    {"INR_KIND=grid", false},
    {"INR_KIND=grid GRID_TERMS=1", false},
    {"INR_KIND=grid GRID_GAUGE=relative", true},
    {"INR_KIND=grid GRID_GAUGE=relative GRID_TERMS=1", true},
};
enum { GAUGES = sizeof gauges / sizeof *gauges };

START_TEST(values_and_gradients_follow_the_formula)
{
    check_manifold(gauges[_i].settings, gauges[_i].relative, 12, 5);
    check_manifold(gauges[_i].settings, gauges[_i].relative, 16, 7);
    check_manifold(gauges[_i].settings, gauges[_i].relative, 14, 13);
}
END_TEST

/* At full sizes the other grids weigh nothing, and their gradients are exactly zero. */
START_TEST(terms_vanish_at_full_sizes)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, gauges[_i].settings);
    nmi_network *full = make_network(ctx, t, 16, 14);
    float *weights[16] = {NULL}, *gradients[16] = {NULL};
    for (int32_t i = 0; i < t->tensor_count; i++) {
        weights[i] = calloc((size_t)full->tensors[i].count, sizeof(float));
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        test_fill(weights[i], full->tensors[i].count, (uint64_t)i + 1, -1, 1);
        test_fill(m->fields[i].parameters, m->fields[i].parameter_count, 9, -1, 1);
    }
    assert_ok(ctx, nmi_manifold_emit(m, full, NULL, NULL, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, full, NULL, NULL, NMI_FP32, weights, gradients));
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const int64_t count = full->tensors[i].count;
        ck_assert_mem_eq(full->tensors[i].data, m->fields[i].parameters,
                         (size_t)count * sizeof(float));
        ck_assert_mem_eq(gradients[i], weights[i], (size_t)count * sizeof(float));
        for (int64_t k = count; k < m->fields[i].parameter_count; k++)
            ck_assert(gradients[i][k] == 0);
        free(weights[i]);
        free(gradients[i]);
    }
    nmi_network_release(full);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grid gradients");
    TCase *tests = tcase_create("central differences");
    tcase_add_loop_test(tests, values_and_gradients_follow_the_formula, 0, GAUGES);
    tcase_add_loop_test(tests, terms_vanish_at_full_sizes, 0, GAUGES);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
