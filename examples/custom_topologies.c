/* SPDX-License-Identifier: MIT */
/* A topology is a list of nodes. Each node names its inputs by number, takes its channels from an
 * axis, and gives its name to its tensors, so weights trained elsewhere load by their own names. */
#include "custom_topologies.h"

#include "custom_builder.h"

neumeta_status custom_lenet_mnist(neumeta_context *context, neumeta_topology **topology)
{
    builder b = {context, NULL, NEUMETA_OK};
    int32_t x = begin(&b, 1, 28);
    block(&b, "conv1");
    x = conv(&b, "", "conv1", x, axis(&b, "conv1", 1, 10), 5, 1, 0, 1);
    x = pool(&b, "pool1", NEUMETA_OP_POOL_MAX, x, 2);
    x = plain(&b, "", "relu1", NEUMETA_OP_ACTIVATION, x);
    block(&b, "conv2");
    x = conv(&b, "", "conv2", x, axis(&b, "conv2", 1, 20), 5, 1, 0, 1);
    x = pool(&b, "pool2", NEUMETA_OP_POOL_MAX, x, 2);
    x = plain(&b, "", "relu2", NEUMETA_OP_ACTIVATION, x);
    block(&b, "fc1");
    x = plain(&b, "", "flatten", NEUMETA_OP_FLATTEN, x);
    x = linear(&b, "fc1", x, 1, 50);
    x = plain(&b, "", "relu3", NEUMETA_OP_ACTIVATION, x);
    block(&b, "fc2");
    x = linear(&b, "fc2", x, 10, 10);
    return end(&b, x, topology);
}

/* bn2(conv2(relu(bn1(conv1(u))))) + S(u), S a projection where `stride` is given, else nothing.
 * Without a prefix the block is inside a repeat, which puts "layerk.i." before every name. */
static int32_t residual(builder *b, const char *prefix, int32_t u, int32_t stream, int64_t channels,
                        int64_t stride)
{
    char name[64];
    snprintf(name, sizeof name, "%sinner", prefix);
    int32_t inner = axis(b, name, 1, channels);
    int32_t w = conv(b, prefix, "conv1", u, inner, 3, stride > 0 ? stride : 1, 1, 0);
    w = plain(b, prefix, "bn1", NEUMETA_OP_NORM, w);
    w = plain(b, prefix, "relu", NEUMETA_OP_ACTIVATION, w);
    w = conv(b, prefix, "conv2", w, stream, 3, 1, 1, 0);
    w = plain(b, prefix, "bn2", NEUMETA_OP_NORM, w);
    if (stride > 0) {
        u = conv(b, prefix, "shortcut.0", u, stream, 1, stride, 0, 0);
        u = plain(b, prefix, "shortcut.1", NEUMETA_OP_NORM, u);
    }
    return node(b, prefix, "add", NEUMETA_OP_ADD, w, u, -1, NULL);
}

/* One block with a projection, then up to two more: the depth is an axis too. */
static int32_t stage(builder *b, int32_t k, int32_t x, int64_t channels)
{
    char name[64];
    char prefix[64];
    int32_t depth = -1;
    snprintf(name, sizeof name, "layer%d.stream", (int)k);
    int32_t stream = axis(b, name, 1, channels);
    snprintf(name, sizeof name, "layer%d.depth", (int)k);
    if (b->status == NEUMETA_OK)
        b->status =
            neumeta_topology_add_axis(b->topology, name, NEUMETA_AXIS_DEPTH, 1, 3, 1, &depth);
    snprintf(name, sizeof name, "layer%d.0", (int)k);
    block(b, name);
    snprintf(prefix, sizeof prefix, "layer%d.0.", (int)k);
    x = residual(b, prefix, x, stream, channels, k == 1 ? 1 : 2);

    snprintf(name, sizeof name, "layer%d", (int)k);
    if (b->status == NEUMETA_OK)
        b->status = neumeta_topology_begin_repeat(b->topology, name, depth, 1, x);
    int32_t last = residual(b, "", x, stream, channels, 0);
    if (b->status == NEUMETA_OK)
        b->status = neumeta_topology_end_repeat(b->topology, last, &x);
    snprintf(name, sizeof name, "relu%d", (int)k);
    return plain(b, "", name, NEUMETA_OP_ACTIVATION, x);
}

neumeta_status custom_resnet20b(neumeta_context *context, int64_t classes,
                                neumeta_topology **topology)
{
    builder b = {context, NULL, NEUMETA_OK};
    int32_t x = begin(&b, 3, 32);
    block(&b, "stem");
    x = conv(&b, "", "conv1", x, axis(&b, "stem", 1, 64), 3, 1, 1, 0);
    x = plain(&b, "", "bn1", NEUMETA_OP_NORM, x);
    x = plain(&b, "", "relu", NEUMETA_OP_ACTIVATION, x);
    for (int32_t k = 1; k <= 3; k++)
        x = stage(&b, k, x, INT64_C(8) << k);
    block(&b, "classifier");
    x = pool(&b, "pool", NEUMETA_OP_POOL_AVERAGE, x, 4);
    x = plain(&b, "", "flatten", NEUMETA_OP_FLATTEN, x);
    x = linear(&b, "linear", x, classes, classes);
    return end(&b, x, topology);
}
