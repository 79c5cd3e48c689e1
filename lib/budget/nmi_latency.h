/* SPDX-License-Identifier: MIT */
/*
 * How long a network takes for one item on one thread. Time does not depend on the weights, so
 * nothing is materialised for it.
 */
#ifndef NMI_LATENCY_H
#define NMI_LATENCY_H

#include "nmi_network.h"

typedef struct nmi_latency nmi_latency;

/* Measures on a context of its own, with the kernels of the given one. */
neumeta_status nmi_latency_create(nmi_topology *topology, nmi_latency **out);
void nmi_latency_free(nmi_latency *latency); /* NULL is fine */
/* What orders networks much as their latency does, on every machine alike: multiply-adds, with
 * output channels counted in whole vectors. */
neumeta_status nmi_latency_guess(const nmi_topology *topology, const int64_t *sizes, double *guess);
/* In about 6 milliseconds; networks that take more than one are run five times. */
neumeta_status nmi_latency_measure(nmi_latency *latency, const int64_t *sizes,
                                   double *microseconds);
/* Microseconds that all its measurements took. */
double nmi_latency_spent(const nmi_latency *latency);

#endif
