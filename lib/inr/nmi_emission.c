/* SPDX-License-Identifier: MIT */
/* Emission of all tensors of a manifold, and its backward: held ones here, the others by kind. */
#include "nmi_emission.h"

#include "nmi_kernels.h"
#include "nmi_mlp_keep.h"

#include <string.h>

static neumeta_status prepare(nmi_manifold *manifold, bool backward)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t k = 0; k < NMI_INR_KINDS && status == NEUMETA_OK; k++)
        if (manifold->counts[k] > 0)
            status = nmi_inr_kind_at(k)->prepare(manifold, backward);
    return status;
}

static bool is_held(const nmi_manifold *manifold, const nmi_emission *emission,
                    const nmi_network *network, int32_t tensor)
{
    return nmi_emission_has(emission, tensor) && manifold->fields[tensor].kind == NULL &&
           manifold->fields[tensor].parameter_count > 0 && network->tensors[tensor].rank > 0;
}

static neumeta_status emit(nmi_manifold *manifold, const nmi_emission *emission,
                           nmi_network *network)
{
    const neumeta_status status = prepare(manifold, false);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &network->tensors[t];
        if (!is_held(manifold, emission, network, t))
            continue;
        NMI_ASSERT(tensor->count == manifold->fields[t].parameter_count);
        memcpy(tensor->data, manifold->fields[t].parameters, (size_t)tensor->count * sizeof(float));
    }
    for (int32_t k = 0; k < NMI_INR_KINDS; k++)
        if (manifold->counts[k] > 0)
            nmi_inr_kind_at(k)->emit(manifold, emission, network);
    nmi_network_touch(network);
    return NEUMETA_OK;
}

neumeta_status nmi_manifold_emit(nmi_manifold *manifold, nmi_network *network, const bool *fields,
                                 const nmi_noise *noise, int32_t precision)
{
    const nmi_emission emission = {
        .fields = fields, .noise = noise, .precision = precision, .samples = 1};
    return emit(manifold, &emission, network);
}

neumeta_status nmi_manifold_emit_keeping(nmi_manifold *manifold, nmi_network *network,
                                         const bool *fields, const nmi_noise *noise,
                                         int32_t precision)
{
    /* Tiles of bf16 run the MLPs again in about the time that memory takes. */
    const bool keep = precision == NMI_FP32;
    const nmi_emission emission = {
        .fields = fields, .noise = noise, .precision = precision, .samples = 1, .keep = keep};
    neumeta_status status = NEUMETA_OK;
    for (int32_t k = 0; k < NMI_INR_KINDS && keep && status == NEUMETA_OK; k++)
        if ((k == NMI_INR_MLP || k == NMI_INR_TRUNK) && manifold->counts[k] > 0 &&
            manifold->mlp_keep[k] == NULL)
            status = nmi_mlp_keep_create(manifold, k, &manifold->mlp_keep[k]);
    return status == NEUMETA_OK ? emit(manifold, &emission, network) : status;
}

neumeta_status nmi_manifold_emit_average(nmi_manifold *manifold, nmi_network *network,
                                         const bool *fields, const nmi_noise *noise,
                                         int32_t precision, int64_t samples, bool clean_first)
{
    const nmi_emission emission = {.fields = fields,
                                   .noise = clean_first && samples == 1 ? NULL : noise,
                                   .precision = precision,
                                   .samples = samples,
                                   .clean_first = clean_first};
    return emit(manifold, &emission, network);
}

neumeta_status nmi_manifold_backward(nmi_manifold *manifold, const nmi_network *network,
                                     const bool *fields, const nmi_noise *noise, int32_t precision,
                                     float *const *weight_gradients,
                                     float *const *parameter_gradients)
{
    const nmi_emission emission = {
        .fields = fields, .noise = noise, .precision = precision, .samples = 1};
    const nmi_kernels *kernels = manifold->object.context->kernels;
    const neumeta_status status = prepare(manifold, true);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++)
        if (is_held(manifold, &emission, network, t))
            kernels->add_scaled(network->tensors[t].count, 1, weight_gradients[t],
                                parameter_gradients[t]);
    for (int32_t k = 0; k < NMI_INR_KINDS; k++)
        if (manifold->counts[k] > 0)
            nmi_inr_kind_at(k)->backward(manifold, &emission, network, weight_gradients,
                                         parameter_gradients);
    return NEUMETA_OK;
}
