/* SPDX-License-Identifier: MIT */
/* Manifolds of grids through the public calls: they start as their reference, learn, resume, and
 * morph streams and depths; separable INRs and those that share a trunk resume and morph them, too.
 */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>

static neumeta_trainer *make_trainer(test_problem *problem, const char *const *pairs)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(problem, 0, -1, pairs);
    assert_ok(problem->context, neumeta_trainer_create(problem->manifold, problem->network,
                                                       schedule, problem->dataset, NULL, &trainer));
    neumeta_schedule_free(schedule);
    return trainer;
}

static const int32_t methods[] = {NEUMETA_NORM_FOLD, NEUMETA_NORM_SKIP_INIT, NEUMETA_NORM_AFFINE,
                                  NEUMETA_NORM_SQRT_HALF, NEUMETA_NORM_GROUP};
enum { METHODS = sizeof methods / sizeof *methods };

START_TEST(a_fitted_manifold_starts_as_its_reference_to_the_bit)
{
    test_problem problem;
    int64_t count = 0, made_count = 0;
    problem_create(&problem, 2, methods[_i], 0);
    problem_grids(&problem,
                  PAIRS("grid-terms", "1", "grid-gauge", _i % 2 == 0 ? "absolute" : "relative"));
    neumeta_trainer *trainer =
        make_trainer(&problem, PAIRS("epochs", "1", "batch", "160", "learning-rate", "0",
                                     "inr-init", "fitted", "size-draw", "full-first"));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    float *expected = problem_weights(problem.network, &count);
    float *made = problem_morphed(&problem, 0, &made_count);
    ck_assert_int_eq(count, made_count);
    ck_assert_mem_eq(made, expected, (size_t)count * sizeof *made);
    free(expected);
    free(made);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* Every axis at once: all widths, streams among them, and depths. */
#define ALL_AXES "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define PHASE                                                                                      \
    "epochs", "1.5", "batch", "16", "group", "3", "learning-rate", "2e-3", "ema", "0.9",           \
        "size-draw", "sandwich", "gamma-max", "0.5", "depth-gamma-max", "0.7", "non-uniform",      \
        "0.5", "inr-init", "fitted", "loss-distillation", "1", "distillation-teacher", "widest",   \
        "validate-epochs", "0.5", "validate-gammas", "0,0.5", "continue-from", "best"

/* Names of axes by number, and the number of depths. */
static int32_t count_depths(const neumeta_topology *topology)
{
    int32_t depths = 0;
    for (int32_t a = 0; a < neumeta_topology_axis_count(topology); a++) {
        int32_t kind = 0;
        assert_ok(NULL, neumeta_topology_axis(topology, a, NULL, &kind, NULL, NULL, NULL));
        depths += kind == NEUMETA_AXIS_DEPTH;
    }
    return depths;
}

/* Settings of manifolds of each kind, and what fits them takes few steps. */
enum { GRIDS, SEPARABLE, TRUNK, KINDS };
#define SMALL "inr-hidden", "8", "inr-layers", "2", "inr-octaves", "3"

static void make_kind(test_problem *problem, int kind)
{
    const char *const *settings[KINDS] = {
        [GRIDS] = PAIRS("inr-kind", "grid", "grid-terms", "1"),
        [SEPARABLE] = PAIRS("inr-kind", "separable", SMALL, "inr-rank", "5"),
        [TRUNK] = PAIRS("inr-kind", "trunk", SMALL),
    };
    neumeta_options *options = problem_options(problem->context, settings[kind]);
    assert_ok(problem->context,
              neumeta_manifold_create(problem->topology, options, &problem->manifold));
    neumeta_options_free(options);
}

/* A phase, or one for the first blocks and one that adds the others and leaves the first alone. */
static neumeta_trainer *make_phases(test_problem *problem, int kind, bool two)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = NULL;
    neumeta_options *options = problem_options(
        problem->context, kind == TRUNK ? PAIRS(PHASE, "fit-steps", "5") : PAIRS(PHASE));
    assert_ok(problem->context, neumeta_schedule_create(problem->context, &schedule));
    if (two) {
        assert_ok(problem->context, neumeta_schedule_add_phase(schedule, "first", 0, 4, options));
        assert_ok(problem->context, neumeta_options_parse(options, "train-earlier", "0"));
    } else {
        assert_ok(problem->context, neumeta_options_parse(options, "size-axes", ALL_AXES));
    }
    assert_ok(problem->context,
              neumeta_schedule_add_phase(schedule, "last", two ? 5 : 0, -1, options));
    assert_ok(problem->context, neumeta_trainer_create(problem->manifold, problem->network,
                                                       schedule, problem->dataset, NULL, &trainer));
    neumeta_schedule_free(schedule);
    neumeta_options_free(options);
    return trainer;
}

/* What is trained, and the step in which everything is thrown away and made anew from a checkpoint;
 * 0: none. */
typedef struct training {
    int kind;
    bool two_phases;
    int32_t threads, pause;
} training;

/* Weights at half of every width and depth 2, after training. */
static float *train(const training *how, const char *folder, int64_t *count)
{
    const int32_t threads = how->threads, pause = how->pause;
    test_problem problem;
    neumeta_network *network = NULL;
    int64_t sizes[64];
    problem_create(&problem, threads, NEUMETA_NORM_FOLD, 32);
    make_kind(&problem, how->kind);
    const int32_t axes = neumeta_topology_axis_count(problem.topology);
    ck_assert_int_eq(axes, 16);
    ck_assert_int_eq(count_depths(problem.topology), 3);
    neumeta_trainer *trainer = make_phases(&problem, how->kind, how->two_phases);
    for (int32_t step = 0; step < pause; step++)
        assert_ok(problem.context, neumeta_trainer_step(trainer));
    if (pause > 0) {
        char *path = test_path(folder, "checkpoint");
        assert_ok(problem.context, neumeta_trainer_save(trainer, path));
        neumeta_trainer_free(trainer);
        problem_free(&problem);
        problem_create(&problem, threads, NEUMETA_NORM_FOLD, 32);
        make_kind(&problem, how->kind);
        trainer = make_phases(&problem, how->kind, how->two_phases);
        assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
        free(path);
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    for (int32_t a = 0; a < axes; a++) {
        int32_t kind = 0;
        int64_t least = 0, most = 0;
        assert_ok(problem.context,
                  neumeta_topology_axis(problem.topology, a, NULL, &kind, &least, &most, NULL));
        sizes[a] = kind == NEUMETA_AXIS_DEPTH ? 2 : least < most ? most / 2 : most;
    }
    assert_ok(problem.context,
              neumeta_manifold_materialize(problem.manifold, sizes, axes, NULL, &network));
    float *weights = problem_weights(network, count);
    neumeta_network_free(network);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(training_on_every_axis_resumes_to_the_bit_at_any_number_of_threads)
{
    char *folder = test_directory();
    int64_t count = 0, other_count = 0;
    training how = {.kind = _i % KINDS, .two_phases = _i >= KINDS, .threads = 1};
    float *unbroken = train(&how, NULL, &count);
    how.threads = 2;
    for (how.pause = 1; how.pause <= (how.two_phases ? 22 : 7);
         how.pause += how.two_phases ? 7 : 3) {
        float *other = train(&how, folder, &other_count);
        ck_assert_int_eq(count, other_count);
        ck_assert_mem_eq(unbroken, other, (size_t)count * sizeof *other);
        free(other);
    }
    for (int64_t i = 0; i < count; i++)
        ck_assert(isfinite(unbroken[i]));
    free(unbroken);
    test_directory_remove(folder);
}
END_TEST

/* Test accuracy of a network that the manifold yields: a share of every inner width, and a depth.
 */
static double score_at(test_problem *problem, double gamma, int64_t depth)
{
    int64_t sizes[64];
    double score = 0;
    neumeta_network *network = NULL;
    const int32_t axes = neumeta_topology_axis_count(problem->topology);
    assert_ok(problem->context, neumeta_manifold_sizes_at(problem->manifold, gamma, sizes, axes));
    for (int32_t a = 0; a < axes; a++) {
        int32_t kind = 0;
        assert_ok(problem->context,
                  neumeta_topology_axis(problem->topology, a, NULL, &kind, NULL, NULL, NULL));
        sizes[a] = kind == NEUMETA_AXIS_DEPTH ? depth : sizes[a];
    }
    assert_ok(problem->context,
              neumeta_manifold_materialize(problem->manifold, sizes, axes, NULL, &network));
    assert_ok(problem->context, neumeta_network_evaluate(network, problem->dataset,
                                                         NEUMETA_SPLIT_TEST, NULL, &score));
    neumeta_network_free(network);
    return score;
}

START_TEST(grids_learn_from_scratch)
{
    test_problem problem;
    problem_create(&problem, 2, NEUMETA_NORM_SKIP_INIT, 0);
    problem_grids(&problem, PAIRS("grid-gauge", _i == 0 ? "absolute" : "relative"));
    neumeta_trainer *trainer =
        make_trainer(&problem, PAIRS("epochs", "25", "batch", "16", "group", "3", "learning-rate",
                                     "3e-3", "size-draw", "sandwich", "gamma-max", "0.5",
                                     "depth-gamma-max", "0.4", "residual-rate", "1e-3"));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    const double full = score_at(&problem, 0, 3), half = score_at(&problem, 0.5, 3);
    const double shallow = score_at(&problem, 0.25, 2);
    ck_assert_msg(full > 0.8 && half > 0.7 && shallow > 0.7,
                  "accuracies are %g, %g and %g; guessing gives 0.25", full, half, shallow);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* A block that is added starts as the one before it, as far as it is of the same stage. */
START_TEST(blocks_are_cloned)
{
    test_problem problem;
    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    const int64_t blocks[] = {7, 8, 9};
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_grids(&problem, PAIRS("morph-blocks", "7,8,9"));
    neumeta_options *options =
        problem_options(problem.context, PAIRS("epochs", "0.1", "learning-rate", "0"));
    assert_ok(problem.context, neumeta_schedule_create_recipe(problem.topology, "ht", blocks, 3,
                                                              options, &schedule));
    assert_ok(problem.context, neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                                      problem.dataset, NULL, &trainer));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    int64_t sizes[64], elements = 0;
    const float *data[2] = {NULL, NULL};
    neumeta_network *network = NULL;
    const int32_t axes = neumeta_topology_axis_count(problem.topology);
    assert_ok(problem.context, neumeta_manifold_sizes_at(problem.manifold, 0, sizes, axes));
    assert_ok(problem.context,
              neumeta_manifold_materialize(problem.manifold, sizes, axes, NULL, &network));
    for (int32_t t = 0; t < neumeta_network_tensor_count(network); t++) {
        const char *name;
        const float *values;
        int64_t dims[4];
        int32_t rank;
        assert_ok(NULL, neumeta_network_tensor(network, t, &name, dims, &rank, &values));
        if (strcmp(name, "layer3.0.conv2.weight") == 0)
            data[0] = values;
        if (strcmp(name, "layer3.1.conv2.weight") == 0) {
            data[1] = values;
            elements = dims[0] * dims[1] * dims[2] * dims[3];
        }
    }
    ck_assert(data[0] != NULL && data[1] != NULL);
    ck_assert_mem_eq(data[0], data[1], (size_t)elements * sizeof(float));
    neumeta_network_free(network);
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    neumeta_options_free(options);
    problem_free(&problem);
}
END_TEST

static void assert_refused(test_problem *problem, const char *const *pairs, const char *message)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(problem, 0, -1, pairs);
    assert_status(problem->context,
                  neumeta_trainer_create(problem->manifold, problem->network, schedule,
                                         problem->dataset, NULL, &trainer),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(problem->context, message);
    ck_assert_ptr_null(trainer);
    neumeta_schedule_free(schedule);
}

START_TEST(settings_without_effect_are_refused)
{
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_grids(&problem, PAIRS("grid-terms", "1"));
    assert_refused(&problem, PAIRS("inr-init", "fitted", "fit-steps", "5"),
                   "FIT_STEPS has no effect on grids, which copy the reference");
    assert_refused(&problem, PAIRS("inr-init", "fitted", "fit-sizes", "5"), "FIT_SIZES");
    assert_refused(&problem, PAIRS("size-axes", "2"),
                   "SIZE_AXES names 'layer1.depth', a depth, which varies only if "
                   "DEPTH_GAMMA_MAX is above 0");
    assert_refused(&problem, PAIRS("size-axes", "0"), "SIZE_AXES names no axis that can vary");
    assert_refused(&problem, PAIRS("size-axes", "3", "depth-gamma-max", "0.5"),
                   "DEPTH_GAMMA_MAX has no effect while SIZE_AXES names no depth");
    assert_refused(&problem, PAIRS("size-axes", "3", "stream-gamma-max", "0.5"),
                   "STREAM_GAMMA_MAX has no effect while SIZE_AXES names no stream");
    neumeta_manifold_free(problem.manifold);
    problem_grids(&problem, PAIRS("morph-blocks", "1,2"));
    assert_refused(&problem, PAIRS("size-axes", "1"), "'layer1.stream' cannot vary: tensor");
    assert_refused(
        &problem, PAIRS("stream-gamma-max", "0.5"),
        "STREAM_GAMMA_MAX has no effect: axis 'layer1.stream' cannot vary, since tensor");
    problem_free(&problem);
}
END_TEST

START_TEST(a_checkpoint_of_other_grids_is_refused)
{
    char *folder = test_directory(), *path = test_path(folder, "checkpoint");
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_grids(&problem, PAIRS("grid-gauge", "absolute"));
    neumeta_trainer *trainer = make_trainer(&problem, PAIRS("epochs", "1", "batch", "16"));
    assert_ok(problem.context, neumeta_trainer_step(trainer));
    assert_ok(problem.context, neumeta_trainer_save(trainer, path));
    neumeta_trainer_free(trainer);
    neumeta_manifold_free(problem.manifold);
    problem_grids(&problem, PAIRS("grid-gauge", "relative"));
    trainer = make_trainer(&problem, PAIRS("epochs", "1", "batch", "16"));
    assert_status(problem.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_STATE);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grids");
    TCase *tests = tcase_create("grids");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(tests, "sequential");
    tcase_add_loop_test(tests, a_fitted_manifold_starts_as_its_reference_to_the_bit, 0, METHODS);
    tcase_add_loop_test(tests, grids_learn_from_scratch, 0, 2);
    tcase_add_test(tests, blocks_are_cloned);
    tcase_add_test(tests, settings_without_effect_are_refused);
    tcase_add_test(tests, a_checkpoint_of_other_grids_is_refused);
    tcase_add_loop_test(threads, training_on_every_axis_resumes_to_the_bit_at_any_number_of_threads,
                        0, KINDS + TRUNK + 1);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
