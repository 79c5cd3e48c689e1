/* SPDX-License-Identifier: MIT */
/* neumeta materialize: one network out of a manifold, as a file of its own. */
#include "cli.h"

#include <math.h>
#include <sys/stat.h>

static const cli_option options[] = {
    {"output", "FILE", "the network, as safetensors"},
    {"gamma", "G", "every inner width compressed by this share, 0 is full"},
    {"size", "AXIS=N",
     "size of an axis, which may hold *; repeat it for several axes; of those that name the same "
     "axis the last one holds"},
    {"sizes", "N,N,...", "one size for each axis that varies"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {{NEUMETA_KEY_SAMPLES, NEUMETA_KEY_NOISE_DRAW},
                                {NEUMETA_KEY_CLEAN_SAMPLE, NEUMETA_KEY_CLEAN_SAMPLE},
                                {NEUMETA_KEY_PRECISION, NEUMETA_KEY_PRECISION},
                                {NEUMETA_KEY_MAX_PARAMETERS, NEUMETA_KEY_MIN_SCORE},
                                {NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE},
                                {0, 0}};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"gamma", "gamma", 1, 3},
    {"sizes", "sizes", 1, 0},
    {"parameters", "parameters", 1, 0},
    {"multiply_adds", "multiply-adds", 1, 0},
    {"bytes", "tensor bytes", 1, 0},
    {"file_bytes", "file bytes", 1, 0},
    {"latency_us", "latency us", 1, 1},
    {"accuracy", "accuracy %", 100, 2},
    {"materialize_ms", "make ms", 1, 2},
    {"fingerprint", "fingerprint", 1, 0},
    {NULL, NULL, 0, 0},
};

/* Of what the file holds, which STORAGE may have rounded. */
static int read_back(const cli *c, const cli_model *model, const char *output,
                     char text[CLI_FINGERPRINT], int64_t *bytes)
{
    neumeta_network *network = NULL;
    int code = cli_check(c, neumeta_network_load(model->topology, output, NULL, &network), NULL);
    if (code == CLI_OK)
        code = cli_fingerprint(c, network, text);
    *bytes = code == CLI_OK ? cli_network_bytes(network) : 0;
    neumeta_network_free(network);
    return code;
}

static int report(const cli *c, const cli_model *model, const cli_size_list *list,
                  const char *output, double milliseconds, json_t *row)
{
    struct stat about;
    int64_t bytes = 0;
    char fingerprint[CLI_FINGERPRINT];
    int code = cli_describe(c, model->topology, list->sizes, list->gammas[0], row);
    if (code == CLI_OK)
        code = read_back(c, model, output, fingerprint, &bytes);
    if (code != CLI_OK)
        return code;
    if (cli_mark_outside(model, list->sizes, row))
        cli_note(c, "the network is smaller than any that training drew");
    json_object_set_new(row, "output", json_string(output));
    json_object_set_new(row, "bytes", json_integer(bytes));
    if (stat(output, &about) == 0)
        json_object_set_new(row, "file_bytes", json_integer((json_int_t)about.st_size));
    json_object_set_new(row, "materialize_ms", json_real(milliseconds));
    json_object_set_new(row, "fingerprint", json_string(fingerprint));
    json_t *rows = json_pack("[O]", row);
    cli_print_rows(c, rows, columns);
    json_decref(rows);
    return code;
}

/* The one size that the options or the budget ask for. */
static int choose_size(const cli *c, const cli_model *model, cli_size_list *list, json_t *row)
{
    const bool budget = cli_has_budget(c);
    if (budget && (cli_flag(c, "gamma") || cli_flag(c, "size") || cli_flag(c, "sizes")))
        return cli_usage(c, "give either sizes or a budget");
    int code = cli_one_size(c, model, list);
    if (code == CLI_OK && budget) {
        list->gammas[0] = NAN;
        code = cli_budget(c, model, list->sizes, row);
    }
    return code;
}

static int run(cli *c)
{
    const char *output;
    cli_model model = {.manifold = NULL};
    cli_size_list list = {.sizes = NULL};
    neumeta_network *network = NULL;
    neumeta_options *storage = NULL;
    double milliseconds = 0;
    json_t *row = json_object();
    int code = cli_require(c, "output", &output);
    if (code == CLI_OK && c->operand_count != 1)
        code = cli_usage(c, "give one manifold file");
    if (code == CLI_OK)
        code = cli_check_apart(c, &(cli_file){"--output", output}, 1, false);
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    if (code == CLI_OK)
        code = cli_manifold_open(c, c->operands[0], &model);
    if (code == CLI_OK)
        code = choose_size(c, &model, &list, row);
    if (code == CLI_OK)
        code = cli_model_network(c, &model, list.sizes, &network, &milliseconds);
    if (code == CLI_OK)
        code = cli_settings(c, cli_storage_keys, &storage);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_save_as(network, output, storage), NULL);
    if (code == CLI_OK)
        code = report(c, &model, &list, output, milliseconds, row);
    json_decref(row);
    neumeta_options_free(storage);
    neumeta_network_free(network);
    cli_sizes_release(&list);
    cli_model_release(&model);
    return code;
}

const cli_command cmd_materialize = {
    .name = "materialize",
    .summary = "make a network of a manifold at given sizes",
    .synopsis = "MANIFOLD --output FILE [OPTION...]",
    .text =
        "Writes an ordinary network, which needs the manifold no more. Without --gamma, --size or "
        "--sizes it\nis the full one; sizes outside the trained range are extrapolated. A budget "
        "(--max-..., --min-score)\ntakes the best sizes that neumeta search has found for it "
        "instead; "
        "without a front, the largest uniform\nones. --storage f16 halves the file. Prints "
        "parameters, multiply-adds of one "
        "image, "
        "bytes in memory\nand in the file, the accuracy that the front promises, and the time it "
        "took.\n",
    .examples = "  neumeta materialize manifold.safetensors --gamma 0.5 --output half.safetensors\n"
                "  neumeta materialize manifold.safetensors --max-multiply-adds 20000000 "
                "--output 20m.safetensors\n"
                "  neumeta materialize manifold.safetensors --size 'layer3.*.inner=40' "
                "--output m40.safetensors\n",
    .options = options,
    .keys = keys,
    .run = run,
};
