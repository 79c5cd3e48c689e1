/* SPDX-License-Identifier: MIT */
/*
 * Phases: what each one trains and varies, how it begins and ends.
 *
 * Everything here but nmi_trainer_begin_phase() and nmi_trainer_end_phase() follows from the
 * position alone, so that a restored trainer arrives at the same state.
 */
#include "nmi_trainer.h"

#include "nmi_trained_range.h"

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
    return nmi_settings_is_sandwich(settings) ? 1 : settings->group;
}

int64_t nmi_trainer_minibatches_of_epoch(const nmi_trainer *trainer, const nmi_settings *settings)
{
    int64_t count = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN) / settings->batch;
    return count > 0 ? count : 1;
}

int64_t nmi_trainer_items(const nmi_trainer *trainer, const nmi_settings *settings)
{
    int64_t train = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN);
    return settings->batch < train ? settings->batch : train;
}

double nmi_trainer_step_epochs(const nmi_trainer *trainer, const nmi_settings *settings)
{
    return (double)nmi_trainer_minibatches_of_step(settings) /
           (double)nmi_trainer_minibatches_of_epoch(trainer, settings);
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
    return (double)(trainer->position.step * nmi_trainer_minibatches_of_step(settings)) /
           (double)nmi_trainer_minibatches_of_epoch(trainer, settings);
}

int32_t nmi_trainer_block(const nmi_topology *topology, int32_t tensor)
{
    int32_t block = topology->nodes[topology->tensors[tensor].node].block;
    return block > 0 ? block : 0;
}

bool nmi_trainer_reached_before(const nmi_trainer *trainer, int32_t phase, int32_t block)
{
    for (int32_t p = 0; p < phase; p++)
        if (nmi_settings_has_block(&trainer->phases[p], block))
            return true;
    return false;
}

/* Whether this phase trains what morphs in the block (in plain training: everything in it). */
static bool trains_block(const nmi_trainer *trainer, const nmi_settings *settings, int32_t block)
{
    return nmi_settings_has_block(settings, block) ||
           (settings->train_earlier &&
            nmi_trainer_reached_before(trainer, trainer->position.phase, block));
}

static neumeta_status is_direct_block(const nmi_trainer *trainer, const nmi_settings *settings,
                                      int32_t block, bool *direct)
{
    int64_t count = 0;
    const int64_t *given = nmi_options_ints(settings->options, NEUMETA_KEY_DIRECT_BLOCKS, &count);
    neumeta_status status = NEUMETA_OK;
    *direct = count == 0 && nmi_settings_has_block(settings, block);
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++) {
        int32_t number = 0;
        status = nmi_graph_block_number(trainer->topology, given[i], &number);
        *direct |= status == NEUMETA_OK && number == block;
    }
    return status;
}

/* `trains`: the phase trains the slot's block; `direct`: it is among DIRECT_BLOCKS. */
static bool is_trained(const nmi_slot *slot, const nmi_settings *settings, bool trains, bool direct)
{
    switch (slot->kind) {
    case NMI_SLOT_MAIN:
    case NMI_SLOT_BUFFER:
        return trains;
    case NMI_SLOT_RESIDUAL:
        return settings->residual_rate > 0 && (trains || direct);
    case NMI_SLOT_DIRECT:
        return settings->direct_rate > 0 && direct;
    default:
        return false;
    }
}

/* What tensors share trains with any of them. */
static void mark_shared(nmi_trainer *trainer)
{
    const int32_t tensors = trainer->topology->tensor_count;
    for (int32_t s = tensors; s < trainer->slot_count; s++) {
        const nmi_field *fields = trainer->manifold->fields;
        trainer->slots[s].trained = false;
        for (int32_t t = 0; t < tensors; t++)
            trainer->slots[s].trained |= trainer->carried[t] && fields[t].kind == fields[s].kind;
    }
}

static neumeta_status mark_slots(nmi_trainer *trainer, const nmi_settings *settings)
{
    const nmi_topology *topology = trainer->topology;
    neumeta_status status = NEUMETA_OK;
    for (int32_t t = 0; t < topology->tensor_count && status == NEUMETA_OK; t++) {
        nmi_slot *slot = &trainer->slots[t];
        int32_t block = nmi_trainer_block(topology, t);
        bool trains = trains_block(trainer, settings, block), direct = false;
        bool morphing = trainer->manifold != NULL && trainer->manifold->fields[t].morphing;
        status = is_direct_block(trainer, settings, block, &direct);
        trainer->reached[t] =
            morphing && (nmi_settings_has_block(settings, block) ||
                         nmi_trainer_reached_before(trainer, trainer->position.phase, block));
        trainer->held[t] = !morphing || trainer->reached[t] || trainer->reference == NULL;
        trainer->carried[t] = morphing && trains;
        slot->trained = is_trained(slot, settings, trains, direct);
        trainer->redrawn[t] = (morphing && trainer->held[t]) || slot->trained ||
                              (settings->statistics == NMI_NORM_FITTED &&
                               !nmi_role_is_trainable(topology->tensors[t].role));
    }
    mark_shared(trainer);
    for (int32_t n = 0; n < topology->node_count; n++) {
        const int32_t block = topology->nodes[n].block;
        const bool trains = trainer->manifold != NULL
                                ? settings->statistics == NMI_NORM_BATCH
                                : trains_block(trainer, settings, block > 0 ? block : 0);
        trainer->batch_norm[n] = topology->nodes[n].op == NEUMETA_OP_NORM && trains;
    }
    return status;
}

/* What the axes of a phase are chosen by. */
typedef struct phase_axes {
    const nmi_trainer *trainer;
    const nmi_settings *settings;
} phase_axes;

/* NULL if every trained tensor that follows the axis comes from an INR that was reached; else the
 * name of one that does not. */
static const char *fixed_tensor(const void *user, int32_t axis)
{
    const nmi_trainer *trainer = ((const phase_axes *)user)->trainer;
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        if (!trainer->reached[t] && nmi_role_is_trainable(trainer->topology->tensors[t].role) &&
            nmi_graph_tensor_depends(trainer->topology, t, axis))
            return trainer->topology->tensors[t].name;
    return NULL;
}

static bool is_usual(const void *user, int32_t axis)
{
    const phase_axes *phase = user;
    return nmi_axis_is_usual(phase->trainer->topology, &phase->settings->range, axis);
}

static neumeta_status mark_axes(nmi_trainer *trainer, const nmi_settings *settings)
{
    const phase_axes phase = {trainer, settings};
    const nmi_axis_choice choice = {.topology = trainer->topology,
                                    .range = &settings->range,
                                    .usual = is_usual,
                                    .fixed_tensor = fixed_tensor,
                                    .why_fixed = "does not morph yet",
                                    .user = &phase};
    if (trainer->manifold == NULL) {
        memset(trainer->varies, 0, (size_t)trainer->topology->axis_count * sizeof(bool));
        return NEUMETA_OK;
    }
    const neumeta_status status = nmi_axes_choose(&choice, settings->options, trainer->varies);
    return status == NEUMETA_OK
               ? status
               : nmi_fail_within(trainer->object.context, status, "phase '%s'", settings->name);
}

int64_t nmi_trainer_size_at(const nmi_trainer *trainer, int32_t axis, double gamma)
{
    const nmi_axis *a = &trainer->topology->axes[axis];
    const double streams = nmi_trainer_settings(trainer)->range.streams;
    if (!trainer->varies[axis] || a->kind == NEUMETA_AXIS_DEPTH)
        return trainer->full_sizes[axis];
    const bool bounded = streams > 0 && nmi_graph_axis_is_stream(trainer->topology, axis);
    return nmi_axis_size_at(a, bounded ? fmin(gamma, streams) : gamma);
}

/* Statistics that are kept hold for emitted weights only, so all INRs must be there. */
static neumeta_status check_norm(const nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    const nmi_topology *topology = trainer->topology;
    const int32_t keys[] = {NEUMETA_KEY_NORM_STATISTICS, NEUMETA_KEY_VALIDATE_ITEMS};
    if (trainer->manifold == NULL)
        return NEUMETA_OK;
    for (size_t i = 0; i < 2 && !nmi_manifold_has_norms(trainer->manifold); i++)
        if (nmi_options_has(settings->options, keys[i]))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "phase '%s': %s has no effect, since there are no norms",
                            settings->name, nmi_key_find(keys[i])->name);
    for (int32_t t = 0; settings->statistics == NMI_NORM_FITTED && t < topology->tensor_count; t++)
        if (trainer->manifold->fields[t].morphing && !trainer->reached[t])
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "phase '%s': NORM_STATISTICS 'fitted' needs all INRs, and that of "
                            "tensor '%s' comes in a later phase",
                            settings->name, topology->tensors[t].name);
    return NEUMETA_OK;
}

neumeta_status nmi_trainer_check_phases(nmi_trainer *trainer)
{
    const int32_t present = trainer->position.phase, axes = trainer->topology->axis_count;
    neumeta_status status = NEUMETA_OK;
    for (int32_t p = 0; p < trainer->phase_count && status == NEUMETA_OK; p++) {
        trainer->position.phase = p;
        status = mark_slots(trainer, &trainer->phases[p]);
        if (status == NEUMETA_OK)
            status = mark_axes(trainer, &trainer->phases[p]);
        if (status == NEUMETA_OK)
            status = check_norm(trainer, &trainer->phases[p]);
        memcpy(trainer->phase_varies + (int64_t)p * axes, trainer->varies,
               (size_t)axes * sizeof(bool));
    }
    trainer->position.phase = present;
    trainer->ready = false;
    return status;
}

/* Another vector in place of `old`, whose content is not kept. */
static void *replace(nmi_context *context, void *old, int64_t count, size_t item)
{
    nmi_free(context, old);
    return nmi_alloc_array(context, count, item);
}

static neumeta_status grow_batch(nmi_trainer *trainer, int64_t items, int64_t minibatches)
{
    nmi_context *context = trainer->object.context;
    nmi_batch *batch = &trainer->batch;
    int64_t classes = nmi_network_output_floats(trainer->network);
    int64_t images = 0, floats = 0;
    if (!nmi_multiply(items, minibatches, &images) ||
        !nmi_multiply(images, nmi_dataset_item_floats(trainer->dataset), &floats))
        return nmi_fail(context, NEUMETA_ERR_MEMORY, "the minibatches of one step are too large");
    batch->items = batch->minibatches = 0;
    batch->inputs = replace(context, batch->inputs, floats, sizeof *batch->inputs);
    batch->targets = replace(context, batch->targets, images, sizeof *batch->targets);
    batch->losses = replace(context, batch->losses, items, sizeof *batch->losses);
    batch->output_gradients =
        replace(context, batch->output_gradients, items * classes, sizeof *batch->output_gradients);
    batch->teacher = replace(context, batch->teacher, items * classes, sizeof *batch->teacher);
    if (batch->inputs == NULL || batch->targets == NULL || batch->losses == NULL ||
        batch->output_gradients == NULL || batch->teacher == NULL)
        return NEUMETA_ERR_MEMORY;
    batch->items = items;
    batch->minibatches = minibatches;
    return NEUMETA_OK;
}

static neumeta_status take_batch(nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    nmi_batch *batch = &trainer->batch;
    int64_t train = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN);
    int64_t items = nmi_trainer_items(trainer, settings);
    int64_t minibatches = nmi_trainer_minibatches_of_step(settings);
    neumeta_status status = NEUMETA_OK;
    if (batch->order == NULL)
        batch->order = nmi_alloc_array(context, train, sizeof *batch->order);
    if (batch->order == NULL)
        return NEUMETA_ERR_MEMORY;
    if (items > batch->items || minibatches > batch->minibatches)
        status = grow_batch(trainer, items > batch->items ? items : batch->items,
                            minibatches > batch->minibatches ? minibatches : batch->minibatches);
    if (status == NEUMETA_OK &&
        (items > trainer->pass_items || settings->precision != trainer->pass_precision)) {
        nmi_pass_free(trainer->pass);
        trainer->pass = NULL;
        trainer->pass_items = 0;
        trainer->pass_precision = settings->precision;
        status = nmi_pass_create(context, trainer->topology, trainer->full_sizes, items,
                                 settings->precision, &trainer->pass);
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
    for (int32_t s = trainer->topology->tensor_count; s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
        if (status == NEUMETA_OK && slot->trained)
            status = nmi_slot_prepare(context, slot, settings);
        trainer->slot_gradients[s] = slot->trained ? slot->gradient : NULL;
    }
    return status;
}

void nmi_trainer_note_ranges(nmi_trainer *trainer)
{
    const int32_t axes = trainer->topology->axis_count;
    if (trainer->manifold == NULL)
        return;
    const int32_t begun = trainer->position.phase + trainer->position.begun;
    for (int32_t p = 0; p < trainer->phase_count && p < begun; p++)
        if (nmi_trainer_steps_of_phase(trainer, p) > 0)
            nmi_trained_extend(trainer->manifold, trainer->phase_varies + (int64_t)p * axes,
                               &trainer->phases[p].range);
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

/* --- begin and end ---------------------------------------------------------------------------- */

neumeta_status nmi_trainer_begin_phase(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    neumeta_status status = NEUMETA_OK;
    /* Only here: the loss of the last epoch stays readable after the end of a training. */
    trainer->metrics.loss_sum = trainer->metrics.task_sum = trainer->metrics.minibatches = 0;
    if (trainer->manifold != NULL)
        status = nmi_trainer_start_inrs(trainer);
    if (status != NEUMETA_OK)
        return status;
    for (int32_t s = 0; s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
        if (!slot->trained)
            continue;
        if (!settings->keep_moments)
            nmi_slot_restart(slot);
        /* An average must not remember what its INR was before it was cloned or fitted. */
        const bool fresh =
            slot->kind == NMI_SLOT_BUFFER ? !settings->keep_moments : slot->steps == 0;
        if (slot->average != NULL && fresh)
            memcpy(slot->average, slot->values, (size_t)slot->count * sizeof(float));
    }
    trainer->metrics.score = trainer->metrics.best_score = NAN;
    trainer->position.begun = true;
    nmi_trainer_note_ranges(trainer);
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
    for (int32_t s = 0; s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
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
    trainer->ready = false;
}
