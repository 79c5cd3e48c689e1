/* SPDX-License-Identifier: MIT */
/* What a search may try, which trials stay, and the guess at latencies. */
#include "nmi_latency.h"
#include "nmi_manifolds.h"
#include "nmi_networks.h"
#include "nmi_surrogate.h"

#include <math.h>

/* Four trials of one axis: rungs, costs, score. */
typedef struct trial {
    int32_t rung;
    double costs[NMI_TRIAL_COSTS], score;
} trial;

static void add_trials(nmi_context *context, const trial *list, int32_t count, nmi_trials *trials)
{
    assert_ok(context, nmi_trials_create(context, 1, count, trials));
    for (int32_t i = 0; i < count; i++)
        nmi_trials_add(trials, &list[i].rung, list[i].costs, list[i].score);
}

START_TEST(trials_stay_while_they_are_best_in_some_cost)
{
    static const trial list[] = {
        {0, {10, 100, 40, 5}, 0.5}, /* fewest parameters */
        {1, {20, 90, 80, 5}, 0.5},  /* fewest multiply-adds */
        {2, {20, 95, 80, 6}, 0.5},  /* beaten in all by the second, or the first */
        {3, {30, 200, 120, 9}, 0.9},
        {4, {30, 200, 120, 9}, 0.9}, /* the same: the earlier one stays */
        {5, {40, 300, 160, 8}, 0.9}, /* only quicker */
    };
    static const bool stays[] = {true, true, false, true, false, true};
    nmi_context *context = test_context();
    nmi_trials trials;
    int32_t kept[6];
    add_trials(context, list, 6, &trials);
    for (int32_t i = 0; i < 6; i++)
        ck_assert_msg(nmi_trials_stays(&trials, i) == stays[i], "trial %d", (int)i);
    ck_assert_int_eq(nmi_trials_list(&trials, 6, NMI_TRIAL_COSTS, kept), 4);
    ck_assert_int_eq(kept[0], 1);
    ck_assert_int_eq(kept[1], 0);
    ck_assert_int_eq(kept[2], 3);
    ck_assert_int_eq(kept[3], 5);
    const int32_t known = 3, unknown = 6;
    ck_assert(nmi_trials_has(&trials, &known));
    ck_assert(!nmi_trials_has(&trials, &unknown));
    nmi_trials_free(&trials);
    nmi_context_release(context);
}
END_TEST

START_TEST(long_lists_lose_what_is_missed_least)
{
    static const trial list[] = {
        {0, {1, 100, 1, 1}, 0.1},  {1, {2, 200, 2, 2}, 0.2}, {2, {3, 210, 3, 3}, 0.21},
        {3, {4, 400, 4, 4}, 0.4},  {4, {5, 410, 5, 5}, 0.5}, {5, {6, 800, 6, 6}, 0.6},
        {6, {7, 900, 7, 0}, 0.05}, /* there for its latency alone */
    };
    nmi_context *context = test_context();
    nmi_trials trials;
    int32_t kept[7];
    add_trials(context, list, 7, &trials);
    ck_assert_int_eq(nmi_trials_list(&trials, 7, NMI_COSTS, kept), 7);
    ck_assert_int_eq(kept[6], 6);
    ck_assert_int_eq(nmi_trials_list(&trials, 6, NMI_COSTS, kept), 6);
    ck_assert_int_eq(kept[5], 5);
    ck_assert_int_eq(nmi_trials_list(&trials, 5, NMI_COSTS, kept), 5);
    ck_assert_int_eq(kept[1], 1);
    ck_assert_int_eq(kept[2], 3); /* 2 has gone: hardly better than 1 */
    ck_assert_int_eq(nmi_trials_list(&trials, 1, NMI_COSTS, kept), 1);
    ck_assert_int_eq(nmi_trials_list(&trials, 6, NMI_TRIAL_COSTS, kept), 6);
    ck_assert_int_eq(kept[5], 6);
    nmi_trials_free(&trials);
    nmi_context_release(context);
}
END_TEST

START_TEST(rungs_are_multiples_and_both_ends)
{
    static const int64_t expected[] = {3, 4, 8, 12, 14};
    nmi_context *context = test_context();
    nmi_topology *t = make_topology(context, false); /* s 12, 14, 16; h 2 to 14; c 20 */
    const bool moves[] = {false, true, false};
    int32_t rungs[3];
    int64_t sizes[3];
    nmi_variation v;
    assert_ok(context,
              nmi_variation_create(t, moves, &(nmi_size_range){.widths = {.max = 0.8}}, 4, &v));
    ck_assert_int_eq(v.ladders[0].count, 1);
    ck_assert_int_eq(v.ladders[1].count, 5);
    for (int32_t r = 0; r < 5; r++)
        ck_assert_int_eq(v.ladders[1].sizes[r], expected[r]);
    nmi_variation_uniform(&v, &(nmi_shares){.inner = 0.625}, rungs);
    nmi_variation_sizes(&v, rungs, sizes);
    ck_assert_int_eq(sizes[0], 16);
    ck_assert_int_eq(sizes[1], 8);
    ck_assert_int_eq(sizes[2], 20);
    nmi_variation_free(&v);
    neumeta_topology_free(t);
    nmi_context_release(context);
}
END_TEST

START_TEST(proposals_lie_on_the_ladders_and_differ)
{
    nmi_context *context = test_context();
    nmi_topology *t = make_topology(context, false);
    const bool moves[] = {true, true, false};
    const double costs[NMI_TRIAL_COSTS] = {1, 1, 1, 1};
    int32_t rungs[3] = {0, 0, 0}, seen = 0;
    nmi_variation v;
    nmi_trials trials;
    assert_ok(context,
              nmi_variation_create(t, moves, &(nmi_size_range){.widths = {.max = 0.8}}, 1, &v));
    assert_ok(context, nmi_trials_create(context, 3, 36, &trials));
    nmi_trials_add(&trials, rungs, costs, 0.5);
    nmi_random random = nmi_random_start(11);
    for (int32_t attempt = 0; attempt < 4000; attempt++) {
        nmi_variation_propose(&v, &trials, nmi_variation_parent(&trials, &random), &random, rungs);
        for (int32_t a = 0; a < 3; a++)
            ck_assert(rungs[a] >= 0 && rungs[a] < v.ladders[a].count);
        if (!nmi_trials_has(&trials, rungs)) {
            nmi_trials_add(&trials, rungs, costs, 0.5);
            seen++;
        }
    }
    ck_assert_int_eq(seen, v.ladders[0].count * v.ladders[1].count - 1);
    nmi_trials_free(&trials);
    nmi_variation_free(&v);
    neumeta_topology_free(t);
    nmi_context_release(context);
}
END_TEST

/* Two networks that differ only in what neither has are one. */
START_TEST(widths_of_what_is_not_there_are_full)
{
    nmi_context *context = test_context();
    nmi_network *network = test_builtin(context, "resnet20-cifar", NULL, 1);
    const nmi_topology *t = network->topology;
    bool moves[64];
    int32_t rungs[64], narrow[64];
    nmi_variation v;
    for (int32_t a = 0; a < t->axis_count; a++)
        moves[a] = t->axes[a].kind == NEUMETA_AXIS_DEPTH || nmi_graph_axis_is_inner(t, a);
    assert_ok(context,
              nmi_variation_create(
                  t, moves, &(nmi_size_range){.widths = {.max = 0.75}, .depths = 0.67}, 4, &v));
    nmi_variation_uniform(&v, &(nmi_shares){.inner = 1, .depths = 1}, rungs);
    for (int32_t a = 0; a < t->axis_count; a++) {
        const bool there = strstr(t->axes[a].name, ".1.inner") == NULL &&
                           strstr(t->axes[a].name, ".2.inner") == NULL;
        ck_assert_int_eq(rungs[a], there ? 0 : v.ladders[a].count - 1);
        narrow[a] = 0;
    }
    nmi_variation_settle(&v, narrow);
    ck_assert_mem_eq(narrow, rungs, (size_t)t->axis_count * sizeof *rungs);
    nmi_variation_uniform(&v, &(nmi_shares){.inner = 1}, rungs);
    for (int32_t a = 0; a < t->axis_count; a++)
        if (nmi_graph_axis_is_inner(t, a))
            ck_assert_int_eq(rungs[a], 0);
    nmi_variation_free(&v);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

/* Scores that are such a function of the compressions are found again. */
START_TEST(a_surrogate_learns_its_own_kind_of_score)
{
    nmi_context *context = test_context();
    nmi_topology *t = make_topology(context, false);
    const bool moves[] = {true, true, false};
    nmi_variation v;
    nmi_surrogate surrogate;
    assert_ok(context,
              nmi_variation_create(t, moves, &(nmi_size_range){.widths = {.max = 0.9}}, 1, &v));
    assert_ok(context, nmi_surrogate_create(&v, &surrogate));
    ck_assert_int_eq(surrogate.terms, 7);
    for (int32_t pass = 0; pass < 2; pass++) {
        for (int32_t s = 0; s < v.ladders[0].count; s++)
            for (int32_t h = 0; h < v.ladders[1].count; h++) {
                const int32_t rungs[3] = {s, h, 0};
                const double us = 1 - (double)v.ladders[0].sizes[s] / 16;
                const double uh = 1 - (double)v.ladders[1].sizes[h] / 14;
                const double score = 0.9 - 0.1 * us - 0.3 * uh * uh - 0.2 * pow((us + uh) / 2, 3);
                if (pass == 0)
                    for (int32_t copies = 0; copies < 20; copies++)
                        nmi_surrogate_add(&surrogate, rungs, score);
                else
                    ck_assert(fabs(nmi_surrogate_predict(&surrogate, rungs) - score) < 5e-3);
            }
        nmi_surrogate_fit(&surrogate);
    }
    nmi_surrogate_free(&surrogate);
    nmi_variation_free(&v);
    neumeta_topology_free(t);
    nmi_context_release(context);
}
END_TEST

START_TEST(guesses_count_whole_vectors)
{
    nmi_context *context = test_context();
    nmi_topology *t = NULL;
    double narrow = 0, wide = 0, more = 0;
    int64_t sizes[64];
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &t));
    nmi_graph_full_sizes(t, sizes);
    int32_t axis = 0;
    while (strcmp(t->axes[axis].name, "layer2.0.inner") != 0)
        axis++;
    sizes[axis] = 17;
    assert_ok(context, nmi_latency_guess(t, sizes, &narrow));
    sizes[axis] = 32;
    assert_ok(context, nmi_latency_guess(t, sizes, &wide));
    /* Outputs cost the same, the inputs of the second convolution do not. */
    ck_assert(wide - narrow == 15.0 * 32 * 9 * 16 * 16);
    sizes[axis] = 16;
    assert_ok(context, nmi_latency_guess(t, sizes, &more));
    ck_assert(narrow - more == 1.0 * 32 * 9 * 16 * 16 + 16.0 * 16 * 9 * 16 * 16);
    neumeta_topology_free(t);
    nmi_context_release(context);
}
END_TEST

START_TEST(latencies_do_not_depend_on_the_threads_of_the_caller)
{
    nmi_context *context = test_context();
    nmi_topology *t = make_topology(context, true);
    const int64_t sizes[] = {16, 8, 20};
    nmi_latency *latency = NULL;
    double microseconds = 0;
    assert_ok(context, nmi_workers_set_lanes(context, 3));
    assert_ok(context, nmi_latency_create(t, &latency));
    assert_ok(context, nmi_latency_measure(latency, sizes, &microseconds));
    ck_assert(microseconds > 0);
    nmi_latency_free(latency);
    neumeta_topology_free(t);
    nmi_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("variation");
    TCase *cases = tcase_create("variation");
    tcase_add_test(cases, trials_stay_while_they_are_best_in_some_cost);
    tcase_add_test(cases, long_lists_lose_what_is_missed_least);
    tcase_add_test(cases, rungs_are_multiples_and_both_ends);
    tcase_add_test(cases, proposals_lie_on_the_ladders_and_differ);
    tcase_add_test(cases, widths_of_what_is_not_there_are_full);
    tcase_add_test(cases, a_surrogate_learns_its_own_kind_of_score);
    tcase_add_test(cases, guesses_count_whole_vectors);
    tcase_add_test(cases, latencies_do_not_depend_on_the_threads_of_the_caller);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
