/* SPDX-License-Identifier: MIT */
/* The matrix product in plain loops, and the whole of nmi_gemm() where BLIS is not there. */
#include "nmi_gemm.h"

static void scale_line(int64_t n, float beta, float *c)
{
    for (int64_t j = 0; j < n; j++)
        c[j] = beta == 0.0f ? 0.0f : beta * c[j];
}

/* Without a transposed B the innermost loop runs along lines of B and C; that order vectorises. */
void nmi_gemm_ref(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc)
{
    for (int64_t i = 0; i < m; i++) {
        float *line = c + i * ldc;
        scale_line(n, beta, line);
        for (int64_t l = 0; l < k; l++) {
            float factor = alpha * (transpose_a ? a[l * lda + i] : a[i * lda + l]);
            for (int64_t j = 0; j < n; j++)
                line[j] += factor * (transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
        }
    }
}

#ifndef NMI_HAVE_BLIS
void nmi_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
              int64_t ldc)
{
    nmi_gemm_ref(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

const char *nmi_gemm_name(void)
{
    return "reference";
}
#endif
