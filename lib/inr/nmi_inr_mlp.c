/* SPDX-License-Identifier: MIT */
/*
 * The MLP kind of INR, on blocks of rows that stay in the second-level cache while they pass
 * through all layers.
 *
 * Layers are numbered m = 0 .. layers, the last one being the output layer, of which only the
 * tensor's slice is computed.
 */
#include "nmi_inr_mlp.h"

#include "nmi_context.h"
#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_split.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    LINE = 16,        /* floats in 64 bytes */
    APART = 17 * LINE /* between buffers: equal places a multiple of 4 KiB apart stall loads */
};

static int64_t round_up(int64_t floats)
{
    return (floats + LINE - 1) / LINE * LINE;
}

/* Between the rows of a matrix: an odd number of lines, so that rows spread over all the sets of
 * the caches. At powers of two the products miss the first level. */
static int64_t row_stride(int64_t columns)
{
    return ((columns + LINE - 1) / LINE | 1) * LINE;
}

/* --- layout of the parameters ------------------------------------------------------------ */

static int64_t weights_at(const nmi_inr *inr, int64_t layer)
{
    const int64_t first = inr->hidden * (inr->encoding.inputs + 1);
    return layer == 0 ? 0 : first + (layer - 1) * (inr->hidden * (inr->hidden + 1) + 1);
}

static int64_t layer_inputs(const nmi_inr *inr, int64_t layer)
{
    return layer == 0 ? inr->encoding.inputs : inr->hidden;
}

static int64_t layer_outputs(const nmi_inr *inr, int64_t layer)
{
    return layer == inr->layers ? inr->outputs : inr->hidden;
}

static int64_t bias_at(const nmi_inr *inr, int64_t layer)
{
    return weights_at(inr, layer) + layer_outputs(inr, layer) * layer_inputs(inr, layer);
}

/* Of layers 1 .. layers - 1. */
static int64_t scalar_at(const nmi_inr *inr, int64_t layer)
{
    return bias_at(inr, layer) + inr->hidden;
}

static int64_t parameter_count(const nmi_inr *inr)
{
    return bias_at(inr, inr->layers) + inr->outputs;
}

static bool part(const nmi_inr *inr, int32_t index, nmi_inr_part *out)
{
    enum { WEIGHT, BIAS, SCALE } what;
    int64_t layer;
    if (index < 0 || index > 3 * inr->layers)
        return false;
    if (index < 2) {
        layer = 0;
        what = index == 0 ? WEIGHT : BIAS;
    } else {
        layer = 1 + (index - 2) / 3;
        what = (index - 2) % 3 == 0 ? WEIGHT : (index - 2) % 3 == 1 ? BIAS : SCALE;
    }
    const int64_t inputs = layer_inputs(inr, layer), outputs = layer_outputs(inr, layer);
    static const char *const names[] = {"weight", "bias", "scale"};
    memset(out, 0, sizeof *out);
    if (layer == inr->layers)
        snprintf(out->name, sizeof out->name, "inr.out.%s", names[what]);
    else
        snprintf(out->name, sizeof out->name, "inr.%d.%s", (int)layer, names[what]);
    out->rank = what == WEIGHT ? 2 : 1;
    out->dims[0] = what == SCALE ? 1 : outputs;
    out->dims[1] = what == WEIGHT ? inputs : 1;
    out->count = out->dims[0] * out->dims[1];
    out->offset = what == WEIGHT ? weights_at(inr, layer)
                  : what == BIAS ? bias_at(inr, layer)
                                 : scalar_at(inr, layer);
    out->bound = what == SCALE ? 0 : 1 / sqrt((double)inputs);
    out->value = what == SCALE ? inr->scalar : 0;
    return true;
}

/* --- layout of packed weights and of lanes ----------------------------------------------- */

/* Slices shorter than D take less than their room. */
static nmi_dense_shape layer_shape(const nmi_inr *inr, int64_t layer, int64_t taps)
{
    nmi_dense_shape shape = {layer_inputs(inr, layer), layer == inr->layers ? taps : inr->hidden};
    return shape;
}

static int64_t packed_room(const nmi_inr *inr, int64_t layer)
{
    return round_up(
        (int64_t)nmi_dense_packed_floats(inr->kernels, layer_shape(inr, layer, inr->outputs)));
}

static int64_t transposed_room(const nmi_inr *inr, int64_t layer)
{
    nmi_dense_shape shape = layer_shape(inr, layer, inr->outputs);
    return round_up((int64_t)nmi_dense_packed_transposed_floats(inr->kernels, shape));
}

/* Where the packed weights of a layer begin: room for the first layer, for each hidden one. */
static int64_t packed_at(const nmi_inr *inr, int64_t layer)
{
    if (layer == 0)
        return 0;
    const int64_t hidden = layer > 1 ? (layer - 1) * packed_room(inr, 1) : 0;
    return packed_room(inr, 0) + hidden;
}

static int64_t packed_end(const nmi_inr *inr)
{
    return packed_at(inr, inr->layers) + packed_room(inr, inr->layers);
}

/* The first layer's inputs have no gradient, so its weights are not packed transposed. */
static int64_t transposed_at(const nmi_inr *inr, int64_t layer)
{
    const int64_t hidden = layer > 1 ? (layer - 1) * transposed_room(inr, 1) : 0;
    return packed_end(inr) + hidden;
}

static size_t packed_floats(const nmi_inr *inr, bool backward)
{
    if (!backward)
        return (size_t)packed_end(inr);
    return (size_t)(transposed_at(inr, inr->layers) + transposed_room(inr, inr->layers));
}

/* The slice's lines of the output layer, or a whole layer. */
static const float *used_weights(const nmi_inr *inr, const float *parameters, nmi_inr_slice slice,
                                 int64_t layer)
{
    return parameters + weights_at(inr, layer) +
           (layer == inr->layers ? slice.first * inr->hidden : 0);
}

/* Whether the first layer is taken apart (nmi_split.h), for all rows of the tensor. */
static bool splits(const nmi_inr_rows *rows)
{
    return rows->clean && rows->grid.inputs >= NMI_SPLIT_INPUTS;
}

static void pack(const nmi_inr_rows *rows, bool backward, float *packed)
{
    const nmi_inr *inr = rows->inr;
    for (int64_t m = 0; m <= inr->layers; m++) {
        const nmi_dense_shape shape = layer_shape(inr, m, rows->slice.count);
        const float *weights = used_weights(inr, rows->parameters, rows->slice, m);
        if (m == 0 && splits(rows))
            nmi_split_pack(inr->kernels, &inr->encoding, inr->hidden, weights,
                           packed + packed_at(inr, m));
        else
            nmi_dense_pack(inr->kernels, shape, weights, packed + packed_at(inr, m));
        if (backward && m > 0)
            nmi_dense_pack_transposed(inr->kernels, shape, weights, packed + transposed_at(inr, m));
    }
}

/* A lane: weight gradients as packed, then for each layer one line of bias gradients with
 * the scalar's behind them. */
static int64_t lane_vector_room(const nmi_inr *inr)
{
    return round_up((inr->hidden > inr->outputs ? inr->hidden : inr->outputs) + 1);
}

static int64_t lane_vector_at(const nmi_inr *inr, int64_t layer)
{
    return packed_end(inr) + layer * lane_vector_room(inr);
}

static size_t lane_floats(const nmi_inr *inr)
{
    return (size_t)lane_vector_at(inr, inr->layers + 1);
}

/* --- working memory ---------------------------------------------------------------------- */

/*
 * Without backward: two hidden buffers taken in turn. With it: a[m] for every layer, behind them
 * z[m] = phi(A_m a + b_m) for m >= 1 (a_0 is its own), the gradients of a and of a layer's sums,
 * and those of the outputs.
 */
typedef struct work {
    double *encoding;
    float *encoded, *hidden, *outputs;
    int64_t encoded_stride, hidden_stride, buffer;
} work;

static int64_t hidden_buffer(const nmi_inr *inr)
{
    return inr->block_rows * row_stride(inr->hidden) + APART;
}

static work lay_out(const nmi_inr *inr, float *memory)
{
    work w;
    const int64_t rows = inr->block_rows;
    w.encoded_stride = row_stride(inr->encoding.inputs);
    w.hidden_stride = row_stride(inr->hidden);
    w.buffer = hidden_buffer(inr);
    void *start = memory;
    w.encoding = start;
    w.encoded = memory + round_up(2 * nmi_encoding_work(&inr->encoding, rows));
    w.outputs = w.encoded + nmi_split_lines(rows) * w.encoded_stride;
    w.hidden = w.outputs + round_up(rows * inr->outputs);
    return w;
}

static size_t work_floats(const nmi_inr *inr, bool backward)
{
    const int64_t rows = inr->block_rows;
    const int64_t hidden_buffers = backward ? 2 * inr->layers + 1 : 2;
    return (size_t)(round_up(2 * nmi_encoding_work(&inr->encoding, rows)) +
                    nmi_split_lines(rows) * row_stride(inr->encoding.inputs) +
                    round_up(rows * inr->outputs) + hidden_buffers * hidden_buffer(inr));
}

static float *kept_activation(const work *w, int64_t layer)
{
    return w->hidden + layer * w->buffer;
}

/* z of layer m; of layer 0 it is a_0 itself. */
static float *kept_branch(const nmi_inr *inr, const work *w, int64_t layer)
{
    return layer == 0 ? w->hidden : w->hidden + (inr->layers + layer - 1) * w->buffer;
}

/* --- forward ----------------------------------------------------------------------------- */

static nmi_split split_rows(const nmi_inr_rows *rows, const work *w)
{
    return (nmi_split){.kernels = rows->inr->kernels,
                       .encoding = &rows->inr->encoding,
                       .grid = &rows->grid,
                       .hidden = rows->inr->hidden,
                       .first = rows->first,
                       .rows = rows->rows,
                       .work = w->encoding,
                       .encoded = w->encoded,
                       .stride = w->encoded_stride};
}

/* The buffer of the next layer's outputs has room for the sums of a split layer. */
static void first_layer(const nmi_inr_rows *rows, const work *w)
{
    const nmi_inr *inr = rows->inr;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = rows->parameters + bias_at(inr, 0);
    epilogue.activation = inr->activation;
    if (splits(rows)) {
        const nmi_split split = split_rows(rows, w);
        nmi_split_forward(&split, rows->packed, &epilogue, w->hidden + w->buffer, w->hidden,
                          w->hidden_stride);
        return;
    }
    nmi_encoding_rows(inr->kernels, &inr->encoding, &rows->grid, rows->noise, rows->first,
                      rows->rows, w->encoding, w->encoded, w->encoded_stride);
    nmi_dense_forward(inr->kernels, layer_shape(inr, 0, 0), rows->rows, w->encoded,
                      w->encoded_stride, rows->packed, &epilogue, w->hidden, w->hidden_stride);
}

static void forward(const nmi_inr_rows *rows, bool keep, float *values)
{
    const nmi_inr *inr = rows->inr;
    const work w = lay_out(inr, rows->work);
    const float *x = w.hidden;
    first_layer(rows, &w);
    for (int64_t m = 1; m < inr->layers; m++) {
        nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
        float *y = w.hidden + (keep ? m : m % 2) * w.buffer;
        epilogue.bias = rows->parameters + bias_at(inr, m);
        epilogue.activation = inr->activation;
        epilogue.residual = x;
        epilogue.scale = rows->parameters[scalar_at(inr, m)];
        epilogue.activated = keep ? kept_branch(inr, &w, m) : NULL;
        nmi_dense_forward(inr->kernels, layer_shape(inr, m, 0), rows->rows, x, w.hidden_stride,
                          rows->packed + packed_at(inr, m), &epilogue, y, w.hidden_stride);
        x = y;
    }
    if (values == NULL)
        return;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = rows->parameters + bias_at(inr, inr->layers) + rows->slice.first;
    epilogue.scale = rows->scale;
    nmi_dense_forward(inr->kernels, layer_shape(inr, inr->layers, rows->slice.count), rows->rows, x,
                      w.hidden_stride, rows->packed + packed_at(inr, inr->layers), &epilogue,
                      values, rows->slice.count);
}

static void emit(const nmi_inr_rows *rows, float *values)
{
    forward(rows, false, values);
}

static void emit_keeping(const nmi_inr_rows *rows, float *values)
{
    forward(rows, true, values);
}

/* --- backward ---------------------------------------------------------------------------- */

/*
 * Through a <- a + s phi(v): given g = d loss / d a and z = phi(v), writes dv = s g phi'(v) and
 * returns d loss / d s = sum g z.
 */
static float branch_backward(const nmi_inr_rows *rows, int64_t stride, float s, const float *g,
                             const float *z, float *dv)
{
    const int64_t hidden = rows->inr->hidden;
    double total = 0;
    for (int64_t r = 0; r < rows->rows; r++, g += stride, z += stride, dv += stride) {
        float sums[LINE] = {0}; /* side by side, for vectors */
        int64_t c = 0;
        nmi_activation_backward(rows->inr->kernels, rows->inr->activation, hidden, z, g, false, dv);
        for (; c + LINE <= hidden; c += LINE)
            for (int i = 0; i < LINE; i++) {
                sums[i] += g[c + i] * z[c + i];
                dv[c + i] *= s;
            }
        for (int i = 0; c < hidden; c++, i++) {
            sums[i] += g[c] * z[c];
            dv[c] *= s;
        }
        for (int i = 0; i < LINE; i++)
            total += (double)sums[i];
    }
    return (float)total;
}

static void backward(const nmi_inr_rows *rows, const float *value_gradients, float *lane)
{
    const nmi_inr *inr = rows->inr;
    const work w = lay_out(inr, rows->work);
    const int64_t layers = inr->layers, taps = rows->slice.count;
    float *g = w.hidden + (2 * layers - 1) * w.buffer, *dv = g + w.buffer;

    for (int64_t i = 0; i < rows->rows * taps; i++)
        w.outputs[i] = rows->scale * value_gradients[i];
    const nmi_dense_shape last = layer_shape(inr, layers, taps);
    nmi_dense_backward_weight(inr->kernels, last, rows->rows, kept_activation(&w, layers - 1),
                              w.hidden_stride, w.outputs, taps, lane + packed_at(inr, layers),
                              lane + lane_vector_at(inr, layers));
    nmi_dense_backward_input(inr->kernels, last, rows->rows, w.outputs, taps,
                             rows->packed + transposed_at(inr, layers), false, g, w.hidden_stride);
    for (int64_t m = layers - 1; m > 0; m--) {
        const nmi_dense_shape shape = layer_shape(inr, m, 0);
        float *vector = lane + lane_vector_at(inr, m);
        vector[inr->hidden] +=
            branch_backward(rows, w.hidden_stride, rows->parameters[scalar_at(inr, m)], g,
                            kept_branch(inr, &w, m), dv);
        nmi_dense_backward_weight(inr->kernels, shape, rows->rows, kept_activation(&w, m - 1),
                                  w.hidden_stride, dv, w.hidden_stride, lane + packed_at(inr, m),
                                  vector);
        nmi_dense_backward_input(inr->kernels, shape, rows->rows, dv, w.hidden_stride,
                                 rows->packed + transposed_at(inr, m), true, g, w.hidden_stride);
    }
    branch_backward(rows, w.hidden_stride, 1.0f, g, w.hidden, dv);
    float *vector = lane + lane_vector_at(inr, 0);
    if (splits(rows)) {
        const nmi_split split = split_rows(rows, &w);
        nmi_split_backward(&split, dv, w.hidden_stride, g, lane, vector);
    } else {
        nmi_dense_backward_weight(inr->kernels, layer_shape(inr, 0, 0), rows->rows, w.encoded,
                                  w.encoded_stride, dv, w.hidden_stride, lane, vector);
    }
}

static int64_t shares(const nmi_inr *inr)
{
    return inr->layers + 1;
}

static void reduce(const nmi_inr_rows *rows, float *lanes, int64_t stride, int64_t count,
                   int64_t share, float *gradient)
{
    const nmi_inr *inr = rows->inr;
    const nmi_inr_slice slice = rows->slice;
    const nmi_dense_shape shape = layer_shape(inr, share, slice.count);
    const int64_t packed = (int64_t)nmi_dense_packed_floats(inr->kernels, shape);
    const bool output = share == inr->layers;
    float *sum = lanes + packed_at(inr, share), *vector = lanes + lane_vector_at(inr, share);
    for (int64_t lane = 1; lane < count; lane++) {
        inr->kernels->add_scaled(packed, 1, sum + lane * stride, sum);
        inr->kernels->add_scaled(lane_vector_room(inr), 1, vector + lane * stride, vector);
    }
    if (share == 0 && splits(rows))
        nmi_split_unpack_gradient(inr->kernels, &inr->encoding, inr->hidden, sum, gradient);
    else
        nmi_dense_unpack_gradient(inr->kernels, shape, sum,
                                  gradient + weights_at(inr, share) +
                                      (output ? slice.first * inr->hidden : 0));
    inr->kernels->add_scaled(shape.outputs, 1, vector,
                             gradient + bias_at(inr, share) + (output ? slice.first : 0));
    if (share > 0 && !output)
        gradient[scalar_at(inr, share)] += vector[inr->hidden];
}

const nmi_inr_kind nmi_inr_mlp = {
    .name = "mlp",
    .parameter_count = parameter_count,
    .part = part,
    .packed_floats = packed_floats,
    .pack = pack,
    .work_floats = work_floats,
    .emit = emit,
    .emit_keeping = emit_keeping,
    .backward = backward,
    .lane_floats = lane_floats,
    .shares = shares,
    .reduce = reduce,
};
