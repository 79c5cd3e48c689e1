/* SPDX-License-Identifier: MIT */
/* Two networks that the library does not have built in, written with its graph calls. */
#ifndef CUSTOM_TOPOLOGIES_H
#define CUSTOM_TOPOLOGIES_H

#include <neumeta.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A LeNet for 1 x 28 x 28 digits: two 5 x 5 convolutions of 10 and 20 channels, two linear layers.
 */
neumeta_status custom_lenet_mnist(neumeta_context *context, neumeta_topology **topology);

/** A ResNet-20 for 3 x 32 x 32 images with a wide stem, projection shortcuts, and ReLU after each
 *  stage instead of after each block. */
neumeta_status custom_resnet20b(neumeta_context *context, int64_t classes,
                                neumeta_topology **topology);

#ifdef __cplusplus
}
#endif
#endif
