/* SPDX-License-Identifier: MIT */
/* Contexts, options, topologies, networks and datasets while allocations fail. */
#include "nmi_faults.h"

static void run_options(faults *f)
{
    const int64_t numbers[] = {3, 5, 8};
    const double reals[] = {0.25, 0.5};
    fault_context(f);
    attempt(f, neumeta_context_set_threads(f->context, 2));
    attempt_new(f, &f->options, neumeta_options_create(f->context, &f->options));
    attempt(f, neumeta_options_set_int(f->options, NEUMETA_KEY_BATCH, 8));
    attempt(f, neumeta_options_set_real(f->options, NEUMETA_KEY_EPOCHS, 0.5));
    attempt(f, neumeta_options_set_text(f->options, NEUMETA_KEY_OPTIMIZER, "sgd"));
    attempt(f, neumeta_options_set_text(f->options, NEUMETA_KEY_RATE, "multistep"));
    attempt(f, neumeta_options_set_ints(f->options, NEUMETA_KEY_MILESTONES, numbers, 3));
    attempt(f, neumeta_options_set_reals(f->options, NEUMETA_KEY_VALIDATE_GAMMAS, reals, 2));
    attempt(f, neumeta_options_parse(f->options, "validate-gammas", "0.1,0.2,0.3"));
    attempt(f, neumeta_options_parse(f->options, "validate-epochs", "1"));
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    for (int i = 0; i < 9; i++)
        attempt(f, neumeta_schedule_add_phase(f->schedule, "phase", 0, -1, f->options));
    int32_t phases = neumeta_schedule_phase_count(f->schedule);
    fault_digest(f, &phases, sizeof phases);
}

static void run_parallel(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    (void)user;
    for (int64_t i = count - 1; i >= 0; i--)
        task(argument, i);
}

static void run_workers(faults *f)
{
    fault_context(f);
    attempt(f, neumeta_context_set_threads(f->context, 2));
    attempt(f, neumeta_context_set_parallel(f->context, run_parallel, NULL, 3));
    attempt(f, neumeta_context_set_threads(f->context, 0));
}

static void digest_topology(faults *f)
{
    int64_t sizes[64], cost[2];
    int32_t axes = neumeta_topology_axis_count(f->topology);
    ck_assert_int_le(axes, 64);
    attempt(f, neumeta_topology_sizes_at(f->topology, 0.3, sizes, axes));
    attempt(f, neumeta_topology_cost(f->topology, sizes, axes, &cost[0], &cost[1]));
    fault_digest(f, sizes, (size_t)axes * sizeof *sizes);
    fault_digest(f, cost, sizeof cost);
    for (int32_t a = 0; a < axes; a++) {
        const char *name = NULL;
        attempt(f, neumeta_topology_axis(f->topology, a, &name, NULL, NULL, NULL, NULL));
        fault_digest(f, name, strlen(name));
    }
    for (int32_t b = 0; b < neumeta_topology_block_count(f->topology); b++) {
        const char *name = neumeta_topology_block_name(f->topology, b);
        fault_digest(f, name, strlen(name));
    }
}

static void run_topology(faults *f)
{
    fault_topology(f);
    digest_topology(f);
}

static void build(faults *f, const char *name)
{
    attempt_new(f, &f->topology,
                neumeta_topology_create_builtin(f->context, name, f->options, &f->topology));
    digest_topology(f);
    neumeta_topology_free(f->topology);
    f->topology = NULL;
}

static void run_builtins(faults *f)
{
    fault_options(f, FAULT_PAIRS("classes", "3"));
    build(f, "lenet");
    attempt(f, neumeta_options_parse(f->options, "shortcut", "projection"));
    build(f, "resnet20-cifar");
}

static void prepare_topology(faults *f)
{
    fault_context(f);
    attempt(f, neumeta_context_set_threads(f->context, 2));
    fault_topology(f);
}

static void digest_outputs(faults *f, neumeta_network *network, neumeta_context *context)
{
    float outputs[FAULT_TEST * FAULT_CLASSES];
    float inputs[FAULT_TEST * FAULT_PIXELS];
    test_fill(inputs, FAULT_TEST * FAULT_PIXELS, 2, -1.0f, 1.0f);
    neumeta_context *own = f->context;
    f->context = context;
    attempt(f,
            neumeta_network_run(network, inputs, FAULT_TEST, outputs, FAULT_TEST * FAULT_CLASSES));
    f->context = own;
    fault_digest(f, outputs, sizeof outputs);
}

static void run_network(faults *f)
{
    const int64_t sizes[] = {4, FAULT_CLASSES, 2, 3, 2};
    int64_t copied[5], bytes = 0;
    double loss = 0, score = 0, roughness = 0;
    attempt_new(f, &f->network, neumeta_network_create(f->topology, sizes, 5, &f->network));
    attempt(f, neumeta_network_sizes(f->network, copied, 5));
    attempt(f, neumeta_network_memory(f->network, 4, &bytes));
    digest_outputs(f, f->network, f->context);
    fault_dataset(f);
    attempt(f, neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_TEST, &loss, &score));
    attempt(
        f, neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_HELD_OUT, &loss, &score));
    attempt(f, neumeta_network_roughness(f->network, &roughness));
    fault_digest(f, copied, sizeof copied);
    fault_digest(f, &bytes, sizeof bytes);
    fault_digest(f, &loss, sizeof loss);
    fault_digest(f, &score, sizeof score);
    fault_digest(f, &roughness, sizeof roughness);
    fault_digest_network(f, f->network);
}

/* The copy lives in a context of its own on the same allocator. */
static void run_share(faults *f)
{
    neumeta_context *own = f->context, *other = NULL;
    neumeta_network *copy = NULL, *twin = NULL;
    f->context = NULL; /* which has no part in this */
    attempt_new(f, &other, test_context_create(&f->allocator, &other));
    f->context = own;
    attempt_new(f, &copy, neumeta_network_share(f->network, other, &copy));
    attempt_new(f, &twin, neumeta_network_share(f->network, own, &twin));
    digest_outputs(f, copy, other);
    digest_outputs(f, twin, own);
    digest_outputs(f, f->network, own);
    neumeta_network_free(copy);
    neumeta_network_free(twin);
    neumeta_context_free(other);
}

static void prepare_network(faults *f)
{
    prepare_topology(f);
    fault_network(f, 0);
}

static void run_norm(faults *f, int32_t method)
{
    attempt(f, neumeta_network_replace_norm(f->network, method, NULL));
    digest_outputs(f, f->network, f->context);
    fault_digest_network(f, f->network);
}

static void run_fold(faults *f)
{
    run_norm(f, NEUMETA_NORM_FOLD);
}

static void run_skip_init(faults *f)
{
    run_norm(f, NEUMETA_NORM_SKIP_INIT);
}

static void run_sqrt_half(faults *f)
{
    run_norm(f, NEUMETA_NORM_SQRT_HALF);
}

static void run_affine(faults *f)
{
    run_norm(f, NEUMETA_NORM_AFFINE);
}

static void run_group(faults *f)
{
    run_norm(f, NEUMETA_NORM_GROUP);
}

static void prepare_folded(faults *f)
{
    prepare_topology(f);
    fault_network(f, NEUMETA_NORM_FOLD);
}

static void run_smooth(faults *f)
{
    double before = 0, after = 0;
    attempt(f, neumeta_network_roughness(f->network, &before));
    fault_options(f, FAULT_PAIRS("smooth-solver", "exact"));
    attempt(f, neumeta_network_smooth(f->network, f->options));
    attempt(f, neumeta_network_roughness(f->network, &after));
    ck_assert(after <= before);
    fault_options(f, FAULT_PAIRS("smooth-solver", "local", "smooth-time-limit", "0.001"));
    attempt(f, neumeta_network_smooth(f->network, f->options));
    fault_digest_network(f, f->network);
}

static void prepare_files(faults *f)
{
    prepare_network(f);
    fault_folder(f);
}

static void run_files(faults *f)
{
    int64_t size = 0;
    neumeta_network *loaded = NULL;
    attempt(f, neumeta_network_save(f->network, f->path));
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    fault_digest(f, bytes, (size_t)size);
    attempt_new(f, &loaded, neumeta_network_load(f->topology, f->path, NULL, &loaded));
    fault_digest_network(f, loaded);
    neumeta_network_free(loaded);
    loaded = NULL;
    fault_options(f, FAULT_PAIRS("name-map", "conv*=conv*"));
    attempt_new(f, &loaded,
                neumeta_network_load_memory(f->topology, bytes, size, f->options, &loaded));
    fault_digest_network(f, loaded);
    neumeta_network_free(loaded);
    free(bytes);
}

static void run_memory_dataset(faults *f)
{
    double score = 0;
    fault_dataset(f);
    neumeta_dataset_free(f->dataset);
    f->dataset = NULL;
    attempt_new(f, &f->dataset,
                neumeta_dataset_create_memory(f->context, f->inputs, f->targets, FAULT_TRAIN,
                                              FAULT_TEST, f->options, &f->dataset));
    attempt(f, neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_TRAIN, NULL, &score));
    fault_digest(f, &score, sizeof score);
}

static const fault_scenario scenarios[] = {
    {"options and schedules", NULL, run_options, 1},
    {"workers", NULL, run_workers, 1},
    {"a topology of one's own", fault_context, run_topology, 1},
    {"built-in topologies", fault_context, run_builtins, 1},
    {"a network's life", prepare_topology, run_network, 1},
    {"sharing", prepare_network, run_share, 1},
    {"folding", prepare_network, run_fold, 1},
    {"skip-init", prepare_network, run_skip_init, 1},
    {"sqrt-half", prepare_network, run_sqrt_half, 1},
    {"affine", prepare_network, run_affine, 1},
    {"group", prepare_network, run_group, 1},
    {"smoothing", prepare_folded, run_smooth, 1},
    {"network files", prepare_files, run_files, 1},
    {"a dataset in memory", prepare_network, run_memory_dataset, 1},
};

START_TEST(any_allocation_may_fail_and_the_call_be_made_again)
{
    ck_assert_int_gt(fault_run(&scenarios[_i]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("allocations of networks");
    TCase *cases = tcase_create("scenarios");
    tcase_add_loop_test(cases, any_allocation_may_fail_and_the_call_be_made_again, 0,
                        (int)(sizeof scenarios / sizeof *scenarios));
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
