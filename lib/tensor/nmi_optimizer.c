/* SPDX-License-Identifier: MIT */
/* Optimiser steps: one sweep over parameters, gradients and moments, bound by memory. */
#include "nmi_optimizer.h"

#include <math.h>
#include <string.h>

void nmi_sgd_step(const nmi_sgd *settings, int64_t count, const float *gradient, float *moment,
                  float *w)
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

void nmi_adamw_step(const nmi_adamw *settings, int64_t count, const float *gradient, float *m,
                    float *v, float *w)
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

void nmi_ema_update(int64_t count, float decay, const float *w, float *average)
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

double nmi_squared_norm(int64_t count, const float *x)
{
    enum { BLOCK = 1024, LANES = 8 };
    double all = 0.0;
    for (int64_t first = 0; first < count; first += BLOCK) {
        const int64_t end = first + BLOCK < count ? first + BLOCK : count;
        double sum[LANES] = {0.0};
        for (int64_t i = first; i < end; i++)
            sum[(i - first) % LANES] += (double)x[i] * (double)x[i];
        for (int l = 0; l < LANES; l++)
            all += sum[l];
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
