/* SPDX-License-Identifier: MIT */
/* Public calls on topologies. */
#include "nmi_api.h"
#include "nmi_graph.h"

#include <inttypes.h>

/* --- building -------------------------------------------------------------------------------- */

neumeta_status neumeta_topology_create(neumeta_context *context, neumeta_topology **topology)
{
    NMI_API_CLEAR(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    status = NMI_API_NEED(context, topology);
    if (status == NEUMETA_OK)
        status = nmi_topology_create(context, topology);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_create_builtin(neumeta_context *context, const char *name,
                                               const neumeta_options *options,
                                               neumeta_topology **topology)
{
    NMI_API_CLEAR(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, name)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, topology)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK)
        status = nmi_topology_create_builtin(context, name, options, topology);
    return nmi_api_end(context, status);
}

void neumeta_topology_free(neumeta_topology *topology)
{
    nmi_topology_release(topology);
}

const char *neumeta_topology_builtin_name(int32_t index)
{
    return nmi_topology_builtin_name(index);
}

neumeta_status neumeta_topology_add_axis(neumeta_topology *topology, const char *name, int32_t kind,
                                         int64_t min, int64_t max, int64_t step, int32_t *axis)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, name)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, axis)) == NEUMETA_OK)
        status = nmi_topology_add_axis(topology, name, kind, min, max, step, axis);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_begin_block(neumeta_topology *topology, const char *name)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    status = NMI_API_NEED(context, name);
    if (status == NEUMETA_OK)
        status = nmi_topology_begin_block(topology, name);
    return nmi_api_end(context, status);
}

static neumeta_status check_inputs(nmi_context *context, const char *name, const int32_t *inputs,
                                   int32_t count)
{
    if (count < 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': count is %" PRId32 ", must not be negative", name, count);
    if (count > 0 && inputs == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': inputs is NULL, but count is %" PRId32, name, count);
    return NEUMETA_OK;
}

neumeta_status neumeta_topology_add_node(neumeta_topology *topology, const char *name, int32_t op,
                                         const int32_t *inputs, int32_t count, int32_t axis,
                                         const neumeta_options *options, int32_t *node)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, name)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, node)) == NEUMETA_OK &&
        (status = check_inputs(context, name, inputs, count)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK)
        status = nmi_topology_add_node(topology, name, op, inputs, count, axis, options, node);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_begin_repeat(neumeta_topology *topology, const char *name,
                                             int32_t depth_axis, int32_t first, int32_t node)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    status = NMI_API_NEED(context, name);
    if (status == NEUMETA_OK)
        status = nmi_topology_begin_repeat(topology, name, depth_axis, first, node);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_end_repeat(neumeta_topology *topology, int32_t last, int32_t *node)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    status = NMI_API_NEED(context, node);
    if (status == NEUMETA_OK)
        status = nmi_topology_end_repeat(topology, last, node);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_seal(neumeta_topology *topology, int32_t output)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_topology_seal(topology, output));
}

/* --- questions ------------------------------------------------------------------------------- */

int32_t neumeta_topology_axis_count(const neumeta_topology *topology)
{
    return topology != NULL && topology->sealed ? topology->axis_count : -1;
}

static neumeta_status read_axis(const nmi_topology *topology, int32_t axis, const nmi_axis **out)
{
    neumeta_status status = nmi_api_sealed(topology->object.context, topology);
    if (status != NEUMETA_OK)
        return status;
    if (axis < 0 || axis >= topology->axis_count)
        return nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                        "axis is %" PRId32 ", must lie in [0, %" PRId32 "]", axis,
                        topology->axis_count - 1);
    *out = &topology->axes[axis];
    return NEUMETA_OK;
}

neumeta_status neumeta_topology_axis(const neumeta_topology *topology, int32_t axis,
                                     const char **name, int32_t *kind, int64_t *min, int64_t *max,
                                     int64_t *step)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    const nmi_axis *found = NULL;
    status = read_axis(topology, axis, &found);
    if (status == NEUMETA_OK) {
        if (name != NULL)
            *name = found->name;
        if (kind != NULL)
            *kind = found->kind;
        if (min != NULL)
            *min = found->min;
        if (max != NULL)
            *max = found->max;
        if (step != NULL)
            *step = found->step;
    }
    return nmi_api_end(context, status);
}

int32_t neumeta_topology_block_count(const neumeta_topology *topology)
{
    return topology != NULL && topology->sealed ? topology->block_count : -1;
}

const char *neumeta_topology_block_name(const neumeta_topology *topology, int32_t block)
{
    bool exists = block >= 0 && block < neumeta_topology_block_count(topology);
    return exists ? topology->blocks[block] : NULL;
}

neumeta_status neumeta_topology_cost(const neumeta_topology *topology, const int64_t *sizes,
                                     int32_t count, int64_t *parameters, int64_t *flops)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    int64_t found[2];
    if ((status = nmi_api_sealed(topology->object.context, topology)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, sizes)) == NEUMETA_OK &&
        (status = nmi_graph_check_sizes(topology, sizes, count)) == NEUMETA_OK)
        status = nmi_graph_cost(topology, sizes, &found[0], &found[1]);
    if (status == NEUMETA_OK && parameters != NULL)
        *parameters = found[0];
    if (status == NEUMETA_OK && flops != NULL)
        *flops = found[1];
    return nmi_api_end(context, status);
}

static void tell_shape(const nmi_shape *shape, int64_t *out)
{
    if (out == NULL)
        return;
    out[0] = shape->channels;
    out[1] = shape->height;
    out[2] = shape->width;
}

/* At the sizes given, or the full ones; `shapes` is the caller's to free, whatever comes of it. */
static neumeta_status find_shapes(const nmi_topology *topology, const int64_t *sizes, int32_t count,
                                  nmi_shape **shapes)
{
    if (sizes == NULL)
        return nmi_graph_full_shapes(topology, shapes);
    const neumeta_status status = nmi_graph_check_sizes(topology, sizes, count);
    if (status != NEUMETA_OK)
        return status;
    *shapes = nmi_alloc_array(topology->object.context, topology->node_count, sizeof **shapes);
    return *shapes != NULL ? nmi_graph_shapes(topology, sizes, *shapes) : NEUMETA_ERR_MEMORY;
}

neumeta_status neumeta_topology_shapes(const neumeta_topology *topology, const int64_t *sizes,
                                       int32_t count, int64_t *input, int64_t *output)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    nmi_shape *shapes = NULL;
    if (status != NEUMETA_OK)
        return status;
    if ((status = nmi_api_sealed(context, topology)) == NEUMETA_OK &&
        (status = find_shapes(topology, sizes, count, &shapes)) == NEUMETA_OK) {
        tell_shape(&shapes[0], input); /* an input is always the first node */
        tell_shape(&shapes[topology->output], output);
    }
    nmi_free(context, shapes);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_topology_sizes_at(const neumeta_topology *topology, double gamma,
                                         int64_t *sizes, int32_t count)
{
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = nmi_api_sealed(topology->object.context, topology)) == NEUMETA_OK &&
        (status = nmi_api_gamma(topology, gamma, sizes, count)) == NEUMETA_OK)
        nmi_graph_sizes_at(topology, gamma, sizes);
    return nmi_api_end(context, status);
}
