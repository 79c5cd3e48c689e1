/* SPDX-License-Identifier: MIT */
/* Where the MLP's parameters, packed weights, partial gradients and working memory lie. */
#include "nmi_mlp.h"

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

/* Between rows of as many columns in pairs. Rows of floats beside them, which share their epilogue,
 * are twice as far apart, and rows of pairs begin with a line of the caches, as tiles want it. */
static int64_t pairs_stride(int64_t columns)
{
    return row_stride((columns + 1) / 2);
}

/* --- parameters -------------------------------------------------------------------------- */

int64_t nmi_mlp_weights_at(const nmi_mlp *mlp, int64_t layer)
{
    const int64_t first = mlp->hidden * (mlp->encoding.inputs + (mlp->trunk ? 0 : 1));
    return layer == 0 ? 0 : first + (layer - 1) * (mlp->hidden * (mlp->hidden + 1) + 1);
}

static int64_t layer_inputs(const nmi_mlp *mlp, int64_t layer)
{
    return layer == 0 ? mlp->encoding.inputs : mlp->hidden;
}

static int64_t layer_outputs(const nmi_mlp *mlp, int64_t layer)
{
    return layer == mlp->layers ? mlp->outputs : mlp->hidden;
}

int64_t nmi_mlp_bias_at(const nmi_mlp *mlp, int64_t layer)
{
    return nmi_mlp_weights_at(mlp, layer) + layer_outputs(mlp, layer) * layer_inputs(mlp, layer);
}

int64_t nmi_mlp_scalar_at(const nmi_mlp *mlp, int64_t layer)
{
    return nmi_mlp_bias_at(mlp, layer) + mlp->hidden;
}

int64_t nmi_mlp_parameter_count(const nmi_mlp *mlp)
{
    return mlp->trunk ? nmi_mlp_weights_at(mlp, mlp->layers)
                      : nmi_mlp_bias_at(mlp, mlp->layers) + mlp->outputs;
}

int64_t nmi_mlp_own_count(const nmi_mlp *mlp, int64_t taps)
{
    return mlp->hidden + taps * (mlp->hidden + 1);
}

const float *nmi_mlp_own(const nmi_mlp_rows *rows)
{
    return rows->mlp->trunk ? rows->own : rows->parameters;
}

int64_t nmi_mlp_first_bias_at(const nmi_mlp *mlp)
{
    return mlp->trunk ? 0 : nmi_mlp_bias_at(mlp, 0);
}

int64_t nmi_mlp_output_at(const nmi_mlp *mlp, nmi_mlp_slice slice)
{
    return mlp->trunk ? mlp->hidden
                      : nmi_mlp_weights_at(mlp, mlp->layers) + slice.first * mlp->hidden;
}

int64_t nmi_mlp_output_bias_at(const nmi_mlp *mlp, nmi_mlp_slice slice)
{
    return mlp->trunk ? mlp->hidden + slice.count * mlp->hidden
                      : nmi_mlp_bias_at(mlp, mlp->layers) + slice.first;
}

bool nmi_mlp_part(const nmi_mlp *mlp, int32_t index, nmi_inr_part *out)
{
    enum { WEIGHT, BIAS, SCALE } what;
    int64_t layer;
    if (index < 0 || index > 3 * mlp->layers)
        return false;
    if (index < 2) {
        layer = 0;
        what = index == 0 ? WEIGHT : BIAS;
    } else {
        layer = 1 + (index - 2) / 3;
        what = (index - 2) % 3 == 0 ? WEIGHT : (index - 2) % 3 == 1 ? BIAS : SCALE;
    }
    const int64_t inputs = layer_inputs(mlp, layer), outputs = layer_outputs(mlp, layer);
    static const char *const names[] = {"weight", "bias", "scale"};
    memset(out, 0, sizeof *out);
    if (layer == mlp->layers)
        snprintf(out->name, sizeof out->name, "inr.out.%s", names[what]);
    else
        snprintf(out->name, sizeof out->name, "inr.%d.%s", (int)layer, names[what]);
    out->rank = what == WEIGHT ? 2 : 1;
    out->dims[0] = what == SCALE ? 1 : outputs;
    out->dims[1] = what == WEIGHT ? inputs : 1;
    out->count = out->dims[0] * out->dims[1];
    out->offset = what == WEIGHT ? nmi_mlp_weights_at(mlp, layer)
                  : what == BIAS ? nmi_mlp_bias_at(mlp, layer)
                                 : nmi_mlp_scalar_at(mlp, layer);
    out->bound = what == SCALE ? 0 : 1 / sqrt((double)inputs);
    out->value = what == SCALE ? mlp->scalar : 0;
    return true;
}

/* --- packed weights and lanes ------------------------------------------------------------ */

/* Slices shorter than D take less than their room. */
nmi_dense_shape nmi_mlp_shape(const nmi_mlp *mlp, int64_t layer, int64_t taps)
{
    nmi_dense_shape shape = {layer_inputs(mlp, layer), layer == mlp->layers ? taps : mlp->hidden};
    return shape;
}

static int64_t packed_room(const nmi_mlp *mlp, int64_t layer)
{
    return round_up(
        (int64_t)nmi_dense_packed_floats(mlp->kernels, nmi_mlp_shape(mlp, layer, mlp->outputs)));
}

static int64_t transposed_room(const nmi_mlp *mlp, int64_t layer)
{
    nmi_dense_shape shape = nmi_mlp_shape(mlp, layer, mlp->outputs);
    return round_up((int64_t)nmi_dense_packed_transposed_floats(mlp->kernels, shape));
}

/* Room for the first layer, for each hidden one. */
int64_t nmi_mlp_packed_at(const nmi_mlp *mlp, int64_t layer)
{
    if (layer == 0)
        return 0;
    const int64_t hidden = layer > 1 ? (layer - 1) * packed_room(mlp, 1) : 0;
    return packed_room(mlp, 0) + hidden;
}

static int64_t packed_end(const nmi_mlp *mlp)
{
    return nmi_mlp_packed_at(mlp, mlp->layers) + packed_room(mlp, mlp->layers);
}

/* The first layer's inputs have no gradient, so its weights are not packed transposed. */
int64_t nmi_mlp_transposed_at(const nmi_mlp *mlp, int64_t layer)
{
    const int64_t hidden = layer > 1 ? (layer - 1) * transposed_room(mlp, 1) : 0;
    return packed_end(mlp) + hidden;
}

size_t nmi_mlp_packed_floats(const nmi_mlp *mlp, bool backward)
{
    if (!backward)
        return (size_t)packed_end(mlp);
    return (size_t)(nmi_mlp_transposed_at(mlp, mlp->layers) + transposed_room(mlp, mlp->layers));
}

int64_t nmi_mlp_own_transposed_at(const nmi_mlp *mlp)
{
    return packed_room(mlp, mlp->layers);
}

size_t nmi_mlp_packed_split_floats(const nmi_mlp *mlp)
{
    return (size_t)packed_room(mlp, 0);
}

size_t nmi_mlp_packed_own_floats(const nmi_mlp *mlp)
{
    return (size_t)(nmi_mlp_own_transposed_at(mlp) + transposed_room(mlp, mlp->layers));
}

const float *nmi_mlp_packed_output(const nmi_mlp_rows *rows)
{
    const nmi_mlp *mlp = rows->mlp;
    return mlp->trunk ? rows->packed_own : rows->packed + nmi_mlp_packed_at(mlp, mlp->layers);
}

const float *nmi_mlp_transposed_output(const nmi_mlp_rows *rows)
{
    const nmi_mlp *mlp = rows->mlp;
    return mlp->trunk ? rows->packed_own + nmi_mlp_own_transposed_at(mlp)
                      : rows->packed + nmi_mlp_transposed_at(mlp, mlp->layers);
}

size_t nmi_mlp_terms_floats(const nmi_mlp *mlp)
{
    return (size_t)(mlp->terms * mlp->hidden);
}

int64_t nmi_mlp_lane_vector_room(const nmi_mlp *mlp)
{
    return round_up((mlp->hidden > mlp->outputs ? mlp->hidden : mlp->outputs) + 1);
}

int64_t nmi_mlp_lane_vector_at(const nmi_mlp *mlp, int64_t layer)
{
    return packed_end(mlp) + layer * nmi_mlp_lane_vector_room(mlp);
}

size_t nmi_mlp_lane_floats(const nmi_mlp *mlp)
{
    return (size_t)nmi_mlp_lane_vector_at(mlp, mlp->layers + 1);
}

/* --- working memory ---------------------------------------------------------------------- */

/* What lies before the hidden buffers: sums and angles of the encoding, outputs. */
static int64_t encoding_room(const nmi_mlp *mlp)
{
    return round_up(2 * nmi_encoding_work(&mlp->encoding, mlp->block_rows));
}

static int64_t encoded_room(const nmi_mlp *mlp)
{
    return nmi_split_lines(mlp->block_rows) * row_stride(mlp->encoding.inputs);
}

static int64_t hidden_at(const nmi_mlp *mlp)
{
    return encoding_room(mlp) + round_up(mlp->block_rows * mlp->outputs);
}

static int64_t hidden_stride(const nmi_mlp *mlp, int32_t precision)
{
    return precision == NMI_BF16 ? 2 * pairs_stride(mlp->hidden) : row_stride(mlp->hidden);
}

static int64_t hidden_buffer(const nmi_mlp *mlp, int32_t precision)
{
    return mlp->block_rows * hidden_stride(mlp, precision) + APART;
}

/* `block_rows` rows of pairs, or half as many of pairs across rows. */
static int64_t pairs_buffer(const nmi_mlp *mlp, int64_t columns)
{
    return (mlp->block_rows + 1) / 2 * 2 * pairs_stride(columns) + APART;
}

/* In floats, two buffers are taken in turn; backward has a_m of every layer but the first, whose
 * a_0 is its branch, the gradients of a and of a layer's sums. */
static int64_t hidden_room(const nmi_mlp *mlp, int32_t precision, bool backward)
{
    const int64_t buffer = hidden_buffer(mlp, precision);
    if (precision == NMI_FP32)
        return (backward ? mlp->layers + 1 : 2) * buffer;
    return nmi_mlp_bf16_buffers(mlp, backward) * buffer +
           nmi_mlp_bf16_pairs_buffers(mlp, backward) * pairs_buffer(mlp, mlp->hidden) +
           (backward ? 2 : 1) * pairs_buffer(mlp, mlp->encoding.inputs);
}

size_t nmi_mlp_kept_floats(const nmi_mlp *mlp)
{
    return (size_t)(encoded_room(mlp) + mlp->layers * hidden_buffer(mlp, NMI_FP32));
}

nmi_mlp_work nmi_mlp_lay_out(const nmi_mlp_rows *rows, bool backward)
{
    const nmi_mlp *mlp = rows->mlp;
    void *start = rows->work;
    float *hidden = rows->work + hidden_at(mlp);
    float *kept =
        rows->kept != NULL ? rows->kept : hidden + hidden_room(mlp, rows->precision, backward);
    return (nmi_mlp_work){.encoding = start,
                          .outputs = rows->work + encoding_room(mlp),
                          .hidden = hidden,
                          .encoded = kept,
                          .branches = kept + encoded_room(mlp),
                          .encoded_stride = row_stride(mlp->encoding.inputs),
                          .encoded_pairs_stride = pairs_stride(mlp->encoding.inputs),
                          .hidden_stride = hidden_stride(mlp, rows->precision),
                          .buffer = hidden_buffer(mlp, rows->precision),
                          .pairs_buffer = pairs_buffer(mlp, mlp->hidden),
                          .encoded_pairs = pairs_buffer(mlp, mlp->encoding.inputs)};
}

size_t nmi_mlp_work_floats(const nmi_mlp *mlp, bool backward)
{
    const int64_t fp32 = hidden_room(mlp, NMI_FP32, backward) +
                         (backward ? (int64_t)nmi_mlp_kept_floats(mlp) : encoded_room(mlp));
    const int64_t bf16 = hidden_room(mlp, NMI_BF16, backward) + encoded_room(mlp);
    return (size_t)(hidden_at(mlp) + (fp32 > bf16 ? fp32 : bf16));
}
