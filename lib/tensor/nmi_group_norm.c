/* SPDX-License-Identifier: MIT */
/* Group normalisation on the sums per channel of batch normalisation, in double as those. */
#include "nmi_group_norm.h"

#include "nmi_norm_op.h"

#include <math.h>
#include <string.h>

int64_t nmi_group_count(int64_t channels, int64_t size)
{
    return channels < 2 * size ? 1 : channels / size;
}

/* Channels [*first, *end) of a group. */
static void group_range(const nmi_group_norm *norm, int64_t group, int64_t *first, int64_t *end)
{
    const bool last = group == nmi_group_count(norm->channels, norm->size) - 1;
    *first = group * norm->size;
    *end = last ? norm->channels : *first + norm->size;
}

size_t nmi_group_norm_workspace_bytes(int64_t channels)
{
    return (size_t)channels * (2 * sizeof(double) + 4 * sizeof(float));
}

/* Mean and 1 / sqrt(variance + eps) of each channel's group. */
static void find_moments(const nmi_group_norm *norm, const double *sum, const double *square,
                         float *mean, float *inverse)
{
    const int64_t groups = nmi_group_count(norm->channels, norm->size);
    for (int64_t g = 0; g < groups; g++) {
        int64_t first, end;
        double total = 0, squares = 0;
        group_range(norm, g, &first, &end);
        for (int64_t c = first; c < end; c++) {
            total += sum[c];
            squares += square[c];
        }
        const double n = (double)((end - first) * norm->pixels);
        const double m = total / n, variance = squares / n - m * m;
        const double i = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + norm->epsilon);
        for (int64_t c = first; c < end; c++) {
            mean[c] = (float)m;
            inverse[c] = (float)i;
        }
    }
}

void nmi_group_norm_factors(const nmi_group_norm *norm, const double *sum, const double *square,
                            const float *gamma, const float *beta, float *scale, float *shift)
{
    find_moments(norm, sum, square, shift, scale);
    for (int64_t c = 0; c < norm->channels; c++) {
        const double factor = (double)gamma[c] * (double)scale[c];
        shift[c] = (float)((double)beta[c] - (double)shift[c] * factor);
        scale[c] = (float)factor;
    }
}

/* The means of gamma dy and of gamma dy xhat over each channel's group, from sums per channel. */
static void find_means(const nmi_group_norm *norm, const float *gamma, const double *normal_sum,
                       const double *sum, float *mean, float *normal_mean)
{
    const int64_t groups = nmi_group_count(norm->channels, norm->size);
    for (int64_t g = 0; g < groups; g++) {
        int64_t first, end;
        double total = 0, normal = 0;
        group_range(norm, g, &first, &end);
        for (int64_t c = first; c < end; c++) {
            total += (double)gamma[c] * sum[c];
            normal += (double)gamma[c] * normal_sum[c];
        }
        const double n = (double)((end - first) * norm->pixels);
        for (int64_t c = first; c < end; c++) {
            mean[c] = (float)(total / n);
            normal_mean[c] = (float)(normal / n);
        }
    }
}

void nmi_group_norm_backward(const nmi_group_norm *norm, const float *x, const float *dy,
                             const float *gamma, bool accumulate, float *dx, double *dgamma,
                             double *dbeta, void *workspace)
{
    const int64_t channels = norm->channels;
    double *a = workspace, *b = a + channels;
    float *mean = (float *)(b + channels), *inverse = mean + channels;
    float *shared = inverse + channels, *slope = shared + channels;
    memset(a, 0, 2 * (size_t)channels * sizeof *a);
    nmi_norm_sums(norm->pixels, channels, x, a, b);
    find_moments(norm, a, b, mean, inverse);
    memset(a, 0, 2 * (size_t)channels * sizeof *a);
    nmi_norm_backward_sums(norm->pixels, channels, x, dy, mean, inverse, a, b);
    for (int64_t c = 0; c < channels; c++) {
        dgamma[c] += a[c];
        dbeta[c] += b[c];
    }
    if (dx == NULL)
        return;
    find_means(norm, gamma, a, b, shared, slope);
    for (int64_t r = 0; r < norm->pixels; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const int64_t at = r * channels + c;
            const float normal = (x[at] - mean[c]) * inverse[c];
            const float gradient = inverse[c] * (gamma[c] * dy[at] - shared[c] - normal * slope[c]);
            dx[at] = accumulate ? dx[at] + gradient : gradient;
        }
    }
}
