/* SPDX-License-Identifier: MIT */
/* Public passes over a network: replacing batch norm, smoothing, roughness. */
#include "nmi_api.h"
#include "nmi_norm.h"
#include "nmi_roughness.h"
#include "nmi_smooth.h"

neumeta_status neumeta_network_replace_norm(neumeta_network *network, int32_t method,
                                            const neumeta_options *options)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK)
        status = nmi_norm_replace(network, method, options);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_smooth(neumeta_network *network, const neumeta_options *options)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK)
        status = nmi_smooth(network, options);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_roughness(const neumeta_network *network, double *total_variation)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, total_variation)) == NEUMETA_OK)
        status = nmi_roughness(network, total_variation);
    return nmi_api_end(context, status);
}
