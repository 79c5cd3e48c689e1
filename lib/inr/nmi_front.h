/* SPDX-License-Identifier: MIT */
/*
 * A front: sizes of a manifold's networks that were searched beforehand, with the accuracy that
 * each was measured to have and what it costs. The budget unit finds and reads fronts; the manifold
 * owns one because its file keeps it.
 */
#ifndef NMI_FRONT_H
#define NMI_FRONT_H

#include "nmi_graph.h"

/* What a network costs whatever computes it. */
enum { NMI_COST_PARAMETERS, NMI_COST_MULTIPLY_ADDS, NMI_COST_BYTES, NMI_COSTS };

enum {
    NMI_FRONT_MAX = 4096,  /* entries */
    NMI_FRONT_KERNELS = 32 /* bytes of the name of kernels */
};

typedef struct nmi_front {
    nmi_context *context; /* borrowed, like the topology, from the manifold */
    const nmi_topology *topology;
    int32_t count;     /* of entries, by rising multiply-adds */
    int64_t *sizes;    /* [count][axis_count] */
    int64_t *costs;    /* [count][NMI_COSTS] */
    double *scores;    /* [count] accuracy, 0 to 1; NaN: not measured */
    double *latencies; /* [count] microseconds for one item on one thread; NaN: not measured */
    int64_t items;     /* held-out or test items that the scores are means of */
    char kernels[NMI_FRONT_KERNELS]; /* that the latencies were measured with */
} nmi_front;

/* Room for `count` entries, still to be filled. */
neumeta_status nmi_front_create(const nmi_topology *topology, int32_t count, nmi_front **out);
void nmi_front_free(nmi_front *front); /* NULL is fine */
const int64_t *nmi_front_sizes(const nmi_front *front, int32_t entry);
const int64_t *nmi_front_costs(const nmi_front *front, int32_t entry);
/* Costs of a network of the topology at these sizes, which must have been checked. */
neumeta_status nmi_front_measure(const nmi_topology *topology, const int64_t *sizes,
                                 int64_t costs[NMI_COSTS]);

#endif
