/* SPDX-License-Identifier: MIT */
/* Operators bound by memory, in plain loops with the channels innermost. */
#include "nmi_elementwise.h"

#include <math.h>
#include <string.h>

/* --- layout ------------------------------------------------------------------------------- */

/* y[c][r] (+)= x[r][c], in square tiles so that both sides use whole cache lines. */
static void transpose_matrix(int64_t rows, int64_t columns, const float *x, int64_t x_stride,
                             bool accumulate, float *y, int64_t y_stride)
{
    enum { SIDE = 16 };
    for (int64_t r0 = 0; r0 < rows; r0 += SIDE) {
        const int64_t r1 = r0 + SIDE < rows ? r0 + SIDE : rows;
        for (int64_t c0 = 0; c0 < columns; c0 += SIDE) {
            const int64_t c1 = c0 + SIDE < columns ? c0 + SIDE : columns;
            for (int64_t c = c0; c < c1; c++)
                for (int64_t r = r0; r < r1; r++)
                    y[c * y_stride + r] =
                        (accumulate ? y[c * y_stride + r] : 0.0f) + x[r * x_stride + c];
        }
    }
}

static void transpose(int64_t items, int64_t rows, int64_t columns, const float *x, bool accumulate,
                      float *y)
{
    for (int64_t i = 0; i < items; i++, x += rows * columns, y += rows * columns)
        transpose_matrix(rows, columns, x, columns, accumulate, y, rows);
}

void nmi_transpose(int64_t rows, int64_t columns, const float *x, int64_t x_stride, float *y,
                   int64_t y_stride)
{
    transpose_matrix(rows, columns, x, x_stride, false, y, y_stride);
}

void nmi_nchw_to_nhwc(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y)
{
    transpose(items, channels, pixels, x, false, y);
}

void nmi_nhwc_to_nchw(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y)
{
    transpose(items, pixels, channels, x, false, y);
}

void nmi_flatten_forward(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y)
{
    transpose(items, pixels, channels, x, false, y);
}

void nmi_flatten_backward(int64_t items, int64_t channels, int64_t pixels, const float *dy,
                          bool accumulate, float *dx)
{
    transpose(items, channels, pixels, dy, accumulate, dx);
}

/* --- activation --------------------------------------------------------------------------- */

void nmi_activation_forward(const nmi_kernels *kernels, int32_t activation, int64_t count,
                            const float *x, float *y)
{
    kernels->activate(activation, count, x, y);
}

void nmi_activation_backward(const nmi_kernels *kernels, int32_t activation, int64_t count,
                             const float *y, const float *dy, bool accumulate, float *dx)
{
    if (!accumulate) {
        kernels->activate_backward(activation, count, y, dy, dx);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float slope = 1.0f;
        if (activation == NMI_ACTIVATION_RELU)
            slope = y[i] > 0.0f ? 1.0f : 0.0f;
        else if (activation == NMI_ACTIVATION_ELU)
            slope = y[i] > 0.0f ? 1.0f : y[i] + 1.0f;
        dx[i] += dy[i] * slope;
    }
}

void nmi_activation_forward_ref(int32_t activation, int64_t count, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] = x[i];
        if (activation == NMI_ACTIVATION_RELU && x[i] < 0.0f)
            y[i] = 0.0f;
        else if (activation == NMI_ACTIVATION_ELU && x[i] <= 0.0f)
            y[i] = expm1f(x[i]);
    }
}

/* --- sums --------------------------------------------------------------------------------- */

void nmi_add_forward(const nmi_kernels *kernels, int32_t inputs, const float *const *x,
                     int32_t activation, int64_t count, float *y)
{
    if (y != x[0])
        memcpy(y, x[0], (size_t)count * sizeof *y);
    for (int32_t i = 1; i < inputs; i++)
        kernels->add_scaled(count, 1.0f, x[i], y);
    if (activation != NMI_ACTIVATION_NONE)
        kernels->activate(activation, count, y, y);
}

void nmi_add_backward(const nmi_kernels *kernels, int64_t count, const float *dy, bool accumulate,
                      float *dx)
{
    if (accumulate)
        kernels->add_scaled(count, 1.0f, dy, dx);
    else if (dx != dy)
        memcpy(dx, dy, (size_t)count * sizeof *dx);
}

/* --- channels ----------------------------------------------------------------------------- */

void nmi_concat_forward(int64_t rows, int64_t channels, int64_t offset, int64_t total,
                        const float *x, float *y)
{
    for (int64_t r = 0; r < rows; r++)
        memcpy(y + r * total + offset, x + r * channels, (size_t)channels * sizeof *y);
}

void nmi_concat_backward(const nmi_kernels *kernels, int64_t rows, int64_t channels, int64_t offset,
                         int64_t total, const float *dy, bool accumulate, float *dx)
{
    for (int64_t r = 0; r < rows; r++)
        nmi_add_backward(kernels, channels, dy + r * total + offset, accumulate, dx + r * channels);
}

/* The channels both sides of a shortcut have: `count` of them from `in` and `out` on. */
typedef struct overlap {
    int64_t in, out, count;
} overlap;

static overlap overlap_of(const nmi_shortcut_shape *s)
{
    const int64_t difference = s->out_channels - s->in_channels;
    if (difference >= 0)
        return (overlap){0, difference / 2, s->in_channels};
    return (overlap){(1 - difference) / 2, 0, s->out_channels};
}

void nmi_shortcut_forward(const nmi_shortcut_shape *shape, int64_t items, const float *x, float *y)
{
    const overlap o = overlap_of(shape);
    for (int64_t i = 0; i < items; i++) {
        const float *image = x + i * shape->in_height * shape->in_width * shape->in_channels;
        for (int64_t iy = 0; iy < shape->in_height; iy += shape->stride) {
            for (int64_t ix = 0; ix < shape->in_width; ix += shape->stride) {
                const float *pixel = image + (iy * shape->in_width + ix) * shape->in_channels;
                memset(y, 0, (size_t)shape->out_channels * sizeof *y);
                memcpy(y + o.out, pixel + o.in, (size_t)o.count * sizeof *y);
                y += shape->out_channels;
            }
        }
    }
}

void nmi_shortcut_backward(const nmi_shortcut_shape *shape, int64_t items, const float *dy,
                           bool accumulate, float *dx)
{
    const overlap o = overlap_of(shape);
    const int64_t image = shape->in_height * shape->in_width * shape->in_channels;
    if (!accumulate)
        memset(dx, 0, (size_t)(items * image) * sizeof *dx);
    for (int64_t i = 0; i < items; i++) {
        for (int64_t iy = 0; iy < shape->in_height; iy += shape->stride) {
            for (int64_t ix = 0; ix < shape->in_width; ix += shape->stride) {
                float *pixel = dx + i * image + (iy * shape->in_width + ix) * shape->in_channels;
                for (int64_t c = 0; c < o.count; c++)
                    pixel[o.in + c] += dy[o.out + c];
                dy += shape->out_channels;
            }
        }
    }
}

/* --- scales ------------------------------------------------------------------------------- */

void nmi_scale_forward(int64_t count, float alpha, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = alpha * x[i];
}

void nmi_scale_backward(const nmi_kernels *kernels, int64_t count, float alpha, const float *dy,
                        bool accumulate, float *dx)
{
    if (accumulate)
        kernels->add_scaled(count, alpha, dy, dx);
    else
        nmi_scale_forward(count, alpha, dy, dx);
}

double nmi_scale_backward_alpha(int64_t count, const float *x, const float *dy)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)dy[i];
    return sum;
}

void nmi_affine_forward(const nmi_kernels *kernels, int64_t rows, int64_t channels,
                        const float *scale, const float *shift, const float *residual,
                        int32_t activation, const float *x, float *y)
{
    kernels->affine(rows, channels, scale, shift, residual, activation, x, y);
}

void nmi_affine_backward(int64_t rows, int64_t channels, const float *scale, const float *dy,
                         bool accumulate, float *dx)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const int64_t at = r * channels + c;
            const float gradient = scale[c] * dy[at];
            dx[at] = accumulate ? dx[at] + gradient : gradient;
        }
    }
}

void nmi_affine_backward_parameters(int64_t rows, int64_t channels, const float *x, const float *dy,
                                    double *dscale, double *dshift)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            dscale[c] += (double)x[r * channels + c] * (double)dy[r * channels + c];
            dshift[c] += (double)dy[r * channels + c];
        }
    }
}
