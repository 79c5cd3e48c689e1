/* SPDX-License-Identifier: MIT */
/*
 * The MLP kind of INR, on blocks of rows that stay in the second-level cache while they pass
 * through all layers. Of the output layer only the tensor's slice is computed.
 */
#include "nmi_inr_mlp.h"

#include "nmi_context.h"
#include "nmi_elementwise.h"
#include "nmi_mlp.h"

/* --- packed weights ---------------------------------------------------------------------- */

/* The slice's lines of the output layer, or a whole layer. */
static const float *used_weights(const nmi_inr *inr, const float *parameters, nmi_inr_slice slice,
                                 int64_t layer)
{
    return parameters + nmi_mlp_weights_at(inr, layer) +
           (layer == inr->layers ? slice.first * inr->hidden : 0);
}

bool nmi_mlp_splits(const nmi_inr_rows *rows)
{
    return rows->clean && rows->grid.inputs >= NMI_SPLIT_INPUTS;
}

static void pack_layer(const nmi_inr_rows *rows, int64_t layer, bool backward, float *packed)
{
    const nmi_inr *inr = rows->inr;
    const nmi_dense_shape shape = nmi_mlp_shape(inr, layer, rows->slice.count);
    const float *weights = used_weights(inr, rows->parameters, rows->slice, layer);
    nmi_dense_pack(inr->kernels, shape, weights, packed + nmi_mlp_packed_at(inr, layer));
    if (backward && layer > 0)
        nmi_dense_pack_transposed(inr->kernels, shape, weights,
                                  packed + nmi_mlp_transposed_at(inr, layer));
}

static void pack(const nmi_inr_rows *rows, bool backward, float *packed)
{
    const nmi_inr *inr = rows->inr;
    for (int64_t m = 0; m <= inr->layers; m++) {
        if (m == 0 && nmi_mlp_splits(rows))
            nmi_split_pack(inr->kernels, &inr->encoding, inr->hidden, rows->parameters, packed);
        else if (rows->precision == NMI_BF16 && m < inr->layers)
            nmi_mlp_bf16_pack(rows, m, backward, packed);
        else
            pack_layer(rows, m, backward, packed);
    }
}

/* --- forward ----------------------------------------------------------------------------- */

nmi_split nmi_mlp_split(const nmi_inr_rows *rows, const nmi_mlp_work *work)
{
    return (nmi_split){.kernels = rows->inr->kernels,
                       .encoding = &rows->inr->encoding,
                       .grid = &rows->grid,
                       .hidden = rows->inr->hidden,
                       .first = rows->first,
                       .rows = rows->rows,
                       .work = work->encoding,
                       .encoded = work->encoded,
                       .stride = work->encoded_stride};
}

void nmi_mlp_encode(const nmi_inr_rows *rows, const nmi_mlp_work *work)
{
    nmi_encoding_rows(rows->inr->kernels, &rows->inr->encoding, &rows->grid, rows->noise,
                      rows->first, rows->rows, work->encoding, work->encoded, work->encoded_stride);
}

nmi_epilogue nmi_mlp_epilogue(const nmi_inr_rows *rows, int64_t layer)
{
    const nmi_inr *inr = rows->inr;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = rows->parameters + nmi_mlp_bias_at(inr, layer);
    epilogue.activation = inr->activation;
    if (layer > 0)
        epilogue.scale = rows->parameters[nmi_mlp_scalar_at(inr, layer)];
    return epilogue;
}

/* The buffer of the next layer's outputs has room for the sums of a split layer. */
static void first_layer(const nmi_inr_rows *rows, const nmi_mlp_work *w)
{
    const nmi_inr *inr = rows->inr;
    const nmi_epilogue epilogue = nmi_mlp_epilogue(rows, 0);
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, w);
        nmi_split_forward(&split, rows->packed, &epilogue, w->hidden + w->buffer, w->hidden,
                          w->hidden_stride);
        return;
    }
    nmi_mlp_encode(rows, w);
    nmi_dense_forward(inr->kernels, nmi_mlp_shape(inr, 0, 0), rows->rows, w->encoded,
                      w->encoded_stride, rows->packed, &epilogue, w->hidden, w->hidden_stride);
}

void nmi_mlp_output(const nmi_inr_rows *rows, const nmi_mlp_work *work, const float *a,
                    float *values)
{
    const nmi_inr *inr = rows->inr;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = rows->parameters + nmi_mlp_bias_at(inr, inr->layers) + rows->slice.first;
    epilogue.scale = rows->scale;
    nmi_dense_forward(inr->kernels, nmi_mlp_shape(inr, inr->layers, rows->slice.count), rows->rows,
                      a, work->hidden_stride, rows->packed + nmi_mlp_packed_at(inr, inr->layers),
                      &epilogue, values, rows->slice.count);
}

/* z of layer m; of layer 0 it is a_0 itself. */
static float *kept_branch(const nmi_inr *inr, const nmi_mlp_work *w, int64_t layer)
{
    return layer == 0 ? w->hidden : w->hidden + (inr->layers + layer - 1) * w->buffer;
}

static void forward(const nmi_inr_rows *rows, bool keep, float *values)
{
    const nmi_inr *inr = rows->inr;
    const nmi_mlp_work w = nmi_mlp_lay_out(inr, rows->work);
    const float *x = w.hidden;
    first_layer(rows, &w);
    for (int64_t m = 1; m < inr->layers; m++) {
        nmi_epilogue epilogue = nmi_mlp_epilogue(rows, m);
        float *y = w.hidden + (keep ? m : m % 2) * w.buffer;
        epilogue.residual = x;
        epilogue.activated = keep ? kept_branch(inr, &w, m) : NULL;
        nmi_dense_forward(inr->kernels, nmi_mlp_shape(inr, m, 0), rows->rows, x, w.hidden_stride,
                          rows->packed + nmi_mlp_packed_at(inr, m), &epilogue, y, w.hidden_stride);
        x = y;
    }
    if (values != NULL)
        nmi_mlp_output(rows, &w, x, values);
}

static void emit(const nmi_inr_rows *rows, float *values)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_forward : forward)(rows, false, values);
}

static void emit_keeping(const nmi_inr_rows *rows, float *values)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_forward : forward)(rows, true, values);
}

/* --- backward ---------------------------------------------------------------------------- */

float nmi_mlp_branch_backward(const nmi_inr_rows *rows, int64_t stride, float s, const float *g,
                              const float *z, float *dv)
{
    enum { SIDE = 16 };
    const int64_t hidden = rows->inr->hidden;
    double total = 0;
    for (int64_t r = 0; r < rows->rows; r++, g += stride, z += stride, dv += stride) {
        float sums[SIDE] = {0}; /* side by side, for vectors */
        int64_t c = 0;
        nmi_activation_backward(rows->inr->kernels, rows->inr->activation, hidden, z, g, false, dv);
        for (; c + SIDE <= hidden; c += SIDE)
            for (int i = 0; i < SIDE; i++) {
                sums[i] += g[c + i] * z[c + i];
                dv[c + i] *= s;
            }
        for (int i = 0; c < hidden; c++, i++) {
            sums[i] += g[c] * z[c];
            dv[c] *= s;
        }
        for (int i = 0; i < SIDE; i++)
            total += (double)sums[i];
    }
    return (float)total;
}

void nmi_mlp_output_backward(const nmi_inr_rows *rows, const nmi_mlp_work *work,
                             const float *value_gradients, const float *a, float *lane, float *g)
{
    const nmi_inr *inr = rows->inr;
    const int64_t layer = inr->layers, taps = rows->slice.count;
    const nmi_dense_shape shape = nmi_mlp_shape(inr, layer, taps);
    for (int64_t i = 0; i < rows->rows * taps; i++)
        work->outputs[i] = rows->scale * value_gradients[i];
    nmi_dense_backward_weight(inr->kernels, shape, rows->rows, a, work->hidden_stride,
                              work->outputs, taps, lane + nmi_mlp_packed_at(inr, layer),
                              lane + nmi_mlp_lane_vector_at(inr, layer));
    nmi_dense_backward_input(inr->kernels, shape, rows->rows, work->outputs, taps,
                             rows->packed + nmi_mlp_transposed_at(inr, layer), false, g,
                             work->hidden_stride);
}

static void first_layer_backward(const nmi_inr_rows *rows, const nmi_mlp_work *w, const float *dv,
                                 float *sums, float *lane)
{
    const nmi_inr *inr = rows->inr;
    float *vector = lane + nmi_mlp_lane_vector_at(inr, 0);
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, w);
        nmi_split_backward(&split, dv, w->hidden_stride, sums, lane, vector);
    } else {
        nmi_dense_backward_weight(inr->kernels, nmi_mlp_shape(inr, 0, 0), rows->rows, w->encoded,
                                  w->encoded_stride, dv, w->hidden_stride, lane, vector);
    }
}

static void backward_fp32(const nmi_inr_rows *rows, const float *value_gradients, float *lane)
{
    const nmi_inr *inr = rows->inr;
    const nmi_mlp_work w = nmi_mlp_lay_out(inr, rows->work);
    const int64_t layers = inr->layers;
    float *g = w.hidden + (2 * layers - 1) * w.buffer, *dv = g + w.buffer;
    nmi_mlp_output_backward(rows, &w, value_gradients, w.hidden + (layers - 1) * w.buffer, lane, g);
    for (int64_t m = layers - 1; m > 0; m--) {
        const nmi_dense_shape shape = nmi_mlp_shape(inr, m, 0);
        float *vector = lane + nmi_mlp_lane_vector_at(inr, m);
        vector[inr->hidden] += nmi_mlp_branch_backward(rows, w.hidden_stride,
                                                       rows->parameters[nmi_mlp_scalar_at(inr, m)],
                                                       g, kept_branch(inr, &w, m), dv);
        nmi_dense_backward_weight(inr->kernels, shape, rows->rows, w.hidden + (m - 1) * w.buffer,
                                  w.hidden_stride, dv, w.hidden_stride,
                                  lane + nmi_mlp_packed_at(inr, m), vector);
        nmi_dense_backward_input(inr->kernels, shape, rows->rows, dv, w.hidden_stride,
                                 rows->packed + nmi_mlp_transposed_at(inr, m), true, g,
                                 w.hidden_stride);
    }
    nmi_mlp_branch_backward(rows, w.hidden_stride, 1.0f, g, w.hidden, dv);
    first_layer_backward(rows, &w, dv, g, lane);
}

static void backward(const nmi_inr_rows *rows, const float *value_gradients, float *lane)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_backward : backward_fp32)(rows, value_gradients,
                                                                          lane);
}

/* --- sums of lanes ----------------------------------------------------------------------- */

static int64_t shares(const nmi_inr *inr)
{
    return inr->layers + 1;
}

static void reduce(const nmi_inr_rows *rows, float *lanes, int64_t stride, int64_t count,
                   int64_t share, float *gradient)
{
    const nmi_inr *inr = rows->inr;
    const nmi_inr_slice slice = rows->slice;
    const nmi_dense_shape shape = nmi_mlp_shape(inr, share, slice.count);
    const int64_t packed = (int64_t)nmi_dense_packed_floats(inr->kernels, shape);
    const bool output = share == inr->layers;
    float *sum = lanes + nmi_mlp_packed_at(inr, share);
    float *vector = lanes + nmi_mlp_lane_vector_at(inr, share);
    for (int64_t lane = 1; lane < count; lane++) {
        inr->kernels->add_scaled(packed, 1, sum + lane * stride, sum);
        inr->kernels->add_scaled(nmi_mlp_lane_vector_room(inr), 1, vector + lane * stride, vector);
    }
    if (share == 0 && nmi_mlp_splits(rows))
        nmi_split_unpack_gradient(inr->kernels, &inr->encoding, inr->hidden, sum, gradient);
    else
        nmi_dense_unpack_gradient(inr->kernels, shape, sum,
                                  gradient + nmi_mlp_weights_at(inr, share) +
                                      (output ? slice.first * inr->hidden : 0));
    inr->kernels->add_scaled(shape.outputs, 1, vector,
                             gradient + nmi_mlp_bias_at(inr, share) + (output ? slice.first : 0));
    if (share > 0 && !output)
        gradient[nmi_mlp_scalar_at(inr, share)] += vector[inr->hidden];
}

const nmi_inr_kind nmi_inr_mlp = {
    .name = "mlp",
    .parameter_count = nmi_mlp_parameter_count,
    .part = nmi_mlp_part,
    .packed_floats = nmi_mlp_packed_floats,
    .pack = pack,
    .work_floats = nmi_mlp_work_floats,
    .emit = emit,
    .emit_keeping = emit_keeping,
    .backward = backward,
    .lane_floats = nmi_mlp_lane_floats,
    .shares = shares,
    .reduce = reduce,
};
