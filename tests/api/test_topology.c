/* SPDX-License-Identifier: MIT */
/* Topologies through the public API: building, every way to get it wrong, and questions. */
#include "custom_topologies.h"
#include "nmi_test.h"

typedef struct fixture {
    neumeta_context *context;
    neumeta_topology *topology;
    neumeta_options *options;
    int32_t width, depth, input;
} fixture;

/* A topology with one width, one depth and an input of 3 x 32 x 32. */
static fixture fixture_open(void)
{
    fixture f = {.context = test_context()};
    assert_ok(f.context, neumeta_topology_create(f.context, &f.topology));
    assert_ok(f.context, neumeta_options_create(f.context, &f.options));
    assert_ok(f.context, neumeta_topology_add_axis(f.topology, "width", NEUMETA_AXIS_WIDTH, 2, 8, 2,
                                                   &f.width));
    assert_ok(f.context, neumeta_topology_add_axis(f.topology, "depth", NEUMETA_AXIS_DEPTH, 0, 3, 1,
                                                   &f.depth));
    assert_ok(f.context, neumeta_topology_add_node(f.topology, "input", NEUMETA_OP_INPUT, NULL, 0,
                                                   -1, NULL, &f.input));
    return f;
}

static void fixture_close(fixture *f)
{
    neumeta_options_free(f->options);
    neumeta_topology_free(f->topology);
    neumeta_context_free(f->context);
}

static int32_t add(fixture *f, const char *name, int32_t op, int32_t input, int32_t axis,
                   const neumeta_options *options)
{
    int32_t node = -1;
    assert_ok(f->context,
              neumeta_topology_add_node(f->topology, name, op, &input, 1, axis, options, &node));
    return node;
}

static neumeta_options *padded(fixture *f)
{
    assert_ok(f->context, neumeta_options_set_int(f->options, NEUMETA_KEY_PADDING, 1));
    return f->options;
}

#define assert_fails(f, call, status, text)                                                        \
    do {                                                                                           \
        assert_status((f)->context, call, status);                                                 \
        assert_message_contains((f)->context, text);                                               \
    } while (0)

START_TEST(every_builtin_is_listed_sealed_and_priced)
{
    neumeta_context *context = test_context();
    int32_t count = 0;
    const char *name;
    for (; (name = neumeta_topology_builtin_name(count)) != NULL; count++) {
        neumeta_topology *topology = NULL;
        int64_t sizes[64];
        int64_t parameters[2];
        int64_t flops[2];
        assert_ok(context, neumeta_topology_create_builtin(context, name, NULL, &topology));
        int32_t axes = neumeta_topology_axis_count(topology);
        ck_assert_int_gt(neumeta_topology_block_count(topology), 3);
        assert_ok(context, neumeta_topology_sizes_at(topology, 0.0, sizes, axes));
        assert_ok(context, neumeta_topology_cost(topology, sizes, axes, &parameters[0], &flops[0]));
        assert_ok(context, neumeta_topology_sizes_at(topology, 0.5, sizes, axes));
        assert_ok(context, neumeta_topology_cost(topology, sizes, axes, &parameters[1], NULL));
        assert_ok(context, neumeta_topology_cost(topology, sizes, axes, NULL, &flops[1]));
        ck_assert_int_lt(parameters[1], parameters[0]);
        ck_assert_int_lt(flops[1], flops[0]);
        neumeta_topology_free(topology);
    }
    ck_assert_int_eq(count, 6);
    ck_assert_ptr_null(neumeta_topology_builtin_name(-1));
    neumeta_context_free(context);
}
END_TEST

START_TEST(builtins_refuse_unknown_names_and_unused_settings)
{
    fixture f = fixture_open();
    neumeta_topology *topology = f.topology;
    assert_fails(&f, neumeta_topology_create_builtin(f.context, "resnet21", NULL, &topology),
                 NEUMETA_ERR_ARGUMENT, "'resnet21'");
    ck_assert_ptr_null(topology);
    assert_ok(f.context, neumeta_options_set_text(f.options, NEUMETA_KEY_SHORTCUT, "projection"));
    assert_fails(&f, neumeta_topology_create_builtin(f.context, "lenet", f.options, &topology),
                 NEUMETA_ERR_ARGUMENT, "lenet does not use SHORTCUT");
    assert_fails(&f, neumeta_topology_create_builtin(f.context, NULL, NULL, &topology),
                 NEUMETA_ERR_ARGUMENT, "name is NULL");
    assert_fails(&f, neumeta_topology_create_builtin(f.context, "lenet", NULL, NULL),
                 NEUMETA_ERR_ARGUMENT, "topology is NULL");
    assert_status(NULL, neumeta_topology_create_builtin(NULL, "lenet", NULL, &topology),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_options *small = NULL;
    assert_ok(f.context, neumeta_options_create(f.context, &small));
    assert_ok(f.context, neumeta_options_set_int(small, NEUMETA_KEY_INPUT_HEIGHT, 4));
    assert_fails(&f, neumeta_topology_create_builtin(f.context, "lenet", small, &topology),
                 NEUMETA_ERR_SHAPE, "topology 'lenet': at the largest sizes: node 'pool3'");
    neumeta_options_free(small);
    fixture_close(&f);
}
END_TEST

START_TEST(axes_are_checked)
{
    static const struct {
        const char *name;
        int32_t kind;
        int64_t min, max, step;
        const char *message;
    } rows[] = {
        {"", NEUMETA_AXIS_WIDTH, 1, 2, 1, "name of a new axis"},
        {"tab\t", NEUMETA_AXIS_WIDTH, 1, 2, 1, "name of a new axis"},
        {"width", NEUMETA_AXIS_WIDTH, 1, 2, 1, "axis 'width': the name is taken"},
        {"a", 3, 1, 2, 1, "axis 'a': kind is 3"},
        {"a", NEUMETA_AXIS_WIDTH, 0, 2, 1, "axis 'a': from 0 to 2"},
        {"a", NEUMETA_AXIS_WIDTH, 3, 2, 1, "axis 'a': from 3 to 2"},
        {"a", NEUMETA_AXIS_WIDTH, 1, INT64_MAX, 1, "axis 'a': from 1"},
        {"a", NEUMETA_AXIS_DEPTH, -1, 2, 1, "axis 'a': from -1"},
        {"a", NEUMETA_AXIS_WIDTH, 1, 8, 2, "axis 'a': step 2"},
        {"a", NEUMETA_AXIS_WIDTH, 1, 8, 0, "axis 'a': step 0"},
    };
    fixture f = fixture_open();
    int32_t axis = -7;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_fails(&f,
                     neumeta_topology_add_axis(f.topology, rows[i].name, rows[i].kind, rows[i].min,
                                               rows[i].max, rows[i].step, &axis),
                     NEUMETA_ERR_ARGUMENT, rows[i].message);
    ck_assert_int_eq(axis, -7);
    assert_fails(&f, neumeta_topology_add_axis(f.topology, NULL, 1, 1, 1, 1, &axis),
                 NEUMETA_ERR_ARGUMENT, "name is NULL");
    assert_fails(&f, neumeta_topology_add_axis(f.topology, "a", 1, 1, 1, 1, NULL),
                 NEUMETA_ERR_ARGUMENT, "axis is NULL");
    assert_status(NULL, neumeta_topology_add_axis(NULL, "a", 1, 1, 1, 1, &axis),
                  NEUMETA_ERR_ARGUMENT);
    fixture_close(&f);
}
END_TEST

START_TEST(nodes_are_checked)
{
    fixture f = fixture_open();
    int32_t stranger = 9;
    const int32_t pair[] = {f.input, f.input};
    const struct {
        const char *name;
        int32_t op;
        const int32_t *inputs;
        int32_t count, axis;
        const char *message;
    } rows[] = {
        {"", NEUMETA_OP_NORM, pair, 1, -1, "name of a new node"},
        {"input", NEUMETA_OP_NORM, pair, 1, -1, "node 'input': the name is taken"},
        {"n", 0, pair, 1, -1, "node 'n': operator 0"},
        {"n", NEUMETA_OP_SELECT, pair, 2, -1, "node 'n': operator 16"},
        {"n", NEUMETA_OP_INPUT, NULL, 0, -1, "node 'n': a topology has one input node"},
        {"n", NEUMETA_OP_NORM, NULL, 1, -1, "node 'n': inputs is NULL"},
        {"n", NEUMETA_OP_NORM, pair, -1, -1, "node 'n': count is -1"},
        {"n", NEUMETA_OP_NORM, pair, 2, -1, "node 'n': norm takes 1 to 1 inputs, not 2"},
        {"n", NEUMETA_OP_ADD, pair, 1, -1, "node 'n': add takes 2 to 64 inputs, not 1"},
        {"n", NEUMETA_OP_NORM, &stranger, 1, -1, "node 'n': input 0 is node 9"},
        {"n", NEUMETA_OP_NORM, pair, 1, 0, "node 'n': norm takes its channels from its inputs"},
        {"n", NEUMETA_OP_CONV, pair, 1, -1, "node 'n': axis is -1"},
        {"n", NEUMETA_OP_CONV, pair, 1, 2, "node 'n': axis is 2"},
        {"n", NEUMETA_OP_LINEAR, pair, 1, f.depth, "node 'n': axis 'depth' is a depth"},
    };
    int32_t node = -7;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_fails(&f,
                     neumeta_topology_add_node(f.topology, rows[i].name, rows[i].op, rows[i].inputs,
                                               rows[i].count, rows[i].axis, NULL, &node),
                     NEUMETA_ERR_ARGUMENT, rows[i].message);
    ck_assert_int_eq(node, -7);
    assert_fails(
        &f,
        neumeta_topology_add_node(f.topology, "n", NEUMETA_OP_NORM, pair, 1, -1, padded(&f), &node),
        NEUMETA_ERR_ARGUMENT, "node 'n': norm does not use PADDING");
    assert_ok(f.context, neumeta_options_set_int(f.options, NEUMETA_KEY_PADDING, 3));
    assert_fails(&f,
                 neumeta_topology_add_node(f.topology, "n", NEUMETA_OP_POOL_MAX, pair, 1, -1,
                                           f.options, &node),
                 NEUMETA_ERR_ARGUMENT, "node 'n': PADDING is 3, must be below KERNEL");
    char longest[258];
    memset(longest, 'x', sizeof longest);
    longest[256] = '\0';
    assert_fails(
        &f,
        neumeta_topology_add_node(f.topology, longest, NEUMETA_OP_NORM, pair, 1, -1, NULL, &node),
        NEUMETA_ERR_ARGUMENT, "1 to 255 printable");
    longest[255] = '\0';
    assert_ok(f.context, neumeta_topology_add_node(f.topology, longest, NEUMETA_OP_NORM, pair, 1,
                                                   -1, NULL, &node));
    neumeta_context *other = test_context();
    neumeta_options *foreign = NULL;
    assert_ok(other, neumeta_options_create(other, &foreign));
    assert_fails(
        &f,
        neumeta_topology_add_node(f.topology, "n", NEUMETA_OP_NORM, pair, 1, -1, foreign, &node),
        NEUMETA_ERR_ARGUMENT, "options belongs to another context");
    neumeta_options_free(foreign);
    neumeta_context_free(other);
    fixture_close(&f);
}
END_TEST

START_TEST(sealing_checks_shapes_at_both_ends)
{
    fixture f = fixture_open();
    assert_fails(&f, neumeta_topology_seal(f.topology, 5), NEUMETA_ERR_ARGUMENT,
                 "output is node 5");
    int32_t linear = add(&f, "linear", NEUMETA_OP_LINEAR, f.input, f.width, NULL);
    assert_fails(&f, neumeta_topology_seal(f.topology, linear), NEUMETA_ERR_SHAPE,
                 "at the largest sizes: node 'linear': a linear node wants height and width 1");
    fixture_close(&f);

    f = fixture_open();
    int32_t conv = add(&f, "conv", NEUMETA_OP_CONV, f.input, f.width, padded(&f));
    int32_t fixed;
    int32_t sum;
    assert_ok(f.context,
              neumeta_topology_add_axis(f.topology, "fixed", NEUMETA_AXIS_WIDTH, 8, 8, 1, &fixed));
    int32_t other = add(&f, "other", NEUMETA_OP_CONV, f.input, fixed, padded(&f));
    const int32_t pair[] = {conv, other};
    assert_ok(f.context, neumeta_topology_add_node(f.topology, "sum", NEUMETA_OP_ADD, pair, 2, -1,
                                                   NULL, &sum));
    assert_fails(&f, neumeta_topology_seal(f.topology, sum), NEUMETA_ERR_SHAPE,
                 "at the smallest sizes: node 'sum': 'conv' is 2 x 32 x 32 but 'other' is 8");
    fixture_close(&f);

    f = fixture_open();
    assert_ok(f.context, neumeta_options_set_int(f.options, NEUMETA_KEY_KERNEL, 31));
    int32_t node = add(&f, "big", NEUMETA_OP_POOL_AVERAGE, f.input, -1, f.options);
    node = add(&f, "bigger", NEUMETA_OP_POOL_AVERAGE, node, -1, f.options);
    assert_fails(&f, neumeta_topology_seal(f.topology, node), NEUMETA_ERR_SHAPE,
                 "node 'bigger': a window of 31 x 31");
    fixture_close(&f);

    neumeta_context *context = test_context();
    neumeta_topology *empty = NULL;
    assert_ok(context, neumeta_topology_create(context, &empty));
    assert_status(context, neumeta_topology_seal(empty, 0), NEUMETA_ERR_STATE);
    assert_message_contains(context, "no nodes");
    neumeta_topology_free(empty);
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_sealed_topology_answers_and_an_open_one_does_not)
{
    fixture f = fixture_open();
    int64_t sizes[2] = {8, 3};
    int64_t parameters;
    ck_assert_int_eq(neumeta_topology_axis_count(NULL), -1);
    ck_assert_int_eq(neumeta_topology_axis_count(f.topology), -1);
    ck_assert_int_eq(neumeta_topology_block_count(f.topology), -1);
    ck_assert_ptr_null(neumeta_topology_block_name(f.topology, 0));
    assert_fails(&f, neumeta_topology_cost(f.topology, sizes, 2, &parameters, NULL),
                 NEUMETA_ERR_STATE, "not sealed");
    assert_fails(&f, neumeta_topology_sizes_at(f.topology, 0.5, sizes, 2), NEUMETA_ERR_STATE,
                 "not sealed");
    assert_fails(&f, neumeta_topology_shapes(f.topology, sizes, 2, NULL, NULL), NEUMETA_ERR_STATE,
                 "not sealed");
    assert_fails(&f, neumeta_topology_axis(f.topology, 0, NULL, NULL, NULL, NULL, NULL),
                 NEUMETA_ERR_STATE, "not sealed");

    assert_ok(f.context, neumeta_topology_begin_block(f.topology, "only"));
    assert_fails(&f, neumeta_topology_begin_block(f.topology, "only"), NEUMETA_ERR_ARGUMENT,
                 "block 'only': the name is taken");
    int32_t conv = add(&f, "conv", NEUMETA_OP_CONV, f.input, f.width, padded(&f));
    assert_ok(f.context, neumeta_topology_seal(f.topology, conv));
    const char *name;
    int32_t kind;
    int64_t min;
    int64_t max;
    int64_t step;
    assert_ok(f.context, neumeta_topology_axis(f.topology, 0, &name, &kind, &min, &max, &step));
    ck_assert_str_eq(name, "width");
    ck_assert(kind == NEUMETA_AXIS_WIDTH && min == 2 && max == 8 && step == 2);
    assert_fails(&f, neumeta_topology_axis(f.topology, 2, &name, NULL, NULL, NULL, NULL),
                 NEUMETA_ERR_ARGUMENT, "axis is 2, must lie in [0, 1]");
    ck_assert_str_eq(name, "width"); /* as it was */
    ck_assert_str_eq(neumeta_topology_block_name(f.topology, 0), "only");
    ck_assert_ptr_null(neumeta_topology_block_name(f.topology, 1));
    ck_assert_ptr_null(neumeta_topology_block_name(f.topology, -1));

    int64_t flops;
    assert_ok(f.context, neumeta_topology_cost(f.topology, sizes, 2, &parameters, &flops));
    ck_assert_int_eq(parameters, 8 * 27 + 8);
    ck_assert_int_eq(flops, 2 * 8 * 27 * 1024);
    sizes[0] = 5;
    assert_fails(&f, neumeta_topology_cost(f.topology, sizes, 2, NULL, NULL), NEUMETA_ERR_ARGUMENT,
                 "axis 'width' (number 0): size is 5, must be 2 plus a multiple of 2");
    sizes[0] = 10;
    assert_fails(&f, neumeta_topology_cost(f.topology, sizes, 2, NULL, NULL), NEUMETA_ERR_ARGUMENT,
                 "size is 10, must lie in [2, 8]");
    assert_fails(&f, neumeta_topology_cost(f.topology, sizes, 3, NULL, NULL), NEUMETA_ERR_ARGUMENT,
                 "3 sizes are given, must be 2");
    assert_fails(&f, neumeta_topology_cost(f.topology, NULL, 2, NULL, NULL), NEUMETA_ERR_ARGUMENT,
                 "sizes is NULL");
    assert_fails(&f, neumeta_topology_sizes_at(f.topology, 1.0, sizes, 2), NEUMETA_ERR_ARGUMENT,
                 "gamma is 1");
    assert_fails(&f, neumeta_topology_sizes_at(f.topology, 0.5, sizes, 1), NEUMETA_ERR_ARGUMENT,
                 "count is 1");
    assert_ok(f.context, neumeta_topology_sizes_at(f.topology, 0.5, sizes, 2));
    ck_assert(sizes[0] == 4 && sizes[1] == 3);

    int64_t input[3], output[3];
    assert_ok(f.context, neumeta_topology_shapes(f.topology, NULL, 0, input, output));
    ck_assert(input[0] == 3 && input[1] == 32 && input[2] == 32);
    ck_assert(output[0] == 8 && output[1] == 32 && output[2] == 32);
    assert_ok(f.context, neumeta_topology_shapes(f.topology, sizes, 2, NULL, output));
    ck_assert(output[0] == 4 && output[1] == 32 && output[2] == 32);
    assert_ok(f.context, neumeta_topology_shapes(f.topology, sizes, 2, input, NULL));
    ck_assert(input[0] == 3);

    int32_t number;
    assert_fails(&f, neumeta_topology_add_axis(f.topology, "late", 1, 1, 1, 1, &number),
                 NEUMETA_ERR_STATE, "sealed");
    assert_fails(
        &f,
        neumeta_topology_add_node(f.topology, "late", NEUMETA_OP_NORM, &conv, 1, -1, NULL, &number),
        NEUMETA_ERR_STATE, "sealed");
    assert_fails(&f, neumeta_topology_begin_block(f.topology, "late"), NEUMETA_ERR_STATE, "sealed");
    assert_fails(&f, neumeta_topology_begin_repeat(f.topology, "late", f.depth, 0, conv),
                 NEUMETA_ERR_STATE, "sealed");
    assert_fails(&f, neumeta_topology_seal(f.topology, conv), NEUMETA_ERR_STATE, "sealed");
    fixture_close(&f);
}
END_TEST

START_TEST(a_repeat_makes_axes_blocks_and_nodes_of_each_repetition)
{
    fixture f = fixture_open();
    int32_t inner;
    int32_t node;
    int32_t stem = add(&f, "stem", NEUMETA_OP_CONV, f.input, f.width, padded(&f));
    assert_ok(f.context, neumeta_topology_begin_repeat(f.topology, "r", f.depth, 0, stem));
    assert_ok(f.context,
              neumeta_topology_add_axis(f.topology, "inner", NEUMETA_AXIS_WIDTH, 1, 4, 1, &inner));
    int32_t a = add(&f, "a", NEUMETA_OP_CONV, stem, inner, padded(&f));
    int32_t b = add(&f, "b", NEUMETA_OP_CONV, a, f.width, padded(&f));
    const int32_t pair[] = {b, stem};
    assert_ok(f.context, neumeta_topology_add_node(f.topology, "sum", NEUMETA_OP_ADD, pair, 2, -1,
                                                   NULL, &node));
    assert_ok(f.context, neumeta_topology_end_repeat(f.topology, node, &node));
    assert_fails(&f,
                 neumeta_topology_add_node(f.topology, "n", NEUMETA_OP_NORM, &b, 1, -1, NULL, &b),
                 NEUMETA_ERR_ARGUMENT, "node 'n': input 'r.0.b' is inside a repeat");
    assert_fails(&f, neumeta_topology_begin_repeat(f.topology, "q", f.depth, 0, b),
                 NEUMETA_ERR_ARGUMENT, "input 'r.0.b' is inside a repeat");
    assert_fails(&f, neumeta_topology_seal(f.topology, b), NEUMETA_ERR_ARGUMENT,
                 "output 'r.0.b' is inside a repeat");
    assert_ok(f.context, neumeta_topology_seal(f.topology, node));

    ck_assert_int_eq(neumeta_topology_axis_count(f.topology), 5);
    ck_assert_int_eq(neumeta_topology_block_count(f.topology), 3);
    ck_assert_str_eq(neumeta_topology_block_name(f.topology, 2), "r.2");
    const char *name;
    assert_ok(f.context,
              neumeta_topology_axis(f.topology, inner + 1, &name, NULL, NULL, NULL, NULL));
    ck_assert_str_eq(name, "r.1.inner");
    for (int64_t depth = 0; depth <= 3; depth++) {
        const int64_t sizes[] = {8, depth, 1, 2, 3};
        int64_t expected = 8 * 27 + 8;
        for (int64_t i = 0; i < depth; i++)
            expected += 2 * 8 * 9 * (i + 1) + (i + 1) + 8;
        int64_t parameters;
        assert_ok(f.context, neumeta_topology_cost(f.topology, sizes, 5, &parameters, NULL));
        ck_assert_int_eq(parameters, expected);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(repeats_are_checked)
{
    fixture f = fixture_open();
    int32_t inner;
    int32_t node = 0;
    neumeta_topology *t = f.topology;
    assert_fails(&f, neumeta_topology_end_repeat(t, 0, &node), NEUMETA_ERR_STATE,
                 "no repeat is open");
    assert_fails(&f, neumeta_topology_begin_repeat(t, "r", f.width, 0, f.input),
                 NEUMETA_ERR_ARGUMENT, "repeat 'r': axis 0 is not an axis of kind depth");
    assert_fails(&f, neumeta_topology_begin_repeat(t, "r", f.depth, 1, f.input),
                 NEUMETA_ERR_ARGUMENT, "repeat 'r': first is 1, must lie in [0, 0]");
    assert_fails(&f, neumeta_topology_begin_repeat(t, "r", f.depth, 0, 4), NEUMETA_ERR_ARGUMENT,
                 "repeat 'r': input is node 4");
    assert_fails(&f, neumeta_topology_begin_repeat(t, "input", f.depth, 0, f.input),
                 NEUMETA_ERR_ARGUMENT, "repeat 'input': a node has this name");
    assert_ok(f.context, neumeta_topology_begin_block(t, "r.1"));
    assert_fails(&f, neumeta_topology_begin_repeat(t, "r", f.depth, 0, f.input),
                 NEUMETA_ERR_ARGUMENT, "block 'r.1': the name is taken");

    assert_ok(f.context, neumeta_topology_begin_repeat(t, "s", f.depth, 0, f.input));
    assert_fails(&f, neumeta_topology_begin_repeat(t, "u", f.depth, 0, f.input), NEUMETA_ERR_STATE,
                 "repeat 's' is still open");
    assert_fails(&f, neumeta_topology_begin_block(t, "b"), NEUMETA_ERR_STATE, "repeat 's' is open");
    assert_fails(&f, neumeta_topology_add_axis(t, "d", NEUMETA_AXIS_DEPTH, 0, 1, 1, &inner),
                 NEUMETA_ERR_ARGUMENT, "only width axes");
    assert_fails(&f, neumeta_topology_end_repeat(t, f.input, &node), NEUMETA_ERR_ARGUMENT,
                 "repeat 's': last is node 0");
    assert_ok(f.context,
              neumeta_topology_add_axis(t, "inner", NEUMETA_AXIS_WIDTH, 1, 4, 1, &inner));
    assert_fails(
        &f, neumeta_topology_add_node(t, "c", NEUMETA_OP_CONV, &f.input, 1, inner + 1, NULL, &node),
        NEUMETA_ERR_ARGUMENT, "node 'c': axis 3 belongs to a later repetition");
    node = add(&f, "conv", NEUMETA_OP_CONV, f.input, f.width, NULL);
    assert_fails(&f, neumeta_topology_seal(t, node), NEUMETA_ERR_STATE, "repeat 's' is still open");
    assert_ok(f.context, neumeta_topology_end_repeat(t, node, &node));
    /* Each repetition shrinks the map, so that its output is not what the next one is promised. */
    assert_fails(&f, neumeta_topology_seal(t, node), NEUMETA_ERR_SHAPE,
                 "node 's': 'input' is 3 x 32 x 32 but 's.0.conv' is 8 x 30 x 30");
    fixture_close(&f);
}
END_TEST

START_TEST(networks_of_ones_own_have_the_published_sizes)
{
    neumeta_context *context = test_context();
    static const struct {
        int64_t classes, parameters, multiply_adds;
    } rows[] = {{0, 21840, 480500}, {10, 283754, 50268672}, {100, 306884, 50291712}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        neumeta_topology *topology = NULL;
        assert_ok(context, rows[i].classes == 0
                               ? custom_lenet_mnist(context, &topology)
                               : custom_resnet20b(context, rows[i].classes, &topology));
        int64_t sizes[64];
        int64_t parameters;
        int64_t flops;
        int32_t axes = neumeta_topology_axis_count(topology);
        assert_ok(context, neumeta_topology_sizes_at(topology, 0.0, sizes, axes));
        assert_ok(context, neumeta_topology_cost(topology, sizes, axes, &parameters, &flops));
        ck_assert_int_eq(parameters, rows[i].parameters);
        ck_assert_int_eq(flops, 2 * rows[i].multiply_adds);
        neumeta_topology_free(topology);
    }
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_topology_outlives_the_context_that_made_it)
{
    neumeta_context *context = test_context();
    neumeta_topology *topology = NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, "lenet", NULL, &topology));
    neumeta_context_free(context);
    ck_assert_int_eq(neumeta_topology_axis_count(topology), 4);
    neumeta_topology_free(topology);
    neumeta_topology_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topology");
    TCase *tests = tcase_create("topology");
    tcase_add_test(tests, every_builtin_is_listed_sealed_and_priced);
    tcase_add_test(tests, builtins_refuse_unknown_names_and_unused_settings);
    tcase_add_test(tests, axes_are_checked);
    tcase_add_test(tests, nodes_are_checked);
    tcase_add_test(tests, sealing_checks_shapes_at_both_ends);
    tcase_add_test(tests, a_sealed_topology_answers_and_an_open_one_does_not);
    tcase_add_test(tests, a_repeat_makes_axes_blocks_and_nodes_of_each_repetition);
    tcase_add_test(tests, repeats_are_checked);
    tcase_add_test(tests, networks_of_ones_own_have_the_published_sizes);
    tcase_add_test(tests, a_topology_outlives_the_context_that_made_it);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
