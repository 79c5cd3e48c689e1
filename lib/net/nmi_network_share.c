/* SPDX-License-Identifier: MIT */
/*
 * Lending weights to another context. The copy gets a topology of its own there, so that nothing
 * but the weights, which nobody may change meanwhile, is reached from two threads.
 */
#include "nmi_weights.h"

#include <string.h>

neumeta_status nmi_network_share(const nmi_network *network, nmi_context *context,
                                 nmi_network **out)
{
    nmi_topology *topology = network->topology;
    neumeta_status status = NEUMETA_OK;
    nmi_network *copy = NULL;
    if (context == network->object.context)
        nmi_topology_retain(topology);
    else
        status = nmi_topology_copy(network->topology, context, &topology);
    if (status == NEUMETA_OK) {
        status = nmi_network_allocate(context, topology, network->sizes, &copy);
        nmi_topology_release(topology);
    }
    if (status == NEUMETA_OK) {
        atomic_fetch_add(&network->weights->references, 1);
        copy->weights = network->weights;
        memcpy(copy->tensors, network->tensors,
               (size_t)topology->tensor_count * sizeof *copy->tensors);
    }
    *out = copy;
    return status;
}
