/* SPDX-License-Identifier: MIT */
/*
 * MLPs on the context's workers, those of kind mlp and those that share a trunk: their emission,
 * and its backward.
 *
 * Tensors are taken in waves of a few, so that rearranged parameters and partial gradients need
 * room for a wave only, however many INRs there are. Within a wave, blocks of rows are the tasks.
 * Backward gives each tensor a fixed number of lanes (partial gradients), each lane a fixed run of
 * blocks, and adds the lanes in order: bits depend on nothing but the sizes. What tensors share is
 * rearranged once, and gets its sums from one tensor after another.
 */
#include "nmi_mlp_emission.h"

#include "nmi_mlp_keep.h"

#include <string.h>

enum {
    SLOTS = 4,       /* tensors of a wave: weight and bias of a block's two convolutions */
    FIELD_LANES = 8, /* most lanes of one tensor */
    WAVE_LANES = 18, /* of all tensors of a wave: room for two convolutions and two biases */
    LINE = NMI_ALIGNMENT / (int)sizeof(float)
};

/* One tensor of the wave. */
typedef struct slot {
    nmi_mlp_rows rows; /* but for first, rows, work */
    int64_t row_count, blocks, lanes;
    int64_t first_task, task_count;
    float *values;                  /* emission: the tensor */
    const float *gradients;         /* backward: of the tensor */
    const nmi_fit_batch *fit;       /* or these, from a target */
    float *kept;                    /* blocks of what backward wants; NULL: it runs them again */
    float *lane;                    /* lanes, one after another */
    float *gradient, *own_gradient; /* where their sum goes */
} slot;

struct nmi_mlp_scratch {
    int32_t kind, workers;
    const nmi_mlp *mlp;
    bool backward;
    int64_t packed_stride, terms_stride, lane_stride, work_stride; /* floats, whole lines */
    int64_t lane_count;
    float *packed; /* [SLOTS][packed_stride]: of a trunk, what is a tensor's own */
    float *trunk;  /* what all tensors share, packed, and behind it A_0 for rows that split; NULL */
    int64_t split_at;
    float *terms; /* [SLOTS][terms_stride] */
    float *lanes; /* [lane_count][lane_stride] */
    float *work;  /* [workers][work_stride] */
    /* the present wave */
    const nmi_manifold *manifold;
    int64_t samples;
    bool clean_first;
    nmi_mlp_uses uses;   /* of the trunk */
    nmi_mlp_rows common; /* of what all slots have */
    slot slots[SLOTS];
    int32_t slot_count;
    int64_t task_count;
};

/* --- memory ------------------------------------------------------------------------------ */

static int64_t whole_lines(size_t floats)
{
    return (int64_t)((floats + LINE - 1) / LINE * LINE);
}

static int64_t block_values(const nmi_mlp *mlp)
{
    return whole_lines((size_t)(mlp->block_rows * mlp->outputs));
}

/* Values of a block of rows, and their sums in double. */
int64_t nmi_mlp_average_floats(const nmi_mlp *mlp)
{
    return 3 * block_values(mlp);
}

static void free_scratch(nmi_context *context, struct nmi_mlp_scratch *scratch)
{
    if (scratch == NULL)
        return;
    nmi_free(context, scratch->packed);
    nmi_free(context, scratch->trunk);
    nmi_free(context, scratch->terms);
    nmi_free(context, scratch->lanes);
    nmi_free(context, scratch->work);
    nmi_free(context, scratch);
}

/* Packed weights of a wave, and of a trunk. */
static neumeta_status take_packed(nmi_context *ctx, struct nmi_mlp_scratch *s)
{
    const size_t packed = nmi_mlp_packed_floats(s->mlp, s->backward);
    const bool trunk = s->mlp->trunk;
    s->packed_stride = whole_lines(trunk ? nmi_mlp_packed_own_floats(s->mlp) : packed);
    s->packed = nmi_alloc_matrix(ctx, SLOTS, s->packed_stride, sizeof(float));
    if (trunk) {
        s->split_at = whole_lines(packed);
        s->trunk = nmi_alloc_array(ctx, s->split_at + (int64_t)nmi_mlp_packed_split_floats(s->mlp),
                                   sizeof(float));
    }
    return s->packed != NULL && (s->trunk != NULL || !trunk) ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

static neumeta_status take_lanes(nmi_context *ctx, struct nmi_mlp_scratch *s)
{
    if (!s->backward)
        return NEUMETA_OK;
    s->lane_stride = whole_lines(nmi_mlp_lane_floats(s->mlp));
    s->lane_count = (int64_t)s->manifold->counts[s->kind] * FIELD_LANES;
    if (s->lane_count > WAVE_LANES)
        s->lane_count = WAVE_LANES;
    s->lanes = nmi_alloc_matrix(ctx, s->lane_count, s->lane_stride, sizeof(float));
    return s->lanes != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

neumeta_status nmi_mlp_emission_prepare(nmi_manifold *manifold, int32_t kind, bool backward)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_mlp *mlp = nmi_manifold_mlp(manifold, kind);
    struct nmi_mlp_scratch *old = manifold->mlp_scratch[kind];
    const int32_t workers = nmi_worker_count(ctx);
    if (old != NULL && old->workers == workers && (old->backward || !backward))
        return NEUMETA_OK;

    struct nmi_mlp_scratch *s = nmi_alloc_zero(ctx, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    s->kind = kind;
    s->mlp = mlp;
    s->workers = workers;
    s->backward = backward || (old != NULL && old->backward);
    s->manifold = manifold;
    s->terms_stride = whole_lines(nmi_mlp_terms_floats(mlp));
    s->work_stride =
        whole_lines(nmi_mlp_work_floats(mlp, s->backward)) + nmi_mlp_average_floats(mlp);
    s->terms = nmi_alloc_matrix(ctx, SLOTS, s->terms_stride, sizeof(float));
    s->work = nmi_alloc_matrix(ctx, workers, s->work_stride, sizeof(float));
    if (s->terms == NULL || s->work == NULL || take_packed(ctx, s) != NEUMETA_OK ||
        take_lanes(ctx, s) != NEUMETA_OK) {
        free_scratch(ctx, s);
        return NEUMETA_ERR_MEMORY;
    }
    free_scratch(ctx, old);
    manifold->mlp_scratch[kind] = s;
    return NEUMETA_OK;
}

void nmi_mlp_emission_release(nmi_manifold *manifold, int32_t kind)
{
    free_scratch(manifold->object.context, manifold->mlp_scratch[kind]);
    nmi_mlp_keep_free(manifold->mlp_keep[kind]);
    manifold->mlp_scratch[kind] = NULL;
    manifold->mlp_keep[kind] = NULL;
}

/* --- waves ------------------------------------------------------------------------------- */

/* Central outputs: a kernel of fewer taps than D lies in the middle of the outputs. */
static nmi_mlp_slice central_slice(int64_t outputs, int64_t taps)
{
    nmi_mlp_slice slice = {outputs / 2 - taps / 2, taps};
    return slice;
}

static void pack_trunk_task(void *argument, int64_t layer, int32_t worker)
{
    const struct nmi_mlp_scratch *s = argument;
    (void)worker;
    if (layer < s->mlp->layers)
        nmi_mlp_pack_layer(&s->common, layer, s->uses, s->trunk);
    else if (s->common.clean)
        nmi_mlp_pack_split(&s->common, s->trunk + s->split_at);
}

/* What all waves of a call have in common; `trunk`: the parameters that its tensors share. */
static void start(struct nmi_mlp_scratch *s, const nmi_emission *emission, const float *trunk,
                  bool backward)
{
    const bool noisy = emission->noise != NULL && emission->noise->amplitude != 0;
    s->samples = emission->samples;
    s->clean_first = emission->clean_first;
    s->common = (nmi_mlp_rows){
        .mlp = s->mlp,
        .parameters = trunk,
        .packed = s->trunk,
        .noise = emission->noise,
        .precision = emission->precision,
        .clean =
            emission->samples == 1 && (s->mlp->encoding.kind == NMI_ENCODING_INTEGRATED || !noisy),
    };
    s->uses = (nmi_mlp_uses){.forward = true, .backward = backward};
    if (s->mlp->trunk)
        nmi_run(s->manifold->object.context, s->mlp->layers + 1, pack_trunk_task, s);
}

static void start_wave(struct nmi_mlp_scratch *s)
{
    s->slot_count = 0;
    s->task_count = 0;
}

/* A slot for the tensor, whose own parameters these are, or NULL if the wave has no room. */
static slot *add_slot(struct nmi_mlp_scratch *s, const nmi_field *field, const nmi_tensor *tensor,
                      const float *parameters, bool backward)
{
    const nmi_manifold *manifold = s->manifold;
    const nmi_mlp *mlp = s->mlp;
    const int64_t taps = tensor->dims[2] * tensor->dims[3];
    float *packed = s->packed + s->slot_count * s->packed_stride;
    const int64_t rows = tensor->dims[0] * tensor->dims[1];
    const int64_t blocks = (rows + mlp->block_rows - 1) / mlp->block_rows;
    const int64_t lanes = blocks < FIELD_LANES ? blocks : FIELD_LANES;
    if (s->slot_count == SLOTS || (backward && s->task_count + lanes > s->lane_count))
        return NULL;
    slot *added = &s->slots[s->slot_count];
    memset(added, 0, sizeof *added);
    added->rows = s->common;
    if (mlp->trunk) {
        added->rows.own = parameters;
        added->rows.packed_own = packed;
        added->rows.slice = (nmi_mlp_slice){0, taps};
    } else {
        added->rows.parameters = parameters;
        added->rows.packed = packed;
        added->rows.slice = central_slice(mlp->outputs, taps);
    }
    added->rows.terms = s->terms + s->slot_count * s->terms_stride;
    added->rows.scale = 1.0f / (float)tensor->dims[1];
    added->rows.grid = (nmi_grid){.tensor = field->index,
                                  .tensors = manifold->counts[s->kind],
                                  .outputs = tensor->dims[0],
                                  .inputs = tensor->dims[1],
                                  .scale = manifold->settings.coordinate_scale};
    added->row_count = rows;
    added->blocks = blocks;
    added->lanes = lanes;
    added->first_task = s->task_count;
    added->task_count = backward ? lanes : blocks;
    if (backward)
        added->lane = s->lanes + s->task_count * s->lane_stride;
    s->task_count += added->task_count;
    s->slot_count++;
    return added;
}

static const slot *slot_of_task(const struct nmi_mlp_scratch *s, int64_t task)
{
    const slot *found = s->slots;
    while (task >= found->first_task + found->task_count)
        found++;
    return found;
}

/* The block's rows in the worker's memory; also its room for values. */
static nmi_mlp_rows block_rows(const struct nmi_mlp_scratch *s, const slot *tensor, int64_t block,
                               int32_t worker, float **values)
{
    nmi_mlp_rows rows = tensor->rows;
    const int64_t size = rows.mlp->block_rows;
    rows.first = block * size;
    rows.rows = tensor->row_count - rows.first < size ? tensor->row_count - rows.first : size;
    *values = s->work + worker * s->work_stride;
    rows.work = *values + nmi_mlp_average_floats(rows.mlp);
    if (tensor->kept != NULL)
        rows.kept = tensor->kept + block * nmi_mlp_keep_stride(s->manifold->mlp_keep[s->kind]);
    return rows;
}

static void pack_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_mlp_scratch *s = argument;
    const slot *tensor = &s->slots[index];
    const bool backward = tensor->lane != NULL;
    const nmi_mlp_uses uses = {.forward = !backward || tensor->kept == NULL, .backward = backward};
    float *packed = s->packed + index * s->packed_stride;
    float *terms = s->terms + index * s->terms_stride;
    nmi_mlp_rows rows = tensor->rows;
    rows.work = s->work + worker * s->work_stride + nmi_mlp_average_floats(rows.mlp);
    if (rows.mlp->trunk)
        nmi_mlp_pack_own(&rows, uses, s->trunk + s->split_at, packed, terms);
    else
        nmi_mlp_pack(&rows, uses, packed, terms);
}

/* --- forward ----------------------------------------------------------------------------- */

void nmi_mlp_emit_average(nmi_mlp_rows *rows, int64_t samples, bool clean_first, float *buffer,
                          float *values)
{
    const int64_t clean = clean_first ? 1 : 0;
    const int64_t count = rows->rows * rows->slice.count;
    if (samples == 1) {
        nmi_mlp_emit(rows, values);
        return;
    }
    nmi_noise noise = *rows->noise;
    void *behind = buffer + block_values(rows->mlp);
    double *sums = behind;
    for (int64_t sample = 0; sample < samples; sample++) {
        noise.sample = sample - clean;
        rows->noise = noise.sample >= 0 ? &noise : NULL;
        nmi_mlp_emit(rows, buffer);
        for (int64_t i = 0; i < count; i++)
            sums[i] = sample > 0 ? sums[i] + (double)buffer[i] : (double)buffer[i];
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(sums[i] / (double)samples);
}

static void emit_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_mlp_scratch *s = argument;
    const slot *tensor = slot_of_task(s, index);
    float *buffer;
    nmi_mlp_rows rows = block_rows(s, tensor, index - tensor->first_task, worker, &buffer);
    float *values = tensor->values + rows.first * rows.slice.count;
    if (tensor->kept != NULL)
        nmi_mlp_emit_keeping(&rows, values);
    else
        nmi_mlp_emit_average(&rows, s->samples, s->clean_first, buffer, values);
}

/* The next tensor from *tensor on that the emission is to write and an MLP of the kind holds; NULL:
 * none. */
static const nmi_field *next_field(const struct nmi_mlp_scratch *s, const nmi_emission *emission,
                                   const nmi_network *network, int32_t *tensor)
{
    const nmi_manifold *manifold = s->manifold;
    for (; *tensor < manifold->topology->tensor_count; ++*tensor) {
        const nmi_field *field = &manifold->fields[*tensor];
        if (nmi_emission_has(emission, *tensor) && field->kind == nmi_inr_kind_at(s->kind) &&
            network->tensors[*tensor].rank > 0)
            return field;
    }
    return NULL;
}

static const float *trunk_of(const struct nmi_mlp_scratch *s)
{
    return s->mlp->trunk ? s->manifold->fields[s->manifold->shared[s->kind]].parameters : NULL;
}

void nmi_mlp_emission_emit(const nmi_manifold *manifold, int32_t kind, const nmi_emission *emission,
                           nmi_network *network)
{
    nmi_context *ctx = manifold->object.context;
    struct nmi_mlp_scratch *s = manifold->mlp_scratch[kind];
    struct nmi_mlp_keep *keep = manifold->mlp_keep[kind];
    const nmi_field *field;
    start(s, emission, trunk_of(s), false);
    if (emission->keep)
        nmi_mlp_keep_start(keep, emission->noise);
    for (int32_t t = 0; next_field(s, emission, network, &t) != NULL;) {
        start_wave(s);
        for (; (field = next_field(s, emission, network, &t)) != NULL; t++) {
            const nmi_tensor *tensor = &network->tensors[t];
            slot *added = add_slot(s, field, tensor, field->parameters, false);
            if (added == NULL)
                break;
            added->values = tensor->data;
            if (emission->keep)
                added->kept = nmi_mlp_keep_add(keep, t, &added->rows.grid, added->blocks);
        }
        nmi_run(ctx, s->slot_count, pack_task, s);
        nmi_run(ctx, s->task_count, emit_task, s);
    }
}

/* --- backward ---------------------------------------------------------------------------- */

/* d / d value of the squared error, relative to the target's mean square, over `entries` values. */
static void fit_gradients(const nmi_fit_batch *fit, const nmi_mlp_rows *rows, int64_t entries,
                          float *values)
{
    const float *target = fit->target->data + rows->first * rows->slice.count;
    const float factor = (float)(2 / (fit->mean_square * (double)entries));
    for (int64_t i = 0; i < rows->rows * rows->slice.count; i++)
        values[i] = factor * (values[i] - target[i]);
}

static void lane_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_mlp_scratch *s = argument;
    const slot *tensor = slot_of_task(s, index);
    const int64_t number = index - tensor->first_task;
    int64_t first = number * tensor->blocks / tensor->lanes;
    int64_t end = (number + 1) * tensor->blocks / tensor->lanes;
    float *lane = tensor->lane + number * s->lane_stride, *values;
    memset(lane, 0, (size_t)s->lane_stride * sizeof(float));
    if (tensor->fit != NULL) { /* one block of each run */
        const uint64_t draw = nmi_random_at(tensor->fit->key, (uint64_t)number);
        first += (int64_t)(draw % (uint64_t)(end - first));
        end = first + 1;
    }
    for (int64_t block = first; block < end; block++) {
        const nmi_mlp_rows rows = block_rows(s, tensor, block, worker, &values);
        const float *gradients = values;
        if (tensor->kept == NULL)
            nmi_mlp_emit_keeping(&rows, tensor->fit != NULL ? values : NULL);
        if (tensor->fit != NULL)
            fit_gradients(tensor->fit, &rows,
                          tensor->lanes * rows.mlp->block_rows * rows.slice.count, values);
        else
            gradients = tensor->gradients + rows.first * rows.slice.count;
        nmi_mlp_backward(&rows, gradients, lane);
    }
}

/* A layer of one tensor, or of all of them in turn where they share it: sums have one order. */
static void reduce_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_mlp_scratch *s = argument;
    const int64_t shares = nmi_mlp_shares(s->mlp);
    const int64_t first = s->mlp->trunk ? 0 : index / shares;
    const int64_t end = s->mlp->trunk ? s->slot_count : first + 1;
    (void)worker;
    for (const slot *tensor = s->slots + first; tensor < s->slots + end; tensor++)
        nmi_mlp_reduce(&tensor->rows, tensor->lane, s->lane_stride, tensor->lanes, index % shares,
                       tensor->gradient, tensor->own_gradient);
}

static void run_backward(struct nmi_mlp_scratch *s)
{
    nmi_context *ctx = s->manifold->object.context;
    nmi_run(ctx, s->slot_count, pack_task, s);
    nmi_run(ctx, s->task_count, lane_task, s);
    nmi_run(ctx, (s->mlp->trunk ? 1 : s->slot_count) * nmi_mlp_shares(s->mlp), reduce_task, s);
}

void nmi_mlp_emission_backward(const nmi_manifold *manifold, int32_t kind,
                               const nmi_emission *emission, const nmi_network *network,
                               float *const *weight_gradients, float *const *parameter_gradients)
{
    struct nmi_mlp_scratch *s = manifold->mlp_scratch[kind];
    struct nmi_mlp_keep *keep = emission->precision == NMI_FP32 ? manifold->mlp_keep[kind] : NULL;
    const nmi_field *field;
    start(s, emission, trunk_of(s), true);
    for (int32_t t = 0; next_field(s, emission, network, &t) != NULL;) {
        start_wave(s);
        for (; (field = next_field(s, emission, network, &t)) != NULL; t++) {
            slot *added = add_slot(s, field, &network->tensors[t], field->parameters, true);
            if (added == NULL)
                break;
            if (keep != NULL)
                added->kept = nmi_mlp_keep_take(keep, t, &added->rows.grid, emission->noise);
            added->gradients = weight_gradients[t];
            added->own_gradient = parameter_gradients[t];
            added->gradient = parameter_gradients[s->mlp->trunk ? manifold->shared[kind] : t];
        }
        run_backward(s);
    }
}

void nmi_mlp_emission_fit(nmi_manifold *manifold, int32_t kind, const nmi_noise *noise,
                          const nmi_fit_batch *batches, int32_t count, const float *trunk,
                          float *trunk_gradient)
{
    struct nmi_mlp_scratch *s = manifold->mlp_scratch[kind];
    start(s, &(nmi_emission){.noise = noise, .precision = NMI_FP32, .samples = 1}, trunk, true);
    for (int32_t done = 0; done < count;) {
        start_wave(s);
        for (; done < count; done++) {
            const nmi_fit_batch *batch = &batches[done];
            slot *added = add_slot(s, &manifold->fields[batch->tensor], batch->target,
                                   batch->parameters, true);
            if (added == NULL)
                break;
            added->fit = batch;
            added->own_gradient = batch->gradient;
            added->gradient = s->mlp->trunk ? trunk_gradient : batch->gradient;
        }
        run_backward(s);
    }
}
