/* SPDX-License-Identifier: MIT */
/*
 * Where a training step goes: ResNet-20 on images of CIFAR's size, batch 128, by the protocols of
 * docs/results and by plain training with batch norm. The linker puts a clock around the calls
 * that a step makes to the units below it; what lies between them is the trainer's own.
 * Prints the fastest step, the least processor time of one (of all threads, waiting included), and
 * the share of each part in all steps.
 * Usage: bench_step [steps [threads [protocol]]].
 */
#include "nmi_trainer.h"

#include "nmi_optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TRAIN = 8192, IMAGE = 3 * 32 * 32, CLASSES = 10, STEPS_MOST = 1000 };

enum { DATA, EMISSION, FORWARD, LOSSES, BACKWARD, INR_BACKWARD, PARTS };

static const char *const part_names[PARTS] = {"data",   "emission", "forward",
                                              "losses", "backward", "INR backward"};

static double part_seconds[PARTS];

static double clock_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

/* --- clocks ---------------------------------------------------------------------------------- */

/* The linker sends calls of NAME to __wrap_NAME, and those of __real_NAME to NAME. */
#define CLOCKED(part, type, name, parameters, arguments)                                           \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        const double begin = now();                                                                \
        type result = __real_##name arguments;                                                     \
        part_seconds[part] += now() - begin;                                                       \
        return result;                                                                             \
    }

CLOCKED(DATA, neumeta_status, nmi_dataset_fetch,
        (nmi_dataset * dataset, int32_t split, const int64_t *indices, int64_t count, uint64_t key,
         bool augment, float *inputs, int64_t *targets),
        (dataset, split, indices, count, key, augment, inputs, targets))
CLOCKED(EMISSION, neumeta_status, nmi_manifold_emit,
        (nmi_manifold * manifold, nmi_network *network, const bool *fields, const nmi_noise *noise,
         int32_t precision),
        (manifold, network, fields, noise, precision))
CLOCKED(EMISSION, neumeta_status, nmi_manifold_emit_keeping,
        (nmi_manifold * manifold, nmi_network *network, const bool *fields, const nmi_noise *noise,
         int32_t precision),
        (manifold, network, fields, noise, precision))
CLOCKED(FORWARD, const float *, nmi_pass_forward,
        (nmi_pass * pass, nmi_network *network, const float *inputs, int64_t items,
         const bool *batch_norm),
        (pass, network, inputs, items, batch_norm))
CLOCKED(FORWARD, const float *, nmi_pass_forward_again,
        (nmi_pass * pass, nmi_network *network, const bool *changed), (pass, network, changed))
CLOCKED(LOSSES, nmi_loss, nmi_trainer_output_loss,
        (nmi_trainer * trainer, const float *outputs, int64_t minibatch, bool distil, double share),
        (trainer, outputs, minibatch, distil, share))
CLOCKED(LOSSES, double, nmi_trainer_weight_loss, (nmi_trainer * trainer, double share),
        (trainer, share))
CLOCKED(INR_BACKWARD, neumeta_status, nmi_manifold_backward,
        (nmi_manifold * manifold, const nmi_network *network, const bool *fields,
         const nmi_noise *noise, int32_t precision, float *const *weight_gradients,
         float *const *slot_gradients),
        (manifold, network, fields, noise, precision, weight_gradients, slot_gradients))

void __real_nmi_pass_backward(nmi_pass *pass, nmi_network *network, const float *output_gradients,
                              float *const *gradients);
void __wrap_nmi_pass_backward(nmi_pass *pass, nmi_network *network, const float *output_gradients,
                              float *const *gradients);
void __wrap_nmi_pass_backward(nmi_pass *pass, nmi_network *network, const float *output_gradients,
                              float *const *gradients)
{
    const double begin = now();
    __real_nmi_pass_backward(pass, network, output_gradients, gradients);
    part_seconds[BACKWARD] += now() - begin;
}

/* --- protocols ------------------------------------------------------------------------------- */

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

typedef struct protocol {
    const char *name, *help;
    int64_t block; /* the only one that morphs, from 1; 0: plain training with batch norm */
    const char *const *phase;
} protocol;

static const protocol protocols[] = {
    {"nm-last", "the last block morphs, one size a step", 9,
     (const char *const[]){"learning-rate", "5e-4", "weight-decay", "1e-2", "clip-value", "10",
                           "ema", "0.995", "loss-norm", "1e-4", "loss-reconstruction", "1",
                           "reconstruction-weighted", "1", "gamma-max", "0.5", NULL}},
    {"sandwich", "the last block morphs, four sizes share a batch", 9,
     (const char *const[]){"group",
                           "4",
                           "size-draw",
                           "sandwich",
                           "learning-rate",
                           "5e-4",
                           "weight-decay",
                           "1e-2",
                           "clip-value",
                           "10",
                           "ema",
                           "0.995",
                           "loss-norm",
                           "1e-4",
                           "loss-reconstruction",
                           "1",
                           "gamma-max",
                           "0.5",
                           "loss-distillation",
                           "1",
                           "distillation-teacher",
                           "widest",
                           NULL}},
    {"block-wise", "a block in the middle morphs, four sizes a step, the classifier goes along", 5,
     (const char *const[]){"group",
                           "4",
                           "size-draw",
                           "full-first",
                           "learning-rate",
                           "8e-4",
                           "weight-decay",
                           "1e-4",
                           "clip-value",
                           "10",
                           "loss-norm",
                           "1e-3",
                           "loss-reconstruction",
                           "1",
                           "gamma-max",
                           "0.5",
                           "direct-blocks",
                           "-1",
                           "direct-rate",
                           "7e-5",
                           "direct-decay",
                           "1e-2",
                           NULL}},
    {"plain", "batch norm, stochastic gradient descent", 0,
     (const char *const[]){"optimizer", "sgd", "learning-rate", "1e-3", "weight-decay", "5e-4",
                           "ema", "0.99", NULL}},
};

typedef struct bench {
    nmi_context *context;
    nmi_topology *topology;
    nmi_network *network;
    nmi_manifold *manifold;
    nmi_dataset *dataset;
    nmi_schedule *schedule;
    nmi_trainer *trainer;
    unsigned char *pixels;
} bench;

static void check(const bench *b, neumeta_status status)
{
    if (status != NEUMETA_OK) {
        fprintf(stderr, "%s\n", neumeta_context_message(b->context));
        exit(1);
    }
}

static nmi_options *options_of(const bench *b, const char *const *pairs)
{
    nmi_options *options = NULL;
    check(b, nmi_options_create(b->context, &options));
    for (; pairs[0] != NULL; pairs += 2)
        check(b, nmi_options_parse(options, pairs[0], pairs[1]));
    return options;
}

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    const unsigned char *pixels = user;
    (void)split;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t p = 0; p < IMAGE; p++)
            inputs[i * IMAGE + p] = (float)pixels[indices[i] * IMAGE + p] / 255;
        targets[i] = indices[i] % CLASSES;
    }
    return 0;
}

static void make_data(bench *b)
{
    nmi_options *options =
        options_of(b, PAIRS("input-height", "32", "input-width", "32", "augment-shift", "4",
                            "augment-flip", "1", "data-mean", "0.5", "data-std", "0.25"));
    b->pixels = malloc((size_t)TRAIN * IMAGE);
    if (b->pixels == NULL)
        exit(1);
    for (size_t i = 0; i < (size_t)TRAIN * IMAGE; i++)
        b->pixels[i] = (unsigned char)(i * 2654435761u >> 13);
    check(b, nmi_dataset_create(b->context, TRAIN, 0, fetch, b->pixels, options, &b->dataset));
    nmi_options_release(options);
}

static void make_trainer(bench *b, const protocol *p)
{
    const bool plain = p->block == 0;
    const int32_t block = plain ? 0 : (int32_t)p->block;
    nmi_options *options = options_of(b, PAIRS("norm", plain ? "batch" : "none"));
    check(b, nmi_topology_create_builtin(b->context, "resnet20-cifar", options, &b->topology));
    nmi_options_release(options);
    check(b, neumeta_network_create(b->topology, NULL, 0, &b->network));
    for (int32_t t = 0; !plain && t < b->topology->tensor_count; t++)
        /* Without norms residual sums grow: start small. */
        nmi_scale_array(b->network->tensors[t].count, 0.5f, b->network->tensors[t].data);
    if (!plain) {
        options = options_of(b, PAIRS("inr-hidden", "256", "inr-layers", "5", "inr-octaves", "16"));
        check(b, nmi_options_set_ints(options, NEUMETA_KEY_MORPH_BLOCKS, &p->block, 1));
        check(b, nmi_manifold_create(b->context, b->topology, options, &b->manifold));
        nmi_options_release(options);
    }
    options = options_of(b, p->phase);
    check(b, nmi_options_parse(options, "epochs", "1000"));
    check(b, nmi_options_parse(options, "batch", "128"));
    check(b, nmi_schedule_create(b->context, &b->schedule));
    check(b, nmi_schedule_add_phase(b->schedule, p->name, block, plain ? -1 : block, options));
    nmi_options_release(options);
    check(b, nmi_trainer_create(b->context, b->manifold, b->network, b->schedule, b->dataset, NULL,
                                &b->trainer));
}

static void dispose(bench *b)
{
    nmi_trainer_release(b->trainer);
    nmi_schedule_release(b->schedule);
    nmi_dataset_release(b->dataset);
    nmi_manifold_release(b->manifold);
    nmi_network_release(b->network);
    nmi_topology_release(b->topology);
    neumeta_context_free(b->context);
    free(b->pixels);
}

/* --- report ---------------------------------------------------------------------------------- */

static void report(const protocol *p, int32_t threads, double fastest, double least, double all)
{
    double rest = all;
    printf("%-10s  threads %d  %8.2f ms  (processor %8.2f ms) ", p->name, (int)threads,
           1e3 * fastest, 1e3 * least);
    for (int i = 0; i < PARTS; i++) {
        rest -= part_seconds[i];
        printf("  %s %.2f %%", part_names[i], 100 * part_seconds[i] / all);
    }
    printf("  optimisers and the rest %.2f %%\n", 100 * rest / all);
    fflush(stdout);
}

static void measure(const protocol *p, int32_t threads, int steps)
{
    bench b = {0};
    double fastest = 1e9, least = 1e9, all = 0;
    if (neumeta_context_create(NULL, NULL, NULL, &b.context) != NEUMETA_OK)
        exit(1);
    check(&b, neumeta_context_set_threads(b.context, threads));
    make_data(&b);
    make_trainer(&b, p);
    for (int i = 0; i < 2; i++)
        check(&b, nmi_trainer_step(b.trainer));
    memset(part_seconds, 0, sizeof part_seconds);
    for (int i = 0; i < steps; i++) {
        const double begin = now(), used = clock_of(CLOCK_PROCESS_CPUTIME_ID);
        check(&b, nmi_trainer_step(b.trainer));
        const double seconds = now() - begin;
        const double processor = clock_of(CLOCK_PROCESS_CPUTIME_ID) - used;
        all += seconds;
        fastest = seconds < fastest ? seconds : fastest;
        least = processor < least ? processor : least;
    }
    report(p, threads, fastest, least, all);
    dispose(&b);
}

int main(int count, char **arguments)
{
    int steps = count > 1 ? atoi(arguments[1]) : 10;
    const int threads = count > 2 ? atoi(arguments[2]) : 0;
    if (steps < 1 || steps > STEPS_MOST)
        steps = 10;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        if (count > 3 && strcmp(arguments[3], protocols[i].name) != 0)
            continue;
        printf("%s: %s\n", protocols[i].name, protocols[i].help);
        for (int32_t t = 1; t <= 2; t++)
            if (threads == 0 || threads == t)
                measure(&protocols[i], t, steps);
    }
    return 0;
}
