/* SPDX-License-Identifier: MIT */
/* Moving channels, and the proof that it leaves the function alone. */
#include "nmi_permute.h"

#include <string.h>

/* Channel of the input that a SHORTCUT node passes on as `channel`, -1 for zeros. */
static int64_t passed_on(int64_t channel, int64_t out, int64_t in)
{
    const int64_t input = channel - nmi_shortcut_offset(out, in);
    return input >= 0 && input < in ? input : -1;
}

/* Whether what stands at each channel of `node` is what its input, moved, delivers there. */
static bool follows(const nmi_network *network, const nmi_cliques *cliques, int32_t number,
                    int32_t input, int64_t first)
{
    const nmi_node *node = &network->topology->nodes[number];
    const nmi_shape *in = &network->shapes[input];
    int64_t out = network->shapes[number].channels;
    int64_t pixels = node->op == NEUMETA_OP_FLATTEN ? in->height * in->width : 1;
    if (node->op == NEUMETA_OP_SHORTCUT) {
        for (int64_t channel = 0; channel < out; channel++) {
            int64_t before = passed_on(channel, out, in->channels);
            int64_t after =
                passed_on(nmi_cliques_content(cliques, number, channel), out, in->channels);
            if (after != (before < 0 ? -1 : nmi_cliques_content(cliques, input, before)))
                return false;
        }
        return true;
    }
    for (int64_t channel = 0; channel < in->channels * pixels; channel++) {
        int64_t moved = nmi_cliques_content(cliques, input, channel / pixels);
        if (nmi_cliques_content(cliques, number, first + channel) !=
            first + moved * pixels + channel % pixels)
            return false;
    }
    return true;
}

static bool node_follows(const nmi_network *network, const nmi_cliques *cliques, int32_t number)
{
    const nmi_topology *topology = network->topology;
    const nmi_node *node = &topology->nodes[number];
    int64_t first = 0;
    if (node->op == NEUMETA_OP_INPUT || number == topology->output)
        for (int64_t channel = 0; channel < network->shapes[number].channels; channel++)
            if (nmi_cliques_content(cliques, number, channel) != channel)
                return false;
    if (network->shapes[number].channels == 0 || node->op == NEUMETA_OP_CONV ||
        node->op == NEUMETA_OP_LINEAR)
        return true;
    if (node->op == NEUMETA_OP_SELECT)
        return follows(network, cliques, number, nmi_graph_source(topology, network->sizes, number),
                       0);
    for (int32_t input = 0; input < node->input_count; input++) {
        if (!follows(network, cliques, number, node->inputs[input], first))
            return false;
        if (node->op == NEUMETA_OP_CONCAT)
            first += network->shapes[node->inputs[input]].channels;
    }
    return true;
}

neumeta_status nmi_permute_check(const nmi_network *network, const nmi_cliques *cliques)
{
    const nmi_topology *topology = network->topology;
    for (int32_t node = 0; node < topology->node_count; node++)
        if (!node_follows(network, cliques, node))
            return nmi_fail(network->object.context, NEUMETA_ERR_UNSUPPORTED,
                            "channels of '%s' are tied to others in more than one order and "
                            "cannot be moved",
                            topology->nodes[node].name);
    return NEUMETA_OK;
}

static void permute_axis(nmi_tensor *tensor, const nmi_channel_axis *axis,
                         const nmi_cliques *cliques, float *copy)
{
    int64_t channels = tensor->dims[axis->axis];
    int64_t outer = axis->axis == 0 ? 1 : tensor->dims[0];
    int64_t inner = tensor->count / (outer * channels);
    memcpy(copy, tensor->data, (size_t)tensor->count * sizeof *copy);
    for (int64_t channel = 0; channel < channels; channel++) {
        int64_t from = nmi_cliques_content(cliques, axis->node, channel);
        for (int64_t o = 0; from != channel && o < outer; o++)
            memcpy(tensor->data + (o * channels + channel) * inner,
                   copy + (o * channels + from) * inner, (size_t)inner * sizeof *copy);
    }
}

neumeta_status nmi_permute(nmi_network *network, const nmi_cliques *cliques,
                           const nmi_channel_axis *axes, int32_t count)
{
    nmi_context *context = network->object.context;
    int64_t largest = 0;
    for (int32_t axis = 0; axis < count; axis++)
        if (network->tensors[axes[axis].tensor].count > largest)
            largest = network->tensors[axes[axis].tensor].count;
    float *copy = nmi_alloc_array(context, largest, sizeof *copy);
    if (copy == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t axis = 0; axis < count; axis++)
        permute_axis(&network->tensors[axes[axis].tensor], &axes[axis], cliques, copy);
    nmi_network_touch(network);
    nmi_free(context, copy);
    return NEUMETA_OK;
}
