/* SPDX-License-Identifier: MIT */
/* Storage of weights, memory of inference, and determinism of runs and passes. */
#include "nmi_networks.h"
#include "nmi_pass_internal.h"
#include "nmi_test.h"

#include <math.h>

/* A small residual network with norms. */
static nmi_topology *small_topology(neumeta_context *context)
{
    neumeta_topology *topology = NULL;
    neumeta_options *options = NULL;
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_CHANNELS, 4));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_INPUT_HEIGHT, 12));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_INPUT_WIDTH, 12));
    assert_ok(context,
              neumeta_topology_create_builtin(context, "resnet20-cifar", options, &topology));
    neumeta_options_free(options);
    return topology;
}

static neumeta_context *counted_context(test_allocator *allocator)
{
    neumeta_context *context = NULL;
    *allocator = (test_allocator){0};
    ck_assert_int_eq(test_context_create(allocator, &context), NEUMETA_OK);
    return context;
}

static nmi_network *full_network(neumeta_context *context, nmi_topology *topology)
{
    nmi_network *network = NULL;
    assert_ok(context, neumeta_network_create(topology, NULL, 0, &network));
    return network;
}

START_TEST(a_new_network_is_zero_with_unit_variances)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = small_topology(context);
    int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
    nmi_network *network = NULL;
    nmi_graph_full_sizes(topology, sizes);
    assert_ok(context, nmi_network_create(context, topology, sizes, &network));
    for (int32_t t = 0; t < topology->tensor_count; t++)
        for (int64_t i = 0; i < network->tensors[t].count; i++)
            ck_assert_float_eq(network->tensors[t].data[i],
                               topology->tensors[t].role == NMI_ROLE_RUNNING_VAR ? 1.0f : 0.0f);
    free(sizes);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(fresh_weights_have_the_promised_spread_and_follow_the_seed)
{
    neumeta_context *context = test_context();
    neumeta_topology *topology = NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    nmi_network *one = full_network(context, topology);
    nmi_network *same = full_network(context, topology);
    assert_ok(context, neumeta_context_set_seed(context, 1));
    nmi_network *other = full_network(context, topology);
    const nmi_tensor *conv = nmi_network_find(one, "layer3.2.conv2.weight");
    const nmi_tensor *linear = nmi_network_find(one, "linear.weight");
    double square = 0.0;
    for (int64_t i = 0; i < conv->count; i++)
        square += (double)conv->data[i] * (double)conv->data[i];
    /* 36,864 draws: the sample variance is within 4 % of 2 / fan_in at 5 sigma. */
    ck_assert_double_eq_tol(square / (double)conv->count * (64.0 * 9.0) / 2.0, 1.0, 0.04);
    for (int64_t i = 0; i < linear->count; i++)
        ck_assert_double_le(fabs((double)linear->data[i]), 1.0 / 8.0);
    ck_assert_mem_eq(conv->data, nmi_network_find(same, "layer3.2.conv2.weight")->data,
                     (size_t)conv->count * sizeof(float));
    ck_assert_mem_ne(conv->data, nmi_network_find(other, "layer3.2.conv2.weight")->data,
                     (size_t)conv->count * sizeof(float));
    ck_assert_float_eq(nmi_network_find(one, "bn1.weight")->data[3], 1.0f);
    ck_assert_ptr_null(nmi_network_find(one, "layer9.conv1.weight"));
    nmi_network_release(one);
    nmi_network_release(same);
    nmi_network_release(other);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(resizing_takes_no_memory_and_stays_within_its_room)
{
    test_allocator allocator;
    neumeta_context *context = counted_context(&allocator);
    nmi_topology *topology = small_topology(context);
    nmi_network *network = full_network(context, topology);
    int64_t *sizes = malloc((size_t)topology->axis_count * sizeof *sizes);
    nmi_network *smaller = NULL;
    for (int32_t a = 0; a < topology->axis_count; a++)
        sizes[a] = topology->axes[a].min;
    int64_t calls = allocator.calls;
    assert_ok(context, nmi_network_resize(network, sizes));
    ck_assert_int_eq(allocator.calls, calls);
    ck_assert_ptr_null(nmi_network_find(network, "layer1.2.conv1.weight"));
    ck_assert_int_eq(nmi_network_find(network, "layer1.0.conv1.weight")->dims[0], sizes[2]);

    assert_ok(context, nmi_network_create(context, topology, sizes, &smaller));
    nmi_graph_full_sizes(topology, sizes);
    assert_ok(context, nmi_network_resize(network, sizes));
    assert_status(context, nmi_network_resize(smaller, sizes), NEUMETA_ERR_SHAPE);
    assert_message_contains(context, "outgrows");
    ck_assert_int_eq(smaller->sizes[2], topology->axes[2].min);
    free(sizes);
    nmi_network_release(smaller);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

START_TEST(memory_of_a_run_is_what_is_announced_and_kept)
{
    static const int64_t batches[] = {1, 3, 7, 40};
    test_allocator allocator;
    neumeta_context *context = counted_context(&allocator);
    nmi_topology *topology = small_topology(context);
    assert_ok(context, neumeta_context_set_threads(context, 1 + _i));
    float *inputs = calloc(40 * 3 * 144, sizeof *inputs);
    float outputs[400];
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        nmi_network *network = full_network(context, topology);
        int64_t bytes;
        int64_t before = allocator.bytes;
        assert_ok(context, nmi_network_memory(network, batches[b], &bytes));
        ck_assert_int_eq(allocator.bytes, before);
        assert_ok(context, nmi_network_run(network, inputs, batches[b], outputs));
        ck_assert_int_eq(allocator.bytes - before, bytes);
        int64_t calls = allocator.calls;
        assert_ok(context, nmi_network_run(network, inputs, batches[b], outputs));
        assert_ok(context, nmi_network_run(network, inputs, 1, outputs));
        nmi_network_touch(network);
        assert_ok(context, nmi_network_run(network, inputs, batches[b], outputs));
        ck_assert_int_eq(allocator.calls, calls);
        nmi_network_release(network);
    }
    free(inputs);
    nmi_topology_release(topology);
    neumeta_context_free(context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

START_TEST(a_pass_takes_no_memory_after_its_creation)
{
    test_allocator allocator;
    neumeta_context *context = counted_context(&allocator);
    nmi_topology *topology = small_topology(context);
    nmi_network *network = full_network(context, topology);
    nmi_pass *pass = NULL;
    float **gradients = calloc((size_t)topology->tensor_count, sizeof *gradients);
    float *inputs = calloc(20 * 3 * 144, sizeof *inputs);
    float outputs[200] = {0};
    assert_ok(context, neumeta_context_set_threads(context, 2));
    assert_ok(context, nmi_pass_create(context, topology, network->sizes, 20, NMI_FP32, &pass));
    gradients[0] = calloc((size_t)network->tensors[0].count, sizeof(float));
    int64_t calls = allocator.calls;
    for (int64_t items = 1; items <= 20; items += 6) {
        nmi_pass_forward(pass, network, inputs, items, NULL);
        nmi_pass_backward(pass, network, outputs, gradients);
    }
    ck_assert_int_eq(allocator.calls, calls);
    free(gradients[0]);
    free(gradients);
    free(inputs);
    nmi_pass_free(pass);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

/* Loss directions of a network whose inner convolution has fewer than eight channels, by a pass
 * that was made for the widest one and by one of its own: at the narrow one another path runs. */
START_TEST(a_pass_has_room_for_narrower_convolutions)
{
    enum { IMAGES = 16, SIDE = 64, CHANNELS = 8, FLOATS = IMAGES * CHANNELS * SIDE * SIDE };
    nmi_context *context = test_context();
    assert_ok(context, neumeta_context_set_threads(context, 2));
    nmi_topology *t = test_topology(context);
    const int32_t inner = test_axis(t, "inner", NEUMETA_AXIS_WIDTH, 2, 16);
    const int32_t out = test_axis(t, "out", NEUMETA_AXIS_WIDTH, CHANNELS, CHANNELS);
    const int32_t first = test_conv(t, "a", test_input(t, CHANNELS, SIDE), inner);
    nmi_network *network = test_sealed(t, test_conv(t, "b", first, out), 3);
    float *inputs = malloc(FLOATS * sizeof *inputs), *direction = malloc(FLOATS * sizeof *inputs);
    float *gradients[2][4] = {{NULL}}, *outputs[2];
    const int64_t widest[] = {16, CHANNELS}, narrow[] = {5, CHANNELS};
    nmi_pass *passes[2] = {NULL, NULL};
    test_fill(inputs, FLOATS, 5, -1, 1);
    test_fill(direction, FLOATS, 6, -1, 1);
    assert_ok(context, nmi_network_resize(network, narrow));
    test_fill(network->tensors[0].data, network->tensors[0].count, 7, -0.1f, 0.1f);
    ck_assert_int_le(network->topology->tensor_count, 4);
    for (int p = 0; p < 2; p++) {
        assert_ok(context, nmi_pass_create(context, network->topology, p == 0 ? widest : narrow,
                                           IMAGES, NMI_FP32, &passes[p]));
        outputs[p] = malloc(FLOATS * sizeof *outputs[p]);
        for (int32_t i = 0; i < network->topology->tensor_count; i++)
            gradients[p][i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        const float *found = nmi_pass_forward(passes[p], network, inputs, IMAGES, NULL);
        memcpy(outputs[p], found, FLOATS * sizeof *found);
        nmi_pass_backward(passes[p], network, direction, gradients[p]);
    }
    ck_assert_mem_eq(outputs[0], outputs[1], FLOATS * sizeof(float));
    for (int32_t i = 0; i < network->topology->tensor_count; i++)
        ck_assert_mem_eq(gradients[0][i], gradients[1][i],
                         (size_t)network->tensors[i].count * sizeof(float));
    for (int p = 0; p < 2; p++) {
        for (int32_t i = 0; i < network->topology->tensor_count; i++)
            free(gradients[p][i]);
        free(outputs[p]);
        nmi_pass_free(passes[p]);
    }
    free(inputs);
    free(direction);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

/* A pass over a small network without norms, one of whose blocks changes and is trained. */
typedef struct training {
    neumeta_context *context;
    nmi_topology *topology;
    nmi_network *network;
    nmi_pass *pass;
    float *inputs, direction[5 * 10];
    bool *changed;     /* [tensor_count]: those of the block */
    float **gradients; /* [tensor_count]: NULL but for them */
} training;

enum { ITEMS = 5, INPUTS = ITEMS * 3 * 144 };

static training training_create(const char *block)
{
    training t = {.context = test_context()};
    neumeta_options *options = NULL;
    assert_ok(t.context, neumeta_options_create(t.context, &options));
    assert_ok(t.context, neumeta_options_parse(options, "channels", "4"));
    assert_ok(t.context, neumeta_options_parse(options, "input-height", "12"));
    assert_ok(t.context, neumeta_options_parse(options, "input-width", "12"));
    assert_ok(t.context, neumeta_options_parse(options, "norm", "none"));
    assert_ok(t.context,
              neumeta_topology_create_builtin(t.context, "resnet20-cifar", options, &t.topology));
    neumeta_options_free(options);
    t.network = full_network(t.context, t.topology);
    assert_ok(t.context,
              nmi_pass_create(t.context, t.topology, t.network->sizes, ITEMS, NMI_FP32, &t.pass));
    t.inputs = malloc(INPUTS * sizeof *t.inputs);
    test_fill(t.inputs, INPUTS, 3, -1.0f, 1.0f);
    test_fill(t.direction, ITEMS * 10, 4, -1.0f, 1.0f);
    t.changed = calloc((size_t)t.topology->tensor_count, sizeof *t.changed);
    t.gradients = calloc((size_t)t.topology->tensor_count, sizeof *t.gradients);
    for (int32_t i = 0; i < t.topology->tensor_count; i++) {
        t.changed[i] = strncmp(t.topology->tensors[i].name, block, strlen(block)) == 0;
        if (t.changed[i])
            t.gradients[i] = calloc((size_t)t.network->tensors[i].count, sizeof(float));
    }
    return t;
}

static void training_free(training *t)
{
    for (int32_t i = 0; i < t->topology->tensor_count; i++)
        free(t->gradients[i]);
    free(t->gradients);
    free(t->changed);
    free(t->inputs);
    nmi_pass_free(t->pass);
    nmi_network_release(t->network);
    nmi_topology_release(t->topology);
    neumeta_context_free(t->context);
}

START_TEST(a_forward_again_computes_only_what_changed)
{
    static const char *const blocks[] = {"layer3.2.", "layer1.0."};
    training t = training_create(blocks[_i]);
    float expected[ITEMS * 10];
    nmi_pass_forward(t.pass, t.network, t.inputs, ITEMS, NULL);
    for (int32_t i = 0; i < t.topology->tensor_count; i++)
        for (int64_t e = 0; t.changed[i] && e < t.network->tensors[i].count; e++)
            t.network->tensors[i].data[e] *= 0.5f;
    memcpy(expected, nmi_pass_forward_again(t.pass, t.network, t.changed), sizeof expected);
    /* Neither the inputs nor the weights in front are looked at again. */
    for (int64_t i = 0; i < INPUTS; i++)
        t.inputs[i] = NAN;
    nmi_network_find(t.network, "conv1.weight")->data[0] = NAN;
    ck_assert_mem_eq(nmi_pass_forward_again(t.pass, t.network, t.changed), expected,
                     sizeof expected);
    t.changed[0] = true; /* the stem's: now they are */
    ck_assert(isnan(nmi_pass_forward_again(t.pass, t.network, t.changed)[0]));
    training_free(&t);
}
END_TEST

/* Whether all of the node's part of the chunks' partial gradients is `value`. */
static bool partials_are(const nmi_pass *pass, int32_t node, float value)
{
    const nmi_places *places = &pass->places[node];
    for (int64_t chunk = 0; chunk < pass->chunks; chunk++)
        for (int64_t i = places->partial; i < places->bias + places->vector; i++)
            if (pass->partials[chunk * pass->partial_floats + i] != value)
                return false;
    return true;
}

START_TEST(backward_stops_at_the_lowest_trained_block)
{
    const float untouched = 12345.0f;
    training t = training_create("layer2.1.");
    const nmi_pass *pass = t.pass;
    int32_t lowest = t.topology->node_count;
    nmi_pass_forward(t.pass, t.network, t.inputs, ITEMS, NULL);
    for (int64_t i = 0; i < NMI_PASS_CHUNKS * pass->partial_floats; i++)
        pass->partials[i] = untouched;
    for (int32_t n = 0; n < t.topology->node_count; n++)
        if (pass->tensors[n].weight >= 0) /* no norms: convolutions and the classifier */
            pass->packed[pass->places[n].transposed] = untouched;
    nmi_pass_backward(t.pass, t.network, t.direction, t.gradients);
    for (int32_t n = t.topology->node_count - 1; n >= 0; n--)
        if (pass->tensors[n].weight >= 0 && t.changed[pass->tensors[n].weight])
            lowest = n;
    ck_assert_int_lt(lowest, t.topology->node_count);
    for (int32_t n = 0; n < t.topology->node_count; n++) {
        const int32_t weight = pass->tensors[n].weight;
        if (n < lowest && pass->steps.end[n] < lowest)
            ck_assert(!pass->reached[n]);
        if (weight < 0)
            continue;
        /* No gradient of a frozen weight, and none of an input below. */
        ck_assert_int_eq(partials_are(pass, n, untouched), !t.changed[weight]);
        ck_assert_int_eq(pass->packed[pass->places[n].transposed] == untouched, n <= lowest);
    }
    training_free(&t);
}
END_TEST

START_TEST(runs_do_not_depend_on_batch_or_threads)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = small_topology(context);
    nmi_network *network = full_network(context, topology);
    float *inputs = malloc(11 * 432 * sizeof *inputs);
    float all[110];
    float one[110];
    test_fill(inputs, 11 * 432, 3, -1.0f, 1.0f);
    for (int32_t threads = 1; threads <= 2; threads++) {
        assert_ok(context, neumeta_context_set_threads(context, threads));
        assert_ok(context, nmi_network_run(network, inputs, 11, threads == 1 ? all : one));
    }
    ck_assert_mem_eq(all, one, sizeof all);
    for (int64_t i = 0; i < 11; i++)
        assert_ok(context, nmi_network_run(network, inputs + i * 432, 1, one + i * 10));
    ck_assert_mem_eq(all, one, sizeof all);
    free(inputs);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(changed_weights_reach_the_next_run)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = small_topology(context);
    nmi_network *network = full_network(context, topology);
    nmi_network *copy = NULL;
    float inputs[432];
    float before[10];
    float after[10];
    test_fill(inputs, 432, 3, -1.0f, 1.0f);
    assert_ok(context, nmi_network_run(network, inputs, 1, before));
    assert_ok(context, nmi_network_copy(network, &copy));
    nmi_network_find(network, "linear.bias")->data[4] += 2.0f;
    nmi_network_touch(network);
    assert_ok(context, nmi_network_run(network, inputs, 1, after));
    ck_assert_float_eq_tol(after[4], before[4] + 2.0f, 1e-5f);
    assert_ok(context, nmi_network_run(copy, inputs, 1, after));
    ck_assert_mem_eq(after, before, sizeof after);
    nmi_network_become(network, copy); /* and the copy is gone */
    assert_ok(context, nmi_network_run(network, inputs, 1, after));
    ck_assert_mem_eq(after, before, sizeof after);
    nmi_network_release(network);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(weights_are_shared_as_long_as_a_copy_lives)
{
    neumeta_context *context = test_context();
    neumeta_context *other = test_context();
    nmi_topology *topology = small_topology(context);
    nmi_network *network = full_network(context, topology);
    nmi_network *here = NULL;
    nmi_network *there = NULL;
    ck_assert(!nmi_network_is_shared(network));
    assert_ok(context, nmi_network_share(network, context, &here));
    assert_ok(other, nmi_network_share(network, other, &there));
    ck_assert(nmi_network_is_shared(network) && nmi_network_is_shared(there));
    ck_assert_ptr_eq(here->topology, network->topology);
    ck_assert_ptr_ne(there->topology, network->topology);
    ck_assert_ptr_eq(there->tensors[5].data, network->tensors[5].data);
    nmi_network_release(here);
    nmi_network_release(network);
    ck_assert(!nmi_network_is_shared(there));
    nmi_topology_release(topology);
    neumeta_context_free(context);
    float inputs[432] = {0};
    float outputs[10];
    assert_ok(other, nmi_network_run(there, inputs, 1, outputs));
    nmi_network_release(there);
    neumeta_context_free(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("network");
    TCase *tests = tcase_create("weights and runs");
    tcase_add_test(tests, a_new_network_is_zero_with_unit_variances);
    tcase_add_test(tests, fresh_weights_have_the_promised_spread_and_follow_the_seed);
    tcase_add_test(tests, resizing_takes_no_memory_and_stays_within_its_room);
    tcase_add_loop_test(tests, memory_of_a_run_is_what_is_announced_and_kept, 0, 2);
    tcase_add_test(tests, a_pass_takes_no_memory_after_its_creation);
    tcase_add_test(tests, a_pass_has_room_for_narrower_convolutions);
    tcase_add_loop_test(tests, a_forward_again_computes_only_what_changed, 0, 2);
    tcase_add_test(tests, backward_stops_at_the_lowest_trained_block);
    tcase_add_test(tests, runs_do_not_depend_on_batch_or_threads);
    tcase_add_test(tests, changed_weights_reach_the_next_run);
    tcase_add_test(tests, weights_are_shared_as_long_as_a_copy_lives);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
