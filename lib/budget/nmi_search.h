/* SPDX-License-Identifier: MIT */
/* Search for a manifold's front on held-out items. */
#ifndef NMI_SEARCH_H
#define NMI_SEARCH_H

#include "nmi_dataset.h"
#include "nmi_manifold.h"

/*
 * Tries sizes and gives the manifold the front of those that no other one beats. Options:
 * SEARCH_EVALUATIONS, SEARCH_ITEMS, WIDTH_MULTIPLE, FRONT_ENTRIES, GAMMA_MAX, DEPTH_GAMMA_MAX,
 * SIZE_AXES, SEED. On failure and NEUMETA_CANCELLED the manifold is as it was. Which sizes are
 * tried and how they score depends neither on threads nor on time; latencies do, and whether an
 * entry stays for its latency alone.
 */
neumeta_status nmi_search(nmi_manifold *manifold, nmi_dataset *dataset, const nmi_options *options,
                          nmi_watch watch, void *user);

#endif
