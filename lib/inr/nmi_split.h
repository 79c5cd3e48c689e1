/* SPDX-License-Identifier: MIT */
/*
 * The first layer of an INR on rows without noise. Then the features of row (o, i) are those that
 * depend on i and the others, which all rows of o share, and so is the layer's product:
 *
 *   A_0 e = A_other e_other(o) + A_input e_input(i)
 *
 * The terms are computed once for each output and each input of the tensor, 2 H (P_other outputs +
 * P_input inputs) FLOP instead of 2 H P rows; a row adds two of them. In the backward gradients of
 * a row's sums are added over the rows of an output in a block before they meet e_other. A row's
 * value depends on no other row.
 */
#ifndef NMI_SPLIT_H
#define NMI_SPLIT_H

#include "nmi_dense.h"
#include "nmi_encoding.h"

/* Fewer inputs than these are not worth it: in the backward each output is a product of its own. */
enum { NMI_SPLIT_INPUTS = 8 };

/* A block of rows: first .. first + rows - 1 of the grid. */
typedef struct nmi_split {
    const nmi_kernels *kernels;
    const nmi_encoding *encoding;
    const nmi_grid *grid;
    int64_t hidden; /* H */
    int64_t first, rows;
    double *work; /* nmi_encoding_work(encoding, 1) */
    float *
        encoded; /* nmi_split_lines(rows) lines, `stride` >= P floats apart: inputs, then outputs */
    int64_t stride;
} nmi_split;

int64_t nmi_split_lines(int64_t rows);

/* A_0 [H][P] as two packed matrices, which together are as long as one; and a gradient that lies
 * like them, added to `weights`. */
void nmi_split_pack(const nmi_kernels *kernels, const nmi_encoding *encoding, int64_t hidden,
                    const float *weights, float *packed);
void nmi_split_unpack_gradient(const nmi_kernels *kernels, const nmi_encoding *encoding,
                               int64_t hidden, const float *packed, float *weights);

/* The terms of all inputs, then those of all outputs with the bias, each a line of H floats. The
 * block's own rows are not looked at, but for their number, of which `encoded` holds as many
 * lines. */
void nmi_split_terms(const nmi_split *split, const float *packed, const float *bias, float *terms);
/* y = activation(A_0 e + bias), rows y_stride floats apart; pairs, unless NULL, receive y rounded,
 * half as far apart. */
void nmi_split_forward(const nmi_split *split, const float *terms, int32_t activation, float *y,
                       int64_t y_stride, float *pairs);
/* packed_gradient += dy^T e, dbias += the rows of dy. `sums` is room for nmi_split_outputs(split)
 * rows of dy. */
int64_t nmi_split_outputs(const nmi_split *split);
void nmi_split_backward(const nmi_split *split, const float *dy, int64_t dy_stride, float *sums,
                        float *packed_gradient, float *dbias);

#endif
