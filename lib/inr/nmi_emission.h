/* SPDX-License-Identifier: MIT */
/*
 * Inside the inr unit: how rows of all tensors are shared out among workers, forward and backward,
 * and how a manifold is put together before it has parameters.
 */
#ifndef NMI_EMISSION_H
#define NMI_EMISSION_H

#include "nmi_manifold.h"

/* Memory for the context's present threads; kept until they change. */
neumeta_status nmi_emission_prepare(nmi_manifold *manifold, bool backward);
void nmi_emission_free(nmi_context *context, struct nmi_manifold_scratch *scratch);

/* One regression batch of a field: see nmi_manifold_fit(). */
typedef struct nmi_fit_batch {
    const nmi_tensor *target;
    const float *parameters;
    const nmi_noise *noise;
    double mean_square; /* of the target */
    uint64_t key;       /* of the choice of rows */
} nmi_fit_batch;

/* Adds the batch's gradient to `gradient`. Wants nmi_emission_prepare(, true). */
void nmi_emission_fit(nmi_manifold *manifold, int32_t tensor, const nmi_fit_batch *batch,
                      float *gradient);

/* A manifold whose fields know their sizes but have no parameters yet, and the call that takes
 * memory for them (zero). Reading a file checks its size between the two. */
neumeta_status nmi_manifold_plan(nmi_context *context, nmi_topology *topology,
                                 const nmi_options *options, nmi_manifold **out);
neumeta_status nmi_manifold_allocate(nmi_manifold *manifold);

#endif
