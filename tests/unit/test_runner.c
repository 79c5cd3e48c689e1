/* SPDX-License-Identifier: MIT */
/*
 * Inference by several workers: borders, shares of images, places of values, memory and packing, on
 * a network with every operator that is large enough to be shared.
 */
#include "nmi_conv.h"
#include "nmi_networks.h"
#include "nmi_pass.h"
#include "nmi_random.h"
#include "nmi_steps.h"

enum { SIDE = 12, CLASSES = 10, BATCH = 7, IMAGE = 3 * SIDE * SIDE };

static nmi_options *window(nmi_context *context, int64_t kernel, int64_t stride, int64_t padding)
{
    return test_options(context, NEUMETA_KEY_KERNEL, (double)kernel, NEUMETA_KEY_STRIDE,
                        (double)stride, NEUMETA_KEY_PADDING, (double)padding);
}

static int32_t windowed(nmi_topology *topology, const char *name, int32_t op, int32_t input,
                        int32_t axis, int64_t kernel, int64_t stride, int64_t padding)
{
    nmi_context *context = topology->object.context;
    return test_node(topology, name, op, &input, 1, axis, window(context, kernel, stride, padding));
}

static int32_t shortcut(nmi_topology *topology, const char *name, int32_t input, int32_t axis)
{
    nmi_context *context = topology->object.context;
    return test_node(topology, name, NEUMETA_OP_SHORTCUT, &input, 1, axis,
                     test_options(context, NEUMETA_KEY_STRIDE, 2, 0, 0, 0, 0));
}

/* Two residual blocks, the second of which adds in place, with kernels of different padding. */
static int32_t add_blocks(nmi_topology *topology, int32_t input, int32_t axis)
{
    int32_t first = test_conv(topology, "first", input, axis);
    first = test_unary(topology, "first relu", NEUMETA_OP_ACTIVATION, first);
    int32_t own = test_conv(topology, "own", first, axis);
    int32_t sum = test_join(topology, "own sum", NEUMETA_OP_ADD, own, first);
    sum = test_unary(topology, "own relu", NEUMETA_OP_ACTIVATION, sum);
    int32_t inner = test_conv(topology, "inner", sum, axis);
    inner = test_unary(topology, "inner relu", NEUMETA_OP_ACTIVATION, inner);
    int32_t outer = windowed(topology, "outer", NEUMETA_OP_CONV, inner, axis, 5, 1, 2);
    sum = test_join(topology, "sum", NEUMETA_OP_ADD, outer, sum);
    return test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, sum);
}

static int32_t add_paths(nmi_topology *topology, int32_t input, int32_t axis, int32_t other)
{
    int32_t pool = windowed(topology, "max", NEUMETA_OP_POOL_MAX, input, -1, 3, 2, 1);
    int32_t side = shortcut(topology, "side", input, axis);
    int32_t both = test_join(topology, "both", NEUMETA_OP_CONCAT, pool, side);
    both = test_unary(topology, "bent", NEUMETA_OP_ACTIVATION, both);
    both = test_unary(topology, "affine", NEUMETA_OP_AFFINE, both);
    both = test_unary(topology, "scale", NEUMETA_OP_SCALE, both);
    int32_t point = windowed(topology, "point", NEUMETA_OP_CONV, both, other, 1, 1, 0);
    int32_t average = windowed(topology, "average", NEUMETA_OP_POOL_AVERAGE, point, -1, 3, 2, 1);
    int32_t strided = windowed(topology, "strided", NEUMETA_OP_CONV, both, other, 3, 2, 1);
    const int32_t terms[] = {average, strided, shortcut(topology, "skip", both, other)};
    int32_t sum = test_node(topology, "terms", NEUMETA_OP_ADD, terms, 3, -1, NULL);
    return test_unary(topology, "terms relu", NEUMETA_OP_ACTIVATION, sum);
}

static nmi_network *large_network(nmi_context *context, int64_t width)
{
    nmi_topology *topology = test_topology(context);
    int32_t axis = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 1, 33);
    int32_t other = test_axis(topology, "other", NEUMETA_AXIS_WIDTH, 48, 48);
    int32_t hidden = test_axis(topology, "hidden", NEUMETA_AXIS_WIDTH, 200, 200);
    int32_t classes = test_axis(topology, "classes", NEUMETA_AXIS_WIDTH, CLASSES, CLASSES);
    int32_t node = add_blocks(topology, test_input(topology, 3, SIDE), axis);
    node = add_paths(topology, node, axis, other);
    int32_t mean = test_unary(topology, "mean", NEUMETA_OP_POOL_GLOBAL, node);
    int32_t flat = test_unary(topology, "flat", NEUMETA_OP_FLATTEN, node);
    flat = test_linear(topology, "hidden layer", flat, hidden);
    int32_t features = test_join(topology, "features", NEUMETA_OP_CONCAT, flat, mean);
    int32_t output = test_linear(topology, "output", features, classes);
    assert_ok(context, nmi_topology_seal(topology, output));
    return test_network(topology, (const int64_t[]){width, 48, 200, CLASSES}, 5);
}

/* Fresh memory reads as NaN. */
static void *allocate_nan(void *allocator, uint64_t size, uint64_t alignment)
{
    void *memory = test_allocate(allocator, size, alignment);
    if (memory != NULL)
        memset(memory, 0xFF, (size_t)size);
    return memory;
}

static nmi_context *nan_context(test_allocator *allocator)
{
    nmi_context *context = NULL;
    *allocator = (test_allocator){0};
    ck_assert_int_eq(neumeta_context_create(allocate_nan, test_release, allocator, &context),
                     NEUMETA_OK);
    return context;
}

static float *random_images(void)
{
    float *inputs = malloc(BATCH * IMAGE * sizeof *inputs);
    test_fill(inputs, BATCH * IMAGE, 3, -1.0f, 1.0f);
    return inputs;
}

static const int64_t widths[] = {33, 16, 1};

/* The pass of training keeps plain images and shares nothing. */
static bool collide(const nmi_span *a, const nmi_span *b)
{
    return a->first <= b->last && b->first <= a->last && a->offset < b->offset + b->size &&
           b->offset < a->offset + a->size;
}

/* Whether the place would be free below, for those that came before. */
static bool is_free(const nmi_span *spans, int32_t index, int64_t offset)
{
    nmi_span span = spans[index];
    span.offset = offset;
    for (int32_t j = 0; j < index; j++)
        if (collide(&span, &spans[j]))
            return false;
    return true;
}

START_TEST(values_lie_in_the_lowest_place_that_is_free)
{
    enum { SPANS = 60, MANY = 1 << 14 };
    nmi_random random = nmi_random_start(77);
    nmi_span spans[SPANS];
    for (int round = 0; round < 200; round++) {
        int64_t end = 0;
        for (int32_t i = 0; i < SPANS; i++) {
            spans[i].first = i / 2;
            spans[i].last = i / 2 + nmi_random_below(&random, 12);
            spans[i].size = 1 + nmi_random_below(&random, 9);
        }
        const int64_t total = nmi_spans_arrange(spans, SPANS);
        for (int32_t i = 0; i < SPANS; i++) {
            ck_assert(is_free(spans, i, spans[i].offset));
            for (int64_t below = 0; below < spans[i].offset; below++)
                ck_assert(!is_free(spans, i, below));
            end = spans[i].offset + spans[i].size > end ? spans[i].offset + spans[i].size : end;
        }
        ck_assert_int_eq(total, end);
    }
    /* As many as a topology may have, all at once: done in a moment, not in a quarter of an hour.
     */
    nmi_span *many = calloc(MANY, sizeof *many);
    ck_assert_ptr_nonnull(many);
    for (int32_t i = 0; i < MANY; i++)
        many[i] = (nmi_span){.first = i, .last = MANY, .size = 16};
    ck_assert_int_eq(nmi_spans_arrange(many, MANY), (int64_t)16 * MANY);
    free(many);
}
END_TEST

START_TEST(inference_computes_what_training_does)
{
    test_allocator allocator;
    nmi_context *context = nan_context(&allocator);
    nmi_network *network = large_network(context, widths[_i]);
    float *inputs = random_images();
    float outputs[BATCH * CLASSES];
    nmi_pass *pass = NULL;
    assert_ok(context,
              nmi_pass_create(context, network->topology, network->sizes, BATCH, NMI_FP32, &pass));
    const float *expected = nmi_pass_forward(pass, network, inputs, BATCH, NULL);
    for (int32_t lanes = 1; lanes <= 4; lanes++) {
        assert_ok(context, nmi_workers_set_lanes(context, lanes));
        assert_ok(context, nmi_network_run(network, inputs, BATCH, outputs));
        assert_near(outputs, expected, BATCH * CLASSES, 1e-5, 1e-5);
    }
    nmi_pass_free(pass);
    nmi_network_release(network);
    neumeta_context_free(context);
    free(inputs);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

START_TEST(bits_do_not_depend_on_lanes_or_batch)
{
    test_allocator allocator;
    nmi_context *context = nan_context(&allocator);
    nmi_network *network = large_network(context, widths[_i]);
    float *inputs = random_images();
    float expected[BATCH * CLASSES], outputs[BATCH * CLASSES];
    assert_ok(context, nmi_network_run(network, inputs, BATCH, expected));
    for (int32_t lanes = 1; lanes <= 6; lanes++) {
        assert_ok(context, nmi_workers_set_lanes(context, lanes));
        for (int64_t batch = 1; batch <= BATCH; batch += batch < 3 ? 1 : 2) {
            for (int64_t i = 0; i < BATCH * CLASSES; i++)
                outputs[i] = 7.0f;
            assert_ok(context, nmi_network_run(network, inputs, batch, outputs));
            ck_assert_mem_eq(outputs, expected, (size_t)(batch * CLASSES) * sizeof *outputs);
            for (int64_t i = batch * CLASSES; i < BATCH * CLASSES; i++)
                ck_assert_float_eq(outputs[i], 7.0f);
        }
    }
    nmi_network_release(network);
    neumeta_context_free(context);
    free(inputs);
}
END_TEST

START_TEST(memory_is_what_is_announced_on_any_number_of_lanes)
{
    test_allocator allocator;
    nmi_context *context = nan_context(&allocator);
    float *inputs = random_images();
    float outputs[BATCH * CLASSES];
    assert_ok(context, nmi_workers_set_lanes(context, 1 + _i));
    for (int64_t batch = 1; batch <= BATCH; batch += batch < 3 ? 1 : 2) {
        nmi_network *network = large_network(context, 33);
        int64_t bytes, before = allocator.bytes;
        assert_ok(context, nmi_network_memory(network, batch, &bytes));
        ck_assert_int_eq(allocator.bytes, before);
        assert_ok(context, nmi_network_run(network, inputs, batch, outputs));
        ck_assert_int_eq(allocator.bytes - before, bytes);
        int64_t calls = allocator.calls;
        assert_ok(context, nmi_network_run(network, inputs, batch, outputs));
        nmi_network_touch(network);
        for (int64_t smaller = batch; smaller >= 1; smaller -= 2)
            assert_ok(context, nmi_network_run(network, inputs, smaller, outputs));
        ck_assert_int_eq(allocator.calls, calls);
        nmi_network_release(network);
    }
    free(inputs);
    neumeta_context_free(context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

START_TEST(a_smaller_batch_never_needs_more_memory)
{
    nmi_context *context = test_context();
    for (int32_t lanes = 1; lanes <= 5; lanes++) {
        nmi_network *network = large_network(context, _i == 0 ? 33 : 1);
        int64_t before = 0, bytes;
        assert_ok(context, nmi_workers_set_lanes(context, lanes));
        for (int64_t batch = 1; batch <= 40; batch++, before = bytes) {
            assert_ok(context, nmi_network_memory(network, batch, &bytes));
            ck_assert_int_ge(bytes, before);
        }
        nmi_network_release(network);
    }
    neumeta_context_free(context);
}
END_TEST

START_TEST(weights_are_packed_once_for_each_change)
{
    nmi_context *context = test_context();
    nmi_network *network = large_network(context, 33);
    float *inputs = random_images();
    float before[CLASSES], after[CLASSES];
    assert_ok(context, nmi_network_run(network, inputs, 1, before));
    nmi_network_find(network, "first.weight")->data[0] += 1.0f;
    assert_ok(context, nmi_network_run(network, inputs, 1, after));
    ck_assert_mem_eq(after, before, sizeof after); /* nobody was told */
    nmi_network_touch(network);
    assert_ok(context, nmi_network_run(network, inputs, 1, after));
    ck_assert_mem_ne(after, before, sizeof after);
    nmi_network_release(network);
    neumeta_context_free(context);
    free(inputs);
}
END_TEST

static void count_jobs(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    *(int64_t *)user += 1;
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

START_TEST(one_image_calls_helpers_only_where_that_pays)
{
    nmi_context *context = test_context();
    nmi_network *large = large_network(context, 33);
    nmi_network *small = large_network(context, 1);
    float *inputs = random_images();
    float outputs[2 * CLASSES];
    int64_t jobs = 0;
    assert_ok(context, nmi_workers_set_parallel(context, count_jobs, &jobs, 2));
    assert_ok(context, nmi_network_run(small, inputs, 1, outputs));
    ck_assert_int_eq(jobs, 0);
    assert_ok(context, nmi_network_run(large, inputs, 1, outputs));
    ck_assert_int_eq(jobs, nmi_conv_reads_borders(context->kernels) ? 1 : 0);
    jobs = 0;
    assert_ok(context, nmi_network_run(large, inputs, 2, outputs)); /* an image each */
    ck_assert_int_eq(jobs, 1);
    nmi_network_release(small);
    nmi_network_release(large);
    neumeta_context_free(context);
    free(inputs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner");
    TCase *tests = tcase_create("runs");
    tcase_add_loop_test(tests, inference_computes_what_training_does, 0, 3);
    tcase_add_loop_test(tests, bits_do_not_depend_on_lanes_or_batch, 0, 3);
    tcase_add_loop_test(tests, memory_is_what_is_announced_on_any_number_of_lanes, 0, 4);
    tcase_add_loop_test(tests, a_smaller_batch_never_needs_more_memory, 0, 2);
    tcase_add_test(tests, values_lie_in_the_lowest_place_that_is_free);
    tcase_add_test(tests, weights_are_packed_once_for_each_change);
    tcase_add_test(tests, one_image_calls_helpers_only_where_that_pays);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
