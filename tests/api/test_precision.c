/* SPDX-License-Identifier: MIT */
/* PRECISION bf16 through the public API: near fp32, the same bits at any number of threads, at
 * every level of kernels, resumed as unbroken, and refused where it means nothing. */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>

enum { STEPS = 6 };

#define PHASE "epochs", "4", "batch", "32", "group", "2", "learning-rate", "2e-3"

/* --- materialisation --------------------------------------------------------------------- */

/* A block of 64 channels and an INR of 256 x 5 with 16 octaves, as in the papers. */
typedef struct block {
    neumeta_context *context;
    neumeta_topology *topology;
    neumeta_manifold *manifold;
} block;

static block make_block(const char *const *settings)
{
    block b = {.context = test_context()};
    neumeta_topology *builtin = NULL;
    neumeta_network *network = NULL;
    assert_ok(b.context,
              neumeta_topology_create_builtin(b.context, "resnet20-cifar", NULL, &builtin));
    assert_ok(b.context, neumeta_network_create(builtin, NULL, 0, &network));
    assert_ok(b.context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, NULL));
    assert_ok(b.context, neumeta_network_topology(network, &b.topology));
    neumeta_options *options = problem_options(b.context, settings);
    assert_ok(b.context, neumeta_manifold_create(b.topology, options, &b.manifold));
    neumeta_options_free(options);
    neumeta_network_free(network);
    neumeta_topology_free(builtin);
    return b;
}

static void free_block(block *b)
{
    neumeta_manifold_free(b->manifold);
    neumeta_topology_free(b->topology);
    neumeta_context_free(b->context);
}

/* Weights that come from the INRs: tensors that are held are zero here. */
static float *materialize(const block *b, const char *const *settings, int64_t *count)
{
    const int32_t axes = neumeta_topology_axis_count(b->topology);
    int64_t sizes[64];
    neumeta_network *network = NULL;
    neumeta_options *options = problem_options(b->context, settings);
    assert_ok(b->context, neumeta_manifold_sizes_at(b->manifold, 0.25, sizes, axes));
    assert_ok(b->context,
              neumeta_manifold_materialize(b->manifold, sizes, axes, options, &network));
    float *weights = problem_weights(network, count);
    neumeta_network_free(network);
    neumeta_options_free(options);
    return weights;
}

/* Measured: 1.6e-3 of the largest weight. */
START_TEST(materialised_weights_are_near_those_of_fp32)
{
    static const char *const encodings[] = {"plain", "integrated"};
    static const char *const samples[] = {"1", "3"};
    block b = make_block(PAIRS("morph-blocks", "-2", "inr-encoding", encodings[_i / 2],
                               "inr-function", _i % 2 == 0 ? "relu" : "elu"));
    for (int s = 0; s < 2 - _i / 2; s++) {
        int64_t count, same;
        float *expected = materialize(&b, PAIRS("samples", samples[s]), &count);
        float *again = materialize(&b, PAIRS("samples", samples[s], "precision", "fp32"), &same);
        float *actual = materialize(&b, PAIRS("samples", samples[s], "precision", "bf16"), &same);
        ck_assert_int_eq(count, same);
        ck_assert_mem_eq(expected, again, (size_t)count * sizeof *expected);
        ck_assert(memcmp(expected, actual, (size_t)count * sizeof *expected) != 0);
        assert_within(actual, expected, count, 5e-3);
        free(expected);
        free(again);
        free(actual);
    }
    free_block(&b);
}
END_TEST

static float *materialized_at(const char *level, int32_t threads, int64_t *count)
{
    ck_assert(test_choose_level(level));
    block b = make_block(PAIRS("morph-blocks", "-2", "inr-hidden", "40", "inr-layers", "3"));
    assert_ok(b.context, neumeta_context_set_threads(b.context, threads));
    float *weights = materialize(&b, PAIRS("samples", "2", "precision", "bf16"), count);
    free_block(&b);
    return weights;
}

/* A sum that differs in its last bit may round to the neighbour in bf16, 2^-8 of it away, before
 * the next layer. */
START_TEST(levels_agree_and_threads_change_no_bit)
{
    int64_t count, same;
    if (!test_choose_level(test_levels[_i]))
        return;
    float *expected = materialized_at("base", 1, &count);
    float *one = materialized_at(test_levels[_i], 1, &same);
    float *three = materialized_at(test_levels[_i], 3, &same);
    ck_assert_int_eq(count, same);
    ck_assert_mem_eq(one, three, (size_t)count * sizeof *one);
    assert_within(one, expected, count, 2e-3);
    free(expected);
    free(one);
    free(three);
}
END_TEST

/* --- training ---------------------------------------------------------------------------- */

/* Of a manifold, or of the network itself with its batch norm. */
static void make_trainer(test_problem *p, bool plain, int32_t threads, const char *precision,
                         neumeta_trainer **trainer)
{
    problem_create(p, threads, plain ? 0 : NEUMETA_NORM_FOLD, 0);
    if (!plain)
        problem_manifold(p, 24);
    neumeta_schedule *schedule =
        problem_schedule(p, plain ? 0 : 1, plain ? -1 : 9, PAIRS(PHASE, "precision", precision));
    assert_ok(p->context,
              plain ? neumeta_trainer_create_plain(p->network, schedule, p->dataset, NULL, trainer)
                    : neumeta_trainer_create(p->manifold, p->network, schedule, p->dataset, NULL,
                                             trainer));
    neumeta_schedule_free(schedule);
}

/* Weights after a few steps; with a folder, interrupted half-way, everything being made anew from a
 * checkpoint. */
static float *train(bool plain, const char *precision, int32_t threads, const char *folder,
                    int64_t *count)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    make_trainer(&p, plain, threads, precision, &trainer);
    for (int step = 0; step < STEPS; step++) {
        if (folder != NULL && step == STEPS / 2) {
            char *path = test_path(folder, "bf16");
            assert_ok(p.context, neumeta_trainer_save(trainer, path));
            neumeta_trainer_free(trainer);
            problem_free(&p);
            make_trainer(&p, plain, threads, precision, &trainer);
            assert_ok(p.context, neumeta_trainer_restore(trainer, path));
            free(path);
        }
        assert_ok(p.context, neumeta_trainer_step(trainer));
    }
    float *weights = plain ? problem_weights(p.network, count) : problem_morphed(&p, 0.5, count);
    neumeta_trainer_free(trainer);
    problem_free(&p);
    return weights;
}

/* Adam's first steps have the size of the rate whatever that of the gradient: where that is next to
 * nothing, its sign is left to chance. So only the whole is near. */
static void assert_near_in_all(const float *actual, const float *expected, int64_t count)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += pow((double)actual[i] - (double)expected[i], 2);
        size += pow((double)expected[i], 2);
    }
    ck_assert_double_lt(sqrt(difference / size), 0.05);
}

START_TEST(training_is_near_that_in_fp32_and_repeats_itself)
{
    const bool plain = _i % 2 != 0;
    int64_t count, same;
    if (!test_choose_level(test_levels[_i / 2]))
        return;
    char *folder = test_directory();
    float *fp32 = train(plain, "fp32", 1, NULL, &same);
    float *bf16 = train(plain, "bf16", 1, NULL, &count);
    float *threads = train(plain, "bf16", 2, NULL, &same);
    float *resumed = train(plain, "bf16", 2, folder, &same);
    ck_assert_int_eq(count, same);
    ck_assert_mem_eq(bf16, threads, (size_t)count * sizeof *bf16);
    ck_assert_mem_eq(bf16, resumed, (size_t)count * sizeof *bf16);
    ck_assert(memcmp(bf16, fp32, (size_t)count * sizeof *bf16) != 0);
    assert_near_in_all(bf16, fp32, count);
    free(fp32);
    free(bf16);
    free(threads);
    free(resumed);
    test_directory_remove(folder);
}
END_TEST

/* A phase in bf16 between two in floats: each has a pass of its own. */
START_TEST(precision_is_a_matter_of_each_phase)
{
    static const char *const precisions[] = {"fp32", "bf16", "fp32"};
    float *weights[2];
    int64_t count = 0;
    for (int mixed = 0; mixed < 2; mixed++) {
        test_problem p;
        neumeta_trainer *trainer = NULL;
        neumeta_schedule *schedule = NULL;
        problem_create(&p, 2, NEUMETA_NORM_FOLD, 0);
        problem_manifold(&p, 16);
        assert_ok(p.context, neumeta_schedule_create(p.context, &schedule));
        for (int phase = 0; phase < 3; phase++) {
            neumeta_options *options =
                problem_options(p.context, PAIRS("epochs", "0.25", "batch", "32", "precision",
                                                 mixed ? precisions[phase] : "fp32"));
            assert_ok(p.context, neumeta_schedule_add_phase(schedule, "p", 1, 9, options));
            neumeta_options_free(options);
        }
        assert_ok(p.context, neumeta_trainer_create(p.manifold, p.network, schedule, p.dataset,
                                                    NULL, &trainer));
        assert_ok(p.context, neumeta_trainer_run(trainer));
        weights[mixed] = problem_morphed(&p, 0, &count);
        neumeta_trainer_free(trainer);
        neumeta_schedule_free(schedule);
        problem_free(&p);
    }
    ck_assert(memcmp(weights[0], weights[1], (size_t)count * sizeof(float)) != 0);
    assert_near_in_all(weights[1], weights[0], count);
    free(weights[0]);
    free(weights[1]);
}
END_TEST

START_TEST(it_is_refused_where_it_means_nothing)
{
    test_problem p;
    neumeta_manifold *manifold = NULL;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    neumeta_options *options = problem_options(p.context, PAIRS("precision", "bf16"));
    assert_status(p.context, neumeta_manifold_create(p.topology, options, &manifold),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "PRECISION");
    assert_status(p.context, neumeta_options_parse(options, "precision", "fp16"),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_options_free(options);
    problem_free(&p);
}
END_TEST

int main(void)
{
    const char *given = getenv("NEUMETA_TEST_KERNELS");
    char level[32];
    snprintf(level, sizeof level, "%s", given != NULL ? given : "auto");
    for (int l = 0; l < TEST_LEVELS; l++)
        if (!test_choose_level(test_levels[l]))
            fprintf(stderr, "SKIP: this processor or build has no %s kernels\n", test_levels[l]);
    setenv("NEUMETA_TEST_KERNELS", level, 1);
    Suite *suite = suite_create("precision");
    TCase *all = tcase_create("bf16");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(all, "sequential");
    tcase_add_loop_test(all, materialised_weights_are_near_those_of_fp32, 0, 4);
    tcase_add_loop_test(threads, levels_agree_and_threads_change_no_bit, 0, TEST_LEVELS);
    /* Races are looked for at the last level alone: each of the others would take as long. */
    tcase_add_loop_test(all, training_is_near_that_in_fp32_and_repeats_itself, 0,
                        2 * (TEST_LEVELS - 1));
    tcase_add_loop_test(threads, training_is_near_that_in_fp32_and_repeats_itself,
                        2 * (TEST_LEVELS - 1), 2 * TEST_LEVELS);
    tcase_add_test(all, precision_is_a_matter_of_each_phase);
    tcase_add_test(all, it_is_refused_where_it_means_nothing);
    suite_add_tcase(suite, all);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
