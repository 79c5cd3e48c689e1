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
 *
 * In bf16 the bordered image holds pairs along the channels, each pixel rounded up to whole pairs,
 * and so do the packed weights; the rest is the same. The weight gradient, whose sums run over
 * pixels, has another form (nmi_conv_pairs.c).
 */
#include "nmi_conv_paths.h"

#include <string.h>

/* --- bordered images ---------------------------------------------------------------------- */

typedef struct border {
    int64_t height, width, channels; /* of the image inside */
    int64_t low, high_y, high_x;     /* zero pixels before (both directions) and after */
    const nmi_kernels *rounding;     /* to pairs, or NULL */
    int64_t pixel;                   /* floats of a pixel: its channels, or pairs of them */
} border;

static int64_t pixel_floats(nmi_conv_path path, int64_t channels)
{
    return path.way == NMI_CONV_PAIRS ? (channels + 1) / 2 : channels;
}

static int64_t bordered_width(const border *b)
{
    return b->low + b->width + b->high_x;
}

static size_t bordered_floats(const border *b)
{
    if (b->low == 0 && b->high_y == 0 && b->high_x == 0 && b->rounding == NULL)
        return 0;
    return (size_t)((b->low + b->height + b->high_y) * bordered_width(b) * b->pixel);
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
    const int64_t line = bordered_width(b) * b->pixel;
    const int64_t inside = b->width * b->pixel;
    float *end = image + b->low * line + b->low * b->pixel;
    clear(image, end - image);
    for (int64_t y = 0; y < b->height; y++) {
        end += inside;
        int64_t gap = y + 1 < b->height ? line - inside : b->high_x * b->pixel + b->high_y * line;
        clear(end, gap);
        end += gap;
    }
}

/* `pixels` of a line as pairs. */
static void round_pixels(const border *b, int64_t pixels, const float *x, float *to)
{
    if (b->channels % 2 == 0) {
        b->rounding->round_line(pixels * b->channels, x, to);
        return;
    }
    for (int64_t i = 0; i < pixels; i++)
        b->rounding->round_line(b->channels, x + i * b->channels, to + i * b->pixel);
}

/* The bordered image: a copy in `workspace`, or x itself if there is nothing to do. */
static const float *fill_border(const border *b, const float *x, float *workspace)
{
    if (bordered_floats(b) == 0)
        return x;
    const int64_t line = bordered_width(b) * b->pixel;
    const int64_t inside = b->width * b->channels;
    float *to = workspace + b->low * line + b->low * b->pixel;
    for (int64_t y = 0; y < b->height; y++) {
        if (b->rounding != NULL)
            round_pixels(b, b->width, x + y * inside, to + y * line);
        else
            memcpy(to + y * line, x + y * inside, (size_t)inside * sizeof *x);
    }
    return workspace;
}

static border input_border(nmi_conv_path path, const nmi_conv_shape *s)
{
    return (border){.height = s->in_height,
                    .width = s->in_width,
                    .channels = s->in_channels,
                    .low = s->padding,
                    .high_y = s->padding,
                    .high_x = s->padding,
                    .rounding = path.way == NMI_CONV_PAIRS ? path.kernels : NULL,
                    .pixel = pixel_floats(path, s->in_channels)};
}

/* How many taps beyond the end of dy the last input pixel reaches. */
static int64_t reach(int64_t in, int64_t out, const nmi_conv_shape *s)
{
    int64_t last = (in - 1 + s->padding) / s->stride;
    return last > out - 1 ? last - (out - 1) : 0;
}

static border output_border(nmi_conv_path path, const nmi_conv_shape *s)
{
    return (border){.height = s->out_height,
                    .width = s->out_width,
                    .channels = s->out_channels,
                    .low = (s->kernel - 1) / s->stride,
                    .high_y = reach(s->in_height, s->out_height, s),
                    .high_x = reach(s->in_width, s->out_width, s),
                    .rounding = path.way == NMI_CONV_PAIRS ? path.kernels : NULL,
                    .pixel = pixel_floats(path, s->out_channels)};
}

size_t nmi_conv_direct_workspace_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    const border in = input_border(path, shape);
    const border out = output_border(path, shape);
    const size_t a = bordered_floats(&in), b = bordered_floats(&out);
    const size_t c = path.way == NMI_CONV_PAIRS ? nmi_conv_pairs_workspace_floats(shape) : 0;
    const size_t most = a > b ? a : b;
    return most > c ? most : c;
}

/* --- phases of the input gradient --------------------------------------------------------- */

nmi_conv_phase nmi_conv_phase_of(const nmi_conv_shape *s, int64_t number, int64_t extent)
{
    nmi_conv_phase p = {number, 0, 0, 0};
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

static void pack(nmi_conv_path path, const nmi_depth *depth, int64_t columns, int64_t column_stride,
                 const float *a, float *packed)
{
    (path.way == NMI_CONV_PAIRS ? nmi_pack_pairs : nmi_pack)(path.kernels, depth, columns,
                                                             column_stride, a, packed);
}

void nmi_conv_direct_pack(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                          float *packed)
{
    const nmi_depth depth = forward_depth(shape);
    pack(path, &depth, shape->out_channels, shape->in_channels * shape->kernel * shape->kernel,
         oihw, packed);
}

void nmi_conv_direct_unpack_gradient(nmi_conv_path path, const nmi_conv_shape *shape,
                                     const float *dw_packed, float *oihw)
{
    const nmi_depth depth = forward_depth(shape);
    nmi_unpack_add(path.kernels, &depth, shape->out_channels,
                   shape->in_channels * shape->kernel * shape->kernel, dw_packed, oihw);
}

/* Within a phase dy is read forwards, so the taps run backwards. */
void nmi_conv_direct_pack_transposed(nmi_conv_path path, const nmi_conv_shape *shape,
                                     const float *oihw, float *packed)
{
    const int64_t k = shape->kernel;
    const int64_t s = shape->stride;
    for (int64_t a = 0; a < s; a++) {
        for (int64_t b = 0; b < s; b++) {
            const nmi_conv_phase y = nmi_conv_phase_of(shape, a, shape->in_height);
            const nmi_conv_phase x = nmi_conv_phase_of(shape, b, shape->in_width);
            if (y.taps == 0 || x.taps == 0)
                continue;
            const nmi_depth depth = {{y.taps, x.taps, shape->out_channels},
                                     {-s * k, -s, shape->in_channels * k * k}};
            const float *last =
                oihw + (y.first + (y.taps - 1) * s) * k + x.first + (x.taps - 1) * s;
            pack(path, &depth, shape->in_channels, k * k, last, packed);
            packed += nmi_packed_floats(path.kernels,
                                        y.taps * x.taps * pixel_floats(path, shape->out_channels),
                                        shape->in_channels);
        }
    }
}

/* --- products ----------------------------------------------------------------------------- */

/* A member of nmi_kernels. */
typedef void forward_fn(const nmi_rows *rows, const float *packed, int64_t columns,
                        const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step);

static forward_fn *forward_of(nmi_conv_path path)
{
    return path.way == NMI_CONV_PAIRS ? path.kernels->forward_pairs : path.kernels->forward;
}

/* The windows of `lines` lines of outputs; the first one begins at x, in an image whose lines and
 * pixels are so many floats apart. */
static nmi_rows windows(const nmi_conv_shape *s, int64_t lines, const float *x, int64_t line,
                        int64_t pixel)
{
    return (nmi_rows){.x = x,
                      .height = lines,
                      .width = s->out_width,
                      .x_line = s->stride * line,
                      .x_step = s->stride * pixel,
                      .segments = s->kernel,
                      .segment_length = s->kernel * pixel,
                      .segment_stride = line};
}

void nmi_conv_direct_forward(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                             const float *x, const float *packed, const nmi_epilogue *epilogue,
                             float *y, float *workspace)
{
    const border b = input_border(path, shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t line = shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const nmi_rows rows =
            windows(shape, shape->out_height, fill_border(&b, x + i * in, workspace),
                    bordered_width(&b) * b.pixel, b.pixel);
        const nmi_epilogue moved = nmi_conv_item_epilogue(shape, epilogue, i);
        forward_of(path)(&rows, packed, shape->out_channels, &moved,
                         y + i * shape->out_height * line, line, shape->out_channels);
    }
}

void nmi_conv_direct_backward_weight(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                                     const float *x, const float *dy, float *dw_packed,
                                     float *workspace)
{
    if (path.way == NMI_CONV_PAIRS) {
        nmi_conv_pairs_backward_weight(path.kernels, shape, items, x, dy, dw_packed, workspace);
        return;
    }
    const border b = input_border(path, shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t line = shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const nmi_rows rows =
            windows(shape, shape->out_height, fill_border(&b, x + i * in, workspace),
                    bordered_width(&b) * b.pixel, b.pixel);
        path.kernels->backward_weight(&rows, dy + i * shape->out_height * line, line,
                                      shape->out_channels, shape->out_channels, dw_packed);
    }
}

/* dx of one image, one phase after another. */
static void input_gradient(nmi_conv_path path, const nmi_conv_shape *shape, const border *b,
                           const float *dy, const float *packed, bool accumulate, float *dx)
{
    const int64_t channels = b->pixel; /* or pairs of them */
    const int64_t line = bordered_width(b) * channels;
    const int64_t dx_line = shape->in_width * shape->in_channels;
    for (int64_t n = 0; n < shape->stride * shape->stride; n++) {
        const nmi_conv_phase y = nmi_conv_phase_of(shape, n / shape->stride, shape->in_height);
        const nmi_conv_phase x = nmi_conv_phase_of(shape, n % shape->stride, shape->in_width);
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
            forward_of(path)(&rows, packed, shape->in_channels, &epilogue, to,
                             shape->stride * dx_line, shape->stride * shape->in_channels);
        packed += nmi_packed_floats(path.kernels, y.taps * x.taps * channels, shape->in_channels);
    }
}

void nmi_conv_direct_backward_input(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                                    const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace)
{
    const border b = output_border(path, shape);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t out = shape->out_height * shape->out_width * shape->out_channels;
    clear_border(&b, workspace);
    for (int64_t i = 0; i < items; i++) {
        const float *image = fill_border(&b, dy + i * out, workspace);
        input_gradient(path, shape, &b, image, packed_transposed, accumulate, dx + i * in);
    }
}

void nmi_conv_direct_forward_part(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                  const nmi_conv_part *part, const float *x, int64_t x_line,
                                  const float *packed, const nmi_epilogue *epilogue, float *y,
                                  int64_t y_line)
{
    const int64_t offset = part->line * y_line + part->channel;
    const int64_t corner = shape->padding * (x_line + shape->in_channels);
    const nmi_epilogue moved = nmi_epilogue_moved(epilogue, offset, part->channel);
    const nmi_rows rows =
        windows(shape, part->lines, x + part->line * shape->stride * x_line - corner, x_line,
                shape->in_channels);
    const int64_t depth = shape->kernel * shape->kernel * shape->in_channels;
    kernels->forward(&rows, packed + part->channel * depth, part->channels, &moved, y + offset,
                     y_line, shape->out_channels);
}
