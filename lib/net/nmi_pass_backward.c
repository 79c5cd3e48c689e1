/* SPDX-License-Identifier: MIT */
/*
 * Backward of a training pass. Which gradients flow is settled first; then chunks run through the
 * steps from the last to the lowest needed one, waiting for each other only at norms with batch
 * statistics. Weight gradients stay in the chunk's own partial sums until a last sweep adds them.
 */
#include "nmi_pass_internal.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_group_norm.h"
#include "nmi_norm_op.h"

#include <string.h>

/* --- what flows ------------------------------------------------------------------------------ */

static float *trained(const nmi_pass *pass, int32_t tensor)
{
    return tensor >= 0 ? pass->trained[tensor] : NULL;
}

static bool trains(const nmi_pass *pass, int32_t node)
{
    return trained(pass, pass->tensors[node].weight) != NULL ||
           trained(pass, pass->tensors[node].bias) != NULL;
}

/* A step does something in this backward if its output has a gradient that anyone needs. */
static bool is_active(const nmi_pass *pass, const nmi_step *step)
{
    return pass->needed[step->end] && pass->reached[step->end];
}

static void settle_input(nmi_pass *pass, int32_t node, int32_t k)
{
    int32_t source = nmi_pass_input(pass, node, k);
    uint8_t *flow = &pass->flow[pass->first_input[node] + k];
    *flow = NMI_FLOW_NONE;
    if (!pass->needed[source])
        return;
    *flow = pass->reached[source] ? NMI_FLOW_ADD : NMI_FLOW_WRITE;
    pass->reached[source] = true;
}

/* Fills needed, reached and flow; returns the lowest active step (count: none). */
static int32_t settle_flow(nmi_pass *pass)
{
    const nmi_topology *topology = pass->topology;
    int32_t lowest = pass->steps.count;
    for (int32_t n = 0; n < topology->node_count; n++) {
        pass->reached[n] = false;
        pass->needed[n] = pass->network->shapes[n].channels > 0 && trains(pass, n);
        for (int32_t k = 0; k < topology->nodes[n].input_count && !pass->needed[n]; k++)
            pass->needed[n] =
                pass->network->shapes[n].channels > 0 && pass->needed[nmi_pass_input(pass, n, k)];
    }
    pass->reached[pass->steps.source[topology->output]] = true;
    for (int32_t s = pass->steps.count - 1; s >= 0; s--) {
        const nmi_step *step = &pass->steps.steps[s];
        if (!is_active(pass, step))
            continue;
        lowest = s;
        if (step->add >= 0)
            for (int32_t k = 0; k < 2; k++)
                if (pass->steps.end[topology->nodes[step->add].inputs[k]] != step->end)
                    settle_input(pass, step->add, k);
        for (int32_t k = 0; k < topology->nodes[step->node].input_count; k++)
            settle_input(pass, step->node, k);
    }
    return lowest;
}

/* Task: transposed weights of one step whose input needs a gradient. */
static void transpose_step(void *argument, int64_t index, int32_t worker)
{
    const nmi_pass *pass = argument;
    const nmi_step *step = &pass->steps.steps[index];
    int32_t n = step->node;
    int32_t op = pass->topology->nodes[n].op;
    (void)worker;
    if ((op != NEUMETA_OP_CONV && op != NEUMETA_OP_LINEAR) || !is_active(pass, step) ||
        pass->flow[pass->first_input[n]] == NMI_FLOW_NONE)
        return;
    const float *weight = pass->network->tensors[pass->tensors[n].weight].data;
    float *transposed = pass->packed + pass->places[n].transposed;
    if (op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(pass->topology, &pass->steps, pass->network->shapes, n);
        nmi_conv_pack_transposed(nmi_conv_path_of(pass->kernels, pass->precision, &shape), &shape,
                                 weight, transposed);
    } else {
        nmi_dense_shape shape = {pass->network->shapes[nmi_pass_input(pass, n, 0)].channels,
                                 pass->network->shapes[n].channels};
        nmi_dense_pack_transposed(pass->kernels, shape, weight, transposed);
    }
}

/* --- one step of one chunk ------------------------------------------------------------------- */

typedef struct position {
    const nmi_pass *pass;
    nmi_chunk values, gradients; /* of a slice */
    int64_t index;               /* of the chunk */
    bool first;                  /* slice of the chunk: its partial sums are to be cleared */
    const nmi_step *step;
    float *dy;
} position;

/* The chunk's `count` sums of the step, to which each slice adds. */
static double *chunk_sums(const position *at, int64_t count)
{
    double *sums =
        at->pass->sums + at->index * at->pass->sum_count + at->pass->places[at->step->node].sum;
    if (at->first)
        memset(sums, 0, (size_t)count * sizeof *sums);
    return sums;
}

/* The chunk's gradients of a convolution's or linear node's own tensors, where trained. */
static void backward_weights(const position *at, const float *x)
{
    const nmi_pass *pass = at->pass;
    int32_t n = at->step->node;
    const nmi_places *places = &pass->places[n];
    const nmi_shape *out = &at->values.shapes[n];
    float *dw = pass->partials + at->index * pass->partial_floats + places->partial;
    float *db = pass->partials + at->index * pass->partial_floats + places->bias;
    if (at->first)
        memset(dw, 0, (size_t)(places->bias + places->vector - places->partial) * sizeof *dw);
    if (trained(pass, pass->tensors[n].weight) == NULL) {
        pass->kernels->column_sums(at->values.items * out->height * out->width, out->channels,
                                   at->dy, out->channels, db);
        return;
    }
    if (trained(pass, pass->tensors[n].bias) == NULL)
        db = NULL;
    if (pass->topology->nodes[n].op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(pass->topology, &pass->steps, at->values.shapes, n);
        nmi_conv_backward_weight(nmi_conv_path_of(pass->kernels, pass->precision, &shape), &shape,
                                 at->values.items, x, at->dy, dw, db, at->values.workspace);
    } else {
        nmi_dense_shape shape = {at->values.shapes[nmi_pass_input(pass, n, 0)].channels,
                                 out->channels};
        nmi_dense_backward_weight(pass->kernels, shape, at->values.items, x, shape.inputs, at->dy,
                                  shape.outputs, dw, db);
    }
}

/* Computes the input of a product again if it was not kept; the norm below reads it as well. */
static void restore_input(const position *at)
{
    const nmi_pass *pass = at->pass;
    const int32_t source = nmi_pass_input(pass, at->step->node, 0);
    const nmi_step *norm = at->step;
    if (pass->value_offset[source] != NMI_PASSING)
        return;
    while (norm->end != pass->steps.end[source])
        norm--;
    nmi_step_forward(&at->values, norm, &pass->weights[norm->node]);
}

static void backward_product(const position *at, const float *x, uint8_t flow, float *dx)
{
    const nmi_pass *pass = at->pass;
    int32_t n = at->step->node;
    const float *transposed = pass->packed + pass->places[n].transposed;
    restore_input(at);
    if (trains(pass, n))
        backward_weights(at, x);
    if (flow == NMI_FLOW_NONE)
        return;
    if (pass->topology->nodes[n].op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(pass->topology, &pass->steps, at->values.shapes, n);
        nmi_conv_backward_input(nmi_conv_path_of(pass->kernels, pass->precision, &shape), &shape,
                                at->values.items, at->dy, transposed, flow == NMI_FLOW_ADD, dx,
                                at->values.workspace);
    } else {
        nmi_dense_shape shape = {at->values.shapes[nmi_pass_input(pass, n, 0)].channels,
                                 at->values.shapes[n].channels};
        nmi_dense_backward_input(pass->kernels, shape, at->values.items, at->dy, shape.outputs,
                                 transposed, flow == NMI_FLOW_ADD, dx, shape.inputs);
    }
}

/* The gradient of the other term of the step's sum and what to do with it. */
static float *other_gradient(const position *at, uint8_t *flow)
{
    const nmi_pass *pass = at->pass;
    const nmi_step *step = at->step;
    *flow = NMI_FLOW_NONE;
    if (step->add < 0)
        return NULL;
    const int32_t other = pass->steps.end[pass->topology->nodes[step->add].inputs[0]] == step->end;
    *flow = pass->flow[pass->first_input[step->add] + other];
    return nmi_chunk_value(&at->gradients, nmi_pass_input(pass, step->add, other));
}

static nmi_norm_gradient norm_gradient(const position *at, const float *x)
{
    const nmi_pass *pass = at->pass;
    const int32_t n = at->step->node;
    const nmi_shape *shape = &at->values.shapes[n];
    const float *mean = pass->factors + pass->places[n].factors + 2 * pass->places[n].vector;
    return (nmi_norm_gradient){.rows = at->values.items * shape->height * shape->width,
                               .channels = shape->channels,
                               .x = x,
                               .mean = mean,
                               .inverse = mean + pass->places[n].vector,
                               .dy = at->dy};
}

/* A norm with batch statistics down to its sums, with what the step has behind it. */
static void sum_norm(const position *at, const float *x)
{
    const nmi_pass *pass = at->pass;
    nmi_norm_gradient norm = norm_gradient(at, x);
    double *sums = chunk_sums(at, 2 * norm.channels);
    uint8_t flow;
    float *other = other_gradient(at, &flow);
    norm.activation = nmi_step_activation(pass->topology, at->step->activation);
    norm.y = nmi_chunk_value(&at->values, at->step->end);
    norm.other = flow != NMI_FLOW_NONE ? other : NULL;
    norm.add = flow == NMI_FLOW_ADD;
    pass->kernels->norm_backward_sums(&norm, sums, sums + norm.channels);
}

/* Input gradient of a norm whose sums are complete. */
static void finish_norm_input(const position *at, const float *x, uint8_t flow, float *dx)
{
    const nmi_pass *pass = at->pass;
    const int32_t n = at->step->node;
    const nmi_shape *shape = &at->values.shapes[n];
    const float *factors = pass->factors + pass->places[n].factors;
    const int64_t vector = pass->places[n].vector;
    const nmi_norm_slope norm = {factors, factors + 2 * vector, factors + 4 * vector,
                                 factors + 5 * vector};
    if (flow != NMI_FLOW_NONE)
        pass->kernels->norm_backward_input(at->values.items * shape->height * shape->width,
                                           shape->channels, &norm, x, at->dy, flow == NMI_FLOW_ADD,
                                           dx);
}

/* AFFINE, and NORM with fixed statistics. */
static void backward_affine(const position *at, const float *x, uint8_t flow, float *dx)
{
    const nmi_pass *pass = at->pass;
    int32_t n = at->step->node;
    const nmi_shape *shape = &at->values.shapes[n];
    int64_t rows = at->values.items * shape->height * shape->width;
    double *sums = chunk_sums(at, 2 * shape->channels);
    if (trains(pass, n) && pass->topology->nodes[n].op == NEUMETA_OP_NORM) {
        const nmi_norm_gradient norm = norm_gradient(at, x);
        pass->kernels->norm_backward_sums(&norm, sums, sums + shape->channels);
    } else if (trains(pass, n)) {
        nmi_affine_backward_parameters(rows, shape->channels, x, at->dy, sums,
                                       sums + shape->channels);
    }
    if (flow != NMI_FLOW_NONE)
        nmi_affine_backward(rows, shape->channels, pass->weights[n].scale, at->dy,
                            flow == NMI_FLOW_ADD, dx);
}

static void backward_group_norm(const position *at, const float *x, uint8_t flow, float *dx)
{
    const int32_t n = at->step->node;
    const nmi_shape *shape = &at->values.shapes[n];
    const nmi_group_norm norm = nmi_step_group_norm(at->pass->topology, at->values.shapes, n);
    double *sums = chunk_sums(at, 2 * shape->channels);
    for (int64_t i = 0; i < at->values.items; i++) {
        const int64_t item = i * nmi_shape_floats(shape);
        nmi_group_norm_backward(&norm, x + item, at->dy + item, at->pass->weights[n].scale,
                                flow == NMI_FLOW_ADD, flow != NMI_FLOW_NONE ? dx + item : NULL,
                                sums, sums + shape->channels, at->values.workspace);
    }
}

/* Each input of a sum or concatenation takes its part. */
static void backward_join(const position *at, const nmi_node *node, const uint8_t *flow)
{
    const nmi_shape *out = &at->values.shapes[at->step->node];
    int64_t rows = at->values.items * out->height * out->width;
    int64_t offset = 0;
    for (int32_t k = 0; k < node->input_count; k++) {
        int32_t source = at->pass->steps.source[node->inputs[k]];
        int64_t channels = at->values.shapes[source].channels;
        float *dx = nmi_chunk_value(&at->gradients, source);
        if (node->op == NEUMETA_OP_CONCAT) {
            if (flow[k] != NMI_FLOW_NONE)
                nmi_concat_backward(at->pass->kernels, rows, channels, offset, out->channels,
                                    at->dy, flow[k] == NMI_FLOW_ADD, dx);
            offset += channels;
        } else if (flow[k] != NMI_FLOW_NONE && dx != at->dy) {
            nmi_add_backward(at->pass->kernels, rows * channels, at->dy, flow[k] == NMI_FLOW_ADD,
                             dx);
        }
    }
}

static void backward_pool(const position *at, int32_t source, const float *x, bool add, float *dx)
{
    const nmi_pass *pass = at->pass;
    const nmi_shape *in = &at->values.shapes[source];
    int32_t op = pass->topology->nodes[at->step->node].op;
    if (op == NEUMETA_OP_POOL_GLOBAL) {
        nmi_pool_global_backward(at->values.items, in->height * in->width, in->channels, at->dy,
                                 add, dx);
        return;
    }
    nmi_pool_shape shape =
        nmi_step_pool_shape(pass->topology, &pass->steps, at->values.shapes, at->step->node);
    if (op == NEUMETA_OP_POOL_MAX)
        nmi_pool_max_backward(&shape, at->values.items, x, at->dy, add, dx);
    else
        nmi_pool_average_backward(&shape, at->values.items, at->dy, add, dx);
}

/* Operators with one input and no tensors of their own: only the input's gradient. */
static void backward_plain(const position *at, int32_t source, const float *x, bool add, float *dx)
{
    const nmi_pass *pass = at->pass;
    int32_t n = at->step->node;
    const nmi_node *node = &pass->topology->nodes[n];
    const nmi_shape *in = &at->values.shapes[source];
    int64_t items = at->values.items;
    int64_t count = items * nmi_shape_floats(&at->values.shapes[n]);
    switch (node->op) {
    case NEUMETA_OP_ACTIVATION:
        nmi_activation_backward(pass->kernels, nmi_step_activation(pass->topology, n), count,
                                nmi_chunk_value(&at->values, n), at->dy, add, dx);
        break;
    case NEUMETA_OP_FLATTEN:
        nmi_flatten_backward(items, in->channels, in->height * in->width, at->dy, add, dx);
        break;
    case NEUMETA_OP_SHORTCUT:
        nmi_shortcut_backward(&(nmi_shortcut_shape){in->channels, in->height, in->width,
                                                    at->values.shapes[n].channels, node->stride},
                              items, at->dy, add, dx);
        break;
    case NEUMETA_OP_SCALE:
    case NEUMETA_OP_GAIN:
        nmi_scale_backward(pass->kernels, count, pass->weights[n].factor, at->dy, add, dx);
        break;
    default:
        backward_pool(at, source, x, add, dx);
        break;
    }
}

/* The operator of a step, its activation and sum being dealt with. */
static void backward_operator(const position *at)
{
    const nmi_pass *pass = at->pass;
    int32_t n = at->step->node;
    const nmi_node *node = &pass->topology->nodes[n];
    const uint8_t *flow = &pass->flow[pass->first_input[n]];
    int32_t source = nmi_pass_input(pass, n, 0);
    const float *x = nmi_chunk_value(&at->values, source);
    float *dx = nmi_chunk_value(&at->gradients, source);
    switch (node->op) {
    case NEUMETA_OP_CONV:
    case NEUMETA_OP_LINEAR:
        backward_product(at, x, *flow, dx);
        return;
    case NEUMETA_OP_NORM:
    case NEUMETA_OP_AFFINE:
        backward_affine(at, x, *flow, dx);
        return;
    case NEUMETA_OP_GROUP_NORM:
        backward_group_norm(at, x, *flow, dx);
        return;
    case NEUMETA_OP_ADD:
    case NEUMETA_OP_CONCAT:
        backward_join(at, node, flow);
        return;
    case NEUMETA_OP_SCALE:
        if (trains(pass, n))
            *chunk_sums(at, 1) += nmi_scale_backward_alpha(
                at->values.items * nmi_shape_floats(&at->values.shapes[n]), x, at->dy);
        break;
    default:
        break;
    }
    if (*flow != NMI_FLOW_NONE)
        backward_plain(at, source, x, *flow == NMI_FLOW_ADD, dx);
}

/* Carries the gradient of a step's end back to its operator's output, in place. */
static void backward_tail(const position *at)
{
    const nmi_pass *pass = at->pass;
    const nmi_step *step = at->step;
    int64_t count = at->values.items * nmi_shape_floats(&at->values.shapes[step->end]);
    if (step->activation >= 0)
        nmi_activation_backward(pass->kernels,
                                nmi_step_activation(pass->topology, step->activation), count,
                                nmi_chunk_value(&at->values, step->end), at->dy, false, at->dy);
    uint8_t flow;
    float *other = other_gradient(at, &flow);
    if (flow != NMI_FLOW_NONE)
        nmi_add_backward(pass->kernels, count, at->dy, flow == NMI_FLOW_ADD, other);
}

/* --- jobs ------------------------------------------------------------------------------------ */

static position position_at(const nmi_pass *pass, int64_t index, int32_t worker)
{
    return (position){.pass = pass,
                      .values = nmi_pass_chunk(pass, index, worker, false),
                      .gradients = nmi_pass_chunk(pass, index, worker, true),
                      .index = index};
}

/* Task: the gradient of the outputs into its place. */
static void start_chunk(void *argument, int64_t index, int32_t worker)
{
    const nmi_pass *pass = argument;
    position at = position_at(pass, index, worker);
    int32_t output = pass->steps.source[pass->topology->output];
    const nmi_shape *shape = &at.values.shapes[output];
    nmi_nchw_to_nhwc(at.values.items, shape->channels, shape->height * shape->width,
                     pass->output_gradients + at.values.first * nmi_shape_floats(shape),
                     nmi_chunk_value(&at.gradients, output));
}

/* A norm with batch statistics at `stop` only adds its sums; the next job resumes there. */
static void backward_step(position *at, int32_t s)
{
    const nmi_pass *pass = at->pass;
    at->step = &pass->steps.steps[s];
    if (!is_active(pass, at->step))
        return;
    at->dy = nmi_chunk_value(&at->gradients, at->step->end);
    if (!nmi_pass_is_barrier(pass, at->step)) {
        backward_tail(at);
        backward_operator(at);
        return;
    }
    const int32_t source = nmi_pass_input(pass, at->step->node, 0);
    const float *x = nmi_chunk_value(&at->values, source);
    if (s == pass->begin && pass->resumed)
        finish_norm_input(at, x, pass->flow[pass->first_input[at->step->node]],
                          nmi_chunk_value(&at->gradients, source));
    else
        sum_norm(at, x);
}

/* The lowest step of the stretch that goes on at `top`; where a norm resumes, of the one below. */
static int32_t stretch_bottom(const nmi_pass *pass, int32_t top)
{
    int32_t s = top == pass->begin && pass->resumed ? top - 1 : top;
    while (s > pass->stop && pass->stretch[s - 1] == pass->stretch[s])
        s--;
    return s;
}

/* Task: one chunk from step `begin` down to `stop`, in slices through each stretch. */
static void backward_chunk(void *argument, int64_t number, int32_t worker)
{
    const nmi_pass *pass = argument;
    const int64_t index = nmi_pass_turn(pass, number);
    const position chunk = position_at(pass, index, worker);
    for (int32_t top = pass->begin; top >= pass->stop;) {
        const int32_t bottom = stretch_bottom(pass, top);
        const int64_t items = nmi_pass_slice_items(pass, bottom, top);
        for (int64_t i = 0; i < chunk.values.items; i += items) {
            position at = chunk;
            at.values = nmi_pass_slice(&chunk.values, i, items);
            at.gradients = nmi_pass_slice(&chunk.gradients, i, items);
            at.first = i == 0;
            for (int32_t s = top; s >= bottom; s--)
                backward_step(&at, s);
        }
        top = bottom - 1;
    }
}

/* gradients[t] += the sums, which are float(sum) each. */
static void add_sums(const nmi_pass *pass, int32_t tensor, int64_t count, const double *sums)
{
    float *gradient = trained(pass, tensor);
    if (gradient != NULL)
        for (int64_t i = 0; i < count; i++)
            gradient[i] += (float)sums[i];
}

static void reduce_product(const nmi_pass *pass, int32_t n)
{
    const nmi_places *places = &pass->places[n];
    const nmi_network *network = pass->network;
    float *weight = trained(pass, pass->tensors[n].weight);
    float *bias = trained(pass, pass->tensors[n].bias);
    float *dw = pass->partials + places->partial;
    int64_t floats = places->bias + places->vector - places->partial;
    for (int64_t chunk = 1; chunk < pass->chunks; chunk++)
        pass->kernels->add_scaled(floats, 1.0f, dw + chunk * pass->partial_floats, dw);
    if (bias != NULL)
        pass->kernels->add_scaled(network->shapes[n].channels, 1.0f, pass->partials + places->bias,
                                  bias);
    if (weight == NULL)
        return;
    if (pass->topology->nodes[n].op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(pass->topology, &pass->steps, network->shapes, n);
        nmi_conv_unpack_gradient(nmi_conv_path_of(pass->kernels, pass->precision, &shape), &shape,
                                 dw, weight);
    } else {
        nmi_dense_shape shape = {network->shapes[nmi_pass_input(pass, n, 0)].channels,
                                 network->shapes[n].channels};
        nmi_dense_unpack_gradient(pass->kernels, shape, dw, weight);
    }
}

/* Task: the chunks' partial gradients of one step, added in chunk order. */
static void reduce_step(void *argument, int64_t index, int32_t worker)
{
    const nmi_pass *pass = argument;
    const nmi_step *step = &pass->steps.steps[index];
    int32_t n = step->node;
    int64_t channels = pass->network->shapes[n].channels;
    const nmi_node_tensors *tensors = &pass->tensors[n];
    (void)worker;
    if (!is_active(pass, step) || !trains(pass, n))
        return;
    switch (pass->topology->nodes[n].op) {
    case NEUMETA_OP_CONV:
    case NEUMETA_OP_LINEAR:
        reduce_product(pass, n);
        break;
    case NEUMETA_OP_SCALE:
        add_sums(pass, tensors->weight, 1, nmi_pass_reduce_sums(pass, n, 1));
        break;
    default: { /* norms and AFFINE; sums of batch statistics are reduced already */
        const double *sums = pass->batch_norm[n] ? pass->totals + pass->places[n].total
                                                 : nmi_pass_reduce_sums(pass, n, 2 * channels);
        add_sums(pass, tensors->weight, channels, sums);
        add_sums(pass, tensors->bias, channels, sums + channels);
        break;
    }
    }
}

/* Sums of a norm over all chunks, and what the gradient of its input takes from them. */
static void finish_norm_sums(const nmi_pass *pass, int32_t n)
{
    const nmi_shape *shape = &pass->network->shapes[n];
    const int64_t vector = pass->places[n].vector;
    float *factors = pass->factors + pass->places[n].factors;
    double *totals = pass->totals + pass->places[n].total;
    memcpy(totals, nmi_pass_reduce_sums(pass, n, 2 * shape->channels),
           2 * (size_t)shape->channels * sizeof *totals);
    nmi_norm_backward_finish(shape->channels, pass->items * shape->height * shape->width, factors,
                             factors + 3 * vector, totals, totals + shape->channels,
                             factors + 4 * vector, factors + 5 * vector);
}

/* Runs from `begin` to the next barrier or the lowest step; false when nothing is left. */
static bool backward_job(nmi_pass *pass, int32_t lowest)
{
    pass->stop = pass->resumed ? pass->begin - 1 : pass->begin;
    while (pass->stop > lowest && !(is_active(pass, &pass->steps.steps[pass->stop]) &&
                                    nmi_pass_is_barrier(pass, &pass->steps.steps[pass->stop])))
        pass->stop--;
    nmi_pass_run(pass, backward_chunk);
    int32_t n = pass->steps.steps[pass->stop].node;
    if (!nmi_pass_is_barrier(pass, &pass->steps.steps[pass->stop]))
        return false;
    finish_norm_sums(pass, n);
    return pass->stop > lowest;
}

void nmi_pass_backward(nmi_pass *pass, nmi_network *network, const float *output_gradients,
                       float *const *gradients)
{
    pass->network = network;
    pass->output_gradients = output_gradients;
    pass->trained = gradients;
    int32_t lowest = settle_flow(pass);
    if (lowest == pass->steps.count)
        return;
    nmi_run(pass->context, pass->steps.count, transpose_step, pass);
    nmi_run(pass->context, pass->chunks, start_chunk, pass);
    pass->begin = pass->steps.count - 1;
    pass->resumed = false;
    while (backward_job(pass, lowest)) {
        pass->begin = pass->stop;
        pass->resumed = true;
    }
    nmi_run(pass->context, pass->steps.count, reduce_step, pass);
}
