/* SPDX-License-Identifier: MIT */
/*
 * Total variation of a network's tensors along their channels: what smoothing makes small.
 */
#ifndef NMI_ROUGHNESS_H
#define NMI_ROUGHNESS_H

#include "nmi_network.h"

/* One channel axis of one live tensor. */
typedef struct nmi_channel_axis {
    int32_t tensor;
    int32_t axis;   /* 0: output channels, 1: input channels */
    int32_t node;   /* whose channels it counts: the tensor's node (0) or that node's input (1) */
    int64_t stride; /* from a channel to the next: the pixels of a flattened channel, else 1 */
} nmi_channel_axis;

/* Both axes of each weight, the one axis of all other tensors but residual scalars. The caller
 * frees *out. */
neumeta_status nmi_channel_axes(const nmi_network *network, nmi_channel_axis **out, int32_t *count);

/* Sum of |difference| of the slices at a and b of an axis; cost: the length of a slice. */
double nmi_slice_distance(const nmi_tensor *tensor, int32_t axis, int64_t a, int64_t b);

/* Which channel stands at channel `channel` of `node`, for nmi_roughness_of(). */
typedef int64_t (*nmi_content)(const void *user, int32_t node, int64_t channel);

/* Sum over all axes of the distances of channel neighbours, if the channels stood as `content`
 * says (NULL: as they do). `partial` [count] is scratch. The bits do not depend on the threads. */
double nmi_roughness_of(const nmi_network *network, const nmi_channel_axis *axes, int32_t count,
                        nmi_content content, const void *user, double *partial);

/* neumeta_network_roughness() */
neumeta_status nmi_roughness(const nmi_network *network, double *total_variation);

#endif
