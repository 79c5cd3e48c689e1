/* SPDX-License-Identifier: MIT */
/* Sizes, live nodes and shapes: what a topology looks like at given sizes of its axes. */
#include "nmi_build.h"

#include <inttypes.h>
#include <math.h>

/* Bounds of one node for one item: with at most NMI_GRAPH_NODES_MAX nodes, no sum of values,
 * weights or multiply-adds over a topology can overflow. */
static const int64_t values_max = INT64_C(1) << 31;
static const int64_t weights_max = INT64_C(1) << 36;
static const int64_t multiply_adds_max = INT64_C(1) << 47;

/* --- sizes ----------------------------------------------------------------------------------- */

neumeta_status nmi_graph_check_sizes(const nmi_topology *topology, const int64_t *sizes,
                                     int32_t count)
{
    nmi_context *context = topology->object.context;
    if (count != topology->axis_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%" PRId32 " sizes are given, must be %" PRId32 ", one for each axis",
                        count, topology->axis_count);
    for (int32_t i = 0; i < count; i++) {
        const nmi_axis *axis = &topology->axes[i];
        if (sizes[i] < axis->min || sizes[i] > axis->max)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "axis '%s' (number %" PRId32 "): size is %" PRId64
                            ", must lie in [%" PRId64 ", %" PRId64 "]",
                            axis->name, i, sizes[i], axis->min, axis->max);
        if ((sizes[i] - axis->min) % axis->step != 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "axis '%s' (number %" PRId32 "): size is %" PRId64 ", must be %" PRId64
                            " plus a multiple of %" PRId64,
                            axis->name, i, sizes[i], axis->min, axis->step);
    }
    return NEUMETA_OK;
}

void nmi_graph_full_sizes(const nmi_topology *topology, int64_t *sizes)
{
    for (int32_t i = 0; i < topology->axis_count; i++)
        sizes[i] = topology->axes[i].max;
}

bool nmi_axis_has(const nmi_axis *axis, int64_t size)
{
    return size >= axis->min && size <= axis->max && (size - axis->min) % axis->step == 0;
}

int64_t nmi_axis_size_at(const nmi_axis *axis, double gamma)
{
    int64_t size = (int64_t)floor((double)axis->max * (1.0 - gamma) + 0.5);
    if (size < axis->min)
        return axis->min;
    int64_t steps = (size - axis->min + axis->step / 2) / axis->step;
    size = axis->min + steps * axis->step;
    return size < axis->max ? size : axis->max;
}

void nmi_graph_sizes_at(const nmi_topology *topology, double gamma, int64_t *sizes)
{
    for (int32_t i = 0; i < topology->axis_count; i++)
        sizes[i] = nmi_graph_axis_is_inner(topology, i)
                       ? nmi_axis_size_at(&topology->axes[i], gamma)
                       : topology->axes[i].max;
}

/* --- live nodes ------------------------------------------------------------------------------ */

bool nmi_graph_live(const nmi_topology *topology, const int64_t *sizes, int32_t node)
{
    const nmi_node *n = &topology->nodes[node];
    return n->depth_axis < 0 || n->op == NEUMETA_OP_SELECT ||
           sizes[n->depth_axis] > n->depth_number;
}

int32_t nmi_graph_source(const nmi_topology *topology, const int64_t *sizes, int32_t node)
{
    const nmi_node *n = &topology->nodes[node];
    if (n->op != NEUMETA_OP_SELECT)
        return node;
    return n->inputs[sizes[n->depth_axis] - n->depth_number];
}

/* --- shapes ---------------------------------------------------------------------------------- */

static bool same_shape(const nmi_shape *a, const nmi_shape *b)
{
    return a->channels == b->channels && a->height == b->height && a->width == b->width;
}

static neumeta_status fail_pair(const nmi_topology *topology, const nmi_node *node, int32_t input,
                                const nmi_shape *shapes)
{
    const nmi_shape *a = &shapes[node->inputs[0]];
    const nmi_shape *b = &shapes[node->inputs[input]];
    return nmi_fail(
        topology->object.context, NEUMETA_ERR_SHAPE,
        "node '%s': '%s' is %" PRId64 " x %" PRId64 " x %" PRId64 " but '%s' is %" PRId64
        " x %" PRId64 " x %" PRId64 " (channels, height, width)",
        node->name, topology->nodes[node->inputs[0]].name, a->channels, a->height, a->width,
        topology->nodes[node->inputs[input]].name, b->channels, b->height, b->width);
}

/* ADD and SELECT want one shape of all their (live) inputs, CONCAT one height and width. */
static neumeta_status join_shape(const nmi_topology *topology, const int64_t *sizes,
                                 const nmi_node *node, const nmi_shape *shapes, nmi_shape *out)
{
    *out = shapes[node->inputs[0]];
    for (int32_t i = 1; i < node->input_count; i++) {
        nmi_shape shape = shapes[node->inputs[i]];
        if (!nmi_graph_live(topology, sizes, node->inputs[i]))
            continue;
        if (node->op == NEUMETA_OP_CONCAT) {
            int64_t channels = out->channels + shape.channels;
            out->channels = shape.channels; /* compare height and width only */
            if (!same_shape(out, &shape))
                return fail_pair(topology, node, i, shapes);
            out->channels = channels;
        } else if (!same_shape(out, &shape)) {
            return fail_pair(topology, node, i, shapes);
        }
    }
    return NEUMETA_OK;
}

/* floor((in + 2 padding - kernel) / stride) + 1, 0 if the window does not fit. */
static int64_t window_count(const nmi_node *node, int64_t in)
{
    int64_t room = in + 2 * node->padding - node->kernel;
    return room < 0 ? 0 : room / node->stride + 1;
}

static neumeta_status window_shape(const nmi_topology *topology, const nmi_node *node,
                                   const nmi_shape *in, nmi_shape *out)
{
    out->height = window_count(node, in->height);
    out->width = window_count(node, in->width);
    if (out->height < 1 || out->width < 1)
        return nmi_fail(topology->object.context, NEUMETA_ERR_SHAPE,
                        "node '%s': a window of %" PRId64 " x %" PRId64 " with padding %" PRId64
                        " does not fit into '%s' of %" PRId64 " x %" PRId64,
                        node->name, node->kernel, node->kernel, node->padding,
                        topology->nodes[node->inputs[0]].name, in->height, in->width);
    return NEUMETA_OK;
}

static neumeta_status node_shape(const nmi_topology *topology, const int64_t *sizes,
                                 const nmi_node *node, const nmi_shape *shapes, nmi_shape *out)
{
    static const nmi_shape none = {0, 0, 0};
    nmi_shape in = node->input_count > 0 ? shapes[node->inputs[0]] : none;
    *out = in;
    if (node->axis >= 0)
        out->channels = sizes[node->axis] * node->multiple;
    switch (node->op) {
    case NEUMETA_OP_INPUT:
        *out = (nmi_shape){node->channels, node->height, node->width};
        return NEUMETA_OK;
    case NEUMETA_OP_CONV:
    case NEUMETA_OP_POOL_MAX:
    case NEUMETA_OP_POOL_AVERAGE:
        return window_shape(topology, node, &in, out);
    case NEUMETA_OP_LINEAR:
        if (in.height != 1 || in.width != 1)
            return nmi_fail(
                topology->object.context, NEUMETA_ERR_SHAPE,
                "node '%s': a linear node wants height and width 1, but '%s' is %" PRId64
                " x %" PRId64 "; flatten or pool it first",
                node->name, topology->nodes[node->inputs[0]].name, in.height, in.width);
        return NEUMETA_OK;
    case NEUMETA_OP_ADD:
    case NEUMETA_OP_CONCAT:
    case NEUMETA_OP_SELECT:
        return join_shape(topology, sizes, node, shapes, out);
    case NEUMETA_OP_POOL_GLOBAL:
        out->height = out->width = 1;
        return NEUMETA_OK;
    case NEUMETA_OP_FLATTEN:
        *out = (nmi_shape){in.channels * in.height * in.width, 1, 1};
        return NEUMETA_OK;
    case NEUMETA_OP_SHORTCUT:
        out->height = (in.height + node->stride - 1) / node->stride;
        out->width = (in.width + node->stride - 1) / node->stride;
        return NEUMETA_OK;
    default: /* NORM, ACTIVATION, SCALE, AFFINE, GAIN */
        return NEUMETA_OK;
    }
}

static neumeta_status check_bounds(const nmi_topology *topology, const nmi_node *node,
                                   const nmi_shape *shapes, const nmi_shape *shape)
{
    int64_t values;
    int64_t weights = 0;
    int64_t work = 0;
    bool fits = nmi_multiply(shape->channels, shape->height, &values) &&
                nmi_multiply(values, shape->width, &values) && values <= values_max;
    if (fits && (node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR)) {
        const nmi_shape *in = &shapes[node->inputs[0]];
        fits = nmi_node_weights(node, in, shape, &weights) && weights <= weights_max &&
               nmi_node_multiply_adds(node, in, shape, &work) && work <= multiply_adds_max;
    }
    if (!fits)
        return nmi_fail(topology->object.context, NEUMETA_ERR_SHAPE,
                        "node '%s': %" PRId64 " x %" PRId64 " x %" PRId64 " values (channels, "
                        "height, width), or its weights, are more than this library treats",
                        node->name, shape->channels, shape->height, shape->width);
    return NEUMETA_OK;
}

neumeta_status nmi_graph_shapes(const nmi_topology *topology, const int64_t *sizes,
                                nmi_shape *shapes)
{
    for (int32_t i = 0; i < topology->node_count; i++) {
        const nmi_node *node = &topology->nodes[i];
        nmi_shape shape = {0, 0, 0};
        if (nmi_graph_live(topology, sizes, i)) {
            neumeta_status status = node_shape(topology, sizes, node, shapes, &shape);
            if (status == NEUMETA_OK)
                status = check_bounds(topology, node, shapes, &shape);
            if (status != NEUMETA_OK)
                return status;
        }
        shapes[i] = shape;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_graph_full_shapes(const nmi_topology *topology, nmi_shape **shapes)
{
    nmi_context *context = topology->object.context;
    int64_t *sizes = nmi_alloc_array(context, topology->axis_count, sizeof *sizes);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    *shapes = nmi_alloc_array(context, topology->node_count, sizeof **shapes);
    if (sizes != NULL && *shapes != NULL) {
        nmi_graph_full_sizes(topology, sizes);
        status = nmi_graph_shapes(topology, sizes, *shapes);
    }
    nmi_free(context, sizes);
    if (status != NEUMETA_OK) {
        nmi_free(context, *shapes);
        *shapes = NULL;
    }
    return status;
}

int32_t nmi_graph_tensor_dims(const nmi_topology *topology, const int64_t *sizes,
                              const nmi_shape *shapes, int32_t tensor, int64_t dims[4])
{
    const nmi_tensor_info *info = &topology->tensors[tensor];
    const nmi_node *node = &topology->nodes[info->node];
    dims[0] = dims[1] = dims[2] = dims[3] = 1;
    if (!nmi_graph_live(topology, sizes, info->node))
        return 0;
    if (info->role != NMI_ROLE_SCALE)
        dims[0] = shapes[info->node].channels;
    if (info->role != NMI_ROLE_WEIGHT)
        return 1;
    dims[1] = shapes[node->inputs[0]].channels;
    if (node->op == NEUMETA_OP_LINEAR)
        return 2;
    dims[2] = dims[3] = node->kernel;
    return 4;
}
