/* SPDX-License-Identifier: MIT */
/*
 * A cheap stand-in for scores, which lets a search judge many sizes before it tries one: ridge
 * regression on
 *
 *     1;  u, u^2 of each axis that moves;  m^2, m^3
 *
 * where u = 1 - size / maximum, and m is the mean of all u.
 */
#ifndef NMI_SURROGATE_H
#define NMI_SURROGATE_H

#include "nmi_variation.h"

typedef struct nmi_surrogate {
    nmi_context *context;
    const nmi_variation *variation; /* borrowed */
    int32_t terms;
    double *normal;  /* [terms][terms] sums of products of terms, */
    double *right;   /* [terms] and of terms and scores */
    double *factor;  /* [terms][terms] of Cholesky */
    double *weights; /* [terms] */
    double *row;     /* [terms] */
} nmi_surrogate;

neumeta_status nmi_surrogate_create(const nmi_variation *variation, nmi_surrogate *out);
void nmi_surrogate_free(nmi_surrogate *surrogate);
void nmi_surrogate_add(nmi_surrogate *surrogate, const int32_t *rungs, double score);
/* Fits what was added. */
void nmi_surrogate_fit(nmi_surrogate *surrogate);
double nmi_surrogate_predict(const nmi_surrogate *surrogate, const int32_t *rungs);

#endif
