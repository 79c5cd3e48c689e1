/* SPDX-License-Identifier: MIT */
/*
 * The forward of every operator. Training calls it on plain images, all of a chunk at once;
 * inference on images with a border of zeros, which convolutions read where they are, and with a
 * share of each image, so that several workers can compute one.
 */
#include "nmi_steps.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"

#include <string.h>

/* --- forward --------------------------------------------------------------------------------- */

int32_t nmi_step_activation(const nmi_topology *topology, int32_t node)
{
    if (node < 0)
        return NMI_ACTIVATION_NONE;
    return topology->nodes[node].function == 0 ? NMI_ACTIVATION_RELU : NMI_ACTIVATION_ELU;
}

bool nmi_step_divides(int32_t op)
{
    return op != NEUMETA_OP_POOL_GLOBAL && op != NEUMETA_OP_FLATTEN && op != NEUMETA_OP_GROUP_NORM;
}

/* A step on its way: what its forms below share. */
typedef struct forward_job {
    const nmi_chunk *chunk;
    const nmi_step *step;
    const nmi_step_weights *weights;
    const nmi_node *node;
    const nmi_shape *in, *out;
    nmi_image x, y;
    int64_t part, parts;
} forward_job;

static nmi_image input_image(const forward_job *job, int32_t k)
{
    return nmi_chunk_image(job->chunk, job->chunk->steps->source[job->node->inputs[k]]);
}

static int64_t share_begin(const forward_job *job, int64_t lines)
{
    return lines * job->part / job->parts;
}

static int64_t share_count(const forward_job *job, int64_t lines)
{
    return lines * (job->part + 1) / job->parts - share_begin(job, lines);
}

static void clear(float *from, int64_t floats)
{
    memset(from, 0, (size_t)floats * sizeof *from);
}

/* Zeros around the job's share of the lines, those above and below the image included. */
static void clear_border(const forward_job *job)
{
    const nmi_shape *shape = job->out;
    const int64_t border = job->chunk->border[job->step->end];
    const int64_t side = border * shape->channels;
    const int64_t inside = shape->width * shape->channels;
    const int64_t begin = share_begin(job, shape->height);
    const int64_t end = begin + share_count(job, shape->height);
    for (int64_t i = 0; i < job->chunk->items; i++) {
        float *first = job->y.first + i * job->y.item;
        if (job->part == 0)
            clear(first - border * job->y.line - side, border * job->y.line);
        for (int64_t line = begin; line < end; line++) {
            clear(first + line * job->y.line - side, side);
            clear(first + line * job->y.line + inside, side);
        }
        if (job->part == job->parts - 1)
            clear(first + shape->height * job->y.line - side, border * job->y.line);
    }
}

/* --- forward of products --------------------------------------------------------------------- */

static nmi_epilogue product_epilogue(const forward_job *job)
{
    const nmi_chunk *chunk = job->chunk;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = job->weights->bias;
    epilogue.activation = nmi_step_activation(chunk->topology, job->step->activation);
    if (job->step->add >= 0) {
        epilogue.residual =
            nmi_chunk_value(chunk, nmi_step_residual(chunk->topology, chunk->steps, job->step));
        epilogue.residual_inside = true;
    }
    return epilogue;
}

static void forward_conv(const forward_job *job)
{
    const nmi_chunk *chunk = job->chunk;
    const nmi_epilogue epilogue = product_epilogue(job);
    const nmi_conv_shape shape =
        nmi_step_conv_shape(chunk->topology, chunk->steps, chunk->shapes, job->step->node);
    const nmi_conv_path path = nmi_conv_path_of(chunk->kernels, chunk->precision, &shape);
    if (chunk->border == NULL) {
        nmi_conv_forward(path, &shape, chunk->items, job->x.first, job->weights->packed, &epilogue,
                         job->y.first, chunk->workspace);
        return;
    }
    const nmi_conv_part part = nmi_conv_share(path, &shape, job->part, job->parts);
    for (int64_t i = 0; i < chunk->items; i++) {
        const nmi_epilogue moved = nmi_epilogue_moved(&epilogue, i * job->y.item, 0);
        nmi_conv_forward_part(path, &shape, &part, job->x.first + i * job->x.item, job->x.line,
                              job->weights->packed, &moved, job->y.first + i * job->y.item,
                              job->y.line, chunk->workspace);
    }
}

static void forward_linear(const forward_job *job)
{
    const nmi_epilogue epilogue = product_epilogue(job);
    nmi_dense_forward_part(job->chunk->kernels,
                           (nmi_dense_shape){job->in->channels, job->out->channels}, job->part,
                           job->parts, job->chunk->items, job->x.first, job->x.item,
                           job->weights->packed, &epilogue, job->y.first, job->y.item);
}

/* --- forward by lines ------------------------------------------------------------------------ */

/* `pixels` of a line's output; or, without borders and parts, all lines of all items as one. */
typedef void (*line_task)(const forward_job *job, int64_t item, int64_t line, int64_t pixels);

static void for_lines(const forward_job *job, line_task task)
{
    const nmi_shape *out = job->out;
    const int64_t begin = share_begin(job, out->height);
    const int64_t count = share_count(job, out->height);
    if (job->chunk->border == NULL && job->parts == 1) {
        task(job, 0, 0, job->chunk->items * out->height * out->width);
        return;
    }
    for (int64_t i = 0; i < job->chunk->items; i++)
        for (int64_t line = begin; line < begin + count; line++)
            task(job, i, line, out->width);
}

static float *line_of(const nmi_image *image, int64_t item, int64_t line)
{
    return image->first + item * image->item + line * image->line;
}

/* Factors per channel, and what the step has behind them. */
static void scale_channels(const forward_job *job, int64_t item, int64_t line, int64_t pixels,
                           const float *scale, const float *shift)
{
    const nmi_chunk *chunk = job->chunk;
    const float *residual = NULL;
    if (job->step->add >= 0) {
        const nmi_image other =
            nmi_chunk_image(chunk, nmi_step_residual(chunk->topology, chunk->steps, job->step));
        residual = line_of(&other, item, line);
    }
    nmi_affine_forward(chunk->kernels, pixels, job->out->channels, scale, shift, residual,
                       nmi_step_activation(chunk->topology, job->step->activation),
                       line_of(&job->x, item, line), line_of(&job->y, item, line));
}

static void affine_line(const forward_job *job, int64_t item, int64_t line, int64_t pixels)
{
    scale_channels(job, item, line, pixels, job->weights->scale, job->weights->shift);
}

/* Two sweeps over each item: its moments, then the factors that they give. */
static void forward_group_norm(const forward_job *job)
{
    const int64_t channels = job->out->channels;
    const nmi_group_norm norm =
        nmi_step_group_norm(job->chunk->topology, job->chunk->shapes, job->step->node);
    double *sum = job->chunk->workspace, *square = sum + channels;
    float *scale = (float *)(square + channels), *shift = scale + channels;
    for (int64_t i = 0; i < job->chunk->items; i++) {
        memset(sum, 0, 2 * (size_t)channels * sizeof *sum);
        for (int64_t line = 0; line < job->out->height; line++)
            job->chunk->kernels->moments(job->out->width, channels, line_of(&job->x, i, line), sum,
                                         square);
        nmi_group_norm_factors(&norm, sum, square, job->weights->scale, job->weights->shift, scale,
                               shift);
        for (int64_t line = 0; line < job->out->height; line++)
            scale_channels(job, i, line, job->out->width, scale, shift);
    }
}

static void activation_line(const forward_job *job, int64_t item, int64_t line, int64_t pixels)
{
    nmi_activation_forward(
        job->chunk->kernels, nmi_step_activation(job->chunk->topology, job->step->node),
        pixels * job->out->channels, line_of(&job->x, item, line), line_of(&job->y, item, line));
}

static void scale_line(const forward_job *job, int64_t item, int64_t line, int64_t pixels)
{
    nmi_scale_forward(pixels * job->out->channels, job->weights->factor,
                      line_of(&job->x, item, line), line_of(&job->y, item, line));
}

static void sum_line(const forward_job *job, int64_t item, int64_t line, int64_t pixels)
{
    const nmi_node *node = job->node;
    const int64_t count = pixels * job->out->channels;
    const int32_t activation = nmi_step_activation(job->chunk->topology, job->step->activation);
    float *y = line_of(&job->y, item, line);
    int32_t first = 0;
    /* y may lie in the place of any one input, which is then the first term. */
    for (int32_t k = 0; k < node->input_count; k++)
        if (input_image(job, k).first == job->y.first)
            first = k;
    const nmi_image begin = input_image(job, first);
    const float *terms[2] = {line_of(&begin, item, line), NULL};
    for (int32_t k = 0, left = node->input_count - 1; k < node->input_count; k++) {
        if (k == first)
            continue;
        const nmi_image term = input_image(job, k);
        terms[1] = line_of(&term, item, line);
        left--;
        nmi_add_forward(job->chunk->kernels, 2, terms, left == 0 ? activation : NMI_ACTIVATION_NONE,
                        count, y);
        terms[0] = y;
    }
}

static void concat_line(const forward_job *job, int64_t item, int64_t line, int64_t pixels)
{
    int64_t offset = 0;
    for (int32_t k = 0; k < job->node->input_count; k++) {
        int32_t source = job->chunk->steps->source[job->node->inputs[k]];
        int64_t channels = job->chunk->shapes[source].channels;
        const nmi_image from = nmi_chunk_image(job->chunk, source);
        nmi_concat_forward(pixels, channels, offset, job->out->channels, line_of(&from, item, line),
                           line_of(&job->y, item, line));
        offset += channels;
    }
}

/* --- forward of images ----------------------------------------------------------------------- */

static void forward_shortcut(const forward_job *job)
{
    const int64_t stride = job->node->stride;
    const nmi_shortcut_shape shape = {job->in->channels, 1, job->in->width, job->out->channels,
                                      stride};
    const int64_t begin = share_begin(job, job->out->height);
    const int64_t count = share_count(job, job->out->height);
    for (int64_t i = 0; i < job->chunk->items; i++)
        for (int64_t line = begin; line < begin + count; line++)
            nmi_shortcut_forward(&shape, 1, line_of(&job->x, i, line * stride),
                                 line_of(&job->y, i, line));
}

static void forward_pool(const forward_job *job)
{
    const nmi_chunk *chunk = job->chunk;
    nmi_pool_shape shape = {.channels = job->in->channels,
                            .in_height = job->in->height,
                            .in_width = job->in->width,
                            .out_height = 1,
                            .out_width = 1,
                            .kernel = job->in->height + job->in->width, /* the whole image */
                            .stride = 1};
    if (job->node->op != NEUMETA_OP_POOL_GLOBAL)
        shape = nmi_step_pool_shape(chunk->topology, chunk->steps, chunk->shapes, job->step->node);
    const int64_t begin = share_begin(job, shape.out_height);
    const int64_t count = share_count(job, shape.out_height);
    for (int64_t i = 0; i < chunk->items; i++)
        (job->node->op == NEUMETA_OP_POOL_MAX ? nmi_pool_max_lines : nmi_pool_average_lines)(
            &shape, begin, count, line_of(&job->x, i, 0), job->x.line, line_of(&job->y, i, 0),
            job->y.line);
}

/* Lines [begin, end) of NHWC images to NCHW images, `item` floats apart. */
static void write_lines(const nmi_chunk *chunk, int32_t node, int64_t begin, int64_t end, float *y,
                        int64_t item)
{
    const nmi_shape *shape = &chunk->shapes[node];
    const nmi_image image = nmi_chunk_image(chunk, node);
    const int64_t pixels = shape->height * shape->width;
    for (int64_t i = 0; i < chunk->items; i++)
        for (int64_t line = begin; line < end; line++)
            nmi_transpose(shape->width, shape->channels, line_of(&image, i, line), shape->channels,
                          y + i * item + line * shape->width, pixels);
}

void nmi_chunk_write(const nmi_chunk *chunk, int32_t node, float *y)
{
    const nmi_shape *shape = &chunk->shapes[node];
    const int64_t parts = chunk->parts > 1 ? chunk->parts : 1;
    write_lines(chunk, node, shape->height * chunk->part / parts,
                shape->height * (chunk->part + 1) / parts, y, nmi_shape_floats(shape));
}

static forward_job job_of(const nmi_chunk *chunk, const nmi_step *step,
                          const nmi_step_weights *weights)
{
    const nmi_node *node = &chunk->topology->nodes[step->node];
    forward_job job = {.chunk = chunk,
                       .step = step,
                       .weights = weights,
                       .node = node,
                       .out = &chunk->shapes[step->node],
                       .y = nmi_chunk_image(chunk, step->end),
                       .part = chunk->part,
                       .parts = chunk->parts > 1 ? chunk->parts : 1};
    if (node->input_count > 0) {
        job.in = &chunk->shapes[chunk->steps->source[node->inputs[0]]];
        job.x = input_image(&job, 0);
    }
    if (!nmi_step_divides(node->op))
        job.parts = 1;
    return job;
}

void nmi_chunk_read(const nmi_chunk *chunk, const nmi_step *step, const float *x)
{
    const forward_job job = job_of(chunk, step, NULL);
    const nmi_shape *shape = job.out;
    const int64_t pixels = shape->height * shape->width;
    const int64_t begin = share_begin(&job, shape->height);
    const int64_t end = begin + share_count(&job, shape->height);
    if (chunk->unclear != NULL && chunk->unclear[step->end])
        clear_border(&job);
    for (int64_t i = 0; i < chunk->items; i++)
        for (int64_t line = begin; line < end; line++)
            nmi_transpose(shape->channels, shape->width,
                          x + i * nmi_shape_floats(shape) + line * shape->width, pixels,
                          line_of(&job.y, i, line), shape->channels);
}

void nmi_step_forward(const nmi_chunk *chunk, const nmi_step *step, const nmi_step_weights *weights)
{
    const forward_job job = job_of(chunk, step, weights);
    if (job.part >= job.parts)
        return;
    if (chunk->unclear != NULL && chunk->unclear[step->end])
        clear_border(&job);
    switch (job.node->op) {
    case NEUMETA_OP_CONV:
        forward_conv(&job);
        break;
    case NEUMETA_OP_LINEAR:
        forward_linear(&job);
        break;
    case NEUMETA_OP_NORM:
    case NEUMETA_OP_AFFINE:
        for_lines(&job, affine_line);
        break;
    case NEUMETA_OP_GROUP_NORM:
        forward_group_norm(&job);
        break;
    case NEUMETA_OP_ACTIVATION:
        for_lines(&job, activation_line);
        break;
    case NEUMETA_OP_ADD:
        for_lines(&job, sum_line);
        break;
    case NEUMETA_OP_CONCAT:
        for_lines(&job, concat_line);
        break;
    case NEUMETA_OP_POOL_MAX:
    case NEUMETA_OP_POOL_AVERAGE:
    case NEUMETA_OP_POOL_GLOBAL:
        forward_pool(&job);
        break;
    case NEUMETA_OP_FLATTEN:
        write_lines(chunk, chunk->steps->source[job.node->inputs[0]], 0, job.in->height,
                    job.y.first, job.y.item);
        break;
    case NEUMETA_OP_SHORTCUT:
        forward_shortcut(&job);
        break;
    case NEUMETA_OP_SCALE:
    case NEUMETA_OP_GAIN:
        for_lines(&job, scale_line);
        break;
    default:
        NMI_ASSERT(false);
    }
}
