/* SPDX-License-Identifier: MIT */
/* Any bytes as a manifold file: refused with a sentence, or a manifold that yields a network at its
 * smallest sizes, and at those of its front. */
#include "nmi_budget.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Large manifolds take long, which is no fault of theirs. */
enum { LARGEST = 1 << 16 };

static void use(nmi_context *context, nmi_manifold *manifold)
{
    nmi_topology *topology = manifold->topology;
    nmi_network *network = NULL;
    int64_t *sizes = malloc((size_t)(topology->axis_count + 1) * sizeof *sizes);
    int64_t parameters = 0, flops = 0;
    double score, latency;
    require(sizes != NULL);
    if (manifold->front != NULL)
        require(nmi_budget_fit(manifold, NULL, sizes, &score, &latency) == NEUMETA_OK &&
                nmi_graph_check_sizes(topology, sizes, topology->axis_count) == NEUMETA_OK);
    nmi_manifold_sizes_at(manifold, 0.9, sizes);
    if (nmi_graph_cost(topology, sizes, &parameters, &flops) == NEUMETA_OK &&
        parameters <= LARGEST) {
        neumeta_status status = nmi_manifold_materialize(manifold, sizes, NULL, &network);
        require(status == NEUMETA_OK || context->message[0] != '\0');
    }
    nmi_network_release(network);
    free(sizes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nmi_context *context;
    nmi_manifold *manifold;
    require(neumeta_context_create(NULL, NULL, NULL, &context) == NEUMETA_OK);
    if (nmi_manifold_load_memory(context, data, (int64_t)size, &manifold) == NEUMETA_OK)
        use(context, manifold);
    else
        require(manifold == NULL && context->message[0] != '\0');
    nmi_manifold_release(manifold);
    nmi_context_release(context);
    return 0;
}
