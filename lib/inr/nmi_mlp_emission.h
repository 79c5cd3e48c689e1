/* SPDX-License-Identifier: MIT */
/*
 * The MLP kind: how rows of all its tensors are shared out among workers, forward and backward, and
 * regression onto a reference.
 */
#ifndef NMI_MLP_EMISSION_H
#define NMI_MLP_EMISSION_H

#include "nmi_emission.h"

/* Settles manifold->mlp and the parameters of each MLP (nmi_mlp_plan.c). */
neumeta_status nmi_mlp_plan(nmi_manifold *manifold);

/* One regression batch of a field: see nmi_manifold_fit(). */
typedef struct nmi_fit_batch {
    const nmi_tensor *target;
    const float *parameters;
    const nmi_noise *noise;
    double mean_square; /* of the target */
    uint64_t key;       /* of the choice of rows */
} nmi_fit_batch;

/* Adds the batch's gradient to `gradient`, after the kind's prepare(, true). */
void nmi_mlp_emission_fit(nmi_manifold *manifold, int32_t tensor, const nmi_fit_batch *batch,
                          float *gradient);

/* nmi_manifold_fit() (nmi_mlp_fit.c). */
neumeta_status nmi_mlp_fit(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                           const nmi_fit *fit);

#endif
