/* SPDX-License-Identifier: MIT */
/*
 * Lending weights to another context. The copy gets a topology of its own there, so that nothing
 * but the weights, which nobody may change meanwhile, is reached from two threads.
 */
#include "nmi_weights.h"

#include <string.h>

/* The same topology made from another context. */
static neumeta_status copy_topology(const nmi_topology *topology, nmi_context *context,
                                    nmi_topology **out)
{
    nmi_topology *copy = NULL;
    neumeta_status status = nmi_topology_create(context, &copy);
    for (int32_t i = 0; i < topology->axis_count && status == NEUMETA_OK; i++) {
        const nmi_axis *axis = &topology->axes[i];
        int32_t number;
        status = nmi_topology_add_axis(copy, axis->name, axis->kind, axis->min, axis->max,
                                       axis->step, &number);
    }
    for (int32_t i = 0; i < topology->block_count && status == NEUMETA_OK; i++)
        status = nmi_topology_append_block(copy, topology->blocks[i]);
    for (int32_t i = 0; i < topology->node_count && status == NEUMETA_OK; i++) {
        int32_t number;
        status = nmi_topology_append_node(copy, &topology->nodes[i], &number);
    }
    if (status == NEUMETA_OK)
        status = nmi_topology_seal(copy, topology->output);
    if (status != NEUMETA_OK) {
        nmi_topology_release(copy);
        copy = NULL;
    }
    *out = copy;
    return status;
}

neumeta_status nmi_network_share(const nmi_network *network, nmi_context *context,
                                 nmi_network **out)
{
    nmi_topology *topology = network->topology;
    neumeta_status status = NEUMETA_OK;
    nmi_network *copy = NULL;
    if (context == network->object.context)
        nmi_topology_retain(topology);
    else
        status = copy_topology(network->topology, context, &topology);
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
