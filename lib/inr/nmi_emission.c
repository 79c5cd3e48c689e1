/* SPDX-License-Identifier: MIT */
/*
 * Emission of all tensors and its backward on the context's workers.
 *
 * Tensors are taken in waves of a few, so that rearranged parameters and partial gradients need
 * room for a wave only, however many INRs there are. Within a wave, blocks of rows are the tasks.
 * Backward gives each tensor a fixed number of lanes (partial gradients), each lane a fixed run of
 * blocks, and adds the lanes in order: bits depend on nothing but the sizes.
 */
#include "nmi_emission.h"

#include <string.h>

enum {
    SLOTS = 4,       /* tensors of a wave: weight and bias of a block's two convolutions */
    FIELD_LANES = 8, /* most lanes of one tensor */
    WAVE_LANES = 18, /* of all tensors of a wave: room for two convolutions and two biases */
    LINE = NMI_ALIGNMENT / (int)sizeof(float)
};

/* One tensor of the wave. */
typedef struct slot {
    nmi_inr_rows rows; /* but for first, rows, work */
    int64_t row_count, blocks, lanes;
    int64_t first_task, task_count;
    float *values;            /* emission: the tensor */
    const float *gradients;   /* backward: of the tensor */
    const nmi_fit_batch *fit; /* or these, from a target */
    float *lane, *gradient;   /* lanes, one after another; where their sum goes */
} slot;

struct nmi_manifold_scratch {
    int32_t workers;
    bool backward;
    int64_t packed_stride, lane_stride, work_stride; /* floats, whole lines */
    int64_t lane_count;
    float *packed; /* [SLOTS][packed_stride] */
    float *lanes;  /* [lane_count][lane_stride] */
    float *work;   /* [workers][work_stride] */
    /* the present wave */
    const nmi_manifold *manifold;
    const nmi_noise *noise;
    int32_t precision;
    int64_t samples;
    bool clean_first;
    slot slots[SLOTS];
    int32_t slot_count;
    int64_t task_count;
};

/* --- memory ------------------------------------------------------------------------------ */

static int64_t whole_lines(size_t floats)
{
    return (int64_t)((floats + LINE - 1) / LINE * LINE);
}

/* Values of a block of rows, and their sums in double. */
static int64_t block_values(const nmi_inr *inr)
{
    return whole_lines((size_t)(inr->block_rows * inr->outputs));
}

void nmi_emission_free(nmi_context *context, struct nmi_manifold_scratch *scratch)
{
    if (scratch == NULL)
        return;
    nmi_free(context, scratch->packed);
    nmi_free(context, scratch->lanes);
    nmi_free(context, scratch->work);
    nmi_free(context, scratch);
}

neumeta_status nmi_emission_prepare(nmi_manifold *manifold, bool backward)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_inr *inr = &manifold->inr;
    struct nmi_manifold_scratch *old = manifold->scratch;
    const int32_t workers = nmi_worker_count(ctx);
    if (old != NULL && old->workers == workers && (old->backward || !backward))
        return NEUMETA_OK;
    backward = backward || (old != NULL && old->backward);

    struct nmi_manifold_scratch *s = nmi_alloc_zero(ctx, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    s->workers = workers;
    s->backward = backward;
    s->manifold = manifold;
    s->packed_stride = whole_lines(manifold->kind->packed_floats(inr, backward));
    s->work_stride =
        whole_lines(manifold->kind->work_floats(inr, backward)) + 3 * block_values(inr);
    s->packed = nmi_alloc_matrix(ctx, SLOTS, s->packed_stride, sizeof(float));
    s->work = nmi_alloc_matrix(ctx, workers, s->work_stride, sizeof(float));
    if (backward) {
        s->lane_stride = whole_lines(manifold->kind->lane_floats(inr));
        s->lane_count = (int64_t)manifold->morphing_count * FIELD_LANES;
        if (s->lane_count > WAVE_LANES)
            s->lane_count = WAVE_LANES;
        s->lanes = nmi_alloc_matrix(ctx, s->lane_count, s->lane_stride, sizeof(float));
    }
    if (s->packed == NULL || s->work == NULL || (backward && s->lanes == NULL)) {
        nmi_emission_free(ctx, s);
        return NEUMETA_ERR_MEMORY;
    }
    nmi_emission_free(ctx, old);
    manifold->scratch = s;
    return NEUMETA_OK;
}

/* --- waves ------------------------------------------------------------------------------- */

/* Central outputs: a kernel of fewer taps than D lies in the middle of the outputs. */
static nmi_inr_slice central_slice(int64_t outputs, int64_t taps)
{
    nmi_inr_slice slice = {outputs / 2 - taps / 2, taps};
    return slice;
}

static void start_wave(struct nmi_manifold_scratch *s, const nmi_noise *noise, int32_t precision,
                       int64_t samples, bool clean_first)
{
    s->noise = noise;
    s->precision = precision;
    s->samples = samples;
    s->clean_first = clean_first;
    s->slot_count = 0;
    s->task_count = 0;
}

/* A slot for the tensor, or NULL if the wave has no room. */
static slot *add_slot(struct nmi_manifold_scratch *s, const nmi_field *field,
                      const nmi_tensor *tensor, const float *parameters, bool backward)
{
    const nmi_manifold *manifold = s->manifold;
    const nmi_inr *inr = &manifold->inr;
    const int64_t rows = tensor->dims[0] * tensor->dims[1];
    const int64_t blocks = (rows + inr->block_rows - 1) / inr->block_rows;
    const int64_t lanes = blocks < FIELD_LANES ? blocks : FIELD_LANES;
    if (s->slot_count == SLOTS || (backward && s->task_count + lanes > s->lane_count))
        return NULL;
    slot *added = &s->slots[s->slot_count];
    memset(added, 0, sizeof *added);
    added->rows = (nmi_inr_rows){
        .inr = inr,
        .parameters = parameters,
        .packed = s->packed + s->slot_count * s->packed_stride,
        .slice = central_slice(inr->outputs, tensor->dims[2] * tensor->dims[3]),
        .grid = {.tensor = field->index,
                 .tensors = manifold->morphing_count,
                 .outputs = tensor->dims[0],
                 .inputs = tensor->dims[1],
                 .scale = manifold->settings.coordinate_scale},
        .noise = s->noise,
        .precision = s->precision,
        .clean = s->samples == 1 && (inr->encoding.kind == NMI_ENCODING_INTEGRATED ||
                                     s->noise == NULL || s->noise->amplitude == 0),
        .scale = 1.0f / (float)tensor->dims[1],
    };
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

static const slot *slot_of_task(const struct nmi_manifold_scratch *s, int64_t task)
{
    const slot *found = s->slots;
    while (task >= found->first_task + found->task_count)
        found++;
    return found;
}

/* The block's rows in the worker's memory; also its room for values. */
static nmi_inr_rows block_rows(const struct nmi_manifold_scratch *s, const slot *tensor,
                               int64_t block, int32_t worker, float **values)
{
    nmi_inr_rows rows = tensor->rows;
    const int64_t size = rows.inr->block_rows;
    rows.first = block * size;
    rows.rows = tensor->row_count - rows.first < size ? tensor->row_count - rows.first : size;
    *values = s->work + worker * s->work_stride;
    rows.work = *values + 3 * block_values(rows.inr);
    return rows;
}

static void pack_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_manifold_scratch *s = argument;
    const nmi_inr_rows *rows = &s->slots[index].rows;
    (void)worker;
    s->manifold->kind->pack(rows, s->slots[index].lane != NULL,
                            s->packed + index * s->packed_stride);
}

/* --- forward ----------------------------------------------------------------------------- */

static void emit_block(const nmi_manifold *manifold, nmi_inr_rows *rows, int64_t samples,
                       bool clean_first, float *buffer, float *values)
{
    const int64_t clean = clean_first ? 1 : 0;
    const int64_t count = rows->rows * rows->slice.count;
    if (samples == 1) {
        manifold->kind->emit(rows, values);
        return;
    }
    nmi_noise noise = *rows->noise;
    void *behind = buffer + block_values(rows->inr);
    double *sums = behind;
    for (int64_t sample = 0; sample < samples; sample++) {
        noise.sample = sample - clean;
        rows->noise = noise.sample >= 0 ? &noise : NULL;
        manifold->kind->emit(rows, buffer);
        for (int64_t i = 0; i < count; i++)
            sums[i] = sample > 0 ? sums[i] + (double)buffer[i] : (double)buffer[i];
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(sums[i] / (double)samples);
}

static void emit_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_manifold_scratch *s = argument;
    const slot *tensor = slot_of_task(s, index);
    float *buffer;
    nmi_inr_rows rows = block_rows(s, tensor, index - tensor->first_task, worker, &buffer);
    emit_block(s->manifold, &rows, s->samples, s->clean_first, buffer,
               tensor->values + rows.first * rows.slice.count);
}

static bool marked(const bool *fields, int32_t tensor)
{
    return fields == NULL || fields[tensor];
}

static neumeta_status emit_all(nmi_manifold *manifold, nmi_network *network, const bool *fields,
                               const nmi_noise *noise, int32_t precision, int64_t samples,
                               bool clean_first)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t count = manifold->topology->tensor_count;
    neumeta_status status = nmi_emission_prepare(manifold, false);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t t = 0; t < count; t++) {
        const nmi_field *field = &manifold->fields[t];
        const nmi_tensor *tensor = &network->tensors[t];
        if (marked(fields, t) && !field->morphing && tensor->rank > 0) {
            NMI_ASSERT(tensor->count == field->parameter_count);
            memcpy(tensor->data, field->parameters, (size_t)tensor->count * sizeof(float));
        }
    }
    struct nmi_manifold_scratch *s = manifold->scratch;
    for (int32_t t = 0; t < count;) {
        start_wave(s, noise, precision, samples, clean_first);
        for (; t < count; t++) {
            const nmi_field *field = &manifold->fields[t];
            const nmi_tensor *tensor = &network->tensors[t];
            if (!marked(fields, t) || !field->morphing || tensor->rank == 0)
                continue;
            slot *added = add_slot(s, field, tensor, field->parameters, false);
            if (added == NULL)
                break;
            added->values = tensor->data;
        }
        nmi_run(ctx, s->slot_count, pack_task, s);
        nmi_run(ctx, s->task_count, emit_task, s);
    }
    nmi_network_touch(network);
    return NEUMETA_OK;
}

neumeta_status nmi_manifold_emit(nmi_manifold *manifold, nmi_network *network, const bool *fields,
                                 const nmi_noise *noise, int32_t precision)
{
    return emit_all(manifold, network, fields, noise, precision, 1, false);
}

neumeta_status nmi_manifold_emit_average(nmi_manifold *manifold, nmi_network *network,
                                         const bool *fields, const nmi_noise *noise,
                                         int32_t precision, int64_t samples, bool clean_first)
{
    const bool clean = clean_first && samples == 1;
    return emit_all(manifold, network, fields, clean ? NULL : noise, precision, samples,
                    clean_first);
}

/* --- backward ---------------------------------------------------------------------------- */

/* d / d value of the squared error, relative to the target's mean square, over `entries` values. */
static void fit_gradients(const nmi_fit_batch *fit, const nmi_inr_rows *rows, int64_t entries,
                          float *values)
{
    const float *target = fit->target->data + rows->first * rows->slice.count;
    const float factor = (float)(2 / (fit->mean_square * (double)entries));
    for (int64_t i = 0; i < rows->rows * rows->slice.count; i++)
        values[i] = factor * (values[i] - target[i]);
}

static void lane_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_manifold_scratch *s = argument;
    const nmi_inr_kind *kind = s->manifold->kind;
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
        const nmi_inr_rows rows = block_rows(s, tensor, block, worker, &values);
        const float *gradients = values;
        kind->emit_keeping(&rows, tensor->fit != NULL ? values : NULL);
        if (tensor->fit != NULL)
            fit_gradients(tensor->fit, &rows,
                          tensor->lanes * rows.inr->block_rows * rows.slice.count, values);
        else
            gradients = tensor->gradients + rows.first * rows.slice.count;
        kind->backward(&rows, gradients, lane);
    }
}

static void reduce_task(void *argument, int64_t index, int32_t worker)
{
    const struct nmi_manifold_scratch *s = argument;
    const nmi_inr *inr = &s->manifold->inr;
    const int64_t shares = s->manifold->kind->shares(inr);
    const slot *tensor = &s->slots[index / shares];
    (void)worker;
    s->manifold->kind->reduce(&tensor->rows, tensor->lane, s->lane_stride, tensor->lanes,
                              index % shares, tensor->gradient);
}

static void run_backward(struct nmi_manifold_scratch *s)
{
    nmi_context *ctx = s->manifold->object.context;
    nmi_run(ctx, s->slot_count, pack_task, s);
    nmi_run(ctx, s->task_count, lane_task, s);
    nmi_run(ctx, s->slot_count * s->manifold->kind->shares(&s->manifold->inr), reduce_task, s);
}

neumeta_status nmi_manifold_backward(nmi_manifold *manifold, const nmi_network *network,
                                     const bool *fields, const nmi_noise *noise, int32_t precision,
                                     float *const *weight_gradients,
                                     float *const *parameter_gradients)
{
    const int32_t count = manifold->topology->tensor_count;
    neumeta_status status = nmi_emission_prepare(manifold, true);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t t = 0; t < count; t++)
        if (marked(fields, t) && !manifold->fields[t].morphing && network->tensors[t].rank > 0)
            manifold->inr.kernels->add_scaled(network->tensors[t].count, 1, weight_gradients[t],
                                              parameter_gradients[t]);
    struct nmi_manifold_scratch *s = manifold->scratch;
    for (int32_t t = 0; t < count;) {
        start_wave(s, noise, precision, 1, false);
        for (; t < count; t++) {
            const nmi_field *field = &manifold->fields[t];
            const nmi_tensor *tensor = &network->tensors[t];
            if (!marked(fields, t) || !field->morphing || tensor->rank == 0)
                continue;
            slot *added = add_slot(s, field, tensor, field->parameters, true);
            if (added == NULL)
                break;
            added->gradients = weight_gradients[t];
            added->gradient = parameter_gradients[t];
        }
        run_backward(s);
    }
    return NEUMETA_OK;
}

void nmi_emission_fit(nmi_manifold *manifold, int32_t tensor, const nmi_fit_batch *batch,
                      float *gradient)
{
    struct nmi_manifold_scratch *s = manifold->scratch;
    start_wave(s, batch->noise, NMI_FP32, 1, false);
    slot *added = add_slot(s, &manifold->fields[tensor], batch->target, batch->parameters, true);
    added->fit = batch;
    added->gradient = gradient;
    run_backward(s);
}
