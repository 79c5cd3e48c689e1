/* SPDX-License-Identifier: MIT */
/*
 * The sizes that are drawn, or that were: widths by compressions in a range, the others down to a
 * largest compression.
 */
#ifndef NMI_RANGE_H
#define NMI_RANGE_H

#include "nmi_graph.h"
#include "nmi_options.h"

typedef struct nmi_range {
    double min, max; /* GAMMA_MIN, GAMMA_MAX */
    double gap[2];   /* GAMMA_GAP: nothing from the first to the second; {0, 0}: no gap */
} nmi_range;

/* Those of all axes that vary. */
typedef struct nmi_size_range {
    nmi_range widths; /* inner ones */
    double streams;   /* STREAM_GAMMA_MAX: largest compression; 0: in the range of inner widths */
    double depths;    /* DEPTH_GAMMA_MAX: largest compression; 0: all are full */
} nmi_size_range;

nmi_size_range nmi_size_range_read(const nmi_options *options);
/* Whether GAMMA_MIN, GAMMA_MAX and GAMMA_GAP agree with each other; the ends need not be from
 * `options`. */
neumeta_status nmi_range_check(nmi_context *context, const nmi_options *options,
                               const nmi_range *range);
/* The compressions of one axis of a sealed topology. */
nmi_range nmi_size_range_of(const nmi_size_range *range, const nmi_topology *topology,
                            int32_t axis);
/* The axis' smallest size in the range. */
int64_t nmi_size_range_least(const nmi_size_range *range, const nmi_topology *topology,
                             int32_t axis);
/* One of the axis' sizes in the range, by `draw` in [0, 1], from the narrowest to the widest, all
 * equally probable. An axis whose sizes are all in the gap takes no notice of it. */
int64_t nmi_range_size(const nmi_range *range, const nmi_axis *axis, double draw);

#endif
