/* SPDX-License-Identifier: MIT */
/* How topologies come into being: axes, blocks and nodes, one checked call after another, until
 * sealing checks the shapes and lists the tensors. A call that fails changes nothing. */
#include "nmi_build.h"

#include <inttypes.h>
#include <string.h>

/* --- life ------------------------------------------------------------------------------------ */

neumeta_status nmi_topology_create(nmi_context *context, nmi_topology **out)
{
    *out = nmi_alloc_zero(context, sizeof **out);
    if (*out == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&(*out)->object, context);
    (*out)->output = -1;
    (*out)->open_block = -1;
    return NEUMETA_OK;
}

void nmi_topology_retain(nmi_topology *topology)
{
    nmi_object_retain(&topology->object);
}

void nmi_topology_drop_nodes(nmi_topology *topology, int32_t count)
{
    while (topology->node_count > count) {
        nmi_node *node = &topology->nodes[--topology->node_count];
        nmi_free(topology->object.context, node->name);
        nmi_free(topology->object.context, node->inputs);
    }
}

void nmi_topology_drop_axes(nmi_topology *topology, int32_t count)
{
    while (topology->axis_count > count)
        nmi_free(topology->object.context, topology->axes[--topology->axis_count].name);
}

void nmi_topology_drop_blocks(nmi_topology *topology, int32_t count)
{
    while (topology->block_count > count)
        nmi_free(topology->object.context, topology->blocks[--topology->block_count]);
}

void nmi_tensors_free(nmi_context *context, nmi_tensor_info *tensors, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        nmi_free(context, tensors[i].name);
    nmi_free(context, tensors);
}

void nmi_topology_release(nmi_topology *topology)
{
    if (topology == NULL || !nmi_object_release(&topology->object))
        return;
    nmi_context *context = topology->object.context;
    nmi_topology_drop_nodes(topology, 0);
    nmi_topology_drop_axes(topology, 0);
    nmi_topology_drop_blocks(topology, 0);
    nmi_tensors_free(context, topology->tensors, topology->tensor_count);
    nmi_repeat_free(context, topology->repeat);
    nmi_free(context, topology->nodes);
    nmi_free(context, topology->axes);
    nmi_free(context, topology->blocks);
    nmi_free(context, topology->follows);
    nmi_free(context, topology);
    nmi_context_release(context);
}

/* --- names and room -------------------------------------------------------------------------- */

neumeta_status nmi_topology_open(const nmi_topology *topology)
{
    if (topology->sealed)
        return nmi_fail(topology->object.context, NEUMETA_ERR_STATE,
                        "the topology is sealed and cannot change any more");
    return NEUMETA_OK;
}

neumeta_status nmi_name_check(nmi_context *context, const char *what, const char *name)
{
    size_t length = 0;
    while (name != NULL && length <= NMI_NAME_MAX && name[length] >= 0x20 && name[length] < 0x7f)
        length++;
    if (length == 0 || length > NMI_NAME_MAX || name[length] != '\0')
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "the name of a new %s must have 1 to %d printable ASCII characters", what,
                        (int)NMI_NAME_MAX);
    return NEUMETA_OK;
}

bool nmi_topology_has_node(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->node_count; i++)
        if (strcmp(topology->nodes[i].name, name) == 0)
            return true;
    return false;
}

bool nmi_topology_has_block(const nmi_topology *topology, const char *name)
{
    for (int32_t i = 0; i < topology->block_count; i++)
        if (strcmp(topology->blocks[i], name) == 0)
            return true;
    return false;
}

/* `items` with room for one more, moved to twice the room when full; NULL: no memory. */
static void *grown(nmi_context *context, void *items, int32_t count, int32_t *capacity, size_t item)
{
    if (count < *capacity)
        return items;
    int32_t room = *capacity > 0 ? 2 * *capacity : 16;
    void *larger = nmi_alloc_array(context, room, item);
    if (larger == NULL)
        return NULL;
    if (count > 0)
        memcpy(larger, items, (size_t)count * item);
    nmi_free(context, items);
    *capacity = room;
    return larger;
}

/* No more than a topology may have: it is full before it could need more. */
static neumeta_status reserve(nmi_context *context, int64_t count, size_t item, void **items,
                              int32_t *capacity)
{
    const int64_t room = count < NMI_GRAPH_NODES_MAX ? count : NMI_GRAPH_NODES_MAX;
    *items = nmi_alloc_array(context, room, item);
    if (*items == NULL)
        return NEUMETA_ERR_MEMORY;
    *capacity = (int32_t)room;
    return NEUMETA_OK;
}

neumeta_status nmi_topology_reserve(nmi_topology *topology, int64_t axes, int64_t blocks,
                                    int64_t nodes)
{
    nmi_context *context = topology->object.context;
    void *items[3] = {NULL, NULL, NULL};
    NMI_ASSERT(topology->axes == NULL && topology->blocks == NULL && topology->nodes == NULL);
    neumeta_status status =
        reserve(context, axes, sizeof *topology->axes, &items[0], &topology->axis_capacity);
    if (status == NEUMETA_OK)
        status = reserve(context, blocks, sizeof *topology->blocks, &items[1],
                         &topology->block_capacity);
    if (status == NEUMETA_OK)
        status =
            reserve(context, nodes, sizeof *topology->nodes, &items[2], &topology->node_capacity);
    topology->axes = items[0];
    topology->blocks = items[1];
    topology->nodes = items[2];
    return status;
}

/* --- axes and blocks ------------------------------------------------------------------------- */

static neumeta_status check_axis(const nmi_topology *topology, const char *name, int32_t kind,
                                 int64_t min, int64_t max, int64_t step)
{
    nmi_context *context = topology->object.context;
    if (kind != NEUMETA_AXIS_WIDTH && kind != NEUMETA_AXIS_DEPTH)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "axis '%s': kind is %" PRId32 ", must be NEUMETA_AXIS_WIDTH or "
                        "NEUMETA_AXIS_DEPTH",
                        name, kind);
    int64_t low = kind == NEUMETA_AXIS_WIDTH ? 1 : 0;
    int64_t high = kind == NEUMETA_AXIS_WIDTH ? NMI_GRAPH_WIDTH_MAX : NMI_GRAPH_DEPTH_MAX;
    if (min < low || min > max || max > high)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "axis '%s': from %" PRId64 " to %" PRId64
                        ", must be a range within [%" PRId64 ", %" PRId64 "]",
                        name, min, max, low, high);
    if (step < 1 || (max - min) % step != 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "axis '%s': step %" PRId64 " does not lead from %" PRId64 " to %" PRId64,
                        name, step, min, max);
    if (topology->axis_count >= NMI_GRAPH_NODES_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "axis '%s': a topology has at most %d axes",
                        name, (int)NMI_GRAPH_NODES_MAX);
    for (int32_t i = 0; i < topology->axis_count; i++)
        if (strcmp(topology->axes[i].name, name) == 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "axis '%s': the name is taken", name);
    return NEUMETA_OK;
}

static neumeta_status append_axis(nmi_topology *topology, const char *name, int32_t kind,
                                  int64_t min, int64_t max, int64_t step)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = check_axis(topology, name, kind, min, max, step);
    if (status != NEUMETA_OK)
        return status;
    nmi_axis *axes = grown(context, topology->axes, topology->axis_count, &topology->axis_capacity,
                           sizeof *axes);
    if (axes == NULL)
        return NEUMETA_ERR_MEMORY;
    topology->axes = axes;
    char *copy = nmi_text_copy(context, name);
    if (copy == NULL)
        return NEUMETA_ERR_MEMORY;
    axes[topology->axis_count++] =
        (nmi_axis){.name = copy, .kind = kind, .min = min, .max = max, .step = step};
    return NEUMETA_OK;
}

neumeta_status nmi_topology_add_axis(nmi_topology *topology, const char *name, int32_t kind,
                                     int64_t min, int64_t max, int64_t step, int32_t *axis)
{
    nmi_context *context = topology->object.context;
    const struct nmi_repeat *repeat = topology->repeat;
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_name_check(context, "axis", name);
    if (status != NEUMETA_OK)
        return status;
    if (repeat != NULL && kind != NEUMETA_AXIS_WIDTH)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "axis '%s': only width axes can be added inside a repeat", name);
    int32_t before = topology->axis_count;
    if (repeat == NULL) {
        status = append_axis(topology, name, kind, min, max, step);
    } else {
        for (int32_t r = 0; r < repeat->count && status == NEUMETA_OK; r++) {
            char full[NMI_NAME_MAX + 1];
            status = nmi_repeat_name(context, repeat, repeat->first + r, name, full);
            if (status == NEUMETA_OK)
                status = append_axis(topology, full, kind, min, max, step);
        }
    }
    if (status == NEUMETA_OK)
        *axis = before;
    else
        nmi_topology_drop_axes(topology, before);
    return status;
}

neumeta_status nmi_topology_append_block(nmi_topology *topology, const char *name)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_name_check(context, "block", name);
    if (status != NEUMETA_OK)
        return status;
    if (nmi_topology_has_block(topology, name))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "block '%s': the name is taken", name);
    if (topology->block_count >= NMI_GRAPH_NODES_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "block '%s': a topology has at most %d blocks", name,
                        (int)NMI_GRAPH_NODES_MAX);
    char **blocks = grown(context, topology->blocks, topology->block_count,
                          &topology->block_capacity, sizeof *blocks);
    if (blocks == NULL)
        return NEUMETA_ERR_MEMORY;
    topology->blocks = blocks;
    char *copy = nmi_text_copy(context, name);
    if (copy == NULL)
        return NEUMETA_ERR_MEMORY;
    blocks[topology->block_count++] = copy;
    return NEUMETA_OK;
}

neumeta_status nmi_topology_begin_block(nmi_topology *topology, const char *name)
{
    if (topology->repeat != NULL)
        return nmi_fail(topology->object.context, NEUMETA_ERR_STATE,
                        "repeat '%s' is open, and each of its repetitions is one block already",
                        topology->repeat->name);
    neumeta_status status = nmi_topology_append_block(topology, name);
    if (status == NEUMETA_OK)
        topology->open_block = topology->block_count - 1;
    return status;
}

/* --- nodes ----------------------------------------------------------------------------------- */

neumeta_status nmi_topology_append_node(nmi_topology *topology, const nmi_node *node,
                                        int32_t *number)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_node_check(topology, node);
    if (status != NEUMETA_OK)
        return status;
    nmi_node *nodes = grown(context, topology->nodes, topology->node_count,
                            &topology->node_capacity, sizeof *nodes);
    if (nodes == NULL)
        return NEUMETA_ERR_MEMORY;
    topology->nodes = nodes;
    nmi_node copy;
    nmi_node_normalize(node, &copy);
    copy.name = nmi_text_copy(context, node->name);
    copy.inputs = nmi_alloc_array(context, node->input_count, sizeof *copy.inputs);
    if (copy.name == NULL || copy.inputs == NULL) {
        nmi_free(context, copy.name);
        nmi_free(context, copy.inputs);
        return NEUMETA_ERR_MEMORY;
    }
    if (node->input_count > 0)
        memcpy(copy.inputs, node->inputs, (size_t)node->input_count * sizeof *copy.inputs);
    nodes[topology->node_count] = copy;
    *number = topology->node_count++;
    return NEUMETA_OK;
}

/* Inside a repeat only the axes of the first repetition have a counterpart in the others; after it,
 * what is inside is out of reach. */
static neumeta_status check_repeat(const nmi_topology *topology, const char *name,
                                   const int32_t *inputs, int32_t count, int32_t axis)
{
    nmi_context *context = topology->object.context;
    const struct nmi_repeat *repeat = topology->repeat;
    if (repeat != NULL && axis >= repeat->first_axis &&
        (axis - repeat->first_axis) % repeat->count != 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': axis %" PRId32 " belongs to a later repetition, must be that "
                        "of the first",
                        name, axis);
    for (int32_t i = 0; i < count; i++) {
        int32_t input = inputs[i];
        if (input < 0 || input >= topology->node_count)
            continue; /* nmi_node_check() says so */
        const nmi_node *node = &topology->nodes[input];
        bool inside = repeat != NULL && input >= repeat->first_node;
        if (node->depth_axis >= 0 && node->op != NEUMETA_OP_SELECT && !inside)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "node '%s': input '%s' is inside a repeat that has ended; use the node "
                            "that ends the repeat",
                            name, node->name);
    }
    return NEUMETA_OK;
}

neumeta_status nmi_topology_place(nmi_topology *topology, const char *name, const nmi_node *node,
                                  const int32_t *inputs, int32_t count, int32_t axis,
                                  int32_t *number)
{
    nmi_context *context = topology->object.context;
    const struct nmi_repeat *repeat = topology->repeat;
    char full[NMI_NAME_MAX + 1];
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_name_check(context, "node", name);
    if (status == NEUMETA_OK)
        status = check_repeat(topology, name, inputs, count, axis);
    if (status == NEUMETA_OK && repeat != NULL)
        status = nmi_repeat_name(context, repeat, repeat->first, name, full);
    if (status != NEUMETA_OK)
        return status;
    if (repeat == NULL)
        memcpy(full, name, strlen(name) + 1);

    nmi_node placed = *node;
    placed.name = full;
    placed.inputs = (int32_t *)(uintptr_t)inputs; /* only read */
    placed.input_count = count;
    placed.axis = axis;
    placed.block = topology->open_block;
    placed.depth_axis = repeat != NULL ? repeat->depth_axis : -1;
    placed.depth_number = repeat != NULL ? repeat->first : 0;
    return nmi_topology_append_node(topology, &placed, number);
}

neumeta_status nmi_topology_add_node(nmi_topology *topology, const char *name, int32_t op,
                                     const int32_t *inputs, int32_t count, int32_t axis,
                                     const nmi_options *options, int32_t *node)
{
    nmi_context *context = topology->object.context;
    nmi_node described;
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_name_check(context, "node", name);
    if (status == NEUMETA_OK)
        status = nmi_node_from_options(context, name, op, options, &described);
    if (status == NEUMETA_OK)
        status = nmi_topology_place(topology, name, &described, inputs, count, axis, node);
    return status;
}

static neumeta_status copy_frame(const nmi_topology *topology, nmi_context *context,
                                 nmi_topology **out)
{
    nmi_topology *copy;
    neumeta_status status = nmi_topology_create(context, &copy);
    *out = NULL;
    if (status != NEUMETA_OK)
        return status;
    for (int32_t i = 0; i < topology->axis_count && status == NEUMETA_OK; i++) {
        const nmi_axis *axis = &topology->axes[i];
        status = append_axis(copy, axis->name, axis->kind, axis->min, axis->max, axis->step);
    }
    for (int32_t i = 0; i < topology->block_count && status == NEUMETA_OK; i++)
        status = nmi_topology_append_block(copy, topology->blocks[i]);
    if (status == NEUMETA_OK)
        *out = copy;
    else
        nmi_topology_release(copy);
    return status;
}

neumeta_status nmi_topology_copy_frame(const nmi_topology *topology, nmi_topology **out)
{
    return copy_frame(topology, topology->object.context, out);
}

neumeta_status nmi_topology_copy(const nmi_topology *topology, nmi_context *context,
                                 nmi_topology **out)
{
    int32_t number;
    neumeta_status status = copy_frame(topology, context, out);
    for (int32_t i = 0; i < topology->node_count && status == NEUMETA_OK; i++)
        status = nmi_topology_append_node(*out, &topology->nodes[i], &number);
    if (status == NEUMETA_OK)
        status = nmi_topology_seal(*out, topology->output);
    if (status != NEUMETA_OK) {
        nmi_topology_release(*out);
        *out = NULL;
    }
    return status;
}
