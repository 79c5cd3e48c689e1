/* SPDX-License-Identifier: MIT */
/*
 * General single-precision matrix product, row-major. With BLIS (NMI_HAVE_BLIS) it runs there on
 * the calling thread only; else in plain loops. BLIS takes its packing buffers from the C
 * allocator. The networks' hot paths use nmi_kernels.h instead: BLIS has no kernels for the
 * skinny products of small networks.
 */
#ifndef NMI_GEMM_H
#define NMI_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * C[m][n] = alpha * op(A)[m][k] * op(B)[k][n] + beta * C; op transposes if told to.
 * lda, ldb, ldc: floats between stored lines, at least the stored line's length. With beta 0, C is
 * not read. Empty products are handled here, since BLIS aborts on bad shapes. 2mnk FLOP.
 */
void nmi_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
              int64_t ldc);
/* The same in plain loops. */
void nmi_gemm_ref(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc);
/* "blis" or "reference". */
const char *nmi_gemm_name(void);

#endif
