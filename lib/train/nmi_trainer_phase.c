/* SPDX-License-Identifier: MIT */
/*
 * Phases: what each one trains and varies, how it begins and ends.
 *
 * Everything here but nmi_trainer_begin_phase() and nmi_trainer_end_phase() follows from the
 * position alone, so that a restored trainer arrives at the same state.
 */
#include "nmi_trainer.h"

#include "nmi_random.h"

#include <math.h>
#include <string.h>

const nmi_settings *nmi_trainer_settings(const nmi_trainer *trainer)
{
    int32_t last = trainer->phase_count - 1;
    int32_t phase = trainer->position.phase;
    return &trainer->phases[phase < last ? phase : last];
}

bool nmi_trainer_finished(const nmi_trainer *trainer)
{
    return trainer->position.phase >= trainer->phase_count;
}

/* The sizes of a sandwich share their items; otherwise each size has a minibatch of its own. */
int64_t nmi_trainer_minibatches_of_step(const nmi_settings *settings)
{
    return settings->draw == NMI_DRAW_SANDWICH ? 1 : settings->group;
}

int64_t nmi_trainer_minibatches_of_epoch(const nmi_trainer *trainer, const nmi_settings *settings)
{
    int64_t count = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN) / settings->batch;
    return count > 0 ? count : 1;
}

int64_t nmi_trainer_steps_of_phase(const nmi_trainer *trainer, int32_t phase)
{
    const nmi_settings *settings = &trainer->phases[phase];
    double minibatches =
        settings->epochs * (double)nmi_trainer_minibatches_of_epoch(trainer, settings);
    return (int64_t)ceil(minibatches / (double)nmi_trainer_minibatches_of_step(settings) - 1e-9);
}

double nmi_trainer_epoch(const nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    return (double)(trainer->position.step * nmi_trainer_minibatches_of_step(settings))
           / (double)nmi_trainer_minibatches_of_epoch(trainer, settings);
}

/* Nodes before the first block go with it. */
static int32_t block_of_tensor(const nmi_topology *topology, int32_t tensor)
{
    int32_t block = topology->nodes[topology->tensors[tensor].node].block;
    return block > 0 ? block : 0;
}

static bool phase_has(const nmi_settings *settings, int32_t block)
{
    return block >= settings->first_block && block <= settings->last_block;
}

static bool reached_before(const nmi_trainer *trainer, int32_t phase, int32_t block)
{
    for (int32_t p = 0; p < phase; p++)
        if (phase_has(&trainer->phases[p], block))
            return true;
    return false;
}

/* Whether this phase trains what morphs in the block (in plain training: everything in it). */
static bool trains_block(const nmi_trainer *trainer, const nmi_settings *settings, int32_t block)
{
    return phase_has(settings, block) ||
           (settings->train_earlier && reached_before(trainer, trainer->position.phase, block));
}

static neumeta_status is_direct_block(const nmi_trainer *trainer, const nmi_settings *settings,
                                      int32_t block, bool *direct)
{
    int64_t count = 0;
    const int64_t *given =
        nmi_options_ints(settings->options, NEUMETA_KEY_DIRECT_BLOCKS, &count);
    neumeta_status status = NEUMETA_OK;
    *direct = count == 0 && phase_has(settings, block);
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++) {
        int32_t number = 0;
        status = nmi_graph_block_number(trainer->topology, given[i], &number);
        *direct |= status == NEUMETA_OK && number == block;
    }
    return status;
}

static neumeta_status mark_slots(nmi_trainer *trainer, const nmi_settings *settings)
{
    const nmi_topology *topology = trainer->topology;
    neumeta_status status = NEUMETA_OK;
    for (int32_t t = 0; t < topology->tensor_count && status == NEUMETA_OK; t++) {
        nmi_slot *slot = &trainer->slots[t];
        int32_t block = block_of_tensor(topology, t);
        bool trains = trains_block(trainer, settings, block), direct = false;
        bool morphing = trainer->manifold != NULL && trainer->manifold->fields[t].morphing;
        status = is_direct_block(trainer, settings, block, &direct);
        trainer->reached[t] = morphing && (phase_has(settings, block) ||
                                           reached_before(trainer, trainer->position.phase, block));
        trainer->held[t] = !morphing || trainer->reached[t] || trainer->reference == NULL;
        trainer->carried[t] = morphing && trains;
        slot->trained = slot->kind == NMI_SLOT_MAIN || slot->kind == NMI_SLOT_BUFFER ? trains
                        : slot->kind == NMI_SLOT_RESIDUAL
                            ? settings->residual_rate > 0 && (trains || direct)
                        : slot->kind == NMI_SLOT_DIRECT ? settings->direct_rate > 0 && direct
                                                        : false;
    }
    for (int32_t n = 0; n < topology->node_count; n++) {
        int32_t block = topology->nodes[n].block;
        trainer->batch_norm[n] = trainer->manifold == NULL &&
                                 topology->nodes[n].op == NEUMETA_OP_NORM &&
                                 trains_block(trainer, settings, block > 0 ? block : 0);
    }
    return status;
}

/* NULL if every tensor that follows the axis comes from an INR that was reached; else the name of one
 * that does not. */
static const char *fixed_tensor(const nmi_trainer *trainer, int32_t axis)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        if (!trainer->reached[t] && nmi_graph_tensor_depends(trainer->topology, t, axis))
            return trainer->topology->tensors[t].name;
    return NULL;
}

static neumeta_status mark_axes(nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    const nmi_topology *topology = trainer->topology;
    int64_t count = 0;
    const int64_t *given = nmi_options_ints(settings->options, NEUMETA_KEY_SIZE_AXES, &count);
    for (int32_t a = 0; a < topology->axis_count; a++)
        trainer->varies[a] = trainer->manifold != NULL && count == 0 &&
                             nmi_graph_axis_is_inner(topology, a) &&
                             fixed_tensor(trainer, a) == NULL;
    for (int64_t i = 0; i < count; i++) {
        if (given[i] < 0 || given[i] >= topology->axis_count)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "phase '%s': SIZE_AXES names axis %lld, the topology has 0 to %d",
                            settings->name, (long long)given[i], (int)topology->axis_count - 1);
        int32_t axis = (int32_t)given[i];
        if (topology->axes[axis].kind != NEUMETA_AXIS_WIDTH)
            return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                            "phase '%s': SIZE_AXES names '%s', which is not a width",
                            settings->name, topology->axes[axis].name);
        const char *tensor = fixed_tensor(trainer, axis);
        if (tensor != NULL)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "phase '%s': axis '%s' cannot vary, since tensor '%s' follows it and "
                            "does not morph yet", settings->name, topology->axes[axis].name,
                            tensor);
        trainer->varies[axis] = true;
    }
    return NEUMETA_OK;
}

/* Grows the vector to `count` floats' worth of `item` bytes; the old content is not kept. */
static neumeta_status regrow(nmi_context *context, void *vector, int64_t count, size_t item)
{
    void **place = vector;
    nmi_free(context, *place);
    *place = nmi_alloc_array(context, count, item);
    return *place != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

static neumeta_status take_batch(nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    nmi_batch *batch = &trainer->batch;
    int64_t train = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN);
    int64_t items = settings->batch < train ? settings->batch : train;
    int64_t minibatches = nmi_trainer_minibatches_of_step(settings);
    int64_t classes = nmi_network_output_floats(trainer->network);
    neumeta_status status = NEUMETA_OK;
    if (batch->order == NULL)
        status = regrow(context, &batch->order, train, sizeof(int64_t));
    if (items > batch->items || minibatches > batch->minibatches) {
        int64_t images = 0, floats = 0;
        items = items > batch->items ? items : batch->items;
        minibatches = minibatches > batch->minibatches ? minibatches : batch->minibatches;
        batch->items = batch->minibatches = 0;
        if (!nmi_multiply(items, minibatches, &images) ||
            !nmi_multiply(images, nmi_dataset_item_floats(trainer->dataset), &floats))
            return nmi_fail(context, NEUMETA_ERR_MEMORY, "the minibatches of one step are too large");
        if (status == NEUMETA_OK)
            status = regrow(context, &batch->inputs, floats, sizeof(float));
        if (status == NEUMETA_OK)
            status = regrow(context, &batch->targets, images, sizeof(int64_t));
        if (status == NEUMETA_OK)
            status = regrow(context, &batch->losses, items, sizeof(double));
        if (status == NEUMETA_OK)
            status = regrow(context, &batch->output_gradients, items * classes, sizeof(float));
        if (status == NEUMETA_OK)
            status = regrow(context, &batch->teacher, items * classes, sizeof(float));
        if (status == NEUMETA_OK) {
            batch->items = items;
            batch->minibatches = minibatches;
        }
    }
    if (status == NEUMETA_OK && items > trainer->pass_items) {
        nmi_pass_free(trainer->pass);
        trainer->pass = NULL;
        trainer->pass_items = 0;
        status = nmi_pass_create(context, trainer->topology, trainer->full_sizes, items,
                                 &trainer->pass);
        trainer->pass_items = status == NEUMETA_OK ? items : 0;
    }
    return status;
}

/* Vectors of what this phase trains, and the tables of gradients that point to them. */
static neumeta_status take_vectors(nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    neumeta_status status = NEUMETA_OK;
    for (int32_t t = 0; t < trainer->topology->tensor_count && status == NEUMETA_OK; t++) {
        nmi_slot *slot = &trainer->slots[t];
        trainer->pass_gradients[t] = trainer->slot_gradients[t] = NULL;
        if (slot->trained)
            status = nmi_slot_prepare(context, slot, settings);
        if (status != NEUMETA_OK || !slot->trained || slot->kind == NMI_SLOT_BUFFER)
            continue;
        if (!trainer->carried[t]) {
            trainer->pass_gradients[t] = slot->gradient;
            continue;
        }
        if (trainer->weight_gradients[t] == NULL) {
            /* nmi_trainer_prepare() made the network full-sized, and none is larger. */
            trainer->weight_gradients[t] =
                nmi_alloc_zero_array(context, trainer->network->tensors[t].count, sizeof(float));
            if (trainer->weight_gradients[t] == NULL)
                status = NEUMETA_ERR_MEMORY;
        }
        trainer->pass_gradients[t] = trainer->weight_gradients[t];
        trainer->slot_gradients[t] = slot->gradient;
    }
    return status;
}

neumeta_status nmi_trainer_prepare(nmi_trainer *trainer)
{
    if (nmi_trainer_finished(trainer))
        return NEUMETA_OK;
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    neumeta_status status = mark_slots(trainer, settings);
    if (status == NEUMETA_OK)
        status = mark_axes(trainer, settings);
    if (status == NEUMETA_OK && trainer->manifold != NULL)
        status = nmi_network_resize(trainer->network, trainer->full_sizes);
    if (status == NEUMETA_OK)
        status = take_batch(trainer, settings);
    if (status == NEUMETA_OK)
        status = take_vectors(trainer, settings);
    trainer->ready = status == NEUMETA_OK;
    return status;
}

/* --- the start of INRs ----------------------------------------------------------------------- */

/* Morphing tensor number `index` of a block, or -1. */
static int32_t morphing_tensor(const nmi_trainer *trainer, int32_t block, int32_t index)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        if (trainer->manifold->fields[t].morphing && block_of_tensor(trainer->topology, t) == block &&
            index-- == 0)
            return t;
    return -1;
}

/* Whether two blocks have morphing tensors of equal shapes at full sizes: blocks of one stage. */
static bool alike(const nmi_trainer *trainer, int32_t a, int32_t b)
{
    for (int32_t i = 0;; i++) {
        int32_t x = morphing_tensor(trainer, a, i), y = morphing_tensor(trainer, b, i);
        if (x < 0 || y < 0)
            return x == y && i > 0;
        int64_t dims_x[4], dims_y[4];
        const nmi_shape *shapes = trainer->network->shapes;
        nmi_graph_tensor_dims(trainer->topology, trainer->full_sizes, shapes, x, dims_x);
        nmi_graph_tensor_dims(trainer->topology, trainer->full_sizes, shapes, y, dims_y);
        if (memcmp(dims_x, dims_y, sizeof dims_x) != 0)
            return false;
    }
}

static neumeta_status clone_block(nmi_trainer *trainer, int32_t from, int32_t to)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t i = 0; status == NEUMETA_OK; i++) {
        int32_t source = morphing_tensor(trainer, from, i);
        if (source < 0)
            break;
        status = nmi_manifold_clone(trainer->manifold, source, morphing_tensor(trainer, to, i));
    }
    return status;
}

/* The block that was added last before `block`, -1 if it is the first: by phases, then by number. */
static int32_t block_before(const nmi_trainer *trainer, int32_t block)
{
    int32_t phase = trainer->position.phase, before = -1;
    for (int32_t b = 0; b < block; b++)
        if (phase_has(&trainer->phases[phase], b) && morphing_tensor(trainer, b, 0) >= 0 &&
            !reached_before(trainer, phase, b))
            before = b;
    for (int32_t p = phase - 1; p >= 0 && before < 0; p--)
        for (int32_t b = trainer->phases[p].last_block; b >= trainer->phases[p].first_block; b--)
            if (before < 0 && morphing_tensor(trainer, b, 0) >= 0)
                before = b;
    return before;
}

static neumeta_status start_cloned(nmi_trainer *trainer, const nmi_settings *settings)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t b = settings->first_block; b <= settings->last_block; b++) {
        int32_t before = block_before(trainer, b);
        if (status != NEUMETA_OK || before < 0 ||
            reached_before(trainer, trainer->position.phase, b) ||
            morphing_tensor(trainer, b, 0) < 0)
            continue;
        if (alike(trainer, before, b))
            status = clone_block(trainer, before, b);
    }
    return status;
}

static neumeta_status start_fitted(nmi_trainer *trainer, const nmi_settings *settings)
{
    bool *fresh = nmi_alloc_zero_array(trainer->object.context, trainer->topology->tensor_count,
                                       sizeof *fresh);
    if (fresh == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        fresh[t] = trainer->reached[t] &&
                   !reached_before(trainer, trainer->position.phase,
                                   block_of_tensor(trainer->topology, t));
    uint64_t key = nmi_random_key(trainer->seed, NMI_RANDOM_FIT,
                                  (uint64_t)trainer->position.phase);
    neumeta_status status = nmi_manifold_fit(trainer->manifold, fresh, trainer->reference,
                                             settings->fit_steps, settings->fit_rate, key);
    nmi_free(trainer->object.context, fresh);
    return status;
}

/* A block that starts as the identity must be the identity before its phase, too: otherwise adding it
 * would take away what the later blocks rely on. So all residual scalars start with the first phase. */
static void start_residuals(nmi_trainer *trainer)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        if (trainer->slots[t].kind != NMI_SLOT_RESIDUAL)
            continue;
        int32_t block = block_of_tensor(trainer->topology, t);
        for (int32_t p = trainer->phase_count - 1; p >= 0; p--)
            if (trainer->phases[p].has_residual_start && phase_has(&trainer->phases[p], block) &&
                morphing_tensor(trainer, block, 0) >= 0)
                trainer->slots[t].values[0] = (float)trainer->phases[p].residual_start;
    }
}

neumeta_status nmi_trainer_begin_phase(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    neumeta_status status = NEUMETA_OK;
    if (trainer->manifold != NULL && settings->start == NMI_START_CLONED)
        status = start_cloned(trainer, settings);
    if (trainer->manifold != NULL && settings->start == NMI_START_FITTED)
        status = start_fitted(trainer, settings);
    if (status != NEUMETA_OK)
        return status;
    if (trainer->manifold != NULL && trainer->position.phase == 0)
        start_residuals(trainer);
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        if (!slot->trained)
            continue;
        if (!settings->keep_moments)
            nmi_slot_restart(slot);
        /* An average must not remember what its INR was before it was cloned or fitted. */
        if (slot->average != NULL && slot->steps == 0)
            memcpy(slot->average, slot->values, (size_t)slot->count * sizeof(float));
    }
    trainer->metrics.score = trainer->metrics.best_score = NAN;
    trainer->position.begun = true;
    return NEUMETA_OK;
}

/* The values become what is judged, for good. */
static void settle(nmi_slot *slot, const float *from)
{
    size_t bytes = (size_t)slot->count * sizeof(float);
    if (from == NULL)
        return;
    memcpy(slot->values, from, bytes);
    if (slot->average != NULL && slot->average != from)
        memcpy(slot->average, from, bytes);
}

void nmi_trainer_end_phase(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    int32_t next = trainer->position.phase + 1;
    bool averages_end = next < trainer->phase_count && trainer->phases[next].average <= 0;
    bool best = settings->continue_best && !isnan(trainer->metrics.best_score);
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        if (best && slot->trained)
            settle(slot, slot->best);
        if (averages_end && slot->average != NULL) {
            settle(slot, slot->average);
            nmi_free(trainer->object.context, slot->average);
            slot->average = NULL;
        }
    }
    if (trainer->manifold == NULL)
        nmi_network_touch(trainer->network);
    trainer->position.phase = next;
    trainer->position.step = 0;
    trainer->position.begun = false;
    trainer->metrics.loss_sum = trainer->metrics.task_sum = trainer->metrics.minibatches = 0;
    trainer->ready = false;
}
