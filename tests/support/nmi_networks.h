/* SPDX-License-Identifier: MIT */
/*
 * Small networks for unit tests, from inside the library: topologies in a line a node, weights that
 * leave no symmetry, and the comparison of what two networks compute.
 */
#ifndef NMI_NETWORKS_H
#define NMI_NETWORKS_H

#include "nmi_network.h"
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

/* Sets any key from a number; for a CHOICE it is the index. */
static inline void test_set(nmi_context *context, nmi_options *options, int32_t key, double value)
{
    const nmi_key *known = nmi_key_find(key);
    if (known->type == NEUMETA_TYPE_CHOICE) {
        char words[64];
        snprintf(words, sizeof words, "%s", known->choices);
        char *word = strtok(words, "|");
        for (int32_t i = 0; i < (int32_t)value; i++)
            word = strtok(NULL, "|");
        assert_ok(context, nmi_options_set_text(options, key, word));
    } else if (known->type == NEUMETA_TYPE_REAL) {
        assert_ok(context, nmi_options_set_real(options, key, value));
    } else {
        assert_ok(context, nmi_options_set_int(options, key, (int64_t)value));
    }
}

/* Options with one number each for up to three keys (0: none). */
static inline nmi_options *test_options(nmi_context *context, int32_t first, double first_value,
                                        int32_t second, double second_value, int32_t third,
                                        double third_value)
{
    nmi_options *options = NULL;
    const int32_t keys[] = {first, second, third};
    const double values[] = {first_value, second_value, third_value};
    assert_ok(context, nmi_options_create(context, &options));
    for (int32_t i = 0; i < 3; i++)
        if (keys[i] != 0)
            test_set(context, options, keys[i], values[i]);
    return options;
}

/* A new node; consumes `options`. */
static inline int32_t test_node(nmi_topology *topology, const char *name, int32_t op,
                                const int32_t *inputs, int32_t count, int32_t axis,
                                nmi_options *options)
{
    int32_t node = -1;
    assert_ok(topology->object.context,
              nmi_topology_add_node(topology, name, op, inputs, count, axis, options, &node));
    if (options != NULL)
        nmi_options_release(options);
    return node;
}

static inline int32_t test_unary(nmi_topology *topology, const char *name, int32_t op,
                                 int32_t input)
{
    return test_node(topology, name, op, &input, 1, -1, NULL);
}

static inline int32_t test_join(nmi_topology *topology, const char *name, int32_t op, int32_t first,
                                int32_t second)
{
    const int32_t inputs[] = {first, second};
    return test_node(topology, name, op, inputs, 2, -1, NULL);
}

static inline int32_t test_input(nmi_topology *topology, int64_t channels, int64_t side)
{
    nmi_context *context = topology->object.context;
    return test_node(topology, "input", NEUMETA_OP_INPUT, NULL, 0, -1,
                     test_options(context, NEUMETA_KEY_INPUT_CHANNELS, (double)channels,
                                  NEUMETA_KEY_INPUT_HEIGHT, (double)side, NEUMETA_KEY_INPUT_WIDTH,
                                  (double)side));
}

/* A 3 x 3 convolution that keeps the size, without bias. */
static inline int32_t test_conv(nmi_topology *topology, const char *name, int32_t input,
                                int32_t axis)
{
    nmi_context *context = topology->object.context;
    return test_node(
        topology, name, NEUMETA_OP_CONV, &input, 1, axis,
        test_options(context, NEUMETA_KEY_KERNEL, 3, NEUMETA_KEY_PADDING, 1, NEUMETA_KEY_BIAS, 0));
}

static inline int32_t test_linear(nmi_topology *topology, const char *name, int32_t input,
                                  int32_t axis)
{
    return test_node(topology, name, NEUMETA_OP_LINEAR, &input, 1, axis, NULL);
}

static inline int32_t test_axis(nmi_topology *topology, const char *name, int32_t kind, int64_t min,
                                int64_t max)
{
    int32_t axis = -1;
    assert_ok(topology->object.context,
              nmi_topology_add_axis(topology, name, kind, min, max, 1, &axis));
    return axis;
}

static inline nmi_topology *test_topology(nmi_context *context)
{
    nmi_topology *topology = NULL;
    assert_ok(context, nmi_topology_create(context, &topology));
    return topology;
}

/* Every tensor random, norms and biases too. */
static inline void test_randomize(nmi_network *network, uint64_t seed)
{
    nmi_network_initialize(network, seed);
    for (int32_t t = 0; t < network->topology->tensor_count; t++) {
        nmi_role role = network->topology->tensors[t].role;
        float low = -0.3f;
        float high = 0.3f;
        if (role == NMI_ROLE_WEIGHT || role == NMI_ROLE_SCALE)
            continue;
        if (role == NMI_ROLE_NORM_WEIGHT || role == NMI_ROLE_RUNNING_VAR ||
            role == NMI_ROLE_AFFINE_WEIGHT) {
            low = 0.5f;
            high = 1.5f;
        }
        test_fill(network->tensors[t].data, network->tensors[t].count, seed + (uint64_t)t, low,
                  high);
    }
    nmi_network_touch(network);
}

/* Network with random weights at the given sizes (NULL: full); consumes the topology. */
static inline nmi_network *test_network(nmi_topology *topology, const int64_t *sizes, uint64_t seed)
{
    nmi_context *context = topology->object.context;
    nmi_network *network = NULL;
    int64_t *full = calloc((size_t)topology->axis_count + 1, sizeof *full);
    nmi_graph_full_sizes(topology, full);
    assert_ok(context,
              nmi_network_create(context, topology, sizes != NULL ? sizes : full, &network));
    test_randomize(network, seed);
    nmi_topology_release(topology);
    free(full);
    return network;
}

/* Seals and makes the network; consumes the topology. */
static inline nmi_network *test_sealed(nmi_topology *topology, int32_t output, uint64_t seed)
{
    assert_ok(topology->object.context, nmi_topology_seal(topology, output));
    return test_network(topology, NULL, seed);
}

/* A built-in network; consumes `options`. */
static inline nmi_network *test_builtin(nmi_context *context, const char *name,
                                        nmi_options *options, uint64_t seed)
{
    nmi_topology *topology = NULL;
    assert_ok(context, nmi_topology_create_builtin(context, name, options, &topology));
    if (options != NULL)
        nmi_options_release(options);
    return test_network(topology, NULL, seed);
}

/* Outputs for two random items, to be freed. */
static inline float *test_outputs(nmi_network *network)
{
    enum { ITEMS = 2 };
    nmi_context *context = network->object.context;
    int64_t in = ITEMS * nmi_network_input_floats(network);
    int64_t out = ITEMS * nmi_network_output_floats(network);
    float *inputs = malloc((size_t)in * sizeof *inputs);
    float *outputs = malloc((size_t)out * sizeof *outputs);
    test_fill(inputs, in, 77, -2.0f, 2.0f);
    assert_ok(context, nmi_network_run(network, inputs, ITEMS, outputs));
    free(inputs);
    return outputs;
}

/* Fails unless the network computes `expected` (from test_outputs(), freed here) up to `tolerance`
 * times the largest output. */
static inline void test_same_outputs(nmi_network *network, float *expected, double tolerance)
{
    int64_t count = 2 * nmi_network_output_floats(network);
    float *outputs = test_outputs(network);
    const double largest = test_largest(expected, count);
    ck_assert_msg(largest > 1e-3, "the outputs are all zero");
    assert_near(outputs, expected, count, tolerance * largest, 0);
    free(outputs);
    free(expected);
}

#endif
