/* SPDX-License-Identifier: MIT */
/*
 * Skip-init: fold, then one learnable scalar alpha behind each residual branch, the replacement
 * that arXiv 2505.05510 settles on: y = relu(x + alpha F(x)).
 */
#include "nmi_norm.h"
#include "nmi_residual.h"

static neumeta_status skip_init_matches(const nmi_network *network)
{
    nmi_context *context = network->object.context;
    const nmi_topology *topology = network->topology;
    int32_t *branch = NULL;
    neumeta_status status = nmi_norm_method_fold.matches(network);
    if (status == NEUMETA_OK)
        status = nmi_residual_branches(context, topology, &branch);
    for (int32_t add = 0; add < topology->node_count && status == NEUMETA_OK; add++) {
        if (branch[add] < 0)
            continue;
        const nmi_node *last = &topology->nodes[topology->nodes[add].inputs[branch[add]]];
        if (last->op == NEUMETA_OP_SCALE)
            status = nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                              "the branch of the sum '%s' has a residual scalar already, '%s'",
                              topology->nodes[add].name, last->name);
    }
    nmi_free(context, branch);
    return status;
}

typedef struct rewrite_plan {
    const int32_t *branch; /* [node_count] as nmi_residual_branches() */
    double alpha;
} rewrite_plan;

static neumeta_status skip_init_node(nmi_rewrite *rewrite, int32_t old)
{
    const rewrite_plan *plan = rewrite->user;
    if (plan->branch[old] < 0)
        return nmi_rewrite_copy(rewrite, old);
    nmi_rewrite_inputs(rewrite, old);
    neumeta_status status = nmi_rewrite_insert(rewrite, NEUMETA_OP_SCALE, "residual", old,
                                               plan->alpha, &rewrite->inputs[plan->branch[old]]);
    if (status != NEUMETA_OK)
        return status;
    return nmi_rewrite_put(rewrite, old, &rewrite->source->topology->nodes[old]);
}

static neumeta_status skip_init_rewrite(const nmi_network *network, const nmi_options *options,
                                        nmi_network **out)
{
    nmi_context *context = network->object.context;
    nmi_network *folded = NULL;
    int32_t *branch = NULL;
    neumeta_status status = nmi_norm_method_fold.rewrite(network, NULL, &folded);
    if (status == NEUMETA_OK)
        status = nmi_residual_branches(context, folded->topology, &branch);
    if (status == NEUMETA_OK) {
        rewrite_plan plan = {branch, nmi_options_real(options, NEUMETA_KEY_RESIDUAL_SCALE)};
        status = nmi_rewrite_run(folded, skip_init_node, NULL, &plan, out);
    }
    nmi_free(context, branch);
    nmi_network_release(folded);
    return status;
}

const nmi_norm_method nmi_norm_method_skip_init = {
    .number = NEUMETA_NORM_SKIP_INIT,
    .name = "skip-init",
    .key = NEUMETA_KEY_RESIDUAL_SCALE,
    .matches = skip_init_matches,
    .rewrite = skip_init_rewrite,
};
