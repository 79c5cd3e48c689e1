/* SPDX-License-Identifier: MIT */
/*
 * Shortest Hamiltonian paths: in which order to put `count` items on as many slots.
 *
 * The cost of an order is the sum over slots k of step[k][order[k - 1]][order[k]] and
 * place[k][order[k]]. With one matrix for all steps and no places that is the length of a path;
 * missing steps cut the path, places tie it to what stands beside it. All costs must be finite.
 */
#ifndef NMI_PATH_H
#define NMI_PATH_H

#include "nmi_context.h"

enum { NMI_PATH_EXACT_AUTO = 13, NMI_PATH_EXACT_MAX = 16 };

typedef struct nmi_path {
    int64_t count;             /* items, at least 1 */
    const float *const *step;  /* [count] symmetric [count][count]; NULL: none; step[0] is unused */
    const float *const *place; /* [count] [count]; NULL: none */
} nmi_path;

double nmi_path_cost(const nmi_path *path, const int64_t *order);

/* The best order, by a dynamic programme over subsets; count <= NMI_PATH_EXACT_MAX.
 * Time O(2^count count^2), memory O(2^count count). */
neumeta_status nmi_path_exact(nmi_context *context, const nmi_path *path, int64_t *order);

/*
 * Improves `order` (a permutation; never made worse): nearest neighbour from several starts, then
 * reversals (2-opt) and moves of up to three items (Or-opt) until none helps, then kicks: random
 * exchanges of neighbouring runs, repaired in the same way and kept only if it pays.
 * The number of kicks follows from count alone, so a key always leads to the same order;
 * `seconds` of wall time only cut short what would take too long, and then the order also depends
 * on the machine's speed.
 */
neumeta_status nmi_path_local(nmi_context *context, const nmi_path *path, uint64_t key,
                              double seconds, int64_t *order);

#endif
