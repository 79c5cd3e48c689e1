/* SPDX-License-Identifier: MIT */
/*
 * Operators that touch each element about once: activations, sums, concatenation, shortcuts,
 * scales, and changes of layout. They are their own references, except the activations and
 * nmi_affine_forward(), which run in nmi_kernels.h. Activations are NHWC; `rows` means items *
 * height * width. Backward functions overwrite dx, or add to it if `accumulate`. Cost:
 * O(elements), bound by memory.
 */
#ifndef NMI_ELEMENTWISE_H
#define NMI_ELEMENTWISE_H

#include "nmi_kernels.h"

/* --- layout ------------------------------------------------------------------------------- */

/* y[c * y_stride + r] = x[r * x_stride + c]: one matrix within larger ones. */
void nmi_transpose(int64_t rows, int64_t columns, const float *x, int64_t x_stride, float *y,
                   int64_t y_stride);
/* x [items][channels][pixels] <-> y [items][pixels][channels]. */
void nmi_nchw_to_nhwc(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y);
void nmi_nhwc_to_nchw(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y);

/* Flatten to channel-major features, as the public layout has it: y[i][c * pixels + p] =
 * x[i][p][c]. Forward is nmi_nhwc_to_nchw, backward its inverse. */
void nmi_flatten_forward(int64_t items, int64_t channels, int64_t pixels, const float *x, float *y);
void nmi_flatten_backward(int64_t items, int64_t channels, int64_t pixels, const float *dy,
                          bool accumulate, float *dx);

/* --- activation --------------------------------------------------------------------------- */

/* y = act(x): ReLU max(x, 0) (NaN stays NaN), ELU x > 0 ? x : exp(x) - 1. In place is allowed.
 * `activation` is NMI_ACTIVATION_*. ELU is within 2e-7 of the exact value. */
void nmi_activation_forward(const nmi_kernels *kernels, int32_t activation, int64_t count,
                            const float *x, float *y);
/* dx (+)= dy * act', from the output y. dx may be dy if not accumulating. */
void nmi_activation_backward(const nmi_kernels *kernels, int32_t activation, int64_t count,
                             const float *y, const float *dy, bool accumulate, float *dx);
void nmi_activation_forward_ref(int32_t activation, int64_t count, const float *x, float *y);

/* --- sums --------------------------------------------------------------------------------- */

/* y = sum of `inputs` arrays, added in the given order, then act. inputs >= 1. y may be x[0]. */
void nmi_add_forward(const nmi_kernels *kernels, int32_t inputs, const float *const *x,
                     int32_t activation, int64_t count, float *y);
/* dx = dy, or dx += dy: the backward of a sum for each of its inputs. */
void nmi_add_backward(const nmi_kernels *kernels, int64_t count, const float *dy, bool accumulate,
                      float *dx);

/* --- channels ----------------------------------------------------------------------------- */

/* Concatenation along channels: copies x [rows][channels] to columns offset.. of
 * y [rows][total]. Call once for each input. */
void nmi_concat_forward(int64_t rows, int64_t channels, int64_t offset, int64_t total,
                        const float *x, float *y);
void nmi_concat_backward(const nmi_kernels *kernels, int64_t rows, int64_t channels, int64_t offset,
                         int64_t total, const float *dy, bool accumulate, float *dx);

/* Option-A shortcut: every stride-th pixel of each line and column, out = ceil(in / stride); with
 * p = floor((out_channels - in_channels) / 2), output channel c is input channel c - p where
 * that exists, else 0. So a wider output gets its channels centred among zeros, a narrower one
 * takes the central channels. */
typedef struct nmi_shortcut_shape {
    int64_t in_channels, in_height, in_width, out_channels, stride;
} nmi_shortcut_shape;

void nmi_shortcut_forward(const nmi_shortcut_shape *shape, int64_t items, const float *x, float *y);
void nmi_shortcut_backward(const nmi_shortcut_shape *shape, int64_t items, const float *dy,
                           bool accumulate, float *dx);

/* --- scales ------------------------------------------------------------------------------- */

/* y = alpha * x (one scalar: learnable or a constant gain). In place is allowed. */
void nmi_scale_forward(int64_t count, float alpha, const float *x, float *y);
/* dx (+)= alpha * dy. dx may be dy if not accumulating. */
void nmi_scale_backward(const nmi_kernels *kernels, int64_t count, float alpha, const float *dy,
                        bool accumulate, float *dx);
/* d alpha = sum x * dy: summed in double in element order over one chunk; add chunks in order. */
double nmi_scale_backward_alpha(int64_t count, const float *x, const float *dy);

/* Per-channel affine, also batch norm with fixed statistics:
 * y[r][c] = act(scale[c] * x[r][c] + shift[c] + residual[r][c]). Without a residual (NULL) it is 0;
 * y may be x or the residual. */
void nmi_affine_forward(const nmi_kernels *kernels, int64_t rows, int64_t channels,
                        const float *scale, const float *shift, const float *residual,
                        int32_t activation, const float *x, float *y);
/* dx (+)= scale[c] * dy. dx may be dy if not accumulating. */
void nmi_affine_backward(int64_t rows, int64_t channels, const float *scale, const float *dy,
                         bool accumulate, float *dx);
/* dscale[c] += sum_r x * dy, dshift[c] += sum_r dy, in double, rows in order. */
void nmi_affine_backward_parameters(int64_t rows, int64_t channels, const float *x, const float *dy,
                                    double *dscale, double *dshift);

#endif
