/* SPDX-License-Identifier: MIT */
/*
 * Inside the MLP kind of INR (nmi_inr_mlp.h): where things lie, and what its two precisions share.
 * Layers are numbered m = 0 .. layers, the last one being the output layer.
 */
#ifndef NMI_MLP_H
#define NMI_MLP_H

#include "nmi_dense.h"
#include "nmi_inr_mlp.h"
#include "nmi_split.h"

/* --- layout (nmi_mlp_layout.c) ----------------------------------------------------------- */

/* Parameters: the places of A_m and b_m, and of s_m for m = 1 .. layers - 1. */
int64_t nmi_mlp_weights_at(const nmi_mlp *mlp, int64_t layer);
int64_t nmi_mlp_bias_at(const nmi_mlp *mlp, int64_t layer);
int64_t nmi_mlp_scalar_at(const nmi_mlp *mlp, int64_t layer);
/* Those of b_0 and of the slice's lines of A and b, in the vector that has them. */
const float *nmi_mlp_own(const nmi_mlp_rows *rows);
int64_t nmi_mlp_first_bias_at(const nmi_mlp *mlp);
int64_t nmi_mlp_output_at(const nmi_mlp *mlp, nmi_mlp_slice slice);
int64_t nmi_mlp_output_bias_at(const nmi_mlp *mlp, nmi_mlp_slice slice);

/* A layer, of the last one `taps` outputs. */
nmi_dense_shape nmi_mlp_shape(const nmi_mlp *mlp, int64_t layer, int64_t taps);
/* Where its packed weights begin, and those packed transposed (m > 0). Packed pairs fill half of
 * their room. */
int64_t nmi_mlp_packed_at(const nmi_mlp *mlp, int64_t layer);
int64_t nmi_mlp_transposed_at(const nmi_mlp *mlp, int64_t layer);
/* The output layer's, both ways. */
const float *nmi_mlp_packed_output(const nmi_mlp_rows *rows);
const float *nmi_mlp_transposed_output(const nmi_mlp_rows *rows);
/* In what is packed for a tensor of a trunk: the output layer transposed, behind itself. */
int64_t nmi_mlp_own_transposed_at(const nmi_mlp *mlp);
/* A lane: weight gradients as packed, at the same places, then for each layer one line of bias
 * gradients with the scalar's behind them. */
int64_t nmi_mlp_lane_vector_room(const nmi_mlp *mlp);
int64_t nmi_mlp_lane_vector_at(const nmi_mlp *mlp, int64_t layer);

/* Working memory. Hidden buffers are what a layer gives for a block of rows, one row
 * `hidden_stride` floats after another; each precision has its own use for them. Encoded rows and
 * branches, for a backward in floats, lie in what is kept. */
typedef struct nmi_mlp_work {
    double *encoding;
    float *outputs, *hidden, *encoded;
    float *branches; /* as many hidden buffers as layers */
    int64_t encoded_stride, encoded_pairs_stride;
    int64_t hidden_stride; /* of pairs, half as much */
    int64_t buffer;        /* from one hidden buffer to the next */
    int64_t pairs_buffer;  /* from one to the next that holds pairs */
    int64_t encoded_pairs; /* the same of encoded rows */
} nmi_mlp_work;

/* `backward`: for nmi_mlp_emit_keeping() and nmi_mlp_backward(). */
nmi_mlp_work nmi_mlp_lay_out(const nmi_mlp_rows *rows, bool backward);

/* --- both precisions (nmi_inr_mlp.c) ------------------------------------------------------ */

/* a of the last hidden layer, after nmi_mlp_emit_keeping() in floats. */
const float *nmi_mlp_last(const nmi_mlp_rows *rows);
/* Whether the first layer is taken apart (nmi_split.h), for all rows of the tensor. */
bool nmi_mlp_splits(const nmi_mlp_rows *rows);
nmi_split nmi_mlp_split(const nmi_mlp_rows *rows, const nmi_mlp_work *work);
/* Bias, activation and, but for layer 0, the residual scalar of a hidden layer. */
nmi_epilogue nmi_mlp_epilogue(const nmi_mlp_rows *rows, int64_t layer);
void nmi_mlp_encode(const nmi_mlp_rows *rows, const nmi_mlp_work *work);
/* values from the last hidden layer's a; and back: gradients of the output layer into the lane, of
 * a into g. */
void nmi_mlp_output(const nmi_mlp_rows *rows, const nmi_mlp_work *work, const float *a,
                    float *values);
void nmi_mlp_output_backward(const nmi_mlp_rows *rows, const nmi_mlp_work *work,
                             const float *value_gradients, const float *a, float *lane, float *g);
/*
 * Through a <- a + s phi(v): given g = d loss / d a and z = phi(v), writes dv = s g phi'(v) and
 * returns d loss / d s = sum g z.
 */
float nmi_mlp_branch_backward(const nmi_mlp_rows *rows, int64_t stride, float s, const float *g,
                              const float *z, float *dv);

/* --- bf16 (nmi_mlp_bf16.c) ---------------------------------------------------------------- */

/* Buffers it wants: of floats, and of pairs. */
int64_t nmi_mlp_bf16_buffers(const nmi_mlp *mlp, bool backward);
int64_t nmi_mlp_bf16_pairs_buffers(const nmi_mlp *mlp, bool backward);
/* A hidden layer, or the first one if it is not taken apart. */
void nmi_mlp_bf16_pack(const nmi_mlp_rows *rows, int64_t layer, nmi_mlp_uses uses, float *packed);
void nmi_mlp_bf16_forward(const nmi_mlp_rows *rows, bool keep, float *values);
void nmi_mlp_bf16_backward(const nmi_mlp_rows *rows, const float *value_gradients, float *lane);

#endif
