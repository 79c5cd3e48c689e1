/* SPDX-License-Identifier: MIT */
/*
 * Inference. Each worker takes a few images at a time through the whole network inside an arena
 * that stays in its cache. Images that are too few for that are computed by all workers together,
 * step by step, a share of the step's lines or channels each. Weights are packed once for each
 * generation of the network, factors per channel folded into them.
 */
#include "nmi_runner.h"

#include "nmi_dense.h"
#include "nmi_layout.h"
#include "nmi_norm_op.h"
#include "nmi_stages.h"

#include <string.h>

enum {
    GROUP_MOST = 4,            /* images that a worker takes at a time */
    GROUP_FLOATS = 192 * 1024, /* unless their values exceed this: a share of a 2 MiB cache */
    PARTS_MOST = 16,           /* shares of an image's step */
    PART_COST = 400 * 1000, /* FLOP of a share: some microseconds, ten times what a stage costs */
    SHARED_COST = 4000 * 1000, /* FLOP of an image below which calling helpers does not pay */
    FLOAT_COST = 10            /* FLOP in the time in which a float is read or written */
};

struct nmi_runner {
    const nmi_kernels *kernels; /* of the context, which keeps them as long as there is a network */
    nmi_steps steps;
    nmi_step_weights *weights; /* [node_count], the first steps.count used */
    int64_t *place;            /* [node_count] of a step's weights in `packed` */
    nmi_layout layout;
    nmi_stage *stages;        /* [node_count + 1] of images that are shared */
    nmi_stage_pause pause;    /* of one of their lanes */
    uint64_t generation;      /* of the network that `packed` holds; 0: none */
    bool bordered;            /* values have borders, and steps can be shared */
    int64_t workspace_floats; /* of one worker */
    int64_t packed_floats, scratch_floats;
    float *packed; /* packed weights, then scratch for folding */
    int64_t packed_room;
    float *arena; /* [lanes][values of a group, workspace], or [shared images][values] and
                     [sharers][workspace] */
    int64_t arena_room;
};

/* How a batch is split: first `chunks` groups of images for one worker each, the first `larger` of
 * them of `group` images and the others of one less; then `shared` images, each in up to `parts`,
 * by at most `sharers` workers. */
typedef struct batch_split {
    int64_t group, larger, chunks, lanes, lane_floats;
    int64_t shared, parts, sharers;
} batch_split;

/* --- plan ------------------------------------------------------------------------------------ */

void nmi_runner_free(nmi_context *context, nmi_runner *runner)
{
    if (runner == NULL)
        return;
    nmi_steps_free(context, &runner->steps);
    nmi_free(context, runner->weights);
    nmi_free(context, runner->place);
    nmi_layout_free(context, &runner->layout);
    nmi_free(context, runner->stages);
    nmi_free(context, runner->packed);
    nmi_free(context, runner->arena);
    nmi_free(context, runner);
}

static neumeta_status create_runner(nmi_context *context, const nmi_topology *topology,
                                    nmi_runner **out)
{
    neumeta_status status = NEUMETA_ERR_MEMORY;
    int32_t nodes = topology->node_count;
    nmi_runner *runner = nmi_alloc_zero(context, sizeof *runner);
    if (runner == NULL)
        return status;
    runner->kernels = context->kernels;
    runner->weights = nmi_alloc_zero_array(context, nodes, sizeof *runner->weights);
    runner->place = nmi_alloc_array(context, nodes, sizeof *runner->place);
    runner->stages = nmi_alloc_array(context, (int64_t)nodes + 1, sizeof *runner->stages);
    if (runner->weights != NULL && runner->place != NULL && runner->stages != NULL)
        status = nmi_layout_create(context, topology, &runner->layout);
    if (status == NEUMETA_OK)
        status = nmi_steps_create(context, topology, true, &runner->steps);
    if (status != NEUMETA_OK) {
        nmi_runner_free(context, runner);
        runner = NULL;
    }
    *out = runner;
    return status;
}

/* What create_runner() took. */
static int64_t fixed_bytes(const nmi_topology *topology)
{
    return (int64_t)(sizeof(nmi_runner) + sizeof(nmi_stage)) + nmi_steps_bytes(topology) +
           nmi_layout_bytes(topology) +
           (int64_t)topology->node_count *
               (int64_t)(sizeof(nmi_step_weights) + sizeof(int64_t) + sizeof(nmi_stage));
}

static bool is_live(const nmi_network *network, const nmi_step *step)
{
    return network->shapes[step->end].channels > 0;
}

/* Room in each worker's workspace. */
static void need_workspace(nmi_runner *runner, size_t bytes)
{
    const int64_t floats = nmi_aligned_floats((int64_t)(bytes / sizeof(float)));
    if (floats > runner->workspace_floats)
        runner->workspace_floats = floats;
}

/* Floats of a step's packed weights; those of folding them come back in *scratch. */
static int64_t weight_floats(nmi_runner *runner, const nmi_network *network, const nmi_step *step,
                             int64_t *scratch)
{
    const nmi_node *node = &network->topology->nodes[step->node];
    int64_t channels = network->shapes[step->node].channels;
    int64_t vector = nmi_aligned_floats(channels);
    int64_t count = 0;
    if (node->op == NEUMETA_OP_GROUP_NORM)
        need_workspace(runner, nmi_group_norm_workspace_bytes(channels));
    if (node->op == NEUMETA_OP_NORM || node->op == NEUMETA_OP_GROUP_NORM ||
        node->op == NEUMETA_OP_AFFINE)
        return 2 * vector;
    if (node->op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(network->topology, &runner->steps, network->shapes, step->node);
        const nmi_conv_path path = nmi_conv_path_of(runner->kernels, NMI_FP32, &shape);
        need_workspace(runner, runner->bordered ? nmi_conv_part_workspace_bytes(path, &shape)
                                                : nmi_conv_workspace_bytes(path, &shape));
        count = (int64_t)nmi_conv_packed_floats(path, &shape);
        *scratch = channels * shape.in_channels * shape.kernel * shape.kernel;
    } else if (node->op == NEUMETA_OP_LINEAR) {
        int64_t inputs = network->shapes[runner->steps.source[node->inputs[0]]].channels;
        count =
            (int64_t)nmi_dense_packed_floats(runner->kernels, (nmi_dense_shape){inputs, channels});
        *scratch = channels * inputs;
    } else {
        return 0;
    }
    *scratch = step->scaled >= 0 ? nmi_aligned_floats(*scratch) + 3 * vector : 0;
    return nmi_aligned_floats(count) + vector;
}

static void plan_runner(nmi_runner *runner, const nmi_network *network)
{
    nmi_steps_resolve(&runner->steps, network->topology, network->sizes);
    runner->bordered = nmi_conv_reads_borders(runner->kernels);
    nmi_layout_plan(&runner->layout, network, &runner->steps, runner->bordered);
    runner->workspace_floats = 0;
    runner->scratch_floats = 0;
    runner->packed_floats = nmi_aligned_floats(1); /* never nothing */
    for (int32_t s = 0; s < runner->steps.count; s++) {
        const nmi_step *step = &runner->steps.steps[s];
        int64_t scratch = 0;
        runner->place[s] = runner->packed_floats;
        if (!is_live(network, step))
            continue;
        runner->packed_floats += weight_floats(runner, network, step, &scratch);
        if (scratch > runner->scratch_floats)
            runner->scratch_floats = scratch;
    }
}

/* --- split ----------------------------------------------------------------------------------- */

/* FLOP of one item's step, and into how many shares it could be cut. */
static int64_t step_cost(const nmi_runner *runner, const nmi_network *network, int32_t number,
                         int64_t *shares)
{
    const nmi_topology *topology = network->topology;
    const nmi_step *step = &runner->steps.steps[number];
    const nmi_node *node = &topology->nodes[step->node];
    const nmi_shape *out = &network->shapes[step->node];
    const int64_t panel = runner->kernels->panel;
    const int64_t panels = (out->channels + panel - 1) / panel;
    int64_t cost = FLOAT_COST * nmi_shape_floats(out);
    *shares = nmi_step_divides(node->op) ? out->height : 1;
    if (node->input_count == 0)
        return cost;
    const nmi_shape *in = &network->shapes[runner->steps.source[node->inputs[0]]];
    if (node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR) {
        *shares = panels > out->height ? panels : out->height;
        return 2 * node->kernel * node->kernel * in->channels * nmi_shape_floats(out);
    }
    return cost + FLOAT_COST * node->input_count * nmi_shape_floats(in);
}

/* Shares of one item's step, at most `most`; 1 where the step is too short for more. */
static int64_t step_parts(const nmi_runner *runner, const nmi_network *network, int32_t number,
                          int64_t most)
{
    int64_t shares;
    const int64_t parts = step_cost(runner, network, number, &shares) / PART_COST;
    if (most > shares)
        most = shares;
    if (most > parts)
        most = parts;
    return most > 1 ? most : 1;
}

/* Into how many parts to cut each of `items` < `workers` images: as few as keep all workers about
 * as busy as any number would. */
static int64_t image_parts(int64_t items, int64_t workers)
{
    int64_t best = 1;
    double best_time = 1.0;
    for (int64_t parts = 2; parts <= PARTS_MOST && parts * items <= NMI_STAGE_TASKS; parts++) {
        double time = (double)((parts * items + workers - 1) / workers) / (double)parts;
        if (time < 0.9 * best_time) {
            best = parts;
            best_time = time;
        }
    }
    return best;
}

/* Whether enough of an image's work can be shared. */
static bool is_shareable(const nmi_runner *runner, const nmi_network *network)
{
    int64_t shared = 0;
    for (int32_t s = 0; s < runner->steps.count && runner->bordered; s++) {
        int64_t shares;
        if (is_live(network, &runner->steps.steps[s]) &&
            step_parts(runner, network, s, PARTS_MOST) > 1)
            shared += step_cost(runner, network, s, &shares);
    }
    return shared >= SHARED_COST;
}

static batch_split split_batch(const nmi_context *context, const nmi_runner *runner,
                               const nmi_network *network, int64_t batch)
{
    batch_split split = {.parts = 1};
    const int64_t workers = nmi_worker_count(context);
    int64_t most = GROUP_FLOATS / (runner->layout.floats + 1);
    most = most > GROUP_MOST ? GROUP_MOST : most < 1 ? 1 : most;
    if (batch % workers > 0 && is_shareable(runner, network))
        split.parts = image_parts(batch % workers, workers);
    if (split.parts > 1)
        split.shared = batch % workers;
    split.sharers = split.shared * split.parts < workers ? split.shared * split.parts : workers;
    const int64_t whole = batch - split.shared;
    split.chunks = (whole + workers * most - 1) / (workers * most) * workers;
    if (split.chunks > whole)
        split.chunks = whole;
    if (split.chunks > 0) {
        split.group = (whole + split.chunks - 1) / split.chunks;
        split.larger = split.chunks - (split.group * split.chunks - whole);
    }
    split.lanes = split.chunks < workers ? split.chunks : workers;
    /* Groups even out, so a larger batch may have smaller ones; memory never shrinks with them. */
    if (most > (whole + workers - 1) / workers)
        most = (whole + workers - 1) / workers;
    split.lane_floats = runner->layout.floats * most + runner->workspace_floats;
    return split;
}

static int64_t arena_floats(const nmi_runner *runner, const batch_split *split)
{
    const int64_t whole = split->lanes * split->lane_floats;
    const int64_t shared =
        split->shared * runner->layout.floats + split->sharers * runner->workspace_floats;
    return whole > shared ? whole : shared;
}

static neumeta_status make_room(nmi_context *context, int64_t floats, float **memory, int64_t *room)
{
    if (floats <= *room)
        return NEUMETA_OK;
    nmi_free(context, *memory);
    *memory = nmi_alloc_array(context, floats, sizeof(float));
    *room = *memory != NULL ? floats : 0;
    return *memory != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

/* --- weights --------------------------------------------------------------------------------- */

static const float *tensor_of(const nmi_network *network, int32_t node, nmi_role role)
{
    int32_t tensor = nmi_graph_node_tensor(network->topology, node, role);
    return tensor >= 0 ? network->tensors[tensor].data : NULL;
}

static float factor_of(const nmi_network *network, int32_t node)
{
    const float *scale = tensor_of(network, node, NMI_ROLE_SCALE);
    return scale != NULL ? *scale : (float)network->topology->nodes[node].value;
}

/* The node as y = scale x + shift for each channel; of a GROUP_NORM, what follows its moments. */
static void channel_factors(const nmi_network *network, int32_t number, float *scale, float *shift)
{
    const nmi_node *node = &network->topology->nodes[number];
    int64_t channels = network->shapes[number].channels;
    size_t bytes = (size_t)channels * sizeof(float);
    if (node->op == NEUMETA_OP_NORM) {
        nmi_norm_fold(channels, tensor_of(network, number, NMI_ROLE_NORM_WEIGHT),
                      tensor_of(network, number, NMI_ROLE_NORM_BIAS),
                      tensor_of(network, number, NMI_ROLE_RUNNING_MEAN),
                      tensor_of(network, number, NMI_ROLE_RUNNING_VAR), (float)node->epsilon, scale,
                      shift);
    } else if (node->op == NEUMETA_OP_GROUP_NORM) {
        memcpy(scale, tensor_of(network, number, NMI_ROLE_NORM_WEIGHT), bytes);
        memcpy(shift, tensor_of(network, number, NMI_ROLE_NORM_BIAS), bytes);
    } else if (node->op == NEUMETA_OP_AFFINE) {
        memcpy(scale, tensor_of(network, number, NMI_ROLE_AFFINE_WEIGHT), bytes);
        memcpy(shift, tensor_of(network, number, NMI_ROLE_AFFINE_BIAS), bytes);
    } else {
        memset(shift, 0, bytes);
        for (int64_t c = 0; c < channels; c++)
            scale[c] = factor_of(network, number);
    }
}

/* Weights [channels][taps] and bias with all factors of the step; returns the weights. */
static const float *fold_factors(const nmi_runner *runner, const nmi_network *network,
                                 const nmi_step *step, int64_t taps, const float *weights,
                                 float *bias)
{
    int64_t channels = network->shapes[step->node].channels;
    int64_t vector = nmi_aligned_floats(channels);
    float *total = runner->packed + runner->packed_floats;
    float *scale = total + vector;
    float *shift = scale + vector;
    float *folded = shift + vector;
    for (int64_t c = 0; c < channels; c++)
        total[c] = 1.0f;
    for (int32_t node = step->node; node != step->scaled;) {
        node = runner->steps.sole[node];
        channel_factors(network, node, scale, shift);
        for (int64_t c = 0; c < channels; c++) {
            total[c] *= scale[c];
            bias[c] = bias[c] * scale[c] + shift[c];
        }
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < taps; i++)
            folded[c * taps + i] = weights[c * taps + i] * total[c];
    return folded;
}

static void pack_product(const nmi_runner *runner, const nmi_network *network, const nmi_step *step,
                         float *packed, nmi_step_weights *out)
{
    const nmi_node *node = &network->topology->nodes[step->node];
    const float *weights = tensor_of(network, step->node, NMI_ROLE_WEIGHT);
    const float *own_bias = tensor_of(network, step->node, NMI_ROLE_BIAS);
    int64_t channels = network->shapes[step->node].channels;
    int64_t inputs = network->shapes[runner->steps.source[node->inputs[0]]].channels;
    float *bias = packed;
    float *matrix = packed + nmi_aligned_floats(channels);
    if (own_bias != NULL)
        memcpy(bias, own_bias, (size_t)channels * sizeof *bias);
    else
        memset(bias, 0, (size_t)channels * sizeof *bias);
    if (step->scaled >= 0) {
        int64_t taps = node->op == NEUMETA_OP_CONV ? node->kernel * node->kernel : 1;
        weights = fold_factors(runner, network, step, inputs * taps, weights, bias);
    }
    if (node->op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(network->topology, &runner->steps, network->shapes, step->node);
        nmi_conv_pack(nmi_conv_path_of(runner->kernels, NMI_FP32, &shape), &shape, weights, matrix);
    } else {
        nmi_dense_pack(runner->kernels, (nmi_dense_shape){inputs, channels}, weights, matrix);
    }
    out->packed = matrix;
    out->bias = own_bias != NULL || step->scaled >= 0 ? bias : NULL;
}

static void pack_weights(nmi_runner *runner, const nmi_network *network)
{
    for (int32_t s = 0; s < runner->steps.count; s++) {
        const nmi_step *step = &runner->steps.steps[s];
        float *place = runner->packed + runner->place[s];
        nmi_step_weights *weights = &runner->weights[s];
        *weights = (nmi_step_weights){0};
        if (!is_live(network, step))
            continue;
        switch (network->topology->nodes[step->node].op) {
        case NEUMETA_OP_CONV:
        case NEUMETA_OP_LINEAR:
            pack_product(runner, network, step, place, weights);
            break;
        case NEUMETA_OP_NORM:
        case NEUMETA_OP_GROUP_NORM:
        case NEUMETA_OP_AFFINE:
            weights->scale = place;
            weights->shift = place + nmi_aligned_floats(network->shapes[step->node].channels);
            channel_factors(network, step->node, place,
                            place + nmi_aligned_floats(network->shapes[step->node].channels));
            break;
        case NEUMETA_OP_SCALE:
        case NEUMETA_OP_GAIN:
            weights->factor = factor_of(network, step->node);
            break;
        default:
            break;
        }
    }
}

/* --- run ------------------------------------------------------------------------------------- */

typedef struct run_job {
    const nmi_network *network;
    const float *inputs;
    float *outputs;
    int64_t batch, input_floats, output_floats;
    batch_split split;
} run_job;

static nmi_chunk arena_chunk(const run_job *job, float *base, int64_t room)
{
    const nmi_runner *runner = job->network->runner;
    return (nmi_chunk){.topology = job->network->topology,
                       .steps = &runner->steps,
                       .shapes = job->network->shapes,
                       .kernels = runner->kernels,
                       .base = base,
                       .offset = runner->layout.offset,
                       .room = room,
                       .items = room,
                       .workspace = base + runner->layout.floats * room,
                       .border = runner->bordered ? runner->layout.border : NULL,
                       .unclear = runner->bordered ? runner->layout.unclear : NULL};
}

/* Step `number`, or the output for the number behind the last one; `item` is the chunk's first. */
static void run_step(const run_job *job, const nmi_chunk *chunk, int64_t item, int32_t number)
{
    const nmi_runner *runner = job->network->runner;
    const nmi_topology *topology = job->network->topology;
    if (number == runner->steps.count) {
        nmi_chunk_write(chunk, runner->steps.source[topology->output],
                        job->outputs + item * job->output_floats);
        return;
    }
    const nmi_step *step = &runner->steps.steps[number];
    if (!is_live(job->network, step))
        return;
    if (topology->nodes[step->node].op == NEUMETA_OP_INPUT)
        nmi_chunk_read(chunk, step, job->inputs + item * job->input_floats);
    else
        nmi_step_forward(chunk, step, &runner->weights[number]);
}

/* Task: one group of images through the network. */
static void run_chunk(void *argument, int64_t index, int32_t worker)
{
    const run_job *job = argument;
    const batch_split *split = &job->split;
    const nmi_runner *runner = job->network->runner;
    const int64_t lane = split->chunks <= split->lanes ? index : worker;
    const int64_t smaller = index > split->larger ? index - split->larger : 0;
    nmi_chunk chunk = arena_chunk(job, runner->arena + lane * split->lane_floats, split->group);
    chunk.items = index < split->larger ? split->group : split->group - 1;
    for (int32_t s = 0; s <= runner->steps.count; s++)
        run_step(job, &chunk, index * split->group - smaller, s);
}

/* Task: a share of one image in one stage. */
static void run_share(void *argument, const nmi_stage *stage, int64_t index, int64_t lane)
{
    const run_job *job = argument;
    const batch_split *split = &job->split;
    const nmi_runner *runner = job->network->runner;
    const int64_t parts = stage->tasks / split->shared;
    const int64_t image = index / parts;
    /* Images within a stage do not wait for each other: each has an arena of its own. */
    nmi_chunk chunk = arena_chunk(job, runner->arena + image * runner->layout.floats, 1);
    chunk.workspace =
        runner->arena + split->shared * runner->layout.floats + lane * runner->workspace_floats;
    chunk.parts = parts;
    chunk.part = index % parts;
    for (int32_t s = stage->begin; s < stage->end; s++)
        run_step(job, &chunk, job->batch - split->shared + image, s);
}

/* Steps of more than one part are a stage each; those between run together. */
static int32_t plan_stages(const nmi_runner *runner, const nmi_network *network,
                           const batch_split *split)
{
    int32_t count = 0;
    int64_t before = 0; /* parts of the last stage */
    for (int32_t s = 0; s <= runner->steps.count; s++) {
        int64_t parts = 1;
        if (s < runner->steps.count) {
            if (!is_live(network, &runner->steps.steps[s]))
                continue;
            parts = step_parts(runner, network, s, split->parts);
        }
        if (parts > 1 || before != 1)
            runner->stages[count++] =
                (nmi_stage){.begin = s, .tasks = (int32_t)(parts * split->shared)};
        runner->stages[count - 1].end = s + 1;
        before = parts;
    }
    return count;
}

neumeta_status nmi_network_run(nmi_network *network, const float *inputs, int64_t batch,
                               float *outputs)
{
    nmi_context *context = network->object.context;
    neumeta_status status = NEUMETA_OK;
    if (network->runner == NULL)
        status = create_runner(context, network->topology, &network->runner);
    if (status != NEUMETA_OK || batch <= 0)
        return status;
    nmi_runner *runner = network->runner;
    if (runner->generation != network->generation) {
        runner->generation = 0;
        plan_runner(runner, network);
        status = make_room(context, runner->packed_floats + runner->scratch_floats, &runner->packed,
                           &runner->packed_room);
        if (status != NEUMETA_OK)
            return status;
        pack_weights(runner, network);
        runner->generation = network->generation;
    }
    run_job job = {.network = network,
                   .inputs = inputs,
                   .outputs = outputs,
                   .batch = batch,
                   .input_floats = nmi_network_input_floats(network),
                   .output_floats = nmi_network_output_floats(network),
                   .split = split_batch(context, runner, network, batch)};
    status =
        make_room(context, arena_floats(runner, &job.split), &runner->arena, &runner->arena_room);
    if (status != NEUMETA_OK)
        return status;
    nmi_run(context, job.split.chunks, run_chunk, &job);
    if (job.split.shared > 0)
        nmi_run_stages(context, runner->stages, plan_stages(runner, network, &job.split), run_share,
                       &job, &runner->pause);
    return NEUMETA_OK;
}

neumeta_status nmi_network_memory(const nmi_network *network, int64_t batch, int64_t *bytes)
{
    nmi_context *context = network->object.context;
    nmi_runner *runner;
    neumeta_status status = create_runner(context, network->topology, &runner);
    if (status != NEUMETA_OK)
        return status;
    plan_runner(runner, network);
    batch_split split = split_batch(context, runner, network, batch);
    *bytes = fixed_bytes(network->topology) +
             (int64_t)sizeof(float) *
                 (runner->packed_floats + runner->scratch_floats + arena_floats(runner, &split));
    nmi_runner_free(context, runner);
    return NEUMETA_OK;
}

static int64_t node_floats(const nmi_network *network, int32_t node)
{
    /* A SELECT has the shape of what it passes on. */
    return nmi_shape_floats(&network->shapes[node]);
}

int64_t nmi_network_output_floats(const nmi_network *network)
{
    return node_floats(network, network->topology->output);
}

int64_t nmi_network_input_floats(const nmi_network *network)
{
    for (int32_t n = 0; n < network->topology->node_count; n++)
        if (network->topology->nodes[n].op == NEUMETA_OP_INPUT)
            return node_floats(network, n);
    return 0;
}
