/* SPDX-License-Identifier: MIT */
/*
 * Optimiser steps on flat arrays of `count` floats, one sweep each. Every element is treated
 * alone with the same sequence of operations, so results do not depend on how arrays are split;
 * the sums (nmi_squared_norm) run in a fixed order over blocks of 1,024 elements.
 */
#ifndef NMI_OPTIMIZER_H
#define NMI_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Stochastic gradient descent with momentum:
 *   g += decay * w;  m = first ? g : momentum * m + g;  g = nesterov ? g + momentum * m : m;
 *   w -= rate * g.
 * gradient is not changed. moment may be NULL if momentum is 0.
 */
typedef struct nmi_sgd {
    float rate, momentum, decay;
    bool nesterov, first; /* first: the moment holds nothing yet */
} nmi_sgd;
void nmi_sgd_step(const nmi_sgd *settings, int64_t count, const float *restrict gradient,
                  float *restrict moment, float *restrict w);

/*
 * Adam with decoupled weight decay (Loshchilov, Hutter, arXiv 1711.05101), t = step from 1:
 *   w -= rate * decay * w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *   w -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon).
 */
typedef struct nmi_adamw {
    float rate, beta1, beta2, epsilon, decay;
    int64_t step;
} nmi_adamw;
void nmi_adamw_step(const nmi_adamw *settings, int64_t count, const float *restrict gradient,
                    float *restrict m, float *restrict v, float *restrict w);

/* average = decay * average + (1 - decay) * w. */
void nmi_ema_update(int64_t count, float decay, const float *restrict w, float *restrict average);
/* Each x into [-limit, limit]; limit > 0. NaN stays. */
void nmi_clip_value(int64_t count, float limit, float *x);
/* sum x^2 in double; infinite or NaN if an element is. */
double nmi_squared_norm(int64_t count, const float *x);
/* Both in one sweep: nmi_clip_value(), then the nmi_squared_norm() of what it leaves; NaN if an
 * element was not finite, and then not all are clipped. */
double nmi_clipped_norm(int64_t count, float limit, float *x);
/* x *= factor. */
void nmi_scale_array(int64_t count, float factor, float *x);
/* True if every element is finite. */
bool nmi_all_finite(int64_t count, const float *x);

#endif
