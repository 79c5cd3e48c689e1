/* SPDX-License-Identifier: MIT */
/*
 * Networks that are not built in: shows their size and cost, and runs one with weights from a file.
 *
 *     custom_topology                                       the sizes of all three
 *     custom_topology resnet20b weights.safetensors         its outputs for a grey image
 *     custom_topology resnet20b-100 weights.safetensors
 *     custom_topology lenet weights.safetensors
 */
#include "custom_topologies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 3 * 32 * 32, OUTPUT_MAX = 100 };

static neumeta_status build(neumeta_context *context, const char *name, neumeta_topology **topology)
{
    if (strcmp(name, "lenet") == 0)
        return custom_lenet_mnist(context, topology);
    return custom_resnet20b(context, strcmp(name, "resnet20b-100") == 0 ? 100 : 10, topology);
}

/* Parameters and multiply-adds with every inner width as it is, and halved. */
static neumeta_status print_cost(const neumeta_topology *topology, const char *name)
{
    int32_t axes = neumeta_topology_axis_count(topology);
    int64_t *sizes = calloc((size_t)axes, sizeof *sizes);
    neumeta_status status = sizes != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    for (int32_t half = 0; half <= 1 && status == NEUMETA_OK; half++) {
        int64_t parameters = 0;
        int64_t flops = 0;
        status = neumeta_topology_sizes_at(topology, half * 0.5, sizes, axes);
        if (status == NEUMETA_OK)
            status = neumeta_topology_cost(topology, sizes, axes, &parameters, &flops);
        if (status == NEUMETA_OK)
            printf("%-14s %-6s %2" PRId32 " axes %2" PRId32 " blocks %7" PRId64
                   " parameters %9" PRId64 " multiply-adds\n",
                   name, half ? "halved" : "full", axes, neumeta_topology_block_count(topology),
                   parameters, flops / 2);
    }
    free(sizes);
    return status;
}

static neumeta_status print_outputs(const neumeta_topology *topology, const char *path)
{
    static float image[INPUT_MAX]; /* zero: a grey image after normalisation */
    float outputs[OUTPUT_MAX];
    int32_t classes = 0;
    neumeta_network *network = NULL;
    neumeta_status status = neumeta_network_load(topology, path, NULL, &network);
    if (status == NEUMETA_OK)
        status = neumeta_network_run(network, image, 1, outputs, OUTPUT_MAX);
    /* The classifier's bias comes last and has one entry for each class. */
    if (status == NEUMETA_OK) {
        const char *name;
        const float *data;
        int64_t dims[4];
        int32_t rank;
        status = neumeta_network_tensor(network, neumeta_network_tensor_count(network) - 1, &name,
                                        dims, &rank, &data);
        classes = (int32_t)dims[0];
    }
    for (int32_t i = 0; status == NEUMETA_OK && i < classes; i++)
        printf("%3" PRId32 " %9.5f\n", i, (double)outputs[i]);
    neumeta_network_free(network);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"lenet", "resnet20b", "resnet20b-100"};
    neumeta_context *context = NULL;
    neumeta_status status = neumeta_context_create(NULL, NULL, NULL, &context);
    int found = 0;
    for (size_t i = 0; i < 3 && status == NEUMETA_OK; i++) {
        if (argc > 1 && strcmp(argv[1], names[i]) != 0)
            continue;
        neumeta_topology *topology = NULL;
        found = 1;
        status = build(context, names[i], &topology);
        if (status == NEUMETA_OK)
            status = print_cost(topology, names[i]);
        if (status == NEUMETA_OK && argc > 2)
            status = print_outputs(topology, argv[2]);
        neumeta_topology_free(topology);
    }
    if (status != NEUMETA_OK)
        fprintf(stderr, "custom_topology: %s\n",
                context != NULL ? neumeta_context_message(context) : neumeta_status_name(status));
    else if (!found)
        fprintf(stderr, "custom_topology: no such network; lenet, resnet20b or resnet20b-100\n");
    neumeta_context_free(context);
    return status == NEUMETA_OK && found ? EXIT_SUCCESS : EXIT_FAILURE;
}
