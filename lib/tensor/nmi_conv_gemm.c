/* SPDX-License-Identifier: MIT */
/*
 * Convolution through a matrix product: each image is unrolled into the column matrix
 * [out pixels][kernel][kernel][in_channels] in the workspace. The general path, for processors
 * whose best kernels are those of nmi_gemm().
 */
#include "nmi_conv_paths.h"

#include "nmi_gemm.h"

#include <string.h>

static int64_t pixels_of(const nmi_conv_shape *s)
{
    return s->out_height * s->out_width;
}

static int64_t depth_of(const nmi_conv_shape *s)
{
    return s->kernel * s->kernel * s->in_channels;
}

size_t nmi_conv_gemm_workspace_floats(const nmi_conv_shape *shape)
{
    return (size_t)(pixels_of(shape) * depth_of(shape));
}

/* Both walk the column matrix in order; `at` is the image element of a tap, -1 outside. */
static int64_t tap_offset(const nmi_conv_shape *s, int64_t pixel, int64_t tap)
{
    int64_t y = pixel / s->out_width * s->stride - s->padding + tap / s->kernel;
    int64_t x = pixel % s->out_width * s->stride - s->padding + tap % s->kernel;
    if (y < 0 || y >= s->in_height || x < 0 || x >= s->in_width)
        return -1;
    return (y * s->in_width + x) * s->in_channels;
}

static void image_to_columns(const nmi_conv_shape *s, const float *x, float *columns)
{
    const size_t bytes = (size_t)s->in_channels * sizeof *x;
    for (int64_t pixel = 0; pixel < pixels_of(s); pixel++) {
        for (int64_t tap = 0; tap < s->kernel * s->kernel; tap++, columns += s->in_channels) {
            int64_t at = tap_offset(s, pixel, tap);
            if (at < 0)
                memset(columns, 0, bytes);
            else
                memcpy(columns, x + at, bytes);
        }
    }
}

static void columns_add_to_image(const nmi_conv_shape *s, const float *columns, float *x)
{
    for (int64_t pixel = 0; pixel < pixels_of(s); pixel++) {
        for (int64_t tap = 0; tap < s->kernel * s->kernel; tap++, columns += s->in_channels) {
            int64_t at = tap_offset(s, pixel, tap);
            for (int64_t c = 0; at >= 0 && c < s->in_channels; c++)
                x[at + c] += columns[c];
        }
    }
}

void nmi_conv_gemm_pack(const nmi_conv_shape *shape, const float *oihw, float *packed)
{
    const int64_t taps = shape->kernel * shape->kernel;
    for (int64_t o = 0; o < shape->out_channels; o++)
        for (int64_t c = 0; c < shape->in_channels; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                packed[(tap * shape->in_channels + c) * shape->out_channels + o] =
                    oihw[(o * shape->in_channels + c) * taps + tap];
}

void nmi_conv_gemm_unpack_gradient(const nmi_conv_shape *shape, const float *dw_packed, float *oihw)
{
    const int64_t taps = shape->kernel * shape->kernel;
    for (int64_t o = 0; o < shape->out_channels; o++)
        for (int64_t c = 0; c < shape->in_channels; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                oihw[(o * shape->in_channels + c) * taps + tap] +=
                    dw_packed[(tap * shape->in_channels + c) * shape->out_channels + o];
}

/* If the residual is y itself, the product adds to it only when nothing comes between. */
void nmi_conv_gemm_forward(const nmi_conv_shape *shape, int64_t items, const float *x,
                           const float *packed, const nmi_epilogue *epilogue, float *y,
                           float *workspace)
{
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t n = shape->out_channels;
    for (int64_t i = 0; i < items; i++) {
        float *to = y + i * pixels_of(shape) * n;
        nmi_epilogue moved = nmi_conv_item_epilogue(shape, epilogue, i);
        const bool in_place = moved.residual == to;
        if (in_place)
            moved.residual = NULL;
        image_to_columns(shape, x + i * in, workspace);
        nmi_gemm(false, false, pixels_of(shape), n, depth_of(shape), 1.0f, workspace,
                 depth_of(shape), packed, n, in_place ? 1.0f : 0.0f, to, n);
        nmi_epilogue_apply(&moved, pixels_of(shape), n, to, n);
    }
}

void nmi_conv_gemm_backward_input(const nmi_conv_shape *shape, int64_t items, const float *dy,
                                  const float *packed, bool accumulate, float *dx, float *workspace)
{
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t n = shape->out_channels;
    if (!accumulate)
        memset(dx, 0, (size_t)(items * in) * sizeof *dx);
    for (int64_t i = 0; i < items; i++) {
        nmi_gemm(false, true, pixels_of(shape), depth_of(shape), n, 1.0f,
                 dy + i * pixels_of(shape) * n, n, packed, n, 0.0f, workspace, depth_of(shape));
        columns_add_to_image(shape, workspace, dx + i * in);
    }
}

void nmi_conv_gemm_backward_weight(const nmi_conv_shape *shape, int64_t items, const float *x,
                                   const float *dy, float *dw_packed, float *workspace)
{
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t n = shape->out_channels;
    for (int64_t i = 0; i < items; i++) {
        image_to_columns(shape, x + i * in, workspace);
        nmi_gemm(true, false, depth_of(shape), n, pixels_of(shape), 1.0f, workspace,
                 depth_of(shape), dy + i * pixels_of(shape) * n, n, 1.0f, dw_packed, n);
    }
}
