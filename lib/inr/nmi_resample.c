/* SPDX-License-Identifier: MIT */
/* Copies runs of whole channels where it can, and interpolates lines of a full tensor elsewhere. */
#include "nmi_resample.h"

#include <string.h>

neumeta_status nmi_resample_work_create(const nmi_channel_map *map, nmi_resample_work *out)
{
    out->origins = nmi_alloc_matrix(map->context, 2, map->largest, sizeof *out->origins);
    out->used = nmi_alloc_array(map->context, map->largest, sizeof *out->used);
    return out->origins != NULL && out->used != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

void nmi_resample_work_free(nmi_context *context, nmi_resample_work *work)
{
    nmi_free(context, work->origins);
    nmi_free(context, work->used);
}

nmi_resampling nmi_resample_plan(const nmi_channel_map *map, int32_t gauge,
                                 const nmi_network *network, int32_t tensor,
                                 const nmi_resample_work *work)
{
    static const nmi_origin only = {0, 0, 0};
    const nmi_topology *topology = map->topology;
    const int32_t node = topology->tensors[tensor].node;
    const nmi_tensor *narrow = &network->tensors[tensor];
    nmi_resampling r = {.kernels = map->context->kernels,
                        .outputs = 1,
                        .inputs = narrow->count,
                        .taps = 1,
                        .full_inputs = map->full[node].channels,
                        .full_count = map->full[node].channels,
                        .rows = &only,
                        .columns = work->origins,
                        .gain = 1};
    nmi_channel_origins(map, gauge, network, node, work->origins, work->used);
    if (narrow->rank == 1)
        return r;
    const int32_t input = topology->nodes[node].inputs[0];
    nmi_origin *columns = work->origins + map->largest;
    nmi_channel_origins(map, gauge, network, input, columns, work->used);
    r.outputs = narrow->dims[0];
    r.inputs = narrow->dims[1];
    r.taps = narrow->dims[2] * narrow->dims[3];
    r.full_inputs = map->full[input].channels;
    r.full_count *= r.full_inputs * r.taps;
    r.rows = work->origins;
    r.columns = columns;
    if (gauge != NMI_GAUGE_ABSOLUTE)
        r.gain = (float)r.full_inputs / (float)r.inputs;
    return r;
}

/* Inputs from `first` on that follow each other in the full tensor, too. */
static int64_t run_length(const nmi_resampling *r, int64_t first)
{
    int64_t length = 1;
    while (first + length < r->inputs &&
           r->columns[first + length].at == r->columns[first].at + length)
        length++;
    return length;
}

static bool interpolates(const nmi_resampling *r)
{
    for (int64_t i = 0; i < r->inputs; i++)
        if (r->columns[i].share > 0)
            return true;
    return false;
}

/* The two full rows that a row mixes, as offsets, and their weights but for phi. */
typedef struct blend {
    int64_t offset[2];
    float weight[2];
} blend;

static blend blend_row(const nmi_resampling *r, int64_t row)
{
    const nmi_origin *origin = &r->rows[row];
    const int64_t stride = r->full_inputs * r->taps;
    return (blend){{origin->at * stride, origin->next * stride},
                   {r->gain * (1 - origin->share), r->gain * origin->share}};
}

/* to = sum of the mixed rows of all grids, `count` values of each from `first` on. */
static void mix(const nmi_resampling *r, const float *grids, const float *factors,
                int32_t grid_count, const blend *rows, int64_t first, int64_t count, float *to)
{
    bool begun = false;
    for (int32_t t = 0; t < grid_count; t++)
        for (int side = 0; side < 2; side++) {
            const float weight = factors[t] * rows->weight[side];
            const float *from = grids + t * r->full_count + rows->offset[side] + first;
            if (weight == 0)
                continue;
            if (begun)
                r->kernels->add_scaled(count, weight, from, to);
            else if (weight == 1)
                memcpy(to, from, (size_t)count * sizeof *to);
            else
                for (int64_t i = 0; i < count; i++)
                    to[i] = weight * from[i];
            begun = true;
        }
}

/* The transpose of mix(). */
static void spread(const nmi_resampling *r, const float *from, const float *factors,
                   int32_t grid_count, const blend *rows, int64_t first, int64_t count,
                   float *gradients)
{
    for (int32_t t = 0; t < grid_count; t++)
        for (int side = 0; side < 2; side++) {
            const float weight = factors[t] * rows->weight[side];
            if (weight != 0)
                r->kernels->add_scaled(count, weight, from,
                                       gradients + t * r->full_count + rows->offset[side] + first);
        }
}

/* values [inputs, taps] from the full row `line`. */
static void take(const nmi_resampling *r, const float *line, float *values)
{
    for (int64_t i = 0; i < r->inputs; i++, values += r->taps) {
        const nmi_origin origin = r->columns[i];
        const float *at = line + origin.at * r->taps, *next = line + origin.next * r->taps;
        for (int64_t k = 0; k < r->taps; k++)
            values[k] =
                origin.share > 0 ? (1 - origin.share) * at[k] + origin.share * next[k] : at[k];
    }
}

/* The transpose of take(): adds to `line`. */
static void give(const nmi_resampling *r, const float *values, float *line)
{
    for (int64_t i = 0; i < r->inputs; i++, values += r->taps) {
        const nmi_origin origin = r->columns[i];
        float *at = line + origin.at * r->taps, *next = line + origin.next * r->taps;
        for (int64_t k = 0; k < r->taps; k++) {
            at[k] += (1 - origin.share) * values[k];
            next[k] += origin.share * values[k];
        }
    }
}

void nmi_resample(const nmi_resampling *r, const float *grids, const float *factors, int32_t count,
                  float *line, float *values)
{
    const int64_t width = r->full_inputs * r->taps, stride = r->inputs * r->taps;
    const bool between = interpolates(r);
    for (int64_t o = 0; o < r->outputs && between; o++) {
        const blend rows = blend_row(r, o);
        mix(r, grids, factors, count, &rows, 0, width, line);
        take(r, line, values + o * stride);
    }
    for (int64_t first = 0, length; first < r->inputs && !between; first += length) {
        const int64_t from = r->columns[first].at * r->taps;
        length = run_length(r, first);
        for (int64_t o = 0; o < r->outputs; o++) {
            const blend rows = blend_row(r, o);
            mix(r, grids, factors, count, &rows, from, length * r->taps,
                values + o * stride + first * r->taps);
        }
    }
}

void nmi_resample_backward(const nmi_resampling *r, const float *value_gradients,
                           const float *factors, int32_t count, float *line, float *grid_gradients)
{
    const int64_t width = r->full_inputs * r->taps, stride = r->inputs * r->taps;
    const bool between = interpolates(r);
    for (int64_t o = 0; o < r->outputs && between; o++) {
        const blend rows = blend_row(r, o);
        memset(line, 0, (size_t)width * sizeof *line);
        give(r, value_gradients + o * stride, line);
        spread(r, line, factors, count, &rows, 0, width, grid_gradients);
    }
    for (int64_t first = 0, length; first < r->inputs && !between; first += length) {
        const int64_t to = r->columns[first].at * r->taps;
        length = run_length(r, first);
        for (int64_t o = 0; o < r->outputs; o++) {
            const blend rows = blend_row(r, o);
            spread(r, value_gradients + o * stride + first * r->taps, factors, count, &rows, to,
                   length * r->taps, grid_gradients);
        }
    }
}
