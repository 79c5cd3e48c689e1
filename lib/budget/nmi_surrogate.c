/* SPDX-License-Identifier: MIT */
/* Scores predicted by ridge regression on compressions. */
#include "nmi_surrogate.h"

#include "nmi_cholesky.h"

#include <string.h>

/* About the variance of a score over that of a weight; the intercept is as good as free. */
static const double ridge = 1e-2, intercept_ridge = 1e-9;

neumeta_status nmi_surrogate_create(const nmi_variation *variation, nmi_surrogate *out)
{
    nmi_context *context = variation->topology->object.context;
    const int32_t terms = 3 + 2 * variation->moving_count;
    *out = (nmi_surrogate){.context = context, .variation = variation, .terms = terms};
    const size_t number = sizeof(double);
    out->normal = nmi_alloc_matrix(context, terms, terms, number);
    out->factor = nmi_alloc_matrix(context, terms, terms, number);
    out->right = nmi_alloc_zero_array(context, terms, number);
    out->weights = nmi_alloc_zero_array(context, terms, number);
    out->row = nmi_alloc_array(context, terms, number);
    if (out->normal == NULL || out->factor == NULL || out->right == NULL || out->weights == NULL ||
        out->row == NULL)
        return NEUMETA_ERR_MEMORY;
    memset(out->normal, 0, (size_t)terms * (size_t)terms * number);
    for (int32_t i = 0; i < terms; i++)
        out->normal[(int64_t)i * terms + i] = i > 0 ? ridge : intercept_ridge;
    return NEUMETA_OK;
}

void nmi_surrogate_free(nmi_surrogate *surrogate)
{
    nmi_free(surrogate->context, surrogate->normal);
    nmi_free(surrogate->context, surrogate->factor);
    nmi_free(surrogate->context, surrogate->right);
    nmi_free(surrogate->context, surrogate->weights);
    nmi_free(surrogate->context, surrogate->row);
}

static void find_terms(const nmi_surrogate *s, const int32_t *rungs)
{
    const nmi_variation *v = s->variation;
    double *row = s->row, mean = 0;
    *row++ = 1;
    for (int32_t i = 0; i < v->moving_count; i++) {
        const nmi_ladder *ladder = &v->ladders[v->moving[i]];
        const double u = 1 - (double)ladder->sizes[rungs[v->moving[i]]] /
                                 (double)ladder->sizes[ladder->count - 1];
        *row++ = u;
        *row++ = u * u;
        mean += u / v->moving_count;
    }
    *row++ = mean * mean;
    *row++ = mean * mean * mean;
}

void nmi_surrogate_add(nmi_surrogate *surrogate, const int32_t *rungs, double score)
{
    const double *row = surrogate->row;
    find_terms(surrogate, rungs);
    for (int32_t i = 0; i < surrogate->terms; i++) {
        for (int32_t j = 0; j <= i; j++)
            surrogate->normal[(int64_t)i * surrogate->terms + j] += row[i] * row[j];
        surrogate->right[i] += row[i] * score;
    }
}

void nmi_surrogate_fit(nmi_surrogate *surrogate)
{
    const size_t terms = (size_t)surrogate->terms;
    memcpy(surrogate->factor, surrogate->normal, terms * terms * sizeof *surrogate->factor);
    memcpy(surrogate->weights, surrogate->right, terms * sizeof *surrogate->weights);
    nmi_cholesky_factorise(surrogate->terms, surrogate->factor, intercept_ridge);
    nmi_cholesky_solve(surrogate->terms, surrogate->factor, surrogate->weights);
}

double nmi_surrogate_predict(const nmi_surrogate *surrogate, const int32_t *rungs)
{
    double sum = 0;
    find_terms(surrogate, rungs);
    for (int32_t i = 0; i < surrogate->terms; i++)
        sum += surrogate->weights[i] * surrogate->row[i];
    return sum;
}
