/* SPDX-License-Identifier: MIT */
/* Manifolds that keep batch norm: training, calibration, materialisation without data, files. */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>

#define PHASE                                                                                      \
    "epochs", "1", "batch", "16", "group", "3", "size-draw", "sandwich", "non-uniform", "0.5",     \
        "gamma-max", "0.75", "loss-distillation", "1", "distillation-teacher", "widest",           \
        "learning-rate", "2e-3"

enum { AXES = 64 };

static neumeta_status materialize(test_problem *p, double gamma, neumeta_network **network)
{
    int64_t sizes[AXES];
    const int32_t axes = neumeta_topology_axis_count(p->topology);
    ck_assert_int_le(axes, AXES);
    assert_ok(p->context, neumeta_manifold_sizes_at(p->manifold, gamma, sizes, axes));
    return neumeta_manifold_materialize(p->manifold, sizes, axes, NULL, network);
}

#define QUICK "calibrate-sizes", "8", "calibrate-items", "40", "gamma-max", "0.75"

static neumeta_trainer *make_trainer(test_problem *p, const char *const *pairs)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(p, 1, 9, pairs);
    assert_ok(p->context, neumeta_trainer_create(p->manifold, p->network, schedule, p->dataset,
                                                 NULL, &trainer));
    neumeta_schedule_free(schedule);
    return trainer;
}

/* A manifold with norms, trained a little. */
static void start(test_problem *p, int32_t threads)
{
    problem_create(p, threads, 0, 32);
    problem_manifold(p, 12);
    neumeta_trainer *trainer =
        make_trainer(p, PAIRS(PHASE, "inr-init", "fitted", "fit-steps", "20"));
    assert_ok(p->context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
}

static void assert_refused(test_problem *p)
{
    neumeta_network *network = NULL;
    assert_status(p->context, materialize(p, 0.5, &network), NEUMETA_ERR_STATE);
    ck_assert_ptr_null(network);
    assert_message_contains(p->context, "calibrate it");
}

START_TEST(a_manifold_yields_nothing_until_its_norms_are_calibrated)
{
    test_problem p;
    neumeta_network *network = NULL;
    double error = -1;
    start(&p, 1);
    assert_refused(&p);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, &error));
    ck_assert_msg(error >= 0 && error < 3, "error is %g", error);
    assert_ok(p.context, materialize(&p, 0.5, &network));
    neumeta_network_free(network);
    neumeta_trainer *trainer = make_trainer(&p, PAIRS(PHASE));
    assert_refused(&p); /* the reference's tensors came back */
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    assert_refused(&p);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    assert_ok(p.context, materialize(&p, 0.5, &network));
    neumeta_network_free(network);
    neumeta_trainer_free(trainer);
    problem_free(&p);
}
END_TEST

/* Coefficients, and weights with statistics at two sizes. */
static unsigned char *calibrated_file(int32_t threads, int64_t *size)
{
    test_problem p;
    char *folder = test_directory(), *path = test_path(folder, "m");
    start(&p, threads);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    unsigned char *bytes = test_read_file(path, size);
    free(path);
    test_directory_remove(folder);
    problem_free(&p);
    return bytes;
}

START_TEST(the_thread_count_does_not_change_a_bit)
{
    int64_t one_size, two_size;
    unsigned char *one = calibrated_file(1, &one_size), *two = calibrated_file(2, &two_size);
    ck_assert_int_eq(one_size, two_size);
    ck_assert_mem_eq(one, two, (size_t)one_size);
    free(one);
    free(two);
}
END_TEST

START_TEST(a_file_keeps_the_statistics)
{
    test_problem p;
    int64_t count, again_count;
    char *folder = test_directory(), *path = test_path(folder, "m"),
         *again = test_path(folder, "n");
    start(&p, 1);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
    assert_refused(&p);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK, "seed", "3"), NULL, NULL, NULL));
    float *weights = problem_morphed(&p, 0.4, &count);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
    float *loaded = problem_morphed(&p, 0.4, &again_count);
    ck_assert_int_eq(count, again_count);
    ck_assert_mem_eq(weights, loaded, (size_t)count * sizeof *weights);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, again));
    int64_t size, again_size;
    unsigned char *bytes = test_read_file(path, &size), *more = test_read_file(again, &again_size);
    ck_assert_int_eq(size, again_size);
    ck_assert_mem_eq(bytes, more, (size_t)size);
    free(bytes);
    free(more);
    free(weights);
    free(loaded);
    free(path);
    free(again);
    test_directory_remove(folder);
    problem_free(&p);
}
END_TEST

/* Its statistics have terms of their own, and go on as they are. */
START_TEST(a_file_of_format_1_keeps_its_statistics)
{
    neumeta_context *context = test_context();
    neumeta_manifold *manifold = NULL, *again = NULL;
    char *folder = test_directory(), *path = test_path(folder, "m");
    int32_t calibrated = 0;
    assert_ok(context, neumeta_manifold_load(
                           context, NMI_SOURCE_ROOT "/tests/fuzz/corpus/manifold/norms.safetensors",
                           &manifold));
    assert_ok(context, neumeta_manifold_calibrated(manifold, &calibrated));
    ck_assert_int_eq(calibrated, 1);
    assert_ok(context, neumeta_manifold_save(manifold, path));
    assert_ok(context, neumeta_manifold_load(context, path, &again));
    float *weights[2];
    for (int i = 0; i < 2; i++) {
        test_problem p = {.context = context, .manifold = i == 0 ? manifold : again};
        assert_ok(context, neumeta_manifold_topology(p.manifold, &p.topology));
        int64_t count = 0;
        weights[i] = problem_morphed(&p, 0.4, &count);
        neumeta_topology_free(p.topology);
        if (i == 1)
            ck_assert_mem_eq(weights[0], weights[1], (size_t)count * sizeof(float));
    }
    free(weights[0]);
    free(weights[1]);
    neumeta_manifold_free(manifold);
    neumeta_manifold_free(again);
    free(path);
    test_directory_remove(folder);
    neumeta_context_free(context);
}
END_TEST

/* The first place of `what` from `from` on. */
static int64_t find(const unsigned char *bytes, int64_t size, int64_t from, const char *what)
{
    const int64_t length = (int64_t)strlen(what);
    while (from + length <= size && memcmp(bytes + from, what, (size_t)length) != 0)
        from++;
    ck_assert_msg(from + length <= size, "no '%s'", what);
    return from;
}

/* Puts `with`, as long as `what`, in its first place from that of `after` on. */
static void patch(unsigned char *bytes, int64_t size, const char *after, const char *what,
                  const char *with)
{
    const int64_t at = find(bytes, size, find(bytes, size, 0, after), what);
    ck_assert_uint_eq(strlen(what), strlen(with));
    memcpy(bytes + at, with, strlen(with));
}

START_TEST(damaged_statistics_are_refused)
{
    static const struct {
        const char *after, *what, *with, *message;
    } cases[] = {
        {"\"statistics\"", "\"statistics\"", "\"statistiks\"", ""},
        {"\"statistics\"", "F16", "I16", "tensor 'statistics': is I16"},
        {"neumeta.statistics", "GAMMA_MAX", "CLIP_NORM", "CLIP_NORM"},
        {"neumeta.statistics", "[", "-", ""},
        {"neumeta.statistics", "neumeta.statistics", "neumeta.statistiks", "does not belong"},
    };
    int64_t size;
    unsigned char *bytes = calibrated_file(1, &size);
    neumeta_context *context = test_context();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        neumeta_manifold *manifold = NULL;
        unsigned char *damaged = malloc((size_t)size);
        memcpy(damaged, bytes, (size_t)size);
        test_forget_checksums(damaged, size);
        patch(damaged, size, cases[i].after, cases[i].what, cases[i].with);
        assert_status(context, neumeta_manifold_load_memory(context, damaged, size, &manifold),
                      NEUMETA_ERR_FORMAT);
        ck_assert_ptr_null(manifold);
        assert_message_contains(context, cases[i].message);
        free(damaged);
    }
    neumeta_context_free(context);
    free(bytes);
}
END_TEST

static int32_t stop_late(void *user, double done)
{
    ck_assert(done > 0 && done <= 1);
    return done > *(double *)user;
}

START_TEST(a_stopped_calibration_leaves_the_old_one)
{
    test_problem p;
    double limit = 0.5;
    int64_t count, kept_count;
    start(&p, 1);
    assert_status(p.context, problem_calibrate(&p, PAIRS(QUICK), stop_late, &limit, NULL),
                  NEUMETA_CANCELLED);
    assert_refused(&p);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    float *old = problem_morphed(&p, 0.6, &count);
    assert_status(p.context,
                  problem_calibrate(&p, PAIRS(QUICK, "seed", "9"), stop_late, &limit, NULL),
                  NEUMETA_CANCELLED);
    p.fail_at = p.fetches + 1;
    assert_status(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL),
                  NEUMETA_ERR_CALLBACK);
    float *kept = problem_morphed(&p, 0.6, &kept_count);
    ck_assert_int_eq(count, kept_count);
    ck_assert_mem_eq(old, kept, (size_t)count * sizeof *old);
    free(old);
    free(kept);
    problem_free(&p);
}
END_TEST

START_TEST(wrong_arguments_are_named)
{
    test_problem p, folded;
    problem_create(&p, 1, 0, 0);
    problem_manifold(&p, 8);
    problem_create(&folded, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&folded, 8);
    assert_status(p.context, problem_calibrate(&p, PAIRS("epochs", "2"), NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "EPOCHS");
    assert_status(
        p.context,
        problem_calibrate(&p, PAIRS("gamma-min", "0.5", "gamma-max", "0.25"), NULL, NULL, NULL),
        NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "GAMMA_MIN is 0.5");
    assert_status(p.context, problem_calibrate(&p, PAIRS("size-axes", "99"), NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "axis 99");
    assert_status(p.context, problem_calibrate(&p, PAIRS("size-axes", "0"), NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "held directly");
    assert_status(folded.context, problem_calibrate(&folded, PAIRS(QUICK), NULL, NULL, NULL),
                  NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(folded.context, "no norms");
    assert_status(p.context,
                  neumeta_manifold_calibrate(p.manifold, folded.dataset, NULL, NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_manifold_calibrate(NULL, p.dataset, NULL, NULL, NULL, NULL),
                     NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_network_calibrate(NULL, p.dataset, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(folded.context, neumeta_network_calibrate(folded.network, folded.dataset, NULL),
                  NEUMETA_ERR_UNSUPPORTED);
    problem_free(&p);
    problem_free(&folded);
}
END_TEST

/* Restored between two phases, a trainer has drawn only the sizes of the first one. */
START_TEST(a_restored_trainer_claims_no_sizes_of_phases_to_come)
{
    test_problem p;
    int64_t before[AXES], after[AXES];
    char *folder = test_directory(), *path = test_path(folder, "c");
    problem_create(&p, 1, 0, 32);
    problem_manifold(&p, 12);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    neumeta_schedule *schedule =
        problem_schedule(&p, 1, 9, PAIRS("epochs", "0.2", "batch", "16", "gamma-max", "0.25"));
    neumeta_options *later =
        problem_options(p.context, PAIRS("epochs", "0.2", "batch", "16", "gamma-max", "0.75",
                                         "depth-gamma-max", "0.67"));
    assert_ok(p.context, neumeta_schedule_add_phase(schedule, "later", 1, 9, later));
    neumeta_trainer *trainer = NULL;
    double phase = 0;
    assert_ok(p.context,
              neumeta_trainer_create(p.manifold, p.network, schedule, p.dataset, NULL, &trainer));
    while (phase < 1) {
        assert_ok(p.context, neumeta_trainer_step(trainer));
        assert_ok(p.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_PHASE, &phase));
    }
    assert_ok(p.context, neumeta_trainer_save(trainer, path));
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, before, axes));
    neumeta_trainer_free(trainer);
    neumeta_manifold_free(p.manifold);
    problem_manifold(&p, 12);
    assert_ok(p.context,
              neumeta_trainer_create(p.manifold, p.network, schedule, p.dataset, NULL, &trainer));
    assert_ok(p.context, neumeta_trainer_restore(trainer, path));
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, after, axes));
    ck_assert_mem_eq(before, after, (size_t)axes * sizeof *before);
    neumeta_trainer_free(trainer);
    neumeta_options_free(later);
    neumeta_schedule_free(schedule);
    free(path);
    test_directory_remove(folder);
    problem_free(&p);
}
END_TEST

START_TEST(a_network_takes_statistics_from_data)
{
    test_problem p;
    neumeta_network *shared = NULL;
    double before = 0, loss = 0;
    problem_create(&p, 2, 0, 0);
    assert_ok(p.context,
              neumeta_network_evaluate(p.network, p.dataset, NEUMETA_SPLIT_TRAIN, &before, NULL));
    assert_ok(p.context, neumeta_network_share(p.network, p.context, &shared));
    assert_status(p.context, neumeta_network_calibrate(p.network, p.dataset, NULL),
                  NEUMETA_ERR_STATE);
    neumeta_network_free(shared);
    assert_ok(p.context, neumeta_network_calibrate(p.network, p.dataset, NULL));
    assert_ok(p.context,
              neumeta_network_evaluate(p.network, p.dataset, NEUMETA_SPLIT_TRAIN, &loss, NULL));
    ck_assert(isfinite(loss) && loss != before);
    problem_free(&p);
}
END_TEST

/* Its tensors stay where they are: a trainer points to them. */
START_TEST(a_network_may_be_calibrated_while_it_is_trained)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    int64_t count = 0, again_count = 0;
    problem_create(&p, 1, 0, 0);
    neumeta_schedule *schedule = problem_schedule(&p, 0, 9, PAIRS("epochs", "2", "batch", "16"));
    neumeta_options *items = problem_options(p.context, PAIRS("calibrate-items", "40"));
    assert_ok(p.context,
              neumeta_trainer_create_plain(p.network, schedule, p.dataset, NULL, &trainer));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    float *before = problem_weights(p.network, &count);
    assert_ok(p.context, neumeta_network_calibrate(p.network, p.dataset, items));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    float *after = problem_weights(p.network, &again_count);
    ck_assert_int_eq(count, again_count);
    ck_assert_mem_ne(before, after, (size_t)count * sizeof *before);
    assert_ok(p.context, neumeta_trainer_run(trainer));
    free(before);
    free(after);
    neumeta_options_free(items);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    problem_free(&p);
}
END_TEST

/* Channels that the narrowest compression leaves out are measured all the same. */
START_TEST(all_channels_have_statistics)
{
    test_problem p;
    neumeta_network *network = NULL;
    start(&p, 1);
    assert_ok(p.context,
              problem_calibrate(&p, PAIRS(QUICK, "gamma-min", "0.25"), NULL, NULL, NULL));
    assert_ok(p.context, materialize(&p, 0, &network));
    for (int32_t i = 0; i < neumeta_network_tensor_count(network); i++) {
        const char *name;
        const float *values;
        int64_t dims[4];
        int32_t rank;
        assert_ok(p.context, neumeta_network_tensor(network, i, &name, dims, &rank, &values));
        for (int64_t c = 0; strstr(name, "running_mean") != NULL && c < dims[0]; c++)
            ck_assert_msg(values[c] < 0 || values[c] > 0, "%s of channel %d is 0", name, (int)c);
    }
    neumeta_network_free(network);
    problem_free(&p);
}
END_TEST

/* Averages are published between runs; what is measured of them is not of the values that train. */
START_TEST(statistics_of_averages_do_not_pass_for_those_of_the_values)
{
    test_problem p;
    int32_t calibrated = -1;
    problem_create(&p, 1, 0, 32);
    problem_manifold(&p, 12);
    neumeta_trainer *trainer = make_trainer(&p, PAIRS(PHASE, "ema", "0.5"));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    neumeta_trainer_cancel(trainer);
    assert_status(p.context, neumeta_trainer_run(trainer), NEUMETA_CANCELLED);
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    p.fail_at = p.fetches + 1;
    assert_status(p.context, neumeta_trainer_step(trainer), NEUMETA_ERR_CALLBACK);
    assert_ok(p.context, neumeta_manifold_calibrated(p.manifold, &calibrated));
    ck_assert_int_eq(calibrated, 0);
    p.fail_at = 0;
    assert_ok(p.context, neumeta_trainer_run(trainer));
    assert_ok(p.context, problem_calibrate(&p, PAIRS(QUICK), NULL, NULL, NULL));
    assert_ok(p.context, neumeta_trainer_run(trainer)); /* there is nothing left to do */
    assert_ok(p.context, neumeta_manifold_calibrated(p.manifold, &calibrated));
    ck_assert_int_eq(calibrated, 1);
    neumeta_trainer_free(trainer);
    problem_free(&p);
}
END_TEST

/* Also after the file was read; calibration goes as far unless told otherwise. */
START_TEST(a_manifold_knows_what_it_was_trained_for)
{
    test_problem p;
    int64_t least[AXES], loaded[AXES];
    char *folder = test_directory(), *path = test_path(folder, "m");
    problem_create(&p, 1, 0, 32);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    problem_manifold(&p, 12);
    assert_status(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes),
                  NEUMETA_ERR_STATE);
    assert_message_contains(p.context, "not known which sizes");
    assert_status(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes + 1),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(p.context, neumeta_manifold_trained_sizes(p.manifold, NULL, axes),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_trainer *trainer = make_trainer(
        &p, PAIRS("epochs", "0.2", "batch", "16", "gamma-max", "0.75", "depth-gamma-max", "0.67"));
    assert_status(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes),
                  NEUMETA_ERR_STATE); /* no step was made */
    assert_ok(p.context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes));
    for (int32_t a = 0; a < axes; a++) {
        const char *name;
        int32_t kind;
        int64_t max;
        assert_ok(p.context, neumeta_topology_axis(p.topology, a, &name, &kind, NULL, &max, NULL));
        const bool inner = strstr(name, "inner") != NULL, depth = kind == NEUMETA_AXIS_DEPTH;
        ck_assert_int_eq(least[a], inner ? max / 4 : depth ? 1 : max);
    }
    assert_ok(p.context,
              problem_calibrate(&p, PAIRS("calibrate-sizes", "8", "calibrate-items", "40"), NULL,
                                NULL, NULL));
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    int64_t size;
    char *bytes = (char *)test_read_file(path, &size);
    char *found = strstr(bytes + 8, "neumeta.statistics");
    ck_assert_ptr_nonnull(found);
    ck_assert(strncmp(strstr(found, "GAMMA_MAX"), "GAMMA_MAX\\\":0.75", 16) == 0);
    free(bytes);
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, loaded, axes));
    ck_assert_mem_eq(least, loaded, (size_t)axes * sizeof *least);
    free(path);
    test_directory_remove(folder);
    problem_free(&p);
}
END_TEST

START_TEST(it_learns_with_batch_statistics_and_is_judged_with_measured_ones)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    neumeta_network *network = NULL;
    double score = 0, judged = 0;
    problem_create(&p, 2, 0, 32);
    neumeta_schedule *plain =
        problem_schedule(&p, 0, -1,
                         PAIRS("epochs", "12", "batch", "16", "optimizer", "sgd", "learning-rate",
                               "0.1", "rate", "cosine"));
    assert_ok(p.context, neumeta_trainer_create_plain(p.network, plain, p.dataset, NULL, &trainer));
    assert_ok(p.context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(plain);
    problem_manifold(&p, 32);
    trainer = make_trainer(&p, PAIRS(PHASE, "epochs", "30", "rate", "cosine", "inr-init", "fitted",
                                     "fit-steps", "200", "validate-epochs", "15", "validate-items",
                                     "64", "validate-gammas", "0.3"));
    assert_ok(p.context, neumeta_trainer_run(trainer));
    assert_ok(p.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_HELD_OUT_SCORE, &judged));
    assert_ok(p.context, problem_calibrate(&p, PAIRS("calibrate-sizes", "40", "gamma-max", "0.75"),
                                           NULL, NULL, NULL));
    assert_ok(p.context, materialize(&p, 0.3, &network));
    assert_ok(p.context,
              neumeta_network_evaluate(network, p.dataset, NEUMETA_SPLIT_TEST, NULL, &score));
    ck_assert_msg(score > 0.6 && judged > 0.6, "accuracy is %g, judged %g; guessing gives 0.25",
                  score, judged);
    neumeta_network_free(network);
    neumeta_trainer_free(trainer);
    problem_free(&p);
}
END_TEST

/* --- phases that keep statistics -------------------------------------------------------------- */

#define SETTLE                                                                                     \
    "norm-statistics", "fitted", "epochs", "1", "batch", "16", "group", "3", "size-draw",          \
        "sandwich", "gamma-max", "0.75", "learning-rate", "1e-3", "ema", "0.5", "validate-epochs", \
        "0.5", "validate-gammas", "0,0.5", "continue-from", "best"

static neumeta_status settling_trainer(test_problem *p, const char *const *first,
                                       const char *const *second, neumeta_trainer **trainer)
{
    neumeta_schedule *schedule = problem_schedule(p, 1, 9, first);
    neumeta_options *phase = problem_options(p->context, second);
    neumeta_options *options =
        problem_options(p->context, PAIRS("calibrate-sizes", "9", "calibrate-items", "40"));
    assert_ok(p->context, neumeta_schedule_add_phase(schedule, "settle", 1, 9, phase));
    const neumeta_status status =
        neumeta_trainer_create(p->manifold, p->network, schedule, p->dataset, options, trainer);
    neumeta_options_free(options);
    neumeta_options_free(phase);
    neumeta_schedule_free(schedule);
    return status;
}

static int32_t stop_after(void *user, neumeta_trainer *trainer)
{
    double step = 0;
    ck_assert_int_eq(neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &step), NEUMETA_OK);
    return step >= *(int32_t *)user;
}

/* To the end, with a pause after `pause` steps (0: none) in which all is made anew. */
static float *settle(int32_t threads, int32_t pause, int64_t *count)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    char *folder = test_directory(), *path = test_path(folder, "checkpoint");
    int32_t calibrated = -1;
    problem_create(&p, threads, 0, 32);
    problem_manifold(&p, 12);
    assert_ok(p.context, settling_trainer(&p, PAIRS(PHASE), PAIRS(SETTLE), &trainer));
    if (pause > 0) {
        assert_ok(p.context, neumeta_trainer_set_progress(trainer, stop_after, &pause));
        assert_status(p.context, neumeta_trainer_run(trainer), NEUMETA_CANCELLED);
        assert_ok(p.context, neumeta_trainer_save(trainer, path));
        neumeta_trainer_free(trainer);
        problem_free(&p);
        problem_create(&p, threads, 0, 32);
        problem_manifold(&p, 12);
        assert_ok(p.context, settling_trainer(&p, PAIRS(PHASE), PAIRS(SETTLE), &trainer));
        assert_ok(p.context, neumeta_manifold_calibrated(p.manifold, &calibrated));
        ck_assert_int_eq(calibrated, 0);
        assert_ok(p.context, neumeta_trainer_restore(trainer, path));
    }
    assert_ok(p.context, neumeta_trainer_run(trainer));
    assert_ok(p.context, neumeta_manifold_calibrated(p.manifold, &calibrated));
    ck_assert_int_eq(calibrated, 1);
    float *weights = problem_morphed(&p, 0.5, count);
    neumeta_trainer_free(trainer);
    problem_free(&p);
    free(path);
    test_directory_remove(folder);
    return weights;
}

START_TEST(a_phase_keeps_the_statistics_that_it_trains_with)
{
    int64_t count, other_count;
    float *one = settle(1, 0, &count), *two = settle(2, 0, &other_count);
    ck_assert_int_eq(count, other_count);
    ck_assert_mem_eq(one, two, (size_t)count * sizeof *one);
    free(two);
    const int32_t pauses[] = {4, 8, 10}; /* the second phase begins after the eighth step */
    for (int i = 0; i < 3; i++) {
        float *resumed = settle(1, pauses[i], &other_count);
        ck_assert_int_eq(count, other_count);
        ck_assert_mem_eq(one, resumed, (size_t)count * sizeof *one);
        free(resumed);
    }
    free(one);
}
END_TEST

START_TEST(phases_that_cannot_keep_statistics_are_refused)
{
    test_problem p, folded;
    neumeta_trainer *trainer = NULL;
    problem_create(&p, 1, 0, 32);
    problem_manifold(&p, 8);
    problem_create(&folded, 1, NEUMETA_NORM_FOLD, 32);
    problem_manifold(&folded, 8);
    assert_status(folded.context,
                  settling_trainer(&folded, PAIRS("epochs", "1"), PAIRS(SETTLE), &trainer),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(folded.context, "phase 'settle': NORM_STATISTICS has no effect");
    assert_status(
        p.context,
        settling_trainer(&p, PAIRS("epochs", "1"), PAIRS(SETTLE, "validate-items", "9"), &trainer),
        NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "VALIDATE_ITEMS");
    neumeta_schedule *schedule = problem_schedule(&p, 1, 4, PAIRS("norm-statistics", "fitted"));
    assert_ok(p.context, neumeta_schedule_add_phase(schedule, "rest", 5, 9, NULL));
    assert_status(
        p.context,
        neumeta_trainer_create(p.manifold, p.network, schedule, p.dataset, NULL, &trainer),
        NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "comes in a later phase");
    ck_assert_ptr_null(trainer);
    neumeta_schedule_free(schedule);
    problem_free(&p);
    problem_free(&folded);
}
END_TEST

START_TEST(a_checkpoint_without_the_statistics_of_its_phase_is_refused)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    char *folder = test_directory(), *path = test_path(folder, "checkpoint");
    int32_t pause = 10;
    int64_t size;
    problem_create(&p, 1, 0, 32);
    problem_manifold(&p, 8);
    assert_ok(p.context, settling_trainer(&p, PAIRS(PHASE), PAIRS(SETTLE), &trainer));
    assert_ok(p.context, neumeta_trainer_set_progress(trainer, stop_after, &pause));
    assert_status(p.context, neumeta_trainer_run(trainer), NEUMETA_CANCELLED);
    assert_ok(p.context, neumeta_trainer_save(trainer, path));
    neumeta_trainer *other = NULL; /* copies the reference */
    assert_ok(p.context, settling_trainer(&p, PAIRS(PHASE), PAIRS(SETTLE), &other));
    assert_status(p.context, neumeta_trainer_step(trainer), NEUMETA_ERR_STATE);
    assert_message_contains(p.context, "dropped the statistics");
    assert_ok(p.context, neumeta_trainer_restore(trainer, path));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    neumeta_trainer_free(other);
    unsigned char *bytes = test_read_file(path, &size);
    test_forget_checksums(bytes, size);
    patch(bytes, size, "neumeta.statistics", "neumeta.statistics", "neumeta.statistiks");
    test_write_file(path, bytes, size);
    assert_status(p.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_FORMAT);
    assert_message_contains(p.context, "the statistics that phase 'settle' keeps are missing");
    free(bytes);
    neumeta_trainer_free(trainer);
    problem_free(&p);
    free(path);
    test_directory_remove(folder);
}
END_TEST

START_TEST(depths_are_drawn_and_met)
{
    test_problem p;
    neumeta_network *network = NULL;
    int64_t sizes[AXES];
    char axis[16];
    double loss = NAN;
    start(&p, 1);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    const int32_t depth = problem_axis(&p, "layer2.depth");
    snprintf(axis, sizeof axis, "%d", (int)depth);
    assert_status(p.context,
                  problem_calibrate(&p, PAIRS(QUICK, "size-axes", axis), NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "DEPTH_GAMMA_MAX is above 0");
    assert_ok(p.context,
              problem_calibrate(&p, PAIRS(QUICK, "depth-gamma-max", "0.7"), NULL, NULL, NULL));
    assert_ok(p.context, neumeta_manifold_sizes_at(p.manifold, 0.5, sizes, axes));
    sizes[depth] = 1;
    assert_ok(p.context, neumeta_manifold_materialize(p.manifold, sizes, axes, NULL, &network));
    assert_ok(p.context,
              neumeta_network_evaluate(network, p.dataset, NEUMETA_SPLIT_TEST, &loss, NULL));
    ck_assert(isfinite(loss));
    neumeta_network_free(network);
    problem_free(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("calibrate");
    TCase *cases = tcase_create("calibrate");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(cases, "sequential");
    tcase_add_test(cases, a_manifold_yields_nothing_until_its_norms_are_calibrated);
    tcase_add_test(cases, a_file_keeps_the_statistics);
    tcase_add_test(cases, a_file_of_format_1_keeps_its_statistics);
    tcase_add_test(cases, damaged_statistics_are_refused);
    tcase_add_test(cases, a_stopped_calibration_leaves_the_old_one);
    tcase_add_test(cases, wrong_arguments_are_named);
    tcase_add_test(cases, a_network_takes_statistics_from_data);
    tcase_add_test(cases, a_network_may_be_calibrated_while_it_is_trained);
    tcase_add_test(cases, all_channels_have_statistics);
    tcase_add_test(cases, statistics_of_averages_do_not_pass_for_those_of_the_values);
    tcase_add_test(cases, a_manifold_knows_what_it_was_trained_for);
    tcase_add_test(cases, a_restored_trainer_claims_no_sizes_of_phases_to_come);
    tcase_add_test(cases, it_learns_with_batch_statistics_and_is_judged_with_measured_ones);
    tcase_add_test(cases, a_phase_keeps_the_statistics_that_it_trains_with);
    tcase_add_test(cases, a_checkpoint_without_the_statistics_of_its_phase_is_refused);
    tcase_add_test(cases, depths_are_drawn_and_met);
    tcase_add_test(cases, phases_that_cannot_keep_statistics_are_refused);
    tcase_add_test(threads, the_thread_count_does_not_change_a_bit);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
