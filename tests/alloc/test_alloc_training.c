/* SPDX-License-Identifier: MIT */
/* Manifolds, schedules and trainers while allocations fail: a run that goes on after a failure ends
 * at the same bits as one that never failed. */
#include "nmi_faults.h"

static void prepare_folded(faults *f)
{
    fault_context(f);
    fault_topology(f);
    fault_network(f, NEUMETA_NORM_SKIP_INIT);
}

static void prepare_manifold(faults *f)
{
    prepare_folded(f);
    fault_manifold(f);
    fault_dataset(f);
    fault_folder(f);
}

static void prepare_grids(faults *f)
{
    prepare_folded(f);
    fault_dataset(f);
    fault_folder(f);
}

static void prepare_plain(faults *f)
{
    fault_context(f);
    fault_topology(f);
    fault_network(f, 0);
    fault_dataset(f);
    fault_folder(f);
}

static void digest_morphed(faults *f, double gamma)
{
    int64_t sizes[FAULT_AXES];
    neumeta_network *network = NULL;
    int32_t axes = neumeta_topology_axis_count(f->topology);
    ck_assert_int_le(axes, FAULT_AXES);
    attempt(f, neumeta_manifold_sizes_at(f->manifold, gamma, sizes, axes));
    attempt_new(f, &network,
                neumeta_manifold_materialize(f->manifold, sizes, axes, f->options, &network));
    fault_digest_network(f, network);
    neumeta_network_free(network);
}

static void run_manifold(faults *f)
{
    int64_t parameters = 0;
    fault_manifold(f);
    attempt(f, neumeta_manifold_parameters(f->manifold, &parameters));
    fault_digest(f, &parameters, sizeof parameters);
    fault_options(f, FAULT_PAIRS("samples", "3", "noise-draw", "antithetic"));
    digest_morphed(f, 0.5);
    digest_morphed(f, 0.0);
}

static int32_t take(void *user, const void *data, int64_t size)
{
    fault_digest(user, data, (size_t)size);
    return 0;
}

/* A failure may come after the first bytes, which then do not count. */
static neumeta_status write_digested(faults *f)
{
    const uint64_t before = f->digest;
    const neumeta_status status = neumeta_manifold_write(f->manifold, take, f);
    if (status != NEUMETA_OK)
        f->digest = before;
    return status;
}

static void run_files(faults *f)
{
    int64_t size = 0;
    int32_t calibrated = 0;
    neumeta_topology *topology = NULL;
    attempt_new(f, &topology, neumeta_manifold_topology(f->manifold, &topology));
    neumeta_topology_free(topology);
    attempt(f, neumeta_manifold_calibrated(f->manifold, &calibrated));
    ck_assert_int_eq(calibrated, 1);
    attempt(f, write_digested(f));
    attempt(f, neumeta_manifold_save(f->manifold, f->path));
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    fault_digest(f, bytes, (size_t)size);
    neumeta_manifold_free(f->manifold);
    f->manifold = NULL;
    attempt_new(f, &f->manifold, neumeta_manifold_load(f->context, f->path, &f->manifold));
    fault_options(f, FAULT_PAIRS("seed", "1"));
    digest_morphed(f, 0.5);
    neumeta_manifold_free(f->manifold);
    f->manifold = NULL;
    attempt_new(f, &f->manifold,
                neumeta_manifold_load_memory(f->context, bytes, size, &f->manifold));
    digest_morphed(f, 0.5);
    free(bytes);
}

/* A kind from its creation to the end of a training that fits and clones it. */
static void run_kind(faults *f, const char *const *settings)
{
    fault_options(f, settings);
    attempt_new(f, &f->manifold, neumeta_manifold_create(f->topology, f->options, &f->manifold));
    fault_options(f, FAULT_PAIRS("seed", "1"));
    digest_morphed(f, 0.5);
    attempt(f, neumeta_manifold_save(f->manifold, f->path));
    neumeta_manifold_free(f->manifold);
    f->manifold = NULL;
    attempt_new(f, &f->manifold, neumeta_manifold_load(f->context, f->path, &f->manifold));
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "0.5", "batch", "4", "inr-init", "fitted"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "copied", 0, 1, f->options));
    fault_options(f, FAULT_PAIRS("epochs", "0.5", "batch", "4", "inr-init", "cloned"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "cloned", 2, -1, f->options));
    attempt_new(f, &f->trainer,
                neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL,
                                       &f->trainer));
    attempt(f, neumeta_trainer_run(f->trainer));
    fault_options(f, FAULT_PAIRS("seed", "1"));
    digest_morphed(f, 0.5);
}

static void run_grids(faults *f)
{
    run_kind(f, FAULT_PAIRS("inr-kind", "grid", "grid-gauge", "relative", "grid-terms", "1"));
}

static void run_separable(faults *f)
{
    run_kind(f, FAULT_PAIRS("inr-kind", "separable", "inr-hidden", "4", "inr-layers", "2",
                            "inr-octaves", "2", "inr-rank", "2"));
}

static void run_trunk(faults *f)
{
    run_kind(f, FAULT_PAIRS("inr-kind", "trunk", "inr-hidden", "4", "inr-layers", "2",
                            "inr-octaves", "2"));
}

static void run_recipes(faults *f)
{
    const int64_t blocks[] = {1, 2};
    fault_options(f, FAULT_PAIRS("epochs", "3"));
    for (int i = 0; i < 2; i++) {
        attempt_new(f, &f->schedule,
                    neumeta_schedule_create_recipe(f->topology, i == 0 ? "nm" : "ht", blocks, 2,
                                                   f->options, &f->schedule));
        for (int32_t p = 0; p < neumeta_schedule_phase_count(f->schedule); p++) {
            const char *name = neumeta_schedule_phase_name(f->schedule, p);
            fault_digest(f, name, strlen(name));
        }
        neumeta_schedule_free(f->schedule);
        f->schedule = NULL;
    }
}

/* Two phases that differ in all that takes memory. */
static void make_trainer(faults *f)
{
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f,
                  FAULT_PAIRS("epochs", "1", "batch", "4", "group", "2", "size-draw", "full-first",
                              "loss-distillation", "0.5", "residual-rate", "0.01", "inr-init",
                              "fitted", "fit-steps", "2", "loss-norm", "1e-3", "optimizer", "sgd"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "first", 1, 1, f->options));
    fault_options(f, FAULT_PAIRS("epochs", "1.5", "batch", "5", "ema", "0.9", "validate-epochs",
                                 "0.5", "validate-gammas", "0,0.5", "continue-from", "best",
                                 "residual-rate", "0.01", "direct-rate", "0.01", "inr-init",
                                 "cloned", "loss-reconstruction", "1"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "second", 2, 2, f->options));
    fault_options(f, FAULT_PAIRS("checkpoint-path", f->path, "checkpoint-seconds", "0"));
    attempt_new(f, &f->trainer,
                neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, f->options,
                                       &f->trainer));
    fault_options(f, FAULT_PAIRS("seed", "1"));
}

static void prepare_training(faults *f)
{
    prepare_manifold(f);
    make_trainer(f);
}

static void run_creation(faults *f)
{
    make_trainer(f);
    digest_morphed(f, 0.5);
}

static void run_training(faults *f)
{
    attempt(f, neumeta_trainer_run(f->trainer));
    digest_morphed(f, 0.5);
}

/* Steps to the end, another trainer taking over in between. */
static void run_steps(faults *f)
{
    neumeta_trainer *other = NULL;
    double steps = 0;
    for (int step = 0; step < 2; step++)
        attempt(f, neumeta_trainer_step(f->trainer));
    attempt(f, neumeta_trainer_save(f->trainer, f->path));
    attempt(f, neumeta_trainer_step(f->trainer));
    attempt(f, neumeta_trainer_restore(f->trainer, f->path));
    attempt_new(
        f, &other,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &other));
    attempt(f, neumeta_trainer_restore(other, f->path));
    attempt(f, neumeta_trainer_step(other));
    attempt(f, neumeta_trainer_save(other, f->path));
    /* The first one meets vectors in the file that it has not, the other one the reverse. */
    attempt(f, neumeta_trainer_restore(f->trainer, f->path));
    neumeta_trainer_free(other);
    attempt(f, neumeta_trainer_run(f->trainer));
    attempt(f, neumeta_trainer_metric(f->trainer, NEUMETA_METRIC_STEP, &steps));
    fault_digest(f, &steps, sizeof steps);
    digest_morphed(f, 0.5);
}

static int32_t go_on(void *user, neumeta_trainer *trainer)
{
    double progress = 0;
    (void)user;
    return neumeta_trainer_metric(trainer, NEUMETA_METRIC_PROGRESS, &progress) != NEUMETA_OK;
}

/* A watched training that learns from a network of its caller. */
static void run_taught(faults *f)
{
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "1", "batch", "4", "loss-distillation", "1",
                                 "distillation-teacher", "network"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "taught", 1, 2, f->options));
    attempt_new(
        f, &f->trainer,
        neumeta_trainer_create(f->manifold, NULL, f->schedule, f->dataset, NULL, &f->trainer));
    attempt(f, neumeta_trainer_set_teacher(f->trainer, f->network));
    attempt(f, neumeta_trainer_set_progress(f->trainer, go_on, NULL));
    attempt(f, neumeta_trainer_run(f->trainer));
    fault_options(f, FAULT_PAIRS("seed", "1"));
    digest_morphed(f, 0.5);
}

static void run_plain(faults *f)
{
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "2", "batch", "4", "optimizer", "sgd", "ema", "0.5",
                                 "validate-epochs", "1", "continue-from", "best"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "plain", 0, -1, f->options));
    attempt_new(
        f, &f->trainer,
        neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
    attempt(f, neumeta_trainer_step(f->trainer));
    attempt(f, neumeta_trainer_save(f->trainer, f->path));
    attempt(f, neumeta_trainer_restore(f->trainer, f->path));
    attempt(f, neumeta_trainer_run(f->trainer));
    fault_digest_network(f, f->network);
}

static void prepare_normed(faults *f)
{
    prepare_plain(f);
    fault_manifold(f);
}

static void run_calibration(faults *f)
{
    double error = 0;
    fault_options(f, FAULT_PAIRS("calibrate-items", "5"));
    attempt(f, neumeta_network_calibrate(f->network, f->dataset, f->options));
    fault_digest_network(f, f->network);
    fault_options(f, FAULT_PAIRS("calibrate-sizes", "4", "calibrate-items", "5"));
    attempt(f, neumeta_manifold_calibrate(f->manifold, f->dataset, f->options, NULL, NULL, &error));
    fault_digest(f, &error, sizeof error);
    fault_options(f, FAULT_PAIRS("seed", "1"));
    run_files(f);
}

/* Latencies differ from run to run, and so may entries that are there for theirs alone. */
static void run_search(faults *f)
{
    const int32_t axes = neumeta_topology_axis_count(f->topology);
    int64_t sizes[FAULT_AXES] = {0};
    double score = 0;
    fault_options(f, FAULT_PAIRS("max-latency-us", "1e9"));
    attempt(f, neumeta_manifold_fit_budget(f->manifold, f->options, sizes, axes, NULL, NULL));
    fault_digest(f, sizes, sizeof sizes);
    fault_options(f, FAULT_PAIRS("search-evaluations", "16", "search-items", "2", "front-entries",
                                 "4", "width-multiple", "1", "gamma-max", "0.7"));
    attempt(f, neumeta_manifold_search(f->manifold, f->dataset, f->options, NULL, NULL));
    attempt(f, neumeta_manifold_fit_budget(f->manifold, NULL, sizes, axes, &score, NULL));
    fault_digest(f, &score, sizeof score);
    attempt(f, neumeta_manifold_save(f->manifold, f->path));
    neumeta_manifold_free(f->manifold);
    f->manifold = NULL;
    attempt_new(f, &f->manifold, neumeta_manifold_load(f->context, f->path, &f->manifold));
    attempt(f, neumeta_manifold_fit_budget(f->manifold, NULL, sizes, axes, &score, NULL));
    fault_digest(f, &score, sizeof score);
}

/* A phase with batch statistics, judged by measured ones, and one that keeps fitted ones. */
static void run_normed_training(faults *f)
{
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "1", "batch", "4", "validate-epochs", "0.5",
                                 "validate-items", "5", "validate-gammas", "0.5"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "batch", 1, 2, f->options));
    fault_options(f, FAULT_PAIRS("epochs", "1", "batch", "4", "norm-statistics", "fitted"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "settle", 1, 2, f->options));
    fault_options(f, FAULT_PAIRS("calibrate-sizes", "4", "calibrate-items", "5"));
    attempt_new(f, &f->trainer,
                neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, f->options,
                                       &f->trainer));
    attempt(f, neumeta_trainer_run(f->trainer));
    attempt(f, neumeta_trainer_save(f->trainer, f->path));
    attempt(f, neumeta_trainer_restore(f->trainer, f->path));
    fault_options(f, FAULT_PAIRS("seed", "1"));
    digest_morphed(f, 0.5);
}

static const fault_scenario scenarios[] = {
    {"a manifold's life", prepare_folded, run_manifold, 1},
    {"manifold files", prepare_manifold, run_files, 1},
    {"grids", prepare_grids, run_grids, 1},
    {"separable INRs", prepare_grids, run_separable, 1},
    {"INRs that share a trunk", prepare_grids, run_trunk, 1},
    {"recipes", prepare_folded, run_recipes, 1},
    {"the creation of a trainer", prepare_manifold, run_creation, 1},
    {"a training run", prepare_training, run_training, 1},
    {"steps and checkpoints", prepare_training, run_steps, 1},
    {"training with a teacher", prepare_manifold, run_taught, 1},
    {"plain training", prepare_plain, run_plain, 1},
    {"calibration", prepare_normed, run_calibration, 1},
    {"training with norms", prepare_normed, run_normed_training, 1},
    {"fronts and budgets", prepare_manifold, run_search, 9},
};

/* --- steps that take nothing --- */

/* What phases do beyond their recipe, or plain training where that is NULL. */
static const struct {
    const char *recipe;
    const char *const *settings;
} quiet[] = {
    {"nm", FAULT_PAIRS("clip-norm", "1")},
    {"nm", FAULT_PAIRS("group", "3", "size-draw", "sandwich", "loss-distillation", "1",
                       "distillation-teacher", "widest")},
    {"nm", FAULT_PAIRS("loss-distillation", "1", "optimizer", "sgd")},
    {"ht", FAULT_PAIRS("group", "2")},
    {NULL, FAULT_PAIRS("ema", "0.9", "group", "2")},
};

static void make_quiet_trainer(faults *f, int kind)
{
    const int64_t blocks[] = {1, 2};
    const char *recipe = quiet[kind].recipe;
    recipe == NULL ? prepare_plain(f) : prepare_manifold(f);
    assert_ok(f->context, neumeta_context_set_threads(f->context, 2));
    fault_options(f, quiet[kind].settings);
    assert_ok(f->context, neumeta_options_parse(f->options, "epochs", "6"));
    assert_ok(f->context, neumeta_options_parse(f->options, "batch", "3"));
    if (recipe != NULL) {
        assert_ok(f->context, neumeta_schedule_create_recipe(f->topology, recipe, blocks, 2,
                                                             f->options, &f->schedule));
        assert_ok(f->context, neumeta_trainer_create(f->manifold, f->network, f->schedule,
                                                     f->dataset, NULL, &f->trainer));
        return;
    }
    assert_ok(f->context, neumeta_schedule_create(f->context, &f->schedule));
    assert_ok(f->context, neumeta_schedule_add_phase(f->schedule, "plain", 0, -1, f->options));
    assert_ok(f->context,
              neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
}

START_TEST(no_step_takes_memory_after_the_first_of_its_phase)
{
    faults *f = fault_create();
    make_quiet_trainer(f, _i);
    neumeta_status status = NEUMETA_OK;
    double phase = -1, before = -1;
    int later = 0;
    for (;;) {
        assert_ok(f->context, neumeta_trainer_metric(f->trainer, NEUMETA_METRIC_PHASE, &phase));
        const int64_t calls = f->allocator.calls;
        status = neumeta_trainer_step(f->trainer);
        if (status != NEUMETA_OK)
            break;
        if (phase == before)
            ck_assert_int_eq(f->allocator.calls, calls);
        later += phase == before;
        before = phase;
    }
    assert_status(f->context, status, NEUMETA_CANCELLED);
    ck_assert_int_ge(later, 5);
    fault_free(f);
}
END_TEST

START_TEST(any_allocation_may_fail_and_the_call_be_made_again)
{
    ck_assert_int_gt(fault_run(&scenarios[_i]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("allocations of training");
    TCase *cases = tcase_create("scenarios");
    tcase_add_loop_test(cases, any_allocation_may_fail_and_the_call_be_made_again, 0,
                        (int)(sizeof scenarios / sizeof *scenarios));
    tcase_add_loop_test(cases, no_step_takes_memory_after_the_first_of_its_phase, 0,
                        (int)(sizeof quiet / sizeof *quiet));
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
