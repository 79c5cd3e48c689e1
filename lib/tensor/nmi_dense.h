/* SPDX-License-Identifier: MIT */
/*
 * Dense (fully connected) layers: the classifier of a network and every layer of an INR.
 *
 *   y[r][o] = epilogue(sum_i x[r][i] * w[o][i])      x [rows][inputs], w [outputs][inputs]
 *
 * Lines of x, y and their gradients may lie further apart than they are long (strides in floats).
 * No workspace. Cost of each of the three products: 2 * rows * inputs * outputs FLOP.
 * In bf16 ("_pairs", see nmi_kernels.h) each product takes its operands as pairs along its sum: x
 * and w of forward along the inputs, dy and w of backward_input along the outputs, x and dy of
 * backward_weight along the rows, two rows in one line. Strides are in floats, as ever.
 * For a chain of layers, run all layers on some 96 to 256 rows before the next rows, so that the
 * activations stay in the second-level cache.
 */
#ifndef NMI_DENSE_H
#define NMI_DENSE_H

#include "nmi_kernels.h"

typedef struct nmi_dense_shape {
    int64_t inputs, outputs;
} nmi_dense_shape;

size_t nmi_dense_packed_floats(const nmi_kernels *kernels,
                               nmi_dense_shape shape); /* forward, gradient */
size_t nmi_dense_packed_transposed_floats(const nmi_kernels *kernels,
                                          nmi_dense_shape shape); /* backward_input */
void nmi_dense_pack(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                    float *packed);
void nmi_dense_pack_transposed(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                               float *packed);
/* The same of the inputs chosen[0 .. shape.inputs - 1] of a wider w, `w_stride` >= their largest.
 */
void nmi_dense_pack_chosen(const nmi_kernels *kernels, nmi_dense_shape shape, const int16_t *chosen,
                           const float *w, int64_t w_stride, float *packed);
void nmi_dense_unpack_chosen(const nmi_kernels *kernels, nmi_dense_shape shape,
                             const int16_t *chosen, const float *dw_packed, float *w,
                             int64_t w_stride);
/* w[o][i] += gradient held in the packed layout. */
void nmi_dense_unpack_gradient(const nmi_kernels *kernels, nmi_dense_shape shape,
                               const float *dw_packed, float *w);

/* residual and activated of the epilogue are addressed like y (same stride). y must not
 * overlap x. */
void nmi_dense_forward(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                       const float *x, int64_t x_stride, const float *packed,
                       const nmi_epilogue *epilogue, float *y, int64_t y_stride);
/* The same for share `part` of `parts` of the outputs: see nmi_panel_share(). */
void nmi_dense_forward_part(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t part,
                            int64_t parts, int64_t rows, const float *x, int64_t x_stride,
                            const float *packed, const nmi_epilogue *epilogue, float *y,
                            int64_t y_stride);
/* dx[r][i] = (accumulate ? dx[r][i] : 0) + sum_o dy[r][o] * w[o][i]. */
void nmi_dense_backward_input(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                              const float *dy, int64_t dy_stride, const float *packed_transposed,
                              bool accumulate, float *dx, int64_t dx_stride);
/* dw_packed += dy^T x over rows in order (clear it first); dbias[o] += sum_r dy[r][o] or NULL. */
void nmi_dense_backward_weight(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                               const float *x, int64_t x_stride, const float *dy, int64_t dy_stride,
                               float *dw_packed, float *dbias);

/* In bf16; packed matrices need half the room, rounded up (a layer of one input more may need as
 * much as one of two). */
void nmi_dense_pack_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                          float *packed);
void nmi_dense_pack_transposed_pairs(const nmi_kernels *kernels, nmi_dense_shape shape,
                                     const float *w, float *packed);
void nmi_dense_forward_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                             const float *x, int64_t x_stride, const float *packed,
                             const nmi_epilogue *epilogue, float *y, int64_t y_stride);
void nmi_dense_backward_input_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                                    const float *dy, int64_t dy_stride,
                                    const float *packed_transposed, bool accumulate, float *dx,
                                    int64_t dx_stride);
/* dw_packed as in fp32. */
void nmi_dense_backward_weight_pairs(const nmi_kernels *kernels, nmi_dense_shape shape,
                                     int64_t lines, const float *x, int64_t x_stride,
                                     const float *dy, int64_t dy_stride, float *dw_packed);

#endif
