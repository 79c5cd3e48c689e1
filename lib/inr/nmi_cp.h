/* SPDX-License-Identifier: MIT */
/*
 * The canonical polyadic decomposition of a tensor of three axes: the best sum of so many products,
 *
 *     X[o, i, k] ~ sum_r A[o, r] B[i, r] C[k, r]
 *
 * by alternating least squares (Carroll and Chang, 1970; Harshman, 1970): two factors being fixed,
 * the third solves a linear system with the matrix (B^T B) * (C^T C), elementwise. A small ridge
 * keeps products from growing against each other. For two axes it is a truncated singular value
 * decomposition, but for the choice of basis.
 */
#ifndef NMI_CP_H
#define NMI_CP_H

#include "nmi_context.h"

enum { NMI_CP_AXES = 3 };

typedef struct nmi_cp {
    int64_t dims[NMI_CP_AXES], rank;
    double *factors[NMI_CP_AXES]; /* [dims[axis]][rank] */
} nmi_cp;

/* `sweeps` over the three factors from random ones (by `key`). Columns of the first two factors
 * leave with mean square 1, the third has the size. O I K R + (O + I + K) R^2 + R^3 multiply-adds
 * each. */
neumeta_status nmi_cp_create(nmi_context *context, const int64_t dims[NMI_CP_AXES], int64_t rank,
                             const float *values, int32_t sweeps, uint64_t key, nmi_cp *out);
void nmi_cp_free(nmi_context *context, nmi_cp *cp); /* zeros are fine */

/* Solves (M + ridge I) x = y for `count` right-hand sides [count][n], which x replaces; M [n][n]
 * symmetric, spoilt. The ridge is relative to the mean of M's diagonal, and positive. */
void nmi_solve_ridge(int64_t n, double *matrix, double ridge, int64_t count, double *sides);

#endif
