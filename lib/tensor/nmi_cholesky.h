/* SPDX-License-Identifier: MIT */
/*
 * Symmetric positive definite systems, n x n, row-major, in double.
 */
#ifndef NMI_CHOLESKY_H
#define NMI_CHOLESKY_H

#include <stdint.h>

/* M = L L^T, in place; only lower triangles are read and written. A pivot's square that rounding
 * has made smaller than `least` is set to it. */
void nmi_cholesky_factorise(int64_t n, double *matrix, double least);
/* Solves L L^T x = x in place. */
void nmi_cholesky_solve(int64_t n, const double *factor, double *x);

#endif
