/* SPDX-License-Identifier: MIT */
/*
 * Our side of tests/bench/peers.py, which explains the commands that come by stdin.
 * Usage: peer_neumeta THREADS
 */
#include "../../examples/cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIELDS = 10, STEPS = 3, SETTLING_STEPS = 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static neumeta_status answer(neumeta_context *context, neumeta_status status)
{
    if (status != NEUMETA_OK)
        printf("error\t%s: %s\n", neumeta_status_name(status), neumeta_context_message(context));
    return status;
}

/* open KIND TOPOLOGY WEIGHTS BATCH NORM INR NOISE RATE PRECISION */
static void open_work(neumeta_context *context, char *const *field, bench_work *work)
{
    static const char *const kinds[] = {"materialize", "run", "train", "step"};
    bench_spec spec = {.topology = field[2], .weights = field[3], .samples = 1};
    for (int k = 0; k < 4; k++)
        if (strcmp(field[1], kinds[k]) == 0)
            spec.kind = (bench_kind)k;
    int hidden = 0, layers = 0, octaves = 0;
    sscanf(field[6], "%4dx%2dx%2d", &hidden, &layers, &octaves);
    spec.inr = (bench_inr){hidden, layers, octaves};
    spec.batch = strtol(field[4], NULL, 10);
    spec.folded = strcmp(field[5], "batch") != 0;
    spec.noise = strtod(field[7], NULL);
    spec.rate = strtod(field[8], NULL);
    spec.precision = field[9];
    bench_close(work);
    if (answer(context, bench_open(context, &spec, work)) == NEUMETA_OK)
        printf("ok\t%.17g\n", work->flops);
}

static void time_work(neumeta_context *context, bench_work *work, long count, long before)
{
    neumeta_status status = NEUMETA_OK;
    for (long i = 0; i < before && status == NEUMETA_OK; i++)
        status = bench_once(work);
    double begin = now();
    for (long i = 0; i < count && status == NEUMETA_OK; i++)
        status = bench_once(work);
    if (answer(context, status) == NEUMETA_OK)
        printf("ok\t%.9f\n", now() - begin);
}

static neumeta_status write_outputs(bench_work *work, const char *path)
{
    neumeta_status status = bench_once(work);
    FILE *file = status == NEUMETA_OK ? fopen(path, "wb") : NULL;
    if (file == NULL)
        return status != NEUMETA_OK ? status : NEUMETA_ERR_IO;
    size_t count = (size_t)(work->spec.batch * BENCH_CLASSES);
    bool good = fwrite(work->outputs, sizeof(float), count, file) == count;
    return fclose(file) == 0 && good ? NEUMETA_OK : NEUMETA_ERR_IO;
}

/* What others compare with: outputs; what a manifold emits; or weights before and after steps. */
static neumeta_status write_results(bench_work *work, const char *before, const char *after)
{
    neumeta_network *made = NULL;
    neumeta_status status = NEUMETA_OK;
    const bench_kind kind = work->spec.kind;
    if (kind == BENCH_RUN)
        return write_outputs(work, after);
    if (kind != BENCH_TRAIN)
        status = neumeta_manifold_save(work->manifold, before);
    if (kind == BENCH_MATERIALIZE && status == NEUMETA_OK)
        status = neumeta_manifold_materialize(work->manifold, work->sizes, work->axes,
                                              work->sampling, &made);
    for (int i = 0; i < STEPS && kind != BENCH_MATERIALIZE && status == NEUMETA_OK; i++)
        status = bench_once(work);
    if (status == NEUMETA_OK)
        status = kind == BENCH_MORPH
                     ? neumeta_manifold_save(work->manifold, after)
                     : neumeta_network_save(made != NULL ? made : work->network, after);
    neumeta_network_free(made);
    return status;
}

/* A network whose running statistics fit its weights, so that outputs stay of a sane size. */
static neumeta_status make_network(neumeta_context *context, const char *topology, const char *path)
{
    bench_work work;
    neumeta_status status = bench_open(
        context,
        &(bench_spec){.kind = BENCH_TRAIN, .topology = topology, .batch = 32, .rate = 1e-3}, &work);
    for (int i = 0; i < SETTLING_STEPS && status == NEUMETA_OK; i++)
        status = bench_once(&work);
    if (status == NEUMETA_OK)
        status = neumeta_network_save(work.network, path);
    bench_close(&work);
    return status;
}

/* One command; false ends. */
static bool serve(neumeta_context *context, int threads, char *const *field, int fields,
                  bench_work *work)
{
    const char *command = field[0];
    if (strcmp(command, "quit") == 0)
        return false;
    if (strcmp(command, "about") == 0) {
        char processor[256];
        bench_processor(processor, sizeof processor);
        printf("ok\t%s\t%s\t%.6g\t%s\n", neumeta_version(), processor, bench_peak(threads),
               bench_peak_name());
    } else if (strcmp(command, "open") == 0 && fields == FIELDS) {
        open_work(context, field, work);
    } else if (strcmp(command, "make") == 0 && fields == 3) {
        if (answer(context, make_network(context, field[1], field[2])) == NEUMETA_OK)
            printf("ok\n");
    } else if (strcmp(command, "time") == 0 && fields == 3) {
        time_work(context, work, strtol(field[1], NULL, 10), strtol(field[2], NULL, 10));
    } else if (strcmp(command, "write") == 0 && fields == 3) {
        if (answer(context, write_results(work, field[1], field[2])) == NEUMETA_OK)
            printf("ok\n");
    } else {
        printf("error\tno such command: %s\n", command);
    }
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    static char line[16384];
    neumeta_context *context = NULL;
    bench_work work = {.context = NULL};
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (neumeta_context_create(NULL, NULL, NULL, &context) != NEUMETA_OK ||
        neumeta_context_set_threads(context, threads) != NEUMETA_OK)
        return 1;
    bool more = true;
    while (more && fgets(line, sizeof line, stdin) != NULL) {
        char *field[FIELDS], *rest = line;
        int fields = 0;
        line[strcspn(line, "\n")] = '\0';
        while (fields < FIELDS && rest != NULL) {
            field[fields++] = rest;
            rest = strchr(rest, '\t');
            if (rest != NULL)
                *rest++ = '\0';
        }
        more = serve(context, threads, field, fields, &work);
    }
    bench_close(&work);
    neumeta_context_free(context);
    return 0;
}
