/* SPDX-License-Identifier: MIT */
/*
 * Mean and variance of the inputs of norms, measured over training items.
 *
 * The items run through the network minibatch by minibatch with batch statistics, as in training
 * but without augmentation; sums over all of them are kept in double. What is measured is what a
 * network of these weights and sizes needs as running statistics.
 */
#ifndef NMI_MOMENTS_H
#define NMI_MOMENTS_H

#include "nmi_dataset.h"
#include "nmi_pass.h"

typedef struct nmi_moments nmi_moments;

/* Fetches `items` training items (all, if there are fewer), spread evenly over the split, for
 * passes of the topology with room for `batch` items. NEUMETA_ERR_SHAPE if they do not fit. */
neumeta_status nmi_moments_create(nmi_topology *topology, nmi_dataset *dataset, int64_t items,
                                  int64_t batch, nmi_moments **out);
void nmi_moments_free(nmi_moments *moments); /* NULL is fine */

/* Sets the running statistics of all norms of `network`, whose topology is that of the moments and
 * of the pass. The variance is the unbiased one. NEUMETA_ERR_NUMERIC names a norm whose input is
 * not finite. Bits do not depend on threads. */
neumeta_status nmi_moments_measure(nmi_moments *moments, nmi_pass *pass, nmi_network *network);

#endif
