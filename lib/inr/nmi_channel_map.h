/* SPDX-License-Identifier: MIT */
/*
 * Which channels of the full network those of a narrower one are.
 *
 * With C channels at full size and c at the present one, channel o of a convolution is
 *
 *   absolute:  channel o: a narrow layer has the first channels of the full one
 *   relative:  channel (o + 1/2) C/c - 1/2, between two neighbours by linear interpolation
 *   nearest:   the relative one, rounded
 *
 * Nodes that pass channels on have those of their inputs. A concatenation has those of each input,
 * behind the full channels of the inputs before; a flattened channel those of its pixels. What is
 * summed has one set of channels. By the absolute gauge a narrow network thus is a part of the full
 * one, also across shortcuts that put fewer channels into the middle of more (option A): the
 * channels they pass on stay tied to the same ones, and their zero channels are the first of the
 * full shortcut's zero channels, then of what is left.
 */
#ifndef NMI_CHANNEL_MAP_H
#define NMI_CHANNEL_MAP_H

#include "nmi_network.h"

enum {
    NMI_GAUGE_ABSOLUTE = 0, /* indices of GRID_GAUGE */
    NMI_GAUGE_RELATIVE = 1,
    NMI_GAUGE_NEAREST = 2
};

/* One channel of a narrow network: (1 - share) times channel `at` of the full one, and share times
 * channel `next`. */
typedef struct nmi_origin {
    int32_t at, next;
    float share;
} nmi_origin;

/* A channel of a convolution of `count` channels, which has `full` at full size. */
nmi_origin nmi_origin_at(int32_t gauge, int64_t channel, int64_t count, int64_t full);

typedef struct nmi_channel_map {
    nmi_context *context;
    const nmi_topology *topology; /* borrowed, as the next */
    const nmi_shape *full;        /* [node_count] */
    int32_t *source;              /* [node_count] node whose inputs say what the channels are; -1 */
    int64_t largest;              /* channels of any node at full sizes */
} nmi_channel_map;

neumeta_status nmi_channel_map_create(nmi_context *context, const nmi_topology *topology,
                                      const nmi_shape *full, nmi_channel_map *out);
void nmi_channel_map_free(nmi_context *context, nmi_channel_map *map);

/* The channels of a live node of `network` (of the map's topology); `origins` and `used` have room
 * for map->largest. */
void nmi_channel_origins(const nmi_channel_map *map, int32_t gauge, const nmi_network *network,
                         int32_t node, nmi_origin *origins, bool *used);

#endif
