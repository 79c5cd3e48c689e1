/* SPDX-License-Identifier: MIT */
/*
 * Separable INRs on the context's workers. A task is one MLP of one tensor, all its rows, or the
 * products of one tensor: no two tasks touch the same parameter or value, nothing has to be
 * reduced, and bits do not depend on threads.
 *
 * The sum of products is a product of matrices, F [O][R] with M [I taps][R]:
 *
 *     W = F M^T,    M[(i, tap), r] = I'/I t[tap, r] G[i, r]             2 O I taps R FLOP
 *
 * Averages over noise are those of f and of g, whose draws are independent: the product of the
 * means has the mean of the products.
 */
#include "nmi_separable.h"

#include "nmi_mlp.h"

#include <string.h>

enum { LINE = NMI_ALIGNMENT / (int)sizeof(float), SIDES = NMI_SEPARABLE_SIDES };

struct nmi_separable_scratch {
    int32_t workers;
    bool backward;
    int64_t packed, work, average, lane; /* floats of a worker for an MLP, whole lines */
    int64_t matrix, packed_matrix, packed_transposed; /* for a product */
    int64_t desk;                                     /* of a worker, the larger of both uses */
    float *desks;                                     /* [workers][desk] */
    int64_t *places;                                  /* [tensor_count][SIDES] in `values` */
    int64_t value_count;
    float *values; /* F and G of all tensors, with `backward` their gradients behind */
    /* the present emission */
    const nmi_manifold *manifold;
    const nmi_emission *emission;
    nmi_noise noise[SIDES];
    nmi_network *network;  /* forward */
    const nmi_network *at; /* whose sizes hold */
    float *const *weight_gradients, *const *parameter_gradients;
};

/* --- memory ------------------------------------------------------------------------------ */

static int64_t whole_lines(int64_t floats)
{
    return (floats + LINE - 1) / LINE * LINE;
}

static void raise(int64_t *most, int64_t floats)
{
    floats = whole_lines(floats);
    *most = floats > *most ? floats : *most;
}

static nmi_dense_shape product_shape(const nmi_separable *s, int64_t inputs)
{
    return (nmi_dense_shape){s->rank, inputs * s->taps};
}

static void measure(struct nmi_separable_scratch *s)
{
    const nmi_manifold *manifold = s->manifold;
    const nmi_mlp *mlp = &manifold->factors;
    s->packed = whole_lines((int64_t)nmi_mlp_packed_floats(mlp, s->backward));
    s->work = whole_lines((int64_t)nmi_mlp_work_floats(mlp, s->backward));
    s->average = nmi_mlp_average_floats(mlp);
    s->lane = s->backward ? whole_lines((int64_t)nmi_mlp_lane_floats(mlp)) : 0;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        if (!nmi_is_separable(manifold, t))
            continue;
        const nmi_separable of = nmi_separable_of(manifold, t);
        if (of.vector)
            continue;
        const nmi_dense_shape shape = product_shape(&of, of.full[1]);
        raise(&s->matrix, shape.outputs * shape.inputs);
        raise(&s->packed_matrix, (int64_t)nmi_dense_packed_floats(mlp->kernels, shape));
        raise(&s->packed_transposed,
              (int64_t)nmi_dense_packed_transposed_floats(mlp->kernels, shape));
        for (int side = 0; side < SIDES; side++) {
            s->places[SIDES * t + side] = s->value_count;
            s->value_count += whole_lines(of.full[side] * of.rank);
        }
    }
    raise(&s->desk, s->packed + s->work + s->average + s->lane);
    raise(&s->desk, s->matrix + s->packed_matrix + (s->backward ? s->packed_transposed : 0));
}

static void free_scratch(nmi_context *ctx, struct nmi_separable_scratch *s)
{
    if (s == NULL)
        return;
    nmi_free(ctx, s->desks);
    nmi_free(ctx, s->places);
    nmi_free(ctx, s->values);
    nmi_free(ctx, s);
}

void nmi_separable_release(nmi_manifold *manifold)
{
    free_scratch(manifold->object.context, manifold->separable_scratch);
    manifold->separable_scratch = NULL;
}

neumeta_status nmi_separable_prepare(nmi_manifold *manifold, bool backward)
{
    nmi_context *ctx = manifold->object.context;
    struct nmi_separable_scratch *old = manifold->separable_scratch;
    const int32_t workers = nmi_worker_count(ctx);
    if (old != NULL && old->workers == workers && (old->backward || !backward))
        return NEUMETA_OK;
    struct nmi_separable_scratch *s = nmi_alloc_zero(ctx, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    s->workers = workers;
    s->backward = backward || (old != NULL && old->backward);
    s->manifold = manifold;
    s->places = nmi_alloc_zero_array(ctx, SIDES * (int64_t)manifold->topology->tensor_count,
                                     sizeof *s->places);
    if (s->places != NULL) {
        measure(s);
        s->desks = nmi_alloc_matrix(ctx, workers, s->desk, sizeof *s->desks);
        s->values =
            nmi_alloc_matrix(ctx, s->value_count + LINE, s->backward ? 2 : 1, sizeof *s->values);
    }
    if (s->places == NULL || s->desks == NULL || s->values == NULL) {
        free_scratch(ctx, s);
        return NEUMETA_ERR_MEMORY;
    }
    free_scratch(ctx, old);
    manifold->separable_scratch = s;
    return NEUMETA_OK;
}

/* --- MLPs -------------------------------------------------------------------------------- */

/* Whether the task's tensor is to be treated; of `index` among all sides, or all tensors. */
static bool is_due(const struct nmi_separable_scratch *s, int64_t tensor)
{
    return nmi_emission_has(s->emission, (int32_t)tensor) &&
           nmi_is_separable(s->manifold, (int32_t)tensor) && s->at->tensors[tensor].rank > 0;
}

static float *side_values(const struct nmi_separable_scratch *s, int64_t tensor, int side)
{
    return s->values + s->places[SIDES * tensor + side];
}

static float *side_gradients(const struct nmi_separable_scratch *s, int64_t tensor, int side)
{
    return side_values(s, tensor, side) + s->value_count;
}

/* What the blocks of rows of a side have in common. Its desk: packed weights, working memory, room
 * for averages, a lane. */
static nmi_mlp_rows side_rows(const struct nmi_separable_scratch *s, const nmi_separable *of,
                              int64_t tensor, int side, int32_t worker)
{
    const nmi_field *field = &s->manifold->fields[tensor];
    const int64_t *dims = s->at->tensors[tensor].dims;
    float *desk = s->desks + worker * s->desk;
    return (nmi_mlp_rows){
        .mlp = &of->mlp,
        .parameters = field->parameters + of->sides[side],
        .packed = desk,
        .slice = {0, of->rank},
        .grid = {.tensor = field->index,
                 .tensors = s->manifold->counts[NMI_INR_SEPARABLE],
                 .outputs = dims[0],
                 .inputs = dims[1],
                 .scale = s->manifold->settings.coordinate_scale,
                 .edge = side == NMI_SEPARABLE_F ? NMI_EDGE_OUTPUTS : NMI_EDGE_INPUTS},
        .noise = s->emission->noise != NULL ? &s->noise[side] : NULL,
        .precision = s->emission->precision,
        .scale = 1,
        .work = desk + s->packed,
    };
}

/* One MLP of one tensor. */
typedef struct side_task {
    int64_t tensor;
    int side;
    nmi_separable of;
    nmi_mlp_rows rows;
    float *desk;
} side_task;

/* The task of this number among all sides of all tensors; false if it is none. */
static bool take_task(const struct nmi_separable_scratch *s, int64_t index, int32_t worker,
                      side_task *out)
{
    out->tensor = index / SIDES;
    out->side = (int)(index % SIDES);
    if (!is_due(s, out->tensor))
        return false;
    out->of = nmi_separable_of(s->manifold, (int32_t)out->tensor);
    if (out->of.vector && out->side == NMI_SEPARABLE_G)
        return false;
    out->rows = side_rows(s, &out->of, out->tensor, out->side, worker);
    out->desk = s->desks + worker * s->desk;
    return true;
}

/* The block of rows from `first` on; false behind the last one. */
static bool next_block(nmi_mlp_rows *rows, int64_t count, int64_t first)
{
    const int64_t size = rows->mlp->block_rows;
    rows->first = first;
    rows->rows = count - first < size ? count - first : size;
    return first < count;
}

static void emit_side(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_separable_scratch *s = argument;
    side_task task;
    if (!take_task(s, index, worker, &task) || (task.of.vector && s->network == NULL))
        return;
    const int64_t t = task.tensor, count = s->at->tensors[t].dims[task.side];
    float *values = task.of.vector ? s->network->tensors[t].data : side_values(s, t, task.side);
    nmi_mlp_pack(&task.rows, (nmi_mlp_uses){.forward = true}, task.desk, NULL);
    for (int64_t first = 0; next_block(&task.rows, count, first); first += task.rows.rows)
        nmi_mlp_emit_average(&task.rows, s->emission->samples, s->emission->clean_first,
                             task.desk + s->packed + s->work, values + first * task.of.rank);
}

static void backward_side(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_separable_scratch *s = argument;
    side_task task;
    if (!take_task(s, index, worker, &task))
        return;
    const int64_t t = task.tensor, count = s->at->tensors[t].dims[task.side];
    const float *gradients =
        task.of.vector ? s->weight_gradients[t] : side_gradients(s, t, task.side);
    float *lane = task.desk + s->packed + s->work + s->average;
    float *to = s->parameter_gradients[t] + task.of.sides[task.side];
    nmi_mlp_pack(&task.rows, (nmi_mlp_uses){true, true}, task.desk, NULL);
    memset(lane, 0, (size_t)s->lane * sizeof *lane);
    for (int64_t first = 0; next_block(&task.rows, count, first); first += task.rows.rows) {
        nmi_mlp_emit_keeping(&task.rows, NULL);
        nmi_mlp_backward(&task.rows, gradients + first * task.of.rank, lane);
    }
    for (int64_t share = 0; share < nmi_mlp_shares(&task.of.mlp); share++)
        nmi_mlp_reduce(&task.rows, lane, s->lane, 1, share, to, to);
}

/* --- products ---------------------------------------------------------------------------- */

static float gain_of(const nmi_separable *of, int64_t inputs)
{
    return (float)of->full[1] / (float)inputs;
}

/* M of a tensor. */
static void fill_matrix(const struct nmi_separable_scratch *s, const nmi_separable *of, int64_t t,
                        float *matrix)
{
    const int64_t inputs = s->at->tensors[t].dims[1];
    const float *factors = s->manifold->fields[t].parameters + of->factors;
    const float *g = side_values(s, t, NMI_SEPARABLE_G);
    const float gain = gain_of(of, inputs);
    for (int64_t i = 0; i < inputs; i++, g += of->rank)
        for (int64_t k = 0; k < of->taps; k++, matrix += of->rank)
            for (int64_t r = 0; r < of->rank; r++)
                matrix[r] = gain * factors[k * of->rank + r] * g[r];
}

static void emit_product(void *argument, int64_t t, int32_t worker)
{
    const struct nmi_separable_scratch *s = argument;
    if (!is_due(s, t))
        return;
    const nmi_separable of = nmi_separable_of(s->manifold, (int32_t)t);
    if (of.vector)
        return;
    const nmi_tensor *tensor = &s->network->tensors[t];
    const nmi_dense_shape shape = product_shape(&of, tensor->dims[1]);
    const nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    float *matrix = s->desks + worker * s->desk, *packed = matrix + s->matrix;
    fill_matrix(s, &of, t, matrix);
    nmi_dense_pack(of.mlp.kernels, shape, matrix, packed);
    nmi_dense_forward(of.mlp.kernels, shape, tensor->dims[0], side_values(s, t, NMI_SEPARABLE_F),
                      shape.inputs, packed, &epilogue, tensor->data, shape.outputs);
}

/* Gradients of G and t, given that of M. */
static void backward_matrix(const struct nmi_separable_scratch *s, const nmi_separable *of,
                            int64_t t, const float *matrix_gradient)
{
    const int64_t inputs = s->at->tensors[t].dims[1];
    const float *factors = s->manifold->fields[t].parameters + of->factors;
    const float *g = side_values(s, t, NMI_SEPARABLE_G);
    float *dfactors = s->parameter_gradients[t] + of->factors;
    float *dg = side_gradients(s, t, NMI_SEPARABLE_G);
    const float gain = gain_of(of, inputs);
    memset(dg, 0, (size_t)(inputs * of->rank) * sizeof *dg);
    for (int64_t i = 0; i < inputs; i++, g += of->rank, dg += of->rank)
        for (int64_t k = 0; k < of->taps; k++, matrix_gradient += of->rank)
            for (int64_t r = 0; r < of->rank; r++) {
                const float d = gain * matrix_gradient[r];
                dg[r] += d * factors[k * of->rank + r];
                dfactors[k * of->rank + r] += d * g[r];
            }
}

/* dF = dW M; dM = dW^T F. */
static void backward_product(void *argument, int64_t t, int32_t worker)
{
    const struct nmi_separable_scratch *s = argument;
    if (!is_due(s, t))
        return;
    const nmi_separable of = nmi_separable_of(s->manifold, (int32_t)t);
    if (of.vector)
        return;
    const nmi_kernels *kernels = of.mlp.kernels;
    const int64_t *dims = s->at->tensors[t].dims;
    const nmi_dense_shape shape = product_shape(&of, dims[1]);
    float *matrix = s->desks + worker * s->desk, *packed = matrix + s->matrix;
    float *transposed = packed + s->packed_matrix;
    fill_matrix(s, &of, t, matrix);
    nmi_dense_pack_transposed(kernels, shape, matrix, transposed);
    nmi_dense_backward_input(kernels, shape, dims[0], s->weight_gradients[t], shape.outputs,
                             transposed, false, side_gradients(s, t, NMI_SEPARABLE_F), of.rank);
    memset(packed, 0, (size_t)s->packed_matrix * sizeof *packed);
    nmi_dense_backward_weight(kernels, shape, dims[0], side_values(s, t, NMI_SEPARABLE_F), of.rank,
                              s->weight_gradients[t], shape.outputs, packed, NULL);
    memset(matrix, 0, (size_t)(shape.inputs * shape.outputs) * sizeof *matrix);
    nmi_dense_unpack_gradient(kernels, shape, packed, matrix);
    backward_matrix(s, &of, t, matrix);
}

/* --- emission and its backward ----------------------------------------------------------- */

/* Draws of f and of g come from keys of their own. */
static void start(struct nmi_separable_scratch *s, const nmi_emission *emission)
{
    s->emission = emission;
    for (int side = 0; side < SIDES && emission->noise != NULL; side++) {
        s->noise[side] = *emission->noise;
        s->noise[side].key = nmi_random_key(emission->noise->key, NMI_RANDOM_NOISE, (uint64_t)side);
    }
}

void nmi_separable_hidden(const nmi_manifold *manifold, int32_t tensor, const float *parameters,
                          int side, const nmi_network *at, float *hidden)
{
    struct nmi_separable_scratch *s = manifold->separable_scratch;
    const nmi_emission emission = {.precision = NMI_FP32, .samples = 1};
    const nmi_separable of = nmi_separable_of(manifold, tensor);
    start(s, &emission);
    s->at = at;
    nmi_mlp_rows rows = side_rows(s, &of, tensor, side, 0);
    rows.parameters = parameters + of.sides[side];
    nmi_mlp_pack(&rows, (nmi_mlp_uses){true, true}, s->desks, NULL);
    for (int64_t first = 0; next_block(&rows, at->tensors[tensor].dims[side], first);
         first += rows.rows) {
        nmi_mlp_emit_keeping(&rows, NULL);
        const int64_t stride = nmi_mlp_lay_out(&rows, true).hidden_stride;
        const float *last = nmi_mlp_last(&rows);
        for (int64_t r = 0; r < rows.rows; r++)
            memcpy(hidden + (first + r) * of.mlp.hidden, last + r * stride,
                   (size_t)of.mlp.hidden * sizeof *hidden);
    }
}

void nmi_separable_emit(const nmi_manifold *manifold, const nmi_emission *emission,
                        nmi_network *network)
{
    struct nmi_separable_scratch *s = manifold->separable_scratch;
    const int32_t tensors = manifold->topology->tensor_count;
    start(s, emission);
    s->at = s->network = network;
    nmi_run(manifold->object.context, SIDES * (int64_t)tensors, emit_side, s);
    nmi_run(manifold->object.context, tensors, emit_product, s);
}

void nmi_separable_backward(const nmi_manifold *manifold, const nmi_emission *emission,
                            const nmi_network *network, float *const *weight_gradients,
                            float *const *parameter_gradients)
{
    struct nmi_separable_scratch *s = manifold->separable_scratch;
    const int32_t tensors = manifold->topology->tensor_count;
    start(s, emission);
    s->at = network;
    s->network = NULL;
    s->weight_gradients = weight_gradients;
    s->parameter_gradients = parameter_gradients;
    nmi_run(manifold->object.context, SIDES * (int64_t)tensors, emit_side, s);
    nmi_run(manifold->object.context, tensors, backward_product, s);
    nmi_run(manifold->object.context, SIDES * (int64_t)tensors, backward_side, s);
}
