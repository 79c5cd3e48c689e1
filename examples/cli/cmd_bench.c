/* SPDX-License-Identifier: MIT */
/* neumeta bench: what the library's work costs on this machine. */
#include "bench.h"
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_MAX = 16, TIMES_MAX = 1001, TIMES_LEAST = 3, PATIENCE = 4 };

static const cli_option options[] = {
    {"parts", "NAME,...", "materialize, train, step, run, memory, start (default all of them)"},
    {"topology", "NAME,...",
     "built-in residual networks (default resnet20-cifar,resnet56-cifar); materialize and step "
     "take the first"},
    {"batch", "N,...", "images of a run (default 1,128); the last is that of train and step"},
    {"inr", "HxLxF,...",
     "hidden width, layers and octaves of the INRs (default 256x5x16,512x8x32); step takes the "
     "first"},
    {"widths", "N,...", "inner widths of the block that is materialised (default 16,64)"},
    {"samples", "N,...",
     "draws that a materialisation averages (default 1,100); all but the first with the first INR "
     "and the last width only"},
    {"precision", "NAME,...",
     "of products in materialize, train and step: fp32, bf16 (default fp32, and bf16 where the "
     "processor has instructions for it)"},
    {"repetitions", "N", "timings of which the median is taken (default 9)"},
    {"seconds", "S", "time of one measurement (default 0.5)"},
    {"results", "FILE", "also write the results there as JSON lines"},
    {"once", "FILE",
     "only load this network, which has no norm, run it once, and say what that took: the "
     "process that memory and start measure"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {{0, 0}};
static const cli_column columns[] = {
    {"work", "work", 1, 0},
    {"rows", "rows", 1, 0},
    {"threads", "threads", 1, 0},
    {"repetitions", "timings", 1, 0},
    {"median_ms", "median ms", 1, 3},
    {"min_ms", "fastest", 1, 3},
    {"max_ms", "slowest", 1, 3},
    {"library_ms", "library ms", 1, 3},
    {"images_per_second", "images/s", 1, 1},
    {"gflops", "GFLOP/s", 1, 1},
    {"peak_share", "of peak %", 100, 1},
    {"memory_bytes", "bytes of a run", 1, 0},
    {"weight_bytes", "bytes of weights", 1, 0},
    {"peak_resident_bytes", "peak resident bytes", 1, 0},
    {NULL, NULL, 0, 0},
};

typedef struct bench {
    const cli *c;
    char *topologies[LIST_MAX], *precisions[LIST_MAX];
    bench_inr inrs[LIST_MAX];
    double *batches, *widths, *samples; /* whole numbers */
    size_t topology_count, inr_count, batch_count, width_count, sample_count, precision_count;
    int repetitions, threads;
    double seconds, peak; /* FLOP/s of all threads */
    json_t *rows;         /* of the present part */
    json_t *all;
} bench;

/* --- timing ---------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Median, fastest and slowest of the times, which are sorted. */
static void set_times(json_t *row, double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, compare);
    json_object_set_new(row, "repetitions", json_integer(count));
    json_object_set_new(row, "median_ms", json_real(1e3 * times[count / 2]));
    json_object_set_new(row, "min_ms", json_real(1e3 * times[0]));
    json_object_set_new(row, "max_ms", json_real(1e3 * times[count - 1]));
}

/* Each timing repeats the work so often that all of them fill the time of a measurement; where even
 * single calls take far longer, there are fewer of them. The first call takes memory: not timed. */
static int time_work(const bench *b, bench_work *work, json_t *row)
{
    double times[TIMES_MAX];
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
        set_times(row, times, count);
    return code;
}

static json_t *add_row(const bench *b, const char *part, const char *work, const char *topology)
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
    json_t *row = add_row(b, "materialize", name, spec.topology);
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

static int run_materialize(const bench *b)
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
    json_t *row = add_row(b, part, name, spec->topology);
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

static int run_train(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (int folded = 0; folded < 2 && code == CLI_OK; folded++)
            code = train_one(b, b->topologies[t], folded != 0);
    return code;
}

static int run_step(const bench *b)
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

static int run_inference(const bench *b)
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

/* --- parts that start a process -------------------------------------------------------------- */

/* As a network is deployed. */
static int open_plain(const bench *b, const char *name, neumeta_topology **topology)
{
    neumeta_options *norm = NULL;
    neumeta_context *context = b->c->context;
    neumeta_status status = neumeta_options_create(context, &norm);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_text(norm, NEUMETA_KEY_NORM, "none");
    if (status == NEUMETA_OK)
        status = neumeta_topology_create_builtin(context, name, norm, topology);
    neumeta_options_free(norm);
    return cli_check(b->c, status, NULL);
}

/* Puts fresh weights into a file of their own; a row (NULL: none) gets what they and a run take. */
static int write_network(const bench *b, const char *name, int64_t batch, char *path, size_t size,
                         json_t *row)
{
    const char *folder = getenv("TMPDIR");
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    int64_t bytes = 0;
    snprintf(path, size, "%s/neumeta-bench-XXXXXX", folder != NULL ? folder : "/tmp");
    int file = mkstemp(path);
    if (file < 0)
        return cli_fail(b->c, "%s cannot be made: %s", path, strerror(errno));
    close(file);
    int code = open_plain(b, name, &topology);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_create(topology, NULL, 0, &network), NULL);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_memory(network, batch, &bytes), NULL);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_save(network, path), NULL);
    if (code == CLI_OK && row != NULL) {
        json_object_set_new(row, "memory_bytes", json_integer(bytes));
        json_object_set_new(row, "weight_bytes", json_integer(cli_network_bytes(network)));
    }
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    return code;
}

/* What `neumeta bench --once` says about itself. */
static int start_process(const bench *b, const char *name, const char *path, int64_t batch,
                         json_t **said)
{
    char threads[16], images[24], output[1024];
    snprintf(threads, sizeof threads, "%d", b->threads);
    snprintf(images, sizeof images, "%lld", (long long)batch);
    const char *argv[] = {b->c->program, "bench", "--once",    path,    "--topology", name,
                          "--batch",     images,  "--threads", threads, "--json",     NULL};
    int code = cli_run(b->c, NULL, (char *const *)argv, output, sizeof output);
    *said = code == CLI_OK ? json_loads(output, 0, NULL) : NULL;
    return code != CLI_OK || *said != NULL ? code : cli_fail(b->c, "%s said nothing", argv[0]);
}

static int measure_memory(const bench *b, const char *topology, int64_t batch)
{
    char path[4096], name[128];
    json_t *said = NULL;
    snprintf(name, sizeof name, "%s, batch %d", topology, (int)batch);
    json_t *row = add_row(b, "memory", name, topology);
    json_object_set_new(row, "batch", json_integer(batch));
    int code = write_network(b, topology, batch, path, sizeof path, row);
    if (code == CLI_OK)
        code = start_process(b, topology, path, batch, &said);
    unlink(path);
    if (code == CLI_OK)
        json_object_set(row, "peak_resident_bytes", json_object_get(said, "peak_resident_bytes"));
    json_decref(said);
    return code;
}

static int run_memory(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (size_t i = 0; i < b->batch_count && code == CLI_OK; i++)
            code = measure_memory(b, b->topologies[t], (int64_t)b->batches[i]);
    return code;
}

/* Whole processes, from their start to their end. */
static int measure_start(const bench *b, const char *topology)
{
    double times[TIMES_MAX], inside[TIMES_MAX];
    char path[4096], name[128];
    snprintf(name, sizeof name, "%s, process to first output", topology);
    json_t *row = add_row(b, "start", name, topology);
    int code = write_network(b, topology, 1, path, sizeof path, NULL);
    for (int r = -1; r < b->repetitions && code == CLI_OK; r++) {
        json_t *said = NULL;
        double begin = cli_seconds();
        code = start_process(b, topology, path, 1, &said);
        if (r >= 0) {
            times[r] = cli_seconds() - begin;
            inside[r] = json_number_value(json_object_get(said, "library_ms"));
        }
        json_decref(said);
    }
    unlink(path);
    if (code == CLI_OK) {
        set_times(row, times, b->repetitions);
        qsort(inside, (size_t)b->repetitions, sizeof *inside, compare);
        json_object_set_new(row, "library_ms", json_real(inside[b->repetitions / 2]));
    }
    return code;
}

static int run_start(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count && code == CLI_OK; t++)
        code = measure_start(b, b->topologies[t]);
    return code;
}

/* The process that these parts start: loads the file and runs a batch. */
static int run_once(const bench *b, const char *path)
{
    const int64_t batch = (int64_t)b->batches[0];
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    float *inputs = malloc((size_t)(batch * BENCH_ITEM) * sizeof *inputs);
    float *outputs = malloc((size_t)(batch * BENCH_CLASSES) * sizeof *outputs);
    int64_t *targets = malloc((size_t)batch * sizeof *targets);
    bool memory = inputs != NULL && outputs != NULL && targets != NULL;
    int code = memory ? CLI_OK : cli_no_memory(b->c);
    if (code == CLI_OK)
        bench_items(batch, inputs, targets);
    const double begin = cli_seconds();
    if (code == CLI_OK)
        code = open_plain(b, b->topologies[0], &topology);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_load(topology, path, NULL, &network), NULL);
    if (code == CLI_OK)
        code = cli_check(
            b->c, neumeta_network_run(network, inputs, batch, outputs, batch * BENCH_CLASSES),
            NULL);
    json_t *row = add_row(b, "once", path, b->topologies[0]);
    json_object_set_new(row, "library_ms", json_real(1e3 * (cli_seconds() - begin)));
    json_object_set_new(row, "peak_resident_bytes", json_integer(bench_peak_resident()));
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    free(inputs);
    free(outputs);
    free(targets);
    if (code == CLI_OK)
        cli_print_rows(b->c, b->rows, columns);
    return code;
}

/* --- options --------------------------------------------------------------------------------- */

/* Splits "a,b,c", into which the parts point. */
static int split(const cli *c, const char *option, char *text, char **parts, size_t *count)
{
    *count = 0;
    for (char *rest = text; rest != NULL; (*count)++) {
        char *comma = strchr(rest, ',');
        if (*count == LIST_MAX || *rest == '\0' || comma == rest)
            return cli_usage(c, "--%s must be 1 to %d words with commas between", option, LIST_MAX);
        parts[*count] = rest;
        rest = comma != NULL ? comma + 1 : NULL;
        if (comma != NULL)
            *comma = '\0';
    }
    return CLI_OK;
}

static int read_words(const cli *c, const char *option, const char *initial, char **text,
                      char **words, size_t *count)
{
    const char *given = cli_text(c, option);
    *text = strdup(given != NULL ? given : initial);
    return *text != NULL ? split(c, option, *text, words, count) : cli_no_memory(c);
}

static int read_inrs(const cli *c, bench *b)
{
    char *text, *words[LIST_MAX];
    int code = read_words(c, "inr", "256x5x16,512x8x32", &text, words, &b->inr_count);
    for (size_t i = 0; i < b->inr_count && code == CLI_OK; i++) {
        int hidden, layers, octaves, end = -1;
        if (sscanf(words[i], "%4dx%2dx%2d%n", &hidden, &layers, &octaves, &end) == 3 &&
            words[i][end] == '\0' && hidden > 0 && layers > 0 && octaves >= 0)
            b->inrs[i] = (bench_inr){hidden, layers, octaves};
        else
            code = cli_usage(c,
                             "--inr holds '%s', must be hidden width, layers and octaves as in "
                             "256x5x16",
                             words[i]);
    }
    free(text);
    return code;
}

/* Whole numbers from 1 to `maximum`. */
static int read_counts(const cli *c, const char *option, double maximum, const double *initial,
                       double **numbers, size_t *count)
{
    int code = cli_numbers(c, option, 1, maximum, numbers, count);
    for (size_t i = 0; i < *count && code == CLI_OK; i++)
        if ((*numbers)[i] != (double)(int64_t)(*numbers)[i])
            code = cli_usage(c, "--%s holds %g, must be whole numbers", option, (*numbers)[i]);
    if (code != CLI_OK || *numbers != NULL)
        return code;
    *count = 2;
    *numbers = malloc(*count * sizeof **numbers);
    if (*numbers == NULL)
        return cli_no_memory(c);
    memcpy(*numbers, initial, *count * sizeof **numbers);
    return CLI_OK;
}

static bool is_residual(const char *topology)
{
    const char *name;
    for (int32_t i = 0; (name = neumeta_topology_builtin_name(i)) != NULL; i++)
        if (strcmp(name, topology) == 0)
            return strncmp(name, "resnet", 6) == 0;
    return false;
}

static int read_precisions(const cli *c, bench *b, char **text)
{
    const char *kernels = neumeta_context_kernels(c->context);
    const bool instructions = strcmp(kernels, "avx512bf16") == 0 || strcmp(kernels, "amx") == 0;
    int code = read_words(c, "precision", instructions ? "fp32,bf16" : "fp32", text, b->precisions,
                          &b->precision_count);
    for (size_t i = 0; i < b->precision_count && code == CLI_OK; i++)
        if (strcmp(b->precisions[i], "fp32") != 0 && strcmp(b->precisions[i], "bf16") != 0)
            code = cli_usage(c, "--precision holds '%s', must be fp32 or bf16", b->precisions[i]);
    return code;
}

static int read_options(const cli *c, bench *b, char **topologies, char **precisions)
{
    double repetitions, threads = 0;
    int code = read_words(c, "topology", "resnet20-cifar,resnet56-cifar", topologies, b->topologies,
                          &b->topology_count);
    for (size_t i = 0; i < b->topology_count && code == CLI_OK; i++)
        if (!is_residual(b->topologies[i]))
            code = cli_usage(c, "--topology holds '%s', must be built-in residual networks",
                             b->topologies[i]);
    if (code == CLI_OK)
        code = read_precisions(c, b, precisions);
    if (code == CLI_OK)
        code = read_inrs(c, b);
    if (code == CLI_OK)
        code =
            read_counts(c, "batch", 65536, (const double[]){1, 128}, &b->batches, &b->batch_count);
    if (code == CLI_OK)
        code = read_counts(c, "widths", 64, (const double[]){16, 64}, &b->widths, &b->width_count);
    if (code == CLI_OK)
        code = read_counts(c, "samples", 100000, (const double[]){1, 100}, &b->samples,
                           &b->sample_count);
    if (code == CLI_OK)
        code = cli_number(c, "repetitions", 1, TIMES_MAX, 9, &repetitions);
    if (code == CLI_OK)
        code = cli_number(c, "seconds", 0, 3600, 0.5, &b->seconds);
    if (code == CLI_OK)
        code = cli_number(c, "threads", 0, 4096, 0, &threads);
    if (code != CLI_OK)
        return code;
    const int present = bench_processors();
    b->threads = threads == 0 || threads > present ? present : (int)threads;
    b->repetitions = (int)repetitions;
    return CLI_OK;
}

/* --- the command ----------------------------------------------------------------------------- */

static const struct part {
    const char *name;
    int (*run)(const bench *);
} parts[] = {
    {"materialize", run_materialize}, {"train", run_train},   {"step", run_step},
    {"run", run_inference},           {"memory", run_memory}, {"start", run_start},
};
enum { PARTS = sizeof parts / sizeof *parts };

static int choose_parts(const cli *c, bool chosen[PARTS])
{
    char *text, *words[LIST_MAX];
    size_t count;
    int code =
        read_words(c, "parts", "materialize,train,step,run,memory,start", &text, words, &count);
    for (size_t i = 0; i < count && code == CLI_OK; i++) {
        size_t p = 0;
        while (p < PARTS && strcmp(words[i], parts[p].name) != 0)
            p++;
        if (p < PARTS)
            chosen[p] = true;
        else
            code = cli_usage(c,
                             "--parts holds '%s', must be some of materialize, train, step, run, "
                             "memory, start",
                             words[i]);
    }
    free(text);
    return code;
}

/* What all figures depend on: a row of JSON, or the lines above the tables. */
static void tell_machine(bench *b)
{
    char name[256];
    bench_processor(name, sizeof name);
    b->peak = bench_peak(b->threads);
    const char *kernels = neumeta_context_kernels(b->c->context);
    json_t *row = json_pack("{s:s, s:s, s:i, s:i, s:s, s:s, s:f, s:s}", "part", "machine",
                            "processor", name, "processors", bench_processors(), "threads",
                            b->threads, "version", neumeta_version(), "kernels", kernels,
                            "peak_gflops", 1e-9 * b->peak, "peak_instructions", bench_peak_name());
    json_array_append_new(b->rows, row);
    if (b->c->json)
        cli_print_rows(b->c, b->rows, columns);
    else
        printf("neumeta %s, %s kernels, on %s\n%d of %d processors, peak %.1f GFLOP/s (%s)\n",
               neumeta_version(), kernels, name, b->threads, bench_processors(), 1e-9 * b->peak,
               bench_peak_name());
}

/* Shows the rows of a part at once: the whole takes a while. */
static void finish_part(bench *b, const char *name)
{
    if (!b->c->json)
        printf("\n%s\n", name);
    cli_print_rows(b->c, b->rows, columns);
    fflush(stdout);
    json_array_extend(b->all, b->rows);
    json_array_clear(b->rows);
}

static int run_parts(bench *b, const bool chosen[PARTS])
{
    const char *results = cli_text(b->c, "results");
    /* What cannot be written should not cost minutes first. */
    int code = results != NULL ? cli_write_rows(b->c, b->all, results) : CLI_OK;
    if (code != CLI_OK)
        return code;
    cli_catch_signals(); /* or temporary files would stay */
    tell_machine(b);
    json_array_extend(b->all, b->rows);
    json_array_clear(b->rows);
    for (size_t p = 0; p < PARTS && code == CLI_OK; p++) {
        if (!chosen[p])
            continue;
        code = parts[p].run(b);
        if (code == CLI_OK)
            finish_part(b, parts[p].name);
    }
    return code == CLI_OK && results != NULL ? cli_write_rows(b->c, b->all, results) : code;
}

static int run(cli *c)
{
    bench b = {.c = c, .rows = json_array(), .all = json_array()};
    char *topologies = NULL, *precisions = NULL;
    bool chosen[PARTS] = {false};
    int code = c->operand_count == 0 ? CLI_OK : cli_usage(c, "takes options only");
    if (code == CLI_OK)
        code = choose_parts(c, chosen);
    if (code == CLI_OK)
        code = read_options(c, &b, &topologies, &precisions);
    if (code == CLI_OK)
        code = cli_flag(c, "once") ? run_once(&b, cli_text(c, "once")) : run_parts(&b, chosen);
    json_decref(b.rows);
    json_decref(b.all);
    free(topologies);
    free(precisions);
    free(b.batches);
    free(b.widths);
    free(b.samples);
    return code;
}

const cli_command cmd_bench = {
    .name = "bench",
    .summary = "measure speed and memory on this machine",
    .synopsis = "[OPTION...]",
    .text =
        "Times what the library does, on made-up weights and images: materialising a block from a "
        "manifold, training\nof whole networks with batch norm and with it folded, the whole step "
        "of the reference method on one\nblock, inference, and processes from their start to their "
        "first output; and tells memory.\n\nFigures are medians, with the fastest and the slowest "
        "timing. GFLOP/s count what the formulas ask for (2 for\na multiply-add; training: three "
        "times a run), whatever the library saves; their share is of the multiply-adds\nthat as "
        "many threads can do at best in floats, measured just before without leaving the "
        "registers.\n",
    .examples = "  neumeta bench\n"
                "  neumeta bench --threads 1 --parts run,start --topology resnet56-cifar\n"
                "  neumeta bench --parts materialize --widths 8,16,32,64 --samples 1 --results "
                "rows.jsonl\n",
    .options = options,
    .keys = keys,
    .run = run,
};
