/* SPDX-License-Identifier: MIT */
/*
 * Moves channels to where the cliques' contents say, in every tensor that counts them.
 */
#ifndef NMI_PERMUTE_H
#define NMI_PERMUTE_H

#include "nmi_clique.h"
#include "nmi_roughness.h"

/* Verifies node by node that the network computes the same with its channels moved.
 * NEUMETA_ERR_UNSUPPORTED naming the node where it does not: only shortcuts whose zero channels
 * meet real ones in several orders can lead there. */
neumeta_status nmi_permute_check(const nmi_network *network, const nmi_cliques *cliques);

/* Moves weights, biases, norms, running statistics and affine maps. Nothing has changed after a
 * failure (NEUMETA_ERR_MEMORY). */
neumeta_status nmi_permute(nmi_network *network, const nmi_cliques *cliques,
                           const nmi_channel_axis *axes, int32_t count);

#endif
