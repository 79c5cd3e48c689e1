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
    int32_t kind;
    const nmi_fit_target *target;
    const nmi_fit *fit;
    nmi_resample_work work;
    int32_t *tensors; /* all that are fitted */
    nmi_fit_batch *batches;
    float *arrays[ARRAYS];
    int64_t done, all; /* steps over all groups */
} fitting;

/* Tensors that are fitted at once: one, or all that share a trunk. Their parameters lie one after
 * another, those of the trunk last. */
typedef struct group {
    const int32_t *tensors;
    int32_t count;
    int32_t shared;   /* field of the trunk; -1: none */
    int64_t own, all; /* parameters of the tensors, and with those of the trunk */
    int64_t stepped;  /* so many of them are fitted */
} group;

static group make_group(const fitting *f, const int32_t *tensors, int32_t count)
{
    const nmi_manifold *manifold = f->manifold;
    group g = {.tensors = tensors, .count = count, .shared = manifold->shared[f->kind]};
    bool settled = false;
    for (int32_t i = 0; i < count; i++)
        g.own += manifold->fields[tensors[i]].parameter_count;
    for (int32_t t = 0; f->fit->settled != NULL && t < manifold->topology->tensor_count; t++)
        settled |= f->fit->settled[t] && manifold->fields[t].kind == nmi_inr_kind_at(f->kind);
    g.all = g.own + (g.shared >= 0 ? manifold->fields[g.shared].parameter_count : 0);
    g.stepped = settled ? g.own : g.all;
    return g;
}

/* Where all INRs of a group start. */
static void start_group(const fitting *f, const group *g)
{
    const nmi_manifold *manifold = f->manifold;
    float *at = f->arrays[PARAMETERS];
    for (int32_t i = 0; i < g->count; i++) {
        nmi_inr_draw(manifold, g->tensors[i], at);
        at += manifold->fields[g->tensors[i]].parameter_count;
    }
    if (g->shared >= 0 && g->stepped == g->all)
        nmi_inr_draw(manifold, g->shared, at);
    else if (g->shared >= 0)
        memcpy(at, manifold->fields[g->shared].parameters, (size_t)(g->all - g->own) * sizeof *at);
    memset(f->arrays[MOMENT], 0, (size_t)g->stepped * sizeof(float));
    memset(f->arrays[SQUARES], 0, (size_t)g->stepped * sizeof(float));
}

/* The tensor at the sizes whose turn it is. */
static void place_target(const fitting *f, nmi_fit_batch *batch)
{
    const nmi_fit_target *target = f->target;
    const float one = 1;
    const nmi_resampling resampling = nmi_resample_plan(&f->manifold->map, NMI_GAUGE_NEAREST,
                                                        target->narrow, batch->tensor, &f->work);
    batch->target = &target->narrow->tensors[batch->tensor];
    nmi_resample(&resampling, target->reference->tensors[batch->tensor].data, &one, 1, NULL,
                 batch->target->data);
    batch->mean_square = mean_square_of(batch->target);
}

/* A batch for each tensor that is live at the sizes whose turn it is; *count of them. */
static neumeta_status place_batches(const fitting *f, const group *g, int64_t step, int32_t *count)
{
    const nmi_manifold *manifold = f->manifold;
    const nmi_fit_target *target = f->target;
    const int64_t turn = step % target->count;
    int64_t at = 0;
    const neumeta_status status = nmi_network_resize(
        target->narrow, target->sizes + turn * target->narrow->topology->axis_count);
    *count = 0;
    for (int32_t i = 0; status == NEUMETA_OK && i < g->count; i++) {
        const int32_t tensor = g->tensors[i];
        const nmi_field *field = &manifold->fields[tensor];
        const uint64_t draw = (uint64_t)(step * manifold->counts[f->kind] + field->index);
        nmi_fit_batch *batch = &f->batches[*count];
        *batch = (nmi_fit_batch){.tensor = tensor,
                                 .parameters = f->arrays[PARAMETERS] + at,
                                 .gradient = f->arrays[GRADIENT] + at,
                                 .key = nmi_random_key(f->fit->key, NMI_RANDOM_FIT, draw)};
        at += field->parameter_count;
        if (target->narrow->tensors[tensor].rank == 0)
            continue;
        place_target(f, batch);
        ++*count;
    }
    return status;
}

static neumeta_status step_group(const fitting *f, const group *g, int64_t step,
                                 const nmi_noise *noise)
{
    const nmi_fit *fit = f->fit;
    float *const *arrays = f->arrays;
    const double angle = 3.14159265358979323846 * (double)step / (double)fit->steps;
    const nmi_adamw adamw = {.rate = (float)(fit->rate * 0.5 * (1 + cos(angle))),
                             .beta1 = 0.9f,
                             .beta2 = 0.999f,
                             .epsilon = 1e-8f,
                             .step = step + 1};
    int32_t count;
    const neumeta_status status = place_batches(f, g, step, &count);
    if (status != NEUMETA_OK)
        return status;
    memset(arrays[GRADIENT], 0, (size_t)g->all * sizeof(float));
    nmi_mlp_emission_fit(f->manifold, f->kind, noise, f->batches, count,
                         arrays[PARAMETERS] + g->own, arrays[GRADIENT] + g->own);
    nmi_adamw_step(&adamw, g->stepped, arrays[GRADIENT], arrays[MOMENT], arrays[SQUARES],
                   arrays[PARAMETERS]);
    return NEUMETA_OK;
}

/* What was fitted becomes what the manifold has. */
static neumeta_status take_group(const fitting *f, const group *g)
{
    nmi_manifold *manifold = f->manifold;
    const float *at = f->arrays[PARAMETERS];
    if (!nmi_all_finite(g->all, at))
        return nmi_fail(manifold->object.context, NEUMETA_ERR_NUMERIC,
                        "fitting the INR of tensor '%s' diverged: FIT_RATE %g is too large or the "
                        "reference is not finite",
                        manifold->topology->tensors[g->tensors[0]].name, f->fit->rate);
    for (int32_t i = 0; i < g->count; i++) {
        const nmi_field *field = &manifold->fields[g->tensors[i]];
        memcpy(field->parameters, at, (size_t)field->parameter_count * sizeof *at);
        at += field->parameter_count;
    }
    if (g->shared >= 0)
        memcpy(manifold->fields[g->shared].parameters, at, (size_t)(g->all - g->own) * sizeof *at);
    return NEUMETA_OK;
}

static neumeta_status fit_group(const fitting *f, const group *g)
{
    const nmi_fit *fit = f->fit;
    nmi_noise noise = {
        .amplitude = f->manifold->settings.noise,
        .clamp = f->manifold->settings.noise_clamp,
        .key = nmi_random_key(fit->key, NMI_RANDOM_NOISE, (uint64_t)g->tensors[0]),
        .samples = fit->steps,
    };
    start_group(f, g);
    for (int64_t step = 0; step < fit->steps; step++) {
        noise.sample = step;
        const neumeta_status status = step_group(f, g, step, &noise);
        if (status != NEUMETA_OK)
            return status;
        if (fit->watch != NULL &&
            fit->watch(fit->user, (double)(f->done + step + 1) / (double)f->all))
            return NEUMETA_CANCELLED;
    }
    return take_group(f, g);
}

/* Tables for groups of so many tensors, the first of which has as many parameters as any. */
static neumeta_status take_tables(fitting *f, const group *largest)
{
    nmi_context *ctx = f->manifold->object.context;
    neumeta_status status = nmi_resample_work_create(&f->manifold->map, &f->work);
    f->batches = nmi_alloc_array(ctx, largest->count, sizeof *f->batches);
    if (status == NEUMETA_OK && f->batches == NULL)
        status = NEUMETA_ERR_MEMORY;
    for (int a = 0; a < ARRAYS && status == NEUMETA_OK; a++) {
        f->arrays[a] = nmi_alloc_array(ctx, largest->all, sizeof(float));
        if (f->arrays[a] == NULL)
            status = NEUMETA_ERR_MEMORY;
    }
    return status;
}

static void free_tables(fitting *f)
{
    nmi_context *ctx = f->manifold->object.context;
    for (int a = 0; a < ARRAYS; a++)
        nmi_free(ctx, f->arrays[a]);
    nmi_free(ctx, f->batches);
    nmi_free(ctx, f->tensors);
    nmi_resample_work_free(ctx, &f->work);
}

/* Lists the tensors that are fitted; returns their number. */
static int32_t list_tensors(const fitting *f, const bool *fields)
{
    const nmi_manifold *manifold = f->manifold;
    int32_t count = 0;
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++)
        if (manifold->fields[t].kind == nmi_inr_kind_at(f->kind) && (fields == NULL || fields[t]))
            f->tensors[count++] = t;
    return count;
}

neumeta_status nmi_mlp_fit(nmi_manifold *manifold, int32_t kind, const bool *fields,
                           const nmi_fit_target *target, const nmi_fit *fit)
{
    fitting f = {.manifold = manifold, .kind = kind, .target = target, .fit = fit};
    neumeta_status status = nmi_mlp_emission_prepare(manifold, kind, true);
    if (status != NEUMETA_OK)
        return status;
    f.tensors =
        nmi_alloc_array(manifold->object.context, manifold->counts[kind], sizeof *f.tensors);
    if (f.tensors == NULL)
        return NEUMETA_ERR_MEMORY;
    const int32_t count = list_tensors(&f, fields);
    const int32_t size = manifold->shared[kind] >= 0 ? count : 1;
    if (count > 0) {
        const group first = make_group(&f, f.tensors, size);
        status = take_tables(&f, &first);
    }
    f.all = count > 0 ? count / size * fit->steps : 0;
    for (int32_t i = 0; i < count && status == NEUMETA_OK; i += size) {
        const group g = make_group(&f, f.tensors + i, size);
        status = fit_group(&f, &g);
        f.done += fit->steps;
    }
    free_tables(&f);
    return status;
}
