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
    if (axis->kind == NEUMETA_AXIS_DEPTH && choice->range->depths <= 0)
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

/* Whether something takes notice of the setting that streams or depths have of their own. */
static neumeta_status check_effect(const nmi_axis_choice *choice, const nmi_options *options,
                                   nmi_axis_group group, const bool *moves)
{
    const nmi_topology *topology = choice->topology;
    nmi_context *context = topology->object.context;
    const bool depths = group == NMI_AXIS_DEPTH;
    const int32_t key = depths ? NEUMETA_KEY_DEPTH_GAMMA_MAX : NEUMETA_KEY_STREAM_GAMMA_MAX;
    const char *setting = nmi_key_find(key)->name, *name = depths ? "depth" : "stream";
    const char *fixed = NULL;
    int32_t which = -1;
    if (nmi_options_real(options, key) <= 0)
        return NEUMETA_OK;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        if (nmi_graph_axis_group(topology, a) != group)
            continue;
        if (moves[a])
            return NEUMETA_OK;
        if (fixed == NULL && (fixed = choice->fixed_tensor(choice->user, a)) != NULL)
            which = a;
    }
    if (nmi_options_has(options, NEUMETA_KEY_SIZE_AXES))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has no effect while SIZE_AXES names no %s", setting, name);
    if (fixed == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has no effect: the topology has no %s that varies", setting, name);
    return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                    "%s has no effect: axis '%s' cannot vary, since tensor '%s' follows it and %s",
                    setting, topology->axes[which].name, fixed, choice->why_fixed);
}

static bool any_moves(const nmi_topology *topology, const bool *moves)
{
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (moves[a] && topology->axes[a].min < topology->axes[a].max)
            return true;
    return false;
}

neumeta_status nmi_axes_choose(const nmi_axis_choice *choice, const nmi_options *options,
                               bool *moves)
{
    const nmi_topology *topology = choice->topology;
    int64_t count = 0;
    const int64_t *given = nmi_options_ints(options, NEUMETA_KEY_SIZE_AXES, &count);
    neumeta_status status = NEUMETA_OK;
    for (int32_t a = 0; a < topology->axis_count; a++)
        moves[a] = count == 0 && choice->usual(choice->user, a) &&
                   choice->fixed_tensor(choice->user, a) == NULL;
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++) {
        status = check_axis(choice, given[i]);
        if (status == NEUMETA_OK)
            moves[given[i]] = true;
    }
    if (status == NEUMETA_OK && count > 0 && !any_moves(topology, moves))
        status = nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                          "SIZE_AXES names no axis that can vary: each has one size only");
    if (status == NEUMETA_OK)
        status = check_effect(choice, options, NMI_AXIS_STREAM, moves);
    return status == NEUMETA_OK ? check_effect(choice, options, NMI_AXIS_DEPTH, moves) : status;
}

bool nmi_axis_is_usual(const nmi_topology *topology, const nmi_size_range *range, int32_t axis)
{
    const nmi_axis_group group = nmi_graph_axis_group(topology, axis);
    return group == NMI_AXIS_DEPTH    ? range->depths > 0
           : group == NMI_AXIS_STREAM ? range->streams > 0
                                      : group == NMI_AXIS_INNER;
}

/* What a manifold's axes are chosen by. */
typedef struct chooser {
    const nmi_manifold *manifold;
    const nmi_size_range *range;
} chooser;

/* Whether training varied any axis of the group. */
static bool knows_group(const nmi_manifold *manifold, nmi_axis_group group)
{
    bool any = false;
    for (int32_t a = 0; a < manifold->topology->axis_count; a++)
        any = any ||
              (manifold->trained.moves[a] && nmi_graph_axis_group(manifold->topology, a) == group);
    return any;
}

/* As in training; streams and depths that training did not vary at all, by the range alone. */
static bool is_trained(const void *user, int32_t axis)
{
    const chooser *c = user;
    const nmi_manifold *manifold = c->manifold;
    const nmi_axis_group group = nmi_graph_axis_group(manifold->topology, axis);
    const bool usual = nmi_axis_is_usual(manifold->topology, c->range, axis);
    if (manifold->trained.known && (group == NMI_AXIS_INNER || knows_group(manifold, group)))
        return usual && manifold->trained.moves[axis];
    return usual;
}

/* Of widths: depths may vary whatever holds the tensors of blocks that are left out. */
static const char *held_width(const void *user, int32_t axis)
{
    const nmi_manifold *manifold = ((const chooser *)user)->manifold;
    return manifold->topology->axes[axis].kind == NEUMETA_AXIS_WIDTH
               ? nmi_manifold_held_tensor(manifold, axis)
               : NULL;
}

neumeta_status nmi_manifold_mark_axes(const nmi_manifold *manifold, const nmi_options *options,
                                      const nmi_size_range *range, bool *moves)
{
    const chooser by = {.manifold = manifold, .range = range};
    const nmi_axis_choice choice = {.topology = manifold->topology,
                                    .range = range,
                                    .usual = is_trained,
                                    .fixed_tensor = held_width,
                                    .why_fixed = "is held directly",
                                    .user = &by};
    return nmi_axes_choose(&choice, options, moves);
}
