/* SPDX-License-Identifier: MIT */
/*
 * Ridge regression of the statistics' functions: for each channel, over the n samples that have it,
 *
 *     minimise  1/n sum_s (target_s - phi_s . a)^2 + RIDGE sum_{k > 0} a_k^2
 *
 * by Cholesky's factorisation of the normal equations, in double. Channels of a norm that the same
 * samples have share the factor.
 */
#include "nmi_statistics.h"

#include <math.h>
#include <string.h>

static const double RIDGE = 1e-4;

enum { MEAN, LOGARITHM, TARGETS };

typedef struct regression {
    const nmi_statistics *statistics;
    const nmi_statistics_samples *samples;
    int64_t leave;
    double *terms;  /* [count][terms] of the present norm */
    double *factor; /* [terms][terms]: lower triangle */
    double *right;  /* [TARGETS][terms] */
} regression;

static bool is_left(int64_t sample, int64_t leave)
{
    return leave > 0 && sample % leave == leave - 1;
}

static bool has_channel(const nmi_statistics_samples *samples, const nmi_statistics *statistics,
                        int64_t sample, int32_t norm, int64_t channel)
{
    return samples->present[sample * statistics->norm_count + norm] > channel;
}

static bool is_used(const regression *r, int64_t sample, int32_t norm, int64_t channel)
{
    return !is_left(sample, r->leave) &&
           has_channel(r->samples, r->statistics, sample, norm, channel);
}

static int64_t count_used(const regression *r, int32_t norm, int64_t channel)
{
    int64_t count = 0;
    for (int64_t s = 0; s < r->samples->count; s++)
        count += is_used(r, s, norm, channel);
    return count;
}

/* Factor of the normal equations' matrix of a channel. */
static void factorise(const regression *r, int32_t norm, int64_t channel, int64_t used)
{
    const int32_t terms = r->statistics->norms[norm].terms;
    double *a = r->factor;
    memset(a, 0, (size_t)terms * (size_t)terms * sizeof *a);
    for (int64_t s = 0; s < r->samples->count; s++) {
        const double *phi = r->terms + s * terms;
        for (int32_t i = 0; i < terms && is_used(r, s, norm, channel); i++)
            for (int32_t j = 0; j <= i; j++)
                a[i * terms + j] += phi[i] * phi[j] / (double)used;
    }
    for (int32_t i = 0; i < terms; i++) {
        a[i * terms + i] += i > 0 ? RIDGE : 0;
        for (int32_t j = 0; j <= i; j++) {
            double sum = a[i * terms + j];
            for (int32_t k = 0; k < j; k++)
                sum -= a[i * terms + k] * a[j * terms + k];
            a[i * terms + j] = i == j ? sqrt(sum) : sum / a[j * terms + j];
        }
    }
}

/* Solves factor factor^T x = x in place. */
static void solve(const double *factor, int32_t terms, double *x)
{
    for (int32_t i = 0; i < terms; i++) {
        for (int32_t k = 0; k < i; k++)
            x[i] -= factor[i * terms + k] * x[k];
        x[i] /= factor[i * terms + i];
    }
    for (int32_t i = terms - 1; i >= 0; i--) {
        for (int32_t k = i + 1; k < terms; k++)
            x[i] -= factor[k * terms + i] * x[k];
        x[i] /= factor[i * terms + i];
    }
}

static double log_spread(double variance, double epsilon)
{
    return log(fmax(variance + epsilon, 1e-30));
}

static void fit_channel(const regression *r, int32_t norm, int64_t channel, int64_t used)
{
    const nmi_norm_function *f = &r->statistics->norms[norm];
    const double epsilon = r->statistics->topology->nodes[f->node].epsilon;
    memset(r->right, 0, (size_t)TARGETS * (size_t)f->terms * sizeof *r->right);
    for (int64_t s = 0; s < r->samples->count; s++) {
        const int64_t at = s * r->statistics->channels + f->first + channel;
        const double *phi = r->terms + s * f->terms;
        if (!is_used(r, s, norm, channel))
            continue;
        const double mean = (double)r->samples->means[at] / (double)used;
        const double spread = log_spread((double)r->samples->variances[at], epsilon) / (double)used;
        for (int32_t k = 0; k < f->terms; k++) {
            r->right[MEAN * f->terms + k] += phi[k] * mean;
            r->right[LOGARITHM * f->terms + k] += phi[k] * spread;
        }
    }
    for (int32_t target = 0; target < TARGETS; target++) {
        solve(r->factor, f->terms, r->right + target * f->terms);
        for (int32_t k = 0; k < f->terms; k++)
            f->coefficients[(target * f->terms + k) * f->channels + channel] =
                (float)r->right[target * f->terms + k];
    }
}

static void fit_norm(const regression *r, int32_t norm)
{
    const nmi_norm_function *f = &r->statistics->norms[norm];
    const int32_t axes = r->statistics->topology->axis_count;
    int64_t factored = 0;
    for (int64_t s = 0; s < r->samples->count; s++)
        nmi_statistics_terms(r->statistics, norm, r->samples->sizes + s * axes,
                             r->terms + s * f->terms);
    for (int64_t c = 0; c < f->channels; c++) {
        const int64_t used = count_used(r, norm, c);
        if (used > 0 && used != factored) /* fewer samples have later channels, never others */
            factorise(r, norm, c, used);
        factored = used;
        if (used > 0)
            fit_channel(r, norm, c, used);
    }
}

neumeta_status nmi_statistics_fit(nmi_statistics *statistics, const nmi_statistics_samples *samples,
                                  int64_t leave)
{
    nmi_context *context = statistics->context;
    const int64_t terms = statistics->most_terms;
    regression r = {.statistics = statistics, .samples = samples, .leave = leave};
    r.terms = nmi_alloc_matrix(context, samples->count, terms, sizeof *r.terms);
    r.factor = nmi_alloc_matrix(context, terms, terms, sizeof *r.factor);
    r.right = nmi_alloc_matrix(context, TARGETS, terms, sizeof *r.right);
    const bool complete = r.terms != NULL && r.factor != NULL && r.right != NULL;
    for (int32_t i = 0; i < statistics->norm_count && complete; i++)
        fit_norm(&r, i);
    nmi_free(context, r.right);
    nmi_free(context, r.factor);
    nmi_free(context, r.terms);
    return complete ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

/* Squared errors of the channels of one norm at one sample. */
static double squared_error(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                            int64_t sample, int32_t norm)
{
    const nmi_norm_function *f = &statistics->norms[norm];
    const double epsilon = statistics->topology->nodes[f->node].epsilon;
    const int64_t present = samples->present[sample * statistics->norm_count + norm];
    double sum = 0;
    nmi_statistics_terms(statistics, norm,
                         samples->sizes + sample * statistics->topology->axis_count,
                         statistics->terms);
    for (int64_t c = 0; c < present; c++) {
        const int64_t at = sample * statistics->channels + f->first + c;
        const double spread = log_spread((double)samples->variances[at], epsilon);
        double mean = -(double)samples->means[at], logarithm = -spread;
        for (int32_t k = 0; k < f->terms; k++) {
            mean += statistics->terms[k] * (double)f->coefficients[k * f->channels + c];
            logarithm +=
                statistics->terms[k] * (double)f->coefficients[(f->terms + k) * f->channels + c];
        }
        sum += mean * mean / exp(spread) + 0.25 * logarithm * logarithm;
    }
    return sum;
}

double nmi_statistics_error(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                            int64_t leave)
{
    double sum = 0, count = 0;
    for (int64_t s = 0; s < samples->count; s++)
        for (int32_t i = 0; i < statistics->norm_count && is_left(s, leave); i++) {
            sum += squared_error(statistics, samples, s, i);
            count += (double)samples->present[s * statistics->norm_count + i];
        }
    return count > 0 ? sqrt(sum / count) : 0;
}
