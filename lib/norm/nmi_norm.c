/* SPDX-License-Identifier: MIT */
/* The table of ways to replace batch norm, and what they share. */
#include "nmi_norm.h"

#include <math.h>

static const nmi_norm_method *const methods[] = {
    &nmi_norm_method_fold,   &nmi_norm_method_skip_init, &nmi_norm_method_sqrt_half,
    &nmi_norm_method_affine, &nmi_norm_method_group,
};

static const nmi_norm_method *find_method(int32_t number)
{
    for (size_t index = 0; index < sizeof methods / sizeof *methods; index++)
        if (methods[index]->number == number)
            return methods[index];
    return NULL;
}

neumeta_status nmi_norm_replace(nmi_network *network, int32_t number, const nmi_options *options)
{
    nmi_context *context = network->object.context;
    const nmi_norm_method *method = find_method(number);
    if (method == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "method is %d, must be one of NEUMETA_NORM_* (1 to %d)", (int)number,
                        (int)(sizeof methods / sizeof *methods));
    neumeta_status status =
        nmi_options_allow(context, options, method->name, &method->key, method->key != 0 ? 1 : 0);
    if (status != NEUMETA_OK)
        return status;
    if (nmi_network_is_shared(network))
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "%s: the weights are shared with another network and cannot change",
                        method->name);
    nmi_network *result = NULL;
    status = method->matches(network);
    if (status == NEUMETA_OK)
        status = method->rewrite(network, options, &result);
    if (status != NEUMETA_OK)
        return nmi_fail_within(context, status, "%s", method->name);
    nmi_network_become(network, result);
    return NEUMETA_OK;
}

static const float *values_of(const nmi_network *network, int32_t node, nmi_role role)
{
    return network->tensors[nmi_graph_node_tensor(network->topology, node, role)].data;
}

neumeta_status nmi_norm_factors(const nmi_network *network, int32_t norm, bool own, double **out)
{
    nmi_context *context = network->object.context;
    const nmi_node *node = &network->topology->nodes[norm];
    const float *gamma = values_of(network, norm, NMI_ROLE_NORM_WEIGHT);
    const float *beta = values_of(network, norm, NMI_ROLE_NORM_BIAS);
    const float *mean = values_of(network, norm, NMI_ROLE_RUNNING_MEAN);
    const float *var = values_of(network, norm, NMI_ROLE_RUNNING_VAR);
    int64_t channels = network->shapes[norm].channels;
    *out = NULL;
    if (gamma == NULL)
        return NEUMETA_OK;
    double *factors = nmi_alloc_matrix(context, channels, 2, sizeof *factors);
    if (factors == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int64_t c = 0; c < channels; c++) {
        double spread = (double)var[c] + node->epsilon;
        if (!(spread > 0) || !isfinite(spread)) {
            nmi_free(context, factors);
            return nmi_fail(context, NEUMETA_ERR_NUMERIC,
                            "norm '%s': variance + EPSILON of channel %lld is %g, must be positive "
                            "and finite",
                            node->name, (long long)c, spread);
        }
        double scale = (own ? (double)gamma[c] : 1.0) / sqrt(spread);
        factors[2 * c] = scale;
        factors[2 * c + 1] = (own ? (double)beta[c] : 0.0) - scale * (double)mean[c];
    }
    *out = factors;
    return NEUMETA_OK;
}
