/* SPDX-License-Identifier: MIT */
/*
 * Two-dimensional convolution with a square kernel.
 *
 *   y[i][oy][ox][o] = bias[o] + sum_{ky,kx,c} x[i][oy*s - p + ky][ox*s - p + kx][c] w[o][c][ky][kx]
 *
 * Activations are NHWC: x [items][in_height][in_width][in_channels], y likewise. Weights are OIHW
 * outside, packed inside. Pixels outside the image count as zero. One thread; splitting items
 * over threads is the caller's. Cost of each of the three products:
 * 2 * items * out_height * out_width * kernel^2 * in_channels * out_channels FLOP.
 *
 * Which path runs is decided in nmi_conv_path_of() only; packed arrays are opaque to callers and
 * valid for that path and the shape's channels, kernel and stride.
 */
#ifndef NMI_CONV_H
#define NMI_CONV_H

#include "nmi_kernels.h"

typedef struct nmi_conv_shape {
    int64_t in_channels, in_height, in_width;
    int64_t out_channels, out_height, out_width;
    int64_t kernel, stride, padding;
} nmi_conv_shape;

/* Fills out_height and out_width = (in + 2p - k) / s + 1; false if that is below 1 or if
 * any extent is not positive, padding is negative or reaches the kernel size, or the element
 * counts overflow. Shapes passed to the functions below must have passed here. */
bool nmi_conv_shape_complete(nmi_conv_shape *shape);

enum {
    NMI_CONV_COLUMNS,  /* im2col and nmi_gemm; the kernels do the rest */
    NMI_CONV_DIRECT,   /* the kernels' products of rows */
    NMI_CONV_PAIRS,    /* the same with operands rounded to bf16 */
    NMI_CONV_MATRIX,   /* and on the kernels' matrix tiles, where there are any */
    NMI_CONV_WINOGRAD, /* the kernels' minimal algorithm; only 3 x 3 taps, see nmi_tiles */
    NMI_CONV_WAYS
};

typedef struct nmi_conv_path {
    const nmi_kernels *kernels;
    int32_t way; /* NMI_CONV_* */
} nmi_conv_path;

/* The best path for a level of kernels, a precision (NMI_FP32 or NMI_BF16) and a shape. */
nmi_conv_path nmi_conv_path_of(const nmi_kernels *kernels, int32_t precision,
                               const nmi_conv_shape *shape);
/* Whether a path can treat the shape. */
bool nmi_conv_fits(nmi_conv_path path, const nmi_conv_shape *shape);
/* Whether the paths of these kernels in fp32 read bordered images: nmi_conv_forward_part(). */
bool nmi_conv_reads_borders(const nmi_kernels *kernels);

/* Bytes of workspace (64-byte aligned) that each call below may use; independent of items. */
size_t nmi_conv_workspace_bytes(nmi_conv_path path, const nmi_conv_shape *shape);
/* The same for nmi_conv_forward_part(). */
size_t nmi_conv_part_workspace_bytes(nmi_conv_path path, const nmi_conv_shape *shape);

/* What the calls below need for shapes whose channels vary. */
typedef struct nmi_conv_room {
    size_t workspace_bytes, packed_floats, transposed_floats, gradient_floats;
} nmi_conv_room;

/* Room for every shape with channels from those of `least` to those of `most`, which differ in
 * nothing else. More channels do not always need more: the path may be another one, and what the
 * matrix tiles leave over has ways of its own. */
nmi_conv_room nmi_conv_room_between(const nmi_kernels *kernels, int32_t precision,
                                    const nmi_conv_shape *least, const nmi_conv_shape *most);

/* --- weights ------------------------------------------------------------------------------ */

size_t nmi_conv_packed_floats(nmi_conv_path path, const nmi_conv_shape *shape); /* forward */
size_t nmi_conv_packed_transposed_floats(nmi_conv_path path,
                                         const nmi_conv_shape *shape); /* backward_input */
/* backward_weight */
size_t nmi_conv_gradient_floats(nmi_conv_path path, const nmi_conv_shape *shape);
void nmi_conv_pack(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                   float *packed);
void nmi_conv_pack_transposed(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                              float *packed);
/* oihw += gradient held in its packed layout. */
void nmi_conv_unpack_gradient(nmi_conv_path path, const nmi_conv_shape *shape,
                              const float *dw_packed, float *oihw);

/* --- the three products ------------------------------------------------------------------- */

/* y = epilogue(x * w). epilogue: see nmi_kernels.h; NULL: none. residual and activated have
 * y's shape; residual may be y itself if residual_inside, or without activation at scale 1. y
 * must not overlap x. */
void nmi_conv_forward(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                      const float *x, const float *packed, const nmi_epilogue *epilogue, float *y,
                      void *workspace);
/* dx = (accumulate ? dx : 0) + dy * w^T. dx must not overlap dy. */
void nmi_conv_backward_input(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                             const float *dy, const float *packed_transposed, bool accumulate,
                             float *dx, void *workspace);
/* dw_packed += x^T * dy over all items in order (clear it first); dbias[o] += sum dy, or NULL. */
void nmi_conv_backward_weight(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                              const float *x, const float *dy, float *dw_packed, float *dbias,
                              void *workspace);

/* --- a part of one bordered image (not by im2col, not in bf16) ------------------------------ */

/* Lines and channels of the output; the first channel starts a panel (see nmi_panel_share()). */
typedef struct nmi_conv_part {
    int64_t line, lines, channel, channels;
} nmi_conv_part;

/* Share `part` of `parts` of the output, parts >= 1: lines, or channels where the weights outweigh
 * the image and divide evenly, so that no two cores read the same. A share may be empty. */
nmi_conv_part nmi_conv_share(nmi_conv_path path, const nmi_conv_shape *shape, int64_t part,
                             int64_t parts);
/* That part of y = epilogue(x * w): x points to pixel (0, 0) of an image with at least `padding`
 * zero pixels around it. Lines of x and y start x_line and y_line floats apart; residual and
 * activated are addressed like y. */
void nmi_conv_forward_part(nmi_conv_path path, const nmi_conv_shape *shape,
                           const nmi_conv_part *part, const float *x, int64_t x_line,
                           const float *packed, const nmi_epilogue *epilogue, float *y,
                           int64_t y_line, void *workspace);

/* Plain loops over OIHW weights: the reference (dw is OIHW too and accumulated). */
void nmi_conv_forward_ref(const nmi_conv_shape *shape, int64_t items, const float *x,
                          const float *oihw, const nmi_epilogue *epilogue, float *y);
void nmi_conv_backward_input_ref(const nmi_conv_shape *shape, int64_t items, const float *dy,
                                 const float *oihw, bool accumulate, float *dx);
void nmi_conv_backward_weight_ref(const nmi_conv_shape *shape, int64_t items, const float *x,
                                  const float *dy, float *dw, float *dbias);

#endif
