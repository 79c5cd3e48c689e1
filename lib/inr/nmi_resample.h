/* SPDX-License-Identifier: MIT */
/*
 * A narrow tensor out of full-sized ones, along both of its channel axes:
 *
 *     W[o, i, tap] = sum_t phi_t  gain  G_t[origin(o), origin(i), tap]
 *
 * with the origins of nmi_channel_map.h; where one lies between two channels, G is interpolated
 * linearly. By the relative gauges, gain = I'/I keeps the size of sums over fewer inputs: it is
 * what an INR of relative coordinates yields that has learned the full width exactly, its divisor
 * I included. By the absolute gauge gain = 1.
 *
 * Cost: each value is read and written once, or twice along an axis with interpolation.
 */
#ifndef NMI_RESAMPLE_H
#define NMI_RESAMPLE_H

#include "nmi_channel_map.h"
#include "nmi_kernels.h"

/* A narrow tensor [outputs, inputs, taps] and where it comes from. A vector is one output. */
typedef struct nmi_resampling {
    const nmi_kernels *kernels;
    int64_t outputs, inputs, taps;
    int64_t full_inputs, full_count; /* values of a full-sized tensor */
    const nmi_origin *rows, *columns;
    float gain;
} nmi_resampling;

/* Room for the origins of a tensor. */
typedef struct nmi_resample_work {
    nmi_origin *origins; /* [2 * map->largest] */
    bool *used;          /* [map->largest] */
} nmi_resample_work;

neumeta_status nmi_resample_work_create(const nmi_channel_map *map, nmi_resample_work *out);
void nmi_resample_work_free(nmi_context *context, nmi_resample_work *work);

/* A live tensor of `network`, at its present sizes. */
nmi_resampling nmi_resample_plan(const nmi_channel_map *map, int32_t gauge,
                                 const nmi_network *network, int32_t tensor,
                                 const nmi_resample_work *work);

/* values: the narrow tensor; grids [count][full_count], factors phi [count] with phi_0 != 0.
 * `line` has room for full_inputs * taps floats. */
void nmi_resample(const nmi_resampling *resampling, const float *grids, const float *factors,
                  int32_t count, float *line, float *values);
/* Adds to grid_gradients what the values' gradients give. */
void nmi_resample_backward(const nmi_resampling *resampling, const float *value_gradients,
                           const float *factors, int32_t count, float *line, float *grid_gradients);

#endif
