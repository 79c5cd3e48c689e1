/* SPDX-License-Identifier: MIT */
/* The parameters of separable INRs: where they lie, what they are called, where they start. */
#include "nmi_separable.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool nmi_is_separable(const nmi_manifold *manifold, int32_t tensor)
{
    return manifold->fields[tensor].kind == &nmi_inr_separable;
}

nmi_separable nmi_separable_of(const nmi_manifold *manifold, int32_t tensor)
{
    nmi_separable s = {.mlp = manifold->factors};
    const int32_t rank = nmi_graph_tensor_dims(manifold->topology, manifold->full_sizes,
                                               manifold->full_shapes, tensor, s.full);
    s.vector = rank == 1;
    s.taps = s.full[2] * s.full[3];
    s.rank = s.mlp.outputs = s.vector ? 1 : manifold->factors.outputs;
    const int64_t side = nmi_mlp_parameter_count(&s.mlp);
    s.sides[NMI_SEPARABLE_G] = side;
    s.factors = (s.vector ? 1 : 2) * side;
    s.count = s.factors + (s.vector ? 0 : s.taps * s.rank);
    return s;
}

static neumeta_status plan(nmi_manifold *manifold)
{
    const neumeta_status status = nmi_mlp_describe(manifold, NMI_INR_SEPARABLE, &manifold->factors);
    manifold->factors.outputs = manifold->settings.rank;
    for (int32_t t = 0; status == NEUMETA_OK && t < manifold->topology->tensor_count; t++)
        if (nmi_is_separable(manifold, t))
            manifold->fields[t].parameter_count = nmi_separable_of(manifold, t).count;
    return status;
}

/* The outputs of an MLP have a mean square of about 1/36 at its start: features have one of 1/2, a
 * linear layer leaves a third of that, a relu half, the last layer a third. So that the sum of R
 * products has the variance of fresh networks, 2/fan_in for convolutions and 1/(3 fan_in) for
 * linear layers, t is uniform in +-bound. */
static double factor_bound(const nmi_manifold *manifold, int32_t tensor, const nmi_separable *s)
{
    const double variance = nmi_inr_fresh_variance(manifold, tensor), outputs = 1.0 / 36;
    return sqrt(3 * variance / ((double)s->rank * outputs * outputs));
}

/* A vector's MLP starts about where fresh networks do: factors of affine nodes and norms at 1. */
static void move_vector(const nmi_manifold *manifold, int32_t tensor, nmi_inr_part *part)
{
    if (strcmp(part->name, "inr.out.bias") == 0) {
        part->bound = 0;
        part->value = nmi_inr_fresh_value(manifold, tensor);
    }
}

static bool part(const nmi_manifold *manifold, int32_t tensor, int32_t index, nmi_inr_part *out)
{
    const nmi_separable s = nmi_separable_of(manifold, tensor);
    const int32_t parts = (int32_t)(3 * s.mlp.layers + 1), side = index >= parts;
    nmi_inr_part own;
    if (s.vector) {
        if (!nmi_mlp_part(&s.mlp, index, out))
            return false;
        move_vector(manifold, tensor, out);
        return true;
    }
    if (nmi_mlp_part(&s.mlp, index - side * parts, &own) && index < 2 * parts) {
        *out = own;
        snprintf(out->name, sizeof out->name, "%c.%.20s", side == 0 ? 'f' : 'g', own.name);
        out->offset += s.sides[side];
        return true;
    }
    if (index != 2 * parts)
        return false;
    *out = (nmi_inr_part){.name = "factors",
                          .rank = 2,
                          .dims = {s.taps, s.rank, 1, 1},
                          .offset = s.factors,
                          .count = s.taps * s.rank,
                          .bound = factor_bound(manifold, tensor, &s)};
    return true;
}

static neumeta_status clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    const nmi_separable source = nmi_separable_of(manifold, from);
    const nmi_separable target = nmi_separable_of(manifold, to);
    if (source.vector != target.vector || source.taps != target.taps)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                        "cannot clone tensor '%s' to '%s': one has %lld taps, the other %lld, or "
                        "one is a vector",
                        manifold->topology->tensors[from].name,
                        manifold->topology->tensors[to].name, (long long)source.taps,
                        (long long)target.taps);
    nmi_inr_copy(manifold, from, to);
    return NEUMETA_OK;
}

const nmi_inr_kind nmi_inr_separable = {
    .name = "separable",
    .blocks_key = NEUMETA_KEY_SEPARABLE_BLOCKS,
    .plan = plan,
    .part = part,
    .prepare = nmi_separable_prepare,
    .release = nmi_separable_release,
    .emit = nmi_separable_emit,
    .backward = nmi_separable_backward,
    .clone = clone,
    .fit = nmi_separable_fit,
};
