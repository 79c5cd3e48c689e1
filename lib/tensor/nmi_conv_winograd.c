/* SPDX-License-Identifier: MIT */
/*
 * Convolution with 3 x 3 taps by the kernels' minimal algorithm. The gradient of the input is the
 * same convolution of dy with the taps turned around and the channels exchanged.
 */
#include "nmi_conv_paths.h"

enum { PLACES = NMI_WINOGRAD_PLACES, TAPS = NMI_WINOGRAD_TAPS };

size_t nmi_conv_winograd_workspace_floats(const nmi_kernels *kernels, const nmi_conv_shape *shape)
{
    const int64_t in = shape->in_channels, out = shape->out_channels;
    const size_t products = kernels->winograd_work(in > out ? in : out);
    const size_t gradient = kernels->winograd_gradient_work(in, out);
    return products > gradient ? products : gradient;
}

/* Taps that `walk` finds in oihw, packed by the direct path's order and transformed. */
static void pack(const nmi_kernels *kernels, const nmi_depth *walk, int64_t columns,
                 int64_t column_stride, const float *oihw, float *packed)
{
    const int64_t channels = walk->count[2];
    for (int64_t first = 0; first < columns; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, columns, first);
        const int64_t present = columns - first < width ? columns - first : width;
        float *panel = packed + first * PLACES * channels;
        nmi_pack(kernels, walk, present, column_stride, oihw + first * column_stride,
                 panel + (PLACES - TAPS) * channels * width);
        kernels->winograd_pack(channels, width, panel);
    }
}

void nmi_conv_winograd_pack(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                            const float *oihw, float *packed)
{
    const nmi_depth walk = {{3, 3, shape->in_channels}, {3, 1, TAPS}};
    pack(kernels, &walk, shape->out_channels, shape->in_channels * TAPS, oihw, packed);
}

void nmi_conv_winograd_pack_transposed(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                       const float *oihw, float *packed)
{
    const nmi_depth walk = {{3, 3, shape->out_channels}, {-3, -1, shape->in_channels * TAPS}};
    pack(kernels, &walk, shape->in_channels, TAPS, oihw + TAPS - 1, packed);
}

static nmi_tiles images(const nmi_conv_shape *shape, int64_t items, int64_t channels,
                        const float *x)
{
    const int64_t line = shape->in_width * channels;
    return (nmi_tiles){.x = x,
                       .items = items,
                       .height = shape->in_height,
                       .width = shape->in_width,
                       .x_item = shape->in_height * line,
                       .x_line = line,
                       .channels = channels};
}

void nmi_conv_winograd_forward(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                               int64_t items, const float *x, const float *packed,
                               const nmi_epilogue *epilogue, float *y, float *workspace)
{
    const nmi_tiles tiles = images(shape, items, shape->in_channels, x);
    const int64_t line = shape->in_width * shape->out_channels;
    kernels->winograd_forward(&tiles, packed, shape->out_channels, epilogue, y,
                              shape->in_height * line, line, shape->out_channels, workspace);
}

void nmi_conv_winograd_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                      int64_t items, const float *dy,
                                      const float *packed_transposed, bool accumulate, float *dx,
                                      float *workspace)
{
    const nmi_tiles tiles = images(shape, items, shape->out_channels, dy);
    const int64_t line = shape->in_width * shape->in_channels;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    if (accumulate)
        epilogue.residual = dx;
    kernels->winograd_forward(&tiles, packed_transposed, shape->in_channels, &epilogue, dx,
                              shape->in_height * line, line, shape->in_channels, workspace);
}

void nmi_conv_winograd_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                       int64_t items, const float *x, const float *dy,
                                       float *dw_packed, float *workspace)
{
    const nmi_tiles tiles = images(shape, items, shape->in_channels, x);
    kernels->winograd_backward_weight(&tiles, dy, shape->out_channels, dw_packed, workspace);
}

void nmi_conv_winograd_forward_part(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    const nmi_conv_part *part, const float *x, int64_t x_line,
                                    const float *packed, const nmi_epilogue *epilogue, float *y,
                                    int64_t y_line, float *workspace)
{
    const int64_t offset = part->line * y_line + part->channel;
    const nmi_epilogue moved = nmi_epilogue_moved(epilogue, offset, part->channel);
    const nmi_tiles tiles = {.x = x + part->line * x_line,
                             .items = 1,
                             .height = part->lines,
                             .width = shape->in_width,
                             .x_line = x_line,
                             .channels = shape->in_channels,
                             .bordered = true};
    kernels->winograd_forward(&tiles, packed + part->channel * PLACES * shape->in_channels,
                              part->channels, &moved, y + offset, 0, y_line, shape->out_channels,
                              workspace);
}
