/* SPDX-License-Identifier: MIT */
/* Grouping of nodes into steps, and where their values lie. */
#include "nmi_steps.h"

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
    }
    const bool adds = is_product(op) || op == NEUMETA_OP_NORM || op == NEUMETA_OP_GROUP_NORM ||
                      op == NEUMETA_OP_AFFINE;
    if (adds && next >= 0 && end[next] < 0 && topology->nodes[next].op == NEUMETA_OP_ADD &&
        topology->nodes[next].input_count == 2) {
        step.add = step.end = next;
        next = follower(topology, sole, next);
    }
    if ((adds || op == NEUMETA_OP_ADD) && next >= 0 &&
        topology->nodes[next].op == NEUMETA_OP_ACTIVATION)
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
    int32_t lowest = -1; /* of those that have a place, by rising offset */
    for (int32_t i = 0; i < count; i++) {
        nmi_span *span = &spans[i];
        int32_t *link = &lowest;
        span->offset = 0;
        for (int32_t j = lowest; j >= 0; j = spans[j].next) {
            const nmi_span *other = &spans[j];
            if (other->last < span->first || span->last < other->first)
                continue;
            if (span->offset + span->size <= other->offset)
                break; /* it fits below this one */
            if (other->offset + other->size > span->offset)
                span->offset = other->offset + other->size;
        }
        while (*link >= 0 && spans[*link].offset < span->offset)
            link = &spans[*link].next;
        span->next = *link;
        *link = i;
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
    const bool complete = nmi_conv_shape_complete(&shape);
    NMI_ASSERT(complete); /* the graph accepts no other */
    (void)complete;
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
    const bool complete = nmi_pool_shape_complete(&shape);
    NMI_ASSERT(complete);
    (void)complete;
    return shape;
}

nmi_group_norm nmi_step_group_norm(const nmi_topology *topology, const nmi_shape *shapes,
                                   int32_t node)
{
    return (nmi_group_norm){.channels = shapes[node].channels,
                            .size = topology->nodes[node].group,
                            .pixels = shapes[node].height * shapes[node].width,
                            .epsilon = topology->nodes[node].epsilon};
}

int64_t nmi_bordered_floats(const nmi_shape *shape, int64_t border)
{
    return shape->channels * (shape->height + 2 * border) * (shape->width + 2 * border);
}

nmi_image nmi_chunk_image(const nmi_chunk *chunk, int32_t node)
{
    const nmi_shape *shape = &chunk->shapes[node];
    const int64_t border = chunk->border != NULL ? chunk->border[node] : 0;
    nmi_image image = {.line = shape->channels * (shape->width + 2 * border),
                       .item = nmi_bordered_floats(shape, border)};
    if (chunk->offset[node] == NMI_PASSING)
        image.first = chunk->passing;
    else
        image.first = chunk->base + chunk->offset[node] * chunk->room + chunk->first * image.item +
                      border * (image.line + shape->channels);
    return image;
}

float *nmi_chunk_value(const nmi_chunk *chunk, int32_t node)
{
    return nmi_chunk_image(chunk, node).first;
}
