/* SPDX-License-Identifier: MIT */
/* The best sizes for a budget, out of a manifold's front. */
#ifndef NMI_BUDGET_H
#define NMI_BUDGET_H

#include "nmi_manifold.h"

/* What neumeta_manifold_fit_budget() does. */
neumeta_status nmi_budget_fit(const nmi_manifold *manifold, const nmi_options *options,
                              int64_t *sizes, double *score, double *latency);

#endif
