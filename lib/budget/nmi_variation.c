/* SPDX-License-Identifier: MIT */
/* Ladders of sizes, and steps on them. */
#include "nmi_variation.h"

#include <stdlib.h>
#include <string.h>

/* --- ladders ---------------------------------------------------------------------------------- */

static bool is_rung(const nmi_axis *axis, int64_t size, int64_t lowest, int64_t multiple)
{
    return axis->kind == NEUMETA_AXIS_DEPTH || size == lowest || size == axis->max ||
           size % multiple == 0;
}

static neumeta_status make_ladder(nmi_context *context, const nmi_axis *axis, int64_t lowest,
                                  int64_t multiple, nmi_ladder *out)
{
    const int64_t most = (axis->max - lowest) / axis->step + 1;
    out->sizes = nmi_alloc_array(context, most, sizeof *out->sizes);
    if (out->sizes == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int64_t size = lowest; size <= axis->max; size += axis->step)
        if (is_rung(axis, size, lowest, multiple))
            out->sizes[out->count++] = size;
    return NEUMETA_OK;
}

neumeta_status nmi_variation_create(const nmi_topology *topology, const bool *moves,
                                    const nmi_size_range *range, int64_t multiple,
                                    nmi_variation *out)
{
    nmi_context *context = topology->object.context;
    *out = (nmi_variation){.topology = topology, .range = *range};
    out->ladders = nmi_alloc_zero_array(context, topology->axis_count, sizeof *out->ladders);
    out->moving = nmi_alloc_array(context, topology->axis_count, sizeof *out->moving);
    out->sizes = nmi_alloc_array(context, topology->axis_count, sizeof *out->sizes);
    out->present = nmi_alloc_array(context, topology->axis_count, sizeof *out->present);
    if (out->ladders == NULL || out->moving == NULL || out->sizes == NULL || out->present == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = NEUMETA_OK;
    for (int32_t a = 0; a < topology->axis_count && status == NEUMETA_OK; a++) {
        const nmi_axis *axis = &topology->axes[a];
        const int64_t lowest = moves[a] ? nmi_size_range_least(range, topology, a) : axis->max;
        status = make_ladder(context, axis, lowest, multiple, &out->ladders[a]);
        if (status == NEUMETA_OK && out->ladders[a].count > 1)
            out->moving[out->moving_count++] = a;
    }
    return status;
}

void nmi_variation_free(nmi_variation *variation)
{
    if (variation->topology == NULL)
        return;
    nmi_context *context = variation->topology->object.context;
    for (int32_t a = 0; variation->ladders != NULL && a < variation->topology->axis_count; a++)
        nmi_free(context, variation->ladders[a].sizes);
    nmi_free(context, variation->ladders);
    nmi_free(context, variation->moving);
    nmi_free(context, variation->sizes);
    nmi_free(context, variation->present);
}

void nmi_variation_sizes(const nmi_variation *variation, const int32_t *rungs, int64_t *sizes)
{
    for (int32_t a = 0; a < variation->topology->axis_count; a++)
        sizes[a] = variation->ladders[a].sizes[rungs[a]];
}

void nmi_variation_settle(const nmi_variation *variation, int32_t *rungs)
{
    const nmi_topology *topology = variation->topology;
    bool *present = variation->present;
    nmi_variation_sizes(variation, rungs, variation->sizes);
    for (int32_t a = 0; a < topology->axis_count; a++)
        present[a] = topology->axes[a].kind == NEUMETA_AXIS_DEPTH;
    for (int32_t n = 0; n < topology->node_count; n++)
        if (topology->nodes[n].axis >= 0 && nmi_graph_live(topology, variation->sizes, n))
            present[topology->nodes[n].axis] = true;
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (!present[a])
            rungs[a] = variation->ladders[a].count - 1;
}

static int32_t nearest_rung(const nmi_ladder *ladder, int64_t size)
{
    int32_t nearest = 0;
    for (int32_t r = 1; r < ladder->count; r++)
        if (llabs(ladder->sizes[r] - size) <= llabs(ladder->sizes[nearest] - size))
            nearest = r;
    return nearest;
}

void nmi_variation_uniform(const nmi_variation *variation, const nmi_shares *shares, int32_t *rungs)
{
    const nmi_topology *topology = variation->topology;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const double most = nmi_size_range_of(&variation->range, topology, a).max;
        const nmi_axis_group group = nmi_graph_axis_group(topology, a);
        const double share = group == NMI_AXIS_DEPTH    ? shares->depths
                             : group == NMI_AXIS_STREAM ? shares->streams
                                                        : shares->inner;
        rungs[a] = nearest_rung(&variation->ladders[a],
                                nmi_axis_size_at(&topology->axes[a], share * most));
    }
    nmi_variation_settle(variation, rungs);
}

/* --- proposals -------------------------------------------------------------------------------- */

enum {
    CHANGES = 3, /* most axes that one proposal changes */
    FAR = 4      /* one step in so many goes over several rungs */
};

int32_t nmi_variation_parent(const nmi_trials *trials, nmi_random *random)
{
    int64_t staying = 0;
    int32_t trial = 0;
    for (int32_t i = 0; i < trials->count; i++)
        staying += nmi_trials_stays(trials, i);
    int64_t left = nmi_random_below(random, staying);
    while (!nmi_trials_stays(trials, trial) || left-- > 0)
        trial++;
    return trial;
}

/* Moves an axis that can go there by a rung or several; none if none can. */
static void step_axis(const nmi_variation *variation, bool up, nmi_random *random, int32_t *rungs)
{
    const int32_t first = (int32_t)nmi_random_below(random, variation->moving_count);
    for (int32_t i = 0; i < variation->moving_count; i++) {
        const int32_t axis = variation->moving[(first + i) % variation->moving_count];
        const int32_t room = up ? variation->ladders[axis].count - 1 - rungs[axis] : rungs[axis];
        if (room == 0)
            continue;
        const bool far = nmi_random_below(random, FAR) == 0;
        const int32_t step = far ? 1 + (int32_t)nmi_random_below(random, room) : 1;
        rungs[axis] += up ? step : -step;
        return;
    }
}

static void cross(const nmi_variation *variation, const int32_t *other, nmi_random *random,
                  int32_t *rungs)
{
    for (int32_t i = 0; i < variation->moving_count; i++)
        if (nmi_random_below(random, 2) == 0)
            rungs[variation->moving[i]] = other[variation->moving[i]];
}

void nmi_variation_propose(const nmi_variation *variation, const nmi_trials *trials, int32_t parent,
                           nmi_random *random, int32_t *rungs)
{
    enum { NARROW, WIDEN, TRADE, CROSS, WAYS };
    memcpy(rungs, nmi_trials_rungs(trials, parent), (size_t)trials->axes * sizeof *rungs);
    const int64_t way = nmi_random_below(random, WAYS);
    int64_t changes = way == CROSS ? 0 : 1 + nmi_random_below(random, CHANGES);
    if (way == CROSS)
        cross(variation, nmi_trials_rungs(trials, nmi_variation_parent(trials, random)), random,
              rungs);
    for (; changes > 0; changes--) {
        if (way != WIDEN)
            step_axis(variation, false, random, rungs);
        if (way != NARROW)
            step_axis(variation, true, random, rungs);
    }
    nmi_variation_settle(variation, rungs);
}
