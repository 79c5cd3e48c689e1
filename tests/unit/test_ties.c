/* SPDX-License-Identifier: MIT */
/* Ties of channels: which channels must move together when a network is permuted. */
#include "nmi_graph.h"
#include "nmi_test.h"

static int32_t node_named(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->node_count; i++)
        if (strcmp(topology->nodes[i].name, name) == 0)
            return i;
    ck_abort_msg("no node '%s'", name);
    return -1;
}

static int64_t class_at(const nmi_topology *topology, const nmi_ties *ties, const char *name,
                        int64_t channel)
{
    int32_t node = node_named(topology, name);
    ck_assert_int_lt(channel, ties->offset[node + 1] - ties->offset[node]);
    return ties->class_of[ties->offset[node] + channel];
}

START_TEST(an_inner_width_ties_nothing_but_its_own_run)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_ties ties;
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, nmi_ties_create(topology, &ties));
    for (int64_t c = 0; c < 16; c++) {
        int64_t own = class_at(topology, &ties, "layer1.1.conv1", c);
        ck_assert(!ties.fixed[own]);
        ck_assert_int_eq(class_at(topology, &ties, "layer1.1.bn1", c), own);
        ck_assert_int_eq(class_at(topology, &ties, "layer1.1.relu1", c), own);
        int64_t members = 0;
        for (int64_t i = 0; i < ties.offset[topology->node_count]; i++)
            members += ties.class_of[i] == own ? 1 : 0;
        ck_assert_int_eq(members, 3);
    }
    nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_residual_stream_ties_every_block_of_its_stage)
{
    static const char *const names[] = {"conv1",          "relu",         "layer1.0.conv2",
                                        "layer1.0.add",   "layer1.1.bn2", "layer1.2.conv2",
                                        "layer1.2.relu2", "layer1"};
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_ties ties;
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, nmi_ties_create(topology, &ties));
    for (int64_t c = 0; c < 16; c++)
        for (size_t i = 1; i < sizeof names / sizeof *names; i++)
            ck_assert_int_eq(class_at(topology, &ties, names[i], c),
                             class_at(topology, &ties, names[0], c));
    ck_assert_int_ne(class_at(topology, &ties, "conv1", 0), class_at(topology, &ties, "conv1", 1));
    ck_assert(ties.fixed[class_at(topology, &ties, "input", 2)]);
    ck_assert(ties.fixed[class_at(topology, &ties, "linear", 9)]);
    ck_assert(!ties.fixed[class_at(topology, &ties, "conv1", 3)]);
    /* Input 3, classes 10, stream 64 (16 and 32 lie within), inner 3 * (16 + 32 + 64). */
    ck_assert_int_eq(ties.class_count, 3 + 10 + 64 + 3 * (16 + 32 + 64));
    nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(option_a_ties_stages_at_the_published_positions)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_ties ties;
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, nmi_ties_create(topology, &ties));
    for (int64_t c = 0; c < 16; c++)
        ck_assert_int_eq(class_at(topology, &ties, "layer2.1.conv2", 8 + c),
                         class_at(topology, &ties, "layer1.1.conv2", c));
    for (int64_t c = 0; c < 32; c++)
        ck_assert_int_eq(class_at(topology, &ties, "layer3.2.conv2", 16 + c),
                         class_at(topology, &ties, "layer2.1.conv2", c));
    for (int64_t c = 0; c < 32; c++)
        for (int64_t d = 0; d < 16; d++)
            ck_assert_int_eq(class_at(topology, &ties, "layer2.1.conv2", c) ==
                                 class_at(topology, &ties, "layer1.1.conv2", d),
                             c == d + 8);
    nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* --- hand-made graphs ------------------------------------------------------------------------ */

static int32_t width(nmi_topology *topology, const char *name, int64_t channels)
{
    int32_t axis = -1;
    assert_ok(topology->object.context, nmi_topology_add_axis(topology, name, NEUMETA_AXIS_WIDTH,
                                                              channels, channels, 1, &axis));
    return axis;
}

static int32_t place(nmi_topology *topology, const char *name, int32_t op, int32_t first,
                     int32_t second, int32_t axis)
{
    nmi_node node = nmi_node_default(op);
    int32_t inputs[2] = {first, second};
    int32_t number = -1;
    if (op == NEUMETA_OP_INPUT)
        node.channels = node.height = node.width = 2;
    node.kernel = 1;
    assert_ok(topology->object.context,
              nmi_topology_place(topology, name, &node, inputs, (first >= 0) + (second >= 0), axis,
                                 &number));
    return number;
}

START_TEST(flatten_repeats_a_channel_for_each_of_its_pixels)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_ties ties;
    assert_ok(context, nmi_topology_create(context, &topology));
    int32_t node = place(topology, "input", NEUMETA_OP_INPUT, -1, -1, -1);
    node = place(topology, "conv", NEUMETA_OP_CONV, node, -1, width(topology, "c", 3));
    node = place(topology, "flatten", NEUMETA_OP_FLATTEN, node, -1, -1);
    node = place(topology, "linear", NEUMETA_OP_LINEAR, node, -1, width(topology, "l", 2));
    assert_ok(context, nmi_topology_seal(topology, node));
    assert_ok(context, nmi_ties_create(topology, &ties));
    for (int64_t f = 0; f < 12; f++)
        ck_assert_int_eq(class_at(topology, &ties, "flatten", f),
                         class_at(topology, &ties, "conv", f / 4));
    ck_assert_int_eq(ties.class_count, 2 + 3 + 2);
    nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(concat_copies_and_add_unites)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_ties ties;
    assert_ok(context, nmi_topology_create(context, &topology));
    int32_t input = place(topology, "input", NEUMETA_OP_INPUT, -1, -1, -1);
    int32_t a = place(topology, "a", NEUMETA_OP_CONV, input, -1, width(topology, "a", 3));
    int32_t b = place(topology, "b", NEUMETA_OP_CONV, input, -1, width(topology, "b", 2));
    int32_t joined = place(topology, "joined", NEUMETA_OP_CONCAT, a, b, -1);
    int32_t c = place(topology, "c", NEUMETA_OP_CONV, joined, -1, width(topology, "c", 5));
    int32_t sum = place(topology, "sum", NEUMETA_OP_ADD, joined, c, -1);
    int32_t out = place(topology, "out", NEUMETA_OP_CONV, sum, -1, width(topology, "out", 1));
    assert_ok(context, nmi_topology_seal(topology, out));
    assert_ok(context, nmi_ties_create(topology, &ties));
    for (int64_t i = 0; i < 5; i++) {
        int64_t part =
            i < 3 ? class_at(topology, &ties, "a", i) : class_at(topology, &ties, "b", i - 3);
        ck_assert_int_eq(class_at(topology, &ties, "joined", i), part);
        ck_assert_int_eq(class_at(topology, &ties, "c", i), part);
        ck_assert_int_eq(class_at(topology, &ties, "sum", i), part);
    }
    ck_assert_int_eq(ties.class_count, 2 + 5 + 1);
    nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_narrowing_shortcut_passes_the_central_channels)
{
    /* in, out, first input channel that passes: -floor((out - in) / 2). */
    static const int64_t rows[][3] = {{6, 4, 1}, {6, 3, 2}, {5, 4, 1}, {4, 4, 0}};
    neumeta_context *context = test_context();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nmi_topology *topology = NULL;
        nmi_ties ties;
        assert_ok(context, nmi_topology_create(context, &topology));
        int32_t node = place(topology, "input", NEUMETA_OP_INPUT, -1, -1, -1);
        node =
            place(topology, "wide", NEUMETA_OP_CONV, node, -1, width(topology, "wide", rows[i][0]));
        node = place(topology, "cut", NEUMETA_OP_SHORTCUT, node, -1,
                     width(topology, "cut", rows[i][1]));
        node = place(topology, "out", NEUMETA_OP_CONV, node, -1, width(topology, "out", 1));
        assert_ok(context, nmi_topology_seal(topology, node));
        assert_ok(context, nmi_ties_create(topology, &ties));
        for (int64_t c = 0; c < rows[i][1]; c++)
            ck_assert_int_eq(class_at(topology, &ties, "cut", c),
                             class_at(topology, &ties, "wide", c + rows[i][2]));
        nmi_ties_free(context, &ties);
        nmi_topology_release(topology);
    }
    neumeta_context_free(context);
}
END_TEST

static neumeta_status tie(test_allocator *allocator, void *user)
{
    (void)user;
    neumeta_context *context = NULL;
    nmi_topology *topology = NULL;
    nmi_ties ties = {0};
    neumeta_status status = test_context_create(allocator, &context);
    if (status == NEUMETA_OK)
        status = nmi_topology_create_builtin(context, "lenet", NULL, &topology);
    if (status == NEUMETA_OK)
        status = nmi_ties_create(topology, &ties);
    if (status == NEUMETA_OK)
        nmi_ties_free(context, &ties);
    nmi_topology_release(topology);
    neumeta_context_free(context);
    return status;
}

START_TEST(any_failing_allocation_is_reported_and_nothing_leaks)
{
    ck_assert_int_gt(test_every_allocation(tie, NULL), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ties");
    TCase *tests = tcase_create("ties");
    tcase_add_test(tests, an_inner_width_ties_nothing_but_its_own_run);
    tcase_add_test(tests, a_residual_stream_ties_every_block_of_its_stage);
    tcase_add_test(tests, option_a_ties_stages_at_the_published_positions);
    tcase_add_test(tests, flatten_repeats_a_channel_for_each_of_its_pixels);
    tcase_add_test(tests, concat_copies_and_add_unites);
    tcase_add_test(tests, a_narrowing_shortcut_passes_the_central_channels);
    tcase_add_test(tests, any_failing_allocation_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
