/* SPDX-License-Identifier: MIT */
/* Which of the sizes that were tried are worth keeping. */
#include "nmi_trials.h"

#include <math.h>
#include <string.h>

neumeta_status nmi_trials_create(nmi_context *context, int32_t axes, int32_t capacity,
                                 nmi_trials *out)
{
    *out = (nmi_trials){.context = context, .axes = axes, .capacity = capacity};
    out->rungs = nmi_alloc_matrix(context, capacity, axes, sizeof *out->rungs);
    out->costs = nmi_alloc_matrix(context, capacity, NMI_TRIAL_COSTS, sizeof *out->costs);
    out->scores = nmi_alloc_array(context, capacity, sizeof *out->scores);
    out->beaten = nmi_alloc_array(context, capacity, sizeof *out->beaten);
    return out->rungs != NULL && out->costs != NULL && out->scores != NULL && out->beaten != NULL
               ? NEUMETA_OK
               : NEUMETA_ERR_MEMORY;
}

void nmi_trials_free(nmi_trials *trials)
{
    nmi_free(trials->context, trials->rungs);
    nmi_free(trials->context, trials->costs);
    nmi_free(trials->context, trials->scores);
    nmi_free(trials->context, trials->beaten);
}

const int32_t *nmi_trials_rungs(const nmi_trials *trials, int32_t trial)
{
    return trials->rungs + (int64_t)trial * trials->axes;
}

const double *nmi_trials_costs(const nmi_trials *trials, int32_t trial)
{
    return trials->costs + (int64_t)trial * NMI_TRIAL_COSTS;
}

bool nmi_trials_has(const nmi_trials *trials, const int32_t *rungs)
{
    for (int32_t i = 0; i < trials->count; i++)
        if (memcmp(nmi_trials_rungs(trials, i), rungs, (size_t)trials->axes * sizeof *rungs) == 0)
            return true;
    return false;
}

/* Marks the costs in which `trial` is beaten by `other`. */
static void compare(nmi_trials *trials, int32_t trial, int32_t other)
{
    const double *mine = nmi_trials_costs(trials, trial);
    const double *theirs = nmi_trials_costs(trials, other);
    for (int32_t c = 0; c < NMI_TRIAL_COSTS; c++) {
        const bool as_good = theirs[c] <= mine[c] && trials->scores[other] >= trials->scores[trial];
        const bool better = theirs[c] < mine[c] || trials->scores[other] > trials->scores[trial];
        if (as_good && (better || other < trial))
            trials->beaten[trial] |= (uint8_t)(1 << c);
    }
}

void nmi_trials_add(nmi_trials *trials, const int32_t *rungs, const double costs[NMI_TRIAL_COSTS],
                    double score)
{
    const int32_t trial = trials->count++;
    memcpy(trials->rungs + (int64_t)trial * trials->axes, rungs,
           (size_t)trials->axes * sizeof *rungs);
    memcpy(trials->costs + (int64_t)trial * NMI_TRIAL_COSTS, costs,
           NMI_TRIAL_COSTS * sizeof *costs);
    trials->scores[trial] = score;
    trials->beaten[trial] = 0;
    for (int32_t i = 0; i < trial; i++) {
        compare(trials, trial, i);
        compare(trials, i, trial);
    }
}

bool nmi_trials_stays(const nmi_trials *trials, int32_t trial)
{
    return trials->beaten[trial] != (1 << NMI_TRIAL_COSTS) - 1;
}

/* What would be missed in one cost without the entry at `place`. */
static double loss_in_cost(const nmi_trials *trials, const int32_t *list, int32_t count,
                           int32_t place, int32_t cost)
{
    const int32_t trial = list[place];
    const double mine = nmi_trials_costs(trials, trial)[cost], score = trials->scores[trial];
    double best = 0, next = (double)INFINITY;
    for (int32_t i = 0; i < count; i++) {
        const double theirs = nmi_trials_costs(trials, list[i])[cost];
        const double other = trials->scores[list[i]];
        if (i != place && theirs <= mine && other > best)
            best = other;
        if (i != place && other >= score && theirs < next)
            next = theirs;
    }
    if (best >= score)
        return 0;
    return (score - best) * (isinf(next) ? 1 : log((next + 1) / (mine + 1)));
}

static int32_t least_missed(const nmi_trials *trials, const int32_t *list, int32_t count,
                            int32_t costs)
{
    int32_t place = 0;
    double least = (double)INFINITY;
    for (int32_t i = 0; i < count; i++) {
        double loss = 0;
        for (int32_t c = 0; c < costs; c++)
            loss = fmax(loss, loss_in_cost(trials, list, count, i, c));
        if (loss < least) {
            least = loss;
            place = i;
        }
    }
    return place;
}

static double multiply_adds(const nmi_trials *trials, int32_t trial)
{
    return nmi_trials_costs(trials, trial)[NMI_COST_MULTIPLY_ADDS];
}

int32_t nmi_trials_list(const nmi_trials *trials, int32_t most, int32_t costs, int32_t *list)
{
    int32_t count = 0;
    for (int32_t i = 0; i < trials->count; i++) {
        int32_t place = count;
        if (!nmi_trials_stays(trials, i))
            continue;
        for (; place > 0 && multiply_adds(trials, list[place - 1]) > multiply_adds(trials, i);
             place--)
            list[place] = list[place - 1];
        list[place] = i;
        count++;
    }
    while (count > most) {
        const int32_t place = least_missed(trials, list, count, costs);
        memmove(list + place, list + place + 1, (size_t)(count - place - 1) * sizeof *list);
        count--;
    }
    return count;
}
