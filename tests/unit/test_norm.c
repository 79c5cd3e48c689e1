/* SPDX-License-Identifier: MIT */
/* The passes that replace batch norm: hand-worked values, equal outputs, names, depth, refusals. */
#include "nmi_networks.h"
#include "nmi_norm.h"

#include <stdio.h>

static nmi_context *context;

static void set_up(void)
{
    context = test_context();
}

static void tear_down(void)
{
    nmi_context_release(context);
}

static const int32_t all_methods[] = {NEUMETA_NORM_FOLD, NEUMETA_NORM_SKIP_INIT,
                                      NEUMETA_NORM_SQRT_HALF, NEUMETA_NORM_AFFINE};

static int32_t count_op(const nmi_network *network, int32_t op)
{
    int32_t count = 0;
    for (int32_t node = 0; node < network->topology->node_count; node++)
        count += network->topology->nodes[node].op == op;
    return count;
}

static nmi_network *residual(const char *name, int32_t shortcut, uint64_t seed)
{
    return test_builtin(context, name,
                        test_options(context, NEUMETA_KEY_SHORTCUT, shortcut, NEUMETA_KEY_CHANNELS,
                                     8, NEUMETA_KEY_INPUT_HEIGHT, 16),
                        seed);
}

/* input -> conv 1 x 1 with bias -> norm, one channel in, two out. */
static nmi_network *conv_and_norm(void)
{
    nmi_topology *topology = test_topology(context);
    int32_t axis = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 2, 2);
    int32_t input = test_input(topology, 1, 1);
    int32_t conv = test_node(topology, "conv", NEUMETA_OP_CONV, &input, 1, axis,
                             test_options(context, NEUMETA_KEY_KERNEL, 1, 0, 0, 0, 0));
    int32_t norm = test_node(topology, "bn", NEUMETA_OP_NORM, &conv, 1, -1,
                             test_options(context, NEUMETA_KEY_EPSILON, 0, 0, 0, 0, 0));
    nmi_network *network = test_sealed(topology, norm, 1);
    const struct {
        const char *name;
        float values[2];
    } tensors[] = {{"conv.weight", {3, -2}},     {"conv.bias", {1, 0.5f}},
                   {"bn.weight", {2, 3}},        {"bn.bias", {10, -1}},
                   {"bn.running_mean", {5, -4}}, {"bn.running_var", {4, 9}}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        memcpy(nmi_network_find(network, tensors[i].name)->data, tensors[i].values,
               sizeof tensors[i].values);
    nmi_network_touch(network);
    return network;
}

START_TEST(a_fold_worked_by_hand)
{
    nmi_network *network = conv_and_norm();
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_FOLD, NULL));
    /* g = 2/2 and 3/3: W' = 3, -2; b' = 10 + (1 - 5), -1 + (0.5 + 4) */
    const float weight[] = {3, -2};
    const float bias[] = {6, 3.5f};
    ck_assert_int_eq(network->topology->tensor_count, 2);
    assert_near(nmi_network_find(network, "conv.weight")->data, weight, 2, 1e-6, 0);
    assert_near(nmi_network_find(network, "conv.bias")->data, bias, 2, 1e-6, 0);
    nmi_network_release(network);
}
END_TEST

START_TEST(an_affine_map_worked_by_hand)
{
    nmi_network *network = conv_and_norm();
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_AFFINE, NULL));
    /* g = 1, 1; shift = 10 - 5, -1 + 4 */
    const float scale[] = {1, 1};
    const float shift[] = {5, 3};
    const float weight[] = {3, -2};
    ck_assert_int_eq(count_op(network, NEUMETA_OP_NORM), 0);
    assert_near(nmi_network_find(network, "bn.weight")->data, scale, 2, 1e-6, 0);
    assert_near(nmi_network_find(network, "bn.bias")->data, shift, 2, 1e-6, 0);
    assert_near(nmi_network_find(network, "conv.weight")->data, weight, 2, 0, 0);
    nmi_network_release(network);
}
END_TEST

/* What the statistics did is in the convolution now, and groups are of two channels. */
START_TEST(a_group_norm_worked_by_hand)
{
    nmi_network *network = conv_and_norm();
    nmi_options *options = test_options(context, NEUMETA_KEY_GROUP_CHANNELS, 2, 0, 0, 0, 0);
    const float input = 3;
    float outputs[2];
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_GROUP, options));
    ck_assert_int_eq(count_op(network, NEUMETA_OP_NORM), 0);
    ck_assert_int_eq(count_op(network, NEUMETA_OP_GROUP_NORM), 1);
    /* W' = 3/2, -2/3; b' = (1 - 5)/2, (0.5 + 4)/3 */
    const float weight[] = {1.5f, -2.0f / 3}, bias[] = {-2, 1.5f};
    const float gamma[] = {2, 3}, beta[] = {10, -1};
    assert_near(nmi_network_find(network, "conv.weight")->data, weight, 2, 1e-6, 0);
    assert_near(nmi_network_find(network, "conv.bias")->data, bias, 2, 1e-6, 0);
    assert_near(nmi_network_find(network, "bn.weight")->data, gamma, 2, 0, 0);
    assert_near(nmi_network_find(network, "bn.bias")->data, beta, 2, 0, 0);
    /* 2.5 and -0.5 have mean 1 and deviation 1.5: 2 + 10 and -3 - 1 */
    const float expected[] = {12, -4};
    assert_ok(context, nmi_network_run(network, &input, 1, outputs));
    assert_near(outputs, expected, 2, 1e-6, 0);
    nmi_options_release(options);
    nmi_network_release(network);
}
END_TEST

START_TEST(group_norms_have_the_names_of_the_norms)
{
    nmi_network *network = residual("resnet20-cifar", _i, 6);
    const int32_t norms = count_op(network, NEUMETA_OP_NORM);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_GROUP, NULL));
    ck_assert_int_eq(count_op(network, NEUMETA_OP_GROUP_NORM), norms);
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer1.0.bn1.weight"));
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer1.0.bn1.bias"));
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer1.0.conv1.bias"));
    ck_assert_ptr_null(nmi_network_find(network, "layer1.0.bn1.running_mean"));
    for (int32_t n = 0; n < network->topology->node_count; n++)
        if (network->topology->nodes[n].op == NEUMETA_OP_GROUP_NORM)
            ck_assert_int_eq(network->topology->nodes[n].group, 16);
    nmi_network_release(network);
}
END_TEST

/* Rounding alone: each folded weight is off by half a unit in the last place, 6e-8. */
START_TEST(every_method_keeps_the_outputs_of_residual_networks)
{
    for (int32_t shortcut = 0; shortcut < 2; shortcut++) {
        nmi_network *network = residual("resnet20-cifar", shortcut, 5);
        float *expected = test_outputs(network);
        assert_ok(context, nmi_norm_replace(network, all_methods[_i], NULL));
        ck_assert_int_eq(count_op(network, NEUMETA_OP_NORM), 0);
        test_same_outputs(network, expected, 1e-5);
        nmi_network_release(network);
    }
}
END_TEST

START_TEST(fold_and_affine_keep_the_outputs_of_lenet)
{
    const int32_t methods[] = {NEUMETA_NORM_FOLD, NEUMETA_NORM_AFFINE};
    for (int32_t i = 0; i < 2; i++) {
        nmi_network *network = test_builtin(
            context, "lenet", test_options(context, NEUMETA_KEY_NORM, 1, 0, 0, 0, 0), 3);
        float *expected = test_outputs(network);
        ck_assert_int_gt(count_op(network, NEUMETA_OP_NORM), 0);
        assert_ok(context, nmi_norm_replace(network, methods[i], NULL));
        test_same_outputs(network, expected, 1e-5);
        nmi_network_release(network);
    }
}
END_TEST

START_TEST(a_learned_skip_starts_at_the_same_outputs)
{
    nmi_network *network = residual("resnet20-cifar", _i, 6);
    nmi_options *options = test_options(context, NEUMETA_KEY_RESIDUAL_LEARNED, 1, 0, 0, 0, 0);
    float *expected = test_outputs(network);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_SQRT_HALF, options));
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer2.0.skip.scale"));
    ck_assert_int_eq(count_op(network, NEUMETA_OP_SCALE), 9);
    test_same_outputs(network, expected, 1e-5);
    nmi_options_release(options);
    nmi_network_release(network);
}
END_TEST

START_TEST(names_blocks_and_axes_stay)
{
    nmi_network *network = residual("resnet20-cifar", 1, 7);
    nmi_topology *before = network->topology;
    nmi_topology_retain(before);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_SKIP_INIT, NULL));
    const nmi_topology *after = network->topology;
    ck_assert_int_eq(after->axis_count, before->axis_count);
    ck_assert_int_eq(after->block_count, before->block_count);
    for (int32_t axis = 0; axis < after->axis_count; axis++)
        ck_assert_str_eq(after->axes[axis].name, before->axes[axis].name);
    for (int32_t block = 0; block < after->block_count; block++)
        ck_assert_str_eq(after->blocks[block], before->blocks[block]);
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer1.0.conv1.weight"));
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer1.0.conv1.bias"));
    ck_assert_ptr_nonnull(nmi_network_find(network, "layer3.0.shortcut.0.bias"));
    ck_assert_ptr_null(nmi_network_find(network, "layer1.0.bn1.weight"));
    ck_assert_int_eq(count_op(network, NEUMETA_OP_SCALE), 9);
    for (int32_t stage = 1; stage <= 3; stage++)
        for (int32_t block = 0; block < 3; block++) {
            char name[64];
            snprintf(name, sizeof name, "layer%d.%d.residual.scale", (int)stage, (int)block);
            const nmi_tensor *scale = nmi_network_find(network, name);
            ck_assert_msg(scale != NULL, "no tensor '%s'", name);
            ck_assert_float_eq(scale->data[0], 1.0f);
        }
    nmi_topology_release(before);
    nmi_network_release(network);
}
END_TEST

/* Of the branch, not of the shortcut: with it, every block but the stages' first is the identity.
 */
START_TEST(the_residual_scale_silences_the_branches)
{
    nmi_network *network = residual("resnet20-cifar", 0, 8);
    nmi_options *options = test_options(context, NEUMETA_KEY_RESIDUAL_SCALE, 0, 0, 0, 0, 0);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_SKIP_INIT, options));
    float *expected = test_outputs(network);
    nmi_tensor *weight = nmi_network_find(network, "layer2.1.conv2.weight");
    nmi_tensor *bias = nmi_network_find(network, "layer2.1.conv2.bias");
    memset(weight->data, 0, (size_t)weight->count * sizeof(float));
    memset(bias->data, 0, (size_t)bias->count * sizeof(float));
    nmi_network_touch(network);
    test_same_outputs(network, expected, 0);
    nmi_options_release(options);
    nmi_network_release(network);
}
END_TEST

static void set_sizes(const nmi_topology *topology, int64_t *sizes, int64_t depth, int64_t width)
{
    for (int32_t axis = 0; axis < topology->axis_count; axis++) {
        const nmi_axis *a = &topology->axes[axis];
        sizes[axis] = a->kind == NEUMETA_AXIS_DEPTH       ? depth
                      : strstr(a->name, ".inner") != NULL ? width
                                                          : a->max;
    }
}

START_TEST(reduced_networks_are_treated_too)
{
    for (int64_t depth = 1; depth <= 3; depth++) {
        nmi_network *full = residual("resnet20-cifar", _i % 2, 9);
        nmi_topology *topology = full->topology;
        int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
        set_sizes(topology, sizes, depth, 5);
        nmi_topology_retain(topology);
        nmi_network *network = test_network(topology, sizes, 10);
        float *expected = test_outputs(network);
        assert_ok(context, nmi_norm_replace(network, all_methods[_i / 2], NULL));
        for (int32_t axis = 0; axis < topology->axis_count; axis++)
            ck_assert_int_eq(network->sizes[axis], sizes[axis]);
        test_same_outputs(network, expected, 1e-5);
        free(sizes);
        nmi_network_release(network);
        nmi_network_release(full);
    }
}
END_TEST

/* The network of `network`'s weights at a smaller depth. */
static nmi_network *at_depth(const nmi_network *network, int64_t depth)
{
    nmi_topology *topology = network->topology;
    int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
    nmi_network *result = NULL;
    set_sizes(topology, sizes, depth, 8);
    for (int32_t axis = 0; axis < topology->axis_count; axis++)
        if (topology->axes[axis].kind == NEUMETA_AXIS_WIDTH)
            sizes[axis] = network->sizes[axis];
    assert_ok(context, nmi_network_create(context, topology, sizes, &result));
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (result->tensors[t].data != NULL)
            memcpy(result->tensors[t].data, network->tensors[t].data,
                   (size_t)result->tensors[t].count * sizeof(float));
    nmi_network_touch(result);
    free(sizes);
    return result;
}

/* The rewritten weights compute at each depth what the old ones compute there: with sqrt-half the
 * number of halved sums on the way to the classifier differs. */
START_TEST(the_function_stays_at_every_depth)
{
    nmi_network *network = residual("resnet32-cifar", 0, 11);
    float *expected[6];
    for (int64_t depth = 1; depth <= 5; depth++) {
        nmi_network *smaller = at_depth(network, depth);
        expected[depth] = test_outputs(smaller);
        nmi_network_release(smaller);
    }
    assert_ok(context, nmi_norm_replace(network, all_methods[_i], NULL));
    for (int64_t depth = 1; depth <= 5; depth++) {
        nmi_network *smaller = at_depth(network, depth);
        test_same_outputs(smaller, expected[depth], 1e-5);
        nmi_network_release(smaller);
    }
    nmi_network_release(network);
}
END_TEST

/* A stream of different lengths meets itself in a concatenation: gains level the factors. */
START_TEST(factors_of_different_ways_are_levelled)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t classes = test_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 3, 3);
    int32_t input = test_input(topology, 2, 6);
    int32_t stem = test_conv(topology, "stem", input, width);
    int32_t norm = test_unary(topology, "stem_norm", NEUMETA_OP_NORM, stem);
    int32_t conv = test_conv(topology, "conv", norm, width);
    int32_t sum = test_join(topology, "sum", NEUMETA_OP_ADD, conv, norm);
    int32_t both = test_join(topology, "both", NEUMETA_OP_CONCAT, sum, norm);
    int32_t elu = test_node(topology, "elu", NEUMETA_OP_ACTIVATION, &norm, 1, -1,
                            test_options(context, NEUMETA_KEY_FUNCTION, 1, 0, 0, 0, 0));
    int32_t all = test_join(topology, "all", NEUMETA_OP_CONCAT, both, elu);
    int32_t pool = test_unary(topology, "pool", NEUMETA_OP_POOL_GLOBAL, all);
    nmi_network *network = test_sealed(topology, test_linear(topology, "fc", pool, classes), 12);
    float *expected = test_outputs(network);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_SQRT_HALF, NULL));
    /* one half, one level for the stem, one for the elu (which comes before any sum) */
    ck_assert_int_eq(count_op(network, NEUMETA_OP_GAIN), 3);
    test_same_outputs(network, expected, 1e-5);
    nmi_network_release(network);
}
END_TEST

/* --- refusals --- */

static void assert_refused(nmi_network *network, int32_t method, const nmi_options *options,
                           neumeta_status status, const char *text)
{
    nmi_topology *topology = network->topology;
    float *expected = test_outputs(network);
    assert_status(context, nmi_norm_replace(network, method, options), status);
    assert_message_contains(context, text);
    ck_assert_ptr_eq(network->topology, topology);
    test_same_outputs(network, expected, 0);
    nmi_network_release(network);
}

START_TEST(a_norm_behind_no_convolution_is_refused)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t conv = test_conv(topology, "conv", test_input(topology, 2, 4), width);
    int32_t relu = test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, conv);
    int32_t norm = test_unary(topology, "bn", NEUMETA_OP_NORM, relu);
    nmi_network *network = test_sealed(topology, norm, 1);
    assert_refused(network, NEUMETA_NORM_FOLD, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "fold: norm 'bn' stands behind 'relu'");
}
END_TEST

START_TEST(group_norm_needs_a_convolution_too)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t conv = test_conv(topology, "conv", test_input(topology, 2, 4), width);
    int32_t relu = test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, conv);
    int32_t norm = test_unary(topology, "bn", NEUMETA_OP_NORM, relu);
    assert_refused(test_sealed(topology, norm, 1), NEUMETA_NORM_GROUP, NULL,
                   NEUMETA_ERR_UNSUPPORTED, "group: norm 'bn' stands behind 'relu'");
}
END_TEST

START_TEST(a_convolution_with_other_consumers_is_refused)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t conv = test_conv(topology, "conv", test_input(topology, 2, 4), width);
    int32_t norm = test_unary(topology, "bn", NEUMETA_OP_NORM, conv);
    int32_t sum = test_join(topology, "sum", NEUMETA_OP_ADD, conv, norm);
    nmi_network *network = test_sealed(topology, sum, 1);
    assert_refused(network, NEUMETA_NORM_FOLD, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "fold: norm 'bn' cannot move into 'conv'");
}
END_TEST

START_TEST(networks_without_residual_sums_are_refused)
{
    const int32_t methods[] = {NEUMETA_NORM_SKIP_INIT, NEUMETA_NORM_SQRT_HALF};
    const char *const texts[] = {"skip-init: the topology has no residual sum",
                                 "sqrt-half: the topology has no residual sum"};
    assert_refused(test_builtin(context, "lenet", NULL, 3), methods[_i], NULL,
                   NEUMETA_ERR_UNSUPPORTED, texts[_i]);
}
END_TEST

/* sum(conv1(x), conv2(x)) -> fc: both inputs are one convolution away from x. */
START_TEST(a_sum_without_a_shortcut_is_refused)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t input = test_input(topology, 2, 4);
    int32_t first = test_conv(topology, "conv1", input, width);
    int32_t second = test_conv(topology, "conv2", input, width);
    int32_t sum = test_join(topology, "sum", NEUMETA_OP_ADD, first, second);
    int32_t pool = test_unary(topology, "pool", NEUMETA_OP_POOL_GLOBAL, sum);
    nmi_network *network = test_sealed(topology, test_linear(topology, "fc", pool, width), 1);
    assert_refused(network, NEUMETA_NORM_SKIP_INIT, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "the inputs of the sum 'sum' both pass 1 convolutions");
}
END_TEST

START_TEST(a_sum_of_three_is_refused)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t stem = test_conv(topology, "stem", test_input(topology, 2, 4), width);
    int32_t inputs[3] = {stem, test_conv(topology, "conv1", stem, width),
                         test_conv(topology, "conv2", stem, width)};
    int32_t sum = test_node(topology, "sum", NEUMETA_OP_ADD, inputs, 3, -1, NULL);
    nmi_network *network = test_sealed(topology, sum, 1);
    assert_refused(network, NEUMETA_NORM_SKIP_INIT, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "the sum 'sum' has 3 inputs");
}
END_TEST

/* x + conv(x) through an activation to the classifier, or to the output itself. */
static nmi_network *one_sum(int32_t function, bool classifier)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t stem = test_conv(topology, "stem", test_input(topology, 2, 4), width);
    int32_t conv = test_conv(topology, "conv", stem, width);
    int32_t sum = test_join(topology, "sum", NEUMETA_OP_ADD, stem, conv);
    int32_t node = test_node(topology, "act", NEUMETA_OP_ACTIVATION, &sum, 1, -1,
                             test_options(context, NEUMETA_KEY_FUNCTION, function, 0, 0, 0, 0));
    if (classifier) {
        node = test_unary(topology, "pool", NEUMETA_OP_POOL_GLOBAL, node);
        node = test_linear(topology, "fc", node, width);
    }
    return test_sealed(topology, node, 2);
}

START_TEST(sqrt_half_refuses_what_scales_nothing)
{
    assert_refused(one_sum(1, true), NEUMETA_NORM_SQRT_HALF, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "sqrt-half: 'act' comes after a residual sum and is no relu");
    assert_refused(one_sum(0, false), NEUMETA_NORM_SQRT_HALF, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "sqrt-half: no convolution or linear node alone makes the output 'act'");
}
END_TEST

START_TEST(sqrt_half_refuses_group_norm_behind_a_sum)
{
    nmi_network *network = residual("resnet20-cifar", 0, 4);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_GROUP, NULL));
    assert_refused(network, NEUMETA_NORM_SQRT_HALF, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "sqrt-half: 'layer1.1.bn1' comes after a residual sum and is a group norm");
}
END_TEST

START_TEST(a_second_residual_scalar_is_refused)
{
    nmi_network *network = one_sum(0, true);
    assert_ok(context, nmi_norm_replace(network, NEUMETA_NORM_SKIP_INIT, NULL));
    assert_refused(network, NEUMETA_NORM_SKIP_INIT, NULL, NEUMETA_ERR_UNSUPPORTED,
                   "has a residual scalar already, 'sum.residual'");
}
END_TEST

START_TEST(settings_of_other_methods_are_refused)
{
    nmi_options *scale = test_options(context, NEUMETA_KEY_RESIDUAL_SCALE, 1, 0, 0, 0, 0);
    nmi_options *learned = test_options(context, NEUMETA_KEY_RESIDUAL_LEARNED, 1, 0, 0, 0, 0);
    assert_refused(one_sum(0, true), NEUMETA_NORM_FOLD, scale, NEUMETA_ERR_ARGUMENT,
                   "RESIDUAL_SCALE");
    assert_refused(one_sum(0, true), NEUMETA_NORM_SQRT_HALF, scale, NEUMETA_ERR_ARGUMENT,
                   "RESIDUAL_SCALE");
    assert_refused(one_sum(0, true), NEUMETA_NORM_SKIP_INIT, learned, NEUMETA_ERR_ARGUMENT,
                   "RESIDUAL_LEARNED");
    assert_refused(one_sum(0, true), 0, NULL, NEUMETA_ERR_ARGUMENT, "method is 0");
    assert_refused(one_sum(0, true), 6, NULL, NEUMETA_ERR_ARGUMENT, "method is 6");
    assert_refused(one_sum(0, true), NEUMETA_NORM_GROUP, scale, NEUMETA_ERR_ARGUMENT,
                   "RESIDUAL_SCALE");
    nmi_options_release(scale);
    nmi_options_release(learned);
}
END_TEST

START_TEST(a_variance_that_is_not_positive_is_refused)
{
    const float bad[] = {-1.0f, 0.0f, NAN, INFINITY};
    const int32_t methods[] = {NEUMETA_NORM_FOLD, NEUMETA_NORM_AFFINE, NEUMETA_NORM_GROUP};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nmi_network *network = conv_and_norm();
        nmi_topology *topology = network->topology;
        nmi_network_find(network, "bn.running_var")->data[1] = bad[i];
        nmi_network_touch(network);
        assert_status(context, nmi_norm_replace(network, methods[_i], NULL), NEUMETA_ERR_NUMERIC);
        assert_message_contains(context, "norm 'bn': variance + EPSILON of channel 1");
        ck_assert_ptr_eq(network->topology, topology);
        nmi_network_release(network);
    }
}
END_TEST

START_TEST(shared_weights_are_refused)
{
    nmi_network *network = one_sum(0, true);
    nmi_network *copy = NULL;
    assert_ok(context, nmi_network_share(network, context, &copy));
    assert_refused(network, NEUMETA_NORM_FOLD, NULL, NEUMETA_ERR_STATE, "shared");
    assert_ok(context, nmi_norm_replace(copy, NEUMETA_NORM_FOLD, NULL)); /* the only one by now */
    nmi_network_release(copy);
}
END_TEST

/* --- memory --- */

static neumeta_status replace_on(test_allocator *allocator, void *method)
{
    neumeta_context *mine = NULL;
    nmi_topology *topology = NULL;
    nmi_network *network = NULL;
    int64_t sizes[64];
    neumeta_status status = test_context_create(allocator, &mine);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_topology_create_builtin(mine, "resnet20-cifar", NULL, &topology);
    if (status == NEUMETA_OK) {
        ck_assert_int_le(topology->axis_count, 64);
        set_sizes(topology, sizes, 1, 1);
        status = nmi_network_create(mine, topology, sizes, &network);
    }
    if (status == NEUMETA_OK)
        status = nmi_norm_replace(network, *(int32_t *)method, NULL);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(mine);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    int32_t method = all_methods[_i];
    test_every_allocation(replace_on, &method);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("norm");
    TCase *passes = tcase_create("passes");
    TCase *refusals = tcase_create("refusals");
    tcase_add_checked_fixture(passes, set_up, tear_down);
    tcase_add_checked_fixture(refusals, set_up, tear_down);
    tcase_add_test(passes, a_fold_worked_by_hand);
    tcase_add_test(passes, an_affine_map_worked_by_hand);
    tcase_add_test(passes, a_group_norm_worked_by_hand);
    tcase_add_loop_test(passes, group_norms_have_the_names_of_the_norms, 0, 2);
    tcase_add_loop_test(passes, every_method_keeps_the_outputs_of_residual_networks, 0, 4);
    tcase_add_test(passes, fold_and_affine_keep_the_outputs_of_lenet);
    tcase_add_loop_test(passes, a_learned_skip_starts_at_the_same_outputs, 0, 2);
    tcase_add_test(passes, names_blocks_and_axes_stay);
    tcase_add_test(passes, the_residual_scale_silences_the_branches);
    tcase_add_loop_test(passes, reduced_networks_are_treated_too, 0, 8);
    tcase_add_loop_test(passes, the_function_stays_at_every_depth, 0, 4);
    tcase_add_test(passes, factors_of_different_ways_are_levelled);
    tcase_add_loop_test(passes, every_allocation_may_fail, 0, 4);
    tcase_add_test(refusals, a_norm_behind_no_convolution_is_refused);
    tcase_add_test(refusals, group_norm_needs_a_convolution_too);
    tcase_add_test(refusals, a_convolution_with_other_consumers_is_refused);
    tcase_add_loop_test(refusals, networks_without_residual_sums_are_refused, 0, 2);
    tcase_add_test(refusals, a_sum_without_a_shortcut_is_refused);
    tcase_add_test(refusals, a_sum_of_three_is_refused);
    tcase_add_test(refusals, sqrt_half_refuses_what_scales_nothing);
    tcase_add_test(refusals, sqrt_half_refuses_group_norm_behind_a_sum);
    tcase_add_test(refusals, a_second_residual_scalar_is_refused);
    tcase_add_test(refusals, settings_of_other_methods_are_refused);
    tcase_add_loop_test(refusals, a_variance_that_is_not_positive_is_refused, 0, 3);
    tcase_add_test(refusals, shared_weights_are_refused);
    suite_add_tcase(suite, passes);
    suite_add_tcase(suite, refusals);
    return test_main(suite);
}
