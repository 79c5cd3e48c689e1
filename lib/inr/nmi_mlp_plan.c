/* SPDX-License-Identifier: MIT */
/* What the MLPs of a kind look like, by the manifold's settings and the kind's largest tensors; and
 * the kind of which each tensor has an MLP of its own. */
#include "nmi_mlp_emission.h"

#include <math.h>

static int64_t default_scale(const nmi_topology *topology)
{
    int64_t varying = 0, largest = 1;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const nmi_axis *axis = &topology->axes[a];
        if (axis->kind != NEUMETA_AXIS_WIDTH)
            continue;
        largest = axis->max > largest ? axis->max : largest;
        if (axis->min < axis->max && axis->max > varying)
            varying = axis->max;
    }
    return varying > 0 ? varying : largest;
}

/* Extents of all tensors of the kind at full sizes, and the taps of the largest kernel. */
static void measure(const nmi_manifold *manifold, int32_t kind, nmi_grid *largest, int64_t *taps)
{
    const nmi_topology *topology = manifold->topology;
    *largest = (nmi_grid){.tensors = manifold->counts[kind],
                          .outputs = 1,
                          .inputs = 1,
                          .scale = manifold->settings.coordinate_scale};
    *taps = 1;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        int64_t dims[4];
        if (manifold->fields[t].kind != nmi_inr_kind_at(kind))
            continue;
        nmi_graph_tensor_dims(topology, manifold->full_sizes, manifold->full_shapes, t, dims);
        largest->outputs = dims[0] > largest->outputs ? dims[0] : largest->outputs;
        largest->inputs = dims[1] > largest->inputs ? dims[1] : largest->inputs;
        *taps = dims[2] * dims[3] > *taps ? dims[2] * dims[3] : *taps;
    }
}

/* Arguments of sines must keep some bits behind the point in double: 2^(F - 1) x <= 2^40. */
static neumeta_status check_octaves(const nmi_manifold *manifold, const nmi_grid *largest)
{
    int64_t extent = largest->outputs > largest->inputs ? largest->outputs : largest->inputs;
    extent = extent > largest->tensors ? extent : largest->tensors;
    const double ratio = ((double)extent + 1) / (double)largest->scale;
    if (ldexp(ratio, (int)manifold->settings.extent_octaves - 1) <= ldexp(1, 40))
        return NEUMETA_OK;
    return nmi_fail(manifold->object.context, NEUMETA_ERR_ARGUMENT,
                    "COORDINATE_SCALE %lld is too small for %lld channels and %lld octaves of the "
                    "extents (INR_EXTENT_OCTAVES, else INR_OCTAVES): "
                    "(channels + 1) / scale * 2^(octaves - 1) must not exceed 2^40",
                    (long long)largest->scale, (long long)extent,
                    (long long)manifold->settings.extent_octaves);
}

/* So many rows that a layer's inputs and outputs fit the second-level cache (512 KiB or more)
 * beside the weights that stream through it, in whole tiles of the kernels (4, 6, 8 or 12 rows).
 * What backward keeps of them does not fit, but fewer rows would cost more: the weights and their
 * gradients stream through the cache once for each block. */
static int64_t choose_block_rows(int64_t hidden)
{
    const int64_t cache = 512 * 1024, row = 2 * (hidden + 16) * (int64_t)sizeof(float);
    const int64_t rows = cache / row / 24 * 24;
    return rows < 48 ? 48 : rows > 120 ? 120 : rows;
}

neumeta_status nmi_mlp_describe(nmi_manifold *manifold, int32_t kind, nmi_mlp *mlp)
{
    nmi_inr_settings *settings = &manifold->settings;
    nmi_grid largest;
    if (settings->coordinate_scale == 0)
        settings->coordinate_scale = default_scale(manifold->topology);
    measure(manifold, kind, &largest, &mlp->outputs);
    const neumeta_status status = check_octaves(manifold, &largest);
    if (status != NEUMETA_OK)
        return status;
    nmi_encoding_plan(&mlp->encoding, settings->encoding, settings->octaves,
                      settings->extent_octaves, settings->noise, &largest);
    mlp->kernels = manifold->object.context->kernels;
    mlp->hidden = settings->hidden;
    mlp->layers = settings->layers;
    mlp->activation = settings->function == 0 ? NMI_ACTIVATION_RELU : NMI_ACTIVATION_ELU;
    mlp->scalar = settings->scalar;
    mlp->trunk = kind == NMI_INR_TRUNK;
    mlp->block_rows = choose_block_rows(mlp->hidden);
    mlp->terms = largest.outputs + largest.inputs;
    return NEUMETA_OK;
}

/* --- the kind mlp ------------------------------------------------------------------------ */

static neumeta_status plan(nmi_manifold *manifold)
{
    const neumeta_status status = nmi_mlp_describe(manifold, NMI_INR_MLP, &manifold->mlp);
    for (int32_t t = 0; status == NEUMETA_OK && t < manifold->topology->tensor_count; t++)
        if (manifold->fields[t].kind == &nmi_inr_mlp)
            manifold->fields[t].parameter_count = nmi_mlp_parameter_count(&manifold->mlp);
    return status;
}

static bool part(const nmi_manifold *manifold, int32_t field, int32_t index, nmi_inr_part *out)
{
    (void)field;
    return nmi_mlp_part(&manifold->mlp, index, out);
}

static neumeta_status prepare(nmi_manifold *manifold, bool backward)
{
    return nmi_mlp_emission_prepare(manifold, NMI_INR_MLP, backward);
}

static void release(nmi_manifold *manifold)
{
    nmi_mlp_emission_release(manifold, NMI_INR_MLP);
}

static void emit(const nmi_manifold *manifold, const nmi_emission *emission, nmi_network *network)
{
    nmi_mlp_emission_emit(manifold, NMI_INR_MLP, emission, network);
}

static void backward(const nmi_manifold *manifold, const nmi_emission *emission,
                     const nmi_network *network, float *const *weight_gradients,
                     float *const *parameter_gradients)
{
    nmi_mlp_emission_backward(manifold, NMI_INR_MLP, emission, network, weight_gradients,
                              parameter_gradients);
}

static neumeta_status clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    nmi_inr_copy(manifold, from, to);
    return NEUMETA_OK;
}

static neumeta_status fit(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                          const nmi_fit *how)
{
    return nmi_mlp_fit(manifold, NMI_INR_MLP, fields, target, how);
}

const nmi_inr_kind nmi_inr_mlp = {
    .name = "mlp",
    .blocks_key = NEUMETA_KEY_MLP_BLOCKS,
    .plan = plan,
    .part = part,
    .prepare = prepare,
    .release = release,
    .emit = emit,
    .backward = backward,
    .clone = clone,
    .fit = fit,
};
