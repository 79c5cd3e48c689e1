/* SPDX-License-Identifier: MIT */
/*
 * Sizes that a search has tried, with what they cost and how they scored. A trial is beaten in a
 * cost by another one that costs no more and scores no less, the earlier one if they are equal. It
 * stays as long as it is unbeaten in one of the costs, so that each cost keeps its own best
 * answers.
 */
#ifndef NMI_TRIALS_H
#define NMI_TRIALS_H

#include "nmi_front.h"

/* Besides those of fronts the latency, or a guess at it. */
enum { NMI_TRIAL_LATENCY = NMI_COSTS, NMI_TRIAL_COSTS };

typedef struct nmi_trials {
    nmi_context *context;
    int32_t axes, capacity, count;
    int32_t *rungs;  /* [capacity][axes]: places on the ladders, see nmi_variation.h */
    double *costs;   /* [capacity][NMI_TRIAL_COSTS] */
    double *scores;  /* [capacity] */
    uint8_t *beaten; /* [capacity]: bit c for cost c */
} nmi_trials;

neumeta_status nmi_trials_create(nmi_context *context, int32_t axes, int32_t capacity,
                                 nmi_trials *out);
void nmi_trials_free(nmi_trials *trials);

const int32_t *nmi_trials_rungs(const nmi_trials *trials, int32_t trial);
bool nmi_trials_has(const nmi_trials *trials, const int32_t *rungs);
const double *nmi_trials_costs(const nmi_trials *trials, int32_t trial);
/* There must be room. */
void nmi_trials_add(nmi_trials *trials, const int32_t *rungs, const double costs[NMI_TRIAL_COSTS],
                    double score);
bool nmi_trials_stays(const nmi_trials *trials, int32_t trial);

/*
 * Writes those that stay to `list` ([capacity]) by rising multiply-adds and returns how many.
 * Beyond `most` it leaves out, one after another, the one that would be missed least. In one cost,
 * an entry would be missed for
 *
 *     (its score - best score of a cheaper one) * ln(cost of the next one as good / its cost),
 *
 * the area between two staircases; what counts is the largest of these in the first `costs` costs.
 */
int32_t nmi_trials_list(const nmi_trials *trials, int32_t most, int32_t costs, int32_t *list);

#endif
