/* SPDX-License-Identifier: MIT */
/*
 * Forward of a training pass. A chunk of items runs through all steps up to the next norm with
 * batch statistics without waiting for the others: its activations stay in one core's cache.
 */
#include "nmi_pass_internal.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_norm_op.h"

#include <math.h>
#include <string.h>

static const float *tensor_data(const nmi_pass *pass, int32_t tensor)
{
    return tensor >= 0 ? pass->network->tensors[tensor].data : NULL;
}

/* Factors of a norm with running statistics, and what its backward needs. */
static void fix_norm(nmi_pass *pass, int32_t number)
{
    const nmi_node *node = &pass->topology->nodes[number];
    const nmi_node_tensors *tensors = &pass->tensors[number];
    const nmi_places *places = &pass->places[number];
    int64_t channels = pass->network->shapes[number].channels;
    float *scale = pass->factors + places->factors;
    float *mean = scale + 2 * places->vector;
    float *inverse = mean + places->vector;
    const float *running_mean = tensor_data(pass, tensors->mean);
    const float *running_variance = tensor_data(pass, tensors->variance);
    nmi_norm_fold(channels, tensor_data(pass, tensors->weight), tensor_data(pass, tensors->bias),
                  running_mean, running_variance, (float)node->epsilon, scale,
                  scale + places->vector);
    for (int64_t c = 0; c < channels; c++) {
        mean[c] = running_mean[c];
        inverse[c] = 1.0f / sqrtf(running_variance[c] + (float)node->epsilon);
    }
}

/* Task: what one step's forward needs of the weights. */
static void prepare_step(void *argument, int64_t index, int32_t worker)
{
    nmi_pass *pass = argument;
    const nmi_step *step = &pass->steps.steps[index];
    int32_t n = step->node;
    const nmi_node *node = &pass->topology->nodes[n];
    const nmi_places *places = &pass->places[n];
    const float *weight = tensor_data(pass, pass->tensors[n].weight);
    nmi_step_weights *out = &pass->weights[n];
    (void)worker;
    if (index < pass->begin || !nmi_pass_is_live(pass, step))
        return;
    *out = (nmi_step_weights){.bias = tensor_data(pass, pass->tensors[n].bias)};
    switch (node->op) {
    case NEUMETA_OP_CONV: {
        nmi_conv_shape shape =
            nmi_step_conv_shape(pass->topology, &pass->steps, pass->network->shapes, n);
        const nmi_conv_path path = nmi_conv_path_of(pass->kernels, pass->precision, &shape);
        NMI_ASSERT(nmi_pass_has_room(pass, n, path, &shape));
        nmi_conv_pack(path, &shape, weight, pass->packed + places->packed);
        out->packed = pass->packed + places->packed;
        break;
    }
    case NEUMETA_OP_LINEAR: {
        nmi_dense_shape shape = {pass->network->shapes[nmi_pass_input(pass, n, 0)].channels,
                                 pass->network->shapes[n].channels};
        nmi_dense_pack(pass->kernels, shape, weight, pass->packed + places->packed);
        out->packed = pass->packed + places->packed;
        break;
    }
    case NEUMETA_OP_NORM:
        out->scale = pass->factors + places->factors;
        out->shift = out->scale + places->vector;
        if (!pass->batch_norm[n])
            fix_norm(pass, n);
        break;
    case NEUMETA_OP_GROUP_NORM:
    case NEUMETA_OP_AFFINE:
        out->scale = weight;
        out->shift = out->bias;
        break;
    case NEUMETA_OP_SCALE:
        out->factor = *weight;
        break;
    case NEUMETA_OP_GAIN:
        out->factor = (float)node->value;
        break;
    default:
        break;
    }
}

/* Adds a slice's part to the chunk's sums of the input of the norm at `stop`. */
static void sum_norm(const nmi_pass *pass, const nmi_chunk *slice, double *sums)
{
    const int32_t n = pass->steps.steps[pass->stop].node;
    const nmi_shape *shape = &slice->shapes[n];
    pass->kernels->moments(slice->items * shape->height * shape->width, shape->channels,
                           nmi_chunk_value(slice, nmi_pass_input(pass, n, 0)), sums,
                           sums + shape->channels);
}

static void forward_step(const nmi_pass *pass, const nmi_chunk *slice, const nmi_step *step)
{
    if (!nmi_pass_is_live(pass, step))
        return;
    if (pass->topology->nodes[step->node].op != NEUMETA_OP_INPUT) {
        nmi_step_forward(slice, step, &pass->weights[step->node]);
        return;
    }
    const nmi_shape *shape = &slice->shapes[step->node];
    nmi_nchw_to_nhwc(slice->items, shape->channels, shape->height * shape->width,
                     pass->inputs + slice->first * nmi_shape_floats(shape),
                     nmi_chunk_value(slice, step->node));
}

/* One chunk through the steps [begin, end) of a stretch, and to the sums of the norm behind. */
static void forward_stretch(const nmi_pass *pass, const nmi_chunk *chunk, int32_t begin,
                            int32_t end, double *sums)
{
    const int64_t items = nmi_pass_slice_items(pass, begin, sums != NULL ? end : end - 1);
    for (int64_t i = 0; i < chunk->items; i += items) {
        const nmi_chunk slice = nmi_pass_slice(chunk, i, items);
        for (int32_t s = begin; s < end; s++)
            forward_step(pass, &slice, &pass->steps.steps[s]);
        if (sums != NULL)
            sum_norm(pass, &slice, sums);
    }
}

/* Task: one chunk through the steps [begin, stop), then its share of the barrier at `stop`. */
static void forward_chunk(void *argument, int64_t number, int32_t worker)
{
    const nmi_pass *pass = argument;
    const int64_t index = nmi_pass_turn(pass, number);
    const nmi_chunk chunk = nmi_pass_chunk(pass, index, worker, false);
    double *sums = NULL;
    if (pass->stop < pass->steps.count) {
        const int32_t norm = pass->steps.steps[pass->stop].node;
        sums = pass->sums + index * pass->sum_count + pass->places[norm].sum;
        memset(sums, 0, 2 * (size_t)chunk.shapes[norm].channels * sizeof *sums);
    }
    int32_t begin = pass->begin;
    do { /* there may be no step, but only sums */
        int32_t end = begin;
        while (end < pass->stop && pass->stretch[end] == pass->stretch[begin])
            end++;
        forward_stretch(pass, &chunk, begin, end, end == pass->stop ? sums : NULL);
        begin = end;
    } while (begin < pass->stop);
    if (sums != NULL)
        return;
    int32_t output = pass->steps.source[pass->topology->output];
    const nmi_shape *shape = &chunk.shapes[output];
    nmi_nhwc_to_nchw(chunk.items, shape->channels, shape->height * shape->width,
                     nmi_chunk_value(&chunk, output),
                     pass->outputs + chunk.first * nmi_shape_floats(shape));
}

/* Batch statistics from the chunks' sums; updates the running ones. */
static void finish_norm(nmi_pass *pass, int32_t number)
{
    const nmi_node *node = &pass->topology->nodes[number];
    const nmi_node_tensors *tensors = &pass->tensors[number];
    const nmi_places *places = &pass->places[number];
    const nmi_shape *shape = &pass->network->shapes[number];
    const double *sums = nmi_pass_reduce_sums(pass, number, 2 * shape->channels);
    float *scale = pass->factors + places->factors;
    nmi_norm_finish(shape->channels, pass->items * shape->height * shape->width, sums,
                    sums + shape->channels, tensor_data(pass, tensors->weight),
                    tensor_data(pass, tensors->bias), (float)node->epsilon, (float)node->momentum,
                    scale + 2 * places->vector, scale + 3 * places->vector, scale,
                    scale + places->vector, pass->network->tensors[tensors->mean].data,
                    pass->network->tensors[tensors->variance].data);
}

/* Runs the steps from `first` on; the values of those before are there. */
static const float *forward_from(nmi_pass *pass, int32_t first)
{
    int32_t count = pass->steps.count;
    bool tracked = false;
    memcpy(pass->shapes, pass->network->shapes,
           (size_t)pass->topology->node_count * sizeof *pass->shapes);
    pass->begin = first;
    nmi_run(pass->context, count, prepare_step, pass);
    for (; pass->begin < count; pass->begin = pass->stop) {
        /* A norm that begins a job has its statistics already. */
        pass->stop = pass->begin + (tracked ? 1 : 0);
        while (pass->stop < count && !nmi_pass_is_barrier(pass, &pass->steps.steps[pass->stop]))
            pass->stop++;
        nmi_pass_run(pass, forward_chunk);
        if (pass->stop < count) {
            finish_norm(pass, pass->steps.steps[pass->stop].node);
            tracked = true;
        }
    }
    if (tracked)
        nmi_network_touch(pass->network);
    return pass->outputs;
}

const float *nmi_pass_forward(nmi_pass *pass, nmi_network *network, const float *inputs,
                              int64_t items, const bool *batch_norm)
{
    NMI_ASSERT(items > 0 && items <= pass->batch);
    pass->network = network;
    pass->inputs = inputs;
    pass->items = items;
    pass->chunk_items = (items + NMI_PASS_CHUNKS - 1) / NMI_PASS_CHUNKS;
    pass->chunks = (items + pass->chunk_items - 1) / pass->chunk_items;
    nmi_steps_resolve(&pass->steps, pass->topology, network->sizes);
    for (int32_t n = 0; n < pass->topology->node_count; n++)
        pass->batch_norm[n] =
            batch_norm != NULL && batch_norm[n] && pass->topology->nodes[n].op == NEUMETA_OP_NORM;
    return forward_from(pass, 0);
}

/* --- once more ------------------------------------------------------------------------------- */

/* Whether the step gives something else than at the last forward if its inputs are the same. */
static bool is_changed(const nmi_pass *pass, const nmi_step *step, const bool *changed)
{
    const nmi_shape *now = &pass->network->shapes[step->end], *then = &pass->shapes[step->end];
    const nmi_node_tensors *own = &pass->tensors[step->node];
    const int32_t tensors[] = {own->weight, own->bias, own->mean, own->variance};
    if (now->channels != then->channels || now->height != then->height ||
        now->width != then->width || nmi_pass_is_barrier(pass, step))
        return true;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        if (tensors[i] >= 0 && changed[tensors[i]])
            return true;
    return false;
}

/* The first changed step, or one before it whose value has been overwritten since or was not kept,
 * from which a step that runs again starts. */
static int32_t first_to_repeat(const nmi_pass *pass, const bool *changed)
{
    const nmi_steps *steps = &pass->steps;
    int32_t first = 0;
    while (first < steps->count && !is_changed(pass, &steps->steps[first], changed))
        first++;
    for (int32_t s = steps->count - 1; s >= first; s--) {
        const nmi_step *step = &steps->steps[s];
        const nmi_node *node = &pass->topology->nodes[step->node];
        for (int32_t k = 0; k < node->input_count; k++) {
            int32_t input = steps->end[node->inputs[k]];
            if (pass->value_offset[input] != pass->value_offset[step->end] &&
                pass->value_offset[input] != NMI_PASSING)
                continue;
            while (first > 0 && steps->steps[first - 1].end >= input)
                first--;
        }
    }
    return first;
}

const float *nmi_pass_forward_again(nmi_pass *pass, nmi_network *network, const bool *changed)
{
    NMI_ASSERT(network == pass->network);
    nmi_steps_resolve(&pass->steps, pass->topology, network->sizes);
    return forward_from(pass, first_to_repeat(pass, changed));
}
