/* SPDX-License-Identifier: MIT */
/* Cost, and the other questions whose answers follow from the list of nodes and tensors. */
#include "nmi_build.h"

#include <inttypes.h>
#include <string.h>

/* Node kernels count for convolutions only; a linear node is a 1 x 1 convolution of one pixel. */
bool nmi_node_weights(const nmi_node *node, const nmi_shape *in, const nmi_shape *out,
                      int64_t *count)
{
    int64_t taps = node->op == NEUMETA_OP_CONV ? node->kernel * node->kernel : 1;
    return nmi_multiply(out->channels, in->channels, count) && nmi_multiply(*count, taps, count);
}

bool nmi_node_multiply_adds(const nmi_node *node, const nmi_shape *in, const nmi_shape *out,
                            int64_t *count)
{
    return nmi_node_weights(node, in, out, count) && nmi_multiply(*count, out->height, count) &&
           nmi_multiply(*count, out->width, count);
}

static void count_tensors(const nmi_topology *topology, const int64_t *sizes,
                          const nmi_shape *shapes, nmi_costs *out)
{
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        int64_t dims[4];
        if (nmi_graph_tensor_dims(topology, sizes, shapes, t, dims) <= 0)
            continue;
        const int64_t values = dims[0] * dims[1] * dims[2] * dims[3];
        out->values += values;
        if (nmi_role_is_trainable(topology->tensors[t].role))
            out->parameters += values;
    }
}

static void count_work(const nmi_topology *topology, const int64_t *sizes, const nmi_shape *shapes,
                       int64_t vector, nmi_costs *out)
{
    for (int32_t i = 0; i < topology->node_count; i++) {
        const nmi_node *node = &topology->nodes[i];
        nmi_shape rounded = shapes[i];
        int64_t work;
        rounded.channels = (rounded.channels + vector - 1) / vector * vector;
        if ((node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR) &&
            nmi_graph_live(topology, sizes, i) &&
            nmi_node_multiply_adds(node, &shapes[node->inputs[0]], &rounded, &work))
            out->multiply_adds += work;
    }
}

neumeta_status nmi_graph_costs(const nmi_topology *topology, const int64_t *sizes, int64_t vector,
                               nmi_costs *out)
{
    nmi_context *context = topology->object.context;
    nmi_shape *shapes = nmi_alloc_array(context, topology->node_count, sizeof *shapes);
    *out = (nmi_costs){0};
    if (shapes == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = nmi_graph_shapes(topology, sizes, shapes);
    if (status == NEUMETA_OK) {
        count_tensors(topology, sizes, shapes, out);
        count_work(topology, sizes, shapes, vector, out);
    }
    nmi_free(context, shapes);
    return status;
}

neumeta_status nmi_graph_cost(const nmi_topology *topology, const int64_t *sizes,
                              int64_t *parameters, int64_t *flops)
{
    nmi_costs costs;
    neumeta_status status = nmi_graph_costs(topology, sizes, 1, &costs);
    if (status == NEUMETA_OK) {
        *parameters = costs.parameters;
        *flops = 2 * costs.multiply_adds;
    }
    return status;
}

/* --- tensors --------------------------------------------------------------------------------- */

bool nmi_role_is_trainable(nmi_role role)
{
    return role != NMI_ROLE_RUNNING_MEAN && role != NMI_ROLE_RUNNING_VAR;
}

int32_t nmi_graph_find_tensor(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->tensor_count; i++)
        if (strcmp(topology->tensors[i].name, name) == 0)
            return i;
    return -1;
}

int32_t nmi_graph_node_tensor(const nmi_topology *topology, int32_t node, nmi_role role)
{
    int32_t low = 0;
    int32_t high = topology->tensor_count;
    while (low < high) { /* first tensor whose node is not below `node` */
        int32_t middle = low + (high - low) / 2;
        if (topology->tensors[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < topology->tensor_count && topology->tensors[low].node == node; low++)
        if (topology->tensors[low].role == role)
            return low;
    return -1;
}

/* --- axes and blocks ------------------------------------------------------------------------- */

static bool follows(const nmi_topology *topology, int32_t node, int32_t axis)
{
    const uint64_t *words = topology->follows + (int64_t)node * topology->follow_words;
    return (words[axis / 64] >> (axis % 64) & 1) != 0;
}

bool nmi_graph_tensor_depends(const nmi_topology *topology, int32_t tensor, int32_t axis)
{
    const nmi_tensor_info *info = &topology->tensors[tensor];
    if (info->role == NMI_ROLE_SCALE)
        return false;
    if (follows(topology, info->node, axis))
        return true;
    return info->role == NMI_ROLE_WEIGHT &&
           follows(topology, topology->nodes[info->node].inputs[0], axis);
}

nmi_axis_group nmi_graph_axis_group(const nmi_topology *topology, int32_t axis)
{
    const nmi_axis *a = &topology->axes[axis];
    if (a->kind == NEUMETA_AXIS_DEPTH)
        return NMI_AXIS_DEPTH;
    if (a->min == a->max)
        return NMI_AXIS_FIXED;
    return a->summed ? NMI_AXIS_STREAM : NMI_AXIS_INNER;
}

bool nmi_graph_axis_is_inner(const nmi_topology *topology, int32_t axis)
{
    return nmi_graph_axis_group(topology, axis) == NMI_AXIS_INNER;
}

bool nmi_graph_axis_is_stream(const nmi_topology *topology, int32_t axis)
{
    return nmi_graph_axis_group(topology, axis) == NMI_AXIS_STREAM;
}

neumeta_status nmi_graph_block_number(const nmi_topology *topology, int64_t number, int32_t *out)
{
    int64_t count = topology->block_count;
    if (number < -count || number >= count)
        return nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                        "block %" PRId64 " does not exist: the topology has %" PRId64
                        " blocks, numbered 0 to %" PRId64 ", or -%" PRId64 " to -1 from the end",
                        number, count, count - 1, count);
    *out = (int32_t)(number < 0 ? number + count : number);
    return NEUMETA_OK;
}

/* Convolutions and linear layers of a block. */
static int32_t count_weights(const nmi_topology *topology, int32_t block)
{
    int32_t count = 0;
    for (int32_t t = 0; t < topology->tensor_count; t++)
        count += topology->tensors[t].role == NMI_ROLE_WEIGHT &&
                 topology->nodes[topology->tensors[t].node].block == block;
    return count;
}

/* Shape at the last node of a block, zero if it has none. */
static nmi_shape block_output(const nmi_topology *topology, const nmi_shape *shapes, int32_t block)
{
    nmi_shape shape = {0, 0, 0};
    for (int32_t n = 0; n < topology->node_count; n++)
        if (topology->nodes[n].block == block)
            shape = shapes[n];
    return shape;
}

bool nmi_graph_same_stage(const nmi_topology *topology, const nmi_shape *shapes, int32_t before,
                          int32_t block)
{
    const nmi_shape a = block_output(topology, shapes, before);
    const nmi_shape b = block_output(topology, shapes, block);
    return a.channels == b.channels && a.height == b.height && a.width == b.width &&
           count_weights(topology, block) <= count_weights(topology, before);
}
