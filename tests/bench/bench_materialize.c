/* SPDX-License-Identifier: MIT */
/*
 * Speed of materialisation and of its backward: the morphing tensors of one residual block of 64
 * channels (two 3x3 convolutions and their biases, 8,320 rows). Medians and spreads of repeated
 * runs. GFLOP/s count the first layer as one product, also where rows without noise save most of
 * it. Before them all kinds of INR: a whole ResNet-56.
 * Usage: bench_materialize [repetitions [threads [problems]]], problems of 0 (ResNet-56 alone)
 * to 3.
 */
#include "nmi_manifold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 101 };

typedef struct bench {
    nmi_context *context;
    nmi_topology *topology;
    nmi_manifold *manifold;
    nmi_network *network;
    nmi_noise noise;
    int32_t precision;
    float **weight_gradients, **parameter_gradients;
    double operations; /* multiply-adds of one emission, times 2 */
} bench;

static void need(const nmi_context *context, neumeta_status status)
{
    if (status == NEUMETA_OK)
        return;
    fprintf(stderr, "bench_materialize: %s\n", neumeta_context_message(context));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, const char *precision, int repetitions, bench *b,
                   neumeta_status (*work)(bench *b), double operations)
{
    char name[64];
    double seconds[MOST];
    need(b->context, work(b));
    for (int r = 0; r < repetitions; r++) {
        const double begin = now();
        need(b->context, work(b));
        seconds[r] = now() - begin;
    }
    qsort(seconds, (size_t)repetitions, sizeof *seconds, by_value);
    const double median = seconds[repetitions / 2];
    snprintf(name, sizeof name, "%s%s", what, precision);
    printf("  %-27s %9.3f ms   (%.3f to %.3f)", name, 1e3 * median, 1e3 * seconds[0],
           1e3 * seconds[repetitions - 1]);
    printf(operations > 0 ? "   %7.1f GFLOP/s\n" : "\n", 1e-9 * operations / median);
}

/* --- the problem ------------------------------------------------------------------------- */

static int32_t convolution(bench *b, const char *name, int32_t input, int32_t axis)
{
    nmi_options *options = NULL;
    int32_t node;
    need(b->context, nmi_options_create(b->context, &options));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_PADDING, 1));
    need(b->context, neumeta_topology_add_node(b->topology, name, NEUMETA_OP_CONV, &input, 1, axis,
                                               options, &node));
    nmi_options_release(options);
    return node;
}

static void make_topology(bench *b)
{
    nmi_options *options = NULL;
    int32_t stream, inner, node;
    need(b->context, nmi_options_create(b->context, &options));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INPUT_CHANNELS, 64));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INPUT_HEIGHT, 8));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INPUT_WIDTH, 8));
    need(b->context, neumeta_topology_create(b->context, &b->topology));
    need(b->context,
         neumeta_topology_add_axis(b->topology, "stream", NEUMETA_AXIS_WIDTH, 64, 64, 1, &stream));
    need(b->context,
         neumeta_topology_add_axis(b->topology, "inner", NEUMETA_AXIS_WIDTH, 8, 64, 1, &inner));
    need(b->context, neumeta_topology_add_node(b->topology, "in", NEUMETA_OP_INPUT, NULL, 0, -1,
                                               options, &node));
    need(b->context, neumeta_topology_begin_block(b->topology, "block"));
    node = convolution(b, "conv1", node, inner);
    node = convolution(b, "conv2", node, stream);
    need(b->context, neumeta_topology_seal(b->topology, node));
    nmi_options_release(options);
}

/* Room for gradients, those of the weights filled. */
static void make_gradients(bench *b)
{
    const int32_t count = b->topology->tensor_count, fields = b->manifold->field_count;
    b->weight_gradients = calloc((size_t)count, sizeof *b->weight_gradients);
    b->parameter_gradients = calloc((size_t)fields, sizeof *b->parameter_gradients);
    for (int32_t t = 0; t < count; t++) {
        const nmi_tensor *tensor = &b->network->tensors[t];
        b->weight_gradients[t] = calloc((size_t)tensor->count, sizeof(float));
        for (int64_t i = 0; i < tensor->count; i++)
            b->weight_gradients[t][i] = (float)(i % 7) - 3;
    }
    for (int32_t f = 0; f < fields; f++)
        b->parameter_gradients[f] =
            calloc((size_t)b->manifold->fields[f].parameter_count, sizeof(float));
}

static void make_manifold(bench *b, int64_t hidden, int64_t layers, int64_t octaves,
                          const char *encoding)
{
    const int64_t sizes[2] = {64, 64};
    nmi_options *options = NULL;
    need(b->context, nmi_options_create(b->context, &options));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INR_HIDDEN, hidden));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INR_LAYERS, layers));
    need(b->context, nmi_options_set_int(options, NEUMETA_KEY_INR_OCTAVES, octaves));
    need(b->context, nmi_options_set_text(options, NEUMETA_KEY_INR_ENCODING, encoding));
    need(b->context, nmi_manifold_create(b->context, b->topology, options, &b->manifold));
    need(b->context, nmi_network_create(b->context, b->topology, sizes, &b->network));
    nmi_options_release(options);
    make_gradients(b);
    const int64_t inputs = b->manifold->mlp.encoding.inputs;
    b->operations = 0;
    for (int32_t t = 0; t < b->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &b->network->tensors[t];
        const int64_t rows = tensor->dims[0] * tensor->dims[1];
        b->operations += 2 * (double)rows *
                         (double)(inputs * hidden + (layers - 1) * hidden * hidden +
                                  hidden * (tensor->count / rows));
    }
    b->noise = (nmi_noise){.amplitude = 1, .clamp = 1, .key = 1};
}

static void end_manifold(bench *b)
{
    for (int32_t t = 0; t < b->topology->tensor_count; t++)
        free(b->weight_gradients[t]);
    for (int32_t f = 0; f < b->manifold->field_count; f++)
        free(b->parameter_gradients[f]);
    free(b->weight_gradients);
    free(b->parameter_gradients);
    nmi_network_release(b->network);
    nmi_manifold_release(b->manifold);
}

static neumeta_status emit(bench *b)
{
    return nmi_manifold_emit(b->manifold, b->network, NULL, &b->noise, b->precision);
}

static neumeta_status backward(bench *b)
{
    return nmi_manifold_backward(b->manifold, b->network, NULL, &b->noise, b->precision,
                                 b->weight_gradients, b->parameter_gradients);
}

static neumeta_status emit_clean(bench *b)
{
    return nmi_manifold_emit(b->manifold, b->network, NULL, NULL, b->precision);
}

static neumeta_status backward_clean(bench *b)
{
    return nmi_manifold_backward(b->manifold, b->network, NULL, NULL, b->precision,
                                 b->weight_gradients, b->parameter_gradients);
}

static neumeta_status average(bench *b)
{
    return nmi_manifold_emit_average(b->manifold, b->network, NULL, &b->noise, b->precision, 8,
                                     true);
}

static void run(bench *b, int repetitions, int64_t hidden, int64_t layers, int64_t octaves,
                const char *encoding)
{
    make_manifold(b, hidden, layers, octaves, encoding);
    printf("8,320 rows, INR %d x %d, %d octaves, %s encoding (%d inputs), blocks of %d rows\n",
           (int)hidden, (int)layers, (int)octaves, encoding, (int)b->manifold->mlp.encoding.inputs,
           (int)b->manifold->mlp.block_rows);
    for (b->precision = NMI_FP32; b->precision <= NMI_BF16; b->precision++) {
        const char *name = b->precision == NMI_BF16 ? ", bf16" : "";
        const bool plain = b->manifold->settings.encoding == NMI_ENCODING_PLAIN;
        report("emit", name, repetitions, b, emit, b->operations);
        report("backward", name, repetitions, b, backward, 0);
        if (plain) {
            report("emit, no noise", name, repetitions, b, emit_clean, b->operations);
            report("backward, no noise", name, repetitions, b, backward_clean, 0);
        }
        if (plain && hidden < 512)
            report("average of 8 samples", name, repetitions < 3 ? repetitions : 3, b, average,
                   8 * b->operations);
    }
    end_manifold(b);
}

/* --- whole networks ---------------------------------------------------------------------- */

static neumeta_status materialize(bench *b)
{
    nmi_network *made = NULL;
    const neumeta_status status =
        nmi_manifold_materialize(b->manifold, b->network->sizes, NULL, &made);
    nmi_network_release(made);
    return status;
}

/* The whole network, to the handle that runs; and what a training step takes of it. `settings`:
 * "NAME=value NAME=value". */
static void run_whole(bench *b, int repetitions, const char *settings, double gamma)
{
    nmi_options *options = NULL;
    char text[256], *rest = text;
    need(b->context, nmi_options_create(b->context, &options));
    need(b->context, nmi_options_set_text(options, NEUMETA_KEY_NORM, "none"));
    need(b->context,
         nmi_topology_create_builtin(b->context, "resnet56-cifar", options, &b->topology));
    nmi_options_unset(options, NEUMETA_KEY_NORM);
    snprintf(text, sizeof text, "%s", settings);
    for (char *key = strtok_r(text, " =", &rest); key != NULL; key = strtok_r(NULL, " =", &rest))
        need(b->context, nmi_options_parse(options, key, strtok_r(NULL, " ", &rest)));
    need(b->context, nmi_manifold_create(b->context, b->topology, options, &b->manifold));
    nmi_options_release(options);
    int64_t *sizes = calloc((size_t)b->topology->axis_count, sizeof *sizes);
    nmi_manifold_sizes_at(b->manifold, gamma, sizes);
    need(b->context, nmi_network_create(b->context, b->topology, sizes, &b->network));
    free(sizes);
    make_gradients(b);
    printf("ResNet-56 at gamma %g, %s: %lld parameters\n", gamma, settings,
           (long long)nmi_manifold_parameter_count(b->manifold));
    report("materialise", "", repetitions, b, materialize, 0);
    report("emit", "", repetitions, b, emit_clean, 0);
    report("backward", "", repetitions, b, backward_clean, 0);
    end_manifold(b);
    neumeta_topology_free(b->topology);
}

/* Separable INRs, and MLPs, of about as many parameters as the network has; a trunk of as many
 * hidden units as the latter, and one of more. */
static void run_networks(bench *b, int repetitions)
{
    static const char *const settings[] = {
        "INR_KIND=grid",
        "INR_KIND=grid GRID_TERMS=1",
        "INR_KIND=grid GRID_GAUGE=relative",
        "INR_KIND=grid GRID_GAUGE=relative GRID_TERMS=1",
        "INR_KIND=separable INR_ENCODING=integrated INR_HIDDEN=24 INR_LAYERS=2 INR_RANK=64",
        "INR_KIND=separable INR_ENCODING=integrated INR_HIDDEN=128 INR_LAYERS=2 INR_RANK=64",
        "INR_KIND=mlp INR_ENCODING=integrated INR_HIDDEN=48 INR_LAYERS=2",
        "INR_KIND=trunk INR_ENCODING=integrated INR_HIDDEN=48 INR_LAYERS=2",
        "INR_KIND=mlp INR_ENCODING=integrated INR_HIDDEN=128 INR_LAYERS=3",
        "INR_KIND=trunk INR_ENCODING=integrated INR_HIDDEN=128 INR_LAYERS=3"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        run_whole(b, repetitions, settings[i], 0);
        run_whole(b, repetitions, settings[i], 0.5);
    }
}

int main(int count, char **arguments)
{
    bench b = {0};
    int repetitions = count > 1 ? atoi(arguments[1]) : 11;
    const int threads = count > 2 ? atoi(arguments[2]) : 1;
    const int problems = count > 3 ? atoi(arguments[3]) : 3;
    repetitions = repetitions < 1 ? 1 : repetitions > MOST ? MOST : repetitions;
    need(NULL, neumeta_context_create(NULL, NULL, NULL, &b.context));
    need(b.context, neumeta_context_set_threads(b.context, threads));
    printf("%d thread(s)\n", (int)nmi_worker_count(b.context));
    run_networks(&b, repetitions);
    make_topology(&b);
    if (problems > 0)
        run(&b, repetitions, 256, 5, 16, "plain");
    if (problems > 1)
        run(&b, repetitions, 256, 5, 16, "integrated");
    if (problems > 2)
        run(&b, repetitions, 512, 8, 32, "plain");
    neumeta_topology_free(b.topology);
    neumeta_context_free(b.context);
    return 0;
}
