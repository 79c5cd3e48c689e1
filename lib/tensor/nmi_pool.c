/* SPDX-License-Identifier: MIT */
/* Pooling in plain loops; channels are innermost, so they vectorise. */
#include "nmi_pool.h"

#include "nmi_context.h"

#include <string.h>

bool nmi_pool_shape_complete(nmi_pool_shape *shape)
{
    const int64_t k = shape->kernel;
    const int64_t p = shape->padding;
    int64_t count;
    if (shape->channels < 1 || shape->in_height < 1 || shape->in_width < 1 || k < 1 ||
        shape->stride < 1 || p < 0 || p >= k || k > INT32_MAX || p > INT32_MAX ||
        !nmi_multiply(shape->in_height, shape->in_width, &count) ||
        !nmi_multiply(count, shape->channels, &count) || !nmi_multiply(count, 64, &count))
        return false;
    const int64_t height = shape->in_height + 2 * p - k;
    const int64_t width = shape->in_width + 2 * p - k;
    if (height < 0 || width < 0)
        return false;
    shape->out_height = height / shape->stride + 1;
    shape->out_width = width / shape->stride + 1;
    return true;
}

/* The valid part of the window of one output pixel. */
typedef struct window {
    int64_t top, bottom, left, right; /* bottom and right are past the end */
} window;

static int64_t at_least(int64_t value, int64_t limit)
{
    return value < limit ? limit : value;
}

static int64_t at_most(int64_t value, int64_t limit)
{
    return value > limit ? limit : value;
}

static window window_of(const nmi_pool_shape *s, int64_t oy, int64_t ox)
{
    const int64_t y = oy * s->stride - s->padding;
    const int64_t x = ox * s->stride - s->padding;
    return (window){at_least(y, 0), at_most(y + s->kernel, s->in_height), at_least(x, 0),
                    at_most(x + s->kernel, s->in_width)};
}

/* One window of the image x, whose lines start x_line floats apart, into the output pixel y. */
typedef void (*forward_task)(const nmi_pool_shape *s, const window *w, const float *x,
                             int64_t x_line, float *y);

static void forward_lines(const nmi_pool_shape *s, forward_task task, int64_t first, int64_t count,
                          const float *x, int64_t x_line, float *y, int64_t y_line)
{
    for (int64_t oy = first; oy < first + count; oy++) {
        for (int64_t ox = 0; ox < s->out_width; ox++) {
            const window w = window_of(s, oy, ox);
            task(s, &w, x, x_line, y + oy * y_line + ox * s->channels);
        }
    }
}

static void forward_items(const nmi_pool_shape *s, forward_task task, int64_t items, const float *x,
                          float *y)
{
    const int64_t x_line = s->in_width * s->channels;
    const int64_t y_line = s->out_width * s->channels;
    for (int64_t i = 0; i < items; i++)
        forward_lines(s, task, 0, s->out_height, x + i * s->in_height * x_line, x_line,
                      y + i * s->out_height * y_line, y_line);
}

/* One window: x and dx are the image, dy is the output pixel. */
typedef void (*backward_task)(const nmi_pool_shape *s, const window *w, const float *x, float *dx,
                              const float *dy);

static void backward_items(const nmi_pool_shape *s, backward_task task, int64_t items,
                           const float *x, const float *dy, float *dx)
{
    const int64_t in = s->in_height * s->in_width * s->channels;
    for (int64_t i = 0; i < items; i++) {
        for (int64_t oy = 0; oy < s->out_height; oy++) {
            for (int64_t ox = 0; ox < s->out_width; ox++, dy += s->channels) {
                const window w = window_of(s, oy, ox);
                task(s, &w, x != NULL ? x + i * in : NULL, dx + i * in, dy);
            }
        }
    }
}

static void start_gradient(const nmi_pool_shape *s, int64_t items, bool accumulate, float *dx)
{
    if (!accumulate)
        memset(dx, 0, (size_t)(items * s->in_height * s->in_width * s->channels) * sizeof *dx);
}

/* --- maximum ------------------------------------------------------------------------------ */

/* True if b replaces a as the maximum: greater, or the first NaN. */
static bool beats(float b, float a)
{
    return b > a || (b != b && a == a);
}

static void max_forward(const nmi_pool_shape *s, const window *w, const float *x, int64_t x_line,
                        float *y)
{
    memcpy(y, x + w->top * x_line + w->left * s->channels, (size_t)s->channels * sizeof *y);
    for (int64_t iy = w->top; iy < w->bottom; iy++) {
        for (int64_t ix = w->left; ix < w->right; ix++) {
            const float *pixel = x + iy * x_line + ix * s->channels;
            for (int64_t c = 0; c < s->channels; c++)
                y[c] = beats(pixel[c], y[c]) ? pixel[c] : y[c];
        }
    }
}

static void max_backward(const nmi_pool_shape *s, const window *w, const float *x, float *dx,
                         const float *dy)
{
    for (int64_t c = 0; c < s->channels; c++) {
        int64_t best = (w->top * s->in_width + w->left) * s->channels + c;
        for (int64_t iy = w->top; iy < w->bottom; iy++) {
            for (int64_t ix = w->left; ix < w->right; ix++) {
                int64_t at = (iy * s->in_width + ix) * s->channels + c;
                best = beats(x[at], x[best]) ? at : best;
            }
        }
        dx[best] += dy[c];
    }
}

void nmi_pool_max_forward(const nmi_pool_shape *shape, int64_t items, const float *x, float *y)
{
    forward_items(shape, max_forward, items, x, y);
}

void nmi_pool_max_lines(const nmi_pool_shape *shape, int64_t first, int64_t count, const float *x,
                        int64_t x_line, float *y, int64_t y_line)
{
    forward_lines(shape, max_forward, first, count, x, x_line, y, y_line);
}

void nmi_pool_max_backward(const nmi_pool_shape *shape, int64_t items, const float *x,
                           const float *dy, bool accumulate, float *dx)
{
    start_gradient(shape, items, accumulate, dx);
    backward_items(shape, max_backward, items, x, dy, dx);
}

/* --- average ------------------------------------------------------------------------------ */

static float share(const window *w)
{
    return 1.0f / (float)((w->bottom - w->top) * (w->right - w->left));
}

static void average_forward(const nmi_pool_shape *s, const window *w, const float *x,
                            int64_t x_line, float *y)
{
    memset(y, 0, (size_t)s->channels * sizeof *y);
    for (int64_t iy = w->top; iy < w->bottom; iy++) {
        for (int64_t ix = w->left; ix < w->right; ix++) {
            const float *pixel = x + iy * x_line + ix * s->channels;
            for (int64_t c = 0; c < s->channels; c++)
                y[c] += pixel[c];
        }
    }
    const float factor = share(w);
    for (int64_t c = 0; c < s->channels; c++)
        y[c] *= factor;
}

static void average_backward(const nmi_pool_shape *s, const window *w, const float *x, float *dx,
                             const float *dy)
{
    (void)x;
    const float factor = share(w);
    for (int64_t iy = w->top; iy < w->bottom; iy++) {
        for (int64_t ix = w->left; ix < w->right; ix++) {
            float *pixel = dx + (iy * s->in_width + ix) * s->channels;
            for (int64_t c = 0; c < s->channels; c++)
                pixel[c] += factor * dy[c];
        }
    }
}

void nmi_pool_average_forward(const nmi_pool_shape *shape, int64_t items, const float *x, float *y)
{
    forward_items(shape, average_forward, items, x, y);
}

void nmi_pool_average_lines(const nmi_pool_shape *shape, int64_t first, int64_t count,
                            const float *x, int64_t x_line, float *y, int64_t y_line)
{
    forward_lines(shape, average_forward, first, count, x, x_line, y, y_line);
}

void nmi_pool_average_backward(const nmi_pool_shape *shape, int64_t items, const float *dy,
                               bool accumulate, float *dx)
{
    start_gradient(shape, items, accumulate, dx);
    backward_items(shape, average_backward, items, NULL, dy, dx);
}

/* --- global ------------------------------------------------------------------------------- */

static nmi_pool_shape one_window(int64_t pixels, int64_t channels)
{
    return (nmi_pool_shape){.channels = channels,
                            .in_height = pixels,
                            .in_width = 1,
                            .out_height = 1,
                            .out_width = 1,
                            .kernel = pixels,
                            .stride = 1};
}

void nmi_pool_global_forward(int64_t items, int64_t pixels, int64_t channels, const float *x,
                             float *y)
{
    const nmi_pool_shape shape = one_window(pixels, channels);
    nmi_pool_average_forward(&shape, items, x, y);
}

void nmi_pool_global_backward(int64_t items, int64_t pixels, int64_t channels, const float *dy,
                              bool accumulate, float *dx)
{
    const nmi_pool_shape shape = one_window(pixels, channels);
    nmi_pool_average_backward(&shape, items, dy, accumulate, dx);
}
