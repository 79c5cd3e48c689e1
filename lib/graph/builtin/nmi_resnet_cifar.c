/* SPDX-License-Identifier: MIT */
/*
 * "resnet20-cifar" to "resnet110-cifar": the CIFAR networks of He et al., "Deep residual learning
 * for image recognition" (arXiv 1512.03385, section 4.2), depth 6 n + 2.
 *
 * Axes: for each stage k its stream ("layerk.stream"; the stem writes stage 1's), its depth
 * ("layerk.depth", 1 to n blocks; the first block is always there) and each block's inner width
 * ("layerk.i.inner"). Where the shape changes, the shortcut is option A (no parameters) or a 1 x 1
 * projection with norm.
 */
#include "nmi_builtin.h"

#include <stdio.h>

typedef struct stage {
    int32_t number; /* 1, 2, 3 */
    int64_t channels;
    int32_t stream; /* width axis */
    bool project;
} stage;

/* ReLU(conv2(ReLU(conv1(u))) + S(u)), each convolution with its norm. `prefix` comes before every
 * name: "layer1.0." for a block on its own, "" inside a repeat. */
static int32_t build_block(nmi_builder *b, const char *prefix, const stage *s, int32_t input,
                           bool reshape)
{
    static const char *const parts[] = {"inner",      "conv1", "bn1",      "relu1",
                                        "conv2",      "bn2",   "shortcut", "shortcut.0",
                                        "shortcut.1", "add",   "relu2"};
    enum { INNER, CONV1, BN1, RELU1, CONV2, BN2, SHORTCUT, PROJECT, PROJECT_NORM, SUM, RELU2 };
    char names[sizeof parts / sizeof *parts][32];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        snprintf(names[i], sizeof names[i], "%s%s", prefix, parts[i]);
    int64_t stride = reshape ? 2 : 1;

    int32_t inner = nmi_build_width(b, names[INNER], 1, s->channels);
    int32_t v = nmi_build_conv(b, names[CONV1], names[BN1], input, inner, 1, 3, stride);
    v = nmi_build_plain(b, names[RELU1], NEUMETA_OP_ACTIVATION, v);
    int32_t w = nmi_build_conv(b, names[CONV2], names[BN2], v, s->stream, 1, 3, 1);
    int32_t shortcut = input;
    if (reshape && s->project) {
        shortcut =
            nmi_build_conv(b, names[PROJECT], names[PROJECT_NORM], input, s->stream, 1, 1, stride);
    } else if (reshape) {
        nmi_node node = nmi_node_default(NEUMETA_OP_SHORTCUT);
        node.stride = stride;
        shortcut = nmi_build_node(b, names[SHORTCUT], &node, input, -1, s->stream);
    }
    int32_t sum = nmi_build_add(b, names[SUM], w, shortcut);
    return nmi_build_plain(b, names[RELU2], NEUMETA_OP_ACTIVATION, sum);
}

static int32_t build_stage(nmi_builder *b, const stage *s, int32_t blocks, int32_t input)
{
    char name[32];
    char prefix[32];
    int32_t depth = -1;
    snprintf(name, sizeof name, "layer%d.depth", (int)s->number);
    if (b->status == NEUMETA_OK)
        b->status =
            nmi_topology_add_axis(b->topology, name, NEUMETA_AXIS_DEPTH, 1, blocks, 1, &depth);
    snprintf(name, sizeof name, "layer%d.0", (int)s->number);
    snprintf(prefix, sizeof prefix, "layer%d.0.", (int)s->number);
    nmi_build_block(b, name);
    int32_t node = build_block(b, prefix, s, input, s->number > 1);

    snprintf(name, sizeof name, "layer%d", (int)s->number);
    if (b->status == NEUMETA_OK)
        b->status = nmi_topology_begin_repeat(b->topology, name, depth, 1, node);
    int32_t last = build_block(b, "", s, node, false);
    if (b->status == NEUMETA_OK)
        b->status = nmi_topology_end_repeat(b->topology, last, &node);
    return node;
}

int32_t nmi_builtin_resnet_cifar(nmi_builder *b, int32_t blocks)
{
    bool project = nmi_options_choice(b->options, NEUMETA_KEY_SHORTCUT) == 1;
    int64_t classes = nmi_options_int(b->options, NEUMETA_KEY_CLASSES);
    int64_t channels = nmi_options_int(b->options, NEUMETA_KEY_CHANNELS);
    int32_t class_axis = nmi_build_width(b, "classes", classes, classes);
    int32_t node = nmi_build_input(b, 3, 32, 32);
    for (int32_t k = 1; k <= 3; k++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d.stream", (int)k);
        stage s = {.number = k, .channels = channels << (k - 1), .project = project};
        s.stream = nmi_build_width(b, name, 1, s.channels);
        if (k == 1) {
            nmi_build_block(b, "stem");
            node = nmi_build_conv(b, "conv1", "bn1", node, s.stream, 1, 3, 1);
            node = nmi_build_plain(b, "relu", NEUMETA_OP_ACTIVATION, node);
        }
        node = build_stage(b, &s, blocks, node);
    }
    nmi_build_block(b, "classifier");
    node = nmi_build_plain(b, "pool", NEUMETA_OP_POOL_GLOBAL, node);
    nmi_node linear = nmi_node_default(NEUMETA_OP_LINEAR);
    return nmi_build_node(b, "linear", &linear, node, -1, class_axis);
}
