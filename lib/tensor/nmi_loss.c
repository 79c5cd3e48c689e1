/* SPDX-License-Identifier: MIT */
/* Losses in plain loops; exponentials and sums in double, since their cost never shows. */
#include "nmi_loss.h"

#include <math.h>

/* Not fmax(), a loop of which gcc 12 cannot compile for AArch64. */
static double larger(double a, double b)
{
    return b > a ? b : a;
}

/* log sum_k exp(z_k / t), shifted by the largest so that nothing overflows. */
static double log_sum(int64_t classes, const float *z, double t)
{
    double largest = (double)z[0];
    for (int64_t k = 1; k < classes; k++)
        largest = larger(largest, (double)z[k]);
    double sum = 0.0;
    for (int64_t k = 0; k < classes; k++)
        sum += exp(((double)z[k] - largest) / t);
    return largest / t + log(sum);
}

static void put(double value, bool accumulate, float *to)
{
    *to = (float)(accumulate ? (double)*to + value : value);
}

void nmi_cross_entropy(int64_t items, int64_t classes, const float *logits, const int64_t *labels,
                       float smoothing, float weight, bool accumulate, double *loss, float *dlogits)
{
    const double spread = (double)smoothing / (double)classes;
    for (int64_t i = 0; i < items; i++) {
        const float *z = logits + i * classes;
        const double all = log_sum(classes, z, 1.0);
        loss[i] = 0.0;
        for (int64_t k = 0; k < classes; k++) {
            double target = spread + (k == labels[i] ? 1.0 - (double)smoothing : 0.0);
            if (target != 0.0)
                loss[i] -= target * ((double)z[k] - all);
            if (dlogits != NULL)
                put((double)weight * (exp((double)z[k] - all) - target), accumulate,
                    dlogits + i * classes + k);
        }
    }
}

void nmi_distillation(int64_t items, int64_t classes, const float *student, const float *teacher,
                      float temperature, float weight, bool accumulate, double *loss,
                      float *dlogits)
{
    const double t = (double)temperature;
    for (int64_t i = 0; i < items; i++) {
        const float *z = student + i * classes;
        const float *goal = teacher + i * classes;
        const double all_q = log_sum(classes, z, t);
        const double all_p = log_sum(classes, goal, t);
        double sum = 0.0;
        for (int64_t k = 0; k < classes; k++) {
            double log_p = (double)goal[k] / t - all_p;
            double log_q = (double)z[k] / t - all_q;
            double p = exp(log_p);
            if (p > 0.0)
                sum += p * (log_p - log_q);
            if (dlogits != NULL)
                put((double)weight * t * (exp(log_q) - p), accumulate, dlogits + i * classes + k);
        }
        loss[i] = t * t * sum;
    }
}

void nmi_argmax(int64_t items, int64_t classes, const float *logits, int64_t *best)
{
    for (int64_t i = 0; i < items; i++) {
        const float *z = logits + i * classes;
        bool numbers = !isnan(z[0]);
        best[i] = 0;
        for (int64_t k = 1; k < classes; k++) {
            numbers = numbers && !isnan(z[k]);
            if (z[k] > z[best[i]])
                best[i] = k;
        }
        if (!numbers)
            best[i] = -1;
    }
}

double nmi_loss_norm(int64_t count, const float *w, float weight, float *dw)
{
    double sum = 0.0;
    for (int64_t e = 0; e < count; e++)
        sum += (double)w[e] * (double)w[e];
    const double norm = sqrt(sum);
    if (dw != NULL && norm > 0.0) {
        const float factor = (float)((double)weight / norm);
        for (int64_t e = 0; e < count; e++)
            dw[e] += factor * w[e];
    }
    return norm;
}

double nmi_loss_reconstruction(int64_t count, const float *w, const float *target, bool weighted,
                               float weight, float *dw)
{
    double largest = 0.0;
    for (int64_t e = 0; e < count; e++)
        largest = larger(largest, fabs((double)target[e]) + 1e-6);
    double sum = 0.0;
    for (int64_t e = 0; e < count; e++) {
        double a = weighted ? (fabs((double)target[e]) + 1e-6) / largest : 1.0;
        double difference = (double)w[e] - (double)target[e];
        sum += a * difference * difference;
        if (dw != NULL)
            dw[e] += (float)((double)weight * 2.0 * a * difference / (double)count);
    }
    return count > 0 ? sum / (double)count : 0.0;
}
