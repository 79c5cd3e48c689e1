/* SPDX-License-Identifier: MIT */
/* The convolution in plain loops over OIHW weights, summed in double. */
#include "nmi_conv_paths.h"

static int64_t weight_at(const nmi_conv_shape *s, int64_t o, int64_t c, int64_t ky, int64_t kx)
{
    return ((o * s->in_channels + c) * s->kernel + ky) * s->kernel + kx;
}

/* Element (item, y, x, c) of the input, or -1 outside the image. */
static int64_t input_at(const nmi_conv_shape *s, int64_t item, int64_t y, int64_t x, int64_t c)
{
    if (y < 0 || y >= s->in_height || x < 0 || x >= s->in_width)
        return -1;
    return ((item * s->in_height + y) * s->in_width + x) * s->in_channels + c;
}

static int64_t output_at(const nmi_conv_shape *s, int64_t item, int64_t y, int64_t x, int64_t o)
{
    return ((item * s->out_height + y) * s->out_width + x) * s->out_channels + o;
}

static double output_sum(const nmi_conv_shape *s, int64_t item, int64_t oy, int64_t ox, int64_t o,
                         const float *x, const float *w)
{
    double sum = 0.0;
    for (int64_t ky = 0; ky < s->kernel; ky++) {
        for (int64_t kx = 0; kx < s->kernel; kx++) {
            for (int64_t c = 0; c < s->in_channels; c++) {
                int64_t at = input_at(s, item, oy * s->stride - s->padding + ky,
                                      ox * s->stride - s->padding + kx, c);
                if (at >= 0)
                    sum += (double)x[at] * (double)w[weight_at(s, o, c, ky, kx)];
            }
        }
    }
    return sum;
}

void nmi_conv_forward_ref(const nmi_conv_shape *shape, int64_t items, const float *x,
                          const float *oihw, const nmi_epilogue *epilogue, float *y)
{
    const int64_t n = shape->out_channels;
    for (int64_t i = 0; i < items; i++) {
        for (int64_t oy = 0; oy < shape->out_height; oy++)
            for (int64_t ox = 0; ox < shape->out_width; ox++)
                for (int64_t o = 0; o < n; o++)
                    y[output_at(shape, i, oy, ox, o)] =
                        (float)output_sum(shape, i, oy, ox, o, x, oihw);
        const nmi_epilogue moved = nmi_conv_item_epilogue(shape, epilogue, i);
        nmi_epilogue_apply(&moved, shape->out_height * shape->out_width, n,
                           y + output_at(shape, i, 0, 0, 0), n);
    }
}

/* The sum of input pixel (y, x, c): every output whose window holds it. */
static double input_sum(const nmi_conv_shape *s, int64_t item, int64_t y, int64_t x, int64_t c,
                        const float *dy, const float *w)
{
    double sum = 0.0;
    for (int64_t ky = 0; ky < s->kernel; ky++) {
        for (int64_t kx = 0; kx < s->kernel; kx++) {
            int64_t oy = y + s->padding - ky;
            int64_t ox = x + s->padding - kx;
            if (oy < 0 || ox < 0 || oy % s->stride != 0 || ox % s->stride != 0 ||
                oy / s->stride >= s->out_height || ox / s->stride >= s->out_width)
                continue;
            for (int64_t o = 0; o < s->out_channels; o++)
                sum += (double)dy[output_at(s, item, oy / s->stride, ox / s->stride, o)] *
                       (double)w[weight_at(s, o, c, ky, kx)];
        }
    }
    return sum;
}

void nmi_conv_backward_input_ref(const nmi_conv_shape *shape, int64_t items, const float *dy,
                                 const float *oihw, bool accumulate, float *dx)
{
    for (int64_t i = 0; i < items; i++) {
        for (int64_t y = 0; y < shape->in_height; y++) {
            for (int64_t x = 0; x < shape->in_width; x++) {
                for (int64_t c = 0; c < shape->in_channels; c++) {
                    float *to = dx + input_at(shape, i, y, x, c);
                    float sum = (float)input_sum(shape, i, y, x, c, dy, oihw);
                    *to = accumulate ? *to + sum : sum;
                }
            }
        }
    }
}

/* The sum over all outputs of dy times the input under one tap. */
static double weight_sum(const nmi_conv_shape *s, int64_t items, int64_t o, int64_t c, int64_t ky,
                         int64_t kx, const float *x, const float *dy)
{
    double sum = 0.0;
    for (int64_t i = 0; i < items; i++) {
        for (int64_t oy = 0; oy < s->out_height; oy++) {
            for (int64_t ox = 0; ox < s->out_width; ox++) {
                int64_t at = input_at(s, i, oy * s->stride - s->padding + ky,
                                      ox * s->stride - s->padding + kx, c);
                if (at >= 0)
                    sum += (double)x[at] * (double)dy[output_at(s, i, oy, ox, o)];
            }
        }
    }
    return sum;
}

void nmi_conv_backward_weight_ref(const nmi_conv_shape *shape, int64_t items, const float *x,
                                  const float *dy, float *dw, float *dbias)
{
    for (int64_t o = 0; o < shape->out_channels; o++)
        for (int64_t c = 0; c < shape->in_channels; c++)
            for (int64_t ky = 0; ky < shape->kernel; ky++)
                for (int64_t kx = 0; kx < shape->kernel; kx++)
                    dw[weight_at(shape, o, c, ky, kx)] +=
                        (float)weight_sum(shape, items, o, c, ky, kx, x, dy);
    const int64_t pixels = items * shape->out_height * shape->out_width;
    for (int64_t o = 0; dbias != NULL && o < shape->out_channels; o++) {
        double sum = 0.0;
        for (int64_t p = 0; p < pixels; p++)
            sum += (double)dy[p * shape->out_channels + o];
        dbias[o] += (float)sum;
    }
}
