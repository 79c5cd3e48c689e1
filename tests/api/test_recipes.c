/* SPDX-License-Identifier: MIT */
/*
 * What the settings that recipes are made of do to weights, by observations that tell the setting
 * apart from its neighbours: a step without any loss moves only what has moments, the first step of
 * AdamW is as long as its rate, and decay alone is a known factor.
 */
#include "nmi_training.h"

#include <math.h>

/* An epoch of the problem. */
enum { BATCH = 16, EPOCH_STEPS = PROBLEM_ITEMS / BATCH };

/* --- observing ------------------------------------------------------------------------------- */

/* The manifold's network at compression gamma. */
static neumeta_network *emitted(test_problem *problem, double gamma)
{
    int64_t sizes[64];
    neumeta_network *network = NULL;
    int32_t axes = neumeta_topology_axis_count(problem->topology);
    ck_assert_int_le(axes, 64);
    assert_ok(problem->context, neumeta_manifold_sizes_at(problem->manifold, gamma, sizes, axes));
    assert_ok(problem->context,
              neumeta_manifold_materialize(problem->manifold, sizes, axes, NULL, &network));
    return network;
}

typedef struct values {
    const char *name;
    const float *data;
    int64_t dims[4], count;
} values;

static values tensor_at(const neumeta_network *network, int32_t index)
{
    values tensor = {.count = 1};
    int32_t rank = 0;
    ck_assert_int_eq(
        neumeta_network_tensor(network, index, &tensor.name, tensor.dims, &rank, &tensor.data),
        NEUMETA_OK);
    for (int32_t d = 0; d < rank; d++)
        tensor.count *= tensor.dims[d];
    return tensor;
}

static values tensor_named(const neumeta_network *network, const char *name)
{
    for (int32_t t = 0; t < neumeta_network_tensor_count(network); t++) {
        values tensor = tensor_at(network, t);
        if (strcmp(tensor.name, name) == 0)
            return tensor;
    }
    ck_abort_msg("no tensor '%s'", name);
    return (values){0};
}

static bool has_part(const char *name, const char *const *parts)
{
    for (; *parts != NULL; parts++)
        if (strstr(name, *parts) != NULL)
            return true;
    return false;
}
#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Tensors with one of the parts in their names differ between the networks in at least one bit, and
 * there is one; all others are equal. No parts: nothing differs. */
static void assert_only_these_differ(const neumeta_network *a, const neumeta_network *b,
                                     const char *const *parts)
{
    int32_t count = neumeta_network_tensor_count(a), differing = 0;
    ck_assert_int_eq(neumeta_network_tensor_count(b), count);
    for (int32_t t = 0; t < count; t++) {
        values x = tensor_at(a, t), y = tensor_at(b, t);
        bool chosen = has_part(x.name, parts);
        bool differs = memcmp(x.data, y.data, (size_t)x.count * sizeof(float)) != 0;
        ck_assert_str_eq(x.name, y.name);
        ck_assert_msg(differs == chosen, "'%s' %s", x.name, chosen ? "did not change" : "changed");
        differing += differs;
    }
    ck_assert_int_eq(differing > 0, *parts != NULL);
}

/* --- training -------------------------------------------------------------------------------- */

static void add_phase(test_problem *problem, neumeta_schedule *schedule, int32_t first,
                      int32_t last, const char *const *pairs)
{
    neumeta_options *options = problem_options(problem->context, pairs);
    assert_ok(problem->context, neumeta_schedule_add_phase(schedule, "next", first, last, options));
    neumeta_options_free(options);
}

/* Consumes the schedule. */
static neumeta_trainer *trainer_of(test_problem *problem, neumeta_schedule *schedule)
{
    neumeta_trainer *trainer = NULL;
    assert_ok(problem->context, neumeta_trainer_create(problem->manifold, problem->network,
                                                       schedule, problem->dataset, NULL, &trainer));
    neumeta_schedule_free(schedule);
    return trainer;
}

static neumeta_trainer *one_phase(test_problem *problem, const char *const *pairs)
{
    return trainer_of(problem, problem_schedule(problem, 1, 9, pairs));
}

static void step(test_problem *problem, neumeta_trainer *trainer, int32_t steps)
{
    for (int32_t i = 0; i < steps; i++)
        assert_ok(problem->context, neumeta_trainer_step(trainer));
}

static void create_problem(test_problem *problem, int32_t method)
{
    problem_create(problem, 1, method, 0);
    problem_manifold(problem, 16);
}

/* --- moments --------------------------------------------------------------------------------- */

/* Blocks 1 to 8 for an epoch, then block 9 joins without any loss: what moves then, moves by
 * moments alone. */
static void train_and_coast(bool keep, const char *const *moving)
{
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_FOLD);
    neumeta_schedule *schedule = problem_schedule(
        &problem, 1, 8,
        PAIRS("epochs", "1", "batch", "16", "direct-rate", "1e-3", "direct-blocks", "-1"));
    add_phase(&problem, schedule, 9, 9,
              PAIRS("epochs", "1", "batch", "16", "direct-rate", "1e-3", "direct-blocks", "-1",
                    "loss-task", "0", "keep-moments", keep ? "1" : "0"));
    neumeta_trainer *trainer = trainer_of(&problem, schedule);
    step(&problem, trainer, EPOCH_STEPS);
    neumeta_network *before = emitted(&problem, 0);
    step(&problem, trainer, 3);
    neumeta_network *after = emitted(&problem, 0);
    assert_only_these_differ(before, after, moving);
    neumeta_network_free(before);
    neumeta_network_free(after);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}

START_TEST(moments_start_anew_where_a_block_is_added)
{
    train_and_coast(false, PARTS(NULL));
}
END_TEST

/* The new block has none that could survive. */
START_TEST(moments_survive_an_added_block_if_they_are_kept)
{
    train_and_coast(true, PARTS("layer1.", "layer2.", "layer3.0.", "layer3.1.", "linear."));
}
END_TEST

/* --- residual scalars ------------------------------------------------------------------------ */

static bool is_residual(const char *name)
{
    return strstr(name, ".residual.") != NULL;
}

/* Every residual scalar of the blocks is within `distance` of `start`, and further away than half
 * of it if that is not zero. */
static void assert_scalars(const neumeta_network *network, const char *const *blocks, double start,
                           double distance)
{
    int32_t found = 0;
    for (int32_t t = 0; t < neumeta_network_tensor_count(network); t++) {
        values scalar = tensor_at(network, t);
        if (!is_residual(scalar.name) || !has_part(scalar.name, blocks))
            continue;
        double away = fabs((double)scalar.data[0] - start);
        ck_assert_int_eq(scalar.count, 1);
        ck_assert_msg(away <= distance && away >= distance / 2, "'%s' is %.7g, %g from %g",
                      scalar.name, (double)scalar.data[0], away, start);
        found++;
    }
    ck_assert_int_gt(found, 0);
}

START_TEST(residual_scalars_stand_at_their_start_until_their_phase_and_move_by_their_rate)
{
    static const char *const early[] = {"layer1.", "layer2.0.", NULL};
    static const char *const late[] = {"layer2.1.", "layer2.2.", "layer3.", NULL};
    const bool move_later = _i == 1;
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_SKIP_INIT);
    neumeta_schedule *schedule = problem_schedule(
        &problem, 1, 4,
        PAIRS("epochs", "1", "batch", "16", "residual-start", "0.25", "residual-rate", "0.01"));
    add_phase(&problem, schedule, 5, 9,
              PAIRS("epochs", "1", "batch", "16", "residual-start", "0.5", "residual-rate",
                    move_later ? "0.02" : "0"));
    neumeta_trainer *trainer = trainer_of(&problem, schedule);
    step(&problem, trainer, 1);
    neumeta_network *first = emitted(&problem, 0);
    /* AdamW's first step is as long as the rate, but for epsilon and roundings. */
    assert_scalars(first, early, 0.25, 0.01 + 1e-6);
    assert_scalars(first, late, 0.5, 0);
    step(&problem, trainer, EPOCH_STEPS - 1);
    neumeta_network *end = emitted(&problem, 0);
    assert_scalars(end, late, 0.5, 0);
    step(&problem, trainer, 1);
    neumeta_network *next = emitted(&problem, 0);
    assert_scalars(next, late, 0.5, move_later ? 0.02 + 1e-6 : 0);
    for (int32_t t = 0; t < neumeta_network_tensor_count(end); t++) {
        values before = tensor_at(end, t), after = tensor_at(next, t);
        if (is_residual(before.name) && has_part(before.name, early))
            ck_assert_int_eq(before.data[0] != after.data[0], move_later);
    }
    neumeta_network_free(first);
    neumeta_network_free(end);
    neumeta_network_free(next);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

START_TEST(residual_scalars_without_a_start_are_the_references)
{
    static const char *const all[] = {"layer", NULL};
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_SKIP_INIT);
    neumeta_trainer *trainer = one_phase(&problem, PAIRS("epochs", "1", "batch", "16"));
    step(&problem, trainer, 2);
    neumeta_network *network = emitted(&problem, 0);
    assert_scalars(network, all, 1, 0);
    neumeta_network_free(network);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* --- directly held tensors ------------------------------------------------------------------- */

/* Trains a step and compares with the start. LOSS_NORM, which acts on emitted tensors alone, moves
 * every INR, even where no item lights a channel. */
static void train_direct(const char *const *pairs, const char *const *moving)
{
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_FOLD);
    neumeta_trainer *trainer = one_phase(&problem, pairs);
    neumeta_network *before = emitted(&problem, 0);
    step(&problem, trainer, 1);
    neumeta_network *after = emitted(&problem, 0);
    assert_only_these_differ(before, after, moving);
    neumeta_network_free(before);
    neumeta_network_free(after);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}

#define DIRECT "batch", "16", "loss-norm", "0.01"

START_TEST(directly_held_tensors_train_by_their_rate_in_their_blocks_only)
{
    train_direct(PAIRS(DIRECT), PARTS("layer"));
    train_direct(PAIRS(DIRECT, "direct-rate", "0"), PARTS("layer"));
    /* The phase's own blocks hold nothing directly. */
    train_direct(PAIRS(DIRECT, "direct-rate", "1e-3"), PARTS("layer"));
    train_direct(PAIRS(DIRECT, "direct-rate", "1e-3", "direct-blocks", "-1"),
                 PARTS("layer", "linear."));
    train_direct(PAIRS(DIRECT, "direct-rate", "1e-3", "direct-blocks", "0"),
                 PARTS("layer", "conv1."));
    train_direct(PAIRS(DIRECT, "direct-rate", "1e-3", "direct-blocks", "0,-1"),
                 PARTS("layer", "conv1.", "linear."));
    train_direct(
        PAIRS("batch", "16", "learning-rate", "0", "direct-rate", "1e-3", "direct-blocks", "-1"),
        PARTS("linear."));
}
END_TEST

START_TEST(direct_rate_is_the_length_of_the_first_step)
{
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_FOLD);
    neumeta_trainer *trainer =
        one_phase(&problem, PAIRS("batch", "16", "direct-rate", "0.01", "direct-blocks", "-1"));
    neumeta_network *before = emitted(&problem, 0);
    step(&problem, trainer, 1);
    neumeta_network *after = emitted(&problem, 0);
    values old = tensor_named(before, "linear.bias"), new = tensor_named(after, "linear.bias");
    for (int64_t i = 0; i < old.count; i++)
        ck_assert_double_eq_tol(fabs((double)new.data[i] - (double)old.data[i]), 0.01, 1e-5);
    neumeta_network_free(before);
    neumeta_network_free(after);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* Without a loss decay is all that happens, once a minibatch: w (1 - rate decay)^n, whatever the
 * INRs' rate and decay. */
START_TEST(direct_decay_shrinks_the_directly_held_tensors_at_every_minibatch)
{
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_FOLD);
    neumeta_trainer *trainer =
        one_phase(&problem, PAIRS("batch", "16", "group", "2", "loss-task", "0", "learning-rate",
                                  "0.1", "weight-decay", "0", "direct-rate", "0.01", "direct-decay",
                                  "0.5", "direct-blocks", "-1"));
    neumeta_network *before = emitted(&problem, 0);
    step(&problem, trainer, 3);
    neumeta_network *after = emitted(&problem, 0);
    assert_only_these_differ(before, after, PARTS("linear."));
    values old = tensor_named(before, "linear.weight"), new = tensor_named(after, "linear.weight");
    for (int64_t i = 0; i < old.count; i++) {
        double expected = (double)old.data[i] * pow(1 - 0.01 * 0.5, 3 * 2);
        ck_assert_double_eq_tol((double)new.data[i], expected, 2e-6 * fabs(expected) + 1e-30);
    }
    neumeta_network_free(before);
    neumeta_network_free(after);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* --- fitting --------------------------------------------------------------------------------- */

/* The network at compression gamma after INRs were fitted, and nothing else. */
static neumeta_network *fitted(const char *const *pairs, double gamma)
{
    test_problem problem;
    create_problem(&problem, NEUMETA_NORM_FOLD);
    neumeta_trainer *trainer = one_phase(&problem, pairs);
    step(&problem, trainer, 1);
    neumeta_network *network = emitted(&problem, gamma);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return network;
}
#define FIT "batch", "16", "learning-rate", "0", "inr-init", "fitted", "fit-steps"

START_TEST(a_fit_rate_of_zero_leaves_the_random_start)
{
    neumeta_network *start = fitted(PAIRS("batch", "16", "learning-rate", "0"), 0);
    neumeta_network *unmoved = fitted(PAIRS(FIT, "20", "fit-rate", "0"), 0);
    neumeta_network *moved = fitted(PAIRS(FIT, "20", "fit-rate", "1e-3"), 0);
    assert_only_these_differ(start, unmoved, PARTS(NULL));
    assert_only_these_differ(start, moved, PARTS("layer"));
    neumeta_network_free(start);
    neumeta_network_free(unmoved);
    neumeta_network_free(moved);
}
END_TEST

/* The bias of a second convolution follows the stream, which does not shrink. */
START_TEST(fits_of_one_size_know_no_compression_and_others_do)
{
    neumeta_network *one = fitted(PAIRS(FIT, "20", "fit-sizes", "1", "gamma-max", "0.25"), 0.5);
    neumeta_network *same = fitted(PAIRS(FIT, "20", "fit-sizes", "1", "gamma-max", "0.75"), 0.5);
    neumeta_network *few = fitted(PAIRS(FIT, "20", "fit-sizes", "5", "gamma-max", "0.25"), 0.5);
    neumeta_network *more = fitted(PAIRS(FIT, "20", "fit-sizes", "5", "gamma-max", "0.75"), 0.5);
    assert_only_these_differ(one, same, PARTS(NULL));
    assert_only_these_differ(one, few, PARTS(".conv1.", ".conv2.weight"));
    assert_only_these_differ(few, more, PARTS(".conv1.", ".conv2.weight"));
    neumeta_network_free(one);
    neumeta_network_free(same);
    neumeta_network_free(few);
    neumeta_network_free(more);
}
END_TEST

/* Squared distance of a first convolution to the reference's channels at the same
 * relative places: every stride-th output, at the full number of inputs. */
static double distance_to_reference(const neumeta_network *network, int64_t stride)
{
    static const char name[] = "layer1.2.conv1.weight";
    test_problem problem;
    double sum = 0;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    values wide = tensor_named(problem.network, name), narrow = tensor_named(network, name);
    int64_t kernel = wide.count / wide.dims[0];
    ck_assert_int_eq(narrow.dims[0] * stride, wide.dims[0]);
    ck_assert_int_eq(narrow.count / narrow.dims[0], kernel);
    for (int64_t o = 0; o < narrow.dims[0]; o++)
        for (int64_t k = 0; k < kernel; k++)
            sum += pow((double)narrow.data[o * kernel + k] -
                           (double)wide.data[o * stride * kernel + k],
                       2);
    problem_free(&problem);
    return sum;
}

/* Two sizes, both of them half: the fit is good there and worse at full width. */
START_TEST(fit_sizes_takes_the_compressions_of_the_phase)
{
    const char *const *full = PAIRS(FIT, "150", "fit-rate", "0.01", "fit-sizes", "1");
    const char *const *half = PAIRS(FIT, "150", "fit-rate", "0.01", "fit-sizes", "2", "gamma-min",
                                    "0.5", "gamma-max", "0.5");
    double distance[2][2];
    for (int at = 0; at < 2; at++) {
        neumeta_network *by_full = fitted(full, 0.5 * at), *by_half = fitted(half, 0.5 * at);
        distance[0][at] = distance_to_reference(by_full, 1 + at);
        distance[1][at] = distance_to_reference(by_half, 1 + at);
        neumeta_network_free(by_full);
        neumeta_network_free(by_half);
    }
    ck_assert_msg(distance[0][0] < 0.9 * distance[1][0], "at full width %g is not below %g",
                  distance[0][0], distance[1][0]);
    ck_assert_msg(distance[1][1] < 0.9 * distance[0][1], "at half width %g is not below %g",
                  distance[1][1], distance[0][1]);
}
END_TEST

/* --- plain training -------------------------------------------------------------------------- */

/* All weights before (epsilon NULL) or after one step of AdamW with a rate of 1. */
static float *stepped(const char *epsilon, int64_t *count)
{
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    neumeta_schedule *schedule =
        problem_schedule(&problem, 0, -1,
                         PAIRS("batch", "16", "learning-rate", "1", "adam-epsilon",
                               epsilon != NULL ? epsilon : "1"));
    assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, schedule,
                                                            problem.dataset, NULL, &trainer));
    if (epsilon != NULL)
        step(&problem, trainer, 1);
    float *weights = problem_weights(problem.network, count);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

/* The first step is g / (|g| + epsilon): that for epsilon 1 gives g, and so every other one. */
START_TEST(adam_epsilon_damps_small_gradients)
{
    int64_t count = 0, moved = 0;
    float *start = stepped(NULL, &count), *one = stepped("1", &count);
    float *tenth = stepped("0.1", &count), *none = stepped("1e-12", &count);
    for (int64_t i = 0; i < count; i++) {
        double damped = (double)start[i] - (double)one[i];
        double gradient = damped / (1 - fabs(damped));
        if (fabs(gradient) < 1e-4)
            continue;
        double expected = gradient / (fabs(gradient) + 0.1);
        ck_assert_double_eq_tol((double)start[i] - (double)tenth[i], expected,
                                1e-6 + 5e-3 * fabs(expected));
        ck_assert_double_eq_tol((double)start[i] - (double)none[i], copysign(1, gradient), 1e-5);
        moved++;
    }
    ck_assert_int_gt(moved, count / 4);
    free(start);
    free(one);
    free(tenth);
    free(none);
}
END_TEST

static int32_t add_node(neumeta_topology *topology, neumeta_context *context, const char *name,
                        int32_t op, int32_t input, int32_t axis, const char *const *pairs)
{
    int32_t node = -1;
    neumeta_options *options = problem_options(context, pairs);
    assert_ok(context, neumeta_topology_add_node(topology, name, op, &input, input >= 0, axis,
                                                 options, &node));
    neumeta_options_free(options);
    return node;
}

/* A norm of the images themselves, and a classifier. */
static neumeta_network *norm_network(neumeta_context *context, const char *momentum)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    int32_t classes = -1;
    assert_ok(context, neumeta_topology_create(context, &topology));
    assert_ok(context, neumeta_topology_add_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 2, 2, 1,
                                                 &classes));
    assert_ok(context, neumeta_topology_begin_block(topology, "all"));
    int32_t node = add_node(topology, context, "input", NEUMETA_OP_INPUT, -1, -1,
                            PAIRS("input-channels", "1", "input-height", "1", "input-width", "2"));
    node = add_node(topology, context, "bn", NEUMETA_OP_NORM, node, -1,
                    PAIRS("norm-momentum", momentum));
    node = add_node(topology, context, "pool", NEUMETA_OP_POOL_GLOBAL, node, -1, PAIRS(NULL));
    node = add_node(topology, context, "linear", NEUMETA_OP_LINEAR, node, classes, PAIRS(NULL));
    assert_ok(context, neumeta_topology_seal(topology, node));
    assert_ok(context, neumeta_network_create(topology, NULL, 0, &network));
    neumeta_topology_free(topology);
    return network;
}

/* The pixels 1, 2, 3, 6: their mean is 3, their sum of squared distances 14, so their unbiased
 * variance 14/3. Running statistics start at 0 and 1. */
static void check_momentum(const char *text, double momentum)
{
    static const float inputs[] = {1, 2, 3, 6};
    static const int64_t targets[] = {0, 1};
    neumeta_context *context = test_context();
    neumeta_network *network = norm_network(context, text);
    neumeta_dataset *dataset = NULL;
    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    neumeta_options *shape = problem_options(
        context, PAIRS("input-channels", "1", "input-height", "1", "input-width", "2"));
    neumeta_options *settings = problem_options(context, PAIRS("epochs", "2", "batch", "2"));
    assert_ok(context,
              neumeta_dataset_create_memory(context, inputs, targets, 2, 0, shape, &dataset));
    assert_ok(context, neumeta_schedule_create(context, &schedule));
    assert_ok(context, neumeta_schedule_add_phase(schedule, "only", 0, -1, settings));
    assert_ok(context, neumeta_trainer_create_plain(network, schedule, dataset, NULL, &trainer));
    double mean = 0, variance = 1;
    for (int i = 0; i < 2; i++) {
        assert_ok(context, neumeta_trainer_step(trainer));
        mean += momentum * (3 - mean);
        variance += momentum * (14.0 / 3 - variance);
        ck_assert_double_eq_tol((double)tensor_named(network, "bn.running_mean").data[0], mean,
                                1e-6);
        ck_assert_double_eq_tol((double)tensor_named(network, "bn.running_var").data[0], variance,
                                1e-6);
    }
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    neumeta_dataset_free(dataset);
    neumeta_options_free(shape);
    neumeta_options_free(settings);
    neumeta_network_free(network);
    neumeta_context_free(context);
}

START_TEST(norm_momentum_is_the_weight_of_a_new_batch)
{
    check_momentum("0", 0);
    check_momentum("0.1", 0.1);
    check_momentum("0.75", 0.75);
    check_momentum("1", 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recipes");
    TCase *cases = tcase_create("settings of recipes");
    tcase_add_test(cases, moments_start_anew_where_a_block_is_added);
    tcase_add_test(cases, moments_survive_an_added_block_if_they_are_kept);
    tcase_add_loop_test(
        cases, residual_scalars_stand_at_their_start_until_their_phase_and_move_by_their_rate, 0,
        2);
    tcase_add_test(cases, residual_scalars_without_a_start_are_the_references);
    tcase_add_test(cases, directly_held_tensors_train_by_their_rate_in_their_blocks_only);
    tcase_add_test(cases, direct_rate_is_the_length_of_the_first_step);
    tcase_add_test(cases, direct_decay_shrinks_the_directly_held_tensors_at_every_minibatch);
    tcase_add_test(cases, a_fit_rate_of_zero_leaves_the_random_start);
    tcase_add_test(cases, fits_of_one_size_know_no_compression_and_others_do);
    tcase_add_test(cases, fit_sizes_takes_the_compressions_of_the_phase);
    tcase_add_test(cases, adam_epsilon_damps_small_gradients);
    tcase_add_test(cases, norm_momentum_is_the_weight_of_a_new_batch);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
