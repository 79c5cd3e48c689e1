/* SPDX-License-Identifier: MIT */
/* Which sizes a manifold's networks can have: axes that directly held tensors follow stay full. */
#include "nmi_manifold.h"

const char *nmi_manifold_held_tensor(const nmi_manifold *manifold, int32_t axis)
{
    const nmi_topology *topology = manifold->topology;
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (!manifold->fields[t].morphing && manifold->fields[t].parameter_count > 0 &&
            nmi_graph_tensor_depends(topology, t, axis))
            return topology->tensors[t].name;
    return NULL;
}

void nmi_manifold_sizes_at(const nmi_manifold *manifold, double gamma, int64_t *sizes)
{
    const nmi_topology *topology = manifold->topology;
    nmi_graph_sizes_at(topology, gamma, sizes);
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (topology->axes[a].kind == NEUMETA_AXIS_WIDTH && !manifold->varies[a])
            sizes[a] = topology->axes[a].max;
}

neumeta_status nmi_manifold_check_sizes(const nmi_manifold *manifold, const int64_t *sizes)
{
    const nmi_topology *topology = manifold->topology;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const nmi_axis *axis = &topology->axes[a];
        if (axis->kind != NEUMETA_AXIS_WIDTH || sizes[a] == axis->max || manifold->varies[a])
            continue;
        const char *held = nmi_manifold_held_tensor(manifold, a);
        if (held != NULL)
            return nmi_fail(manifold->object.context, NEUMETA_ERR_SHAPE,
                            "axis '%s' is %lld, must be at its maximum %lld: tensor '%s' "
                            "depends on it and is held directly",
                            axis->name, (long long)sizes[a], (long long)axis->max, held);
    }
    return NEUMETA_OK;
}

/* Whether an axis that SIZE_AXES names can vary. */
static neumeta_status check_axis(const nmi_axis_choice *choice, int64_t number)
{
    const nmi_topology *topology = choice->topology;
    nmi_context *context = topology->object.context;
    if (number < 0 || number >= topology->axis_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "SIZE_AXES names axis %lld, the topology has 0 to %d", (long long)number,
                        (int)topology->axis_count - 1);
    const nmi_axis *axis = &topology->axes[number];
    const char *fixed = choice->fixed_tensor(choice->user, (int32_t)number);
    if (axis->kind == NEUMETA_AXIS_DEPTH && !choice->depths)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "SIZE_AXES names '%s', a depth, which varies only if DEPTH_GAMMA_MAX is "
                        "above 0",
                        axis->name);
    if (fixed != NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "axis '%s' cannot vary: tensor '%s' follows it and %s", axis->name, fixed,
                        choice->why_fixed);
    return NEUMETA_OK;
}

neumeta_status nmi_axes_choose(const nmi_axis_choice *choice, const nmi_options *options,
                               bool *moves)
{
    const nmi_topology *topology = choice->topology;
    int64_t count = 0;
    const int64_t *given = nmi_options_ints(options, NEUMETA_KEY_SIZE_AXES, &count);
    neumeta_status status = NEUMETA_OK;
    bool any_depth = count == 0;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const bool depth = topology->axes[a].kind == NEUMETA_AXIS_DEPTH;
        moves[a] = count == 0 && (depth ? choice->depths : choice->usual(choice->user, a)) &&
                   choice->fixed_tensor(choice->user, a) == NULL;
    }
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++) {
        status = check_axis(choice, given[i]);
        if (status == NEUMETA_OK) {
            moves[given[i]] = true;
            any_depth = any_depth || topology->axes[given[i]].kind == NEUMETA_AXIS_DEPTH;
        }
    }
    if (status == NEUMETA_OK && !any_depth &&
        nmi_options_real(options, NEUMETA_KEY_DEPTH_GAMMA_MAX) > 0)
        status = nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                          "DEPTH_GAMMA_MAX has no effect while SIZE_AXES names no depth");
    return status;
}

static bool is_trained(const void *user, int32_t axis)
{
    const nmi_manifold *manifold = user;
    return manifold->trained.known ? manifold->trained.moves[axis]
                                   : nmi_graph_axis_is_inner(manifold->topology, axis);
}

/* Of widths: depths may vary whatever holds the tensors of blocks that are left out. */
static const char *held_width(const void *user, int32_t axis)
{
    const nmi_manifold *manifold = user;
    return manifold->topology->axes[axis].kind == NEUMETA_AXIS_WIDTH
               ? nmi_manifold_held_tensor(manifold, axis)
               : NULL;
}

neumeta_status nmi_manifold_mark_axes(const nmi_manifold *manifold, const nmi_options *options,
                                      bool depths, bool *moves)
{
    const nmi_axis_choice choice = {.topology = manifold->topology,
                                    .depths = depths,
                                    .usual = is_trained,
                                    .fixed_tensor = held_width,
                                    .why_fixed = "is held directly",
                                    .user = manifold};
    return nmi_axes_choose(&choice, options, moves);
}
