/* SPDX-License-Identifier: MIT */
/* Vectors that belong to one vector of parameters, and its optimiser step. */
#include "nmi_slot.h"

#include "nmi_optimizer.h"

#include <string.h>

enum {
    UNDO_VECTORS = 3,  /* values and both moments */
    SWEEP_BLOCK = 8192 /* of five vectors: they stay in the second-level cache */
};

static neumeta_status need(nmi_context *context, int64_t count, float **vector)
{
    if (*vector == NULL)
        *vector = nmi_alloc_zero_array(context, count, sizeof **vector);
    return *vector != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

/* A vector that starts as a copy of the values. */
static neumeta_status need_copy(nmi_context *context, const nmi_slot *slot, float **vector)
{
    if (*vector != NULL)
        return NEUMETA_OK;
    neumeta_status status = need(context, slot->count, vector);
    if (status == NEUMETA_OK)
        memcpy(*vector, slot->values, (size_t)slot->count * sizeof **vector);
    return status;
}

neumeta_status nmi_slot_prepare(nmi_context *context, nmi_slot *slot, const nmi_settings *settings)
{
    neumeta_status status = NEUMETA_OK;
    if (slot->kind != NMI_SLOT_BUFFER) {
        bool adamw = slot->kind != NMI_SLOT_MAIN || settings->optimizer == NMI_OPTIMIZER_ADAMW;
        status = need(context, slot->count, &slot->gradient);
        if (status == NEUMETA_OK)
            status = need(context, slot->count, &slot->moment1);
        if (status == NEUMETA_OK && adamw)
            status = need(context, slot->count, &slot->moment2);
    }
    if (status == NEUMETA_OK && settings->average > 0)
        status = need_copy(context, slot, &slot->average);
    if (status == NEUMETA_OK && settings->continue_best)
        status = need_copy(context, slot, &slot->best);
    if (status == NEUMETA_OK && slot->kind != NMI_SLOT_MAIN && slot->before == NULL) {
        slot->before = nmi_alloc_matrix(context, slot->count, UNDO_VECTORS, sizeof(float));
        status = slot->before != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    }
    return status;
}

void nmi_slot_free(nmi_context *context, nmi_slot *slot)
{
    nmi_free(context, slot->gradient);
    nmi_free(context, slot->moment1);
    nmi_free(context, slot->moment2);
    nmi_free(context, slot->average);
    nmi_free(context, slot->best);
    nmi_free(context, slot->before);
}

static void copy_undo(nmi_slot *slot, bool back)
{
    float *const vectors[UNDO_VECTORS] = {slot->values, slot->moment1, slot->moment2};
    size_t bytes = (size_t)slot->count * sizeof(float);
    for (int v = 0; v < UNDO_VECTORS && slot->before != NULL; v++) {
        float *kept = slot->before + v * slot->count;
        if (vectors[v] != NULL)
            memcpy(back ? vectors[v] : kept, back ? kept : vectors[v], bytes);
    }
}

void nmi_slot_remember(nmi_slot *slot)
{
    copy_undo(slot, false);
    slot->steps_before = slot->steps;
}

void nmi_slot_undo(nmi_slot *slot)
{
    copy_undo(slot, true);
    slot->steps = slot->steps_before;
}

void nmi_slot_restart(nmi_slot *slot)
{
    size_t bytes = (size_t)slot->count * sizeof(float);
    if (slot->moment1 != NULL)
        memset(slot->moment1, 0, bytes);
    if (slot->moment2 != NULL)
        memset(slot->moment2, 0, bytes);
    slot->steps = 0;
}

/* `count` values from `first` on, for the slot's present number of steps. */
static void step_part(const nmi_slot *slot, const nmi_settings *settings, double rate, double decay,
                      int64_t first, int64_t count)
{
    if (slot->kind == NMI_SLOT_MAIN && settings->optimizer == NMI_OPTIMIZER_SGD) {
        const nmi_sgd sgd = {.rate = (float)rate,
                             .momentum = (float)settings->momentum,
                             .decay = (float)decay,
                             .nesterov = true,
                             .first = slot->steps == 1};
        nmi_sgd_step(&sgd, count, slot->gradient + first, slot->moment1 + first,
                     slot->values + first);
        return;
    }
    const nmi_adamw adamw = {.rate = (float)rate,
                             .beta1 = (float)settings->beta1,
                             .beta2 = (float)settings->beta2,
                             .epsilon = (float)settings->epsilon,
                             .decay = (float)decay,
                             .step = slot->steps};
    nmi_adamw_step(&adamw, count, slot->gradient + first, slot->moment1 + first,
                   slot->moment2 + first, slot->values + first);
}

void nmi_slot_step(nmi_slot *slot, const nmi_settings *settings, double rate, double decay)
{
    slot->steps++;
    step_part(slot, settings, rate, decay, 0, slot->count);
}

void nmi_slot_finish(nmi_slot *slot, const nmi_settings *settings, double rate, float factor)
{
    const bool steps = slot->kind == NMI_SLOT_MAIN, averages = settings->average > 0;
    slot->steps += steps;
    for (int64_t first = 0; first < slot->count && (steps || averages); first += SWEEP_BLOCK) {
        const int64_t left = slot->count - first;
        const int64_t count = left < SWEEP_BLOCK ? left : SWEEP_BLOCK;
        if (steps && factor < 1)
            nmi_scale_array(count, factor, slot->gradient + first);
        if (steps)
            step_part(slot, settings, rate, settings->decay, first, count);
        if (averages)
            nmi_ema_update(count, (float)settings->average, slot->values + first,
                           slot->average + first);
    }
}

void nmi_slot_swap_average(nmi_slot *slot)
{
    for (int64_t i = 0; slot->average != NULL && i < slot->count; i++) {
        float value = slot->values[i];
        slot->values[i] = slot->average[i];
        slot->average[i] = value;
    }
}
