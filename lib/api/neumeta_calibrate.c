/* SPDX-License-Identifier: MIT */
/* Public calls that take statistics of norms from data. */
#include "nmi_api.h"
#include "nmi_calibrate.h"

neumeta_status neumeta_manifold_calibrate(neumeta_manifold *manifold, neumeta_dataset *dataset,
                                          const neumeta_options *options, neumeta_watch_fn watch,
                                          void *user, double *error)
{
    nmi_context *ctx = nmi_api_context(manifold);
    nmi_api_watcher to = {watch, user};
    double ignored;
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_manifold_retain(manifold); /* a callback may free it */
    if ((status = NMI_API_HANDLE(ctx, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK) {
        nmi_dataset_retain(dataset);
        status = nmi_calibrate_manifold(manifold, dataset, options, nmi_api_pass_on, &to,
                                        error != NULL ? error : &ignored);
        nmi_dataset_release(dataset);
    }
    status = nmi_api_end(ctx, status);
    nmi_manifold_release(manifold);
    return status;
}

neumeta_status neumeta_manifold_calibrated(const neumeta_manifold *manifold, int32_t *calibrated)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, calibrated)) == NEUMETA_OK)
        *calibrated = manifold->statistics != NULL || !nmi_manifold_has_norms(manifold);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_network_calibrate(neumeta_network *network, neumeta_dataset *dataset,
                                         const neumeta_options *options)
{
    nmi_context *ctx = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_network_retain(network); /* a callback may free it */
    if ((status = NMI_API_HANDLE(ctx, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK) {
        nmi_dataset_retain(dataset);
        status = nmi_calibrate_network(network, dataset, options);
        nmi_dataset_release(dataset);
    }
    status = nmi_api_end(ctx, status);
    nmi_network_release(network);
    return status;
}
