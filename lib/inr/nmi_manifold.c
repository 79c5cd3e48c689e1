/* SPDX-License-Identifier: MIT */
/*
 * Making a manifold: which tensors of a topology morph, and what its INRs look like.
 */
#include "nmi_emission.h"
#include "nmi_kernels.h"

#include <math.h>
#include <string.h>

/* --- which tensors morph ----------------------------------------------------------------- */

static neumeta_status check_norms(const nmi_topology *topology)
{
    for (int32_t n = 0; n < topology->node_count; n++)
        if (topology->nodes[n].op == NEUMETA_OP_NORM)
            return nmi_fail(topology->object.context, NEUMETA_ERR_UNSUPPORTED,
                            "node '%s' is a batch norm, which a manifold cannot hold: replace the "
                            "norm first",
                            topology->nodes[n].name);
    return NEUMETA_OK;
}

static neumeta_status choose_blocks(nmi_manifold *manifold, const nmi_options *options)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_topology *topology = manifold->topology;
    const bool all = !nmi_options_has(options, NEUMETA_KEY_MORPH_BLOCKS);
    manifold->morphing_blocks = nmi_alloc_zero_array(ctx, topology->block_count, sizeof(bool));
    if (manifold->morphing_blocks == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t b = 0; b < topology->block_count; b++)
        manifold->morphing_blocks[b] = all;
    int64_t count = 0;
    const int64_t *numbers =
        all ? NULL : nmi_options_ints(options, NEUMETA_KEY_MORPH_BLOCKS, &count);
    for (int64_t i = 0; i < count; i++) {
        int32_t block;
        neumeta_status status = nmi_graph_block_number(topology, numbers[i], &block);
        if (status != NEUMETA_OK)
            return nmi_fail_within(ctx, status, "MORPH_BLOCKS");
        manifold->morphing_blocks[block] = true;
    }
    return NEUMETA_OK;
}

static bool varies(const nmi_axis *axis)
{
    return axis->kind == NEUMETA_AXIS_WIDTH && axis->min < axis->max;
}

/* Convolutions and linear layers of morphing blocks, and affine vectors whose length varies. */
static bool morphs(const nmi_manifold *manifold, int32_t tensor)
{
    const nmi_topology *topology = manifold->topology;
    const nmi_node *node = &topology->nodes[topology->tensors[tensor].node];
    if (node->block < 0 || !manifold->morphing_blocks[node->block])
        return false;
    if (node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR)
        return true;
    for (int32_t a = 0; node->op == NEUMETA_OP_AFFINE && a < topology->axis_count; a++)
        if (varies(&topology->axes[a]) && nmi_graph_tensor_depends(topology, tensor, a))
            return true;
    return false;
}

static int64_t default_scale(const nmi_topology *topology)
{
    int64_t varying = 0, largest = 1;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const nmi_axis *axis = &topology->axes[a];
        if (axis->kind == NEUMETA_AXIS_WIDTH && axis->max > largest)
            largest = axis->max;
        if (varies(axis) && axis->max > varying)
            varying = axis->max;
    }
    return varying > 0 ? varying : largest;
}

/* --- what the INRs look like ------------------------------------------------------------- */

/* Numbers the morphing tensors, counts the parameters of the held ones, and finds the extents:
 * `largest` of all morphing tensors, and the taps of the largest kernel. */
static neumeta_status measure_fields(nmi_manifold *manifold, const int64_t *sizes,
                                     nmi_shape *shapes, nmi_grid *largest, int64_t *taps)
{
    const nmi_topology *topology = manifold->topology;
    neumeta_status status = nmi_graph_shapes(topology, sizes, shapes);
    *largest = (nmi_grid){.outputs = 1, .inputs = 1};
    *taps = 1;
    for (int32_t t = 0; t < topology->tensor_count && status == NEUMETA_OK; t++) {
        nmi_field *field = &manifold->fields[t];
        int64_t dims[4];
        nmi_graph_tensor_dims(topology, sizes, shapes, t, dims);
        field->morphing = morphs(manifold, t);
        field->index = field->morphing ? manifold->morphing_count++ : -1;
        if (!field->morphing) {
            field->parameter_count = dims[0] * dims[1] * dims[2] * dims[3];
            continue;
        }
        largest->outputs = dims[0] > largest->outputs ? dims[0] : largest->outputs;
        largest->inputs = dims[1] > largest->inputs ? dims[1] : largest->inputs;
        *taps = dims[2] * dims[3] > *taps ? dims[2] * dims[3] : *taps;
    }
    largest->tensors = manifold->morphing_count;
    largest->scale = manifold->settings.coordinate_scale;
    return status;
}

static neumeta_status measure_full(nmi_manifold *manifold, nmi_grid *largest, int64_t *taps)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_topology *topology = manifold->topology;
    int64_t *sizes = nmi_alloc_array(ctx, topology->axis_count, sizeof *sizes);
    nmi_shape *shapes = nmi_alloc_array(ctx, topology->node_count, sizeof *shapes);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (sizes != NULL && shapes != NULL) {
        nmi_graph_full_sizes(topology, sizes);
        status = measure_fields(manifold, sizes, shapes, largest, taps);
    }
    nmi_free(ctx, shapes);
    nmi_free(ctx, sizes);
    return status;
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

static neumeta_status plan_inr(nmi_manifold *manifold)
{
    const nmi_inr_settings *settings = &manifold->settings;
    nmi_inr *inr = &manifold->inr;
    nmi_grid largest;
    neumeta_status status = measure_full(manifold, &largest, &inr->outputs);
    if (status != NEUMETA_OK)
        return status;
    if (manifold->morphing_count == 0)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_ARGUMENT,
                        "nothing morphs: the blocks of MORPH_BLOCKS have no convolution or linear "
                        "node");
    status = check_octaves(manifold, &largest);
    if (status != NEUMETA_OK)
        return status;
    nmi_encoding_plan(&inr->encoding, settings->encoding, settings->octaves,
                      settings->extent_octaves, settings->noise, &largest);
    inr->kernels = manifold->object.context->kernels;
    inr->hidden = settings->hidden;
    inr->layers = settings->layers;
    inr->activation = settings->function == 0 ? NMI_ACTIVATION_RELU : NMI_ACTIVATION_ELU;
    inr->scalar = settings->scalar;
    inr->block_rows = choose_block_rows(inr->hidden);
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++)
        if (manifold->fields[t].morphing)
            manifold->fields[t].parameter_count = manifold->kind->parameter_count(inr);
    return NEUMETA_OK;
}

static void read_settings(nmi_manifold *manifold, const nmi_options *options)
{
    nmi_inr_settings *s = &manifold->settings;
    s->encoding = nmi_options_choice(options, NEUMETA_KEY_INR_ENCODING);
    s->function = nmi_options_choice(options, NEUMETA_KEY_INR_FUNCTION);
    s->hidden = nmi_options_int(options, NEUMETA_KEY_INR_HIDDEN);
    s->layers = nmi_options_int(options, NEUMETA_KEY_INR_LAYERS);
    s->octaves = nmi_options_int(options, NEUMETA_KEY_INR_OCTAVES);
    s->extent_octaves = nmi_options_int(options, NEUMETA_KEY_INR_EXTENT_OCTAVES);
    if (s->extent_octaves < 0)
        s->extent_octaves = s->octaves;
    s->scalar = nmi_options_real(options, NEUMETA_KEY_INR_SCALAR);
    s->coordinate_scale = nmi_options_int(options, NEUMETA_KEY_COORDINATE_SCALE);
    s->noise = nmi_options_real(options, NEUMETA_KEY_NOISE);
    s->noise_clamp = nmi_options_real(options, NEUMETA_KEY_NOISE_CLAMP);
    if (s->coordinate_scale == 0)
        s->coordinate_scale = default_scale(manifold->topology);
    manifold->kind = nmi_inr_kind_at(nmi_options_choice(options, NEUMETA_KEY_INR_KIND));
}

/* --- life -------------------------------------------------------------------------------- */

neumeta_status nmi_manifold_plan(nmi_context *context, nmi_topology *topology,
                                 const nmi_options *options, nmi_manifold **out)
{
    static const int32_t keys[] = {
        NEUMETA_KEY_INR_KIND,           NEUMETA_KEY_INR_ENCODING,
        NEUMETA_KEY_INR_HIDDEN,         NEUMETA_KEY_INR_LAYERS,
        NEUMETA_KEY_INR_OCTAVES,        NEUMETA_KEY_INR_FUNCTION,
        NEUMETA_KEY_INR_SCALAR,         NEUMETA_KEY_COORDINATE_SCALE,
        NEUMETA_KEY_MORPH_BLOCKS,       NEUMETA_KEY_NOISE,
        NEUMETA_KEY_NOISE_CLAMP,        NEUMETA_KEY_SEED,
        NEUMETA_KEY_INR_EXTENT_OCTAVES,
    };
    *out = NULL;
    neumeta_status status = nmi_options_allow(context, options, "manifold create", keys,
                                              (int32_t)(sizeof keys / sizeof *keys));
    if (status == NEUMETA_OK)
        status = check_norms(topology);
    if (status != NEUMETA_OK)
        return status;
    nmi_manifold *manifold = nmi_alloc_zero(context, sizeof *manifold);
    if (manifold == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&manifold->object, context);
    nmi_topology_retain(topology);
    manifold->topology = topology;
    read_settings(manifold, options);
    manifold->fields =
        nmi_alloc_zero_array(context, topology->tensor_count, sizeof *manifold->fields);
    status = manifold->fields != NULL ? choose_blocks(manifold, options) : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = plan_inr(manifold);
    if (status == NEUMETA_OK)
        *out = manifold;
    else
        nmi_manifold_release(manifold);
    return status;
}

neumeta_status nmi_manifold_allocate(nmi_manifold *manifold)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        nmi_field *field = &manifold->fields[t];
        field->parameters =
            nmi_alloc_zero_array(manifold->object.context, field->parameter_count, sizeof(float));
        if (field->parameters == NULL)
            return NEUMETA_ERR_MEMORY;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_manifold_create(nmi_context *context, nmi_topology *topology,
                                   const nmi_options *options, nmi_manifold **out)
{
    neumeta_status status = nmi_manifold_plan(context, topology, options, out);
    if (status == NEUMETA_OK)
        status = nmi_manifold_allocate(*out);
    if (status != NEUMETA_OK) {
        nmi_manifold_release(*out);
        *out = NULL;
        return status;
    }
    const uint64_t seed = nmi_options_has(options, NEUMETA_KEY_SEED)
                              ? (uint64_t)nmi_options_int(options, NEUMETA_KEY_SEED)
                              : context->seed;
    (*out)->start_key = nmi_random_key(seed, NMI_RANDOM_WEIGHTS, 0);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        nmi_manifold_initialize(*out, t);
    return NEUMETA_OK;
}

void nmi_manifold_retain(nmi_manifold *manifold)
{
    nmi_object_retain(&manifold->object);
}

void nmi_manifold_release(nmi_manifold *manifold)
{
    if (manifold == NULL || !nmi_object_release(&manifold->object))
        return;
    nmi_context *context = manifold->object.context;
    nmi_emission_free(context, manifold->scratch);
    for (int32_t t = 0; manifold->fields != NULL && t < manifold->topology->tensor_count; t++)
        nmi_free(context, manifold->fields[t].parameters);
    nmi_free(context, manifold->fields);
    nmi_free(context, manifold->morphing_blocks);
    nmi_topology_release(manifold->topology);
    nmi_free(context, manifold);
    nmi_context_release(context);
}

/* --- questions --------------------------------------------------------------------------- */

int64_t nmi_manifold_parameter_count(const nmi_manifold *manifold)
{
    int64_t total = 0;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++)
        total += manifold->fields[t].parameter_count;
    return total;
}

const char *nmi_manifold_held_tensor(const nmi_manifold *manifold, int32_t axis)
{
    const nmi_topology *topology = manifold->topology;
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (!manifold->fields[t].morphing && nmi_graph_tensor_depends(topology, t, axis))
            return topology->tensors[t].name;
    return NULL;
}

void nmi_manifold_sizes_at(const nmi_manifold *manifold, double gamma, int64_t *sizes)
{
    const nmi_topology *topology = manifold->topology;
    nmi_graph_sizes_at(topology, gamma, sizes);
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (nmi_manifold_held_tensor(manifold, a) != NULL)
            sizes[a] = topology->axes[a].max;
}

neumeta_status nmi_manifold_check_sizes(const nmi_manifold *manifold, const int64_t *sizes)
{
    const nmi_topology *topology = manifold->topology;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const nmi_axis *axis = &topology->axes[a];
        if (axis->kind != NEUMETA_AXIS_WIDTH || sizes[a] == axis->max)
            continue;
        const char *held = nmi_manifold_held_tensor(manifold, a);
        if (held != NULL)
            return nmi_fail(manifold->object.context, NEUMETA_ERR_SHAPE,
                            "axis '%s' is %lld, must be at its maximum %lld: tensor '%s' "
                            "depends on it and is held directly",
                            axis->name, (long long)sizes[a], (long long)axis->max, held);
    }
    return NEUMETA_OK;
}
