/* SPDX-License-Identifier: MIT */
/*
 * Built-in topologies. Each is one file with one builder, and one line in the registry
 * (nmi_builtin.c).
 *
 * Builders write the graph down without a check after each call: the first failure stays in
 * `status` and turns every later call into one that does nothing and returns -1.
 */
#ifndef NMI_BUILTIN_H
#define NMI_BUILTIN_H

#include "nmi_graph.h"

typedef struct nmi_builder {
    nmi_topology *topology;
    const nmi_options *options;
    neumeta_status status;
    bool norm; /* whether convolutions are followed by batch norm (and have no bias then) */
} nmi_builder;

/* Builds the nodes and returns the output; `argument` comes from the registry. */
typedef int32_t (*nmi_builtin_fn)(nmi_builder *builder, int32_t argument);

int32_t nmi_builtin_lenet(nmi_builder *builder, int32_t argument);        /* argument unused */
int32_t nmi_builtin_resnet_cifar(nmi_builder *builder, int32_t argument); /* blocks a stage */

/* The setting, or `fallback` where it is unset and the topology's default differs from the key's.
 */
int64_t nmi_builtin_setting(const nmi_builder *builder, int32_t key, int64_t fallback);

int32_t nmi_build_width(nmi_builder *builder, const char *name, int64_t min, int64_t max);
void nmi_build_block(nmi_builder *builder, const char *name);
/* One node; `second` -1: one input only, both -1: none. */
int32_t nmi_build_node(nmi_builder *builder, const char *name, const nmi_node *node, int32_t first,
                       int32_t second, int32_t axis);
int32_t nmi_build_input(nmi_builder *builder, int64_t channels, int64_t height, int64_t width);
/* A node without settings. */
int32_t nmi_build_plain(nmi_builder *builder, const char *name, int32_t op, int32_t input);
int32_t nmi_build_add(nmi_builder *builder, const char *name, int32_t first, int32_t second);
/* Convolution with padding (kernel - 1) / 2, then the norm called `norm_name` if there are norms.
 */
int32_t nmi_build_conv(nmi_builder *builder, const char *name, const char *norm_name, int32_t input,
                       int32_t axis, int64_t multiple, int64_t kernel, int64_t stride);

#endif
