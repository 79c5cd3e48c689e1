/* SPDX-License-Identifier: MIT */
/* The first layer, split by what its features depend on. */
#include "nmi_split.h"

#include <string.h>

/* --- the two matrices -------------------------------------------------------------------- */

static nmi_dense_shape part_shape(const nmi_encoding *encoding, int64_t hidden, int32_t features)
{
    return (nmi_dense_shape){nmi_encoding_count(encoding, features), hidden};
}

static size_t other_at(const nmi_kernels *kernels, const nmi_encoding *encoding, int64_t hidden)
{
    return nmi_dense_packed_floats(kernels, part_shape(encoding, hidden, NMI_FEATURES_INPUT));
}

void nmi_split_pack(const nmi_kernels *kernels, const nmi_encoding *encoding, int64_t hidden,
                    const float *weights, float *packed)
{
    int16_t places[NMI_COORDINATES + 2 * NMI_ENCODING_PAIRS];
    for (int32_t features = NMI_FEATURES_INPUT; features <= NMI_FEATURES_OTHER; features++) {
        const nmi_dense_shape shape = part_shape(encoding, hidden, features);
        nmi_encoding_places(encoding, features, places);
        nmi_dense_pack_chosen(kernels, shape, places, weights, encoding->inputs, packed);
        packed += other_at(kernels, encoding, hidden);
    }
}

void nmi_split_unpack_gradient(const nmi_kernels *kernels, const nmi_encoding *encoding,
                               int64_t hidden, const float *packed, float *weights)
{
    int16_t places[NMI_COORDINATES + 2 * NMI_ENCODING_PAIRS];
    for (int32_t features = NMI_FEATURES_INPUT; features <= NMI_FEATURES_OTHER; features++) {
        const nmi_dense_shape shape = part_shape(encoding, hidden, features);
        nmi_encoding_places(encoding, features, places);
        nmi_dense_unpack_chosen(kernels, shape, places, packed, weights, encoding->inputs);
        packed += other_at(kernels, encoding, hidden);
    }
}

/* --- terms ------------------------------------------------------------------------------- */

/* `count` terms of rows `step` apart. */
static void some_terms(const nmi_split *split, int32_t features, int64_t step, int64_t count,
                       const float *packed, const float *bias, float *terms)
{
    const nmi_dense_shape shape = part_shape(split->encoding, split->hidden, features);
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = bias;
    for (int64_t first = 0; first < count; first += split->rows) {
        const int64_t lines = count - first < split->rows ? count - first : split->rows;
        nmi_encoding_clean(split->kernels, split->encoding, split->grid, features, first * step,
                           step, lines, split->work, split->encoded, split->stride);
        nmi_dense_forward(split->kernels, shape, lines, split->encoded, split->stride, packed,
                          &epilogue, terms + first * split->hidden, split->hidden);
    }
}

void nmi_split_terms(const nmi_split *split, const float *packed, const float *bias, float *terms)
{
    const int64_t inputs = split->grid->inputs;
    some_terms(split, NMI_FEATURES_INPUT, 1, inputs, packed, NULL, terms);
    some_terms(split, NMI_FEATURES_OTHER, inputs, split->grid->outputs,
               packed + other_at(split->kernels, split->encoding, split->hidden), bias,
               terms + inputs * split->hidden);
}

void nmi_split_forward(const nmi_split *split, const float *terms, int32_t activation, float *y,
                       int64_t y_stride, float *pairs)
{
    const int64_t inputs = split->grid->inputs, hidden = split->hidden;
    for (int64_t r = 0; r < split->rows; r++) {
        const int64_t row = split->first + r;
        split->kernels->add_activate(activation, hidden, terms + row % inputs * hidden,
                                     terms + (inputs + row / inputs) * hidden, y + r * y_stride,
                                     pairs != NULL ? pairs + r * y_stride / 2 : NULL);
    }
}

/* --- backward: rows of a block, output by output ------------------------------------------ */

static int64_t input_lines(const nmi_split *split)
{
    return split->grid->inputs < split->rows ? split->grid->inputs : split->rows;
}

int64_t nmi_split_lines(int64_t rows)
{
    return rows + 3; /* most: all inputs, and two outputs more than are whole */
}

int64_t nmi_split_outputs(const nmi_split *split)
{
    const int64_t inputs = split->grid->inputs;
    return (split->first + split->rows - 1) / inputs - split->first / inputs + 1;
}

/* Rows of one output within the block. */
typedef struct run {
    int64_t first, rows;   /* in the block */
    const float *features; /* e_input of the first one */
} run;

static run run_at(const nmi_split *split, int64_t index)
{
    const int64_t inputs = split->grid->inputs, end = split->first + split->rows;
    const int64_t row = (split->first / inputs + index) * inputs;
    const int64_t begin = row > split->first ? row : split->first;
    const int64_t line = inputs <= split->rows ? begin - row : begin - split->first;
    return (run){.first = begin - split->first,
                 .rows = (row + inputs < end ? row + inputs : end) - begin,
                 .features = split->encoded + line * split->stride};
}

/* Lines of inputs are numbered from 0 if the block has them all, else like its rows. */
static void encode(const nmi_split *split)
{
    const int64_t inputs = split->grid->inputs, lines = input_lines(split);
    nmi_encoding_clean(split->kernels, split->encoding, split->grid, NMI_FEATURES_INPUT,
                       inputs <= split->rows ? 0 : split->first, 1, lines, split->work,
                       split->encoded, split->stride);
    nmi_encoding_clean(split->kernels, split->encoding, split->grid, NMI_FEATURES_OTHER,
                       split->first / inputs * inputs, inputs, nmi_split_outputs(split),
                       split->work, split->encoded + lines * split->stride, split->stride);
}

void nmi_split_backward(const nmi_split *split, const float *dy, int64_t dy_stride, float *sums,
                        float *packed_gradient, float *dbias)
{
    const int64_t outputs = nmi_split_outputs(split);
    const nmi_dense_shape input = part_shape(split->encoding, split->hidden, NMI_FEATURES_INPUT);
    const nmi_dense_shape other = part_shape(split->encoding, split->hidden, NMI_FEATURES_OTHER);
    encode(split);
    for (int64_t o = 0; o < outputs; o++) {
        const run rows = run_at(split, o);
        float *sum = sums + o * dy_stride;
        memset(sum, 0, (size_t)split->hidden * sizeof *sum);
        nmi_dense_backward_weight(split->kernels, input, rows.rows, rows.features, split->stride,
                                  dy + rows.first * dy_stride, dy_stride, packed_gradient, sum);
    }
    nmi_dense_backward_weight(
        split->kernels, other, outputs, split->encoded + input_lines(split) * split->stride,
        split->stride, sums, dy_stride,
        packed_gradient + other_at(split->kernels, split->encoding, split->hidden), dbias);
}
