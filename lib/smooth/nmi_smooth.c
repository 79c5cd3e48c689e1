/* SPDX-License-Identifier: MIT */
/*
 * Smoothing (arXiv 2410.11878): a shortest Hamiltonian path for each group of channels.
 *
 * The objective is the network's total variation itself. For one group, with all others where
 * they are, it is the cost of an nmi_path: neighbouring slots are linked by the distances of their
 * channels over the axes in which they are neighbours, and a slot beside a channel of another
 * group has a place cost. Without option-A shortcuts no group has such neighbours, all are
 * independent, and one round is all there is; otherwise rounds go on until no group gains.
 *
 * The other order is that of nmi_importance.h, for manifolds whose narrow tensors are the first
 * channels of wide ones.
 */
#include "nmi_smooth.h"

#include "nmi_clique.h"
#include "nmi_importance.h"
#include "nmi_path.h"
#include "nmi_permute.h"
#include "nmi_random.h"
#include "nmi_roughness.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { MOST_ROUNDS = 8, SOLVER_AUTO = 0, SOLVER_EXACT = 1, SOLVER_IMPORTANCE = 3 };

typedef struct smooth_state {
    nmi_context *context;
    nmi_network *network;
    nmi_cliques cliques;
    nmi_channel_axis *axes;
    int32_t axis_count;
    double *partial; /* [axis_count] */
    double roughness;
    int32_t solver;
    double seconds;
    uint64_t seed;
} smooth_state;

/* The path problem of one group. Matrices are shared by steps over the same axes. */
typedef struct group_problem {
    smooth_state *smoother;
    int64_t count;
    const int64_t *members; /* [count] classes in slot order, borrowed */
    uint8_t *linked;        /* [count][axis_count]: slots k - 1 and k are neighbours there */
    float **step, **place;  /* [count]; step[k] is owned where owner[k] is set */
    bool *owner;            /* [count] */
    int64_t *order;         /* [count] members in the order of the slots */
    bool coupled;           /* some slot has a neighbour outside the group */
} group_problem;

static void problem_free(group_problem *problem)
{
    nmi_context *context = problem->smoother->context;
    for (int64_t k = 0; k < problem->count; k++) {
        if (problem->owner != NULL && problem->owner[k])
            nmi_free(context, problem->step[k]);
        if (problem->place != NULL)
            nmi_free(context, problem->place[k]);
    }
    nmi_free(context, problem->linked);
    nmi_free(context, problem->step);
    nmi_free(context, problem->place);
    nmi_free(context, problem->owner);
    nmi_free(context, problem->order);
}

static neumeta_status problem_allocate(group_problem *problem)
{
    nmi_context *context = problem->smoother->context;
    int64_t count = problem->count;
    problem->linked = nmi_alloc_matrix(context, count, problem->smoother->axis_count, 1);
    problem->step = nmi_alloc_zero_array(context, count, sizeof *problem->step);
    problem->place = nmi_alloc_zero_array(context, count, sizeof *problem->place);
    problem->owner = nmi_alloc_zero_array(context, count, sizeof *problem->owner);
    problem->order = nmi_alloc_array(context, count, sizeof *problem->order);
    if (problem->linked == NULL || problem->step == NULL || problem->place == NULL ||
        problem->owner == NULL || problem->order == NULL)
        return NEUMETA_ERR_MEMORY;
    memset(problem->linked, 0, (size_t)(count * problem->smoother->axis_count));
    return NEUMETA_OK;
}

/* --- neighbours outside the group --- */

/* Adds to the place costs of a slot what each member would differ, at the slot's place `own`, from
 * what stands at `other` now. */
static neumeta_status add_neighbour(group_problem *problem, int64_t slot,
                                    const nmi_channel_axis *axis, int64_t own, int64_t other)
{
    const nmi_cliques *cliques = &problem->smoother->cliques;
    const nmi_tensor *tensor = &problem->smoother->network->tensors[axis->tensor];
    int64_t offset = cliques->ties.offset[axis->node];
    int64_t beside = nmi_cliques_place(cliques, other) - offset;
    if (problem->place[slot] == NULL)
        problem->place[slot] =
            nmi_alloc_zero_array(problem->smoother->context, problem->count, sizeof(float));
    if (problem->place[slot] == NULL)
        return NEUMETA_ERR_MEMORY;
    problem->coupled = true;
    for (int64_t item = 0; item < problem->count; item++) {
        int64_t start = cliques->place_start[problem->members[item]];
        int64_t channel = cliques->places[start + cliques->rank[own]] - offset;
        double distance = nmi_slice_distance(tensor, axis->axis, channel, beside);
        double sum = (double)problem->place[slot][item] + distance;
        problem->place[slot][item] = (float)fmin(sum, (double)FLT_MAX);
    }
    return NEUMETA_OK;
}

/* Takes up one pair of channel neighbours. Pairs of slots that do not follow each other in slot
 * order (a group beside itself) are left out; try_order() sees their cost when it compares. */
static neumeta_status add_pair(group_problem *problem, int32_t group, int32_t axis, int64_t a,
                               int64_t b)
{
    const nmi_cliques *cliques = &problem->smoother->cliques;
    const nmi_channel_axis *channels = &problem->smoother->axes[axis];
    int64_t first = cliques->ties.class_of[a];
    int64_t second = cliques->ties.class_of[b];
    bool first_inside = cliques->group_of[first] == group;
    bool second_inside = cliques->group_of[second] == group;
    if (first_inside && second_inside) {
        int64_t slot = cliques->slot_of[second];
        if (cliques->slot_of[first] == slot - 1)
            problem->linked[slot * problem->smoother->axis_count + axis] = 1;
    } else if (first_inside) {
        return add_neighbour(problem, cliques->slot_of[first], channels, a, b);
    } else if (second_inside) {
        return add_neighbour(problem, cliques->slot_of[second], channels, b, a);
    }
    return NEUMETA_OK;
}

static neumeta_status add_pairs(group_problem *problem, int32_t group)
{
    const smooth_state *smoother = problem->smoother;
    neumeta_status status = NEUMETA_OK;
    for (int32_t axis = 0; axis < smoother->axis_count; axis++) {
        const nmi_channel_axis *channels = &smoother->axes[axis];
        const int64_t *range = smoother->cliques.ties.offset + channels->node;
        for (int64_t place = range[0]; place + channels->stride < range[1] && status == NEUMETA_OK;
             place++)
            status = add_pair(problem, group, axis, place, place + channels->stride);
    }
    return status;
}

/* --- distances within the group --- */

typedef struct distances {
    const group_problem *problem;
    const uint8_t *linked; /* [axis_count] axes that count */
    float *matrix;         /* [count][count] */
} distances;

/* Distance of two classes along one axis, over all their places at its node. */
static double axis_distance(const smooth_state *smoother, const nmi_channel_axis *axis, int64_t a,
                            int64_t b)
{
    const nmi_cliques *cliques = &smoother->cliques;
    const nmi_tensor *tensor = &smoother->network->tensors[axis->tensor];
    const int64_t *first = cliques->places + cliques->place_start[a];
    const int64_t *second = cliques->places + cliques->place_start[b];
    int64_t count = cliques->place_start[a + 1] - cliques->place_start[a];
    int64_t offset = cliques->ties.offset[axis->node];
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        if (cliques->node_of[first[i]] == axis->node)
            sum += nmi_slice_distance(tensor, axis->axis, first[i] - offset, second[i] - offset);
    return sum;
}

static void fill_row(void *argument, int64_t row, int32_t worker)
{
    (void)worker;
    const distances *work = argument;
    const group_problem *problem = work->problem;
    const smooth_state *smoother = problem->smoother;
    work->matrix[row * problem->count + row] = 0;
    for (int64_t column = 0; column < row; column++) {
        double sum = 0;
        for (int32_t axis = 0; axis < smoother->axis_count; axis++)
            if (work->linked[axis] != 0)
                sum += axis_distance(smoother, &smoother->axes[axis], problem->members[row],
                                     problem->members[column]);
        float distance = (float)fmin(sum, (double)FLT_MAX);
        work->matrix[row * problem->count + column] = distance;
        work->matrix[column * problem->count + row] = distance;
    }
}

/* The matrix of the step to slot k: none, that of an earlier step over the same axes, or new. */
static neumeta_status add_step(group_problem *problem, int64_t k)
{
    const smooth_state *smoother = problem->smoother;
    size_t width = (size_t)smoother->axis_count;
    const uint8_t *linked = problem->linked + k * smoother->axis_count;
    if (memchr(linked, 1, width) == NULL)
        return NEUMETA_OK;
    for (int64_t earlier = 1; earlier < k; earlier++)
        if (memcmp(linked, problem->linked + earlier * smoother->axis_count, width) == 0) {
            problem->step[k] = problem->step[earlier];
            return NEUMETA_OK;
        }
    problem->step[k] =
        nmi_alloc_matrix(smoother->context, problem->count, problem->count, sizeof(float));
    if (problem->step[k] == NULL)
        return NEUMETA_ERR_MEMORY;
    problem->owner[k] = true;
    distances work = {problem, linked, problem->step[k]};
    nmi_run(smoother->context, problem->count, fill_row, &work);
    return NEUMETA_OK;
}

/* --- solving --- */

static neumeta_status solve_path(const group_problem *problem, int32_t group, int64_t *order)
{
    const smooth_state *smoother = problem->smoother;
    const nmi_cliques *cliques = &smoother->cliques;
    nmi_path path = {problem->count, (const float *const *)problem->step,
                     (const float *const *)problem->place};
    int64_t most = smoother->solver == SOLVER_AUTO    ? NMI_PATH_EXACT_AUTO
                   : smoother->solver == SOLVER_EXACT ? NMI_PATH_EXACT_MAX
                                                      : 0;
    if (problem->count <= most)
        return nmi_path_exact(smoother->context, &path, order);
    if (smoother->solver == SOLVER_EXACT) {
        int32_t node = cliques->node_of[cliques->places[cliques->place_start[problem->members[0]]]];
        return nmi_fail(smoother->context, NEUMETA_ERR_UNSUPPORTED,
                        "SMOOTH_SOLVER exact: %lld channels of '%s' move together, at most %d are "
                        "possible",
                        (long long)problem->count, smoother->network->topology->nodes[node].name,
                        (int)NMI_PATH_EXACT_MAX);
    }
    uint64_t key = nmi_random_key(smoother->seed, NMI_RANDOM_SMOOTH, (uint64_t)group);
    return nmi_path_local(smoother->context, &path, key, smoother->seconds, order);
}

static double current_roughness(const smooth_state *smoother)
{
    return nmi_roughness_of(smoother->network, smoother->axes, smoother->axis_count,
                            nmi_cliques_content, &smoother->cliques, smoother->partial);
}

/* Puts the members into the order of the path if that makes the network smoother. */
static bool try_order(group_problem *problem, const int64_t *order)
{
    smooth_state *smoother = problem->smoother;
    int64_t *content = smoother->cliques.content;
    for (int64_t k = 0; k < problem->count; k++)
        content[problem->members[k]] = problem->members[order[k]];
    double roughness = current_roughness(smoother);
    if (roughness < smoother->roughness) {
        smoother->roughness = roughness;
        return true;
    }
    for (int64_t k = 0; k < problem->count; k++)
        content[problem->members[k]] = problem->members[problem->order[k]];
    return false;
}

/* Optimises one group with all others where they are. */
static neumeta_status solve_group(smooth_state *smoother, int32_t group, bool *gained,
                                  bool *coupled)
{
    const nmi_cliques *cliques = &smoother->cliques;
    group_problem problem = {.smoother = smoother,
                             .count =
                                 cliques->member_start[group + 1] - cliques->member_start[group],
                             .members = cliques->members + cliques->member_start[group]};
    if (problem.count < 2)
        return NEUMETA_OK;
    int64_t *order = nmi_alloc_array(smoother->context, problem.count, sizeof *order);
    neumeta_status status = problem_allocate(&problem);
    if (order == NULL)
        status = NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = add_pairs(&problem, group);
    for (int64_t k = 1; k < problem.count && status == NEUMETA_OK; k++)
        status = add_step(&problem, k);
    for (int64_t k = 0; k < problem.count && status == NEUMETA_OK; k++)
        order[k] = problem.order[k] = cliques->slot_of[cliques->content[problem.members[k]]];
    if (status == NEUMETA_OK)
        status = solve_path(&problem, group, order);
    if (status == NEUMETA_OK && try_order(&problem, order))
        *gained = true;
    *coupled = *coupled || problem.coupled;
    problem_free(&problem);
    nmi_free(smoother->context, order);
    return status;
}

static neumeta_status solve_all(smooth_state *smoother)
{
    nmi_context *context = smoother->context;
    int32_t groups = smoother->cliques.group_count;
    neumeta_status status = NEUMETA_OK;
    bool *coupled = nmi_alloc_zero_array(context, groups, sizeof *coupled);
    if (coupled == NULL)
        return NEUMETA_ERR_MEMORY;
    bool gained = true;
    for (int32_t round = 0; round < MOST_ROUNDS && gained; round++) {
        gained = false;
        for (int32_t group = 0; group < groups && status == NEUMETA_OK; group++)
            if (round == 0 || coupled[group])
                status = solve_group(smoother, group, &gained, &coupled[group]);
        if (status != NEUMETA_OK)
            break;
    }
    nmi_free(context, coupled);
    return status;
}

/* Channels that change places would change groups. */
static neumeta_status check_groups(const nmi_network *network)
{
    for (int32_t n = 0; n < network->topology->node_count; n++) {
        const nmi_node *node = &network->topology->nodes[n];
        if (node->op == NEUMETA_OP_GROUP_NORM && network->shapes[n].channels >= 2 * node->group)
            return nmi_fail(network->object.context, NEUMETA_ERR_UNSUPPORTED,
                            "smoothing: group norm '%s' ties the order of its channels; smooth "
                            "before group norm replaces batch norm",
                            node->name);
    }
    return NEUMETA_OK;
}

static neumeta_status prepare(smooth_state *smoother)
{
    neumeta_status status = check_groups(smoother->network);
    if (status == NEUMETA_OK)
        status = nmi_channel_axes(smoother->network, &smoother->axes, &smoother->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_cliques_create(smoother->network, &smoother->cliques);
    if (status != NEUMETA_OK)
        return status;
    smoother->partial =
        nmi_alloc_array(smoother->context, smoother->axis_count, sizeof *smoother->partial);
    if (smoother->partial == NULL)
        return NEUMETA_ERR_MEMORY;
    smoother->roughness = current_roughness(smoother);
    for (int32_t axis = 0; axis < smoother->axis_count; axis++)
        if (!isfinite(smoother->partial[axis]))
            return nmi_fail(smoother->context, NEUMETA_ERR_NUMERIC,
                            "tensor '%s' has values that are not finite",
                            smoother->network->topology->tensors[smoother->axes[axis].tensor].name);
    return NEUMETA_OK;
}

/* Sorting has no use for what bounds and seeds a search. */
static neumeta_status check_solver(nmi_context *context, const nmi_options *options)
{
    static const int32_t idle[] = {NEUMETA_KEY_SMOOTH_TIME_LIMIT, NEUMETA_KEY_SEED};
    if (nmi_options_choice(options, NEUMETA_KEY_SMOOTH_SOLVER) != SOLVER_IMPORTANCE)
        return NEUMETA_OK;
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (nmi_options_has(options, idle[i]))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "%s has no effect while SMOOTH_SOLVER is importance",
                            nmi_key_find(idle[i])->name);
    return NEUMETA_OK;
}

neumeta_status nmi_smooth(nmi_network *network, const nmi_options *options)
{
    static const int32_t keys[] = {NEUMETA_KEY_SMOOTH_SOLVER, NEUMETA_KEY_SMOOTH_TIME_LIMIT,
                                   NEUMETA_KEY_SEED};
    nmi_context *context = network->object.context;
    neumeta_status status = nmi_options_allow(context, options, "smoothing", keys,
                                              (int32_t)(sizeof keys / sizeof *keys));
    if (status == NEUMETA_OK)
        status = check_solver(context, options);
    if (status != NEUMETA_OK)
        return status;
    if (nmi_network_is_shared(network))
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "smoothing: the weights are shared with another network and cannot change");
    smooth_state smoother = {.context = context,
                             .network = network,
                             .solver = nmi_options_choice(options, NEUMETA_KEY_SMOOTH_SOLVER),
                             .seconds = nmi_options_real(options, NEUMETA_KEY_SMOOTH_TIME_LIMIT),
                             .seed = nmi_options_seed(options, context)};
    smoother.cliques.context = context;
    status = prepare(&smoother);
    double before = smoother.roughness;
    if (status == NEUMETA_OK && smoother.solver == SOLVER_IMPORTANCE) {
        status = nmi_importance_sort(network, &smoother.cliques);
        smoother.roughness = current_roughness(&smoother);
    } else if (status == NEUMETA_OK) {
        status = solve_all(&smoother);
    }
    if (status == NEUMETA_OK)
        status = nmi_permute_check(network, &smoother.cliques);
    if (status == NEUMETA_OK)
        status = nmi_permute(network, &smoother.cliques, smoother.axes, smoother.axis_count);
    if (status == NEUMETA_OK)
        nmi_log(context, NEUMETA_LOG_INFO, "smoothing: total variation %.6g before, %.6g after",
                before, smoother.roughness);
    nmi_cliques_free(&smoother.cliques);
    nmi_free(context, smoother.axes);
    nmi_free(context, smoother.partial);
    return status;
}
