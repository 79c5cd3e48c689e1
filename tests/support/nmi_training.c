/* SPDX-License-Identifier: MIT */
#include "nmi_training.h"

#include <stdio.h>

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    test_problem *problem = user;
    int64_t start = split == NEUMETA_SPLIT_TEST ? PROBLEM_ITEMS : 0;
    if (++problem->fetches == problem->fail_at)
        return 7;
    for (int64_t i = 0; i < count; i++) {
        int64_t item = start + indices[i];
        memcpy(inputs + i * PROBLEM_PIXELS, problem->inputs + item * PROBLEM_PIXELS,
               PROBLEM_PIXELS * sizeof(float));
        targets[i] = problem->targets[item];
    }
    return 0;
}

static void make_items(test_problem *problem)
{
    const int64_t items = PROBLEM_ITEMS + PROBLEM_TEST;
    problem->inputs = malloc((size_t)(items * PROBLEM_PIXELS) * sizeof(float));
    problem->targets = malloc((size_t)items * sizeof(int64_t));
    ck_assert(problem->inputs != NULL && problem->targets != NULL);
    test_fill(problem->inputs, items * PROBLEM_PIXELS, 11, 0.0f, 0.5f);
    for (int64_t i = 0; i < items; i++) {
        int64_t quadrant = (i * 7 + i / 5) % PROBLEM_CLASSES;
        int64_t row = quadrant / 2 * 4 + i % 3, column = quadrant % 2 * 4 + i % 2;
        for (int64_t p = 0; p < 4; p++)
            problem->inputs[i * PROBLEM_PIXELS + (row + p / 2) * 8 + column + p % 2] += 1.0f;
        problem->targets[i] = quadrant;
    }
}

neumeta_options *problem_options(neumeta_context *context, const char *const *pairs)
{
    neumeta_options *options = NULL;
    assert_ok(context, neumeta_options_create(context, &options));
    for (; pairs[0] != NULL; pairs += 2)
        assert_ok(context, neumeta_options_parse(options, pairs[0], pairs[1]));
    return options;
}

void problem_create(test_problem *problem, int32_t threads, int32_t method, int64_t held_out)
{
    *problem = (test_problem){.context = test_context()};
    neumeta_context *context = problem->context;
    char kept[16];
    snprintf(kept, sizeof kept, "%d", (int)held_out);
    make_items(problem);
    assert_ok(context, neumeta_context_set_threads(context, threads));
    assert_ok(context, neumeta_context_set_seed(context, 5));
    neumeta_options *shape =
        problem_options(context, PAIRS("input-channels", "1", "input-height", "8", "input-width",
                                       "8", "channels", "4", "classes", "4"));
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", shape,
                                                       &problem->topology));
    neumeta_options_free(shape);
    assert_ok(context, neumeta_network_create(problem->topology, NULL, 0, &problem->network));
    if (method != 0) {
        neumeta_topology_free(problem->topology);
        assert_ok(context, neumeta_network_replace_norm(problem->network, method, NULL));
        assert_ok(context, neumeta_network_topology(problem->network, &problem->topology));
    }
    neumeta_options *data = problem_options(
        context, PAIRS("input-channels", "1", "input-height", "8", "input-width", "8", "held-out",
                       kept, "augment-shift", "1", "data-mean", "0.25"));
    assert_ok(context, neumeta_dataset_create(context, PROBLEM_ITEMS, PROBLEM_TEST, fetch, problem,
                                              data, &problem->dataset));
    neumeta_options_free(data);
}

void problem_manifold(test_problem *problem, int64_t hidden)
{
    const int64_t blocks[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    neumeta_options *options =
        problem_options(problem->context, PAIRS("inr-layers", "2", "inr-octaves", "3"));
    assert_ok(problem->context, neumeta_options_set_int(options, NEUMETA_KEY_INR_HIDDEN, hidden));
    assert_ok(problem->context,
              neumeta_options_set_ints(options, NEUMETA_KEY_MORPH_BLOCKS, blocks, 9));
    assert_ok(problem->context,
              neumeta_manifold_create(problem->topology, options, &problem->manifold));
    neumeta_options_free(options);
}

void problem_grids(test_problem *problem, const char *const *pairs)
{
    neumeta_options *options = problem_options(problem->context, pairs);
    assert_ok(problem->context, neumeta_options_parse(options, "inr-kind", "grid"));
    assert_ok(problem->context,
              neumeta_manifold_create(problem->topology, options, &problem->manifold));
    neumeta_options_free(options);
}

int32_t problem_axis(const test_problem *problem, const char *name)
{
    const char *found = NULL;
    int32_t axis = 0;
    while (neumeta_topology_axis(problem->topology, axis, &found, NULL, NULL, NULL, NULL) ==
               NEUMETA_OK &&
           strcmp(found, name) != 0)
        axis++;
    ck_assert_int_lt(axis, neumeta_topology_axis_count(problem->topology));
    return axis;
}

neumeta_status problem_calibrate(test_problem *problem, const char *const *pairs,
                                 neumeta_watch_fn watch, void *user, double *error)
{
    neumeta_options *options = problem_options(problem->context, pairs);
    neumeta_status status = neumeta_manifold_calibrate(problem->manifold, problem->dataset, options,
                                                       watch, user, error);
    neumeta_options_free(options);
    return status;
}

neumeta_status problem_search(test_problem *problem, const char *const *pairs,
                              neumeta_watch_fn watch, void *user)
{
    neumeta_options *options = problem_options(problem->context, pairs);
    neumeta_status status =
        neumeta_manifold_search(problem->manifold, problem->dataset, options, watch, user);
    neumeta_options_free(options);
    return status;
}

void problem_free(test_problem *problem)
{
    neumeta_manifold_free(problem->manifold);
    neumeta_network_free(problem->network);
    neumeta_topology_free(problem->topology);
    neumeta_dataset_free(problem->dataset);
    neumeta_context_free(problem->context);
    free(problem->inputs);
    free(problem->targets);
}

neumeta_schedule *problem_schedule(test_problem *problem, int32_t first, int32_t last,
                                   const char *const *pairs)
{
    neumeta_schedule *schedule = NULL;
    neumeta_options *options = problem_options(problem->context, pairs);
    assert_ok(problem->context, neumeta_schedule_create(problem->context, &schedule));
    assert_ok(problem->context, neumeta_schedule_add_phase(schedule, "only", first, last, options));
    neumeta_options_free(options);
    return schedule;
}

float *problem_weights(const neumeta_network *network, int64_t *count)
{
    float *all = NULL;
    *count = 0;
    for (int32_t t = 0; t < neumeta_network_tensor_count(network); t++) {
        const float *data = NULL;
        int64_t dims[4], elements = 1;
        int32_t rank = 0;
        ck_assert_int_eq(neumeta_network_tensor(network, t, NULL, dims, &rank, &data), NEUMETA_OK);
        for (int32_t d = 0; d < rank; d++)
            elements *= dims[d];
        all = realloc(all, (size_t)(*count + elements) * sizeof *all);
        ck_assert_ptr_nonnull(all);
        memcpy(all + *count, data, (size_t)elements * sizeof *all);
        *count += elements;
    }
    return all;
}

float *problem_morphed(test_problem *problem, double gamma, int64_t *count)
{
    int32_t axes = neumeta_topology_axis_count(problem->topology);
    int64_t sizes[64];
    neumeta_network *network = NULL;
    ck_assert_int_le(axes, 64);
    assert_ok(problem->context, neumeta_manifold_sizes_at(problem->manifold, gamma, sizes, axes));
    assert_ok(problem->context,
              neumeta_manifold_materialize(problem->manifold, sizes, axes, NULL, &network));
    float *weights = problem_weights(network, count);
    neumeta_network_free(network);
    return weights;
}
