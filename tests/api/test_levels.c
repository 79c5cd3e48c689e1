/* SPDX-License-Identifier: MIT */
/* One seed at every level of kernels that this processor and build have: runs, emissions and
 * training steps agree with those of the base level, and levels never meet in one context. */
#include "nmi_training.h"

#include <stdio.h>

enum { ITEMS = 8, STEPS = 4 };

/* Sums of some hundred terms in another order, through twenty layers: measured 1.5e-7. */
static void assert_alike(const float *actual, const float *expected, int64_t count)
{
    assert_within(actual, expected, count, 2e-6);
}

static float *run(neumeta_network *network, const float *inputs)
{
    float *outputs = calloc((size_t)ITEMS * PROBLEM_CLASSES, sizeof *outputs);
    ck_assert_int_eq(neumeta_network_run(network, inputs, ITEMS, outputs, ITEMS * PROBLEM_CLASSES),
                     NEUMETA_OK);
    return outputs;
}

static float *outputs_at(const char *level)
{
    test_problem p;
    ck_assert(test_choose_level(level));
    problem_create(&p, 2, NEUMETA_NORM_SKIP_INIT, 0);
    ck_assert_str_eq(neumeta_context_kernels(p.context), level);
    float *outputs = run(p.network, p.inputs);
    problem_free(&p);
    return outputs;
}

START_TEST(outputs_agree)
{
    if (!test_choose_level(test_levels[_i]))
        return;
    float *expected = outputs_at("base"), *actual = outputs_at(test_levels[_i]);
    assert_alike(actual, expected, ITEMS * PROBLEM_CLASSES);
    free(expected);
    free(actual);
}
END_TEST

/* INRs of kind mlp, or grids between whose channels narrow tensors lie. */
static void make_manifold(test_problem *p, bool grids)
{
    if (!grids) {
        problem_manifold(p, 20);
        return;
    }
    neumeta_options *options = problem_options(
        p->context, PAIRS("inr-kind", "grid", "grid-gauge", "relative", "grid-terms", "1"));
    assert_ok(p->context, neumeta_manifold_create(p->topology, options, &p->manifold));
    neumeta_options_free(options);
}

/* Weights that the manifold emits, at full size and narrower. */
static float *emitted_at(const char *level, bool grids, double gamma, int64_t *count)
{
    test_problem p;
    ck_assert(test_choose_level(level));
    problem_create(&p, 2, NEUMETA_NORM_FOLD, 0);
    make_manifold(&p, grids);
    float *weights = problem_morphed(&p, gamma, count);
    problem_free(&p);
    return weights;
}

START_TEST(emissions_agree)
{
    if (!test_choose_level(test_levels[_i]))
        return;
    for (int i = 0; i < 4; i++) {
        int64_t count = 0, same = 0;
        float *expected = emitted_at("base", i < 2, 0.5 * (i % 2), &count);
        float *actual = emitted_at(test_levels[_i], i < 2, 0.5 * (i % 2), &same);
        ck_assert_int_eq(count, same);
        assert_alike(actual, expected, count);
        free(expected);
        free(actual);
    }
}
END_TEST

/* Weights that the manifold emits after a few steps of training it. */
static float *trained_at(const char *level, bool grids, int64_t *count, double *loss)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    ck_assert(test_choose_level(level));
    problem_create(&p, 2, NEUMETA_NORM_FOLD, 0);
    make_manifold(&p, grids);
    neumeta_schedule *schedule = problem_schedule(&p, 0, -1, PAIRS("epochs", "1", "batch", "32"));
    assert_ok(p.context,
              neumeta_trainer_create(p.manifold, p.network, schedule, p.dataset, NULL, &trainer));
    for (int i = 0; i < STEPS; i++)
        assert_ok(p.context, neumeta_trainer_step(trainer));
    assert_ok(p.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS, loss));
    float *weights = problem_morphed(&p, 0, count);
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    problem_free(&p);
    return weights;
}

START_TEST(steps_of_training_agree)
{
    if (!test_choose_level(test_levels[_i]))
        return;
    for (int grids = 0; grids < 2; grids++) {
        int64_t count = 0, same = 0;
        double expected_loss, actual_loss;
        float *start = emitted_at("base", grids, 0, &count);
        float *expected = trained_at("base", grids, &count, &expected_loss);
        float *actual = trained_at(test_levels[_i], grids, &same, &actual_loss);
        ck_assert_int_eq(count, same);
        ck_assert(memcmp(start, expected, (size_t)count * sizeof *start) != 0);
        assert_alike(actual, expected, count);
        ck_assert_double_eq_tol(actual_loss, expected_loss, 2e-6 * expected_loss);
        free(start);
        free(expected);
        free(actual);
    }
}
END_TEST

/* A network packs its weights at its first run. One that borrows them in a context of another level
 * packs them anew, and neither spoils the other's. */
START_TEST(shared_weights_serve_another_level)
{
    if (!test_choose_level(test_levels[_i]))
        return;
    test_problem p;
    neumeta_context *other = test_context();
    neumeta_network *copy = NULL;
    ck_assert(test_choose_level("base"));
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    float *first = run(p.network, p.inputs);
    assert_ok(p.context, neumeta_network_share(p.network, other, &copy));
    ck_assert_str_eq(neumeta_context_kernels(other), test_levels[_i]);
    float *shared = run(copy, p.inputs);
    float *again = run(p.network, p.inputs);
    assert_alike(shared, first, ITEMS * PROBLEM_CLASSES);
    ck_assert_mem_eq(first, again, ITEMS * PROBLEM_CLASSES * sizeof *first);
    neumeta_network_free(copy);
    neumeta_context_free(other);
    problem_free(&p);
    free(first);
    free(shared);
    free(again);
}
END_TEST

int main(void)
{
    for (int l = 0; l < TEST_LEVELS; l++)
        if (!test_choose_level(test_levels[l]))
            fprintf(stderr, "SKIP: this processor or build has no %s kernels\n", test_levels[l]);
    Suite *suite = suite_create("levels");
    TCase *all = tcase_create("levels");
    tcase_add_loop_test(all, outputs_agree, 0, TEST_LEVELS);
    tcase_add_loop_test(all, emissions_agree, 0, TEST_LEVELS);
    tcase_add_loop_test(all, steps_of_training_agree, 0, TEST_LEVELS);
    tcase_add_loop_test(all, shared_weights_serve_another_level, 0, TEST_LEVELS);
    suite_add_tcase(suite, all);
    return test_main(suite);
}
