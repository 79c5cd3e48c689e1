/* SPDX-License-Identifier: MIT */
/* The registry of built-in topologies and the vocabulary that they are written in. */
#include "nmi_builtin.h"

#include <string.h>

typedef struct entry {
    const char *name;
    nmi_builtin_fn build;
    int32_t argument;
    int32_t key_count; /* of `keys`, those that this topology uses */
} entry;

static const int32_t keys[] = {
    NEUMETA_KEY_CLASSES,     NEUMETA_KEY_INPUT_CHANNELS, NEUMETA_KEY_INPUT_HEIGHT,
    NEUMETA_KEY_INPUT_WIDTH, NEUMETA_KEY_CHANNELS,       NEUMETA_KEY_NORM,
    NEUMETA_KEY_SHORTCUT,
};

static const entry entries[] = {
    {"lenet", nmi_builtin_lenet, 0, 6},
    {"resnet20-cifar", nmi_builtin_resnet_cifar, 3, 7},
    {"resnet32-cifar", nmi_builtin_resnet_cifar, 5, 7},
    {"resnet44-cifar", nmi_builtin_resnet_cifar, 7, 7},
    {"resnet56-cifar", nmi_builtin_resnet_cifar, 9, 7},
    {"resnet110-cifar", nmi_builtin_resnet_cifar, 18, 7},
};
enum { ENTRY_COUNT = sizeof entries / sizeof *entries };

const char *nmi_topology_builtin_name(int32_t index)
{
    return index >= 0 && index < ENTRY_COUNT ? entries[index].name : NULL;
}

neumeta_status nmi_topology_create_builtin(nmi_context *context, const char *name,
                                           const nmi_options *options, nmi_topology **out)
{
    *out = NULL;
    const entry *found = NULL;
    for (int32_t i = 0; i < ENTRY_COUNT; i++)
        if (strcmp(entries[i].name, name) == 0)
            found = &entries[i];
    if (found == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "there is no built-in topology '%s'; neumeta_topology_builtin_name() lists "
                        "them",
                        name);
    neumeta_status status = nmi_options_allow(context, options, name, keys, found->key_count);
    if (status != NEUMETA_OK)
        return status;
    nmi_builder builder = {.options = options,
                           .norm = nmi_options_choice(options, NEUMETA_KEY_NORM) == 1};
    status = nmi_topology_create(context, &builder.topology);
    if (status != NEUMETA_OK)
        return status;
    int32_t output = found->build(&builder, found->argument);
    status = builder.status;
    if (status == NEUMETA_OK)
        status = nmi_topology_seal(builder.topology, output);
    if (status == NEUMETA_OK) {
        *out = builder.topology;
    } else {
        nmi_fail_within(context, status, "topology '%s'", name);
        nmi_topology_release(builder.topology);
    }
    return status;
}

/* --- vocabulary ------------------------------------------------------------------------------ */

int64_t nmi_builtin_setting(const nmi_builder *builder, int32_t key, int64_t fallback)
{
    return nmi_options_has(builder->options, key) ? nmi_options_int(builder->options, key)
                                                  : fallback;
}

int32_t nmi_build_width(nmi_builder *builder, const char *name, int64_t min, int64_t max)
{
    int32_t axis = -1;
    if (builder->status == NEUMETA_OK)
        builder->status =
            nmi_topology_add_axis(builder->topology, name, NEUMETA_AXIS_WIDTH, min, max, 1, &axis);
    return axis;
}

void nmi_build_block(nmi_builder *builder, const char *name)
{
    if (builder->status == NEUMETA_OK)
        builder->status = nmi_topology_begin_block(builder->topology, name);
}

int32_t nmi_build_node(nmi_builder *builder, const char *name, const nmi_node *node, int32_t first,
                       int32_t second, int32_t axis)
{
    int32_t inputs[2] = {first, second};
    int32_t count = (first >= 0 ? 1 : 0) + (second >= 0 ? 1 : 0);
    int32_t number = -1;
    if (builder->status == NEUMETA_OK)
        builder->status =
            nmi_topology_place(builder->topology, name, node, inputs, count, axis, &number);
    return number;
}

int32_t nmi_build_input(nmi_builder *builder, int64_t channels, int64_t height, int64_t width)
{
    nmi_node node = nmi_node_default(NEUMETA_OP_INPUT);
    node.channels = nmi_builtin_setting(builder, NEUMETA_KEY_INPUT_CHANNELS, channels);
    node.height = nmi_builtin_setting(builder, NEUMETA_KEY_INPUT_HEIGHT, height);
    node.width = nmi_builtin_setting(builder, NEUMETA_KEY_INPUT_WIDTH, width);
    return nmi_build_node(builder, "input", &node, -1, -1, -1);
}

int32_t nmi_build_plain(nmi_builder *builder, const char *name, int32_t op, int32_t input)
{
    nmi_node node = nmi_node_default(op);
    return nmi_build_node(builder, name, &node, input, -1, -1);
}

int32_t nmi_build_add(nmi_builder *builder, const char *name, int32_t first, int32_t second)
{
    nmi_node node = nmi_node_default(NEUMETA_OP_ADD);
    return nmi_build_node(builder, name, &node, first, second, -1);
}

int32_t nmi_build_conv(nmi_builder *builder, const char *name, const char *norm_name, int32_t input,
                       int32_t axis, int64_t multiple, int64_t kernel, int64_t stride)
{
    nmi_node node = nmi_node_default(NEUMETA_OP_CONV);
    node.multiple = multiple;
    node.kernel = kernel;
    node.stride = stride;
    node.padding = (kernel - 1) / 2;
    node.bias = !builder->norm;
    int32_t conv = nmi_build_node(builder, name, &node, input, -1, axis);
    return builder->norm ? nmi_build_plain(builder, norm_name, NEUMETA_OP_NORM, conv) : conv;
}
