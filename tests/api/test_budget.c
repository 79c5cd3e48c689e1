/* SPDX-License-Identifier: MIT */
/* Fronts of manifolds, their files, and the sizes that budgets get from them. */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

enum { AXES = 64, HELD_OUT = 48, ENTRIES = 64 };

#define QUICK                                                                                      \
    "search-evaluations", "60", "search-items", "24", "width-multiple", "1", "gamma-max", "0.75",  \
        "depth-gamma-max", "0.7"

static void train(test_problem *p, neumeta_trainer *trainer, neumeta_schedule *schedule)
{
    assert_ok(p->context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
}

/* From now on the classes of items are those that the network sees in them. */
static void relabel(test_problem *p)
{
    float outputs[PROBLEM_CLASSES], normalised[PROBLEM_PIXELS];
    for (int64_t i = 0; i < PROBLEM_ITEMS + PROBLEM_TEST; i++) {
        for (int64_t k = 0; k < PROBLEM_PIXELS; k++)
            normalised[k] = p->inputs[i * PROBLEM_PIXELS + k] - 0.25f;
        assert_ok(p->context,
                  neumeta_network_run(p->network, normalised, 1, outputs, PROBLEM_CLASSES));
        p->targets[i] = 0;
        for (int64_t c = 1; c < PROBLEM_CLASSES; c++)
            if (outputs[c] > outputs[p->targets[i]])
                p->targets[i] = c;
    }
}

/* A grid manifold that is a network at full sizes, which is always right and narrower ones are not:
 * so fronts have several entries. */
static void start(test_problem *p, int32_t threads, int64_t held_out)
{
    neumeta_trainer *trainer = NULL;
    problem_create(p, threads, 0, held_out);
    neumeta_schedule *plain =
        problem_schedule(p, 0, -1,
                         PAIRS("epochs", "12", "batch", "16", "optimizer", "sgd", "learning-rate",
                               "0.1", "rate", "cosine"));
    assert_ok(p->context,
              neumeta_trainer_create_plain(p->network, plain, p->dataset, NULL, &trainer));
    train(p, trainer, plain);
    assert_ok(p->context, neumeta_network_replace_norm(p->network, NEUMETA_NORM_FOLD, NULL));
    neumeta_topology_free(p->topology);
    assert_ok(p->context, neumeta_network_topology(p->network, &p->topology));
    problem_grids(p, PAIRS(NULL));
    neumeta_schedule *schedule = problem_schedule(
        p, 0, -1, PAIRS("epochs", "1", "batch", "16", "inr-init", "fitted", "learning-rate", "0"));
    assert_ok(p->context, neumeta_trainer_create(p->manifold, p->network, schedule, p->dataset,
                                                 NULL, &trainer));
    train(p, trainer, schedule);
    relabel(p);
}

/* What the API tells of an entry. */
typedef struct entry {
    int64_t sizes[AXES], costs[3];
    double score, latency;
} entry;

static int32_t read_front(const test_problem *p, entry *entries)
{
    const int32_t count = neumeta_manifold_front_count(p->manifold);
    const int32_t axes = neumeta_topology_axis_count(p->topology);
    ck_assert_int_le(count, ENTRIES);
    ck_assert_int_le(axes, AXES);
    memset(entries, 0, (size_t)count * sizeof *entries);
    for (int32_t i = 0; i < count; i++) {
        entry *e = &entries[i];
        assert_ok(p->context, neumeta_manifold_front_entry(p->manifold, i, e->sizes, axes,
                                                           &e->score, &e->costs[0], &e->costs[1],
                                                           &e->costs[2], &e->latency));
    }
    return count;
}

static int64_t network_bytes(const neumeta_network *network)
{
    int64_t count = 0;
    free(problem_weights(network, &count));
    return 4 * count;
}

/* _i 1: the scores are those on the test items, which had no part in the choice. */
START_TEST(entries_are_what_their_networks_are)
{
    const int32_t split = _i == 0 ? NEUMETA_SPLIT_HELD_OUT : NEUMETA_SPLIT_TEST;
    test_problem p;
    entry entries[ENTRIES];
    int64_t items = 0;
    const char *kernels = NULL;
    start(&p, 2, HELD_OUT);
    ck_assert_int_eq(neumeta_manifold_front_count(p.manifold), 0);
    assert_ok(p.context,
              problem_search(&p, PAIRS(QUICK, "front-scores", _i == 0 ? "held-out" : "test"), NULL,
                             NULL));
    const int32_t count = read_front(&p, entries);
    ck_assert_int_ge(count, 3);
    assert_ok(p.context, neumeta_manifold_front_origin(p.manifold, &items, &kernels));
    ck_assert_int_eq(items, _i == 0 ? HELD_OUT : PROBLEM_TEST);
    ck_assert_str_eq(kernels, neumeta_context_kernels(p.context));
    for (int32_t i = 0; i < count; i++) {
        const entry *e = &entries[i];
        const int32_t axes = neumeta_topology_axis_count(p.topology);
        neumeta_network *network = NULL;
        int64_t parameters = 0, flops = 0;
        double score = 0;
        assert_ok(p.context,
                  neumeta_topology_cost(p.topology, e->sizes, axes, &parameters, &flops));
        ck_assert_int_eq(e->costs[0], parameters);
        ck_assert_int_eq(2 * e->costs[1], flops);
        assert_ok(p.context,
                  neumeta_manifold_materialize(p.manifold, e->sizes, axes, NULL, &network));
        ck_assert_int_eq(e->costs[2], network_bytes(network));
        assert_ok(p.context, neumeta_network_evaluate(network, p.dataset, split, NULL, &score));
        ck_assert(e->score == score);
        ck_assert(e->latency > 0 && isfinite(e->latency));
        ck_assert(i == 0 || e->costs[1] >= entries[i - 1].costs[1]);
        neumeta_network_free(network);
    }
    problem_free(&p);
}
END_TEST

/* Whether some other entry costs no more in any of the first `costs` and scores no less. */
static bool is_beaten(const entry *entries, int32_t count, int32_t i, int32_t costs)
{
    for (int32_t j = 0; j < count; j++) {
        bool beaten = i != j && entries[j].score >= entries[i].score;
        for (int32_t c = 0; c < costs; c++)
            beaten = beaten && entries[j].costs[c] <= entries[i].costs[c];
        if (beaten && (costs < 4 || entries[j].latency <= entries[i].latency))
            return true;
    }
    return false;
}

START_TEST(no_entry_is_beaten_in_everything)
{
    test_problem p;
    entry entries[ENTRIES];
    start(&p, 1, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK, "front-entries", "6"), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    ck_assert(count >= 2 && count <= 6);
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < count; j++)
            ck_assert(i == j || entries[j].score < entries[i].score ||
                      entries[j].latency > entries[i].latency ||
                      entries[j].costs[0] > entries[i].costs[0] ||
                      entries[j].costs[1] > entries[i].costs[1] ||
                      entries[j].costs[2] > entries[i].costs[2]);
    problem_free(&p);
}
END_TEST

/* With room for all: which ones go from a front that is full may depend on latencies. */
START_TEST(seeds_and_not_threads_decide_what_is_found)
{
    entry found[2][ENTRIES];
    int32_t counts[2];
    for (int32_t run = 0; run < 2; run++) {
        test_problem p;
        start(&p, run + 1, HELD_OUT);
        assert_ok(p.context,
                  problem_search(&p, PAIRS(QUICK, "seed", "3", "front-entries", "64"), NULL, NULL));
        const int32_t count = read_front(&p, found[run]);
        counts[run] = 0;
        /* Others are there for a measured latency. */
        for (int32_t i = 0; i < count; i++) {
            if (is_beaten(found[run], count, i, 3))
                continue;
            found[run][counts[run]++] = found[run][i];
        }
        problem_free(&p);
    }
    ck_assert_int_eq(counts[0], counts[1]);
    ck_assert_int_ge(counts[0], 2);
    for (int32_t i = 0; i < counts[0]; i++) {
        ck_assert_mem_eq(found[0][i].sizes, found[1][i].sizes, sizeof found[0][i].sizes);
        ck_assert(found[0][i].score == found[1][i].score);
    }
}
END_TEST

/* --- budgets -----------------------------------------------------------------------------------
 */

static neumeta_status fit(test_problem *p, const char *const *pairs, int64_t *sizes, double *score,
                          double *latency)
{
    neumeta_options *budget = problem_options(p->context, pairs);
    neumeta_status status = neumeta_manifold_fit_budget(
        p->manifold, budget, sizes, neumeta_topology_axis_count(p->topology), score, latency);
    neumeta_options_free(budget);
    return status;
}

/* Of this thread: what else the machine does must not count. */
static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static const char *const bounds[3] = {"max-parameters", "max-multiply-adds", "max-bytes"};

static void costs_at(test_problem *p, const int64_t *sizes, int64_t costs[3])
{
    const int32_t axes = neumeta_topology_axis_count(p->topology);
    neumeta_network *network = NULL;
    int64_t flops = 0;
    assert_ok(p->context, neumeta_topology_cost(p->topology, sizes, axes, &costs[0], &flops));
    costs[1] = flops / 2;
    assert_ok(p->context, neumeta_manifold_materialize(p->manifold, sizes, axes, NULL, &network));
    costs[2] = network_bytes(network);
    neumeta_network_free(network);
}

/* Budgets from just too little to more than everything, of each cost. */
static void check_bounds(test_problem *p, const int64_t least[3], const int64_t full[3])
{
    for (int32_t c = 0; c < 3; c++)
        for (int32_t step = 0; step <= 40; step++) {
            int64_t sizes[AXES], costs[3];
            char text[32];
            const int64_t bound = least[c] + (full[c] - least[c]) * step / 39 - (step == 0);
            snprintf(text, sizeof text, "%lld", (long long)bound);
            const double begin = milliseconds();
            neumeta_status status = fit(p, PAIRS(bounds[c], text), sizes, NULL, NULL);
            const double took = milliseconds() - begin;
            ck_assert_msg(took < 50, "the answer took %g ms", took);
            if (step == 0) {
                assert_status(p->context, status, NEUMETA_ERR_INFEASIBLE);
                snprintf(text, sizeof text, "%lld", (long long)least[c]);
                assert_message_contains(p->context, text);
                continue;
            }
            assert_ok(p->context, status);
            costs_at(p, sizes, costs);
            ck_assert_msg(costs[c] <= bound, "%s %lld is exceeded by %lld", bounds[c],
                          (long long)bound, (long long)costs[c]);
        }
}

START_TEST(budgets_are_kept_exactly)
{
    test_problem p;
    entry entries[ENTRIES];
    int64_t least[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, full[3];
    start(&p, 1, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    for (int32_t i = 0; i < count; i++)
        for (int32_t c = 0; c < 3; c++)
            least[c] = entries[i].costs[c] < least[c] ? entries[i].costs[c] : least[c];
    int64_t sizes[AXES];
    assert_ok(p.context, neumeta_manifold_sizes_at(p.manifold, 0, sizes,
                                                   neumeta_topology_axis_count(p.topology)));
    costs_at(&p, sizes, full);
    check_bounds(&p, least, full);
    problem_free(&p);
}
END_TEST

START_TEST(without_a_front_the_uniform_sizes_fit)
{
    test_problem p;
    int64_t sizes[AXES], least[3], full[3];
    double score = 0, latency = 0;
    start(&p, 1, 0);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    assert_ok(p.context, neumeta_manifold_sizes_at(p.manifold, 63.0 / 64, sizes, axes));
    costs_at(&p, sizes, least);
    assert_ok(p.context, neumeta_manifold_sizes_at(p.manifold, 0, sizes, axes));
    costs_at(&p, sizes, full);
    check_bounds(&p, least, full);
    assert_ok(p.context, fit(&p, PAIRS("max-latency-us", "1e9"), sizes, &score, &latency));
    ck_assert(isnan(score));
    ck_assert(latency > 0);
    costs_at(&p, sizes, least);
    ck_assert_int_eq(least[1], full[1]);
    assert_status(p.context, fit(&p, PAIRS("min-score", "0.1"), sizes, NULL, NULL),
                  NEUMETA_ERR_STATE);
    assert_message_contains(p.context, "MIN_SCORE needs a front");
    problem_free(&p);
}
END_TEST

START_TEST(scores_wanted_are_reached_by_the_cheapest_entry)
{
    test_problem p;
    entry entries[ENTRIES];
    int64_t sizes[AXES] = {0};
    double best = 0, score = 0;
    start(&p, 1, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    for (int32_t i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.17g", entries[i].score);
        assert_ok(p.context, fit(&p, PAIRS("min-score", text), sizes, &score, NULL));
        ck_assert(score >= entries[i].score);
        int32_t first = 0;
        while (entries[first].score < entries[i].score)
            first++;
        ck_assert_mem_eq(sizes, entries[first].sizes, sizeof sizes);
        best = entries[i].score > best ? entries[i].score : best;
    }
    assert_ok(p.context, fit(&p, PAIRS(NULL), sizes, &score, NULL));
    ck_assert(score == best);
    if (best < 1) {
        assert_status(p.context, fit(&p, PAIRS("min-score", "1"), sizes, NULL, NULL),
                      NEUMETA_ERR_INFEASIBLE);
        assert_message_contains(p.context, "MIN_SCORE is 1");
    }
    problem_free(&p);
}
END_TEST

START_TEST(latencies_are_measured_here)
{
    test_problem p;
    entry entries[ENTRIES];
    int64_t sizes[AXES], costs[3];
    double latency = 0, score = 0, quickest = INFINITY;
    char text[32];
    start(&p, 2, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    for (int32_t i = 0; i < count; i++)
        quickest = fmin(quickest, entries[i].latency);
    assert_ok(p.context, fit(&p, PAIRS("max-latency-us", "1e9"), sizes, &score, &latency));
    ck_assert(latency > 0 && latency < 1e9);
    snprintf(text, sizeof text, "%.17g", 3 * quickest); /* which other work cannot spoil */
    assert_ok(p.context, fit(&p, PAIRS("max-latency-us", text), sizes, &score, &latency));
    ck_assert(latency > 0 && latency <= 3 * quickest);
    assert_status(p.context, fit(&p, PAIRS("max-latency-us", "0.001"), sizes, NULL, NULL),
                  NEUMETA_ERR_INFEASIBLE);
    assert_message_contains(p.context, "MAX_LATENCY_US is 0.001");
    snprintf(text, sizeof text, "%lld", (long long)entries[count / 2].costs[0]);
    assert_ok(p.context, fit(&p, PAIRS("max-latency-us", "1e9", "max-parameters", text), sizes,
                             &score, &latency));
    costs_at(&p, sizes, costs);
    ck_assert_int_le(costs[0], entries[count / 2].costs[0]);
    problem_free(&p);
}
END_TEST

/* --- files and life ------------------------------------------------------------------------------
 */

static unsigned char *save(test_problem *p, int64_t *size)
{
    char *folder = test_directory(), *path = test_path(folder, "m");
    assert_ok(p->context, neumeta_manifold_save(p->manifold, path));
    unsigned char *bytes = test_read_file(path, size);
    free(path);
    test_directory_remove(folder);
    return bytes;
}

START_TEST(a_file_keeps_the_front)
{
    test_problem p;
    entry entries[ENTRIES], loaded[ENTRIES];
    int64_t size = 0, again_size = 0;
    start(&p, 1, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    unsigned char *bytes = save(&p, &size);
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load_memory(p.context, bytes, size, &p.manifold));
    ck_assert_int_eq(read_front(&p, loaded), count);
    ck_assert_mem_eq(entries, loaded, (size_t)count * sizeof *entries);
    unsigned char *again = save(&p, &again_size);
    ck_assert_int_eq(size, again_size);
    ck_assert_mem_eq(bytes, again, (size_t)size);
    free(bytes);
    free(again);
    problem_free(&p);
}
END_TEST

/* The first place of `what`; -1 if there is none. */
static int64_t find(const unsigned char *bytes, int64_t size, const char *what)
{
    const int64_t length = (int64_t)strlen(what);
    for (int64_t at = 0; at + length <= size; at++)
        if (memcmp(bytes + at, what, (size_t)length) == 0)
            return at;
    return -1;
}

/* Where the data of a tensor begins. */
static int64_t find_data(const unsigned char *bytes, int64_t size, const char *name)
{
    uint64_t header = 0;
    long long begin = 0;
    memcpy(&header, bytes, sizeof header);
    const int64_t at = find(bytes, size, name);
    ck_assert_int_ge(at, 0);
    const char *offsets = strstr((const char *)bytes + at, "\"data_offsets\":[");
    ck_assert_ptr_nonnull(offsets);
    ck_assert_int_eq(sscanf(offsets, "\"data_offsets\":[%lld", &begin), 1);
    return 8 + (int64_t)header + begin;
}

static void refuse_damage(test_problem *p, const unsigned char *bytes, int64_t size, int64_t at,
                          const void *with, size_t length, const char *message)
{
    neumeta_manifold *manifold = NULL;
    unsigned char *damaged = malloc((size_t)size);
    memcpy(damaged, bytes, (size_t)size);
    test_forget_checksums(damaged, size);
    memcpy(damaged + at, with, length);
    assert_status(p->context, neumeta_manifold_load_memory(p->context, damaged, size, &manifold),
                  NEUMETA_ERR_FORMAT);
    ck_assert_ptr_null(manifold);
    assert_message_contains(p->context, message);
    free(damaged);
}

START_TEST(damaged_fronts_are_refused)
{
    static const struct {
        const char *tensor;
        double value;
        const char *message;
    } numbers[] = {
        {"\"front.scores\"", 1.5, "score is 1.5"},
        {"\"front.scores\"", -0.5, "score is -0.5"},
        {"\"front.scores\"", (double)NAN, "entry 0 of the front"},
        {"\"front.latencies\"", (double)INFINITY, "latency is inf"},
        {"\"front.latencies\"", 0, "latency is 0"},
        {"\"front.latencies\"", (double)NAN, "entry 0 of the front"},
    };
    static const struct {
        const char *what, *with, *message;
    } names[] = {
        {"\"front.scores\"", "\"front.stores\"", "front.scores"},
        {"\"front.sizes\"", "\"front.sizez\"", "tensor 'front.sizes' has 0 entries, a front has 1"},
        {"\"neumeta.front\"", "\"neumeta.fronts", ""},
        {"\"neumeta.front.items\"", "\"neumeta.front.itens\"", "neumeta.front.items"},
    };
    test_problem p;
    int64_t size = 0;
    start(&p, 1, HELD_OUT);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    unsigned char *bytes = save(&p, &size);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        refuse_damage(&p, bytes, size, find_data(bytes, size, numbers[i].tensor), &numbers[i].value,
                      sizeof numbers[i].value, numbers[i].message);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refuse_damage(&p, bytes, size, find(bytes, size, names[i].what), names[i].with,
                      strlen(names[i].what), names[i].message);
    static const char kernels[] = "\"neumeta.front\":\"", items[] = "\"neumeta.front.items\":\"";
    refuse_damage(&p, bytes, size, find(bytes, size, kernels) + (int64_t)sizeof kernels - 1, "A", 1,
                  "metadata 'neumeta.front' is no name of kernels");
    refuse_damage(&p, bytes, size, find(bytes, size, items) + (int64_t)sizeof items - 1, "-", 1,
                  "must be at least 1");
    const int64_t sizes = find_data(bytes, size, "\"front.sizes\""), wide = 1 << 30, none = -1;
    refuse_damage(&p, bytes, size, sizes, &wide, sizeof wide, "entry 0 of the front");
    refuse_damage(&p, bytes, size, sizes, &none, sizeof none, "entry 0 of the front");
    /* The last entry's sizes in the first place: out of order. */
    const int32_t last = neumeta_manifold_front_count(p.manifold) - 1;
    const int64_t row = 8 * neumeta_topology_axis_count(p.topology);
    refuse_damage(&p, bytes, size, sizes, bytes + sizes + last * row, (size_t)row,
                  "fewer multiply-adds");
    free(bytes);
    problem_free(&p);
}
END_TEST

START_TEST(training_makes_the_front_invalid)
{
    test_problem p;
    neumeta_trainer *trainer = NULL;
    start(&p, 1, HELD_OUT);
    neumeta_schedule *schedule = problem_schedule(&p, 0, -1, PAIRS("epochs", "1", "batch", "16"));
    assert_ok(p.context,
              neumeta_trainer_create(p.manifold, NULL, schedule, p.dataset, NULL, &trainer));
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    ck_assert_int_gt(neumeta_manifold_front_count(p.manifold), 0);
    assert_ok(p.context, neumeta_trainer_step(trainer));
    ck_assert_int_eq(neumeta_manifold_front_count(p.manifold), 0);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    assert_ok(p.context, neumeta_trainer_step(trainer));
    ck_assert_int_eq(neumeta_manifold_front_count(p.manifold), 0);
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    problem_free(&p);
}
END_TEST

/* Stops when the share done is above *user. */
static int32_t stop_late(void *user, double done)
{
    ck_assert(done > 0 && done <= 1);
    return done > *(double *)user;
}

START_TEST(a_search_that_fails_or_stops_leaves_the_old_front)
{
    test_problem p;
    double limits[] = {0.0, 0.3, 0.6};
    entry entries[ENTRIES], kept[ENTRIES];
    start(&p, 1, HELD_OUT);
    assert_status(p.context, problem_search(&p, PAIRS(QUICK), stop_late, &limits[1]),
                  NEUMETA_CANCELLED);
    ck_assert_int_eq(neumeta_manifold_front_count(p.manifold), 0);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    const int32_t count = read_front(&p, entries);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        assert_status(p.context,
                      problem_search(&p, PAIRS(QUICK, "seed", "8"), stop_late, &limits[i]),
                      NEUMETA_CANCELLED);
    p.fail_at = p.fetches + 5;
    assert_status(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL), NEUMETA_ERR_CALLBACK);
    ck_assert_int_eq(read_front(&p, kept), count);
    ck_assert_mem_eq(entries, kept, (size_t)count * sizeof *entries);
    problem_free(&p);
}
END_TEST

/* Adds a node with up to three settings of whole numbers, given as name and value. */
static int32_t add_node(const test_problem *p, const char *name, int32_t op, const int32_t *inputs,
                        int32_t count, int32_t axis, const char *const *pairs)
{
    int32_t node = -1;
    neumeta_options *options = problem_options(p->context, pairs);
    assert_ok(p->context, neumeta_topology_add_node(p->topology, name, op, inputs, count, axis,
                                                    options, &node));
    neumeta_options_free(options);
    return node;
}

static int32_t add_width(const test_problem *p, const char *name, int64_t min, int64_t max)
{
    int32_t axis = -1;
    assert_ok(p->context,
              neumeta_topology_add_axis(p->topology, name, NEUMETA_AXIS_WIDTH, min, max, 1, &axis));
    return axis;
}

/* Two convolutions of different axes, summed, in place of the problem's network. */
static void make_joined(test_problem *p, int32_t axes[2])
{
    neumeta_topology_free(p->topology);
    assert_ok(p->context, neumeta_topology_create(p->context, &p->topology));
    axes[0] = add_width(p, "a", 4, 8);
    axes[1] = add_width(p, "b", 4, 8);
    const int32_t classes = add_width(p, "classes", PROBLEM_CLASSES, PROBLEM_CLASSES);
    const int32_t x =
        add_node(p, "input", NEUMETA_OP_INPUT, NULL, 0, -1,
                 PAIRS("input-channels", "1", "input-height", "8", "input-width", "8"));
    assert_ok(p->context, neumeta_topology_begin_block(p->topology, "body"));
    const int32_t both[] = {
        add_node(p, "one", NEUMETA_OP_CONV, &x, 1, axes[0], PAIRS("kernel", "3", "padding", "1")),
        add_node(p, "two", NEUMETA_OP_CONV, &x, 1, axes[1], PAIRS("kernel", "3", "padding", "1"))};
    int32_t n = add_node(p, "sum", NEUMETA_OP_ADD, both, 2, -1, PAIRS(NULL));
    n = add_node(p, "pool", NEUMETA_OP_POOL_GLOBAL, &n, 1, -1, PAIRS(NULL));
    n = add_node(p, "fc", NEUMETA_OP_LINEAR, &n, 1, classes, PAIRS(NULL));
    assert_ok(p->context, neumeta_topology_seal(p->topology, n));
}

/* Axes of nodes that are summed must have equal sizes; a search passes over those that have not. */
START_TEST(sizes_that_make_no_network_are_passed_over)
{
    test_problem p;
    int64_t sizes[3];
    int32_t axes[2];
    problem_create(&p, 1, 0, HELD_OUT);
    make_joined(&p, axes);
    problem_grids(&p, PAIRS(NULL));
    assert_ok(p.context, problem_search(&p,
                                        PAIRS("search-evaluations", "20", "search-items", "8",
                                              "width-multiple", "1", "stream-gamma-max", "0.5"),
                                        NULL, NULL));
    ck_assert_str_eq(neumeta_context_message(p.context), "");
    ck_assert_int_gt(neumeta_manifold_front_count(p.manifold), 0);
    for (int32_t i = 0; i < neumeta_manifold_front_count(p.manifold); i++) {
        assert_ok(p.context, neumeta_manifold_front_entry(p.manifold, i, sizes, 3, NULL, NULL, NULL,
                                                          NULL, NULL));
        ck_assert_int_eq(sizes[axes[0]], sizes[axes[1]]);
    }
    problem_free(&p);
}
END_TEST

START_TEST(wrong_arguments_are_named)
{
    test_problem p, bare;
    int64_t sizes[AXES];
    start(&p, 1, HELD_OUT);
    problem_create(&bare, 1, 0, 0);
    problem_manifold(&bare, 8);
    assert_status(bare.context, problem_search(&bare, PAIRS(NULL), NULL, NULL), NEUMETA_ERR_STATE);
    assert_message_contains(bare.context, "HELD_OUT");
    assert_status(p.context, problem_search(&p, PAIRS("size-axes", "99"), NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "axis 99");
    assert_status(p.context, neumeta_manifold_search(p.manifold, bare.dataset, NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_manifold_search(NULL, p.dataset, NULL, NULL, NULL),
                     NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_manifold_front_count(NULL), -1);
    assert_status(p.context, neumeta_manifold_front_origin(p.manifold, NULL, NULL),
                  NEUMETA_ERR_STATE);
    assert_message_contains(p.context, "search one");
    assert_status(
        p.context,
        neumeta_manifold_front_entry(p.manifold, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL),
        NEUMETA_ERR_STATE);
    assert_ok(p.context, problem_search(&p, PAIRS(QUICK), NULL, NULL));
    assert_status(
        p.context,
        neumeta_manifold_front_entry(p.manifold, ENTRIES, NULL, 0, NULL, NULL, NULL, NULL, NULL),
        NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "entry is 64");
    assert_status(
        p.context,
        neumeta_manifold_front_entry(p.manifold, 0, sizes, 3, NULL, NULL, NULL, NULL, NULL),
        NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "count is 3");
    assert_status(p.context, neumeta_manifold_fit_budget(p.manifold, NULL, sizes, 3, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(p.context, neumeta_manifold_fit_budget(p.manifold, NULL, NULL, 3, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "sizes is NULL");
    problem_free(&p);
    problem_free(&bare);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("budgets");
    TCase *cases = tcase_create("budgets");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(cases, "sequential");
    tcase_add_loop_test(cases, entries_are_what_their_networks_are, 0, 2);
    tcase_add_test(cases, no_entry_is_beaten_in_everything);
    tcase_add_test(cases, budgets_are_kept_exactly);
    tcase_add_test(cases, without_a_front_the_uniform_sizes_fit);
    tcase_add_test(cases, scores_wanted_are_reached_by_the_cheapest_entry);
    tcase_add_test(cases, latencies_are_measured_here);
    tcase_add_test(cases, a_file_keeps_the_front);
    tcase_add_test(cases, damaged_fronts_are_refused);
    tcase_add_test(cases, training_makes_the_front_invalid);
    tcase_add_test(cases, a_search_that_fails_or_stops_leaves_the_old_front);
    tcase_add_test(cases, sizes_that_make_no_network_are_passed_over);
    tcase_add_test(cases, wrong_arguments_are_named);
    tcase_add_test(threads, seeds_and_not_threads_decide_what_is_found);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
