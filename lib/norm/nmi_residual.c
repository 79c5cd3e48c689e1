/* SPDX-License-Identifier: MIT */
/* Finds residual branches by comparing the ancestors of the two inputs of each sum. */
#include "nmi_residual.h"

#include "nmi_rewrite.h"

#include <string.h>

/* Convolutions and linear nodes among the ancestors of one input only: kernels[0] those of the
 * first input, kernels[1] of the second. `reach` [node_count] is scratch. */
static void count_kernels(const nmi_topology *topology, int32_t add, uint8_t *reach,
                          int64_t kernels[2])
{
    memset(reach, 0, (size_t)topology->node_count);
    kernels[0] = kernels[1] = 0;
    reach[topology->nodes[add].inputs[0]] |= 1;
    reach[topology->nodes[add].inputs[1]] |= 2;
    for (int32_t number = add - 1; number >= 0; number--) {
        const nmi_node *node = &topology->nodes[number];
        for (int32_t input = 0; input < node->input_count; input++)
            reach[node->inputs[input]] |= reach[number];
        if (nmi_rewrite_has_kernel(node) && (reach[number] == 1 || reach[number] == 2))
            kernels[reach[number] - 1]++;
    }
}

static neumeta_status find_branch(nmi_context *context, const nmi_topology *topology, int32_t add,
                                  uint8_t *reach, int32_t *branch)
{
    const nmi_node *node = &topology->nodes[add];
    int64_t kernels[2];
    if (node->input_count != 2)
        return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                        "the sum '%s' has %d inputs, a residual sum has 2", node->name,
                        (int)node->input_count);
    count_kernels(topology, add, reach, kernels);
    if (kernels[0] == kernels[1])
        return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                        "the inputs of the sum '%s' both pass %lld convolutions since they "
                        "parted, so that neither is the shortcut",
                        node->name, (long long)kernels[0]);
    *branch = kernels[1] > kernels[0];
    return NEUMETA_OK;
}

neumeta_status nmi_residual_branches(nmi_context *context, const nmi_topology *topology,
                                     int32_t **out)
{
    int32_t sums = 0;
    neumeta_status status = NEUMETA_OK;
    int32_t *branch = nmi_alloc_array(context, topology->node_count, sizeof *branch);
    uint8_t *reach = nmi_alloc_array(context, topology->node_count, sizeof *reach);
    if (branch == NULL || reach == NULL)
        status = NEUMETA_ERR_MEMORY;
    for (int32_t node = 0; node < topology->node_count && status == NEUMETA_OK; node++) {
        branch[node] = -1;
        if (topology->nodes[node].op == NEUMETA_OP_ADD) {
            status = find_branch(context, topology, node, reach, &branch[node]);
            sums++;
        }
    }
    if (status == NEUMETA_OK && sums == 0)
        status = nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                          "the topology has no residual sum (an ADD of a branch and a shortcut)");
    nmi_free(context, reach);
    if (status != NEUMETA_OK) {
        nmi_free(context, branch);
        branch = NULL;
    }
    *out = branch;
    return status;
}
