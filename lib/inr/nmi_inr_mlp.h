/* SPDX-License-Identifier: MIT */
/*
 * The residual MLP of Neural Metamorphosis (arXiv 2410.11878):
 *
 *   a = phi(A_0 e + b_0);   a <- a + s_m phi(A_m a + b_m), m = 1 .. layers - 1;   out = A a + b
 *
 * with e the encoded coordinates [P], A_0 [H][P], A_m [H][H], A [D][H], s_m scalars. Parameters are
 * stored A_0, b_0, (A_m, b_m, s_m) for each m, A, b; those of a trunk without b_0, A and b, which a
 * tensor has for itself, A with a line for each tap. Forward 2 (P H + (layers - 1) H^2 + H taps)
 * FLOP a row; backward costs about twice that, and once more where what it wants was not kept. Rows
 * without noise do without most of the first layer's share (nmi_split.h).
 *
 * Here are blocks of rows on one thread; nmi_mlp_emission.c shares them out among the workers.
 */
#ifndef NMI_INR_MLP_H
#define NMI_INR_MLP_H

#include "nmi_encoding.h"
#include "nmi_inr.h"
#include "nmi_kernels.h"

#include <stddef.h>

/* What all MLPs of a manifold have in common, so that any may be cloned from any other. */
typedef struct nmi_mlp {
    const nmi_kernels
        *kernels; /* of the context, which keeps them as long as there is a manifold */
    nmi_encoding encoding;
    int64_t hidden, layers; /* H; hidden layers, the first included */
    int64_t outputs;        /* D: taps of the largest kernel of the manifold */
    int32_t activation;     /* NMI_ACTIVATION_* */
    double scalar;          /* first value of the residual scalars */
    bool trunk;             /* b_0, A and b are a tensor's own, the rest is common to all */
    int64_t block_rows;     /* rows that run through all layers at once */
    int64_t terms;          /* most inputs and outputs of a tensor, together */
} nmi_mlp;

/* The outputs a tensor uses: its taps, the central ones of D. */
typedef struct nmi_mlp_slice {
    int64_t first, count;
} nmi_mlp_slice;

/*
 * Rows first .. first + rows - 1 (rows <= block_rows) of one tensor. `packed` and `terms` come from
 * nmi_mlp_pack() with the same slice, grid, precision and `clean`; `work` has nmi_mlp_work_floats()
 * floats, aligned to 64 bytes, for one thread.
 */
typedef struct nmi_mlp_rows {
    const nmi_mlp *mlp;
    const float *parameters, *packed, *terms;
    const float *own, *packed_own; /* of a trunk: the tensor's parameters, its A packed */
    nmi_mlp_slice slice;
    nmi_grid grid;
    const nmi_noise *noise; /* NULL: clean */
    int32_t precision;      /* NMI_FP32 or NMI_BF16 */
    bool clean;             /* all rows of the tensor that are emitted with `packed` are clean */
    int64_t first, rows;
    float scale; /* of the emitted values: 1/I */
    float *work;
    float *kept; /* nmi_mlp_kept_floats() like `work`, for what backward wants; NULL: in `work` */
} nmi_mlp_rows;

int64_t nmi_mlp_parameter_count(const nmi_mlp *mlp);
/* Of a trunk: what a tensor of so many taps has for itself. */
int64_t nmi_mlp_own_count(const nmi_mlp *mlp, int64_t taps);
/* The index-th part; false past the last one. */
bool nmi_mlp_part(const nmi_mlp *mlp, int32_t index, nmi_inr_part *out);

/* What packed weights are for: emission, and nmi_mlp_backward() of what emission kept. */
typedef struct nmi_mlp_uses {
    bool forward, backward;
} nmi_mlp_uses;

/* Parameters rearranged for the kernels. What clean rows share of the first layer goes to `terms`,
 * nmi_mlp_terms_floats(). Of `rows`, packing and reducing look only at `work` and at what a
 * tensor's blocks of rows have in common. */
size_t nmi_mlp_packed_floats(const nmi_mlp *mlp, bool backward);
size_t nmi_mlp_terms_floats(const nmi_mlp *mlp);
void nmi_mlp_pack(const nmi_mlp_rows *rows, nmi_mlp_uses uses, float *packed, float *terms);
/* The same of a trunk, apart: a layer that all tensors have; A_0 for rows that take it apart; and,
 * with that, what is a tensor's own. */
size_t nmi_mlp_packed_split_floats(const nmi_mlp *mlp);
size_t nmi_mlp_packed_own_floats(const nmi_mlp *mlp);
void nmi_mlp_pack_layer(const nmi_mlp_rows *rows, int64_t layer, nmi_mlp_uses uses, float *packed);
void nmi_mlp_pack_split(const nmi_mlp_rows *rows, float *split);
void nmi_mlp_pack_own(const nmi_mlp_rows *rows, nmi_mlp_uses uses, const float *split,
                      float *packed_own, float *terms);
size_t nmi_mlp_work_floats(const nmi_mlp *mlp, bool backward);
/* What is kept of a block of rows between nmi_mlp_emit_keeping() and nmi_mlp_backward(), which then
 * may have other `work`: in floats only. */
size_t nmi_mlp_kept_floats(const nmi_mlp *mlp);

/* values[row][tap] = scale * output, [rows][slice.count]. */
void nmi_mlp_emit(const nmi_mlp_rows *rows, float *values);

/* The same, keeping in `work` or `kept` what nmi_mlp_backward() of the same rows will want.
 * `values` may be NULL; with `kept`, `work` need not be that of backward. */
void nmi_mlp_emit_keeping(const nmi_mlp_rows *rows, float *values);
/* Adds to `lane` (nmi_mlp_lane_floats() floats, zero at first) the gradient of the parameters,
 * given that of the values [rows][slice.count]. */
void nmi_mlp_backward(const nmi_mlp_rows *rows, const float *value_gradients, float *lane);
size_t nmi_mlp_lane_floats(const nmi_mlp *mlp);
/* A share of: gradient += sum of `count` lanes, `stride` floats apart, in order. The lanes are
 * spoilt. Shares 0 .. nmi_mlp_shares() - 1 may run at once. What is a tensor's own of a trunk goes
 * to `own`, which else is `gradient`. */
int64_t nmi_mlp_shares(const nmi_mlp *mlp);
void nmi_mlp_reduce(const nmi_mlp_rows *rows, float *lanes, int64_t stride, int64_t count,
                    int64_t share, float *gradient, float *own);

#endif
