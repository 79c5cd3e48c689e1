/* SPDX-License-Identifier: MIT */
/* Any bytes as a manifold file: refused with a sentence, or a manifold that now and then yields a
 * network at small sizes, and at those of its front. */
#include "nmi_budget.h"
#include "nmi_fuzz.h"

#include <stdlib.h>

/* Large manifolds take long, which is no fault of theirs; and most of the time is to go into
 * loading. */
enum { LARGEST = 1 << 14, SELDOM = 16 };

static void use(nmi_context *context, nmi_manifold *manifold)
{
    nmi_topology *topology = manifold->topology;
    nmi_network *network = NULL;
    int64_t *sizes = malloc((size_t)(topology->axis_count + 1) * sizeof *sizes);
    int64_t parameters = 0, flops = 0;
    double score, latency;
    require(sizes != NULL);
    if (manifold->front != NULL) {
        const neumeta_status status = nmi_budget_fit(manifold, NULL, sizes, &score, &latency);
        require(status == NEUMETA_OK || fuzz_starved(status));
        require(status != NEUMETA_OK ||
                nmi_graph_check_sizes(topology, sizes, topology->axis_count) == NEUMETA_OK);
    }
    nmi_manifold_sizes_at(manifold, 0.9, sizes);
    if (nmi_graph_cost(topology, sizes, &parameters, &flops) == NEUMETA_OK &&
        parameters <= LARGEST && fuzz_seldom(SELDOM)) {
        fuzz_check(context, nmi_manifold_materialize(manifold, sizes, NULL, &network));
    }
    nmi_network_release(network);
    free(sizes);
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    nmi_manifold *manifold;
    uint8_t *file = fuzz_sign(context, data, size);
    fuzz_begin();
    const neumeta_status status = nmi_manifold_load_memory(context, file, (int64_t)size, &manifold);
    free(file);
    fuzz_check(context, status);
    require(fuzz_peak() <= FUZZ_SHARE(size));
    require((status == NEUMETA_OK) == (manifold != NULL));
    if (status == NEUMETA_OK)
        use(context, manifold);
    nmi_manifold_release(manifold);
}
