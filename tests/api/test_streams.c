/* SPDX-License-Identifier: MIT */
/* Residual streams that vary, and the range that training leaves to calibration and search. */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>

enum { AXES = 64 };

static void train(test_problem *p, neumeta_network *reference, const char *const *pairs)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(p, 0, -1, pairs);
    assert_ok(p->context,
              neumeta_trainer_create(p->manifold, reference, schedule, p->dataset, NULL, &trainer));
    assert_ok(p->context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
}

/* Streams vary in a range of their own: training, calibration, files and the search know it. */
START_TEST(streams_are_drawn_and_met)
{
    test_problem p;
    int64_t least[AXES], loaded[AXES], sizes[AXES], narrow = 0;
    double loss = NAN;
    char *folder = test_directory(), *path = test_path(folder, "m");
    neumeta_network *network = NULL;
    problem_create(&p, 1, 0, 32);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    problem_grids(&p, PAIRS(NULL));
    train(&p, p.network,
          PAIRS("epochs", "0.2", "batch", "16", "inr-init", "fitted", "gamma-max", "0.75",
                "stream-gamma-max", "0.5", "size-draw", "corners", "group", "3"));
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes));
    for (int32_t a = 0; a < axes; a++) {
        const char *name;
        int64_t max;
        assert_ok(p.context, neumeta_topology_axis(p.topology, a, &name, NULL, NULL, &max, NULL));
        ck_assert_int_eq(least[a], strstr(name, "inner") != NULL    ? max / 4
                                   : strstr(name, "stream") != NULL ? max / 2
                                                                    : max);
    }
    assert_ok(p.context,
              problem_calibrate(&p, PAIRS("calibrate-sizes", "8", "calibrate-items", "40"), NULL,
                                NULL, NULL));
    assert_ok(p.context, problem_search(&p, PAIRS("search-evaluations", "24", "search-items", "8"),
                                        NULL, NULL));
    for (int32_t i = 0; i < neumeta_manifold_front_count(p.manifold); i++) {
        assert_ok(p.context, neumeta_manifold_front_entry(p.manifold, i, sizes, axes, NULL, NULL,
                                                          NULL, NULL, NULL));
        for (int32_t a = 0; a < axes; a++) {
            ck_assert_int_ge(sizes[a], least[a]);
            narrow += a == problem_axis(&p, "layer3.stream") && sizes[a] < 64;
        }
    }
    ck_assert_int_gt(narrow, 0);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
    assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, loaded, axes));
    ck_assert_mem_eq(least, loaded, (size_t)axes * sizeof *least);
    assert_ok(p.context, neumeta_manifold_materialize(p.manifold, least, axes, NULL, &network));
    assert_ok(p.context,
              neumeta_network_evaluate(network, p.dataset, NEUMETA_SPLIT_TEST, &loss, NULL));
    ck_assert(isfinite(loss));
    neumeta_network_free(network);
    free(path);
    test_directory_remove(folder);
    problem_free(&p);
}
END_TEST

/* A front's sizes of axes whose names have `part` in them lie between these shares of the largest.
 */
static void assert_front(const test_problem *p, const char *part, double least, double most)
{
    int64_t sizes[AXES];
    const int32_t axes = neumeta_topology_axis_count(p->topology);
    for (int32_t i = 0; i < neumeta_manifold_front_count(p->manifold); i++) {
        assert_ok(p->context, neumeta_manifold_front_entry(p->manifold, i, sizes, axes, NULL, NULL,
                                                           NULL, NULL, NULL));
        for (int32_t a = 0; a < axes; a++) {
            const char *name;
            int64_t max;
            assert_ok(p->context,
                      neumeta_topology_axis(p->topology, a, &name, NULL, NULL, &max, NULL));
            const double share = (double)sizes[a] / (double)max;
            if (strstr(name, part) != NULL)
                ck_assert_msg(share >= least && share <= most, "%s is %d of %d", name,
                              (int)sizes[a], (int)max);
        }
    }
}

/* What stayed full in training does in a search, and what the options say to be full. */
START_TEST(searches_go_no_further_than_training)
{
    test_problem p;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 32);
    problem_grids(&p, PAIRS(NULL));
    train(&p, NULL,
          PAIRS("epochs", "0.2", "batch", "16", "gamma-max", "0", "stream-gamma-max", "0.25"));
    assert_ok(p.context, problem_search(&p, PAIRS("search-evaluations", "20", "search-items", "8"),
                                        NULL, NULL));
    assert_front(&p, "inner", 1, 1);
    assert_front(&p, "stream", 0.75, 1);
    assert_ok(p.context, problem_search(&p,
                                        PAIRS("search-evaluations", "20", "search-items", "8",
                                              "stream-gamma-max", "0"),
                                        NULL, NULL));
    assert_front(&p, "", 1, 1);
    problem_free(&p);
}
END_TEST

/* A fit to the reference leaves nothing of the training before. */
START_TEST(a_fresh_start_forgets_what_was_trained)
{
    test_problem p;
    int64_t least[AXES];
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 32);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    const int32_t inner = problem_axis(&p, "layer3.0.inner");
    const int32_t stream = problem_axis(&p, "layer3.stream");
    problem_grids(&p, PAIRS(NULL));
    static const char *const starts[] = {"fitted", "random", "fitted"};
    static const char *const gammas[] = {"0.75", "0.25", "0.25"};
    static const char *const streams[] = {"0.5", "0", "0"};
    for (int i = 0; i < 3; i++) {
        train(&p, p.network,
              PAIRS("epochs", "0.2", "batch", "16", "gamma-max", gammas[i], "stream-gamma-max",
                    streams[i], "inr-init", starts[i]));
        assert_ok(p.context, neumeta_manifold_trained_sizes(p.manifold, least, axes));
        int64_t max[2];
        assert_ok(p.context,
                  neumeta_topology_axis(p.topology, inner, NULL, NULL, NULL, &max[0], NULL));
        assert_ok(p.context,
                  neumeta_topology_axis(p.topology, stream, NULL, NULL, NULL, &max[1], NULL));
        ck_assert_int_eq(least[inner], i < 2 ? max[0] / 4 : max[0] * 3 / 4);
        ck_assert_int_eq(least[stream], i < 2 ? max[1] / 2 : max[1]);
    }
    problem_free(&p);
}
END_TEST

/* Channels behind a shortcut are other ones of the full network at each width of two streams; what
 * is known of them must go with them. */
START_TEST(statistics_go_with_the_channels_of_streams)
{
    test_problem p;
    double error = NAN;
    char axes[64];
    problem_create(&p, 1, 0, 32);
    problem_grids(&p, PAIRS(NULL));
    snprintf(axes, sizeof axes, "%d,%d,%d", (int)problem_axis(&p, "layer1.stream"),
             (int)problem_axis(&p, "layer2.stream"), (int)problem_axis(&p, "layer3.stream"));
    assert_ok(p.context, problem_calibrate(&p,
                                           PAIRS("calibrate-sizes", "60", "calibrate-items", "16",
                                                 "size-axes", axes, "stream-gamma-max", "0.5"),
                                           NULL, NULL, &error));
    ck_assert_msg(error < 0.1, "off by %g", error);
    problem_free(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("streams");
    TCase *cases = tcase_create("streams");
    tcase_add_test(cases, streams_are_drawn_and_met);
    tcase_add_test(cases, statistics_go_with_the_channels_of_streams);
    tcase_add_test(cases, searches_go_no_further_than_training);
    tcase_add_test(cases, a_fresh_start_forgets_what_was_trained);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
