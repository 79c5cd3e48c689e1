/* SPDX-License-Identifier: MIT */
/* neumeta evaluate: accuracy, size and speed of networks, one row for each size. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMING_BATCH = 128, TIMING_RUNS = 5 };

static const cli_option options[] = {
    {"data", "FOLDER", "folder with the images (see neumeta fetch)"},
    {"split", "NAME", "test, held-out (needs --held-out N) or train (default test)"},
    {"gamma", "G,...", "manifolds: every inner width compressed by these shares, 0 is full"},
    {"size", "AXIS=SIZES",
     "manifolds: sizes of an axis, as 16 or 8,16 or 8..64 or 8..64:4; AXIS may hold *; repeat it "
     "for several axes, every combination is evaluated; of those that name the same axis the last "
     "one holds"},
    {"sizes", "N,N,...", "manifolds: one size for each axis that varies; may be repeated"},
    {"topology", "NAME", "network files: their built-in topology"},
    {"norm", "NAME",
     "network files: their norm: none, batch, or how it was replaced: fold, "
     "skip-init, sqrt-half, affine, group (default batch)"},
    {"results", "FILE", "also write the results there as JSON lines"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT},
    {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
    {NEUMETA_KEY_HELD_OUT, NEUMETA_KEY_DATA_STD},
    {NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_RESIDUAL_LEARNED},
    {NEUMETA_KEY_SAMPLES, NEUMETA_KEY_NOISE_DRAW},
    {NEUMETA_KEY_CLEAN_SAMPLE, NEUMETA_KEY_CLEAN_SAMPLE},
    {NEUMETA_KEY_PRECISION, NEUMETA_KEY_PRECISION},
    {NEUMETA_KEY_CALIBRATE_ITEMS, NEUMETA_KEY_CALIBRATE_ITEMS},
    {0, 0},
};
static const cli_keys measuring_keys[] = {
    {NEUMETA_KEY_CALIBRATE_ITEMS, NEUMETA_KEY_CALIBRATE_ITEMS}, {0, 0}};
static const cli_column columns[] = {
    {"file", "file", 1, 0},
    {"gamma", "gamma", 1, 3},
    {"sizes", "sizes", 1, 0},
    {"parameters", "parameters", 1, 0},
    {"multiply_adds", "multiply-adds", 1, 0},
    {"bytes", "tensor bytes", 1, 0},
    {"accuracy", "accuracy %", 100, 2},
    {"loss", "loss", 1, 4},
    {"materialize_ms", "make ms", 1, 2},
    {"image_us", "us/image", 1, 1},
    {NULL, NULL, 0, 0},
};

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Median time of one image in a batch, after a first run that takes the memory. */
static int measure(const cli *c, neumeta_network *network, const cli_data *data, double *image_us)
{
    int64_t item = data->channels * data->height * data->width;
    int64_t capacity = TIMING_BATCH * (int64_t)65536;
    float *inputs = malloc((size_t)(TIMING_BATCH * item) * sizeof *inputs);
    float *outputs = malloc((size_t)capacity * sizeof *outputs);
    double times[TIMING_RUNS];
    int code = inputs != NULL && outputs != NULL ? CLI_OK : cli_no_memory(c);
    for (int64_t i = 0; i < TIMING_BATCH * item && code == CLI_OK; i++)
        inputs[i] = (float)data->pixels[i % ((data->train + data->test) * item)] / 128 - 1;
    for (int run = -1; run < TIMING_RUNS && code == CLI_OK; run++) {
        double start = cli_seconds();
        code = cli_check(c, neumeta_network_run(network, inputs, TIMING_BATCH, outputs, capacity),
                         NULL);
        if (run >= 0)
            times[run] = 1e6 * (cli_seconds() - start) / TIMING_BATCH;
    }
    free(inputs);
    free(outputs);
    if (code == CLI_OK) {
        qsort(times, TIMING_RUNS, sizeof *times, compare);
        *image_us = times[TIMING_RUNS / 2];
    }
    return code;
}

typedef struct job {
    const cli_data *data;
    neumeta_dataset *dataset;
    neumeta_options *measuring; /* of the norms of each network, NULL: not wanted */
    int32_t split;
    const char *split_name;
    bool line;          /* progress on one line of a terminal, not as JSON lines */
    double start, next; /* of cli_seconds(): the first progress told, the next */
    size_t outside;     /* networks of sizes that training did not draw */
    json_t *rows;
} job;

static int evaluate_one(const cli *c, job *j, const char *file, const cli_model *model,
                        const int64_t *sizes, double gamma)
{
    neumeta_network *network = NULL;
    double loss = 0, score = 0, make_ms = 0, image_us = 0;
    json_t *row = json_object();
    json_object_set_new(row, "file", json_string(file));
    int code = cli_model_network(c, model, sizes, &network, &make_ms);
    if (code == CLI_OK && j->measuring != NULL)
        code = cli_check(c, neumeta_network_calibrate(network, j->dataset, j->measuring), file);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_evaluate(network, j->dataset, j->split, &loss, &score),
                         file);
    if (code == CLI_OK)
        code = measure(c, network, j->data, &image_us);
    if (code == CLI_OK)
        code = cli_describe(c, model->topology, sizes, gamma, row);
    if (code == CLI_OK) {
        j->outside += cli_mark_outside(model, sizes, row);
        json_object_set_new(row, "bytes", json_integer(cli_network_bytes(network)));
        json_object_set_new(row, "split", json_string(j->split_name));
        json_object_set_new(row, "accuracy", json_real(score));
        json_object_set_new(row, "loss", json_real(loss));
        if (model->manifold != NULL)
            json_object_set_new(row, "materialize_ms", json_real(make_ms));
        json_object_set_new(row, "image_us", json_real(image_us));
        json_array_append(j->rows, row);
        /* Until now nothing would be lost; from now on the finished rows would. */
        if (json_array_size(j->rows) == 1)
            cli_catch_signals();
    }
    json_decref(row);
    neumeta_network_free(network);
    return code;
}

static void show_progress(const cli *c, job *j, const char *file, size_t done, size_t count)
{
    double now = cli_seconds();
    if (c->quiet || (!j->line && now < j->next))
        return;
    if (j->line) {
        cli_overwrite(c, "%s: %zu of %zu", file, done + 1, count);
        return;
    }
    if (j->next <= 0)
        j->start = now;
    j->next = now + CLI_LINE_SECONDS;
    json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:f}", "event", "progress", "evaluating", file,
                            "done", (json_int_t)done, "networks", (json_int_t)count, "seconds",
                            round(10 * (now - j->start)) / 10);
    cli_put_json(stderr, row, 6);
    json_decref(row);
}

static int evaluate_file(const cli *c, job *j, const char *file, bool *manifold)
{
    cli_model model;
    cli_size_list list = {.sizes = NULL};
    int code = cli_model_open(c, j->data, file, &model);
    if (code == CLI_OK && j->measuring != NULL && model.manifold == NULL) {
        code = cli_usage(c, "--calibrate-items is for manifolds; a network has its statistics");
        cli_model_release(&model);
    }
    if (code == CLI_OK)
        code = cli_sizes(c, &model, &list);
    *manifold = *manifold || (code == CLI_OK && model.manifold != NULL);
    for (size_t i = 0; i < list.count && code == CLI_OK; i++) {
        show_progress(c, j, file, i, list.count);
        code = evaluate_one(c, j, file, &model, list.sizes + i * (size_t)list.axes, list.gammas[i]);
        if (code == CLI_OK && cli_interrupted())
            code = CLI_CANCELLED;
    }
    if (j->line)
        cli_overwrite(c, "%s", "");
    cli_sizes_release(&list);
    cli_model_release(&model);
    return code;
}

static int read_split(const cli *c, job *j)
{
    const char *name = cli_text(c, "split");
    j->split_name = name != NULL ? name : "test";
    j->split = strcmp(j->split_name, "test") == 0       ? NEUMETA_SPLIT_TEST
               : strcmp(j->split_name, "held-out") == 0 ? NEUMETA_SPLIT_HELD_OUT
               : strcmp(j->split_name, "train") == 0    ? NEUMETA_SPLIT_TRAIN
                                                        : 0;
    if (j->split == 0)
        return cli_usage(c, "--split is '%s', must be test, held-out or train", name);
    if (j->split == NEUMETA_SPLIT_HELD_OUT && !cli_flag(c, "held-out"))
        return cli_usage(c, "--split held-out needs --held-out N");
    return CLI_OK;
}

static int check_results(const cli *c, const char *path)
{
    int code = cli_check_apart(c, &(cli_file){"--results", path}, 1, false);
    return code == CLI_OK ? cli_check_output(c, path, false) : code;
}

static int run(cli *c)
{
    cli_data data;
    job j = {.data = &data, .line = isatty(STDERR_FILENO) == 1};
    bool manifold = false;
    const char *results = cli_text(c, "results");
    if (c->operand_count == 0)
        return cli_usage(c, "give at least one network or manifold file");
    int code = read_split(c, &j);
    if (code == CLI_OK && results != NULL && strcmp(results, "-") != 0)
        code = check_results(c, results);
    if (code == CLI_OK)
        code = cli_data_open(c, &data, &j.dataset);
    if (code != CLI_OK)
        return code;
    if (cli_flag(c, "calibrate-items"))
        code = cli_settings(c, measuring_keys, &j.measuring);
    j.rows = json_array();
    for (int i = 0; i < c->operand_count && code == CLI_OK; i++)
        code = evaluate_file(c, &j, c->operands[i], &manifold);
    if (code == CLI_OK && !manifold &&
        (cli_flag(c, "gamma") || cli_flag(c, "size") || cli_flag(c, "sizes")))
        code = cli_usage(c, "--gamma, --size and --sizes are for manifolds; a network has its own");
    if (j.outside > 0)
        cli_note(c, "%zu of %zu networks are smaller than any that training drew", j.outside,
                 json_array_size(j.rows));
    /* Whatever failed: rows that are there took long. */
    if (json_array_size(j.rows) > 0) {
        cli_print_rows(c, j.rows, c->operand_count > 1 ? columns : columns + 1); /* with file */
        if (results != NULL && cli_write_rows(c, j.rows, results) != CLI_OK && code == CLI_OK)
            code = CLI_FAILED;
    }
    json_decref(j.rows);
    neumeta_options_free(j.measuring);
    neumeta_dataset_free(j.dataset);
    cli_data_release(&data);
    return code;
}

const cli_command cmd_evaluate = {
    .name = "evaluate",
    .summary = "test networks, and manifolds at any sizes",
    .synopsis = "FILE... --data FOLDER [OPTION...]",
    .text =
        "Prints accuracy, parameters, multiply-adds, bytes and time, one row for each network. A "
        "manifold\nfile knows its topology and yields a network for each size that is asked for, "
        "without any: the\nfull one. A network file needs --topology and --norm.\n\n"
        "The time is the median for one image in batches of 128; making a network of a manifold "
        "is timed\non its own. Ctrl-C ends it after the present network, with the rows that are "
        "finished.\n\nWith --calibrate-items, the norms of each network that a manifold yields "
        "take "
        "their statistics from\nso many training images instead of the manifold's functions.\n",
    .examples =
        "  neumeta evaluate lenet.safetensors --topology lenet --data data\n"
        "  neumeta evaluate manifold.safetensors --data data --gamma 0,0.25,0.5,0.75\n"
        "  neumeta evaluate manifold.safetensors --data data --size conv1.width=8..32:4\n"
        "  neumeta evaluate manifold.safetensors --data data --sizes 24,20,96 --sizes 8,64,40\n"
        "  neumeta evaluate manifold.safetensors --data data --gamma 0.5 --samples 100 --json\n",
    .options = options,
    .keys = keys,
    .run = run,
};
