/* SPDX-License-Identifier: MIT */
/* Statistics of norms from data: what is drawn and measured, and kept for the regression. */
#include "nmi_calibrate.h"

#include "nmi_moments.h"
#include "nmi_random.h"
#include "nmi_settings.h"
#include "nmi_trained_range.h"

#include <string.h>

enum {
    BATCH = 128, /* items of a minibatch, as in training */
    LEAVE = 5    /* every so-manieth size tests the fit */
};

typedef struct parts {
    nmi_manifold *manifold;
    const nmi_topology *topology;
    const nmi_calibration *how;
    nmi_settings draw; /* the fields that nmi_settings_draw_sizes() reads */
    nmi_network *network;
    nmi_moments *moments;
    nmi_pass *pass;
    nmi_statistics *statistics;
    nmi_statistics_samples samples;
} parts;

static neumeta_status check_norms(const nmi_topology *topology)
{
    for (int32_t n = 0; n < topology->node_count; n++)
        if (topology->nodes[n].op == NEUMETA_OP_NORM)
            return NEUMETA_OK;
    return nmi_fail(topology->object.context, NEUMETA_ERR_UNSUPPORTED,
                    "there are no norms, so there is nothing to calibrate");
}

/* --- options ---------------------------------------------------------------------------------- */

static neumeta_status read_options(const nmi_manifold *manifold, const nmi_options *options,
                                   nmi_calibration *how)
{
    nmi_context *context = manifold->object.context;
    static const int32_t keys[] = {
        NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS, NEUMETA_KEY_GAMMA_MIN,
        NEUMETA_KEY_GAMMA_MAX,       NEUMETA_KEY_NON_UNIFORM,     NEUMETA_KEY_SIZE_AXES,
        NEUMETA_KEY_DEPTH_GAMMA_MAX, NEUMETA_KEY_GAMMA_GAP,       NEUMETA_KEY_SEED,
        NEUMETA_KEY_STREAM_GAMMA_MAX};
    neumeta_status status = nmi_options_allow(context, options, "manifold calibrate", keys,
                                              (int32_t)(sizeof keys / sizeof *keys));
    if (status != NEUMETA_OK)
        return status;
    how->sizes = nmi_options_int(options, NEUMETA_KEY_CALIBRATE_SIZES);
    how->items = nmi_options_int(options, NEUMETA_KEY_CALIBRATE_ITEMS);
    how->range = nmi_trained_size_range(manifold, options);
    how->non_uniform = nmi_calibrate_non_uniform(options);
    how->seed = nmi_options_seed(options, context);
    return nmi_range_check(context, options, &how->range.widths);
}

double nmi_calibrate_non_uniform(const nmi_options *options)
{
    const double unset = 0.5;
    return nmi_options_has(options, NEUMETA_KEY_NON_UNIFORM)
               ? nmi_options_real(options, NEUMETA_KEY_NON_UNIFORM)
               : unset;
}

/* --- samples ---------------------------------------------------------------------------------- */

static neumeta_status take_parts(parts *c, nmi_dataset *dataset)
{
    nmi_context *context = c->manifold->object.context;
    nmi_statistics_samples *s = &c->samples;
    const int64_t items = c->how->items, batch = items < BATCH ? items : BATCH;
    neumeta_status status =
        nmi_statistics_create(c->topology, c->how->moves, &c->how->range, false, &c->statistics);
    if (status == NEUMETA_OK) {
        nmi_manifold_map_statistics(c->manifold, c->statistics);
        status = nmi_statistics_allocate(c->statistics);
    }
    if (status != NEUMETA_OK)
        return status;
    s->sizes = nmi_alloc_matrix(context, s->count, c->topology->axis_count, sizeof *s->sizes);
    s->present = nmi_alloc_matrix(context, s->count, c->statistics->channels, sizeof *s->present);
    s->means = nmi_alloc_matrix(context, s->count, c->statistics->channels, sizeof *s->means);
    s->variances = nmi_alloc_matrix(context, s->count, c->statistics->channels, sizeof(float));
    if (s->sizes == NULL || s->present == NULL || s->means == NULL || s->variances == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_graph_full_sizes(c->topology, s->sizes);
    status = nmi_network_create(context, c->manifold->topology, s->sizes, &c->network);
    if (status == NEUMETA_OK)
        status =
            nmi_pass_create(context, c->manifold->topology, s->sizes, batch, NMI_FP32, &c->pass);
    if (status == NEUMETA_OK)
        status = nmi_moments_create(c->manifold->topology, dataset, items, batch, &c->moments);
    return status;
}

static neumeta_status measure_size(parts *c, int64_t index)
{
    int64_t *sizes = c->samples.sizes + index * c->topology->axis_count;
    nmi_settings_draw_sizes(&c->draw, c->topology, c->how->moves, index,
                            nmi_random_key(c->how->seed, NMI_RANDOM_SIZES, (uint64_t)index), sizes);
    if (index == 0) /* whatever is drawn: each channel must be met once */
        nmi_graph_full_sizes(c->topology, sizes);
    neumeta_status status = nmi_network_resize(c->network, sizes);
    if (status == NEUMETA_OK)
        status = nmi_manifold_emit(c->manifold, c->network, NULL, NULL, NMI_FP32);
    if (status == NEUMETA_OK)
        status = nmi_moments_measure(c->moments, c->pass, c->network);
    if (status == NEUMETA_OK)
        nmi_statistics_take(c->statistics, c->network, &c->samples, index);
    return status;
}

static neumeta_status measure_sizes(parts *c)
{
    const nmi_calibration *how = c->how;
    neumeta_status status = NEUMETA_OK;
    for (int64_t i = 0; i < c->samples.count && status == NEUMETA_OK; i++) {
        status = measure_size(c, i);
        if (status == NEUMETA_OK && how->watch != NULL &&
            how->watch(how->user, (double)(i + 1) / (double)how->sizes))
            status = NEUMETA_CANCELLED;
    }
    return status;
}

/* --- all together ----------------------------------------------------------------------------- */

static void give_parts(parts *c)
{
    nmi_context *context = c->manifold->object.context;
    nmi_statistics_free(c->statistics);
    nmi_moments_free(c->moments);
    nmi_pass_free(c->pass);
    nmi_network_release(c->network);
    nmi_free(context, c->samples.sizes);
    nmi_free(context, c->samples.present);
    nmi_free(context, c->samples.means);
    nmi_free(context, c->samples.variances);
}

/* The first fit tells how well unseen sizes are met, the second one is kept. */
static neumeta_status fit_functions(parts *c, double *error)
{
    neumeta_status status = nmi_statistics_fit(c->statistics, &c->samples, LEAVE);
    if (status != NEUMETA_OK)
        return status;
    const double left_out = nmi_statistics_error(c->statistics, &c->samples, LEAVE);
    status = nmi_statistics_fit(c->statistics, &c->samples, 0);
    if (status != NEUMETA_OK)
        return status;
    *error = left_out;
    nmi_manifold_forget_statistics(c->manifold);
    c->manifold->statistics = c->statistics;
    c->statistics = NULL;
    return NEUMETA_OK;
}

neumeta_status nmi_calibrate(nmi_manifold *manifold, nmi_dataset *dataset,
                             const nmi_calibration *how, double *error)
{
    parts c = {.manifold = manifold, .topology = manifold->topology, .how = how};
    c.samples.count = how->sizes;
    c.draw = (nmi_settings){
        .draw = NMI_DRAW_SANDWICH, .range = how->range, .non_uniform = how->non_uniform};
    neumeta_status status = take_parts(&c, dataset);
    if (status == NEUMETA_OK)
        status = measure_sizes(&c);
    if (status == NEUMETA_OK)
        status = fit_functions(&c, error);
    give_parts(&c);
    return status;
}

neumeta_status nmi_calibrate_manifold(nmi_manifold *manifold, nmi_dataset *dataset,
                                      const nmi_options *options, nmi_watch watch, void *user,
                                      double *error)
{
    nmi_context *context = manifold->object.context;
    nmi_calibration how = {.watch = watch, .user = user};
    neumeta_status status = read_options(manifold, options, &how);
    if (status == NEUMETA_OK)
        status = check_norms(manifold->topology);
    if (status != NEUMETA_OK)
        return status;
    bool *moves = nmi_alloc_zero_array(context, manifold->topology->axis_count, sizeof *moves);
    how.moves = moves;
    status = moves != NULL ? nmi_manifold_mark_axes(manifold, options, &how.range, moves)
                           : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = nmi_calibrate(manifold, dataset, &how, error);
    nmi_free(context, moves);
    return status;
}

/* In place: a trainer may point to the other tensors. */
static void take_statistics(nmi_network *network, const nmi_network *from)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++)
        if (!nmi_role_is_trainable(network->topology->tensors[t].role))
            memcpy(network->tensors[t].data, from->tensors[t].data,
                   (size_t)network->tensors[t].count * sizeof(float));
    nmi_network_touch(network);
}

neumeta_status nmi_calibrate_network(nmi_network *network, nmi_dataset *dataset,
                                     const nmi_options *options)
{
    static const int32_t keys[] = {NEUMETA_KEY_CALIBRATE_ITEMS};
    nmi_context *context = network->object.context;
    const int64_t items = nmi_options_int(options, NEUMETA_KEY_CALIBRATE_ITEMS);
    const int64_t batch = items < BATCH ? items : BATCH;
    nmi_pass *pass = NULL;
    nmi_moments *moments = NULL;
    nmi_network *measured = NULL; /* a failure must leave the network as it was */
    neumeta_status status = nmi_options_allow(context, options, "network calibrate", keys, 1);
    if (status == NEUMETA_OK)
        status = check_norms(network->topology);
    if (status == NEUMETA_OK && nmi_network_is_shared(network))
        status = nmi_fail(context, NEUMETA_ERR_STATE,
                          "the weights are shared with another network and cannot change");
    if (status == NEUMETA_OK)
        status = nmi_moments_create(network->topology, dataset, items, batch, &moments);
    if (status == NEUMETA_OK)
        status =
            nmi_pass_create(context, network->topology, network->sizes, batch, NMI_FP32, &pass);
    if (status == NEUMETA_OK)
        status = nmi_network_copy(network, &measured);
    if (status == NEUMETA_OK)
        status = nmi_moments_measure(moments, pass, measured);
    if (status == NEUMETA_OK)
        take_statistics(network, measured);
    nmi_network_release(measured);
    nmi_pass_free(pass);
    nmi_moments_free(moments);
    return status;
}
