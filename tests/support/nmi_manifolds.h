/* SPDX-License-Identifier: MIT */
/* A small topology, its manifolds and networks, for unit tests of the inr unit. */
#ifndef NMI_MANIFOLDS_H
#define NMI_MANIFOLDS_H

#include "nmi_manifold.h"
#include "nmi_optimizer.h"
#include "nmi_test.h"

#include <stdio.h>

static inline int32_t add(neumeta_topology *t, const char *name, int32_t op, int32_t first,
                          int32_t second, int32_t axis, int64_t kernel)
{
    neumeta_context *ctx = t->object.context;
    const int32_t inputs[2] = {first, second};
    nmi_options *options = NULL;
    int32_t number;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    if (op == NEUMETA_OP_CONV) {
        assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_KERNEL, kernel));
        assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_PADDING, kernel / 2));
    }
    assert_ok(ctx, neumeta_topology_add_node(t, name, op, inputs, (first >= 0) + (second >= 0),
                                             axis, options, &number));
    nmi_options_release(options);
    return number;
}

/* A stem, a block of two convolutions on inner width h (2..14), and a block with the classifier. */
static inline neumeta_topology *make_topology(neumeta_context *ctx, bool norm)
{
    neumeta_topology *t = NULL;
    int32_t s, h, c;
    assert_ok(ctx, neumeta_topology_create(ctx, &t));
    assert_ok(ctx, neumeta_topology_add_axis(t, "s", NEUMETA_AXIS_WIDTH, 12, 16, 2, &s));
    assert_ok(ctx, neumeta_topology_add_axis(t, "h", NEUMETA_AXIS_WIDTH, 2, 14, 1, &h));
    assert_ok(ctx, neumeta_topology_add_axis(t, "c", NEUMETA_AXIS_WIDTH, 20, 20, 1, &c));
    int32_t n = add(t, "in", NEUMETA_OP_INPUT, -1, -1, -1, 0);
    int32_t stem = add(t, "stem", NEUMETA_OP_CONV, n, -1, s, 3);
    assert_ok(ctx, neumeta_topology_begin_block(t, "body"));
    n = add(t, "a", NEUMETA_OP_CONV, stem, -1, h, 3);
    if (norm)
        n = add(t, "bn", NEUMETA_OP_NORM, n, -1, -1, 0);
    n = add(t, "relu", NEUMETA_OP_ACTIVATION, n, -1, -1, 0);
    n = add(t, "b", NEUMETA_OP_CONV, n, -1, s, 1);
    n = add(t, "scale", NEUMETA_OP_SCALE, n, -1, -1, 0);
    n = add(t, "add", NEUMETA_OP_ADD, stem, n, -1, 0);
    assert_ok(ctx, neumeta_topology_begin_block(t, "head"));
    n = add(t, "pool", NEUMETA_OP_POOL_GLOBAL, n, -1, -1, 0);
    n = add(t, "fc", NEUMETA_OP_LINEAR, n, -1, c, 0);
    assert_ok(ctx, neumeta_topology_seal(t, n));
    return t;
}

/* `settings`: "NAME=value NAME=value". */
static inline nmi_options *make_options(neumeta_context *ctx, const char *settings)
{
    nmi_options *options = NULL;
    char *text = strdup(settings), *rest = text;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    for (char *key = strtok_r(text, " =", &rest); key != NULL; key = strtok_r(NULL, " =", &rest))
        assert_ok(ctx, nmi_options_parse(options, key, strtok_r(NULL, " ", &rest)));
    free(text);
    return options;
}

static inline neumeta_status try_manifold(neumeta_context *ctx, neumeta_topology *t,
                                          const char *settings, nmi_manifold **manifold)
{
    nmi_options *options = make_options(ctx, settings);
    neumeta_status status = nmi_manifold_create(ctx, t, options, manifold);
    nmi_options_release(options);
    return status;
}

static inline nmi_manifold *make_manifold(neumeta_context *ctx, neumeta_topology *t,
                                          const char *settings)
{
    nmi_manifold *manifold = NULL;
    assert_ok(ctx, try_manifold(ctx, t, settings, &manifold));
    return manifold;
}

static inline int32_t tensor(const nmi_topology *t, const char *name)
{
    const int32_t number = nmi_graph_find_tensor(t, name);
    ck_assert_msg(number >= 0, "no tensor %s", name);
    return number;
}

#define SMALL "INR_HIDDEN=24 INR_LAYERS=3 INR_OCTAVES=5 "

static inline nmi_network *make_network(neumeta_context *ctx, neumeta_topology *t, int64_t s,
                                        int64_t h)
{
    const int64_t sizes[3] = {s, h, 20};
    nmi_network *network = NULL;
    assert_ok(ctx, nmi_network_create(ctx, t, sizes, &network));
    return network;
}

/* Emission and backward take no memory after the first emission (and the first backward, if that
 * `may_take`), nor at a smaller size, of this stream. */
static inline void check_no_allocation(const char *settings, int64_t stream, bool may_take)
{
    test_allocator allocator = {0};
    neumeta_context *ctx = NULL;
    assert_ok(NULL, test_context_create(&allocator, &ctx));
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings);
    nmi_network *network = make_network(ctx, t, 16, 14);
    const int64_t smaller[3] = {stream, 6, 20};
    float *weights[16] = {NULL}, *gradients[16] = {NULL};
    for (int32_t i = 0; i < m->field_count; i++)
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
    for (int32_t i = 0; i < t->tensor_count; i++)
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    if (may_take)
        assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, NMI_FP32, weights, gradients));
    const int64_t calls = allocator.calls;
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, NMI_FP32, weights, gradients));
    assert_ok(ctx, nmi_network_resize(network, smaller));
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, NMI_FP32, weights, gradients));
    ck_assert_int_eq(allocator.calls, calls);
    for (int i = 0; i < 16; i++) {
        free(gradients[i]);
        free(weights[i]);
    }
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
    ck_assert_int_eq(allocator.blocks, 0);
}

/* What runs on workers, into one array: an average over `samples`, gradients at inner width
 * `inner`, and parameters fitted in `steps`. */
static inline float *everything(const char *settings, int32_t threads, int64_t inner,
                                int64_t samples, bool clean_first, int32_t steps, int64_t *total)
{
    neumeta_context *ctx = test_context();
    assert_ok(ctx, neumeta_context_set_threads(ctx, threads));
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings);
    nmi_network *network = make_network(ctx, t, 16, inner), *full = make_network(ctx, t, 16, 14);
    nmi_network *room = NULL;
    float *gradients[16] = {NULL}, *weights[16] = {NULL};
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8};
    *total = 0;
    for (int32_t i = 0; i < m->field_count; i++) {
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        *total += 2 * m->fields[i].parameter_count;
    }
    for (int32_t i = 0; i < t->tensor_count; i++) {
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        test_fill(weights[i], network->tensors[i].count, 5, -1, 1);
        *total += network->tensors[i].count;
    }
    assert_ok(ctx,
              nmi_manifold_emit_average(m, network, NULL, &noise, NMI_FP32, samples, clean_first));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, &noise, NMI_FP32, weights, gradients));
    nmi_network_initialize(full, 3);
    assert_ok(ctx, nmi_network_copy(full, &room));
    const nmi_fit_target target = {full, room, full->sizes, 1};
    assert_ok(ctx, nmi_manifold_fit(m, NULL, &target,
                                    &(nmi_fit){.steps = steps, .rate = 1e-3, .key = 4}));
    float *all = calloc((size_t)*total, sizeof(float)), *at = all;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        memcpy(at, network->tensors[i].data, (size_t)network->tensors[i].count * sizeof *at);
        at += network->tensors[i].count;
        free(weights[i]);
    }
    for (int32_t i = 0; i < m->field_count; i++) {
        const int64_t parameters = m->fields[i].parameter_count;
        memcpy(at, gradients[i], (size_t)parameters * sizeof *at);
        memcpy(at + parameters, m->fields[i].parameters, (size_t)parameters * sizeof *at);
        at += 2 * parameters;
        free(gradients[i]);
    }
    nmi_network_release(network);
    nmi_network_release(full);
    nmi_network_release(room);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
    return all;
}

/* A file in memory, written by nmi_manifold_write(). */
typedef struct test_file {
    char *data;
    size_t size;
} test_file;

static inline neumeta_status test_collect(void *user, const void *data, size_t size)
{
    test_file *to = user;
    to->data = realloc(to->data, to->size + size);
    ck_assert_ptr_nonnull(to->data);
    memcpy(to->data + to->size, data, size);
    to->size += size;
    return NEUMETA_OK;
}

/* The first place of a text in it. */
static inline char *test_find(const test_file *file, const char *text)
{
    for (size_t i = 0; i + strlen(text) <= file->size; i++)
        if (memcmp(file->data + i, text, strlen(text)) == 0)
            return file->data + i;
    ck_abort_msg("no %s in the file", text);
    return NULL;
}

static inline double mean_square(const nmi_network *network, int32_t tensor)
{
    const nmi_tensor *values = &network->tensors[tensor];
    return nmi_squared_norm(values->count, values->data) / (double)values->count;
}

/* That a random start by these settings has about the variance of fresh networks, on average over
 * seeds: values of one tensor have much in common at the start, as those of MLPs. */
static inline void assert_usual_spread(const char *settings)
{
    enum { SEEDS = 40 };
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_network *network = make_network(ctx, t, 16, 14);
    double conv = 0, linear = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        char text[128];
        snprintf(text, sizeof text, "%s INR_HIDDEN=64 SEED=%d", settings, seed);
        nmi_manifold *m = make_manifold(ctx, t, text);
        assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
        conv += mean_square(network, tensor(t, "a.weight")) / (2.0 / (16 * 9)) / SEEDS;
        linear += mean_square(network, tensor(t, "fc.weight")) / (1.0 / (3 * 16)) / SEEDS;
        nmi_manifold_release(m);
    }
    ck_assert_msg(conv > 0.4 && conv < 2.5, "%g of the variance of a convolution", conv);
    ck_assert_msg(linear > 0.4 && linear < 2.5, "%g of the variance of a linear layer", linear);
    nmi_network_release(network);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

/* Settings that no manifold may have, and what its refusal says. */
typedef struct refused_settings {
    const char *settings, *message;
} refused_settings;

static inline void assert_settings_refused(const refused_settings *cases, size_t count)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    for (size_t i = 0; i < count; i++) {
        nmi_manifold *m = NULL;
        assert_status(ctx, try_manifold(ctx, t, cases[i].settings, &m), NEUMETA_ERR_ARGUMENT);
        assert_message_contains(ctx, cases[i].message);
        ck_assert_ptr_null(m);
    }
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

#endif
