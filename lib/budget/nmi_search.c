/* SPDX-License-Identifier: MIT */
/*
 * An evolutionary search over sizes that need not be uniform: uniform compressions first, then
 * neighbours and crosses of whatever is not beaten, of many the one that promises most. Sizes are
 * tried on some held-out items; those that are left in the end on all of them, since the best of
 * many short measurements owe a part of their scores to luck.
 */
#include "nmi_search.h"

#include "nmi_kernels.h"
#include "nmi_latency.h"
#include "nmi_surrogate.h"
#include "nmi_trained_range.h"

#include <stdio.h>
#include <string.h>

enum {
    GAMMAS = 9,     /* uniform compressions that the search begins with */
    CUTS = 4,       /* shares of the largest depth cut, and of streams, with every */
    EVERY = 4,      /* so-manieth of those compressions */
    FINALISTS = 2,  /* for each entry of the front */
    PROPOSALS = 64, /* for one trial */
    GIVE_UP = 64    /* trials without a new proposal, after which none is expected */
};

typedef struct search {
    nmi_manifold *manifold;
    nmi_dataset *dataset;
    int32_t evaluations, entries;
    int64_t items, all; /* held-out items of a trial, and of a finalist */
    int64_t test;       /* test items of the front's scores; 0: they are the finalists' */
    int64_t multiple;
    nmi_size_range range;
    uint64_t seed;
    nmi_watch watch;
    void *user;
    double done, total; /* items */
    nmi_variation variation;
    nmi_surrogate surrogate;
    nmi_trials trials, finalists;
    double *promises; /* [evaluations] scores of the trials as the surrogate has them */
    int32_t *rungs, *best, *list;
    int64_t *sizes;
} search;

static neumeta_status read_options(search *s, const nmi_options *options)
{
    static const int32_t keys[] = {
        NEUMETA_KEY_SEARCH_EVALUATIONS, NEUMETA_KEY_SEARCH_ITEMS, NEUMETA_KEY_WIDTH_MULTIPLE,
        NEUMETA_KEY_FRONT_ENTRIES,      NEUMETA_KEY_GAMMA_MAX,    NEUMETA_KEY_DEPTH_GAMMA_MAX,
        NEUMETA_KEY_SIZE_AXES,          NEUMETA_KEY_FRONT_SCORES, NEUMETA_KEY_SEED,
        NEUMETA_KEY_STREAM_GAMMA_MAX};
    nmi_context *context = s->manifold->object.context;
    s->evaluations = (int32_t)nmi_options_int(options, NEUMETA_KEY_SEARCH_EVALUATIONS);
    s->entries = (int32_t)nmi_options_int(options, NEUMETA_KEY_FRONT_ENTRIES);
    s->all = nmi_dataset_count(s->dataset, NEUMETA_SPLIT_HELD_OUT);
    const bool tested = nmi_options_choice(options, NEUMETA_KEY_FRONT_SCORES) == 1;
    s->test = tested ? nmi_dataset_count(s->dataset, NEUMETA_SPLIT_TEST) : 0;
    s->items = nmi_options_int(options, NEUMETA_KEY_SEARCH_ITEMS);
    s->items = s->items < s->all ? s->items : s->all;
    s->multiple = nmi_options_int(options, NEUMETA_KEY_WIDTH_MULTIPLE);
    s->range = nmi_trained_size_range(s->manifold, options);
    s->seed = nmi_options_seed(options, context);
    neumeta_status status = nmi_options_allow(context, options, "manifold search", keys,
                                              (int32_t)(sizeof keys / sizeof *keys));
    if (status == NEUMETA_OK && s->all == 0)
        status = nmi_fail(context, NEUMETA_ERR_STATE,
                          "the dataset has no held-out items (HELD_OUT), and a search judges sizes "
                          "by items that training has not seen");
    if (status == NEUMETA_OK && tested && s->test == 0)
        status = nmi_fail(context, NEUMETA_ERR_STATE,
                          "FRONT_SCORES is 'test', and the dataset has no test items");
    s->total = (double)s->evaluations * (double)s->items;
    if (s->items < s->all)
        s->total += FINALISTS * (double)s->entries * (double)s->all;
    s->total += (double)s->entries * (double)s->test;
    return status;
}

/* --- trials ----------------------------------------------------------------------------------- */

/* Accuracy of the network at s->sizes on the first `items` of a split. */
static neumeta_status judge(search *s, int32_t split, int64_t items, double *score)
{
    nmi_network *network = NULL;
    neumeta_status status = nmi_manifold_materialize(s->manifold, s->sizes, NULL, &network);
    if (status == NEUMETA_OK)
        status = nmi_network_evaluate_some(network, s->dataset, split, items, NULL, score);
    nmi_network_release(network);
    s->done += (double)items;
    if (status == NEUMETA_OK && s->watch != NULL && s->watch(s->user, s->done / s->total))
        status = NEUMETA_CANCELLED;
    return status;
}

static bool is_over(const search *s)
{
    return s->trials.count == s->evaluations;
}

/* Of the network at s->sizes, its latency guessed. */
static neumeta_status find_costs(const search *s, double costs[NMI_TRIAL_COSTS])
{
    int64_t exact[NMI_COSTS];
    neumeta_status status = nmi_front_measure(s->manifold->topology, s->sizes, exact);
    for (int32_t c = 0; c < NMI_COSTS && status == NEUMETA_OK; c++)
        costs[c] = (double)exact[c];
    return status == NEUMETA_OK
               ? nmi_latency_guess(s->manifold->topology, s->sizes, &costs[NMI_TRIAL_LATENCY])
               : status;
}

/* Tries s->rungs unless they were tried before, or make no network. */
static neumeta_status try_rungs(search *s)
{
    double costs[NMI_TRIAL_COSTS], score = 0;
    if (is_over(s) || nmi_trials_has(&s->trials, s->rungs))
        return NEUMETA_OK;
    nmi_variation_sizes(&s->variation, s->rungs, s->sizes);
    neumeta_status status = find_costs(s, costs);
    if (status == NEUMETA_ERR_SHAPE) /* of axes that must be equal */
        return NEUMETA_OK;
    if (status == NEUMETA_OK)
        status = judge(s, NEUMETA_SPLIT_HELD_OUT, s->items, &score);
    if (status == NEUMETA_OK) {
        nmi_trials_add(&s->trials, s->rungs, costs, score);
        nmi_surrogate_add(&s->surrogate, s->rungs, score);
    }
    return status;
}

/* Every `step`-th uniform compression of inner widths, at the shares of streams and depths. */
static neumeta_status try_gammas(search *s, int32_t step, nmi_shares shares)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t g = 0; g < GAMMAS && status == NEUMETA_OK; g += step) {
        shares.inner = (double)g / (GAMMAS - 1);
        nmi_variation_uniform(&s->variation, &shares, s->rungs);
        status = try_rungs(s);
    }
    return status;
}

static neumeta_status try_uniform(search *s)
{
    neumeta_status status = try_gammas(s, 1, (nmi_shares){0});
    for (int32_t i = 1; i <= CUTS && status == NEUMETA_OK; i++)
        status = try_gammas(s, EVERY, (nmi_shares){.depths = (double)i / CUTS});
    for (int32_t i = 1; i <= CUTS && status == NEUMETA_OK; i++)
        status = try_gammas(s, EVERY, (nmi_shares){.streams = (double)i / CUTS});
    return status;
}

/* How much more s->rungs promise than any trial that costs no more. */
static neumeta_status find_gain(search *s, int32_t cost, double *gain)
{
    double costs[NMI_TRIAL_COSTS], best = 0;
    nmi_variation_sizes(&s->variation, s->rungs, s->sizes);
    neumeta_status status = find_costs(s, costs);
    for (int32_t i = 0; i < s->trials.count && status == NEUMETA_OK; i++)
        if (nmi_trials_costs(&s->trials, i)[cost] <= costs[cost] && s->promises[i] > best)
            best = s->promises[i];
    *gain = nmi_surrogate_predict(&s->surrogate, s->rungs) - best;
    return status;
}

/* Leaves the most promising one of many new proposals in s->rungs, each cost's turn to decide. */
static neumeta_status propose(search *s, nmi_random *random, bool *found)
{
    const int32_t parent = nmi_variation_parent(&s->trials, random);
    const int32_t cost = s->trials.count % NMI_TRIAL_COSTS;
    const size_t row = (size_t)s->trials.axes * sizeof *s->rungs;
    neumeta_status status = NEUMETA_OK;
    double most = 0;
    nmi_surrogate_fit(&s->surrogate);
    for (int32_t i = 0; i < s->trials.count; i++)
        s->promises[i] = nmi_surrogate_predict(&s->surrogate, nmi_trials_rungs(&s->trials, i));
    *found = false;
    for (int32_t i = 0; i < PROPOSALS && status == NEUMETA_OK; i++) {
        double gain = 0;
        nmi_variation_propose(&s->variation, &s->trials, parent, random, s->rungs);
        if (nmi_trials_has(&s->trials, s->rungs))
            continue;
        status = find_gain(s, cost, &gain);
        if (status == NEUMETA_ERR_SHAPE) {
            status = NEUMETA_OK;
            continue;
        }
        if (status == NEUMETA_OK && (!*found || gain > most)) {
            memcpy(s->best, s->rungs, row);
            most = gain;
            *found = true;
        }
    }
    if (*found)
        memcpy(s->rungs, s->best, row);
    return status;
}

static neumeta_status try_variations(search *s)
{
    nmi_random random = nmi_random_start(nmi_random_key(s->seed, NMI_RANDOM_SEARCH, 0));
    neumeta_status status = NEUMETA_OK;
    int32_t failures = 0;
    while (!is_over(s) && s->variation.moving_count > 0 && failures < GIVE_UP &&
           status == NEUMETA_OK) {
        bool found = false;
        status = propose(s, &random, &found);
        if (status == NEUMETA_OK && found)
            status = try_rungs(s);
        failures = found ? 0 : failures + 1;
    }
    return status;
}

/* --- the front -------------------------------------------------------------------------------- */

/* Judges one that is left by all held-out items and measures its latency. */
static neumeta_status judge_finalist(search *s, nmi_latency *latency, int32_t trial)
{
    const int32_t *rungs = nmi_trials_rungs(&s->trials, trial);
    double costs[NMI_TRIAL_COSTS], score = s->trials.scores[trial];
    memcpy(costs, nmi_trials_costs(&s->trials, trial), sizeof costs);
    nmi_variation_sizes(&s->variation, rungs, s->sizes);
    neumeta_status status = nmi_latency_measure(latency, s->sizes, &costs[NMI_TRIAL_LATENCY]);
    if (status == NEUMETA_OK && s->items < s->all)
        status = judge(s, NEUMETA_SPLIT_HELD_OUT, s->all, &score);
    if (status == NEUMETA_OK)
        nmi_trials_add(&s->finalists, rungs, costs, score);
    return status;
}

static neumeta_status judge_finalists(search *s)
{
    const int32_t count =
        nmi_trials_list(&s->trials, FINALISTS * s->entries, NMI_TRIAL_COSTS, s->list);
    nmi_latency *latency = NULL;
    /* Now that it is known how many there are. */
    s->total = s->done + (s->items < s->all ? (double)count * (double)s->all : 0) +
               (double)(count < s->entries ? count : s->entries) * (double)s->test;
    neumeta_status status =
        nmi_trials_create(s->trials.context, s->trials.axes, count, &s->finalists);
    if (status == NEUMETA_OK)
        status = nmi_latency_create(s->manifold->topology, &latency);
    for (int32_t i = 0; i < count && status == NEUMETA_OK; i++)
        status = judge_finalist(s, latency, s->list[i]);
    nmi_latency_free(latency);
    return status;
}

static neumeta_status keep_front(search *s)
{
    const nmi_trials *from = &s->finalists;
    const int32_t count = nmi_trials_list(from, s->entries, NMI_COSTS, s->list);
    nmi_front *front = NULL;
    neumeta_status status = nmi_front_create(s->manifold->topology, count, &front);
    for (int32_t i = 0; i < count && status == NEUMETA_OK; i++) {
        const int32_t trial = s->list[i];
        int64_t *sizes = front->sizes + (int64_t)i * from->axes;
        nmi_variation_sizes(&s->variation, nmi_trials_rungs(from, trial), sizes);
        memcpy(s->sizes, sizes, (size_t)from->axes * sizeof *sizes);
        front->scores[i] = from->scores[trial];
        if (s->test > 0)
            status = judge(s, NEUMETA_SPLIT_TEST, s->test, &front->scores[i]);
        front->latencies[i] = nmi_trials_costs(from, trial)[NMI_TRIAL_LATENCY];
        if (status == NEUMETA_OK)
            status =
                nmi_front_measure(front->topology, sizes, front->costs + (int64_t)i * NMI_COSTS);
    }
    if (status != NEUMETA_OK) {
        nmi_front_free(front);
        return status;
    }
    front->items = s->test > 0 ? s->test : s->all;
    snprintf(front->kernels, sizeof front->kernels, "%s", front->context->kernels->name);
    nmi_manifold_forget_front(s->manifold);
    s->manifold->front = front;
    return NEUMETA_OK;
}

/* --- all together ----------------------------------------------------------------------------- */

static neumeta_status take_parts(search *s, const nmi_options *options)
{
    const nmi_topology *topology = s->manifold->topology;
    nmi_context *context = topology->object.context;
    bool *moves = nmi_alloc_zero_array(context, topology->axis_count, sizeof *moves);
    s->rungs = nmi_alloc_array(context, topology->axis_count, sizeof *s->rungs);
    s->best = nmi_alloc_array(context, topology->axis_count, sizeof *s->best);
    s->list = nmi_alloc_array(context, s->evaluations, sizeof *s->list);
    s->promises = nmi_alloc_array(context, s->evaluations, sizeof *s->promises);
    s->sizes = nmi_alloc_array(context, topology->axis_count, sizeof *s->sizes);
    neumeta_status status = moves != NULL && s->rungs != NULL && s->best != NULL &&
                                    s->list != NULL && s->promises != NULL && s->sizes != NULL
                                ? nmi_manifold_mark_axes(s->manifold, options, &s->range, moves)
                                : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = nmi_variation_create(topology, moves, &s->range, s->multiple, &s->variation);
    if (status == NEUMETA_OK)
        status = nmi_surrogate_create(&s->variation, &s->surrogate);
    if (status == NEUMETA_OK)
        status = nmi_trials_create(context, topology->axis_count, s->evaluations, &s->trials);
    nmi_free(context, moves);
    return status;
}

static void give_parts(search *s)
{
    nmi_context *context = s->manifold->object.context;
    nmi_surrogate_free(&s->surrogate);
    nmi_variation_free(&s->variation);
    nmi_trials_free(&s->trials);
    nmi_trials_free(&s->finalists);
    nmi_free(context, s->rungs);
    nmi_free(context, s->best);
    nmi_free(context, s->list);
    nmi_free(context, s->promises);
    nmi_free(context, s->sizes);
}

neumeta_status nmi_search(nmi_manifold *manifold, nmi_dataset *dataset, const nmi_options *options,
                          nmi_watch watch, void *user)
{
    nmi_context *context = manifold->object.context;
    search s = {.manifold = manifold, .dataset = dataset, .watch = watch, .user = user};
    s.surrogate.context = s.trials.context = s.finalists.context = context;
    neumeta_status status = read_options(&s, options);
    if (status == NEUMETA_OK)
        status = take_parts(&s, options);
    if (status == NEUMETA_OK)
        status = try_uniform(&s);
    if (status == NEUMETA_OK)
        status = try_variations(&s);
    if (status == NEUMETA_OK)
        status = judge_finalists(&s);
    if (status == NEUMETA_OK)
        status = keep_front(&s);
    give_parts(&s);
    return status;
}
