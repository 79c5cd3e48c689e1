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

int cli_calibrate(const cli *c, neumeta_manifold *manifold, neumeta_dataset *dataset,
                  const char *name)
{
    neumeta_options *draw = NULL;
    double error = 0;
    cli_watch watch;
    int code = cli_draw_settings(c, &draw);
    if (code == CLI_OK) {
        cli_watch_begin(&watch, c, "calibrating", name);
        code = cli_watch_end(&watch, neumeta_manifold_calibrate(manifold, dataset, draw,
                                                                cli_watch_step, &watch, &error));
    }
    if (code == CLI_OK)
        cli_note(c, "calibrated in %.0f s", cli_seconds() - watch.start);
    if (code == CLI_OK && isnan(error))
        cli_note(c, "too few sizes to leave some out and tell the error");
    else if (code == CLI_OK)
        cli_note(c, "off by %.3f standard deviations at sizes left out", error);
    neumeta_options_free(draw);
    return code;
}

static int run(cli *c)
{
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
        code = cli_calibrate(c, manifold, dataset, file);
    if (code == CLI_OK)
        code = cli_save_again(c, manifold, file, output);
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
        "lose accuracy by it. A front is dropped:\nsearch again.\n",
    .examples = "  neumeta calibrate manifold.safetensors --data cifar --gamma-max 0.75 \\\n"
                "      --calibrate-sizes 512\n",
    .options = options,
    .keys = keys,
    .run = run,
};
