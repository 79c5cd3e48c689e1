/* SPDX-License-Identifier: MIT */
/*
 * Statistics in files of manifolds and checkpoints: what the terms follow from in the metadata,
 * whose key tells whether there are any, and all coefficients as one tensor. Files of format 1 have
 * a matrix for each running tensor ("bn.running_mean/terms") instead, and other terms.
 */
#include "nmi_statistics_file.h"

#include "nmi_float16.h"

#include <math.h>
#include <stdio.h>

#define META_STATISTICS "neumeta.statistics"
#define TENSOR_NAME "statistics"

int32_t nmi_statistics_entry_count(const nmi_statistics *statistics)
{
    return statistics->older ? NMI_TARGETS * statistics->norm_count : 1;
}

bool nmi_statistics_entry(const nmi_statistics *statistics, int32_t index,
                          nmi_statistics_tensor *out)
{
    if (index >= nmi_statistics_entry_count(statistics))
        return false;
    if (!statistics->older) {
        snprintf(out->name, sizeof out->name, TENSOR_NAME);
        out->rank = 1;
        out->dims[0] = statistics->coefficient_count;
        out->data = statistics->coefficients;
        return true;
    }
    const int target = index % NMI_TARGETS;
    const nmi_norm_function *norm = &statistics->norms[index / NMI_TARGETS];
    const int32_t tensor = target == NMI_MEAN ? norm->mean : norm->variance;
    snprintf(out->name, sizeof out->name, "%s/terms", statistics->topology->tensors[tensor].name);
    out->rank = 2;
    out->dims[0] = norm->terms[target];
    out->dims[1] = norm->channels;
    out->data = norm->coefficients[target];
    return true;
}

/* F16 where that loses nothing, as for all that was fitted but numbers beyond its range. */
static int32_t choose_type(const nmi_statistics *statistics)
{
    for (int64_t i = 0; i < statistics->coefficient_count; i++) {
        const float x = statistics->coefficients[i];
        if (nmi_float_bits(nmi_f16_from_bits(nmi_f16_bits(x))) != nmi_float_bits(x))
            return NMI_DTYPE_F32;
    }
    return NMI_DTYPE_F16;
}

/* GAMMA_MAX, and what else is not as it usually is. */
static neumeta_status list_range(const nmi_size_range *range, nmi_options *options)
{
    neumeta_status status = nmi_options_set_real(options, NEUMETA_KEY_GAMMA_MAX, range->widths.max);
    if (status == NEUMETA_OK && range->widths.min > 0)
        status = nmi_options_set_real(options, NEUMETA_KEY_GAMMA_MIN, range->widths.min);
    if (status == NEUMETA_OK && range->widths.gap[1] > 0)
        status = nmi_options_set_reals(options, NEUMETA_KEY_GAMMA_GAP, range->widths.gap, 2);
    if (status == NEUMETA_OK && range->streams > 0)
        status = nmi_options_set_real(options, NEUMETA_KEY_STREAM_GAMMA_MAX, range->streams);
    if (status == NEUMETA_OK && range->depths > 0)
        status = nmi_options_set_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX, range->depths);
    return status;
}

neumeta_status nmi_statistics_add(const nmi_statistics *statistics, nmi_safetensors_writer *writer)
{
    nmi_options *options = NULL;
    nmi_statistics_tensor tensor;
    const int32_t dtype = choose_type(statistics);
    neumeta_status status = nmi_options_create(statistics->context, &options);
    if (status == NEUMETA_OK)
        status = nmi_options_set_marks(options, NEUMETA_KEY_SIZE_AXES, statistics->moves,
                                       statistics->topology->axis_count);
    if (status == NEUMETA_OK)
        status = list_range(&statistics->measured, options);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_options(writer, META_STATISTICS, options);
    nmi_options_release(options);
    for (int32_t i = 0; status == NEUMETA_OK && nmi_statistics_entry(statistics, i, &tensor); i++)
        status = nmi_safetensors_add_floats(writer, tensor.name, dtype, tensor.rank, tensor.dims,
                                            tensor.data);
    return status;
}

static neumeta_status mark_axes(const nmi_topology *topology, const nmi_options *options,
                                bool *moves)
{
    static const int32_t keys[] = {NEUMETA_KEY_SIZE_AXES,        NEUMETA_KEY_GAMMA_MAX,
                                   NEUMETA_KEY_GAMMA_MIN,        NEUMETA_KEY_GAMMA_GAP,
                                   NEUMETA_KEY_STREAM_GAMMA_MAX, NEUMETA_KEY_DEPTH_GAMMA_MAX};
    nmi_context *ctx = topology->object.context;
    const neumeta_status status = nmi_options_allow(ctx, options, META_STATISTICS, keys, 6);
    return status == NEUMETA_OK
               ? nmi_options_marks(ctx, options, NEUMETA_KEY_SIZE_AXES, moves, topology->axis_count)
               : status;
}

neumeta_status nmi_statistics_find(const nmi_safetensors *file, const nmi_topology *topology,
                                   nmi_statistics **out)
{
    nmi_context *ctx = topology->object.context;
    nmi_options *options = NULL;
    *out = NULL;
    if (nmi_safetensors_text(file, META_STATISTICS) == NULL)
        return NEUMETA_OK;
    bool *moves = nmi_alloc_zero_array(ctx, topology->axis_count, sizeof *moves);
    neumeta_status status =
        moves != NULL ? nmi_archive_options(file, META_STATISTICS, &options) : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK) {
        status = mark_axes(topology, options, moves);
        if (status == NEUMETA_ERR_ARGUMENT)
            status = nmi_safetensors_within(file, NEUMETA_ERR_FORMAT);
    }
    if (status == NEUMETA_OK) {
        const nmi_size_range measured = nmi_size_range_read(options);
        status = nmi_statistics_create(topology, moves, &measured,
                                       nmi_safetensors_index(file, TENSOR_NAME) < 0, out);
    }
    if (status == NEUMETA_ERR_UNSUPPORTED)
        status = nmi_safetensors_within(file, NEUMETA_ERR_FORMAT);
    nmi_options_release(options);
    nmi_free(ctx, moves);
    if (status != NEUMETA_OK) {
        nmi_statistics_free(*out);
        *out = NULL;
    }
    return status;
}

/* Before memory is taken: a small file must not make us ask for many coefficients. */
static neumeta_status check_tensors(const nmi_safetensors *file, const nmi_statistics *statistics)
{
    nmi_statistics_tensor tensor;
    neumeta_status status = NEUMETA_OK;
    for (int32_t i = 0; status == NEUMETA_OK && nmi_statistics_entry(statistics, i, &tensor); i++)
        status = nmi_safetensors_expect_floats(file, tensor.name, tensor.rank, tensor.dims);
    return status;
}

neumeta_status nmi_statistics_read(const nmi_safetensors *file, nmi_statistics *statistics)
{
    nmi_statistics_tensor tensor;
    neumeta_status status = check_tensors(file, statistics);
    if (status == NEUMETA_OK)
        status = nmi_statistics_allocate(statistics);
    for (int32_t i = 0; status == NEUMETA_OK && nmi_statistics_entry(statistics, i, &tensor); i++)
        status =
            nmi_safetensors_read_floats(file, tensor.name, tensor.rank, tensor.dims, tensor.data);
    for (int64_t i = 0; status == NEUMETA_OK && i < statistics->coefficient_count; i++)
        if (!isfinite(statistics->coefficients[i]))
            status = nmi_safetensors_within(
                file, nmi_fail(statistics->context, NEUMETA_ERR_FORMAT,
                               "coefficient %lld of the statistics is %g, not a number",
                               (long long)i, (double)statistics->coefficients[i]));
    return status;
}
