/* SPDX-License-Identifier: MIT */
/*
 * Where the values of inference lie in an arena. Values that are never needed at the same time
 * share places; a sum that a product finishes takes the place of its other term. Values that padded
 * convolutions read carry a border of zeros, so that nobody has to copy them into one.
 */
#ifndef NMI_LAYOUT_H
#define NMI_LAYOUT_H

#include "nmi_steps.h"

typedef struct nmi_layout {
    int64_t *offset; /* [node_count] see nmi_chunk */
    int64_t *border;
    bool *unclear;
    nmi_span *spans; /* [node_count] of the node's value; no size: it lies in another's place */
    int32_t *home;   /* [node_count] the node whose place it is */
    int64_t floats;  /* of one item */
} nmi_layout;

neumeta_status nmi_layout_create(nmi_context *context, const nmi_topology *topology,
                                 nmi_layout *out);
void nmi_layout_free(nmi_context *context, nmi_layout *layout); /* zeros are fine */
int64_t nmi_layout_bytes(const nmi_topology *topology);         /* that creation took */
/* For the network's present sizes; the steps must be resolved. Without `bordered` no value has a
 * border. */
void nmi_layout_plan(nmi_layout *layout, const nmi_network *network, const nmi_steps *steps,
                     bool bordered);

#endif
