/* SPDX-License-Identifier: MIT */
/*
 * Operators, losses, optimisers and an INR against what PyTorch computed in float64 from the same
 * numbers: see make_fixtures.py. The tolerance is float32's: sums of up to 75 products of numbers
 * around 1 err by some 1e-6, and a few of the results are around 10.
 */
#include "nmi_conv.h"
#include "nmi_elementwise.h"
#include "nmi_loss.h"
#include "nmi_manifold.h"
#include "nmi_norm_op.h"
#include "nmi_optimizer.h"
#include "nmi_pool.h"
#include "nmi_safetensors.h"
#include "nmi_test_kernels.h"

#include <stdio.h>

static const double tolerance = 2e-5;

static neumeta_context *context;
static nmi_safetensors *file;

static void open_fixtures(void)
{
    context = test_context();
    assert_ok(context, nmi_safetensors_open(
                           context, NMI_SOURCE_ROOT "/tests/golden/fixtures.safetensors", &file));
}

static void close_fixtures(void)
{
    nmi_safetensors_free(file);
    neumeta_context_free(context);
}

/* A fixture's values, to be freed; its shape if `entry` is not NULL. */
static float *fixture(const char *prefix, const char *name, nmi_tensor_entry *entry)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", prefix, name);
    nmi_tensor_entry found;
    ck_assert_msg(nmi_safetensors_find(file, key, &found), "there is no fixture '%s'", key);
    float *values = malloc((size_t)found.bytes);
    ck_assert_ptr_nonnull(values);
    nmi_tensor_copy(&found, values);
    if (entry != NULL)
        *entry = found;
    return values;
}

static void assert_fixture(const char *prefix, const char *name, const float *values)
{
    nmi_tensor_entry entry;
    float *expected = fixture(prefix, name, &entry);
    assert_near(values, expected, entry.elements, tolerance, tolerance);
    free(expected);
}

static float *floats(int64_t count)
{
    float *values = calloc((size_t)count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

/* An image fixture as NHWC. */
static float *image(const char *prefix, const char *name, int64_t dims[4])
{
    nmi_tensor_entry entry;
    float *nchw = fixture(prefix, name, &entry);
    float *nhwc = floats(entry.elements);
    memcpy(dims, entry.dims, 4 * sizeof *dims);
    nmi_nchw_to_nhwc(dims[0], dims[1], dims[2] * dims[3], nchw, nhwc);
    free(nchw);
    return nhwc;
}

static void assert_image(const char *prefix, const char *name, const float *nhwc,
                         const int64_t dims[4])
{
    float *nchw = floats(dims[0] * dims[1] * dims[2] * dims[3]);
    nmi_nhwc_to_nchw(dims[0], dims[1], dims[2] * dims[3], nhwc, nchw);
    assert_fixture(prefix, name, nchw);
    free(nchw);
}

static void check_conv(const char *name, int64_t kernel, int64_t stride, int64_t padding)
{
    int64_t in[4], out[4];
    float *x = image(name, "input0", in), *dy = image(name, "cotangent", out);
    float *w = fixture(name, "input1", NULL), *b = fixture(name, "input2", NULL);
    nmi_conv_shape shape = {.in_channels = in[1],
                            .in_height = in[2],
                            .in_width = in[3],
                            .out_channels = out[1],
                            .kernel = kernel,
                            .stride = stride,
                            .padding = padding};
    ck_assert(nmi_conv_shape_complete(&shape));
    const nmi_conv_path path = nmi_conv_path_of(test_kernels(), NMI_FP32, &shape);
    void *workspace =
        aligned_alloc(64, (nmi_conv_workspace_bytes(path, &shape) + 63) / 64 * 64 + 64);
    float *packed = aligned_alloc(64, (nmi_conv_packed_floats(path, &shape) * 4 + 63) / 64 * 64);
    float *transposed =
        aligned_alloc(64, (nmi_conv_packed_transposed_floats(path, &shape) * 4 + 63) / 64 * 64);
    float *dpacked = aligned_alloc(64, (nmi_conv_gradient_floats(path, &shape) * 4 + 63) / 64 * 64);
    float *y = floats(out[0] * out[1] * out[2] * out[3]);
    float *dx = floats(in[0] * in[1] * in[2] * in[3]);
    float *dw = floats(out[1] * in[1] * kernel * kernel), *db = floats(out[1]);
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = b;
    memset(dpacked, 0, nmi_conv_gradient_floats(path, &shape) * 4);
    nmi_conv_pack(path, &shape, w, packed);
    nmi_conv_pack_transposed(path, &shape, w, transposed);
    nmi_conv_forward(path, &shape, in[0], x, packed, &epilogue, y, workspace);
    nmi_conv_backward_input(path, &shape, in[0], dy, transposed, false, dx, workspace);
    nmi_conv_backward_weight(path, &shape, in[0], x, dy, dpacked, db, workspace);
    nmi_conv_unpack_gradient(path, &shape, dpacked, dw);
    assert_image(name, "output", y, out);
    assert_image(name, "gradient0", dx, in);
    assert_fixture(name, "gradient1", dw);
    assert_fixture(name, "gradient2", db);
    free(workspace);
    free(packed);
    free(transposed);
    free(dpacked);
    free(x);
    free(dy);
    free(w);
    free(b);
    free(y);
    free(dx);
    free(dw);
    free(db);
}

START_TEST(convolutions_agree)
{
    check_conv("conv_k3_s1", 3, 1, 1);
    check_conv("conv_k3_s2", 3, 2, 1);
    check_conv("conv_k1_s2", 1, 2, 0);
    check_conv("conv_k5_s1", 5, 1, 2);
}
END_TEST

/* kind: 0 largest, 1 mean, 2 mean of everything. */
static void check_pool(const char *name, int kind, int64_t kernel, int64_t stride, int64_t padding)
{
    int64_t in[4], out[4];
    float *x = image(name, "input0", in), *dy = image(name, "cotangent", out);
    nmi_pool_shape shape = {.channels = in[1],
                            .in_height = in[2],
                            .in_width = in[3],
                            .kernel = kernel,
                            .stride = stride,
                            .padding = padding};
    float *y = floats(in[0] * in[1] * in[2] * in[3]), *dx = floats(in[0] * in[1] * in[2] * in[3]);
    if (kind == 2) {
        nmi_pool_global_forward(in[0], in[2] * in[3], in[1], x, y);
        nmi_pool_global_backward(in[0], in[2] * in[3], in[1], dy, false, dx);
    } else {
        ck_assert(nmi_pool_shape_complete(&shape));
        if (kind == 0) {
            nmi_pool_max_forward(&shape, in[0], x, y);
            nmi_pool_max_backward(&shape, in[0], x, dy, false, dx);
        } else {
            nmi_pool_average_forward(&shape, in[0], x, y);
            nmi_pool_average_backward(&shape, in[0], dy, false, dx);
        }
    }
    assert_image(name, "output", y, out);
    assert_image(name, "gradient0", dx, in);
    free(x);
    free(dy);
    free(y);
    free(dx);
}

START_TEST(poolings_agree)
{
    check_pool("max_pool", 0, 2, 2, 0);
    check_pool("average_pool", 1, 3, 2, 1);
    check_pool("global_pool", 2, 0, 0, 0);
}
END_TEST

static void check_activation(const char *name, int32_t activation)
{
    nmi_tensor_entry entry;
    float *x = fixture(name, "input0", &entry), *dy = fixture(name, "cotangent", NULL);
    float *y = floats(entry.elements), *dx = floats(entry.elements);
    nmi_activation_forward(test_kernels(), activation, entry.elements, x, y);
    nmi_activation_backward(test_kernels(), activation, entry.elements, y, dy, false, dx);
    assert_fixture(name, "output", y);
    assert_fixture(name, "gradient0", dx);
    free(x);
    free(dy);
    free(y);
    free(dx);
}

START_TEST(activations_agree)
{
    check_activation("relu", NMI_ACTIVATION_RELU);
    check_activation("elu", NMI_ACTIVATION_ELU);
}
END_TEST

START_TEST(batch_norm_in_training_agrees)
{
    int64_t dims[4];
    float *x = image("batch_norm", "input0", dims), *dy = image("batch_norm", "cotangent", dims);
    float *gamma = fixture("batch_norm", "input1", NULL);
    float *beta = fixture("batch_norm", "input2", NULL);
    float mean[3], inverse[3], scale[3], shift[3], dgamma[3], dbeta[3];
    float running_mean[3] = {0, 0, 0}, running_var[3] = {1, 1, 1};
    double sum[3] = {0, 0, 0}, square[3] = {0, 0, 0}, gamma_sum[3] = {0}, beta_sum[3] = {0};
    int64_t rows = dims[0] * dims[2] * dims[3];
    float *y = floats(rows * 3), *dx = floats(rows * 3);
    nmi_norm_sums(rows, 3, x, sum, square);
    nmi_norm_finish(3, rows, sum, square, gamma, beta, 1e-5f, 0.1f, mean, inverse, scale, shift,
                    running_mean, running_var);
    nmi_affine_forward(test_kernels(), rows, 3, scale, shift, NULL, NMI_ACTIVATION_NONE, x, y);
    nmi_norm_backward_sums(rows, 3, x, dy, mean, inverse, gamma_sum, beta_sum);
    nmi_norm_backward_input(rows, 3, rows, x, dy, mean, inverse, gamma, gamma_sum, beta_sum, false,
                            dx);
    for (int c = 0; c < 3; c++) {
        dgamma[c] = (float)gamma_sum[c];
        dbeta[c] = (float)beta_sum[c];
    }
    assert_image("batch_norm", "output", y, dims);
    assert_image("batch_norm", "gradient0", dx, dims);
    assert_fixture("batch_norm", "gradient1", dgamma);
    assert_fixture("batch_norm", "gradient2", dbeta);
    assert_fixture("batch_norm", "running_mean", running_mean);
    assert_fixture("batch_norm", "running_var", running_var);
    free(x);
    free(dy);
    free(gamma);
    free(beta);
    free(y);
    free(dx);
}
END_TEST

START_TEST(losses_agree)
{
    enum { ITEMS = 6, CLASSES = 5 };
    float *logits = fixture("loss", "logits", NULL), *teacher = fixture("loss", "teacher", NULL);
    float *numbers = fixture("loss", "labels", NULL);
    int64_t labels[ITEMS];
    double each[ITEMS], mean = 0;
    float gradient[ITEMS * CLASSES], loss;
    for (int i = 0; i < ITEMS; i++)
        labels[i] = (int64_t)numbers[i];
    nmi_cross_entropy(ITEMS, CLASSES, logits, labels, 0.1f, 1.0f / ITEMS, false, each, gradient);
    for (int i = 0; i < ITEMS; i++)
        mean += each[i] / ITEMS;
    loss = (float)mean;
    assert_fixture("loss", "cross_entropy", &loss);
    assert_fixture("loss", "cross_entropy_gradient", gradient);
    nmi_distillation(ITEMS, CLASSES, logits, teacher, 2.0f, 1.0f / ITEMS, false, each, gradient);
    mean = 0;
    for (int i = 0; i < ITEMS; i++)
        mean += each[i] / ITEMS;
    loss = (float)mean;
    assert_fixture("loss", "distillation", &loss);
    assert_fixture("loss", "distillation_gradient", gradient);
    free(logits);
    free(teacher);
    free(numbers);
}
END_TEST

START_TEST(optimizers_agree_step_by_step)
{
    enum { COUNT = 7, STEPS = 4 };
    float *start = fixture("optimizer", "start", NULL);
    float *gradients = fixture("optimizer", "gradients", NULL);
    float w[COUNT], m[COUNT] = {0}, v[COUNT] = {0}, path[STEPS * COUNT];
    memcpy(w, start, sizeof w);
    for (int s = 0; s < STEPS; s++) {
        nmi_sgd sgd = {
            .rate = 0.1f, .momentum = 0.9f, .decay = 0.01f, .nesterov = true, .first = s == 0};
        nmi_sgd_step(&sgd, COUNT, gradients + s * COUNT, m, w);
        memcpy(path + s * COUNT, w, sizeof w);
    }
    assert_fixture("optimizer", "sgd", path);
    memcpy(w, start, sizeof w);
    memset(m, 0, sizeof m);
    for (int s = 0; s < STEPS; s++) {
        nmi_adamw adamw = {.rate = 0.01f,
                           .beta1 = 0.9f,
                           .beta2 = 0.999f,
                           .epsilon = 1e-8f,
                           .decay = 0.1f,
                           .step = s + 1};
        nmi_adamw_step(&adamw, COUNT, gradients + s * COUNT, m, v, w);
        memcpy(path + s * COUNT, w, sizeof w);
    }
    assert_fixture("optimizer", "adamw", path);
    free(start);
    free(gradients);
}
END_TEST

/* The names of the INR's parts in the flat parameters' order. */
static const char *const inr_parts[] = {"0.weight", "0.bias", "1.weight", "1.bias",     "1.scalar",
                                        "2.weight", "2.bias", "2.scalar", "out.weight", "out.bias"};
enum { INR_PARTS = sizeof inr_parts / sizeof *inr_parts };

/* All parts of one kind ("inr" or "inr.relu.weight.gradient") in one vector, to be freed. */
static float *inr_vector(const char *prefix, int64_t *count)
{
    float *all = NULL;
    *count = 0;
    for (int p = 0; p < INR_PARTS; p++) {
        nmi_tensor_entry entry;
        float *part = fixture(prefix, inr_parts[p], &entry);
        all = realloc(all, (size_t)(*count + entry.elements) * sizeof *all);
        ck_assert_ptr_nonnull(all);
        memcpy(all + *count, part, (size_t)entry.bytes);
        *count += entry.elements;
        free(part);
    }
    return all;
}

/* Convolutions a (4 to 4 channels), b (4 to 5) and c (5 to 4), of which only b has a bias: so of 4
 * tensors b.weight is number 1 and b.bias number 2, as in the fixture. */
static nmi_topology *inr_topology(void)
{
    nmi_topology *topology = NULL;
    int32_t four = 0, five = 0, node = 0;
    nmi_options *options = NULL;
    assert_ok(context, nmi_topology_create(context, &topology));
    assert_ok(context, nmi_topology_add_axis(topology, "four", NEUMETA_AXIS_WIDTH, 4, 4, 1, &four));
    assert_ok(context, nmi_topology_add_axis(topology, "five", NEUMETA_AXIS_WIDTH, 5, 5, 1, &five));
    assert_ok(context, nmi_topology_begin_block(topology, "all"));
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_parse(options, "input-channels", "4"));
    assert_ok(context, nmi_options_parse(options, "input-height", "8"));
    assert_ok(context, nmi_options_parse(options, "input-width", "8"));
    assert_ok(context, nmi_topology_add_node(topology, "input", NEUMETA_OP_INPUT, NULL, 0, -1,
                                             options, &node));
    nmi_options_release(options);
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_parse(options, "bias", "no"));
    assert_ok(context, nmi_topology_add_node(topology, "a", NEUMETA_OP_CONV, &node, 1, four,
                                             options, &node));
    assert_ok(context,
              nmi_topology_add_node(topology, "b", NEUMETA_OP_CONV, &node, 1, five, NULL, &node));
    assert_ok(context, nmi_topology_add_node(topology, "c", NEUMETA_OP_CONV, &node, 1, four,
                                             options, &node));
    nmi_options_release(options);
    assert_ok(context, nmi_topology_seal(topology, node));
    return topology;
}

static void check_inr(const char *activation)
{
    static const char *const names[] = {"weight", "bias"};
    nmi_topology *topology = inr_topology();
    nmi_manifold *manifold = NULL;
    nmi_network *network = NULL;
    nmi_options *options = NULL;
    int64_t count = 0, sizes[2];
    float *parameters = inr_vector("inr", &count);
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_parse(options, "inr-hidden", "12"));
    assert_ok(context, nmi_options_parse(options, "inr-layers", "3"));
    assert_ok(context, nmi_options_parse(options, "inr-octaves", "4"));
    assert_ok(context, nmi_options_parse(options, "inr-function", activation));
    assert_ok(context, nmi_options_parse(options, "coordinate-scale", "8"));
    assert_ok(context, nmi_manifold_create(context, topology, options, &manifold));
    nmi_graph_full_sizes(topology, sizes);
    assert_ok(context, nmi_network_create(context, topology, sizes, &network));
    for (int32_t t = 1; t <= 2; t++) {
        char prefix[32], gradients[64];
        int64_t gradient_count = 0;
        bool fields[4] = {t == 0, t == 1, t == 2, t == 3};
        float *weight_gradients[4] = {NULL}, *parameter_gradients[4] = {NULL};
        snprintf(prefix, sizeof prefix, "inr.%s.%s", activation, names[t - 1]);
        snprintf(gradients, sizeof gradients, "%s.gradient", prefix);
        ck_assert_int_eq(manifold->fields[t].parameter_count, count);
        memcpy(manifold->fields[t].parameters, parameters, (size_t)count * sizeof(float));
        assert_ok(context, nmi_manifold_emit(manifold, network, fields, NULL, NMI_FP32));
        assert_fixture(prefix, "output", network->tensors[t].data);
        weight_gradients[t] = fixture(prefix, "cotangent", NULL);
        parameter_gradients[t] = floats(count);
        assert_ok(context, nmi_manifold_backward(manifold, network, fields, NULL, NMI_FP32,
                                                 weight_gradients, parameter_gradients));
        float *expected = inr_vector(gradients, &gradient_count);
        assert_near(parameter_gradients[t], expected, gradient_count, tolerance, tolerance);
        free(expected);
        free(weight_gradients[t]);
        free(parameter_gradients[t]);
    }
    nmi_network_release(network);
    nmi_manifold_release(manifold);
    nmi_options_release(options);
    nmi_topology_release(topology);
    free(parameters);
}

START_TEST(an_inr_emits_and_learns_alike)
{
    check_inr("relu");
    check_inr("elu");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fixtures");
    TCase *cases = tcase_create("fixtures");
    tcase_add_checked_fixture(cases, open_fixtures, close_fixtures);
    tcase_add_test(cases, convolutions_agree);
    tcase_add_test(cases, poolings_agree);
    tcase_add_test(cases, activations_agree);
    tcase_add_test(cases, batch_norm_in_training_agrees);
    tcase_add_test(cases, losses_agree);
    tcase_add_test(cases, optimizers_agree_step_by_step);
    tcase_add_test(cases, an_inr_emits_and_learns_alike);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
