/* SPDX-License-Identifier: MIT */
/*
 * Batch normalisation over the rows (items * height * width) of NHWC activations.
 *
 *   inference:  y = gamma (x - mean) / sqrt(variance + eps) + beta     running statistics
 *   training:   the same with the batch's mean and BIASED variance; the running variance takes
 *               the UNBIASED one.
 *
 * Training needs sums over the whole batch, so forward and backward come in phases: each chunk of
 * items adds into its own partial sums, the chunks' sums are added in chunk order, one finish
 * call, then the per-element phase on each chunk. All per-channel arrays hold `channels` values.
 * The phases over rows are plain loops: training runs them in nmi_kernels.h, for which they are the
 * reference.
 */
#ifndef NMI_NORM_OP_H
#define NMI_NORM_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* scale = gamma / sqrt(variance + eps), shift = beta - mean * scale, for nmi_affine_forward().
 * gamma NULL means 1, beta NULL means 0. */
void nmi_norm_fold(int64_t channels, const float *gamma, const float *beta, const float *mean,
                   const float *variance, float epsilon, float *scale, float *shift);

/* Phase 1 of forward: sum[c] += sum_r x, square[c] += sum_r x^2, in double. Clear them first. */
void nmi_norm_sums(int64_t rows, int64_t channels, const float *x, double *sum, double *square);
/* Between the phases. count = rows of the whole batch (>= 1). Writes mean, inverse = 1 /
 * sqrt(biased variance + eps), scale = gamma * inverse and shift = beta - mean * scale, so that
 * phase 2 is nmi_affine_forward(). Updates the running statistics unless they are NULL:
 * r <- (1 - momentum) r + momentum * batch, with the unbiased variance (biased if count is 1). */
void nmi_norm_finish(int64_t channels, int64_t count, const double *sum, const double *square,
                     const float *gamma, const float *beta, float epsilon, float momentum,
                     float *mean, float *inverse, float *scale, float *shift, float *running_mean,
                     float *running_variance);

/* Phase 1 of backward: dgamma[c] += sum_r dy * (x - mean) * inverse, dbeta[c] += sum_r dy. */
void nmi_norm_backward_sums(int64_t rows, int64_t channels, const float *x, const float *dy,
                            const float *mean, const float *inverse, double *dgamma, double *dbeta);
/* Between the phases: slope and offset of nmi_norm_slope, with which the kernels do phase 2, from
 * the sums over the whole batch; scale and inverse as nmi_norm_finish() wrote them. */
void nmi_norm_backward_finish(int64_t channels, int64_t count, const float *scale,
                              const float *inverse, const double *dgamma, const double *dbeta,
                              float *slope, float *offset);
/* Phase 2: dx (+)= gamma * inverse * (dy - dbeta / count - xhat * dgamma / count), with the sums
 * over the whole batch. gamma NULL means 1. dx may be dy if not accumulating. */
void nmi_norm_backward_input(int64_t rows, int64_t channels, int64_t count, const float *x,
                             const float *dy, const float *mean, const float *inverse,
                             const float *gamma, const double *dgamma, const double *dbeta,
                             bool accumulate, float *dx);

#endif
