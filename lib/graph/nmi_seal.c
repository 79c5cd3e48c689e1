/* SPDX-License-Identifier: MIT */
/* Sealing: the last checks of a topology, and the tables that answer questions about it. */
#include "nmi_build.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- tensors --------------------------------------------------------------------------------- */

typedef struct tensor_kind {
    int32_t op;
    nmi_role role;
    const char *suffix;
} tensor_kind;

/* In order of role within each operator. */
static const tensor_kind kinds[] = {
    {NEUMETA_OP_CONV, NMI_ROLE_WEIGHT, "weight"},
    {NEUMETA_OP_CONV, NMI_ROLE_BIAS, "bias"},
    {NEUMETA_OP_LINEAR, NMI_ROLE_WEIGHT, "weight"},
    {NEUMETA_OP_LINEAR, NMI_ROLE_BIAS, "bias"},
    {NEUMETA_OP_NORM, NMI_ROLE_NORM_WEIGHT, "weight"},
    {NEUMETA_OP_NORM, NMI_ROLE_NORM_BIAS, "bias"},
    {NEUMETA_OP_NORM, NMI_ROLE_RUNNING_MEAN, "running_mean"},
    {NEUMETA_OP_NORM, NMI_ROLE_RUNNING_VAR, "running_var"},
    {NEUMETA_OP_SCALE, NMI_ROLE_SCALE, "scale"},
    {NEUMETA_OP_AFFINE, NMI_ROLE_AFFINE_WEIGHT, "weight"},
    {NEUMETA_OP_AFFINE, NMI_ROLE_AFFINE_BIAS, "bias"},
    {NEUMETA_OP_GROUP_NORM, NMI_ROLE_NORM_WEIGHT, "weight"},
    {NEUMETA_OP_GROUP_NORM, NMI_ROLE_NORM_BIAS, "bias"},
};

static const tensor_kind *kind_of(const nmi_node *node, int32_t index)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].op == node->op && (kinds[i].role != NMI_ROLE_BIAS || node->bias) &&
            index-- == 0)
            return &kinds[i];
    return NULL;
}

/* Lists the tensors of all nodes; the caller frees the first *count names and the list, also after
 * a failure. */
static neumeta_status list_tensors(const nmi_topology *topology, nmi_tensor_info **list,
                                   int32_t *count)
{
    nmi_context *context = topology->object.context;
    int64_t room = 0;
    for (int32_t i = 0; i < topology->node_count; i++)
        for (int32_t k = 0; kind_of(&topology->nodes[i], k) != NULL; k++)
            room++;
    *count = 0;
    *list = nmi_alloc_array(context, room, sizeof **list);
    if (*list == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; i < topology->node_count; i++) {
        const nmi_node *node = &topology->nodes[i];
        const tensor_kind *kind;
        for (int32_t k = 0; (kind = kind_of(node, k)) != NULL; k++) {
            size_t size = strlen(node->name) + strlen(kind->suffix) + 2;
            char *name = nmi_alloc(context, size);
            if (name == NULL)
                return NEUMETA_ERR_MEMORY;
            snprintf(name, size, "%s.%s", node->name, kind->suffix);
            (*list)[(*count)++] = (nmi_tensor_info){name, i, kind->role};
        }
    }
    return NEUMETA_OK;
}

/* --- axes that channels follow --------------------------------------------------------------- */

/* Channels follow a node's own axis, or else everything that the channels of its inputs follow. */
static uint64_t *list_follows(const nmi_topology *topology, int32_t words)
{
    uint64_t *list =
        nmi_alloc_matrix(topology->object.context, topology->node_count, words, sizeof *list);
    if (list == NULL)
        return NULL;
    memset(list, 0, (size_t)topology->node_count * (size_t)words * sizeof *list);
    for (int32_t i = 0; i < topology->node_count; i++) {
        const nmi_node *node = &topology->nodes[i];
        uint64_t *own = list + (int64_t)i * words;
        if (node->axis >= 0) {
            own[node->axis / 64] |= UINT64_C(1) << (node->axis % 64);
            continue;
        }
        for (int32_t j = 0; j < node->input_count; j++) {
            const uint64_t *input = list + (int64_t)node->inputs[j] * words;
            for (int32_t w = 0; w < words; w++)
                own[w] |= input[w];
        }
    }
    return list;
}

/* --- checks ---------------------------------------------------------------------------------- */

static neumeta_status check_output(const nmi_topology *topology, int32_t output)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = nmi_topology_open(topology);
    if (status != NEUMETA_OK)
        return status;
    if (topology->repeat != NULL)
        return nmi_fail(context, NEUMETA_ERR_STATE, "repeat '%s' is still open",
                        topology->repeat->name);
    if (topology->node_count == 0)
        return nmi_fail(context, NEUMETA_ERR_STATE, "the topology has no nodes");
    if (output < 0 || output >= topology->node_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "output is node %" PRId32 ", must be one of the %" PRId32 " nodes", output,
                        topology->node_count);
    if ((int64_t)topology->node_count * topology->axis_count > NMI_GRAPH_PAIRS_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "the topology has %" PRId32 " nodes and %" PRId32
                        " axes, their product must be at most %d",
                        topology->node_count, topology->axis_count, (int)NMI_GRAPH_PAIRS_MAX);
    const nmi_node *node = &topology->nodes[output];
    if (node->depth_axis >= 0 && node->op != NEUMETA_OP_SELECT)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "output '%s' is inside a repeat and not always present", node->name);
    return NEUMETA_OK;
}

static neumeta_status check_shapes(const nmi_topology *topology)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = NEUMETA_ERR_MEMORY;
    int64_t *sizes = nmi_alloc_array(context, topology->axis_count, sizeof *sizes);
    nmi_shape *shapes = nmi_alloc_array(context, topology->node_count, sizeof *shapes);
    if (sizes == NULL || shapes == NULL)
        goto done;
    nmi_graph_full_sizes(topology, sizes);
    status = nmi_graph_shapes(topology, sizes, shapes);
    if (status != NEUMETA_OK) {
        nmi_fail_within(context, status, "at the largest sizes");
        goto done;
    }
    for (int32_t i = 0; i < topology->axis_count; i++)
        sizes[i] = topology->axes[i].min;
    status = nmi_graph_shapes(topology, sizes, shapes);
    if (status != NEUMETA_OK)
        nmi_fail_within(context, status, "at the smallest sizes");
done:
    nmi_free(context, sizes);
    nmi_free(context, shapes);
    return status;
}

static void mark_sums(nmi_topology *topology)
{
    for (int32_t i = 0; i < topology->node_count; i++) {
        const uint64_t *words = topology->follows + (int64_t)i * topology->follow_words;
        for (int32_t a = 0; topology->nodes[i].op == NEUMETA_OP_ADD && a < topology->axis_count;
             a++)
            if (words[a / 64] >> (a % 64) & 1)
                topology->axes[a].summed = true;
    }
}

neumeta_status nmi_topology_seal(nmi_topology *topology, int32_t output)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = check_output(topology, output);
    if (status == NEUMETA_OK)
        status = check_shapes(topology);
    if (status != NEUMETA_OK)
        return status;
    nmi_tensor_info *tensors;
    int32_t count;
    int32_t words = topology->axis_count / 64 + 1;
    uint64_t *follows = NULL;
    status = list_tensors(topology, &tensors, &count);
    if (status == NEUMETA_OK && (follows = list_follows(topology, words)) == NULL)
        status = NEUMETA_ERR_MEMORY;
    if (status != NEUMETA_OK) {
        nmi_tensors_free(context, tensors, count);
        return status;
    }
    topology->tensors = tensors;
    topology->tensor_count = count;
    topology->follows = follows;
    topology->follow_words = words;
    mark_sums(topology);
    topology->output = output;
    topology->sealed = true;
    return NEUMETA_OK;
}
