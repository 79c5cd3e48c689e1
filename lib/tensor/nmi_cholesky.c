/* SPDX-License-Identifier: MIT */
#include "nmi_cholesky.h"

#include <math.h>

void nmi_cholesky_factorise(int64_t n, double *matrix, double least)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = matrix[i * n + j];
            for (int64_t k = 0; k < j; k++)
                sum -= matrix[i * n + k] * matrix[j * n + k];
            matrix[i * n + j] = i > j ? sum / matrix[j * n + j] : sqrt(sum < least ? least : sum);
        }
}

void nmi_cholesky_solve(int64_t n, const double *factor, double *x)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            x[i] -= factor[i * n + k] * x[k];
        x[i] /= factor[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        x[i] /= factor[i * n + i];
        for (int64_t k = 0; k < i; k++)
            x[k] -= factor[i * n + k] * x[i];
    }
}
