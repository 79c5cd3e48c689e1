/* SPDX-License-Identifier: MIT */
/* Smoothing: path solvers against brute force, groups of channels, roughness, equal outputs. */
#include "nmi_clique.h"
#include "nmi_importance.h"
#include "nmi_networks.h"
#include "nmi_norm.h"
#include "nmi_path.h"
#include "nmi_random.h"
#include "nmi_roughness.h"
#include "nmi_smooth.h"

#include <stdio.h>
#include <time.h>

static nmi_context *context;

static void set_up(void)
{
    context = test_context();
}

static void tear_down(void)
{
    nmi_context_release(context);
}

/* --- paths --- */

enum { MOST = 700 };

/* A random path problem; `kind` 0: plain, 1: with cuts, 2: with places too, 3: two matrices. */
typedef struct instance {
    nmi_path path;
    const float *step[MOST];
    const float *place[MOST];
    float *matrix[2];
    float *places;
} instance;

static instance *make_instance(int64_t count, int32_t kind, uint64_t seed)
{
    instance *made = calloc(1, sizeof *made);
    made->path = (nmi_path){count, made->step, made->place};
    made->places = malloc((size_t)(count * count) * sizeof(float));
    test_fill(made->places, count * count, seed + 1, 0, 3);
    nmi_random random = nmi_random_start(seed);
    for (int32_t m = 0; m < 2; m++) {
        made->matrix[m] = malloc((size_t)(count * count) * sizeof(float));
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j <= i; j++) {
                float value = i == j ? 0.0f : (float)(0.1 + nmi_random_uniform(&random));
                made->matrix[m][i * count + j] = value;
                made->matrix[m][j * count + i] = value;
            }
    }
    for (int64_t k = 0; k < count; k++) {
        made->step[k] = kind == 3 && k % 3 == 0 ? made->matrix[1] : made->matrix[0];
        if (k == 0 || (kind >= 1 && k == count / 2))
            made->step[k] = NULL;
        if (kind >= 2 && (k == 0 || k == count / 2))
            made->place[k] = made->places + k * count;
    }
    return made;
}

static void free_instance(instance *made)
{
    free(made->matrix[0]);
    free(made->matrix[1]);
    free(made->places);
    free(made);
}

static void assert_permutation(const int64_t *order, int64_t count)
{
    bool seen[MOST] = {false};
    for (int64_t k = 0; k < count; k++) {
        ck_assert_int_ge(order[k], 0);
        ck_assert_int_lt(order[k], count);
        ck_assert_msg(!seen[order[k]], "item %d stands twice", (int)order[k]);
        seen[order[k]] = true;
    }
}

/* The least cost over all orders of the items from `depth` on. */
static double brute_force(const nmi_path *path, int64_t *order, int64_t depth)
{
    double least = INFINITY;
    if (depth == path->count)
        return nmi_path_cost(path, order);
    for (int64_t k = depth; k < path->count; k++) {
        int64_t moved = order[depth];
        order[depth] = order[k];
        order[k] = moved;
        least = fmin(least, brute_force(path, order, depth + 1));
        order[k] = order[depth];
        order[depth] = moved;
    }
    return least;
}

START_TEST(the_exact_solver_equals_brute_force)
{
    for (int64_t count = 1; count <= 8; count++) {
        instance *made = make_instance(count, _i, 100 + (uint64_t)count);
        int64_t order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        double least = brute_force(&made->path, order, 0);
        assert_ok(context, nmi_path_exact(context, &made->path, order));
        assert_permutation(order, count);
        ck_assert_double_eq_tol(nmi_path_cost(&made->path, order), least, 1e-9);
        free_instance(made);
    }
}
END_TEST

START_TEST(the_local_solver_comes_close_to_the_exact_one)
{
    double worst = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        instance *made = make_instance(12, _i, seed);
        int64_t exact[12];
        int64_t local[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        assert_ok(context, nmi_path_exact(context, &made->path, exact));
        assert_ok(context, nmi_path_local(context, &made->path, seed, 60, local));
        assert_permutation(local, 12);
        double least = nmi_path_cost(&made->path, exact);
        double excess = nmi_path_cost(&made->path, local) / least - 1;
        ck_assert_double_ge(excess, -1e-9);
        worst = test_larger(worst, excess);
        free_instance(made);
    }
    ck_assert_msg(worst < 0.02, "the local solver is %.1f %% off", 100 * worst);
}
END_TEST

START_TEST(a_key_decides_the_order)
{
    enum { COUNT = 80 };
    const uint64_t keys[] = {7, 7, 8};
    int64_t orders[3][COUNT];
    /* Small plain paths are solved to the optimum whatever the key; others take longer. */
    int64_t count = _i == 0 ? COUNT : 30;
    instance *made = make_instance(count, _i, 4);
    for (int32_t run = 0; run < 3; run++) {
        for (int64_t k = 0; k < count; k++)
            orders[run][k] = k;
        assert_ok(context, nmi_path_local(context, &made->path, keys[run], 60, orders[run]));
        assert_permutation(orders[run], count);
    }
    ck_assert_mem_eq(orders[0], orders[1], (size_t)count * sizeof(int64_t));
    ck_assert_mem_ne(orders[0], orders[2], (size_t)count * sizeof(int64_t));
    free_instance(made);
}
END_TEST

START_TEST(a_good_start_is_never_made_worse)
{
    for (int64_t count = 1; count <= 17; count += 4) {
        instance *made = make_instance(count, (int32_t)(count % 4), 9);
        int64_t order[40];
        for (int64_t k = 0; k < count; k++)
            order[k] = k;
        double before = nmi_path_cost(&made->path, order);
        for (int32_t again = 0; again < 3; again++) {
            assert_ok(context, nmi_path_local(context, &made->path, 1, 60, order));
            assert_permutation(order, count);
            double after = nmi_path_cost(&made->path, order);
            ck_assert_double_le(after, before + 1e-9);
            before = after;
        }
        free_instance(made);
    }
}
END_TEST

/* Points on a line in a random order come back in order, or in the reverse order. */
START_TEST(points_on_a_line_are_sorted)
{
    enum { COUNT = 80 };
    instance *made = make_instance(COUNT, 0, 1);
    nmi_random random = nmi_random_start(5);
    int64_t where[COUNT];
    int64_t order[COUNT];
    for (int64_t i = 0; i < COUNT; i++)
        where[i] = order[i] = i;
    nmi_random_shuffle(&random, where, COUNT);
    for (int64_t i = 0; i < COUNT; i++)
        for (int64_t j = 0; j < COUNT; j++)
            made->matrix[0][i * COUNT + j] = fabsf((float)(where[i] - where[j]));
    assert_ok(context, nmi_path_local(context, &made->path, 3, 60, order));
    ck_assert_double_eq_tol(nmi_path_cost(&made->path, order), COUNT - 1, 1e-6);
    free_instance(made);
}
END_TEST

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The bound allows for a slow, shared machine and for sanitizers; without the limit this takes many
 * seconds. */
START_TEST(the_time_limit_ends_the_search)
{
    instance *made = make_instance(MOST, 2, 2);
    int64_t order[MOST];
    for (int64_t k = 0; k < MOST; k++)
        order[k] = k;
    double before = nmi_path_cost(&made->path, order);
    double start = seconds_now();
    assert_ok(context, nmi_path_local(context, &made->path, 1, 0.05, order));
    ck_assert_double_lt(seconds_now() - start, 2.0);
    ck_assert_double_lt(nmi_path_cost(&made->path, order), before);
    assert_permutation(order, MOST);
    free_instance(made);
}
END_TEST

/* --- groups --- */

static nmi_network *residual(const char *name, int32_t shortcut, int32_t norm, uint64_t seed)
{
    return test_builtin(context, name,
                        test_options(context, NEUMETA_KEY_SHORTCUT, shortcut, NEUMETA_KEY_NORM,
                                     norm, NEUMETA_KEY_CHANNELS, 8),
                        seed);
}

static void assert_groups(const nmi_network *network, const int64_t *sizes, int32_t count)
{
    nmi_cliques cliques;
    assert_ok(context, nmi_cliques_create(network, &cliques));
    int32_t found = 0;
    for (int32_t group = 0; group < cliques.group_count; group++) {
        int64_t size = cliques.member_start[group + 1] - cliques.member_start[group];
        ck_assert_int_lt(found, count);
        ck_assert_int_eq(size, sizes[found++]);
    }
    ck_assert_int_eq(found, count);
    nmi_cliques_free(&cliques);
}

START_TEST(groups_of_the_built_in_networks)
{
    /* In order of their first places. Option A: what comes from the stem, the fringes of stage 2,
     * and those of stage 3; with projections each stage has a stream of its own. */
    const int64_t option_a[] = {8, 8, 8, 8, 16, 8, 16, 16, 32, 16, 32, 32};
    const int64_t projection[] = {8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 32};
    const int64_t lenet[] = {32, 64, 128};
    nmi_network *network = residual("resnet20-cifar", 0, 1, 1);
    assert_groups(network, option_a, 12);
    nmi_network_release(network);
    network = residual("resnet20-cifar", 1, 1, 1);
    assert_groups(network, projection, 12);
    nmi_network_release(network);
    network = test_builtin(context, "lenet", NULL, 1);
    assert_groups(network, lenet, 3);
    nmi_network_release(network);
}
END_TEST

/* --- roughness --- */

START_TEST(roughness_worked_by_hand)
{
    nmi_topology *topology = test_topology(context);
    int32_t two = test_axis(topology, "two", NEUMETA_AXIS_WIDTH, 2, 2);
    int32_t input = test_input(topology, 1, 2);
    int32_t conv = test_node(topology, "conv", NEUMETA_OP_CONV, &input, 1, two,
                             test_options(context, NEUMETA_KEY_KERNEL, 1, 0, 0, 0, 0));
    int32_t flat = test_unary(topology, "flat", NEUMETA_OP_FLATTEN, conv);
    nmi_network *network = test_sealed(topology, test_linear(topology, "fc", flat, two), 1);
    const float conv_weight[] = {1, 4};
    const float conv_bias[] = {-1, 1};
    /* two rows of two channels of four pixels */
    const float weight[] = {0, 1, 2, 3, 10, 10, 10, 10, 1, 1, 2, 3, 10, 10, 10, 10};
    const float bias[] = {5, 5};
    memcpy(nmi_network_find(network, "conv.weight")->data, conv_weight, sizeof conv_weight);
    memcpy(nmi_network_find(network, "conv.bias")->data, conv_bias, sizeof conv_bias);
    memcpy(nmi_network_find(network, "fc.weight")->data, weight, sizeof weight);
    memcpy(nmi_network_find(network, "fc.bias")->data, bias, sizeof bias);
    double roughness = 0;
    assert_ok(context, nmi_roughness(network, &roughness));
    /* 3 + 2, the rows 1, the channels (10 + 9 + 8 + 7) + (9 + 9 + 8 + 7) */
    ck_assert_double_eq_tol(roughness, 5 + 1 + 34 + 33, 1e-9);
    nmi_network_release(network);
}
END_TEST

/* --- smoothing --- */

/* Smooths and fails unless outputs stay and roughness does not grow; returns after / before. */
static double smooth(nmi_network *network, const nmi_options *options)
{
    double before = 0;
    double after = 0;
    float *expected = test_outputs(network);
    assert_ok(context, nmi_roughness(network, &before));
    assert_ok(context, nmi_smooth(network, options));
    assert_ok(context, nmi_roughness(network, &after));
    ck_assert_double_le(after, before);
    test_same_outputs(network, expected, 1e-5);
    return before > 0 ? after / before : 1;
}

START_TEST(built_in_networks_become_smoother_and_compute_the_same)
{
    const int32_t methods[] = {0, NEUMETA_NORM_FOLD, NEUMETA_NORM_AFFINE, NEUMETA_NORM_SQRT_HALF};
    for (int32_t shortcut = 0; shortcut < 2; shortcut++) {
        nmi_network *network = residual("resnet20-cifar", shortcut, 1, 20);
        if (methods[_i] != 0)
            assert_ok(context, nmi_norm_replace(network, methods[_i], NULL));
        ck_assert_double_lt(smooth(network, NULL), 0.999);
        nmi_network_release(network);
    }
    if (methods[_i] == NEUMETA_NORM_SQRT_HALF)
        return;
    nmi_network *network =
        test_builtin(context, "lenet", test_options(context, NEUMETA_KEY_NORM, 1, 0, 0, 0, 0), 21);
    if (methods[_i] != 0)
        assert_ok(context, nmi_norm_replace(network, methods[_i], NULL));
    ck_assert_double_lt(smooth(network, NULL), 0.999);
    nmi_network_release(network);
}
END_TEST

START_TEST(reduced_networks_are_smoothed_too)
{
    nmi_network *full = residual("resnet20-cifar", _i, 1, 22);
    nmi_topology *topology = full->topology;
    int64_t *sizes = calloc((size_t)topology->axis_count, sizeof *sizes);
    for (int64_t depth = 1; depth <= 3; depth++) {
        for (int32_t axis = 0; axis < topology->axis_count; axis++) {
            const nmi_axis *a = &topology->axes[axis];
            sizes[axis] = a->min < a->max ? a->max - 3 : a->max; /* streams too */
            if (a->kind == NEUMETA_AXIS_DEPTH)
                sizes[axis] = depth;
        }
        nmi_topology_retain(topology);
        nmi_network *network = test_network(topology, sizes, 23);
        ck_assert_double_lt(smooth(network, NULL), 0.999);
        nmi_network_release(network);
    }
    free(sizes);
    nmi_network_release(full);
}
END_TEST

/* Sorts by importance; fails unless outputs stay and each group's importance falls. */
static void sort(nmi_network *network)
{
    nmi_options *options = test_options(context, NEUMETA_KEY_SMOOTH_SOLVER, 3, 0, 0, 0, 0);
    nmi_cliques cliques;
    double *importance = NULL;
    float *expected = test_outputs(network);
    assert_ok(context, nmi_smooth(network, options));
    test_same_outputs(network, expected, 1e-5);
    assert_ok(context, nmi_cliques_create(network, &cliques));
    assert_ok(context, nmi_importance_of(network, &cliques, &importance));
    for (int32_t g = 0; g < cliques.group_count; g++)
        for (int64_t k = cliques.member_start[g] + 1; k < cliques.member_start[g + 1]; k++)
            ck_assert_double_ge(importance[cliques.members[k - 1]] * (1 + 1e-9),
                                importance[cliques.members[k]]);
    nmi_free(context, importance);
    nmi_cliques_free(&cliques);
    nmi_options_release(options);
}

START_TEST(sorted_networks_compute_the_same)
{
    const int32_t methods[] = {0, NEUMETA_NORM_FOLD, NEUMETA_NORM_AFFINE, NEUMETA_NORM_SQRT_HALF};
    for (int32_t shortcut = 0; shortcut < 2; shortcut++) {
        nmi_network *network = residual("resnet20-cifar", shortcut, 1, 20);
        if (methods[_i] != 0)
            assert_ok(context, nmi_norm_replace(network, methods[_i], NULL));
        sort(network);
        nmi_network_release(network);
    }
    nmi_network *network = test_builtin(context, "lenet", NULL, 21);
    sort(network);
    nmi_network_release(network);
}
END_TEST

/* Two channels by hand, with what the importance of a norm adds. */
START_TEST(importance_worked_by_hand)
{
    for (int norm = 0; norm < 2; norm++) {
        nmi_topology *topology = test_topology(context);
        int32_t two = test_axis(topology, "two", NEUMETA_AXIS_WIDTH, 2, 2);
        int32_t input = test_input(topology, 1, 1);
        int32_t node = test_node(topology, "conv", NEUMETA_OP_CONV, &input, 1, two,
                                 test_options(context, NEUMETA_KEY_KERNEL, 1, 0, 0, 0, 0));
        if (norm)
            node = test_unary(topology, "bn", NEUMETA_OP_NORM, node);
        node = test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, node);
        int32_t flat = test_unary(topology, "flat", NEUMETA_OP_FLATTEN, node);
        nmi_network *network = test_sealed(topology, test_linear(topology, "fc", flat, two), 1);
        nmi_cliques cliques;
        double *importance = NULL;
        memcpy(nmi_network_find(network, "conv.weight")->data, (const float[]){1, 4}, 8);
        memcpy(nmi_network_find(network, "conv.bias")->data, (const float[]){-1, 1}, 8);
        memcpy(nmi_network_find(network, "fc.weight")->data, (const float[]){1, 2, 3, 4}, 16);
        if (norm) {
            memcpy(nmi_network_find(network, "bn.weight")->data, (const float[]){2, -1}, 8);
            memcpy(nmi_network_find(network, "bn.bias")->data, (const float[]){0, 9}, 8);
        }
        assert_ok(context, nmi_cliques_create(network, &cliques));
        assert_ok(context, nmi_importance_of(network, &cliques, &importance));
        ck_assert_int_eq(cliques.group_count, 1);
        const int64_t *members = cliques.members;
        /* Half of the square of scale 2 passes the ReLU; of mean 9 and deviation 1, all does. */
        ck_assert_double_eq_tol(importance[members[0]], (norm ? 2 : 1 + 1) * (1 + 9), 1e-9);
        ck_assert_double_eq_tol(importance[members[1]], (norm ? 82 : 16 + 1) * (4 + 16), 1e-9);
        nmi_free(context, importance);
        nmi_cliques_free(&cliques);
        sort(network);
        nmi_network_release(network);
    }
}
END_TEST

/* A single group has all channels in any order. */
START_TEST(groups_of_channels_are_refused)
{
    for (int32_t group = 2; group <= 4; group += 2) {
        nmi_topology *topology = test_topology(context);
        int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 7, 7);
        int32_t classes = test_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 2, 2);
        int32_t node = test_conv(topology, "conv", test_input(topology, 1, 4), width);
        node = test_node(topology, "gn", NEUMETA_OP_GROUP_NORM, &node, 1, -1,
                         test_options(context, NEUMETA_KEY_GROUP_CHANNELS, group, 0, 0, 0, 0));
        node = test_unary(topology, "pool", NEUMETA_OP_POOL_GLOBAL, node);
        nmi_network *network = test_sealed(topology, test_linear(topology, "fc", node, classes), 1);
        float *expected = test_outputs(network);
        const neumeta_status status = nmi_smooth(network, NULL);
        ck_assert_int_eq(status, group < 4 ? NEUMETA_ERR_UNSUPPORTED : NEUMETA_OK);
        if (status != NEUMETA_OK)
            assert_message_contains(context, "group norm 'gn' ties the order of its channels");
        test_same_outputs(network, expected, 1e-5);
        nmi_network_release(network);
    }
}
END_TEST

/* The weights of every inner channel lie on a ramp; the shuffled ramp is found again. */
START_TEST(a_shuffled_ramp_is_restored)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 40, 40);
    int32_t classes = test_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 2, 2);
    int32_t conv = test_conv(topology, "conv", test_input(topology, 1, 4), width);
    int32_t norm = test_unary(topology, "bn", NEUMETA_OP_NORM, conv);
    int32_t relu = test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, norm);
    int32_t flat = test_unary(topology, "flat", NEUMETA_OP_FLATTEN, relu);
    nmi_network *network = test_sealed(topology, test_linear(topology, "fc", flat, classes), 1);
    int64_t where[40];
    nmi_random random = nmi_random_start(3);
    for (int64_t c = 0; c < 40; c++)
        where[c] = c;
    nmi_random_shuffle(&random, where, 40);
    for (int32_t t = 0; t < network->topology->tensor_count; t++) {
        nmi_tensor *tensor = &network->tensors[t];
        if (strcmp(network->topology->tensors[t].name, "fc.bias") == 0)
            continue;
        int64_t axis = strcmp(network->topology->tensors[t].name, "fc.weight") == 0;
        int64_t inner = axis == 1 ? 16 : tensor->count / 40;
        for (int64_t i = 0; i < tensor->count; i++)
            tensor->data[i] = (float)(1 + where[i / inner % 40]) + 0.5f * (float)(i % inner);
    }
    nmi_network_touch(network);
    (void)smooth(network, NULL);
    const nmi_tensor *weight = nmi_network_find(network, "fc.weight");
    double direction = weight->data[16] > weight->data[0] ? 1 : -1;
    for (int64_t c = 1; c < 40; c++)
        ck_assert_double_eq_tol((double)weight->data[16 * c],
                                (double)weight->data[16 * (c - 1)] + direction, 1e-6);
    nmi_network_release(network);
}
END_TEST

static nmi_network *smoothed(int32_t threads, int64_t seed)
{
    nmi_network *network = residual("resnet20-cifar", 0, 0, 30);
    nmi_options *options = test_options(context, NEUMETA_KEY_SEED, (double)seed,
                                        NEUMETA_KEY_SMOOTH_TIME_LIMIT, 600, 0, 0);
    assert_ok(context, nmi_workers_set_threads(context, threads));
    assert_ok(context, nmi_smooth(network, options));
    nmi_options_release(options);
    return network;
}

static bool same_weights(const nmi_network *a, const nmi_network *b)
{
    for (int32_t t = 0; t < a->topology->tensor_count; t++)
        if (memcmp(a->tensors[t].data, b->tensors[t].data,
                   (size_t)a->tensors[t].count * sizeof(float)) != 0)
            return false;
    return true;
}

START_TEST(a_seed_decides_the_result_at_any_thread_count)
{
    nmi_network *first = smoothed(1, 5);
    nmi_network *second = smoothed(2, 5);
    nmi_network *other = smoothed(1, 6);
    ck_assert(same_weights(first, second));
    ck_assert(!same_weights(first, other));
    nmi_network_release(first);
    nmi_network_release(second);
    nmi_network_release(other);
}
END_TEST

START_TEST(small_groups_are_solved_exactly)
{
    nmi_network *network =
        test_builtin(context, "lenet", test_options(context, NEUMETA_KEY_CHANNELS, 4, 0, 0, 0, 0),
                     31); /* groups of 4, 8 and 16 */
    nmi_network *other = NULL;
    nmi_options *exact = test_options(context, NEUMETA_KEY_SMOOTH_SOLVER, 1, 0, 0, 0, 0);
    nmi_options *local = test_options(context, NEUMETA_KEY_SMOOTH_SOLVER, 2, 0, 0, 0, 0);
    assert_ok(context, nmi_network_copy(network, &other));
    double best = smooth(network, exact);
    double found = smooth(other, local);
    ck_assert_double_lt(best, 0.999);
    ck_assert_double_ge(found, best - 1e-9);
    ck_assert_double_le(found, best * 1.02);
    ck_assert_double_ge(smooth(network, local), 1 - 1e-9); /* nothing left to gain */
    nmi_options_release(exact);
    nmi_options_release(local);
    nmi_network_release(network);
    nmi_network_release(other);
}
END_TEST

/* Joined channels: groups beside each other, and (doubled) a group beside itself. */
START_TEST(concatenations_are_smoothed)
{
    nmi_topology *topology = test_topology(context);
    int32_t width = test_axis(topology, "width", NEUMETA_AXIS_WIDTH, 6, 6);
    int32_t classes = test_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 3, 3);
    int32_t input = test_input(topology, 2, 4);
    int32_t a = test_conv(topology, "a", input, width);
    int32_t b = test_conv(topology, "b", input, width);
    int32_t both = test_join(topology, "both", NEUMETA_OP_CONCAT, a, b);
    int32_t doubled = test_join(topology, "doubled", NEUMETA_OP_CONCAT, both, b);
    int32_t flat = test_unary(topology, "flat", NEUMETA_OP_FLATTEN,
                              test_unary(topology, "relu", NEUMETA_OP_ACTIVATION, doubled));
    int32_t hidden = test_linear(topology, "fc1", flat, width);
    nmi_network *network = test_sealed(topology, test_linear(topology, "fc2", hidden, classes), 40);
    ck_assert_double_lt(smooth(network, NULL), 0.999);
    nmi_network_release(network);
}
END_TEST

static void assert_refused(nmi_network *network, const nmi_options *options, neumeta_status status,
                           const char *text)
{
    nmi_network *copy = NULL;
    assert_ok(context, nmi_network_copy(network, &copy));
    assert_status(context, nmi_smooth(network, options), status);
    assert_message_contains(context, text);
    ck_assert(same_weights(network, copy));
    nmi_network_release(copy);
    nmi_network_release(network);
}

/* The shortcut's zeros meet real channels in one order, the doubled channels in another: moving
 * them would put values where the shortcut has zeros. */
START_TEST(channels_tied_in_two_orders_are_refused)
{
    nmi_topology *topology = test_topology(context);
    int32_t four = test_axis(topology, "four", NEUMETA_AXIS_WIDTH, 4, 4);
    int32_t eight = test_axis(topology, "eight", NEUMETA_AXIS_WIDTH, 8, 8);
    int32_t a = test_conv(topology, "a", test_input(topology, 2, 4), four);
    int32_t u = test_conv(topology, "u", a, four);
    int32_t doubled = test_join(topology, "doubled", NEUMETA_OP_CONCAT, a, a);
    int32_t shortcut = test_node(topology, "shortcut", NEUMETA_OP_SHORTCUT, &u, 1, eight, NULL);
    int32_t sum = test_join(topology, "sum", NEUMETA_OP_ADD, doubled, shortcut);
    int32_t last = test_conv(topology, "last", sum, four);
    assert_refused(test_sealed(topology, last, 41), NULL, NEUMETA_ERR_UNSUPPORTED,
                   "are tied to others in more than one order");
}
END_TEST

START_TEST(the_exact_solver_refuses_large_groups)
{
    nmi_options *options = test_options(context, NEUMETA_KEY_SMOOTH_SOLVER, 1, 0, 0, 0, 0);
    assert_refused(residual("resnet20-cifar", 0, 0, 42), options, NEUMETA_ERR_UNSUPPORTED,
                   "SMOOTH_SOLVER exact: 32 channels of 'layer3.0.conv1' move together");
    nmi_options_release(options);
}
END_TEST

START_TEST(other_settings_shared_weights_and_infinite_ones_are_refused)
{
    nmi_options *options = test_options(context, NEUMETA_KEY_STRIDE, 2, 0, 0, 0, 0);
    assert_refused(test_builtin(context, "lenet", NULL, 43), options, NEUMETA_ERR_ARGUMENT,
                   "STRIDE");
    nmi_network *network = test_builtin(context, "lenet", NULL, 43);
    nmi_network *copy = NULL;
    assert_ok(context, nmi_network_share(network, context, &copy));
    assert_refused(network, NULL, NEUMETA_ERR_STATE, "shared");
    nmi_options *sorted =
        test_options(context, NEUMETA_KEY_SMOOTH_SOLVER, 3, NEUMETA_KEY_SEED, 2, 0, 0);
    assert_refused(test_builtin(context, "lenet", NULL, 43), sorted, NEUMETA_ERR_ARGUMENT,
                   "SEED has no effect while SMOOTH_SOLVER is importance");
    nmi_options_release(sorted);
    copy->tensors[0].data[3] = INFINITY;
    nmi_network_touch(copy);
    assert_refused(copy, NULL, NEUMETA_ERR_NUMERIC, "tensor 'conv1.weight'");
    nmi_options_release(options);
}
END_TEST

/* --- memory --- */

static neumeta_status smooth_on(test_allocator *allocator, void *user)
{
    (void)user;
    neumeta_context *mine = NULL;
    nmi_topology *topology = NULL;
    nmi_network *network = NULL;
    nmi_options *options = NULL, *sorted = NULL;
    double roughness;
    neumeta_status status = test_context_create(allocator, &mine);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_options_create(mine, &options);
    if (status == NEUMETA_OK)
        status = nmi_options_set_int(options, NEUMETA_KEY_CHANNELS, 4);
    if (status == NEUMETA_OK)
        status = nmi_topology_create_builtin(mine, "lenet", options, &topology);
    if (status == NEUMETA_OK) {
        int64_t sizes[8];
        ck_assert_int_le(topology->axis_count, 8);
        nmi_graph_full_sizes(topology, sizes);
        status = nmi_network_create(mine, topology, sizes, &network);
    }
    if (status == NEUMETA_OK) {
        nmi_network_initialize(network, 1);
        status = nmi_smooth(network, NULL);
    }
    if (status == NEUMETA_OK)
        status = nmi_roughness(network, &roughness);
    if (status == NEUMETA_OK)
        status = nmi_options_create(mine, &sorted);
    if (status == NEUMETA_OK)
        status = nmi_options_set_text(sorted, NEUMETA_KEY_SMOOTH_SOLVER, "importance");
    if (status == NEUMETA_OK)
        status = nmi_smooth(network, sorted);
    if (sorted != NULL)
        nmi_options_release(sorted);
    nmi_network_release(network);
    nmi_topology_release(topology);
    if (options != NULL)
        nmi_options_release(options);
    neumeta_context_free(mine);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    test_every_allocation(smooth_on, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smooth");
    TCase *paths = tcase_create("paths");
    TCase *networks = tcase_create("networks");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(paths, "sequential");
    tcase_set_tags(networks, "sequential");
    tcase_add_checked_fixture(paths, set_up, tear_down);
    tcase_add_checked_fixture(networks, set_up, tear_down);
    tcase_add_checked_fixture(threads, set_up, tear_down);
    tcase_add_loop_test(paths, the_exact_solver_equals_brute_force, 0, 4);
    tcase_add_loop_test(paths, the_local_solver_comes_close_to_the_exact_one, 0, 4);
    tcase_add_loop_test(paths, a_key_decides_the_order, 0, 4);
    tcase_add_test(paths, a_good_start_is_never_made_worse);
    tcase_add_test(paths, points_on_a_line_are_sorted);
    tcase_add_test(paths, the_time_limit_ends_the_search);
    tcase_add_test(networks, groups_of_the_built_in_networks);
    tcase_add_test(networks, roughness_worked_by_hand);
    tcase_add_loop_test(networks, built_in_networks_become_smoother_and_compute_the_same, 0, 4);
    tcase_add_loop_test(networks, reduced_networks_are_smoothed_too, 0, 2);
    tcase_add_loop_test(networks, sorted_networks_compute_the_same, 0, 4);
    tcase_add_test(networks, importance_worked_by_hand);
    tcase_add_test(networks, a_shuffled_ramp_is_restored);
    tcase_add_test(networks, groups_of_channels_are_refused);
    tcase_add_test(networks, small_groups_are_solved_exactly);
    tcase_add_test(networks, concatenations_are_smoothed);
    tcase_add_test(networks, channels_tied_in_two_orders_are_refused);
    tcase_add_test(networks, the_exact_solver_refuses_large_groups);
    tcase_add_test(networks, other_settings_shared_weights_and_infinite_ones_are_refused);
    tcase_add_test(networks, every_allocation_may_fail);
    tcase_add_test(threads, a_seed_decides_the_result_at_any_thread_count);
    suite_add_tcase(suite, paths);
    suite_add_tcase(suite, networks);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
