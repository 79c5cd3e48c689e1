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

/* Streams or depths, which have a setting of their own. */
typedef struct axis_group {
    int32_t key;
    const char *name;
    bool (*has)(const nmi_topology *topology, int32_t axis);
} axis_group;

static bool is_depth(const nmi_topology *topology, int32_t axis)
{
    return topology->axes[axis].kind == NEUMETA_AXIS_DEPTH;
}

static const axis_group streams = {NEUMETA_KEY_STREAM_GAMMA_MAX, "stream",
                                   nmi_graph_axis_is_stream};
static const axis_group depths = {NEUMETA_KEY_DEPTH_GAMMA_MAX, "depth", is_depth};

/* Whether something takes notice of the group's setting. */
static neumeta_status check_effect(const nmi_axis_choice *choice, const nmi_options *options,
                                   const axis_group *group, const bool *moves)
{
    const nmi_topology *topology = choice->topology;
    nmi_context *context = topology->object.context;
    const char *setting = nmi_key_find(group->key)->name;
    const char *fixed = NULL;
    int32_t which = -1;
    if (nmi_options_real(options, group->key) <= 0)
        return NEUMETA_OK;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        if (group->has(topology, a) && moves[a])
            return NEUMETA_OK;
        if (group->has(topology, a) && fixed == NULL &&
            (fixed = choice->fixed_tensor(choice->user, a)) != NULL)
            which = a;
    }
    if (nmi_options_has(options, NEUMETA_KEY_SIZE_AXES))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has no effect while SIZE_AXES names no %s", setting, group->name);
    if (fixed == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has no effect: the topology has no %s that varies", setting,
                        group->name);
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
        status = check_effect(choice, options, &streams, moves);
    return status == NEUMETA_OK ? check_effect(choice, options, &depths, moves) : status;
}

bool nmi_axis_is_usual(const nmi_topology *topology, const nmi_size_range *range, int32_t axis)
{
    if (is_depth(topology, axis))
        return range->depths > 0;
    return nmi_graph_axis_is_stream(topology, axis) ? range->streams > 0
                                                    : nmi_graph_axis_is_inner(topology, axis);
}

/* What a manifold's axes are chosen by. */
typedef struct chooser {
    const nmi_manifold *manifold;
    nmi_size_range given; /* by the options */
} chooser;

static bool is_trained(const void *user, int32_t axis)
{
    const chooser *c = user;
    const nmi_topology *topology = c->manifold->topology;
    const nmi_trained_range *trained = &c->manifold->trained;
    if (trained->known && (trained->moves[axis] || nmi_graph_axis_is_inner(topology, axis)))
        return trained->moves[axis];
    return nmi_axis_is_usual(topology, &c->given, axis);
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
    const chooser by = {.manifold = manifold, .given = nmi_size_range_read(options)};
    const nmi_axis_choice choice = {.topology = manifold->topology,
                                    .range = range,
                                    .usual = is_trained,
                                    .fixed_tensor = held_width,
                                    .why_fixed = "is held directly",
                                    .user = &by};
    return nmi_axes_choose(&choice, options, moves);
}
