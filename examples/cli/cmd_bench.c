/* SPDX-License-Identifier: MIT */
/* neumeta bench: what the library's work costs on this machine. */
#include "bench_parts.h"

#include <stdlib.h>
#include <string.h>

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
    {"grow", "FILE", "the same with a network at full sizes out of this manifold"},
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
    {"materialize_ms", "of it materialising", 1, 3},
    {"images_per_second", "images/s", 1, 1},
    {"gflops", "GFLOP/s", 1, 1},
    {"peak_share", "of peak %", 100, 1},
    {"memory_bytes", "bytes of a run", 1, 0},
    {"weight_bytes", "bytes of weights", 1, 0},
    {"peak_resident_bytes", "peak resident bytes", 1, 0},
    {NULL, NULL, 0, 0},
};
/* --- options --------------------------------------------------------------------------------- */

/* Splits "a,b,c", into which the parts point. */
static int split(const cli *c, const char *option, char *text, char **parts, size_t *count)
{
    *count = 0;
    for (char *rest = text; rest != NULL; (*count)++) {
        char *comma = strchr(rest, ',');
        if (*count == BENCH_LIST || *rest == '\0' || comma == rest)
            return cli_usage(c, "--%s must be 1 to %d words with commas between", option,
                             BENCH_LIST);
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
    char *text, *words[BENCH_LIST];
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
        code = cli_number(c, "repetitions", 1, BENCH_TIMES, 9, &repetitions);
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
    {"materialize", bench_materialize}, {"train", bench_train},   {"step", bench_step},
    {"run", bench_inference},           {"memory", bench_memory}, {"start", bench_start},
};
enum { PARTS = sizeof parts / sizeof *parts };

static int choose_parts(const cli *c, bool chosen[PARTS])
{
    char *text, *words[BENCH_LIST];
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
    cli_clean(name);
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
    int code = CLI_OK;
    if (results != NULL && strcmp(results, "-") != 0)
        code = cli_check_apart(b->c, &(cli_file){"--results", results}, 1, false);
    /* What cannot be written should not cost minutes first. */
    if (code == CLI_OK && results != NULL)
        code = cli_write_rows(b->c, b->all, results);
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
    const bool grown = cli_flag(c, "grow");
    if (code == CLI_OK && (grown || cli_flag(c, "once")))
        code = bench_process(&b, cli_text(c, grown ? "grow" : "once"), grown);
    else if (code == CLI_OK)
        code = run_parts(&b, chosen);
    if (code == CLI_OK && json_array_size(b.rows) > 0)
        cli_print_rows(c, b.rows, columns);
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
