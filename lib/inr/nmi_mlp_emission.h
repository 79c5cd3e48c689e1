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
/* The MLPs that the settings ask for, for the tensors of a kind: with an output for each tap. */
neumeta_status nmi_mlp_describe(nmi_manifold *manifold, int32_t kind, nmi_mlp *mlp);

/* A block of rows averaged over draws of its noise, as nmi_manifold_emit_average() says. `buffer`
 * has nmi_mlp_average_floats(), aligned to 64 bytes. */
int64_t nmi_mlp_average_floats(const nmi_mlp *mlp);
void nmi_mlp_emit_average(nmi_mlp_rows *rows, int64_t samples, bool clean_first, float *buffer,
                          float *values);

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
