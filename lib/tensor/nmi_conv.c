/* SPDX-License-Identifier: MIT */
/*
 * Shapes of convolutions and the choice between the paths. Measured (tests/bench): with
 * vectors of sixteen floats the direct kernels are 2 to 5 times faster than the column matrix at
 * the shapes of residual networks, forward and backward, since nothing but the image has to pass
 * through the caches. On processors for which there is only the base table, BLIS may own hand-
 * written kernels we lack, so it is preferred where it was built in. The minimal algorithm has 4/9
 * of the direct kernels' products and pays where transforming is little beside them.
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

bool nmi_conv_reads_borders(const nmi_kernels *kernels)
{
#ifdef NMI_HAVE_BLIS
    return kernels != &nmi_kernels_base;
#else
    (void)kernels;
    return true;
#endif
}

bool nmi_conv_fits(nmi_conv_path path, const nmi_conv_shape *shape)
{
    if (path.way == NMI_CONV_MATRIX)
        return path.kernels->matrix != NULL;
    return path.way != NMI_CONV_WINOGRAD ||
           (shape->kernel == 3 && shape->stride == 1 && shape->padding == 1 &&
            shape->in_height % 2 == 0 && shape->in_width % 2 == 0);
}

/* Channels from which on transforming pays, and pixels for which a block of tiles is full. */
enum { WINOGRAD_CHANNELS = 8, WINOGRAD_PIXELS = 64 };

nmi_conv_path nmi_conv_path_of(const nmi_kernels *kernels, int32_t precision,
                               const nmi_conv_shape *shape)
{
    nmi_conv_path path = {kernels, NMI_CONV_DIRECT};
    const nmi_conv_path winograd = {kernels, NMI_CONV_WINOGRAD};
    if (precision == NMI_BF16)
        path.way = kernels->matrix != NULL ? NMI_CONV_MATRIX : NMI_CONV_PAIRS;
    else if (!nmi_conv_reads_borders(kernels))
        path.way = NMI_CONV_COLUMNS;
    else if (nmi_conv_fits(winograd, shape) && shape->in_channels >= WINOGRAD_CHANNELS &&
             shape->out_channels >= WINOGRAD_CHANNELS &&
             shape->in_height * shape->in_width >= WINOGRAD_PIXELS)
        path = winograd;
    return path;
}

nmi_epilogue nmi_conv_item_epilogue(const nmi_conv_shape *shape, const nmi_epilogue *epilogue,
                                    int64_t item)
{
    const int64_t floats = shape->out_height * shape->out_width * shape->out_channels;
    return nmi_epilogue_moved(epilogue, item * floats, 0);
}

static size_t whole_lines(size_t floats)
{
    return (floats * sizeof(float) + 63) / 64 * 64;
}

size_t nmi_conv_workspace_bytes(nmi_conv_path path, const nmi_conv_shape *shape)
{
    switch (path.way) {
    case NMI_CONV_COLUMNS:
        return whole_lines(nmi_conv_gemm_workspace_floats(shape));
    case NMI_CONV_WINOGRAD:
        return whole_lines(nmi_conv_winograd_workspace_floats(path.kernels, shape));
    case NMI_CONV_MATRIX:
        return whole_lines(nmi_conv_matrix_workspace_floats(shape));
    default:
        return whole_lines(nmi_conv_direct_workspace_floats(path, shape));
    }
}

size_t nmi_conv_part_workspace_bytes(nmi_conv_path path, const nmi_conv_shape *shape)
{
    if (path.way != NMI_CONV_WINOGRAD)
        return 0;
    return whole_lines(path.kernels->winograd_work(shape->in_channels));
}

/* K of packed weights for each channel they sum over. */
static int64_t places(nmi_conv_path path, const nmi_conv_shape *shape)
{
    return path.way == NMI_CONV_WINOGRAD ? NMI_WINOGRAD_PLACES : shape->kernel * shape->kernel;
}

static size_t packed_floats(nmi_conv_path path, int64_t depth, int64_t columns)
{
    if (path.way == NMI_CONV_COLUMNS)
        return (size_t)(depth * columns);
    return nmi_packed_floats(path.kernels, depth, columns);
}

size_t nmi_conv_packed_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    if (path.way == NMI_CONV_MATRIX)
        return nmi_conv_matrix_packed_floats(shape);
    return packed_floats(path, places(path, shape) * shape->in_channels, shape->out_channels);
}

size_t nmi_conv_packed_transposed_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    if (path.way == NMI_CONV_MATRIX)
        return nmi_conv_matrix_packed_transposed_floats(shape);
    return packed_floats(path, places(path, shape) * shape->out_channels, shape->in_channels);
}

size_t nmi_conv_gradient_floats(nmi_conv_path path, const nmi_conv_shape *shape)
{
    if (path.way == NMI_CONV_MATRIX)
        return nmi_conv_matrix_gradient_floats(shape);
    const int64_t taps = shape->kernel * shape->kernel;
    return packed_floats(path, taps * shape->in_channels, shape->out_channels);
}

static void raise(size_t *most, size_t value)
{
    *most = value > *most ? value : *most;
}

static void make_room(nmi_conv_room *room, const nmi_kernels *kernels, int32_t precision,
                      const nmi_conv_shape *most, int64_t in_channels, int64_t out_channels)
{
    nmi_conv_shape shape = *most;
    shape.in_channels = in_channels;
    shape.out_channels = out_channels;
    const nmi_conv_path path = nmi_conv_path_of(kernels, precision, &shape);
    raise(&room->workspace_bytes, nmi_conv_workspace_bytes(path, &shape));
    raise(&room->packed_floats, nmi_conv_packed_floats(path, &shape));
    raise(&room->transposed_floats, nmi_conv_packed_transposed_floats(path, &shape));
    raise(&room->gradient_floats, nmi_conv_gradient_floats(path, &shape));
}

/* Each path but that of matrix tiles needs the more the more channels there are, so the largest
 * shapes of each count: few channels are not transformed. */
nmi_conv_room nmi_conv_room_between(const nmi_kernels *kernels, int32_t precision,
                                    const nmi_conv_shape *least, const nmi_conv_shape *most)
{
    nmi_conv_room room = {0};
    const int64_t in = most->in_channels, out = most->out_channels, few = WINOGRAD_CHANNELS - 1;
    make_room(&room, kernels, precision, most, in, out);
    if (least->in_channels < in && least->in_channels <= few)
        make_room(&room, kernels, precision, most, in < few ? in : few, out);
    if (least->out_channels < out && least->out_channels <= few)
        make_room(&room, kernels, precision, most, in, out < few ? out : few);
    if (nmi_conv_path_of(kernels, precision, most).way == NMI_CONV_MATRIX)
        for (int64_t i = least->in_channels; i <= in; i++)
            for (int64_t o = least->out_channels; o <= out; o++)
                make_room(&room, kernels, precision, most, i, o);
    return room;
}

void nmi_conv_pack(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                   float *packed)
{
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_pack(shape, oihw, packed);
    else if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_pack(path.kernels, shape, oihw, packed);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_pack(shape, oihw, packed);
    else
        nmi_conv_direct_pack(path, shape, oihw, packed);
}

void nmi_conv_pack_transposed(nmi_conv_path path, const nmi_conv_shape *shape, const float *oihw,
                              float *packed)
{
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_pack(shape, oihw, packed);
    else if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_pack_transposed(path.kernels, shape, oihw, packed);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_pack_transposed(shape, oihw, packed);
    else
        nmi_conv_direct_pack_transposed(path, shape, oihw, packed);
}

void nmi_conv_unpack_gradient(nmi_conv_path path, const nmi_conv_shape *shape,
                              const float *dw_packed, float *oihw)
{
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_unpack_gradient(shape, dw_packed, oihw);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_unpack_gradient(shape, dw_packed, oihw);
    else
        nmi_conv_direct_unpack_gradient(path, shape, dw_packed, oihw);
}

void nmi_conv_forward(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                      const float *x, const float *packed, const nmi_epilogue *epilogue, float *y,
                      void *workspace)
{
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_forward(shape, items, x, packed, epilogue, y, workspace);
    else if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_forward(path.kernels, shape, items, x, packed, epilogue, y, workspace);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_forward(path.kernels, shape, items, x, packed, epilogue, y, workspace);
    else
        nmi_conv_direct_forward(path, shape, items, x, packed, epilogue, y, workspace);
}

void nmi_conv_backward_input(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                             const float *dy, const float *packed_transposed, bool accumulate,
                             float *dx, void *workspace)
{
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_backward_input(shape, items, dy, packed_transposed, accumulate, dx,
                                     workspace);
    else if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_backward_input(path.kernels, shape, items, dy, packed_transposed,
                                         accumulate, dx, workspace);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_backward_input(path.kernels, shape, items, dy, packed_transposed,
                                       accumulate, dx, workspace);
    else
        nmi_conv_direct_backward_input(path, shape, items, dy, packed_transposed, accumulate, dx,
                                       workspace);
}

void nmi_conv_backward_weight(nmi_conv_path path, const nmi_conv_shape *shape, int64_t items,
                              const float *x, const float *dy, float *dw_packed, float *dbias,
                              void *workspace)
{
    const int64_t pixels = shape->out_height * shape->out_width;
    if (path.way == NMI_CONV_COLUMNS)
        nmi_conv_gemm_backward_weight(shape, items, x, dy, dw_packed, workspace);
    else if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_backward_weight(path.kernels, shape, items, x, dy, dw_packed, workspace);
    else if (path.way == NMI_CONV_MATRIX)
        nmi_conv_matrix_backward_weight(path.kernels, shape, items, x, dy, dw_packed, workspace);
    else
        nmi_conv_direct_backward_weight(path, shape, items, x, dy, dw_packed, workspace);
    for (int64_t i = 0; i < items && dbias != NULL; i++)
        path.kernels->column_sums(pixels, shape->out_channels,
                                  dy + i * pixels * shape->out_channels, shape->out_channels,
                                  dbias);
}

/* --- parts ---------------------------------------------------------------------------------- */

nmi_conv_part nmi_conv_share(nmi_conv_path path, const nmi_conv_shape *shape, int64_t part,
                             int64_t parts)
{
    const int64_t panel = path.kernels->panel;
    const int64_t panels = (shape->out_channels + panel - 1) / panel;
    const int64_t pixels = shape->in_height * shape->in_width;
    const int64_t unit = path.way == NMI_CONV_WINOGRAD ? 2 : 1; /* lines that go together */
    const int64_t units = shape->out_height / unit;
    nmi_conv_part share = {0, shape->out_height, 0, shape->out_channels};
    if ((panels % parts == 0 && places(path, shape) * shape->out_channels > pixels) ||
        (units < parts && units < panels)) {
        share.channels =
            nmi_panel_share(path.kernels, shape->out_channels, part, parts, &share.channel);
    } else {
        share.line = units * part / parts * unit;
        share.lines = units * (part + 1) / parts * unit - share.line;
    }
    return share;
}

void nmi_conv_forward_part(nmi_conv_path path, const nmi_conv_shape *shape,
                           const nmi_conv_part *part, const float *x, int64_t x_line,
                           const float *packed, const nmi_epilogue *epilogue, float *y,
                           int64_t y_line, void *workspace)
{
    if (path.way == NMI_CONV_WINOGRAD)
        nmi_conv_winograd_forward_part(path.kernels, shape, part, x, x_line, packed, epilogue, y,
                                       y_line, workspace);
    else
        nmi_conv_direct_forward_part(path.kernels, shape, part, x, x_line, packed, epilogue, y,
                                     y_line);
}
