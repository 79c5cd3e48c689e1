/* SPDX-License-Identifier: MIT */
/* The ways to convolve that nmi_conv.c chooses from; see nmi_conv.h for meanings. */
#ifndef NMI_CONV_PATHS_H
#define NMI_CONV_PATHS_H

#include "nmi_conv.h"

size_t nmi_conv_direct_workspace_floats(nmi_conv_path path, const nmi_conv_shape *shape);
void nmi_conv_direct_pack(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                          float *packed);
void nmi_conv_direct_pack_transposed(nmi_conv_path path, const nmi_conv_shape *shape,
                                     const float *oihw, float *packed);
void nmi_conv_direct_unpack_gradient(nmi_conv_path path, const nmi_conv_shape *shape,
                                     const float *dw_packed, float *oihw);
void nmi_conv_direct_forward(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                             const float *x, const float *packed, const nmi_epilogue *epilogue,
                             float *y, float *workspace);
void nmi_conv_direct_backward_input(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                                    const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace);
void nmi_conv_direct_backward_weight(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                                     const float *x, const float *dy, float *dw_packed,
                                     float *workspace);

/* One direction of phase `number` of the input's gradient: taps first, first + s, ... below the
 * kernel size; input pixels start, start + s, ... */
typedef struct nmi_conv_phase {
    int64_t first, taps, start, pixels;
} nmi_conv_phase;

nmi_conv_phase nmi_conv_phase_of(const nmi_conv_shape *shape, int64_t number, int64_t extent);

/* The weight gradient in bf16 (nmi_conv_pairs.c). */
size_t nmi_conv_pairs_workspace_floats(const nmi_conv_shape *shape);
void nmi_conv_pairs_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *x, const float *dy,
                                    float *dw_packed, float *workspace);

void nmi_conv_direct_forward_part(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                  const nmi_conv_part *part, const float *x, int64_t x_line,
                                  const float *packed, const nmi_epilogue *epilogue, float *y,
                                  int64_t y_line);

/* Here packed has K = 16 * channels, a weight gradient the direct path's layout. */
size_t nmi_conv_winograd_workspace_floats(const nmi_kernels *kernels, const nmi_conv_shape *shape);
void nmi_conv_winograd_pack(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                            const float *oihw, float *packed);
void nmi_conv_winograd_pack_transposed(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                       const float *oihw, float *packed);
void nmi_conv_winograd_forward(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                               int64_t items, const float *x, const float *packed,
                               const nmi_epilogue *epilogue, float *y, float *workspace);
void nmi_conv_winograd_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                      int64_t items, const float *dy,
                                      const float *packed_transposed, bool accumulate, float *dx,
                                      float *workspace);
void nmi_conv_winograd_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                       int64_t items, const float *x, const float *dy,
                                       float *dw_packed, float *workspace);
void nmi_conv_winograd_forward_part(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    const nmi_conv_part *part, const float *x, int64_t x_line,
                                    const float *packed, const nmi_epilogue *epilogue, float *y,
                                    int64_t y_line, float *workspace);

/* Here packed has the layout of nmi_matrix_kernels, for each phase of its own where transposed; a
 * weight gradient has, for each phase of the taps, [in_channels / 16][tap][out_channels /
 * 16][16][16] in whole tiles. */
size_t nmi_conv_matrix_workspace_floats(const nmi_conv_shape *shape); /* of all three */
size_t nmi_conv_matrix_weight_workspace_floats(const nmi_conv_shape *shape);
size_t nmi_conv_matrix_packed_floats(const nmi_conv_shape *shape);
size_t nmi_conv_matrix_packed_transposed_floats(const nmi_conv_shape *shape);
size_t nmi_conv_matrix_gradient_floats(const nmi_conv_shape *shape);
void nmi_conv_matrix_pack(const nmi_conv_shape *shape, const float *oihw, float *packed);
void nmi_conv_matrix_pack_transposed(const nmi_conv_shape *shape, const float *oihw, float *packed);
void nmi_conv_matrix_unpack_gradient(const nmi_conv_shape *shape, const float *dw_packed,
                                     float *oihw);
void nmi_conv_matrix_forward(const nmi_kernels *kernels, const nmi_conv_shape *shape, int64_t items,
                             const float *x, const float *packed, const nmi_epilogue *epilogue,
                             float *y, float *workspace);
void nmi_conv_matrix_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace);
void nmi_conv_matrix_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                     int64_t items, const float *x, const float *dy,
                                     float *dw_packed, float *workspace);

/* Here packed is [kernel][kernel][in_channels][out_channels], transposed or not. */
size_t nmi_conv_gemm_workspace_floats(const nmi_conv_shape *shape);
void nmi_conv_gemm_pack(const nmi_conv_shape *shape, const float *oihw, float *packed);
void nmi_conv_gemm_unpack_gradient(const nmi_conv_shape *shape, const float *dw_packed,
                                   float *oihw);
void nmi_conv_gemm_forward(const nmi_conv_shape *shape, int64_t items, const float *x,
                           const float *packed, const nmi_epilogue *epilogue, float *y,
                           float *workspace);
void nmi_conv_gemm_backward_input(const nmi_conv_shape *shape, int64_t items, const float *dy,
                                  const float *packed, bool accumulate, float *dx,
                                  float *workspace);
void nmi_conv_gemm_backward_weight(const nmi_conv_shape *shape, int64_t items, const float *x,
                                   const float *dy, float *dw_packed, float *workspace);

/* The epilogue of item `item`: pointers moved by that many images of y. */
nmi_epilogue nmi_conv_item_epilogue(const nmi_conv_shape *shape, const nmi_epilogue *epilogue,
                                    int64_t item);

#endif
