/* SPDX-License-Identifier: MIT */
/* Channel axes and the total variation along them. */
#include "nmi_roughness.h"

#include <math.h>

/* Positions that one channel takes in a row at each node: its pixels behind a FLATTEN, 1
 * elsewhere, and where differently flattened inputs meet. */
static void count_pixels(const nmi_network *network, int64_t *pixels)
{
    const nmi_topology *topology = network->topology;
    for (int32_t number = 0; number < topology->node_count; number++) {
        const nmi_node *node = &topology->nodes[number];
        pixels[number] = 1;
        if (node->op == NEUMETA_OP_INPUT || node->op == NEUMETA_OP_CONV ||
            node->op == NEUMETA_OP_LINEAR || network->shapes[number].channels == 0)
            continue;
        int32_t source = node->op == NEUMETA_OP_SELECT
                             ? nmi_graph_source(topology, network->sizes, number)
                             : node->inputs[0];
        const nmi_shape *shape = &network->shapes[source];
        pixels[number] = pixels[source];
        if (node->op == NEUMETA_OP_FLATTEN)
            pixels[number] *= shape->height * shape->width;
        for (int32_t input = 1; node->op != NEUMETA_OP_SELECT && input < node->input_count; input++)
            if (pixels[node->inputs[input]] != pixels[source])
                pixels[number] = 1;
    }
}

neumeta_status nmi_channel_axes(const nmi_network *network, nmi_channel_axis **out, int32_t *count)
{
    const nmi_topology *topology = network->topology;
    nmi_context *context = network->object.context;
    nmi_channel_axis *axes = nmi_alloc_matrix(context, topology->tensor_count, 2, sizeof *axes);
    int64_t *pixels = nmi_alloc_array(context, topology->node_count, sizeof *pixels);
    *count = 0;
    *out = NULL;
    if (axes == NULL || pixels == NULL) {
        nmi_free(context, axes);
        nmi_free(context, pixels);
        return NEUMETA_ERR_MEMORY;
    }
    count_pixels(network, pixels);
    for (int32_t tensor = 0; tensor < topology->tensor_count; tensor++) {
        const nmi_tensor_info *info = &topology->tensors[tensor];
        if (network->tensors[tensor].data == NULL || info->role == NMI_ROLE_SCALE)
            continue;
        axes[(*count)++] = (nmi_channel_axis){tensor, 0, info->node, pixels[info->node]};
        if (info->role == NMI_ROLE_WEIGHT) {
            int32_t input = topology->nodes[info->node].inputs[0];
            axes[(*count)++] = (nmi_channel_axis){tensor, 1, input, pixels[input]};
        }
    }
    nmi_free(context, pixels);
    *out = axes;
    return NEUMETA_OK;
}

double nmi_slice_distance(const nmi_tensor *tensor, int32_t axis, int64_t a, int64_t b)
{
    int64_t outer = axis == 0 ? 1 : tensor->dims[0];
    int64_t inner = tensor->dims[2] * tensor->dims[3] * (axis == 0 ? tensor->dims[1] : 1);
    int64_t step = tensor->dims[axis] * inner;
    double sum = 0;
    for (int64_t o = 0; o < outer; o++) {
        const float *first = tensor->data + o * step + a * inner;
        const float *second = tensor->data + o * step + b * inner;
        for (int64_t i = 0; i < inner; i++)
            sum += fabs((double)first[i] - (double)second[i]);
    }
    return sum;
}

typedef struct axis_sums {
    const nmi_network *network;
    const nmi_channel_axis *axes;
    nmi_content content;
    const void *user;
    double *partial;
} axis_sums;

static void sum_axis(void *argument, int64_t index, int32_t worker)
{
    (void)worker;
    const axis_sums *work = argument;
    const nmi_channel_axis *axis = &work->axes[index];
    const nmi_tensor *tensor = &work->network->tensors[axis->tensor];
    double sum = 0;
    for (int64_t channel = 0; channel + axis->stride < tensor->dims[axis->axis]; channel++) {
        int64_t a = channel;
        int64_t b = channel + axis->stride;
        if (work->content != NULL) {
            a = work->content(work->user, axis->node, a);
            b = work->content(work->user, axis->node, b);
        }
        sum += nmi_slice_distance(tensor, axis->axis, a, b);
    }
    work->partial[index] = sum;
}

double nmi_roughness_of(const nmi_network *network, const nmi_channel_axis *axes, int32_t count,
                        nmi_content content, const void *user, double *partial)
{
    axis_sums work = {network, axes, content, user, partial};
    double total = 0;
    nmi_run(network->object.context, count, sum_axis, &work);
    for (int32_t index = 0; index < count; index++)
        total += partial[index];
    return total;
}

neumeta_status nmi_roughness(const nmi_network *network, double *total_variation)
{
    nmi_context *context = network->object.context;
    nmi_channel_axis *axes = NULL;
    int32_t count = 0;
    neumeta_status status = nmi_channel_axes(network, &axes, &count);
    if (status != NEUMETA_OK)
        return status;
    double *partial = nmi_alloc_array(context, count, sizeof *partial);
    if (partial != NULL)
        *total_variation = nmi_roughness_of(network, axes, count, NULL, NULL, partial);
    else
        status = NEUMETA_ERR_MEMORY;
    nmi_free(context, axes);
    nmi_free(context, partial);
    return status;
}
