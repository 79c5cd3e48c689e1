/* SPDX-License-Identifier: MIT */
/* neumeta calibrate: statistics of a manifold's norms, as functions of the sizes. */
#include "cli_schedule.h"

#include <math.h>

static const cli_option options[] = {
    {"data", "FOLDER", "folder with the images (see neumeta fetch)"},
    {"output", "FILE", "the calibrated manifold (default: the file itself)"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_HELD_OUT, NEUMETA_KEY_DATA_STD},
    {NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_NON_UNIFORM},
    {NEUMETA_KEY_DEPTH_GAMMA_MAX, NEUMETA_KEY_STREAM_GAMMA_MAX},
    {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS},
    {NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE},
    {0, 0},
};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"error", "error", 1, 3},
    {"seconds", "seconds", 1, 1},
    {NULL, NULL, 0, 0},
};

int cli_calibrate(const cli *c, neumeta_manifold *manifold, neumeta_dataset *dataset,
                  const char *name, double *error)
{
    neumeta_options *draw = NULL;
    cli_watch watch;
    *error = NAN;
    int code = cli_draw_settings(c, &draw);
    if (code == CLI_OK) {
        cli_watch_begin(&watch, c, "calibrating", name);
        code = cli_watch_end(&watch, neumeta_manifold_calibrate(manifold, dataset, draw,
                                                                cli_watch_step, &watch, error));
    }
    if (code == CLI_OK)
        cli_note(c, "calibrated in %.0f s", cli_seconds() - watch.start);
    if (code == CLI_OK && isnan(*error))
        cli_note(c, "too few sizes to leave some out and tell the error");
    else if (code == CLI_OK)
        cli_note(c, "off by %.3f standard deviations at sizes left out", *error);
    neumeta_options_free(draw);
    return code;
}

static void report(const cli *c, const char *output, double error, double start)
{
    json_t *row = json_pack("{s:s}", "output", output);
    if (isfinite(error))
        json_object_set_new(row, "error", json_real(error));
    json_object_set_new(row, "seconds", json_real(cli_seconds() - start));
    json_t *rows = json_pack("[o]", row);
    cli_print_rows(c, rows, columns);
    json_decref(rows);
}

static int run(cli *c)
{
    const double start = cli_seconds();
    double error = NAN;
    cli_data data = {.pixels = NULL};
    neumeta_dataset *dataset = NULL;
    neumeta_manifold *manifold = NULL;
    if (c->operand_count != 1)
        return cli_usage(c, "give one manifold file");
    const char *file = c->operands[0], *output = cli_text(c, "output");
    output = output != NULL ? output : file;
    int code = cli_check_apart(c, &(cli_file){"--output", output}, 1, true);
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    if (code == CLI_OK)
        code = cli_data_open(c, &data, &dataset);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_load(c->context, file, &manifold), file);
    if (code == CLI_OK)
        code = cli_calibrate(c, manifold, dataset, file, &error);
    if (code == CLI_OK)
        code = cli_save_again(c, manifold, file, output);
    if (code == CLI_OK)
        report(c, output, error, start);
    neumeta_manifold_free(manifold);
    neumeta_dataset_free(dataset);
    cli_data_release(&data);
    return code;
}

const cli_command cmd_calibrate = {
    .name = "calibrate",
    .summary = "find the statistics of a manifold's norms at any size",
    .synopsis = "MANIFOLD --data FOLDER [OPTION...]",
    .text =
        "For manifolds that keep batch norm: measures means and variances at drawn sizes on "
        "training images and\nkeeps them as functions of the sizes, so that networks can be made "
        "of the file without data. neumeta\ntrain does this at its end; here it can be done anew, "
        "at more sizes or for another range.\nWeights that were trained with fitted statistics "
        "lose accuracy by it. A front is dropped:\nsearch again. Prints by how many standard "
        "deviations the functions are off at sizes that were left out\nof a first fit.\n",
    .examples = "  neumeta calibrate manifold.safetensors --data cifar --gamma-max 0.75 \\\n"
                "      --calibrate-sizes 512\n",
    .options = options,
    .keys = keys,
    .run = run,
};
