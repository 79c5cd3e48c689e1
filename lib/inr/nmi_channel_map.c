/* SPDX-License-Identifier: MIT */
/* Finds the node that decides about the channels of each, and follows it at any sizes. */
#include "nmi_channel_map.h"

#include <math.h>
#include <string.h>

/* Beyond, channels go by the gauge alone: hostile graphs must not exhaust the stack. */
enum { MOST_FOLLOWED = 256 };

/* --- which node decides ------------------------------------------------------------------ */

/* The first node with the same channels: union-find whose roots come first. */
static int32_t find(int32_t *first, int32_t node)
{
    while (first[node] != node) {
        first[node] = first[first[node]];
        node = first[node];
    }
    return node;
}

/* Whether the channels of the node are those of each of its inputs, one by one. */
static bool passes_on(const nmi_node *node)
{
    return node->op != NEUMETA_OP_INPUT && node->op != NEUMETA_OP_CONV &&
           node->op != NEUMETA_OP_LINEAR && node->op != NEUMETA_OP_CONCAT &&
           node->op != NEUMETA_OP_FLATTEN && node->op != NEUMETA_OP_SHORTCUT;
}

static void unite(const nmi_topology *topology, int32_t *first)
{
    for (int32_t n = 0; n < topology->node_count; n++)
        first[n] = n;
    for (int32_t n = 0; n < topology->node_count; n++)
        for (int32_t i = 0; passes_on(&topology->nodes[n]) && i < topology->nodes[n].input_count;
             i++) {
            const int32_t a = find(first, n), b = find(first, topology->nodes[n].inputs[i]);
            first[a > b ? a : b] = a > b ? b : a;
        }
}

/* Whether the node makes its channels out of those of its inputs, which all come from earlier
 * nodes than the channels that are tied to its own: so following such nodes ends. */
static bool derives(const nmi_topology *topology, int32_t *first, int32_t number)
{
    const nmi_node *node = &topology->nodes[number];
    bool earlier = node->op == NEUMETA_OP_CONCAT || node->op == NEUMETA_OP_FLATTEN ||
                   node->op == NEUMETA_OP_SHORTCUT;
    for (int32_t i = 0; i < node->input_count; i++)
        earlier = earlier && find(first, node->inputs[i]) < find(first, number);
    return earlier;
}

/* Nodes that are followed on from a node that derives its channels; `length` knows those of earlier
 * ones, by their first nodes. */
static int32_t follow(const nmi_topology *topology, int32_t *first, const int32_t *length,
                      int32_t number)
{
    const nmi_node *node = &topology->nodes[number];
    int32_t longest = 0;
    for (int32_t i = 0; i < node->input_count; i++) {
        const int32_t input = length[find(first, node->inputs[i])];
        longest = input > longest ? input : longest;
    }
    return longest + 1;
}

/* The first node of each set that derives its channels has the last word. Sets come in the order of
 * their first nodes, so that what a node derives from is known before it. */
static void choose_sources(const nmi_topology *topology, int32_t *first, int32_t *length,
                           int32_t *source)
{
    const int32_t count = topology->node_count;
    for (int32_t n = 0; n < count; n++)
        source[n] = -1;
    for (int32_t n = count - 1; n >= 0; n--)
        if (derives(topology, first, n))
            source[find(first, n)] = n;
    for (int32_t n = 0; n < count; n++) {
        const int32_t root = find(first, n);
        if (root == n) {
            length[n] = source[n] >= 0 ? follow(topology, first, length, source[n]) : 0;
            if (length[n] > MOST_FOLLOWED)
                source[n] = -1;
            if (source[n] < 0)
                length[n] = 0;
        } else {
            source[n] = source[root];
        }
    }
}

neumeta_status nmi_channel_map_create(nmi_context *context, const nmi_topology *topology,
                                      const nmi_shape *full, nmi_channel_map *out)
{
    const int32_t count = topology->node_count;
    *out = (nmi_channel_map){.context = context, .topology = topology, .full = full};
    int32_t *first = nmi_alloc_array(context, count, sizeof *first);
    int32_t *length = nmi_alloc_array(context, count, sizeof *length);
    out->source = nmi_alloc_array(context, count, sizeof *out->source);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (first != NULL && length != NULL && out->source != NULL) {
        unite(topology, first);
        choose_sources(topology, first, length, out->source);
        status = NEUMETA_OK;
    }
    for (int32_t n = 0; n < count; n++)
        out->largest = full[n].channels > out->largest ? full[n].channels : out->largest;
    nmi_free(context, length);
    nmi_free(context, first);
    return status;
}

void nmi_channel_map_free(nmi_context *context, nmi_channel_map *map)
{
    nmi_free(context, map->source);
    map->source = NULL;
}

/* --- channels at given sizes ------------------------------------------------------------- */

nmi_origin nmi_origin_at(int32_t gauge, int64_t channel, int64_t count, int64_t full)
{
    nmi_origin origin = {(int32_t)channel, (int32_t)channel, 0};
    if (gauge == NMI_GAUGE_NEAREST) {
        const int64_t at = (2 * channel * full + count) / (2 * count);
        origin.at = origin.next = (int32_t)(at < full ? at : full - 1);
    }
    if (gauge == NMI_GAUGE_RELATIVE) {
        const double place = ((double)channel + 0.5) * (double)full / (double)count - 0.5;
        const double clamped = fmin(fmax(place, 0), (double)(full - 1));
        origin.at = (int32_t)clamped;
        origin.share = (float)(clamped - origin.at);
        origin.next = origin.at + (origin.share > 0 ? 1 : 0);
    }
    return origin;
}

/* Gives the channels from `begin` to `end` that have no origin yet the unused ones of the full
 * network between two channels, in order. */
static void give_unused(nmi_origin *origins, int64_t channels, bool *used, int64_t begin,
                        int64_t end)
{
    int64_t next = begin;
    for (int64_t c = 0; c < channels; c++) {
        if (origins[c].at >= 0)
            continue;
        while (next < end && used[next])
            next++;
        if (next >= end)
            return;
        used[next] = true;
        origins[c] = (nmi_origin){(int32_t)next, (int32_t)next, 0};
    }
}

/* `origins` holds those of the input, and gets those of the shortcut. */
static void pass_shortcut(const nmi_shape *out, const nmi_shape *in, const nmi_shape *full_out,
                          const nmi_shape *full_in, nmi_origin *origins, bool *used)
{
    const int64_t shift = nmi_shortcut_offset(out->channels, in->channels);
    const int64_t full_shift = nmi_shortcut_offset(full_out->channels, full_in->channels);
    const int64_t begin = shift > 0 ? shift : 0;
    const int64_t end = in->channels + shift < out->channels ? in->channels + shift : out->channels;
    memmove(origins + begin, origins + begin - shift, (size_t)(end - begin) * sizeof *origins);
    memset(used, 0, (size_t)full_out->channels * sizeof *used);
    for (int64_t c = 0; c < out->channels; c++) {
        const int64_t at = c >= begin && c < end ? origins[c].at + full_shift : -1;
        const bool tied = at >= 0 && at < full_out->channels;
        origins[c].at = origins[c].next = tied ? (int32_t)at : -1;
        if (tied)
            used[at] = true;
    }
    if (full_shift > 0)
        give_unused(origins, out->channels, used, 0, full_shift);
    if (full_shift >= 0)
        give_unused(origins, out->channels, used, full_in->channels + full_shift,
                    full_out->channels);
    give_unused(origins, out->channels, used, 0, full_out->channels);
}

/* Backwards, since a channel's pixels lie behind it. */
static void flatten(nmi_origin *origins, int64_t channels, int64_t pixels)
{
    for (int64_t c = channels - 1; c >= 0; c--) {
        const nmi_origin origin = origins[c];
        for (int64_t p = pixels - 1; p >= 0; p--)
            origins[c * pixels + p] =
                (nmi_origin){(int32_t)(origin.at * pixels + p), (int32_t)(origin.next * pixels + p),
                             origin.share};
    }
}

void nmi_channel_origins(const nmi_channel_map *map, int32_t gauge, const nmi_network *network,
                         int32_t node, nmi_origin *origins, bool *used)
{
    const nmi_shape *shapes = network->shapes, *full = map->full;
    const int64_t count = shapes[node].channels;
    const bool live = map->source[node] >= 0 && shapes[map->source[node]].channels == count;
    const int32_t source = live ? map->source[node] : node;
    const nmi_node *from = &map->topology->nodes[source];
    if (live && from->op == NEUMETA_OP_FLATTEN) {
        const nmi_shape *image = &shapes[from->inputs[0]];
        nmi_channel_origins(map, gauge, network, from->inputs[0], origins, used);
        flatten(origins, image->channels, image->height * image->width);
        return;
    }
    if (live && from->op == NEUMETA_OP_SHORTCUT && gauge == NMI_GAUGE_ABSOLUTE) {
        const int32_t input = from->inputs[0];
        nmi_channel_origins(map, gauge, network, input, origins, used);
        pass_shortcut(&shapes[source], &shapes[input], &full[source], &full[input], origins, used);
        return;
    }
    if (live && from->op == NEUMETA_OP_CONCAT) {
        int64_t before = 0;
        for (int32_t i = 0; i < from->input_count; i++) {
            const int32_t input = from->inputs[i];
            nmi_channel_origins(map, gauge, network, input, origins, used);
            for (int64_t c = 0; c < shapes[input].channels; c++, origins++) {
                origins->at = (int32_t)(origins->at + before);
                origins->next = (int32_t)(origins->next + before);
            }
            before += full[input].channels;
        }
        return;
    }
    for (int64_t c = 0; c < count; c++)
        origins[c] = nmi_origin_at(gauge, c, count, full[node].channels);
}
