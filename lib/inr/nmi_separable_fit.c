/* SPDX-License-Identifier: MIT */
/*
 * The fit of separable INRs to a reference, in closed form: the factors of a tensor's canonical
 * polyadic decomposition are what f and g are to yield, and the third one is t. Hidden layers stay
 * random; the last layer of f and of g is the least squares solution for all rows at all sizes. At
 * a single size with no more rows than hidden units it can meet all of them.
 *
 * At other sizes than the full one, rows are those of the nearest relative places. The full size,
 * the only one at which the reference is known, counts as much as all others together.
 */
#include "nmi_cp.h"
#include "nmi_separable.h"

#include "nmi_mlp.h"
#include "nmi_optimizer.h"

#include <string.h>

enum { SWEEPS = 60 };

/* Of the mean square of a hidden unit: less lets last layers grow, more forgets rows. */
#define RIDGE 1e-6

/* The linear system of a last layer: weights and, as the last unknown, bias. */
typedef struct layer_system {
    int64_t unknowns, outputs;
    double *matrix, *sides; /* [unknowns][unknowns], [outputs][unknowns] */
    double *line;           /* [unknowns] */
    float *hidden;          /* [rows][unknowns - 1] */
} layer_system;

static neumeta_status take_system(nmi_context *ctx, const nmi_separable *of, int64_t rows,
                                  layer_system *out)
{
    const int64_t unknowns = of->mlp.hidden + 1;
    *out = (layer_system){.unknowns = unknowns, .outputs = of->rank};
    out->matrix = nmi_alloc_matrix(ctx, unknowns, unknowns, sizeof *out->matrix);
    out->sides = nmi_alloc_matrix(ctx, of->rank, unknowns, sizeof *out->sides);
    out->line = nmi_alloc_array(ctx, unknowns, sizeof *out->line);
    out->hidden = nmi_alloc_matrix(ctx, rows, unknowns, sizeof *out->hidden);
    return out->matrix != NULL && out->sides != NULL && out->line != NULL && out->hidden != NULL
               ? NEUMETA_OK
               : NEUMETA_ERR_MEMORY;
}

static void free_system(nmi_context *ctx, layer_system *system)
{
    nmi_free(ctx, system->matrix);
    nmi_free(ctx, system->sides);
    nmi_free(ctx, system->line);
    nmi_free(ctx, system->hidden);
}

/* Adds a row whose outputs shall be `wanted` [outputs]; the matrix in its lower half. */
static void add_row(const layer_system *system, const float *hidden, const double *wanted,
                    double weight)
{
    const int64_t n = system->unknowns;
    for (int64_t i = 0; i < n - 1; i++)
        system->line[i] = (double)hidden[i];
    system->line[n - 1] = 1;
    for (int64_t i = 0; i < n; i++) {
        const double scaled = weight * system->line[i];
        for (int64_t j = 0; j <= i; j++)
            system->matrix[i * n + j] += scaled * system->line[j];
    }
    for (int64_t o = 0; o < system->outputs; o++)
        for (int64_t i = 0; i < n; i++)
            system->sides[o * n + i] += weight * wanted[o] * system->line[i];
}

static void solve(const layer_system *system, const nmi_separable *of, float *parameters)
{
    const int64_t n = system->unknowns, hidden = n - 1;
    float *weights = parameters + nmi_mlp_weights_at(&of->mlp, of->mlp.layers);
    float *bias = parameters + nmi_mlp_bias_at(&of->mlp, of->mlp.layers);
    nmi_solve_ridge(n, system->matrix, RIDGE, system->outputs, system->sides);
    for (int64_t o = 0; o < system->outputs; o++) {
        for (int64_t i = 0; i < hidden; i++)
            weights[o * hidden + i] = (float)system->sides[o * n + i];
        bias[o] = (float)system->sides[o * n + hidden];
    }
}

/* One side of a tensor; `wanted` [rows at full size][rank]. Its hidden layers are drawn already. */
static neumeta_status fit_side(nmi_manifold *manifold, const nmi_fit_target *target,
                               const nmi_resample_work *work, int32_t tensor,
                               const nmi_separable *of, int side, const double *wanted,
                               float *parameters)
{
    nmi_context *ctx = manifold->object.context;
    layer_system system;
    neumeta_status status = take_system(ctx, of, of->full[side], &system);
    if (status == NEUMETA_OK) {
        memset(system.matrix, 0, (size_t)(system.unknowns * system.unknowns) * sizeof(double));
        memset(system.sides, 0, (size_t)(system.unknowns * system.outputs) * sizeof(double));
    }
    for (int32_t s = 0; s < target->count && status == NEUMETA_OK; s++) {
        const int64_t *sizes = target->sizes + s * (int64_t)manifold->topology->axis_count;
        status = nmi_network_resize(target->narrow, sizes);
        if (status != NEUMETA_OK || target->narrow->tensors[tensor].rank == 0)
            continue;
        const nmi_resampling r =
            nmi_resample_plan(&manifold->map, NMI_GAUGE_NEAREST, target->narrow, tensor, work);
        const nmi_origin *origins = side == NMI_SEPARABLE_F && !of->vector ? r.rows : r.columns;
        const int64_t rows = target->narrow->tensors[tensor].dims[side];
        const double weight = rows == of->full[side] ? (double)target->count : 1;
        nmi_separable_hidden(manifold, tensor, parameters, side, target->narrow, system.hidden);
        for (int64_t n = 0; n < rows; n++)
            add_row(&system, system.hidden + n * of->mlp.hidden, wanted + origins[n].at * of->rank,
                    weight);
    }
    if (status == NEUMETA_OK)
        solve(&system, of, parameters + of->sides[side]);
    free_system(ctx, &system);
    return status;
}

static neumeta_status fit_vector(nmi_manifold *manifold, const nmi_fit_target *target,
                                 const nmi_resample_work *work, int32_t tensor,
                                 const nmi_separable *of, float *parameters)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_tensor *reference = &target->reference->tensors[tensor];
    double *wanted = nmi_alloc_array(ctx, reference->count, sizeof *wanted);
    if (wanted == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int64_t i = 0; i < reference->count; i++)
        wanted[i] = (double)reference->data[i];
    const neumeta_status status =
        fit_side(manifold, target, work, tensor, of, NMI_SEPARABLE_F, wanted, parameters);
    nmi_free(ctx, wanted);
    return status;
}

static neumeta_status fit_matrix(nmi_manifold *manifold, const nmi_fit_target *target,
                                 const nmi_resample_work *work, int32_t tensor, uint64_t key,
                                 const nmi_separable *of, float *parameters)
{
    nmi_context *ctx = manifold->object.context;
    const int64_t dims[NMI_CP_AXES] = {of->full[0], of->full[1], of->taps};
    nmi_cp cp;
    neumeta_status status =
        nmi_cp_create(ctx, dims, of->rank, target->reference->tensors[tensor].data, SWEEPS,
                      nmi_random_key(key, NMI_RANDOM_FIT, (uint64_t)tensor), &cp);
    if (status != NEUMETA_OK)
        return status;
    for (int64_t i = 0; i < of->taps * of->rank; i++)
        parameters[of->factors + i] = (float)cp.factors[2][i];
    for (int side = 0; side < NMI_SEPARABLE_SIDES && status == NEUMETA_OK; side++)
        status = fit_side(manifold, target, work, tensor, of, side, cp.factors[side], parameters);
    nmi_cp_free(ctx, &cp);
    return status;
}

/* One tensor; on failure its parameters are as they were. */
static neumeta_status fit_tensor(nmi_manifold *manifold, const nmi_fit_target *target,
                                 const nmi_resample_work *work, int32_t tensor, uint64_t key)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_separable of = nmi_separable_of(manifold, tensor);
    const nmi_tensor *reference = &target->reference->tensors[tensor];
    if (!nmi_all_finite(reference->count, reference->data))
        return nmi_fail(ctx, NEUMETA_ERR_NUMERIC, "tensor '%s' of the reference is not finite",
                        manifold->topology->tensors[tensor].name);
    float *parameters = nmi_alloc_array(ctx, of.count, sizeof *parameters);
    if (parameters == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_inr_draw(manifold, tensor, parameters);
    const neumeta_status status =
        of.vector ? fit_vector(manifold, target, work, tensor, &of, parameters)
                  : fit_matrix(manifold, target, work, tensor, key, &of, parameters);
    if (status == NEUMETA_OK)
        memcpy(manifold->fields[tensor].parameters, parameters,
               (size_t)of.count * sizeof *parameters);
    nmi_free(ctx, parameters);
    return status;
}

static bool is_fitted(const nmi_manifold *manifold, const bool *fields, int32_t tensor)
{
    return nmi_is_separable(manifold, tensor) && (fields == NULL || fields[tensor]);
}

neumeta_status nmi_separable_fit(nmi_manifold *manifold, const bool *fields,
                                 const nmi_fit_target *target, const nmi_fit *fit)
{
    const int32_t tensors = manifold->topology->tensor_count;
    int32_t done = 0, all = 0;
    nmi_resample_work work = {NULL, NULL};
    neumeta_status status = nmi_separable_prepare(manifold, true);
    if (status == NEUMETA_OK)
        status = nmi_resample_work_create(&manifold->map, &work);
    for (int32_t t = 0; t < tensors; t++)
        all += is_fitted(manifold, fields, t);
    for (int32_t t = 0; t < tensors && status == NEUMETA_OK; t++) {
        if (!is_fitted(manifold, fields, t))
            continue;
        status = fit_tensor(manifold, target, &work, t, fit->key);
        if (status == NEUMETA_OK && fit->watch != NULL &&
            fit->watch(fit->user, (double)++done / (double)all))
            status = NEUMETA_CANCELLED;
    }
    nmi_resample_work_free(manifold->object.context, &work);
    return status;
}
