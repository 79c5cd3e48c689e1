/* SPDX-License-Identifier: MIT */
/*
 * What `neumeta bench` times: pieces of work made through the public API alone, and the processor
 * they run on. Needs nothing else of the command, so other programs can time the same work.
 */
#ifndef BENCH_H
#define BENCH_H

#include <neumeta.h>

#include <stdbool.h>
#include <stddef.h>

/* --- work (bench_work.c) --------------------------------------------------------------------- */

enum { BENCH_CHANNELS = 3, BENCH_SIDE = 32, BENCH_ITEM = 3 * 32 * 32, BENCH_CLASSES = 10 };

typedef enum bench_kind {
    BENCH_MATERIALIZE, /* one network out of a manifold */
    BENCH_RUN,         /* inference of a batch */
    BENCH_TRAIN,       /* one step of SGD on all weights */
    BENCH_MORPH,       /* one step of the reference method on the INRs of one block */
} bench_kind;

typedef struct bench_inr {
    int64_t hidden, layers, octaves;
} bench_inr;

typedef struct bench_spec {
    bench_kind kind;
    const char *topology;  /* a built-in residual network */
    const char *weights;   /* file with batch norm; NULL: fresh weights */
    bool folded;           /* batch norm folded; MATERIALIZE and MORPH always fold */
    int64_t batch;         /* RUN, TRAIN, MORPH */
    bench_inr inr;         /* MATERIALIZE, MORPH: of the last residual block */
    int64_t width;         /* MATERIALIZE: inner width of that block; 0: the full one */
    int64_t samples;       /* MATERIALIZE */
    double noise;          /* MORPH: NOISE of the manifold */
    const char *precision; /* all but RUN: as in PRECISION; NULL: fp32 */
    double rate;           /* TRAIN, MORPH: learning rate; at 0 all but the weights is computed */
} bench_spec;

/* Parts that a kind does not need are NULL. */
typedef struct bench_work {
    bench_spec spec;
    neumeta_context *context;
    neumeta_topology *topology; /* of the network */
    neumeta_network *network;
    neumeta_manifold *manifold;
    neumeta_options *sampling;
    neumeta_dataset *dataset;
    neumeta_trainer *trainer;
    int64_t *sizes;
    int32_t axes;
    int64_t rows; /* of the INRs at these sizes */
    float *inputs, *outputs;
    int64_t *targets;
    double flops; /* of one call of bench_once(), 2 for a multiply-add: see bench_work.c */
} bench_work;

/* On failure nothing is left to close and the context has a sentence, or none if memory ran out. */
neumeta_status bench_open(neumeta_context *context, const bench_spec *spec, bench_work *work);
neumeta_status bench_once(bench_work *work);
void bench_close(bench_work *work);
/* The same numbers for every program that compares: in [-1, 1), and classes in turn. */
void bench_items(int64_t count, float *inputs, int64_t *targets);

/* --- the processor (bench_machine.c) --------------------------------------------------------- */

/* Multiply-adds of this many threads at once, as FLOP/s: the fastest of several short loops that
 * never leave the registers. */
double bench_peak(int threads);
/* Which instructions that loop uses. */
const char *bench_peak_name(void);
/* The processor's name, "unknown" if the system does not tell. */
void bench_processor(char *name, size_t size);
int bench_processors(void);
/* Most memory that this process ever had in use, in bytes; 0 if the system does not tell. */
int64_t bench_peak_resident(void);

#endif
