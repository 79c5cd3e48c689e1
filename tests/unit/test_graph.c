/* SPDX-License-Identifier: MIT */
/* The graph unit from inside: built-in networks, repeats, shapes, dependence on axes, and the
 * low-level calls that rebuild topologies from files. */
#include "nmi_conv.h"
#include "nmi_networks.h"
#include "nmi_pool.h"
#include "nmi_random.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static nmi_topology *builtin(neumeta_context *context, const char *name, const nmi_options *options)
{
    nmi_topology *topology = NULL;
    assert_ok(context, nmi_topology_create_builtin(context, name, options, &topology));
    return topology;
}

static int64_t *full_sizes(const nmi_topology *topology)
{
    int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
    nmi_graph_full_sizes(topology, sizes);
    return sizes;
}

static int32_t axis_named(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->axis_count; i++)
        if (strcmp(topology->axes[i].name, name) == 0)
            return i;
    ck_abort_msg("no axis '%s'", name);
    return -1;
}

static int32_t node_named(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->node_count; i++)
        if (strcmp(topology->nodes[i].name, name) == 0)
            return i;
    ck_abort_msg("no node '%s'", name);
    return -1;
}

static void assert_cost(const nmi_topology *topology, const int64_t *sizes, int64_t parameters,
                        int64_t multiply_adds)
{
    int64_t p = 0;
    int64_t f = 0;
    assert_ok(topology->object.context, nmi_graph_cost(topology, sizes, &p, &f));
    ck_assert_int_eq(p, parameters);
    ck_assert_int_eq(f, 2 * multiply_adds);
}

START_TEST(resnets_have_the_published_sizes)
{
    static const struct {
        const char *name;
        int64_t parameters, multiply_adds;
        int32_t tensors, blocks, axes;
    } rows[] = {
        {"resnet20-cifar", 269722, 40551040, 97, 11, 16},
        {"resnet32-cifar", 464154, 68862592, 157, 17, 22},
        {"resnet44-cifar", 658586, 97174144, 217, 23, 28},
        {"resnet56-cifar", 853018, 125485696, 277, 29, 34},
        {"resnet110-cifar", 1727962, 252887680, 547, 56, 61},
    };
    neumeta_context *context = test_context();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nmi_topology *topology = builtin(context, rows[i].name, NULL);
        int64_t *sizes = full_sizes(topology);
        assert_cost(topology, sizes, rows[i].parameters, rows[i].multiply_adds);
        ck_assert_int_eq(topology->tensor_count, rows[i].tensors);
        ck_assert_int_eq(topology->block_count, rows[i].blocks);
        ck_assert_int_eq(topology->axis_count, rows[i].axes);
        ck_assert_str_eq(topology->blocks[0], "stem");
        ck_assert_str_eq(topology->blocks[1], "layer1.0");
        ck_assert_str_eq(topology->blocks[2], "layer1.1");
        ck_assert_str_eq(topology->blocks[rows[i].blocks - 1], "classifier");
        free(sizes);
        nmi_topology_release(topology);
    }
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_folded_resnet20_has_the_size_of_the_method_page)
{
    neumeta_context *context = test_context();
    nmi_options *options = NULL;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_NORM, "none"));
    nmi_topology *topology = builtin(context, "resnet20-cifar", options);
    int64_t *sizes = full_sizes(topology);
    /* 269,722 less 2 * 688 scales and shifts, plus 688 biases. */
    assert_cost(topology, sizes, 269722 - 688, 40551040);
    ck_assert_int_ge(nmi_graph_find_tensor(topology, "layer2.1.conv2.bias"), 0);
    ck_assert_int_eq(nmi_graph_find_tensor(topology, "layer2.1.bn2.weight"), -1);
    free(sizes);
    nmi_topology_release(topology);
    nmi_options_release(options);
    neumeta_context_free(context);
}
END_TEST

START_TEST(tensor_names_and_shapes_are_those_of_the_pretrained_files)
{
    static const char *const names[] = {"resnet20", "resnet32", "resnet56"};
    neumeta_context *context = test_context();
    for (size_t i = 0; i < 3; i++) {
        char text[128];
        snprintf(text, sizeof text, "pretrained/%s_cifar10.safetensors", names[i]);
        char *path = test_shared_path(text);
        if (path == NULL)
            break;
        int64_t size;
        char *file = (char *)test_read_file(path, &size);
        ck_assert_ptr_nonnull(file);
        snprintf(text, sizeof text, "%s-cifar", names[i]);
        nmi_topology *topology = builtin(context, text, NULL);
        int64_t *sizes = full_sizes(topology);
        nmi_shape *shapes = calloc((size_t)topology->node_count, sizeof *shapes);
        assert_ok(context, nmi_graph_shapes(topology, sizes, shapes));
        for (int32_t t = 0; t < topology->tensor_count; t++) {
            int64_t dims[4];
            int32_t rank = nmi_graph_tensor_dims(topology, sizes, shapes, t, dims);
            char shape[96] = "";
            for (int32_t d = 0; d < rank; d++)
                snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%" PRId64,
                         d > 0 ? "," : "", dims[d]);
            snprintf(text, sizeof text, "\"%s\":", topology->tensors[t].name);
            char *entry = strstr(file + 8, text);
            ck_assert_msg(entry != NULL, "%s is not in the file", text);
            char *list = strstr(entry, "\"shape\":[");
            ck_assert_msg(list != NULL && strncmp(list + 9, shape, strlen(shape)) == 0 &&
                              list[9 + strlen(shape)] == ']',
                          "%s should be [%s]", text, shape);
        }
        free(shapes);
        free(sizes);
        nmi_topology_release(topology);
        free(file);
        free(path);
    }
    neumeta_context_free(context);
}
END_TEST

START_TEST(lenet_has_eight_tensors_without_norm)
{
    neumeta_context *context = test_context();
    nmi_options *options = NULL;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_NORM, "none"));
    nmi_topology *topology = builtin(context, "lenet", options);
    ck_assert_int_eq(topology->tensor_count, 8);
    ck_assert_int_eq(topology->block_count, 4);
    ck_assert_int_eq(topology->axis_count, 4);
    ck_assert(nmi_graph_axis_is_inner(topology, axis_named(topology, "conv1.width")));
    ck_assert(!nmi_graph_axis_is_inner(topology, axis_named(topology, "classes")));
    int64_t sizes[] = {32, 64, 128, 10};
    assert_cost(topology, sizes,
                (32 * 25 + 32) + (64 * 32 * 25 + 64) + (128 * 64 * 9 + 128) + (10 * 1152 + 10),
                32 * 25 * 784 + 64 * 32 * 25 * 196 + 128 * 64 * 9 * 49 + 11520);
    nmi_graph_sizes_at(topology, 1 - 1.0 / 32, sizes);
    assert_cost(topology, sizes, (25 + 1) + (2 * 25 + 2) + (4 * 2 * 9 + 4) + (10 * 36 + 10),
                25 * 784 + 2 * 25 * 196 + 8 * 9 * 49 + 360);
    nmi_topology_release(topology);
    nmi_options_release(options);
    neumeta_context_free(context);
}
END_TEST

/* Cost from the tensors made: parameters are their elements, multiply-adds their elements times
 * the pixels of the node. */
static void assert_cost_is_consistent(const nmi_topology *topology, const int64_t *sizes)
{
    nmi_shape *shapes = calloc((size_t)topology->node_count, sizeof *shapes);
    assert_ok(topology->object.context,
              nmi_graph_check_sizes(topology, sizes, topology->axis_count));
    assert_ok(topology->object.context, nmi_graph_shapes(topology, sizes, shapes));
    int64_t parameters = 0;
    int64_t work = 0;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        const nmi_tensor_info *info = &topology->tensors[t];
        const nmi_shape *shape = &shapes[info->node];
        int64_t dims[4];
        int32_t rank = nmi_graph_tensor_dims(topology, sizes, shapes, t, dims);
        int64_t count = rank > 0 ? dims[0] * dims[1] * dims[2] * dims[3] : 0;
        ck_assert_int_eq(rank > 0, nmi_graph_live(topology, sizes, info->node));
        ck_assert_int_eq(nmi_graph_node_tensor(topology, info->node, info->role), t);
        ck_assert_int_eq(nmi_graph_find_tensor(topology, info->name), t);
        parameters += nmi_role_is_trainable(info->role) ? count : 0;
        work += info->role == NMI_ROLE_WEIGHT ? count * shape->height * shape->width : 0;
    }
    assert_cost(topology, sizes, parameters, work);
    free(shapes);
}

START_TEST(every_axis_of_every_builtin_works_at_both_ends_and_between)
{
    neumeta_context *context = test_context();
    for (int32_t variant = 0; variant < 2; variant++) {
        nmi_options *options = NULL;
        assert_ok(context, nmi_options_create(context, &options));
        assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_SHORTCUT,
                                                variant == 0 ? "option-a" : "projection"));
        const char *name;
        for (int32_t b = 0; (name = nmi_topology_builtin_name(b)) != NULL; b++) {
            nmi_topology *topology = builtin(context, name, b > 0 ? options : NULL);
            int64_t *sizes = full_sizes(topology);
            for (int32_t i = 0; i < topology->axis_count; i++) {
                sizes[i] = topology->axes[i].min;
                assert_cost_is_consistent(topology, sizes);
                sizes[i] = topology->axes[i].max;
            }
            nmi_random random = nmi_random_start(7);
            for (int32_t draw = 0; draw < 20; draw++) {
                for (int32_t i = 0; i < topology->axis_count; i++) {
                    const nmi_axis *axis = &topology->axes[i];
                    sizes[i] = axis->min + nmi_random_below(&random, axis->max - axis->min + 1);
                }
                assert_cost_is_consistent(topology, sizes);
            }
            free(sizes);
            nmi_topology_release(topology);
        }
        nmi_options_release(options);
    }
    neumeta_context_free(context);
}
END_TEST

START_TEST(projection_shortcuts_carry_the_published_names)
{
    neumeta_context *context = test_context();
    nmi_options *options = NULL;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_SHORTCUT, "projection"));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_CLASSES, 100));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_CHANNELS, 8));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_INPUT_HEIGHT, 24));
    nmi_topology *topology = builtin(context, "resnet20-cifar", options);
    ck_assert_int_eq(topology->tensor_count, 97 + 10);
    ck_assert_int_ge(nmi_graph_find_tensor(topology, "layer2.0.shortcut.0.weight"), 0);
    ck_assert_int_ge(nmi_graph_find_tensor(topology, "layer3.0.shortcut.1.running_var"), 0);
    ck_assert_int_eq(nmi_graph_find_tensor(topology, "layer1.0.shortcut.0.weight"), -1);
    int64_t *sizes = full_sizes(topology);
    nmi_shape *shapes = calloc((size_t)topology->node_count, sizeof *shapes);
    assert_ok(context, nmi_graph_shapes(topology, sizes, shapes));
    nmi_shape last = shapes[node_named(topology, "layer3")];
    ck_assert_int_eq(last.channels, 32);
    ck_assert_int_eq(last.height, 6);
    ck_assert_int_eq(last.width, 8);
    ck_assert_int_eq(shapes[topology->output].channels, 100);
    free(shapes);
    free(sizes);
    nmi_topology_release(topology);
    nmi_options_release(options);
    neumeta_context_free(context);
}
END_TEST

START_TEST(depth_takes_repetitions_away_from_the_end)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "resnet20-cifar", NULL);
    int64_t *sizes = full_sizes(topology);
    int32_t depth = axis_named(topology, "layer2.depth");
    int32_t select = node_named(topology, "layer2");
    static const char *const sources[] = {"layer2.0.relu2", "layer2.1.relu2", "layer2.2.relu2"};
    for (int64_t d = 1; d <= 3; d++) {
        sizes[depth] = d;
        ck_assert(nmi_graph_live(topology, sizes, select));
        ck_assert_str_eq(topology->nodes[nmi_graph_source(topology, sizes, select)].name,
                         sources[d - 1]);
        ck_assert_int_eq(nmi_graph_live(topology, sizes, node_named(topology, "layer2.1.conv1")),
                         d > 1);
        ck_assert_int_eq(nmi_graph_live(topology, sizes, node_named(topology, "layer2.2.conv1")),
                         d > 2);
        /* Each block of stage 2 has two convolutions of 32 to 32 channels and two norms. */
        assert_cost(topology, sizes, 269722 - (3 - d) * (2 * 9216 + 128),
                    40551040 - (3 - d) * 2 * 9216 * 256);
    }
    ck_assert_int_eq(topology->nodes[node_named(topology, "layer2.2.conv1")].inputs[0],
                     node_named(topology, "layer2.1.relu2"));
    ck_assert_str_eq(topology->blocks[topology->nodes[node_named(topology, "layer2.2.bn2")].block],
                     "layer2.2");
    ck_assert_int_eq(topology->nodes[node_named(topology, "layer2.2.conv1")].axis,
                     axis_named(topology, "layer2.2.inner"));
    free(sizes);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(inner_widths_are_told_from_streams_and_followed_by_their_tensors)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "resnet20-cifar", NULL);
    int32_t inner = axis_named(topology, "layer2.1.inner");
    int32_t stream = axis_named(topology, "layer2.stream");
    int32_t depth = axis_named(topology, "layer2.depth");
    ck_assert(nmi_graph_axis_is_inner(topology, inner));
    ck_assert(!nmi_graph_axis_is_inner(topology, stream));
    ck_assert(!nmi_graph_axis_is_inner(topology, axis_named(topology, "layer1.stream")));
    ck_assert(!nmi_graph_axis_is_inner(topology, depth));
    ck_assert(!nmi_graph_axis_is_inner(topology, axis_named(topology, "classes")));
    static const struct {
        const char *tensor;
        bool inner, stream;
    } rows[] = {
        {"layer2.1.conv1.weight", true, true},   {"layer2.1.bn1.running_mean", true, false},
        {"layer2.1.conv2.weight", true, true},   {"layer2.1.bn2.weight", false, true},
        {"layer2.0.conv1.weight", false, false}, {"layer3.0.conv1.weight", false, true},
        {"layer3.0.conv2.weight", false, false}, {"linear.weight", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int32_t tensor = nmi_graph_find_tensor(topology, rows[i].tensor);
        ck_assert_int_ge(tensor, 0);
        ck_assert_int_eq(nmi_graph_tensor_depends(topology, tensor, inner), rows[i].inner);
        ck_assert_int_eq(nmi_graph_tensor_depends(topology, tensor, stream), rows[i].stream);
        ck_assert(!nmi_graph_tensor_depends(topology, tensor, depth));
    }
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(compression_moves_inner_widths_only)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "resnet56-cifar", NULL);
    int64_t *full = full_sizes(topology);
    int64_t *sizes = full_sizes(topology);
    for (int32_t quarter = 0; quarter < 4; quarter++) {
        nmi_graph_sizes_at(topology, 0.25 * quarter, sizes);
        ck_assert_int_eq(sizes[axis_named(topology, "layer3.stream")], 64);
        ck_assert_int_eq(sizes[axis_named(topology, "layer3.8.inner")], 64 - 16 * quarter);
        ck_assert_int_eq(sizes[axis_named(topology, "layer1.depth")], 9);
        int64_t parameters;
        int64_t flops;
        int64_t whole;
        assert_ok(context, nmi_graph_cost(topology, full, &parameters, &whole));
        assert_ok(context, nmi_graph_cost(topology, sizes, &parameters, &flops));
        double share = (double)flops / (double)whole;
        ck_assert_msg(fabs(share - (1.0 - 0.25 * quarter)) < 0.005, "share is %g", share);
    }
    free(full);
    free(sizes);
    nmi_topology_release(topology);
    const nmi_axis steps = {.kind = NEUMETA_AXIS_WIDTH, .min = 4, .max = 64, .step = 4};
    ck_assert_int_eq(nmi_axis_size_at(&steps, 0.0), 64);
    ck_assert_int_eq(nmi_axis_size_at(&steps, 0.5), 32);
    ck_assert_int_eq(nmi_axis_size_at(&steps, 0.45), 36); /* 35.2 */
    ck_assert_int_eq(nmi_axis_size_at(&steps, 0.48), 32); /* 33.28 */
    ck_assert_int_eq(nmi_axis_size_at(&steps, 0.99), 4);
    neumeta_context_free(context);
}
END_TEST

START_TEST(blocks_are_numbered_from_both_ends)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "lenet", NULL);
    int32_t block = -1;
    assert_ok(context, nmi_graph_block_number(topology, -1, &block));
    ck_assert_int_eq(block, 3);
    assert_ok(context, nmi_graph_block_number(topology, 0, &block));
    ck_assert_int_eq(block, 0);
    assert_status(context, nmi_graph_block_number(topology, 4, &block), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "block 4 does not exist");
    assert_status(context, nmi_graph_block_number(topology, -5, &block), NEUMETA_ERR_ARGUMENT);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* --- rebuilding ------------------------------------------------------------------------------ */

static nmi_topology *rebuilt(const nmi_topology *topology)
{
    nmi_topology *copy = NULL;
    assert_ok(topology->object.context, nmi_topology_copy_frame(topology, &copy));
    for (int32_t i = 0; i < topology->node_count; i++) {
        int32_t number = -1;
        assert_ok(topology->object.context,
                  nmi_topology_append_node(copy, &topology->nodes[i], &number));
        ck_assert_int_eq(number, i);
    }
    assert_ok(topology->object.context, nmi_topology_seal(copy, topology->output));
    return copy;
}

START_TEST(a_topology_is_rebuilt_from_its_nodes)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "resnet20-cifar", NULL);
    nmi_topology *copy = rebuilt(topology);
    ck_assert_int_eq(copy->tensor_count, topology->tensor_count);
    for (int32_t t = 0; t < copy->tensor_count; t++)
        ck_assert_str_eq(copy->tensors[t].name, topology->tensors[t].name);
    int64_t *sizes = full_sizes(copy);
    for (int32_t i = 0; i < copy->axis_count; i++)
        sizes[i] = (copy->axes[i].min + copy->axes[i].max) / 2;
    int64_t cost[4];
    assert_ok(context, nmi_graph_cost(topology, sizes, &cost[0], &cost[1]));
    assert_ok(context, nmi_graph_cost(copy, sizes, &cost[2], &cost[3]));
    ck_assert_int_eq(cost[0], cost[2]);
    ck_assert_int_eq(cost[1], cost[3]);
    free(sizes);
    nmi_topology_release(topology);
    nmi_topology_release(copy);
    neumeta_context_free(context);
}
END_TEST

START_TEST(damaged_nodes_are_refused_and_change_nothing)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = builtin(context, "resnet20-cifar", NULL);
    nmi_topology *copy = NULL;
    assert_ok(context, nmi_topology_copy_frame(topology, &copy));
    int32_t place = node_named(topology, "layer1.1.conv1");
    int32_t number;
    for (int32_t i = 0; i < place; i++)
        assert_ok(context, nmi_topology_append_node(copy, &topology->nodes[i], &number));
    const nmi_node good = topology->nodes[place];
    int32_t stranger = place + 1;
    int32_t depth = axis_named(topology, "layer1.depth");
    struct {
        nmi_node node;
        const char *message;
    } rows[] = {
        {good, "operator 99"},
        {good, "printable"},
        {good, "taken"},
        {good, "KERNEL is 0"},
        {good, "STRIDE is -1"},
        {good, "MULTIPLE is"},
        {good, "block is"},
        {good, "axis is"},
        {good, "is a depth"},
        {good, "depth axis"},
        {good, "number on depth axis"},
        {good, "must be one of"},
        {good, "inputs"},
        {good, "PADDING is"},
        {good, "one input node"},
        {good, "one for each depth"},
        {good, "a window would see no pixel"},
    };
    rows[0].node.op = 99;
    rows[1].node.name = (char[]){"a\nb"};
    rows[2].node.name = (char[]){"layer1.0.conv1"};
    rows[3].node.kernel = 0;
    rows[4].node.stride = -1;
    rows[5].node.multiple = INT64_MAX;
    rows[6].node.block = topology->block_count;
    rows[7].node.axis = topology->axis_count;
    rows[8].node.axis = depth;
    rows[9].node.depth_axis = good.axis;
    rows[10].node.depth_number = 3;
    rows[11].node.inputs = &stranger;
    rows[12].node.input_count = 2;
    rows[13].node.op = NEUMETA_OP_POOL_MAX;
    rows[13].node.axis = -1;
    rows[13].node.kernel = rows[13].node.padding = 2;
    rows[14].node.op = NEUMETA_OP_INPUT;
    rows[14].node.input_count = 0;
    rows[14].node.depth_axis = -1;
    rows[15].node.op = NEUMETA_OP_SELECT;
    rows[16].node.kernel = rows[16].node.padding = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_status(context, nmi_topology_append_node(copy, &rows[i].node, &number),
                      NEUMETA_ERR_ARGUMENT);
        assert_message_contains(context, rows[i].message);
        ck_assert_int_eq(copy->node_count, place);
    }
    assert_ok(context, nmi_topology_append_node(copy, &good, &number));

    nmi_node norm = nmi_node_default(NEUMETA_OP_NORM);
    norm.name = (char[]){"norm"};
    norm.inputs = &number;
    norm.input_count = 1;
    assert_status(context, nmi_topology_append_node(copy, &norm, &number), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "not always present");
    norm.depth_axis = depth;
    norm.depth_number = 1;
    norm.epsilon = NAN;
    assert_status(context, nmi_topology_append_node(copy, &norm, &number), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "EPSILON is");
    norm.epsilon = 1e-5;
    norm.kernel = -7; /* not a setting of this operator */
    assert_ok(context, nmi_topology_append_node(copy, &norm, &number));
    ck_assert_int_eq(copy->nodes[number].kernel, 1);
    nmi_topology_release(topology);
    nmi_topology_release(copy);
    neumeta_context_free(context);
}
END_TEST

START_TEST(absurd_sizes_are_refused_before_they_overflow)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    assert_ok(context, nmi_topology_create(context, &topology));
    int32_t axis;
    int32_t node;
    assert_ok(context, nmi_topology_add_axis(topology, "wide", NEUMETA_AXIS_WIDTH, 1,
                                             NMI_GRAPH_WIDTH_MAX, 1, &axis));
    assert_status(
        context,
        nmi_topology_add_axis(topology, "wider", NEUMETA_AXIS_WIDTH, 1, INT64_MAX, 1, &axis),
        NEUMETA_ERR_ARGUMENT);
    assert_ok(context,
              nmi_topology_add_node(topology, "input", NEUMETA_OP_INPUT, NULL, 0, -1, NULL, &node));
    nmi_options *options = NULL;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_MULTIPLE, 4096));
    assert_ok(context, nmi_topology_add_node(topology, "conv", NEUMETA_OP_CONV, &node, 1, axis,
                                             options, &node));
    assert_status(context, nmi_topology_seal(topology, node), NEUMETA_ERR_SHAPE);
    assert_message_contains(context, "at the largest sizes: node 'conv'");
    nmi_options_release(options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* A window of every small kind on every small image. Returns whether the graph accepts it. */
static bool graph_accepts(nmi_context *context, int32_t op, int64_t side, const nmi_node *window,
                          nmi_shape *shape)
{
    nmi_topology *topology = test_topology(context);
    int32_t axis = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 1, 2), number;
    int32_t input = test_input(topology, 2, side);
    nmi_node node = *window;
    node.op = op;
    node.name = (char[]){"window"};
    node.inputs = &input;
    node.input_count = 1;
    node.axis = op == NEUMETA_OP_CONV ? axis : -1;
    bool accepts = nmi_topology_append_node(topology, &node, &number) == NEUMETA_OK &&
                   nmi_topology_seal(topology, number) == NEUMETA_OK;
    nmi_shape shapes[2];
    if (accepts) {
        assert_ok(context, nmi_graph_shapes(topology, (const int64_t[]){2}, shapes));
        *shape = shapes[number];
    }
    nmi_topology_release(topology);
    return accepts;
}

START_TEST(kernels_take_every_window_that_the_graph_accepts)
{
    static const int32_t ops[] = {NEUMETA_OP_CONV, NEUMETA_OP_POOL_MAX, NEUMETA_OP_POOL_AVERAGE};
    neumeta_context *context = test_context();
    const int32_t op = ops[_i];
    int64_t accepted = 0;
    for (int64_t code = 0; code < 5 * 4 * 3 * 5; code++) {
        const int64_t side = 1 + code % 5, kernel = 1 + code / 5 % 4, stride = 1 + code / 20 % 3;
        nmi_node window = nmi_node_default(op);
        nmi_shape shape;
        window.kernel = kernel;
        window.stride = stride;
        window.padding = code / 60;
        nmi_conv_shape conv = {2, side, side, 2, 0, 0, kernel, stride, window.padding};
        nmi_pool_shape pool = {2, side, side, 0, 0, kernel, stride, window.padding};
        const bool is_conv = op == NEUMETA_OP_CONV;
        const bool possible =
            is_conv ? nmi_conv_shape_complete(&conv) : nmi_pool_shape_complete(&pool);
        const bool accepts = graph_accepts(context, op, side, &window, &shape);
        ck_assert_int_eq(accepts, possible);
        if (!accepts)
            continue;
        accepted++;
        ck_assert_int_eq(shape.height, is_conv ? conv.out_height : pool.out_height);
        ck_assert_int_eq(shape.width, is_conv ? conv.out_width : pool.out_width);
    }
    ck_assert_int_gt(accepted, 50);
    neumeta_context_free(context);
}
END_TEST

/* --- memory ---------------------------------------------------------------------------------- */

static neumeta_status build_all(test_allocator *allocator, void *user)
{
    (void)user;
    neumeta_context *context = NULL;
    nmi_topology *topology = NULL;
    nmi_topology *copy = NULL;
    int64_t parameters;
    int64_t flops;
    int32_t number;
    neumeta_status status = test_context_create(allocator, &context);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &topology);
    if (status == NEUMETA_OK) {
        int64_t sizes[32];
        nmi_graph_full_sizes(topology, sizes);
        status = nmi_graph_cost(topology, sizes, &parameters, &flops);
    }
    if (status == NEUMETA_OK)
        status = nmi_topology_copy_frame(topology, &copy);
    if (status == NEUMETA_OK)
        status = nmi_topology_append_node(copy, &topology->nodes[0], &number);
    if (status == NEUMETA_OK)
        status = nmi_topology_seal(copy, 0);
    nmi_topology_release(copy);
    nmi_topology_release(topology);
    neumeta_context_free(context);
    return status;
}

START_TEST(any_failing_allocation_is_reported_and_nothing_leaks)
{
    ck_assert_int_gt(test_every_allocation(build_all, NULL), 100);
}
END_TEST

START_TEST(blocks_of_a_stage_have_outputs_of_one_shape)
{
    for (int projected = 0; projected < 2; projected++) {
        neumeta_context *context = test_context();
        nmi_options *options = NULL;
        nmi_topology *topology = NULL;
        assert_ok(context, nmi_options_create(context, &options));
        assert_ok(context, nmi_options_parse(options, "shortcut",
                                             projected != 0 ? "projection" : "option-a"));
        assert_ok(context,
                  nmi_topology_create_builtin(context, "resnet20-cifar", options, &topology));
        int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
        nmi_shape *shapes = calloc((size_t)topology->node_count, sizeof *shapes);
        nmi_graph_full_sizes(topology, sizes);
        assert_ok(context, nmi_graph_shapes(topology, sizes, shapes));
        /* stem, three stages of three blocks, classifier */
        const bool same[] = {false, true, true, false, true, true, false, true, true, false};
        for (int32_t b = 1; b < topology->block_count; b++)
            ck_assert_msg(nmi_graph_same_stage(topology, shapes, b - 1, b) == same[b - 1],
                          "blocks '%s' and '%s'", topology->blocks[b - 1], topology->blocks[b]);
        free(shapes);
        free(sizes);
        nmi_topology_release(topology);
        nmi_options_release(options);
        neumeta_context_free(context);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tests = tcase_create("graph");
    tcase_add_test(tests, resnets_have_the_published_sizes);
    tcase_add_test(tests, a_folded_resnet20_has_the_size_of_the_method_page);
    tcase_add_test(tests, tensor_names_and_shapes_are_those_of_the_pretrained_files);
    tcase_add_test(tests, lenet_has_eight_tensors_without_norm);
    tcase_add_test(tests, every_axis_of_every_builtin_works_at_both_ends_and_between);
    tcase_add_test(tests, projection_shortcuts_carry_the_published_names);
    tcase_add_test(tests, depth_takes_repetitions_away_from_the_end);
    tcase_add_test(tests, inner_widths_are_told_from_streams_and_followed_by_their_tensors);
    tcase_add_test(tests, compression_moves_inner_widths_only);
    tcase_add_test(tests, blocks_are_numbered_from_both_ends);
    tcase_add_test(tests, a_topology_is_rebuilt_from_its_nodes);
    tcase_add_test(tests, damaged_nodes_are_refused_and_change_nothing);
    tcase_add_test(tests, absurd_sizes_are_refused_before_they_overflow);
    tcase_add_loop_test(tests, kernels_take_every_window_that_the_graph_accepts, 0, 3);
    tcase_add_test(tests, any_failing_allocation_is_reported_and_nothing_leaks);
    tcase_add_test(tests, blocks_of_a_stage_have_outputs_of_one_shape);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
