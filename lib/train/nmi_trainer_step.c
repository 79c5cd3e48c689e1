/* SPDX-License-Identifier: MIT */
/* One training step: data, sizes, weights, losses, gradients, optimisers. */
#include "nmi_trainer.h"

#include "nmi_optimizer.h"
#include "nmi_random.h"

#include <math.h>
#include <string.h>

/* --- data ---------------------------------------------------------------------------------- */

/* Numbers of the items of data minibatch `number` (counted through the phase). */
static const int64_t *items_of_minibatch(nmi_trainer *trainer, int64_t number, int64_t items)
{
    nmi_batch *batch = &trainer->batch;
    int64_t per_epoch = nmi_trainer_minibatches_of_epoch(trainer, nmi_trainer_settings(trainer));
    int64_t epoch = number / per_epoch;
    if (batch->order_epoch != epoch || batch->order_phase != trainer->position.phase) {
        int64_t train = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN);
        uint64_t phase = (uint64_t)trainer->position.phase;
        nmi_random random = nmi_random_start(
            nmi_random_key(trainer->seed, NMI_RANDOM_ORDER, (phase << 32) + (uint64_t)epoch));
        for (int64_t i = 0; i < train; i++)
            batch->order[i] = i;
        nmi_random_shuffle(&random, batch->order, train);
        batch->order_epoch = epoch;
        batch->order_phase = trainer->position.phase;
    }
    return batch->order + number % per_epoch * items;
}

static neumeta_status check_targets(const nmi_trainer *trainer, const int64_t *targets,
                                    int64_t count)
{
    int64_t classes = nmi_network_output_floats(trainer->network);
    for (int64_t i = 0; i < count; i++)
        if (targets[i] >= classes)
            return nmi_fail(trainer->object.context, NEUMETA_ERR_CALLBACK,
                            "a training item has target %lld, the network has %lld outputs",
                            (long long)targets[i], (long long)classes);
    return NEUMETA_OK;
}

/* All data of the step before anything changes: a callback that fails costs nothing. */
static neumeta_status fetch_step(nmi_trainer *trainer, int64_t items)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    int64_t minibatches = nmi_trainer_minibatches_of_step(settings);
    int64_t floats = nmi_dataset_item_floats(trainer->dataset) * items;
    neumeta_status status = NEUMETA_OK;
    for (int64_t m = 0; m < minibatches && status == NEUMETA_OK; m++) {
        int64_t number = trainer->position.step * minibatches + m;
        const int64_t *indices = items_of_minibatch(trainer, number, items);
        uint64_t key = nmi_random_key(trainer->seed, NMI_RANDOM_AUGMENT,
                                      (uint64_t)(trainer->position.draws + m));
        int64_t *targets = trainer->batch.targets + m * items;
        status = nmi_dataset_fetch(trainer->dataset, NEUMETA_SPLIT_TRAIN, indices, items, key, true,
                                   trainer->batch.inputs + m * floats, targets);
        if (status == NEUMETA_OK)
            status = check_targets(trainer, targets, items);
    }
    return status;
}

/* --- optimisers ------------------------------------------------------------------------------ */

static bool steps_each_minibatch(const nmi_slot *slot)
{
    return slot->trained && (slot->kind == NMI_SLOT_RESIDUAL || slot->kind == NMI_SLOT_DIRECT);
}

static bool steps_each_group(const nmi_slot *slot)
{
    return slot->trained && slot->kind == NMI_SLOT_MAIN;
}

static void clear_minibatch_gradients(nmi_trainer *trainer)
{
    for (int32_t s = 0; s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
        if (steps_each_minibatch(slot))
            memset(slot->gradient, 0, (size_t)slot->count * sizeof(float));
    }
}

static neumeta_status fail_numeric(const nmi_trainer *trainer, const char *what)
{
    return nmi_fail(trainer->object.context, NEUMETA_ERR_NUMERIC,
                    "phase '%s', epoch %.3f, step %lld: the %s is not finite; a lower "
                    "LEARNING_RATE or clipping may help",
                    nmi_trainer_settings(trainer)->name, nmi_trainer_epoch(trainer),
                    (long long)trainer->position.steps, what);
}

/* Residual scalars and directly held tensors, which are few and small. */
static neumeta_status step_minibatch_slots(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    for (int32_t s = 0; s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
        if (!steps_each_minibatch(slot))
            continue;
        bool residual = slot->kind == NMI_SLOT_RESIDUAL;
        if (!isfinite(nmi_squared_norm(slot->count, slot->gradient)))
            return fail_numeric(trainer, "gradient");
        if (settings->clip_value > 0)
            nmi_clip_value(slot->count, (float)settings->clip_value, slot->gradient);
        nmi_slot_step(slot, settings, residual ? settings->residual_rate : settings->direct_rate,
                      residual ? 0 : settings->direct_decay);
    }
    return NEUMETA_OK;
}

/* The tasks below take one slot each: whatever thread does it, its numbers are the same. */
typedef struct group_step {
    nmi_trainer *trainer;
    const nmi_settings *settings;
    double rate;
    float factor; /* of the gradients: clipping by norm */
} group_step;

static void clear_slot(void *argument, int64_t index, int32_t worker)
{
    nmi_slot *slot = &((nmi_trainer *)argument)->slots[index];
    (void)worker;
    if (steps_each_group(slot))
        memset(slot->gradient, 0, (size_t)slot->count * sizeof(float));
}

/* Clips by value and takes the squared norm. */
static void measure_slot(void *argument, int64_t index, int32_t worker)
{
    const group_step *step = argument;
    nmi_slot *slot = &step->trainer->slots[index];
    (void)worker;
    if (!steps_each_group(slot))
        return;
    if (step->settings->clip_value > 0)
        slot->squared =
            nmi_clipped_norm(slot->count, (float)step->settings->clip_value, slot->gradient);
    else
        slot->squared = nmi_squared_norm(slot->count, slot->gradient);
}

static void finish_slot(void *argument, int64_t index, int32_t worker)
{
    const group_step *step = argument;
    nmi_slot *slot = &step->trainer->slots[index];
    (void)worker;
    if (slot->trained)
        nmi_slot_finish(slot, step->settings, step->rate, step->factor);
}

static neumeta_status step_group_slots(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    const int32_t count = trainer->slot_count;
    group_step step = {.trainer = trainer, .settings = settings, .factor = 1};
    double squared = 0;
    nmi_run(trainer->object.context, count, measure_slot, &step);
    for (int32_t s = 0; s < count; s++)
        squared += steps_each_group(&trainer->slots[s]) ? trainer->slots[s].squared : 0;
    const double norm = sqrt(squared);
    if (!isfinite(norm))
        return fail_numeric(trainer, "gradient");
    double width = nmi_trainer_step_epochs(trainer, settings);
    step.rate = nmi_settings_rate_at(settings, nmi_trainer_epoch(trainer), width);
    if (settings->clip_norm > 0 && norm > settings->clip_norm)
        step.factor = (float)(settings->clip_norm / norm);
    nmi_run(trainer->object.context, count, finish_slot, &step);
    trainer->metrics.rate = step.rate;
    if (trainer->manifold == NULL)
        nmi_network_touch(trainer->network);
    return NEUMETA_OK;
}

/* --- one minibatch ------------------------------------------------------------------------- */

neumeta_status nmi_trainer_emit(nmi_trainer *trainer, nmi_network *network, const int64_t *sizes,
                                const nmi_noise *noise, int32_t precision, bool keep)
{
    neumeta_status status = nmi_network_resize(network, sizes);
    for (int32_t t = 0; t < trainer->topology->tensor_count && status == NEUMETA_OK; t++) {
        /* Blocks of later phases keep the reference's weights, at full size. */
        nmi_tensor *tensor = &network->tensors[t];
        if (!trainer->held[t] && tensor->rank > 0)
            memcpy(tensor->data, trainer->reference->tensors[t].data,
                   (size_t)tensor->count * sizeof(float));
    }
    if (status == NEUMETA_OK)
        status = (keep ? nmi_manifold_emit_keeping : nmi_manifold_emit)(
            trainer->manifold, network, trainer->held, noise, precision);
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    if (status != NEUMETA_OK || settings->statistics != NMI_NORM_FITTED)
        return status;
    if (trainer->manifold->statistics == NULL)
        return nmi_fail(trainer->object.context, NEUMETA_ERR_STATE,
                        "phase '%s': something else changed the manifold and dropped the "
                        "statistics that the phase keeps; restore a checkpoint",
                        settings->name);
    nmi_statistics_emit(trainer->manifold->statistics, network);
    return NEUMETA_OK;
}

static void clear_weight_gradients(nmi_trainer *trainer)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        if (trainer->carried[t])
            memset(trainer->weight_gradients[t], 0,
                   (size_t)trainer->network->tensors[t].count * sizeof(float));
}

static void note_loss(nmi_trainer *trainer, double total, double task)
{
    trainer->metrics.loss_sum += total;
    trainer->metrics.task_sum += task;
    trainer->metrics.minibatches++;
}

/* Sizes that share their items differ only from the lowest tensor on that is drawn anew. */
static const float *forward(nmi_trainer *trainer, int64_t index, const float *inputs, int64_t items)
{
    if (trainer->manifold != NULL && index > 0 && inputs == trainer->batch.inputs)
        return nmi_pass_forward_again(trainer->pass, trainer->network, trainer->redrawn);
    return nmi_pass_forward(trainer->pass, trainer->network, inputs, items, trainer->batch_norm);
}

static neumeta_status train_minibatch(nmi_trainer *trainer, int64_t index, int64_t items)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    bool manifold = trainer->manifold != NULL;
    int64_t minibatch = nmi_trainer_minibatches_of_step(settings) > 1 ? index : 0;
    const float *inputs =
        trainer->batch.inputs + minibatch * items * nmi_dataset_item_floats(trainer->dataset);
    uint64_t draw = (uint64_t)(trainer->position.draws + index);
    double share = 1 / (double)settings->group;
    nmi_noise noise = {.samples = 1};
    neumeta_status status = NEUMETA_OK;
    if (manifold) {
        noise.amplitude = trainer->manifold->settings.noise;
        noise.clamp = trainer->manifold->settings.noise_clamp;
        noise.key = nmi_random_key(trainer->seed, NMI_RANDOM_NOISE, draw);
        nmi_settings_draw_sizes(settings, trainer->topology, trainer->varies, index,
                                nmi_random_key(trainer->seed, NMI_RANDOM_SIZES, draw),
                                trainer->sizes);
        status = nmi_trainer_emit(trainer, trainer->network, trainer->sizes, &noise,
                                  settings->precision, true);
    }
    if (status != NEUMETA_OK)
        return status;
    const float *outputs = forward(trainer, index, inputs, items);
    bool distil = false;
    status = nmi_trainer_teach(trainer, inputs, items, outputs, index, &distil);
    if (status != NEUMETA_OK)
        return status;
    nmi_loss loss = nmi_trainer_output_loss(trainer, outputs, minibatch, distil, share);
    if (!isfinite(loss.total))
        return fail_numeric(trainer, "loss");
    clear_minibatch_gradients(trainer);
    clear_weight_gradients(trainer);
    nmi_pass_backward(trainer->pass, trainer->network, trainer->batch.output_gradients,
                      trainer->pass_gradients);
    if (manifold) {
        loss.total += nmi_trainer_weight_loss(trainer, share);
        if (!isfinite(loss.total))
            return fail_numeric(trainer, "loss");
        status = nmi_manifold_backward(trainer->manifold, trainer->network, trainer->carried,
                                       &noise, settings->precision, trainer->weight_gradients,
                                       trainer->slot_gradients);
        if (status == NEUMETA_OK)
            status = step_minibatch_slots(trainer);
    }
    note_loss(trainer, loss.total / share, loss.task);
    return status;
}

static void start_epoch_metrics(nmi_trainer *trainer)
{
    double width = nmi_trainer_step_epochs(trainer, nmi_trainer_settings(trainer));
    double epoch = nmi_trainer_epoch(trainer);
    if (epoch - floor(epoch) < width * 0.999)
        trainer->metrics.loss_sum = trainer->metrics.task_sum = trainer->metrics.minibatches = 0;
}

/* A step that fails half-way changes nothing: what it stepped before the group's end comes back,
 * and running statistics with it. The vectors of the group step last, when nothing can fail. */
static void undo_step(nmi_trainer *trainer, const nmi_metrics *metrics)
{
    for (int32_t s = 0; s < trainer->slot_count; s++)
        if (trainer->slots[s].trained)
            nmi_slot_undo(&trainer->slots[s]);
    trainer->metrics = *metrics;
    if (trainer->manifold == NULL)
        nmi_network_touch(trainer->network);
}

neumeta_status nmi_trainer_train(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    int64_t items = nmi_trainer_items(trainer, settings);
    neumeta_status status = fetch_step(trainer, items);
    if (status != NEUMETA_OK)
        return status;
    const nmi_metrics metrics = trainer->metrics;
    for (int32_t s = 0; s < trainer->slot_count; s++)
        if (trainer->slots[s].trained)
            nmi_slot_remember(&trainer->slots[s]);
    start_epoch_metrics(trainer);
    nmi_run(trainer->object.context, trainer->slot_count, clear_slot, trainer);
    for (int64_t index = 0; index < settings->group && status == NEUMETA_OK; index++)
        status = train_minibatch(trainer, index, items);
    if (status == NEUMETA_OK)
        status = step_group_slots(trainer);
    if (status != NEUMETA_OK) {
        undo_step(trainer, &metrics);
        return status;
    }
    if (trainer->manifold != NULL && settings->statistics == NMI_NORM_BATCH)
        nmi_manifold_forget_statistics(trainer->manifold);
    else if (trainer->manifold != NULL)
        nmi_manifold_forget_front(trainer->manifold);
    trainer->position.step++;
    trainer->position.steps++;
    trainer->position.draws += settings->group;
    trainer->run_items += items * nmi_trainer_minibatches_of_step(settings);
    return NEUMETA_OK;
}
