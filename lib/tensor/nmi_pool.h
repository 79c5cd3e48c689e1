/* SPDX-License-Identifier: MIT */
/*
 * Pooling of NHWC images. Windows are kernel x kernel, `stride` apart, over an image with
 * `padding` virtual pixels around it that never win a maximum and never count in an average.
 * Cost: items * out pixels * kernel^2 * channels operations.
 */
#ifndef NMI_POOL_H
#define NMI_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nmi_pool_shape {
    int64_t channels, in_height, in_width, out_height, out_width;
    int64_t kernel, stride, padding;
} nmi_pool_shape;

/* Fills out_height, out_width = (in + 2p - k) / s + 1; false if below 1 or if p >= k. */
bool nmi_pool_shape_complete(nmi_pool_shape *shape);

/* y = maximum of the window. Of equal values the first in row-major order counts. NaN wins. */
void nmi_pool_max_forward(const nmi_pool_shape *shape, int64_t items, const float *x, float *y);
/* dx at the first pixel of each window that holds the maximum += dy. Recomputes it from x.
 * dx is overwritten, or added to if `accumulate`. */
void nmi_pool_max_backward(const nmi_pool_shape *shape, int64_t items, const float *x,
                           const float *dy, bool accumulate, float *dx);

/* Lines [first, first + count) of one image's output. Lines of x and y start x_line and y_line
 * floats apart, as in images with a border. */
void nmi_pool_max_lines(const nmi_pool_shape *shape, int64_t first, int64_t count, const float *x,
                        int64_t x_line, float *y, int64_t y_line);

/* y = mean over the valid pixels of the window (padding is not counted). */
void nmi_pool_average_forward(const nmi_pool_shape *shape, int64_t items, const float *x, float *y);
void nmi_pool_average_backward(const nmi_pool_shape *shape, int64_t items, const float *dy,
                               bool accumulate, float *dx);

void nmi_pool_average_lines(const nmi_pool_shape *shape, int64_t first, int64_t count,
                            const float *x, int64_t x_line, float *y, int64_t y_line);

/* y[i][c] = mean over `pixels` of x[i][pixel][c]. */
void nmi_pool_global_forward(int64_t items, int64_t pixels, int64_t channels, const float *x,
                             float *y);
void nmi_pool_global_backward(int64_t items, int64_t pixels, int64_t channels, const float *dy,
                              bool accumulate, float *dx);

#endif
