/* SPDX-License-Identifier: MIT */
/*
 * Networks: storage and life of the weights. Room is taken once for the creation sizes; smaller
 * sizes use a leading part of each tensor's room, so that a trainer can draw new sizes at every
 * step without allocating.
 */
#include "nmi_network.h"

#include "nmi_random.h"
#include "nmi_runner.h"
#include "nmi_weights.h"

#include <math.h>
#include <string.h>

enum { ROOM_FLOATS = NMI_ALIGNMENT / (int)sizeof(float) };

/* --- storage --------------------------------------------------------------------------------- */

void nmi_weights_release(nmi_weights *weights)
{
    if (weights == NULL || atomic_fetch_sub(&weights->references, 1) != 1)
        return;
    nmi_context *context = weights->context;
    nmi_free(context, weights->slab);
    nmi_free(context, weights->offset);
    nmi_free(context, weights->room);
    nmi_free(context, weights);
    nmi_context_release(context);
}

/* Room for the tensors as they are now. */
static neumeta_status create_weights(nmi_context *context, const nmi_tensor *tensors, int32_t count,
                                     nmi_weights **out)
{
    neumeta_status status = NEUMETA_ERR_MEMORY;
    int64_t total = 0;
    nmi_weights *weights = nmi_alloc_zero(context, sizeof *weights);
    if (weights == NULL)
        return status;
    atomic_init(&weights->references, 1);
    weights->context = nmi_context_retain(context);
    weights->offset = nmi_alloc_array(context, count, sizeof *weights->offset);
    weights->room = nmi_alloc_array(context, count, sizeof *weights->room);
    if (weights->offset == NULL || weights->room == NULL)
        goto done;
    for (int32_t t = 0; t < count; t++) {
        weights->offset[t] = total;
        weights->room[t] = tensors[t].count;
        if (!nmi_add(total, tensors[t].count, &total) || !nmi_add(total, ROOM_FLOATS - 1, &total)) {
            nmi_fail(context, status, "out of memory: the weights exceed the address space");
            goto done;
        }
        total -= total % ROOM_FLOATS;
    }
    weights->slab = nmi_alloc_zero_array(context, total, sizeof(float));
    if (weights->slab != NULL)
        status = NEUMETA_OK;
done:
    if (status != NEUMETA_OK) {
        nmi_weights_release(weights);
        weights = NULL;
    }
    *out = weights;
    return status;
}

/* Shapes of the tensors at the network's sizes and shapes. */
static void shape_tensors(const nmi_network *network, const int64_t *sizes, const nmi_shape *shapes,
                          nmi_tensor *tensors)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++) {
        nmi_tensor *tensor = &tensors[t];
        tensor->rank = nmi_graph_tensor_dims(network->topology, sizes, shapes, t, tensor->dims);
        tensor->count = tensor->rank > 0
                            ? tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3]
                            : 0;
    }
}

static void point_tensors(nmi_network *network)
{
    const nmi_weights *weights = network->weights;
    for (int32_t t = 0; t < network->topology->tensor_count; t++)
        network->tensors[t].data =
            network->tensors[t].rank > 0 ? weights->slab + weights->offset[t] : NULL;
}

/* --- life ------------------------------------------------------------------------------------ */

neumeta_status nmi_network_allocate(nmi_context *context, nmi_topology *topology,
                                    const int64_t *sizes, nmi_network **out)
{
    neumeta_status status = NEUMETA_ERR_MEMORY;
    *out = NULL;
    nmi_network *network = nmi_alloc_zero(context, sizeof *network);
    if (network == NULL)
        return status;
    nmi_object_init(&network->object, context);
    nmi_topology_retain(topology);
    network->topology = topology;
    network->generation = 1;
    network->sizes = nmi_alloc_array(context, topology->axis_count, sizeof *network->sizes);
    /* The second half takes the shapes of a resize until they are known to be right. */
    network->shapes = nmi_alloc_matrix(context, 2, topology->node_count, sizeof *network->shapes);
    network->tensors =
        nmi_alloc_zero_array(context, topology->tensor_count, sizeof *network->tensors);
    if (network->sizes == NULL || network->shapes == NULL || network->tensors == NULL)
        goto done;
    for (int32_t axis = 0; axis < topology->axis_count; axis++)
        network->sizes[axis] = sizes[axis];
    status = nmi_graph_shapes(topology, sizes, network->shapes);
    if (status == NEUMETA_OK)
        shape_tensors(network, sizes, network->shapes, network->tensors);
done:
    if (status != NEUMETA_OK) {
        nmi_network_release(network);
        network = NULL;
    }
    *out = network;
    return status;
}

neumeta_status nmi_network_create(nmi_context *context, nmi_topology *topology,
                                  const int64_t *sizes, nmi_network **out)
{
    nmi_network *network;
    neumeta_status status = nmi_network_allocate(context, topology, sizes, &network);
    if (status == NEUMETA_OK)
        status =
            create_weights(context, network->tensors, topology->tensor_count, &network->weights);
    if (status != NEUMETA_OK) {
        nmi_network_release(network);
        network = NULL;
    } else {
        point_tensors(network);
        for (int32_t t = 0; t < topology->tensor_count; t++) {
            const nmi_tensor *tensor = &network->tensors[t];
            if (topology->tensors[t].role == NMI_ROLE_RUNNING_VAR)
                for (int64_t i = 0; i < tensor->count; i++)
                    tensor->data[i] = 1.0f;
        }
    }
    *out = network;
    return status;
}

void nmi_network_retain(nmi_network *network)
{
    nmi_object_retain(&network->object);
}

void nmi_network_release(nmi_network *network)
{
    if (network == NULL || !nmi_object_release(&network->object))
        return;
    nmi_context *context = network->object.context;
    nmi_runner_free(context, network->runner);
    nmi_weights_release(network->weights);
    nmi_free(context, network->tensors);
    nmi_free(context, network->shapes);
    nmi_free(context, network->sizes);
    nmi_topology_release(network->topology);
    nmi_free(context, network);
    nmi_context_release(context);
}

/* --- values ---------------------------------------------------------------------------------- */

static void fill_tensor(const nmi_network *network, int32_t number, nmi_random *random)
{
    const nmi_tensor_info *info = &network->topology->tensors[number];
    const nmi_node *node = &network->topology->nodes[info->node];
    const nmi_tensor *tensor = &network->tensors[number];
    int32_t weight = nmi_graph_node_tensor(network->topology, info->node, NMI_ROLE_WEIGHT);
    double fan_in = 1.0;
    float value = 0.0f;
    if (weight >= 0) {
        const int64_t *dims = network->tensors[weight].dims;
        fan_in = (double)(dims[1] * dims[2] * dims[3]);
    }
    if (info->role == NMI_ROLE_WEIGHT && node->op == NEUMETA_OP_CONV) {
        double deviation = sqrt(2.0 / fan_in);
        for (int64_t i = 0; i < tensor->count; i++)
            tensor->data[i] = (float)(deviation * nmi_random_normal(random));
        return;
    }
    if (node->op == NEUMETA_OP_LINEAR) {
        double bound = 1.0 / sqrt(fan_in);
        for (int64_t i = 0; i < tensor->count; i++)
            tensor->data[i] = (float)(bound * (2.0 * nmi_random_uniform(random) - 1.0));
        return;
    }
    if (info->role == NMI_ROLE_SCALE)
        value = (float)node->value;
    else if (info->role == NMI_ROLE_NORM_WEIGHT || info->role == NMI_ROLE_RUNNING_VAR ||
             info->role == NMI_ROLE_AFFINE_WEIGHT)
        value = 1.0f;
    for (int64_t i = 0; i < tensor->count; i++)
        tensor->data[i] = value;
}

void nmi_network_initialize(nmi_network *network, uint64_t key)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++) {
        nmi_random random = nmi_random_start(nmi_random_key(key, NMI_RANDOM_WEIGHTS, (uint64_t)t));
        fill_tensor(network, t, &random);
    }
    nmi_network_touch(network);
}

neumeta_status nmi_network_resize(nmi_network *network, const int64_t *sizes)
{
    const nmi_topology *topology = network->topology;
    nmi_context *context = network->object.context;
    nmi_shape *shapes = network->shapes + topology->node_count;
    NMI_ASSERT(!nmi_network_is_shared(network));
    neumeta_status status = nmi_graph_shapes(topology, sizes, shapes);
    for (int32_t t = 0; t < topology->tensor_count && status == NEUMETA_OK; t++) {
        int64_t dims[4];
        if (nmi_graph_tensor_dims(topology, sizes, shapes, t, dims) > 0 &&
            dims[0] * dims[1] * dims[2] * dims[3] > network->weights->room[t])
            status = nmi_fail(context, NEUMETA_ERR_SHAPE,
                              "tensor '%s' outgrows the sizes the network was created with",
                              topology->tensors[t].name);
    }
    if (status != NEUMETA_OK)
        return status;
    memcpy(network->shapes, shapes, (size_t)topology->node_count * sizeof *shapes);
    memcpy(network->sizes, sizes, (size_t)topology->axis_count * sizeof *sizes);
    shape_tensors(network, sizes, network->shapes, network->tensors);
    point_tensors(network);
    nmi_network_touch(network);
    return NEUMETA_OK;
}

neumeta_status nmi_network_copy(const nmi_network *network, nmi_network **out)
{
    neumeta_status status =
        nmi_network_create(network->object.context, network->topology, network->sizes, out);
    if (status == NEUMETA_OK)
        for (int32_t t = 0; t < network->topology->tensor_count; t++)
            if (network->tensors[t].count > 0)
                memcpy((*out)->tensors[t].data, network->tensors[t].data,
                       (size_t)network->tensors[t].count * sizeof(float));
    return status;
}

bool nmi_network_is_shared(const nmi_network *network)
{
    return atomic_load(&network->weights->references) > 1;
}

void nmi_network_become(nmi_network *network, nmi_network *from)
{
    nmi_network old = *network;
    NMI_ASSERT(network->object.context == from->object.context);
    network->topology = from->topology;
    network->sizes = from->sizes;
    network->shapes = from->shapes;
    network->tensors = from->tensors;
    network->weights = from->weights;
    network->runner = from->runner;
    network->generation = from->generation;
    from->topology = old.topology;
    from->sizes = old.sizes;
    from->shapes = old.shapes;
    from->tensors = old.tensors;
    from->weights = old.weights;
    from->runner = old.runner;
    from->generation = old.generation;
    nmi_network_release(from);
}

void nmi_network_touch(nmi_network *network)
{
    network->generation++;
}

nmi_tensor *nmi_network_find(nmi_network *network, const char *name)
{
    int32_t number = nmi_graph_find_tensor(network->topology, name);
    return number >= 0 && network->tensors[number].rank > 0 ? &network->tensors[number] : NULL;
}
