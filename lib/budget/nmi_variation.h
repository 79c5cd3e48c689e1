/* SPDX-License-Identifier: MIT */
/*
 * The sizes that a search may try, as rungs of a ladder for each axis, and new sizes out of those
 * that did well.
 */
#ifndef NMI_VARIATION_H
#define NMI_VARIATION_H

#include "nmi_random.h"
#include "nmi_range.h"
#include "nmi_trials.h"

/* What an axis may be, rising; one size where it does not move. */
typedef struct nmi_ladder {
    int64_t *sizes;
    int32_t count;
} nmi_ladder;

typedef struct nmi_variation {
    const nmi_topology *topology;
    nmi_size_range range;
    nmi_ladder *ladders; /* [axis_count] */
    int32_t *moving;     /* axes with more than one rung */
    int32_t moving_count;
    int64_t *sizes; /* [axis_count] room */
    bool *present;  /* [axis_count] room */
} nmi_variation;

/* Parts, 0 to 1, of the largest compressions. */
typedef struct nmi_shares {
    double inner, streams, depths;
} nmi_shares;

/* Rungs between the smallest sizes of the range and the maximum, both included: of a width
 * the multiples of `multiple`, of a depth all. Axes not in `moves` ([axis_count]) stay full. */
neumeta_status nmi_variation_create(const nmi_topology *topology, const bool *moves,
                                    const nmi_size_range *range, int64_t multiple,
                                    nmi_variation *out);
void nmi_variation_free(nmi_variation *variation);

void nmi_variation_sizes(const nmi_variation *variation, const int32_t *rungs, int64_t *sizes);
/* Widths of what is not there at the present depths go to the top, so that equal networks have
 * equal rungs. */
void nmi_variation_settle(const nmi_variation *variation, int32_t *rungs);
/* The rungs nearest to the sizes at these shares. */
void nmi_variation_uniform(const nmi_variation *variation, const nmi_shares *shares,
                           int32_t *rungs);
/* A trial that stays, each with equal probability; there must be one. */
int32_t nmi_variation_parent(const nmi_trials *trials, nmi_random *random);
/* Neighbours of that trial and crosses with another one that stays, settled. */
void nmi_variation_propose(const nmi_variation *variation, const nmi_trials *trials, int32_t parent,
                           nmi_random *random, int32_t *rungs);

#endif
