/* SPDX-License-Identifier: MIT */
/* Old nodes to new ones through a map, and the transfer of the weights: see nmi_rewrite.h. */
#include "nmi_rewrite.h"

#include <stdio.h>
#include <string.h>

void nmi_rewrite_inputs(nmi_rewrite *rewrite, int32_t old)
{
    const nmi_node *node = &rewrite->source->topology->nodes[old];
    for (int32_t input = 0; input < node->input_count; input++)
        rewrite->inputs[input] = rewrite->map[node->inputs[input]];
}

neumeta_status nmi_rewrite_put(nmi_rewrite *rewrite, int32_t old, const nmi_node *node)
{
    nmi_node copy = *node;
    copy.inputs = rewrite->inputs;
    return nmi_topology_append_node(rewrite->topology, &copy, &rewrite->map[old]);
}

neumeta_status nmi_rewrite_copy(nmi_rewrite *rewrite, int32_t old)
{
    nmi_rewrite_inputs(rewrite, old);
    return nmi_rewrite_put(rewrite, old, &rewrite->source->topology->nodes[old]);
}

/* "<stem>.<suffix>", or with 2, 3, ... behind it; freed by the caller. */
static char *make_name(const nmi_rewrite *rewrite, const char *stem, const char *suffix)
{
    size_t room = strlen(stem) + strlen(suffix) + 16;
    char *name = nmi_alloc(rewrite->context, room);
    if (name == NULL)
        return NULL;
    snprintf(name, room, "%s.%s", stem, suffix);
    for (int number = 2; nmi_topology_has_node(rewrite->source->topology, name) ||
                         nmi_topology_has_node(rewrite->topology, name);
         number++)
        snprintf(name, room, "%s.%s%d", stem, suffix, number);
    return name;
}

neumeta_status nmi_rewrite_insert(nmi_rewrite *rewrite, int32_t op, const char *suffix,
                                  int32_t beside, double value, int32_t *number)
{
    const nmi_topology *old = rewrite->source->topology;
    const nmi_node *neighbour = &old->nodes[beside];
    const char *stem = neighbour->block >= 0 ? old->blocks[neighbour->block] : neighbour->name;
    char *name = make_name(rewrite, stem, suffix);
    if (name == NULL)
        return NEUMETA_ERR_MEMORY;
    int32_t input = *number;
    nmi_node node = nmi_node_default(op);
    node.name = name;
    node.inputs = &input;
    node.input_count = 1;
    node.value = value;
    node.block = neighbour->block;
    if (neighbour->op != NEUMETA_OP_SELECT) { /* a SELECT is always live */
        node.depth_axis = neighbour->depth_axis;
        node.depth_number = neighbour->depth_number;
    }
    neumeta_status status = nmi_topology_append_node(rewrite->topology, &node, number);
    nmi_free(rewrite->context, name);
    return status;
}

int32_t nmi_rewrite_uses(const nmi_topology *topology, int32_t node)
{
    int32_t uses = topology->output == node;
    for (int32_t other = node + 1; other < topology->node_count; other++)
        for (int32_t input = 0; input < topology->nodes[other].input_count; input++)
            uses += topology->nodes[other].inputs[input] == node;
    return uses;
}

bool nmi_rewrite_has_kernel(const nmi_node *node)
{
    return node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR;
}

nmi_tensor *nmi_rewrite_tensor(const nmi_rewrite *rewrite, nmi_network *result, int32_t old,
                               nmi_role role)
{
    int32_t tensor = nmi_graph_node_tensor(result->topology, rewrite->map[old], role);
    return tensor >= 0 ? &result->tensors[tensor] : NULL;
}

static neumeta_status begin(nmi_rewrite *rewrite)
{
    const nmi_topology *old = rewrite->source->topology;
    int32_t most_inputs = 1;
    for (int32_t node = 0; node < old->node_count; node++)
        if (old->nodes[node].input_count > most_inputs)
            most_inputs = old->nodes[node].input_count;
    rewrite->map = nmi_alloc_zero_array(rewrite->context, old->node_count, sizeof *rewrite->map);
    rewrite->inputs = nmi_alloc_zero_array(rewrite->context, most_inputs, sizeof *rewrite->inputs);
    if (rewrite->map == NULL || rewrite->inputs == NULL)
        return NEUMETA_ERR_MEMORY;
    return nmi_topology_copy_frame(old, &rewrite->topology);
}

static void transfer_tensor(const nmi_network *source, nmi_network *result, int32_t tensor)
{
    const nmi_tensor_info *info = &result->topology->tensors[tensor];
    nmi_tensor *to = &result->tensors[tensor];
    if (to->data == NULL)
        return;
    int32_t old = nmi_graph_find_tensor(source->topology, info->name);
    if (old >= 0 && source->topology->tensors[old].role == info->role &&
        source->tensors[old].data != NULL) {
        NMI_ASSERT(source->tensors[old].count == to->count);
        memcpy(to->data, source->tensors[old].data, (size_t)to->count * sizeof(float));
    } else if (info->role == NMI_ROLE_SCALE) {
        to->data[0] = (float)result->topology->nodes[info->node].value;
    }
}

neumeta_status nmi_rewrite_run(const nmi_network *source, nmi_rewrite_node node,
                               nmi_rewrite_values values, void *user, nmi_network **out)
{
    const nmi_topology *old = source->topology;
    nmi_rewrite rewrite = {.context = source->object.context, .source = source, .user = user};
    nmi_network *result = NULL;
    neumeta_status status = begin(&rewrite);
    for (int32_t number = 0; number < old->node_count && status == NEUMETA_OK; number++)
        status = node(&rewrite, number);
    if (status == NEUMETA_OK)
        status = nmi_topology_seal(rewrite.topology, rewrite.map[old->output]);
    if (status == NEUMETA_OK)
        status = nmi_network_create(rewrite.context, rewrite.topology, source->sizes, &result);
    for (int32_t t = 0; status == NEUMETA_OK && t < result->topology->tensor_count; t++)
        transfer_tensor(source, result, t);
    for (int32_t number = 0; values != NULL && number < old->node_count && status == NEUMETA_OK;
         number++)
        status = values(&rewrite, number, result);
    if (status == NEUMETA_OK) {
        nmi_network_touch(result);
        *out = result;
        result = NULL;
    }
    nmi_network_release(result);
    nmi_topology_release(rewrite.topology);
    nmi_free(rewrite.context, rewrite.map);
    nmi_free(rewrite.context, rewrite.inputs);
    return status;
}
