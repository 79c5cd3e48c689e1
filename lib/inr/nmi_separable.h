/* SPDX-License-Identifier: MIT */
/*
 * The separable kind: a tensor is a sum of R products of a function of the output channel, one of
 * the input channel, and one number for each tap,
 *
 *     W[o, i, tap] = I'/I  sum_r f_r(o) g_r(i) t_r[tap]            I' inputs at full size, I now
 *
 * f and g are MLPs with R outputs each, of the coordinates of (o, 0) and of (0, i), which hold both
 * extents. So O + I rows pass through MLPs instead of O I. A vector is one MLP of one output.
 */
#ifndef NMI_SEPARABLE_H
#define NMI_SEPARABLE_H

#include "nmi_mlp_emission.h"
#include "nmi_resample.h"

/* f and g; in tables of two for each tensor. */
enum { NMI_SEPARABLE_F = 0, NMI_SEPARABLE_G = 1, NMI_SEPARABLE_SIDES = 2 };

/* How a tensor is made up; nmi_inr_separable.c. */
typedef struct nmi_separable {
    nmi_mlp mlp;        /* f, and g if there is one */
    bool vector;        /* f alone */
    int64_t full[4];    /* extents at full sizes */
    int64_t taps, rank; /* rank 1 for vectors */
    /* in the flat parameters */
    int64_t sides[NMI_SEPARABLE_SIDES], factors; /* t [taps][R] */
    int64_t count;
} nmi_separable;

nmi_separable nmi_separable_of(const nmi_manifold *manifold, int32_t tensor);
bool nmi_is_separable(const nmi_manifold *manifold, int32_t tensor);

/* nmi_separable_emission.c */
neumeta_status nmi_separable_prepare(nmi_manifold *manifold, bool backward);
void nmi_separable_release(nmi_manifold *manifold);
void nmi_separable_emit(const nmi_manifold *manifold, const nmi_emission *emission,
                        nmi_network *network);
void nmi_separable_backward(const nmi_manifold *manifold, const nmi_emission *emission,
                            const nmi_network *network, float *const *weight_gradients,
                            float *const *parameter_gradients);

/* What the last hidden layer of a side gives for clean rows at the sizes of `at`: [rows][hidden].
 * Of these parameters of the tensor, after nmi_separable_prepare(, true). */
void nmi_separable_hidden(const nmi_manifold *manifold, int32_t tensor, const float *parameters,
                          int side, const nmi_network *at, float *hidden);

/* nmi_separable_fit.c */
neumeta_status nmi_separable_fit(nmi_manifold *manifold, const bool *fields,
                                 const nmi_fit_target *target, const nmi_fit *fit);

#endif
