/* SPDX-License-Identifier: MIT */
/*
 * The MLP in bf16: the products of hidden layers, forward, to the inputs and to the weights, take
 * operands rounded to bf16. Sums, biases, activations, the residual stream, all gradients but those
 * operands, and the output layer stay in floats; so does a first layer that is taken apart, which
 * costs next to nothing.
 *
 * Kept for backward: z[m] = phi(A_m a + b_m) in floats and a_m as pairs, which is all that the next
 * layer's products see of it. The stream a is one buffer that every layer adds to; without backward
 * that is z[0] itself.
 */
#include "nmi_mlp.h"

typedef struct buffers {
    nmi_mlp_work work;
    float *stream, *branches, *g, *dv;  /* of floats; branches: z[0], z[1] .. */
    float *pairs;                       /* a_0, a_1 .. as pairs */
    float *dv_pairs, *dv_lines, *lines; /* dv along and across rows, x across rows */
    float *encoded_pairs, *encoded_lines;
    int64_t stride, pairs_stride; /* between rows; lines across rows have that of floats */
    int64_t encoded_lines_stride;
} buffers;

int64_t nmi_mlp_bf16_buffers(const nmi_mlp *mlp, bool backward)
{
    return backward ? mlp->layers + 3 : 1;
}

/* Without backward two in turn; with it one for each layer and those of a product. */
int64_t nmi_mlp_bf16_pairs_buffers(const nmi_mlp *mlp, bool backward)
{
    return backward ? mlp->layers + 3 : 2;
}

static buffers lay_out(const nmi_mlp_rows *rows, bool backward)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_mlp_work w = nmi_mlp_lay_out(rows, backward);
    float *pairs = w.hidden + nmi_mlp_bf16_buffers(mlp, backward) * w.buffer;
    float *encoded = pairs + nmi_mlp_bf16_pairs_buffers(mlp, backward) * w.pairs_buffer;
    return (buffers){.work = w,
                     .stream = w.hidden,
                     .branches = backward ? w.hidden + w.buffer : w.hidden,
                     .g = w.hidden + (mlp->layers + 1) * w.buffer,
                     .dv = w.hidden + (mlp->layers + 2) * w.buffer,
                     .pairs = pairs,
                     .dv_pairs = pairs + mlp->layers * w.pairs_buffer,
                     .dv_lines = pairs + (mlp->layers + 1) * w.pairs_buffer,
                     .lines = pairs + (mlp->layers + 2) * w.pairs_buffer,
                     .encoded_pairs = encoded,
                     .encoded_lines = encoded + w.encoded_pairs,
                     .stride = w.hidden_stride,
                     .pairs_stride = w.hidden_stride / 2,
                     .encoded_lines_stride = 2 * w.encoded_pairs_stride};
}

static float *branch(const buffers *b, int64_t layer)
{
    return b->branches + layer * b->work.buffer;
}

void nmi_mlp_bf16_pack(const nmi_mlp_rows *rows, int64_t layer, nmi_mlp_uses uses, float *packed)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, layer, 0);
    const float *weights = rows->parameters + nmi_mlp_weights_at(mlp, layer);
    if (uses.forward)
        nmi_dense_pack_pairs(mlp->kernels, shape, weights, packed + nmi_mlp_packed_at(mlp, layer));
    if (uses.backward && layer > 0)
        nmi_dense_pack_transposed_pairs(mlp->kernels, shape, weights,
                                        packed + nmi_mlp_transposed_at(mlp, layer));
}

/* --- forward ----------------------------------------------------------------------------- */

static void round_rows(const nmi_mlp_rows *rows, int64_t columns, const float *x, int64_t stride,
                       float *pairs, int64_t pairs_stride)
{
    for (int64_t r = 0; r < rows->rows; r++)
        rows->mlp->kernels->round_line(columns, x + r * stride, pairs + r * pairs_stride);
}

/* a_0 into z[0] and, as pairs, for the next layer. */
static void first_layer(const nmi_mlp_rows *rows, const buffers *b)
{
    const nmi_mlp *mlp = rows->mlp;
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, &b->work);
        nmi_split_forward(&split, rows->terms, mlp->activation, b->branches, b->stride, b->pairs);
        return;
    }
    nmi_epilogue epilogue = nmi_mlp_epilogue(rows, 0);
    epilogue.rounded = b->pairs;
    nmi_mlp_encode(rows, &b->work);
    round_rows(rows, mlp->encoding.inputs, b->work.encoded, b->work.encoded_stride,
               b->encoded_pairs, b->work.encoded_pairs_stride);
    nmi_dense_forward_pairs(mlp->kernels, nmi_mlp_shape(mlp, 0, 0), rows->rows, b->encoded_pairs,
                            b->work.encoded_pairs_stride, rows->packed, &epilogue, b->branches,
                            b->stride);
}

void nmi_mlp_bf16_forward(const nmi_mlp_rows *rows, bool keep, float *values)
{
    const nmi_mlp *mlp = rows->mlp;
    const buffers b = lay_out(rows, keep);
    const float *x = b.branches;
    first_layer(rows, &b);
    for (int64_t m = 1; m < mlp->layers; m++) {
        const float *pairs = b.pairs + (keep ? m - 1 : (m - 1) % 2) * b.work.pairs_buffer;
        nmi_epilogue epilogue = nmi_mlp_epilogue(rows, m);
        epilogue.residual = x;
        epilogue.activated = keep ? branch(&b, m) : NULL;
        if (m + 1 < mlp->layers)
            epilogue.rounded = b.pairs + (keep ? m : m % 2) * b.work.pairs_buffer;
        nmi_dense_forward_pairs(mlp->kernels, nmi_mlp_shape(mlp, m, 0), rows->rows, pairs,
                                b.pairs_stride, rows->packed + nmi_mlp_packed_at(mlp, m), &epilogue,
                                b.stream, b.stride);
        x = b.stream;
    }
    if (values != NULL)
        nmi_mlp_output(rows, &b.work, x, values);
}

/* --- backward ---------------------------------------------------------------------------- */

/* Rows of pairs, two to a line; the last one alone if their number is odd. */
static void interleave_rows(const nmi_mlp_rows *rows, int64_t columns, const float *pairs,
                            int64_t pairs_stride, float *lines, int64_t stride)
{
    for (int64_t r = 0; r < rows->rows; r += 2) {
        const float *line = pairs + r * pairs_stride;
        rows->mlp->kernels->interleave(
            columns, line, r + 1 < rows->rows ? line + pairs_stride : NULL, lines + r / 2 * stride);
    }
}

/* dv rounded both ways, and the gradients of a layer whose inputs are the pairs x. */
static void layer_backward(const nmi_mlp_rows *rows, const buffers *b, int64_t layer,
                           const float *x, int64_t x_stride, float *lines, int64_t stride,
                           float *lane)
{
    const nmi_mlp *mlp = rows->mlp;
    const nmi_dense_shape shape = nmi_mlp_shape(mlp, layer, 0);
    round_rows(rows, shape.outputs, b->dv, b->stride, b->dv_pairs, b->pairs_stride);
    interleave_rows(rows, shape.outputs, b->dv_pairs, b->pairs_stride, b->dv_lines, b->stride);
    interleave_rows(rows, shape.inputs, x, x_stride, lines, stride);
    nmi_dense_backward_weight_pairs(mlp->kernels, shape, (rows->rows + 1) / 2, lines, stride,
                                    b->dv_lines, b->stride, lane + nmi_mlp_packed_at(mlp, layer));
    mlp->kernels->column_sums(rows->rows, shape.outputs, b->dv, b->stride,
                              lane + nmi_mlp_lane_vector_at(mlp, layer));
}

static void first_layer_backward(const nmi_mlp_rows *rows, const buffers *b, float *lane)
{
    const nmi_mlp *mlp = rows->mlp;
    if (nmi_mlp_splits(rows)) {
        const nmi_split split = nmi_mlp_split(rows, &b->work);
        nmi_split_backward(&split, b->dv, b->stride, b->g, lane,
                           lane + nmi_mlp_lane_vector_at(mlp, 0));
        return;
    }
    layer_backward(rows, b, 0, b->encoded_pairs, b->work.encoded_pairs_stride, b->encoded_lines,
                   b->encoded_lines_stride, lane);
}

void nmi_mlp_bf16_backward(const nmi_mlp_rows *rows, const float *value_gradients, float *lane)
{
    const nmi_mlp *mlp = rows->mlp;
    const buffers b = lay_out(rows, true);
    nmi_mlp_output_backward(rows, &b.work, value_gradients, mlp->layers > 1 ? b.stream : b.branches,
                            lane, b.g);
    for (int64_t m = mlp->layers - 1; m > 0; m--) {
        const float s = rows->parameters[nmi_mlp_scalar_at(mlp, m)];
        lane[nmi_mlp_lane_vector_at(mlp, m) + mlp->hidden] +=
            nmi_mlp_branch_backward(rows, b.stride, s, b.g, branch(&b, m), b.dv);
        layer_backward(rows, &b, m, b.pairs + (m - 1) * b.work.pairs_buffer, b.pairs_stride,
                       b.lines, b.stride, lane);
        nmi_dense_backward_input_pairs(
            mlp->kernels, nmi_mlp_shape(mlp, m, 0), rows->rows, b.dv_pairs, b.pairs_stride,
            rows->packed + nmi_mlp_transposed_at(mlp, m), true, b.g, b.stride);
    }
    nmi_mlp_branch_backward(rows, b.stride, 1.0f, b.g, b.branches, b.dv);
    first_layer_backward(rows, &b, lane);
}
