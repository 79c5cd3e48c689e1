/* SPDX-License-Identifier: MIT */
/*
 * The kinds mlp and trunk: how rows of all tensors of either are shared out among workers, forward
 * and backward, and regression onto a reference.
 */
#ifndef NMI_MLP_EMISSION_H
#define NMI_MLP_EMISSION_H

#include "nmi_emission.h"

/* The MLPs that the settings ask for, for the tensors of a kind: with an output for each tap. */
neumeta_status nmi_mlp_describe(nmi_manifold *manifold, int32_t kind, nmi_mlp *mlp);

/* A block of rows averaged over draws of its noise, as nmi_manifold_emit_average() says. `buffer`
 * has nmi_mlp_average_floats(), aligned to 64 bytes. */
int64_t nmi_mlp_average_floats(const nmi_mlp *mlp);
void nmi_mlp_emit_average(nmi_mlp_rows *rows, int64_t samples, bool clean_first, float *buffer,
                          float *values);

/* What the table of either kind says, by its number. */
neumeta_status nmi_mlp_emission_prepare(nmi_manifold *manifold, int32_t kind, bool backward);
void nmi_mlp_emission_release(nmi_manifold *manifold, int32_t kind);
void nmi_mlp_emission_emit(const nmi_manifold *manifold, int32_t kind, const nmi_emission *emission,
                           nmi_network *network);
void nmi_mlp_emission_backward(const nmi_manifold *manifold, int32_t kind,
                               const nmi_emission *emission, const nmi_network *network,
                               float *const *weight_gradients, float *const *parameter_gradients);

/* One regression batch of a field: see nmi_manifold_fit(). */
typedef struct nmi_fit_batch {
    int32_t tensor;
    const nmi_tensor *target;
    const float *parameters;
    float *gradient;    /* to which that of the batch is added */
    double mean_square; /* of the target */
    uint64_t key;       /* of the choice of rows */
} nmi_fit_batch;

/* Adds the gradients of the batches, after prepare(, true). `trunk`: parameters that the tensors
 * share, if they do. */
void nmi_mlp_emission_fit(nmi_manifold *manifold, int32_t kind, const nmi_noise *noise,
                          const nmi_fit_batch *batches, int32_t count, const float *trunk,
                          float *trunk_gradient);

/* nmi_manifold_fit() (nmi_mlp_fit.c). */
neumeta_status nmi_mlp_fit(nmi_manifold *manifold, int32_t kind, const bool *fields,
                           const nmi_fit_target *target, const nmi_fit *fit);

#endif
