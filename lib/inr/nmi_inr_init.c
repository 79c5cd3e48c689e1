/* SPDX-License-Identifier: MIT */
/*
 * Where INRs start: random, cloned from one another, or fitted to a reference tensor.
 *
 * Sources: Neural Metamorphosis, arXiv 2410.11878 (random); How to Train Your Metamorphic Deep
 * Neural Network, arXiv 2505.05510 (a new block's INRs cloned from the block before).
 */
#include "nmi_emission.h"

#include <string.h>

const nmi_inr_kind *nmi_inr_kind_at(int32_t index)
{
    static const nmi_inr_kind *const kinds[NMI_INR_KINDS] = {
        [NMI_INR_MLP] = &nmi_inr_mlp,
        [NMI_INR_GRID] = &nmi_inr_grid,
        [NMI_INR_SEPARABLE] = &nmi_inr_separable,
        [NMI_INR_TRUNK] = &nmi_inr_trunk,
    };
    return kinds[index];
}

double nmi_inr_fresh_variance(const nmi_manifold *manifold, int32_t tensor)
{
    const nmi_topology *topology = manifold->topology;
    const bool linear = topology->nodes[topology->tensors[tensor].node].op == NEUMETA_OP_LINEAR;
    int64_t dims[4];
    nmi_graph_tensor_dims(topology, manifold->full_sizes, manifold->full_shapes, tensor, dims);
    return (linear ? 1.0 / 3 : 2.0) / (double)(dims[1] * dims[2] * dims[3]);
}

double nmi_inr_fresh_value(const nmi_manifold *manifold, int32_t tensor)
{
    const nmi_role role = manifold->topology->tensors[tensor].role;
    return role == NMI_ROLE_AFFINE_WEIGHT || role == NMI_ROLE_NORM_WEIGHT ? 1 : 0;
}

void nmi_inr_draw(const nmi_manifold *manifold, int32_t field, float *parameters)
{
    const uint64_t own = nmi_random_key(manifold->start_key, NMI_RANDOM_WEIGHTS, (uint64_t)field);
    nmi_inr_part part;
    for (int32_t p = 0; manifold->fields[field].kind->part(manifold, field, p, &part); p++)
        for (int64_t i = part.offset; i < part.offset + part.count; i++) {
            const double unit = 2 * nmi_random_uniform_at(own, (uint64_t)i) - 1;
            parameters[i] = (float)(part.bound > 0 ? part.bound * unit : part.value);
        }
}

void nmi_manifold_initialize(nmi_manifold *manifold, int32_t field)
{
    const nmi_field *of = &manifold->fields[field];
    if (of->morphing)
        nmi_inr_draw(manifold, field, of->parameters);
    else
        memset(of->parameters, 0, (size_t)of->parameter_count * sizeof(float));
}

void nmi_inr_copy(nmi_manifold *manifold, int32_t from, int32_t to)
{
    const nmi_field *source = &manifold->fields[from];
    if (from != to)
        memcpy(manifold->fields[to].parameters, source->parameters,
               (size_t)source->parameter_count * sizeof(float));
}

neumeta_status nmi_manifold_clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    const nmi_field *source = &manifold->fields[from];
    const nmi_field *target = &manifold->fields[to];
    if (!source->morphing || !target->morphing)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                        "cannot clone tensor '%s' to '%s': only INRs can be cloned, and '%s' is "
                        "held directly",
                        manifold->topology->tensors[from].name,
                        manifold->topology->tensors[to].name,
                        manifold->topology->tensors[source->morphing ? to : from].name);
    if (source->kind != target->kind)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                        "cannot clone tensor '%s', of kind %s, to '%s', of kind %s",
                        manifold->topology->tensors[from].name, source->kind->name,
                        manifold->topology->tensors[to].name, target->kind->name);
    return source->kind->clone(manifold, from, to);
}

void nmi_manifold_hold(nmi_manifold *manifold, const nmi_network *reference)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        const nmi_field *field = &manifold->fields[t];
        const nmi_tensor *tensor = &reference->tensors[t];
        if (field->morphing || field->parameter_count == 0)
            continue;
        NMI_ASSERT(tensor->count == field->parameter_count);
        memcpy(field->parameters, tensor->data, (size_t)tensor->count * sizeof(float));
    }
}

neumeta_status nmi_manifold_fit(nmi_manifold *manifold, const bool *fields,
                                const nmi_fit_target *target, const nmi_fit *fit)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t k = 0; k < NMI_INR_KINDS && status == NEUMETA_OK; k++)
        if (manifold->counts[k] > 0)
            status = nmi_inr_kind_at(k)->fit(manifold, fields, target, fit);
    return status;
}
