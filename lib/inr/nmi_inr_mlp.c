/* SPDX-License-Identifier: MIT */
/*
 * The MLP kind of INR, on blocks of rows that stay in the second-level cache while they pass
 * through all layers. Of the output layer only the tensor's slice is computed.
 */
#include "nmi_inr_mlp.h"

#include "nmi_context.h"
#include "nmi_mlp.h"

#include <string.h>

/* --- packed weights ---------------------------------------------------------------------- */

bool nmi_mlp_splits(const nmi_mlp_rows *rows)
{
    return rows->clean && rows->grid.edge == NMI_EDGE_NONE && rows->grid.inputs >= NMI_SPLIT_INPUTS;
}

nmi_split nmi_mlp_split(const nmi_mlp_rows *rows, const nmi_mlp_work *work)
{
    return (nmi_split){.kernels = rows->mlp->kernels,
                       .encoding = &rows->mlp->encoding,
                       .grid = &rows->grid,
                       .hidden = rows->mlp->hidden,
                       .first = rows->first,
                       .rows = rows->rows,
                       .work = work->encoding,
                       .encoded = work->encoded,
                       .stride = work->encoded_stride};
}

void nmi_mlp_pack_layer(const nmi_mlp_rows *rows, int64_t layer, nmi_mlp_uses uses, float *packed)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, layer, 0);
    const float *weights = rows->parameters + nmi_mlp_weights_at(mlp, layer);
    if (rows->precision == NMI_BF16) {
        nmi_mlp_bf16_pack(rows, layer, uses, packed);
        return;
    }
    if (uses.forward)
        nmi_dense_pack(mlp->kernels, shape, weights, packed + nmi_mlp_packed_at(mlp, layer));
    if (uses.backward && layer > 0)
        nmi_dense_pack_transposed(mlp->kernels, shape, weights,
                                  packed + nmi_mlp_transposed_at(mlp, layer));
}

static void pack_output(const nmi_mlp_rows *rows, nmi_mlp_uses uses, float *packed,
                        float *transposed)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, mlp->layers, rows->slice.count);
    const float *weights = nmi_mlp_own(rows) + nmi_mlp_output_at(mlp, rows->slice);
    if (uses.forward)
        nmi_dense_pack(mlp->kernels, shape, weights, packed);
    if (uses.backward)
        nmi_dense_pack_transposed(mlp->kernels, shape, weights, transposed);
}

void nmi_mlp_pack_split(const nmi_mlp_rows *rows, float *split)
{
    const nmi_mlp *mlp = rows->mlp;
    nmi_split_pack(mlp->kernels, &mlp->encoding, mlp->hidden, rows->parameters, split);
}

/* Of a first layer that is taken apart, the products of the whole tensor. */
static void pack_terms(const nmi_mlp_rows *rows, const float *packed, float *terms)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_mlp_work work = nmi_mlp_lay_out(rows, false);
    nmi_split split = nmi_mlp_split(rows, &work);
    split.rows = mlp->block_rows;
    nmi_split_terms(&split, packed, nmi_mlp_own(rows) + nmi_mlp_first_bias_at(mlp), terms);
}

void nmi_mlp_pack_own(const nmi_mlp_rows *rows, nmi_mlp_uses uses, const float *split,
                      float *packed_own, float *terms)
{
    if (uses.forward && nmi_mlp_splits(rows))
        pack_terms(rows, split, terms);
    pack_output(rows, uses, packed_own, packed_own + nmi_mlp_own_transposed_at(rows->mlp));
}

void nmi_mlp_pack(const nmi_mlp_rows *rows, nmi_mlp_uses uses, float *packed, float *terms)
{
    const nmi_mlp *mlp = rows->mlp;
    if (uses.forward && nmi_mlp_splits(rows)) {
        nmi_mlp_pack_split(rows, packed);
        pack_terms(rows, packed, terms);
    }
    for (int64_t m = nmi_mlp_splits(rows) ? 1 : 0; m < mlp->layers; m++)
        nmi_mlp_pack_layer(rows, m, uses, packed);
    pack_output(rows, uses, packed + nmi_mlp_packed_at(mlp, mlp->layers),
                uses.backward ? packed + nmi_mlp_transposed_at(mlp, mlp->layers) : NULL);
}

/* --- forward ----------------------------------------------------------------------------- */

void nmi_mlp_encode(const nmi_mlp_rows *rows, const nmi_mlp_work *work)
{
    nmi_encoding_rows(rows->mlp->kernels, &rows->mlp->encoding, &rows->grid, rows->noise,
                      rows->first, rows->rows, work->encoding, work->encoded, work->encoded_stride);
}

nmi_epilogue nmi_mlp_epilogue(const nmi_mlp_rows *rows, int64_t layer)
{
    const nmi_mlp *mlp = rows->mlp;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = layer == 0 ? nmi_mlp_own(rows) + nmi_mlp_first_bias_at(mlp)
                               : rows->parameters + nmi_mlp_bias_at(mlp, layer);
    epilogue.activation = mlp->activation;
    if (layer > 0)
        epilogue.scale = rows->parameters[nmi_mlp_scalar_at(mlp, layer)];
    return epilogue;
}

static void first_layer(const nmi_mlp_rows *rows, const nmi_mlp_work *w, float *a)
{
    const nmi_mlp *mlp = rows->mlp;
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, w);
        nmi_split_forward(&split, rows->terms, mlp->activation, a, w->hidden_stride, NULL);
        return;
    }
    const nmi_epilogue epilogue = nmi_mlp_epilogue(rows, 0);
    nmi_mlp_encode(rows, w);
    nmi_dense_forward(mlp->kernels, nmi_mlp_shape(mlp, 0, 0), rows->rows, w->encoded,
                      w->encoded_stride, rows->packed, &epilogue, a, w->hidden_stride);
}

void nmi_mlp_output(const nmi_mlp_rows *rows, const nmi_mlp_work *work, const float *a,
                    float *values)
{
    const nmi_mlp *mlp = rows->mlp;
    nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
    epilogue.bias = nmi_mlp_own(rows) + nmi_mlp_output_bias_at(mlp, rows->slice);
    epilogue.scale = rows->scale;
    nmi_dense_forward(mlp->kernels, nmi_mlp_shape(mlp, mlp->layers, rows->slice.count), rows->rows,
                      a, work->hidden_stride, nmi_mlp_packed_output(rows), &epilogue, values,
                      rows->slice.count);
}

/* phi(v) of layer m; of layer 0 it is a_0 itself. */
static float *branch(const nmi_mlp_work *w, int64_t layer)
{
    return w->branches + layer * w->buffer;
}

/* Two buffers in turn, of which a_0 may be a branch instead. */
static float *stream(const nmi_mlp_work *w, bool keep, int64_t layer)
{
    return keep && layer == 0 ? branch(w, 0) : w->hidden + layer % 2 * w->buffer;
}

static void forward(const nmi_mlp_rows *rows, bool keep, float *values)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_mlp_work w = nmi_mlp_lay_out(rows, keep);
    const float *x = stream(&w, keep, 0);
    first_layer(rows, &w, stream(&w, keep, 0));
    for (int64_t m = 1; m < mlp->layers; m++) {
        nmi_epilogue epilogue = nmi_mlp_epilogue(rows, m);
        float *y = stream(&w, keep, m);
        epilogue.residual = x;
        epilogue.activated = keep ? branch(&w, m) : NULL;
        nmi_dense_forward(mlp->kernels, nmi_mlp_shape(mlp, m, 0), rows->rows, x, w.hidden_stride,
                          rows->packed + nmi_mlp_packed_at(mlp, m), &epilogue, y, w.hidden_stride);
        x = y;
    }
    if (values != NULL)
        nmi_mlp_output(rows, &w, x, values);
}

const float *nmi_mlp_last(const nmi_mlp_rows *rows)
{
    const nmi_mlp_work w = nmi_mlp_lay_out(rows, true);
    return stream(&w, true, rows->mlp->layers - 1);
}

void nmi_mlp_emit(const nmi_mlp_rows *rows, float *values)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_forward : forward)(rows, false, values);
}

void nmi_mlp_emit_keeping(const nmi_mlp_rows *rows, float *values)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_forward : forward)(rows, true, values);
}

/* --- backward ---------------------------------------------------------------------------- */

float nmi_mlp_branch_backward(const nmi_mlp_rows *rows, int64_t stride, float s, const float *g,
                              const float *z, float *dv)
{
    const nmi_mlp *mlp = rows->mlp;
    double total = 0;
    for (int64_t r = 0; r < rows->rows * stride; r += stride)
        total +=
            mlp->kernels->branch_backward(mlp->activation, mlp->hidden, s, z + r, g + r, dv + r);
    return (float)total;
}

void nmi_mlp_output_backward(const nmi_mlp_rows *rows, const nmi_mlp_work *work,
                             const float *value_gradients, const float *a, float *lane, float *g)
{
    const nmi_mlp *mlp = rows->mlp;
    const int64_t layer = mlp->layers, taps = rows->slice.count;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, layer, taps);
    for (int64_t i = 0; i < rows->rows * taps; i++)
        work->outputs[i] = rows->scale * value_gradients[i];
    nmi_dense_backward_weight(mlp->kernels, shape, rows->rows, a, work->hidden_stride,
                              work->outputs, taps, lane + nmi_mlp_packed_at(mlp, layer),
                              lane + nmi_mlp_lane_vector_at(mlp, layer));
    nmi_dense_backward_input(mlp->kernels, shape, rows->rows, work->outputs, taps,
                             nmi_mlp_transposed_output(rows), false, g, work->hidden_stride);
}

static void first_layer_backward(const nmi_mlp_rows *rows, const nmi_mlp_work *w, const float *dv,
                                 float *sums, float *lane)
{
    const nmi_mlp *mlp = rows->mlp;
    float *vector = lane + nmi_mlp_lane_vector_at(mlp, 0);
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, w);
        nmi_split_backward(&split, dv, w->hidden_stride, sums, lane, vector);
    } else {
        nmi_dense_backward_weight(mlp->kernels, nmi_mlp_shape(mlp, 0, 0), rows->rows, w->encoded,
                                  w->encoded_stride, dv, w->hidden_stride, lane, vector);
    }
}

/* a_m of every layer from the branches; a_0 is one, the others lie one after another. */
static const float *inputs_of(const nmi_mlp_work *w, int64_t layer)
{
    return layer == 1 ? branch(w, 0) : w->hidden + (layer - 2) * w->buffer;
}

static void add_branches(const nmi_mlp_rows *rows, const nmi_mlp_work *w)
{
    const nmi_mlp *mlp = rows->mlp;
    for (int64_t m = 1; m < mlp->layers; m++) {
        const float *x = inputs_of(w, m), *z = branch(w, m);
        const float s = rows->parameters[nmi_mlp_scalar_at(mlp, m)];
        float *a = w->hidden + (m - 1) * w->buffer;
        for (int64_t r = 0; r < rows->rows * w->hidden_stride; r += w->hidden_stride) {
            memcpy(a + r, x + r, (size_t)mlp->hidden * sizeof *a);
            mlp->kernels->add_scaled(mlp->hidden, s, z + r, a + r);
        }
    }
}

static void backward_fp32(const nmi_mlp_rows *rows, const float *value_gradients, float *lane)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_mlp_work w = nmi_mlp_lay_out(rows, true);
    const int64_t layers = mlp->layers;
    float *g = w.hidden + (layers - 1) * w.buffer, *dv = g + w.buffer;
    add_branches(rows, &w);
    nmi_mlp_output_backward(rows, &w, value_gradients, inputs_of(&w, layers), lane, g);
    for (int64_t m = layers - 1; m > 0; m--) {
        const nmi_dense_shape shape = nmi_mlp_shape(mlp, m, 0);
        float *vector = lane + nmi_mlp_lane_vector_at(mlp, m);
        vector[mlp->hidden] += nmi_mlp_branch_backward(rows, w.hidden_stride,
                                                       rows->parameters[nmi_mlp_scalar_at(mlp, m)],
                                                       g, branch(&w, m), dv);
        nmi_dense_backward_weight(mlp->kernels, shape, rows->rows, inputs_of(&w, m),
                                  w.hidden_stride, dv, w.hidden_stride,
                                  lane + nmi_mlp_packed_at(mlp, m), vector);
        nmi_dense_backward_input(mlp->kernels, shape, rows->rows, dv, w.hidden_stride,
                                 rows->packed + nmi_mlp_transposed_at(mlp, m), true, g,
                                 w.hidden_stride);
    }
    nmi_mlp_branch_backward(rows, w.hidden_stride, 1.0f, g, branch(&w, 0), dv);
    first_layer_backward(rows, &w, dv, g, lane);
}

void nmi_mlp_backward(const nmi_mlp_rows *rows, const float *value_gradients, float *lane)
{
    (rows->precision == NMI_BF16 ? nmi_mlp_bf16_backward : backward_fp32)(rows, value_gradients,
                                                                          lane);
}

/* --- sums of lanes ----------------------------------------------------------------------- */

int64_t nmi_mlp_shares(const nmi_mlp *mlp)
{
    return mlp->layers + 1;
}

void nmi_mlp_reduce(const nmi_mlp_rows *rows, float *lanes, int64_t stride, int64_t count,
                    int64_t share, float *gradient, float *own)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, share, rows->slice.count);
    const int64_t packed = (int64_t)nmi_dense_packed_floats(mlp->kernels, shape);
    const bool output = share == mlp->layers;
    float *bias = output       ? own + nmi_mlp_output_bias_at(mlp, rows->slice)
                  : share == 0 ? own + nmi_mlp_first_bias_at(mlp)
                               : gradient + nmi_mlp_bias_at(mlp, share);
    float *sum = lanes + nmi_mlp_packed_at(mlp, share);
    float *vector = lanes + nmi_mlp_lane_vector_at(mlp, share);
    for (int64_t lane = 1; lane < count; lane++) {
        mlp->kernels->add_scaled(packed, 1, sum + lane * stride, sum);
        mlp->kernels->add_scaled(nmi_mlp_lane_vector_room(mlp), 1, vector + lane * stride, vector);
    }
    if (share == 0 && nmi_mlp_splits(rows))
        nmi_split_unpack_gradient(mlp->kernels, &mlp->encoding, mlp->hidden, sum, gradient);
    else
        nmi_dense_unpack_gradient(mlp->kernels, shape, sum,
                                  output ? own + nmi_mlp_output_at(mlp, rows->slice)
                                         : gradient + nmi_mlp_weights_at(mlp, share));
    mlp->kernels->add_scaled(shape.outputs, 1, vector, bias);
    if (share > 0 && !output)
        gradient[nmi_mlp_scalar_at(mlp, share)] += vector[mlp->hidden];
}
