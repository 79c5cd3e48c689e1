/* SPDX-License-Identifier: MIT */
/* Which sizes training drew, in memory and in files. */
#include "nmi_trained_range.h"

#include "nmi_archive.h"
#include "nmi_statistics.h"

#include <math.h>

#define META_TRAINED "neumeta.trained"

void nmi_trained_extend(nmi_manifold *manifold, const bool *moves, double gamma_max,
                        double depth_gamma_max)
{
    nmi_trained_range *range = &manifold->trained;
    for (int32_t a = 0; a < manifold->topology->axis_count; a++)
        range->moves[a] = range->moves[a] || moves[a];
    range->gamma_max = fmax(range->gamma_max, gamma_max);
    range->depth_gamma_max = fmax(range->depth_gamma_max, depth_gamma_max);
    range->known = true;
}

void nmi_trained_least(const nmi_manifold *manifold, int64_t *sizes)
{
    const nmi_trained_range *range = &manifold->trained;
    for (int32_t a = 0; a < manifold->topology->axis_count; a++) {
        const nmi_axis *axis = &manifold->topology->axes[a];
        const bool depth = axis->kind == NEUMETA_AXIS_DEPTH;
        sizes[a] = range->moves[a]
                       ? nmi_axis_size_at(axis, depth ? range->depth_gamma_max : range->gamma_max)
                       : axis->max;
    }
}

void nmi_trained_reach(const nmi_manifold *manifold, const nmi_options *options, double *gamma_max,
                       double *depth_gamma_max)
{
    const bool known = manifold->trained.known;
    *gamma_max = known && !nmi_options_has(options, NEUMETA_KEY_GAMMA_MAX)
                     ? manifold->trained.gamma_max
                     : nmi_options_real(options, NEUMETA_KEY_GAMMA_MAX);
    *depth_gamma_max = known && !nmi_options_has(options, NEUMETA_KEY_DEPTH_GAMMA_MAX)
                           ? manifold->trained.depth_gamma_max
                           : nmi_options_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX);
}

/* --- files ------------------------------------------------------------------------------------ */

neumeta_status nmi_trained_add(const nmi_manifold *manifold, nmi_safetensors_writer *writer)
{
    const nmi_trained_range *range = &manifold->trained;
    nmi_options *options = NULL;
    if (!range->known)
        return NEUMETA_OK;
    neumeta_status status = nmi_options_create(manifold->object.context, &options);
    if (status == NEUMETA_OK)
        status = nmi_options_set_marks(options, NEUMETA_KEY_SIZE_AXES, range->moves,
                                       manifold->topology->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_options_set_real(options, NEUMETA_KEY_GAMMA_MAX, range->gamma_max);
    if (status == NEUMETA_OK)
        status = nmi_options_set_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX, range->depth_gamma_max);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_options(writer, META_TRAINED, options);
    nmi_options_release(options);
    return status;
}

static neumeta_status read_range(const nmi_safetensors *file, nmi_manifold *manifold, bool *moves)
{
    static const int32_t keys[] = {NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_GAMMA_MAX,
                                   NEUMETA_KEY_DEPTH_GAMMA_MAX};
    nmi_context *context = manifold->object.context;
    nmi_options *options = NULL;
    neumeta_status status = nmi_archive_options(file, META_TRAINED, &options);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_options_allow(context, options, META_TRAINED, keys, 3);
    if (status == NEUMETA_OK)
        status = nmi_options_marks(context, options, NEUMETA_KEY_SIZE_AXES, moves,
                                   manifold->topology->axis_count);
    if (status == NEUMETA_ERR_ARGUMENT)
        status = nmi_safetensors_within(file, NEUMETA_ERR_FORMAT);
    if (status == NEUMETA_OK)
        nmi_trained_extend(manifold, moves, nmi_options_real(options, NEUMETA_KEY_GAMMA_MAX),
                           nmi_options_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX));
    nmi_options_release(options);
    return status;
}

neumeta_status nmi_trained_read(const nmi_safetensors *file, nmi_manifold *manifold)
{
    const nmi_statistics *statistics = manifold->statistics;
    nmi_context *context = manifold->object.context;
    if (nmi_safetensors_text(file, META_TRAINED) == NULL) {
        if (statistics != NULL)
            nmi_trained_extend(manifold, statistics->moves, statistics->measured.widths.max,
                               statistics->measured.depth);
        return NEUMETA_OK;
    }
    bool *moves = nmi_alloc_zero_array(context, manifold->topology->axis_count, sizeof *moves);
    const neumeta_status status =
        moves != NULL ? read_range(file, manifold, moves) : NEUMETA_ERR_MEMORY;
    nmi_free(context, moves);
    return status;
}
