/* SPDX-License-Identifier: MIT */
/* The parts of neumeta bench that compute in this process. */
#include "bench_parts.h"

#include <stdlib.h>

enum { TIMES_LEAST = 3, PATIENCE = 4 };

/* --- timing ---------------------------------------------------------------------------------- */

int bench_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Median, fastest and slowest of the times, which are sorted. */
void bench_set_times(json_t *row, double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, bench_compare);
    json_object_set_new(row, "repetitions", json_integer(count));
    json_object_set_new(row, "median_ms", json_real(1e3 * times[count / 2]));
    json_object_set_new(row, "min_ms", json_real(1e3 * times[0]));
    json_object_set_new(row, "max_ms", json_real(1e3 * times[count - 1]));
}

/* Each timing repeats the work so often that all of them fill the time of a measurement; where even
 * single calls take far longer, there are fewer of them. The first call takes memory: not timed. */
static int time_work(const bench *b, bench_work *work, json_t *row)
{
    double times[BENCH_TIMES];
    double start = cli_seconds();
    int code = cli_check(b->c, bench_once(work), NULL);
    const double once = cli_seconds() - start, share = b->seconds / b->repetitions;
    const int64_t calls = once < share ? (int64_t)(share / (once + 1e-9)) : 1;
    int count = 0;
    start = cli_seconds();
    while (code == CLI_OK && count < b->repetitions &&
           (count < TIMES_LEAST || cli_seconds() - start < PATIENCE * b->seconds)) {
        double begin = cli_seconds();
        for (int64_t i = 0; i < calls && code == CLI_OK; i++)
            code = cli_check(b->c, bench_once(work), NULL);
        times[count++] = (cli_seconds() - begin) / (double)calls;
        if (code == CLI_OK && cli_interrupted())
            code = CLI_CANCELLED;
    }
    if (code == CLI_OK)
        bench_set_times(row, times, count);
    return code;
}

json_t *bench_add_row(const bench *b, const char *part, const char *work, const char *topology)
{
    json_t *row = json_pack("{s:s, s:s, s:i, s:s}", "part", part, "work", work, "threads",
                            b->threads, "topology", topology);
    json_array_append_new(b->rows, row);
    return row;
}

/* Opens the work, times it and completes its row. */
static int measure(const bench *b, const bench_spec *spec, json_t *row)
{
    bench_work work;
    int code = cli_check(b->c, bench_open(b->c->context, spec, &work), NULL);
    if (code != CLI_OK)
        return code;
    code = time_work(b, &work, row);
    if (code == CLI_OK) {
        const double seconds = 1e-3 * json_real_value(json_object_get(row, "median_ms"));
        if (spec->batch > 0)
            json_object_set_new(row, "images_per_second", json_real((double)spec->batch / seconds));
        json_object_set_new(row, "gflops", json_real(1e-9 * work.flops / seconds));
        if (b->peak > 0)
            json_object_set_new(row, "peak_share", json_real(work.flops / seconds / b->peak));
        if (spec->kind == BENCH_MATERIALIZE)
            json_object_set_new(row, "rows", json_integer(work.rows));
    }
    bench_close(&work);
    return code;
}

/* --- parts that compute ---------------------------------------------------------------------- */

static void set_inr(json_t *row, const bench_inr *inr)
{
    json_object_set_new(row, "hidden", json_integer(inr->hidden));
    json_object_set_new(row, "layers", json_integer(inr->layers));
    json_object_set_new(row, "octaves", json_integer(inr->octaves));
}

static int materialize_one(const bench *b, const bench_inr *inr, double width, double samples,
                           const char *precision)
{
    char name[128];
    const bench_spec spec = {.kind = BENCH_MATERIALIZE,
                             .topology = b->topologies[0],
                             .inr = *inr,
                             .width = (int64_t)width,
                             .samples = (int64_t)samples,
                             .precision = precision};
    snprintf(name, sizeof name, "%s, width %.0f, INR %dx%dx%d, %.0f sample%s, %s", spec.topology,
             width, (int)inr->hidden, (int)inr->layers, (int)inr->octaves, samples,
             samples == 1 ? "" : "s", precision);
    json_t *row = bench_add_row(b, "materialize", name, spec.topology);
    json_object_set_new(row, "width", json_integer(spec.width));
    json_object_set_new(row, "samples", json_integer(spec.samples));
    json_object_set_new(row, "precision", json_string(precision));
    set_inr(row, inr);
    return measure(b, &spec, row);
}

static int materialize_all(const bench *b, const char *precision)
{
    int code = CLI_OK;
    for (size_t i = 0; i < b->inr_count; i++)
        for (size_t w = 0; w < b->width_count && code == CLI_OK; w++)
            code = materialize_one(b, &b->inrs[i], b->widths[w], b->samples[0], precision);
    for (size_t s = 1; s < b->sample_count && code == CLI_OK; s++)
        code = materialize_one(b, &b->inrs[0], b->widths[b->width_count - 1], b->samples[s],
                               precision);
    return code;
}

int bench_materialize(const bench *b)
{
    int code = CLI_OK;
    for (size_t p = 0; p < b->precision_count && code == CLI_OK; p++)
        code = materialize_all(b, b->precisions[p]);
    return code;
}

/* A row about images: of train, step and run. */
static int measure_images(const bench *b, const char *part, const bench_spec *spec)
{
    char name[128];
    const char *norm = spec->folded ? "folded" : "batch norm";
    snprintf(name, sizeof name, "%s, %s, batch %d%s%s", spec->topology, norm, (int)spec->batch,
             spec->precision != NULL ? ", " : "", spec->precision != NULL ? spec->precision : "");
    json_t *row = bench_add_row(b, part, name, spec->topology);
    json_object_set_new(row, "norm", json_string(spec->folded ? "fold" : "batch"));
    json_object_set_new(row, "batch", json_integer(spec->batch));
    if (spec->precision != NULL)
        json_object_set_new(row, "precision", json_string(spec->precision));
    if (spec->kind == BENCH_MORPH)
        set_inr(row, &spec->inr);
    return measure(b, spec, row);
}

static int train_one(const bench *b, const char *topology, bool folded)
{
    int code = CLI_OK;
    for (size_t p = 0; p < b->precision_count && code == CLI_OK; p++)
        code = measure_images(b, "train",
                              &(bench_spec){.kind = BENCH_TRAIN,
                                            .topology = topology,
                                            .folded = folded,
                                            .batch = (int64_t)b->batches[b->batch_count - 1],
                                            .precision = b->precisions[p]});
    return code;
}

int bench_train(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (int folded = 0; folded < 2 && code == CLI_OK; folded++)
            code = train_one(b, b->topologies[t], folded != 0);
    return code;
}

int bench_step(const bench *b)
{
    int code = CLI_OK;
    for (size_t p = 0; p < b->precision_count && code == CLI_OK; p++)
        code = measure_images(b, "step",
                              &(bench_spec){.kind = BENCH_MORPH,
                                            .topology = b->topologies[0],
                                            .folded = true,
                                            .batch = (int64_t)b->batches[b->batch_count - 1],
                                            .inr = b->inrs[0],
                                            .noise = 1,
                                            .precision = b->precisions[p]});
    return code;
}

int bench_inference(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (size_t i = 0; i < b->batch_count && code == CLI_OK; i++)
            code = measure_images(b, "run",
                                  &(bench_spec){.kind = BENCH_RUN,
                                                .topology = b->topologies[t],
                                                .folded = true,
                                                .batch = (int64_t)b->batches[i]});
    return code;
}
