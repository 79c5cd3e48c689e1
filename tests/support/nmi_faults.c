/* SPDX-License-Identifier: MIT */
/* The failing allocator at work; see nmi_faults.h. */
#include "nmi_faults.h"

#include <stdio.h>
#include <unistd.h>

/* --- runs --- */

void fault_failed(faults *f, const void *out, neumeta_status status, const char *call)
{
    const char *message = f->context != NULL ? neumeta_context_message(f->context) : "memory";
    ck_assert_msg(status == NEUMETA_ERR_MEMORY && f->allocator.failed, "%s gave %d: %s", call,
                  (int)status, message);
    ck_assert_msg(strstr(message, "memory") != NULL, "%s says '%s'", call, message);
    ck_assert_msg(out == NULL, "%s failed and left a handle", call);
}

faults *fault_create(void)
{
    faults *f = calloc(1, sizeof *f);
    ck_assert_ptr_nonnull(f);
    f->digest = UINT64_C(0xcbf29ce484222325);
    return f;
}

void fault_free(faults *f)
{
    neumeta_trainer_free(f->trainer);
    neumeta_schedule_free(f->schedule);
    neumeta_dataset_free(f->dataset);
    neumeta_manifold_free(f->manifold);
    neumeta_network_free(f->network);
    neumeta_topology_free(f->topology);
    neumeta_options_free(f->options);
    neumeta_context_free(f->context);
    if (f->folder != NULL)
        test_directory_remove(f->folder);
    ck_assert_msg(f->allocator.blocks == 0 && f->allocator.bytes == 0, "%lld blocks stay",
                  (long long)f->allocator.blocks);
    free(f->path);
    free(f);
}

/* One run with allocation `n` of the scenario's own refused (0: none). Returns whether it was. */
static bool run_once(const fault_scenario *scenario, int64_t n, bool sticky, int64_t *allocations,
                     uint64_t *digest)
{
    faults *f = fault_create();
    if (scenario->prepare != NULL)
        scenario->prepare(f);
    const int64_t before = f->allocator.calls;
    f->allocator.sticky = sticky;
    f->allocator.fail_at = n > 0 ? before + n : 0;
    scenario->run(f);
    f->allocator.fail_at = 0;
    *allocations = f->allocator.calls - before;
    *digest = f->digest;
    const bool failed = f->allocator.failed;
    fault_free(f);
    return failed;
}

/* NEUMETA_TEST_STRIDE: further ones are left out, where each costs much. */
static int64_t stride_of(const fault_scenario *scenario)
{
    const char *text = getenv("NEUMETA_TEST_STRIDE");
    const int64_t further = text != NULL ? strtoll(text, NULL, 10) : 1;
    return (scenario->stride > 0 ? scenario->stride : 1) * (further > 0 ? further : 1);
}

int64_t fault_run(const fault_scenario *scenario)
{
    const int64_t stride = stride_of(scenario);
    int64_t allocations = 0, present = 0, failures = 0;
    uint64_t expected = 0, digest = 0;
    run_once(scenario, 0, false, &allocations, &expected);
    for (int64_t n = 1; n <= allocations; n += stride)
        for (int sticky = 0; sticky < 2; sticky++, failures++) {
            ck_assert_msg(run_once(scenario, n, sticky != 0, &present, &digest),
                          "%s: allocation %lld of %lld did not come", scenario->name, (long long)n,
                          (long long)allocations);
            ck_assert_msg(digest == expected, "%s: another result after allocation %lld of %lld%s",
                          scenario->name, (long long)n, (long long)allocations,
                          sticky != 0 ? " and all that follow were" : " was refused");
        }
    printf("faults: %s: %lld allocations, %lld failures\n", scenario->name, (long long)allocations,
           (long long)failures);
    fflush(stdout);
    return allocations;
}

void fault_digest(faults *f, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++)
        f->digest = (f->digest ^ at[i]) * UINT64_C(0x100000001b3);
}

void fault_digest_network(faults *f, const neumeta_network *network)
{
    for (int32_t t = 0; t < neumeta_network_tensor_count(network); t++) {
        const char *name;
        const float *data;
        int64_t dims[4], count = 1;
        int32_t rank;
        assert_ok(f->context, neumeta_network_tensor(network, t, &name, dims, &rank, &data));
        for (int32_t d = 0; d < rank; d++)
            count *= dims[d];
        fault_digest(f, name, strlen(name));
        fault_digest(f, dims, sizeof dims);
        fault_digest(f, data, (size_t)count * sizeof *data);
    }
}

/* --- parts --- */

/* Lines are made, and go nowhere. */
static void swallow(void *user, int32_t level, const char *message)
{
    (void)user, (void)level, (void)message;
}

void fault_context(faults *f)
{
    attempt_new(f, &f->context, test_context_create(&f->allocator, &f->context));
    attempt(f, neumeta_context_set_seed(f->context, 3));
    attempt(f, neumeta_context_set_log(f->context, swallow, NULL, NEUMETA_LOG_DEBUG));
}

void fault_options(faults *f, const char *const *pairs)
{
    neumeta_options_free(f->options);
    f->options = NULL;
    attempt_new(f, &f->options, neumeta_options_create(f->context, &f->options));
    for (; pairs[0] != NULL; pairs += 2)
        attempt(f, neumeta_options_parse(f->options, pairs[0], pairs[1]));
}

static int32_t add(faults *f, const char *name, int32_t op, int32_t first, int32_t second,
                   int32_t axis, const neumeta_options *options)
{
    const int32_t inputs[] = {first, second};
    int32_t node = -1;
    attempt(f, neumeta_topology_add_node(f->topology, name, op, inputs,
                                         (first >= 0) + (second >= 0), axis, options, &node));
    return node;
}

static int32_t add_axis(faults *f, const char *name, int32_t kind, int64_t min, int64_t max)
{
    int32_t axis = -1;
    attempt(f, neumeta_topology_add_axis(f->topology, name, kind, min, max, 1, &axis));
    return axis;
}

static int32_t add_body(faults *f, int32_t node, int32_t stream)
{
    int32_t depth = add_axis(f, "depth", NEUMETA_AXIS_DEPTH, 1, 2), last = -1;
    fault_options(f, FAULT_PAIRS("padding", "1", "bias", "0"));
    attempt(f, neumeta_topology_begin_repeat(f->topology, "body", depth, 0, node));
    int32_t inner = add_axis(f, "inner", NEUMETA_AXIS_WIDTH, 2, 4);
    int32_t at = add(f, "conv1", NEUMETA_OP_CONV, node, -1, inner, f->options);
    at = add(f, "bn1", NEUMETA_OP_NORM, at, -1, -1, NULL);
    at = add(f, "relu1", NEUMETA_OP_ACTIVATION, at, -1, -1, NULL);
    at = add(f, "conv2", NEUMETA_OP_CONV, at, -1, stream, f->options);
    at = add(f, "bn2", NEUMETA_OP_NORM, at, -1, -1, NULL);
    at = add(f, "add", NEUMETA_OP_ADD, node, at, -1, NULL);
    at = add(f, "relu2", NEUMETA_OP_ACTIVATION, at, -1, -1, NULL);
    attempt(f, neumeta_topology_end_repeat(f->topology, at, &last));
    return last;
}

void fault_topology(faults *f)
{
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    int32_t stream = add_axis(f, "stream", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t classes = add_axis(f, "classes", NEUMETA_AXIS_WIDTH, FAULT_CLASSES, FAULT_CLASSES);
    attempt(f, neumeta_topology_begin_block(f->topology, "stem"));
    fault_options(f, FAULT_PAIRS("input-channels", "1", "input-height", "6", "input-width", "6"));
    int32_t node = add(f, "input", NEUMETA_OP_INPUT, -1, -1, -1, f->options);
    fault_options(f, FAULT_PAIRS("padding", "1", "bias", "0"));
    node = add(f, "conv", NEUMETA_OP_CONV, node, -1, stream, f->options);
    node = add(f, "bn", NEUMETA_OP_NORM, node, -1, -1, NULL);
    node = add(f, "relu", NEUMETA_OP_ACTIVATION, node, -1, -1, NULL);
    node = add_body(f, node, stream);
    attempt(f, neumeta_topology_begin_block(f->topology, "head"));
    node = add(f, "pool", NEUMETA_OP_POOL_GLOBAL, node, -1, -1, NULL);
    node = add(f, "linear", NEUMETA_OP_LINEAR, node, -1, classes, NULL);
    attempt(f, neumeta_topology_seal(f->topology, node));
}

void fault_network(faults *f, int32_t method)
{
    attempt_new(f, &f->network, neumeta_network_create(f->topology, NULL, 0, &f->network));
    if (method == 0)
        return;
    attempt(f, neumeta_network_replace_norm(f->network, method, NULL));
    neumeta_topology_free(f->topology);
    f->topology = NULL;
    attempt_new(f, &f->topology, neumeta_network_topology(f->network, &f->topology));
}

void fault_manifold(faults *f)
{
    const int64_t blocks[] = {1, 2};
    fault_options(f, FAULT_PAIRS("inr-hidden", "4", "inr-layers", "2", "inr-octaves", "1"));
    attempt(f, neumeta_options_set_ints(f->options, NEUMETA_KEY_MORPH_BLOCKS, blocks, 2));
    attempt_new(f, &f->manifold, neumeta_manifold_create(f->topology, f->options, &f->manifold));
}

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    const faults *f = user;
    for (int64_t i = 0; i < count; i++) {
        int64_t item = indices[i] + (split == NEUMETA_SPLIT_TEST ? FAULT_TRAIN : 0);
        memcpy(inputs + i * FAULT_PIXELS, f->inputs + item * FAULT_PIXELS,
               FAULT_PIXELS * sizeof *inputs);
        targets[i] = f->targets[item];
    }
    return 0;
}

void fault_dataset(faults *f)
{
    test_fill(f->inputs, (FAULT_TRAIN + FAULT_TEST) * FAULT_PIXELS, 7, -1.0f, 1.0f);
    for (int64_t i = 0; i < FAULT_TRAIN + FAULT_TEST; i++)
        f->targets[i] = i % FAULT_CLASSES;
    fault_options(f, FAULT_PAIRS("input-channels", "1", "input-height", "6", "input-width", "6",
                                 "held-out", "4", "augment-shift", "1", "data-mean", "0.1"));
    attempt_new(f, &f->dataset,
                neumeta_dataset_create(f->context, FAULT_TRAIN, FAULT_TEST, fetch, f, f->options,
                                       &f->dataset));
}

void fault_folder(faults *f)
{
    /* Files are synchronised: where that costs nothing, thousands of them do not either. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    f->folder = test_directory();
    f->path = test_path(f->folder, "file");
}

faults *fault_start(int32_t method)
{
    faults *f = fault_create();
    fault_context(f);
    fault_topology(f);
    fault_network(f, method);
    fault_dataset(f);
    return f;
}

faults *fault_start_manifold(void)
{
    faults *f = fault_start(NEUMETA_NORM_FOLD);
    fault_manifold(f);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "1", "batch", "4"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 1, 2, f->options));
    return f;
}
