/* SPDX-License-Identifier: MIT */
/*
 * Inside the inr unit: the kinds, and how a manifold is put together before it has parameters.
 */
#ifndef NMI_EMISSION_H
#define NMI_EMISSION_H

#include "nmi_manifold.h"

extern const nmi_inr_kind nmi_inr_mlp, nmi_inr_grid, nmi_inr_separable;

static inline bool nmi_emission_has(const nmi_emission *emission, int32_t tensor)
{
    return emission->fields == NULL || emission->fields[tensor];
}

/* Random parameters of a tensor's INR, from the manifold's start key. */
void nmi_inr_draw(const nmi_manifold *manifold, int32_t tensor, float *parameters);

/* A manifold whose fields know their sizes but have no parameters yet, and the call that takes
 * memory for them (zero). Reading a file checks its size between the two. */
neumeta_status nmi_manifold_plan(nmi_context *context, nmi_topology *topology,
                                 const nmi_options *options, nmi_manifold **out);
neumeta_status nmi_manifold_allocate(nmi_manifold *manifold);

#endif
