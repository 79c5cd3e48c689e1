/* SPDX-License-Identifier: MIT */
/* Measured latencies: each the least of a few medians, since others on the machine and a cold start
 * can only add to it. */
#include "nmi_latency.h"

#include "nmi_steps.h"

#include <stdlib.h>
#include <time.h>

enum { WARM_RUNS = 2, LEAST_RUNS = 3, MOST_RUNS = 64, ROUNDS = 3, VECTOR = 16 };
static const double most_microseconds = 2e3; /* of a round, unless the fewest runs take longer */
static const double slow_run = 1e3;          /* of a network that a single round is enough for */

struct nmi_latency {
    nmi_context *context; /* that asked */
    nmi_context *own;     /* of one thread */
    nmi_topology *topology;
    float *input, *output; /* of one item */
    double spent;          /* microseconds of all measurements */
};

static double microseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

/* Messages belong to the context of whoever asked. */
static neumeta_status tell(const nmi_latency *latency, neumeta_status status)
{
    if (status == NEUMETA_OK)
        return status;
    return nmi_fail(latency->context, status, "%s", latency->own->message);
}

/* The topology as the own context has it, and memory for one item at full sizes. */
static neumeta_status take_parts(nmi_latency *latency, nmi_topology *topology)
{
    nmi_context *ctx = latency->context;
    nmi_shape *full = NULL;
    neumeta_status status =
        tell(latency, nmi_topology_copy(topology, latency->own, &latency->topology));
    if (status == NEUMETA_OK)
        status = nmi_graph_full_shapes(topology, &full);
    if (status == NEUMETA_OK) {
        const int64_t inputs = nmi_shape_floats(&full[0]); /* no other node is an input */
        const int64_t outputs = nmi_shape_floats(&full[topology->output]);
        latency->input = nmi_alloc_zero_array(ctx, inputs, sizeof(float));
        latency->output = nmi_alloc_array(ctx, outputs, sizeof(float));
        if (latency->input == NULL || latency->output == NULL)
            status = NEUMETA_ERR_MEMORY;
    }
    nmi_free(ctx, full);
    return status;
}

neumeta_status nmi_latency_create(nmi_topology *topology, nmi_latency **out)
{
    nmi_context *ctx = topology->object.context;
    nmi_latency *latency = nmi_alloc_zero(ctx, sizeof *latency);
    *out = NULL;
    if (latency == NULL)
        return NEUMETA_ERR_MEMORY;
    latency->context = ctx;
    neumeta_status status =
        nmi_context_create(ctx->allocate, ctx->release, ctx->allocator_user, &latency->own);
    if (status != NEUMETA_OK)
        status = nmi_fail(ctx, status, "no memory for a context to measure in");
    if (status == NEUMETA_OK) {
        latency->own->kernels = ctx->kernels;
        status = take_parts(latency, topology);
    }
    if (status == NEUMETA_OK)
        *out = latency;
    else
        nmi_latency_free(latency);
    return status;
}

void nmi_latency_free(nmi_latency *latency)
{
    if (latency == NULL)
        return;
    nmi_context *ctx = latency->context;
    nmi_topology_release(latency->topology);
    if (latency->own != NULL)
        nmi_context_release(latency->own);
    nmi_free(ctx, latency->input);
    nmi_free(ctx, latency->output);
    nmi_free(ctx, latency);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static neumeta_status time_round(const nmi_latency *latency, nmi_network *network,
                                 double *microseconds)
{
    double times[MOST_RUNS], spent = 0;
    int32_t runs = -WARM_RUNS;
    while (runs < LEAST_RUNS || (runs < MOST_RUNS && spent < most_microseconds)) {
        const double start = microseconds_now();
        neumeta_status status = nmi_network_run(network, latency->input, 1, latency->output);
        if (status != NEUMETA_OK)
            return status;
        if (runs >= 0) {
            times[runs] = microseconds_now() - start;
            spent += times[runs];
        }
        runs++;
    }
    qsort(times, (size_t)runs, sizeof *times, by_size);
    *microseconds = times[runs / 2];
    return NEUMETA_OK;
}

neumeta_status nmi_latency_measure(nmi_latency *latency, const int64_t *sizes, double *microseconds)
{
    const double start = microseconds_now();
    nmi_network *network = NULL;
    neumeta_status status = nmi_network_create(latency->own, latency->topology, sizes, &network);
    for (int32_t r = 0; r < ROUNDS && status == NEUMETA_OK; r++) {
        double found = 0;
        if (r > 0 && *microseconds > slow_run)
            break;
        status = time_round(latency, network, &found);
        *microseconds = r == 0 || found < *microseconds ? found : *microseconds;
    }
    nmi_network_release(network);
    latency->spent += microseconds_now() - start;
    return tell(latency, status);
}

double nmi_latency_spent(const nmi_latency *latency)
{
    return latency->spent;
}

neumeta_status nmi_latency_guess(const nmi_topology *topology, const int64_t *sizes, double *guess)
{
    nmi_costs costs;
    neumeta_status status = nmi_graph_costs(topology, sizes, VECTOR, &costs);
    *guess = (double)costs.multiply_adds;
    return status;
}
