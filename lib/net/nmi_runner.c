/* SPDX-License-Identifier: MIT */
/*
 * Inference. Each worker takes a few images at a time through the whole network inside an arena
 * that stays in its cache; the places of values in it follow from their lifetimes. Weights are
 * packed once for each generation of the network, factors per channel folded into them.
 */
#include "nmi_runner.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_norm_op.h"
#include "nmi_steps.h"

#include <string.h>

enum {
    GROUP_MOST = 4,           /* images that a worker takes at a time */
    GROUP_FLOATS = 192 * 1024 /* unless their values exceed this: a share of a 2 MiB cache */
};

struct nmi_runner {
    const nmi_kernels *kernels; /* of the context, which keeps them as long as there is a network */
    nmi_steps steps;
    nmi_step_weights *weights; /* [node_count], the first steps.count used */
    int64_t *place;            /* [node_count] of a step's weights in `packed` */
    int64_t *offset;           /* [node_count] see nmi_chunk */
    nmi_span *spans;           /* [node_count] */
    uint64_t generation;       /* of the network that `packed` holds; 0: none */
    int64_t item_floats;       /* values of one item */
    int64_t workspace_floats;  /* of one worker */
    int64_t packed_floats, scratch_floats;
    float *packed; /* packed weights, then scratch for folding */
    int64_t packed_room;
    float *arena; /* [lanes][values of a group, workspace] */
    int64_t arena_room;
};

/* How a batch is split. */
typedef struct batch_split {
    int64_t group, chunks, lanes, lane_floats;
} batch_split;

/* --- plan ------------------------------------------------------------------------------------ */

void nmi_runner_free(nmi_context *context, nmi_runner *runner)
{
    if (runner == NULL)
        return;
    nmi_steps_free(context, &runner->steps);
    nmi_free(context, runner->weights);
    nmi_free(context, runner->place);
    nmi_free(context, runner->offset);
    nmi_free(context, runner->spans);
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
    runner->offset = nmi_alloc_array(context, nodes, sizeof *runner->offset);
    runner->spans = nmi_alloc_array(context, nodes, sizeof *runner->spans);
    if (runner->weights != NULL && runner->place != NULL && runner->offset != NULL &&
        runner->spans != NULL)
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
    return (int64_t)sizeof(nmi_runner) + nmi_steps_bytes(topology) +
           (int64_t)topology->node_count *
               (int64_t)(sizeof(nmi_step_weights) + 2 * sizeof(int64_t) + sizeof(nmi_span));
}

static bool is_live(const nmi_network *network, const nmi_step *step)
{
    return network->shapes[step->end].channels > 0;
}

static void plan_values(nmi_runner *runner, const nmi_network *network)
{
    const nmi_topology *topology = network->topology;
    const nmi_steps *steps = &runner->steps;
    for (int32_t n = 0; n < topology->node_count; n++)
        runner->spans[n] = (nmi_span){n, n, 0, 0};
    for (int32_t n = 0; n < topology->node_count; n++) {
        const nmi_node *node = &topology->nodes[n];
        if (network->shapes[n].channels == 0 || node->op == NEUMETA_OP_SELECT)
            continue;
        if (steps->end[n] == n)
            runner->spans[n].size = nmi_aligned_floats(nmi_shape_floats(&network->shapes[n]));
        for (int32_t k = 0; k < node->input_count; k++) {
            nmi_span *read = &runner->spans[steps->source[node->inputs[k]]];
            if (read->last < steps->end[n])
                read->last = steps->end[n];
        }
    }
    runner->spans[steps->source[topology->output]].last = topology->node_count;
    runner->item_floats = nmi_spans_arrange(runner->spans, topology->node_count);
    for (int32_t n = 0; n < topology->node_count; n++)
        runner->offset[n] = runner->spans[steps->end[n]].offset;
}

/* Floats of a step's packed weights; those of folding them come back in *scratch. */
static int64_t weight_floats(nmi_runner *runner, const nmi_network *network, const nmi_step *step,
                             int64_t *scratch)
{
    const nmi_node *node = &network->topology->nodes[step->node];
    int64_t channels = network->shapes[step->node].channels;
    int64_t vector = nmi_aligned_floats(channels);
    int64_t count = 0;
    if (node->op == NEUMETA_OP_NORM || node->op == NEUMETA_OP_AFFINE)
        return 2 * vector;
    if (node->op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(network->topology, &runner->steps, network->shapes, step->node);
        const nmi_conv_path path = nmi_conv_path_of(runner->kernels);
        int64_t workspace = (int64_t)(nmi_conv_workspace_bytes(path, &shape) / sizeof(float)) + 1;
        if (workspace > runner->workspace_floats)
            runner->workspace_floats = nmi_aligned_floats(workspace);
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
    plan_values(runner, network);
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

static batch_split split_batch(const nmi_context *context, const nmi_runner *runner, int64_t batch)
{
    batch_split split;
    int64_t workers = nmi_worker_count(context);
    split.group = GROUP_FLOATS / (runner->item_floats + 1);
    if (split.group > GROUP_MOST)
        split.group = GROUP_MOST;
    if (split.group > (batch + workers - 1) / workers)
        split.group = (batch + workers - 1) / workers;
    if (split.group < 1)
        split.group = 1;
    split.chunks = (batch + split.group - 1) / split.group;
    split.lanes = split.chunks < workers ? split.chunks : workers;
    split.lane_floats = runner->item_floats * split.group + runner->workspace_floats;
    return split;
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

/* The node as y = scale x + shift for each channel. */
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
        nmi_conv_pack(nmi_conv_path_of(runner->kernels), &shape, weights, matrix);
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

static void run_chunk(void *argument, int64_t index, int32_t worker)
{
    const run_job *job = argument;
    const nmi_network *network = job->network;
    const nmi_runner *runner = network->runner;
    int64_t first = index * job->split.group;
    int64_t items = job->batch - first < job->split.group ? job->batch - first : job->split.group;
    float *lane = runner->arena +
                  (job->split.chunks <= job->split.lanes ? index : worker) * job->split.lane_floats;
    nmi_chunk chunk = {.topology = network->topology,
                       .steps = &runner->steps,
                       .shapes = network->shapes,
                       .kernels = runner->kernels,
                       .base = lane,
                       .offset = runner->offset,
                       .room = job->split.group,
                       .items = items,
                       .workspace = lane + runner->item_floats * job->split.group};
    for (int32_t s = 0; s < runner->steps.count; s++) {
        const nmi_step *step = &runner->steps.steps[s];
        if (!is_live(network, step))
            continue;
        const nmi_shape *shape = &network->shapes[step->node];
        if (network->topology->nodes[step->node].op == NEUMETA_OP_INPUT)
            nmi_nchw_to_nhwc(items, shape->channels, shape->height * shape->width,
                             job->inputs + first * job->input_floats,
                             nmi_chunk_value(&chunk, step->end));
        else
            nmi_step_forward(&chunk, step, &runner->weights[s]);
    }
    int32_t output = runner->steps.source[network->topology->output];
    const nmi_shape *shape = &network->shapes[output];
    nmi_nhwc_to_nchw(items, shape->channels, shape->height * shape->width,
                     nmi_chunk_value(&chunk, output), job->outputs + first * job->output_floats);
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
                   .split = split_batch(context, runner, batch)};
    status = make_room(context, job.split.lanes * job.split.lane_floats, &runner->arena,
                       &runner->arena_room);
    if (status == NEUMETA_OK)
        nmi_run(context, job.split.chunks, run_chunk, &job);
    return status;
}

neumeta_status nmi_network_memory(const nmi_network *network, int64_t batch, int64_t *bytes)
{
    nmi_context *context = network->object.context;
    nmi_runner *runner;
    neumeta_status status = create_runner(context, network->topology, &runner);
    if (status != NEUMETA_OK)
        return status;
    plan_runner(runner, network);
    batch_split split = split_batch(context, runner, batch);
    *bytes = fixed_bytes(network->topology) +
             (int64_t)sizeof(float) *
                 (runner->packed_floats + runner->scratch_floats + split.lanes * split.lane_floats);
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
