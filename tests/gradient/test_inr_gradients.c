/* SPDX-License-Identifier: MIT */
/*
 * INRs against a plain implementation in double: their values, and their gradients against central
 * differences of it.
 *
 * Tolerances. Values: sums of some 60 products in float through a few layers, 1e-5 of the largest
 * value. Gradients: 2e-4 of the largest gradient of the parameter vector, which covers float
 * rounding in the sums over rows; the differences themselves (step 1e-5 in double) are good to
 * about 1e-8, except where the step crosses a kink of ReLU: those parameters are told by comparing
 * two steps, and left out.
 */
#include "nmi_plain_mlp.h"
#include "nmi_test.h"

#include <stdio.h>

/* --- a topology with every kind of tensor ------------------------------------------------ */

static int32_t node(neumeta_topology *topology, const char *name, int32_t op, int32_t first,
                    int32_t second, int32_t axis, const char *settings)
{
    nmi_options *options = NULL;
    int32_t inputs[2] = {first, second}, number = -1;
    neumeta_context *ctx = topology->object.context;
    char text[128], *rest = text;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    snprintf(text, sizeof text, "%s", settings);
    for (char *key = strtok_r(text, " =", &rest); key != NULL; key = strtok_r(NULL, " =", &rest))
        assert_ok(ctx, nmi_options_parse(options, key, strtok_r(NULL, " ", &rest)));
    assert_ok(ctx, neumeta_topology_add_node(topology, name, op, inputs,
                                             (first >= 0) + (second >= 0), axis, options, &number));
    nmi_options_release(options);
    return number;
}

/* Convolutions of 3x3 and 1x1 taps, an affine, linear layers, a held stem; h varies. */
static neumeta_topology *make_topology(neumeta_context *ctx, int64_t h_max)
{
    neumeta_topology *t = NULL;
    int32_t stream, h, classes;
    assert_ok(ctx, neumeta_topology_create(ctx, &t));
    assert_ok(ctx, neumeta_topology_add_axis(t, "s", NEUMETA_AXIS_WIDTH, 5, 5, 1, &stream));
    assert_ok(ctx, neumeta_topology_add_axis(t, "h", NEUMETA_AXIS_WIDTH, 2, h_max, 1, &h));
    assert_ok(ctx, neumeta_topology_add_axis(t, "c", NEUMETA_AXIS_WIDTH, 3, 3, 1, &classes));
    int32_t in = node(t, "in", NEUMETA_OP_INPUT, -1, -1, -1,
                      "INPUT_CHANNELS=2 INPUT_HEIGHT=4 INPUT_WIDTH=4");
    int32_t stem = node(t, "stem", NEUMETA_OP_CONV, in, -1, stream, "KERNEL=3 PADDING=1");
    assert_ok(ctx, neumeta_topology_begin_block(t, "one"));
    int32_t n = node(t, "a", NEUMETA_OP_CONV, stem, -1, h, "KERNEL=3 PADDING=1");
    n = node(t, "affine", NEUMETA_OP_AFFINE, n, -1, -1, "");
    n = node(t, "relu", NEUMETA_OP_ACTIVATION, n, -1, -1, "");
    n = node(t, "b", NEUMETA_OP_CONV, n, -1, stream, "KERNEL=1");
    n = node(t, "add", NEUMETA_OP_ADD, stem, n, -1, "");
    assert_ok(ctx, neumeta_topology_begin_block(t, "two"));
    n = node(t, "pool", NEUMETA_OP_POOL_GLOBAL, n, -1, -1, "");
    n = node(t, "c", NEUMETA_OP_LINEAR, n, -1, h, "MULTIPLE=2");
    n = node(t, "d", NEUMETA_OP_LINEAR, n, -1, classes, "");
    assert_ok(ctx, neumeta_topology_seal(t, n));
    return t;
}

/* --- the plain implementation ------------------------------------------------------------ */

typedef struct problem {
    const nmi_manifold *manifold;
    const nmi_tensor *tensor;
    nmi_grid grid;
    int64_t rows, taps, inputs;
    double *encoded; /* [rows][MOST_INPUTS] */
    double *values;  /* [rows][taps] */
} problem;

static problem make_problem(const nmi_manifold *m, const nmi_network *network, int32_t t,
                            const nmi_noise *noise)
{
    const nmi_tensor *tensor = &network->tensors[t];
    problem p = {.manifold = m, .tensor = tensor};
    p.grid = (nmi_grid){m->fields[t].index, m->counts[NMI_INR_MLP],       tensor->dims[0],
                        tensor->dims[1],    m->settings.coordinate_scale, NMI_EDGE_NONE};
    p.rows = tensor->dims[0] * tensor->dims[1];
    p.taps = tensor->dims[2] * tensor->dims[3];
    p.encoded = calloc((size_t)p.rows * MOST_INPUTS, sizeof *p.encoded);
    p.values = calloc((size_t)(p.rows * p.taps), sizeof *p.values);
    for (int64_t r = 0; r < p.rows; r++) {
        double draws[6];
        plain_noise(m, &p.grid, noise, r, draws);
        p.inputs = plain_encode(m, &m->mlp, &p.grid, r / p.grid.inputs, r % p.grid.inputs, draws,
                                p.encoded + r * MOST_INPUTS);
    }
    return p;
}

static void end_problem(problem *p)
{
    free(p->encoded);
    free(p->values);
}

/* Values from parameters, and their product with `weights` if given. */
static double plain_values(problem *p, const double *parameters, const float *weights)
{
    const nmi_manifold *m = p->manifold;
    const int64_t first = m->mlp.outputs / 2 - p->taps / 2;
    double out[64], loss = 0;
    for (int64_t r = 0; r < p->rows; r++) {
        plain_outputs(m, &m->mlp, parameters, p->encoded + r * MOST_INPUTS, p->inputs, out);
        for (int64_t k = 0; k < p->taps; k++) {
            const double value = out[first + k] / (double)p->grid.inputs;
            p->values[r * p->taps + k] = value;
            if (weights != NULL)
                loss += (double)weights[r * p->taps + k] * value;
        }
    }
    return loss;
}

/* --- the comparison ---------------------------------------------------------------------- */

static void check_values(problem *p, const double *parameters)
{
    double largest = 0;
    plain_values(p, parameters, NULL);
    for (int64_t i = 0; i < p->tensor->count; i++)
        largest = test_larger(largest, fabs(p->values[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < p->tensor->count; i++)
        ck_assert_msg(fabs(p->values[i] - (double)p->tensor->data[i]) <= 1e-5 * largest,
                      "value %d is %g, should be %g", (int)i, (double)p->tensor->data[i],
                      p->values[i]);
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

/* Every stride-th parameter, and the last ones. */
static void check_gradients(problem *p, double *parameters, int64_t count, const float *weights,
                            const float *gradient, int64_t stride)
{
    double largest = 0;
    int64_t kinks = 0, checked = 0;
    for (int64_t i = 0; i < count; i++)
        largest = test_larger(largest, fabs((double)gradient[i]));
    ck_assert(largest > 0);
    for (int64_t i = 0; i < count; i += i < count - 32 ? stride : 1) {
        const double wide = difference(p, parameters, i, 1e-5, weights);
        const double narrow = difference(p, parameters, i, 5e-6, weights);
        checked++;
        if (fabs(wide - narrow) > 1e-6 * largest) {
            kinks++;
            continue;
        }
        ck_assert_msg(fabs(narrow - (double)gradient[i]) <= 2e-4 * largest,
                      "gradient %d is %g, should be %g", (int)i, (double)gradient[i], narrow);
    }
    ck_assert_msg(kinks * 20 < checked, "%d of %d are at kinks", (int)kinks, (int)checked);
}

static nmi_manifold *make_manifold(neumeta_context *ctx, neumeta_topology *topology,
                                   const char *encoding, const char *function, int64_t layers)
{
    nmi_options *options = NULL;
    nmi_manifold *manifold = NULL;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_INR_ENCODING, encoding));
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_INR_FUNCTION, function));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_INR_HIDDEN, 19));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_INR_LAYERS, layers));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_INR_OCTAVES, 4));
    assert_ok(ctx, nmi_options_set_real(options, NEUMETA_KEY_INR_SCALAR, 0.7));
    assert_ok(ctx, nmi_manifold_create(ctx, topology, options, &manifold));
    nmi_options_release(options);
    return manifold;
}

static float **make_gradients(const nmi_manifold *m)
{
    const int32_t count = m->topology->tensor_count;
    float **gradients = calloc((size_t)count, sizeof *gradients);
    for (int32_t t = 0; t < count; t++)
        gradients[t] = calloc((size_t)m->fields[t].parameter_count, sizeof(float));
    return gradients;
}

static void free_all(float **arrays, int32_t count)
{
    for (int32_t t = 0; t < count; t++)
        free(arrays[t]);
    free(arrays);
}

/* After an emission that kept what it had for `kept`, gradients with `noise` are bit for bit those
 * of MLPs that were run again. */
static void check_kept(nmi_manifold *m, nmi_network *network, const nmi_noise *kept,
                       const nmi_noise *noise, float **weights, float **expected)
{
    neumeta_context *ctx = m->object.context;
    float **gradients = make_gradients(m);
    assert_ok(ctx, nmi_manifold_emit_keeping(m, network, NULL, kept, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, noise, NMI_FP32, weights, gradients));
    for (int32_t t = 0; t < m->topology->tensor_count; t++)
        ck_assert_mem_eq(gradients[t], expected[t],
                         (size_t)m->fields[t].parameter_count * sizeof(float));
    free_all(gradients, m->topology->tensor_count);
}

/* Parameters that change in between drop what was kept of the old ones. */
static void check_changed(nmi_manifold *m, nmi_network *network, const nmi_noise *noise,
                          float **weights)
{
    neumeta_context *ctx = m->object.context;
    float **actual = make_gradients(m), **expected = make_gradients(m);
    assert_ok(ctx, nmi_manifold_emit_keeping(m, network, NULL, noise, NMI_FP32));
    for (int32_t t = 0; t < m->topology->tensor_count; t++)
        if (m->fields[t].parameter_count > 0)
            m->fields[t].parameters[0] += 0.5f;
    nmi_manifold_forget_front(m);
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, noise, NMI_FP32, weights, actual));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, noise, NMI_FP32, weights, expected));
    for (int32_t t = 0; t < m->topology->tensor_count; t++)
        ck_assert_mem_eq(actual[t], expected[t],
                         (size_t)m->fields[t].parameter_count * sizeof(float));
    free_all(actual, m->topology->tensor_count);
    free_all(expected, m->topology->tensor_count);
}

static void check_manifold(const char *encoding, const char *function, int64_t layers,
                           int64_t h_max, int64_t h, int64_t stride)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *topology = make_topology(ctx, h_max);
    nmi_manifold *m = make_manifold(ctx, topology, encoding, function, layers);
    const int32_t count = topology->tensor_count;
    const int64_t sizes[3] = {5, h, 3};
    nmi_network *network = NULL;
    assert_ok(ctx, nmi_network_create(ctx, topology, sizes, &network));
    nmi_noise noise = {.amplitude = 1, .clamp = 0.49, .key = 77, .sample = 3, .samples = 8};
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, &noise, NMI_FP32));
    float **weights = calloc((size_t)count, sizeof *weights);
    float **gradients = make_gradients(m);
    for (int32_t t = 0; t < count; t++) {
        weights[t] = calloc((size_t)network->tensors[t].count, sizeof(float));
        test_fill(weights[t], network->tensors[t].count, (uint64_t)t + 1, -1, 1);
    }
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, &noise, NMI_FP32, weights, gradients));
    int checked = 0;
    for (int32_t t = 0; t < count; t++) {
        const nmi_field *field = &m->fields[t];
        if (!field->morphing) {
            assert_near(gradients[t], weights[t], field->parameter_count, 0, 0);
            continue;
        }
        double *parameters = calloc((size_t)field->parameter_count, sizeof *parameters);
        for (int64_t i = 0; i < field->parameter_count; i++)
            parameters[i] = (double)field->parameters[i];
        problem p = make_problem(m, network, t, &noise);
        ck_assert_int_eq(p.inputs, m->mlp.encoding.inputs);
        check_values(&p, parameters);
        check_gradients(&p, parameters, field->parameter_count, weights[t], gradients[t], stride);
        end_problem(&p);
        free(parameters);
        checked++;
    }
    ck_assert_int_eq(checked, 10);
    nmi_noise other = noise;
    other.key++;
    check_kept(m, network, &noise, &noise, weights, gradients);
    check_kept(m, network, &other, &noise, weights, gradients);
    check_kept(m, network, NULL, &noise, weights, gradients);
    check_changed(m, network, &noise, weights);
    free_all(weights, count);
    free_all(gradients, count);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(topology);
    neumeta_context_free(ctx);
}

START_TEST(relu_with_plain_encoding)
{
    check_manifold("plain", "relu", 3, 6, 5, 7);
}
END_TEST

START_TEST(elu_with_plain_encoding)
{
    check_manifold("plain", "elu", 3, 6, 6, 7);
}
END_TEST

START_TEST(relu_with_integrated_encoding)
{
    check_manifold("integrated", "relu", 3, 6, 5, 7);
}
END_TEST

START_TEST(elu_with_integrated_encoding)
{
    check_manifold("integrated", "elu", 4, 6, 4, 7);
}
END_TEST

START_TEST(one_hidden_layer_has_no_scalars)
{
    check_manifold("plain", "elu", 1, 6, 5, 7);
}
END_TEST

/* 5 * 120 rows: several blocks in several lanes, the last one cut off. */
START_TEST(many_rows_in_blocks_and_lanes)
{
    check_manifold("plain", "elu", 3, 121, 121, 211);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inr gradients");
    TCase *tests = tcase_create("central differences");
    tcase_add_test(tests, relu_with_plain_encoding);
    tcase_add_test(tests, elu_with_plain_encoding);
    tcase_add_test(tests, relu_with_integrated_encoding);
    tcase_add_test(tests, elu_with_integrated_encoding);
    tcase_add_test(tests, one_hidden_layer_has_no_scalars);
    tcase_add_test(tests, many_rows_in_blocks_and_lanes);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
