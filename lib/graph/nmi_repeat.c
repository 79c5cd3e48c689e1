/* SPDX-License-Identifier: MIT */
/* Repeats: the run is recorded once as the first repetition, and copied for the others when it
 * ends, so that nothing behind the builder knows about repeats. */
#include "nmi_build.h"

#include <inttypes.h>
#include <stdio.h>

void nmi_repeat_free(nmi_context *context, struct nmi_repeat *repeat)
{
    if (repeat != NULL)
        nmi_free(context, repeat->name);
    nmi_free(context, repeat);
}

neumeta_status nmi_repeat_name(nmi_context *context, const struct nmi_repeat *repeat,
                               int32_t number, const char *name, char *out)
{
    int length = snprintf(out, NMI_NAME_MAX + 1, "%s.%" PRId32 "%s%s", repeat->name, number,
                          name != NULL ? "." : "", name != NULL ? name : "");
    if (length < 0 || length > NMI_NAME_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': the name '%s.%" PRId32 ".%s' is longer than %d characters",
                        repeat->name, repeat->name, number, name != NULL ? name : "",
                        (int)NMI_NAME_MAX);
    return NEUMETA_OK;
}

static neumeta_status check_begin(const nmi_topology *topology, const char *name,
                                  int32_t depth_axis, int32_t first, int32_t node)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = nmi_topology_open(topology);
    if (status == NEUMETA_OK)
        status = nmi_name_check(context, "repeat", name);
    if (status != NEUMETA_OK)
        return status;
    if (topology->repeat != NULL)
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "repeat '%s': repeat '%s' is still open, and repeats cannot be nested",
                        name, topology->repeat->name);
    if (depth_axis < 0 || depth_axis >= topology->axis_count ||
        topology->axes[depth_axis].kind != NEUMETA_AXIS_DEPTH)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': axis %" PRId32 " is not an axis of kind depth", name,
                        depth_axis);
    const nmi_axis *axis = &topology->axes[depth_axis];
    if (first < 0 || first > axis->min || first >= axis->max)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': first is %" PRId32 ", must lie in [0, %" PRId64
                        "], from axis '%s' (%" PRId64 " to %" PRId64 ")",
                        name, first, axis->min < axis->max ? axis->min : axis->max - 1, axis->name,
                        axis->min, axis->max);
    if (node < 0 || node >= topology->node_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': input is node %" PRId32 ", must be one of the %" PRId32
                        " nodes before it",
                        name, node, topology->node_count);
    const nmi_node *input = &topology->nodes[node];
    if (input->depth_axis >= 0 && input->op != NEUMETA_OP_SELECT)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': input '%s' is inside a repeat that has ended; use the node "
                        "that ends the repeat",
                        name, input->name);
    if (nmi_topology_has_node(topology, name))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "repeat '%s': a node has this name", name);
    return NEUMETA_OK;
}

/* Blocks of all repetitions at once, so that a taken name shows before anything is built. */
static neumeta_status append_blocks(nmi_topology *topology, const struct nmi_repeat *repeat)
{
    char full[NMI_NAME_MAX + 1];
    neumeta_status status = NEUMETA_OK;
    for (int32_t r = 0; r < repeat->count && status == NEUMETA_OK; r++) {
        status = nmi_repeat_name(topology->object.context, repeat, repeat->first + r, NULL, full);
        if (status == NEUMETA_OK)
            status = nmi_topology_append_block(topology, full);
    }
    return status;
}

neumeta_status nmi_topology_begin_repeat(nmi_topology *topology, const char *name,
                                         int32_t depth_axis, int32_t first, int32_t node)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = check_begin(topology, name, depth_axis, first, node);
    if (status != NEUMETA_OK)
        return status;
    struct nmi_repeat *repeat = nmi_alloc_zero(context, sizeof *repeat);
    if (repeat == NULL)
        return NEUMETA_ERR_MEMORY;
    *repeat = (struct nmi_repeat){.depth_axis = depth_axis,
                                  .first = first,
                                  .count = (int32_t)topology->axes[depth_axis].max - first,
                                  .input = node,
                                  .first_node = topology->node_count,
                                  .first_axis = topology->axis_count,
                                  .first_block = topology->block_count};
    repeat->name = nmi_text_copy(context, name);
    status = repeat->name != NULL ? append_blocks(topology, repeat) : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK) {
        topology->repeat = repeat;
        topology->open_block = repeat->first_block;
    } else {
        nmi_topology_drop_blocks(topology, repeat->first_block);
        nmi_repeat_free(context, repeat);
    }
    return status;
}

/* Node `source` of the first repetition, as repetition `r` (from 0) has it. `inputs` has room. */
static neumeta_status copy_node(nmi_topology *topology, const struct nmi_repeat *repeat,
                                int32_t source, int32_t r, int32_t length, int32_t last,
                                int32_t *inputs)
{
    nmi_node copy = topology->nodes[source];
    char full[NMI_NAME_MAX + 1];
    /* The name of the first repetition starts with "<repeat>.<first>.". */
    int prefix = snprintf(full, sizeof full, "%s.%" PRId32 ".", repeat->name, repeat->first);
    neumeta_status status = nmi_repeat_name(topology->object.context, repeat, repeat->first + r,
                                            copy.name + prefix, full);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t i = 0; i < copy.input_count; i++) {
        int32_t input = copy.inputs[i];
        if (input >= repeat->first_node)
            inputs[i] = input + r * length;
        else
            inputs[i] = input == repeat->input ? last + (r - 1) * length : input;
    }
    copy.name = full;
    copy.inputs = inputs;
    copy.axis = copy.axis >= repeat->first_axis ? copy.axis + r : copy.axis;
    copy.block = repeat->first_block + r;
    copy.depth_number = repeat->first + r;
    int32_t number;
    return nmi_topology_append_node(topology, &copy, &number);
}

/* The node that passes on the output of the last live repetition. */
static neumeta_status append_select(nmi_topology *topology, const struct nmi_repeat *repeat,
                                    int32_t last, int32_t length, int32_t *inputs, int32_t *number)
{
    inputs[0] = repeat->input;
    for (int32_t r = 0; r < repeat->count; r++)
        inputs[r + 1] = last + r * length;
    nmi_node select = nmi_node_default(NEUMETA_OP_SELECT);
    select.name = repeat->name;
    select.inputs = inputs;
    select.input_count = repeat->count + 1;
    select.block = repeat->first_block + repeat->count - 1;
    select.depth_axis = repeat->depth_axis;
    select.depth_number = repeat->first;
    return nmi_topology_append_node(topology, &select, number);
}

neumeta_status nmi_topology_end_repeat(nmi_topology *topology, int32_t last, int32_t *node)
{
    nmi_context *context = topology->object.context;
    struct nmi_repeat *repeat = topology->repeat;
    neumeta_status status = nmi_topology_open(topology);
    if (status != NEUMETA_OK)
        return status;
    if (repeat == NULL)
        return nmi_fail(context, NEUMETA_ERR_STATE, "no repeat is open");
    int32_t end = topology->node_count;
    if (last < repeat->first_node || last >= end)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': last is node %" PRId32 ", must be a node made inside it",
                        repeat->name, last);
    int32_t length = end - repeat->first_node;
    if ((int64_t)length * repeat->count + repeat->first_node >= NMI_GRAPH_NODES_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "repeat '%s': %" PRId32 " times %" PRId32 " nodes exceed the %d of a "
                        "topology",
                        repeat->name, repeat->count, length, (int)NMI_GRAPH_NODES_MAX);
    int32_t room = NMI_OP_INPUTS_MAX > repeat->count + 1 ? NMI_OP_INPUTS_MAX : repeat->count + 1;
    int32_t *inputs = nmi_alloc_array(context, room, sizeof *inputs);
    if (inputs == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t r = 1; r < repeat->count && status == NEUMETA_OK; r++)
        for (int32_t i = 0; i < length && status == NEUMETA_OK; i++)
            status = copy_node(topology, repeat, repeat->first_node + i, r, length, last, inputs);
    if (status == NEUMETA_OK)
        status = append_select(topology, repeat, last, length, inputs, node);
    nmi_free(context, inputs);
    if (status != NEUMETA_OK) {
        nmi_topology_drop_nodes(topology, end);
        return status;
    }
    topology->open_block = topology->block_count - 1;
    topology->repeat = NULL;
    nmi_repeat_free(context, repeat);
    return NEUMETA_OK;
}
