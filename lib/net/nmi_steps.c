/* SPDX-License-Identifier: MIT */
/* Grouping of nodes into steps, placing of their values, and the forward of every operator. */
#include "nmi_steps.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"

/* --- grouping -------------------------------------------------------------------------------- */

static void find_sole_readers(const nmi_topology *topology, int32_t *sole)
{
    enum { UNREAD = -2 };
    for (int32_t n = 0; n < topology->node_count; n++)
        sole[n] = UNREAD;
    for (int32_t n = 0; n < topology->node_count; n++)
        for (int32_t k = 0; k < topology->nodes[n].input_count; k++) {
            int32_t input = topology->nodes[n].inputs[k];
            sole[input] = sole[input] == UNREAD ? n : -1;
        }
    sole[topology->output] = -1;
    for (int32_t n = 0; n < topology->node_count; n++)
        if (sole[n] == UNREAD)
            sole[n] = -1;
}

/* The node that alone reads `node` and lives exactly when it does; or -1. */
static int32_t follower(const nmi_topology *topology, const int32_t *sole, int32_t node)
{
    int32_t next = sole[node];
    if (next < 0 || topology->nodes[next].depth_axis != topology->nodes[node].depth_axis ||
        topology->nodes[next].depth_number != topology->nodes[node].depth_number)
        return -1;
    return next;
}

static bool is_product(int32_t op)
{
    return op == NEUMETA_OP_CONV || op == NEUMETA_OP_LINEAR;
}

static bool is_factor(int32_t op)
{
    return op == NEUMETA_OP_NORM || op == NEUMETA_OP_AFFINE || op == NEUMETA_OP_SCALE ||
           op == NEUMETA_OP_GAIN;
}

/* The step that starts at `node`; nodes that join an earlier step have their `end` set. */
static nmi_step group_step(const nmi_topology *topology, const int32_t *sole, const int32_t *end,
                           bool fold, int32_t node)
{
    nmi_step step = {node, -1, -1, -1, node};
    int32_t op = topology->nodes[node].op;
    int32_t next = follower(topology, sole, node);
    if (is_product(op)) {
        while (fold && next >= 0 && is_factor(topology->nodes[next].op)) {
            step.scaled = step.end = next;
            next = follower(topology, sole, next);
        }
        if (next >= 0 && end[next] < 0 && topology->nodes[next].op == NEUMETA_OP_ADD &&
            topology->nodes[next].input_count == 2) {
            step.add = step.end = next;
            next = follower(topology, sole, next);
        }
    }
    if (next >= 0 && topology->nodes[next].op == NEUMETA_OP_ACTIVATION &&
        (is_product(op) || op == NEUMETA_OP_NORM || op == NEUMETA_OP_AFFINE ||
         op == NEUMETA_OP_ADD))
        step.activation = step.end = next;
    return step;
}

neumeta_status nmi_steps_create(nmi_context *context, const nmi_topology *topology, bool fold,
                                nmi_steps *out)
{
    int32_t nodes = topology->node_count;
    out->steps = nmi_alloc_array(context, nodes, sizeof *out->steps);
    out->sole = nmi_alloc_array(context, nodes, sizeof *out->sole);
    out->end = nmi_alloc_array(context, nodes, sizeof *out->end);
    out->source = nmi_alloc_array(context, nodes, sizeof *out->source);
    if (out->steps == NULL || out->sole == NULL || out->end == NULL || out->source == NULL) {
        nmi_steps_free(context, out);
        return NEUMETA_ERR_MEMORY;
    }
    find_sole_readers(topology, out->sole);
    for (int32_t n = 0; n < nodes; n++)
        out->end[n] = out->steps[n].node = -1;
    for (int32_t n = 0; n < nodes; n++) {
        if (out->end[n] >= 0)
            continue;
        if (topology->nodes[n].op == NEUMETA_OP_SELECT) {
            out->end[n] = n;
            continue;
        }
        nmi_step step = group_step(topology, out->sole, out->end, fold, n);
        for (int32_t member = n; member != step.end; member = out->sole[member])
            out->end[member] = step.end;
        out->end[step.end] = step.end;
        out->steps[step.end] = step;
    }
    out->count = 0;
    for (int32_t n = 0; n < nodes; n++)
        if (out->steps[n].node >= 0)
            out->steps[out->count++] = out->steps[n];
    return NEUMETA_OK;
}

void nmi_steps_free(nmi_context *context, nmi_steps *steps)
{
    nmi_free(context, steps->steps);
    nmi_free(context, steps->sole);
    nmi_free(context, steps->end);
    nmi_free(context, steps->source);
    *steps = (nmi_steps){0};
}

int64_t nmi_steps_bytes(const nmi_topology *topology)
{
    return (int64_t)topology->node_count * (int64_t)(sizeof(nmi_step) + 3 * sizeof(int32_t));
}

void nmi_steps_resolve(nmi_steps *steps, const nmi_topology *topology, const int64_t *sizes)
{
    for (int32_t n = 0; n < topology->node_count; n++) {
        int32_t source = nmi_graph_source(topology, sizes, n);
        /* A repeat may follow a repeat: the source is then a SELECT that is resolved already. */
        steps->source[n] = source == n ? n : steps->source[source];
    }
}

int32_t nmi_step_residual(const nmi_topology *topology, const nmi_steps *steps,
                          const nmi_step *step)
{
    const int32_t *inputs = topology->nodes[step->add].inputs;
    return steps->source[steps->end[inputs[0]] == step->end ? inputs[1] : inputs[0]];
}

/* --- places ---------------------------------------------------------------------------------- */

int64_t nmi_aligned_floats(int64_t floats)
{
    const int64_t unit = NMI_ALIGNMENT / (int64_t)sizeof(float);
    return (floats + unit - 1) / unit * unit;
}

int64_t nmi_spans_arrange(nmi_span *spans, int32_t count)
{
    int64_t total = 0;
    for (int32_t i = 0; i < count; i++) {
        nmi_span *span = &spans[i];
        span->offset = 0;
        for (int32_t j = 0; j < i; j++) {
            const nmi_span *other = &spans[j];
            if (other->last < span->first || span->last < other->first ||
                other->offset + other->size <= span->offset ||
                span->offset + span->size <= other->offset)
                continue;
            span->offset = other->offset + other->size;
            j = -1; /* look again at the new place */
        }
        if (span->offset + span->size > total)
            total = span->offset + span->size;
    }
    return total;
}

int64_t nmi_shape_floats(const nmi_shape *shape)
{
    return shape->channels * shape->height * shape->width;
}

nmi_conv_shape nmi_step_conv_shape(const nmi_topology *topology, const nmi_steps *steps,
                                   const nmi_shape *shapes, int32_t node)
{
    const nmi_node *conv = &topology->nodes[node];
    const nmi_shape *in = &shapes[steps->source[conv->inputs[0]]];
    nmi_conv_shape shape = {.in_channels = in->channels,
                            .in_height = in->height,
                            .in_width = in->width,
                            .out_channels = shapes[node].channels,
                            .kernel = conv->kernel,
                            .stride = conv->stride,
                            .padding = conv->padding};
    nmi_conv_shape_complete(&shape);
    return shape;
}

nmi_pool_shape nmi_step_pool_shape(const nmi_topology *topology, const nmi_steps *steps,
                                   const nmi_shape *shapes, int32_t node)
{
    const nmi_node *pool = &topology->nodes[node];
    const nmi_shape *in = &shapes[steps->source[pool->inputs[0]]];
    nmi_pool_shape shape = {.channels = in->channels,
                            .in_height = in->height,
                            .in_width = in->width,
                            .kernel = pool->kernel,
                            .stride = pool->stride,
                            .padding = pool->padding};
    nmi_pool_shape_complete(&shape);
    return shape;
}

float *nmi_chunk_value(const nmi_chunk *chunk, int32_t node)
{
    return chunk->base + chunk->offset[node] * chunk->room +
           chunk->first * nmi_shape_floats(&chunk->shapes[node]);
}

/* --- forward --------------------------------------------------------------------------------- */

int32_t nmi_step_activation(const nmi_topology *topology, int32_t node)
{
    if (node < 0)
        return NMI_ACTIVATION_NONE;
    return topology->nodes[node].function == 0 ? NMI_ACTIVATION_RELU : NMI_ACTIVATION_ELU;
}

static void forward_product(const nmi_chunk *chunk, const nmi_step *step,
                            const nmi_step_weights *weights, const float *x, float *y)
{
    const nmi_node *node = &chunk->topology->nodes[step->node];
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = weights->bias;
    epilogue.activation = nmi_step_activation(chunk->topology, step->activation);
    if (step->add >= 0) {
        epilogue.residual =
            nmi_chunk_value(chunk, nmi_step_residual(chunk->topology, chunk->steps, step));
        epilogue.residual_inside = true;
    }
    if (node->op == NEUMETA_OP_CONV) {
        nmi_conv_shape shape =
            nmi_step_conv_shape(chunk->topology, chunk->steps, chunk->shapes, step->node);
        nmi_conv_forward(nmi_conv_path_of(chunk->kernels), &shape, chunk->items, x, weights->packed,
                         &epilogue, y, chunk->workspace);
    } else {
        int64_t inputs = chunk->shapes[chunk->steps->source[node->inputs[0]]].channels;
        int64_t outputs = chunk->shapes[step->node].channels;
        nmi_dense_forward(chunk->kernels, (nmi_dense_shape){inputs, outputs}, chunk->items, x,
                          inputs, weights->packed, &epilogue, y, outputs);
    }
}

static void forward_sum(const nmi_chunk *chunk, const nmi_step *step, int64_t count, float *y)
{
    const nmi_node *node = &chunk->topology->nodes[step->node];
    int32_t activation = nmi_step_activation(chunk->topology, step->activation);
    int32_t first = 0;
    /* y may lie in the place of any one input, which is then the first term. */
    for (int32_t k = 0; k < node->input_count; k++)
        if (nmi_chunk_value(chunk, chunk->steps->source[node->inputs[k]]) == y)
            first = k;
    const float *terms[2] = {nmi_chunk_value(chunk, chunk->steps->source[node->inputs[first]]),
                             NULL};
    for (int32_t k = 0, left = node->input_count - 1; k < node->input_count; k++) {
        if (k == first)
            continue;
        terms[1] = nmi_chunk_value(chunk, chunk->steps->source[node->inputs[k]]);
        left--;
        nmi_add_forward(chunk->kernels, 2, terms, left == 0 ? activation : NMI_ACTIVATION_NONE,
                        count, y);
        terms[0] = y;
    }
}

static void forward_concat(const nmi_chunk *chunk, const nmi_node *node, const nmi_shape *out,
                           float *y)
{
    int64_t rows = chunk->items * out->height * out->width;
    int64_t offset = 0;
    for (int32_t k = 0; k < node->input_count; k++) {
        int32_t source = chunk->steps->source[node->inputs[k]];
        int64_t channels = chunk->shapes[source].channels;
        nmi_concat_forward(rows, channels, offset, out->channels, nmi_chunk_value(chunk, source),
                           y);
        offset += channels;
    }
}

static void forward_pool(const nmi_chunk *chunk, int32_t number, const nmi_shape *in,
                         const float *x, float *y)
{
    int32_t op = chunk->topology->nodes[number].op;
    if (op == NEUMETA_OP_POOL_GLOBAL) {
        nmi_pool_global_forward(chunk->items, in->height * in->width, in->channels, x, y);
        return;
    }
    nmi_pool_shape shape =
        nmi_step_pool_shape(chunk->topology, chunk->steps, chunk->shapes, number);
    if (op == NEUMETA_OP_POOL_MAX)
        nmi_pool_max_forward(&shape, chunk->items, x, y);
    else
        nmi_pool_average_forward(&shape, chunk->items, x, y);
}

void nmi_step_forward(const nmi_chunk *chunk, const nmi_step *step, const nmi_step_weights *weights)
{
    const nmi_node *node = &chunk->topology->nodes[step->node];
    int32_t source = chunk->steps->source[node->inputs[0]];
    const nmi_shape *in = &chunk->shapes[source];
    const nmi_shape *out = &chunk->shapes[step->node];
    const float *x = nmi_chunk_value(chunk, source);
    float *y = nmi_chunk_value(chunk, step->end);
    int64_t count = chunk->items * nmi_shape_floats(out);
    switch (node->op) {
    case NEUMETA_OP_CONV:
    case NEUMETA_OP_LINEAR:
        forward_product(chunk, step, weights, x, y);
        break;
    case NEUMETA_OP_NORM:
    case NEUMETA_OP_AFFINE:
        nmi_affine_forward(chunk->kernels, chunk->items * out->height * out->width, out->channels,
                           weights->scale, weights->shift,
                           nmi_step_activation(chunk->topology, step->activation), x, y);
        break;
    case NEUMETA_OP_ACTIVATION:
        nmi_activation_forward(chunk->kernels, nmi_step_activation(chunk->topology, step->node),
                               count, x, y);
        break;
    case NEUMETA_OP_ADD:
        forward_sum(chunk, step, count, y);
        break;
    case NEUMETA_OP_CONCAT:
        forward_concat(chunk, node, out, y);
        break;
    case NEUMETA_OP_POOL_MAX:
    case NEUMETA_OP_POOL_AVERAGE:
    case NEUMETA_OP_POOL_GLOBAL:
        forward_pool(chunk, step->node, in, x, y);
        break;
    case NEUMETA_OP_FLATTEN:
        nmi_flatten_forward(chunk->items, in->channels, in->height * in->width, x, y);
        break;
    case NEUMETA_OP_SHORTCUT:
        nmi_shortcut_forward(
            &(nmi_shortcut_shape){in->channels, in->height, in->width, out->channels, node->stride},
            chunk->items, x, y);
        break;
    case NEUMETA_OP_SCALE:
    case NEUMETA_OP_GAIN:
        nmi_scale_forward(count, weights->factor, x, y);
        break;
    default:
        NMI_ASSERT(false);
    }
}
