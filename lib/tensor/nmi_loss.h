/* SPDX-License-Identifier: MIT */
/*
 * Losses. Per-item losses come back unscaled, gradients multiplied by `weight` (1 / batch for a
 * mean), so that chunks of a batch need not know each other. Sums run in double in element order.
 */
#ifndef NMI_LOSS_H
#define NMI_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Cross-entropy with label smoothing e: target t_k = (1 - e) [k = label] + e / classes,
 *   loss[i] = -sum_k t_k log softmax(z_i)_k,     dlogits (+)= weight * (softmax(z_i) - t).
 * labels[i] in [0, classes). dlogits may be NULL (evaluation). loss: items doubles.
 */
void nmi_cross_entropy(int64_t items, int64_t classes, const float *logits, const int64_t *labels,
                       float smoothing, float weight, bool accumulate, double *loss,
                       float *dlogits);

/*
 * Distillation at temperature T > 0 with p = softmax(teacher / T), q = softmax(student / T):
 *   loss[i] = T^2 sum_k p_k (log p_k - log q_k),  dlogits (+)= weight * T * (q - p).
 */
void nmi_distillation(int64_t items, int64_t classes, const float *student, const float *teacher,
                      float temperature, float weight, bool accumulate, double *loss,
                      float *dlogits);

/* Index of the largest logit of each line (the first of equals), for accuracy. */
void nmi_argmax(int64_t items, int64_t classes, const float *logits, int64_t *best);

/* |W|_2 of one tensor, not squared; dw += weight * W / |W| (nothing if |W| is 0 or dw NULL). */
double nmi_loss_norm(int64_t count, const float *w, float weight, float *dw);

/*
 * Reconstruction: (1 / count) sum_e a_e (w_e - target_e)^2, dw += weight * 2 a_e (w_e - target_e)
 * / count (dw may be NULL). weighted: a_e = (|target_e| + 1e-6) / max_j (|target_j| + 1e-6), else
 * a_e = 1.
 */
double nmi_loss_reconstruction(int64_t count, const float *w, const float *target, bool weighted,
                               float weight, float *dw);

#endif
