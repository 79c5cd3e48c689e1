/* SPDX-License-Identifier: MIT */
/*
 * The trunk kind: one MLP for all tensors of the kind, of which only the ends are a tensor's own,
 *
 *     a = phi(A_0 e + b_t);   a <- a + s_m phi(A_m a + b_m), m = 1 .. layers - 1;
 *     taps = A_t a + c_t;     W[o, i, tap] = taps / I
 *
 * b_t [H] is the tensor's embedding: it tells the shared layers which tensor a row is of. A_t
 * [taps][H] and c_t [taps] read its taps from what they yield. The rest is the field that the
 * tensors share.
 */
#include "nmi_mlp_emission.h"

#include <math.h>

/* A tensor at full sizes. */
typedef struct extents {
    bool vector;
    int64_t inputs, taps;
} extents;

static extents extents_of(const nmi_manifold *manifold, int32_t tensor)
{
    int64_t dims[4];
    const int32_t rank = nmi_graph_tensor_dims(manifold->topology, manifold->full_sizes,
                                               manifold->full_shapes, tensor, dims);
    return (extents){.vector = rank == 1, .inputs = dims[1], .taps = dims[2] * dims[3]};
}

static neumeta_status plan(nmi_manifold *manifold)
{
    const neumeta_status status = nmi_mlp_describe(manifold, NMI_INR_TRUNK, &manifold->trunk);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++)
        if (manifold->fields[t].kind == &nmi_inr_trunk)
            manifold->fields[t].parameter_count =
                nmi_mlp_own_count(&manifold->trunk, extents_of(manifold, t).taps);
    manifold->fields[manifold->shared[NMI_INR_TRUNK]].parameter_count =
        nmi_mlp_parameter_count(&manifold->trunk);
    return NEUMETA_OK;
}

/* --- parts, named as those of an MLP ------------------------------------------------------- */

/* Of an MLP's parts, the second is b_0, the last two are A and b. */
static bool shared_part(const nmi_mlp *mlp, int32_t index, nmi_inr_part *out)
{
    const int32_t place = index == 0 ? 0 : index + 1;
    return place < 3 * mlp->layers - 1 && nmi_mlp_part(mlp, place, out);
}

/*
 * Weights of fresh networks have a variance v, 2/fan_in for convolutions and 1/(3 fan_in) for
 * linear layers. A hidden unit has a mean square of about 1/12 at its start: features have one of
 * 1/2, a linear layer leaves a third of that, a relu half. So A_t is uniform in +-bound with H
 * bound^2/3 / 12 = v I^2. Vectors start near the value that they have in fresh networks, as those
 * of separable INRs do.
 */
static void place_output(const nmi_manifold *manifold, int32_t tensor, nmi_inr_part *out)
{
    const nmi_mlp *mlp = &manifold->trunk;
    const extents of = extents_of(manifold, tensor);
    const bool weight = out->rank == 2;
    out->offset = mlp->hidden + (weight ? 0 : of.taps * mlp->hidden);
    out->dims[0] = of.taps;
    out->count = of.taps * out->dims[1];
    if (!weight) {
        out->bound = 0;
        out->value = of.vector ? nmi_inr_fresh_value(manifold, tensor) : 0;
    } else if (!of.vector) {
        const double variance = nmi_inr_fresh_variance(manifold, tensor);
        out->bound = (double)of.inputs * sqrt(36 * variance / (double)mlp->hidden);
    }
}

static bool own_part(const nmi_manifold *manifold, int32_t tensor, int32_t index, nmi_inr_part *out)
{
    const nmi_mlp *mlp = &manifold->trunk;
    const int32_t last = (int32_t)(3 * mlp->layers);
    if (index < 0 || index > 2 || !nmi_mlp_part(mlp, index == 0 ? 1 : last - 2 + index, out))
        return false;
    if (index == 0)
        out->offset = 0;
    else
        place_output(manifold, tensor, out);
    return true;
}

static bool part(const nmi_manifold *manifold, int32_t field, int32_t index, nmi_inr_part *out)
{
    return field == manifold->shared[NMI_INR_TRUNK] ? shared_part(&manifold->trunk, index, out)
                                                    : own_part(manifold, field, index, out);
}

/* --- the kind ------------------------------------------------------------------------------ */

static neumeta_status prepare(nmi_manifold *manifold, bool backward)
{
    return nmi_mlp_emission_prepare(manifold, NMI_INR_TRUNK, backward);
}

static void release(nmi_manifold *manifold)
{
    nmi_mlp_emission_release(manifold, NMI_INR_TRUNK);
}

static void emit(const nmi_manifold *manifold, const nmi_emission *emission, nmi_network *network)
{
    nmi_mlp_emission_emit(manifold, NMI_INR_TRUNK, emission, network);
}

static void backward(const nmi_manifold *manifold, const nmi_emission *emission,
                     const nmi_network *network, float *const *weight_gradients,
                     float *const *parameter_gradients)
{
    nmi_mlp_emission_backward(manifold, NMI_INR_TRUNK, emission, network, weight_gradients,
                              parameter_gradients);
}

static neumeta_status clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    const long long had = extents_of(manifold, from).taps, wanted = extents_of(manifold, to).taps;
    if (had != wanted)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                        "cannot clone tensor '%s' to '%s': one has %lld taps, the other %lld",
                        nmi_manifold_field_name(manifold, from),
                        nmi_manifold_field_name(manifold, to), had, wanted);
    nmi_inr_copy(manifold, from, to);
    return NEUMETA_OK;
}

static neumeta_status fit(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                          const nmi_fit *how)
{
    return nmi_mlp_fit(manifold, NMI_INR_TRUNK, fields, target, how);
}

const nmi_inr_kind nmi_inr_trunk = {
    .name = "trunk",
    .blocks_key = NEUMETA_KEY_TRUNK_BLOCKS,
    .shares = true,
    .plan = plan,
    .part = part,
    .prepare = prepare,
    .release = release,
    .emit = emit,
    .backward = backward,
    .clone = clone,
    .fit = fit,
};
