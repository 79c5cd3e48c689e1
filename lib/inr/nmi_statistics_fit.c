/* SPDX-License-Identifier: MIT */
/*
 * Ridge regression of the statistics' functions: for each channel, over the n samples that have it,
 *
 *     minimise  1/n sum_s (target_s - phi_s . a)^2 + RIDGE sum_{k > 0} (a_k - before_k)^2
 *
 * where before_k is a_{k-1} for all but the first of a run of hats, else 0: between widths that
 * were measured the functions go straight. Solved by Cholesky's factorisation of the normal
 * equations, in double. Channels of a norm that the same samples have share the factor.
 * Coefficients are rounded to F16, which does not show: what is fitted is off by far more.
 */
#include "nmi_cholesky.h"
#include "nmi_float16.h"
#include "nmi_statistics.h"

#include <math.h>
#include <string.h>

static const double RIDGE = 1e-4;

typedef struct regression {
    const nmi_statistics *statistics;
    const nmi_statistics_samples *samples;
    int64_t leave;
    int32_t norm;   /* the present one */
    int target;     /* the same */
    double *terms;  /* [count][terms] of these */
    double *factor; /* [terms][terms]: lower triangle */
    double *right;  /* [terms] */
    bool *chained;  /* [terms]: see nmi_statistics_chains() */
} regression;

static bool is_left(int64_t sample, int64_t leave)
{
    return leave > 0 && sample % leave == leave - 1;
}

static bool is_used(const regression *r, int64_t sample, int64_t channel)
{
    const int64_t at = r->statistics->norms[r->norm].first + channel;
    return !is_left(sample, r->leave) && r->samples->present[sample * r->statistics->channels + at];
}

static int64_t count_used(const regression *r, int64_t channel)
{
    int64_t count = 0;
    for (int64_t s = 0; s < r->samples->count; s++)
        count += is_used(r, s, channel);
    return count;
}

/* Whether the samples that have these channels are the same. */
static bool is_used_alike(const regression *r, int64_t channel, int64_t other)
{
    bool alike = other >= 0;
    for (int64_t s = 0; s < r->samples->count && alike; s++)
        alike = is_used(r, s, channel) == is_used(r, s, other);
    return alike;
}

/* Factor of the normal equations' matrix of a channel. */
static void factorise(const regression *r, int64_t channel, int64_t used)
{
    const int32_t terms = r->statistics->norms[r->norm].terms[r->target];
    double *a = r->factor;
    memset(a, 0, (size_t)terms * (size_t)terms * sizeof *a);
    for (int64_t s = 0; s < r->samples->count; s++) {
        const double *phi = r->terms + s * terms;
        for (int32_t i = 0; i < terms && is_used(r, s, channel); i++)
            for (int32_t j = 0; j <= i; j++)
                a[i * terms + j] += phi[i] * phi[j] / (double)used;
    }
    for (int32_t i = 1; i < terms; i++) {
        a[i * terms + i] += RIDGE;
        if (r->chained[i]) {
            a[(i - 1) * terms + i - 1] += RIDGE;
            a[i * terms + i - 1] -= RIDGE;
        }
    }
    nmi_cholesky_factorise(terms, a, 0);
}

static double log_spread(double variance, double epsilon)
{
    return log(fmax(variance + epsilon, 1e-30));
}

/* What the function of the present target should yield. */
static double wanted(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                     int32_t norm, int target, int64_t sample, int64_t channel)
{
    const nmi_norm_function *f = &statistics->norms[norm];
    const int64_t at = sample * statistics->channels + f->first + channel;
    return target == NMI_MEAN ? (double)samples->means[at]
                              : log_spread((double)samples->variances[at],
                                           statistics->topology->nodes[f->node].epsilon);
}

/* The nearest number that 16 bits hold, unless they do not reach so far. */
static float round_coefficient(double x)
{
    const float rounded = nmi_f16_from_bits(nmi_f16_bits((float)x));
    return isinf(rounded) ? (float)x : rounded;
}

static void fit_channel(const regression *r, int64_t channel, int64_t used)
{
    const nmi_norm_function *f = &r->statistics->norms[r->norm];
    const int32_t terms = f->terms[r->target];
    memset(r->right, 0, (size_t)terms * sizeof *r->right);
    for (int64_t s = 0; s < r->samples->count; s++) {
        if (!is_used(r, s, channel))
            continue;
        const double value = wanted(r->statistics, r->samples, r->norm, r->target, s, channel);
        for (int32_t k = 0; k < terms; k++)
            r->right[k] += r->terms[s * terms + k] * value / (double)used;
    }
    nmi_cholesky_solve(terms, r->factor, r->right);
    for (int32_t k = 0; k < terms; k++)
        f->coefficients[r->target][k * f->channels + channel] = round_coefficient(r->right[k]);
}

static void fit_function(const regression *r)
{
    const nmi_norm_function *f = &r->statistics->norms[r->norm];
    const int32_t axes = r->statistics->topology->axis_count, terms = f->terms[r->target];
    int64_t factored = -1;
    for (int64_t s = 0; s < r->samples->count; s++)
        nmi_statistics_terms(r->statistics, r->norm, r->target, r->samples->sizes + s * axes,
                             r->terms + s * terms);
    nmi_statistics_chains(r->statistics, r->norm, r->target, r->samples->sizes, r->chained);
    for (int64_t c = 0; c < f->channels; c++) {
        const int64_t used = count_used(r, c);
        if (used == 0)
            continue;
        if (!is_used_alike(r, c, factored))
            factorise(r, c, used);
        factored = c;
        fit_channel(r, c, used);
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
    r.right = nmi_alloc_array(context, terms, sizeof *r.right);
    r.chained = nmi_alloc_array(context, terms, sizeof *r.chained);
    const bool complete =
        r.terms != NULL && r.factor != NULL && r.right != NULL && r.chained != NULL;
    for (r.norm = 0; r.norm < statistics->norm_count && complete; r.norm++)
        for (r.target = 0; r.target < NMI_TARGETS; r.target++)
            fit_function(&r);
    nmi_free(context, r.chained);
    nmi_free(context, r.right);
    nmi_free(context, r.factor);
    nmi_free(context, r.terms);
    return complete ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

static const bool *present_at(const nmi_statistics *statistics,
                              const nmi_statistics_samples *samples, int64_t sample, int32_t norm)
{
    return samples->present + sample * statistics->channels + statistics->norms[norm].first;
}

/* Squared errors of a norm's function, summed over the channels present at one sample. */
static double squared_error(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                            int64_t sample, int32_t norm, int target)
{
    const nmi_norm_function *f = &statistics->norms[norm];
    const bool *present = present_at(statistics, samples, sample, norm);
    double sum = 0;
    nmi_statistics_terms(statistics, norm, target,
                         samples->sizes + sample * statistics->topology->axis_count,
                         statistics->terms);
    for (int64_t c = 0; c < f->channels; c++) {
        if (!present[c])
            continue;
        double error = -wanted(statistics, samples, norm, target, sample, c);
        for (int32_t k = 0; k < f->terms[target]; k++)
            error += statistics->terms[k] * (double)f->coefficients[target][k * f->channels + c];
        sum +=
            target == NMI_MEAN
                ? error * error / exp(wanted(statistics, samples, norm, NMI_LOGARITHM, sample, c))
                : 0.25 * error * error;
    }
    return sum;
}

double nmi_statistics_error(const nmi_statistics *statistics, const nmi_statistics_samples *samples,
                            int64_t leave)
{
    double sum = 0, count = 0;
    for (int64_t s = 0; s < samples->count; s++)
        for (int32_t i = 0; i < statistics->norm_count && is_left(s, leave); i++) {
            for (int target = 0; target < NMI_TARGETS; target++)
                sum += squared_error(statistics, samples, s, i, target);
            const bool *present = present_at(statistics, samples, s, i);
            for (int64_t c = 0; c < statistics->norms[i].channels; c++)
                count += present[c];
        }
    return count > 0 ? sqrt(sum / count) : (double)NAN;
}
