/* SPDX-License-Identifier: MIT */
/* Where the INRs of a phase begin: cloned, fitted, or as they were made; and residual scalars, and
 * statistics that a phase keeps. */
#include "nmi_trainer.h"

#include "nmi_random.h"
#include "nmi_trained_range.h"

#include <math.h>
#include <string.h>

/* Morphing tensor number `index` of a block, or -1. */
static int32_t morphing_tensor(const nmi_trainer *trainer, int32_t block, int32_t index)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        if (trainer->manifold->fields[t].morphing &&
            nmi_trainer_block(trainer->topology, t) == block && index-- == 0)
            return t;
    return -1;
}

/* Tensor by tensor, in their order: those of a shortcut, which come last, are left over. */
static neumeta_status clone_block(nmi_trainer *trainer, int32_t from, int32_t to)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t i = 0; status == NEUMETA_OK; i++) {
        int32_t source = morphing_tensor(trainer, from, i);
        int32_t target = morphing_tensor(trainer, to, i);
        if (source < 0 || target < 0)
            break;
        status = nmi_manifold_clone(trainer->manifold, source, target);
    }
    return status;
}

/* The block that was added last before `block`, -1 if it is the first: by phases, then by number.
 */
static int32_t block_before(const nmi_trainer *trainer, int32_t block)
{
    int32_t phase = trainer->position.phase, before = -1;
    for (int32_t b = 0; b < block; b++)
        if (nmi_settings_has_block(&trainer->phases[phase], b) &&
            morphing_tensor(trainer, b, 0) >= 0 && !nmi_trainer_reached_before(trainer, phase, b))
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
            nmi_trainer_reached_before(trainer, trainer->position.phase, b) ||
            morphing_tensor(trainer, b, 0) < 0)
            continue;
        if (nmi_graph_same_stage(trainer->topology, trainer->network->shapes, before, b))
            status = clone_block(trainer, before, b);
    }
    return status;
}

/* The INRs that this phase adds, and those of the phases before. */
static void mark_fresh(const nmi_trainer *trainer, bool *fresh, bool *settled)
{
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        const bool before = nmi_trainer_reached_before(trainer, trainer->position.phase,
                                                       nmi_trainer_block(trainer->topology, t));
        fresh[t] = trainer->reached[t] && !before;
        settled[t] = trainer->reached[t] && before;
    }
}

/* FIT_SIZES compressions of the widths that vary, evenly from the least to the largest, each axis
 * in its own range; 1: full. */
static void list_fit_sizes(const nmi_trainer *trainer, const nmi_settings *settings, int64_t *sizes)
{
    const nmi_topology *topology = trainer->topology;
    double steps = settings->fit_sizes > 1 ? (double)(settings->fit_sizes - 1) : 1;
    for (int32_t i = 0; i < settings->fit_sizes; i++)
        for (int32_t a = 0; a < topology->axis_count; a++) {
            const nmi_range range = nmi_size_range_of(&settings->range, topology, a);
            const double gamma = range.min + (range.max - range.min) * i / steps;
            sizes[i * topology->axis_count + a] = settings->fit_sizes > 1
                                                      ? nmi_trainer_size_at(trainer, a, gamma)
                                                      : trainer->full_sizes[a];
        }
}

static bool watch_fit(void *user, double done)
{
    nmi_trainer *trainer = user;
    trainer->fitted = done;
    return nmi_trainer_report(trainer);
}

/* The network that training emits into is the room: the first step overwrites it. */
static neumeta_status start_fitted(nmi_trainer *trainer, const nmi_settings *settings)
{
    nmi_context *context = trainer->object.context;
    const int32_t tensors = trainer->topology->tensor_count;
    bool *fresh = nmi_alloc_zero_array(context, 2 * (int64_t)tensors, sizeof *fresh);
    int64_t *sizes = nmi_alloc_matrix(context, settings->fit_sizes, trainer->topology->axis_count,
                                      sizeof *sizes);
    neumeta_status status = fresh != NULL && sizes != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK) {
        nmi_fit_target target = {trainer->reference, trainer->network, sizes, settings->fit_sizes};
        nmi_fit fit = {.steps = settings->fit_steps, .rate = settings->fit_rate};
        fit.key = nmi_random_key(trainer->seed, NMI_RANDOM_FIT, (uint64_t)trainer->position.phase);
        fit.watch = watch_fit;
        fit.user = trainer;
        fit.settled = fresh + tensors;
        mark_fresh(trainer, fresh, fresh + tensors);
        list_fit_sizes(trainer, settings, sizes);
        status = nmi_manifold_fit(trainer->manifold, fresh, &target, &fit);
        trainer->fitted = NAN;
    }
    nmi_free(context, sizes);
    nmi_free(context, fresh);
    return status;
}

/* A block that starts as the identity must be the identity before its phase, too: otherwise adding
 * it would take away what the later blocks rely on. So all residual scalars start with the first
 * phase. */
static void start_residuals(nmi_trainer *trainer)
{
    bool changed = false;
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        if (trainer->slots[t].kind != NMI_SLOT_RESIDUAL)
            continue;
        int32_t block = nmi_trainer_block(trainer->topology, t);
        for (int32_t p = trainer->phase_count - 1; p >= 0; p--)
            if (trainer->phases[p].has_residual_start &&
                nmi_settings_has_block(&trainer->phases[p], block) &&
                morphing_tensor(trainer, block, 0) >= 0) {
                float *scalar = trainer->slots[t].values;
                changed = changed || *scalar != (float)trainer->phases[p].residual_start;
                *scalar = (float)trainer->phases[p].residual_start;
            }
    }
    if (changed)
        nmi_manifold_forget_statistics(trainer->manifold);
}

/* For the sizes that the phase draws; those of the phase before are kept if they cover these. */
static neumeta_status start_statistics(nmi_trainer *trainer, const nmi_settings *settings)
{
    double error = 0;
    const nmi_calibration how = {
        .sizes = trainer->calibrate_sizes,
        .items = trainer->calibrate_items,
        .range = settings->range,
        .non_uniform = nmi_calibrate_non_uniform(settings->options),
        .moves = trainer->varies,
        .seed = nmi_random_key(trainer->seed, NMI_RANDOM_SIZES, (uint64_t)trainer->position.phase),
        .watch = watch_fit,
        .user = trainer,
    };
    const nmi_statistics *kept = trainer->manifold->statistics;
    if (kept != NULL && nmi_statistics_cover(kept, trainer->varies, &settings->range))
        return NEUMETA_OK;
    const neumeta_status status = nmi_calibrate(trainer->manifold, trainer->dataset, &how, &error);
    trainer->fitted = NAN;
    return status;
}

/* Whether a first phase leaves nothing of what the INRs have learned. */
static bool starts_all(const nmi_trainer *trainer, const nmi_settings *settings)
{
    bool all = trainer->position.phase == 0 && settings->start == NMI_START_FITTED;
    for (int32_t b = 0; b < trainer->topology->block_count && all; b++)
        all = trainer->manifold->block_kinds[b] < 0 || nmi_settings_has_block(settings, b);
    return all;
}

neumeta_status nmi_trainer_start_inrs(nmi_trainer *trainer)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    neumeta_status status = NEUMETA_OK;
    nmi_manifold_forget_front(trainer->manifold);
    if (settings->statistics == NMI_NORM_BATCH || settings->start != NMI_START_RANDOM)
        nmi_manifold_forget_statistics(trainer->manifold);
    if (starts_all(trainer, settings))
        nmi_trained_forget(trainer->manifold);
    if (settings->start == NMI_START_CLONED)
        status = start_cloned(trainer, settings);
    if (settings->start == NMI_START_FITTED)
        status = start_fitted(trainer, settings);
    if (status == NEUMETA_OK && trainer->position.phase == 0)
        start_residuals(trainer);
    if (status == NEUMETA_OK && settings->statistics == NMI_NORM_FITTED)
        status = start_statistics(trainer, settings);
    return status;
}
