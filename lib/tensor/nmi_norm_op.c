/* SPDX-License-Identifier: MIT */
/* Batch normalisation; sums in double, since E[x^2] - E[x]^2 cancels. */
#include "nmi_norm_op.h"

#include <math.h>

void nmi_norm_fold(int64_t channels, const float *gamma, const float *beta, const float *mean,
                   const float *variance, float epsilon, float *scale, float *shift)
{
    for (int64_t c = 0; c < channels; c++) {
        double g = gamma != NULL ? (double)gamma[c] : 1.0;
        double b = beta != NULL ? (double)beta[c] : 0.0;
        double factor = g / sqrt((double)variance[c] + (double)epsilon);
        scale[c] = (float)factor;
        shift[c] = (float)(b - (double)mean[c] * factor);
    }
}

void nmi_norm_sums(int64_t rows, int64_t channels, const float *x, double *sum, double *square)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            double value = (double)x[r * channels + c];
            sum[c] += value;
            square[c] += value * value;
        }
    }
}

static float moved_towards(float old, double target, float momentum)
{
    return (float)((1.0 - (double)momentum) * (double)old + (double)momentum * target);
}

void nmi_norm_finish(int64_t channels, int64_t count, const double *sum, const double *square,
                     const float *gamma, const float *beta, float epsilon, float momentum,
                     float *mean, float *inverse, float *scale, float *shift, float *running_mean,
                     float *running_variance)
{
    const double n = (double)count;
    for (int64_t c = 0; c < channels; c++) {
        double m = sum[c] / n;
        double variance = square[c] / n - m * m;
        variance = variance < 0.0 ? 0.0 : variance;
        double i = 1.0 / sqrt(variance + (double)epsilon);
        double factor = (gamma != NULL ? (double)gamma[c] : 1.0) * i;
        mean[c] = (float)m;
        inverse[c] = (float)i;
        scale[c] = (float)factor;
        shift[c] = (float)((beta != NULL ? (double)beta[c] : 0.0) - m * factor);
        if (running_mean != NULL)
            running_mean[c] = moved_towards(running_mean[c], m, momentum);
        if (running_variance != NULL)
            running_variance[c] = moved_towards(
                running_variance[c], count > 1 ? variance * n / (n - 1.0) : variance, momentum);
    }
}

void nmi_norm_backward_sums(int64_t rows, int64_t channels, const float *x, const float *dy,
                            const float *mean, const float *inverse, double *dgamma, double *dbeta)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const int64_t at = r * channels + c;
            dgamma[c] += (double)(dy[at] * ((x[at] - mean[c]) * inverse[c]));
            dbeta[c] += (double)dy[at];
        }
    }
}

void nmi_norm_backward_finish(int64_t channels, int64_t count, const float *scale,
                              const float *inverse, const double *dgamma, const double *dbeta,
                              float *slope, float *offset)
{
    for (int64_t c = 0; c < channels; c++) {
        const double share = -(double)scale[c] / (double)count;
        slope[c] = (float)(share * (double)inverse[c] * dgamma[c]);
        offset[c] = (float)(share * dbeta[c]);
    }
}

void nmi_norm_backward_input(int64_t rows, int64_t channels, int64_t count, const float *x,
                             const float *dy, const float *mean, const float *inverse,
                             const float *gamma, const double *dgamma, const double *dbeta,
                             bool accumulate, float *dx)
{
    const float share = 1.0f / (float)count;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const int64_t at = r * channels + c;
            const float factor = (gamma != NULL ? gamma[c] : 1.0f) * inverse[c];
            const float normal = (x[at] - mean[c]) * inverse[c];
            const float gradient =
                factor * (dy[at] - (float)dbeta[c] * share - normal * ((float)dgamma[c] * share));
            dx[at] = accumulate ? dx[at] + gradient : gradient;
        }
    }
}
