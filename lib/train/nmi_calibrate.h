/* SPDX-License-Identifier: MIT */
/*
 * Calibration: statistics of norms from data, for one network, or as functions of the sizes for a
 * manifold.
 */
#ifndef NMI_CALIBRATE_H
#define NMI_CALIBRATE_H

#include "nmi_dataset.h"
#include "nmi_manifold.h"
#include "nmi_range.h"

/* NON_UNIFORM; unset: as much of either, whatever training draws. */
double nmi_calibrate_non_uniform(const nmi_options *options);

typedef struct nmi_calibration {
    int64_t sizes, items; /* CALIBRATE_SIZES, CALIBRATE_ITEMS */
    nmi_size_range range;
    double non_uniform;
    const bool *moves; /* [axis_count] */
    uint64_t seed;
    nmi_watch watch; /* between sizes; may be NULL */
    void *user;
} nmi_calibration;

/* What nmi_calibrate_manifold() does, without its checks of options. */
neumeta_status nmi_calibrate(nmi_manifold *manifold, nmi_dataset *dataset,
                             const nmi_calibration *how, double *error);

/*
 * Measures the manifold's norms at drawn sizes and fits the functions that materialisation takes
 * their statistics from. `error` receives nmi_statistics_error() of a first fit without every fifth
 * size. Options: CALIBRATE_SIZES, CALIBRATE_ITEMS, GAMMA_MIN, GAMMA_MAX, GAMMA_GAP,
 * NON_UNIFORM, STREAM_GAMMA_MAX, DEPTH_GAMMA_MAX, SIZE_AXES, SEED. On failure and NEUMETA_CANCELLED
 * the manifold is as it was. Bits do not depend on threads.
 */
neumeta_status nmi_calibrate_manifold(nmi_manifold *manifold, nmi_dataset *dataset,
                                      const nmi_options *options, nmi_watch watch, void *user,
                                      double *error);

/* Measures the norms of a network at its own sizes. Options: CALIBRATE_ITEMS. */
neumeta_status nmi_calibrate_network(nmi_network *network, nmi_dataset *dataset,
                                     const nmi_options *options);

#endif
