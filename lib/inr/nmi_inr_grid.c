/* SPDX-License-Identifier: MIT */
/*
 * The grid kind: a tensor is a full-sized one resampled to the present sizes, plus one for each
 * axis whose extent falls short of the full one:
 *
 *     W = sum_t phi_t G_t[origin(o), origin(i), tap],   phi_0 = 1,   phi_a = 1 - extent_a/full_a
 *
 * At full sizes W = G_0 to the bit, so that a manifold can start as the network it was made of.
 * Values cost memory bandwidth only. A task is a tensor, forward and backward: no two of them touch
 * the same parameter, and bits do not depend on threads.
 */
#include "nmi_emission.h"
#include "nmi_optimizer.h"
#include "nmi_resample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct nmi_grid_scratch {
    int32_t workers;
    int64_t line, factors;    /* floats of a worker */
    nmi_resample_work *works; /* [workers] */
    float *floats;            /* [workers][line + factors] */
    /* the present emission */
    const nmi_manifold *manifold;
    const nmi_emission *emission;
    nmi_network *network;
    const nmi_network *at; /* backward: the network whose sizes hold */
    float *const *weight_gradients, *const *parameter_gradients;
};

/* --- parameters -------------------------------------------------------------------------- */

static bool is_grid(const nmi_manifold *manifold, int32_t tensor)
{
    return manifold->fields[tensor].kind == &nmi_inr_grid;
}

static int64_t full_count(const nmi_manifold *manifold, int32_t tensor, int32_t *rank,
                          int64_t dims[4])
{
    *rank = nmi_graph_tensor_dims(manifold->topology, manifold->full_sizes, manifold->full_shapes,
                                  tensor, dims);
    return dims[0] * dims[1] * dims[2] * dims[3];
}

/* Whether the tensor has a grid for the axis. */
static bool has_term(const nmi_manifold *manifold, int32_t tensor, int32_t axis)
{
    return manifold->settings.terms && manifold->varies[axis] &&
           nmi_graph_tensor_depends(manifold->topology, tensor, axis);
}

static int32_t grid_count(const nmi_manifold *manifold, int32_t tensor)
{
    int32_t count = 1;
    for (int32_t a = 0; a < manifold->topology->axis_count; a++)
        count += has_term(manifold, tensor, a);
    return count;
}

static neumeta_status plan(nmi_manifold *manifold)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        int32_t rank;
        int64_t dims[4];
        if (is_grid(manifold, t) &&
            !nmi_multiply(full_count(manifold, t, &rank, dims), grid_count(manifold, t),
                          &manifold->fields[t].parameter_count))
            return nmi_fail(manifold->object.context, NEUMETA_ERR_MEMORY,
                            "the grids of tensor '%s' are too large",
                            manifold->topology->tensors[t].name);
    }
    return NEUMETA_OK;
}

/* The usual start of G_0, as for fresh networks: variance 2/fan_in for convolutions, +-1/sqrt of it
 * for linear layers and their biases, other biases 0, factors of affine nodes and norms 1. */
static void set_start(const nmi_manifold *manifold, int32_t tensor, nmi_inr_part *part)
{
    const nmi_topology *topology = manifold->topology;
    const nmi_tensor_info *info = &topology->tensors[tensor];
    const int32_t weight = nmi_graph_node_tensor(topology, info->node, NMI_ROLE_WEIGHT);
    const int32_t op = topology->nodes[info->node].op;
    int32_t rank;
    int64_t dims[4];
    const bool factor = info->role == NMI_ROLE_AFFINE_WEIGHT || info->role == NMI_ROLE_NORM_WEIGHT;
    part->value = factor ? 1 : 0;
    if (weight < 0)
        return;
    const int64_t count = full_count(manifold, weight, &rank, dims);
    const double fan_in = (double)(count / dims[0]);
    if (op == NEUMETA_OP_LINEAR)
        part->bound = 1 / sqrt(fan_in);
    else if (info->role == NMI_ROLE_WEIGHT)
        part->bound = sqrt(6 / fan_in);
}

static bool part(const nmi_manifold *manifold, int32_t tensor, int32_t index, nmi_inr_part *out)
{
    if (index < 0 || index >= grid_count(manifold, tensor))
        return false;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "grid.%d", (int)index);
    out->count = full_count(manifold, tensor, &out->rank, out->dims);
    out->offset = index * out->count;
    if (index == 0)
        set_start(manifold, tensor, out);
    return true;
}

/* --- memory ------------------------------------------------------------------------------ */

static void release(nmi_manifold *manifold)
{
    nmi_context *ctx = manifold->object.context;
    struct nmi_grid_scratch *s = manifold->grid_scratch;
    if (s == NULL)
        return;
    for (int32_t w = 0; w < s->workers && s->works != NULL; w++)
        nmi_resample_work_free(ctx, &s->works[w]);
    nmi_free(ctx, s->works);
    nmi_free(ctx, s->floats);
    nmi_free(ctx, s);
    manifold->grid_scratch = NULL;
}

static void measure(const nmi_manifold *manifold, struct nmi_grid_scratch *s)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        int32_t rank;
        int64_t dims[4];
        if (!is_grid(manifold, t))
            continue;
        const int64_t count = full_count(manifold, t, &rank, dims);
        const int64_t line = rank == 1 ? count : count / dims[0], grids = grid_count(manifold, t);
        s->line = line > s->line ? line : s->line;
        s->factors = grids > s->factors ? grids : s->factors;
    }
}

static neumeta_status prepare(nmi_manifold *manifold, bool backward)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t workers = nmi_worker_count(ctx);
    (void)backward;
    if (manifold->grid_scratch != NULL && manifold->grid_scratch->workers == workers)
        return NEUMETA_OK;
    release(manifold);
    struct nmi_grid_scratch *s = nmi_alloc_zero(ctx, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    manifold->grid_scratch = s;
    s->workers = workers;
    s->manifold = manifold;
    measure(manifold, s);
    s->works = nmi_alloc_zero_array(ctx, workers, sizeof *s->works);
    s->floats = nmi_alloc_matrix(ctx, workers, s->line + s->factors, sizeof *s->floats);
    neumeta_status status = s->works != NULL && s->floats != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    for (int32_t w = 0; w < workers && status == NEUMETA_OK; w++)
        status = nmi_resample_work_create(&manifold->map, &s->works[w]);
    if (status != NEUMETA_OK)
        release(manifold);
    return status;
}

/* --- emission and its backward ----------------------------------------------------------- */

/* phi of each grid of the tensor at these sizes; returns their number. */
static int32_t set_factors(const nmi_manifold *manifold, int32_t tensor, const int64_t *sizes,
                           float *factors)
{
    int32_t count = 1;
    factors[0] = 1;
    for (int32_t a = 0; a < manifold->topology->axis_count; a++)
        if (has_term(manifold, tensor, a))
            factors[count++] =
                (float)(1 - (double)sizes[a] / (double)manifold->topology->axes[a].max);
    return count;
}

/* Forward where no gradients are set. */
static void tensor_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_grid_scratch *s = argument;
    const nmi_manifold *manifold = s->manifold;
    const int32_t t = (int32_t)index;
    if (!nmi_emission_has(s->emission, t) || !is_grid(manifold, t) || s->at->tensors[t].rank == 0)
        return;
    float *line = s->floats + worker * (s->line + s->factors), *factors = line + s->line;
    const nmi_resampling r =
        nmi_resample_plan(&manifold->map, manifold->settings.gauge, s->at, t, &s->works[worker]);
    const int32_t count = set_factors(manifold, t, s->at->sizes, factors);
    if (s->parameter_gradients == NULL)
        nmi_resample(&r, manifold->fields[t].parameters, factors, count, line,
                     s->network->tensors[t].data);
    else
        nmi_resample_backward(&r, s->weight_gradients[t], factors, count, line,
                              s->parameter_gradients[t]);
}

static void emit(const nmi_manifold *manifold, const nmi_emission *emission, nmi_network *network)
{
    struct nmi_grid_scratch *s = manifold->grid_scratch;
    s->emission = emission;
    s->at = s->network = network;
    s->weight_gradients = s->parameter_gradients = NULL;
    nmi_run(manifold->object.context, manifold->topology->tensor_count, tensor_task, s);
}

static void backward(const nmi_manifold *manifold, const nmi_emission *emission,
                     const nmi_network *network, float *const *weight_gradients,
                     float *const *parameter_gradients)
{
    struct nmi_grid_scratch *s = manifold->grid_scratch;
    s->emission = emission;
    s->at = network;
    s->network = NULL;
    s->weight_gradients = weight_gradients;
    s->parameter_gradients = parameter_gradients;
    nmi_run(manifold->object.context, manifold->topology->tensor_count, tensor_task, s);
}

/* --- starts ------------------------------------------------------------------------------ */

/* One full-sized tensor out of another, by relative places along both axes. */
static void interpolate(const nmi_manifold *manifold, const int64_t from_dims[4],
                        const int64_t to_dims[4], int32_t rank, nmi_origin *origins, float *line,
                        const float *from, float *to)
{
    const int64_t taps = to_dims[2] * to_dims[3];
    const float one = 1;
    nmi_resampling r = {.kernels = manifold->object.context->kernels,
                        .outputs = to_dims[0],
                        .inputs = to_dims[1],
                        .taps = taps,
                        .full_inputs = from_dims[1],
                        .full_count = from_dims[0] * from_dims[1] * taps,
                        .rows = origins,
                        .columns = origins + to_dims[0],
                        .gain = rank > 1 ? (float)from_dims[1] / (float)to_dims[1] : 1};
    for (int64_t o = 0; o < to_dims[0]; o++)
        origins[o] = nmi_origin_at(NMI_GAUGE_RELATIVE, o, to_dims[0], from_dims[0]);
    for (int64_t i = 0; i < to_dims[1]; i++)
        origins[to_dims[0] + i] = nmi_origin_at(NMI_GAUGE_RELATIVE, i, to_dims[1], from_dims[1]);
    nmi_resample(&r, from, &one, 1, line, to);
}

static neumeta_status refuse_clone(const nmi_manifold *manifold, int32_t from, int32_t to)
{
    return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                    "cannot clone tensor '%s' to '%s': their grids differ in more than their "
                    "channels",
                    manifold->topology->tensors[from].name, manifold->topology->tensors[to].name);
}

static neumeta_status clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    nmi_context *ctx = manifold->object.context;
    int32_t rank, to_rank;
    int64_t dims[4], to_dims[4];
    const int64_t count = full_count(manifold, from, &rank, dims);
    const int64_t to_count = full_count(manifold, to, &to_rank, to_dims);
    const int32_t grids = grid_count(manifold, from), to_grids = grid_count(manifold, to);
    if (from == to)
        return NEUMETA_OK;
    if (rank != to_rank || dims[2] != to_dims[2] || dims[3] != to_dims[3] || grids != to_grids)
        return refuse_clone(manifold, from, to);
    nmi_origin *origins = nmi_alloc_array(ctx, to_dims[0] + to_dims[1], sizeof *origins);
    float *line = nmi_alloc_array(ctx, count / dims[0], sizeof *line);
    const neumeta_status status = origins != NULL && line != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    for (int32_t t = 0; t < grids && status == NEUMETA_OK; t++)
        interpolate(manifold, dims, to_dims, rank, origins, line,
                    manifold->fields[from].parameters + t * count,
                    manifold->fields[to].parameters + t * to_count);
    nmi_free(ctx, line);
    nmi_free(ctx, origins);
    return status;
}

/* G_0 becomes the reference, the other grids zero: exact, and done in no time. */
static neumeta_status fit(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                          const nmi_fit *how)
{
    (void)how;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        const nmi_field *field = &manifold->fields[t];
        const nmi_tensor *tensor = &target->reference->tensors[t];
        if (!is_grid(manifold, t) || (fields != NULL && !fields[t]))
            continue;
        if (!nmi_all_finite(tensor->count, tensor->data))
            return nmi_fail(manifold->object.context, NEUMETA_ERR_NUMERIC,
                            "tensor '%s' of the reference is not finite",
                            manifold->topology->tensors[t].name);
        memset(field->parameters, 0, (size_t)field->parameter_count * sizeof(float));
        memcpy(field->parameters, tensor->data, (size_t)tensor->count * sizeof(float));
    }
    return NEUMETA_OK;
}

const nmi_inr_kind nmi_inr_grid = {
    .name = "grid",
    .plan = plan,
    .part = part,
    .prepare = prepare,
    .release = release,
    .emit = emit,
    .backward = backward,
    .clone = clone,
    .fit = fit,
};
