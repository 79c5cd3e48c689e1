/* SPDX-License-Identifier: MIT */
/* The trainer's loop over the schedule, and its metrics. */
#include "nmi_trainer.h"

#include <math.h>
#include <time.h>

static double wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void nmi_trainer_publish(nmi_trainer *trainer, bool publish)
{
    if (trainer->published == publish)
        return;
    for (int32_t s = 0; s < trainer->slot_count; s++)
        nmi_slot_swap_average(&trainer->slots[s]);
    if (trainer->manifold == NULL)
        nmi_network_touch(trainer->network);
    trainer->published = publish;
}

static bool has_averages(const nmi_trainer *trainer)
{
    for (int32_t s = 0; s < trainer->slot_count; s++)
        if (trainer->slots[s].average != NULL)
            return true;
    return false;
}

/* For longer than a look: what was found of the averages does not hold for the values that train,
 * nor the other way round. */
static void switch_to(nmi_trainer *trainer, bool averages)
{
    if (trainer->manifold != NULL && trainer->published != averages && has_averages(trainer)) {
        if (nmi_trainer_settings(trainer)->statistics == NMI_NORM_BATCH)
            nmi_manifold_forget_statistics(trainer->manifold);
        nmi_manifold_forget_front(trainer->manifold);
    }
    nmi_trainer_publish(trainer, averages);
}

/* The slots point into the network of a plain training, and tables speak of both topologies. */
neumeta_status nmi_trainer_check(const nmi_trainer *trainer)
{
    nmi_context *context = trainer->object.context;
    if (trainer->reference != NULL && trainer->reference->topology != trainer->reference_topology)
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "the reference's norm was replaced after the trainer was made");
    neumeta_status status = nmi_trainer_check_teacher(trainer);
    if (status != NEUMETA_OK || trainer->manifold != NULL)
        return status;
    if (trainer->network->topology != trainer->topology)
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "the network's norm was replaced after the trainer was made");
    if (nmi_network_is_shared(trainer->network))
        return nmi_fail(context, NEUMETA_ERR_STATE,
                        "the network shares its weights, which training would change");
    return NEUMETA_OK;
}

/* Judges the last step, if it was not yet: after a failure that is made up for, not forgotten. */
static neumeta_status judge(nmi_trainer *trainer)
{
    neumeta_status status = NEUMETA_OK;
    if (!trainer->position.unjudged)
        return status;
    if (!trainer->ready)
        status = nmi_trainer_prepare(trainer);
    if (status == NEUMETA_OK)
        status = nmi_trainer_validate(trainer);
    trainer->position.unjudged = status != NEUMETA_OK;
    return status;
}

static bool phase_is_done(const nmi_trainer *trainer)
{
    return !nmi_trainer_finished(trainer) &&
           trainer->position.step >= nmi_trainer_steps_of_phase(trainer, trainer->position.phase);
}

/* Brings the trainer to where a step can be made, or past the end. */
static neumeta_status advance(nmi_trainer *trainer)
{
    neumeta_status status = NEUMETA_OK;
    while (status == NEUMETA_OK && !nmi_trainer_finished(trainer)) {
        if (!trainer->ready)
            status = nmi_trainer_prepare(trainer);
        if (status == NEUMETA_OK && !trainer->position.begun)
            status = nmi_trainer_begin_phase(trainer);
        if (status == NEUMETA_OK)
            status = judge(trainer);
        if (status != NEUMETA_OK || !phase_is_done(trainer))
            break;
        nmi_trainer_end_phase(trainer);
    }
    return status;
}

static neumeta_status make_step(nmi_trainer *trainer)
{
    double before = wall_clock();
    neumeta_status status = nmi_trainer_train(trainer);
    trainer->run_seconds += wall_clock() - before;
    if (status != NEUMETA_OK)
        return status;
    trainer->position.unjudged = true;
    return judge(trainer);
}

neumeta_status nmi_trainer_step(nmi_trainer *trainer)
{
    neumeta_status status = nmi_trainer_check(trainer);
    if (status != NEUMETA_OK)
        return status;
    if (!nmi_trainer_finished(trainer))
        switch_to(trainer, false);
    if (trainer->position.unjudged) {
        status = judge(trainer); /* the rest of a step that failed after its training */
    } else {
        status = advance(trainer);
        if (status == NEUMETA_OK && nmi_trainer_finished(trainer))
            status = NEUMETA_CANCELLED;
        if (status == NEUMETA_OK)
            status = make_step(trainer);
    }
    /* The next phase is left to the next call: a step that was made must not be reported failed. */
    if (status == NEUMETA_OK && phase_is_done(trainer))
        nmi_trainer_end_phase(trainer);
    if (nmi_trainer_finished(trainer))
        switch_to(trainer, true);
    return status;
}

static neumeta_status checkpoint_if_due(nmi_trainer *trainer, bool force)
{
    if (trainer->checkpoint_path == NULL)
        return NEUMETA_OK;
    double now = wall_clock();
    if (!force && now - trainer->last_checkpoint < trainer->checkpoint_seconds)
        return NEUMETA_OK;
    neumeta_status status = nmi_trainer_save(trainer, trainer->checkpoint_path);
    trainer->last_checkpoint = wall_clock();
    trainer->checkpoint_owed = status != NEUMETA_OK;
    return status;
}

bool nmi_trainer_report(nmi_trainer *trainer)
{
    if (trainer->run_start <= 0) /* nmi_trainer_step() is bounded by itself */
        return false;
    bool stop =
        trainer->progress != NULL && trainer->progress(trainer->progress_user, trainer) != 0;
    return atomic_exchange(&trainer->cancelled, false) || stop;
}

neumeta_status nmi_trainer_run(nmi_trainer *trainer)
{
    neumeta_status status = nmi_trainer_check(trainer);
    if (status != NEUMETA_OK)
        return status;
    if (!nmi_trainer_finished(trainer))
        switch_to(trainer, false);
    trainer->run_start = trainer->last_checkpoint = wall_clock();
    trainer->run_items = 0;
    trainer->run_seconds = 0;
    status = advance(trainer);
    if (status == NEUMETA_OK && (trainer->checkpoint_owed || nmi_trainer_finished(trainer)))
        status = checkpoint_if_due(trainer, true);
    while (status == NEUMETA_OK && !nmi_trainer_finished(trainer)) {
        status = make_step(trainer);
        bool stop = status == NEUMETA_OK && nmi_trainer_report(trainer);
        if (status == NEUMETA_OK && phase_is_done(trainer))
            nmi_trainer_end_phase(trainer);
        if (status == NEUMETA_OK && stop && !nmi_trainer_finished(trainer))
            status = NEUMETA_CANCELLED;
        if (status == NEUMETA_OK)
            status = advance(trainer); /* may be stopped, too: a phase can begin with a long fit */
        if (status == NEUMETA_OK)
            status = checkpoint_if_due(trainer, nmi_trainer_finished(trainer));
    }
    if (status == NEUMETA_CANCELLED) {
        const neumeta_status saved = checkpoint_if_due(trainer, true);
        status = saved == NEUMETA_OK ? status : saved;
    }
    trainer->metrics.seconds += wall_clock() - trainer->run_start;
    trainer->run_start = 0;
    switch_to(trainer, true);
    return status;
}

/* --- metrics ----------------------------------------------------------------------------- */

static double share_done(const nmi_trainer *trainer)
{
    double all = 0, done = 0;
    for (int32_t p = 0; p < trainer->phase_count; p++) {
        double steps = (double)nmi_trainer_steps_of_phase(trainer, p);
        all += steps;
        if (p < trainer->position.phase)
            done += steps;
    }
    if (!nmi_trainer_finished(trainer))
        done += (double)trainer->position.step;
    return all > 0 ? done / all : 1;
}

neumeta_status nmi_trainer_metric(const nmi_trainer *trainer, int32_t metric, double *value)
{
    const nmi_metrics *metrics = &trainer->metrics;
    double running = trainer->run_start > 0 ? wall_clock() - trainer->run_start : 0;
    switch (metric) {
    case NEUMETA_METRIC_PHASE:
        *value = trainer->position.phase;
        break;
    case NEUMETA_METRIC_EPOCH:
        *value = nmi_trainer_epoch(trainer);
        break;
    case NEUMETA_METRIC_STEP:
        *value = (double)trainer->position.steps;
        break;
    case NEUMETA_METRIC_PROGRESS:
        *value = share_done(trainer);
        break;
    case NEUMETA_METRIC_LOSS:
        *value = metrics->minibatches > 0 ? metrics->loss_sum / metrics->minibatches : NAN;
        break;
    case NEUMETA_METRIC_LOSS_TASK:
        *value = metrics->minibatches > 0 ? metrics->task_sum / metrics->minibatches : NAN;
        break;
    case NEUMETA_METRIC_LOSS_RECONSTRUCTION:
        *value = metrics->reconstruction;
        break;
    case NEUMETA_METRIC_LEARNING_RATE:
        *value = metrics->rate;
        break;
    case NEUMETA_METRIC_HELD_OUT_SCORE:
        *value = metrics->score;
        break;
    case NEUMETA_METRIC_BEST_SCORE:
        *value = metrics->best_score;
        break;
    case NEUMETA_METRIC_ITEMS_PER_SECOND:
        *value = trainer->run_seconds > 0 ? (double)trainer->run_items / trainer->run_seconds : 0;
        break;
    case NEUMETA_METRIC_SECONDS:
        *value = metrics->seconds + running;
        break;
    case NEUMETA_METRIC_FIT:
        *value = trainer->fitted;
        break;
    default:
        return NEUMETA_ERR_ARGUMENT;
    }
    return NEUMETA_OK;
}
