/* SPDX-License-Identifier: MIT */
/* Blocks of rows that wait for their backward: one array, shared out to the tensors in order. */
#include "nmi_mlp_keep.h"

#include <string.h>

typedef struct kept_tensor {
    float *blocks; /* NULL: nothing is kept */
    int64_t outputs, inputs;
} kept_tensor;

struct nmi_mlp_keep {
    nmi_context *context;
    int64_t stride, capacity, used; /* floats of a block; blocks */
    float *blocks;
    int32_t tensor_count;
    kept_tensor *tensors; /* [tensor_count] */
    bool noisy;
    nmi_noise noise;
};

/* Blocks of all MLPs of the kind at full sizes. */
static int64_t count_blocks(const nmi_manifold *manifold, int32_t kind)
{
    const nmi_topology *topology = manifold->topology;
    const int64_t rows = nmi_manifold_mlp(manifold, kind)->block_rows;
    int64_t blocks = 0;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        int64_t dims[4];
        if (manifold->fields[t].kind != nmi_inr_kind_at(kind))
            continue;
        nmi_graph_tensor_dims(topology, manifold->full_sizes, manifold->full_shapes, t, dims);
        blocks += (dims[0] * dims[1] + rows - 1) / rows;
    }
    return blocks;
}

neumeta_status nmi_mlp_keep_create(const nmi_manifold *manifold, int32_t kind, nmi_mlp_keep **out)
{
    enum { LINE = NMI_ALIGNMENT / (int)sizeof(float) };
    nmi_context *ctx = manifold->object.context;
    nmi_mlp_keep *keep = nmi_alloc_zero(ctx, sizeof *keep);
    *out = NULL;
    if (keep == NULL)
        return NEUMETA_ERR_MEMORY;
    const int64_t floats = (int64_t)nmi_mlp_kept_floats(nmi_manifold_mlp(manifold, kind));
    const int64_t blocks = count_blocks(manifold, kind);
    keep->context = ctx;
    keep->stride = (floats + LINE - 1) / LINE * LINE;
    keep->capacity = NMI_KEEP_BYTES / (int64_t)sizeof(float) / keep->stride;
    keep->capacity = blocks < keep->capacity ? blocks : keep->capacity;
    keep->tensor_count = manifold->topology->tensor_count;
    keep->tensors = nmi_alloc_zero_array(ctx, keep->tensor_count, sizeof *keep->tensors);
    if (keep->capacity > 0)
        keep->blocks = nmi_alloc_matrix(ctx, keep->capacity, keep->stride, sizeof(float));
    if (keep->tensors == NULL || (keep->capacity > 0 && keep->blocks == NULL)) {
        nmi_mlp_keep_free(keep);
        return NEUMETA_ERR_MEMORY;
    }
    *out = keep;
    return NEUMETA_OK;
}

void nmi_mlp_keep_free(nmi_mlp_keep *keep)
{
    if (keep == NULL)
        return;
    nmi_context *ctx = keep->context;
    nmi_free(ctx, keep->blocks);
    nmi_free(ctx, keep->tensors);
    nmi_free(ctx, keep);
}

void nmi_mlp_keep_start(nmi_mlp_keep *keep, const nmi_noise *noise)
{
    memset(keep->tensors, 0, (size_t)keep->tensor_count * sizeof *keep->tensors);
    keep->used = 0;
    keep->noisy = noise != NULL;
    if (noise != NULL)
        keep->noise = *noise;
}

float *nmi_mlp_keep_add(nmi_mlp_keep *keep, int32_t tensor, const nmi_grid *grid, int64_t blocks)
{
    if (blocks > keep->capacity - keep->used)
        return NULL;
    float *first = keep->blocks + keep->used * keep->stride;
    keep->used += blocks;
    keep->tensors[tensor] =
        (kept_tensor){.blocks = first, .outputs = grid->outputs, .inputs = grid->inputs};
    return first;
}

static bool same_noise(const nmi_mlp_keep *keep, const nmi_noise *noise)
{
    const nmi_noise *kept = &keep->noise;
    if (noise == NULL || !keep->noisy)
        return noise == NULL && !keep->noisy;
    return noise->amplitude == kept->amplitude && noise->clamp == kept->clamp &&
           noise->key == kept->key && noise->draw == kept->draw && noise->sample == kept->sample &&
           noise->samples == kept->samples;
}

float *nmi_mlp_keep_take(nmi_mlp_keep *keep, int32_t tensor, const nmi_grid *grid,
                         const nmi_noise *noise)
{
    const kept_tensor kept = keep->tensors[tensor];
    keep->tensors[tensor].blocks = NULL;
    const bool same = kept.outputs == grid->outputs && kept.inputs == grid->inputs;
    return same && same_noise(keep, noise) ? kept.blocks : NULL;
}

int64_t nmi_mlp_keep_stride(const nmi_mlp_keep *keep)
{
    return keep->stride;
}
