/* SPDX-License-Identifier: MIT */
/*
 * Shapes of convolutions and the choice between the two paths. Measured (tests/bench): with
 * vectors of sixteen floats the direct kernels are 2 to 5 times faster than the column matrix at
 * the shapes of residual networks, forward and backward, since nothing but the image has to pass
 * through the caches. On processors for which there is only the base table, BLIS may own hand-
 * written kernels we lack, so it is preferred where it was built in.
 */
#include "nmi_conv.h"

#include "cpu/nmi_cpu.h"
#include "nmi_context.h"
#include "nmi_conv_paths.h"

/* Small enough that sums of a few extents cannot overflow. */
static bool sensible(int64_t extent)
{
    return extent >= 1 && extent <= INT32_MAX;
}

bool nmi_conv_shape_complete(nmi_conv_shape *shape)
{
    const int64_t k = shape->kernel;
    const int64_t p = shape->padding;
    if (!sensible(shape->in_channels) || !sensible(shape->out_channels) ||
        !sensible(shape->in_height) || !sensible(shape->in_width) || !sensible(k) ||
        !sensible(shape->stride) || p < 0 || p >= k)
        return false;
    int64_t pixels, line, total;
    if (!nmi_multiply(k, k, &line) || !nmi_multiply(line, shape->in_channels, &line) ||
        !nmi_add(line, 64, &line) || !nmi_multiply(line, shape->out_channels + 64, &total) ||
        !nmi_multiply(shape->in_height + 2 * k, shape->in_width + 2 * k, &pixels) ||
        !nmi_multiply(pixels, line, &total) ||
        !nmi_multiply(pixels, shape->out_channels + 64, &total) || !nmi_multiply(total, 64, &total))
        return false;
    const int64_t height = shape->in_height + 2 * p - k;
    const int64_t width = shape->in_width + 2 * p - k;
    if (height < 0 || width < 0)
        return false;
    shape->out_height = height / shape->stride + 1;
    shape->out_width = width / shape->stride + 1;
    return true;
}

nmi_conv_path nmi_conv_path_of(const nmi_kernels *kernels, int32_t precision)
{
    const bool pairs = precision == NMI_BF16;
#ifdef NMI_HAVE_BLIS
    return (nmi_conv_path){kernels, pairs || kernels != &nmi_kernels_base, pairs};
#else
    return (nmi_conv_path){kernels, true, pairs};
#endif
}

nmi_epilogue nmi_conv_item_epilogue(const nmi_conv_shape *shape, const nmi_epilogue *epilogue,
                                    int64_t item)
{
    const int64_t floats = shape->out_height * shape->out_width * shape->out_channels;
    return nmi_epilogue_moved(epilogue, item * floats, 0);
}

size_t nmi_conv_workspace_bytes(nmi_conv_path path, const nmi_conv_shape *shape)
{
    size_t floats = path.direct ? nmi_conv_direct_workspace_floats(path, shape)
                                : nmi_conv_gemm_workspace_floats(shape);
    return (floats * sizeof(float) + 63) / 64 * 64;
}

static int64_t taps(const nmi_conv_shape *shape)
{
    return shape->kernel * shape->kernel;
}

size_t nmi_conv_packed_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    const int64_t depth = taps(shape) * shape->in_channels;
    if (path.direct)
        return nmi_packed_floats(path.kernels, depth, shape->out_channels);
    return (size_t)(depth * shape->out_channels);
}

size_t nmi_conv_packed_transposed_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    const int64_t depth = taps(shape) * shape->out_channels;
    if (path.direct)
        return nmi_packed_floats(path.kernels, depth, shape->in_channels);
    return (size_t)(depth * shape->in_channels);
}

void nmi_conv_pack(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                   float *packed)
{
    if (path.direct)
        nmi_conv_direct_pack(path, shape, oihw, packed);
    else
        nmi_conv_gemm_pack(shape, oihw, packed);
}

void nmi_conv_pack_transposed(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                              float *packed)
{
    if (path.direct)
        nmi_conv_direct_pack_transposed(path, shape, oihw, packed);
    else
        nmi_conv_gemm_pack(shape, oihw, packed);
}

void nmi_conv_unpack_gradient(nmi_conv_path path, const nmi_conv_shape *shape,
                              const float *dw_packed, float *oihw)
{
    if (path.direct)
        nmi_conv_direct_unpack_gradient(path, shape, dw_packed, oihw);
    else
        nmi_conv_gemm_unpack_gradient(shape, dw_packed, oihw);
}

void nmi_conv_forward(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                      const float *x, const float *packed, const nmi_epilogue *epilogue, float *y,
                      void *workspace)
{
    if (path.direct)
        nmi_conv_direct_forward(path, shape, items, x, packed, epilogue, y, workspace);
    else
        nmi_conv_gemm_forward(shape, items, x, packed, epilogue, y, workspace);
}

void nmi_conv_backward_input(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                             const float *dy, const float *packed_transposed, bool accumulate,
                             float *dx, void *workspace)
{
    if (path.direct)
        nmi_conv_direct_backward_input(path, shape, items, dy, packed_transposed, accumulate, dx,
                                       workspace);
    else
        nmi_conv_gemm_backward_input(shape, items, dy, packed_transposed, accumulate, dx,
                                     workspace);
}

void nmi_conv_backward_weight(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                              const float *x, const float *dy, float *dw_packed, float *dbias,
                              void *workspace)
{
    if (path.direct)
        nmi_conv_direct_backward_weight(path, shape, items, x, dy, dw_packed, workspace);
    else
        nmi_conv_gemm_backward_weight(shape, items, x, dy, dw_packed, workspace);
    if (dbias != NULL) {
        const int64_t pixels = shape->out_height * shape->out_width;
        for (int64_t i = 0; i < items; i++)
            path.kernels->column_sums(pixels, shape->out_channels,
                                      dy + i * pixels * shape->out_channels, shape->out_channels,
                                      dbias);
    }
}

/* --- parts ---------------------------------------------------------------------------------- */

nmi_conv_part nmi_conv_share(nmi_conv_path path, const nmi_conv_shape *shape, int64_t part,
                             int64_t parts)
{
    const int64_t panel = path.kernels->panel;
    const int64_t panels = (shape->out_channels + panel - 1) / panel;
    const int64_t pixels = shape->in_height * shape->in_width;
    nmi_conv_part share = {0, shape->out_height, 0, shape->out_channels};
    if ((panels % parts == 0 && taps(shape) * shape->out_channels > pixels) ||
        (shape->out_height < parts && shape->out_height < panels)) {
        share.channels =
            nmi_panel_share(path.kernels, shape->out_channels, part, parts, &share.channel);
    } else {
        share.line = shape->out_height * part / parts;
        share.lines = shape->out_height * (part + 1) / parts - share.line;
    }
    return share;
}

void nmi_conv_forward_part(nmi_conv_path path, const nmi_conv_shape *shape,
                           const nmi_conv_part *part, const float *x, int64_t x_line,
                           const float *packed, const nmi_epilogue *epilogue, float *y,
                           int64_t y_line)
{
    const int64_t offset = part->line * y_line + part->channel;
    const int64_t corner = shape->padding * (x_line + shape->in_channels);
    const nmi_epilogue moved = nmi_epilogue_moved(epilogue, offset, part->channel);
    const nmi_rows rows = {.x = x + part->line * shape->stride * x_line - corner,
                           .height = part->lines,
                           .width = shape->out_width,
                           .x_line = shape->stride * x_line,
                           .x_step = shape->stride * shape->in_channels,
                           .segments = shape->kernel,
                           .segment_length = shape->kernel * shape->in_channels,
                           .segment_stride = x_line};
    path.kernels->forward(&rows, packed + part->channel * taps(shape) * shape->in_channels,
                          part->channels, &moved, y + offset, y_line, shape->out_channels);
}
