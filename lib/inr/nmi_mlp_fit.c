/* SPDX-License-Identifier: MIT */
/* Regression of MLPs onto a reference: an addition to both papers. */
#include "nmi_mlp_emission.h"

#include "nmi_optimizer.h"
#include "nmi_resample.h"

#include <math.h>
#include <string.h>

enum { PARAMETERS, GRADIENT, MOMENT, SQUARES, ARRAYS };

static double mean_square_of(const nmi_tensor *target)
{
    const double mean = nmi_squared_norm(target->count, target->data) / (double)target->count;
    return mean > 1e-12 ? mean : 1;
}

/* What all fits of a call need. */
typedef struct fitting {
    nmi_manifold *manifold;
    const nmi_fit_target *target;
    const nmi_fit *fit;
    nmi_resample_work work;
    float *arrays[ARRAYS];
    int64_t done, all; /* steps over all INRs */
} fitting;

/* The tensor at the sizes whose turn it is. */
static neumeta_status place_target(const fitting *f, int32_t tensor, int64_t step,
                                   nmi_fit_batch *batch)
{
    const nmi_fit_target *target = f->target;
    const int64_t turn = step % target->count;
    const float one = 1;
    const neumeta_status status = nmi_network_resize(
        target->narrow, target->sizes + turn * target->narrow->topology->axis_count);
    if (status != NEUMETA_OK)
        return status;
    const nmi_resampling resampling =
        nmi_resample_plan(&f->manifold->map, NMI_GAUGE_NEAREST, target->narrow, tensor, &f->work);
    batch->target = &target->narrow->tensors[tensor];
    nmi_resample(&resampling, target->reference->tensors[tensor].data, &one, 1, NULL,
                 batch->target->data);
    batch->mean_square = mean_square_of(batch->target);
    return NEUMETA_OK;
}

static neumeta_status fit_field(const fitting *f, int32_t tensor)
{
    nmi_manifold *manifold = f->manifold;
    const nmi_fit *fit = f->fit;
    float *const *arrays = f->arrays;
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
    nmi_inr_draw(manifold, tensor, arrays[PARAMETERS]);
    memset(arrays[MOMENT], 0, bytes);
    memset(arrays[SQUARES], 0, bytes);
    for (int64_t step = 0; step < fit->steps; step++) {
        const double angle = 3.14159265358979323846 * (double)step / (double)fit->steps;
        const uint64_t draw = (uint64_t)(step * manifold->counts[NMI_INR_MLP] + field->index);
        adamw.rate = (float)(fit->rate * 0.5 * (1 + cos(angle)));
        adamw.step = step + 1;
        noise.sample = step;
        batch.key = nmi_random_key(fit->key, NMI_RANDOM_FIT, draw);
        const neumeta_status status = place_target(f, tensor, step, &batch);
        if (status != NEUMETA_OK)
            return status;
        memset(arrays[GRADIENT], 0, bytes);
        nmi_mlp_emission_fit(manifold, tensor, &batch, arrays[GRADIENT]);
        nmi_adamw_step(&adamw, field->parameter_count, arrays[GRADIENT], arrays[MOMENT],
                       arrays[SQUARES], arrays[PARAMETERS]);
        if (fit->watch != NULL &&
            fit->watch(fit->user, (double)(f->done + step + 1) / (double)f->all))
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
    return manifold->fields[tensor].kind == &nmi_inr_mlp && (fields == NULL || fields[tensor]);
}

neumeta_status nmi_mlp_fit(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                           const nmi_fit *fit)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t tensors = manifold->topology->tensor_count;
    const int64_t parameters = nmi_mlp_parameter_count(&manifold->mlp);
    fitting f = {.manifold = manifold, .target = target, .fit = fit};
    neumeta_status status = nmi_inr_mlp.prepare(manifold, true);
    if (status == NEUMETA_OK)
        status = nmi_resample_work_create(&manifold->map, &f.work);
    for (int a = 0; a < ARRAYS && status == NEUMETA_OK; a++) {
        f.arrays[a] = nmi_alloc_array(ctx, parameters, sizeof(float));
        if (f.arrays[a] == NULL)
            status = NEUMETA_ERR_MEMORY;
    }
    for (int32_t t = 0; t < tensors; t++)
        f.all += is_fitted(manifold, fields, t) ? fit->steps : 0;
    for (int32_t t = 0; t < tensors && status == NEUMETA_OK; t++) {
        if (!is_fitted(manifold, fields, t))
            continue;
        status = fit_field(&f, t);
        f.done += fit->steps;
    }
    for (int a = 0; a < ARRAYS; a++)
        nmi_free(ctx, f.arrays[a]);
    nmi_resample_work_free(ctx, &f.work);
    return status;
}
