/* SPDX-License-Identifier: MIT */
/*
 * The weight gradient of a convolution in bf16. It sums over the pixels of the output, so the two
 * of a pair are pixels: (2 q, x) and (2 q + 1, x), one above the other. Their windows begin
 * `stride` lines apart in the bordered input, so what meets their gradients is an image of pairs
 *
 *     pairs[y][x][c] = (input[y][x][c], input[y + stride][x][c])
 *
 * of which every second line of windows is read. An odd last line of the output is paired with
 * zeros. Whole lines are rounded, and then laid together, at once.
 */
#include "nmi_conv_paths.h"

#include <string.h>

/* Places in the workspace, in floats. A rounded line of `columns` numbers takes half of them. */
typedef struct room {
    int64_t columns, rounded;  /* of an input line; floats between rounded ones */
    int64_t line, lines;       /* floats of a bordered line of pairs, and such lines */
    int64_t gradient, lengths; /* numbers of a line of dy, and pairs of lines */
    int64_t zeros, pairs, dy, end;
} room;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static room lay_out(const nmi_conv_shape *s)
{
    room r = {.columns = s->in_width * s->in_channels,
              .line = (s->in_width + 2 * s->padding) * s->in_channels,
              .lines = s->in_height + 2 * s->padding,
              .gradient = s->out_width * s->out_channels,
              .lengths = (s->out_height + 1) / 2};
    r.rounded = (r.columns + 1) / 2;
    r.zeros = s->in_height * r.rounded;
    /* Two lines of dy are rounded where those of the input are not needed any more. */
    r.pairs = larger(r.zeros + r.rounded, 2 * ((r.gradient + 1) / 2));
    r.dy = r.pairs + r.lines * r.line;
    r.end = r.dy + r.lengths * r.gradient;
    return r;
}

size_t nmi_conv_pairs_workspace_floats(const nmi_conv_shape *shape)
{
    return (size_t)lay_out(shape).end;
}

/* The line `y` of the input, rounded; a line of zeros above and below it. */
static const float *input_line(const nmi_conv_shape *s, const room *r, const float *workspace,
                               int64_t y)
{
    return y >= 0 && y < s->in_height ? workspace + y * r->rounded : workspace + r->zeros;
}

static void pair_input(const nmi_kernels *kernels, const nmi_conv_shape *s, const room *r,
                       const float *x, float *workspace)
{
    const int64_t side = s->padding * s->in_channels;
    memset(workspace + r->zeros, 0, (size_t)r->rounded * sizeof *workspace);
    for (int64_t y = 0; y < s->in_height; y++)
        kernels->round_line(r->columns, x + y * r->columns, workspace + y * r->rounded);
    for (int64_t line = 0; line < r->lines; line++) {
        float *to = workspace + r->pairs + line * r->line;
        const int64_t y = line - s->padding;
        memset(to, 0, (size_t)side * sizeof *to);
        kernels->interleave(r->columns, input_line(s, r, workspace, y),
                            input_line(s, r, workspace, y + s->stride), to + side);
        memset(to + side + r->columns, 0, (size_t)side * sizeof *to);
    }
}

static void pair_gradient(const nmi_kernels *kernels, const nmi_conv_shape *s, const room *r,
                          const float *dy, float *workspace)
{
    float *lines[2] = {workspace, workspace + (r->gradient + 1) / 2};
    for (int64_t q = 0; q < r->lengths; q++) {
        const bool both = 2 * q + 1 < s->out_height;
        for (int i = 0; i < 1 + both; i++)
            kernels->round_line(r->gradient, dy + (2 * q + i) * r->gradient, lines[i]);
        kernels->interleave(r->gradient, lines[0], both ? lines[1] : NULL,
                            workspace + r->dy + q * r->gradient);
    }
}

void nmi_conv_pairs_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *x, const float *dy,
                                    float *dw_packed, float *workspace)
{
    const room r = lay_out(shape);
    const nmi_rows rows = {.x = workspace + r.pairs,
                           .height = r.lengths,
                           .width = shape->out_width,
                           .x_line = 2 * shape->stride * r.line,
                           .x_step = shape->stride * shape->in_channels,
                           .segments = shape->kernel,
                           .segment_length = shape->kernel * shape->in_channels,
                           .segment_stride = r.line};
    for (int64_t i = 0; i < items; i++) {
        pair_input(kernels, shape, &r, x + i * shape->in_height * r.columns, workspace);
        pair_gradient(kernels, shape, &r, dy + i * shape->out_height * r.gradient, workspace);
        kernels->backward_weight_pairs(&rows, workspace + r.dy, r.gradient, shape->out_channels,
                                       shape->out_channels, dw_packed);
    }
}
