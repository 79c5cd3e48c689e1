/* SPDX-License-Identifier: MIT */
/* Which sizes training drew, in memory and in files. */
#include "nmi_trained_range.h"

#include "nmi_archive.h"
#include "nmi_statistics.h"

#include <math.h>
#include <string.h>

#define META_TRAINED "neumeta.trained"

static double *reach_of(nmi_size_range *range, const nmi_topology *topology, int32_t axis)
{
    const nmi_axis_group group = nmi_graph_axis_group(topology, axis);
    return group == NMI_AXIS_DEPTH    ? &range->depths
           : group == NMI_AXIS_STREAM ? &range->streams
                                      : &range->widths.max;
}

void nmi_trained_extend(nmi_manifold *manifold, const bool *moves, const nmi_size_range *drawn)
{
    const nmi_topology *topology = manifold->topology;
    nmi_trained_range *trained = &manifold->trained;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        double *reach = reach_of(&trained->range, topology, a);
        const double most = moves[a] ? nmi_size_range_of(drawn, topology, a).max : 0;
        *reach = fmax(*reach, most);
        trained->moves[a] = trained->moves[a] || most > 0;
    }
    trained->known = true;
}

void nmi_trained_forget(nmi_manifold *manifold)
{
    nmi_trained_range *trained = &manifold->trained;
    trained->known = false;
    trained->range = (nmi_size_range){.streams = 0};
    memset(trained->moves, 0, (size_t)manifold->topology->axis_count * sizeof *trained->moves);
}

void nmi_trained_least(const nmi_manifold *manifold, int64_t *sizes)
{
    const nmi_topology *topology = manifold->topology;
    const nmi_trained_range *trained = &manifold->trained;
    for (int32_t a = 0; a < topology->axis_count; a++)
        sizes[a] = trained->moves[a] ? nmi_size_range_least(&trained->range, topology, a)
                                     : topology->axes[a].max;
}

/* What is 0 was not trained. */
static void take_trained(const nmi_options *options, int32_t key, double trained, double *reach)
{
    if (trained > 0 && !nmi_options_has(options, key))
        *reach = trained;
}

nmi_size_range nmi_trained_size_range(const nmi_manifold *manifold, const nmi_options *options)
{
    const nmi_size_range *trained = &manifold->trained.range;
    nmi_size_range range = nmi_size_range_read(options);
    take_trained(options, NEUMETA_KEY_GAMMA_MAX, trained->widths.max, &range.widths.max);
    take_trained(options, NEUMETA_KEY_STREAM_GAMMA_MAX, trained->streams, &range.streams);
    take_trained(options, NEUMETA_KEY_DEPTH_GAMMA_MAX, trained->depths, &range.depths);
    return range;
}

/* --- files ------------------------------------------------------------------------------------ */

neumeta_status nmi_trained_add(const nmi_manifold *manifold, nmi_safetensors_writer *writer)
{
    const nmi_trained_range *trained = &manifold->trained;
    const nmi_size_range *range = &trained->range;
    nmi_options *options = NULL;
    if (!trained->known)
        return NEUMETA_OK;
    neumeta_status status = nmi_options_create(manifold->object.context, &options);
    if (status == NEUMETA_OK)
        status = nmi_options_set_marks(options, NEUMETA_KEY_SIZE_AXES, trained->moves,
                                       manifold->topology->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_options_set_real(options, NEUMETA_KEY_GAMMA_MAX, range->widths.max);
    if (status == NEUMETA_OK && range->streams > 0)
        status = nmi_options_set_real(options, NEUMETA_KEY_STREAM_GAMMA_MAX, range->streams);
    if (status == NEUMETA_OK)
        status = nmi_options_set_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX, range->depths);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_options(writer, META_TRAINED, options);
    nmi_options_release(options);
    return status;
}

static neumeta_status read_range(const nmi_safetensors *file, nmi_manifold *manifold, bool *moves)
{
    static const int32_t keys[] = {NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_GAMMA_MAX,
                                   NEUMETA_KEY_STREAM_GAMMA_MAX, NEUMETA_KEY_DEPTH_GAMMA_MAX};
    nmi_context *context = manifold->object.context;
    nmi_options *options = NULL;
    neumeta_status status = nmi_archive_options(file, META_TRAINED, &options);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_options_allow(context, options, META_TRAINED, keys, 4);
    if (status == NEUMETA_OK)
        status = nmi_options_marks(context, options, NEUMETA_KEY_SIZE_AXES, moves,
                                   manifold->topology->axis_count);
    if (status == NEUMETA_ERR_ARGUMENT)
        status = nmi_safetensors_within(file, NEUMETA_ERR_FORMAT);
    if (status == NEUMETA_OK) {
        const nmi_size_range range = nmi_size_range_read(options);
        nmi_trained_extend(manifold, moves, &range);
    }
    nmi_options_release(options);
    return status;
}

neumeta_status nmi_trained_read(const nmi_safetensors *file, nmi_manifold *manifold)
{
    const nmi_statistics *statistics = manifold->statistics;
    nmi_context *context = manifold->object.context;
    if (nmi_safetensors_text(file, META_TRAINED) == NULL) {
        if (statistics != NULL)
            nmi_trained_extend(manifold, statistics->moves, &statistics->measured);
        return NEUMETA_OK;
    }
    bool *moves = nmi_alloc_zero_array(context, manifold->topology->axis_count, sizeof *moves);
    const neumeta_status status =
        moves != NULL ? read_range(file, manifold, moves) : NEUMETA_ERR_MEMORY;
    nmi_free(context, moves);
    return status;
}
