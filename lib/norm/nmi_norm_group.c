/* SPDX-License-Identifier: MIT */
/*
 * Group: batch norm becomes group normalisation, which needs no statistics at run time. What the
 * statistics did moves into the convolution before it, so that the group's channels come with
 * about mean 0 and variance 1 each, as batch norm saw them; gamma and beta stay.
 *
 *     W' = W / sqrt(var + eps),  b' = (b - mean) / sqrt(var + eps)
 *
 * The outputs change: moments of one item's group take the place of a data set's of one channel.
 */
#include "nmi_norm.h"

typedef struct group_plan {
    int64_t group; /* GROUP_CHANNELS */
} group_plan;

static neumeta_status group_node(nmi_rewrite *rewrite, int32_t old)
{
    const group_plan *plan = rewrite->user;
    nmi_node node = rewrite->source->topology->nodes[old];
    if (node.op == NEUMETA_OP_NORM) {
        node.op = NEUMETA_OP_GROUP_NORM;
        node.group = plan->group;
    } else if (nmi_norm_takes_up(rewrite->source->topology, old)) {
        node.bias = true;
    }
    nmi_rewrite_inputs(rewrite, old);
    return nmi_rewrite_put(rewrite, old, &node);
}

/* gamma and beta have the same names and roles, and are copied by now. */
static neumeta_status group_values(nmi_rewrite *rewrite, int32_t old, nmi_network *result)
{
    if (rewrite->source->topology->nodes[old].op != NEUMETA_OP_NORM)
        return NEUMETA_OK;
    double *factors = NULL;
    neumeta_status status = nmi_norm_factors(rewrite->source, old, false, &factors);
    if (status == NEUMETA_OK && factors != NULL)
        nmi_norm_take_up(rewrite, old, factors, result);
    nmi_free(rewrite->context, factors);
    return status;
}

static neumeta_status group_rewrite(const nmi_network *network, const nmi_options *options,
                                    nmi_network **out)
{
    group_plan plan = {nmi_options_int(options, NEUMETA_KEY_GROUP_CHANNELS)};
    return nmi_rewrite_run(network, group_node, group_values, &plan, out);
}

static neumeta_status group_matches(const nmi_network *network)
{
    return nmi_norm_method_fold.matches(network);
}

const nmi_norm_method nmi_norm_method_group = {
    .number = NEUMETA_NORM_GROUP,
    .name = "group",
    .key = NEUMETA_KEY_GROUP_CHANNELS,
    .matches = group_matches,
    .rewrite = group_rewrite,
};
