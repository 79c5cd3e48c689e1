/* SPDX-License-Identifier: MIT */
/*
 * Where INRs start: random, cloned from one another, or fitted to a reference tensor.
 *
 * Sources: Neural Metamorphosis, arXiv 2410.11878 (random); How to Train Your Metamorphic Deep
 * Neural Network, arXiv 2505.05510 (a new block's INRs cloned from the block before).
 */
#include "nmi_emission.h"
#include "nmi_inr_mlp.h"
#include "nmi_optimizer.h"
#include "nmi_resample.h"

#include <math.h>
#include <string.h>

const nmi_inr_kind *nmi_inr_kind_at(int32_t index)
{
    static const nmi_inr_kind *const kinds[] = {&nmi_inr_mlp};
    return kinds[index];
}

/* Random parameters of a tensor's INR. */
static void draw_parameters(const nmi_manifold *manifold, int32_t tensor, float *parameters)
{
    const uint64_t own = nmi_random_key(manifold->start_key, NMI_RANDOM_WEIGHTS, (uint64_t)tensor);
    nmi_inr_part part;
    for (int32_t p = 0; manifold->kind->part(&manifold->inr, p, &part); p++)
        for (int64_t i = part.offset; i < part.offset + part.count; i++) {
            const double unit = 2 * nmi_random_uniform_at(own, (uint64_t)i) - 1;
            parameters[i] = (float)(part.bound > 0 ? part.bound * unit : part.value);
        }
}

void nmi_manifold_initialize(nmi_manifold *manifold, int32_t tensor)
{
    const nmi_field *field = &manifold->fields[tensor];
    if (field->morphing)
        draw_parameters(manifold, tensor, field->parameters);
    else
        memset(field->parameters, 0, (size_t)field->parameter_count * sizeof(float));
}

neumeta_status nmi_manifold_clone(nmi_manifold *manifold, int32_t from, int32_t to)
{
    const nmi_field *source = &manifold->fields[from];
    const nmi_field *target = &manifold->fields[to];
    if (!source->morphing || !target->morphing)
        return nmi_fail(manifold->object.context, NEUMETA_ERR_UNSUPPORTED,
                        "cannot clone tensor '%s' to '%s': only INRs can be cloned, and '%s' is "
                        "held directly",
                        manifold->topology->tensors[from].name,
                        manifold->topology->tensors[to].name,
                        manifold->topology->tensors[source->morphing ? to : from].name);
    NMI_ASSERT(source->parameter_count == target->parameter_count);
    if (from != to)
        memcpy(target->parameters, source->parameters,
               (size_t)source->parameter_count * sizeof(float));
    return NEUMETA_OK;
}

void nmi_manifold_hold(nmi_manifold *manifold, const nmi_network *reference)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        const nmi_field *field = &manifold->fields[t];
        const nmi_tensor *tensor = &reference->tensors[t];
        if (field->morphing)
            continue;
        NMI_ASSERT(tensor->count == field->parameter_count);
        memcpy(field->parameters, tensor->data, (size_t)tensor->count * sizeof(float));
    }
}

/* --- regression -------------------------------------------------------------------------- */

enum { PARAMETERS, GRADIENT, MOMENT, SQUARES, ARRAYS };

static double mean_square_of(const nmi_tensor *target)
{
    const double mean = nmi_squared_norm(target->count, target->data) / (double)target->count;
    return mean > 1e-12 ? mean : 1;
}

/* The tensor at the sizes whose turn it is. */
static neumeta_status place_target(const nmi_fit_target *target, int32_t tensor, int64_t step,
                                   nmi_fit_batch *batch)
{
    const int64_t turn = step % target->count;
    const neumeta_status status = nmi_network_resize(
        target->narrow, target->sizes + turn * target->narrow->topology->axis_count);
    if (status != NEUMETA_OK)
        return status;
    nmi_resample_tensor(target->reference, target->narrow, tensor);
    batch->target = &target->narrow->tensors[tensor];
    batch->mean_square = mean_square_of(batch->target);
    return NEUMETA_OK;
}

/* One INR's share of nmi_manifold_fit(); `done` and `all` count steps over all INRs. */
static neumeta_status fit_field(nmi_manifold *manifold, int32_t tensor,
                                const nmi_fit_target *target, const nmi_fit *fit,
                                float *const arrays[ARRAYS], int64_t done, int64_t all)
{
    const nmi_field *field = &manifold->fields[tensor];
    const size_t bytes = (size_t)field->parameter_count * sizeof(float);
    nmi_noise noise = {
        .amplitude = manifold->settings.noise,
        .clamp = manifold->settings.noise_clamp,
        .key = nmi_random_key(fit->key, NMI_RANDOM_NOISE, (uint64_t)tensor),
        .samples = fit->steps,
    };
    nmi_fit_batch batch = {.parameters = arrays[PARAMETERS], .noise = &noise};
    nmi_adamw adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f};
    draw_parameters(manifold, tensor, arrays[PARAMETERS]);
    memset(arrays[MOMENT], 0, bytes);
    memset(arrays[SQUARES], 0, bytes);
    for (int64_t step = 0; step < fit->steps; step++) {
        const double angle = 3.14159265358979323846 * (double)step / (double)fit->steps;
        const uint64_t draw = (uint64_t)(step * manifold->morphing_count + field->index);
        adamw.rate = (float)(fit->rate * 0.5 * (1 + cos(angle)));
        adamw.step = step + 1;
        noise.sample = step;
        batch.key = nmi_random_key(fit->key, NMI_RANDOM_FIT, draw);
        const neumeta_status status = place_target(target, tensor, step, &batch);
        if (status != NEUMETA_OK)
            return status;
        memset(arrays[GRADIENT], 0, bytes);
        nmi_emission_fit(manifold, tensor, &batch, arrays[GRADIENT]);
        nmi_adamw_step(&adamw, field->parameter_count, arrays[GRADIENT], arrays[MOMENT],
                       arrays[SQUARES], arrays[PARAMETERS]);
        if (fit->watch != NULL && fit->watch(fit->user, (double)(done + step + 1) / (double)all))
            return NEUMETA_CANCELLED;
    }
    if (!nmi_all_finite(field->parameter_count, arrays[PARAMETERS]))
        return nmi_fail(manifold->object.context, NEUMETA_ERR_NUMERIC,
                        "fitting the INR of tensor '%s' diverged: FIT_RATE %g is too large or the "
                        "reference is not finite",
                        manifold->topology->tensors[tensor].name, fit->rate);
    memcpy(field->parameters, arrays[PARAMETERS], bytes);
    return NEUMETA_OK;
}

static bool is_fitted(const nmi_manifold *manifold, const bool *fields, int32_t tensor)
{
    return manifold->fields[tensor].morphing && (fields == NULL || fields[tensor]);
}

neumeta_status nmi_manifold_fit(nmi_manifold *manifold, const bool *fields,
                                const nmi_fit_target *target, const nmi_fit *fit)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t tensors = manifold->topology->tensor_count;
    const int64_t parameters = manifold->kind->parameter_count(&manifold->inr);
    float *arrays[ARRAYS] = {NULL};
    int64_t done = 0, all = 0;
    neumeta_status status = nmi_emission_prepare(manifold, true);
    for (int a = 0; a < ARRAYS && status == NEUMETA_OK; a++) {
        arrays[a] = nmi_alloc_array(ctx, parameters, sizeof(float));
        if (arrays[a] == NULL)
            status = NEUMETA_ERR_MEMORY;
    }
    for (int32_t t = 0; t < tensors; t++)
        all += is_fitted(manifold, fields, t) ? fit->steps : 0;
    for (int32_t t = 0; t < tensors && status == NEUMETA_OK; t++) {
        if (!is_fitted(manifold, fields, t))
            continue;
        status = fit_field(manifold, t, target, fit, arrays, done, all);
        done += fit->steps;
    }
    for (int a = 0; a < ARRAYS; a++)
        nmi_free(ctx, arrays[a]);
    return status;
}
