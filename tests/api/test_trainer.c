/* SPDX-License-Identifier: MIT */
/* Training through the public API: it learns, it repeats, it resumes, and it survives what fails.
 */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>

/* Short phases that exercise every term of the loss. */
#define MANIFOLD_PHASE                                                                             \
    "epochs", "1.5", "batch", "16", "group", "2", "learning-rate", "2e-3", "weight-decay", "1e-3", \
        "clip-value", "10", "ema", "0.9", "loss-norm", "1e-3", "loss-reconstruction", "1",         \
        "reconstruction-weighted", "1", "size-draw", "full-first", "gamma-max", "0.5",             \
        "loss-distillation", "0.5", "non-uniform", "0.5", "direct-rate", "1e-3", "direct-blocks",  \
        "-1", "validate-epochs", "0.5", "continue-from", "best"

static neumeta_trainer *manifold_trainer(test_problem *problem, const char *const *pairs)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(problem, 1, 9, pairs);
    assert_ok(problem->context, neumeta_trainer_create(problem->manifold, problem->network,
                                                       schedule, problem->dataset, NULL, &trainer));
    neumeta_schedule_free(schedule);
    return trainer;
}

static int32_t stop_after(void *user, neumeta_trainer *trainer)
{
    double step = 0;
    ck_assert_int_eq(neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &step), NEUMETA_OK);
    return step >= *(int32_t *)user;
}

static void assert_equal_bits(const float *a, int64_t a_count, const float *b, int64_t b_count)
{
    ck_assert_int_eq(a_count, b_count);
    ck_assert_int_eq(memcmp(a, b, (size_t)a_count * sizeof *a), 0);
}

/* Trains a fresh manifold to the end, with a pause after `pause` steps (0: none) in which
 * everything is thrown away and made anew from a checkpoint; returns the weights at half width. */
static float *train(int32_t threads, int32_t pause, const char *folder, int64_t *count)
{
    test_problem problem;
    problem_create(&problem, threads, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    if (pause > 0) {
        char *path = test_path(folder, "checkpoint");
        assert_ok(problem.context, neumeta_trainer_set_progress(trainer, stop_after, &pause));
        assert_status(problem.context, neumeta_trainer_run(trainer), NEUMETA_CANCELLED);
        assert_ok(problem.context, neumeta_trainer_save(trainer, path));
        neumeta_trainer_free(trainer);
        problem_free(&problem);
        problem_create(&problem, threads, NEUMETA_NORM_SKIP_INIT, 32);
        problem_manifold(&problem, 16);
        trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
        assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
        free(path);
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    float *weights = problem_morphed(&problem, 0.5, count);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(a_resumed_run_equals_an_unbroken_one_bit_for_bit)
{
    char *folder = test_directory();
    int64_t count = 0, resumed_count = 0, cold_count = 0;
    float *unbroken = train(1, 0, NULL, &count);
    for (int32_t pause = 1; pause <= 5; pause += 2) {
        float *resumed = train(1, pause, folder, &resumed_count);
        assert_equal_bits(unbroken, count, resumed, resumed_count);
        free(resumed);
    }
    test_problem cold;
    problem_create(&cold, 1, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&cold, 16);
    float *untrained = problem_morphed(&cold, 0.5, &cold_count);
    ck_assert_int_eq(cold_count, count);
    ck_assert_int_ne(memcmp(unbroken, untrained, (size_t)count * sizeof *unbroken), 0);
    problem_free(&cold);
    free(untrained);
    free(unbroken);
    test_directory_remove(folder);
}
END_TEST

START_TEST(the_thread_count_does_not_change_a_bit)
{
    int64_t one_count = 0, two_count = 0;
    float *one = train(1, 0, NULL, &one_count);
    float *two = train(2, 0, NULL, &two_count);
    assert_equal_bits(one, one_count, two, two_count);
    free(one);
    free(two);
}
END_TEST

/* Plain training with batch norm; returns the weights, running statistics included. */
static float *train_plain(int32_t threads, int32_t pause, const char *folder, double *score,
                          int64_t *count)
{
    const char *const *pairs =
        PAIRS("epochs", "12", "batch", "16", "optimizer", "sgd", "learning-rate", "0.1",
              "weight-decay", "1e-4", "rate", "cosine", "warmup-epochs", "1", "ema", "0.5");
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, threads, 0, 0);
    neumeta_schedule *schedule = problem_schedule(&problem, 0, -1, pairs);
    assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, schedule,
                                                            problem.dataset, NULL, &trainer));
    if (pause > 0) {
        char *path = test_path(folder, "plain");
        for (int32_t i = 0; i < pause; i++)
            assert_ok(problem.context, neumeta_trainer_step(trainer));
        assert_ok(problem.context, neumeta_trainer_save(trainer, path));
        neumeta_trainer_free(trainer);
        assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, schedule,
                                                                problem.dataset, NULL, &trainer));
        assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
        free(path);
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    assert_ok(problem.context, neumeta_network_evaluate(problem.network, problem.dataset,
                                                        NEUMETA_SPLIT_TEST, NULL, score));
    float *weights = problem_weights(problem.network, count);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(a_plain_network_learns_and_resumes_with_its_running_statistics)
{
    char *folder = test_directory();
    double score = 0, resumed_score = 0;
    int64_t count = 0, resumed_count = 0;
    float *unbroken = train_plain(2, 0, NULL, &score, &count);
    float *resumed = train_plain(2, 17, folder, &resumed_score, &resumed_count);
    ck_assert_msg(score > 0.8, "test accuracy is %g; guessing gives 0.25", score);
    assert_equal_bits(unbroken, count, resumed, resumed_count);
    ck_assert(score == resumed_score);
    free(unbroken);
    free(resumed);
    test_directory_remove(folder);
}
END_TEST

/* Test accuracy of what the manifold emits at a ratio. */
static double score_at(const test_problem *problem, double ratio)
{
    int32_t axes = neumeta_topology_axis_count(problem->topology);
    int64_t sizes[64];
    double score = 0;
    neumeta_network *network = NULL;
    assert_ok(problem->context, neumeta_topology_sizes_at(problem->topology, ratio, sizes, axes));
    assert_ok(problem->context,
              neumeta_manifold_materialize(problem->manifold, sizes, axes, NULL, &network));
    assert_ok(problem->context, neumeta_network_evaluate(network, problem->dataset,
                                                         NEUMETA_SPLIT_TEST, NULL, &score));
    neumeta_network_free(network);
    return score;
}

START_TEST(a_manifold_learns_sizes_that_it_never_drew)
{
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, 2, 0, 0);
    neumeta_schedule *plain =
        problem_schedule(&problem, 0, -1,
                         PAIRS("epochs", "12", "batch", "16", "optimizer", "sgd", "learning-rate",
                               "0.1", "rate", "cosine"));
    assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, plain, problem.dataset,
                                                            NULL, &trainer));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(plain);
    neumeta_topology_free(problem.topology);
    assert_ok(problem.context,
              neumeta_network_replace_norm(problem.network, NEUMETA_NORM_FOLD, NULL));
    assert_ok(problem.context, neumeta_network_smooth(problem.network, NULL));
    assert_ok(problem.context, neumeta_network_topology(problem.network, &problem.topology));
    problem_manifold(&problem, 48);
    trainer = manifold_trainer(&problem,
                               PAIRS("epochs", "40", "batch", "16", "learning-rate", "3e-3", "rate",
                                     "cosine", "gamma-max", "0.5", "loss-reconstruction", "1",
                                     "clip-value", "10", "inr-init", "fitted", "fit-steps", "300"));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    const double score = score_at(&problem, 0.3), drawn = score_at(&problem, 0.5);
    /* A class of so small a problem may be lost to the rounding of the first training, then at all
     * sizes: 0.4 to 1 was seen for rates that differ by 1e-7. Sizes differ by up to 0.05. */
    ck_assert_msg(score > 0.3, "test accuracy is %g; guessing gives 0.25", score);
    ck_assert_msg(score > drawn - 0.1, "test accuracy is %g, at the narrowest drawn size %g", score,
                  drawn);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

START_TEST(a_failing_callback_costs_one_call_and_nothing_else)
{
    test_problem problem;
    int64_t count = 0, unbroken_count = 0;
    float *unbroken = train(1, 0, NULL, &unbroken_count);
    problem_create(&problem, 1, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    problem.fail_at = 4;
    assert_status(problem.context, neumeta_trainer_run(trainer), NEUMETA_ERR_CALLBACK);
    assert_message_contains(problem.context, "7");
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    float *weights = problem_morphed(&problem, 0.5, &count);
    assert_equal_bits(weights, count, unbroken, unbroken_count);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(weights);
    free(unbroken);
}
END_TEST

START_TEST(training_that_diverges_says_where)
{
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    neumeta_schedule *schedule =
        problem_schedule(&problem, 0, -1,
                         PAIRS("epochs", "40", "batch", "16", "optimizer", "sgd", "learning-rate",
                               "10", "weight-decay", "10"));
    assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, schedule,
                                                            problem.dataset, NULL, &trainer));
    assert_status(problem.context, neumeta_trainer_run(trainer), NEUMETA_ERR_NUMERIC);
    assert_message_contains(problem.context, "phase 'only', epoch");
    assert_message_contains(problem.context, "not finite");
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

typedef struct refusal {
    const char *pairs[7];
    const char *message;
} refusal;

static void refuse(test_problem *problem, bool manifold, const refusal *expected)
{
    neumeta_trainer *trainer = (neumeta_trainer *)1;
    neumeta_schedule *schedule =
        problem_schedule(problem, manifold ? 1 : 0, manifold ? 9 : -1, expected->pairs);
    neumeta_status status = manifold
                                ? neumeta_trainer_create(problem->manifold, NULL, schedule,
                                                         problem->dataset, NULL, &trainer)
                                : neumeta_trainer_create_plain(problem->network, schedule,
                                                               problem->dataset, NULL, &trainer);
    assert_status(problem->context, status, NEUMETA_ERR_ARGUMENT);
    assert_message_contains(problem->context, "phase 'only'");
    assert_message_contains(problem->context, expected->message);
    ck_assert_ptr_null(trainer);
    neumeta_schedule_free(schedule);
}

START_TEST(settings_that_make_no_sense_together_are_refused)
{
    static const refusal without_reference[] = {
        {{"loss-reconstruction", "1"}, "LOSS_RECONSTRUCTION needs a reference"},
        {{"loss-distillation", "1"}, "LOSS_DISTILLATION needs a reference"},
        {{"inr-init", "fitted"}, "INR_INIT 'fitted' needs a reference"},
        {{"validate-epochs", "1"}, "VALIDATE_EPOCHS needs a dataset with HELD_OUT"},
        {{"continue-from", "best"}, "CONTINUE_FROM 'best' needs VALIDATE_EPOCHS"},
        {{"size-draw", "sandwich"}, "needs a GROUP of at least 2"},
        {{"momentum", "0.5"}, "MOMENTUM has no effect while OPTIMIZER"},
        {{"milestones", "1,2"}, "MILESTONES has no effect while RATE"},
        {{"rate", "multistep"}, "RATE 'multistep' needs MILESTONES"},
        {{"fit-steps", "3"}, "FIT_STEPS has no effect while INR_INIT"},
        {{"size-axes", "999"}, "SIZE_AXES names axis 999"},
        {{"size-axes", "0"}, "cannot vary"},
    };
    static const refusal plain[] = {
        {{"gamma-max", "0.5"}, "GAMMA_MAX is a setting of manifolds"},
        {{"inr-init", "cloned"}, "INR_INIT is a setting of manifolds"},
    };
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    for (size_t i = 0; i < sizeof without_reference / sizeof *without_reference; i++)
        refuse(&problem, true, &without_reference[i]);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        refuse(&problem, false, &plain[i]);
    problem_free(&problem);
}
END_TEST

START_TEST(schedules_refuse_what_is_no_phase_setting)
{
    neumeta_context *context = test_context();
    neumeta_schedule *schedule = NULL;
    assert_ok(context, neumeta_schedule_create(context, &schedule));
    neumeta_options *options = problem_options(context, PAIRS("inr-hidden", "16"));
    assert_status(context, neumeta_schedule_add_phase(schedule, "stem", 0, -1, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "phase 'stem': INR_HIDDEN is not a setting of a phase");
    neumeta_options_free(options);
    static const refusal ranges[] = {
        {{"gamma-min", "0.6", "gamma-max", "0.5"}, "GAMMA_MIN is 0.6, must not be above GAMMA_MAX"},
        {{"gamma-gap", "0.3"}, "GAMMA_GAP must be two compressions"},
        {{"gamma-gap", "0.4,0.3"}, "of which the second is larger"},
        {{"gamma-gap", "0.3,0.6", "gamma-max", "0.5"}, "must lie between GAMMA_MIN and GAMMA_MAX"},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        options = problem_options(context, ranges[i].pairs);
        assert_status(context, neumeta_schedule_add_phase(schedule, "stem", 0, -1, options),
                      NEUMETA_ERR_ARGUMENT);
        assert_message_contains(context, ranges[i].message);
        neumeta_options_free(options);
    }
    ck_assert_int_eq(neumeta_schedule_phase_count(schedule), 0);
    neumeta_schedule_free(schedule);
    neumeta_context_free(context);
}
END_TEST

START_TEST(an_untrained_block_is_refused)
{
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_schedule *schedule = problem_schedule(&problem, 1, 4, PAIRS("epochs", "1"));
    assert_status(problem.context,
                  neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                         problem.dataset, NULL, &trainer),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(problem.context, "block 'layer2.1' morphs, but no phase");
    neumeta_schedule_free(schedule);
    problem_free(&problem);
}
END_TEST

START_TEST(damaged_or_foreign_checkpoints_change_nothing)
{
    char *folder = test_directory(), *path = test_path(folder, "c");
    test_problem problem;
    int64_t size = 0, count = 0, expected_count = 0;
    float *expected = train(1, 0, NULL, &expected_count);
    problem_create(&problem, 1, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    neumeta_trainer *other =
        manifold_trainer(&problem, PAIRS("epochs", "1", "batch", "16", "loss-task", "2"));
    assert_ok(problem.context, neumeta_trainer_step(other));
    assert_ok(problem.context, neumeta_trainer_save(other, path));
    assert_status(problem.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_STATE);
    assert_message_contains(problem.context, "belongs to another");
    neumeta_trainer_free(other);
    neumeta_trainer_free(trainer);
    problem_free(&problem);

    problem_create(&problem, 1, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&problem, 16);
    trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    assert_ok(problem.context, neumeta_trainer_save(trainer, path));
    unsigned char *bytes = test_read_file(path, &size);
    ck_assert_ptr_nonnull(bytes);
    for (int64_t cut = 0; cut < size; cut += size / 23) {
        test_write_file(path, bytes, cut);
        assert_status(problem.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_FORMAT);
    }
    free(bytes);
    assert_status(problem.context, neumeta_trainer_restore(trainer, "/nonexistent/checkpoint"),
                  NEUMETA_ERR_IO);
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    float *weights = problem_morphed(&problem, 0.5, &count);
    assert_equal_bits(weights, count, expected, expected_count);
    free(weights);
    free(expected);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

START_TEST(the_block_wise_recipe_runs_clones_and_resumes_between_and_within_phases)
{
    const int64_t blocks[] = {2, 3, 5, 6};
    char *folder = test_directory(), *path = test_path(folder, "ht");
    float *results[2] = {NULL, NULL};
    int64_t counts[2] = {0, 0};
    for (int pause = 0; pause < 2; pause++) {
        test_problem problem;
        neumeta_trainer *trainer = NULL;
        neumeta_schedule *schedule = NULL;
        problem_create(&problem, 2, NEUMETA_NORM_SKIP_INIT, 0);
        neumeta_options *inr = problem_options(
            problem.context, PAIRS("inr-hidden", "16", "inr-layers", "2", "inr-octaves", "2",
                                   "inr-function", "elu", "noise-clamp", "0.49"));
        assert_ok(problem.context,
                  neumeta_options_set_ints(inr, NEUMETA_KEY_MORPH_BLOCKS, blocks, 4));
        assert_ok(problem.context,
                  neumeta_manifold_create(problem.topology, inr, &problem.manifold));
        neumeta_options *shorter = problem_options(
            problem.context, PAIRS("epochs", "1.5", "batch", "16", "warmup-epochs", "0.5"));
        assert_ok(problem.context, neumeta_schedule_create_recipe(problem.topology, "ht", blocks, 4,
                                                                  shorter, &schedule));
        ck_assert_int_eq(neumeta_schedule_phase_count(schedule), 4);
        ck_assert_str_eq(neumeta_schedule_phase_name(schedule, 2), "layer2.1");
        assert_ok(problem.context,
                  neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                         problem.dataset, NULL, &trainer));
        for (int32_t step = 0; pause != 0 && step < 12; step++) {
            /* Every few steps a new trainer takes over, the manifold's memory being overwritten. */
            assert_ok(problem.context, neumeta_trainer_step(trainer));
            if (step % 3 != 2)
                continue;
            assert_ok(problem.context, neumeta_trainer_save(trainer, path));
            neumeta_trainer_free(trainer);
            assert_ok(problem.context,
                      neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                             problem.dataset, NULL, &trainer));
            assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
        }
        assert_ok(problem.context, neumeta_trainer_run(trainer));
        results[pause] = problem_morphed(&problem, 0.25, &counts[pause]);
        neumeta_schedule_free(schedule);
        neumeta_options_free(shorter);
        neumeta_options_free(inr);
        neumeta_trainer_free(trainer);
        problem_free(&problem);
    }
    assert_equal_bits(results[0], counts[0], results[1], counts[1]);
    free(results[0]);
    free(results[1]);
    free(path);
    test_directory_remove(folder);
}
END_TEST

typedef struct fit_watch {
    int32_t stop_at, calls; /* calls while INRs are being fitted */
    double last;
} fit_watch;

static int32_t watch_fit(void *user, neumeta_trainer *trainer)
{
    fit_watch *watch = user;
    double fitted = 0, step = -1;
    ck_assert_int_eq(neumeta_trainer_metric(trainer, NEUMETA_METRIC_FIT, &fitted), NEUMETA_OK);
    ck_assert_int_eq(neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &step), NEUMETA_OK);
    if (isnan(fitted)) {
        ck_assert(step >= 1);
        return 0;
    }
    ck_assert(step == 0 && fitted > watch->last && fitted <= 1);
    watch->last = fitted;
    return ++watch->calls == watch->stop_at;
}

/* Weights after a short training whose fit is stopped at a call (0: never), and which then goes on
 * in place, or anew from the checkpoint that stopping left in `path`. */
static float *train_fitted(int32_t stop_at, const char *path, int64_t *count)
{
    const char *const *pairs =
        PAIRS("epochs", "0.2", "batch", "16", "inr-init", "fitted", "fit-steps", "6", "ema", "0.5");
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    fit_watch watch = {.stop_at = stop_at};
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_schedule *schedule = problem_schedule(&problem, 1, 9, pairs);
    neumeta_options *options = problem_options(problem.context, PAIRS(NULL));
    if (path != NULL)
        assert_ok(problem.context, neumeta_options_parse(options, "checkpoint-path", path));
    assert_ok(problem.context, neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                                      problem.dataset, options, &trainer));
    assert_ok(problem.context, neumeta_trainer_set_progress(trainer, watch_fit, &watch));
    if (stop_at > 0) {
        assert_status(problem.context, neumeta_trainer_run(trainer), NEUMETA_CANCELLED);
        ck_assert_int_eq(watch.calls, stop_at);
        watch = (fit_watch){0};
    }
    if (path != NULL) {
        neumeta_trainer_free(trainer);
        assert_ok(problem.context,
                  neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                         problem.dataset, options, &trainer));
        assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
        assert_ok(problem.context, neumeta_trainer_set_progress(trainer, watch_fit, &watch));
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    ck_assert_int_eq(watch.calls, 36 * 6); /* weight and bias of 18 convolutions */
    ck_assert(watch.last == 1);
    float *weights = problem_morphed(&problem, 0.25, count);
    neumeta_options_free(options);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(the_fit_to_the_reference_is_watched_and_can_be_stopped)
{
    char *folder = test_directory(), *path = test_path(folder, "c");
    int64_t counts[3] = {0};
    float *weights[3] = {train_fitted(0, NULL, &counts[0]), train_fitted(100, NULL, &counts[1]),
                         train_fitted(100, path, &counts[2])};
    assert_equal_bits(weights[0], counts[0], weights[1], counts[1]);
    assert_equal_bits(weights[0], counts[0], weights[2], counts[2]);
    for (int i = 0; i < 3; i++)
        free(weights[i]);
    free(path);
    test_directory_remove(folder);
}
END_TEST

START_TEST(the_sandwich_rule_shares_items_and_teaches_narrow_sizes)
{
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(
        &problem, PAIRS("epochs", "1", "batch", "16", "group", "3", "size-draw", "sandwich",
                        "loss-distillation", "1", "distillation-teacher", "widest",
                        "distillation-temperature", "2", "gamma-max", "0.5", "clip-norm", "1"));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    double steps = 0, progress = 0;
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &steps));
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_PROGRESS, &progress));
    ck_assert_int_eq((int)steps, PROBLEM_ITEMS / 16);
    ck_assert(progress == 1);
    ck_assert_int_eq(problem.fetches, PROBLEM_ITEMS / 16);
    assert_status(problem.context, neumeta_trainer_step(trainer), NEUMETA_CANCELLED);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

/* The running mean of the last epoch: what a report about a finished training shows. */
START_TEST(the_loss_stays_readable_after_the_end)
{
    char *folder = test_directory(), *path = test_path(folder, "finished");
    double loss = NAN, task = NAN, restored = NAN;
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_SKIP_INIT, 32);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS, &loss));
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS_TASK, &task));
    ck_assert_msg(isfinite(loss) && isfinite(task), "loss %g, task %g", loss, task);
    assert_ok(problem.context, neumeta_trainer_save(trainer, path));
    neumeta_trainer_free(trainer);
    trainer = manifold_trainer(&problem, PAIRS(MANIFOLD_PHASE));
    assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS, &restored));
    ck_assert(restored == loss);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

START_TEST(checkpoints_are_written_while_training_runs)
{
    char *folder = test_directory(), *path = test_path(folder, "auto");
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    int64_t size = 0;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_schedule *schedule =
        problem_schedule(&problem, 1, 9, PAIRS("epochs", "0.3", "batch", "16"));
    neumeta_options *options = problem_options(problem.context, PAIRS("checkpoint-seconds", "0"));
    assert_status(problem.context,
                  neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                         problem.dataset, options, &trainer),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(problem.context, "CHECKPOINT_SECONDS has no effect");
    assert_ok(problem.context, neumeta_options_parse(options, "checkpoint-path", path));
    assert_ok(problem.context, neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                                      problem.dataset, options, &trainer));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    unsigned char *bytes = test_read_file(path, &size);
    ck_assert_ptr_nonnull(bytes);
    free(bytes);
    assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
    assert_status(problem.context, neumeta_trainer_step(trainer), NEUMETA_CANCELLED);
    neumeta_options_free(options);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

/* Whether all steps were made by themselves, or there are none. */
START_TEST(a_run_ends_with_a_checkpoint_even_without_steps)
{
    static const char *const epochs[] = {"0.3", "0"};
    char *folder = test_directory(), *path = test_path(folder, "end");
    test_problem problem;
    neumeta_trainer *trainer = NULL;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_schedule *schedule =
        problem_schedule(&problem, 1, 9, PAIRS("epochs", epochs[_i], "batch", "16"));
    neumeta_options *options = problem_options(problem.context, PAIRS("checkpoint-path", path));
    assert_ok(problem.context, neumeta_trainer_create(problem.manifold, problem.network, schedule,
                                                      problem.dataset, options, &trainer));
    while (neumeta_trainer_step(trainer) == NEUMETA_OK)
        continue;
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
    assert_status(problem.context, neumeta_trainer_step(trainer), NEUMETA_CANCELLED);
    neumeta_options_free(options);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

/* Averaged running statistics belong to averaged weights: a phase that does nothing loses neither.
 */
START_TEST(averages_of_running_statistics_are_kept_with_the_moments)
{
    float *values[2];
    int64_t count = 0;
    for (int phases = 1; phases <= 2; phases++) {
        test_problem problem;
        neumeta_trainer *trainer = NULL;
        problem_create(&problem, 1, 0, 0);
        neumeta_schedule *schedule =
            problem_schedule(&problem, 0, -1, PAIRS("epochs", "0.5", "batch", "16", "ema", "0.9"));
        neumeta_options *nothing =
            problem_options(problem.context,
                            PAIRS("epochs", "0", "batch", "16", "ema", "0.9", "keep-moments", "1"));
        if (phases == 2)
            assert_ok(problem.context,
                      neumeta_schedule_add_phase(schedule, "nothing", 0, -1, nothing));
        assert_ok(problem.context, neumeta_trainer_create_plain(problem.network, schedule,
                                                                problem.dataset, NULL, &trainer));
        assert_ok(problem.context, neumeta_trainer_run(trainer));
        values[phases - 1] = problem_weights(problem.network, &count);
        neumeta_trainer_free(trainer);
        neumeta_options_free(nothing);
        neumeta_schedule_free(schedule);
        problem_free(&problem);
    }
    assert_equal_bits(values[0], count, values[1], count);
    free(values[0]);
    free(values[1]);
}
END_TEST

START_TEST(handles_of_a_training_may_be_freed_in_any_order)
{
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = manifold_trainer(&problem, PAIRS("epochs", "0.2", "batch", "16"));
    neumeta_topology_free(problem.topology);
    neumeta_network_free(problem.network);
    neumeta_manifold_free(problem.manifold);
    neumeta_dataset_free(problem.dataset);
    neumeta_context_free(problem.context);
    ck_assert_int_eq(neumeta_trainer_run(trainer), NEUMETA_OK);
    neumeta_trainer_free(trainer);
    free(problem.inputs);
    free(problem.targets);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trainer");
    TCase *cases = tcase_create("trainer");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(cases, "sequential");
    tcase_add_test(cases, a_resumed_run_equals_an_unbroken_one_bit_for_bit);
    tcase_add_test(cases, a_plain_network_learns_and_resumes_with_its_running_statistics);
    tcase_add_test(cases, a_manifold_learns_sizes_that_it_never_drew);
    tcase_add_test(cases, a_failing_callback_costs_one_call_and_nothing_else);
    tcase_add_test(cases, training_that_diverges_says_where);
    tcase_add_test(cases, settings_that_make_no_sense_together_are_refused);
    tcase_add_test(cases, schedules_refuse_what_is_no_phase_setting);
    tcase_add_test(cases, an_untrained_block_is_refused);
    tcase_add_test(cases, damaged_or_foreign_checkpoints_change_nothing);
    tcase_add_test(cases, the_block_wise_recipe_runs_clones_and_resumes_between_and_within_phases);
    tcase_add_test(cases, the_fit_to_the_reference_is_watched_and_can_be_stopped);
    tcase_add_test(cases, the_loss_stays_readable_after_the_end);
    tcase_add_test(threads, the_thread_count_does_not_change_a_bit);
    tcase_add_test(threads, the_sandwich_rule_shares_items_and_teaches_narrow_sizes);
    tcase_add_test(threads, checkpoints_are_written_while_training_runs);
    tcase_add_loop_test(cases, a_run_ends_with_a_checkpoint_even_without_steps, 0, 2);
    tcase_add_test(cases, averages_of_running_statistics_are_kept_with_the_moments);
    tcase_add_test(threads, handles_of_a_training_may_be_freed_in_any_order);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
