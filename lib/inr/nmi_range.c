/* SPDX-License-Identifier: MIT */
#include "nmi_range.h"

neumeta_status nmi_range_check(nmi_context *context, const nmi_options *options,
                               const nmi_range *range)
{
    const double low = range->min, high = range->max;
    int64_t count = 0;
    const double *gap = nmi_options_reals(options, NEUMETA_KEY_GAMMA_GAP, &count);
    if (low > high)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "GAMMA_MIN is %g, must not be above GAMMA_MAX, which is %g", low, high);
    if (count != 0 && (count != 2 || gap[0] >= gap[1]))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "GAMMA_GAP must be two compressions of which the second is larger");
    if (count != 0 && (gap[0] <= low || gap[1] >= high))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "GAMMA_GAP is from %g to %g, must lie between GAMMA_MIN and GAMMA_MAX, "
                        "%g and %g",
                        gap[0], gap[1], low, high);
    return NEUMETA_OK;
}

nmi_size_range nmi_size_range_read(const nmi_options *options)
{
    int64_t count = 0;
    const double *gap = nmi_options_reals(options, NEUMETA_KEY_GAMMA_GAP, &count);
    nmi_size_range range = {.widths = {.min = nmi_options_real(options, NEUMETA_KEY_GAMMA_MIN),
                                       .max = nmi_options_real(options, NEUMETA_KEY_GAMMA_MAX)},
                            .streams = nmi_options_real(options, NEUMETA_KEY_STREAM_GAMMA_MAX),
                            .depths = nmi_options_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX)};
    for (int64_t i = 0; i < count && i < 2; i++)
        range.widths.gap[i] = gap[i];
    return range;
}

nmi_range nmi_size_range_of(const nmi_size_range *range, const nmi_topology *topology, int32_t axis)
{
    const nmi_axis_group group = nmi_graph_axis_group(topology, axis);
    if (group == NMI_AXIS_DEPTH)
        return (nmi_range){.max = range->depths};
    if (group == NMI_AXIS_STREAM && range->streams > 0)
        return (nmi_range){.max = range->streams};
    return range->widths;
}

int64_t nmi_size_range_least(const nmi_size_range *range, const nmi_topology *topology,
                             int32_t axis)
{
    return nmi_axis_size_at(&topology->axes[axis], nmi_size_range_of(range, topology, axis).max);
}

static bool in_gap(const nmi_range *range, const nmi_axis *axis, int64_t size)
{
    const double rounding = 1e-9, gamma = 1 - (double)size / (double)axis->max;
    return range->gap[1] > 0 && gamma >= range->gap[0] - rounding &&
           gamma <= range->gap[1] + rounding;
}

int64_t nmi_range_size(const nmi_range *range, const nmi_axis *axis, double draw)
{
    const int64_t low = nmi_axis_size_at(axis, range->max);
    const int64_t high = nmi_axis_size_at(axis, range->min);
    int64_t outside = 0;
    for (int64_t size = low; size <= high; size += axis->step)
        outside += !in_gap(range, axis, size);
    const int64_t choices = outside > 0 ? outside : (high - low) / axis->step + 1;
    int64_t choice = (int64_t)(draw * (double)choices);
    choice = choice < choices ? choice : choices - 1;
    for (int64_t size = low; size <= high; size += axis->step)
        if ((outside == 0 || !in_gap(range, axis, size)) && choice-- == 0)
            return size;
    return high;
}
