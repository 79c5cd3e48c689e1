/* SPDX-License-Identifier: MIT */
/* Storage of a network's tensors: one slab with fixed room for each tensor, counted by sharers. */
#ifndef NMI_WEIGHTS_H
#define NMI_WEIGHTS_H

#include "nmi_network.h"

typedef struct nmi_weights {
    atomic_int references;
    nmi_context *context; /* retained: the storage may outlive the network that made it */
    float *slab;
    int64_t *offset; /* [tensor_count] floats from the slab's start, multiples of 16 */
    int64_t *room;   /* [tensor_count] floats; 0 where the tensor was not live at creation */
} nmi_weights;

/* A network without weights: arrays for the topology (retained), sizes copied, tensors with their
 * shapes and NULL data. Ends with nmi_network_release(). */
neumeta_status nmi_network_allocate(nmi_context *context, nmi_topology *topology,
                                    const int64_t *sizes, nmi_network **out);
void nmi_weights_release(nmi_weights *weights); /* NULL is fine */

#endif
