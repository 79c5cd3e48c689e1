/* SPDX-License-Identifier: MIT */
/* Optimiser steps: one sweep over parameters, gradients and moments, bound by memory. */
#include "nmi_optimizer.h"

#include <math.h>
#include <string.h>

enum { NORM_BLOCK = 1024, NORM_LANES = 8 };

void nmi_sgd_step(const nmi_sgd *settings, int64_t count, const float *restrict gradient,
                  float *restrict moment, float *restrict w)
{
    const nmi_sgd s = *settings;
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] + s.decay * w[i];
        if (moment != NULL) {
            float m = s.first ? g : s.momentum * moment[i] + g;
            moment[i] = m;
            g = s.nesterov ? g + s.momentum * m : m;
        }
        w[i] -= s.rate * g;
    }
}

void nmi_adamw_step(const nmi_adamw *settings, int64_t count, const float *restrict gradient,
                    float *restrict m, float *restrict v, float *restrict w)
{
    const nmi_adamw s = *settings;
    const double first = 1.0 - pow((double)s.beta1, (double)s.step);
    const double second = 1.0 - pow((double)s.beta2, (double)s.step);
    const float keep = (float)(1.0 - (double)s.rate * (double)s.decay);
    const float rate = (float)((double)s.rate / first);
    const float unbias = (float)(1.0 / sqrt(second));
    for (int64_t i = 0; i < count; i++) {
        const float g = gradient[i];
        m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * g;
        v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * g * g;
        w[i] = keep * w[i] - rate * m[i] / (sqrtf(v[i]) * unbias + s.epsilon);
    }
}

void nmi_ema_update(int64_t count, float decay, const float *restrict w, float *restrict average)
{
    for (int64_t i = 0; i < count; i++)
        average[i] = decay * average[i] + (1.0f - decay) * w[i];
}

void nmi_clip_value(int64_t count, float limit, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = x[i] > limit ? limit : x[i];
        x[i] = x[i] < -limit ? -limit : x[i];
    }
}

/* `all` plus the squares, whose sum runs in lanes over blocks. */
static double add_squares(double all, int64_t count, const float *x)
{
    double sum[NORM_LANES] = {0.0};
    int64_t i = 0;
    for (; i + NORM_LANES <= count; i += NORM_LANES)
        for (int l = 0; l < NORM_LANES; l++)
            sum[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; i + l < count; l++)
        sum[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; l < NORM_LANES; l++)
        all += sum[l];
    return all;
}

double nmi_squared_norm(int64_t count, const float *x)
{
    double all = 0.0;
    for (int64_t first = 0; first < count; first += NORM_BLOCK)
        all = add_squares(all, count - first < NORM_BLOCK ? count - first : NORM_BLOCK, x + first);
    return all;
}

double nmi_clipped_norm(int64_t count, float limit, float *x)
{
    double all = 0.0;
    for (int64_t first = 0; first < count; first += NORM_BLOCK) {
        const int64_t some = count - first < NORM_BLOCK ? count - first : NORM_BLOCK;
        if (!nmi_all_finite(some, x + first))
            return (double)NAN;
        nmi_clip_value(some, limit, x + first);
        all = add_squares(all, some, x + first);
    }
    return all;
}

void nmi_scale_array(int64_t count, float factor, float *x)
{
    for (int64_t i = 0; i < count; i++)
        x[i] *= factor;
}

/* The exponent bits alone tell; comparing them vectorises and needs no floating-point flags. */
bool nmi_all_finite(int64_t count, const float *x)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}
