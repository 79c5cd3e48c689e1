/* SPDX-License-Identifier: MIT */
/*
 * Inside the inr unit: the kinds, and how a manifold is put together before it has parameters.
 */
#ifndef NMI_EMISSION_H
#define NMI_EMISSION_H

#include "nmi_manifold.h"

extern const nmi_inr_kind nmi_inr_mlp, nmi_inr_grid, nmi_inr_separable, nmi_inr_trunk;

/* What the MLPs of kind mlp or trunk look like. */
static inline const nmi_mlp *nmi_manifold_mlp(const nmi_manifold *manifold, int32_t kind)
{
    return kind == NMI_INR_TRUNK ? &manifold->trunk : &manifold->mlp;
}

static inline bool nmi_emission_has(const nmi_emission *emission, int32_t tensor)
{
    return emission->fields == NULL || emission->fields[tensor];
}

/* Random parameters of an INR's field, from the manifold's start key. */
void nmi_inr_draw(const nmi_manifold *manifold, int32_t field, float *parameters);
/* Parts that start as fresh networks do (nmi_inr_init.c): the variance of a weight, and the value
 * of a vector: 1 of factors of affine nodes and norms, else 0. */
double nmi_inr_fresh_variance(const nmi_manifold *manifold, int32_t tensor);
double nmi_inr_fresh_value(const nmi_manifold *manifold, int32_t tensor);
/* A clone, of a field that has as many parameters. */
void nmi_inr_copy(nmi_manifold *manifold, int32_t from, int32_t to);

/* A manifold whose fields know their sizes but have no parameters yet, and the call that takes
 * memory for them (zero). Reading a file checks its size between the two. */
neumeta_status nmi_manifold_plan(nmi_context *context, nmi_topology *topology,
                                 const nmi_options *options, nmi_manifold **out);
neumeta_status nmi_manifold_allocate(nmi_manifold *manifold);

#endif
