/* SPDX-License-Identifier: MIT */
/* Public calls about fronts and budgets. */
#include "nmi_api.h"
#include "nmi_budget.h"
#include "nmi_search.h"

#include <math.h>
#include <string.h>

neumeta_status neumeta_manifold_search(neumeta_manifold *manifold, neumeta_dataset *dataset,
                                       const neumeta_options *options, neumeta_watch_fn watch,
                                       void *user)
{
    nmi_context *ctx = nmi_api_context(manifold);
    nmi_api_watcher to = {watch, user};
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_manifold_retain(manifold); /* a callback may free it */
    if ((status = NMI_API_HANDLE(ctx, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK) {
        nmi_dataset_retain(dataset);
        status = nmi_search(manifold, dataset, options, nmi_api_pass_on, &to);
        nmi_dataset_release(dataset);
    }
    status = nmi_api_end(ctx, status);
    nmi_manifold_release(manifold);
    return status;
}

int32_t neumeta_manifold_front_count(const neumeta_manifold *manifold)
{
    if (manifold == NULL)
        return -1;
    return manifold->front != NULL ? manifold->front->count : 0;
}

static neumeta_status need_front(const nmi_manifold *manifold)
{
    if (manifold->front != NULL)
        return NEUMETA_OK;
    return nmi_fail(manifold->object.context, NEUMETA_ERR_STATE,
                    "the manifold has no front for its present parameters: search one");
}

neumeta_status neumeta_manifold_front_origin(const neumeta_manifold *manifold, int64_t *items,
                                             const char **kernels)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    status = need_front(manifold);
    if (status == NEUMETA_OK && items != NULL)
        *items = manifold->front->items;
    if (status == NEUMETA_OK && kernels != NULL)
        *kernels = manifold->front->kernels;
    return nmi_api_end(ctx, status);
}

static neumeta_status check_entry(const nmi_manifold *manifold, int32_t entry)
{
    neumeta_status status = need_front(manifold);
    if (status == NEUMETA_OK && (entry < 0 || entry >= manifold->front->count))
        status = nmi_fail(manifold->object.context, NEUMETA_ERR_ARGUMENT,
                          "entry is %d, the front has 0 to %d", (int)entry,
                          (int)manifold->front->count - 1);
    return status;
}

neumeta_status neumeta_manifold_front_entry(const neumeta_manifold *manifold, int32_t entry,
                                            int64_t *sizes, int32_t count, double *score,
                                            int64_t *parameters, int64_t *multiply_adds,
                                            int64_t *bytes, double *latency_us)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    status = check_entry(manifold, entry);
    if (status == NEUMETA_OK && sizes != NULL)
        status = nmi_api_axes(manifold->topology, count);
    if (status == NEUMETA_OK) {
        const nmi_front *front = manifold->front;
        int64_t *const outputs[NMI_COSTS] = {parameters, multiply_adds, bytes};
        for (int32_t c = 0; c < NMI_COSTS; c++)
            if (outputs[c] != NULL)
                *outputs[c] = nmi_front_costs(front, entry)[c];
        if (sizes != NULL)
            memcpy(sizes, nmi_front_sizes(front, entry), (size_t)count * sizeof *sizes);
        if (score != NULL)
            *score = front->scores[entry];
        if (latency_us != NULL)
            *latency_us = front->latencies[entry];
    }
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_fit_budget(const neumeta_manifold *manifold,
                                           const neumeta_options *budget, int64_t *sizes,
                                           int32_t count, double *score, double *latency_us)
{
    nmi_context *ctx = nmi_api_context(manifold);
    double promised = (double)NAN, measured = (double)NAN;
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, sizes)) == NEUMETA_OK &&
        (status = nmi_api_axes(manifold->topology, count)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, budget)) == NEUMETA_OK)
        status = nmi_budget_fit(manifold, budget, sizes, &promised, &measured);
    if (status == NEUMETA_OK && score != NULL)
        *score = promised;
    if (status == NEUMETA_OK && latency_us != NULL)
        *latency_us = measured;
    return nmi_api_end(ctx, status);
}
