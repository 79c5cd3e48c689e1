/* SPDX-License-Identifier: MIT */
/*
 * A few words to write topologies with: each adds one node and returns its number. The first
 * failure stays in `status`, and every later call then does nothing.
 */
#ifndef CUSTOM_BUILDER_H
#define CUSTOM_BUILDER_H

#include <neumeta.h>

#include <stdio.h>

typedef struct builder {
    neumeta_context *context;
    neumeta_topology *topology;
    neumeta_status status;
} builder;

typedef struct setting {
    int32_t key;
    int64_t value;
} setting;

static inline int32_t axis(builder *b, const char *name, int64_t min, int64_t max)
{
    int32_t number = -1;
    if (b->status == NEUMETA_OK)
        b->status =
            neumeta_topology_add_axis(b->topology, name, NEUMETA_AXIS_WIDTH, min, max, 1, &number);
    return number;
}

static inline void block(builder *b, const char *name)
{
    if (b->status == NEUMETA_OK)
        b->status = neumeta_topology_begin_block(b->topology, name);
}

/* A node called `prefix` + `name`; inputs of -1 are absent, `settings` ends with key 0. */
static inline int32_t node(builder *b, const char *prefix, const char *name, int32_t op,
                           int32_t first, int32_t second, int32_t width, const setting *settings)
{
    const int32_t inputs[] = {first, second};
    int32_t count = (first >= 0) + (second >= 0);
    neumeta_options *options = NULL;
    int32_t number = -1;
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    if (b->status == NEUMETA_OK)
        b->status = neumeta_options_create(b->context, &options);
    for (; settings != NULL && settings->key != 0 && b->status == NEUMETA_OK; settings++)
        b->status = neumeta_options_set_int(options, settings->key, settings->value);
    if (b->status == NEUMETA_OK)
        b->status = neumeta_topology_add_node(b->topology, full, op, inputs, count, width, options,
                                              &number);
    neumeta_options_free(options);
    return number;
}

static inline int32_t plain(builder *b, const char *prefix, const char *name, int32_t op,
                            int32_t input)
{
    return node(b, prefix, name, op, input, -1, -1, NULL);
}

static inline int32_t conv(builder *b, const char *prefix, const char *name, int32_t input,
                           int32_t width, int64_t kernel, int64_t stride, int64_t padding,
                           int64_t bias)
{
    const setting settings[] = {{NEUMETA_KEY_KERNEL, kernel},
                                {NEUMETA_KEY_STRIDE, stride},
                                {NEUMETA_KEY_PADDING, padding},
                                {NEUMETA_KEY_BIAS, bias},
                                {0, 0}};
    return node(b, prefix, name, NEUMETA_OP_CONV, input, -1, width, settings);
}

static inline int32_t pool(builder *b, const char *name, int32_t op, int32_t input, int64_t kernel)
{
    const setting settings[] = {{NEUMETA_KEY_KERNEL, kernel}, {NEUMETA_KEY_STRIDE, kernel}, {0, 0}};
    return node(b, "", name, op, input, -1, -1, settings);
}

static inline int32_t begin(builder *b, int64_t channels, int64_t side)
{
    const setting settings[] = {{NEUMETA_KEY_INPUT_CHANNELS, channels},
                                {NEUMETA_KEY_INPUT_HEIGHT, side},
                                {NEUMETA_KEY_INPUT_WIDTH, side},
                                {0, 0}};
    b->status = neumeta_topology_create(b->context, &b->topology);
    return node(b, "", "input", NEUMETA_OP_INPUT, -1, -1, -1, settings);
}

static inline int32_t linear(builder *b, const char *name, int32_t input, int64_t min, int64_t max)
{
    return node(b, "", name, NEUMETA_OP_LINEAR, input, -1, axis(b, name, min, max), NULL);
}

static inline neumeta_status end(builder *b, int32_t output, neumeta_topology **topology)
{
    if (b->status == NEUMETA_OK)
        b->status = neumeta_topology_seal(b->topology, output);
    if (b->status != NEUMETA_OK)
        neumeta_topology_free(b->topology);
    *topology = b->status == NEUMETA_OK ? b->topology : NULL;
    return b->status;
}

#endif
