/* SPDX-License-Identifier: MIT */
/*
 * "lenet": the small convolutional network of arXiv 2410.11878's MNIST experiment, whose layers
 * have h, 2h and 4h channels, and a linear classifier. There one h rules all three; here each
 * layer's width is an axis of its own, and one compression for all of them gives the paper's
 * networks.
 *
 * The first two kernels are 5 x 5, as in LeNet. The third is 3 x 3: it sees maps of 7 x 7 only, of
 * which it covers as much with a third of the multiply-adds. Without norm there are 8 tensors.
 */
#include "nmi_builtin.h"

#include <stdio.h>

/* conv [norm] relu maxpool 2, of up to `channels` channels. */
static int32_t build_stage(nmi_builder *b, int32_t number, int32_t input, int64_t channels,
                           int64_t kernel)
{
    char width[16];
    char conv[16];
    char norm[16];
    char relu[16];
    char pool[16];
    snprintf(width, sizeof width, "conv%d.width", (int)number);
    snprintf(conv, sizeof conv, "conv%d", (int)number);
    snprintf(norm, sizeof norm, "bn%d", (int)number);
    snprintf(relu, sizeof relu, "relu%d", (int)number);
    snprintf(pool, sizeof pool, "pool%d", (int)number);
    nmi_build_block(b, conv);
    int32_t axis = nmi_build_width(b, width, 1, channels);
    int32_t node = nmi_build_conv(b, conv, norm, input, axis, 1, kernel, 1);
    node = nmi_build_plain(b, relu, NEUMETA_OP_ACTIVATION, node);
    nmi_node window = nmi_node_default(NEUMETA_OP_POOL_MAX);
    window.kernel = 2;
    window.stride = 2;
    return nmi_build_node(b, pool, &window, node, -1, -1);
}

int32_t nmi_builtin_lenet(nmi_builder *b, int32_t argument)
{
    (void)argument;
    int64_t classes = nmi_options_int(b->options, NEUMETA_KEY_CLASSES);
    int64_t channels = nmi_builtin_setting(b, NEUMETA_KEY_CHANNELS, 32);
    int32_t node = nmi_build_input(b, 1, 28, 28);
    node = build_stage(b, 1, node, channels, 5);
    node = build_stage(b, 2, node, 2 * channels, 5);
    node = build_stage(b, 3, node, 4 * channels, 3);
    nmi_build_block(b, "linear");
    node = nmi_build_plain(b, "flatten", NEUMETA_OP_FLATTEN, node);
    int32_t class_axis = nmi_build_width(b, "classes", classes, classes);
    nmi_node linear = nmi_node_default(NEUMETA_OP_LINEAR);
    return nmi_build_node(b, "linear", &linear, node, -1, class_axis);
}
