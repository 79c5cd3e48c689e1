/* SPDX-License-Identifier: MIT */
/* Selection: how good the present state is on items that training never sees. */
#include "nmi_trainer.h"

#include <math.h>
#include <string.h>

/* After the step that crosses a multiple of the interval, and after the phase's last one. */
static bool is_due(const nmi_trainer *trainer, const nmi_settings *settings)
{
    if (settings->validate_epochs <= 0)
        return false;
    if (trainer->position.step == nmi_trainer_steps_of_phase(trainer, trainer->position.phase))
        return true;
    double width = nmi_trainer_step_epochs(trainer, settings);
    double epoch = nmi_trainer_epoch(trainer);
    const double rounding = 1e-9;
    return floor(epoch / settings->validate_epochs + rounding) >
           floor((epoch - width) / settings->validate_epochs + rounding);
}

/* The judged weights have no statistics yet: takes them from training items at the judge's sizes.
 */
static neumeta_status measure_norms(nmi_trainer *trainer, const nmi_settings *settings)
{
    const int64_t batch = nmi_trainer_items(trainer, settings);
    nmi_pass *floats = NULL; /* as judged, whatever training computes in */
    neumeta_status status = NEUMETA_OK;
    if (trainer->moments_items != settings->validate_items || trainer->moments_batch != batch) {
        nmi_moments_free(trainer->moments);
        trainer->moments_items = 0;
        status = nmi_moments_create(trainer->topology, trainer->dataset, settings->validate_items,
                                    batch, &trainer->moments);
    }
    if (status != NEUMETA_OK)
        return status;
    trainer->moments_items = settings->validate_items;
    trainer->moments_batch = batch;
    if (trainer->pass_precision != NMI_FP32)
        status = nmi_pass_create(trainer->object.context, trainer->topology, trainer->full_sizes,
                                 batch, NMI_FP32, &floats);
    if (status == NEUMETA_OK)
        status = nmi_moments_measure(trainer->moments, floats != NULL ? floats : trainer->pass,
                                     trainer->judge);
    nmi_pass_free(floats);
    return status;
}

/* Mean accuracy over the compressions of VALIDATE_GAMMAS, on the widths that vary. */
static neumeta_status judge_manifold(nmi_trainer *trainer, const nmi_settings *settings,
                                     double *score)
{
    static const double full_width[] = {0};
    int64_t count = 0;
    const double *gammas =
        nmi_options_reals(settings->options, NEUMETA_KEY_VALIDATE_GAMMAS, &count);
    neumeta_status status = NEUMETA_OK;
    if (count == 0) {
        gammas = full_width;
        count = 1;
    }
    if (trainer->judge == NULL)
        status = nmi_network_create(trainer->object.context, trainer->topology, trainer->full_sizes,
                                    &trainer->judge);
    *score = 0;
    for (int64_t g = 0; g < count && status == NEUMETA_OK; g++) {
        double one = 0;
        for (int32_t a = 0; a < trainer->topology->axis_count; a++)
            trainer->sizes[a] = nmi_trainer_size_at(trainer, a, gammas[g]);
        status = nmi_trainer_emit(trainer, trainer->judge, trainer->sizes, NULL, NMI_FP32, false);
        if (status == NEUMETA_OK && settings->statistics == NMI_NORM_BATCH &&
            nmi_manifold_has_norms(trainer->manifold))
            status = measure_norms(trainer, settings);
        if (status == NEUMETA_OK)
            status = nmi_network_evaluate(trainer->judge, trainer->dataset, NEUMETA_SPLIT_HELD_OUT,
                                          NULL, &one);
        *score += one / (double)count;
    }
    return status;
}

/* While the averages are published: what is judged is what is kept. */
static void keep_if_best(nmi_trainer *trainer, const nmi_settings *settings, double score)
{
    nmi_metrics *metrics = &trainer->metrics;
    metrics->score = score;
    if (!isnan(metrics->best_score) && score <= metrics->best_score)
        return;
    metrics->best_score = score;
    for (int32_t s = 0; settings->continue_best && s < trainer->slot_count; s++) {
        nmi_slot *slot = &trainer->slots[s];
        if (slot->trained)
            memcpy(slot->best, slot->values, (size_t)slot->count * sizeof(float));
    }
}

neumeta_status nmi_trainer_validate(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    double score = 0;
    neumeta_status status = NEUMETA_OK;
    if (!is_due(trainer, settings))
        return NEUMETA_OK;
    nmi_trainer_publish(trainer, true);
    if (trainer->manifold != NULL)
        status = judge_manifold(trainer, settings, &score);
    else
        status = nmi_network_evaluate(trainer->network, trainer->dataset, NEUMETA_SPLIT_HELD_OUT,
                                      NULL, &score);
    if (status == NEUMETA_OK)
        keep_if_best(trainer, settings, score);
    nmi_trainer_publish(trainer, false);
    return status;
}
