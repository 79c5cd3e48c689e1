/* SPDX-License-Identifier: MIT */
/*
 * Convolution by the row kernels: the window of an output pixel is `kernel` runs of memory in a
 * zero-bordered image, so no column matrix is formed. One image at a time is copied into the
 * workspace with its border; without padding it is read where it is.
 *
 * The gradient of the input is a convolution of dy as well. With stride s, the input pixels fall
 * into s * s phases by (y + padding) mod s and (x + padding) mod s; a phase sees only every s-th
 * tap of each direction, but those with all of dy. So each phase is a dense convolution with
 * weights of its own, and no multiplication by inserted zeros takes place.
 */
#include "nmi_conv_paths.h"

#include <string.h>

/* --- bordered images ---------------------------------------------------------------------- */

typedef struct border {
    int64_t height, width, channels; /* of the image inside */
    int64_t low, high_y, high_x;     /* zero pixels before (both directions) and after */
} border;

static int64_t bordered_width(const border *b)
{
    return b->low + b->width + b->high_x;
}

static size_t bordered_floats(const border *b)
{
    if (b->low == 0 && b->high_y == 0 && b->high_x == 0)
        return 0;
    return (size_t)((b->low + b->height + b->high_y) * bordered_width(b) * b->channels);
}

static void clear(float *x, int64_t count)
{
    memset(x, 0, (size_t)count * sizeof *x);
}

/* The zeros are written once, the inside again for each image. */
static void clear_border(const border *b, float *image)
{
    if (bordered_floats(b) == 0)
        return;
    const int64_t line = bordered_width(b) * b->channels;
    const int64_t inside = b->width * b->channels;
    float *end = image + b->low * line + b->low * b->channels;
    clear(image, end - image);
    for (int64_t y = 0; y < b->height; y++) {
        end += inside;
        int64_t gap =
            y + 1 < b->height ? line - inside : b->high_x * b->channels + b->high_y * line;
        clear(end, gap);
        end += gap;
    }
}

/* The bordered image: a copy in `workspace`, or x itself if there is no border. */
static const float *fill_border(const border *b, const float *x, float *workspace)
{
    if (bordered_floats(b) == 0)
        return x;
    const int64_t line = bordered_width(b) * b->channels;
    const int64_t inside = b->width * b->channels;
    float *to = workspace + b->low * line + b->low * b->channels;
    for (int64_t y = 0; y < b->height; y++)
        memcpy(to + y * line, x + y * inside, (size_t)inside * sizeof *x);
    return workspace;
}

static border input_border(const nmi_conv_shape *s)
{
    return (border){s->in_height, s->in_width, s->in_channels, s->padding, s->padding, s->padding};
}

/* How many taps beyond the end of dy the last input pixel reaches. */
static int64_t reach(int64_t in, int64_t out, const nmi_conv_shape *s)
{
    int64_t last = (in - 1 + s->padding) / s->stride;
    return last > out - 1 ? last - (out - 1) : 0;
}

static border output_border(const nmi_conv_shape *s)
{
    return (border){s->out_height,
                    s->out_width,
                    s->out_channels,
                    (s->kernel - 1) / s->stride,
                    reach(s->in_height, s->out_height, s),
                    reach(s->in_width, s->out_width, s)};
}

size_t nmi_conv_direct_workspace_floats(const nmi_conv_shape *shape)
{
    const border in = input_border(shape);
    const border out = output_border(shape);
    size_t a = bordered_floats(&in);
    size_t b = bordered_floats(&out);
    return a > b ? a : b;
}

/* --- phases of the input gradient --------------------------------------------------------- */

/* One direction of a phase: taps first, first + s, ... below the kernel size; input pixels
 * start, start + s, ... */
typedef struct phase {
    int64_t first, taps, start, pixels;
} phase;

static phase phase_of(const nmi_conv_shape *s, int64_t number, int64_t extent)
{
    phase p = {number, 0, 0, 0};
    if (number < s->kernel)
        p.taps = (s->kernel - 1 - number) / s->stride + 1;
    p.start = ((number - s->padding) % s->stride + s->stride) % s->stride;
    if (p.start < extent)
        p.pixels = (extent - 1 - p.start) / s->stride + 1;
    return p;
}

/* --- weights ------------------------------------------------------------------------------ */

static nmi_depth forward_depth(const nmi_conv_shape *s)
{
    const int64_t k = s->kernel;
    return (nmi_depth){{k, k, s->in_channels}, {k, 1, k * k}};
}

void nmi_conv_direct_pack(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                          const float *oihw, float *packed)
{
    const nmi_depth depth = forward_depth(shape);
    nmi_pack(kernels, &depth, shape->out_channels,
             shape->in_channels * shape->kernel * shape->kernel, oihw, packed);
}

void nmi_conv_direct_unpack_gradient(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                     const float *dw_packed, float *oihw)
{
    const nmi_depth depth = forward_depth(shape);
    nmi_unpack_add(kernels, &depth, shape->out_channels,
                   shape->in_channels * shape->kernel * shape->kernel, dw_packed, oihw);
}

/* Within a phase dy is read forwards, so the taps run backwards. */
void nmi_conv_direct_pack_transposed(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                     const float *oihw, float *packed)
{
    const int64_t k = shape->kernel;
    const int64_t s = shape->stride;
    for (int64_t a = 0; a < s; a++) {
        for (int64_t b = 0; b < s; b++) {
            const phase y = phase_of(shape, a, shape->in_height);
            const phase x = phase_of(shape, b, shape->in_width);
            if (y.taps == 0 || x.taps == 0)
                continue;
            const nmi_depth depth = {{y.taps, x.taps, shape->out_channels},
                                     {-s * k, -s, shape->in_channels * k * k}};
            const float *last =
                oihw + (y.first + (y.taps - 1) * s) * k + x.first + (x.taps - 1) * s;
            nmi_pack(kernels, &depth, shape->in_channels, k * k, last, packed);
            packed += nmi_packed_floats(kernels, y.taps * x.taps * shape->out_channels,
                                        shape->in_channels);
        }
    }
}

/* --- products ----------------------------------------------------------------------------- */

static nmi_rows windows(const nmi_conv_shape *s, const float *image)
{
    const border b = input_border(s);
    const int64_t line = bordered_width(&b) * s->in_channels;
    return (nmi_rows){.x = image,
                      .height = s->out_height,
                      .width = s->out_width,
                      .x_line = s->stride * line,
                      .x_step = s->stride * s->in_channels,
                      .segments = s->kernel,
                      .segment_length = s->kernel * s->in_channels,
                      .segment_stride = line};
}

void nmi_conv_direct_forward(const nmi_kernels *kernels, const nmi_conv_shape *shape, int64_t items,
                             const float *x, const float *packed, const nmi_epilogue *epilogue,
                             float *y, float *workspace)
{
    const border b = input_border(shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t line = shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const nmi_rows rows = windows(shape, fill_border(&b, x + i * in, workspace));
        const nmi_epilogue moved = nmi_conv_item_epilogue(shape, epilogue, i);
        kernels->forward(&rows, packed, shape->out_channels, &moved,
                         y + i * shape->out_height * line, line, shape->out_channels);
    }
}

void nmi_conv_direct_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                     int64_t items, const float *x, const float *dy,
                                     float *dw_packed, float *workspace)
{
    const border b = input_border(shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t line = shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const nmi_rows rows = windows(shape, fill_border(&b, x + i * in, workspace));
        kernels->backward_weight(&rows, dy + i * shape->out_height * line, line,
                                 shape->out_channels, shape->out_channels, dw_packed);
    }
}

/* dx of one image, one phase after another. */
static void input_gradient(const nmi_kernels *kernels, const nmi_conv_shape *shape, const border *b,
                           const float *dy, const float *packed, bool accumulate, float *dx)
{
    const int64_t channels = shape->out_channels;
    const int64_t line = bordered_width(b) * channels;
    const int64_t dx_line = shape->in_width * shape->in_channels;
    for (int64_t n = 0; n < shape->stride * shape->stride; n++) {
        const phase y = phase_of(shape, n / shape->stride, shape->in_height);
        const phase x = phase_of(shape, n % shape->stride, shape->in_width);
        const bool none = y.taps == 0 || x.taps == 0;
        /* The first pixel's u = (start + padding - first) / s is the last line of dy it sees. */
        const int64_t top = (y.start + shape->padding - y.first) / shape->stride - y.taps + 1;
        const int64_t left = (x.start + shape->padding - x.first) / shape->stride - x.taps + 1;
        const nmi_rows rows = {.x = none ? dy
                                         : dy + (top + b->low) * line + (left + b->low) * channels,
                               .height = y.pixels,
                               .width = x.pixels,
                               .x_line = none ? 0 : line,
                               .x_step = none ? 0 : channels,
                               .segments = none ? 0 : y.taps,
                               .segment_length = x.taps * channels,
                               .segment_stride = line};
        float *to = dx + y.start * dx_line + x.start * shape->in_channels;
        nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
        if (accumulate)
            epilogue.residual = to;
        if (y.pixels > 0 && x.pixels > 0)
            kernels->forward(&rows, packed, shape->in_channels, &epilogue, to,
                             shape->stride * dx_line, shape->stride * shape->in_channels);
        packed += nmi_packed_floats(kernels, y.taps * x.taps * channels, shape->in_channels);
    }
}

void nmi_conv_direct_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace)
{
    const border b = output_border(shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t out = shape->out_height * shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const float *image = fill_border(&b, dy + i * out, workspace);
        input_gradient(kernels, shape, &b, image, packed_transposed, accumulate, dx + i * in);
    }
}
