/* SPDX-License-Identifier: MIT */
/*
 * Residual sums: which input of an ADD is the branch, and which the shortcut past it.
 */
#ifndef NMI_RESIDUAL_H
#define NMI_RESIDUAL_H

#include "nmi_graph.h"

/*
 * branch[n] is the position among the inputs of ADD node n of its residual branch, -1 for nodes
 * that are no ADD. Of the nodes that only one input descends from, the branch has more
 * convolutions than the shortcut (none for an identity, one for a projection).
 * NEUMETA_ERR_UNSUPPORTED if there is no ADD at all, or naming one that this does not decide.
 * *out: [node_count], freed by the caller; NULL after a failure.
 */
neumeta_status nmi_residual_branches(nmi_context *context, const nmi_topology *topology,
                                     int32_t **out);

#endif
