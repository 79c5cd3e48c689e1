/* SPDX-License-Identifier: MIT */
/*
 * The only file that knows BLIS. The expert interface with a runtime object of our own keeps the
 * call on this thread and away from the process-wide settings another user of BLIS may have made.
 */
#include "nmi_gemm.h"

typedef int nmi_gemm_blis_not_empty; /* ISO C wants a declaration in every file */

#ifdef NMI_HAVE_BLIS
#include <blis.h>

void nmi_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
              int64_t ldc)
{
    if (m <= 0 || n <= 0 || k <= 0) { /* nothing for BLIS, but C still takes beta */
        nmi_gemm_ref(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    rntm_t runtime;
    bli_rntm_init(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    /* BLIS promises not to write to A, B and the scalars, its prototypes just lack const. */
    union {
        const float *in;
        float *out;
    } left = {.in = a}, right = {.in = b};
    bli_sgemm_ex(transpose_a ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE,
                 transpose_b ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE, m, n, k, &alpha, left.out, lda,
                 1, right.out, ldb, 1, &beta, c, ldc, 1, NULL, &runtime);
}

const char *nmi_gemm_name(void)
{
    return "blis";
}
#endif
