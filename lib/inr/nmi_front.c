/* SPDX-License-Identifier: MIT */
/* The memory of fronts, and the costs that follow from sizes. */
#include "nmi_front.h"

neumeta_status nmi_front_create(const nmi_topology *topology, int32_t count, nmi_front **out)
{
    nmi_context *ctx = topology->object.context;
    nmi_front *front = nmi_alloc_zero(ctx, sizeof *front);
    *out = NULL;
    if (front == NULL)
        return NEUMETA_ERR_MEMORY;
    front->context = ctx;
    front->topology = topology;
    front->count = count;
    front->sizes = nmi_alloc_matrix(ctx, count, topology->axis_count, sizeof *front->sizes);
    front->costs = nmi_alloc_matrix(ctx, count, NMI_COSTS, sizeof *front->costs);
    front->scores = nmi_alloc_array(ctx, count, sizeof *front->scores);
    front->latencies = nmi_alloc_array(ctx, count, sizeof *front->latencies);
    if (front->sizes == NULL || front->costs == NULL || front->scores == NULL ||
        front->latencies == NULL) {
        nmi_front_free(front);
        return NEUMETA_ERR_MEMORY;
    }
    *out = front;
    return NEUMETA_OK;
}

void nmi_front_free(nmi_front *front)
{
    if (front == NULL)
        return;
    nmi_context *ctx = front->context;
    nmi_free(ctx, front->sizes);
    nmi_free(ctx, front->costs);
    nmi_free(ctx, front->scores);
    nmi_free(ctx, front->latencies);
    nmi_free(ctx, front);
}

const int64_t *nmi_front_sizes(const nmi_front *front, int32_t entry)
{
    return front->sizes + (int64_t)entry * front->topology->axis_count;
}

const int64_t *nmi_front_costs(const nmi_front *front, int32_t entry)
{
    return front->costs + (int64_t)entry * NMI_COSTS;
}

neumeta_status nmi_front_measure(const nmi_topology *topology, const int64_t *sizes,
                                 int64_t costs[NMI_COSTS])
{
    nmi_costs found;
    neumeta_status status = nmi_graph_costs(topology, sizes, 1, &found);
    costs[NMI_COST_PARAMETERS] = found.parameters;
    costs[NMI_COST_MULTIPLY_ADDS] = found.multiply_adds;
    costs[NMI_COST_BYTES] = found.values * (int64_t)sizeof(float);
    return status;
}
