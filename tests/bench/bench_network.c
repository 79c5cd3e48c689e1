/* SPDX-License-Identifier: MIT */
/*
 * Speed of whole networks: training steps (forward, backward, SGD) of ResNet-20, and inference of
 * ResNet-20 and ResNet-56 at several batch sizes, on one and two threads. Prints median and spread
 * of images a second and the arithmetic rate. Usage: bench_network [repetitions].
 */
#include "nmi_loss.h"
#include "nmi_optimizer.h"
#include "nmi_pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 128, MOST = 101 };

typedef struct bench {
    nmi_context *context;
    nmi_topology *topology;
    nmi_network *network;
    nmi_pass *pass;
    bool *norms;
    float **gradients, **moments;
    float *inputs, *outputs;
    int64_t labels[BATCH];
    double losses[BATCH];
    int64_t batch;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *need(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

static void check(const bench *b, neumeta_status status)
{
    if (status != NEUMETA_OK) {
        fprintf(stderr, "%s\n", neumeta_context_message(b->context));
        exit(1);
    }
}

static void train_step(bench *b)
{
    const nmi_sgd sgd = {0.01f, 0.9f, 1e-4f, true, false};
    const nmi_topology *topology = b->topology;
    const float *logits = nmi_pass_forward(b->pass, b->network, b->inputs, b->batch, b->norms);
    nmi_cross_entropy(b->batch, 10, logits, b->labels, 0.0f, 1.0f / (float)b->batch, false,
                      b->losses, b->outputs);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (b->gradients[t] != NULL)
            memset(b->gradients[t], 0, (size_t)b->network->tensors[t].count * sizeof(float));
    nmi_pass_backward(b->pass, b->network, b->outputs, b->gradients);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (b->gradients[t] != NULL)
            nmi_sgd_step(&sgd, b->network->tensors[t].count, b->gradients[t], b->moments[t],
                         b->network->tensors[t].data);
    nmi_network_touch(b->network);
}

static void run_once(bench *b)
{
    check(b, nmi_network_run(b->network, b->inputs, b->batch, b->outputs));
}

static void report(bench *b, const char *name, int32_t threads, int repetitions, double flops,
                   void (*work)(bench *))
{
    double seconds[MOST];
    check(b, neumeta_context_set_threads(b->context, threads));
    work(b);
    double begin = now();
    work(b);
    double once = now() - begin;
    int inner = once < 0.02 ? (int)(0.02 / once) + 1 : 1;
    for (int r = 0; r < repetitions; r++) {
        begin = now();
        for (int i = 0; i < inner; i++)
            work(b);
        seconds[r] = (now() - begin) / inner;
    }
    qsort(seconds, (size_t)repetitions, sizeof *seconds, by_value);
    double median = seconds[repetitions / 2];
    double images = (double)b->batch;
    printf("%-28s batch %3d  threads %d  %8.2f ms (%.2f to %.2f)  %8.1f images/s  %6.1f GFLOP/s\n",
           name, (int)b->batch, (int)threads, median * 1e3, seconds[0] * 1e3,
           seconds[repetitions - 1] * 1e3, images / median, images * flops / median * 1e-9);
    fflush(stdout);
}

/* What train_step() needs. */
static void prepare_training(bench *b, bool norm)
{
    check(b,
          nmi_pass_create(b->context, b->topology, b->network->sizes, BATCH, NMI_FP32, &b->pass));
    size_t tensors = (size_t)b->topology->tensor_count;
    b->norms = need(calloc((size_t)b->topology->node_count, sizeof *b->norms));
    b->gradients = need(calloc(tensors, sizeof *b->gradients));
    b->moments = need(calloc(tensors, sizeof *b->moments));
    for (int32_t n = 0; n < b->topology->node_count; n++)
        b->norms[n] = b->topology->nodes[n].op == NEUMETA_OP_NORM;
    for (size_t t = 0; t < tensors; t++) {
        size_t count = (size_t)b->network->tensors[t].count;
        if (!nmi_role_is_trainable(b->topology->tensors[t].role))
            continue;
        b->gradients[t] = need(calloc(count, sizeof(float)));
        b->moments[t] = need(calloc(count, sizeof(float)));
        if (!norm) /* without norms, residual sums grow: start small enough to stay finite */
            for (size_t i = 0; i < count; i++)
                b->network->tensors[t].data[i] *= 0.5f;
    }
}

static void prepare(bench *b, const char *name, bool norm)
{
    nmi_options *options = NULL;
    check(b, nmi_options_create(b->context, &options));
    check(b, nmi_options_set_text(options, NEUMETA_KEY_NORM, norm ? "batch" : "none"));
    check(b, nmi_topology_create_builtin(b->context, name, options, &b->topology));
    nmi_options_release(options);
    check(b, neumeta_network_create(b->topology, NULL, 0, &b->network));
    b->inputs = need(malloc(BATCH * 3072 * sizeof *b->inputs));
    b->outputs = need(malloc(BATCH * 10 * sizeof *b->outputs));
    for (size_t i = 0; i < BATCH * 3072; i++)
        b->inputs[i] = (float)(i * 2654435761u % 1000) * 2e-3f - 1.0f;
    for (int i = 0; i < BATCH; i++)
        b->labels[i] = i % 10;
}

static void dispose(bench *b)
{
    for (int32_t t = 0; t < b->topology->tensor_count && b->gradients != NULL; t++) {
        free(b->gradients[t]);
        free(b->moments[t]);
    }
    free(b->gradients);
    free(b->moments);
    free(b->norms);
    free(b->inputs);
    free(b->outputs);
    nmi_pass_free(b->pass);
    nmi_network_release(b->network);
    nmi_topology_release(b->topology);
    *b = (bench){.context = b->context};
}

static double cost(bench *b)
{
    int64_t parameters;
    int64_t flops;
    check(b, nmi_graph_cost(b->topology, b->network->sizes, &parameters, &flops));
    return (double)flops;
}

static void bench_training(bench *b, int repetitions)
{
    for (int norm = 1; norm >= 0; norm--) {
        prepare(b, "resnet20-cifar", norm != 0);
        prepare_training(b, norm != 0);
        b->batch = BATCH;
        for (int32_t threads = 1; threads <= 2; threads++)
            report(b, norm ? "train resnet20, batch norm" : "train resnet20, no norm", threads,
                   repetitions, 3.0 * cost(b), train_step);
        dispose(b);
    }
}

static void bench_inference(bench *b, const char *name, int repetitions)
{
    static const int64_t batches[] = {1, 3, 4, BATCH};
    prepare(b, name, true);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        b->batch = batches[i];
        for (int32_t threads = 1; threads <= 2; threads++)
            report(b, name, threads, repetitions, cost(b), run_once);
    }
    dispose(b);
}

int main(int count, char **arguments)
{
    int repetitions = count > 1 ? atoi(arguments[1]) : 9;
    bench b = {0};
    if (repetitions < 1 || repetitions > MOST ||
        neumeta_context_create(NULL, NULL, NULL, &b.context))
        return 1;
    bench_training(&b, repetitions);
    bench_inference(&b, "resnet20-cifar", repetitions);
    bench_inference(&b, "resnet56-cifar", repetitions);
    neumeta_context_free(b.context);
    return 0;
}
