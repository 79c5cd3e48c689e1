/* SPDX-License-Identifier: MIT */
/*
 * Fronts in files: sizes, scores and latencies as tensors, in the metadata how many items and which
 * kernels they were measured with. Costs follow from the sizes, so no file can contradict them.
 */
#include "nmi_front_file.h"

#include <math.h>
#include <string.h>

#define META_KERNELS "neumeta.front"
#define META_ITEMS "neumeta.front.items"

enum { SIZES, SCORES, LATENCIES };
const char *const nmi_front_tensors[NMI_FRONT_TENSORS] = {"front.sizes", "front.scores",
                                                          "front.latencies"};

neumeta_status nmi_front_add(const nmi_front *front, nmi_safetensors_writer *writer)
{
    const int64_t dims[2] = {front->count, front->topology->axis_count};
    neumeta_status status = nmi_safetensors_add_text(writer, META_KERNELS, front->kernels);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_number(writer, META_ITEMS, front->items);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, nmi_front_tensors[SIZES], NMI_DTYPE_I64, 2, dims,
                                     front->sizes);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, nmi_front_tensors[SCORES], NMI_DTYPE_F64, 1, dims,
                                     front->scores);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, nmi_front_tensors[LATENCIES], NMI_DTYPE_F64, 1, dims,
                                     front->latencies);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

static neumeta_status read_about(const nmi_safetensors *file, nmi_front *front)
{
    const char *kernels = nmi_safetensors_text(file, META_KERNELS);
    nmi_context *ctx = front->context;
    const size_t length = strlen(kernels);
    if (length == 0 || length >= NMI_FRONT_KERNELS ||
        strspn(kernels, "abcdefghijklmnopqrstuvwxyz0123456789-_") != length)
        return nmi_safetensors_within(
            file,
            nmi_fail(ctx, NEUMETA_ERR_FORMAT, "metadata '%s' is no name of kernels", META_KERNELS));
    memcpy(front->kernels, kernels, length + 1);
    neumeta_status status = nmi_archive_number(file, META_ITEMS, &front->items);
    if (status == NEUMETA_OK && front->items < 1)
        status = nmi_safetensors_within(file, nmi_fail(ctx, NEUMETA_ERR_FORMAT,
                                                       "metadata '%s' is %lld, must be at least 1",
                                                       META_ITEMS, (long long)front->items));
    return status;
}

/* Before memory is taken: many axes must not multiply few sizes. */
static neumeta_status expect_tensors(const nmi_safetensors *file, int64_t count, int64_t axes)
{
    const int64_t dims[2] = {count, axes};
    neumeta_status status =
        nmi_safetensors_expect(file, nmi_front_tensors[SIZES], NMI_DTYPE_I64, 2, dims);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_expect(file, nmi_front_tensors[SCORES], NMI_DTYPE_F64, 1, dims);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_expect(file, nmi_front_tensors[LATENCIES], NMI_DTYPE_F64, 1, dims);
    return status;
}

static neumeta_status read_tensors(const nmi_safetensors *file, nmi_front *front)
{
    const int64_t dims[2] = {front->count, front->topology->axis_count};
    neumeta_status status =
        nmi_safetensors_read(file, nmi_front_tensors[SIZES], NMI_DTYPE_I64, 2, dims, front->sizes);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, nmi_front_tensors[SCORES], NMI_DTYPE_F64, 1, dims,
                                      front->scores);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, nmi_front_tensors[LATENCIES], NMI_DTYPE_F64, 1, dims,
                                      front->latencies);
    return status;
}

/* Sizes as materialisation takes them, numbers that can have been measured, and the order. */
static neumeta_status check_entry(nmi_front *front, const nmi_manifold *manifold, int32_t entry)
{
    const int64_t *sizes = nmi_front_sizes(front, entry);
    int64_t *costs = front->costs + (int64_t)entry * NMI_COSTS;
    const double score = front->scores[entry], latency = front->latencies[entry];
    neumeta_status status =
        nmi_graph_check_sizes(front->topology, sizes, front->topology->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_manifold_check_sizes(manifold, sizes);
    if (status == NEUMETA_OK)
        status = nmi_front_measure(front->topology, sizes, costs);
    if (status == NEUMETA_OK && !(score >= 0 && score <= 1))
        status = nmi_fail(front->context, NEUMETA_ERR_FORMAT, "its score is %g, must lie in [0, 1]",
                          score);
    if (status == NEUMETA_OK && !(latency > 0 && isfinite(latency)))
        status = nmi_fail(front->context, NEUMETA_ERR_FORMAT,
                          "its latency is %g, must be finite and above 0", latency);
    if (status == NEUMETA_OK && entry > 0 &&
        costs[NMI_COST_MULTIPLY_ADDS] < costs[NMI_COST_MULTIPLY_ADDS - NMI_COSTS])
        status = nmi_fail(front->context, NEUMETA_ERR_FORMAT,
                          "it has fewer multiply-adds than the entry before");
    if (status == NEUMETA_OK || status == NEUMETA_ERR_MEMORY)
        return status;
    return nmi_fail_within(front->context, NEUMETA_ERR_FORMAT, "entry %d of the front", (int)entry);
}

neumeta_status nmi_front_read(const nmi_safetensors *file, const nmi_manifold *manifold,
                              nmi_front **out)
{
    nmi_context *ctx = manifold->object.context;
    *out = NULL;
    if (nmi_safetensors_text(file, META_KERNELS) == NULL)
        return NEUMETA_OK;
    nmi_tensor_entry sizes = {0};
    nmi_safetensors_find(file, nmi_front_tensors[SIZES], &sizes);
    const int64_t count = sizes.rank == 2 ? sizes.dims[0] : 0;
    if (count < 1 || count > NMI_FRONT_MAX)
        return nmi_safetensors_within(
            file,
            nmi_fail(ctx, NEUMETA_ERR_FORMAT, "tensor '%s' has %lld entries, a front has 1 to %d",
                     nmi_front_tensors[SIZES], (long long)count, NMI_FRONT_MAX));
    neumeta_status status = expect_tensors(file, count, manifold->topology->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_front_create(manifold->topology, (int32_t)count, out);
    if (status == NEUMETA_OK)
        status = read_about(file, *out);
    if (status == NEUMETA_OK)
        status = read_tensors(file, *out);
    for (int32_t i = 0; i < count && status == NEUMETA_OK; i++) {
        status = check_entry(*out, manifold, i);
        if (status != NEUMETA_OK)
            status = nmi_safetensors_within(file, status);
    }
    if (status != NEUMETA_OK) {
        nmi_front_free(*out);
        *out = NULL;
    }
    return status;
}
