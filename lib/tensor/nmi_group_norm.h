/* SPDX-License-Identifier: MIT */
/*
 * Group normalisation of NHWC activations, one item at a time:
 *
 *     y = gamma (x - mean) / sqrt(variance + eps) + beta
 *
 * with mean and biased variance over all pixels and channels of a group, gamma and beta per
 * channel. The first `size` channels are a group, the next ones another, and so on; what is left
 * over at the end joins the last group. So at any width a channel has the neighbours that stand in
 * front of it, and no group has fewer than `size` channels unless there are no more.
 *
 * Source: Wu, He, Group Normalization, ECCV 2018, arXiv 1803.08494.
 */
#ifndef NMI_GROUP_NORM_H
#define NMI_GROUP_NORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nmi_group_norm {
    int64_t channels, size;
    int64_t pixels; /* of an item */
    double epsilon;
} nmi_group_norm;

int64_t nmi_group_count(int64_t channels, int64_t size);
/* Scratch of forward and backward, aligned for doubles. */
size_t nmi_group_norm_workspace_bytes(int64_t channels);

/* The factors of one item, for nmi_affine_forward(): scale = gamma / sqrt(variance + eps), shift =
 * beta - mean * scale, each [channels]. `sum` and `square` are nmi_norm_sums() of the item. */
void nmi_group_norm_factors(const nmi_group_norm *norm, const double *sum, const double *square,
                            const float *gamma, const float *beta, float *scale, float *shift);

/* One item, x and dy [pixels][channels]: dgamma[c] += sum dy xhat, dbeta[c] += sum dy, and, n being
 * the values of a group and the sums those over it,
 *   dx (+)= (gamma dy - sum(gamma dy) / n - xhat sum(gamma dy xhat) / n) / sqrt(variance + eps).
 * dx NULL: not wanted; it may be dy if not accumulating. */
void nmi_group_norm_backward(const nmi_group_norm *norm, const float *x, const float *dy,
                             const float *gamma, bool accumulate, float *dx, double *dgamma,
                             double *dbeta, void *workspace);

#endif
