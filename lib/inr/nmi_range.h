/* SPDX-License-Identifier: MIT */
/*
 * The compressions that widths are drawn from.
 */
#ifndef NMI_RANGE_H
#define NMI_RANGE_H

#include "nmi_graph.h"
#include "nmi_options.h"

typedef struct nmi_range {
    double min, max; /* GAMMA_MIN, GAMMA_MAX */
    double gap[2];   /* GAMMA_GAP: nothing from the first to the second; {0, 0}: no gap */
} nmi_range;

/* Which sizes were measured, or are to be drawn. */
typedef struct nmi_size_range {
    nmi_range widths;
    double depth; /* DEPTH_GAMMA_MAX: largest compression of depths; 0: all are full */
} nmi_size_range;

nmi_range nmi_range_read(const nmi_options *options);
/* Whether the settings of a range agree with each other; its ends need not be from `options`. */
neumeta_status nmi_range_check(nmi_context *context, const nmi_options *options,
                               const nmi_range *range);
/* One of the axis' sizes in the range, by `draw` in [0, 1], from the narrowest to the widest, all
 * equally probable. An axis whose sizes are all in the gap takes no notice of it. */
int64_t nmi_range_size(const nmi_range *range, const nmi_axis *axis, double draw);

#endif
