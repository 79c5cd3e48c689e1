/* SPDX-License-Identifier: MIT */
/*
 * Fold: a norm disappears into the convolution or linear node before it (arXiv 2410.11878).
 *
 *     W' = g W,  b' = beta + g (b - mean),  g = gamma / sqrt(var + eps)
 */
#include "nmi_norm.h"

static neumeta_status fold_matches(const nmi_network *network)
{
    nmi_context *context = network->object.context;
    const nmi_topology *topology = network->topology;
    for (int32_t number = 0; number < topology->node_count; number++) {
        const nmi_node *norm = &topology->nodes[number];
        if (norm->op != NEUMETA_OP_NORM)
            continue;
        const nmi_node *before = &topology->nodes[norm->inputs[0]];
        if (!nmi_rewrite_has_kernel(before))
            return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                            "norm '%s' stands behind '%s', which is of kind %s: only a "
                            "convolution or linear node can take it up",
                            norm->name, before->name, nmi_op_name(before->op));
        if (nmi_rewrite_uses(topology, norm->inputs[0]) != 1)
            return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                            "norm '%s' cannot move into '%s', whose output is used elsewhere too",
                            norm->name, before->name);
    }
    return NEUMETA_OK;
}

bool nmi_norm_takes_up(const nmi_topology *topology, int32_t node)
{
    if (!nmi_rewrite_has_kernel(&topology->nodes[node]))
        return false;
    for (int32_t after = node + 1; after < topology->node_count; after++)
        if (topology->nodes[after].op == NEUMETA_OP_NORM &&
            topology->nodes[after].inputs[0] == node)
            return true;
    return false;
}

static neumeta_status fold_node(nmi_rewrite *rewrite, int32_t old)
{
    nmi_node node = rewrite->source->topology->nodes[old];
    if (node.op == NEUMETA_OP_NORM) {
        rewrite->map[old] = rewrite->map[node.inputs[0]];
        return NEUMETA_OK;
    }
    if (nmi_norm_takes_up(rewrite->source->topology, old))
        node.bias = true;
    nmi_rewrite_inputs(rewrite, old);
    return nmi_rewrite_put(rewrite, old, &node);
}

void nmi_norm_take_up(const nmi_rewrite *rewrite, int32_t norm, const double *factors,
                      nmi_network *result)
{
    const int32_t before = rewrite->source->topology->nodes[norm].inputs[0];
    nmi_tensor *weight = nmi_rewrite_tensor(rewrite, result, before, NMI_ROLE_WEIGHT);
    nmi_tensor *bias = nmi_rewrite_tensor(rewrite, result, before, NMI_ROLE_BIAS);
    int64_t row = weight->count / weight->dims[0];
    for (int64_t out = 0; out < weight->dims[0]; out++) {
        double scale = factors[2 * out];
        for (int64_t i = 0; i < row; i++)
            weight->data[out * row + i] = (float)(scale * (double)weight->data[out * row + i]);
        bias->data[out] = (float)(factors[2 * out + 1] + scale * (double)bias->data[out]);
    }
}

static neumeta_status fold_values(nmi_rewrite *rewrite, int32_t old, nmi_network *result)
{
    if (rewrite->source->topology->nodes[old].op != NEUMETA_OP_NORM)
        return NEUMETA_OK;
    double *factors = NULL;
    neumeta_status status = nmi_norm_factors(rewrite->source, old, true, &factors);
    if (status == NEUMETA_OK && factors != NULL)
        nmi_norm_take_up(rewrite, old, factors, result);
    nmi_free(rewrite->context, factors);
    return status;
}

static neumeta_status fold_rewrite(const nmi_network *network, const nmi_options *options,
                                   nmi_network **out)
{
    (void)options;
    return nmi_rewrite_run(network, fold_node, fold_values, NULL, out);
}

const nmi_norm_method nmi_norm_method_fold = {
    .number = NEUMETA_NORM_FOLD,
    .name = "fold",
    .key = 0,
    .matches = fold_matches,
    .rewrite = fold_rewrite,
};
