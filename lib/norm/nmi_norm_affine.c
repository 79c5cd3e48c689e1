/* SPDX-License-Identifier: MIT */
/*
 * Affine: a norm becomes a learnable scale and shift of each channel, the diagonal 1 x 1
 * convolution among the replacements tried for arXiv 2505.05510. Convolutions keep their weights.
 *
 *     y = g x + (beta - g mean),  g = gamma / sqrt(var + eps)
 */
#include "nmi_norm.h"

static neumeta_status affine_matches(const nmi_network *network)
{
    (void)network; /* any norm is an affine map of each channel */
    return NEUMETA_OK;
}

static neumeta_status affine_node(nmi_rewrite *rewrite, int32_t old)
{
    nmi_node node = rewrite->source->topology->nodes[old];
    if (node.op == NEUMETA_OP_NORM)
        node.op = NEUMETA_OP_AFFINE;
    nmi_rewrite_inputs(rewrite, old);
    return nmi_rewrite_put(rewrite, old, &node);
}

static neumeta_status affine_values(nmi_rewrite *rewrite, int32_t old, nmi_network *result)
{
    if (rewrite->source->topology->nodes[old].op != NEUMETA_OP_NORM)
        return NEUMETA_OK;
    double *factors = NULL;
    neumeta_status status = nmi_norm_factors(rewrite->source, old, true, &factors);
    if (status != NEUMETA_OK || factors == NULL)
        return status;
    nmi_tensor *scale = nmi_rewrite_tensor(rewrite, result, old, NMI_ROLE_AFFINE_WEIGHT);
    nmi_tensor *shift = nmi_rewrite_tensor(rewrite, result, old, NMI_ROLE_AFFINE_BIAS);
    for (int64_t c = 0; c < scale->count; c++) {
        scale->data[c] = (float)factors[2 * c];
        shift->data[c] = (float)factors[2 * c + 1];
    }
    nmi_free(rewrite->context, factors);
    return NEUMETA_OK;
}

static neumeta_status affine_rewrite(const nmi_network *network, const nmi_options *options,
                                     nmi_network **out)
{
    (void)options;
    return nmi_rewrite_run(network, affine_node, affine_values, NULL, out);
}

const nmi_norm_method nmi_norm_method_affine = {
    .number = NEUMETA_NORM_AFFINE,
    .name = "affine",
    .key = 0,
    .matches = affine_matches,
    .rewrite = affine_rewrite,
};
