/* SPDX-License-Identifier: MIT */
/* neumeta search: the sizes of a manifold that are worth having, found with held-out images. */
#include "cli.h"

static const cli_option options[] = {
    {"data", "FOLDER", "folder with the images (see neumeta fetch)"},
    {"output", "FILE", "the manifold with its front (default: the file itself)"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_HELD_OUT, NEUMETA_KEY_DATA_STD},
    {NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_SIZE_AXES},
    {NEUMETA_KEY_GAMMA_MAX, NEUMETA_KEY_GAMMA_MAX},
    {NEUMETA_KEY_DEPTH_GAMMA_MAX, NEUMETA_KEY_DEPTH_GAMMA_MAX},
    {NEUMETA_KEY_STREAM_GAMMA_MAX, NEUMETA_KEY_STREAM_GAMMA_MAX},
    {NEUMETA_KEY_SEARCH_EVALUATIONS, NEUMETA_KEY_FRONT_SCORES},
    {NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE},
    {0, 0},
};
static const cli_keys search_keys[] = {
    {NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_DEPTH_GAMMA_MAX},
    {NEUMETA_KEY_STREAM_GAMMA_MAX, NEUMETA_KEY_STREAM_GAMMA_MAX},
    {NEUMETA_KEY_SEARCH_EVALUATIONS, NEUMETA_KEY_FRONT_SCORES},
    {0, 0},
};

static int find_front(const cli *c, const cli_model *model, neumeta_dataset *dataset,
                      const char *file)
{
    neumeta_options *settings = NULL;
    cli_watch watch;
    int code = cli_settings(c, search_keys, &settings);
    if (code == CLI_OK) {
        cli_watch_begin(&watch, c, "searching", file);
        code = cli_watch_end(&watch, neumeta_manifold_search(model->manifold, dataset, settings,
                                                             cli_watch_step, &watch));
    }
    if (code == CLI_OK)
        cli_note(c, "found %d sizes in %.0f s", (int)neumeta_manifold_front_count(model->manifold),
                 cli_seconds() - watch.start);
    neumeta_options_free(settings);
    return code;
}

static int run(cli *c)
{
    cli_data data = {.pixels = NULL};
    cli_model model = {.manifold = NULL};
    neumeta_dataset *dataset = NULL;
    if (c->operand_count != 1)
        return cli_usage(c, "give one manifold file");
    if (!cli_flag(c, "held-out"))
        return cli_usage(c, "needs --held-out N: sizes are judged by images that training has not "
                            "seen");
    const char *file = c->operands[0], *output = cli_text(c, "output");
    output = output != NULL ? output : file;
    json_t *rows = json_array();
    int code = cli_check_apart(c, &(cli_file){"--output", output}, 1, true);
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    if (code == CLI_OK)
        code = cli_data_open(c, &data, &dataset);
    if (code == CLI_OK)
        code = cli_manifold_open(c, file, &model);
    if (code == CLI_OK)
        code = find_front(c, &model, dataset, file);
    if (code == CLI_OK)
        code = cli_save_again(c, model.manifold, file, output);
    if (code == CLI_OK)
        code = cli_front(c, &model, rows);
    if (code == CLI_OK)
        cli_print_rows(c, rows, cli_front_columns);
    json_decref(rows);
    cli_model_release(&model);
    neumeta_dataset_free(dataset);
    cli_data_release(&data);
    return code;
}

const cli_command cmd_search = {
    .name = "search",
    .summary = "find the sizes of a manifold that are worth having",
    .synopsis = "MANIFOLD --data FOLDER --held-out N [OPTION...]",
    .text =
        "Tries sizes, uniform and other, on the images held out and keeps those in the file that "
        "no "
        "others beat\nin accuracy at the same cost: its front, from which neumeta materialize "
        "answers --max-multiply-adds,\n--max-parameters, --max-bytes, --max-latency-us and "
        "--min-score. The images must not have been\ntrained with. Prints the front, with --json "
        "as lines that neumeta plot draws.\n",
    .examples = "  neumeta search manifold.safetensors --data cifar --held-out 5000 "
                "--gamma-max 0.75\n"
                "  neumeta search manifold.safetensors --data cifar --held-out 5000 --json "
                ">front.jsonl\n",
    .options = options,
    .keys = keys,
    .run = run,
};
