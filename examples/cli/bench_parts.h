/* SPDX-License-Identifier: MIT */
/* What the files of `neumeta bench` share: the measurement and its parts. */
#ifndef BENCH_PARTS_H
#define BENCH_PARTS_H

#include "bench.h"
#include "cli.h"

enum { BENCH_LIST = 16, BENCH_TIMES = 1001 }; /* most entries of a list, most timings */

typedef struct bench {
    const cli *c;
    char *topologies[BENCH_LIST], *precisions[BENCH_LIST];
    bench_inr inrs[BENCH_LIST];
    double *batches, *widths, *samples; /* whole numbers */
    size_t topology_count, inr_count, batch_count, width_count, sample_count, precision_count;
    int repetitions, threads;
    double seconds, peak; /* FLOP/s of all threads */
    json_t *rows;         /* of the present part */
    json_t *all;
} bench;

/* A new row of the present part. */
json_t *bench_add_row(const bench *b, const char *part, const char *work, const char *topology);
/* Median, fastest and slowest of the times, which are sorted. */
void bench_set_times(json_t *row, double *times, int count);
/* For qsort() of doubles. */
int bench_compare(const void *a, const void *b);

/* Parts that compute here (bench_timing.c). */
int bench_materialize(const bench *b);
int bench_train(const bench *b);
int bench_step(const bench *b);
int bench_inference(const bench *b);
/* Parts that start processes (bench_process.c), and what such a process does: load the file of a
 * network, or of a manifold to grow one from, and run a batch. */
int bench_memory(const bench *b);
int bench_start(const bench *b);
int bench_process(const bench *b, const char *path, bool grown);

#endif
