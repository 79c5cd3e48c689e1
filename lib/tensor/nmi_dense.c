/* SPDX-License-Identifier: MIT */
/*
 * Dense layers by the row kernels, on every processor. Measured (tests/bench): 97 % of the peak of
 * multiply-adds at 256 x 256, where BLIS reaches 60 %. Only the weight gradient of layers with
 * thousands of inputs and outputs, whose lines alias in the caches, would gain (a sixth) from BLIS;
 * no network here has one, and a second packed layout would cost more than it gave.
 */
#include "nmi_dense.h"

static nmi_rows matrix(const float *x, int64_t rows, int64_t columns, int64_t stride)
{
    return (nmi_rows){.x = x,
                      .height = 1,
                      .width = rows,
                      .x_step = stride,
                      .segments = 1,
                      .segment_length = columns};
}

static nmi_depth plain_depth(int64_t count, int64_t stride)
{
    return (nmi_depth){{1, 1, count}, {0, 0, stride}};
}

size_t nmi_dense_packed_floats(const nmi_kernels *kernels, nmi_dense_shape shape)
{
    return nmi_packed_floats(kernels, shape.inputs, shape.outputs);
}

size_t nmi_dense_packed_transposed_floats(const nmi_kernels *kernels, nmi_dense_shape shape)
{
    return nmi_packed_floats(kernels, shape.outputs, shape.inputs);
}

void nmi_dense_pack(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                    float *packed)
{
    const nmi_depth depth = plain_depth(shape.inputs, 1);
    nmi_pack(kernels, &depth, shape.outputs, shape.inputs, w, packed);
}

void nmi_dense_pack_transposed(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                               float *packed)
{
    const nmi_depth depth = plain_depth(shape.outputs, shape.inputs);
    nmi_pack(kernels, &depth, shape.inputs, 1, w, packed);
}

void nmi_dense_unpack_gradient(const nmi_kernels *kernels, nmi_dense_shape shape,
                               const float *dw_packed, float *w)
{
    const nmi_depth depth = plain_depth(shape.inputs, 1);
    nmi_unpack_add(kernels, &depth, shape.outputs, shape.inputs, dw_packed, w);
}

void nmi_dense_pack_chosen(const nmi_kernels *kernels, nmi_dense_shape shape, const int16_t *chosen,
                           const float *w, int64_t w_stride, float *packed)
{
    for (int64_t first = 0; first < shape.outputs; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, shape.outputs, first);
        const int64_t present = shape.outputs - first < width ? shape.outputs - first : width;
        for (int64_t k = 0; k < shape.inputs; k++, packed += width)
            for (int64_t n = 0; n < width; n++)
                packed[n] = n < present ? w[(first + n) * w_stride + chosen[k]] : 0.0f;
    }
}

void nmi_dense_unpack_chosen(const nmi_kernels *kernels, nmi_dense_shape shape,
                             const int16_t *chosen, const float *dw_packed, float *w,
                             int64_t w_stride)
{
    for (int64_t first = 0; first < shape.outputs; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, shape.outputs, first);
        const int64_t present = shape.outputs - first < width ? shape.outputs - first : width;
        for (int64_t k = 0; k < shape.inputs; k++, dw_packed += width)
            for (int64_t n = 0; n < present; n++)
                w[(first + n) * w_stride + chosen[k]] += dw_packed[n];
    }
}

void nmi_dense_forward(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                       const float *x, int64_t x_stride, const float *packed,
                       const nmi_epilogue *epilogue, float *y, int64_t y_stride)
{
    nmi_dense_forward_part(kernels, shape, 0, 1, rows, x, x_stride, packed, epilogue, y, y_stride);
}

void nmi_dense_forward_part(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t part,
                            int64_t parts, int64_t rows, const float *x, int64_t x_stride,
                            const float *packed, const nmi_epilogue *epilogue, float *y,
                            int64_t y_stride)
{
    const nmi_rows lines = matrix(x, rows, shape.inputs, x_stride);
    int64_t first;
    const int64_t outputs = nmi_panel_share(kernels, shape.outputs, part, parts, &first);
    const nmi_epilogue moved = nmi_epilogue_moved(epilogue, first, first);
    kernels->forward(&lines, packed + first * shape.inputs, outputs, &moved, y + first, 0,
                     y_stride);
}

void nmi_dense_backward_input(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                              const float *dy, int64_t dy_stride, const float *packed_transposed,
                              bool accumulate, float *dx, int64_t dx_stride)
{
    const nmi_rows lines = matrix(dy, rows, shape.outputs, dy_stride);
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    if (accumulate)
        epilogue.residual = dx;
    kernels->forward(&lines, packed_transposed, shape.inputs, &epilogue, dx, 0, dx_stride);
}

void nmi_dense_backward_weight(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                               const float *x, int64_t x_stride, const float *dy, int64_t dy_stride,
                               float *dw_packed, float *dbias)
{
    const nmi_rows lines = matrix(x, rows, shape.inputs, x_stride);
    kernels->backward_weight(&lines, dy, 0, dy_stride, shape.outputs, dw_packed);
    if (dbias != NULL)
        kernels->column_sums(rows, shape.outputs, dy, dy_stride, dbias);
}

/* --- bf16 -------------------------------------------------------------------------------- */

static int64_t pairs_of(int64_t numbers)
{
    return (numbers + 1) / 2;
}

void nmi_dense_pack_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, const float *w,
                          float *packed)
{
    const int64_t depth = pairs_of(shape.inputs);
    for (int64_t first = 0; first < shape.outputs; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, shape.outputs, first);
        for (int64_t n = 0; n < width; n += NMI_PACKED_AT_ONCE) {
            const int64_t room = width - n, left = shape.outputs - first - n;
            const int64_t columns = room < NMI_PACKED_AT_ONCE ? room : NMI_PACKED_AT_ONCE;
            const int64_t present = left < 0 ? 0 : left < columns ? left : columns;
            kernels->pack_columns(shape.inputs, present, columns, w + (first + n) * shape.inputs,
                                  shape.inputs, width, packed + first * depth + n);
        }
    }
}

enum { SPAN = 32 }; /* numbers rounded at once */

/* A line of a panel: `present` columns of two outputs of w, or of the last one alone. */
static void pack_line(const nmi_kernels *kernels, const float *w, const float *next,
                      int64_t present, int64_t width, float *packed)
{
    float lines[2][SPAN / 2];
    for (int64_t n = 0; n < present; n += SPAN) {
        const int64_t count = present - n < SPAN ? present - n : SPAN;
        kernels->round_line(count, w + n, lines[0]);
        if (next != NULL)
            kernels->round_line(count, next + n, lines[1]);
        kernels->interleave(count, lines[0], next != NULL ? lines[1] : NULL, packed + n);
    }
    for (int64_t n = present; n < width; n++)
        packed[n] = 0.0f;
}

void nmi_dense_pack_transposed_pairs(const nmi_kernels *kernels, nmi_dense_shape shape,
                                     const float *w, float *packed)
{
    for (int64_t first = 0; first < shape.inputs; first += kernels->panel) {
        const int64_t width = nmi_panel_width(kernels, shape.inputs, first);
        const int64_t present = shape.inputs - first < width ? shape.inputs - first : width;
        for (int64_t k = 0; k < shape.outputs; k += 2, packed += width) {
            const float *from = w + k * shape.inputs + first;
            pack_line(kernels, from, k + 1 < shape.outputs ? from + shape.inputs : NULL, present,
                      width, packed);
        }
    }
}

void nmi_dense_forward_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                             const float *x, int64_t x_stride, const float *packed,
                             const nmi_epilogue *epilogue, float *y, int64_t y_stride)
{
    const nmi_rows lines = matrix(x, rows, pairs_of(shape.inputs), x_stride);
    kernels->forward_pairs(&lines, packed, shape.outputs, epilogue, y, 0, y_stride);
}

void nmi_dense_backward_input_pairs(const nmi_kernels *kernels, nmi_dense_shape shape, int64_t rows,
                                    const float *dy, int64_t dy_stride,
                                    const float *packed_transposed, bool accumulate, float *dx,
                                    int64_t dx_stride)
{
    const nmi_rows lines = matrix(dy, rows, pairs_of(shape.outputs), dy_stride);
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    if (accumulate)
        epilogue.residual = dx;
    kernels->forward_pairs(&lines, packed_transposed, shape.inputs, &epilogue, dx, 0, dx_stride);
}

void nmi_dense_backward_weight_pairs(const nmi_kernels *kernels, nmi_dense_shape shape,
                                     int64_t lines, const float *x, int64_t x_stride,
                                     const float *dy, int64_t dy_stride, float *dw_packed)
{
    const nmi_rows pairs = matrix(x, lines, shape.inputs, x_stride);
    kernels->backward_weight_pairs(&pairs, dy, 0, dy_stride, shape.outputs, dw_packed);
}
