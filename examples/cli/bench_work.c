/* SPDX-License-Identifier: MIT */
/*
 * Pieces of work for benchmarks. Their FLOPs are those of the formulas, whatever the library saves:
 *
 *     materialise   samples * rows * 2 (P H + (layers - 1) H^2 + 9 H),   P = 6 + 12 octaves
 *     run           batch * those of the network
 *     train         three times a run: forward, and backward to the inputs and to the weights
 *     morph         a run, the backward of the last block, three times a materialisation
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static const char endless[] = "1000000"; /* epochs of a training that is only timed */

void bench_items(int64_t count, float *inputs, int64_t *targets)
{
    uint32_t seed = 1;
    for (int64_t i = 0; i < count * BENCH_ITEM; i++) {
        seed = seed * 1664525u + 1013904223u;
        inputs[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    for (int64_t i = 0; i < count; i++)
        targets[i] = i % BENCH_CLASSES;
}

/* --- settings -------------------------------------------------------------------------------- */

/* What the first failure leaves in *status stays there, here as below. */
static void set(neumeta_status *status, neumeta_options *options, const char *name,
                const char *value)
{
    if (*status == NEUMETA_OK)
        *status = neumeta_options_parse(options, name, value);
}

static void set_int(neumeta_status *status, neumeta_options *options, int32_t key, int64_t value)
{
    if (*status == NEUMETA_OK)
        *status = neumeta_options_set_int(options, key, value);
}

static void set_real(neumeta_status *status, neumeta_options *options, int32_t key, double value)
{
    if (*status == NEUMETA_OK)
        *status = neumeta_options_set_real(options, key, value);
}

/* --- networks -------------------------------------------------------------------------------- */

static neumeta_status open_network(bench_work *work)
{
    const bench_spec *spec = &work->spec;
    neumeta_topology *builtin = NULL;
    neumeta_status status =
        neumeta_topology_create_builtin(work->context, spec->topology, NULL, &builtin);
    if (status == NEUMETA_OK)
        status = spec->weights != NULL
                     ? neumeta_network_load(builtin, spec->weights, NULL, &work->network)
                     : neumeta_network_create(builtin, NULL, 0, &work->network);
    bool fold = spec->folded || spec->kind == BENCH_MATERIALIZE || spec->kind == BENCH_MORPH;
    if (status == NEUMETA_OK && fold)
        status = neumeta_network_replace_norm(work->network, NEUMETA_NORM_FOLD, NULL);
    if (status == NEUMETA_OK)
        status = neumeta_network_topology(work->network, &work->topology);
    neumeta_topology_free(builtin);
    return status;
}

static neumeta_status open_items(bench_work *work)
{
    const int64_t batch = work->spec.batch;
    work->inputs = malloc((size_t)(batch * BENCH_ITEM) * sizeof *work->inputs);
    work->outputs = malloc((size_t)(batch * BENCH_CLASSES) * sizeof *work->outputs);
    work->targets = malloc((size_t)batch * sizeof *work->targets);
    if (work->inputs == NULL || work->outputs == NULL || work->targets == NULL)
        return NEUMETA_ERR_MEMORY;
    bench_items(batch, work->inputs, work->targets);
    return NEUMETA_OK;
}

/* Its sizes, and as cost that of `times` runs. */
static neumeta_status open_sizes(bench_work *work, double times)
{
    int64_t flops = 0;
    work->axes = neumeta_topology_axis_count(work->topology);
    work->sizes = calloc((size_t)work->axes, sizeof *work->sizes);
    if (work->sizes == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = neumeta_network_sizes(work->network, work->sizes, work->axes);
    if (status == NEUMETA_OK)
        status = neumeta_topology_cost(work->topology, work->sizes, work->axes, NULL, &flops);
    work->flops = times * (double)work->spec.batch * (double)flops;
    return status;
}

/* --- manifolds ------------------------------------------------------------------------------- */

/* The last residual block: the classifier follows it. */
static int32_t last_block(const neumeta_topology *topology)
{
    return neumeta_topology_block_count(topology) - 2;
}

static neumeta_status open_manifold(bench_work *work)
{
    const bench_spec *spec = &work->spec;
    neumeta_options *options = NULL;
    const int64_t block = last_block(work->topology);
    neumeta_status status = neumeta_options_create(work->context, &options);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_ints(options, NEUMETA_KEY_MORPH_BLOCKS, &block, 1);
    set_int(&status, options, NEUMETA_KEY_INR_HIDDEN, spec->inr.hidden);
    set_int(&status, options, NEUMETA_KEY_INR_LAYERS, spec->inr.layers);
    set_int(&status, options, NEUMETA_KEY_INR_OCTAVES, spec->inr.octaves);
    if (spec->kind == BENCH_MORPH)
        set_real(&status, options, NEUMETA_KEY_NOISE, spec->noise);
    if (status == NEUMETA_OK)
        status = neumeta_manifold_create(work->topology, options, &work->manifold);
    neumeta_options_free(options);
    return status;
}

/* Sets the width of the block's inner axis, the one with "<block>." before its name, and counts the
 * rows of its two convolutions and their biases. */
static neumeta_status set_width(bench_work *work)
{
    const char *block = neumeta_topology_block_name(work->topology, last_block(work->topology));
    const size_t length = strlen(block);
    neumeta_status status = neumeta_manifold_sizes_at(work->manifold, 0, work->sizes, work->axes);
    int64_t stream = 0, inner = 0;
    for (int32_t axis = 0; axis < work->axes && status == NEUMETA_OK; axis++) {
        const char *name = NULL;
        status = neumeta_topology_axis(work->topology, axis, &name, NULL, NULL, NULL, NULL);
        const bool ours =
            status == NEUMETA_OK && strncmp(name, block, length) == 0 && name[length] == '.';
        if (ours && work->spec.width > 0)
            work->sizes[axis] = work->spec.width;
        if (ours)
            inner = work->sizes[axis];
        else if (work->sizes[axis] > stream)
            stream = work->sizes[axis];
    }
    work->rows = 2 * stream * inner + inner + stream;
    return status;
}

static double inr_flops(const bench_work *work)
{
    const double hidden = (double)work->spec.inr.hidden;
    const double inputs = 6 + 12 * (double)work->spec.inr.octaves;
    const double layers = (double)work->spec.inr.layers;
    return 2 * (double)work->rows * hidden * (inputs + (layers - 1) * hidden + 9);
}

static neumeta_status open_materialize(bench_work *work)
{
    neumeta_status status = open_network(work);
    if (status == NEUMETA_OK)
        status = open_manifold(work);
    if (status == NEUMETA_OK)
        status = open_sizes(work, 0);
    if (status == NEUMETA_OK)
        status = set_width(work);
    if (status == NEUMETA_OK)
        status = neumeta_options_create(work->context, &work->sampling);
    set_int(&status, work->sampling, NEUMETA_KEY_SAMPLES, work->spec.samples);
    if (work->spec.precision != NULL)
        set(&status, work->sampling, "precision", work->spec.precision);
    work->flops = (double)work->spec.samples * inr_flops(work);
    return status;
}

/* --- training -------------------------------------------------------------------------------- */

/* All items are one batch, so every step takes the same ones. */
static neumeta_status open_dataset(bench_work *work)
{
    neumeta_status status = open_items(work);
    if (status == NEUMETA_OK)
        status = neumeta_dataset_create_memory(work->context, work->inputs, work->targets,
                                               work->spec.batch, 0, NULL, &work->dataset);
    return status;
}

static neumeta_status open_train(bench_work *work)
{
    neumeta_schedule *schedule = NULL;
    neumeta_options *options = NULL;
    neumeta_status status = open_network(work);
    if (status == NEUMETA_OK)
        status = open_dataset(work);
    if (status == NEUMETA_OK)
        status = neumeta_options_create(work->context, &options);
    set(&status, options, "epochs", endless);
    set(&status, options, "optimizer", "sgd");
    if (work->spec.precision != NULL)
        set(&status, options, "precision", work->spec.precision);
    set_int(&status, options, NEUMETA_KEY_BATCH, work->spec.batch);
    set_real(&status, options, NEUMETA_KEY_LEARNING_RATE, work->spec.rate);
    if (status == NEUMETA_OK)
        status = neumeta_schedule_create(work->context, &schedule);
    if (status == NEUMETA_OK)
        status = neumeta_schedule_add_phase(schedule, "all", 0, -1, options);
    if (status == NEUMETA_OK)
        status = neumeta_trainer_create_plain(work->network, schedule, work->dataset, NULL,
                                              &work->trainer);
    neumeta_schedule_free(schedule);
    neumeta_options_free(options);
    return status == NEUMETA_OK ? open_sizes(work, 3) : status;
}

/* The recipe of arXiv 2410.11878 at full width, so that all steps do the same work. */
static neumeta_status open_schedule(const bench_work *work, neumeta_schedule **schedule)
{
    const int64_t block = last_block(work->topology);
    neumeta_options *options = NULL;
    neumeta_status status = neumeta_options_create(work->context, &options);
    set(&status, options, "epochs", endless);
    set(&status, options, "rate", "constant");
    set(&status, options, "gamma_max", "0");
    if (work->spec.precision != NULL)
        set(&status, options, "precision", work->spec.precision);
    set_int(&status, options, NEUMETA_KEY_BATCH, work->spec.batch);
    set_real(&status, options, NEUMETA_KEY_LEARNING_RATE, work->spec.rate);
    if (status == NEUMETA_OK)
        status = neumeta_schedule_create_recipe(work->topology, "nm", &block, 1, options, schedule);
    neumeta_options_free(options);
    return status;
}

static neumeta_status open_morph(bench_work *work)
{
    neumeta_schedule *schedule = NULL;
    neumeta_status status = open_network(work);
    if (status == NEUMETA_OK)
        status = open_manifold(work);
    if (status == NEUMETA_OK)
        status = open_dataset(work);
    if (status == NEUMETA_OK)
        status = open_schedule(work, &schedule);
    if (status == NEUMETA_OK)
        status = neumeta_trainer_create(work->manifold, work->network, schedule, work->dataset,
                                        NULL, &work->trainer);
    neumeta_schedule_free(schedule);
    if (status == NEUMETA_OK)
        status = open_sizes(work, 1);
    if (status == NEUMETA_OK)
        status = set_width(work);
    /* Nine taps at 8 x 8 positions for each pair of channels, to the inputs and to the weights. */
    work->flops += 2 * 2 * (double)work->spec.batch * (double)work->rows * 9 * 64;
    work->flops += 3 * inr_flops(work);
    return status;
}

/* --- entry points ---------------------------------------------------------------------------- */

static neumeta_status open_run(bench_work *work)
{
    neumeta_status status = open_network(work);
    if (status == NEUMETA_OK)
        status = open_items(work);
    return status == NEUMETA_OK ? open_sizes(work, 1) : status;
}

neumeta_status bench_open(neumeta_context *context, const bench_spec *spec, bench_work *work)
{
    static neumeta_status (*const openers[])(bench_work *) = {
        [BENCH_MATERIALIZE] = open_materialize,
        [BENCH_RUN] = open_run,
        [BENCH_TRAIN] = open_train,
        [BENCH_MORPH] = open_morph,
    };
    *work = (bench_work){.spec = *spec, .context = context};
    neumeta_status status = openers[spec->kind](work);
    if (status != NEUMETA_OK)
        bench_close(work);
    return status;
}

neumeta_status bench_once(bench_work *work)
{
    neumeta_network *made = NULL;
    neumeta_status status = NEUMETA_OK;
    switch (work->spec.kind) {
    case BENCH_MATERIALIZE:
        status = neumeta_manifold_materialize(work->manifold, work->sizes, work->axes,
                                              work->sampling, &made);
        neumeta_network_free(made);
        break;
    case BENCH_RUN:
        status = neumeta_network_run(work->network, work->inputs, work->spec.batch, work->outputs,
                                     work->spec.batch * BENCH_CLASSES);
        break;
    case BENCH_TRAIN:
    case BENCH_MORPH:
        status = neumeta_trainer_step(work->trainer);
        break;
    }
    return status;
}

/* The sentence about a failure, which closing keeps: frees do not touch it. */
void bench_close(bench_work *work)
{
    neumeta_trainer_free(work->trainer);
    neumeta_dataset_free(work->dataset);
    neumeta_options_free(work->sampling);
    neumeta_manifold_free(work->manifold);
    neumeta_network_free(work->network);
    neumeta_topology_free(work->topology);
    free(work->sizes);
    free(work->inputs);
    free(work->outputs);
    free(work->targets);
    memset(work, 0, sizeof *work);
}
