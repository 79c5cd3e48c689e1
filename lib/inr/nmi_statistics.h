/* SPDX-License-Identifier: MIT */
/*
 * Running statistics of norms as functions of the sizes: what stands in for data when a manifold
 * with norms is materialised.
 *
 * For channel c of a norm, with terms phi_k of the sizes,
 *
 *     mean = sum_k phi_k(sizes) A[k, c],    ln(variance + epsilon) = sum_k phi_k(sizes) B[k, c]
 *
 * where channels are counted in the full network: those of a narrow one are not always its first
 * ones (nmi_channel_map.h). A and B are a ridge regression on statistics that were measured at
 * drawn sizes, for each channel on the sizes that have it. The terms, u being the compression of an
 * axis (0 at full size):
 *
 *     1
 *     direct widths, that is, of the inputs of the product in front of the norm: each channel more
 *         adds to the sums in its own way, so a piecewise linear function, which for the mean has
 *         many pieces
 *     own widths, of the norm's channels: u, u^2
 *     widths further in front: m, m^2, m being their mean compression; u, u^2 of the nearest two
 *     depths in front: a step at each depth
 *
 * Coefficients are numbers that 16 bits hold (F16), as far as these reach.
 */
#ifndef NMI_STATISTICS_H
#define NMI_STATISTICS_H

#include "nmi_channel_map.h"
#include "nmi_network.h"
#include "nmi_range.h"

/* What the functions yield: means, and logarithms of variances. */
enum { NMI_MEAN, NMI_LOGARITHM, NMI_TARGETS };

/* One norm of the topology. */
typedef struct nmi_norm_function {
    int32_t node, mean, variance; /* its tensors of running statistics */
    int64_t channels;             /* at full sizes */
    int64_t first;                /* of its channels among those of all norms */
    bool mapped;                  /* channels are those of the map; else by their number alone */
    int32_t *axes;                /* direct ones, own ones, then the others it depends on */
    int32_t *nodes;               /* for each of these the first node that brings it in */
    int32_t direct_count, own_count, axis_count;
    int32_t terms[NMI_TARGETS];
    float *coefficients[NMI_TARGETS]; /* [terms][channels]; NULL until nmi_statistics_allocate() */
} nmi_norm_function;

typedef struct nmi_statistics {
    nmi_context *context; /* borrowed, like the topology, from the manifold */
    const nmi_topology *topology;
    const nmi_channel_map *map; /* borrowed as well; NULL: no norm is mapped */
    bool *moves;                /* [axis_count] what the statistics may depend on */
    nmi_size_range measured;
    bool older;               /* of a file of format 1, which had more terms */
    nmi_norm_function *norms; /* in the order of the nodes */
    int32_t norm_count;
    int32_t most_terms;
    double *terms;       /* [most_terms]: room, from nmi_statistics_allocate() on */
    double *sums;        /* [channels]: the same */
    nmi_origin *origins; /* for the channels of any node: the same */
    bool *used;          /* the same */
    int64_t channels;    /* of all norms */
    float *coefficients; /* of all norms, one after the other */
    int64_t coefficient_count;
} nmi_statistics;

/* What the norms' statistics depend on if the axes in `moves` ([axis_count]) do move, widths by
 * compressions up to `measured->widths.max`. */
neumeta_status nmi_statistics_create(const nmi_topology *topology, const bool *moves,
                                     const nmi_size_range *measured, bool older,
                                     nmi_statistics **out);
/* Memory for the coefficients, zero, and for work. */
neumeta_status nmi_statistics_allocate(nmi_statistics *statistics);
void nmi_statistics_free(nmi_statistics *statistics); /* NULL is fine */

/* phi_k of a norm for a target at these sizes, [terms]. */
void nmi_statistics_terms(const nmi_statistics *statistics, int32_t norm, int target,
                          const int64_t *sizes, double *terms);
/* Which terms, [terms], go on with the term before: pieces of one function. */
void nmi_statistics_chains(const nmi_statistics *statistics, int32_t norm, int target,
                           const int64_t *sizes, bool *chained);
/* Whether they are functions of all these axes, and all sizes that may be drawn lie where some were
 * measured. */
bool nmi_statistics_cover(const nmi_statistics *statistics, const bool *moves,
                          const nmi_size_range *drawn);
/* Sets the running statistics of the network at its sizes. Does not allocate. */
void nmi_statistics_emit(const nmi_statistics *statistics, nmi_network *network);

/* Statistics measured at some sizes. Rows of `means` and `variances` have the channels of all
 * norms at full sizes, of which those that a size lacks are not read. */
typedef struct nmi_statistics_samples {
    int64_t count;
    int64_t *sizes; /* [count][axis_count] */
    bool *present;  /* [count][channels]: which of them are there */
    float *means;   /* [count][channels] */
    float *variances;
} nmi_statistics_samples;

/* Takes the running statistics of a network, whose sizes it notes, as the index-th sample. */
void nmi_statistics_take(const nmi_statistics *statistics, const nmi_network *network,
                         nmi_statistics_samples *samples, int64_t index);

/* Fits the functions to all samples but every `leave`-th (0: to all of them). */
neumeta_status nmi_statistics_fit(nmi_statistics *statistics, const nmi_statistics_samples *samples,
                                  int64_t leave);
/* How far the functions are off at every `leave`-th sample: the root mean square, over channels, of
 * the mean's error in standard deviations and of the error of the standard deviation's logarithm;
 * NaN if there is no such sample. */
double nmi_statistics_error(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                            int64_t leave);

#endif
